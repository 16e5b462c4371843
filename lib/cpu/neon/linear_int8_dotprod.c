/*
 * y = x W^T for block formats by sdot: a register of 4 rows x 4 columns of weights against 4
 * columns of x taken by lane, sums in int32, exact. Then one fp32 step per group of weights with a
 * scale: acc = fma(sum, scale of w * scale of x, acc), and one for a minimum. Tiles of 4 rows x
 * half a panel, 3 x half, 2 x 1, 1 x 1: all accumulators fit the registers.
 */
#include "cpu/neon/blocks.h"
#include "cpu/neon/neon.h"

#include <arm_neon.h>

enum {
    GROUP = 4,
    ROWS = 4, /* most of a tile */
    STEP = SAMBA__NEON_STEP
};

typedef struct tile {
    const samba__neon_piece *w;
    const int8_t *q; /* first row */
    const float *scale, *sum;
    size_t stride, lane; /* lane: of the panel, where the tile begins */
    float (*acc)[16];
} tile;

static inline __attribute__((always_inline)) int32x4_t dot_lane(int32x4_t sum, int8x16_t w,
                                                                int8x16_t x, size_t lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, w, x, 2);
    default:
        return vdotq_laneq_s32(sum, w, x, 3);
    }
}

/* Group `lane` of the 16 columns in x: n_r rows, n_v registers of 4 outputs. */
static inline __attribute__((always_inline)) void group_dot(size_t n_r, size_t n_v, const int8_t *w,
                                                            const int8x16_t *x, size_t lane,
                                                            int32x4_t (*sum)[4])
{
    for (size_t v = 0; v < n_v; v++) {
        int8x16_t weights = vld1q_s8(w + lane * 64 + v * 16);
        for (size_t r = 0; r < n_r; r++)
            sum[r][v] = dot_lane(sum[r][v], weights, x[r], lane);
    }
}

/* 16 columns. */
static inline __attribute__((always_inline)) void half_dot(size_t n_r, size_t n_v, const int8_t *w,
                                                           const int8_t *q, size_t stride,
                                                           int32x4_t (*sum)[4])
{
    int8x16_t x[ROWS];
    for (size_t r = 0; r < n_r; r++)
        x[r] = vld1q_s8(q + r * stride);
    group_dot(n_r, n_v, w, x, 0, sum);
    group_dot(n_r, n_v, w, x, 1, sum);
    group_dot(n_r, n_v, w, x, 2, sum);
    group_dot(n_r, n_v, w, x, 3, sum);
}

/* acc += sum * (scale of w * scale of x); the sums begin anew. */
static inline __attribute__((always_inline)) void add_scaled(size_t n_r, size_t n_v, const tile *t,
                                                             const float *w_scale, size_t step,
                                                             int32x4_t (*sum)[4],
                                                             float32x4_t (*acc)[4])
{
    const char *scale = (const char *)(t->scale + step);
    for (size_t r = 0; r < n_r; r++, scale += t->stride) {
        float s = *(const float *)(const void *)scale;
        for (size_t v = 0; v < n_v; v++) {
            float32x4_t both = vmulq_n_f32(vld1q_f32(w_scale + t->lane + 4 * v), s);
            acc[r][v] = vfmaq_f32(acc[r][v], vcvtq_f32_s32(sum[r][v]), both);
            sum[r][v] = vdupq_n_s32(0);
        }
    }
}

/* acc -= min of w * (scale * sum of x) */
static inline __attribute__((always_inline)) void take_min(size_t n_r, size_t n_v, const tile *t,
                                                           size_t step, float32x4_t (*acc)[4])
{
    const char *sum = (const char *)(t->sum + step);
    for (size_t r = 0; r < n_r; r++, sum += t->stride) {
        float s = *(const float *)(const void *)sum;
        for (size_t v = 0; v < n_v; v++)
            acc[r][v] = vfmsq_n_f32(acc[r][v], vld1q_f32(t->w->min[step] + t->lane + 4 * v), s);
    }
}

