/*
 * The Mamba mixer's convolution and selective scan. Lanes are channels. The scan takes 4 channels
 * at a time: their 16 states are 16 registers over a block of rows, B and C are operands by lane,
 * so there are no horizontal sums; y sums over n in order. Rows go in blocks so that the cache
 * lines that 4 times 4 channels share are still near.
 */
#include "cpu/neon/math.h"
#include "cpu/neon/neon.h"

#include <string.h>

enum {
    N = 16,
    ROWS = 32, /* of a block */
    TAPS = 4
};

#define LOG2_E 0x1.715476p+0f

/* What one row of 4 channels needs besides its state. */
typedef struct scan_row {
    float32x4_t dt, dtx, x, y;
    const float *b, *c;
} scan_row;

static inline scan_row scan_load(const samba__scan_args *a, size_t t, size_t e)
{
    scan_row r;
    r.dt =
        samba__softplus_4(vaddq_f32(vld1q_f32(a->dt + t * a->lddt + e), vld1q_f32(a->dt_bias + e)));
    r.x = vld1q_f32(a->x + t * a->ldx + e);
    r.dtx = vmulq_f32(r.dt, r.x);
    r.y = vdupq_n_f32(0.0f);
    r.b = a->b + t * a->ldbc;
    r.c = a->c + t * a->ldbc;
    return r;
}

static inline void scan_store(const samba__scan_args *a, const scan_row *r, size_t t, size_t e)
{
    float32x4_t y = vfmaq_f32(r->y, vld1q_f32(a->d + e), r->x);
    if (a->memory)
        vst1q_f32(a->memory + t * a->ldm + e, y);
    float32x4_t gate = samba__silu_4(vld1q_f32(a->z + t * a->ldz + e));
    vst1q_f32(a->y + t * a->ldy + e, vmulq_f32(y, gate));
}

/* h' = 2^(dt a2) h + added, a2 = a log2(e) */
static inline __attribute__((always_inline)) float32x4_t
scan_state(const scan_row *r, float32x4_t a2, float32x4_t h, float32x4_t added)
{
    return vfmaq_f32(added, samba__exp2_4(vmulq_f32(r->dt, a2)), h);
}

/* States n .. n + 3, n a constant where this is inlined. */
static inline __attribute__((always_inline)) void scan_4(scan_row *r, const float *a2,
                                                         float32x4_t *h, size_t n)
{
    float32x4_t b = vld1q_f32(r->b + n), c = vld1q_f32(r->c + n);
    a2 += 16 * n;
    h += n;
    h[0] = scan_state(r, vld1q_f32(a2), h[0], vmulq_laneq_f32(r->dtx, b, 0));
    r->y = vfmaq_laneq_f32(r->y, h[0], c, 0);
    h[1] = scan_state(r, vld1q_f32(a2 + 16), h[1], vmulq_laneq_f32(r->dtx, b, 1));
    r->y = vfmaq_laneq_f32(r->y, h[1], c, 1);
    h[2] = scan_state(r, vld1q_f32(a2 + 32), h[2], vmulq_laneq_f32(r->dtx, b, 2));
    r->y = vfmaq_laneq_f32(r->y, h[2], c, 2);
    h[3] = scan_state(r, vld1q_f32(a2 + 48), h[3], vmulq_laneq_f32(r->dtx, b, 3));
    r->y = vfmaq_laneq_f32(r->y, h[3], c, 3);
}

/* Exactly 16 states, rows [row, end): they stay in registers. */
static void scan_16(const samba__scan_args *a, size_t e, const float *a2, float *state, size_t row,
                    size_t end)
{
    float32x4_t h[N];
    for (size_t n = 0; n < N; n++)
        h[n] = vld1q_f32(state + 16 * n);
    for (size_t t = row; t < end; t++) {
        scan_row r = scan_load(a, t, e);
        scan_4(&r, a2, h, 0);
        scan_4(&r, a2, h, 4);
        scan_4(&r, a2, h, 8);
        scan_4(&r, a2, h, 12);
        scan_store(a, &r, t, e);
    }
    for (size_t n = 0; n < N; n++)
        vst1q_f32(state + 16 * n, h[n]);
}

