/*
 * Our elementary functions against the C library's in higher precision: floats against double,
 * double against long double. Errors are in units of the last place of the exact result; the
 * largest ones met are printed.
 */
#include "base/fmath.h"
#include "base/half.h"
#include "support/suite.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static uint64_t rng_state = 0x853c49e6748fea9bu;

static uint64_t random_bits(void) /* splitmix64 */
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double random_between(double low, double high)
{
    return low + (high - low) * ((double)(random_bits() >> 11) * 0x1p-53);
}

/* Error of a float in ulps of the exact value; below FLT_MIN the ulp is that of subnormals. */
static double ulps_float(float got, double exact)
{
    if ((double)got == exact)
        return 0;
    int e;
    frexp(exact, &e);
    if (e < FLT_MIN_EXP)
        e = FLT_MIN_EXP;
    return fabs((double)got - exact) / ldexp(1, e - FLT_MANT_DIG);
}

static double ulps_double(double got, long double exact)
{
    if ((long double)got == exact)
        return 0;
    int e;
    frexpl(exact, &e);
    if (e < DBL_MIN_EXP)
        e = DBL_MIN_EXP;
    return (double)(fabsl((long double)got - exact) / ldexpl(1, e - DBL_MANT_DIG));
}

typedef struct worst {
    const char *name;
    double ulps;
    double at;
} worst;

static void note(worst *w, double ulps, double at)
{
    if (!(ulps <= w->ulps)) {
        w->ulps = ulps == ulps ? ulps : INFINITY;
        w->at = at;
    }
}

static void conclude(const worst *w, double limit)
{
    printf("%-12s %.4f ulp at %a\n", w->name, w->ulps, w->at);
    ck_assert_msg(w->ulps <= limit, "%s: %g ulp at %a", w->name, w->ulps, w->at);
}

static double exact_sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double exact_silu(double x)
{
    return x * exact_sigmoid(x);
}

static double exact_softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

typedef struct float_case {
    const char *name;
    float (*ours)(float);
    double (*exact)(double);
    float low, high;
    double limit;
} float_case;

static const float_case float_cases[] = {
    {"expf", samba__expf, exp, -87.33f, 88.72f, 0.51},
    {"logf", samba__logf, log, 0x1p-149f, FLT_MAX, 0.51},
    {"sigmoid", samba__sigmoid, exact_sigmoid, -125, 125, 0.51},
    {"silu", samba__silu, exact_silu, -125, 125, 0.51},
    {"softplus", samba__softplus, exact_softplus, -125, 125, 0.51},
};

/* Every 997th float of the range, of both signs where it has both. */
START_TEST(floats_are_within_half_an_ulp)
{
    const float_case *c = &float_cases[_i];
    worst w = {.name = c->name, .at = 0};
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint32_t u = 1; u < 0x7f800000u; u += 997) {
            float x = samba__f32_from_bits(u | sign << 31);
            if (x >= c->low && x <= c->high)
                note(&w, ulps_float(c->ours(x), c->exact((double)x)), (double)x);
        }
    conclude(&w, c->limit);
}
END_TEST

/* ... and evenly over the part where models live. */
START_TEST(floats_near_zero)
{
    const float_case *c = &float_cases[_i];
    worst w = {.name = c->name, .at = 0};
    for (int i = 0; i < 400000; i++) {
        float x = (float)random_between(c->low > 0 ? 0.01 : -20, 20);
        note(&w, ulps_float(c->ours(x), c->exact((double)x)), (double)x);
    }
    conclude(&w, c->limit);
}
END_TEST

static bool is_nan(float x)
{
    return x != x;
}

