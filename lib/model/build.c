/* Building a plan: sublayers, state slots, completeness; see build.h. Knows no family. */
#include "model/build.h"
#include "model/roles.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MESSAGE_MAX = 512
};

samba_status samba__build_fail(const samba__build *b, samba_error **error, samba_status status,
                               const char *format, ...)
{
    const samba__where where = {.file = b->checkpoint->path, .offset = SAMBA_NO_OFFSET};
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return samba__fail_at(b->alloc, error, status, &where, "%s", message);
}

samba_status samba__build_begin(samba__build *b, uint64_t n_blocks, uint32_t per_block,
                                samba_error **error)
{
    size_t n = b->checkpoint->n_tensors;
    samba__plan *p = b->plan;
    if (n_blocks < 1 || n_blocks > n || n > UINT32_MAX / 4)
        return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                                 "%s says %" PRIu64 " layers, the file has %zu tensors", b->sizes,
                                 n_blocks, n);
    p->n_blocks = (uint32_t)n_blocks;
    b->capacity = p->n_blocks * per_block;
    p->sublayers = samba__arena_alloc(&p->arena, b->capacity, sizeof *p->sublayers);
    b->used = samba__calloc(b->alloc, n, sizeof *b->used);
    if (!p->sublayers || !b->used)
        return samba__fail_oom(error);
    return SAMBA_OK;
}

void samba__build_prefix(samba__build *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(b->prefix, sizeof b->prefix, format, args);
    va_end(args);
}

samba_status samba__build_sublayer(samba__build *b, samba_sublayer_kind kind, uint32_t block,
                                   samba__plan_sublayer **sublayer, samba_error **error)
{
    samba__plan *p = b->plan;
    if (p->n_sublayers == b->capacity)
        return samba__build_fail(b, error, SAMBA_ERROR_INTERNAL, "more than %u sublayers",
                                 b->capacity);
    samba__plan_sublayer *s = &p->sublayers[p->n_sublayers++];
    s->desc.struct_size = sizeof s->desc;
    s->desc.kind = kind;
    s->desc.d_model = p->d_model;
    s->desc.norm = p->final_norm_kind;
    s->desc.norm_eps = p->final_norm_eps;
    s->block = block;
    s->slab_slot = -1;
    s->page_slot = -1;
    *sublayer = s;
    return SAMBA_OK;
}

static uint32_t index_of(const samba__build *b, const samba__plan_sublayer *s)
{
    return (uint32_t)(s - b->plan->sublayers);
}

/* A cross layer reads keys and values of an earlier layer of the same geometry, and may see no more
 * of them than that layer keeps. */
static samba_status check_cross(const samba__build *b, const samba__plan_sublayer *s,
                                samba_error **error)
{
    for (const samba__plan_sublayer *o = b->plan->sublayers; o < s; o++) {
        if (o->page_slot != s->page_slot || !samba__desc_owns_pages(&o->desc))
            continue;
        if (o->desc.kind == s->desc.kind && o->desc.n_kv_heads == s->desc.n_kv_heads &&
            o->desc.head_dim == s->desc.head_dim && o->desc.window == s->desc.window)
            return SAMBA_OK;
    }
    return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                             "sublayer %u (cross attention) finds no earlier keys and values of "
                             "its shape in page slot %d",
                             index_of(b, s), s->page_slot);
}

/* A GMU reads the memory published last. */
static samba_status check_gmu(const samba__build *b, const samba__plan_sublayer *s,
                              samba_error **error)
{
    uint32_t width = 0;
    for (const samba__plan_sublayer *o = b->plan->sublayers; o < s; o++)
        if (o->desc.flags & SAMBA_SUBLAYER_PUBLISH_MEMORY && o->desc.kind == SAMBA_SUBLAYER_MAMBA)
            width = o->desc.d_inner;
    if (width == s->desc.d_inner)
        return SAMBA_OK;
    return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                             "sublayer %u (gmu) has width %u, the memory published before it %u",
                             index_of(b, s), s->desc.d_inner, width);
}

samba_status samba__build_shape(samba__build *b, samba__plan_sublayer *s, samba_error **error)
{
    samba__plan *p = b->plan;
    const samba_backend_sublayer *d = &s->desc;
    SAMBA__TRY(samba__desc_check(b->alloc, d, index_of(b, s), b->checkpoint->path, error));
    if (samba__desc_has_slab(d))
        s->slab_slot = (int32_t)p->n_slab_slots++;
    if (samba__desc_owns_pages(d))
        s->page_slot = (int32_t)p->n_page_slots++;
    if (s->slab_slot >= 0 || samba__desc_owns_pages(d))
        p->narrow_at = index_of(b, s);
    if (d->flags & SAMBA_SUBLAYER_CROSS && d->kind == SAMBA_SUBLAYER_DIFF_ATTENTION)
        return check_cross(b, s, error);
    return d->kind == SAMBA_SUBLAYER_GMU ? check_gmu(b, s, error) : SAMBA_OK;
}

/* ---- the end ---- */

/* Tensors that carry nothing: buffers that old checkpoints saved along. */
static bool is_dummy(const char *name)
{
    static const char *const suffixes[] = {"rotary_emb.inv_freq", "rope.inv_freq",
                                           "rel_pos_bias._float_tensor"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t m = strlen(suffixes[i]);
        if (n >= m && strcmp(name + n - m, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static samba_status refuse_extra(const samba__build *b, samba_error **error)
{
    for (size_t i = 0; i < b->checkpoint->n_tensors; i++) {
        const samba__file_tensor *t = &b->checkpoint->tensors[i];
        const samba__where where = {.file = samba__source_name(b->checkpoint->sources[t->file]),
                                    .tensor = t->name,
                                    .offset = SAMBA_NO_OFFSET};
        if (!b->used[i] && !is_dummy(t->name))
            return samba__fail_at(b->alloc, error, SAMBA_ERROR_MISMATCH, &where,
                                  "tensor %s has no place in this %s model", t->name,
                                  b->plan->family);
    }
    return SAMBA_OK;
}

static samba_status list_weights(samba__build *b, samba_error **error)
{
    samba__plan *p = b->plan;
    size_t n = 0, max = (size_t)p->n_sublayers * SAMBA_W_COUNT + 4;
    p->weights = samba__arena_alloc(&p->arena, max, sizeof(samba__weight *));
    if (!p->weights)
        return samba__fail_oom(error);
    p->weights[n++] = p->embed;
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        for (uint32_t r = 0; r < SAMBA_W_COUNT; r++)
            if (p->sublayers[i].weights[r])
                p->weights[n++] = p->sublayers[i].weights[r];
    p->weights[n++] = p->final_norm;
    if (p->final_norm_bias)
        p->weights[n++] = p->final_norm_bias;
    if (p->head)
        p->weights[n++] = p->head;
    p->n_weights = n;
    return SAMBA_OK;
}

samba_status samba__build_finish(samba__build *b, samba_error **error)
{
    SAMBA__TRY(refuse_extra(b, error));
    return list_weights(b, error);
}
