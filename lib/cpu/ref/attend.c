/*
 * Reference key-value pages and attention. A page is K [G][64][c], then V [G][64][c], every row of
 * c elements encoded as in the canonical layout, so pack and unpack copy. attend widens the visible
 * rows of one page at a time into scratch and works in f32; only that step knows the dtype.
 */
#include "base/bytes.h"
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"
#include "tensor/dtype.h"

/* One kv dtype: bytes of a row of c elements, and its codec. */
typedef struct codec {
    size_t block, block_bytes;
    void (*widen)(const void *from, float *to, size_t n);
    void (*narrow)(const float *from, void *to, size_t n);
} codec;

static void widen_f32(const void *from, float *to, size_t n)
{
    memcpy(to, from, n * sizeof *to);
}

static void narrow_f32(const float *from, void *to, size_t n)
{
    memcpy(to, from, n * sizeof *from);
}

static void widen_f16(const void *from, float *to, size_t n)
{
    const uint16_t *h = from;
    for (size_t i = 0; i < n; i++)
        to[i] = samba__ref_f16(h[i]);
}

static void narrow_f16(const float *from, void *to, size_t n)
{
    uint16_t *h = to;
    for (size_t i = 0; i < n; i++)
        h[i] = samba__f32_to_f16(from[i]);
}

static void widen_bf16(const void *from, float *to, size_t n)
{
    const uint16_t *h = from;
    for (size_t i = 0; i < n; i++)
        to[i] = samba__bf16_to_f32(h[i]);
}

static void narrow_bf16(const float *from, void *to, size_t n)
{
    uint16_t *h = to;
    for (size_t i = 0; i < n; i++)
        h[i] = samba__f32_to_bf16(from[i]);
}

static void widen_q8_0(const void *from, float *to, size_t n)
{
    const uint8_t *p = from;
    for (size_t i = 0; i < n; i += 32, p += 34) {
        float d = samba__ref_f16(samba__load_u16(p));
        for (size_t k = 0; k < 32; k++)
            to[i + k] = d * (float)(int8_t)p[2 + k];
    }
}

static const codec codecs[] = {
    [SAMBA_DTYPE_F32] = {1, 4, widen_f32, narrow_f32},
    [SAMBA_DTYPE_F16] = {1, 2, widen_f16, narrow_f16},
    [SAMBA_DTYPE_BF16] = {1, 2, widen_bf16, narrow_bf16},
    [SAMBA_DTYPE_Q8_0] = {SAMBA__Q8_0_BLOCK, SAMBA__Q8_0_BYTES, widen_q8_0, samba__q8_0_from_f32},
};

static size_t head_bytes(const codec *t, samba__kv_shape shape)
{
    return shape.head_dim / t->block * t->block_bytes;
}

static size_t page_bytes(const codec *t, samba__kv_shape shape)
{
    if (shape.head_dim % t->block)
        return 0;
    return 2 * shape.n_heads * SAMBA__PAGE * head_bytes(t, shape);
}

/* Where K (part 0) or V (part 1) of a head and slot lies. */
static size_t row_offset(const codec *t, samba__kv_shape shape, size_t part, size_t head,
                         size_t slot)
{
    return ((part * shape.n_heads + head) * SAMBA__PAGE + slot) * head_bytes(t, shape);
}

static void store(const codec *t, const samba__kv_store_args *args)
{
    samba__kv_shape s = args->shape;
    for (size_t h = args->head_begin; h < args->head_end; h++)
        for (size_t r = 0; r < args->n_rows; r++) {
            char *k = (char *)args->page + row_offset(t, s, 0, h, args->slot + r);
            char *v = (char *)args->page + row_offset(t, s, 1, h, args->slot + r);
            t->narrow(args->k + r * args->ldk + h * s.head_dim, k, s.head_dim);
            t->narrow(args->v + r * args->ldv + h * s.head_dim, v, s.head_dim);
        }
}

