/*
 * The frame that the block formats share. Activations become int8 per block of 32 (scale = absmax /
 * 127, nearest even); a format brings its packed block, a way to unpack blocks into bytes that a
 * tile multiplies at once, and the tile itself. Sums of a block are exact integers, so it cannot be
 * seen whether a row went over packed or unpacked weights; then one fp32 step per block, in order.
 */
#ifndef SAMBA_CPU_AVX2_LINEAR_BLOCKS_H
#define SAMBA_CPU_AVX2_LINEAR_BLOCKS_H

#include "cpu/avx2/linear.h"

enum {
    SAMBA__V8_BLOCK = 32,         /* activations with one scale */
    SAMBA__V8_PIECE = 256,        /* weights along K that are unpacked at a time */
    SAMBA__V8_STREAMS = 4,        /* panels that few rows pass through side by side */
    SAMBA__V8_AHEAD = 4096,       /* bytes: how early a streamed panel is asked for */
    SAMBA__V8_UNPACKED = 9 * 1024 /* room for that, whatever the format */
};

/* Prepared rows. Wide: int16 q [cols], then f32 scale [blocks]. Narrow: int8 q [cols], then: */
typedef struct samba__v8_narrow {
    float scale, scaled_sum; /* scaled_sum = scale * sum of q */
    int32_t sum_8;           /* -8 * sum of q */
    int16_t sums_16[2];      /* -16 * sum of q, by halves of the block */
} samba__v8_narrow;

size_t samba__v8_wide_bytes(size_t cols);
void samba__v8_wide_prepare(const samba__prepare_args *args);
size_t samba__v8_narrow_bytes(size_t cols);
void samba__v8_narrow_prepare(const samba__prepare_args *args);

/* n_rows rows, from `block` (of 32 columns) on, against n_blocks blocks of 32 of some panels. */
typedef struct samba__v8_tile {
    const uint8_t *w; /* packed or unpacked weights of the first block and panel */
    size_t w_stride, n_panels;
    const uint8_t *x; /* first prepared row */
    size_t x_stride, cols, block, n_blocks;
    float *acc; /* [n_panels][n_rows][16] */
} samba__v8_tile;

typedef struct samba__v8_format {
    size_t cols, bytes; /* of a packed block, 16 rows */
    size_t (*row_bytes)(size_t cols);
    /* n packed blocks; `to` takes SAMBA__V8_UNPACKED bytes at most. */
    void (*unpack)(const uint8_t *w, size_t n, uint8_t *to);
    void (*few)(const samba__v8_tile *tile, size_t n_rows);  /* packed, 1 .. SAMBA__V8_FEW rows */
    void (*many)(const samba__v8_tile *tile, size_t n_rows); /* unpacked, 1 .. SAMBA__V8_ROWS */
} samba__v8_format;

void samba__v8_run_blocks(const samba__v8_format *format, const samba__linear_args *args);

/* Packing: blocks of a file's row go to their lane of a panel's blocks. */
typedef struct samba__v8_blocks {
    size_t cols, file_bytes, packed_bytes;
    void (*pack)(const uint8_t *from, uint8_t *block, size_t lane);
} samba__v8_blocks;

/* Blocks outside, the rows of a panel inside: the block being filled stays in the first cache. */
SAMBA__V8_INLINE void samba__v8_pack_blocks(const samba__pack_args *a, const samba__v8_blocks *f)
{
    size_t n_blocks = a->cols / f->cols;
    size_t panel_bytes = (n_blocks * f->packed_bytes + 63) & ~(size_t)63;
    for (size_t r = 0, n; r < a->rows; r += n) {
        size_t at = a->first_row + r, lane = at % 16;
        const uint8_t *src = (const uint8_t *)a->src + r * n_blocks * f->file_bytes;
        uint8_t *panel = (uint8_t *)a->packed + at / 16 * panel_bytes;
        n = a->rows - r < 16 - lane ? a->rows - r : 16 - lane;
        for (size_t b = 0; b < n_blocks; b++)
            for (size_t i = 0; i < n; i++)
                f->pack(src + (i * n_blocks + b) * f->file_bytes, panel + b * f->packed_bytes,
                        lane + i);
    }
}

