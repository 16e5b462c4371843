/*
 * y = x W^T with f32, f16 and bf16 weights. A panel is [cols][16], as in ref/, whose packing and
 * gathering serve; 16-bit weights are widened in registers. A tile keeps 16 accumulators of 4
 * outputs: 8 rows x half a panel, 4 x 1, 2 x 2 or 1 row x 4 panels (a few less for odd numbers of
 * rows). Each output is one chain of fused multiply-adds over k, whatever tile it falls into.
 */
#include "cpu/neon/neon.h"
#include "cpu/neon/outputs.h"

enum {
    ROWS = 8,   /* most of a tile */
    CHUNK = 128 /* rows that are done with a panel before the next: they stay in the second cache */
};
enum {
    KIND_F32,
    KIND_F16,
    KIND_BF16
};

typedef struct tile {
    const samba__linear_args *args;
    const uint8_t *w; /* first panel of the tile, its first lane */
    size_t panel_bytes, panel, lane;
    const float *x; /* first row */
    size_t ldx, row;
} tile;

static inline size_t elem_bytes(int kind)
{
    return kind == KIND_F32 ? 4 : 2;
}

/* Two registers of 4 weights: 8 outputs. */
static inline __attribute__((always_inline)) void load_8(int kind, const uint8_t *p,
                                                         float32x4_t w[2])
{
    if (kind == KIND_F32) {
        w[0] = vreinterpretq_f32_u8(vld1q_u8(p));
        w[1] = vreinterpretq_f32_u8(vld1q_u8(p + 16));
        return;
    }
    uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(p));
    if (kind == KIND_F16) {
        w[0] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
        w[1] = vcvt_high_f32_f16(vreinterpretq_f16_u16(h));
    } else {
        w[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
        w[1] = vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
    }
}

/* acc + w * x[lane], lane a constant where this is inlined. */
static inline __attribute__((always_inline)) float32x4_t add_lane(float32x4_t acc, float32x4_t w,
                                                                  float32x4_t x, size_t lane)
{
    switch (lane) {
    case 0:
        return vfmaq_laneq_f32(acc, w, x, 0);
    case 1:
        return vfmaq_laneq_f32(acc, w, x, 1);
    case 2:
        return vfmaq_laneq_f32(acc, w, x, 2);
    default:
        return vfmaq_laneq_f32(acc, w, x, 3);
    }
}

/* Step k of n_r rows and n_v registers of outputs; x[r] holds step k in `lane`. */
static inline __attribute__((always_inline)) void tile_step(int kind, const tile *t, size_t n_r,
                                                            size_t n_v, size_t k,
                                                            const float32x4_t *x, size_t lane,
                                                            float32x4_t (*acc)[16])
{
    size_t es = elem_bytes(kind);
    for (size_t v = 0; v < n_v; v += 2) {
        float32x4_t w[2];
        load_8(kind, t->w + v / 4 * t->panel_bytes + (k * 16 + v % 4 * 4) * es, w);
        for (size_t r = 0; r < n_r; r++) {
            acc[r][v] = add_lane(acc[r][v], w[0], x[r], lane);
            acc[r][v + 1] = add_lane(acc[r][v + 1], w[1], x[r], lane);
        }
    }
}

/* The chains go through an array of their own, in which every index is a constant. */
static inline __attribute__((always_inline)) void tile_sum(int kind, const tile *t, size_t n_r,
                                                           size_t n_v, float32x4_t (*chain)[16])
{
    size_t cols = t->args->cols, k = 0;
    float32x4_t x[ROWS], acc[ROWS][16];
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < n_v; v++)
            acc[r][v] = chain[r][v];
    for (; k + 4 <= cols; k += 4) {
        for (size_t r = 0; r < n_r; r++)
            x[r] = vld1q_f32(t->x + r * t->ldx + k);
        tile_step(kind, t, n_r, n_v, k, x, 0, acc);
        tile_step(kind, t, n_r, n_v, k + 1, x, 1, acc);
        tile_step(kind, t, n_r, n_v, k + 2, x, 2, acc);
        tile_step(kind, t, n_r, n_v, k + 3, x, 3, acc);
    }
    for (; k < cols; k++) {
        for (size_t r = 0; r < n_r; r++)
            x[r] = vdupq_n_f32(t->x[r * t->ldx + k]);
        tile_step(kind, t, n_r, n_v, k, x, 0, acc);
    }
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < n_v; v++)
            chain[r][v] = acc[r][v];
}

