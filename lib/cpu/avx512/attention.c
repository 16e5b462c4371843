/*
 * Attention over pages of f32, f16 and bf16. Keys lie transposed in a page, K [G][c][64], so that
 * the 64 scores of a query and a page are 4 registers fed by broadcasts of q, with no horizontal
 * sums; values lie as V [G][64][c]. Queries go in tiles of 4, which share the loads.
 *
 * One query's numbers depend on its own visible keys only: scores are one chain per key over c, the
 * block's exp sum is one tree over 64 lanes with zeros where a key is not visible, and values are
 * added in order of position. Slots that are not visible are masked off or not read.
 */
#include "base/half.h"
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/math.h"

enum {
    PAGE = SAMBA__PAGE,
    TILE = 4,
    QUARTERS = PAGE / 16
};
enum {
    KIND_F32,
    KIND_F16,
    KIND_BF16
};

static inline size_t elem_bytes(int kind)
{
    return kind == KIND_F32 ? 4 : 2;
}

static inline __mmask16 tail_mask(size_t left)
{
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

/* ---- elements ---- */

static inline __m512 load_16(int kind, const uint8_t *p, __mmask16 m)
{
    if (kind == KIND_F32)
        return _mm512_maskz_loadu_ps(m, p);
    __m256i h = _mm256_maskz_loadu_epi16(m, p);
    if (kind == KIND_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Nearest even; NaN stays NaN. */
static inline __m256i to_bf16(__m512 x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    r = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}

static inline void store_16(int kind, uint8_t *p, __m512 x, __mmask16 m)
{
    if (kind == KIND_F32)
        _mm512_mask_storeu_ps(p, m, x);
    else if (kind == KIND_F16)
        _mm256_mask_storeu_epi16(p, m, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    else
        _mm256_mask_storeu_epi16(p, m, to_bf16(x));
}

/* ---- page layout ---- */

static inline uint8_t *key_at(int kind, samba__kv_shape s, const void *page, size_t head, size_t i)
{
    return (uint8_t *)(uintptr_t)page + (head * s.head_dim + i) * PAGE * elem_bytes(kind);
}

static inline uint8_t *value_at(int kind, samba__kv_shape s, const void *page, size_t head,
                                size_t slot)
{
    size_t keys = s.n_heads * s.head_dim * PAGE;
    return (uint8_t *)(uintptr_t)page +
           (keys + (head * PAGE + slot) * s.head_dim) * elem_bytes(kind);
}

static inline void copy_elem(int kind, uint8_t *to, const uint8_t *from)
{
    __builtin_memcpy(to, from, kind == KIND_F32 ? 4 : 2);
}

static inline __attribute__((always_inline)) void
store_head(int kind, const samba__kv_store_args *a, size_t row, size_t head)
{
    size_t c = a->shape.head_dim, slot = a->slot + row, es = elem_bytes(kind);
    const float *k = a->k + row * a->ldk + head * c, *v = a->v + row * a->ldv + head * c;
    uint8_t *value = value_at(kind, a->shape, a->page, head, slot);
    uint8_t *key = key_at(kind, a->shape, a->page, head, 0) + slot * es;
    for (size_t i = 0; i < c; i += 16) {
        uint8_t rounded[64];
        size_t n = c - i < 16 ? c - i : 16;
        __mmask16 m = tail_mask(c - i);
        store_16(kind, value + i * es, _mm512_maskz_loadu_ps(m, v + i), m);
        store_16(kind, rounded, _mm512_maskz_loadu_ps(m, k + i), m);
        for (size_t l = 0; l < n; l++)
            copy_elem(kind, key + (i + l) * PAGE * es, rounded + l * es);
    }
}

static inline __attribute__((always_inline)) void store_any(int kind, const samba__kv_store_args *a)
{
    for (size_t row = 0; row < a->n_rows; row++)
        for (size_t head = a->head_begin; head < a->head_end; head++)
            store_head(kind, a, row, head);
}

/* Canonical row <-> page, one direction or the other. */
static inline __attribute__((always_inline)) void move_rows(int kind, const samba__kv_rows_args *a,
                                                            bool pack)
{
    size_t c = a->shape.head_dim, es = elem_bytes(kind), half = a->shape.n_heads * c * es;
    for (size_t row = 0; row < a->n_rows; row++) {
        uint8_t *out = (uint8_t *)a->canonical + row * 2 * half;
        for (size_t head = 0; head < a->shape.n_heads; head++) {
            uint8_t *k = out + head * c * es, *v = out + half + head * c * es;
            uint8_t *pk = key_at(kind, a->shape, a->page, head, 0) + (a->slot + row) * es;
            uint8_t *pv = value_at(kind, a->shape, a->page, head, a->slot + row);
            for (size_t i = 0; i < c; i++) {
                copy_elem(kind, pack ? k + i * es : pk + i * PAGE * es,
                          pack ? pk + i * PAGE * es : k + i * es);
                copy_elem(kind, pack ? v + i * es : pv + i * es, pack ? pv + i * es : v + i * es);
            }
        }
    }
}

/* ---- attend ---- */

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

/* Scores of n_q queries against the 64 slots of a page. */
static inline __attribute__((always_inline)) void scores(int kind, const samba__attend_args *a,
                                                         const void *page, const query *t,
                                                         size_t n_q, __m512 s[TILE][QUARTERS])
{
    const uint8_t *k = key_at(kind, a->shape, page, a->key_head, 0);
    size_t step = 16 * elem_bytes(kind);
    for (size_t i = 0; i < n_q; i++)
        for (size_t j = 0; j < QUARTERS; j++)
            s[i][j] = _mm512_setzero_ps();
    for (size_t c = 0; c < a->shape.head_dim; c++, k += QUARTERS * step) {
        __m512 kk[QUARTERS];
        for (size_t j = 0; j < QUARTERS; j++)
            kk[j] = load_16(kind, k + j * step, 0xffff);
        for (size_t i = 0; i < n_q; i++) {
            __m512 q = _mm512_set1_ps(t[i].q[c]);
            for (size_t j = 0; j < QUARTERS; j++)
                s[i][j] = _mm512_fmadd_ps(q, kk[j], s[i][j]);
        }
    }
}

/* Softmax step of one query: p [64] out, running max and sum updated, the accumulator rescaled. */
static void soften(const samba__attend_args *a, query *q, const __m512 s[QUARTERS], float *p,
                   size_t n_values)
{
    const __m512 none = _mm512_set1_ps(-__builtin_inff()), scale = _mm512_set1_ps(a->scale);
    uint64_t seen = (q->seen.hi == 64 ? ~0ull : (1ull << q->seen.hi) - 1) & (~0ull << q->seen.lo);
    __m512 v[QUARTERS], top = none;
    for (size_t j = 0; j < QUARTERS; j++) {
        v[j] = _mm512_mask_mul_ps(none, (__mmask16)(seen >> 16 * j), s[j], scale);
        top = _mm512_max_ps(top, v[j]);
    }
    float m = _mm512_reduce_max_ps(top);
    m = m > q->max ? m : q->max;
    __m512 vm = _mm512_set1_ps(m), total = _mm512_setzero_ps();
    for (size_t j = 0; j < QUARTERS; j++) {
        v[j] = _mm512_maskz_mov_ps((__mmask16)(seen >> 16 * j),
                                   samba__exp_512(_mm512_sub_ps(v[j], vm)));
        _mm512_storeu_ps(p + 16 * j, v[j]);
        total = _mm512_add_ps(total, v[j]);
    }
    __m512 fade = samba__exp_512(_mm512_sub_ps(_mm512_set1_ps(q->max), vm));
    q->sum = q->sum * _mm512_cvtss_f32(fade) + _mm512_reduce_add_ps(total);
    q->max = m;
    for (size_t i = 0; i < n_values; i += 16)
        _mm512_storeu_ps(q->acc + i, _mm512_mul_ps(_mm512_loadu_ps(q->acc + i), fade));
}

/* acc += p_j v_j for slots [lo, hi) and up to 64 value channels of n_q queries. */
static inline __attribute__((always_inline)) void add_values(int kind, const uint8_t *v,
                                                             size_t stride, size_t width, query *t,
                                                             float p[TILE][PAGE], size_t n_q,
                                                             span seen, size_t at)
{
    __m512 acc[TILE][QUARTERS];
    __mmask16 m[QUARTERS];
    size_t step = 16 * elem_bytes(kind), n = (width + 15) / 16;
    for (size_t j = 0; j < QUARTERS; j++)
        m[j] = j < n ? tail_mask(width - 16 * j) : 0;
    for (size_t i = 0; i < n_q; i++)
        for (size_t j = 0; j < QUARTERS; j++)
            acc[i][j] = _mm512_maskz_loadu_ps(m[j], t[i].acc + at + 16 * j);
    for (size_t slot = seen.lo; slot < seen.hi; slot++) {
        __m512 vv[QUARTERS];
        for (size_t j = 0; j < QUARTERS; j++)
            vv[j] = load_16(kind, v + slot * stride + j * step, m[j]);
        for (size_t i = 0; i < n_q; i++) {
            __m512 w = _mm512_set1_ps(p[i][slot]);
            for (size_t j = 0; j < QUARTERS; j++)
                acc[i][j] = _mm512_fmadd_ps(w, vv[j], acc[i][j]);
        }
    }
    for (size_t i = 0; i < n_q; i++)
        for (size_t j = 0; j < QUARTERS; j++)
            _mm512_mask_storeu_ps(t[i].acc + at + 16 * j, m[j], acc[i][j]);
}

static inline __attribute__((always_inline)) void values(int kind, const samba__attend_args *a,
                                                         const void *page, query *t,
                                                         float p[TILE][PAGE], size_t n_q, span seen)
{
    size_t c = a->shape.head_dim, es = elem_bytes(kind);
    for (size_t h = 0; h < a->n_value_heads; h++) {
        const uint8_t *v = value_at(kind, a->shape, page, a->value_head + h, 0);
        for (size_t i = 0; i < c; i += PAGE)
            add_values(kind, v + i * es, c * es, c - i < PAGE ? c - i : PAGE, t, p, n_q, seen,
                       h * c + i);
    }
}

static inline __attribute__((always_inline)) void tile_page(int kind, const samba__attend_args *a,
                                                            const void *page, query *t, size_t n_q)
{
    __m512 s[TILE][QUARTERS];
    float p[TILE][PAGE];
    bool same = true;
    for (size_t i = 1; i < n_q; i++)
        same = same && t[i].seen.lo == t[0].seen.lo && t[i].seen.hi == t[0].seen.hi;
    if (same && !t[0].seen.hi)
        return;
    scores(kind, a, page, t, n_q, s);
    for (size_t i = 0; i < n_q; i++)
        if (t[i].seen.hi)
            soften(a, t + i, s[i], p[i], a->n_value_heads * a->shape.head_dim);
    if (same) {
        values(kind, a, page, t, p, n_q, t[0].seen);
        return;
    }
    for (size_t i = 0; i < n_q; i++)
        if (t[i].seen.hi)
            values(kind, a, page, t + i, p + i, 1, t[i].seen);
}

static size_t acc_floats(const samba__attend_args *a)
{
    return samba__pad16(a->n_value_heads * a->shape.head_dim);
}

static query query_begin(const samba__attend_args *a, size_t row, size_t head, float *acc)
{
    for (size_t i = 0; i < acc_floats(a); i += 16)
        _mm512_storeu_ps(acc + i, _mm512_setzero_ps());
    return (query){.q = a->q + row * a->ldq + head * a->q_stride,
                   .y = a->y + row * a->ldy + head * a->y_stride,
                   .acc = acc,
                   .max = -__builtin_inff()};
}

static void query_end(const samba__attend_args *a, const query *q)
{
    size_t n = a->n_value_heads * a->shape.head_dim;
    __m512 sum = _mm512_set1_ps(q->sum);
    for (size_t i = 0; i < n; i += 16)
        _mm512_mask_storeu_ps(q->y + i, tail_mask(n - i),
                              _mm512_div_ps(_mm512_loadu_ps(q->acc + i), sum));
}

/* Tiles outside, pages inside: the accumulators of a tile stay in the first cache. */
static inline __attribute__((always_inline)) void tile_attend(int kind, const samba__attend_args *a,
                                                              size_t first, size_t n_q)
{
    query t[TILE];
    uint64_t last = (a->position + (first + n_q - 1) / a->n_heads) / PAGE, oldest = a->first_page;
    for (size_t i = 0; i < n_q; i++)
        t[i] = query_begin(a, (first + i) / a->n_heads, (first + i) % a->n_heads,
                           (float *)a->scratch + i * acc_floats(a));
    for (uint64_t page = oldest; page <= last; page++) {
        for (size_t i = 0; i < n_q; i++)
            t[i].seen = visible(a, (first + i) / a->n_heads, page);
        tile_page(kind, a, a->pages[page - oldest], t, n_q);
    }
    for (size_t i = 0; i < n_q; i++)
        query_end(a, t + i);
}

static inline __attribute__((always_inline)) void attend_any(int kind, const samba__attend_args *a)
{
    size_t n = a->n_rows * a->n_heads, i = 0;
    for (; i + TILE <= n; i += TILE)
        tile_attend(kind, a, i, TILE);
    for (; i < n; i++)
        tile_attend(kind, a, i, 1);
}

static size_t scratch_bytes(samba__kv_shape shape, size_t n_heads, size_t n_value_heads)
{
    (void)n_heads;
    return TILE * samba__pad16(n_value_heads * shape.head_dim) * sizeof(float);
}

/* ---- one set of functions per element kind ---- */

#define KIND_FUNCTIONS(name, kind)                                                                 \
    static void store_##name(const samba__kv_store_args *a)                                        \
    {                                                                                              \
        store_any(kind, a);                                                                        \
    }                                                                                              \
    static void pack_##name(const samba__kv_rows_args *a)                                          \
    {                                                                                              \
        move_rows(kind, a, true);                                                                  \
    }                                                                                              \
    static void unpack_##name(const samba__kv_rows_args *a)                                        \
    {                                                                                              \
        move_rows(kind, a, false);                                                                 \
    }                                                                                              \
    static void attend_##name(const samba__attend_args *a)                                         \
    {                                                                                              \
        attend_any(kind, a);                                                                       \
    }
KIND_FUNCTIONS(f32, KIND_F32)
KIND_FUNCTIONS(f16, KIND_F16)
KIND_FUNCTIONS(bf16, KIND_BF16)

/* page_bytes and row_bytes are ref/'s: the sizes are the same. */
void samba__avx512_kv_table(samba__kv_kernels *table)
{
#define KIND_ROW(dtype, name)                                                                      \
    table[dtype].store = store_##name;                                                             \
    table[dtype].pack = pack_##name;                                                               \
    table[dtype].unpack = unpack_##name;                                                           \
    table[dtype].scratch_bytes = scratch_bytes;                                                    \
    table[dtype].attend = attend_##name
    KIND_ROW(SAMBA_DTYPE_F32, f32);
    KIND_ROW(SAMBA_DTYPE_F16, f16);
    KIND_ROW(SAMBA_DTYPE_BF16, bf16);
#undef KIND_ROW
}
