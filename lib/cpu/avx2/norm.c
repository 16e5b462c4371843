/* Norms: RMSNorm, LayerNorm, differential attention's subnorm, gated per-head norm. A sum over
 * channels is 32 lanes in four registers, element i in lane i % 32, added up as one tree; a row's
 * bits depend on that row only. */
#include "base/fmath.h"
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/math.h"

SAMBA__V8_INLINE float sum_4(const __m256 s[4])
{
    return samba__v8_sum(_mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3])));
}

/* Sum of x, or of its squares. Lanes past the end add 0. */
SAMBA__V8_INLINE float sum_of(const float *x, size_t n, bool squares)
{
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                   _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * j);
            s[j] = squares ? _mm256_fmadd_ps(v, v, s[j]) : _mm256_add_ps(s[j], v);
        }
    for (size_t j = 0; j < 4 && i < n; j++, i += 8) {
        __m256 v = samba__v8_load(x + i, n - i);
        s[j] = squares ? _mm256_fmadd_ps(v, v, s[j]) : _mm256_add_ps(s[j], v);
    }
    return sum_4(s);
}

/* 1 / sqrt(mean(x^2) + eps) in all lanes */
static inline __m256 inverse_rms(const float *x, size_t n, float eps)
{
    return _mm256_set1_ps(1.0f / samba__sqrtf(sum_of(x, n, true) / (float)n + eps));
}

void samba__avx2_rms_norm(const samba__norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        __m256 s = inverse_rms(x, args->n, args->eps);
        for (size_t i = 0; i < args->n; i += 8) {
            size_t n = args->n - i;
            __m256 v = _mm256_mul_ps(samba__v8_load(x + i, n), s);
            samba__v8_store(args->y + r * args->ldy + i,
                            _mm256_mul_ps(v, samba__v8_load(args->weight + i, n)), n);
        }
    }
}

static void layer_row(const samba__norm_args *args, const float *x, float *y)
{
    __m256 mean = _mm256_set1_ps(sum_of(x, args->n, false) / (float)args->n);
    for (size_t i = 0; i < args->n; i += 8)
        samba__v8_store(y + i, _mm256_sub_ps(samba__v8_load(x + i, args->n - i), mean),
                        args->n - i);
    __m256 s = inverse_rms(y, args->n, args->eps);
    for (size_t i = 0; i < args->n; i += 8) {
        size_t n = args->n - i;
        __m256 v = _mm256_mul_ps(samba__v8_load(y + i, n), s);
        v = _mm256_mul_ps(v, samba__v8_load(args->weight + i, n));
        if (args->bias)
            v = _mm256_add_ps(v, samba__v8_load(args->bias + i, n));
        samba__v8_store(y + i, v, n);
    }
}

void samba__avx2_layer_norm(const samba__norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        layer_row(args, args->x + r * args->ldx, args->y + r * args->ldy);
}

static void diff_pair(const samba__diff_args *args, const float *a1, const float *a2, float *y)
{
    const __m256 lambda = _mm256_set1_ps(args->lambda), scale = _mm256_set1_ps(args->out_scale);
    for (size_t i = 0; i < args->n; i += 8) {
        size_t n = args->n - i;
        samba__v8_store(
            y + i, _mm256_fnmadd_ps(lambda, samba__v8_load(a2 + i, n), samba__v8_load(a1 + i, n)),
            n);
    }
    __m256 s = inverse_rms(y, args->n, args->eps);
    for (size_t i = 0; i < args->n; i += 8) {
        size_t n = args->n - i;
        __m256 v = _mm256_mul_ps(samba__v8_load(y + i, n), s);
        v = _mm256_mul_ps(v, samba__v8_load(args->weight + i, n));
        samba__v8_store(y + i, _mm256_mul_ps(v, scale), n);
    }
}

void samba__avx2_diff(const samba__diff_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t p = 0; p < args->n_pairs; p++) {
            size_t at = r * args->ld + p * args->n;
            diff_pair(args, args->a1 + at, args->a2 + at, args->y + r * args->ldy + p * args->n);
        }
}

static void gated_head(const samba__gated_norm_args *args, const float *o, const float *g, float *y)
{
    __m256 s = inverse_rms(o, args->n, args->eps);
    for (size_t i = 0; i < args->n; i += 8) {
        size_t n = args->n - i;
        __m256 v = _mm256_mul_ps(samba__v8_load(o + i, n), s);
        v = _mm256_mul_ps(v, samba__v8_load(args->weight + i, n));
        samba__v8_store(y + i, _mm256_mul_ps(v, samba__v8_silu(samba__v8_load(g + i, n))), n);
    }
}

void samba__avx2_gated_norm(const samba__gated_norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t h = 0; h < args->n_heads; h++)
            gated_head(args, args->o + r * args->ldo + h * args->n,
                       args->g + r * args->ldg + h * args->n,
                       args->y + r * args->ldy + h * args->n);
}
