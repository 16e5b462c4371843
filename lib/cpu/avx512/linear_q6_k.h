/*
 * Q6_K in panels: per unit the int8 factors of the groups of 16 columns as [n / 8][4][16][4] and d
 * (f16) as [n / 8][16]; then for every half of a file's block (4 blocks of 32 columns) low bits
 * [16][16][4] and high bits [8][16][4].
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_Q6_K_H
#define SAMBA_CPU_AVX512_LINEAR_Q6_K_H

#include "cpu/avx512/linear_int8.h"

enum {
    SAMBA__Q6_K_FACTORS = 256, /* bytes per block of the file */
    SAMBA__Q6_K_LOW = 1024
};

static const samba__int8_format samba__int8 = {.file_blocks = 8,
                                               .file_bytes = 210,
                                               .head_bytes = 36,
                                               .block_bytes = SAMBA__INT8_QUANTS * 3 / 4,
                                               .period = 4,
                                               .kind = SAMBA__TWO_SCALES,
                                               .start = SAMBA__OFFSET_32,
                                               .offset = 32,
                                               .max = 63};

/* Block `phase` of a half: bits 0 .. 3 from low or high halves of bytes, 4 and 5 from pair `phase`
 * of the high bits. */
SAMBA__INLINE __m512i samba__int8_weights(const uint8_t *period, size_t phase, size_t g)
{
    __m512i low = _mm512_load_si512(period + (phase % 2 * 8 + g) * 64);
    __m512i high = _mm512_load_si512(period + SAMBA__Q6_K_LOW + g * 64);
    if (phase == 0)
        high = _mm512_slli_epi16(high, 4);
    else if (phase == 1)
        high = _mm512_slli_epi16(high, 2);
    else if (phase == 3)
        high = _mm512_srli_epi16(high, 2);
    /* a | (b & c) */
    return _mm512_ternarylogic_epi32(samba__int8_nibbles(low, phase >= 2), high,
                                     _mm512_set1_epi8(0x30), 0xf8);
}

SAMBA__INLINE void samba__int8_scales(const uint8_t *head, size_t n, float *to, size_t stride)
{
    const uint8_t *d16 = head + n / 8 * SAMBA__Q6_K_FACTORS;
    for (; n; n -= 8, d16 += 32) {
        __m512 d = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)d16));
        for (size_t i = 0; i < 4; i++, head += 64, to += 2 * stride)
            for (unsigned j = 0; j < 4; j++) {
                __m512i s = _mm512_slli_epi32(_mm512_load_si512(head), 24 - 8 * j);
                s = _mm512_srai_epi32(s, 24);
                samba__int8_put_scale(to + j / 2 * stride + j % 2 * 32,
                                      _mm512_mul_ps(d, _mm512_cvtepi32_ps(s)));
            }
    }
}

#endif
