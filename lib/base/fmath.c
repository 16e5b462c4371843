/*
 * Elementary functions from range reduction and Taylor polynomials, in double, in one written order
 * of plain multiplications and additions: the same bits on every IEEE machine. The float functions
 * compute in double too and round once, which keeps them within 0.51 ulp (tests/base/test_fmath.c
 * prints the largest error met). Products that must be exact are split (Dekker 1971), so no fma
 * instruction or library call is needed.
 */
#include "base/fmath.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* ln 2 and pi/2 in parts. LN2_HI has 32 bits: its product with an exponent is exact. */
#define LN2_HI 0x1.62e42feep-1
#define LN2_LO 0x1.a39ef35793c76p-33
#define LOG2_E 0x1.71547652b82fep+0
#define PIO2_1 0x1.921fb54442d18p+0
#define PIO2_2 0x1.1a62633145c07p-54
#define PIO2_3 -0x1.f1976b7ed8fbcp-110
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define SINCOS_MAX 0x1p40

static double from_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

static uint64_t to_bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

/* The nearest integer, |x| < 2^51: adding 1.5 * 2^52 leaves no bits below the point. */
static double nearest(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* y * 2^n for n in [-1080, 1080], rounded once where y * 2^n is subnormal. */
static double scale(double y, int n)
{
    if (n > 1023) {
        y *= 0x1p1023;
        n -= 1023;
    } else if (n < -1022) {
        y *= from_bits((uint64_t)(n + 1022 + 60 + 1023) << 52); /* 2^(n + 1082), exact */
        return y * 0x1p-541 * 0x1p-541;
    }
    return y * from_bits((uint64_t)(n + 1023) << 52);
}

/* a + b = *sum + *rest exactly. */
static void two_sum(double a, double b, double *sum, double *rest)
{
    double s = a + b, t = s - a;
    *rest = (a - (s - t)) + (b - t);
    *sum = s;
}

/* a = *high + *low, each of at most 26 bits. */
static void split(double a, double *high, double *low)
{
    double t = a * 0x1.0000002p27; /* 2^27 + 1 */
    *high = t - (t - a);
    *low = a - *high;
}

/* a * b = *product + *rest exactly (no overflow, no underflow). */
static void two_product(double a, double b, double *product, double *rest)
{
    double ah, al, bh, bl, p = a * b;
    split(a, &ah, &al);
    split(b, &bh, &bl);
    *rest = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    *product = p;
}

/* e^(x + extra) for |x| <= 746 and a tiny extra. */
static double exp_parts(double x, double extra)
{
    double n = nearest(x * LOG2_E);
    double high = x - n * LN2_HI, low = n * LN2_LO - extra;
    double r = high - low, rest = (high - r) - low;
    /* 1/2! + r/3! + ... + r^11/13!, even and odd powers apart: two chains of half the length. */
    double z = r * r, even = 1.0 / 479001600, odd = 1.0 / 6227020800;
    even = even * z + 1.0 / 3628800;
    odd = odd * z + 1.0 / 39916800;
    even = even * z + 1.0 / 40320;
    odd = odd * z + 1.0 / 362880;
    even = even * z + 1.0 / 720;
    odd = odd * z + 1.0 / 5040;
    even = even * z + 1.0 / 24;
    odd = odd * z + 1.0 / 120;
    even = even * z + 0.5;
    odd = odd * z + 1.0 / 6;
    return scale(1 + (r + ((even + r * odd) * z + rest)), (int)n);
}

double samba__exp(double x)
{
    if (x != x)
        return x;
    if (x > 710)
        return INFINITY;
    return x < -746 ? 0 : exp_parts(x, 0);
}

/* log x = *high + *low for a positive finite x: with x = 2^k (1 + f) and s = f / (2 + f),
 * log(1 + f) = 2 atanh(s), written so that f itself carries the leading bits. */
static void log_parts(double x, double *high, double *low)
{
    int k = -1023;
    if (x < DBL_MIN) {
        x *= 0x1p54;
        k -= 54;
    }
    uint64_t u = to_bits(x);
    k += (int)(u >> 52);
    double m = from_bits((u & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 0x1.6a09e667f3bcdp+0) { /* sqrt 2 */
        m *= 0.5;
        k++;
    }
    double f = m - 1, s = f / (2 + f), z = s * s, half = 0.5 * f * f;
    double p = 2.0 / 21;
    p = p * z + 2.0 / 19;
    p = p * z + 2.0 / 17;
    p = p * z + 2.0 / 15;
    p = p * z + 2.0 / 13;
    p = p * z + 2.0 / 11;
    p = p * z + 2.0 / 9;
    p = p * z + 2.0 / 7;
    p = p * z + 2.0 / 5;
    p = p * z + 2.0 / 3;
    double h, l;
    two_sum(k * LN2_HI, f, &h, &l);
    l -= half - (s * (half + z * p) + k * LN2_LO);
    two_sum(h, l, high, low);
}

double samba__log(double x)
{
    double high, low;
    if (!(x > 0))
        return x == 0 ? -INFINITY : NAN;
    if (x > DBL_MAX)
        return x;
    log_parts(x, &high, &low);
    return high;
}

double samba__pow(double base, double e)
{
    double high, low, p, rest;
    if (base == 1 || e == 0)
        return 1;
    if (!(base > 0) || e != e)
        return NAN;
    if (base > DBL_MAX)
        return e > 0 ? INFINITY : 0;
    log_parts(base, &high, &low);
    double y = e * high;
    if (y > 710)
        return INFINITY;
    if (y < -746)
        return 0;
    two_product(e, high, &p, &rest);
    return exp_parts(p, rest + e * low);
}

void samba__sincos(double x, double *sine, double *cosine)
{
    if (!(x >= -SINCOS_MAX && x <= SINCOS_MAX)) {
        *sine = *cosine = NAN;
        return;
    }
    /* r + rest = x - n pi/2: the first two products are exact, so nothing is lost by cancellation.
     */
    double n = nearest(x * TWO_OVER_PI), p, pe, q, qe, t, te, r, re, rest;
    two_product(n, PIO2_1, &p, &pe);
    two_product(n, PIO2_2, &q, &qe);
    two_sum(x - p, -pe, &t, &te);
    two_sum(t, -q, &r, &re);
    two_sum(r, (te - qe) + re - n * PIO2_3, &r, &rest);

    double z = r * r;
    double s = 1.0 / 355687428096000; /* 1/17! */
    s = s * z - 1.0 / 1307674368000;
    s = s * z + 1.0 / 6227020800;
    s = s * z - 1.0 / 39916800;
    s = s * z + 1.0 / 362880;
    s = s * z - 1.0 / 5040;
    s = s * z + 1.0 / 120;
    s = s * z - 1.0 / 6;
    s = r + (s * (z * r) + rest * (1 - 0.5 * z));
    double c = 1.0 / 20922789888000; /* 1/16! */
    c = c * z - 1.0 / 87178291200;
    c = c * z + 1.0 / 479001600;
    c = c * z - 1.0 / 3628800;
    c = c * z + 1.0 / 40320;
    c = c * z - 1.0 / 720;
    c = c * z + 1.0 / 24;
    c = 1 - (0.5 * z - (c * (z * z) - r * rest));

    int64_t quadrant = (int64_t)n & 3;
    double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
    *sine = quadrant & 2 ? -a : a;
    *cosine = quadrant == 1 || quadrant == 2 ? -b : b;
}

/* e^x for |x| <= 700, good to 2^-31: for the float functions. */
static double exp_for_float(double x)
{
    double n = nearest(x * LOG2_E);
    double r = x - n * (LN2_HI + LN2_LO);
    double p = 1.0 / 40320; /* 1/8! */
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    return p * from_bits((uint64_t)((int)n + 1023) << 52);
}

float samba__expf(float x)
{
    if (x != x)
        return x;
    if (x < -88)
        return 0;
    if (x > 89)
        return INFINITY;
    double y = exp_for_float(x);
    if (y < FLT_MIN)
        return 0;
    return y > FLT_MAX ? INFINITY : (float)y;
}

float samba__logf(float x)
{
    return (float)samba__log(x);
}

/* Beyond this e^-|x| vanishes beside 1, and is smaller than any float. */
#define TAIL 120.0f

float samba__sigmoid(float x)
{
    if (x != x)
        return x;
    if (x < -TAIL)
        return 0;
    return x > TAIL ? 1 : (float)(1 / (1 + exp_for_float(-(double)x)));
}

float samba__silu(float x)
{
    if (x != x || x > TAIL)
        return x;
    if (x < -TAIL)
        return -0.0f;
    return (float)(x / (1 + exp_for_float(-(double)x)));
}

float samba__softplus(float x)
{
    if (x != x || x > TAIL)
        return x;
    if (x < -TAIL)
        return 0;
    /* log(1 + u) = 2 atanh(s), s = u / (2 + u) <= 1/3: no cancellation for small u */
    double u = exp_for_float(x < 0 ? (double)x : -(double)x), s = u / (2 + u), z = s * s;
    double p = 2.0 / 17;
    p = p * z + 2.0 / 15;
    p = p * z + 2.0 / 13;
    p = p * z + 2.0 / 11;
    p = p * z + 2.0 / 9;
    p = p * z + 2.0 / 7;
    p = p * z + 2.0 / 5;
    p = p * z + 2.0 / 3;
    p = p * z + 2;
    return (float)((x > 0 ? (double)x : 0) + s * p);
}
