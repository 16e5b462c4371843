/*
 * Attention over pages (pages.h) of f32, f16, bf16 and q8_0. Queries go in tiles of 4, which share
 * the loads: 16 accumulators. 16-bit and 8-bit elements are widened in registers.
 *
 * One query's numbers depend on its own visible keys only: a score is one chain over c, the block's
 * exp sum is one tree over 16 lanes with zeros where a key is not visible, and values are added in
 * order of position. Slots that are not visible are masked off or not read.
 */
#include "base/bytes.h"
#include "cpu/neon/neon.h"
#include "cpu/neon/pages.h"

#include <string.h>

enum {
    TILE = 4,
    QUARTERS = PAGE / 16
};

/* The first n of 16. */
static inline __attribute__((always_inline)) samba__v16 load_part(int kind, const uint8_t *p,
                                                                  size_t n)
{
    uint8_t part[64] = {0};
    memcpy(part, p, n * samba__elem_bytes(kind));
    return samba__load_16(kind, part);
}

/* ---------------------------------------------------------------- scores */

/* Visible slots [lo, hi) of one page for one query; none: hi = 0. */
typedef struct span {
    size_t lo, hi;
} span;

typedef struct query {
    const float *q;
    float *y;
    float *acc; /* [values], padded to 16 */
    float max, sum;
    span seen; /* in the page at hand */
} query;

static span visible(const samba__attend_args *a, size_t row, uint64_t page)
{
    uint64_t at = a->position + row, first = a->first_key, start = page * PAGE;
    if (a->window && at + 1 > a->window && at + 1 - a->window > first)
        first = at + 1 - a->window;
    if (at < start || first >= start + PAGE || first > at)
        return (span){0, 0};
    uint64_t end = at - start + 1;
    return (span){(size_t)(first > start ? first - start : 0), (size_t)(end < PAGE ? end : PAGE)};
}

/* 16 f16 scales. */
static inline samba__v16 load_scales(const uint8_t *p)
{
    return samba__load_16(SAMBA__KIND_F16, p);
}

/* One f16 scale in all lanes. */
static inline samba__v16 load_scale(const uint8_t *p)
{
    float32x4_t d = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(samba__load_u16(p))));
    return (samba__v16){{d, d, d, d}};
}

static inline __attribute__((always_inline)) void scale_16(samba__v16 *v, samba__v16 s)
{
    for (size_t i = 0; i < 4; i++)
        v->q[i] = vmulq_f32(v->q[i], s.q[i]);
}

/* acc + k * q[lane], lane a constant where this is inlined. */
static inline __attribute__((always_inline)) float32x4_t add_lane(float32x4_t acc, float32x4_t k,
                                                                  float32x4_t q, size_t lane)
{
    switch (lane) {
    case 0:
        return vfmaq_laneq_f32(acc, k, q, 0);
    case 1:
        return vfmaq_laneq_f32(acc, k, q, 1);
    case 2:
        return vfmaq_laneq_f32(acc, k, q, 2);
    default:
        return vfmaq_laneq_f32(acc, k, q, 3);
    }
}

/* Where the scores of n_g quarters read. */
typedef struct key_block {
    const uint8_t *k, *scale; /* at the first quarter and channel */
    size_t quarter_bytes;
} key_block;

/* One channel: q[r] holds it in `lane`. */
static inline __attribute__((always_inline)) void
channel_dot(int kind, const key_block *b, size_t n_q, size_t n_g, size_t channel,
            const float32x4_t *q, size_t lane, samba__v16 (*s)[QUARTERS])
{
    for (size_t g = 0; g < n_g; g++) {
        samba__v16 k = samba__load_16(kind, b->k + g * b->quarter_bytes +
                                                channel * 16 * samba__elem_bytes(kind));
        if (kind == SAMBA__KIND_Q8_0)
            scale_16(&k, load_scales(b->scale + g * 32));
        for (size_t r = 0; r < n_q; r++)
            for (size_t i = 0; i < 4; i++)
                s[r][g].q[i] = add_lane(s[r][g].q[i], k.q[i], q[r], lane);
    }
}

