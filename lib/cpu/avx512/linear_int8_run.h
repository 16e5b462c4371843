/*
 * The product of linear_int8.h, for the one format and the one tier of the file that includes this.
 * That file includes before: linear_<format>.h, which defines
 *   samba__int8           the format's constants,
 *   samba__int8_weights() columns 4g .. 4g + 3 of 16 outputs as bytes; `phase` is the block's place
 *                         in its period,
 *   samba__int8_scales()  expands the head of a unit of n blocks: block b's vectors go to
 *                         to + b * stride floats: w_scale, -1.5 * 2^23 * w_scale, then the same of
 *                         the second half, or the minimum;
 * and the tier's linear_int8_vnni.h or linear_int8_plain.h, which defines
 *   samba__int8_dot()     sum[r * n_p + p] = start + products of steps [begin, end) of 4 columns,
 *   SAMBA__INT8_ROWS      the rows of its largest tile,
 *   SAMBA__INT8_LEAST     and of its smallest, where there are more than SAMBA__INT8_FEW.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_INT8_RUN_H
#define SAMBA_CPU_AVX512_LINEAR_INT8_RUN_H

#include "cpu/avx512/linear_int8_format.h"
#include "cpu/avx512/linear_tile.h"

enum {
    SAMBA__INT8_STEP = SAMBA__INT8_PANELS * SAMBA__INT8_VECTORS * 16,
    SAMBA__INT8_FEW = 4,        /* rows that go straight over packed quants */
    SAMBA__INT8_ROW_BLOCK = 96, /* rows parked */
    SAMBA__INT8_AHEAD = 4096    /* bytes from prefetch to use */
};

/* One unit of a tile. tile.w: quants of its first panel. */
typedef struct samba__int8_slice {
    samba__tile tile;
    size_t first_block, n_blocks;
    size_t row_begin;    /* of acc */
    bool first, last;    /* unit of the panel */
    const uint8_t *next; /* packed quants that come next, fetched a few lines per block */
    size_t next_stride, next_lines;
    _Alignas(64) float acc[SAMBA__INT8_ROW_BLOCK * SAMBA__INT8_PANELS * 16];
    float scales[SAMBA__INT8_UNIT * SAMBA__INT8_STEP]; /* [block][panel][vector][16] */
    uint8_t quants[SAMBA__INT8_PANELS * SAMBA__INT8_UNIT * SAMBA__INT8_QUANTS];
} samba__int8_slice;

/* Columns [4 begin, 4 end) of a block. scales: [n_p][SAMBA__INT8_VECTORS][16], of these columns. */
SAMBA__INLINE void samba__int8_group(const samba__int8_operands *o, size_t begin, size_t end,
                                     const float *scales, size_t n_r, size_t n_p, __m512 *acc)
{
    __m512i sum[16];
    samba__int8_dot(o, begin, end, n_r, n_p, sum);
    for (size_t p = 0; p < n_p; p++) {
        const float *s = scales + p * SAMBA__INT8_VECTORS * 16;
        __m512 scale = _mm512_load_ps(s), off = _mm512_load_ps(s + 16);
        for (size_t r = 0; r < n_r; r++) {
            __m512 v = _mm512_fmadd_ps(_mm512_castsi512_ps(sum[r * n_p + p]), scale, off);
            acc[r * n_p + p] =
                _mm512_fmadd_ps(v, _mm512_set1_ps(samba__int8_row(o, r)->scale), acc[r * n_p + p]);
        }
    }
}

/* One block. scales: [n_p][SAMBA__INT8_VECTORS][16] */
SAMBA__INLINE void samba__int8_step(const samba__int8_operands *o, const float *scales, size_t n_r,
                                    size_t n_p, __m512 *acc)
{
    if (samba__int8.kind == SAMBA__TWO_SCALES) {
        samba__int8_group(o, 0, 4, scales, n_r, n_p, acc);
        samba__int8_group(o, 4, 8, scales + 32, n_r, n_p, acc);
        return;
    }
    samba__int8_group(o, 0, 8, scales, n_r, n_p, acc);
    for (size_t p = 0; p < n_p && samba__int8.kind == SAMBA__SCALE_AND_MIN; p++) {
        __m512 min = _mm512_load_ps(scales + (p * SAMBA__INT8_VECTORS + 2) * 16);
        for (size_t r = 0; r < n_r; r++)
            acc[r * n_p + p] = _mm512_fnmadd_ps(
                min, _mm512_set1_ps(samba__int8_row(o, r)->scaled_sum), acc[r * n_p + p]);
    }
}

