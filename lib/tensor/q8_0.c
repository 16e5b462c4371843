/*
 * Q8_0: blocks of 32 elements, {f16 scale; int8 q[32]}, element = scale * q. Encodes as the public
 * GGUF tools do (q = round(x * (1/d)) with d = absmax/127 before its rounding to f16), and for
 * values those leave undefined: NaN counts as 0, infinity as the largest float, and a scale beyond
 * f16 is held at its largest value, so that whatever goes in, finite numbers come out.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "tensor/blocks.h"

#include <string.h>

void samba__q8_0_expand(const uint8_t *from, samba__block *to)
{
    to->scale[0] = samba__f16_to_f32(samba__load_u16(from));
    memcpy(to->q, from + 2, SAMBA__Q8_0_BLOCK);
}

void samba__q8_0_to_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += SAMBA__Q8_0_BLOCK, s += SAMBA__Q8_0_BYTES) {
        const float d = samba__f16_to_f32(samba__load_u16(s));
        int8_t q[SAMBA__Q8_0_BLOCK];
        memcpy(q, s + 2, sizeof q); /* nothing overlaps it */
        for (size_t j = 0; j < SAMBA__Q8_0_BLOCK; j++)
            dst[i + j] = d * (float)q[j];
    }
}

/* Bits of |x|: of a NaN 0, of infinity those of the largest float. Comparing them as integers is
 * comparing the numbers, and may be done in any order. */
static inline int32_t bounded(uint32_t bits)
{
    const int32_t u = (int32_t)(bits & 0x7fffffffu);
    return u > 0x7f800000 ? 0 : u == 0x7f800000 ? 0x7f7fffff : u;
}

/* Loops over arrays of the block's own, which nothing overlaps, so that they become vectors. */
static void encode_block(const float *x /* [32] */, uint8_t *out /* [34] */)
{
    uint32_t bits[SAMBA__Q8_0_BLOCK];
    int8_t q[SAMBA__Q8_0_BLOCK];
    int32_t max = 0;
    memcpy(bits, x, sizeof bits);
    for (size_t j = 0; j < SAMBA__Q8_0_BLOCK; j++) {
        const int32_t v = bounded(bits[j]);
        max = v > max ? v : max;
    }
    float d = samba__f32_from_bits((uint32_t)max) / 127;
    if (d > SAMBA__F16_MAX)
        d = SAMBA__F16_MAX;
    uint16_t scale = samba__f32_to_f16(d);
    float inverse = scale ? 1 / d : 0; /* a scale that rounds to 0 decodes to zeros anyway */
    samba__store_u16(out, scale);
    for (size_t j = 0; j < SAMBA__Q8_0_BLOCK; j++) {
        const uint32_t b = (uint32_t)bounded(bits[j]) | (bits[j] & 0x80000000u);
        q[j] = (int8_t)samba__round_within(samba__f32_from_bits(b) * inverse, -127, 127);
    }
    memcpy(out + 2, q, sizeof q);
}

void samba__q8_0_from_f32(const float *src, void *dst, size_t n)
{
    uint8_t *d = dst;
    for (size_t i = 0; i < n; i += SAMBA__Q8_0_BLOCK, d += SAMBA__Q8_0_BYTES)
        encode_block(src + i, d);
}
