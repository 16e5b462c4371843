/*
 * Reference linear kernels for weights in blocks of integers: Q8_0, Q4_0, Q4_K, Q6_K. A panel holds
 * for every 32 columns 16 f32 scales, 16 more scales (of the second 16 columns) or minima where the
 * format has them, and [32][16] int8. Activations are quantised per row and 32 columns to int8 with
 * an f32 scale, kept as floats of integer value: a group's sum of products stays below 2^24, so
 * float arithmetic gives the exact integer in any order. Then, group by group,
 * acc += sum * (scale of x * scale of w), and acc -= sum of x * (scale of x * min of w).
 */
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"
#include "tensor/blocks.h"

enum {
    ROWS = 32,
    STEP = 32 /* columns of one block of activations */
};

/* What a step of the weights has beside the integers. */
typedef enum step_layout {
    ONE_SCALE,
    TWO_SCALES,
    SCALE_AND_MIN
} step_layout;

/* How one format lies in files. */
typedef struct format {
    step_layout layout;
    size_t block, bytes;
    void (*expand)(const uint8_t *from, samba__block *to);
} format;

static const format formats[SAMBA__N_DTYPES] = {
    [SAMBA_DTYPE_Q8_0] = {ONE_SCALE, SAMBA__Q8_0_BLOCK, SAMBA__Q8_0_BYTES, samba__q8_0_expand},
    [SAMBA_DTYPE_Q4_0] = {ONE_SCALE, SAMBA__Q4_0_BLOCK, SAMBA__Q4_0_BYTES, samba__q4_0_expand},
    [SAMBA_DTYPE_Q4_K] = {SCALE_AND_MIN, SAMBA__Q4_K_BLOCK, SAMBA__Q4_K_BYTES, samba__q4_k_expand},
    [SAMBA_DTYPE_Q6_K] = {TWO_SCALES, SAMBA__Q6_K_BLOCK, SAMBA__Q6_K_BYTES, samba__q6_k_expand},
};

/* ---------------------------------------------------------------- weights */

/* The integers of a step begin here. */
static inline size_t head_bytes(step_layout layout)
{
    return (layout == ONE_SCALE ? 16 : 32) * sizeof(float);
}

static inline size_t step_bytes(step_layout layout)
{
    return head_bytes(layout) + STEP * 16;
}

static void put_float(char *to, size_t i, float f)
{
    memcpy(to + i * sizeof f, &f, sizeof f);
}

/* Columns [32 step, + 32) of a block to one lane of a panel's step. */
static void pack_step(const samba__block *b, size_t step, step_layout layout, char *to, size_t lane)
{
    if (layout == TWO_SCALES) {
        put_float(to, lane, b->scale[2 * step]);
        put_float(to, 16 + lane, b->scale[2 * step + 1]);
    } else {
        put_float(to, lane, b->scale[step]);
    }
    if (layout == SCALE_AND_MIN)
        put_float(to, 16 + lane, b->min[step]);
    to += head_bytes(layout);
    for (size_t k = 0; k < STEP; k++)
        to[k * 16 + lane] = (char)b->q[step * STEP + k];
}

static void pack(const samba__pack_args *args, samba_dtype dtype)
{
    const format *f = &formats[dtype];
    const uint8_t *from = args->src;
    const size_t panel = args->cols / STEP * step_bytes(f->layout);
    samba__block b;
    for (size_t i = 0; i < args->rows; i++) {
        size_t row = args->first_row + i, lane = row % 16;
        char *to = (char *)args->packed + row / 16 * panel;
        for (size_t k = 0; k < args->cols; k += f->block, from += f->bytes) {
            f->expand(from, &b);
            for (size_t s = 0; s < f->block / STEP; s++, to += step_bytes(f->layout))
                pack_step(&b, s, f->layout, to, lane);
        }
    }
}

