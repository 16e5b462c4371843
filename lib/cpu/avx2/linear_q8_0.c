/*
 * y = x W^T with Q8_0 weights. vpmaddubsw would saturate on full-range int8 (its pair sums reach 2
 * * 255 * 127), so weights and activations meet as int16: vpmaddwd adds pairs of products exactly
 * into int32. That is as few instructions per product as any exact mix of vpmaddubsw needs (sign
 * moved over, widened at once; or two nibble planes): two per 16 products, on three ports.
 *
 * Packed block of a panel: f16 scale [16], then int8 [16 pairs of k][16 rows][2]: the bytes of the
 * file, one stream. Unpacked: f32 scale [16], then the same quants as int16.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/linear_tiles.h"

enum {
    BLOCK = SAMBA__V8_BLOCK,
    FILE_BYTES = 34,
    PACKED = 32 + BLOCK * 16,
    UNPACKED = 64 + BLOCK * 16 * 2
};
_Static_assert(SAMBA__V8_PIECE / BLOCK * UNPACKED <= SAMBA__V8_UNPACKED, "unpacked piece");

static size_t panel_bytes(size_t cols)
{
    return (cols / BLOCK * PACKED + 63) & ~(size_t)63;
}

static void pack_block(const uint8_t *from, uint8_t *block, size_t lane)
{
    __builtin_memcpy(block + 2 * lane, from, 2);
    for (size_t i = 0; i < BLOCK; i += 2)
        __builtin_memcpy(block + 32 + 16 * i + 2 * lane, from + 2 + i, 2);
}

static void pack(const samba__pack_args *a)
{
    samba__v8_pack_blocks(a, &(samba__v8_blocks){BLOCK, FILE_BYTES, PACKED, pack_block});
}

static void gather(const void *packed, size_t cols, size_t row, float *to)
{
    const uint8_t *block = (const uint8_t *)packed + row / 16 * panel_bytes(cols);
    size_t lane = row % 16;
    for (size_t k = 0; k < cols; k += BLOCK, block += PACKED) {
        float d = samba__f16_to_f32(samba__load_u16(block + 2 * lane));
        for (size_t i = 0; i < BLOCK; i++)
            to[k + i] = d * (float)(int8_t)block[32 + i / 2 * 32 + 2 * lane + i % 2];
    }
}

SAMBA__V8_INLINE __m256i widen(const uint8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)p));
}

static void unpack(const uint8_t *w, size_t n, uint8_t *to)
{
    for (; n > 0; n--, w += PACKED, to += UNPACKED) {
        samba__v8_put_floats(to, samba__v8_halves(w));
        samba__v8_put_floats(to + 32, samba__v8_halves(w + 16));
        for (size_t i = 0; i < BLOCK; i++)
            samba__v8_store_int(to + 64 + 32 * i, widen(w + 32 + 16 * i));
    }
}

/* The weights of one pair of k for 8 of the 16 rows. */
SAMBA__V8_INLINE __m256i load_w(bool packed, const uint8_t *pair, size_t half)
{
    return packed ? widen(pair + 16 * half) : samba__v8_load_int(pair + 32 * half);
}

/* sum [rows][2] = or += the products of one pair of k. */
SAMBA__V8_INLINE void add_pair(bool packed, bool first, const uint8_t *w, samba__v8_rows rows,
                               samba__v8_ints *sum)
{
    __m256i w0 = load_w(packed, w, 0), w1 = load_w(packed, w, 1);
    for (size_t r = 0; r < rows.n; r++, sum += 2) {
        __m256i two = samba__v8_four(rows.x + r * rows.stride);
        samba__v8_ints p = (samba__v8_ints)_mm256_madd_epi16(two, w0);
        sum[0] = first ? p : sum[0] + p;
        if (rows.n <= SAMBA__V8_FEW) /* where the loop over pairs is unrolled */
            samba__v8_pin((__m256i)sum[0]);
        p = (samba__v8_ints)_mm256_madd_epi16(two, w1);
        sum[1] = first ? p : sum[1] + p;
        if (rows.n <= SAMBA__V8_FEW)
            samba__v8_pin((__m256i)sum[1]);
    }
}

/* One block of one panel. */
SAMBA__V8_INLINE void block_run(bool packed, const uint8_t *w, samba__v8_rows rows, float *acc)
{
    samba__v8_ints sum[2 * SAMBA__V8_ROWS];
    const uint8_t *pair = w + (packed ? 32 : 64);
    __m256 s0 = packed ? samba__v8_halves(w) : samba__v8_floats(w);
    __m256 s1 = packed ? samba__v8_halves(w + 16) : samba__v8_floats(w + 32);
    if (packed)
        samba__v8_ask(w, PACKED);
    add_pair(packed, true, pair, rows, sum);
    for (size_t i = 1; i < BLOCK / 2; i++) {
        pair += packed ? 32 : 64;
        rows.x += 4;
        add_pair(packed, false, pair, rows, sum);
    }
    for (size_t r = 0; r < rows.n; r++) {
        const float *x_scale = (const float *)(const void *)(rows.about + r * rows.stride);
        samba__v8_step(acc + 16 * r, sum[2 * r], s0, x_scale);
        samba__v8_step(acc + 16 * r + 8, sum[2 * r + 1], s1, x_scale);
    }
}

SAMBA__V8_INLINE void samba__v8_tile_run(bool packed, const samba__v8_tile *t, size_t n_r)
{
    const uint8_t *w = t->w;
    samba__v8_rows rows = {t->x + t->block * BLOCK * 2, t->x + t->cols * 2 + t->block * 4,
                           t->x_stride, n_r};
    for (size_t b = 0; b < t->n_blocks; b++, rows.x += BLOCK * 2, rows.about += sizeof(float)) {
        for (size_t p = 0; p < t->n_panels; p++)
            block_run(packed, w + p * t->w_stride, rows, t->acc + p * 16 * n_r);
        w += packed ? PACKED : UNPACKED;
    }
}

static void run(const samba__linear_args *args)
{
    static const samba__v8_format format = {BLOCK, PACKED, samba__v8_wide_bytes, unpack, few, many};
    samba__v8_run_blocks(&format, args);
}

void samba__avx2_linear_q8_0(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        panel_bytes, pack, samba__v8_wide_bytes, samba__v8_wide_prepare, run, gather};
}
