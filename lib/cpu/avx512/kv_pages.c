/*
 * Moving rows into and out of pages. Values only part with their scales. Keys are transposed in
 * blocks of 16 positions x 16 channels, as 32-bit lanes whatever the element; a few rows go element
 * by element. Only the slots given are written; others may be written by other threads meanwhile.
 */
#include "cpu/avx512/kv.h"

#include <float.h>
#include <string.h>

enum {
    FEW = 4,   /* fewer rows of a quarter are not worth a transposition */
    CHUNK = 32 /* channels encoded at a time */
};

/* Rows [lo, hi) of a quarter: row r lies at rows + (r - lo) * stride in canonical form. */
typedef struct key_rows {
    uint8_t *rows;
    size_t stride, lo, hi;
} key_rows;

/* ---------------------------------------------------------------- 16 x 16 blocks */

SAMBA__INLINE __m512i load_wide(int kind, const uint8_t *p, __mmask16 m)
{
    if (kind == SAMBA__KV_F32)
        return _mm512_maskz_loadu_epi32(m, p);
    if (kind == SAMBA__KV_Q8_0)
        return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, p));
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));
}

SAMBA__INLINE void store_narrow(int kind, uint8_t *p, __m512i v, __mmask16 m)
{
    if (kind == SAMBA__KV_F32)
        _mm512_mask_storeu_epi32(p, m, v);
    else if (kind == SAMBA__KV_Q8_0)
        _mm_mask_storeu_epi8(p, m, _mm512_cvtepi32_epi8(v));
    else
        _mm256_mask_storeu_epi16(p, m, _mm512_cvtepi32_epi16(v));
}

