/*
 * f16 and bf16 by integer arithmetic: exact, round to nearest even, NaN stays NaN. The permanent
 * reference for every vector version.
 */
#ifndef SAMBA_BASE_HALF_H
#define SAMBA_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float samba__f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t samba__f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float samba__bf16_to_f32(uint16_t h)
{
    return samba__f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t samba__f32_to_bf16(float f)
{
    uint32_t u = samba__f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float samba__f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h >> 10 & 31u, man = h & 0x3ffu;
    if (exp == 0) /* zero and subnormal: man * 2^-24, exact */
        return samba__f32_from_bits(samba__f32_bits((float)man * 0x1p-24f) | sign);
    if (exp == 31)
        return samba__f32_from_bits(sign | 0x7f800000u | man << 13);
    return samba__f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}

static inline uint16_t samba__f32_to_f16(float f)
{
    uint32_t u = samba__f32_bits(f), sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (u >> 13 & 0x3ffu));
    if (u >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) { /* below 2^-14: add 0.5, whose unit in the last place is 2^-24 */
        float x = samba__f32_from_bits(u) + 0.5f;
        return (uint16_t)(sign | (samba__f32_bits(x) - 0x3f000000u));
    }
    u += 0xfffu + (u >> 13 & 1);
    return (uint16_t)(sign | ((u - 0x38000000u) >> 13));
}

#endif
