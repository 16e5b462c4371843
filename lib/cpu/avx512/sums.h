/*
 * Sums over channels in one fixed order: four registers take turns, so that a sum is not one long
 * chain; they are added in pairs, then the 16 lanes in the tree of kernels.h.
 */
#ifndef SAMBA_CPU_AVX512_SUMS_H
#define SAMBA_CPU_AVX512_SUMS_H

#include "cpu/avx512/avx512.h"

#include <immintrin.h>

enum {
    SAMBA__SUM_CHAINS = 4
};

/* Lanes i .. i + 15 that lie below n. */
SAMBA__INLINE __mmask16 samba__mask_of(size_t i, size_t n)
{
    size_t left = n > i ? n - i : 0;
    return (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1);
}

/* lane l += lane l + 8, + 4, + 2, + 1 */
SAMBA__INLINE float samba__tree_512(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

SAMBA__INLINE float samba__chains_512(const __m512 s[SAMBA__SUM_CHAINS])
{
    return samba__tree_512(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

#endif
