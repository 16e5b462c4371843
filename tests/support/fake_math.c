/*
 * Arithmetic of the fake backend: libm in double, number formats by their definitions rather than
 * by bit tricks, so that a mistake in the library's versions is not repeated here.
 */
#include "fake_internal.h"

#include <math.h>
#include <string.h>

/* The nearest multiple, ties to even, of the format's spacing at x. */
static double round_to_format(double x, int mantissa_bits, int min_exponent)
{
    if (x == 0.0 || !isfinite(x))
        return x;
    int e;
    frexp(x, &e); /* |x| in [2^(e-1), 2^e) */
    int exponent = e - 1 < min_exponent ? min_exponent : e - 1;
    double quantum = ldexp(1.0, exponent - mantissa_bits);
    return rint(x / quantum) * quantum;
}

float fake_round_f16(double x)
{
    double y = round_to_format(x, 10, -14);
    if (fabs(y) >= 65536.0)
        y = copysign(INFINITY, y);
    return (float)y;
}

float fake_round_bf16(float x)
{
    double y = round_to_format((double)x, 7, -126);
    return (float)y; /* past the largest: infinity, by the conversion */
}

static uint16_t f16_bits(double x)
{
    double y = (double)fake_round_f16(x);
    uint16_t sign = signbit(y) ? 0x8000u : 0;
    y = fabs(y);
    if (isnan(y))
        return (uint16_t)(sign | 0x7e00u);
    if (isinf(y))
        return (uint16_t)(sign | 0x7c00u);
    if (y < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)(y * 0x1p24));
    int e;
    double m = frexp(y, &e) * 2.0; /* [1, 2) */
    return (uint16_t)(sign | (uint16_t)((e - 1 + 15) << 10) | (uint16_t)((m - 1.0) * 1024.0));
}

static float f16_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY)
               : e     ? ldexp(1.0 + m / 1024.0, e - 15)
                       : ldexp(m / 1024.0, -14);
    return (float)(h & 0x8000 ? -v : v);
}

uint64_t fake_dtype_bytes(samba_dtype dtype, uint64_t n)
{
    switch (dtype) {
    case SAMBA_DTYPE_F32:
        return 4 * n;
    case SAMBA_DTYPE_F16:
    case SAMBA_DTYPE_BF16:
        return 2 * n;
    case SAMBA_DTYPE_Q8_0:
        return n % 32 ? 0 : n / 32 * 34;
    default:
        return 0;
    }
}

void fake_decode(samba_dtype dtype, const void *from, uint64_t n, float *to)
{
    const uint8_t *p = from;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h;
        if (dtype == SAMBA_DTYPE_F32) {
            memcpy(&to[i], p + 4 * i, 4);
        } else if (dtype == SAMBA_DTYPE_F16) {
            memcpy(&h, p + 2 * i, 2);
            to[i] = f16_value(h);
        } else if (dtype == SAMBA_DTYPE_BF16) {
            memcpy(&h, p + 2 * i, 2);
            uint32_t u = (uint32_t)h << 16;
            memcpy(&to[i], &u, 4);
        } else {
            const uint8_t *block = p + i / 32 * 34;
            memcpy(&h, block, 2);
            to[i] = f16_value(h) * (float)(int8_t)block[2 + i % 32];
        }
    }
}

static void encode_q8_0(const double *from, uint8_t *block)
{
    float largest = 0;
    for (int i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf((float)from[i]));
    float d = largest / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    uint16_t h = f16_bits((double)d);
    memcpy(block, &h, 2);
    for (int i = 0; i < 32; i++)
        block[2 + i] = (uint8_t)(int8_t)lroundf((float)from[i] * inverse);
}

void fake_encode(samba_dtype dtype, const double *from, uint64_t n, void *to)
{
    uint8_t *p = to;
    if (dtype == SAMBA_DTYPE_Q8_0) {
        for (uint64_t i = 0; i < n; i += 32)
            encode_q8_0(from + i, p + i / 32 * 34);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (dtype == SAMBA_DTYPE_F32) {
            float f = (float)from[i];
            memcpy(p + 4 * i, &f, 4);
        } else if (dtype == SAMBA_DTYPE_F16) {
            uint16_t h = f16_bits((double)(float)from[i]);
            memcpy(p + 2 * i, &h, 2);
        } else {
            float f = fake_round_bf16((float)from[i]);
            uint32_t u;
            memcpy(&u, &f, 4);
            uint16_t h = (uint16_t)(u >> 16);
            memcpy(p + 2 * i, &h, 2);
        }
    }
}

double fake_silu(double x)
{
    return x / (1.0 + exp(-x));
}

double fake_softplus(double x)
{
    return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

void fake_linear(const float *w, const float *b, uint64_t rows, uint64_t cols, const double *x,
                 double *y)
{
    for (uint64_t r = 0; r < rows; r++) {
        double sum = b ? (double)b[r] : 0.0;
        for (uint64_t c = 0; c < cols; c++)
            sum += (double)w[r * cols + c] * x[c];
        y[r] = sum;
    }
}

void fake_norm(samba_norm_kind kind, float eps, const float *w, const float *b, uint64_t n,
               const double *x, double *y)
{
    double mean = 0, square = 0;
    if (kind == SAMBA_NORM_LAYER) {
        for (uint64_t i = 0; i < n; i++)
            mean += x[i];
        mean /= (double)n;
    }
    for (uint64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double scale = 1.0 / sqrt(square / (double)n + (double)eps);
    for (uint64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * scale * (double)w[i] + (b ? (double)b[i] : 0.0);
}

/* Half-split rotation of the first rope_dims of each head; the table recipe of backend.h. */
void fake_rope(const samba_backend_sublayer *s, uint64_t position, uint64_t n_heads, uint64_t width,
               double *x)
{
    uint32_t half = s->rope_dims / 2;
    for (uint32_t t = 0; t < half; t++) {
        float e = (float)(2 * t) / (float)s->rope_dims;
        float p = (float)pow((double)s->rope_base, (double)e);
        float theta = 1.0f / p;
        float scaled = (float)position / s->rope_condense;
        float angle = scaled * theta;
        float c = (float)cos((double)angle), sn = (float)sin((double)angle);
        if (s->rope_table == SAMBA_ROPE_TABLE_BF16) {
            c = fake_round_bf16(c);
            sn = fake_round_bf16(sn);
        }
        for (uint64_t h = 0; h < n_heads; h++) {
            double *lo = x + h * width + t, *hi = lo + half, a = *lo, b = *hi;
            *lo = a * (double)c - b * (double)sn;
            *hi = b * (double)c + a * (double)sn;
        }
    }
}