/* Many rows pass over a slice, which is time to fetch the next: `lines` more of every panel. */
SAMBA__INLINE void samba__int8_fetch(const samba__int8_slice *s, size_t at, size_t n_p)
{
    for (size_t i = 0; i < s->next_lines; i++)
        for (size_t p = 0; p < n_p; p++)
            _mm_prefetch((const char *)s->next + p * s->next_stride + (at * s->next_lines + i) * 64,
                         _MM_HINT_T1);
}

/* The blocks of a slice, from the format's own quants or from expanded ones. */
SAMBA__INLINE void samba__int8_blocks(const samba__int8_slice *s, bool packed, size_t n_r,
                                      size_t n_p, __m512 *acc)
{
    const samba__tile *t = &s->tile;
    const size_t period = packed ? samba__int8.period : 1;
    const size_t bytes = packed ? period * samba__int8.block_bytes : (size_t)SAMBA__INT8_QUANTS;
    const float *scales = s->scales;
    samba__int8_operands o = {.packed = packed,
                              .w = t->w,
                              .w_stride = t->w_stride,
                              .x = t->x + s->first_block * sizeof(samba__int8_block),
                              .x_stride = t->x_stride};
    for (size_t b = 0; b < s->n_blocks; b += period, o.w += bytes) {
        for (size_t p = 0; packed && p < n_p; p++)
            for (size_t i = 0; i < bytes; i += 64)
                _mm_prefetch((const char *)o.w + p * o.w_stride + SAMBA__INT8_AHEAD + i,
                             _MM_HINT_T0);
        if (!packed)
            samba__int8_fetch(s, b, n_p);
#pragma GCC unroll 4
        for (size_t phase = 0; phase < period; phase++) {
            o.phase = phase;
            samba__int8_step(&o, scales, n_r, n_p, acc);
            o.x += sizeof(samba__int8_block);
            scales += SAMBA__INT8_STEP;
        }
    }
}

SAMBA__INLINE void samba__int8_tile(const samba__tile *t, bool packed, size_t n_r, size_t n_p)
{
    samba__int8_slice *s = (samba__int8_slice *)(uintptr_t)t;
    float *parked = s->acc + (t->row - s->row_begin) * SAMBA__INT8_PANELS * 16;
    __m512 acc[16];
    if (s->first)
        samba__tile_start(t, n_r, n_p, acc);
    else
        for (size_t i = 0; i < n_r * n_p; i++)
            acc[i] = _mm512_load_ps(parked + i * 16);
    samba__int8_blocks(s, packed, n_r, n_p, acc);
    if (!packed)
        s->next += s->n_blocks * s->next_lines * 64;
    if (s->last)
        samba__tile_finish(t, n_r, n_p, acc);
    else
        for (size_t i = 0; i < n_r * n_p; i++)
            _mm512_store_ps(parked + i * 16, acc[i]);
}

/* way: packed or not. More than SAMBA__INT8_FEW rows never come in tiles of fewer than LEAST. */
SAMBA__INLINE void samba__tile_run(const samba__tile *t, int way, size_t n_r, size_t n_p)
{
    if (way || n_r >= SAMBA__INT8_LEAST)
        samba__int8_tile(t, way, n_r, n_p);
}

