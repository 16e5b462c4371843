/*
 * y = x W^T for block formats without dot products: smull and smlal add int8 products in int16
 * lanes, sadalp adds pairs of those to int32, exact. A register holds 8 rows x 2 columns, so a
 * lane pair is one output and no sums cross. How many products an int16 holds depends on the
 * weights: 2 * 128 * 127, 8 * 32 * 127 and 16 * 15 * 127 are all below 2^15. Tiles of 1 or 2 rows x
 * 1 panel.
 */
#include "cpu/neon/blocks.h"
#include "cpu/neon/neon.h"

#include <arm_neon.h>

enum {
    GROUP = 2,
    ROWS = 2,
    STEP = SAMBA__NEON_STEP,
    HALF = STEP / 2 / GROUP, /* groups of 16 columns */
    REGS = 4                 /* of 4 outputs */
};

typedef struct tile {
    const samba__neon_piece *w;
    const int8_t *q; /* first row */
    const float *scale, *sum;
    size_t stride;
    float (*acc)[16];
} tile;

/* Columns 2 lane, 2 lane + 1 of the 16 in x, eight times. */
static inline __attribute__((always_inline)) int8x16_t pair_of(int16x8_t x, size_t lane)
{
    switch (lane) {
    case 0:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 0));
    case 1:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 1));
    case 2:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 2));
    case 3:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 3));
    case 4:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 4));
    case 5:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 5));
    case 6:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 6));
    default:
        return vreinterpretq_s8_s16(vdupq_laneq_s16(x, 7));
    }
}

/* Group `lane` of 16 columns; m holds n_before products per lane, and goes into sum at `depth`. */
static inline __attribute__((always_inline)) void
group_dot(size_t n_r, size_t depth, const int8_t *w, const int16x8_t *x, size_t lane,
          size_t n_before, int16x8_t (*m)[REGS], int32x4_t (*sum)[REGS])
{
    int8x16_t a = vld1q_s8(w + lane * 32), b = vld1q_s8(w + lane * 32 + 16);
    for (size_t r = 0; r < n_r; r++) {
        int8x16_t pair = pair_of(x[r], lane);
        if (n_before == 0) {
            m[r][0] = vmull_s8(vget_low_s8(a), vget_low_s8(pair));
            m[r][1] = vmull_high_s8(a, pair);
            m[r][2] = vmull_s8(vget_low_s8(b), vget_low_s8(pair));
            m[r][3] = vmull_high_s8(b, pair);
        } else {
            m[r][0] = vmlal_s8(m[r][0], vget_low_s8(a), vget_low_s8(pair));
            m[r][1] = vmlal_high_s8(m[r][1], a, pair);
            m[r][2] = vmlal_s8(m[r][2], vget_low_s8(b), vget_low_s8(pair));
            m[r][3] = vmlal_high_s8(m[r][3], b, pair);
        }
        for (size_t v = 0; n_before + 1 == depth && v < REGS; v++)
            sum[r][v] = vpadalq_s16(sum[r][v], m[r][v]);
    }
}

/* 16 columns, the first or the second half of a step. */
static inline __attribute__((always_inline)) void half_dot(size_t n_r, size_t depth, const tile *t,
                                                           const int8_t *w, size_t step,
                                                           size_t half, int16x8_t (*m)[REGS],
                                                           int32x4_t (*sum)[REGS])
{
    int16x8_t x[ROWS];
    size_t before = half * HALF;
    for (size_t r = 0; r < n_r; r++)
        x[r] = vreinterpretq_s16_s8(vld1q_s8(t->q + r * t->stride + step * STEP + half * STEP / 2));
    w += half * HALF * 32;
    group_dot(n_r, depth, w, x, 0, before % depth, m, sum);
    group_dot(n_r, depth, w, x, 1, (before + 1) % depth, m, sum);
    group_dot(n_r, depth, w, x, 2, (before + 2) % depth, m, sum);
    group_dot(n_r, depth, w, x, 3, (before + 3) % depth, m, sum);
    group_dot(n_r, depth, w, x, 4, (before + 4) % depth, m, sum);
    group_dot(n_r, depth, w, x, 5, (before + 5) % depth, m, sum);
    group_dot(n_r, depth, w, x, 6, (before + 6) % depth, m, sum);
    group_dot(n_r, depth, w, x, 7, (before + 7) % depth, m, sum);
}

