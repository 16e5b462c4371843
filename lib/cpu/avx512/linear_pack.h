/*
 * Panels of plain elements: units of 4 bytes (one f32, or two neighbours of a row of 16-bit
 * elements) are transposed from 16 rows into [unit][16]. The source may have any alignment. Panels
 * that are not filled by 16 rows of one call take the plain way.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_PACK_H
#define SAMBA_CPU_AVX512_LINEAR_PACK_H

#include "cpu/kernels.h"

#include <immintrin.h>
#include <string.h>

/* What becomes of a line of 16 units before it is stored. */
typedef __m512i samba__pack_line_fn(__m512i line);

/* One step of the transposition: pairs of registers `distance` apart trade halves. */
static inline __attribute__((always_inline)) void samba__pack_dwords(__m512i v[16])
{
    __m512i t[16];
    for (size_t i = 0; i < 16; i += 2) { /* dwords of two rows */
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4) /* of four: v[i + j] holds columns j, 4 + j, 8 + j, 12 + j */
        for (size_t j = 0; j < 2; j++) {
            v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (size_t j = 0; j < 4; j++) { /* quarters: rows 0-3, 4-7, 8-11, 12-15 */
        t[j] = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);
    }
    for (size_t j = 0; j < 4; j++) {
        v[j] = _mm512_shuffle_i32x4(t[j], t[4 + j], 0x88);
        v[8 + j] = _mm512_shuffle_i32x4(t[j], t[4 + j], 0xdd);
        v[4 + j] = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0x88);
        v[12 + j] = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0xdd);
    }
}

/* 16 rows of `bytes` bytes into lines of 64 bytes; a last odd 16-bit element has a zero beside it.
 */
static inline __attribute__((always_inline)) void
samba__pack_panel(const uint8_t *from, size_t bytes, uint8_t *to, samba__pack_line_fn *line)
{
    for (size_t at = 0; at < bytes; at += 64) {
        size_t left = bytes - at, n = left < 64 ? (left + 3) / 4 : 16;
        __mmask32 m = left < 64 ? (__mmask32)((1ull << left / 2) - 1) : 0xffffffffu;
        __m512i v[16];
        for (size_t r = 0; r < 16; r++)
            v[r] = _mm512_maskz_loadu_epi16(m, from + r * bytes + at);
        samba__pack_dwords(v);
        for (size_t i = 0; i < 16; i++)
            if (i < n)
                _mm512_store_si512(to + 16 * at + 64 * i, line(v[i]));
    }
}

/* Where element k of row `row` lies in the whole matrix. */
typedef size_t samba__pack_place_fn(size_t cols, size_t row, size_t k);

static inline __attribute__((always_inline)) void samba__pack_rows(const samba__pack_args *a,
                                                                   size_t size,
                                                                   samba__pack_line_fn *line,
                                                                   samba__pack_place_fn *place)
{
    const uint8_t *src = a->src;
    uint8_t *to = a->packed;
    size_t bytes = a->cols * size, end = a->first_row + a->rows;
    for (size_t row = a->first_row; row < end; src += bytes, row++) {
        if (row % 16 == 0 && end - row >= 16) {
            samba__pack_panel(src, bytes, to + place(a->cols, row, 0), line);
            src += 15 * bytes;
            row += 15;
            continue;
        }
        for (size_t k = 0; k < a->cols; k++)
            memcpy(to + place(a->cols, row, k), src + k * size, size);
    }
}

#endif
