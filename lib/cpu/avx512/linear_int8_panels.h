/*
 * Packing and reading back panels of linear_int8.h, for the one format of the file that includes
 * this. That file includes linear_<format>.h before and defines
 *   pack_rows() 16 rows of the file, `stride` bytes apart, into a unit of n blocks,
 *   pack_lane() one row into one lane of a unit.
 */
#ifndef SAMBA_CPU_AVX512_LINEAR_INT8_PANELS_H
#define SAMBA_CPU_AVX512_LINEAR_INT8_PANELS_H

#include "cpu/avx512/linear_int8_format.h"

SAMBA__INLINE void pack_rows(const uint8_t *src, size_t stride, size_t n, uint8_t *unit);
SAMBA__INLINE void pack_lane(const uint8_t *src, size_t n, uint8_t *unit, size_t lane);

/* Dwords 0 .. 3 of 16 rows, `stride` bytes apart: to[i] is dword i of every row. */
SAMBA__INLINE void samba__int8_transpose(const uint8_t *src, size_t stride, __m512i to[4])
{
    __m512i v[4];
    for (size_t i = 0; i < 4; i++) { /* rows i, i + 4, i + 8, i + 12 */
        const uint8_t *row = src + i * stride;
        __m512i q = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)row));
        q = _mm512_inserti32x4(
            q, _mm_loadu_si128((const __m128i *)(const void *)(row + 4 * stride)), 1);
        q = _mm512_inserti32x4(
            q, _mm_loadu_si128((const __m128i *)(const void *)(row + 8 * stride)), 2);
        v[i] = _mm512_inserti32x4(
            q, _mm_loadu_si128((const __m128i *)(const void *)(row + 12 * stride)), 3);
    }
    __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpacklo_epi32(v[2], v[3]);
    __m512i c = _mm512_unpackhi_epi32(v[0], v[1]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    to[0] = _mm512_unpacklo_epi64(a, b);
    to[1] = _mm512_unpackhi_epi64(a, b);
    to[2] = _mm512_unpacklo_epi64(c, d);
    to[3] = _mm512_unpackhi_epi64(c, d);
}

/* n runs of 16 bytes of 16 rows, to dwords [4 n][16] */
SAMBA__INLINE void samba__int8_put_rows(const uint8_t *src, size_t stride, size_t n, uint8_t *to)
{
    for (size_t i = 0; i < n; i++, src += 16, to += 256) {
        __m512i t[4];
        samba__int8_transpose(src, stride, t);
        for (size_t k = 0; k < 4; k++)
            _mm512_store_si512(to + 64 * k, t[k]);
    }
}

/* The same of one row. */
SAMBA__INLINE void samba__int8_put_lane(const uint8_t *src, size_t n, uint8_t *to, size_t lane)
{
    for (size_t i = 0; i < 4 * n; i++)
        memcpy(to + 64 * i + 4 * lane, src + 4 * i, 4);
}

/* One f16 of 16 rows. */
SAMBA__INLINE void samba__int8_put_f16(const uint8_t *src, size_t stride, uint8_t *to)
{
    for (size_t lane = 0; lane < 16; lane++)
        memcpy(to + 2 * lane, src + lane * stride, 2);
}

static void samba__int8_pack(const samba__pack_args *a)
{
    const size_t n = a->cols / SAMBA__INT8_COLS;
    const size_t stride = n / samba__int8.file_blocks * samba__int8.file_bytes;
    const uint8_t *src = a->src;
    for (size_t r = 0, done; r < a->rows; r += done, src += done * stride) {
        size_t lane = (a->first_row + r) % 16, n_unit;
        const uint8_t *from = src;
        uint8_t *unit =
            (uint8_t *)a->packed + (a->first_row + r) / 16 * samba__int8_panel_bytes(a->cols);
        done = lane == 0 && a->rows - r >= 16 ? 16 : 1;
        for (size_t b = 0; b < n; b += n_unit, unit += samba__int8_unit_bytes(n_unit)) {
            n_unit = n - b < SAMBA__INT8_UNIT ? n - b : SAMBA__INT8_UNIT;
            if (done == 16)
                pack_rows(from, stride, n_unit, unit);
            else
                pack_lane(from, n_unit, unit, lane);
            from += n_unit / samba__int8.file_blocks * samba__int8.file_bytes;
        }
    }
}

/* Bytes of one lane of a block: 32 columns. */
static inline void samba__int8_gather_block(const uint8_t *period, size_t phase, size_t lane,
                                            uint8_t *to)
{
    _Alignas(64) uint8_t step[64];
    for (size_t g = 0; g < 8; g++) {
        _mm512_store_si512(step, samba__int8_weights(period, phase, g));
        memcpy(to + 4 * g, step + 4 * lane, 4);
    }
}

static void samba__int8_gather(const void *packed, size_t cols, size_t row, float *to)
{
    enum {
        STRIDE = SAMBA__INT8_VECTORS * 16
    };
    _Alignas(64) float scales[SAMBA__INT8_UNIT * STRIDE];
    const size_t n = cols / SAMBA__INT8_COLS, lane = row % 16, period = samba__int8.period;
    const uint8_t *unit = (const uint8_t *)packed + row / 16 * samba__int8_panel_bytes(cols);
    uint8_t q[SAMBA__INT8_COLS];
    for (size_t b = 0, n_unit; b < n; b += n_unit, unit += samba__int8_unit_bytes(n_unit)) {
        n_unit = n - b < SAMBA__INT8_UNIT ? n - b : SAMBA__INT8_UNIT;
        const uint8_t *quants = unit + samba__int8_head_bytes(n_unit);
        samba__int8_scales(unit, n_unit, scales, STRIDE);
        for (size_t i = 0; i < n_unit; i++, to += SAMBA__INT8_COLS) {
            const float *s = scales + i * STRIDE + lane;
            samba__int8_gather_block(quants + i / period * period * samba__int8.block_bytes,
                                     i % period, lane, q);
            for (size_t k = 0; k < SAMBA__INT8_COLS; k++) {
                float scale = samba__int8.kind == SAMBA__TWO_SCALES && k >= 16 ? s[32] : s[0];
                to[k] = scale * (float)((int)q[k] - samba__int8.offset);
                if (samba__int8.kind == SAMBA__SCALE_AND_MIN)
                    to[k] -= s[32];
            }
        }
    }
}

static size_t samba__int8_panel_size(size_t cols)
{
    return samba__int8_panel_bytes(cols);
}

#endif
