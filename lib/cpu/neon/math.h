/*
 * Elementary functions on 4 floats, and groups of 16 floats in 4 registers. Polynomials are
 * evaluated in two interleaved halves: a vector fused multiply-add overwrites its addend, so that
 * every constant addend costs a move, and half of them go this way. No approximate instructions
 * (vrecpe, vrsqrte): every step is one IEEE operation.
 */
#ifndef SAMBA_CPU_NEON_MATH_H
#define SAMBA_CPU_NEON_MATH_H

#include <arm_neon.h>
#include <stddef.h>

/* 2^t for t <= 127, with 2^-126 for anything below -126. NaN stays NaN. Relative error before the
 * last rounding: 2e-9. */
static inline __attribute__((always_inline)) float32x4_t samba__exp2_4(float32x4_t t)
{
    static const float odd[4] = {0x1.c6aed4p-5f, 0x1.5f4598p-10f, 0x1.41d30ep-13f, 0x1.62e430p-1f};
    const float32x4_t k = vld1q_f32(odd);
    t = vmaxq_f32(t, vdupq_n_f32(-126.0f));
    float32x4_t n = vrndnq_f32(t), f = vsubq_f32(t, n), f2 = vmulq_f32(f, f); /* f is exact */
    float32x4_t b = vfmaq_laneq_f32(vdupq_n_f32(0x1.ebfbdap-3f), f, k, 0);
    float32x4_t c = vfmaq_laneq_f32(vdupq_n_f32(0x1.3b2dbcp-7f), f, k, 1);
    c = vfmaq_laneq_f32(c, f2, k, 2);
    b = vfmaq_f32(b, c, f2);
    float32x4_t p = vaddq_f32(vfmaq_f32(vmulq_laneq_f32(f, k, 3), b, f2), vdupq_n_f32(1.0f));
    uint32x4_t power = vshlq_n_u32(vreinterpretq_u32_s32(vcvtq_s32_f32(n)), 23);
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p), power));
}

/* e^x: 0 below -87.33, infinity above 88.7228; NaN stays NaN. */
static inline __attribute__((always_inline)) float32x4_t samba__exp_4(float32x4_t x)
{
    static const float odd[4] = {0x1.55540ap-3f, 0x1.126d4cp-7f, 0x1.6ab938p-10f, 0x1.715476p+0f};
    static const float ln2[4] = {0x1.62e430p-1f, -0x1.05c610p-29f, 0.0f, 0.0f};
    const float32x4_t k = vld1q_f32(odd), l = vld1q_f32(ln2);
    float32x4_t n = vrndnq_f32(vmulq_laneq_f32(x, k, 3));
    float32x4_t r = vfmsq_laneq_f32(vfmsq_laneq_f32(x, n, l, 0), n, l, 1), r2 = vmulq_f32(r, r);
    float32x4_t b = vfmaq_laneq_f32(vdupq_n_f32(0x1.fffffap-2f), r, k, 0);
    float32x4_t c = vfmaq_laneq_f32(vdupq_n_f32(0x1.55589cp-5f), r, k, 1);
    c = vfmaq_laneq_f32(c, r2, k, 2);
    b = vfmaq_f32(b, c, r2);
    float32x4_t p = vaddq_f32(vfmaq_f32(r, b, r2), vdupq_n_f32(1.0f));
    uint32x4_t power = vshlq_n_u32(vreinterpretq_u32_s32(vcvtq_s32_f32(n)), 23);
    uint32x4_t y = vaddq_u32(vreinterpretq_u32_f32(p), power);
    y = vbicq_u32(y, vcltq_f32(x, vdupq_n_f32(-87.33f)));
    return vbslq_f32(vcgtq_f32(x, vdupq_n_f32(88.72283f)), vdupq_n_f32(__builtin_inff()),
                     vreinterpretq_f32_u32(y));
}

/* x / (1 + exp(-x)) */
static inline __attribute__((always_inline)) float32x4_t samba__silu_4(float32x4_t x)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), samba__exp_4(vnegq_f32(x))));
}

/* log(1 + u), 0 <= u <= 1: 2 atanh(u / (2 + u)), which is accurate for tiny u too. */
static inline __attribute__((always_inline)) float32x4_t samba__log1p_4(float32x4_t u)
{
    static const float odd[4] = {0x1.55555ap-2f, 0x1.251764p-3f, 0x1.f55e6cp-4f, 0.0f};
    const float32x4_t k = vld1q_f32(odd);
    float32x4_t s = vdivq_f32(u, vaddq_f32(vdupq_n_f32(2.0f), u));
    float32x4_t z = vmulq_f32(s, s), z2 = vmulq_f32(z, z);
    float32x4_t a = vfmaq_laneq_f32(vdupq_n_f32(1.0f), z, k, 0);
    float32x4_t b = vfmaq_laneq_f32(vdupq_n_f32(0x1.999608p-3f), z, k, 1);
    float32x4_t c = vfmaq_laneq_f32(vdupq_n_f32(0x1.b5c8e0p-4f), z, k, 2);
    b = vfmaq_f32(b, c, z2);
    return vmulq_f32(vaddq_f32(s, s), vfmaq_f32(a, b, z2));
}

/* log(1 + exp(x)) */
static inline __attribute__((always_inline)) float32x4_t samba__softplus_4(float32x4_t x)
{
    float32x4_t tail = samba__log1p_4(samba__exp_4(vnegq_f32(vabsq_f32(x))));
    return vaddq_f32(vmaxq_f32(vdupq_n_f32(0.0f), x), tail);
}

/* ---------------------------------------------------------------- 16 lanes */

typedef struct samba__v16 {
    float32x4_t q[4];
} samba__v16;

static inline samba__v16 samba__v16_load(const float *p)
{
    return (samba__v16){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}

static inline void samba__v16_store(float *p, samba__v16 v)
{
    for (size_t i = 0; i < 4; i++)
        vst1q_f32(p + 4 * i, v.q[i]);
}

/* The first n < 16 lanes; the others are 0, and not read. */
static inline samba__v16 samba__v16_load_part(const float *p, size_t n)
{
    float lanes[16] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i] = p[i];
    return samba__v16_load(lanes);
}

static inline void samba__v16_store_part(float *p, samba__v16 v, size_t n)
{
    float lanes[16];
    samba__v16_store(lanes, v);
    for (size_t i = 0; i < n; i++)
        p[i] = lanes[i];
}

/* Up to 16 of `left` lanes. */
static inline samba__v16 samba__v16_load_left(const float *p, size_t left)
{
    return left >= 16 ? samba__v16_load(p) : samba__v16_load_part(p, left);
}

static inline void samba__v16_store_left(float *p, samba__v16 v, size_t left)
{
    if (left >= 16)
        samba__v16_store(p, v);
    else
        samba__v16_store_part(p, v, left);
}

static inline samba__v16 samba__v16_zero(void)
{
    float32x4_t zero = vdupq_n_f32(0.0f);
    return (samba__v16){{zero, zero, zero, zero}};
}

/* lane l += lane l + 8, + 4, + 2, + 1 */
static inline float samba__v16_tree(samba__v16 v)
{
    float32x4_t s = vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3]));
    float32x2_t h = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}

#endif
