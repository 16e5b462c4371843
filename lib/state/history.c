/*
 * The tokens fed; see history.h. A buffer's `used` says how far somebody has claimed it. A view
 * that ends exactly there may claim more with one compare-and-swap; tokens before `used` are never
 * written again while the buffer is shared.
 */
#include "state/history.h"
#include "base/sync.h"

#include <string.h>

enum {
    SMALLEST = 64
};

struct samba__history_buffer {
    samba__refs refs;
    atomic_size_t used;
    size_t capacity;
    samba_token tokens[];
};

typedef struct samba__history_buffer buffer;

static buffer *buffer_create(const samba_allocator *a, size_t capacity)
{
    size_t size;
    if (!samba__mul_size(capacity, sizeof(samba_token), &size) ||
        !samba__add_size(size, sizeof(buffer), &size))
        return NULL;
    buffer *b = samba__alloc(a, size);
    if (b) {
        samba__refs_init(&b->refs);
        atomic_init(&b->used, 0);
        b->capacity = capacity;
    }
    return b;
}

static void buffer_release(const samba_allocator *a, buffer *b)
{
    if (b && samba__refs_drop(&b->refs))
        samba__free(a, b);
}

void samba__history_init(samba__history *h, const samba_allocator *a, size_t max)
{
    *h = (samba__history){.alloc = a, .max = max};
}

void samba__history_init_shared(samba__history *h, const samba__history *from)
{
    *h = *from;
    if (h->buffer)
        samba__refs_take(&h->buffer->refs);
}

void samba__history_init_within(samba__history *h, const samba__history *from, size_t skip,
                                size_t n)
{
    samba__history_init_shared(h, from);
    h->start += skip;
    h->n = n;
    h->staged = 0;
}

void samba__history_free(samba__history *h)
{
    buffer_release(h->alloc, h->buffer);
    *h = (samba__history){0};
}

void samba__history_reset(samba__history *h)
{
    if (h->buffer && !samba__refs_unique(&h->buffer->refs)) {
        buffer_release(h->alloc, h->buffer);
        h->buffer = NULL;
    }
    h->start = h->n = h->staged = 0;
}

static void drop_oldest(samba__history *h)
{
    if (h->n > h->max) {
        h->start += h->n - h->max;
        h->n = h->max;
    }
}

void samba__history_restore(samba__history *h, const samba__history *from)
{
    const size_t max = h->max;
    const samba_allocator *a = h->alloc;
    struct samba__history_buffer *old = h->buffer;
    samba__history_init_shared(h, from);
    SAMBA__INVARIANT(h->alloc == a);
    buffer_release(a, old);
    h->max = max;
    drop_oldest(h);
    if (!max)
        samba__history_reset(h);
}

/* In place, behind the tokens kept. */
static bool claim(samba__history *h, size_t n)
{
    buffer *b = h->buffer;
    size_t end = h->start + h->n;
    if (!b)
        return false;
    if (samba__refs_unique(&b->refs)) {
        if (n > b->capacity - end && n <= b->capacity - h->n) {
            memmove(b->tokens, b->tokens + h->start, h->n * sizeof *b->tokens);
            h->start = 0;
            end = h->n;
        }
        if (n > b->capacity - end)
            return false;
        atomic_store_explicit(&b->used, end + n, memory_order_relaxed);
        return true;
    }
    return n <= b->capacity - end &&
           atomic_compare_exchange_strong_explicit(&b->used, &end, end + n, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* At least twice what is kept, so that copying and sliding cost little per token. */
static bool wanted_capacity(const samba__history *h, size_t n, size_t *capacity)
{
    size_t need, cap = SMALLEST, most = SIZE_MAX;
    if (!samba__add_size(h->n, n, &need))
        return false;
    if (h->max <= SIZE_MAX / 2)
        most = 2 * h->max > need ? 2 * h->max : need;
    while (cap < need || cap < 2 * h->n) {
        if (cap > SIZE_MAX / 2)
            return false;
        cap *= 2;
    }
    *capacity = cap < most ? cap : most;
    return true;
}

/* Into a new buffer that nobody shares. */
static bool move(samba__history *h, size_t n)
{
    size_t capacity;
    buffer *b = wanted_capacity(h, n, &capacity) ? buffer_create(h->alloc, capacity) : NULL;
    if (!b)
        return false;
    if (h->n)
        memcpy(b->tokens, samba__history_tokens(h), h->n * sizeof *b->tokens);
    atomic_store_explicit(&b->used, h->n + n, memory_order_relaxed);
    buffer_release(h->alloc, h->buffer);
    h->buffer = b;
    h->start = 0;
    return true;
}

samba_status samba__history_stage(samba__history *h, const samba_token *tokens, size_t n,
                                  samba_error **error)
{
    if (!h->max || !n)
        return SAMBA_OK;
    if (!claim(h, n) && !move(h, n))
        return samba__fail_oom(error);
    memcpy(h->buffer->tokens + h->start + h->n, tokens, n * sizeof *tokens);
    h->staged = n;
    return SAMBA_OK;
}

void samba__history_commit(samba__history *h, size_t n)
{
    if (!h->staged)
        return;
    h->n += n;
    h->staged = 0;
    atomic_store_explicit(&h->buffer->used, h->start + h->n, memory_order_release);
    drop_oldest(h);
}

const samba_token *samba__history_tokens(const samba__history *h)
{
    return h->buffer ? h->buffer->tokens + h->start : NULL;
}

uint64_t samba__history_bytes(const samba__history *h)
{
    return h->buffer ? h->buffer->capacity * sizeof(samba_token) : 0;
}
