/*
 * Q4_K in panels: per unit the file's blocks of 144 bytes as dwords of 16 outputs. The head has the
 * first four, [n / 8][4][16]: d and minimum's d (f16 both), and 12 bytes of 6-bit factors; then
 * come the quants [n / 8][4][8][16][4], where low halves of bytes are one block of 32 columns and
 * high halves the next.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_Q4_K_H
#define SAMBA_CPU_AVX512_LINEAR_Q4_K_H

#include "cpu/avx512/linear_int8.h"

static const samba__int8_format samba__int8 = {.file_blocks = 8,
                                               .file_bytes = 144,
                                               .head_bytes = 32,
                                               .block_bytes = SAMBA__INT8_QUANTS / 2,
                                               .period = 2,
                                               .kind = SAMBA__SCALE_AND_MIN,
                                               .start = SAMBA__OFFSET_0,
                                               .offset = 0,
                                               .max = 15};

SAMBA__INLINE __m512i samba__int8_weights(const uint8_t *period, size_t phase, size_t g)
{
    return samba__int8_nibbles(_mm512_load_si512(period + g * 64), phase == 1);
}

/* Four blocks: factors as bytes of scale and min. */
SAMBA__INLINE void samba__q4_k_put(__m512i scale, __m512 d, __m512i min, __m512 dmin, float *to,
                                   size_t stride)
{
    const __m512i byte = _mm512_set1_epi32(0xff);
    for (unsigned j = 0; j < 4; j++, to += stride) {
        __m512i s = _mm512_and_si512(_mm512_srli_epi32(scale, 8 * j), byte);
        __m512i m = _mm512_and_si512(_mm512_srli_epi32(min, 8 * j), byte);
        samba__int8_put_scale(to, _mm512_mul_ps(d, _mm512_cvtepi32_ps(s)));
        _mm512_store_ps(to + 32, _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(m)));
    }
}

SAMBA__INLINE void samba__int8_scales(const uint8_t *head, size_t n, float *to, size_t stride)
{
    const __m512i six = _mm512_set1_epi8(0x3f), four = _mm512_set1_epi8(0x0f);
    const __m512i two = _mm512_set1_epi8(0x30);
    for (; n; n -= 8, head += 256, to += 8 * stride) {
        __m512i ds = _mm512_load_si512(head), a = _mm512_load_si512(head + 64);
        __m512i b = _mm512_load_si512(head + 128), c = _mm512_load_si512(head + 192);
        __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(ds));
        __m512 dmin = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(ds, 16)));
        samba__q4_k_put(_mm512_and_si512(a, six), d, _mm512_and_si512(b, six), dmin, to, stride);
        /* Blocks 4 .. 7: four bits in c, two more on top of a and b. */
        __m512i s = _mm512_or_si512(_mm512_and_si512(c, four),
                                    _mm512_and_si512(_mm512_srli_epi32(a, 2), two));
        __m512i m = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(c, 4), four),
                                    _mm512_and_si512(_mm512_srli_epi32(b, 2), two));
        samba__q4_k_put(s, d, m, dmin, to + 4 * stride, stride);
    }
}

#endif
