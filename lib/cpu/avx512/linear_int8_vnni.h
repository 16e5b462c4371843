/* The dot product of linear_int8_run.h by vpdpbusd, which wraps: any start works out exactly. */
#ifndef SAMBA_CPU_AVX512_LINEAR_INT8_VNNI_H
#define SAMBA_CPU_AVX512_LINEAR_INT8_VNNI_H

#include "cpu/avx512/linear_int8_format.h"

enum {
    SAMBA__INT8_ROWS = 6, /* 6 x 2: 12 sums, 12 chains, and 8 registers for operands */
    SAMBA__INT8_LEAST = 3 /* 7 are 4 + 3 */
};

SAMBA__INLINE void samba__int8_dot(const samba__int8_operands *o, size_t begin, size_t end,
                                   size_t n_r, size_t n_p, __m512i *sum)
{
    const size_t start = (size_t)samba__int8.start + (begin ? 1 : 0);
    for (size_t r = 0; r < n_r; r++)
        for (size_t p = 0; p < n_p; p++)
            sum[r * n_p + p] = _mm512_set1_epi32(samba__int8_row(o, r)->start[start]);
#pragma GCC unroll 8
    for (size_t g = begin; g < end; g++) {
        __m512i w[SAMBA__INT8_PANELS];
        for (size_t p = 0; p < n_p; p++)
            w[p] = samba__int8_load(o, p, g);
        for (size_t r = 0; r < n_r; r++) {
            __m512i x = samba__int8_four(o, r, g);
            for (size_t p = 0; p < n_p; p++)
                sum[r * n_p + p] = _mm512_dpbusd_epi32(sum[r * n_p + p], w[p], x);
        }
    }
}

#endif