/* r[i] lane j <-> r[j] lane i */
SAMBA__INLINE void transpose(__m512i r[16])
{
    __m512i t[16];
    for (size_t i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4)
        for (size_t j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 16; j += 8) {
            t[j + i] = _mm512_shuffle_i32x4(r[j + i], r[j + i + 4], 0x88);
            t[j + i + 4] = _mm512_shuffle_i32x4(r[j + i], r[j + i + 4], 0xdd);
        }
    for (size_t i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

/* n <= 16 channels: canonical rows, at the first of them, -> a quarter, at its channel. */
SAMBA__INLINE void block_in(int kind, uint8_t *to, const key_rows *k, const uint8_t *from, size_t n)
{
    __m512i r[16];
    for (size_t i = 0; i < 16; i++)
        r[i] = i >= k->lo && i < k->hi
                   ? load_wide(kind, from + (i - k->lo) * k->stride, samba__kv_mask(n))
                   : _mm512_setzero_si512();
    transpose(r);
    __mmask16 m = samba__kv_mask(k->hi) & (__mmask16)~samba__kv_mask(k->lo);
    for (size_t i = 0; i < 16; i++)
        if (i < n)
            store_narrow(kind, to + i * 16 * samba__kv_elem_bytes(kind), r[i], m);
}

/* The other way. */
SAMBA__INLINE void block_out(int kind, const uint8_t *from, const key_rows *k, uint8_t *to,
                             size_t n)
{
    __m512i r[16];
    for (size_t i = 0; i < 16; i++)
        r[i] = i < n ? load_wide(kind, from + i * 16 * samba__kv_elem_bytes(kind), 0xffff)
                     : _mm512_setzero_si512();
    transpose(r);
    for (size_t i = 0; i < 16; i++)
        if (i >= k->lo && i < k->hi)
            store_narrow(kind, to + (i - k->lo) * k->stride, r[i], samba__kv_mask(n));
}

/* The same for a few rows. */
SAMBA__INLINE void few(int kind, bool out, uint8_t *quarter, const key_rows *k, uint8_t *rows,
                       size_t n)
{
    size_t es = samba__kv_elem_bytes(kind);
    for (size_t r = k->lo; r < k->hi; r++) {
        uint8_t *row = rows + (r - k->lo) * k->stride, *key = quarter + r * es;
        for (size_t i = 0; i < n; i++)
            memcpy(out ? row + i * es : key + 16 * i * es, out ? key + 16 * i * es : row + i * es,
                   es);
    }
}

/* Channels [first, first + n) of rows k, which begin at the first of them; quarter [c][16]. */
SAMBA__INLINE void move_any_keys(int kind, bool out, uint8_t *quarter, const key_rows *k,
                                 size_t first, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = n - i < 16 ? n - i : 16;
        uint8_t *to = quarter + (first + i) * 16 * samba__kv_elem_bytes(kind);
        uint8_t *row = k->rows + samba__kv_elem(kind, i);
        if (k->hi - k->lo < FEW)
            few(kind, out, to, k, row, left);
        else if (out)
            block_out(kind, to, k, row, left);
        else
            block_in(kind, to, k, row, left);
    }
}

/* q8_0: the scales of the same channels. */
static void move_key_scales(bool out, uint8_t *quarter, const key_rows *k, size_t c, size_t first,
                            size_t n)
{
    for (size_t i = 0; i < n; i += SAMBA__KV_BLOCK)
        for (size_t r = k->lo; r < k->hi; r++) {
            uint8_t *key = quarter + samba__kv_key_scales(c, first + i) + 2 * r;
            uint8_t *row =
                k->rows + samba__kv_row_bytes(SAMBA__KV_Q8_0, i) + (r - k->lo) * k->stride;
            memcpy(out ? row : key, out ? key : row, 2);
        }
}

/* Canonical bytes of a value's blocks [first, first + n) <-> slot `slot` of a head of q8_0. */
static void move_value_q8_0(bool out, uint8_t *head, size_t slot, size_t c, size_t first,
                            uint8_t *row, size_t n)
{
    for (size_t i = first; i < first + n; i += SAMBA__KV_BLOCK, row += SAMBA__KV_BLOCK_BYTES) {
        uint8_t *scale = head + samba__kv_value_scales(c, i) + 2 * slot;
        uint8_t *bytes = head + slot * c + i;
        memcpy(out ? row : scale, out ? scale : row, 2);
        memcpy(out ? row + 2 : bytes, out ? bytes : row + 2, SAMBA__KV_BLOCK);
    }
}

static void move_keys_4(bool out, uint8_t *quarter, const key_rows *k, size_t first, size_t n)
{
    move_any_keys(SAMBA__KV_F32, out, quarter, k, first, n);
}

static void move_keys_2(bool out, uint8_t *quarter, const key_rows *k, size_t first, size_t n)
{
    move_any_keys(SAMBA__KV_F16, out, quarter, k, first, n); /* bf16 moves alike */
}

static void move_keys_1(bool out, uint8_t *quarter, const key_rows *k, size_t first, size_t n)
{
    move_any_keys(SAMBA__KV_Q8_0, out, quarter, k, first, n);
}

SAMBA__INLINE void move_keys(int kind, bool out, uint8_t *quarter, const key_rows *k, size_t c,
                             size_t first, size_t n)
{
    if (kind == SAMBA__KV_Q8_0)
        move_key_scales(out, quarter, k, c, first, n);
    if (kind == SAMBA__KV_F32)
        move_keys_4(out, quarter, k, first, n);
    else if (kind == SAMBA__KV_Q8_0)
        move_keys_1(out, quarter, k, first, n);
    else
        move_keys_2(out, quarter, k, first, n);
}

/* ---------------------------------------------------------------- encoding */

/* Nearest even; NaN stays NaN. */
SAMBA__INLINE __m256i to_bf16(__m512 x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    r = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}

/* Rounded to the nearest integer, ties away from zero, within +-127. */
SAMBA__INLINE __m128i to_q8(__m512 x)
{
    const __m512 limit = _mm512_set1_ps(127.0f), half = _mm512_set1_ps(0.5f);
    x = _mm512_max_ps(_mm512_min_ps(x, limit), _mm512_sub_ps(_mm512_setzero_ps(), limit));
    __m512i q = _mm512_cvttps_epi32(x), one = _mm512_set1_epi32(1);
    __m512 rest = _mm512_sub_ps(x, _mm512_cvtepi32_ps(q)); /* exact */
    q = _mm512_mask_add_epi32(q, _mm512_cmp_ps_mask(rest, half, _CMP_GE_OQ), q, one);
    __m512 minus_half = _mm512_sub_ps(_mm512_setzero_ps(), half);
    q = _mm512_mask_sub_epi32(q, _mm512_cmp_ps_mask(rest, minus_half, _CMP_LE_OQ), q, one);
    return _mm512_cvtepi32_epi8(q);
}

/* The bytes that the format's codec gives (tensor/q8_0.c). */
static void encode_q8_0(const float *x, uint8_t *to)
{
    const __m512 most = _mm512_set1_ps(FLT_MAX), least = _mm512_set1_ps(-FLT_MAX);
    __m512 v[2];
    for (size_t i = 0; i < 2; i++) {
        v[i] = _mm512_loadu_ps(x + 16 * i);
        v[i] = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v[i], v[i], _CMP_ORD_Q), v[i]);
        v[i] = _mm512_max_ps(_mm512_min_ps(v[i], most), least);
    }
    float d = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(v[0]), _mm512_abs_ps(v[1]))) / 127;
    d = d > 65504.0f ? 65504.0f : d; /* the largest f16 */
    __m128i h = _mm_cvtps_ph(_mm_set_ss(d), _MM_FROUND_TO_NEAREST_INT);
    uint16_t scale = (uint16_t)_mm_cvtsi128_si32(h);
    __m512 inverse = _mm512_set1_ps(scale ? 1 / d : 0);
    memcpy(to, &scale, sizeof scale);
    for (size_t i = 0; i < 2; i++)
        _mm_storeu_si128((__m128i *)(void *)(to + 2 + 16 * i), to_q8(_mm512_mul_ps(v[i], inverse)));
}

