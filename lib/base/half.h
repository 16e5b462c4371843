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

/* Both of these compute every case and choose, without a jump, so that loops become vectors. */
static inline float samba__f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h & 0x7c00u, man = h & 0x3ffu;
    /* Zero and subnormal: man * 2^-24, exact. */
    const uint32_t small = samba__f32_bits((float)(int32_t)man * 0x1p-24f);
    const uint32_t usual = ((uint32_t)(h & 0x7fffu) << 13) + 0x38000000u;
    const uint32_t large = usual + 0x38000000u; /* infinity and NaN */
    const uint32_t bits = exp == 0 ? small : exp == 0x7c00u ? large : usual;
    return samba__f32_from_bits(sign | bits);
}

static inline uint16_t samba__f32_to_f16(float f)
{
    const uint32_t bits = samba__f32_bits(f), sign = bits >> 16 & 0x8000u;
    const int32_t u = (int32_t)(bits & 0x7fffffffu);
    const uint32_t usual = ((uint32_t)u + 0xfffu + ((uint32_t)u >> 13 & 1) - 0x38000000u) >> 13;
    /* Below 2^-14: add 0.5, whose unit in the last place is 2^-24. */
    const uint32_t small = samba__f32_bits(samba__f32_from_bits((uint32_t)u) + 0.5f) - 0x3f000000u;
    const uint32_t nan = 0x7e00u | ((uint32_t)u >> 13 & 0x3ffu);
    uint32_t h = u < 0x38800000 ? small : usual;
    h = u >= 0x477ff000 ? 0x7c00u : h; /* rounds to 65536 or more */
    h = u > 0x7f800000 ? nan : h;
    return (uint16_t)(sign | h);
}

#endif
