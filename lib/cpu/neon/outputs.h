/* Reading and writing 4 outputs of a linear layer, of which the last few may not exist. */
#ifndef SAMBA_CPU_NEON_OUTPUTS_H
#define SAMBA_CPU_NEON_OUTPUTS_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>

/* p[0 .. 4), elements j .. of n; 0 past the end, or everywhere if p is NULL. */
static inline float32x4_t samba__load_4(const float *p, size_t j, size_t n)
{
    float part[4] = {0};
    if (!p)
        return vdupq_n_f32(0.0f);
    if (j + 4 <= n)
        return vld1q_f32(p);
    for (size_t i = 0; j + i < n; i++)
        part[i] = p[i];
    return vld1q_f32(part);
}

/* p = value, or p = p + value, as far as elements j .. of n go. */
static inline void samba__put_4(float *p, float32x4_t value, size_t j, size_t n, bool accumulate)
{
    float part[4];
    if (j + 4 <= n) {
        vst1q_f32(p, accumulate ? vaddq_f32(vld1q_f32(p), value) : value);
        return;
    }
    vst1q_f32(part, value);
    for (size_t i = 0; j + i < n; i++)
        p[i] = accumulate ? p[i] + part[i] : part[i];
}

#endif
