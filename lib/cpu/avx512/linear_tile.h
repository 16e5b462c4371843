/*
 * What all linear kernels of this folder share: how rows x panels are cut into register tiles, and
 * how the chains of a tile begin (bias or 0) and end (y = or y +=). The including file defines one
 * inline function, samba__tile_run(), which computes a tile of n_r x n_p; it is inlined once per
 * shape with both numbers constant, so that its arrays become registers. (It has a fixed name
 * because clang inlines a function passed as an argument too late: it merges the shapes again.)
 *
 * The cut never reaches the bits: an output is one chain over k, whatever tile it falls into. Tiles
 * know nothing of weight formats.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_TILE_H
#define SAMBA_CPU_AVX512_LINEAR_TILE_H

#include "cpu/avx512/avx512.h"

#include <immintrin.h>

/* A tile under way. A kernel that needs more makes this the first member of its own struct. */
typedef struct samba__tile {
    const samba__linear_args *args;
    size_t w_stride, x_stride; /* bytes of a panel, of a prepared row */
    size_t row, panel;         /* first row and panel */
    const uint8_t *w, *x;      /* at that panel, at that row */
} samba__tile;

/* Defined by the including file: computes rows [row, row + n_r) x panels [panel, panel + n_p), in
 * one of the ways that it has; n_r, n_p and way are constants. */
SAMBA__INLINE void samba__tile_run(const samba__tile *t, int way, size_t n_r, size_t n_p);

/* The largest register tile, and how many rows go over a panel group before the next group's turn
 * (their prepared bytes should fit the second cache). */
typedef struct samba__tile_shape {
    size_t rows, panels;
    size_t row_block;
} samba__tile_shape;

/* Lanes of a panel that are rows of W; none in a panel past the end. */
SAMBA__INLINE __mmask16 samba__panel_mask(const samba__linear_args *a, size_t panel)
{
    size_t left = a->rows - 16 * panel;
    if (panel >= a->panel_end)
        return 0;
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

/* acc[r * n_p + p] = bias or 0 */
SAMBA__INLINE void samba__tile_start(const samba__tile *t, size_t n_r, size_t n_p, __m512 *acc)
{
    const samba__linear_args *a = t->args;
    for (size_t p = 0; p < n_p; p++) {
        __m512 bias = _mm512_setzero_ps();
        if (a->bias)
            bias = _mm512_maskz_loadu_ps(samba__panel_mask(a, t->panel + p),
                                         a->bias + 16 * (t->panel + p));
#pragma GCC unroll 8
        for (size_t r = 0; r < n_r; r++)
            acc[r * n_p + p] = bias;
    }
}

/* y = acc, or y = y + acc */
SAMBA__INLINE void samba__tile_finish(const samba__tile *t, size_t n_r, size_t n_p, __m512 *acc)
{
    const samba__linear_args *a = t->args;
    for (size_t p = 0; p < n_p; p++) {
        __mmask16 m = samba__panel_mask(a, t->panel + p);
#pragma GCC unroll 8
        for (size_t r = 0; r < n_r; r++) {
            float *y = a->y + (t->row + r) * a->ldy + 16 * (t->panel + p);
            __m512 v = acc[r * n_p + p];
            if (a->accumulate)
                v = _mm512_add_ps(_mm512_maskz_loadu_ps(m, y), v);
            _mm512_mask_storeu_ps(y, m, v);
        }
    }
}

/* One tile of n_r rows; cases past the largest shape vanish. */
SAMBA__INLINE void samba__tile_case(const samba__tile *t, size_t n_r, size_t n_p, size_t max,
                                    int way)
{
    if (n_r == 1)
        samba__tile_run(t, way, 1, n_p);
    else if (max >= 2 && n_r == 2)
        samba__tile_run(t, way, 2, n_p);
    else if (max >= 3 && n_r == 3)
        samba__tile_run(t, way, 3, n_p);
    else if (max >= 4 && n_r == 4)
        samba__tile_run(t, way, 4, n_p);
    else if (max >= 5 && n_r == 5)
        samba__tile_run(t, way, 5, n_p);
    else if (max >= 6 && n_r == 6)
        samba__tile_run(t, way, 6, n_p);
    else if (max >= 7 && n_r == 7)
        samba__tile_run(t, way, 7, n_p);
    else if (max >= 8 && n_r == 8)
        samba__tile_run(t, way, 8, n_p);
}

/* Rows [begin, end) in tiles of at most max (<= 8) rows, as even as they come: 8 rows in tiles of
 * at most 6 are 4 + 4. */
SAMBA__INLINE void samba__tile_rows(samba__tile *t, size_t begin, size_t end, size_t n_p,
                                    size_t max, int way)
{
    size_t n = end - begin, n_tiles = (n + max - 1) / max;
    t->row = begin;
    for (size_t i = 0; i < n_tiles; i++) {
        size_t n_r = n / n_tiles + (i < n % n_tiles);
        t->x = (const uint8_t *)t->args->x + t->row * t->x_stride;
        samba__tile_case(t, n_r, n_p, max, way);
        t->row += n_r;
    }
}

/* All tiles of args->panel_begin .. panel_end. t: args and the strides are set. */
SAMBA__INLINE void samba__tile_grid(samba__tile *t, samba__tile_shape shape, int way)
{
    const samba__linear_args *a = t->args;
    for (size_t row = 0, end; row < a->n_rows; row = end) {
        end = a->n_rows - row < shape.row_block ? a->n_rows : row + shape.row_block;
        for (t->panel = a->panel_begin; t->panel < a->panel_end;) {
            size_t left = a->panel_end - t->panel, n_p = 1;
            t->w = (const uint8_t *)a->packed + t->panel * t->w_stride;
            if (left >= shape.panels) {
                n_p = shape.panels;
                samba__tile_rows(t, row, end, shape.panels, shape.rows, way);
            } else if (shape.panels > 2 && left >= 2) {
                n_p = 2;
                samba__tile_rows(t, row, end, 2, shape.rows, way);
            } else {
                samba__tile_rows(t, row, end, 1, shape.rows, way);
            }
            t->panel += n_p;
        }
    }
}

#endif