/* q . k of n_q queries with n_g quarters of a page, to p. */
static inline __attribute__((always_inline)) void scores(int kind, const samba__attend_args *a,
                                                         const samba__layout *l, const query *t,
                                                         size_t n_q, size_t quarter, size_t n_g,
                                                         float (*p)[PAGE])
{
    size_t c = a->shape.head_dim, i = 0;
    samba__v16 s[TILE][QUARTERS];
    float32x4_t q[TILE];
    key_block b = {.quarter_bytes = c * 16 * samba__elem_bytes(kind)};
    b.k = l->k + quarter * b.quarter_bytes;
    for (size_t r = 0; r < n_q; r++)
        for (size_t g = 0; g < n_g; g++)
            s[r][g] = samba__v16_zero();
    for (; i + 4 <= c; i += 4) {
        b.scale = l->k_scale + (i / BLOCK * PAGE + quarter * 16) * 2;
        for (size_t r = 0; r < n_q; r++)
            q[r] = vld1q_f32(t[r].q + i);
        channel_dot(kind, &b, n_q, n_g, i, q, 0, s);
        channel_dot(kind, &b, n_q, n_g, i + 1, q, 1, s);
        channel_dot(kind, &b, n_q, n_g, i + 2, q, 2, s);
        channel_dot(kind, &b, n_q, n_g, i + 3, q, 3, s);
    }
    for (; i < c; i++) {
        for (size_t r = 0; r < n_q; r++)
            q[r] = vdupq_n_f32(t[r].q[i]);
        channel_dot(kind, &b, n_q, n_g, i, q, 0, s);
    }
    for (size_t r = 0; r < n_q; r++)
        for (size_t g = 0; g < n_g; g++)
            samba__v16_store(p[r] + 16 * (quarter + g), s[r][g]);
}

/* All ones in the lanes of slots [slot, slot + 4) that are seen. */
static inline uint32x4_t seen_mask(span seen, size_t slot)
{
    static const uint32_t steps[4] = {0, 1, 2, 3};
    uint32x4_t at = vaddq_u32(vld1q_u32(steps), vdupq_n_u32((uint32_t)slot));
    return vandq_u32(vcgeq_u32(at, vdupq_n_u32((uint32_t)seen.lo)),
                     vcltq_u32(at, vdupq_n_u32((uint32_t)seen.hi)));
}

/* Softmax step of one query: p from scores to weights in the quarters that it sees, running max
 * and sum updated, the accumulator rescaled. */
static void soften(const samba__attend_args *a, query *q, float *p, size_t n_values)
{
    const float32x4_t none = vdupq_n_f32(-__builtin_inff());
    size_t first = q->seen.lo & ~(size_t)15, end = (q->seen.hi + 15) & ~(size_t)15;
    float32x4_t top = none;
    samba__v16 total = samba__v16_zero();
    for (size_t j = first; j < end; j += 4) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(p + j), a->scale);
        v = vbslq_f32(seen_mask(q->seen, j), v, none);
        top = vmaxq_f32(top, v);
        vst1q_f32(p + j, v);
    }
    float m = vmaxvq_f32(top);
    m = m > q->max ? m : q->max;
    float32x4_t fade = samba__exp_4(vdupq_n_f32(q->max - m));
    for (size_t j = first; j < end; j += 16)
        for (size_t i = 0; i < 4; i++) {
            float *at = p + j + 4 * i;
            float32x4_t v = samba__exp_4(vsubq_f32(vld1q_f32(at), vdupq_n_f32(m)));
            v = vreinterpretq_f32_u32(
                vandq_u32(vreinterpretq_u32_f32(v), seen_mask(q->seen, j + 4 * i)));
            vst1q_f32(at, v);
            total.q[i] = vaddq_f32(total.q[i], v);
        }
    q->sum = q->sum * vgetq_lane_f32(fade, 0) + samba__v16_tree(total);
    q->max = m;
    for (size_t i = 0; i < n_values; i += 4)
        vst1q_f32(q->acc + i, vmulq_f32(vld1q_f32(q->acc + i), fade));
}

/* ---------------------------------------------------------------- values */

