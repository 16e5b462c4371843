/* Pieces of tiles of unsigned weights below 16 against int8 activations: vpmaddubsw, whose pair
 * sums add up in int16 over a whole block. */
#ifndef SAMBA_CPU_AVX2_LINEAR_NIBBLES_H
#define SAMBA_CPU_AVX2_LINEAR_NIBBLES_H

#include "cpu/avx2/linear_tiles.h"

SAMBA__V8_INLINE __m256i samba__v8_nibbles(__m256i two, bool high)
{
    if (high)
        two = _mm256_srli_epi16(two, 4);
    return _mm256_and_si256(two, _mm256_set1_epi8(15));
}

/* sum [rows][2] = or += the products of one group of four k. */
SAMBA__V8_INLINE void samba__v8_sum_group(bool first, __m256i w0, __m256i w1, samba__v8_rows rows,
                                          samba__v8_shorts *sum)
{
    for (size_t r = 0; r < rows.n; r++, sum += 2) {
        __m256i four = samba__v8_four(rows.x + r * rows.stride);
        samba__v8_shorts p = (samba__v8_shorts)_mm256_maddubs_epi16(w0, four);
        sum[0] = first ? p : sum[0] + p;
        samba__v8_pin((__m256i)sum[0]);
        p = (samba__v8_shorts)_mm256_maddubs_epi16(w1, four);
        sum[1] = first ? p : sum[1] + p;
        samba__v8_pin((__m256i)sum[1]);
    }
}

/* A block of unpacked bytes [8 groups][16 rows][4]. */
SAMBA__V8_INLINE void samba__v8_sum_bytes(const uint8_t *w, samba__v8_rows rows,
                                          samba__v8_shorts *sum)
{
    samba__v8_sum_group(true, samba__v8_load_int(w), samba__v8_load_int(w + 32), rows, sum);
    for (size_t g = 1; g < 8; g++) {
        rows.x += 4;
        samba__v8_sum_group(false, samba__v8_load_int(w + 64 * g),
                            samba__v8_load_int(w + 64 * g + 32), rows, sum);
    }
}

/* Which nibbles of packed bytes: all that a sum has, or high ones that are added. */
typedef enum samba__v8_side {
    SAMBA__V8_LOW,
    SAMBA__V8_HIGH,
    SAMBA__V8_HIGH_TOO
} samba__v8_side;

/* One side of n groups of packed bytes [n][16 rows][4]. */
SAMBA__V8_INLINE void samba__v8_sum_side(samba__v8_side side, const uint8_t *w, size_t n,
                                         samba__v8_rows rows, samba__v8_shorts *sum)
{
    bool high = side != SAMBA__V8_LOW, fresh = side != SAMBA__V8_HIGH_TOO;
    for (size_t g = 0; g < n; g++, rows.x += 4)
        samba__v8_sum_group(
            fresh && g == 0, samba__v8_nibbles(samba__v8_load_int(w + 64 * g), high),
            samba__v8_nibbles(samba__v8_load_int(w + 64 * g + 32), high), rows, sum);
}

#endif
