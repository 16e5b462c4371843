/*
 * Q6_K: blocks of 256 elements in 16 groups of 16, {u8 low[128]; u8 high[64]; int8 scale[16];
 * f16 d}, element = d * scale * (q - 32) with q of 6 bits. Each half of 128 elements has 64 bytes
 * of low four bits and 32 bytes of high two bits: element 32p + l of a half (p = 0..3) has its low
 * bits in byte l + 32 * (p % 2), half p / 2 of the byte, and its high bits in byte l at bit 2p.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "tensor/fit.h"

#include <float.h>

enum {
    BLOCK = SAMBA__Q6_K_BLOCK,
    BYTES = SAMBA__Q6_K_BYTES,
    GROUP = SAMBA__Q6_K_GROUP,
    N_GROUPS = BLOCK / GROUP,
    HIGH_AT = 128,
    SCALES_AT = 192,
    D_AT = 208,

    N_REFITS = 1
};

/* Where the bits of an element lie. */
typedef struct place {
    size_t low, high;
    int low_shift, high_shift;
} place;

static place place_of(size_t i)
{
    size_t half = i / 128, p = i % 128 / 32, l = i % 32;
    return (place){64 * half + 32 * (p % 2) + l, HIGH_AT + 32 * half + l, p < 2 ? 0 : 4,
                   2 * (int)p};
}

void samba__q6_k_expand(const uint8_t *from, samba__block *to)
{
    float d = samba__f16_to_f32(samba__load_u16(from + D_AT));
    for (size_t g = 0; g < N_GROUPS; g++)
        to->scale[g] = d * (float)(int8_t)from[SCALES_AT + g];
    for (size_t i = 0; i < BLOCK; i++) {
        place at = place_of(i);
        int low = from[at.low] >> at.low_shift & 15, high = from[at.high] >> at.high_shift & 3;
        to->q[i] = (int8_t)((low | high << 4) - 32);
    }
}

void samba__q6_k_to_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *s = src;
    samba__block b;
    for (size_t i = 0; i < n; i += BLOCK, s += BYTES) {
        samba__q6_k_expand(s, &b);
        for (size_t k = 0; k < BLOCK; k++)
            dst[i + k] = b.scale[k / GROUP] * (float)b.q[k];
    }
}

static void store_levels(const int8_t *q /* [256] */, uint8_t *out)
{
    memset(out, 0, SCALES_AT);
    for (size_t i = 0; i < BLOCK; i++) {
        place at = place_of(i);
        int code = q[i] + 32;
        out[at.low] = (uint8_t)(out[at.low] | (code & 15) << at.low_shift);
        out[at.high] = (uint8_t)(out[at.high] | code >> 4 << at.high_shift);
    }
}

/* ---- choosing the scales ---- */

static const samba__fit_range range = {GROUP, -32, 31};
static const samba__fit_ways ways = {6, 4, 1.0f};

typedef struct choice {
    uint16_t d;
    int8_t scale[N_GROUPS];
    float total; /* error */
} choice;

/* d so that the largest of the steps is -128 times it, or as near as f16 allows. */
static uint16_t d_of(const float *step /* [16] */)
{
    return samba__fit_f16(samba__fit_extreme(step, N_GROUPS) / -128);
}

/* Each step as a multiple of d: the nearest, or a neighbour within `around` that leaves less error.
 */
static void choose_scales(const float *x, const float *step, int around, choice *c)
{
    float d = samba__f16_to_f32(c->d), inverse = samba__fit_inverse(d);
    c->total = 0;
    for (size_t g = 0; g < N_GROUPS; g++) {
        int nearest = samba__round_within(step[g] * inverse, -128, 127);
        float least = FLT_MAX;
        for (int s = nearest - around; s <= nearest + around; s++) {
            if (s < -128 || s > 127)
                continue;
            float error = samba__fit_error(x + g * GROUP, range, d * (float)s);
            if (error < least) {
                least = error;
                c->scale[g] = (int8_t)s;
            }
        }
        c->total += least;
    }
}

/* The d of least squares for the integers that a choice leads to. */
static uint16_t refit_d(const float *x, const choice *c)
{
    float d = samba__f16_to_f32(c->d), xq = 0, qq = 0;
    for (size_t g = 0; g < N_GROUPS; g++) {
        float s = c->scale[g], step = d * s;
        samba__fit_sums sums = samba__fit_try(x + g * GROUP, range, samba__fit_inverse(step));
        xq += s * sums.xq;
        qq += s * s * sums.qq;
    }
    return qq > 0 ? samba__fit_f16(xq / qq) : c->d;
}

/* Plain rounding (the extreme value of each group at -32), unless the search finds better. */
static choice choose(const float *x)
{
    float step[N_GROUPS];
    choice best, next;
    for (size_t g = 0; g < N_GROUPS; g++)
        step[g] = samba__fit_extreme(x + g * GROUP, GROUP) / -32;
    best.d = d_of(step);
    choose_scales(x, step, 0, &best);
    for (size_t g = 0; g < N_GROUPS; g++)
        step[g] = samba__fit_step(x + g * GROUP, range, ways);
    next.d = d_of(step);
    for (int i = 0; i <= N_REFITS; i++) {
        choose_scales(x, step, 1, &next);
        if (next.total < best.total)
            best = next;
        next.d = refit_d(x, &next);
    }
    return best;
}

static void encode_block(const float *x /* [256] */, uint8_t *out /* [210] */)
{
    float v[BLOCK];
    int8_t q[BLOCK];
    samba__fit_load(x, BLOCK, v);
    choice c = choose(v);
    float d = samba__f16_to_f32(c.d);
    for (size_t g = 0; g < N_GROUPS; g++)
        samba__fit_levels(v + g * GROUP, range, d * (float)c.scale[g], q + g * GROUP);
    store_levels(q, out);
    memcpy(out + SCALES_AT, c.scale, N_GROUPS);
    samba__store_u16(out + D_AT, c.d);
}

void samba__q6_k_from_f32(const float *src, void *dst, size_t n)
{
    uint8_t *d = dst;
    for (size_t i = 0; i < n; i += BLOCK, d += BYTES)
        encode_block(src + i, d);
}
