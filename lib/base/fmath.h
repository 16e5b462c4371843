/*
 * exp, log, sin, cos and pow of our own, so that results do not depend on the C library. The float
 * versions are within 1 ulp-class error and are what the reference kernels use; the double versions
 * serve tables and load-time constants.
 *
 *   samba__expf(x)       x < -87.33 underflows to 0 (no subnormals), x > 88.72 gives +inf
 *   samba__logf(x)       x > 0
 *   samba__silu(x)       x / (1 + exp(-x))
 *   samba__softplus(x)   log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), accurate for x << 0
 *   samba__exp/log/pow   double; pow(base, e) for base > 0
 *   samba__sincos        double; |x| <= 2^40 (NaN beyond), argument reduced with pi/2 in parts; abs
 *                        error < 1e-14
 * NaN gives NaN; infinities give the limit (silu(-inf) = -0).
 */
#ifndef SAMBA_BASE_FMATH_H
#define SAMBA_BASE_FMATH_H

float samba__expf(float x);
float samba__logf(float x);
float samba__silu(float x);
float samba__sigmoid(float x);
float samba__softplus(float x);
double samba__exp(double x);
double samba__log(double x);
double samba__pow(double base, double e);
void samba__sincos(double x, double *sine, double *cosine);
/* Correctly rounded IEEE square root (one instruction everywhere). */
static inline float samba__sqrtf(float x)
{
    return __builtin_sqrtf(x);
}

#endif
