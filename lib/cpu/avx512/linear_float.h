/*
 * y = x W^T for weights that a panel holds step by step: a step of k is 16 numbers, one per output,
 * and a row adds x_k * w_k to its 16 chains in one instruction. The including file says how the
 * numbers of a step are read and how they are added.
 *
 * Few rows, one register tile high, run straight through the panels, which stream from memory. More
 * rows go in blocks: a piece of k of one panel group stays in the second cache while all rows of
 * the block pass over it, and the chains wait in memory until the next piece. Meanwhile the next
 * piece is asked for, a little with every few steps. Weights of 16 bits are widened once per piece,
 * which is short then and stays in the first cache. Stores and loads of a chain are exact, so that
 * neither way nor the length of a piece reaches the bits.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_FLOAT_H
#define SAMBA_CPU_AVX512_LINEAR_FLOAT_H

#include "cpu/avx512/linear_tile.h"

enum {
    SAMBA__FLOAT_TILE = 24, /* chains in registers */
    SAMBA__FLOAT_STREAM_ROWS = 8,
    SAMBA__FLOAT_STREAM_PANELS = 3,
    SAMBA__FLOAT_ROWS = 6, /* of a tile in blocks: fewest loads per addition */
    SAMBA__FLOAT_PANELS = 4,
    SAMBA__FLOAT_BLOCK = 96,   /* rows */
    SAMBA__FLOAT_PIECE = 1024, /* most steps: 256 KB of weights, and x of a block 384 KB */
    SAMBA__FLOAT_WIDE = 128,   /* most steps of a widened piece: 32 KB */
    SAMBA__FLOAT_RUN = 16,     /* steps between prefetches */
    SAMBA__FLOAT_AHEAD = 1024  /* bytes: how early a streamed panel is asked for */
};

/* How a tile walks: in pieces of row blocks, or, any other number, straight through (streams). */
enum {
    SAMBA__FLOAT_PARTS
};

/* Defined by the including file, for each of its ways: the bytes of a step of one panel, the 16
 * numbers of a step, and acc + x * them. */
SAMBA__INLINE size_t samba__float_step_bytes(int way);
SAMBA__INLINE __m512 samba__float_weights(int way, const uint8_t *w);
SAMBA__INLINE __m512 samba__float_add(__m512 acc, __m512 x, __m512 w);

/* Bytes that will be wanted: the same piece of neighbouring panels. */
typedef struct samba__float_wanted {
    uintptr_t at, end; /* in the panel at hand */
    size_t size, stride;
} samba__float_wanted;

/* A piece of k: of all of it (streams), or of one row block and panel group. */
typedef struct samba__float_piece {
    samba__tile tile;
    size_t first, n; /* steps */
    const uint8_t *w;
    size_t w_stride; /* of the panels at w */
    bool begins, ends;
    __m512 *kept; /* [rows of the block][panels]: chains between pieces */
    size_t block_row;
    samba__float_wanted next;
    size_t next_row; /* bytes of next to ask for per row */
} samba__float_piece;

/* n steps of one tile. */
typedef struct samba__float_walk {
    const uint8_t *w, *x;
    size_t n, w_stride, x_stride;
    samba__float_wanted next; /* parts */
    size_t next_run;          /* bytes of it to ask for per run */
} samba__float_walk;

/* One step. */
SAMBA__INLINE void samba__float_step(const samba__float_walk *s, int way, size_t n_r, size_t n_p,
                                     __m512 *acc)
{
    __m512 w[SAMBA__FLOAT_PANELS];
    for (size_t p = 0; p < n_p; p++)
        w[p] = samba__float_weights(way, s->w + p * s->w_stride);
    for (size_t r = 0; r < n_r; r++) {
        __m512 x = _mm512_set1_ps(*(const float *)(const void *)(s->x + r * s->x_stride));
        for (size_t p = 0; p < n_p; p++)
            acc[r * n_p + p] = samba__float_add(acc[r * n_p + p], x, w[p]);
    }
}