/* Where n_g groups of 16 value channels are: in the page, and in the queries' accumulators. */
typedef struct value_block {
    const uint8_t *v, *scale;    /* of slot 0 */
    size_t v_bytes, scale_bytes; /* from slot to slot */
    size_t acc;
    size_t n; /* channels of the last group */
} value_block;

/* acc += p_j v_j for slots [lo, hi) and n_q queries. whole: no group has fewer than 16 channels. */
static inline __attribute__((always_inline)) void add_values(int kind, const value_block *b,
                                                             query *t, float (*p)[PAGE], size_t n_q,
                                                             size_t n_g, bool whole, span seen)
{
    samba__v16 acc[TILE][QUARTERS];
    for (size_t r = 0; r < n_q; r++)
        for (size_t g = 0; g < n_g; g++)
            acc[r][g] = whole ? samba__v16_load(t[r].acc + b->acc + 16 * g)
                              : samba__v16_load_part(t[r].acc + b->acc, b->n);
    for (size_t slot = seen.lo; slot < seen.hi; slot++)
        for (size_t g = 0; g < n_g; g++) {
            const uint8_t *at = b->v + slot * b->v_bytes + 16 * g * samba__elem_bytes(kind);
            samba__v16 v = whole ? samba__load_16(kind, at) : load_part(kind, at, b->n);
            if (kind == SAMBA__KIND_Q8_0)
                scale_16(&v, load_scale(b->scale + slot * b->scale_bytes + 16 * g / BLOCK * 2));
            for (size_t r = 0; r < n_q; r++)
                for (size_t i = 0; i < 4; i++)
                    acc[r][g].q[i] = vfmaq_n_f32(acc[r][g].q[i], v.q[i], p[r][slot]);
        }
    for (size_t r = 0; r < n_q; r++)
        for (size_t g = 0; g < n_g; g++) {
            if (whole)
                samba__v16_store(t[r].acc + b->acc + 16 * g, acc[r][g]);
            else
                samba__v16_store_part(t[r].acc + b->acc, acc[r][g], b->n);
        }
}

static inline __attribute__((always_inline)) void values(int kind, const samba__attend_args *a,
                                                         const void *page, query *t,
                                                         float (*p)[PAGE], size_t n_q, span seen)
{
    size_t c = a->shape.head_dim, es = samba__elem_bytes(kind), wide = TILE / n_q;
    for (size_t h = 0; h < a->n_value_heads; h++) {
        samba__layout l = samba__layout_of(kind, a->shape, page, a->value_head + h);
        value_block b = {.v_bytes = c * es, .scale_bytes = c / BLOCK * 2};
        size_t n;
        for (size_t i = 0; i < c; i += n) {
            b.v = l.v + i * es;
            b.scale = l.v_scale + i / BLOCK * 2;
            b.acc = h * c + i;
            b.n = c - i;
            n = wide > 1 && b.n >= 16 * wide && i % BLOCK == 0 ? 16 * wide : 16;
            if (n > 16)
                add_values(kind, &b, t, p, n_q, wide, true, seen);
            else if (b.n >= 16)
                add_values(kind, &b, t, p, n_q, 1, true, seen);
            else
                add_values(kind, &b, t, p, n_q, 1, false, seen);
        }
    }
}

/* ---------------------------------------------------------------- attend */

static inline __attribute__((always_inline)) void tile_page(int kind, const samba__attend_args *a,
                                                            const void *page, query *t, size_t n_q)
{
    float p[TILE][PAGE];
    bool same = true;
    size_t low = PAGE, high = 0, wide = TILE / n_q;
    samba__layout l = samba__layout_of(kind, a->shape, page, a->key_head);
    for (size_t r = 0; r < n_q; r++) {
        same = same && t[r].seen.lo == t[0].seen.lo && t[r].seen.hi == t[0].seen.hi;
        if (t[r].seen.hi) {
            low = t[r].seen.lo < low ? t[r].seen.lo : low;
            high = t[r].seen.hi > high ? t[r].seen.hi : high;
        }
    }
    if (!high)
        return;
    for (size_t g = low / 16 / wide * wide; g * 16 < high; g += wide)
        scores(kind, a, &l, t, n_q, g, wide, p);
    for (size_t r = 0; r < n_q; r++)
        if (t[r].seen.hi)
            soften(a, t + r, p[r], a->n_value_heads * a->shape.head_dim);
    if (same) {
        values(kind, a, page, t, p, n_q, t[0].seen);
        return;
    }
    for (size_t r = 0; r < n_q; r++)
        if (t[r].seen.hi)
            values(kind, a, page, t + r, p + r, 1, t[r].seen);
}

