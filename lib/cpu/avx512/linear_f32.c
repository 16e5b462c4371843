/*
 * y = x W^T with f32 weights. A panel is [cols][16]: one load gives step k of 16 outputs. A tile of
 * up to 6 rows x 4 panels keeps 24 independent chains in registers; each output has one chain of
 * fused multiply-adds over k, whatever tile it falls into. Packing and gathering are ref/'s: the
 * layout is the same.
 */
#include "cpu/avx512/avx512.h"

#include <immintrin.h>

enum {
    ROWS = 6,
    PANELS = 4
};

typedef struct tile {
    const samba__linear_args *args;
    const float *w; /* first panel of the tile */
    const float *x; /* first row */
    size_t ldx, panel_floats;
    size_t row, panel;
} tile;

static __mmask16 panel_mask(const samba__linear_args *a, size_t panel)
{
    size_t left = a->rows - 16 * panel;
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

static inline __attribute__((always_inline)) void tile_run(const tile *t, size_t n_r, size_t n_p)
{
    const samba__linear_args *a = t->args;
    __m512 acc[ROWS][PANELS];
    for (size_t p = 0; p < n_p; p++) {
        __mmask16 m = panel_mask(a, t->panel + p);
        __m512 bias =
            a->bias ? _mm512_maskz_loadu_ps(m, a->bias + 16 * (t->panel + p)) : _mm512_setzero_ps();
        for (size_t r = 0; r < n_r; r++)
            acc[r][p] = bias;
    }
    for (size_t k = 0; k < a->cols; k++) {
        __m512 w[PANELS];
        for (size_t p = 0; p < n_p; p++)
            w[p] = _mm512_load_ps(t->w + p * t->panel_floats + 16 * k);
        for (size_t r = 0; r < n_r; r++) {
            __m512 x = _mm512_set1_ps(t->x[r * t->ldx + k]);
            for (size_t p = 0; p < n_p; p++)
                acc[r][p] = _mm512_fmadd_ps(x, w[p], acc[r][p]);
        }
    }
    for (size_t p = 0; p < n_p; p++) {
        __mmask16 m = panel_mask(a, t->panel + p);
        for (size_t r = 0; r < n_r; r++) {
            float *y = a->y + (t->row + r) * a->ldy + 16 * (t->panel + p);
            if (a->accumulate)
                acc[r][p] = _mm512_add_ps(_mm512_maskz_loadu_ps(m, y), acc[r][p]);
            _mm512_mask_storeu_ps(y, m, acc[r][p]);
        }
    }
}

static inline __attribute__((always_inline)) void rows_run(tile *t, size_t n_p)
{
    const char *x = t->args->x;
    size_t stride = t->ldx * sizeof(float);
    for (t->row = 0; t->row < t->args->n_rows;) {
        size_t left = t->args->n_rows - t->row;
        t->x = (const float *)(const void *)(x + t->row * stride);
        switch (left < ROWS ? left : ROWS) {
        case 1:
            tile_run(t, 1, n_p);
            break;
        case 2:
            tile_run(t, 2, n_p);
            break;
        case 3:
            tile_run(t, 3, n_p);
            break;
        case 4:
            tile_run(t, 4, n_p);
            break;
        case 5:
            tile_run(t, 5, n_p);
            break;
        default:
            tile_run(t, ROWS, n_p);
            break;
        }
        t->row += left < ROWS ? left : ROWS;
    }
}

static void run(const samba__linear_args *args)
{
    size_t panel_floats = 16 * args->cols;
    tile t = {.args = args, .panel_floats = panel_floats, .ldx = samba__pad16(args->cols)};
    for (t.panel = args->panel_begin; t.panel < args->panel_end;) {
        t.w = (const float *)args->packed + t.panel * panel_floats;
        if (args->panel_end - t.panel >= PANELS) {
            rows_run(&t, PANELS);
            t.panel += PANELS;
        } else {
            rows_run(&t, 1);
            t.panel++;
        }
    }
}

void samba__avx512_linear_f32(samba__linear_kernels *kernels)
{
    kernels->run = run;
}
