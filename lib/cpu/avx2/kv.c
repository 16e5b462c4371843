/* Storing keys and values in pages, and moving rows between pages and the canonical form. */
#include "cpu/avx2/kv.h"
#include "cpu/avx2/avx2.h"
#include "tensor/dtype.h"

enum {
    PAGE = SAMBA__PAGE,
    Q8_BLOCK = 32,
    Q8_BYTES = 34
};

/* ---- elements ---- */

/* Nearest even; NaN stays NaN. */
static inline __m128i to_bf16(__m256 x)
{
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    r = _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(nan));
    r = _mm256_srli_epi32(r, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

/* Eight elements, rounded. */
SAMBA__V8_INLINE void round_8(int kind, uint8_t *to, __m256 x)
{
    if (kind == SAMBA__KV_F32)
        _mm256_storeu_ps((float *)(void *)to, x);
    else if (kind == SAMBA__KV_F16)
        _mm_storeu_si128((__m128i *)(void *)to, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    else
        _mm_storeu_si128((__m128i *)(void *)to, to_bf16(x));
}

SAMBA__V8_INLINE void copy_elem(int kind, uint8_t *to, const uint8_t *from)
{
    __builtin_memcpy(to, from, samba__kv_elem(kind));
}

SAMBA__V8_INLINE void store_head(int kind, const samba__kv_store_args *a, size_t row, size_t head)
{
    size_t c = a->shape.head_dim, slot = a->slot + row, es = samba__kv_elem(kind);
    const float *k = a->k + row * a->ldk + head * c, *v = a->v + row * a->ldv + head * c;
    uint8_t *key = samba__kv_key(kind, a->shape, a->page, head) + slot * es;
    uint8_t *value = samba__kv_value(kind, a->shape, a->page, head) + slot * c * es;
    for (size_t i = 0; i < c; i += 8) {
        uint8_t part[32];
        size_t n = c - i < 8 ? c - i : 8;
        round_8(kind, part, samba__v8_load(v + i, n));
        __builtin_memcpy(value + i * es, part, n * es);
        round_8(kind, part, samba__v8_load(k + i, n));
        for (size_t l = 0; l < n; l++)
            copy_elem(kind, key + (i + l) * PAGE * es, part + l * es);
    }
}

SAMBA__V8_INLINE void store_any(int kind, const samba__kv_store_args *a)
{
    for (size_t row = 0; row < a->n_rows; row++)
        for (size_t head = a->head_begin; head < a->head_end; head++)
            store_head(kind, a, row, head);
}

/* Eight rows of eight 2-byte elements each, transposed. */
SAMBA__V8_INLINE void transpose_8x16(const uint8_t *from, size_t from_step, uint8_t *to,
                                     size_t to_step)
{
    __m128i r[8], a[8], b[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + (size_t)i * from_step));
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((__m128i *)(void *)(to + (size_t)(2 * i) * to_step),
                         _mm_unpacklo_epi64(b[i], b[i + 4]));
        _mm_storeu_si128((__m128i *)(void *)(to + (size_t)(2 * i + 1) * to_step),
                         _mm_unpackhi_epi64(b[i], b[i + 4]));
    }
}

/* Keys of n <= 8 rows from `slot` on, between a page [c][64] and rows `step` bytes apart. */
SAMBA__V8_INLINE void move_keys(int kind, uint8_t *page, uint8_t *rows, size_t step, size_t c,
                                size_t slot, size_t n, bool pack)
{
    size_t es = samba__kv_elem(kind), i = 0;
    for (; es == 2 && n == 8 && i + 8 <= c; i += 8) {
        uint8_t *key = page + (i * PAGE + slot) * es, *row = rows + i * es;
        if (pack)
            transpose_8x16(key, PAGE * es, row, step);
        else
            transpose_8x16(row, step, key, PAGE * es);
    }
    for (; i < c; i++)
        for (size_t k = 0; k < n; k++) {
            uint8_t *key = page + (i * PAGE + slot + k) * es, *row = rows + k * step + i * es;
            copy_elem(kind, pack ? row : key, pack ? key : row);
        }
}

/* Canonical rows <-> page, one direction or the other. */
SAMBA__V8_INLINE void move_rows(int kind, const samba__kv_rows_args *a, bool pack)
{
    size_t c = a->shape.head_dim, es = samba__kv_elem(kind), half = a->shape.n_heads * c * es;
    for (size_t head = 0; head < a->shape.n_heads; head++) {
        uint8_t *keys = samba__kv_key(kind, a->shape, a->page, head);
        uint8_t *values = samba__kv_value(kind, a->shape, a->page, head);
        uint8_t *row = (uint8_t *)a->canonical + head * c * es;
        for (size_t r = 0, n; r < a->n_rows; r += n, row += n * 2 * half) {
            n = a->n_rows - r < 8 ? a->n_rows - r : 8;
            move_keys(kind, keys, row, 2 * half, c, a->slot + r, n, pack);
            for (size_t k = 0; k < n; k++) {
                uint8_t *value = values + (a->slot + r + k) * c * es;
                uint8_t *v = row + k * 2 * half + half;
                __builtin_memcpy(pack ? v : value, pack ? value : v, c * es);
            }
        }
    }
}

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
    }