static size_t acc_floats(const samba__attend_args *a)
{
    return samba__pad16(a->n_value_heads * a->shape.head_dim);
}

static query query_begin(const samba__attend_args *a, size_t row, size_t head, float *acc)
{
    memset(acc, 0, acc_floats(a) * sizeof *acc);
    return (query){.q = a->q + row * a->ldq + head * a->q_stride,
                   .y = a->y + row * a->ldy + head * a->y_stride,
                   .acc = acc,
                   .max = -__builtin_inff()};
}

static void query_end(const samba__attend_args *a, const query *q)
{
    size_t n = a->n_value_heads * a->shape.head_dim;
    float32x4_t sum = vdupq_n_f32(q->sum);
    for (size_t i = 0; i < n; i += 16) {
        samba__v16 v = samba__v16_load(q->acc + i);
        for (size_t k = 0; k < 4; k++)
            v.q[k] = vdivq_f32(v.q[k], sum);
        samba__v16_store_left(q->y + i, v, n - i);
    }
}

/* Tiles outside, pages inside: the accumulators of a tile stay in the first cache. */
static inline __attribute__((always_inline)) void tile_attend(int kind, const samba__attend_args *a,
                                                              size_t first, size_t n_q)
{
    query t[TILE];
    uint64_t last = (a->position + (first + n_q - 1) / a->n_heads) / PAGE, oldest = a->first_page;
    for (size_t r = 0; r < n_q; r++)
        t[r] = query_begin(a, (first + r) / a->n_heads, (first + r) % a->n_heads,
                           (float *)a->scratch + r * acc_floats(a));
    for (uint64_t page = oldest; page <= last; page++) {
        for (size_t r = 0; r < n_q; r++)
            t[r].seen = visible(a, (first + r) / a->n_heads, page);
        tile_page(kind, a, a->pages[page - oldest], t, n_q);
    }
    for (size_t r = 0; r < n_q; r++)
        query_end(a, t + r);
}

static inline __attribute__((always_inline)) void attend_any(int kind, const samba__attend_args *a)
{
    size_t n = a->n_rows * a->n_heads, i = 0;
    for (; i + TILE <= n; i += TILE)
        tile_attend(kind, a, i, TILE);
    if (n - i >= 2) {
        tile_attend(kind, a, i, 2);
        i += 2;
    }
    if (i < n)
        tile_attend(kind, a, i, 1);
}

static size_t scratch_bytes(samba__kv_shape shape, size_t n_heads, size_t n_value_heads)
{
    (void)n_heads;
    return TILE * samba__pad16(n_value_heads * shape.head_dim) * sizeof(float);
}

/* One set of functions per element kind. */
#define KIND_FUNCTIONS(name, kind)                                                                 \
    static void attend_##name(const samba__attend_args *a)                                         \
    {                                                                                              \
        attend_any(kind, a);                                                                       \
    }                                                                                              \
    static void set_##name(samba__kv_kernels *k)                                                   \
    {                                                                                              \
        k->scratch_bytes = scratch_bytes;                                                          \
        k->attend = attend_##name;                                                                 \
    }
KIND_FUNCTIONS(f32, SAMBA__KIND_F32)
KIND_FUNCTIONS(f16, SAMBA__KIND_F16)
KIND_FUNCTIONS(bf16, SAMBA__KIND_BF16)
KIND_FUNCTIONS(q8_0, SAMBA__KIND_Q8_0)

void samba__neon_attention(samba__kv_kernels *table)
{
    set_f32(&table[SAMBA_DTYPE_F32]);
    set_f16(&table[SAMBA_DTYPE_F16]);
    set_bf16(&table[SAMBA_DTYPE_BF16]);
    set_q8_0(&table[SAMBA_DTYPE_Q8_0]);
}