SAMBA__INLINE void encode(int kind, const float *x, uint8_t *to, size_t n)
{
    if (kind == SAMBA__KV_F32) {
        memcpy(to, x, n * sizeof *x);
        return;
    }
    if (kind == SAMBA__KV_Q8_0) {
        for (size_t i = 0; i < n; i += SAMBA__KV_BLOCK)
            encode_q8_0(x + i, to + samba__kv_row_bytes(kind, i));
        return;
    }
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = samba__kv_mask(n - i);
        __m512 v = _mm512_maskz_loadu_ps(m, x + i);
        _mm256_mask_storeu_epi16(
            to + 2 * i, m,
            kind == SAMBA__KV_F16 ? _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT) : to_bf16(v));
    }
}

/* ---------------------------------------------------------------- rows */

/* Rows [row, row + n) of a call that begins at `slot` stand in one quarter. */
typedef struct run {
    size_t row, quarter, lo, hi;
} run;

static run run_at(size_t slot, size_t row, size_t n_rows)
{
    size_t at = slot + row, lo = at % 16, left = n_rows - row;
    return (run){row, at / 16, lo, lo + left < 16 ? lo + left : 16};
}

SAMBA__INLINE void store_keys(int kind, const samba__kv_store_args *a, size_t head, run r)
{
    size_t c = a->shape.head_dim;
    uint8_t *quarter = (uint8_t *)a->page + samba__kv_quarter_at(kind, a->shape, head, r.quarter);
    for (size_t i = 0; i < c; i += CHUNK) {
        uint8_t rows[16][CHUNK * 4];
        size_t n = c - i < CHUNK ? c - i : CHUNK;
        for (size_t k = r.lo; k < r.hi; k++)
            encode(kind, a->k + (r.row + k - r.lo) * a->ldk + head * c + i, rows[k - r.lo], n);
        move_keys(kind, false, quarter, &(key_rows){rows[0], sizeof rows[0], r.lo, r.hi}, c, i, n);
    }
}

SAMBA__INLINE void store_value(int kind, const samba__kv_store_args *a, size_t head, size_t row)
{
    size_t c = a->shape.head_dim, slot = a->slot + row;
    const float *v = a->v + row * a->ldv + head * c;
    if (kind != SAMBA__KV_Q8_0) {
        encode(kind, v, (uint8_t *)a->page + samba__kv_value_at(kind, a->shape, head, slot), c);
        return;
    }
    uint8_t *to = (uint8_t *)a->page + samba__kv_value_at(kind, a->shape, head, 0);
    for (size_t i = 0; i < c; i += SAMBA__KV_BLOCK) {
        uint8_t block[SAMBA__KV_BLOCK_BYTES];
        encode_q8_0(v + i, block);
        move_value_q8_0(false, to, slot, c, i, block, SAMBA__KV_BLOCK);
    }
}