/* Asks for n more bytes. */
SAMBA__INLINE void samba__float_ask(samba__float_wanted *next, size_t n)
{
    for (size_t i = 0; i < n; i += 64) {
        _mm_prefetch((const char *)next->at, _MM_HINT_T1);
        next->at += 64;
        if (next->at >= next->end) {
            next->end += next->stride;
            next->at = next->end - next->size;
        }
    }
}

/* Asks for what lies ahead of n steps of every panel. */
SAMBA__INLINE void samba__float_ask_ahead(const samba__float_walk *s, size_t bytes, size_t n_p)
{
    for (size_t at = 0; at < bytes; at += 64)
        for (size_t p = 0; p < n_p; p++)
            _mm_prefetch(
                (const char *)((uintptr_t)s->w + p * s->w_stride + at + SAMBA__FLOAT_AHEAD),
                _MM_HINT_T0);
}

/* The chains at `kept` [n_r][n_p] go on by n >= 1 steps. They are in registers meanwhile; the inner
 * loop has nothing but loads, additions and two pointers. (Unrolled, gcc runs out of registers: it
 * gathers the additions of one chain.) */
SAMBA__INLINE void samba__float_steps(samba__float_walk s, int way, size_t n_r, size_t n_p,
                                      __m512 *kept)
{
    __m512 acc[SAMBA__FLOAT_TILE];
#pragma GCC unroll 24
    for (size_t i = 0; i < n_r * n_p; i++)
        acc[i] = kept[i];
    do {
        size_t n = s.n < SAMBA__FLOAT_RUN ? s.n : SAMBA__FLOAT_RUN;
        const uint8_t *end = s.x + 4 * n;
        if (way == SAMBA__FLOAT_PARTS)
            samba__float_ask(&s.next, s.next_run);
        else
            samba__float_ask_ahead(&s, n * samba__float_step_bytes(way), n_p);
        do {
            samba__float_step(&s, way, n_r, n_p, acc);
            s.w += samba__float_step_bytes(way);
            s.x += 4;
        } while (s.x != end);
        s.n -= n;
    } while (s.n);
#pragma GCC unroll 24
    for (size_t i = 0; i < n_r * n_p; i++)
        kept[i] = acc[i];
}

/* A tile that walks all of k. */
SAMBA__INLINE void samba__float_stream(const samba__float_piece *piece, int way, size_t n_r,
                                       size_t n_p)
{
    const samba__tile *t = &piece->tile;
    __m512 kept[SAMBA__FLOAT_TILE];
    samba__tile_start(t, n_r, n_p, kept);
    samba__float_steps(
        (samba__float_walk){
            .w = t->w, .x = t->x, .n = piece->n, .w_stride = t->w_stride, .x_stride = t->x_stride},
        way, n_r, n_p, kept);
    samba__tile_finish(t, n_r, n_p, kept);
}

/* A tile that walks one piece. */
SAMBA__INLINE void samba__float_part(const samba__float_piece *piece, size_t n_r, size_t n_p)
{
    const samba__tile *t = &piece->tile;
    size_t row = t->row - piece->block_row, asked = row * piece->next_row;
    samba__float_walk walk = {.w = piece->w,
                              .x = t->x + 4 * piece->first,
                              .n = piece->n,
                              .w_stride = piece->w_stride,
                              .x_stride = t->x_stride,
                              .next = piece->next};
    walk.next_run = SAMBA__FLOAT_RUN * n_r * piece->next_row / piece->n;
    walk.next.end += asked / piece->next.size * piece->next.stride;
    walk.next.at = walk.next.end - piece->next.size + asked % piece->next.size;
    if (piece->begins)
        samba__tile_start(t, n_r, n_p, piece->kept + row * n_p);
    samba__float_steps(walk, SAMBA__FLOAT_PARTS, n_r, n_p, piece->kept + row * n_p);
    if (piece->ends)
        samba__tile_finish(t, n_r, n_p, piece->kept + row * n_p);
}

SAMBA__INLINE void samba__tile_run(const samba__tile *t, int way, size_t n_r, size_t n_p)
{
    const samba__float_piece *piece = (const samba__float_piece *)(const void *)t;
    if (way == SAMBA__FLOAT_PARTS)
        samba__float_part(piece, n_r, n_p);
    else
        samba__float_stream(piece, way, n_r, n_p);
}

