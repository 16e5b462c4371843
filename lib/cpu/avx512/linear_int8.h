/*
 * y = x W^T for weights in blocks of small integers, by integer dot products: what all formats and
 * both tiers share. The product itself is linear_int8_run.h's.
 *
 * Rows are quantised per 32 columns to int8 (samba__int8_block). Weights are unsigned bytes; what a
 * format is off by (128, 8, 32) is put right by the value that a block's sum starts with, made once
 * per block of x. That start also holds MAGIC, the bits of 1.5 * 2^23: the finished int32, read as
 * a float, is exactly 1.5 * 2^23 + sum, and fma(that, w_scale, -1.5 * 2^23 * w_scale) is sum *
 * w_scale rounded once (that last product is exact: a scale has at most 18 bits). So a block takes
 * two fp32 steps and no conversion: acc = fma(sum * w_scale, x_scale, acc), blocks in order.
 *
 * A panel is a row of units of up to 16 blocks of 32 columns: all scales of the unit (the head),
 * then its quants; one stream for 16 outputs. Products walk unit by unit: scales are expanded to
 * fp32, quants to bytes where many rows will use them; chains are parked between units, which does
 * not change them.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_INT8_H
#define SAMBA_CPU_AVX512_LINEAR_INT8_H

#include "cpu/avx512/avx512.h"

#include <immintrin.h>
#include <string.h>

enum {
    SAMBA__INT8_COLS = 32,    /* of a block */
    SAMBA__INT8_UNIT = 16,    /* blocks of a unit; the last one of a panel may have fewer */
    SAMBA__INT8_QUANTS = 512, /* bytes of a block of 16 outputs, expanded: [8][16][4] */
    SAMBA__INT8_PANELS = 2,   /* of a tile */
    SAMBA__INT8_VECTORS = 4,  /* of scales per block and panel, at most */
    SAMBA__INT8_MAGIC = 0x4b400000
};
#define SAMBA__INT8_MAGIC_F 0x1.8p23f

/* 32 columns of a prepared row. */
typedef struct samba__int8_block {
    int8_t q[SAMBA__INT8_COLS];
    float scale;
    float scaled_sum; /* scale * sum of q */
    int32_t start[6]; /* by samba__int8_start */
} samba__int8_block;

/* What a sum starts with: MAGIC - offset * sum of q; OFFSET_32 is two, of columns 0 .. 15 and of
 * 16 .. 31. */
typedef enum samba__int8_start {
    SAMBA__OFFSET_128,
    SAMBA__OFFSET_8,
    SAMBA__OFFSET_32,
    SAMBA__OFFSET_32_HIGH,
    SAMBA__OFFSET_0
} samba__int8_start;

/* The scales of a block: one; one and a minimum; one for each half. */
typedef enum samba__int8_kind {
    SAMBA__ONE_SCALE,
    SAMBA__SCALE_AND_MIN,
    SAMBA__TWO_SCALES
} samba__int8_kind;

/* The constants of a format; sizes in bytes. */
typedef struct samba__int8_format {
    size_t file_blocks, file_bytes; /* a block of the file: how many of ours, and its size */
    size_t head_bytes;              /* per block, of 16 outputs */
    size_t block_bytes;             /* of quants */
    size_t period;                  /* blocks that share bytes */
    samba__int8_kind kind;
    samba__int8_start start;
    int offset, max; /* what a weight's byte is too large by; the largest byte */
} samba__int8_format;

/* What a dot product needs: panels from w, rows from x. */
typedef struct samba__int8_operands {
    bool packed; /* w is in the format's own layout; else bytes */
    const uint8_t *w, *x;
    size_t w_stride, x_stride, phase;
} samba__int8_operands;

SAMBA__INLINE const samba__int8_block *samba__int8_row(const samba__int8_operands *o, size_t r)
{
    return (const samba__int8_block *)(const void *)(o->x + r * o->x_stride);
}

/* Columns 4g .. 4g + 3 of row r, 16 times. */
SAMBA__INLINE __m512i samba__int8_four(const samba__int8_operands *o, size_t r, size_t g)
{
    int32_t four;
    memcpy(&four, samba__int8_row(o, r)->q + 4 * g, sizeof four);
    return _mm512_set1_epi32(four);
}

/* Low or high halves of bytes. */
SAMBA__INLINE __m512i samba__int8_nibbles(__m512i v, bool high)
{
    return _mm512_and_si512(high ? _mm512_srli_epi16(v, 4) : v, _mm512_set1_epi8(15));
}

SAMBA__INLINE void samba__int8_put_scale(float *to, __m512 scale)
{
    _mm512_store_ps(to, scale);
    _mm512_store_ps(to + 16, _mm512_mul_ps(scale, _mm512_set1_ps(-SAMBA__INT8_MAGIC_F)));
}

/* w_scale and -1.5 * 2^23 * w_scale of n blocks from f16 [n][16], `stride` floats apart. */
SAMBA__INLINE void samba__int8_f16_scales(const uint8_t *head, size_t n, float *to, size_t stride)
{
    for (size_t b = 0; b < n; b++, to += stride)
        samba__int8_put_scale(
            to, _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)head + b)));
}

/* linear_int8.c */
size_t samba__avx512_int8_row_bytes(size_t cols);
void samba__avx512_int8_prepare_rows(const samba__prepare_args *args);

#endif