/* The slice's quants as bytes in s->quants. */
SAMBA__INLINE void samba__int8_expand(samba__int8_slice *s)
{
    const size_t period = samba__int8.period, bytes = period * samba__int8.block_bytes;
    const size_t to_stride = SAMBA__INT8_UNIT * SAMBA__INT8_QUANTS;
    for (size_t p = 0; p < SAMBA__INT8_PANELS; p++) {
        const uint8_t *from = s->tile.w + p * s->tile.w_stride;
        uint8_t *to = s->quants + p * to_stride;
        for (size_t b = 0; b < s->n_blocks; b += period, from += bytes)
            for (size_t phase = 0; phase < period; phase++)
                for (size_t g = 0; g < 8; g++, to += 64)
                    _mm512_store_si512(to, samba__int8_weights(from, phase, g));
    }
    s->tile.w = s->quants;
    s->tile.w_stride = to_stride;
}

/* One slice of rows [row_begin, end): tile.w is set to the packed quants. */
SAMBA__INLINE void samba__int8_slice_run(samba__int8_slice *s, size_t end, bool few)
{
    const size_t lines = samba__int8.block_bytes / 64;
    size_t n_tiles = (end - s->row_begin + SAMBA__INT8_ROWS - 1) / SAMBA__INT8_ROWS;
    if (few) {
        samba__tile_rows(&s->tile, s->row_begin, end, SAMBA__INT8_PANELS, SAMBA__INT8_FEW, true);
        return;
    }
    s->next = s->tile.w + s->n_blocks * samba__int8.block_bytes;
    if (s->last) /* the next two panels */
        s->next += s->tile.w_stride;
    s->next_stride = s->tile.w_stride;
    s->next_lines = (lines + n_tiles - 1) / n_tiles;
    if (samba__int8.block_bytes != SAMBA__INT8_QUANTS)
        samba__int8_expand(s);
    samba__tile_rows(&s->tile, s->row_begin, end, SAMBA__INT8_PANELS, SAMBA__INT8_ROWS, false);
}

/* Rows [row_begin, end) of the panels from tile.panel. A last one without a neighbour is taken
 * twice, and its second outputs are masked off. */
SAMBA__INLINE void samba__int8_panels(samba__int8_slice *s, size_t end, bool few)
{
    const samba__linear_args *a = s->tile.args;
    const size_t n = a->cols / SAMBA__INT8_COLS, bytes = samba__int8_panel_bytes(a->cols);
    const uint8_t *unit = (const uint8_t *)a->packed + s->tile.panel * bytes;
    const size_t stride = a->panel_end - s->tile.panel < SAMBA__INT8_PANELS ? 0 : bytes;
    for (s->first_block = 0; s->first_block < n; s->first_block += s->n_blocks) {
        size_t left = n - s->first_block;
        s->n_blocks = left < SAMBA__INT8_UNIT ? left : SAMBA__INT8_UNIT;
        s->first = s->first_block == 0;
        s->last = s->n_blocks == left;
        for (size_t p = 0; p < SAMBA__INT8_PANELS; p++)
            samba__int8_scales(unit + p * stride, s->n_blocks,
                               s->scales + p * SAMBA__INT8_VECTORS * 16, SAMBA__INT8_STEP);
        s->tile.w = unit + samba__int8_head_bytes(s->n_blocks);
        s->tile.w_stride = stride;
        samba__int8_slice_run(s, end, few);
        unit += samba__int8_unit_bytes(s->n_blocks);
    }
}

static void samba__int8_run(const samba__linear_args *a)
{
    samba__int8_slice s;
    s.tile = (samba__tile){.args = a, .x_stride = samba__avx512_int8_row_bytes(a->cols)};
    s.row_begin = 0;
    for (size_t end; s.row_begin < a->n_rows; s.row_begin = end) {
        size_t left = a->n_rows - s.row_begin;
        end = s.row_begin + (left < SAMBA__INT8_ROW_BLOCK ? left : SAMBA__INT8_ROW_BLOCK);
        for (s.tile.panel = a->panel_begin; s.tile.panel < a->panel_end;
             s.tile.panel += SAMBA__INT8_PANELS)
            samba__int8_panels(&s, end, end - s.row_begin <= SAMBA__INT8_FEW);
    }
}

#endif
