/* Q8_0 in panels: per unit f16 scales [n][16], then bytes [n][8][16][4], 128 added to each. */
#ifndef SAMBA_CPU_AVX512_LINEAR_Q8_0_H
#define SAMBA_CPU_AVX512_LINEAR_Q8_0_H

#include "cpu/avx512/linear_int8.h"

static const samba__int8_format samba__int8 = {.file_blocks = 1,
                                               .file_bytes = 34,
                                               .head_bytes = 32,
                                               .block_bytes = SAMBA__INT8_QUANTS,
                                               .period = 1,
                                               .kind = SAMBA__ONE_SCALE,
                                               .start = SAMBA__OFFSET_128,
                                               .offset = 128,
                                               .max = 255};

SAMBA__INLINE __m512i samba__int8_weights(const uint8_t *period, size_t phase, size_t g)
{
    (void)phase;
    return _mm512_load_si512(period + g * 64);
}

SAMBA__INLINE void samba__int8_scales(const uint8_t *head, size_t n, float *to, size_t stride)
{
    samba__int8_f16_scales(head, n, to, stride);
}

#endif
