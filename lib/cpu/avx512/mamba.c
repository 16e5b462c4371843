/*
 * The elementwise kernels of the Mamba mixer and of the gates. Channels lie across the 16 lanes.
 * The scan keeps the 16 states of a channel group in 16 registers over the whole chunk; B and C are
 * broadcasts, so there are no horizontal sums. y sums over n in order.
 */
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/math.h"

#include <string.h>

enum {
    N = 16
};

/* What one row of one channel group needs besides its state. */
typedef struct scan_row {
    __m512 dt, dtx, x;
    const float *b, *c;
} scan_row;

static inline scan_row scan_load(const samba__scan_args *a, size_t t, size_t e)
{
    scan_row r;
    r.dt = samba__softplus_512(
        _mm512_add_ps(_mm512_loadu_ps(a->dt + t * a->lddt + e), _mm512_loadu_ps(a->dt_bias + e)));
    r.x = _mm512_loadu_ps(a->x + t * a->ldx + e);
    r.dtx = _mm512_mul_ps(r.dt, r.x);
    r.b = a->b + t * a->ldbc;
    r.c = a->c + t * a->ldbc;
    return r;
}

static inline __m512 scan_state(const scan_row *r, __m512 a2, __m512 h, size_t n)
{
    __m512 decay = samba__exp2_512(_mm512_mul_ps(r->dt, a2));
    return _mm512_fmadd_ps(decay, h, _mm512_mul_ps(r->dtx, _mm512_set1_ps(r->b[n])));
}

static inline void scan_store(const samba__scan_args *a, const scan_row *r, __m512 y, size_t t,
                              size_t e)
{
    y = _mm512_fmadd_ps(_mm512_loadu_ps(a->d + e), r->x, y);
    if (a->memory)
        _mm512_storeu_ps(a->memory + t * a->ldm + e, y);
    __m512 gate = samba__silu_512(_mm512_loadu_ps(a->z + t * a->ldz + e));
    _mm512_storeu_ps(a->y + t * a->ldy + e, _mm512_mul_ps(y, gate));
}

/* Exactly 16 states: they stay in registers. */
static void scan_16(const samba__scan_args *a, size_t e)
{
    const __m512 log2e = _mm512_set1_ps(SAMBA__LOG2_E);
    const float *in = a->state_in ? a->state_in + e * N : NULL;
    float *out = a->state_out + e * N;
    __m512 h[N];
    float a2[N * 16] __attribute__((aligned(64)));
    for (size_t n = 0; n < N; n++) {
        _mm512_store_ps(a2 + 16 * n, _mm512_mul_ps(_mm512_loadu_ps(a->a + e * N + 16 * n), log2e));
        h[n] = in ? _mm512_loadu_ps(in + 16 * n) : _mm512_setzero_ps();
    }
    for (size_t t = 0; t < a->n_rows; t++) {
        scan_row r = scan_load(a, t, e);
        __m512 y = _mm512_setzero_ps();
        for (size_t n = 0; n < N; n++) {
            h[n] = scan_state(&r, _mm512_load_ps(a2 + 16 * n), h[n], n);
            y = _mm512_fmadd_ps(h[n], _mm512_set1_ps(r.c[n]), y);
        }
        scan_store(a, &r, y, t, e);
    }
    for (size_t n = 0; n < N; n++)
        _mm512_storeu_ps(out + 16 * n, h[n]);
}

static void scan_any(const samba__scan_args *a, size_t e)
{
    const __m512 log2e = _mm512_set1_ps(SAMBA__LOG2_E);
    size_t n_state = a->n_state;
    float *h = a->state_out + e * n_state;
    if (a->state_in)
        memcpy(h, a->state_in + e * n_state, 16 * n_state * sizeof *h);
    else
        memset(h, 0, 16 * n_state * sizeof *h);
    for (size_t t = 0; t < a->n_rows; t++) {
        scan_row r = scan_load(a, t, e);
        __m512 y = _mm512_setzero_ps();
        for (size_t n = 0; n < n_state; n++) {
            __m512 a2 = _mm512_mul_ps(_mm512_loadu_ps(a->a + e * n_state + 16 * n), log2e);
            __m512 s = scan_state(&r, a2, _mm512_loadu_ps(h + 16 * n), n);
            _mm512_storeu_ps(h + 16 * n, s);
            y = _mm512_fmadd_ps(s, _mm512_set1_ps(r.c[n]), y);
        }
        scan_store(a, &r, y, t, e);
    }
}

void samba__avx512_scan(const samba__scan_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 16) {
        if (args->n_state == N)
            scan_16(args, e);
        else
            scan_any(args, e);
    }
}

/* Input of row t - back, from the state where that lies before the first row. */
static inline __m512 conv_input(const samba__conv_args *a, size_t t, size_t back, size_t e)
{
    if (t >= back)
        return _mm512_loadu_ps(a->x + (t - back) * a->ldx + e);
    if (!a->state_in)
        return _mm512_setzero_ps();
    return _mm512_loadu_ps(a->state_in + (a->taps - 1 + t - back) * a->channels + e);
}

static void conv_group(const samba__conv_args *a, size_t e)
{
    for (size_t t = 0; t < a->n_rows; t++) {
        __m512 y = a->bias ? _mm512_loadu_ps(a->bias + e) : _mm512_setzero_ps();
        for (size_t j = 0; j < a->taps; j++)
            y = _mm512_fmadd_ps(_mm512_loadu_ps(a->weight + j * a->channels + e),
                                conv_input(a, t, a->taps - 1 - j, e), y);
        _mm512_storeu_ps(a->y + t * a->ldy + e, samba__silu_512(y));
    }
    for (size_t j = 0; j + 1 < a->taps; j++)
        _mm512_storeu_ps(a->state_out + j * a->channels + e,
                         conv_input(a, a->n_rows - 1, a->taps - 2 - j, e));
}

void samba__avx512_conv(const samba__conv_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 16)
        conv_group(args, e);
}

void samba__avx512_silu_mul(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        for (size_t i = args->begin; i < args->end; i += 16) {
            size_t left = args->end - i;
            __mmask16 m = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
            __m512 a = _mm512_maskz_loadu_ps(m, args->a + r * args->lda + i);
            __m512 b = _mm512_maskz_loadu_ps(m, args->b + r * args->ldb + i);
            _mm512_mask_storeu_ps(args->y + r * args->ldy + i, m,
                                  _mm512_mul_ps(samba__silu_512(a), b));
        }
    }
}
