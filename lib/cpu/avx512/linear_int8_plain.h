/*
 * The dot product of linear_int8_run.h without VNNI, by vpmaddubsw, which adds pairs of products to
 * 16 bits and saturates; what goes in never reaches that. Quants of x are at most 127 (128 where x
 * was not a number), so a pair of products stays within 2 * 128 * max: of weights up to 15, 8 pairs
 * (a whole block) fit a 16-bit sum; of weights up to 63, 2 do. Bytes up to 255 are taken as two
 * halves of 4 bits, in two passes. (Sums of 16 bits are added with saturation only because
 * compilers turn chains of plain adds into trees, which do not fit the registers.)
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_INT8_PLAIN_H
#define SAMBA_CPU_AVX512_LINEAR_INT8_PLAIN_H

#include "cpu/avx512/linear_int8_format.h"

enum {
    SAMBA__INT8_ROWS = 4, /* 4 x 2: 8 chains, 8 sums of 32 bits, 8 of 16 bits, operands */
    SAMBA__INT8_LEAST = 2 /* 5 are 3 + 2 */
};

/* Weights of a pass: all of them, or the low or high halves. */
SAMBA__INLINE __m512i samba__int8_part(__m512i w, size_t pass)
{
    return samba__int8.max <= 63 ? w : samba__int8_nibbles(w, pass == 1);
}

SAMBA__INLINE void samba__int8_dot(const samba__int8_operands *o, size_t begin, size_t end,
                                   size_t n_r, size_t n_p, __m512i *sum)
{
    const size_t start = (size_t)samba__int8.start + (begin ? 1 : 0);
    const size_t room = samba__int8.max == 63 ? 2 : 8, passes = samba__int8.max > 63 ? 2 : 1;
    __m512i some[16];
    for (size_t r = 0; r < n_r; r++)
        for (size_t p = 0; p < n_p; p++)
            sum[r * n_p + p] = _mm512_set1_epi32(samba__int8_row(o, r)->start[start]);
#pragma GCC unroll 2
    for (size_t pass = 0; pass < passes; pass++)
#pragma GCC unroll 8
        for (size_t g = begin; g < end; g++) {
            __m512i w[SAMBA__INT8_PANELS];
            for (size_t p = 0; p < n_p; p++)
                w[p] = samba__int8_part(samba__int8_load(o, p, g), pass);
            for (size_t r = 0; r < n_r; r++) {
                __m512i x = samba__int8_four(o, r, g);
                for (size_t p = 0; p < n_p; p++) {
                    size_t i = r * n_p + p;
                    __m512i pairs = _mm512_maddubs_epi16(w[p], x);
                    some[i] = g % room ? _mm512_adds_epi16(some[i], pairs) : pairs;
                    if (g % room == room - 1)
                        sum[i] = _mm512_add_epi32(
                            sum[i], _mm512_madd_epi16(some[i], _mm512_set1_epi16(pass ? 16 : 1)));
                }
            }
        }
}

#endif
