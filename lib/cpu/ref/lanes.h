/*
 * Small inline pieces of the reference kernels: 16-lane sums in the fixed tree order, the register
 * tile of the linear kernels, and branch-free elementwise functions that compilers vectorise. A
 * scalar call and a vectorised loop give the same bits: every step is one IEEE operation.
 */
#ifndef SAMBA_CPU_REF_LANES_H
#define SAMBA_CPU_REF_LANES_H

#include "base/half.h"
#include "cpu/kernels.h"

/* lane l += lane l + 8, + 4, + 2, + 1 */
static inline float samba__ref_tree(const float lanes[16])
{
    float a[8], b[4];
    for (int i = 0; i < 8; i++)
        a[i] = lanes[i] + lanes[i + 8];
    for (int i = 0; i < 4; i++)
        b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

static inline float samba__ref_dot(const float *x, const float *y, size_t n)
{
    float lanes[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += x[i + l] * y[i + l];
    for (size_t l = 0; i + l < n; l++)
        lanes[l] += x[i + l] * y[i + l];
    return samba__ref_tree(lanes);
}

/* exp: n = round(x / ln 2), polynomial on the rest, 2^n in two factors; about 1 ulp. Below -87.33
 * it gives 0, above 88.72 infinity; NaN stays NaN. */
static inline float samba__ref_exp(float x)
{
    const float magic = 0x1.8p23f;
    float c = x < -88.0f ? -88.0f : x;
    c = c > 89.0f ? 89.0f : c;
    float shifted = c * 0x1.715476p+0f + magic;
    float n = shifted - magic;
    float r = c - n * 0x1.62e4p-1f;
    r = r - n * 0x1.7f7d1cp-20f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t e = (int32_t)(samba__f32_bits(shifted) - samba__f32_bits(magic));
    int32_t half = e >> 1;
    float s1 = samba__f32_from_bits((uint32_t)(half + 127) << 23);
    float s2 = samba__f32_from_bits((uint32_t)(e - half + 127) << 23);
    float y = p * s1 * s2;
    return x < -87.33f ? 0.0f : y;
}

static inline float samba__ref_sigmoid(float x)
{
    return 1.0f / (1.0f + samba__ref_exp(-x));
}

static inline float samba__ref_silu(float x)
{
    return x / (1.0f + samba__ref_exp(-x));
}

/* log(1 + u) for 0 <= u <= 1: log of w = 1 + u rounded, plus what the rounding lost. */
static inline float samba__ref_log1p(float u)
{
    float w = 1.0f + u;
    float lost = (u - (w - 1.0f)) / w;
    float k = w > 1.41421356f ? 1.0f : 0.0f;
    float f = (w > 1.41421356f ? 0.5f * w : w) - 1.0f;
    float z = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * z + k * -2.12194440e-4f - 0.5f * z;
    return f + (p + lost) + k * 0.693359375f;
}

static inline float samba__ref_softplus(float x)
{
    float a = x < 0.0f ? x : -x; /* -|x| */
    return (x > 0.0f ? x : 0.0f) + samba__ref_log1p(samba__ref_exp(a));
}

/* f16 -> f32 without branches; exact, subnormals included. */
static inline float samba__ref_f16(uint16_t h)
{
    uint32_t m = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16;
    float f = samba__f32_from_bits(m << 13) * 0x1p112f;
    uint32_t u = samba__f32_bits(f) | (m >= 0x7c00u ? 0x7f800000u : 0u);
    return samba__f32_from_bits(u | sign);
}

/* Four lanes, the register every target has; loads and stores need no alignment. */
typedef float samba__v4 __attribute__((vector_size(16), aligned(4)));

/* a[16] += x * y[16] */
static inline void samba__ref_axpy16(float *a, float x, const float *y)
{
    for (size_t l = 0; l < 16; l++)
        a[l] += x * y[l];
}

/*
 * acc[r][l] += sum over k of x[r][k] * w[k][l], one chain in order of k. n_r is a constant where
 * this is inlined: 2 rows of 16 lanes and the weights of one step fit 16 vector registers.
 */
static inline __attribute__((always_inline)) void
samba__ref_tile(size_t n_r, float (*acc)[16], const float *x, size_t ldx, const float *w, size_t n)
{
    samba__v4 a[4][4];
    for (size_t r = 0; r < n_r; r++)
        for (size_t i = 0; i < 4; i++)
            memcpy(&a[r][i], acc[r] + 4 * i, sizeof a[r][i]);
    for (size_t k = 0; k < n; k++, w += 16) {
        samba__v4 wk[4];
        memcpy(wk, w, sizeof wk);
        for (size_t r = 0; r < n_r; r++) {
            float s = x[r * ldx + k];
            samba__v4 xk = {s, s, s, s};
            for (size_t i = 0; i < 4; i++)
                a[r][i] += xk * wk[i];
        }
    }
    for (size_t r = 0; r < n_r; r++)
        for (size_t i = 0; i < 4; i++)
            memcpy(acc[r] + 4 * i, &a[r][i], sizeof a[r][i]);
}

/* The chains of one panel begin with the bias, or 0. */
static inline void samba__ref_start(float (*acc)[16], size_t n_rows, const samba__linear_args *args,
                                    size_t panel)
{
    for (size_t l = 0; l < 16; l++) {
        size_t j = panel * 16 + l;
        float b = args->bias && j < args->rows ? args->bias[j] : 0.0f;
        for (size_t r = 0; r < n_rows; r++)
            acc[r][l] = b;
    }
}

/* Stores the lanes that are rows of W. */
static inline void samba__ref_finish(float (*acc)[16], size_t row, size_t n_rows,
                                     const samba__linear_args *args, size_t panel)
{
    size_t left = args->rows - panel * 16, n = left < 16 ? left : 16;
    for (size_t r = 0; r < n_rows; r++) {
        float *y = args->y + (row + r) * args->ldy + panel * 16;
        for (size_t l = 0; l < n; l++)
            y[l] = args->accumulate ? y[l] + acc[r][l] : acc[r][l];
    }
}

#endif
