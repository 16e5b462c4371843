/*
 * Choosing integers and scales: what the encoders of the K formats and Q4_0 share. Values x of a
 * group are to become step * q with q in [low, high], and the sum of (x - step * q)^2 is to be
 * small: inputs of unknown and equal size make that the error of a product. (Weights by the size of
 * x gave no better models.) Everything is inlined with constant sizes, multiples of 4.
 *
 * Magnitudes: x is within +-2^40, and groups with nothing above 2^-25, half of the smallest f16,
 * are zero before anything is divided, so that no sum leaves the floats.
 */
#ifndef SAMBA_TENSOR_FIT_H
#define SAMBA_TENSOR_FIT_H

#include "base/half.h"
#include "tensor/blocks.h"

#include <string.h>

#define SAMBA__FIT_INLINE static inline __attribute__((always_inline))
#define SAMBA__FIT_TINY 0x1p-25f

typedef struct samba__fit_range {
    size_t n;
    float low, high;
} samba__fit_range;

/* n values as encoders see them. */
static inline void samba__fit_load(const float *x, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        float v = x[i] != x[i] ? 0 : x[i];
        v = v > 0x1p40f ? 0x1p40f : v;
        to[i] = v < -0x1p40f ? -0x1p40f : v;
    }
}

/* The nearest f16 that is finite. */
static inline uint16_t samba__fit_f16(float d)
{
    d = d > SAMBA__F16_MAX ? SAMBA__F16_MAX : d;
    return samba__f32_to_f16(d < -SAMBA__F16_MAX ? -SAMBA__F16_MAX : d);
}

SAMBA__FIT_INLINE float samba__fit_inverse(float step)
{
    return step != 0 ? 1 / step : 0;
}

/* Four values at once, in plain C. */
typedef float samba__fit_v __attribute__((vector_size(16)));
typedef int32_t samba__fit_mask __attribute__((vector_size(16)));

SAMBA__FIT_INLINE samba__fit_v samba__fit_get(const float *x)
{
    samba__fit_v v;
    memcpy(&v, x, sizeof v);
    return v;
}

SAMBA__FIT_INLINE samba__fit_v samba__fit_all(float x)
{
    return (samba__fit_v){x, x, x, x};
}

SAMBA__FIT_INLINE float samba__fit_sum(samba__fit_v v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

SAMBA__FIT_INLINE samba__fit_v samba__fit_pick(samba__fit_mask where, samba__fit_v a,
                                               samba__fit_v b)
{
    return (samba__fit_v)((where & (samba__fit_mask)a) | (~where & (samba__fit_mask)b));
}

/* Nearest integers within [low, high], ties to even. */
SAMBA__FIT_INLINE samba__fit_v samba__fit_round(samba__fit_v x, float low, float high)
{
    const samba__fit_v magic = samba__fit_all(0x1.8p23f);
    const samba__fit_v least = samba__fit_all(low), most = samba__fit_all(high);
    x = samba__fit_pick(x < least, least, x);
    x = samba__fit_pick(x > most, most, x);
    return x + magic - magic;
}

/* Sums of x*q and q*q with q = round(x * inverse). */
typedef struct samba__fit_sums {
    float xq, qq;
} samba__fit_sums;

SAMBA__FIT_INLINE samba__fit_sums samba__fit_try(const float *x, samba__fit_range r, float inverse)
{
    samba__fit_v xq = {0}, qq = {0};
    for (size_t i = 0; i < r.n; i += 4) {
        samba__fit_v v = samba__fit_get(x + i), q = samba__fit_round(v * inverse, r.low, r.high);
        xq += v * q;
        qq += q * q;
    }
    return (samba__fit_sums){samba__fit_sum(xq), samba__fit_sum(qq)};
}

/* The error that step leaves. */
SAMBA__FIT_INLINE float samba__fit_error(const float *x, samba__fit_range r, float step)
{
    const float inverse = samba__fit_inverse(step);
    samba__fit_v e = {0};
    for (size_t i = 0; i < r.n; i += 4) {
        samba__fit_v v = samba__fit_get(x + i);
        samba__fit_v d = v - samba__fit_round(v * inverse, r.low, r.high) * step;
        e += d * d;
    }
    return samba__fit_sum(e);
}

/* The integers of a group at a step. */
SAMBA__FIT_INLINE void samba__fit_levels(const float *x, samba__fit_range r, float step, int8_t *q)
{
    const float inverse = samba__fit_inverse(step);
    for (size_t i = 0; i < r.n; i += 4) {
        samba__fit_v v = samba__fit_round(samba__fit_get(x + i) * inverse, r.low, r.high);
        for (size_t l = 0; l < 4; l++)
            q[i + l] = (int8_t)v[l];
    }
}

/* The value of largest size, with its sign. */
SAMBA__FIT_INLINE float samba__fit_extreme(const float *x, size_t n)
{
    float low = 0, high = 0;
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    return high > -low ? high : low;
}

/* Ways to lay a range over values: the extreme one becomes `low` or `high` of it, or `spacing`
 * times -n_inside, 1 - n_inside, ... further out, n ways in all. */
typedef struct samba__fit_ways {
    int n, n_inside;
    float spacing;
} samba__fit_ways;

/* The best step over some ways. Each gives integers; the step is then that of least squares,
 * sum(xq) / sum(qq), which leaves an error of sum(xx) - sum(xq)^2 / sum(qq). */
SAMBA__FIT_INLINE float samba__fit_step(const float *x, samba__fit_range r, samba__fit_ways ways)
{
    const float extreme = samba__fit_extreme(x, r.n);
    float best = 0, most = 0;
    if (extreme <= SAMBA__FIT_TINY && extreme >= -SAMBA__FIT_TINY)
        return 0;
    for (int i = 0; i < 2 * ways.n; i++) {
        float out = ways.spacing * (float)(i % ways.n - ways.n_inside);
        float end = i < ways.n ? r.low - out : r.high + out;
        samba__fit_sums s = samba__fit_try(x, r, end / extreme);
        if (s.qq > 0 && s.xq * s.xq > most * s.qq) {
            most = s.xq * s.xq / s.qq;
            best = s.xq / s.qq;
        }
    }
    return best;
}

#endif
