/*
 * The product that attention is made of, scores and weighted values alike: for every step (a
 * channel, a slot) up to 4 registers of a page are read and multiplied by one broadcast number of
 * each of up to 6 queries, 24 sums in registers. An output is one chain in order of the steps,
 * however many queries and registers go together.
 */
#ifndef SAMBA_CPU_AVX512_ATTEND_PRODUCT_H
#define SAMBA_CPU_AVX512_ATTEND_PRODUCT_H

#include "cpu/avx512/kv.h"

enum {
    SAMBA__TILE = 6, /* queries */
    /* What a product reads: floats of one of the kinds, or q8_0 keys or values. */
    SAMBA__READ_F32 = SAMBA__KV_F32,
    SAMBA__READ_F16 = SAMBA__KV_F16,
    SAMBA__READ_BF16 = SAMBA__KV_BF16,
    SAMBA__READ_Q8_KEYS,
    SAMBA__READ_Q8_VALUES
};

/* out[i][w] = sum over k in [begin, end) of b[i][k] * a[k][w], on top of what it is or of 0, for
 * n_q x n_w registers. */
typedef struct samba__product {
    const uint8_t *a;
    size_t step, across; /* bytes from k to k + 1, from w to w + 1 */
    const float *b;      /* [n_q][PAGE] */
    size_t begin, end;
    float *out; /* [n_q][ld], 64-byte aligned */
    size_t ld;
    bool fresh;
    const uint8_t *ahead; /* what comes next in memory: all but f32 ask for it as they go */
    const float *scales;  /* q8_0: [blocks of 32 channels][PAGE], from the first one on */
} samba__product;

SAMBA__INLINE __m512 samba__load_bytes(const uint8_t *p, __m512 scale)
{
    __m512i q = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(q), scale);
}

SAMBA__INLINE __m512 samba__load_16(int kind, const uint8_t *p)
{
    if (kind == SAMBA__KV_F32)
        return _mm512_loadu_ps(p);
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    if (kind == SAMBA__KV_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Bytes of a register. */
SAMBA__INLINE size_t samba__read_bytes(int read)
{
    return read == SAMBA__READ_F32                               ? 64
           : read == SAMBA__READ_F16 || read == SAMBA__READ_BF16 ? 32
                                                                 : 16;
}

/* n registers across. */
void samba__avx512_multiply(int read, size_t n_q, size_t n, samba__product p);

#endif