static inline __attribute__((always_inline)) void tile_run(int kind, const tile *t, size_t n_r,
                                                           size_t n_v)
{
    const samba__linear_args *a = t->args;
    float32x4_t acc[ROWS][16];
    for (size_t v = 0; v < n_v; v++) {
        size_t j = t->panel * 16 + t->lane + 4 * v;
        float32x4_t bias = samba__load_4(a->bias ? a->bias + j : NULL, j, a->rows);
        for (size_t r = 0; r < n_r; r++)
            acc[r][v] = bias;
    }
    tile_sum(kind, t, n_r, n_v, acc);
    for (size_t r = 0; r < n_r; r++)
        for (size_t v = 0; v < n_v; v++) {
            size_t j = t->panel * 16 + t->lane + 4 * v;
            samba__put_4(a->y + (t->row + r) * a->ldy + j, acc[r][v], j, a->rows, a->accumulate);
        }
}

/* n_r rows of one panel: in halves where a whole one has too many accumulators. */
static inline __attribute__((always_inline)) void panel_run(int kind, tile *t, size_t n_r)
{
    size_t n_v = n_r > 4 ? 2 : 4;
    for (t->lane = 0; t->lane < 16; t->lane += 4 * n_v) {
        tile_run(kind, t, n_r, n_v);
        t->w += 4 * n_v * elem_bytes(kind);
    }
    t->lane = 0;
}

/* The next rows of a chunk, at most 8: how many. */
static inline __attribute__((always_inline)) size_t rows_run(int kind, tile *t, size_t left)
{
    switch (left) {
    case 1:
        panel_run(kind, t, 1);
        return 1;
    case 2:
        panel_run(kind, t, 2);
        return 2;
    case 3:
        panel_run(kind, t, 3);
        return 3;
    case 4:
        panel_run(kind, t, 4);
        return 4;
    case 5:
        panel_run(kind, t, 5);
        return 5;
    case 6:
        panel_run(kind, t, 6);
        return 6;
    case 7:
        panel_run(kind, t, 7);
        return 7;
    default:
        panel_run(kind, t, ROWS);
        return ROWS;
    }
}

/* Panels [begin, end) for rows [row, row + n). */
static inline __attribute__((always_inline)) void chunk_run(int kind, tile *t, size_t row, size_t n)
{
    const samba__linear_args *a = t->args;
    const float *x = (const float *)a->x + row * t->ldx;
    size_t wide = n == 1 ? 4 : n == 2 ? 2 : 1; /* panels of a tile */
    t->lane = 0;
    for (t->panel = a->panel_begin; t->panel < a->panel_end;) {
        const uint8_t *w = (const uint8_t *)a->packed + t->panel * t->panel_bytes;
        t->w = w;
        t->x = x;
        t->row = row;
        if (wide > 1 && a->panel_end - t->panel >= wide) {
            if (n == 1)
                tile_run(kind, t, 1, 16);
            else
                tile_run(kind, t, 2, 8);
            t->panel += wide;
            continue;
        }
        while (t->row < row + n) {
            size_t done = rows_run(kind, t, row + n - t->row);
            t->w = w;
            t->x += done * t->ldx;
            t->row += done;
        }
        t->panel++;
    }
}

static inline __attribute__((always_inline)) void run(int kind, const samba__linear_args *args)
{
    tile t = {.args = args, .ldx = samba__pad16(args->cols)};
    t.panel_bytes = (args->cols * 16 * elem_bytes(kind) + 63) & ~(size_t)63;
    for (size_t row = 0; row < args->n_rows; row += CHUNK)
        chunk_run(kind, &t, row, args->n_rows - row < CHUNK ? args->n_rows - row : CHUNK);
}

static void run_f32(const samba__linear_args *args)
{
    run(KIND_F32, args);
}

static void run_f16(const samba__linear_args *args)
{
    run(KIND_F16, args);
}

static void run_bf16(const samba__linear_args *args)
{
    run(KIND_BF16, args);
}

void samba__neon_linear_float(samba__linear_kernels *table)
{
    table[SAMBA_DTYPE_F32].run = run_f32;
    table[SAMBA_DTYPE_F16].run = run_f16;
    table[SAMBA_DTYPE_BF16].run = run_bf16;
}