SAMBA__INLINE void store_any(int kind, const samba__kv_store_args *a)
{
    for (size_t head = a->head_begin; head < a->head_end; head++) {
        for (size_t row = 0; row < a->n_rows; row++)
            store_value(kind, a, head, row);
        run r;
        for (size_t row = 0; row < a->n_rows; row += r.hi - r.lo) {
            r = run_at(a->slot, row, a->n_rows);
            store_keys(kind, a, head, r);
        }
    }
}

/* Canonical rows <-> page, one direction or the other. */
SAMBA__INLINE void move_values(int kind, const samba__kv_rows_args *a, bool out, size_t head)
{
    size_t c = a->shape.head_dim, bytes = samba__kv_row_bytes(kind, c);
    size_t half = a->shape.n_heads * bytes;
    uint8_t *v = (uint8_t *)a->canonical + half + head * bytes;
    uint8_t *at = (uint8_t *)a->page + samba__kv_value_at(kind, a->shape, head, 0);
    for (size_t row = 0; row < a->n_rows; row++, v += 2 * half) {
        uint8_t *to = at + (a->slot + row) * bytes;
        if (kind == SAMBA__KV_Q8_0)
            move_value_q8_0(out, at, a->slot + row, c, 0, v, c);
        else
            memcpy(out ? v : to, out ? to : v, bytes);
    }
}

SAMBA__INLINE void move_head(int kind, const samba__kv_rows_args *a, bool out, size_t head)
{
    size_t c = a->shape.head_dim, bytes = samba__kv_row_bytes(kind, c);
    size_t half = a->shape.n_heads * bytes;
    uint8_t *k = (uint8_t *)a->canonical + head * bytes;
    move_values(kind, a, out, head);
    run r;
    for (size_t row = 0; row < a->n_rows; row += r.hi - r.lo) {
        r = run_at(a->slot, row, a->n_rows);
        key_rows rows = {k + 2 * half * row, 2 * half, r.lo, r.hi};
        move_keys(kind, out,
                  (uint8_t *)a->page + samba__kv_quarter_at(kind, a->shape, head, r.quarter), &rows,
                  c, 0, c);
    }
}

SAMBA__INLINE void move_any(int kind, const samba__kv_rows_args *a, bool out)
{
    for (size_t head = 0; head < a->shape.n_heads; head++)
        move_head(kind, a, out, head);
}

/* ---------------------------------------------------------------- one set per kind */

#define KIND(dtype, name, kind)                                                                    \
    static void store_##name(const samba__kv_store_args *a)                                        \
    {                                                                                              \
        store_any(kind, a);                                                                        \
    }                                                                                              \
    static void pack_##name(const samba__kv_rows_args *a)                                          \
    {                                                                                              \
        move_any(kind, a, true);                                                                   \
    }                                                                                              \
    static void unpack_##name(const samba__kv_rows_args *a)                                        \
    {                                                                                              \
        move_any(kind, a, false);                                                                  \
    }                                                                                              \
    static void bind_##name(samba__kv_kernels *table)                                              \
    {                                                                                              \
        table[dtype].store = store_##name;                                                         \
        table[dtype].pack = pack_##name;                                                           \
        table[dtype].unpack = unpack_##name;                                                       \
    }
KIND(SAMBA_DTYPE_F32, f32, SAMBA__KV_F32)
KIND(SAMBA_DTYPE_F16, f16, SAMBA__KV_F16)
KIND(SAMBA_DTYPE_BF16, bf16, SAMBA__KV_BF16)
KIND(SAMBA_DTYPE_Q8_0, q8_0, SAMBA__KV_Q8_0)

void samba__avx512_kv_pages(samba__kv_kernels *table)
{
    bind_f32(table);
    bind_f16(table);
    bind_bf16(table);
    bind_q8_0(table);
}
