/*
 * Q8_0: blocks of 32 elements, {f16 scale; int8 q[32]}, element = scale * q. Encodes as the public
 * GGUF tools do (q = round(x * (1/d)) with d = absmax/127 before its rounding to f16), and for
 * values those leave undefined: NaN counts as 0, infinity as the largest float, and a scale beyond
 * f16 is held at its largest value, so that whatever goes in, finite numbers come out.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "tensor/blocks.h"

#include <float.h>

void samba__q8_0_expand(const uint8_t *from, samba__block *to)
{
    to->scale[0] = samba__f16_to_f32(samba__load_u16(from));
    memcpy(to->q, from + 2, SAMBA__Q8_0_BLOCK);
}

void samba__q8_0_to_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += SAMBA__Q8_0_BLOCK, s += SAMBA__Q8_0_BYTES) {
        float d = samba__f16_to_f32(samba__load_u16(s));
        for (size_t j = 0; j < SAMBA__Q8_0_BLOCK; j++)
            dst[i + j] = d * (float)(int8_t)s[2 + j];
    }
}

static float bounded(float x)
{
    if (x != x)
        return 0;
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x;
}

static void encode_block(const float *x /* [32] */, uint8_t *out /* [34] */)
{
    float max = 0;
    for (size_t j = 0; j < SAMBA__Q8_0_BLOCK; j++) {
        float v = bounded(x[j]);
        v = v < 0 ? -v : v;
        max = v > max ? v : max;
    }
    float d = max / 127;
    if (d > SAMBA__F16_MAX)
        d = SAMBA__F16_MAX;
    uint16_t scale = samba__f32_to_f16(d);
    float inverse = scale ? 1 / d : 0; /* a scale that rounds to 0 decodes to zeros anyway */
    samba__store_u16(out, scale);
    for (size_t j = 0; j < SAMBA__Q8_0_BLOCK; j++)
        out[2 + j] = (uint8_t)samba__round_within(bounded(x[j]) * inverse, -127, 127);
}

void samba__q8_0_from_f32(const float *src, void *dst, size_t n)
{
    uint8_t *d = dst;
    for (size_t i = 0; i < n; i += SAMBA__Q8_0_BLOCK, d += SAMBA__Q8_0_BYTES)
        encode_block(src + i, d);
}