/* acc += sum * (scale of w * scale of x); the sums begin anew. */
static inline __attribute__((always_inline)) void add_scaled(size_t n_r, const tile *t,
                                                             const float *w_scale, size_t step,
                                                             int32x4_t (*sum)[REGS],
                                                             float32x4_t (*acc)[REGS])
{
    const char *scale = (const char *)(t->scale + step);
    for (size_t r = 0; r < n_r; r++, scale += t->stride) {
        float s = *(const float *)(const void *)scale;
        for (size_t v = 0; v < REGS; v++) {
            float32x4_t both = vmulq_n_f32(vld1q_f32(w_scale + 4 * v), s);
            acc[r][v] = vfmaq_f32(acc[r][v], vcvtq_f32_s32(sum[r][v]), both);
            sum[r][v] = vdupq_n_s32(0);
        }
    }
}

/* acc -= min of w * (scale * sum of x) */
static inline __attribute__((always_inline)) void take_min(size_t n_r, const tile *t, size_t step,
                                                           float32x4_t (*acc)[REGS])
{
    const char *sum = (const char *)(t->sum + step);
    for (size_t r = 0; r < n_r; r++, sum += t->stride) {
        float s = *(const float *)(const void *)sum;
        for (size_t v = 0; v < REGS; v++)
            acc[r][v] = vfmsq_n_f32(acc[r][v], vld1q_f32(t->w->min[step] + 4 * v), s);
    }
}

static inline __attribute__((always_inline)) void tile_run(samba__neon_layout layout, size_t depth,
                                                           const tile *t, size_t n_r)
{
    float32x4_t acc[ROWS][REGS];
    int32x4_t sum[ROWS][REGS];
    int16x8_t m[ROWS][REGS];
    const samba__neon_piece *p = t->w;
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < REGS; v++) {
            acc[r][v] = vld1q_f32(t->acc[r] + 4 * v);
            sum[r][v] = vdupq_n_s32(0);
            m[r][v] = vdupq_n_s16(0);
        }
    for (size_t s = 0; s < p->n_steps; s++) {
        const int8_t *w = p->q + s * p->stride;
        half_dot(n_r, depth, t, w, s, 0, m, sum);
        if (layout == SAMBA__TWO_SCALES)
            add_scaled(n_r, t, p->scale[2 * s], s, sum, acc);
        half_dot(n_r, depth, t, w, s, 1, m, sum);
        add_scaled(n_r, t, p->scale[layout == SAMBA__TWO_SCALES ? 2 * s + 1 : s], s, sum, acc);
        if (layout == SAMBA__SCALE_AND_MIN)
            take_min(n_r, t, s, acc);
    }
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < REGS; v++)
            vst1q_f32(t->acc[r] + 4 * v, acc[r][v]);
}

/* Rows go in pairs where the int32 sums need no registers until a step ends. */
static inline __attribute__((always_inline)) void product(samba__neon_layout layout, size_t depth,
                                                          const samba__neon_piece *w,
                                                          const samba__neon_rows *x,
                                                          float (*acc)[16])
{
    size_t n_r = depth == STEP / GROUP ? ROWS : 1;
    for (size_t r = 0; r < x->n; r += n_r) {
        size_t at = r * x->stride;
        tile t = {.w = w, .q = x->q + at, .stride = x->stride, .acc = acc + r};
        t.scale = (const float *)(const void *)((const char *)x->scale + at);
        t.sum = (const float *)(const void *)((const char *)x->sum + at);
        if (n_r == ROWS && x->n - r >= ROWS)
            tile_run(layout, depth, &t, ROWS);
        else
            tile_run(layout, depth, &t, 1);
    }
}

static void bytes_one_scale(const samba__neon_piece *w, const samba__neon_rows *x, float (*acc)[16])
{
    product(SAMBA__ONE_SCALE, 2, w, x, acc);
}

static void nibbles_one_scale(const samba__neon_piece *w, const samba__neon_rows *x,
                              float (*acc)[16])
{
    product(SAMBA__ONE_SCALE, 16, w, x, acc);
}

static void nibbles_with_min(const samba__neon_piece *w, const samba__neon_rows *x,
                             float (*acc)[16])
{
    product(SAMBA__SCALE_AND_MIN, 16, w, x, acc);
}

static void six_bits(const samba__neon_piece *w, const samba__neon_rows *x, float (*acc)[16])
{
    product(SAMBA__TWO_SCALES, 8, w, x, acc);
}

SAMBA__NEON_BIND(q8_0, GROUP, bytes_one_scale);
SAMBA__NEON_BIND(q4_0, GROUP, nibbles_one_scale);
SAMBA__NEON_BIND(q4_k, GROUP, nibbles_with_min);
SAMBA__NEON_BIND(q6_k, GROUP, six_bits);

void samba__neon_linear_int8(samba__linear_kernels *table)
{
    table[SAMBA_DTYPE_Q8_0] = kernels_q8_0;
    table[SAMBA_DTYPE_Q4_0] = kernels_q4_0;
    table[SAMBA_DTYPE_Q4_K] = kernels_q4_k;
    table[SAMBA_DTYPE_Q6_K] = kernels_q6_k;
}