static inline __attribute__((always_inline)) void gather(const void *packed, size_t cols,
                                                         size_t row, float *to, step_layout layout)
{
    const char *from = (const char *)packed + row / 16 * (cols / STEP * step_bytes(layout));
    size_t lane = row % 16;
    for (size_t b = 0; b < cols; b += STEP, from += step_bytes(layout)) {
        const char *q = from + head_bytes(layout);
        float scale[2], min = 0;
        memcpy(&scale[0], from + lane * sizeof(float), sizeof(float));
        memcpy(&scale[1], from + (layout == TWO_SCALES ? 16 + lane : lane) * sizeof(float),
               sizeof(float));
        if (layout == SCALE_AND_MIN)
            memcpy(&min, from + (16 + lane) * sizeof(float), sizeof min);
        for (size_t k = 0; k < STEP; k++)
            to[b + k] = scale[k / 16] * (float)(int8_t)q[k * 16 + lane] - min;
    }
}

/* ---------------------------------------------------------------- activations */

/* A prepared row: float q[cols], then float scale[cols / 32], then float sum_of_q[cols / 32]. */
static size_t row_floats(size_t cols)
{
    return samba__pad16(cols + 2 * (cols / STEP));
}

static size_t row_bytes(size_t cols)
{
    return row_floats(cols) * sizeof(float);
}

/* scale = absmax / 127; q = x * (127 / absmax), nearest, ties to even. */
static float quantise_step(const float *x, float *q, float *sum)
{
    const float magic = 0x1.8p23f;
    float lanes[16], max = 0.0f;
    for (size_t l = 0; l < 16; l++) {
        float a = x[l] < 0.0f ? -x[l] : x[l], b = x[l + 16] < 0.0f ? -x[l + 16] : x[l + 16];
        lanes[l] = a > b ? a : b;
    }
    for (size_t l = 0; l < 16; l++)
        max = lanes[l] > max ? lanes[l] : max;
    float inverse = max > 0x1p-120f ? 127.0f / max : 0.0f;
    for (size_t k = 0; k < STEP; k++)
        q[k] = x[k] * inverse + magic - magic;
    for (size_t l = 0; l < 16; l++)
        lanes[l] = q[l] + q[l + 16];
    *sum = samba__ref_tree(lanes); /* of integers: exact */
    return max / 127.0f;
}

static void prepare_rows(const samba__prepare_args *args)
{
    const size_t n_steps = args->cols / STEP;
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        float *q = (float *)args->to + r * row_floats(args->cols), *scale = q + args->cols;
        for (size_t s = 0; s < n_steps; s++)
            scale[s] = quantise_step(x + s * STEP, q + s * STEP, &scale[n_steps + s]);
    }
}

/* ---------------------------------------------------------------- product */

/* One step of the prepared rows: all at a distance of ldx floats. */
typedef struct step_rows {
    const float *q, *scale, *sum;
    size_t ldx;
} step_rows;

/* acc[n_r][16] += n columns of the step, for n_r rows from row r. */
static inline __attribute__((always_inline)) void group_rows(size_t n_r, float (*acc)[16],
                                                             const step_rows *x, size_t r,
                                                             size_t first, size_t n, const float *w,
                                                             const float *w_scale)
{
    float sum[2][16] = {{0}};
    samba__ref_tile(n_r, sum, x->q + r * x->ldx + first, x->ldx, w + first * 16, n);
    for (size_t i = 0; i < n_r; i++) {
        float s = x->scale[(r + i) * x->ldx];
        for (size_t l = 0; l < 16; l++)
            acc[r + i][l] += sum[i][l] * (s * w_scale[l]);
    }
}

static inline __attribute__((always_inline)) void step_rows_run(size_t n_r, float (*acc)[16],
                                                                const step_rows *x, size_t r,
                                                                const float *w, const float *head,
                                                                step_layout layout)
{
    if (layout == TWO_SCALES) {
        group_rows(n_r, acc, x, r, 0, STEP / 2, w, head);
        group_rows(n_r, acc, x, r, STEP / 2, STEP / 2, w, head + 16);
    } else {
        group_rows(n_r, acc, x, r, 0, STEP, w, head);
    }
    for (size_t i = r; layout == SCALE_AND_MIN && i < r + n_r; i++) {
        float s = x->scale[i * x->ldx], sum = x->sum[i * x->ldx];
        for (size_t l = 0; l < 16; l++)
            acc[i][l] -= sum * (s * head[16 + l]);
    }
}