KIND_FUNCTIONS(f32, SAMBA__KV_F32)
KIND_FUNCTIONS(f16, SAMBA__KV_F16)
KIND_FUNCTIONS(bf16, SAMBA__KV_BF16)

/* ---- q8_0: the codec's blocks, taken apart ---- */

/* Where block b of one head and slot lies in a page. */
typedef struct q8_block {
    uint8_t *key, *key_scale, *value, *value_scale;
} q8_block;

static q8_block q8_block_at(samba__kv_q8 head, size_t c, size_t slot, size_t b)
{
    return (q8_block){
        head.keys + b * Q8_BLOCK * PAGE + slot, head.key_scales + (b * PAGE + slot) * 2,
        head.values + slot * c + b * Q8_BLOCK, head.value_scales + (slot * (c / Q8_BLOCK) + b) * 2};
}

static void put_q8(q8_block at, const uint8_t *k, const uint8_t *v)
{
    __builtin_memcpy(at.key_scale, k, 2);
    __builtin_memcpy(at.value_scale, v, 2);
    __builtin_memcpy(at.value, v + 2, Q8_BLOCK);
    for (size_t i = 0; i < Q8_BLOCK; i++)
        at.key[i * PAGE] = k[2 + i];
}

static void get_q8(q8_block at, uint8_t *k, uint8_t *v)
{
    __builtin_memcpy(k, at.key_scale, 2);
    __builtin_memcpy(v, at.value_scale, 2);
    __builtin_memcpy(v + 2, at.value, Q8_BLOCK);
    for (size_t i = 0; i < Q8_BLOCK; i++)
        k[2 + i] = at.key[i * PAGE];
}

static void store_q8_0(const samba__kv_store_args *a)
{
    size_t c = a->shape.head_dim;
    for (size_t row = 0; row < a->n_rows; row++)
        for (size_t head = a->head_begin; head < a->head_end; head++) {
            const float *k = a->k + row * a->ldk + head * c, *v = a->v + row * a->ldv + head * c;
            samba__kv_q8 to = samba__kv_q8_at(a->shape, a->page, head);
            for (size_t b = 0; b < c / Q8_BLOCK; b++) {
                uint8_t kb[Q8_BYTES], vb[Q8_BYTES];
                samba__q8_0_from_f32(k + b * Q8_BLOCK, kb, Q8_BLOCK);
                samba__q8_0_from_f32(v + b * Q8_BLOCK, vb, Q8_BLOCK);
                put_q8(q8_block_at(to, c, a->slot + row, b), kb, vb);
            }
        }
}

static void move_q8_rows(const samba__kv_rows_args *a, bool pack)
{
    size_t c = a->shape.head_dim, n = c / Q8_BLOCK, half = a->shape.n_heads * n * Q8_BYTES;
    for (size_t row = 0; row < a->n_rows; row++) {
        uint8_t *out = (uint8_t *)a->canonical + row * 2 * half;
        for (size_t head = 0; head < a->shape.n_heads; head++) {
            samba__kv_q8 from = samba__kv_q8_at(a->shape, a->page, head);
            for (size_t b = 0; b < n; b++, out += Q8_BYTES) {
                q8_block at = q8_block_at(from, c, a->slot + row, b);
                if (pack)
                    get_q8(at, out, out + half);
                else
                    put_q8(at, out, out + half);
            }
        }
    }
}

static void pack_q8_0(const samba__kv_rows_args *a)
{
    move_q8_rows(a, true);
}

static void unpack_q8_0(const samba__kv_rows_args *a)
{
    move_q8_rows(a, false);
}

void samba__avx2_kv_store(samba__kv_kernels *table)
{
#define KIND_ROW(dtype, name)                                                                      \
    table[dtype].store = store_##name;                                                             \
    table[dtype].pack = pack_##name;                                                               \
    table[dtype].unpack = unpack_##name
    KIND_ROW(SAMBA_DTYPE_F32, f32);
    KIND_ROW(SAMBA_DTYPE_F16, f16);
    KIND_ROW(SAMBA_DTYPE_BF16, bf16);
    KIND_ROW(SAMBA_DTYPE_Q8_0, q8_0);
#undef KIND_ROW
}