/* Any number of states: they stay in memory. */
static void scan_any(const samba__scan_args *a, size_t e, float *state, size_t row, size_t end)
{
    const float *base = a->a + (e & ~(size_t)15) * a->n_state + (e & 15);
    for (size_t t = row; t < end; t++) {
        scan_row r = scan_load(a, t, e);
        for (size_t n = 0; n < a->n_state; n++) {
            float32x4_t a2 = vmulq_n_f32(vld1q_f32(base + 16 * n), LOG2_E);
            float32x4_t h =
                scan_state(&r, a2, vld1q_f32(state + 16 * n), vmulq_n_f32(r.dtx, r.b[n]));
            vst1q_f32(state + 16 * n, h);
            r.y = vfmaq_n_f32(r.y, h, r.c[n]);
        }
        scan_store(a, &r, t, e);
    }
}

/* 16 channels. */
static void scan_group(const samba__scan_args *a, size_t e)
{
    float a2[16 * N], *state = a->state_out + e * a->n_state;
    size_t size = 16 * a->n_state * sizeof *state;
    if (a->state_in)
        memcpy(state, a->state_in + e * a->n_state, size);
    else
        memset(state, 0, size);
    if (a->n_state == N)
        for (size_t i = 0; i < 16 * N; i += 4)
            vst1q_f32(a2 + i, vmulq_n_f32(vld1q_f32(a->a + e * N + i), LOG2_E));
    for (size_t row = 0; row < a->n_rows; row += ROWS) {
        size_t end = a->n_rows - row < ROWS ? a->n_rows : row + ROWS;
        for (size_t i = 0; i < 16; i += 4) {
            if (a->n_state == N)
                scan_16(a, e + i, a2 + i, state + i, row, end);
            else
                scan_any(a, e + i, state + i, row, end);
        }
    }
}

void samba__neon_scan(const samba__scan_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 16)
        scan_group(args, e);
}

/* ---------------------------------------------------------------- convolution */

/* Raw input of row t - back, from the state where that lies before the first row. */
static inline float32x4_t conv_input(const samba__conv_args *a, size_t t, size_t back, size_t e)
{
    if (t >= back)
        return vld1q_f32(a->x + (t - back) * a->ldx + e);
    if (!a->state_in)
        return vdupq_n_f32(0.0f);
    return vld1q_f32(a->state_in + (a->taps - 1 + t - back) * a->channels + e);
}

static inline float32x4_t conv_bias(const samba__conv_args *a, size_t e)
{
    return a->bias ? vld1q_f32(a->bias + e) : vdupq_n_f32(0.0f);
}

/* The usual 4 taps: weights and the last 3 inputs of 4 channels stay in registers. */
static void conv_4_taps(const samba__conv_args *a, size_t e)
{
    float32x4_t w[TAPS], x[TAPS], bias = conv_bias(a, e);
    for (size_t j = 0; j < TAPS; j++)
        w[j] = vld1q_f32(a->weight + j * a->channels + e);
    for (size_t j = 0; j + 1 < TAPS; j++)
        x[j] = conv_input(a, 0, TAPS - 1 - j, e);
    for (size_t t = 0; t < a->n_rows; t++) {
        float32x4_t y = bias;
        x[TAPS - 1] = vld1q_f32(a->x + t * a->ldx + e);
        for (size_t j = 0; j < TAPS; j++)
            y = vfmaq_f32(y, w[j], x[j]);
        vst1q_f32(a->y + t * a->ldy + e, samba__silu_4(y));
        for (size_t j = 0; j + 1 < TAPS; j++)
            x[j] = x[j + 1];
    }
}

static void conv_any(const samba__conv_args *a, size_t e)
{
    float32x4_t bias = conv_bias(a, e);
    for (size_t t = 0; t < a->n_rows; t++) {
        float32x4_t y = bias;
        for (size_t j = 0; j < a->taps; j++)
            y = vfmaq_f32(y, vld1q_f32(a->weight + j * a->channels + e),
                          conv_input(a, t, a->taps - 1 - j, e));
        vst1q_f32(a->y + t * a->ldy + e, samba__silu_4(y));
    }
}

void samba__neon_conv(const samba__conv_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 4) {
        if (args->taps == TAPS)
            conv_4_taps(args, e);
        else
            conv_any(args, e);
        for (size_t j = 0; j + 1 < args->taps; j++)
            vst1q_f32(args->state_out + j * args->channels + e,
                      conv_input(args, args->n_rows - 1, args->taps - 2 - j, e));
    }
}