START_TEST(floats_at_the_edges)
{
    const float inf = INFINITY;
    for (size_t i = 0; i < sizeof float_cases / sizeof *float_cases; i++)
        ck_assert(is_nan(float_cases[i].ours(NAN)));
    ck_assert(samba__expf(inf) == inf && samba__expf(89.5f) == inf && samba__expf(FLT_MAX) == inf);
    ck_assert(samba__expf(88.7228f) < inf && samba__expf(88.7229f) == inf);
    ck_assert(samba__expf(-inf) == 0 && samba__expf(-FLT_MAX) == 0 && samba__expf(-87.34f) == 0);
    ck_assert(samba__expf(-87.33f) >= FLT_MIN && samba__expf(0) == 1 && samba__expf(-0.0f) == 1);
    ck_assert(samba__logf(0) == -inf && samba__logf(-0.0f) == -inf && samba__logf(inf) == inf);
    ck_assert(is_nan(samba__logf(-1)) && is_nan(samba__logf(-inf)) && samba__logf(1) == 0);
    ck_assert(samba__sigmoid(inf) == 1 && samba__sigmoid(-inf) == 0 && samba__sigmoid(0) == 0.5f);
    ck_assert(samba__sigmoid(FLT_MAX) == 1 && samba__sigmoid(-FLT_MAX) == 0);
    ck_assert(samba__silu(inf) == inf && samba__silu(-inf) == 0 && samba__silu(0) == 0);
    ck_assert(samba__silu(FLT_MAX) == FLT_MAX && samba__silu(-FLT_MAX) == 0);
    ck_assert(samba__softplus(inf) == inf && samba__softplus(-inf) == 0);
    ck_assert(samba__softplus(FLT_MAX) == FLT_MAX && samba__softplus(-FLT_MAX) == 0);
    ck_assert(samba__softplus(-100) > 0 && samba__softplus(-50) > 0);
}
END_TEST

START_TEST(doubles_are_within_one_ulp)
{
    worst e = {.name = "exp"}, l = {.name = "log"}, n = {.name = "log near 1"};
    for (int i = 0; i < 500000; i++) {
        double x = i % 2 ? random_between(-745, 709.7) : random_between(-1, 1);
        note(&e, ulps_double(samba__exp(x), expl(x)), x);
        union {
            uint64_t u;
            double d;
        } any = {.u = random_bits() % 0x7ff0000000000000u};
        note(&l, ulps_double(samba__log(any.d), logl(any.d)), any.d);
        x = 1 + random_between(-0.3, 0.45) * (i % 3 ? 1 : 1e-6);
        note(&n, ulps_double(samba__log(x), logl(x)), x);
    }
    conclude(&e, 1);
    conclude(&l, 1);
    conclude(&n, 1);
    ck_assert(samba__exp(0) == 1 && samba__exp(710) == INFINITY && samba__exp(-INFINITY) == 0);
    ck_assert(samba__exp(INFINITY) == INFINITY && isnan(samba__exp(NAN)));
    ck_assert(samba__exp(709.7827) < INFINITY && samba__exp(709.79) == INFINITY);
    ck_assert(samba__exp(-745.1) > 0 && samba__exp(-745.2) == 0 && samba__exp(-1e308) == 0);
    ck_assert(samba__log(1) == 0 && samba__log(0) == -INFINITY && isnan(samba__log(-1)));
    ck_assert(samba__log(INFINITY) == INFINITY && isnan(samba__log(NAN)));
}
END_TEST

