/*
 * Where things lie in a page of keys and values. Keys are transposed, K [G][c][64], so that scores
 * of neighbouring positions lie side by side and need no horizontal sums; values are V [G][64][c].
 * q8_0 pages hold K int8 [G][c][64], K scales f16 [G][c/32][64], V int8 [G][64][c], V scales f16
 * [G][64][c/32]. Sizes are those of ref/, so page_bytes and row_bytes are too.
 */
#ifndef SAMBA_CPU_AVX2_KV_H
#define SAMBA_CPU_AVX2_KV_H

#include "cpu/avx2/lanes.h"
#include "cpu/kernels.h"

enum {
    SAMBA__KV_F32,
    SAMBA__KV_F16,
    SAMBA__KV_BF16
};

SAMBA__V8_INLINE size_t samba__kv_elem(int kind)
{
    return kind == SAMBA__KV_F32 ? 4 : 2;
}

SAMBA__V8_INLINE uint8_t *samba__kv_key(int kind, samba__kv_shape s, const void *page, size_t head)
{
    return (uint8_t *)(uintptr_t)page + head * s.head_dim * SAMBA__PAGE * samba__kv_elem(kind);
}

SAMBA__V8_INLINE uint8_t *samba__kv_value(int kind, samba__kv_shape s, const void *page,
                                          size_t head)
{
    return samba__kv_key(kind, s, page, s.n_heads + head);
}

/* One head of a q8_0 page. */
typedef struct samba__kv_q8 {
    uint8_t *keys, *key_scales, *values, *value_scales;
} samba__kv_q8;

static inline samba__kv_q8 samba__kv_q8_at(samba__kv_shape s, const void *page, size_t head)
{
    size_t quants = s.head_dim * SAMBA__PAGE, scales = quants / 32 * 2;
    uint8_t *k = (uint8_t *)(uintptr_t)page, *v = k + s.n_heads * (quants + scales);
    return (samba__kv_q8){k + head * quants, k + s.n_heads * quants + head * scales,
                          v + head * quants, v + s.n_heads * quants + head * scales};
}

/* Eight elements. */
SAMBA__V8_INLINE __m256 samba__kv_load(int kind, const uint8_t *p)
{
    if (kind == SAMBA__KV_F32)
        return _mm256_loadu_ps((const float *)(const void *)p);
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (kind == SAMBA__KV_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The first n elements, zeros after them; nothing else is read. */
SAMBA__V8_INLINE __m256 samba__kv_load_part(int kind, const uint8_t *p, size_t n)
{
    uint8_t part[32] = {0};
    if (n >= 8)
        return samba__kv_load(kind, p);
    __builtin_memcpy(part, p, n * samba__kv_elem(kind));
    return samba__kv_load(kind, part);
}

/* kv.c: storing, and the canonical rows. */
void samba__avx2_kv_store(samba__kv_kernels *table); /* [SAMBA__N_DTYPES] */

#endif
