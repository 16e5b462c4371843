/* Pieces of tiles of unsigned weights below 16 against int8 activations: vpmaddubsw, whose pair
 * sums add up in int16 over a whole block. */
#ifndef SAMBA_CPU_AVX2_LINEAR_NIBBLES_H
#define SAMBA_CPU_AVX2_LINEAR_NIBBLES_H

#include "cpu/avx2/linear_blocks.h"

SAMBA__V8_INLINE __m256i samba__v8_nibbles(__m256i two, bool high)
{
    if (high)
        two = _mm256_srli_epi16(two, 4);
    return _mm256_and_si256(two, _mm256_set1_epi8(15));
}

/* sum [n_r][2] = or += the products of one group of four k, at x. */
SAMBA__V8_INLINE void samba__v8_sum_group(bool first, __m256i w0, __m256i w1, const uint8_t *x,
                                          size_t x_stride, size_t n_r, samba__v8_shorts *sum)
{
    for (size_t r = 0; r < n_r; r++) {
        __m256i four = samba__v8_four(x + r * x_stride);
        samba__v8_shorts p = (samba__v8_shorts)_mm256_maddubs_epi16(w0, four);
        sum[2 * r] = first ? p : sum[2 * r] + p;
        samba__v8_pin(n_r < SAMBA__V8_ROWS, (__m256i)sum[2 * r]);
        p = (samba__v8_shorts)_mm256_maddubs_epi16(w1, four);
        sum[2 * r + 1] = first ? p : sum[2 * r + 1] + p;
        samba__v8_pin(n_r < SAMBA__V8_ROWS, (__m256i)sum[2 * r + 1]);
    }
}

/* A block of unpacked bytes [8 groups][16 rows][4]. */
SAMBA__V8_INLINE void samba__v8_sum_bytes(const uint8_t *w, const uint8_t *x, size_t x_stride,
                                          size_t n_r, samba__v8_shorts *sum)
{
    samba__v8_sum_group(true, samba__v8_load_int(w), samba__v8_load_int(w + 32), x, x_stride, n_r,
                        sum);
    for (size_t g = 1; g < 8; g++)
        samba__v8_sum_group(false, samba__v8_load_int(w + 64 * g),
                            samba__v8_load_int(w + 64 * g + 32), x + 4 * g, x_stride, n_r, sum);
}

/* The low or high nibbles of n groups of packed bytes [n][16 rows][4], from k at x on. */
SAMBA__V8_INLINE void samba__v8_sum_half(bool first, bool high, const uint8_t *w, size_t n,
                                         const uint8_t *x, size_t x_stride, size_t n_r,
                                         samba__v8_shorts *sum)
{
    for (size_t g = 0; g < n; g++)
        samba__v8_sum_group(first && g == 0,
                            samba__v8_nibbles(samba__v8_load_int(w + 64 * g), high),
                            samba__v8_nibbles(samba__v8_load_int(w + 64 * g + 32), high), x + 4 * g,
                            x_stride, n_r, sum);
}

/* Both, the high nibbles at the k that follow. */
SAMBA__V8_INLINE void samba__v8_sum_packed(const uint8_t *w, size_t n, const uint8_t *x,
                                           size_t x_stride, size_t n_r, samba__v8_shorts *sum)
{
    samba__v8_sum_half(true, false, w, n, x, x_stride, n_r, sum);
    samba__v8_sum_half(false, true, w, n, x + 4 * n, x_stride, n_r, sum);
}

#endif