START_TEST(powers)
{
    static const double bases[] = {10000, 500000, 1e6, 2, 1.0000001, 1e-3};
    worst w = {.name = "pow"};
    for (int i = 0; i < 300000; i++) {
        double base = bases[i % 6], e = random_between(0, 1);
        note(&w, ulps_double(samba__pow(base, e), powl(base, e)), e);
    }
    conclude(&w, 1); /* 1 ulp is 2.3e-16 relative at most */
    /* the exponents of a rotary table: its recipe rounds this power to float */
    for (int m = 2; m <= 256; m += 2)
        for (int t = 0; t < m / 2; t++) {
            float e = (float)(2 * t) / (float)m;
            ck_assert((float)samba__pow(10000, (double)e) == (float)pow(10000, (double)e));
        }
    for (int i = 0; i < 100000; i++) {
        double base = exp(random_between(-600, 600)), e = random_between(-3, 3);
        long double exact = powl(base, e);
        if (exact < DBL_MAX && exact > DBL_MIN)
            ck_assert_msg(fabsl(samba__pow(base, e) - exact) <= 1e-13L * exact, "%a^%a", base, e);
    }
    ck_assert(samba__pow(3, 0) == 1 && samba__pow(1, 1e300) == 1 && samba__pow(1, NAN) == 1);
    ck_assert(samba__pow(10, 400) == INFINITY && samba__pow(10, -400) == 0);
    ck_assert(samba__pow(0.5, -1e308) == INFINITY && samba__pow(0.5, 1e308) == 0);
    ck_assert(isnan(samba__pow(-1, 2)) && isnan(samba__pow(0, 2)) && isnan(samba__pow(2, NAN)));
    ck_assert(samba__pow(INFINITY, 2) == INFINITY && samba__pow(INFINITY, -2) == 0);
}
END_TEST

static void check_angle(double x, double *largest)
{
    double s, c;
    samba__sincos(x, &s, &c);
    double es = (double)fabsl(s - sinl(x)), ec = (double)fabsl(c - cosl(x));
    double e = es > ec ? es : ec;
    ck_assert_msg(e < 1e-14, "sincos(%a) is off by %g", x, e);
    /* relative too: what is rounded to float near a zero must be right */
    ck_assert_msg(ulps_double(s, sinl(x)) <= 4 && ulps_double(c, cosl(x)) <= 4, "sincos(%a)", x);
    *largest = e > *largest ? e : *largest;
}

START_TEST(angles)
{
    double largest = 0;
    for (int i = 0; i < 300000; i++) {
        check_angle(random_between(-10, 10), &largest);
        check_angle(random_between(-1, 1) * ldexp(1, (int)(random_bits() % 41)), &largest);
    }
    /* next to multiples of pi/2: the nearest double, its neighbours, and the nearest float */
    const long double half_pi = 1.5707963267948966192313216916397514L;
    for (int i = 0; i < 100000; i++) {
        uint64_t k = i < 1000 ? (uint64_t)i : random_bits() >> (24 + random_bits() % 39);
        double x = (double)((long double)k * half_pi);
        if (x > 0x1p40)
            continue;
        check_angle(x, &largest);
        check_angle(nextafter(x, 0), &largest);
        check_angle(-nextafter(x, 1e300), &largest);
        check_angle((double)(float)x, &largest);
        /* and the borders of the quadrants */
        check_angle(nextafter(x + 0.78539816339744830962, 1e300), &largest);
        check_angle(nextafter(x + 0.78539816339744830962, 0), &largest);
    }
    check_angle(0x1p40, &largest);
    check_angle(-0x1p40, &largest);
    printf("sincos       largest absolute error %.3g\n", largest);
    double s, c;
    samba__sincos(0, &s, &c);
    ck_assert(s == 0 && c == 1);
    static const double outside[] = {0x1.1p40, -0x1.1p40, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        samba__sincos(outside[i], &s, &c);
        ck_assert(isnan(s) && isnan(c));
    }
}
END_TEST

START_TEST(square_roots)
{
    for (int i = 0; i < 100000; i++) {
        float x = samba__f32_from_bits((uint32_t)(random_bits() % 0x7f800000u));
        ck_assert(samba__sqrtf(x) == (float)sqrt((double)x));
    }
}
END_TEST

int main(void)
{
    int n = sizeof float_cases / sizeof *float_cases;
    Suite *suite = suite_create("base/fmath");
    TCase *c = tcase_create("fmath");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, floats_are_within_half_an_ulp, 0, n);
    tcase_add_loop_test(c, floats_near_zero, 0, n);
    tcase_add_test(c, floats_at_the_edges);
    tcase_add_test(c, doubles_are_within_one_ulp);
    tcase_add_test(c, powers);
    tcase_add_test(c, angles);
    tcase_add_test(c, square_roots);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
