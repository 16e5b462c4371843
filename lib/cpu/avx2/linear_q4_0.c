/*
 * y = x W^T with Q4_0 weights. vpmaddubsw multiplies the nibbles q (0 .. 15) with int8 activations:
 * all 8 pair sums of a lane and block stay within 8 * 2 * 15 * 127 = 30,480, so they add up exactly
 * in int16 and one vpmaddwd per block makes int32 of them. -8 * sum(x), which a prepared row
 * brings, takes the offset of w = d * (q - 8) off again.
 *
 * Packed block of a panel: f16 scale [16], then [4 groups of k][16 rows][4] bytes of the file: the
 * low nibble of byte i in group g is k = 4g + i, the high one k = 16 + 4g + i. Unpacked: f32 scale
 * [16], then bytes [8 groups][16 rows][4].
 */
#include "base/bytes.h"
#include "base/half.h"
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/linear_nibbles.h"

enum {
    BLOCK = SAMBA__V8_BLOCK,
    FILE_BYTES = 18,
    PACKED = 32 + BLOCK / 2 * 16,
    UNPACKED = 64 + BLOCK * 16
};
_Static_assert(SAMBA__V8_PIECE / BLOCK * UNPACKED <= SAMBA__V8_UNPACKED, "unpacked piece");

static size_t panel_bytes(size_t cols)
{
    return (cols / BLOCK * PACKED + 63) & ~(size_t)63;
}

static void pack_block(const uint8_t *from, uint8_t *block, size_t lane)
{
    __builtin_memcpy(block + 2 * lane, from, 2);
    for (size_t g = 0; g < 4; g++)
        __builtin_memcpy(block + 32 + 64 * g + 4 * lane, from + 2 + 4 * g, 4);
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
        for (size_t i = 0; i < 16; i++) {
            uint8_t q = block[32 + i / 4 * 64 + 4 * lane + i % 4];
            to[k + i] = d * (float)((q & 15) - 8);
            to[k + i + 16] = d * (float)((q >> 4) - 8);
        }
    }
}

static void unpack(const uint8_t *w, size_t n, uint8_t *to)
{
    for (; n > 0; n--, w += PACKED, to += UNPACKED) {
        samba__v8_put_floats(to, samba__v8_halves(w));
        samba__v8_put_floats(to + 32, samba__v8_halves(w + 16));
        for (size_t i = 0; i < 8; i++) {
            __m256i two = samba__v8_load_int(w + 32 + 32 * i);
            samba__v8_store_int(to + 64 + 32 * i, samba__v8_nibbles(two, false));
            samba__v8_store_int(to + 64 + 256 + 32 * i, samba__v8_nibbles(two, true));
        }
    }
}

/* One block of one panel. */
SAMBA__V8_INLINE void block_run(bool packed, const uint8_t *w, samba__v8_rows rows, float *acc)
{
    samba__v8_shorts sum[2 * SAMBA__V8_ROWS];
    if (packed) {
        samba__v8_rows second = rows;
        second.x += BLOCK / 2;
        samba__v8_ask(w, PACKED);
        samba__v8_sum_side(SAMBA__V8_LOW, w + 32, 4, rows, sum);
        samba__v8_sum_side(SAMBA__V8_HIGH_TOO, w + 32, 4, second, sum);
    } else {
        samba__v8_sum_bytes(w + 64, rows, sum);
    }
    for (size_t i = 0; i < 2; i++) {
        __m256 d = packed ? samba__v8_halves(w + 16 * i) : samba__v8_floats(w + 32 * i);
        for (size_t r = 0; r < rows.n; r++) {
            const samba__v8_narrow *xb = samba__v8_row_of(rows, r);
            samba__v8_ints total = samba__v8_widen(sum[2 * r + i]) + xb->sum_8;
            samba__v8_step(acc + 16 * r + 8 * i, total, d, &xb->scale);
        }
    }
}

SAMBA__V8_INLINE void samba__v8_tile_run(bool packed, const samba__v8_tile *t, size_t n_r)
{
    const uint8_t *w = t->w;
    samba__v8_rows rows = samba__v8_narrow_rows(t, n_r);
    for (size_t b = 0; b < t->n_blocks; b++, rows = samba__v8_later(rows, 1)) {
        for (size_t p = 0; p < t->n_panels; p++)
            block_run(packed, w + p * t->w_stride, rows, t->acc + p * 16 * n_r);
        w += packed ? PACKED : UNPACKED;
    }
}

static void run(const samba__linear_args *args)
{
    static const samba__v8_format format = {BLOCK,  PACKED, samba__v8_narrow_bytes,
                                            unpack, few,    many};
    samba__v8_run_blocks(&format, args);
}

void samba__avx2_linear_q4_0(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        panel_bytes, pack, samba__v8_narrow_bytes, samba__v8_narrow_prepare, run, gather};
}
