/*
 * RMSNorm, LayerNorm, differential attention's subnorm and the gated per-head norm: a vector is
 * divided by the root of its mean square and multiplied by weights. It is read twice out of the
 * first cache, once for the sum and once for the result; what a norm makes of its inputs is
 * computed both times, so that nothing is stored between.
 */
#include "base/fmath.h"
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/math.h"
#include "cpu/avx512/sums.h"

typedef enum kind {
    RMS,
    LAYER,
    DIFF,
    GATED
} kind;

typedef struct vector {
    size_t n;
    const float *x, *b; /* b: what diff subtracts */
    float shift;        /* mean of x, or lambda */
    float eps;
    float *y;
    const float *weight, *bias, *gate; /* bias may be NULL */
    float scale;                       /* of diff */
} vector;

/* The numbers whose mean square is taken: x, x - mean, or x - lambda * b. */
SAMBA__INLINE __m512 value_at(kind k, const vector *v, size_t i, __mmask16 m)
{
    __m512 x = _mm512_maskz_loadu_ps(m, v->x + i), shift = _mm512_set1_ps(v->shift);
    if (k == LAYER)
        return _mm512_maskz_sub_ps(m, x, shift);
    if (k == DIFF)
        return _mm512_fnmadd_ps(shift, _mm512_maskz_loadu_ps(m, v->b + i), x);
    return x;
}

SAMBA__INLINE __m512 add_value(kind k, const vector *v, size_t i, __mmask16 m, __m512 sum)
{
    __m512 x = value_at(k, v, i, m);
    return _mm512_fmadd_ps(x, x, sum);
}

/* 1 / sqrt(mean square + eps) */
SAMBA__INLINE __m512 inverse_root(kind k, const vector *v)
{
    __m512 s[SAMBA__SUM_CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++)
        s[j] = _mm512_setzero_ps();
    for (; i + 64 <= v->n; i += 64)
        for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++)
            s[j] = add_value(k, v, i + 16 * j, 0xffff, s[j]);
    if (i < v->n)
        for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++)
            s[j] = add_value(k, v, i + 16 * j, samba__mask_of(i + 16 * j, v->n), s[j]);
    float mean = samba__chains_512(s) / (float)v->n;
    return _mm512_set1_ps(1.0f / samba__sqrtf(mean + v->eps));
}

static float mean_of(const float *x, size_t n)
{
    __m512 s[SAMBA__SUM_CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++)
        s[j] = _mm512_setzero_ps();
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++)
            s[j] = _mm512_add_ps(s[j], _mm512_loadu_ps(x + i + 16 * j));
    if (i < n)
        for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++) {
            __mmask16 m = samba__mask_of(i + 16 * j, n);
            s[j] = _mm512_add_ps(s[j], _mm512_maskz_loadu_ps(m, x + i + 16 * j));
        }
    return samba__chains_512(s) / (float)n;
}

SAMBA__INLINE void write_at(kind k, const vector *v, size_t i, __mmask16 m, __m512 s)
{
    __m512 x = _mm512_mul_ps(value_at(k, v, i, m), s);
    __m512 w = _mm512_maskz_loadu_ps(m, v->weight + i), y;
    if (k == LAYER && v->bias)
        y = _mm512_fmadd_ps(x, w, _mm512_maskz_loadu_ps(m, v->bias + i));
    else
        y = _mm512_mul_ps(x, w);
    if (k == DIFF)
        y = _mm512_mul_ps(y, _mm512_set1_ps(v->scale));
    if (k == GATED)
        y = _mm512_mul_ps(y, samba__silu_512(_mm512_maskz_loadu_ps(m, v->gate + i)));
    _mm512_mask_storeu_ps(v->y + i, m, y);
}

SAMBA__INLINE void normalize(kind k, const vector *v)
{
    __m512 s = inverse_root(k, v);
    size_t i = 0;
    for (; i + 16 <= v->n; i += 16)
        write_at(k, v, i, 0xffff, s);
    if (i < v->n)
        write_at(k, v, i, samba__mask_of(i, v->n), s);
}

void samba__avx512_rms_norm(const samba__norm_args *args)
{
    vector v = {.n = args->n, .eps = args->eps, .weight = args->weight};
    for (size_t r = 0; r < args->n_rows; r++) {
        v.x = args->x + r * args->ldx;
        v.y = args->y + r * args->ldy;
        normalize(RMS, &v);
    }
}

void samba__avx512_layer_norm(const samba__norm_args *args)
{
    vector v = {.n = args->n, .eps = args->eps, .weight = args->weight, .bias = args->bias};
    for (size_t r = 0; r < args->n_rows; r++) {
        v.x = args->x + r * args->ldx;
        v.y = args->y + r * args->ldy;
        v.shift = mean_of(v.x, v.n);
        normalize(LAYER, &v);
    }
}

void samba__avx512_diff(const samba__diff_args *args)
{
    vector v = {.n = args->n,
                .eps = args->eps,
                .weight = args->weight,
                .shift = args->lambda,
                .scale = args->out_scale};
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t p = 0; p < args->n_pairs; p++) {
            v.x = args->a1 + r * args->ld + p * args->n;
            v.b = args->a2 + r * args->ld + p * args->n;
            v.y = args->y + r * args->ldy + p * args->n;
            normalize(DIFF, &v);
        }
}

void samba__avx512_gated_norm(const samba__gated_norm_args *args)
{
    vector v = {.n = args->n, .eps = args->eps, .weight = args->weight};
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t h = 0; h < args->n_heads; h++) {
            v.x = args->o + r * args->ldo + h * args->n;
            v.gate = args->g + r * args->ldg + h * args->n;
            v.y = args->y + r * args->ldy + h * args->n;
            normalize(GATED, &v);
        }
}
