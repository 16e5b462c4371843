/* Norms: RMSNorm, LayerNorm, differential attention's subnorm, gated per-head norm. Sums are 16
 * lanes in 4 registers and one tree, so a row's bits depend on the row only. */
#include "base/fmath.h"
#include "cpu/neon/math.h"
#include "cpu/neon/neon.h"

static inline samba__v16 add_squares(samba__v16 sum, samba__v16 x)
{
    for (size_t i = 0; i < 4; i++)
        sum.q[i] = vfmaq_f32(sum.q[i], x.q[i], x.q[i]);
    return sum;
}

static inline float inverse_rms_of(samba__v16 squares, size_t n, float eps)
{
    return 1.0f / samba__sqrtf(samba__v16_tree(squares) / (float)n + eps);
}

/* 1 / sqrt(mean(x^2) + eps) */
static float inverse_rms(const float *x, size_t n, float eps)
{
    samba__v16 sum = samba__v16_zero();
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        sum = add_squares(sum, samba__v16_load(x + i));
    if (i < n)
        sum = add_squares(sum, samba__v16_load_part(x + i, n - i));
    return inverse_rms_of(sum, n, eps);
}

/* x * s * w, 16 lanes */
static inline samba__v16 scaled(samba__v16 x, float s, samba__v16 w)
{
    for (size_t k = 0; k < 4; k++)
        x.q[k] = vmulq_f32(vmulq_n_f32(x.q[k], s), w.q[k]);
    return x;
}

void samba__neon_rms_norm(const samba__norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        float *y = args->y + r * args->ldy;
        float s = inverse_rms(x, args->n, args->eps);
        for (size_t i = 0; i < args->n; i += 16) {
            size_t left = args->n - i;
            samba__v16 v = samba__v16_load_left(x + i, left);
            v = scaled(v, s, samba__v16_load_left(args->weight + i, left));
            samba__v16_store_left(y + i, v, left);
        }
    }
}

static float mean_of(const float *x, size_t n)
{
    samba__v16 sum = samba__v16_zero();
    for (size_t i = 0; i < n; i += 16) {
        samba__v16 v = samba__v16_load_left(x + i, n - i);
        for (size_t k = 0; k < 4; k++)
            sum.q[k] = vaddq_f32(sum.q[k], v.q[k]);
    }
    return samba__v16_tree(sum) / (float)n;
}

/* y = x - mean; then 1 / sqrt(mean(y^2) + eps) */
static float centre(const float *x, float *y, size_t n, float eps)
{
    float mean = mean_of(x, n);
    for (size_t i = 0; i < n; i += 16) {
        samba__v16 v = samba__v16_load_left(x + i, n - i);
        for (size_t k = 0; k < 4; k++)
            v.q[k] = vsubq_f32(v.q[k], vdupq_n_f32(mean));
        samba__v16_store_left(y + i, v, n - i);
    }
    return inverse_rms(y, n, eps);
}

void samba__neon_layer_norm(const samba__norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        float *y = args->y + r * args->ldy;
        float s = centre(args->x + r * args->ldx, y, args->n, args->eps);
        for (size_t i = 0; i < args->n; i += 16) {
            size_t left = args->n - i;
            samba__v16 v = samba__v16_load_left(y + i, left);
            v = scaled(v, s, samba__v16_load_left(args->weight + i, left));
            if (args->bias) {
                samba__v16 b = samba__v16_load_left(args->bias + i, left);
                for (size_t k = 0; k < 4; k++)
                    v.q[k] = vaddq_f32(v.q[k], b.q[k]);
            }
            samba__v16_store_left(y + i, v, left);
        }
    }
}

/* One pair: y = (a1 - lambda * a2), normed and scaled. */
static void diff_pair(const samba__diff_args *args, const float *a1, const float *a2, float *y)
{
    samba__v16 sum = samba__v16_zero();
    for (size_t i = 0; i < args->n; i += 16) {
        size_t left = args->n - i;
        samba__v16 v = samba__v16_load_left(a1 + i, left), b = samba__v16_load_left(a2 + i, left);
        for (size_t k = 0; k < 4; k++)
            v.q[k] = vfmsq_n_f32(v.q[k], b.q[k], args->lambda);
        sum = add_squares(sum, v);
        samba__v16_store_left(y + i, v, left);
    }
    float s = inverse_rms_of(sum, args->n, args->eps);
    for (size_t i = 0; i < args->n; i += 16) {
        size_t left = args->n - i;
        samba__v16 v = samba__v16_load_left(y + i, left);
        v = scaled(v, s, samba__v16_load_left(args->weight + i, left));
        for (size_t k = 0; k < 4; k++)
            v.q[k] = vmulq_n_f32(v.q[k], args->out_scale);
        samba__v16_store_left(y + i, v, left);
    }
}

void samba__neon_diff(const samba__diff_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t p = 0; p < args->n_pairs; p++) {
            size_t from = r * args->ld + p * args->n;
            diff_pair(args, args->a1 + from, args->a2 + from,
                      args->y + r * args->ldy + p * args->n);
        }
}

void samba__neon_gated_norm(const samba__gated_norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        for (size_t h = 0; h < args->n_heads; h++) {
            const float *o = args->o + r * args->ldo + h * args->n;
            const float *g = args->g + r * args->ldg + h * args->n;
            float *y = args->y + r * args->ldy + h * args->n;
            float s = inverse_rms(o, args->n, args->eps);
            for (size_t i = 0; i < args->n; i += 16) {
                size_t left = args->n - i;
                samba__v16 v = samba__v16_load_left(o + i, left);
                samba__v16 gate = samba__v16_load_left(g + i, left);
                v = scaled(v, s, samba__v16_load_left(args->weight + i, left));
                for (size_t k = 0; k < 4; k++)
                    v.q[k] = vmulq_f32(v.q[k], samba__silu_4(gate.q[k]));
                samba__v16_store_left(y + i, v, left);
            }
        }
    }
}
