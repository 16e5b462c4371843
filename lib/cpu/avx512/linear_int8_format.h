/*
 * Sizes and loads of the one format that the including file has: its linear_<format>.h is included
 * before and defines samba__int8 and samba__int8_weights().
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_INT8_FORMAT_H
#define SAMBA_CPU_AVX512_LINEAR_INT8_FORMAT_H

#include "cpu/avx512/linear_int8.h"

static inline size_t samba__int8_head_bytes(size_t n_blocks)
{
    return (samba__int8.head_bytes * n_blocks + 63) & ~(size_t)63;
}

static inline size_t samba__int8_unit_bytes(size_t n_blocks)
{
    return samba__int8_head_bytes(n_blocks) + samba__int8.block_bytes * n_blocks;
}

static inline size_t samba__int8_panel_bytes(size_t cols)
{
    size_t n = cols / SAMBA__INT8_COLS;
    return n / SAMBA__INT8_UNIT * samba__int8_unit_bytes(SAMBA__INT8_UNIT) +
           samba__int8_unit_bytes(n % SAMBA__INT8_UNIT);
}

/* Columns 4g .. 4g + 3 of panel p as bytes [16][4]. */
SAMBA__INLINE __m512i samba__int8_load(const samba__int8_operands *o, size_t p, size_t g)
{
    const uint8_t *w = o->w + p * o->w_stride;
    return o->packed ? samba__int8_weights(w, o->phase, g) : _mm512_load_si512(w + g * 64);
}

#endif