/* Copies rows between the page and the canonical layout. */
static void copy_rows(const codec *t, const samba__kv_rows_args *args, bool to_page)
{
    samba__kv_shape s = args->shape;
    size_t size = head_bytes(t, s);
    char *row = args->canonical;
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t part = 0; part < 2; part++)
            for (size_t h = 0; h < s.n_heads; h++, row += size) {
                char *at = (char *)args->page + row_offset(t, s, part, h, args->slot + r);
                memcpy(to_page ? at : row, to_page ? row : at, size);
            }
}

/* ---------------------------------------------------------------- attend */

/* Scratch: K [64][c], V [64][n_value*c], p [64], then per query max and sum. */
typedef struct work {
    float *k, *v, *p, *max, *sum;
    size_t width; /* of a value */
} work;

static size_t scratch_floats(samba__kv_shape shape, size_t n_heads, size_t n_value)
{
    return SAMBA__PAGE * shape.head_dim * (1 + n_value) + SAMBA__PAGE +
           2 * SAMBA__ATTEND_ROWS * n_heads;
}

static work work_of(const samba__attend_args *args)
{
    work w = {.k = args->scratch, .width = args->n_value_heads * args->shape.head_dim};
    w.v = w.k + SAMBA__PAGE * args->shape.head_dim;
    w.p = w.v + SAMBA__PAGE * w.width;
    w.max = w.p + SAMBA__PAGE;
    w.sum = w.max + SAMBA__ATTEND_ROWS * args->n_heads;
    return w;
}

/* Widens slots [begin, end) of a page. */
static void load_page(const codec *t, const samba__attend_args *args, const work *w,
                      const char *page, size_t begin, size_t end)
{
    samba__kv_shape s = args->shape;
    for (size_t j = begin; j < end; j++) {
        t->widen(page + row_offset(t, s, 0, args->key_head, j), w->k + j * s.head_dim, s.head_dim);
        for (size_t i = 0; i < args->n_value_heads; i++)
            t->widen(page + row_offset(t, s, 1, args->value_head + i, j),
                     w->v + j * w->width + i * s.head_dim, s.head_dim);
    }
}

/* acc = acc * rescale + sum of p_j v_j; acc [width]. rescale 0 means acc holds nothing yet. */
static void add_values(const work *w, float *acc, float rescale, size_t begin, size_t end)
{
    for (size_t c = 0; c < w->width; c += 16) {
        size_t n = w->width - c < 16 ? w->width - c : 16;
        float a[16] = {0};
        if (rescale != 0.0f)
            for (size_t l = 0; l < n; l++)
                a[l] = acc[c + l] * rescale;
        if (n == 16)
            for (size_t j = begin; j < end; j++)
                samba__ref_axpy16(a, w->p[j], w->v + j * w->width + c);
        else
            for (size_t j = begin; j < end; j++)
                for (size_t l = 0; l < n; l++)
                    a[l] += w->p[j] * w->v[j * w->width + c + l];
        memcpy(acc + c, a, n * sizeof *a);
    }
}

/* One query against slots [begin, end) of the page in scratch. */
static void attend_block(const samba__attend_args *args, const work *w, size_t row, size_t head,
                         size_t begin, size_t end)
{
    const float *q = args->q + row * args->ldq + head * args->q_stride;
    float *max = w->max + row * args->n_heads + head, *sum = w->sum + row * args->n_heads + head;
    float m = *max, total, rescale;
    for (size_t j = begin; j < end; j++) {
        w->p[j] =
            samba__ref_dot(q, w->k + j * args->shape.head_dim, args->shape.head_dim) * args->scale;
        m = w->p[j] > m ? w->p[j] : m;
    }
    rescale = *sum > 0.0f ? samba__ref_exp(*max - m) : 0.0f;
    for (size_t j = begin; j < end; j++)
        w->p[j] = samba__ref_exp(w->p[j] - m);
    total = *sum * rescale;
    for (size_t j = begin; j < end; j++)
        total += w->p[j];
    *max = m;
    *sum = total;
    add_values(w, args->y + row * args->ldy + head * args->y_stride, rescale, begin, end);
}

