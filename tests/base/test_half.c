/*
 * f16 and bf16 against definitions that share nothing with the code: values by ldexp, rounding by
 * search for the nearest of all halves.
 */
#include "base/half.h"
#include "support/suite.h"

#include <math.h>
#include <stdbool.h>

typedef struct format {
    const char *name;
    int exponent_bits, mantissa_bits;
    float (*to_f32)(uint16_t);
    uint16_t (*from_f32)(float);
} format;

static float f16_to_f32(uint16_t h)
{
    return samba__f16_to_f32(h);
}

static uint16_t f32_to_f16(float x)
{
    return samba__f32_to_f16(x);
}

static float bf16_to_f32(uint16_t h)
{
    return samba__bf16_to_f32(h);
}

static uint16_t f32_to_bf16(float x)
{
    return samba__f32_to_bf16(x);
}

static const format formats[] = {
    {"f16", 5, 10, f16_to_f32, f32_to_f16},
    {"bf16", 8, 7, bf16_to_f32, f32_to_bf16},
};
enum {
    N_FORMATS = sizeof formats / sizeof *formats
};

/* What the bits mean: NaN, infinity, or (1.man or 0.man) * 2^e. With `past`, infinity is the number
 * that would come after the largest, as rounding sees it. */
static double meaning(const format *f, uint16_t h, bool past)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, top = (1 << f->exponent_bits) - 1;
    int e = h >> f->mantissa_bits & top, man = h & ((1 << f->mantissa_bits) - 1);
    double sign = h & 0x8000 ? -1 : 1;
    if (e == top && man)
        return NAN;
    if (e == top && !past)
        return sign * INFINITY;
    if (e == 0)
        return sign * ldexp(man, 1 - bias - f->mantissa_bits);
    return sign * ldexp(man + (1 << f->mantissa_bits), e - bias - f->mantissa_bits);
}

START_TEST(every_half_round_trips)
{
    const format *f = &formats[_i];
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float x = f->to_f32(h);
        double want = meaning(f, h, false);
        if (isnan(want)) {
            ck_assert(isnan(x) && isnan(f->to_f32(f->from_f32(x))));
            ck_assert_uint_eq(f->from_f32(x) & 0x8000, h & 0x8000);
            continue;
        }
        ck_assert_msg((double)x == want && !signbit(x) == !signbit(want), "%s %04x", f->name, i);
        ck_assert_uint_eq(f->from_f32(x), h);
    }
}
END_TEST

/* The nearest half by search: magnitudes are in the order of their bits; a tie takes the even. */
static uint16_t nearest(const format *f, float x)
{
    double v = fabs((double)x);
    uint16_t sign = signbit(x) ? 0x8000 : 0, inf = 0x7fff;
    inf = (uint16_t)(inf & ~((1 << f->mantissa_bits) - 1));
    uint16_t low = 0, high = inf; /* low <= v < high */
    if (v >= meaning(f, inf, true))
        return sign | inf;
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (meaning(f, middle, true) <= v)
            low = middle;
        else
            high = middle;
    }
    double below = v - meaning(f, low, true), above = meaning(f, high, true) - v;
    bool up = above < below || (above == below && high % 2 == 0);
    return sign | (up ? high : low);
}

static void check_rounding(const format *f, float x)
{
    if (isnan(x))
        ck_assert(isnan(f->to_f32(f->from_f32(x))));
    else
        ck_assert_msg(f->from_f32(x) == nearest(f, x), "%s: %a gives %04x, nearest is %04x",
                      f->name, (double)x, f->from_f32(x), nearest(f, x));
}

/* Around every half and every tie between two: the value, and the floats on both sides. */
START_TEST(ties_and_their_neighbours)
{
    const format *f = &formats[_i];
    for (uint32_t i = 0; i < 65536; i++) {
        double v = meaning(f, (uint16_t)i, true), w = meaning(f, (uint16_t)(i + 1), true);
        if (isnan(v))
            continue;
        float x = (float)v, tie = isnan(w) ? x : (float)((v + w) / 2);
        const float near[] = {x,   nextafterf(x, INFINITY),   nextafterf(x, -INFINITY),
                              tie, nextafterf(tie, INFINITY), nextafterf(tie, -INFINITY)};
        for (size_t j = 0; j < sizeof near / sizeof *near; j++)
            check_rounding(f, near[j]);
    }
}
END_TEST

START_TEST(floats_of_all_sizes)
{
    const format *f = &formats[_i];
    for (uint32_t u = 0; u < 0xffffffffu - 9973; u += 9973)
        check_rounding(f, samba__f32_from_bits(u));
    check_rounding(f, INFINITY);
    check_rounding(f, -INFINITY);
    check_rounding(f, samba__f32_from_bits(0x7f7fffff));
    check_rounding(f, samba__f32_from_bits(1));
    /* NaNs with every single payload bit stay NaN: some have no bit in the upper half */
    for (uint32_t bit = 0; bit < 23; bit++) {
        check_rounding(f, samba__f32_from_bits(0x7f800000u | 1u << bit));
        check_rounding(f, samba__f32_from_bits(0xff800000u | 1u << bit));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/half");
    TCase *c = tcase_create("half");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, every_half_round_trips, 0, N_FORMATS);
    tcase_add_loop_test(c, ties_and_their_neighbours, 0, N_FORMATS);
    tcase_add_loop_test(c, floats_of_all_sizes, 0, N_FORMATS);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
