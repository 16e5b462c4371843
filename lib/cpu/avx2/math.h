/*
 * Elementary functions on 8 floats: polynomials and exact powers of two. No approximate
 * instructions: every step is one IEEE operation, so a lane's bits depend on that lane only.
 */
#ifndef SAMBA_CPU_AVX2_MATH_H
#define SAMBA_CPU_AVX2_MATH_H

#include "cpu/avx2/lanes.h"

/* e^x: n = round(x / ln 2), polynomial on the rest, times 2^n. 0 below -87.7, infinity above 88.4,
 * NaN stays NaN. */
SAMBA__V8_INLINE __m256 samba__v8_exp(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(0x1.8p23f);
    /* Where n is -127 and 128, and 2^n comes out as 0 and infinity; the second operand wins on NaN.
     */
    x = _mm256_max_ps(_mm256_set1_ps(-88.03f), x);
    x = _mm256_min_ps(_mm256_set1_ps(88.73f), x);
    __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), magic);
    __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e430p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.05c610p-29f), r);
    __m256 p = _mm256_set1_ps(0x1.6ab938p-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.126d4cp-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.55589cp-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.55540ap-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffap-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

/* x / (1 + exp(-x)) */
SAMBA__V8_INLINE __m256 samba__v8_silu(__m256 x)
{
    __m256 e = samba__v8_exp(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

/* log(1 + u), 0 <= u <= 1: 2 atanh(u / (2 + u)), which keeps its relative accuracy for tiny u. */
SAMBA__V8_INLINE __m256 samba__v8_log1p(__m256 u)
{
    __m256 s = _mm256_div_ps(u, _mm256_add_ps(_mm256_set1_ps(2.0f), u));
    __m256 z = _mm256_mul_ps(s, s);
    __m256 p = _mm256_set1_ps(0x1.f55e6cp-4f);
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.b5c8e0p-4f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.251764p-3f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.999608p-3f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.55555ap-2f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(1.0f));
    return _mm256_mul_ps(_mm256_add_ps(s, s), p);
}

/* log(1 + exp(x)) */
SAMBA__V8_INLINE __m256 samba__v8_softplus(__m256 x)
{
    __m256 tail = samba__v8_log1p(samba__v8_exp(_mm256_or_ps(x, _mm256_set1_ps(-0.0f))));
    return _mm256_add_ps(_mm256_max_ps(_mm256_setzero_ps(), x), tail);
}

#endif
