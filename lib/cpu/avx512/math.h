/*
 * Elementary functions on 16 floats, without approximate instructions: every step is one IEEE
 * operation. A power of two is 2^floor(t) (scalef, exact) times a polynomial of the fraction; log1p
 * goes through atanh, which keeps its relative accuracy for tiny arguments. Results that would be
 * denormal are 0: denormal operands cost a hundred cycles each in whatever comes after.
 */
#ifndef SAMBA_CPU_AVX512_MATH_H
#define SAMBA_CPU_AVX512_MATH_H

#include <immintrin.h>

#define SAMBA__LOG2_E 0x1.715476p+0f

/*
 * 2^t for t >= -126; below that the result may be denormal. 8 instructions. The polynomial is of
 * degree 5 on [0, 1), exact at both ends, so that decays near 1 have no bias; within 2 units in the
 * last place.
 */
static inline __attribute__((always_inline)) __m512 samba__exp2_normal_512(__m512 t)
{
    __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_set1_ps(0x1.f13f74p-10f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.25332cp-7f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c9910cp-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebd242p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e4f2p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, t);
}

/* 2^t. Results below 2^-126 are 0; NaN stays NaN. The same bits as above where both hold. */
static inline __attribute__((always_inline)) __m512 samba__exp2_512(__m512 t)
{
    __mmask16 m = _mm512_cmp_ps_mask(t, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    return _mm512_maskz_mov_ps(m, samba__exp2_normal_512(t));
}

/* exp(sign * x), sign 1 or -1, sign * x >= -87.3: x * log2(e) in two parts, so that the rounding of
 * the product does not grow with x; degree 6, within 1.1 units in the last place. */
static inline __attribute__((always_inline)) __m512 samba__exp_normal_512(float sign, __m512 x)
{
    const __m512 log2e = _mm512_set1_ps(sign * SAMBA__LOG2_E), magic = _mm512_set1_ps(0x1.8p23f);
    __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, log2e, magic), magic);
    __m512 f = _mm512_fmsub_ps(x, log2e, n);
    f = _mm512_fmadd_ps(x, _mm512_set1_ps(sign * 0x1.4ae0bep-26f), f);
    __m512 p = _mm512_set1_ps(0x1.415650p-13f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.5f33a4p-10f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3b2e54p-7f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c6af08p-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebfbdap-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e430p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __attribute__((always_inline)) __m512 samba__exp_512(__m512 x)
{
    const __m512 low = _mm512_set1_ps(-87.33f), high = _mm512_set1_ps(89.0f);
    __mmask16 m = _mm512_cmp_ps_mask(x, low, _CMP_NLT_UQ);
    x = _mm512_min_ps(high, _mm512_max_ps(low, x)); /* the second operand wins on NaN */
    return _mm512_maskz_mov_ps(m, samba__exp_normal_512(1.0f, x));
}

/* x / (1 + exp(-x)); below -88.8 -0 */
static inline __attribute__((always_inline)) __m512 samba__silu_512(__m512 x)
{
    const __m512 low = _mm512_set1_ps(-89.0f), high = _mm512_set1_ps(87.33f);
    __m512 c = _mm512_max_ps(low, _mm512_min_ps(high, x));
    __m512 e = samba__exp_normal_512(-1.0f, c);
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

/* log(1 + u), 0 <= u <= 1: 2 atanh(u / (2 + u)). */
static inline __attribute__((always_inline)) __m512 samba__log1p_512(__m512 u)
{
    __m512 s = _mm512_div_ps(u, _mm512_add_ps(_mm512_set1_ps(2.0f), u));
    __m512 z = _mm512_mul_ps(s, s);
    __m512 p = _mm512_set1_ps(0x1.f55e6cp-4f);
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0x1.b5c8e0p-4f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0x1.251764p-3f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0x1.999608p-3f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(0x1.55555ap-2f));
    p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(1.0f));
    return _mm512_mul_ps(_mm512_add_ps(s, s), p);
}

/* log(1 + exp(x)) */
static inline __attribute__((always_inline)) __m512 samba__softplus_512(__m512 x)
{
    __m512 minus_abs = _mm512_or_ps(x, _mm512_set1_ps(-0.0f));
    __m512 tail = samba__log1p_512(samba__exp_512(minus_abs));
    return _mm512_add_ps(_mm512_max_ps(_mm512_setzero_ps(), x), tail);
}

#endif
