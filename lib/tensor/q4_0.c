/*
 * Q4_0: blocks of 32 elements, {f16 d; u8 q[16]}, element = d * (q - 8). Byte i holds element i in
 * its low half and element i + 16 in its high half.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "tensor/fit.h"

enum {
    BLOCK = SAMBA__Q4_0_BLOCK,
    BYTES = SAMBA__Q4_0_BYTES,
    N_REFITS = 1
};

void samba__q4_0_expand(const uint8_t *from, samba__block *to)
{
    to->scale[0] = samba__f16_to_f32(samba__load_u16(from));
    for (size_t i = 0; i < BLOCK / 2; i++) {
        to->q[i] = (int8_t)((from[2 + i] & 15) - 8);
        to->q[i + BLOCK / 2] = (int8_t)((from[2 + i] >> 4) - 8);
    }
}

void samba__q4_0_to_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *s = src;
    samba__block b;
    for (size_t i = 0; i < n; i += BLOCK, s += BYTES) {
        samba__q4_0_expand(s, &b);
        for (size_t k = 0; k < BLOCK; k++)
            dst[i + k] = b.scale[0] * (float)b.q[k];
    }
}

static const samba__fit_range range = {BLOCK, -8, 7};
static const samba__fit_ways ways = {6, 3, 0.35f};

/* Takes the scale if it leaves a smaller error. */
static void offer(const float *x, float d, uint16_t *best, float *least)
{
    uint16_t code = samba__fit_f16(d);
    float error = samba__fit_error(x, range, samba__f16_to_f32(code));
    if (error < *least) {
        *least = error;
        *best = code;
    }
}

/* Plain rounding (the extreme value at -8) is where the search begins. */
static uint16_t choose_scale(const float *x)
{
    uint16_t best = samba__fit_f16(samba__fit_extreme(x, BLOCK) / -8);
    float least = samba__fit_error(x, range, samba__f16_to_f32(best));
    offer(x, samba__fit_step(x, range, ways), &best, &least);
    for (int i = 0; i < N_REFITS; i++) {
        float d = samba__f16_to_f32(best);
        samba__fit_sums s = samba__fit_try(x, range, samba__fit_inverse(d));
        if (s.qq > 0)
            offer(x, s.xq / s.qq, &best, &least);
    }
    return best;
}

static void encode_block(const float *x /* [32] */, uint8_t *out /* [18] */)
{
    float v[BLOCK];
    int8_t q[BLOCK];
    samba__fit_load(x, BLOCK, v);
    uint16_t code = choose_scale(v);
    samba__store_u16(out, code);
    samba__fit_levels(v, range, samba__f16_to_f32(code), q);
    for (size_t i = 0; i < BLOCK / 2; i++)
        out[2 + i] = (uint8_t)((q[i] + 8) | (q[i + BLOCK / 2] + 8) << 4);
}

void samba__q4_0_from_f32(const float *src, void *dst, size_t n)
{
    uint8_t *d = dst;
    for (size_t i = 0; i < n; i += BLOCK, d += BYTES)
        encode_block(src + i, d);
}
