/*
 * Rotary embedding. An angle is a float, made by the same two roundings as everywhere; its sine and
 * cosine are computed in double, 8 at a time, and rounded once, so that positions in the millions
 * lose nothing: the angle is reduced by pi/2 in two parts with exact products.
 */
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/sums.h"

#define PIO2_1 0x1.921fb54442d18p+0
#define PIO2_2 0x1.1a62633145c07p-54
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define ANGLE_MAX 0x1p40

/* sum of c[i] * z^i, n coefficients from the highest down */
SAMBA__INLINE __m512d polynomial(const double *c, size_t n, __m512d z)
{
    __m512d p = _mm512_set1_pd(c[0]);
    for (size_t i = 1; i < n; i++)
        p = _mm512_fmadd_pd(p, z, _mm512_set1_pd(c[i]));
    return p;
}

/* x = n pi/2 + r; r within 2^-52 of the truth, relative to 1. */
SAMBA__INLINE __m512d reduce(__m512d x, __m512d *n)
{
    const __m512d high = _mm512_set1_pd(PIO2_1), low = _mm512_set1_pd(PIO2_2);
    *n = _mm512_roundscale_pd(_mm512_mul_pd(x, _mm512_set1_pd(TWO_OVER_PI)),
                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512d p = _mm512_mul_pd(*n, high), rest = _mm512_fmsub_pd(*n, high, p);
    __m512d t = _mm512_sub_pd(x, p); /* exact */
    return _mm512_sub_pd(t, _mm512_fmadd_pd(*n, low, rest));
}

/* Sine and cosine of 8 angles, |x| <= ANGLE_MAX, NaN beyond. */
SAMBA__INLINE void sincos_8(__m256 angle, __m256 *sine, __m256 *cosine)
{
    static const double sin_c[] = {1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880,
                                   -1.0 / 5040,      1.0 / 120,       -1.0 / 6};
    static const double cos_c[] = {-1.0 / 87178291200,
                                   1.0 / 479001600,
                                   -1.0 / 3628800,
                                   1.0 / 40320,
                                   -1.0 / 720,
                                   1.0 / 24,
                                   -0.5};
    const __m512d one = _mm512_set1_pd(1.0), minus_0 = _mm512_set1_pd(-0.0);
    __m512d n, x = _mm512_cvtps_pd(angle), r = reduce(x, &n), z = _mm512_mul_pd(r, r);
    __m512d s = _mm512_fmadd_pd(polynomial(sin_c, 6, z), _mm512_mul_pd(z, r), r);
    __m512d c = _mm512_fmadd_pd(polynomial(cos_c, 7, z), z, one);
    /* quadrant 1: (c, -s), 2: (-s, -c), 3: (-c, s) */
    __m512i q = _mm512_cvtpd_epi64(n);
    __mmask8 swap = _mm512_test_epi64_mask(q, _mm512_set1_epi64(1));
    __mmask8 flip_s = _mm512_test_epi64_mask(q, _mm512_set1_epi64(2));
    __mmask8 flip_c = flip_s ^ swap;
    __mmask8 bad = _mm512_cmp_pd_mask(_mm512_abs_pd(x), _mm512_set1_pd(ANGLE_MAX), _CMP_NLE_UQ);
    __m512d a = _mm512_mask_mov_pd(s, swap, c), b = _mm512_mask_mov_pd(c, swap, s);
    a = _mm512_mask_xor_pd(a, flip_s, a, minus_0);
    b = _mm512_mask_xor_pd(b, flip_c, b, minus_0);
    const __m512d nan = _mm512_set1_pd(__builtin_nan(""));
    *sine = _mm512_cvtpd_ps(_mm512_mask_mov_pd(a, bad, nan));
    *cosine = _mm512_cvtpd_ps(_mm512_mask_mov_pd(b, bad, nan));
}

/* The nearest bf16, to even; NaN stays NaN. */
SAMBA__INLINE __m256 round_bf16(__m256 x)
{
    __m256i u = _mm256_castps_si256(x), odd = _mm256_srli_epi32(u, 16);
    odd = _mm256_and_si256(odd, _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __mmask8 nan = _mm256_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    r = _mm256_and_si256(_mm256_mask_mov_epi32(r, nan, u), _mm256_set1_epi32(-0x10000));
    return _mm256_castsi256_ps(r);
}

void samba__avx512_rope_table(const samba__rope_table_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        __m256 at = _mm256_set1_ps((float)(args->position + r) / args->condense);
        float *to_cos = args->cos + r * args->ld, *to_sin = args->sin + r * args->ld;
        for (size_t t = 0; t < args->half; t += 8) {
            __m256 sine, cosine;
            __mmask8 m = (__mmask8)samba__mask_of(t, args->half);
            sincos_8(_mm256_mul_ps(at, _mm256_maskz_loadu_ps(m, args->theta + t)), &sine, &cosine);
            _mm256_mask_storeu_ps(to_cos + t, m, args->bf16 ? round_bf16(cosine) : cosine);
            _mm256_mask_storeu_ps(to_sin + t, m, args->bf16 ? round_bf16(sine) : sine);
        }
    }
}

/* 16 pairs of every head of a row, or the last few. */
SAMBA__INLINE void rotate(const samba__rope_args *args, size_t row, size_t t, __mmask16 m)
{
    __m512 c = _mm512_maskz_loadu_ps(m, args->cos + row * args->ld + t);
    __m512 s = _mm512_maskz_loadu_ps(m, args->sin + row * args->ld + t);
    for (size_t h = 0; h < args->n_heads; h++) {
        float *pa = args->x + row * args->ldx + h * args->head_dim + t, *pb = pa + args->half;
        __m512 a = _mm512_maskz_loadu_ps(m, pa), b = _mm512_maskz_loadu_ps(m, pb);
        _mm512_mask_storeu_ps(pa, m, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(pb, m, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

void samba__avx512_rope(const samba__rope_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t t = 0; t < args->half; t += 16)
            rotate(args, r, t, samba__mask_of(t, args->half));
}