/* Slots of page `number` that a query at `position` sees. */
static bool visible(const samba__attend_args *args, uint64_t number, uint64_t position,
                    size_t *begin, size_t *end)
{
    uint64_t low = number * SAMBA__PAGE, first = args->first_key;
    if (args->window && position >= args->window && position - args->window + 1 > first)
        first = position - args->window + 1;
    uint64_t from = first > low ? first - low : 0, to = position < low ? 0 : position - low + 1;
    *begin = from < SAMBA__PAGE ? (size_t)from : SAMBA__PAGE;
    *end = to < SAMBA__PAGE ? (size_t)to : SAMBA__PAGE;
    return *begin < *end;
}

static void attend_page(const codec *t, const samba__attend_args *args, const work *w,
                        uint64_t number)
{
    size_t begin, end, low = SAMBA__PAGE, high = 0;
    for (size_t r = 0; r < args->n_rows; r++)
        if (visible(args, number, args->position + r, &begin, &end)) {
            low = begin < low ? begin : low;
            high = end > high ? end : high;
        }
    if (low >= high)
        return;
    load_page(t, args, w, args->pages[number - args->first_page], low, high);
    for (size_t r = 0; r < args->n_rows; r++)
        if (visible(args, number, args->position + r, &begin, &end))
            for (size_t h = 0; h < args->n_heads; h++)
                attend_block(args, w, r, h, begin, end);
}

static void attend(const codec *t, const samba__attend_args *args)
{
    work w = work_of(args);
    for (size_t i = 0; i < args->n_rows * args->n_heads; i++) {
        w.max[i] = -__builtin_inff();
        w.sum[i] = 0.0f;
    }
    uint64_t last = (args->position + args->n_rows - 1) / SAMBA__PAGE;
    for (uint64_t n = args->first_page; n <= last; n++)
        attend_page(t, args, &w, n);
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t h = 0; h < args->n_heads; h++) {
            float *y = args->y + r * args->ldy + h * args->y_stride;
            float inverse = 1.0f / w.sum[r * args->n_heads + h];
            for (size_t i = 0; i < w.width; i++)
                y[i] *= inverse;
        }
}

/* ---------------------------------------------------------------- the table binds the codecs */

static size_t scratch_bytes(samba__kv_shape shape, size_t n_heads, size_t n_value_heads)
{
    return scratch_floats(shape, n_heads, n_value_heads) * sizeof(float);
}

#define BIND(name, dtype)                                                                          \
    static size_t page_bytes_##name(samba__kv_shape shape)                                         \
    {                                                                                              \
        return page_bytes(&codecs[dtype], shape);                                                  \
    }                                                                                              \
    static size_t row_bytes_##name(samba__kv_shape shape)                                          \
    {                                                                                              \
        return 2 * shape.n_heads * head_bytes(&codecs[dtype], shape);                              \
    }                                                                                              \
    static void store_##name(const samba__kv_store_args *args)                                     \
    {                                                                                              \
        store(&codecs[dtype], args);                                                               \
    }                                                                                              \
    static void pack_##name(const samba__kv_rows_args *args)                                       \
    {                                                                                              \
        copy_rows(&codecs[dtype], args, false);                                                    \
    }                                                                                              \
    static void unpack_##name(const samba__kv_rows_args *args)                                     \
    {                                                                                              \
        copy_rows(&codecs[dtype], args, true);                                                     \
    }                                                                                              \
    static void attend_##name(const samba__attend_args *args)                                      \
    {                                                                                              \
        attend(&codecs[dtype], args);                                                              \
    }                                                                                              \
    static const samba__kv_kernels kernels_##name = {                                              \
        page_bytes_##name, row_bytes_##name, store_##name, pack_##name,                            \
        unpack_##name,     scratch_bytes,    attend_##name}

BIND(f32, SAMBA_DTYPE_F32);
BIND(f16, SAMBA_DTYPE_F16);
BIND(bf16, SAMBA_DTYPE_BF16);
BIND(q8_0, SAMBA_DTYPE_Q8_0);

void samba__ref_kv_table(samba__kv_kernels *table)
{
    table[SAMBA_DTYPE_F32] = kernels_f32;
    table[SAMBA_DTYPE_F16] = kernels_f16;
    table[SAMBA_DTYPE_BF16] = kernels_bf16;
    table[SAMBA_DTYPE_Q8_0] = kernels_q8_0;
}
