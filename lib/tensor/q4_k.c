/*
 * Q4_K: blocks of 256 elements in 8 groups of 32, {f16 d; f16 dmin; u8 scales[12]; u8 q[128]},
 * element = d * scale * q - dmin * min with 6-bit scale and min per group and q of 0 to 15.
 * scales[0..3] and [4..7] hold the low 6 bits of scale and min of groups 0 to 3, and in their upper
 * two bits the top of those of groups 4 to 7, whose low four bits share scales[8..11]. Each 32
 * bytes of q hold one group in the low halves, the next in the high halves.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "tensor/fit.h"

#include <float.h>

enum {
    BLOCK = SAMBA__Q4_K_BLOCK,
    BYTES = SAMBA__Q4_K_BYTES,
    GROUP = SAMBA__Q4_K_GROUP,
    N_GROUPS = BLOCK / GROUP,
    SCALES_AT = 4,
    Q_AT = 16,

    N_REFITS = 2,
    N_UNIT_REFITS = 1
};

static void unpack_scales(const uint8_t *s /* [12] */, uint8_t *scale, uint8_t *min)
{
    for (size_t g = 0; g < 4; g++) {
        scale[g] = s[g] & 63;
        min[g] = s[g + 4] & 63;
        scale[g + 4] = (uint8_t)((s[g + 8] & 15) | s[g] >> 6 << 4);
        min[g + 4] = (uint8_t)(s[g + 8] >> 4 | s[g + 4] >> 6 << 4);
    }
}

static void pack_scales(const uint8_t *scale, const uint8_t *min, uint8_t *s /* [12] */)
{
    for (size_t g = 0; g < 4; g++) {
        s[g] = (uint8_t)(scale[g] | scale[g + 4] >> 4 << 6);
        s[g + 4] = (uint8_t)(min[g] | min[g + 4] >> 4 << 6);
        s[g + 8] = (uint8_t)((scale[g + 4] & 15) | (min[g + 4] & 15) << 4);
    }
}

void samba__q4_k_expand(const uint8_t *from, samba__block *to)
{
    uint8_t scale[N_GROUPS], min[N_GROUPS];
    float d = samba__f16_to_f32(samba__load_u16(from));
    float dmin = samba__f16_to_f32(samba__load_u16(from + 2));
    unpack_scales(from + SCALES_AT, scale, min);
    for (size_t g = 0; g < N_GROUPS; g++) {
        const uint8_t *q = from + Q_AT + g / 2 * GROUP;
        to->scale[g] = d * (float)scale[g];
        to->min[g] = dmin * (float)min[g];
        for (size_t i = 0; i < GROUP; i++)
            to->q[g * GROUP + i] = (int8_t)(g % 2 ? q[i] >> 4 : q[i] & 15);
    }
}

void samba__q4_k_to_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *s = src;
    samba__block b;
    for (size_t i = 0; i < n; i += BLOCK, s += BYTES) {
        samba__q4_k_expand(s, &b);
        for (size_t k = 0; k < BLOCK; k++)
            dst[i + k] = b.scale[k / GROUP] * (float)b.q[k] - b.min[k / GROUP];
    }
}

/* ---- choosing scales and minima ---- */

enum {
    LEVELS = 15,
    CODES = 63
};

typedef struct line {
    float scale, min; /* element = scale * q - min, both >= 0 */
} line;

typedef struct choice {
    uint16_t d, dmin;
    uint8_t scale[N_GROUPS], min[N_GROUPS];
    float total; /* error */
} choice;

/* Sums over values: their number, and of q, x, q*q and x*q. */
typedef struct sums {
    float n, q, x, qq, xq;
} sums;

/* Of a group, with q = round((x + min) * inverse). */
static sums sum_group(const float *x, float min, float inverse)
{
    samba__fit_v q = {0}, sx = {0}, qq = {0}, xq = {0};
    for (size_t i = 0; i < GROUP; i += 4) {
        samba__fit_v a = samba__fit_get(x + i);
        samba__fit_v b = samba__fit_round((a + min) * inverse, 0, LEVELS);
        q += b;
        sx += a;
        qq += b * b;
        xq += a * b;
    }
    return (sums){GROUP, samba__fit_sum(q), samba__fit_sum(sx), samba__fit_sum(qq),
                  samba__fit_sum(xq)};
}

static float group_error(const float *x, line at)
{
    const float inverse = samba__fit_inverse(at.scale);
    samba__fit_v e = {0};
    for (size_t i = 0; i < GROUP; i += 4) {
        samba__fit_v a = samba__fit_get(x + i) + at.min;
        samba__fit_v d = a - samba__fit_round(a * inverse, 0, LEVELS) * at.scale;
        e += d * d;
    }
    return samba__fit_sum(e);
}

/* The line of least squares through the points (q, x), and what it takes from the sum of x*x. */
static float fit_line(sums s, line *to)
{
    float det = s.n * s.qq - s.q * s.q;
    if (det > 0) {
        to->scale = (s.n * s.xq - s.x * s.q) / det;
        to->min = (s.q * s.xq - s.qq * s.x) / det;
    }
    if (!(det > 0 && to->min >= 0)) {
        to->scale = s.qq > 0 ? s.xq / s.qq : 0;
        to->min = 0;
    }
    return to->scale > 0 ? to->scale * s.xq - to->min * s.x : -1;
}

