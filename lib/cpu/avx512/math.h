/*
 * Elementary functions on 16 floats. exp2 is a polynomial of degree 6 on [-1/2, 1/2] (relative
 * error 2e-9 before rounding) and an exact power of two; log1p goes through atanh, which keeps its
 * relative accuracy for tiny arguments. No approximate instructions: every step is one IEEE
 * operation.
 */
#ifndef SAMBA_CPU_AVX512_MATH_H
#define SAMBA_CPU_AVX512_MATH_H

#include <immintrin.h>

#define SAMBA__LOG2_E 0x1.715476p+0f

/* 2^t. Results below 2^-126 are 0; NaN stays NaN. */
static inline __m512 samba__exp2_512(__m512 t)
{
    const __m512 low = _mm512_set1_ps(-127.0f), high = _mm512_set1_ps(129.0f);
    t = _mm512_min_ps(high, _mm512_max_ps(low, t)); /* the second operand wins on NaN */
    __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(t, n); /* exact */
    __m512 p = _mm512_set1_ps(0x1.41d30ep-13f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.5f4598p-10f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3b2dbcp-7f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c6aed4p-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebfbdap-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e430p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    __m512 y = _mm512_scalef_ps(p, n);
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(t, _mm512_set1_ps(-126.0f), _CMP_LT_OQ),
                              _mm512_setzero_ps());
}

static inline __m512 samba__exp_512(__m512 x)
{
    /* x * log2(e) in two parts, so that the rounding of the product does not grow with x */
    __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(SAMBA__LOG2_E));
    __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e430p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.05c610p-29f), r);
    __m512 p = _mm512_set1_ps(0x1.6ab938p-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.126d4cp-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.55589cp-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.55540ap-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffap-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    __m512 y = _mm512_scalef_ps(p, n);
    const __m512 low = _mm512_set1_ps(-87.33f), high = _mm512_set1_ps(88.72284f);
    y = _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, low, _CMP_LT_OQ), _mm512_setzero_ps());
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, high, _CMP_GT_OQ),
                              _mm512_set1_ps(__builtin_inff()));
}

/* x / (1 + exp(-x)) */
static inline __m512 samba__silu_512(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = samba__exp_512(_mm512_sub_ps(_mm512_setzero_ps(), x));
    return _mm512_div_ps(x, _mm512_add_ps(one, e));
}

/* log(1 + u), 0 <= u <= 1: 2 atanh(u / (2 + u)). */
static inline __m512 samba__log1p_512(__m512 u)
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
static inline __m512 samba__softplus_512(__m512 x)
{
    __m512 minus_abs = _mm512_or_ps(x, _mm512_set1_ps(-0.0f));
    __m512 tail = samba__log1p_512(samba__exp_512(minus_abs));
    return _mm512_add_ps(_mm512_max_ps(_mm512_setzero_ps(), x), tail);
}

#endif
