/*
 * The memory of one encode call.
 */
#include "token/impl.h"

#include <string.h>

void samba__work_free(samba__work *w)
{
    for (size_t i = 0; i < 2; i++) {
        samba__free(w->alloc, w->buffers[i].data);
        samba__free(w->alloc, w->scratch[i].data);
    }
    samba__free(w->alloc, w->pieces.at);
    samba__free(w->alloc, w->next.at);
    samba__free(w->alloc, w->spans);
    samba__free(w->alloc, w->cps);
    samba__free(w->alloc, w->symbols.ids);
    samba__free(w->alloc, w->symbols.scratch);
    samba__searcher_free(w->searcher);
}

samba_status samba__work_searcher(samba__work *w, samba_error **error)
{
    if (!w->searcher)
        w->searcher = samba__searcher_create(w->alloc, w->text_size);
    return w->searcher ? SAMBA_OK : samba__fail_oom(error);
}

/* Honest normalisers make a text three times as long, bytes as characters twice. */
enum {
    GROWTH_BASE = 1 << 20,
    GROWTH_MAX = 64
};

samba_status samba__work_check(const samba__work *w, size_t n_bytes, samba_error **error)
{
    if (n_bytes <= GROWTH_BASE || (n_bytes - GROWTH_BASE) / GROWTH_MAX <= w->text_size)
        return SAMBA_OK;
    return samba__fail(w->alloc, error, SAMBA_ERROR_LIMIT,
                       "the tokenizer's steps make %zu bytes of a text of %zu", n_bytes,
                       w->text_size);
}

bool samba__buffer_add(samba__buffer *b, const samba_allocator *a, const char *s, size_t n)
{
    size_t need;
    void *p = b->data;
    if (!samba__add_size(b->n, n, &need) || !samba__grow(a, &p, &b->capacity, need, 1))
        return false;
    b->data = p;
    if (n)
        memcpy(b->data + b->n, s, n);
    b->n = need;
    return true;
}

bool samba__pieces_add(samba__pieces *p, const samba_allocator *a, samba__piece piece)
{
    void *at = p->at;
    if (!samba__grow(a, &at, &p->capacity, p->n + 1, sizeof piece))
        return false;
    p->at = at;
    p->at[p->n++] = piece;
    return true;
}