/* Plain: the smallest value (or 0) is q = 0, the largest is q = 15. */
static line plain_line(const float *x)
{
    float low = 0, high = 0;
    for (size_t i = 0; i < GROUP; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    return (line){(high - low) / LEVELS, -low};
}

static void offer(const float *x, line from, line *best, float *most)
{
    line at;
    float gain = fit_line(sum_group(x, from.min, samba__fit_inverse(from.scale)), &at);
    if (gain > *most) {
        *most = gain;
        *best = at;
    }
}

/* The best line over a few ways to lay the integers over the values, each end somewhat inside or
 * outside, refined by taking the integers of the line that was best. */
static line search_line(const float *x)
{
    line plain = plain_line(x), best = plain;
    float most = 0;
    if (plain.scale <= SAMBA__FIT_TINY / LEVELS)
        return plain;
    for (int i = 0; i < 9; i++) {
        float low = 0.4f * (float)(i / 3 - 1), high = 0.4f * (float)(i % 3 - 1); /* in steps */
        line from = {plain.scale * (LEVELS - low - high) / LEVELS, plain.min - low * plain.scale};
        offer(x, from, &best, &most);
    }
    for (int i = 0; i < N_REFITS; i++)
        offer(x, best, &best, &most);
    return best;
}

/* d and dmin so that the largest scale and minimum are 63 times them. */
static void units_of(const line *lines, choice *c)
{
    line max = {0, 0};
    for (size_t g = 0; g < N_GROUPS; g++) {
        max.scale = lines[g].scale > max.scale ? lines[g].scale : max.scale;
        max.min = lines[g].min > max.min ? lines[g].min : max.min;
    }
    c->d = samba__fit_f16(max.scale / CODES);
    c->dmin = samba__fit_f16(max.min / CODES);
}

/* Each line in multiples of d and dmin: the nearest, or a neighbour within `around` that leaves
 * less error. */
static void choose_codes(const float *x, const line *lines, int around, choice *c)
{
    float d = samba__f16_to_f32(c->d), dmin = samba__f16_to_f32(c->dmin);
    float to_s = samba__fit_inverse(d), to_m = samba__fit_inverse(dmin);
    c->total = 0;
    for (size_t g = 0; g < N_GROUPS; g++) {
        int s0 = samba__round_within(lines[g].scale * to_s, 0, CODES);
        int m0 = samba__round_within(lines[g].min * to_m, 0, CODES);
        float least = FLT_MAX;
        for (int s = s0 - around; s <= s0 + around; s++)
            for (int m = m0 - around; m <= m0 + around; m++) {
                if (s < 0 || s > CODES || m < 0 || m > CODES)
                    continue;
                line at = {d * (float)s, dmin * (float)m};
                float error = group_error(x + g * GROUP, at);
                if (error < least) {
                    least = error;
                    c->scale[g] = (uint8_t)s;
                    c->min[g] = (uint8_t)m;
                }
            }
        c->total += least;
    }
}

/* d and dmin of least squares for the integers that a choice leads to. */
static void refit_units(const float *x, choice *c)
{
    float d = samba__f16_to_f32(c->d), dmin = samba__f16_to_f32(c->dmin);
    sums all = {0};
    for (size_t g = 0; g < N_GROUPS; g++) {
        float s = c->scale[g], m = c->min[g], step = d * s;
        sums one = sum_group(x + g * GROUP, dmin * m, samba__fit_inverse(step));
        all.n += m * m * one.n;
        all.q += m * s * one.q;
        all.x += m * one.x;
        all.qq += s * s * one.qq;
        all.xq += s * one.xq;
    }
    line to;
    if (fit_line(all, &to) > 0) {
        c->d = samba__fit_f16(to.scale);
        c->dmin = samba__fit_f16(to.min);
    }
}

/* Plain rounding, unless the search finds better. */
static choice choose(const float *x)
{
    line lines[N_GROUPS];
    choice best, next;
    for (size_t g = 0; g < N_GROUPS; g++)
        lines[g] = plain_line(x + g * GROUP);
    units_of(lines, &best);
    choose_codes(x, lines, 0, &best);
    for (size_t g = 0; g < N_GROUPS; g++)
        lines[g] = search_line(x + g * GROUP);
    units_of(lines, &next);
    for (int i = 0; i <= N_UNIT_REFITS; i++) {
        choose_codes(x, lines, 1, &next);
        if (next.total < best.total)
            best = next;
        refit_units(x, &next);
    }
    return best;
}

static void encode_block(const float *x /* [256] */, uint8_t *out /* [144] */)
{
    float v[BLOCK];
    samba__fit_load(x, BLOCK, v);
    choice c = choose(v);
    float d = samba__f16_to_f32(c.d), dmin = samba__f16_to_f32(c.dmin);
    samba__store_u16(out, c.d);
    samba__store_u16(out + 2, c.dmin);
    pack_scales(c.scale, c.min, out + SCALES_AT);
    for (size_t g = 0; g < N_GROUPS; g++) {
        float step = d * (float)c.scale[g], inverse = samba__fit_inverse(step);
        uint8_t *to = out + Q_AT + g / 2 * GROUP;
        for (size_t i = 0; i < GROUP; i += 4) {
            samba__fit_v q = samba__fit_get(v + g * GROUP + i) + dmin * (float)c.min[g];
            q = samba__fit_round(q * inverse, 0, LEVELS);
            for (size_t l = 0; l < 4; l++)
                to[i + l] = (uint8_t)(g % 2 ? to[i + l] | (int)q[l] << 4 : (int)q[l]);
        }
    }
}

void samba__q4_k_from_f32(const float *src, void *dst, size_t n)
{
    uint8_t *d = dst;
    for (size_t i = 0; i < n; i += BLOCK, d += BYTES)
        encode_block(src + i, d);
}