/* What a format is to the loops below. */
typedef struct samba__float_loops {
    size_t n_steps, step_bytes, row_bytes, panel_bytes;
    /* Widens n steps of a panel to f32; NULL: parts read the panels themselves. */
    void (*widen)(const uint8_t *w, size_t n, float *to);
} samba__float_loops;

/* All pieces of k of one row block and n_p panels. */
SAMBA__INLINE void samba__float_group(samba__float_piece *t, const samba__float_loops *l,
                                      size_t end, size_t n_p)
{
    const samba__linear_args *a = t->tile.args;
    float wide[SAMBA__FLOAT_PANELS][16 * SAMBA__FLOAT_WIDE] __attribute__((aligned(64)));
    size_t rows = end - t->block_row, last = t->tile.panel + n_p;
    size_t most = l->widen ? SAMBA__FLOAT_WIDE : SAMBA__FLOAT_PIECE;
    for (t->first = 0; t->first < l->n_steps; t->first += t->n) {
        size_t left = l->n_steps - t->first;
        t->n = left < most ? left : most;
        t->begins = t->first == 0;
        t->ends = t->n == left;
        t->w = t->tile.w + t->first * l->step_bytes;
        t->w_stride = l->panel_bytes;
        t->next = (samba__float_wanted){.size = t->n * l->step_bytes, .stride = l->panel_bytes};
        t->next.at = (uintptr_t)t->w + t->next.size;
        if (t->ends && last < a->panel_end)
            t->next.at = (uintptr_t)a->packed + last * l->panel_bytes;
        t->next.end = t->next.at + t->next.size;
        t->next_row = n_p * t->next.size / rows;
        if (l->widen) {
            for (size_t p = 0; p < n_p; p++)
                l->widen(t->w + p * l->panel_bytes, t->n, wide[p]);
            t->w = (const uint8_t *)wide;
            t->w_stride = sizeof *wide;
        }
        samba__tile_rows(&t->tile, t->block_row, end, n_p, SAMBA__FLOAT_ROWS, SAMBA__FLOAT_PARTS);
    }
}

/* Row blocks, panel groups, pieces. */
SAMBA__INLINE void samba__float_blocks(const samba__linear_args *a, const samba__float_loops *l)
{
    __m512 kept[SAMBA__FLOAT_BLOCK * SAMBA__FLOAT_PANELS];
    samba__float_piece t = {
        .tile = {.args = a, .w_stride = l->panel_bytes, .x_stride = l->row_bytes}, .kept = kept};
    for (size_t end; t.block_row < a->n_rows; t.block_row = end) {
        size_t left = a->n_rows - t.block_row;
        end = t.block_row + (left < SAMBA__FLOAT_BLOCK ? left : SAMBA__FLOAT_BLOCK);
        for (t.tile.panel = a->panel_begin; t.tile.panel < a->panel_end;) {
            size_t panels = a->panel_end - t.tile.panel, n_p = 1;
            t.tile.w = (const uint8_t *)a->packed + t.tile.panel * l->panel_bytes;
            if (panels >= SAMBA__FLOAT_PANELS) {
                n_p = SAMBA__FLOAT_PANELS;
                samba__float_group(&t, l, end, SAMBA__FLOAT_PANELS);
            } else if (panels >= 2) {
                n_p = 2;
                samba__float_group(&t, l, end, 2);
            } else {
                samba__float_group(&t, l, end, 1);
            }
            t.tile.panel += n_p;
        }
    }
}

/* All of k for every tile. */
SAMBA__INLINE void samba__float_streams(const samba__linear_args *a, const samba__float_loops *l,
                                        int way)
{
    samba__float_piece t = {
        .tile = {.args = a, .w_stride = l->panel_bytes, .x_stride = l->row_bytes}, .n = l->n_steps};
    samba__tile_grid(&t.tile,
                     (samba__tile_shape){SAMBA__FLOAT_STREAM_ROWS, SAMBA__FLOAT_STREAM_PANELS,
                                         SAMBA__FLOAT_STREAM_ROWS},
                     way);
}

#endif