static inline __attribute__((always_inline)) void run_panel(const samba__linear_args *args,
                                                            size_t panel, size_t row, size_t n_rows,
                                                            step_layout layout)
{
    float acc[ROWS][16], w[STEP * 16], head[32];
    const size_t n_steps = args->cols / STEP, ldx = row_floats(args->cols);
    const float *q = (const float *)args->x + row * ldx;
    const char *from = (const char *)args->packed + panel * n_steps * step_bytes(layout);
    samba__ref_start(acc, n_rows, args, panel);
    for (size_t b = 0; b < n_steps; b++, from += step_bytes(layout)) {
        const int8_t *w8 = (const int8_t *)(from + head_bytes(layout));
        const float *scale = q + args->cols + b;
        const step_rows x = {q + b * STEP, scale, scale + n_steps, ldx};
        memcpy(head, from, head_bytes(layout));
        for (size_t i = 0; i < STEP * 16; i++)
            w[i] = w8[i];
        size_t r = 0;
        for (; r + 2 <= n_rows; r += 2)
            step_rows_run(2, acc, &x, r, w, head, layout);
        if (r < n_rows)
            step_rows_run(1, acc, &x, r, w, head, layout);
    }
    samba__ref_finish(acc, row, n_rows, args, panel);
}

static inline __attribute__((always_inline)) void run(const samba__linear_args *args,
                                                      step_layout layout)
{
    for (size_t row = 0; row < args->n_rows; row += ROWS) {
        size_t n = args->n_rows - row < ROWS ? args->n_rows - row : ROWS;
        for (size_t p = args->panel_begin; p < args->panel_end; p++)
            run_panel(args, p, row, n, layout);
    }
}

/* ---------------------------------------------------------------- the table: plain functions */

static size_t panel_bytes_1(size_t cols)
{
    return cols / STEP * step_bytes(ONE_SCALE);
}

static size_t panel_bytes_2(size_t cols)
{
    return cols / STEP * step_bytes(TWO_SCALES); /* and SCALE_AND_MIN */
}

static void pack_q8_0(const samba__pack_args *args)
{
    pack(args, SAMBA_DTYPE_Q8_0);
}

static void pack_q4_0(const samba__pack_args *args)
{
    pack(args, SAMBA_DTYPE_Q4_0);
}

static void pack_q4_k(const samba__pack_args *args)
{
    pack(args, SAMBA_DTYPE_Q4_K);
}

static void pack_q6_k(const samba__pack_args *args)
{
    pack(args, SAMBA_DTYPE_Q6_K);
}

static void run_one_scale(const samba__linear_args *args)
{
    run(args, ONE_SCALE);
}

static void run_two_scales(const samba__linear_args *args)
{
    run(args, TWO_SCALES);
}

static void run_scale_and_min(const samba__linear_args *args)
{
    run(args, SCALE_AND_MIN);
}

static void gather_one_scale(const void *packed, size_t cols, size_t row, float *to)
{
    gather(packed, cols, row, to, ONE_SCALE);
}

static void gather_two_scales(const void *packed, size_t cols, size_t row, float *to)
{
    gather(packed, cols, row, to, TWO_SCALES);
}

static void gather_scale_and_min(const void *packed, size_t cols, size_t row, float *to)
{
    gather(packed, cols, row, to, SCALE_AND_MIN);
}

void samba__ref_linear_blocks(samba__linear_kernels *table)
{
    const samba__linear_kernels one_scale = {panel_bytes_1, pack_q8_0,     row_bytes,
                                             prepare_rows,  run_one_scale, gather_one_scale};
    table[SAMBA_DTYPE_Q8_0] = one_scale;
    table[SAMBA_DTYPE_Q4_0] = one_scale;
    table[SAMBA_DTYPE_Q4_0].pack = pack_q4_0;
    table[SAMBA_DTYPE_Q4_K] = (samba__linear_kernels){
        panel_bytes_2, pack_q4_k, row_bytes, prepare_rows, run_scale_and_min, gather_scale_and_min};
    table[SAMBA_DTYPE_Q6_K] = (samba__linear_kernels){
        panel_bytes_2, pack_q6_k, row_bytes, prepare_rows, run_two_scales, gather_two_scales};
}
