/* What a sequence's state consists of; see layout.h. */
#include "state/layout.h"
#include "tensor/dtype.h"

samba_status samba__layout_create(samba__device *device, uint32_t n_slab_slots,
                                  uint32_t n_page_slots, samba__layout **layout,
                                  samba_error **error)
{
    samba__layout *l = samba__calloc(device->alloc, 1, sizeof *l);
    if (!l)
        return samba__fail_oom(error);
    samba__refs_init(&l->refs);
    l->device = device;
    l->page_positions = device->info.page_positions;
    l->n_slab_slots = n_slab_slots;
    l->n_page_slots = n_page_slots;
    l->slabs = samba__calloc(device->alloc, n_slab_slots, sizeof *l->slabs);
    l->pages = samba__calloc(device->alloc, n_page_slots, sizeof *l->pages);
    l->shapes = samba__calloc(device->alloc, n_slab_slots, sizeof *l->shapes);
    if (!l->slabs || !l->pages || !l->shapes) {
        samba__layout_release(l);
        return samba__fail_oom(error);
    }
    *layout = l;
    return SAMBA_OK;
}

samba__layout *samba__layout_retain(samba__layout *layout)
{
    samba__refs_take(&layout->refs);
    return layout;
}

void samba__layout_release(samba__layout *layout)
{
    if (!layout || !samba__refs_drop(&layout->refs))
        return;
    const samba_allocator *a = layout->device->alloc;
    samba__free(a, layout->slabs);
    samba__free(a, layout->shapes);
    samba__free(a, layout->pages);
    samba__free(a, layout);
}

uint64_t samba__layout_first_page(const samba__layout *layout, uint32_t slot, uint64_t position)
{
    uint32_t window = layout->pages[slot].window;
    if (!window || position < window)
        return 0;
    return (position - window + 1) / layout->page_positions;
}

static uint64_t pages_of(uint64_t positions, uint32_t page_positions)
{
    return positions / page_positions + (positions % page_positions != 0);
}

uint64_t samba__layout_n_pages(const samba__layout *layout, uint64_t position)
{
    return pages_of(position, layout->page_positions);
}

uint64_t samba__pages_spanned(uint64_t positions, uint32_t page_positions)
{
    return pages_of(positions, page_positions) + 1;
}

uint64_t samba__layout_page_limit(const samba__layout *layout, uint32_t slot)
{
    uint32_t window = layout->pages[slot].window;
    uint64_t seen = window ? (uint64_t)window - 1 : 0;
    return samba__pages_spanned(seen + layout->rows_per_pass, layout->page_positions);
}

static bool product(uint64_t a, uint64_t b, uint64_t c, uint64_t *bytes)
{
    return !__builtin_mul_overflow(a, b, bytes) && !__builtin_mul_overflow(*bytes, c, bytes);
}

static bool add(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static uint32_t conv_taps(const samba_backend_sublayer *s)
{
    return s->d_conv ? s->d_conv - 1 : 0;
}

static void add_part(samba__slab_shape *shape, samba__slab_part part)
{
    uint64_t n = part.n_dims ? 1 : 0;
    for (uint32_t i = 0; i < part.n_dims; i++)
        n = part.dims[i] ? n : 0;
    if (n)
        shape->parts[shape->n_parts++] = part;
}

samba__slab_shape samba__slab_shape_of(const samba_backend_sublayer *s, uint32_t index)
{
    samba__slab_shape shape = {.sublayer = index};
    const uint64_t taps = conv_taps(s), kv = 2 * (uint64_t)s->n_kv_heads;
    switch (s->kind) {
    case SAMBA_SUBLAYER_MAMBA:
        add_part(&shape, (samba__slab_part){SAMBA_SECTION_CONV, 2, {s->d_inner, taps}});
        add_part(&shape, (samba__slab_part){SAMBA_SECTION_SSM, 2, {s->d_inner, s->d_state}});
        break;
    case SAMBA_SUBLAYER_ATTENTION:
        add_part(&shape, (samba__slab_part){
                             SAMBA_SECTION_QKV_CONV, 2, {(s->n_heads + kv) * s->head_dim, taps}});
        break;
    case SAMBA_SUBLAYER_GLA:
    case SAMBA_SUBLAYER_RETENTION:
        add_part(&shape, (samba__slab_part){
                             SAMBA_SECTION_MATRIX, 3, {s->n_heads, s->key_dim, s->value_dim}});
        break;
    default:
        break;
    }
    return shape;
}

bool samba__canonical_slab_bytes(const samba_backend_sublayer *s, uint64_t *bytes)
{
    uint64_t kv = 2 * (uint64_t)s->n_kv_heads, floats = 0;
    bool ok = true;
    switch (s->kind) {
    case SAMBA_SUBLAYER_MAMBA: /* conv [E][d_conv-1], ssm [E][N] */
        ok = product(s->d_inner, (uint64_t)conv_taps(s) + s->d_state, 1, &floats);
        break;
    case SAMBA_SUBLAYER_ATTENTION: /* conv taps of q [H*c], k and v [G*c] */
        ok = add(s->n_heads, kv, &floats) && product(floats, s->head_dim, conv_taps(s), &floats);
        break;
    case SAMBA_SUBLAYER_GLA:
    case SAMBA_SUBLAYER_RETENTION: /* [n_heads][K][V] */
        ok = product(s->n_heads, s->key_dim, s->value_dim, &floats);
        break;
    default:
        break;
    }
    return ok && product(floats, sizeof(float), 1, bytes);
}

bool samba__canonical_row_bytes(const samba_backend_sublayer *s, samba_dtype kv_dtype,
                                uint64_t *bytes)
{
    bool attention =
        s->kind == SAMBA_SUBLAYER_ATTENTION || s->kind == SAMBA_SUBLAYER_DIFF_ATTENTION;
    uint64_t head = 0;
    *bytes = 0;
    if (!attention || (s->flags & SAMBA_SUBLAYER_CROSS))
        return true;
    return samba__dtype_bytes(kv_dtype, s->head_dim, &head) &&
           product(2, s->n_kv_heads, head, bytes);
}
