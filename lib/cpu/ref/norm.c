/* Reference norms: RMSNorm, LayerNorm, differential attention's subnorm, gated per-head norm. All
 * sums are 16 lanes and one tree, so a row's bits depend on the row only. */
#include "base/fmath.h"
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

/* 1 / sqrt(mean(x^2) + eps) */
static float inverse_rms(const float *x, size_t n, float eps)
{
    return 1.0f / samba__sqrtf(samba__ref_dot(x, x, n) / (float)n + eps);
}

void samba__ref_rms_norm(const samba__norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        float *y = args->y + r * args->ldy;
        float s = inverse_rms(x, args->n, args->eps);
        for (size_t i = 0; i < args->n; i++)
            y[i] = x[i] * s * args->weight[i];
    }
}

static float mean_of(const float *x, size_t n)
{
    float lanes[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += x[i + l];
    for (size_t l = 0; i + l < n; l++)
        lanes[l] += x[i + l];
    return samba__ref_tree(lanes) / (float)n;
}

void samba__ref_layer_norm(const samba__norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        float *y = args->y + r * args->ldy;
        float mean = mean_of(x, args->n);
        for (size_t i = 0; i < args->n; i++)
            y[i] = x[i] - mean;
        float s = inverse_rms(y, args->n, args->eps);
        for (size_t i = 0; i < args->n; i++) {
            float v = y[i] * s * args->weight[i];
            y[i] = args->bias ? v + args->bias[i] : v;
        }
    }
}

void samba__ref_diff(const samba__diff_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        for (size_t p = 0; p < args->n_pairs; p++) {
            const float *a1 = args->a1 + r * args->ld + p * args->n;
            const float *a2 = args->a2 + r * args->ld + p * args->n;
            float *y = args->y + r * args->ldy + p * args->n;
            for (size_t i = 0; i < args->n; i++)
                y[i] = a1[i] - args->lambda * a2[i];
            float s = inverse_rms(y, args->n, args->eps);
            for (size_t i = 0; i < args->n; i++)
                y[i] = y[i] * s * args->weight[i] * args->out_scale;
        }
    }
}

void samba__ref_gated_norm(const samba__gated_norm_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        for (size_t h = 0; h < args->n_heads; h++) {
            const float *o = args->o + r * args->ldo + h * args->n;
            const float *g = args->g + r * args->ldg + h * args->n;
            float *y = args->y + r * args->ldy + h * args->n;
            float s = inverse_rms(o, args->n, args->eps);
            for (size_t i = 0; i < args->n; i++)
                y[i] = o[i] * s * args->weight[i] * samba__ref_silu(g[i]);
        }
    }
}