static inline __attribute__((always_inline)) void tile_run(samba__neon_layout layout, const tile *t,
                                                           size_t n_r, size_t n_v)
{
    float32x4_t acc[ROWS][4];
    int32x4_t sum[ROWS][4];
    const samba__neon_piece *p = t->w;
    const int8_t *w = p->q + t->lane * GROUP, *q = t->q;
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < n_v; v++) {
            acc[r][v] = vld1q_f32(t->acc[r] + t->lane + 4 * v);
            sum[r][v] = vdupq_n_s32(0);
        }
    for (size_t s = 0; s < p->n_steps; s++, w += p->stride, q += STEP) {
        half_dot(n_r, n_v, w, q, t->stride, sum);
        if (layout == SAMBA__TWO_SCALES)
            add_scaled(n_r, n_v, t, p->scale[2 * s], s, sum, acc);
        half_dot(n_r, n_v, w + 16 * 16, q + 16, t->stride, sum);
        add_scaled(n_r, n_v, t, p->scale[layout == SAMBA__TWO_SCALES ? 2 * s + 1 : s], s, sum, acc);
        if (layout == SAMBA__SCALE_AND_MIN)
            take_min(n_r, n_v, t, s, acc);
    }
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < n_v; v++)
            vst1q_f32(t->acc[r] + t->lane + 4 * v, acc[r][v]);
}

/* All 16 outputs of n_r rows. */
static inline __attribute__((always_inline)) void rows_run(samba__neon_layout layout, tile *t,
                                                           size_t n_r)
{
    size_t n_v = n_r > 2 ? 2 : 4;
    for (t->lane = 0; t->lane < 16; t->lane += 4 * n_v)
        tile_run(layout, t, n_r, n_v);
}

static inline __attribute__((always_inline)) void product(samba__neon_layout layout,
                                                          const samba__neon_piece *w,
                                                          const samba__neon_rows *x,
                                                          float (*acc)[16])
{
    for (size_t r = 0; r < x->n; r += ROWS) {
        size_t at = r * x->stride, left = x->n - r;
        tile t = {.w = w, .q = x->q + at, .stride = x->stride, .acc = acc + r};
        t.scale = (const float *)(const void *)((const char *)x->scale + at);
        t.sum = (const float *)(const void *)((const char *)x->sum + at);
        if (left >= ROWS)
            rows_run(layout, &t, ROWS);
        else if (left == 3)
            rows_run(layout, &t, 3);
        else if (left == 2)
            rows_run(layout, &t, 2);
        else
            rows_run(layout, &t, 1);
    }
}

static void one_scale(const samba__neon_piece *w, const samba__neon_rows *x, float (*acc)[16])
{
    product(SAMBA__ONE_SCALE, w, x, acc);
}

static void two_scales(const samba__neon_piece *w, const samba__neon_rows *x, float (*acc)[16])
{
    product(SAMBA__TWO_SCALES, w, x, acc);
}

static void scale_and_min(const samba__neon_piece *w, const samba__neon_rows *x, float (*acc)[16])
{
    product(SAMBA__SCALE_AND_MIN, w, x, acc);
}

SAMBA__NEON_BIND(q8_0, GROUP, one_scale);
SAMBA__NEON_BIND(q4_0, GROUP, one_scale);
SAMBA__NEON_BIND(q4_k, GROUP, scale_and_min);
SAMBA__NEON_BIND(q6_k, GROUP, two_scales);

void samba__neon_linear_int8_dotprod(samba__linear_kernels *table)
{
    table[SAMBA_DTYPE_Q8_0] = kernels_q8_0;
    table[SAMBA_DTYPE_Q4_0] = kernels_q4_0;
    table[SAMBA_DTYPE_Q4_K] = kernels_q4_k;
    table[SAMBA_DTYPE_Q6_K] = kernels_q6_k;
}
