/*
 * Reference linear kernel for Q8_0 weights. Per block of 32 columns a panel holds 16 f32 scales and
 * [32][16] int8. Activations are quantised per row and block to int8 with an f32 scale, kept as
 * floats of integer value: a block's sum of products stays below 2^24, so float arithmetic gives
 * the exact integer in any order. Then acc += sum * (scale of x * scale of w), block by block.
 */
#include "base/bytes.h"
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

enum {
    ROWS = 32,
    BLOCK = 32,
    FILE_BLOCK = 34,
    PANEL_BLOCK = 16 * 4 + BLOCK * 16
};

static size_t panel_bytes(size_t cols)
{
    return cols / BLOCK * PANEL_BLOCK;
}

static void pack(const samba__pack_args *args)
{
    size_t n_blocks = args->cols / BLOCK;
    const uint8_t *from = args->src;
    for (size_t i = 0; i < args->rows; i++) {
        size_t row = args->first_row + i, lane = row % 16;
        char *to = (char *)args->packed + row / 16 * panel_bytes(args->cols);
        for (size_t b = 0; b < n_blocks; b++, from += FILE_BLOCK, to += PANEL_BLOCK) {
            float d = samba__ref_f16(samba__load_u16(from));
            memcpy(to + lane * sizeof d, &d, sizeof d);
            for (size_t k = 0; k < BLOCK; k++)
                to[64 + k * 16 + lane] = (char)from[2 + k];
        }
    }
}

/* A prepared row: float q[cols], then float scale[cols / 32]. */
static size_t row_floats(size_t cols)
{
    return samba__pad16(cols + cols / BLOCK);
}

static size_t row_bytes(size_t cols)
{
    return row_floats(cols) * sizeof(float);
}

/* scale = absmax / 127; q = x * (127 / absmax), nearest, ties to even. */
static float quantise_block(const float *x, float *q)
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
    for (size_t k = 0; k < BLOCK; k++)
        q[k] = x[k] * inverse + magic - magic;
    return max / 127.0f;
}

static void prepare_rows(const samba__prepare_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        float *q = (float *)args->to + r * row_floats(args->cols);
        for (size_t k = 0; k < args->cols; k += BLOCK)
            q[args->cols + k / BLOCK] = quantise_block(x + k, q + k);
    }
}

/* acc[n_r][16] += one block for n_r rows at x (q) and scale. */
static inline __attribute__((always_inline)) void block_rows(size_t n_r, float (*acc)[16],
                                                             const float *q, const float *scale,
                                                             size_t ldx, const float *w,
                                                             const float *w_scale)
{
    float sum[2][16] = {{0}};
    samba__ref_tile(n_r, sum, q, ldx, w, BLOCK);
    for (size_t r = 0; r < n_r; r++) {
        float s = scale[r * ldx];
        for (size_t l = 0; l < 16; l++)
            acc[r][l] += sum[r][l] * (s * w_scale[l]);
    }
}

static void run_panel(const samba__linear_args *args, size_t panel, size_t row, size_t n_rows)
{
    float acc[ROWS][16], w[BLOCK * 16], w_scale[16];
    size_t ldx = row_floats(args->cols);
    const float *x = (const float *)args->x + row * ldx;
    const char *from = (const char *)args->packed + panel * panel_bytes(args->cols);
    samba__ref_start(acc, n_rows, args, panel);
    for (size_t b = 0; b < args->cols / BLOCK; b++, from += PANEL_BLOCK) {
        const float *q = x + b * BLOCK, *scale = x + args->cols + b;
        const int8_t *w8 = (const int8_t *)(from + 64);
        memcpy(w_scale, from, sizeof w_scale);
        for (size_t i = 0; i < BLOCK * 16; i++)
            w[i] = w8[i];
        size_t r = 0;
        for (; r + 2 <= n_rows; r += 2)
            block_rows(2, acc + r, q + r * ldx, scale + r * ldx, ldx, w, w_scale);
        if (r < n_rows)
            block_rows(1, acc + r, q + r * ldx, scale + r * ldx, ldx, w, w_scale);
    }
    samba__ref_finish(acc, row, n_rows, args, panel);
}

static void run(const samba__linear_args *args)
{
    for (size_t row = 0; row < args->n_rows; row += ROWS) {
        size_t n = args->n_rows - row < ROWS ? args->n_rows - row : ROWS;
        for (size_t p = args->panel_begin; p < args->panel_end; p++)
            run_panel(args, p, row, n);
    }
}

static void gather(const void *packed, size_t cols, size_t row, float *to)
{
    const char *from = (const char *)packed + row / 16 * panel_bytes(cols);
    size_t lane = row % 16;
    for (size_t b = 0; b < cols / BLOCK; b++, from += PANEL_BLOCK) {
        float d;
        memcpy(&d, from + lane * sizeof d, sizeof d);
        for (size_t k = 0; k < BLOCK; k++)
            to[b * BLOCK + k] = d * (float)(int8_t)from[64 + k * 16 + lane];
    }
}

void samba__ref_linear_q8_0(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){panel_bytes, pack, row_bytes, prepare_rows, run, gather};
}