/* ---- pieces of tiles ---- */

/* Sums have a type of elements: with __m256i, gcc moves every one to another register and back. */
typedef int32_t samba__v8_ints __attribute__((vector_size(32)));
typedef int16_t samba__v8_shorts __attribute__((vector_size(32)));

SAMBA__V8_INLINE __m256i samba__v8_load_int(const uint8_t *p)
{
    return _mm256_load_si256((const __m256i *)(const void *)p);
}

SAMBA__V8_INLINE void samba__v8_store_int(uint8_t *p, __m256i x)
{
    _mm256_store_si256((__m256i *)(void *)p, x);
}

/* The sum, computed here and not later: where gcc unrolls all steps of a block it would collect the
 * products of many before it adds them, for which there are no registers. */
SAMBA__V8_INLINE void samba__v8_pin(__m256i sum)
{
    __asm__ volatile("" : : "x"(sum));
}

/* Asks for the next `bytes` of a streamed panel, some way on. */
SAMBA__V8_INLINE void samba__v8_ask(const uint8_t *w, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)((uintptr_t)w + SAMBA__V8_AHEAD + i), _MM_HINT_T0);
}

/* Four bytes in every lane. */
SAMBA__V8_INLINE __m256i samba__v8_four(const void *p)
{
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}

/* Eight f16 scales. */
SAMBA__V8_INLINE __m256 samba__v8_halves(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p));
}

SAMBA__V8_INLINE __m256 samba__v8_floats(const uint8_t *p)
{
    return _mm256_load_ps((const float *)(const void *)p);
}

SAMBA__V8_INLINE void samba__v8_put_floats(uint8_t *p, __m256 x)
{
    _mm256_store_ps((float *)(void *)p, x);
}

/* acc[8] += sum * (w_scale * x_scale) */
SAMBA__V8_INLINE void samba__v8_step(float *acc, samba__v8_ints sum, __m256 w_scale,
                                     const float *x_scale)
{
    __m256 s = _mm256_mul_ps(w_scale, _mm256_broadcast_ss(x_scale));
    _mm256_store_ps(acc, _mm256_fmadd_ps(_mm256_cvtepi32_ps((__m256i)sum), s, _mm256_load_ps(acc)));
}

/* Pairs of int16 added up. */
SAMBA__V8_INLINE samba__v8_ints samba__v8_widen(samba__v8_shorts sum)
{
    return (samba__v8_ints)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1));
}

/* The rows of a tile at one block of K: quants and, somewhere behind them, scales and sums of the
 * first row; the others lie `stride` bytes apart. n is a constant wherever a tile is inlined. */
typedef struct samba__v8_rows {
    const uint8_t *x, *about;
    size_t stride, n;
} samba__v8_rows;

SAMBA__V8_INLINE samba__v8_rows samba__v8_narrow_rows(const samba__v8_tile *t, size_t n)
{
    const uint8_t *about = t->x + t->cols + t->block * sizeof(samba__v8_narrow);
    return (samba__v8_rows){t->x + t->block * SAMBA__V8_BLOCK, about, t->x_stride, n};
}

/* The same rows some blocks later. */
SAMBA__V8_INLINE samba__v8_rows samba__v8_later(samba__v8_rows rows, size_t blocks)
{
    rows.x += blocks * SAMBA__V8_BLOCK;
    rows.about += blocks * sizeof(samba__v8_narrow);
    return rows;
}

SAMBA__V8_INLINE const samba__v8_narrow *samba__v8_row_of(samba__v8_rows rows, size_t r)
{
    return (const samba__v8_narrow *)(const void *)(rows.about + r * rows.stride);
}

#endif
