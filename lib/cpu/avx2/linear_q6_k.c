/*
 * y = x W^T with Q6_K weights: w = d * sc * (q - 32), q in 0 .. 63, one int8 sc per 16. vpmaddubsw
 * multiplies q with int8 activations; two pair sums stay within 2 * 2 * 63 * 127 = 32,004 and add
 * up exactly in int16, then vpmaddwd multiplies by sc and widens. Sums start with the offset, -32 *
 * (sc
 * * sum(x)), from what a prepared row brings. So the int32 sum of 32 columns is exact, and there
 * is one fp32 step for it.
 *
 * Packed block of a panel: q in [2 halves of 128][3 planes][8 groups of k][16 rows][4 bytes], then
 * int8 scales [8 sub-blocks of 32][16 rows][2], f16 d [16]. A half has four sub-blocks: plane i
 * holds the q of sub-block i in its low 6 bits, and above them bits 2i and 2i + 1 of sub-block 3.
 * Unpacked sub-block: q bytes [8 groups][16 rows][4], then per row the int16 pairs (sc0, sc0),
 * (sc1, sc1), (sc0, sc1), then f32 d.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/linear_nibbles.h"

enum {
    BLOCK = 256,
    SUB = SAMBA__V8_BLOCK,
    N_SUB = BLOCK / SUB,
    FILE_BYTES = 210,
    PLANE = SUB * 16,
    HALF = 3 * PLANE,
    SCALES = 2 * HALF, /* offsets in a packed block */
    DELTA = SCALES + 16 * 16,
    PACKED = DELTA + 32,
    PAIRS = SUB * 16, /* offsets in an unpacked sub-block */
    UNPACKED = PAIRS + 4 * 64
};
_Static_assert(SAMBA__V8_PIECE / SUB * UNPACKED <= SAMBA__V8_UNPACKED, "unpacked piece");

static size_t panel_bytes(size_t cols)
{
    return (cols / BLOCK * PACKED + 63) & ~(size_t)63;
}

static inline uint32_t load_4(const uint8_t *p)
{
    uint32_t v;
    __builtin_memcpy(&v, p, 4);
    return v;
}

static inline void store_4(uint8_t *p, uint32_t v)
{
    __builtin_memcpy(p, &v, 4);
}

/* Four columns of each sub-block of a half, four bytes at a time. */
static inline void pack_group(const uint8_t *ql, const uint8_t *qh, uint8_t *to)
{
    const uint32_t low4 = 0x0f0f0f0f, low2 = 0x03030303;
    uint32_t a = load_4(ql), b = load_4(ql + 32), h = load_4(qh);
    uint32_t q0 = (a & low4) | (h & low2) << 4;
    uint32_t q1 = (b & low4) | (h >> 2 & low2) << 4;
    uint32_t q2 = (a >> 4 & low4) | (h >> 4 & low2) << 4;
    uint32_t q3 = (b >> 4 & low4) | (h >> 6 & low2) << 4;
    store_4(to, q0 | (q3 & low2) << 6);
    store_4(to + PLANE, q1 | (q3 >> 2 & low2) << 6);
    store_4(to + 2 * PLANE, q2 | (q3 >> 4 & low2) << 6);
}

static void pack_block(const uint8_t *from, uint8_t *block, size_t lane)
{
    for (size_t half = 0; half < 2; half++)
        for (size_t g = 0; g < 8; g++)
            pack_group(from + 64 * half + 4 * g, from + 128 + 32 * half + 4 * g,
                       block + half * HALF + 64 * g + 4 * lane);
    for (size_t i = 0; i < 8; i++)
        __builtin_memcpy(block + SCALES + 32 * i + 2 * lane, from + 192 + 2 * i, 2);
    __builtin_memcpy(block + DELTA + 2 * lane, from + 208, 2);
}

static void pack(const samba__pack_args *a)
{
    samba__v8_pack_blocks(a, &(samba__v8_blocks){BLOCK, FILE_BYTES, PACKED, pack_block});
}

/* Column i of a packed block. */
static inline int quant_at(const uint8_t *block, size_t lane, size_t i)
{
    size_t sub = i / SUB % 4, at = i % SUB;
    const uint8_t *p = block + i / 128 * HALF + at / 4 * 64 + 4 * lane + at % 4;
    if (sub < 3)
        return p[sub * PLANE] & 63;
    return p[0] >> 6 | p[PLANE] >> 6 << 2 | p[2 * PLANE] >> 6 << 4;
}

static void gather(const void *packed, size_t cols, size_t row, float *to)
{
    const uint8_t *block = (const uint8_t *)packed + row / 16 * panel_bytes(cols);
    size_t lane = row % 16;
    for (size_t k = 0; k < cols; k += BLOCK, block += PACKED) {
        float d = samba__f16_to_f32(samba__load_u16(block + DELTA + 2 * lane));
        for (size_t i = 0; i < BLOCK; i++) {
            float scale = d * (float)(int8_t)block[SCALES + i / SUB * 32 + 2 * lane + i / 16 % 2];
            to[k + i] = scale * (float)(quant_at(block, lane, i) - 32);
        }
    }
}

/* Register i of the q of sub-block `sub` (0 .. 3) of the half at w. */
SAMBA__V8_INLINE __m256i quants(const uint8_t *w, size_t sub, size_t i)
{
    if (sub < 3)
        return _mm256_and_si256(samba__v8_load_int(w + sub * PLANE + 32 * i), _mm256_set1_epi8(63));
    __m256i a = _mm256_srli_epi16(samba__v8_load_int(w + 32 * i), 6);
    __m256i b = _mm256_srli_epi16(samba__v8_load_int(w + PLANE + 32 * i), 4);
    __m256i c = _mm256_srli_epi16(samba__v8_load_int(w + 2 * PLANE + 32 * i), 2);
    a = _mm256_and_si256(a, _mm256_set1_epi8(3));
    b = _mm256_and_si256(b, _mm256_set1_epi8(12));
    c = _mm256_and_si256(c, _mm256_set1_epi8(48));
    return _mm256_or_si256(a, _mm256_or_si256(b, c));
}

/* The scales of a sub-block for 8 rows as pairs of int16: the first and the second twice, both. */
typedef struct pairs {
    __m256i first, second, both;
} pairs;

SAMBA__V8_INLINE pairs pairs_of(const uint8_t *scales)
{
    const __m256i first = _mm256_set1_epi64x(0x0504050401000100);
    const __m256i step = _mm256_setr_epi64x(0, 0x0808080808080808, 0, 0x0808080808080808);
    const __m256i low = _mm256_add_epi8(first, step);
    const __m256i high = _mm256_add_epi8(low, _mm256_set1_epi8(2));
    pairs p;
    p.both = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)scales));
    p.first = _mm256_shuffle_epi8(p.both, low);
    p.second = _mm256_shuffle_epi8(p.both, high);
    return p;
}

/* `sub` of 0 .. 3 of one half. */
SAMBA__V8_INLINE void unpack_sub(const uint8_t *w, size_t half, size_t sub, uint8_t *to)
{
    for (size_t i = 0; i < 16; i++)
        samba__v8_store_int(to + 32 * i, quants(w + half * HALF, sub, i));
    for (size_t i = 0; i < 2; i++) {
        pairs p = pairs_of(w + SCALES + 128 * half + 32 * sub + 16 * i);
        uint8_t *at = to + PAIRS + 32 * i;
        samba__v8_store_int(at, p.first);
        samba__v8_store_int(at + 64, p.second);
        samba__v8_store_int(at + 128, p.both);
        samba__v8_put_floats(at + 192, samba__v8_halves(w + DELTA + 16 * i));
    }
}

static void unpack(const uint8_t *w, size_t n, uint8_t *to)
{
    for (; n > 0; n--, w += PACKED)
        for (size_t half = 0; half < 2; half++, to += 4 * UNPACKED) {
            unpack_sub(w, half, 0, to);
            unpack_sub(w, half, 1, to + UNPACKED);
            unpack_sub(w, half, 2, to + 2 * UNPACKED);
            unpack_sub(w, half, 3, to + 3 * UNPACKED);
        }
}

/* sum [rows] += sc * (two groups of four k). */
SAMBA__V8_INLINE void add_pair(__m256i w0, __m256i w1, __m256i sc, samba__v8_rows rows,
                               samba__v8_ints *sum)
{
    for (size_t r = 0; r < rows.n; r++) {
        const uint8_t *at = rows.x + r * rows.stride;
        samba__v8_shorts p = (samba__v8_shorts)_mm256_maddubs_epi16(w0, samba__v8_four(at));
        p += (samba__v8_shorts)_mm256_maddubs_epi16(w1, samba__v8_four(at + 4));
        sum[r] += (samba__v8_ints)_mm256_madd_epi16((__m256i)p, sc);
        samba__v8_pin((__m256i)sum[r]);
    }
}

/* sum [rows] starts with the offset. */
SAMBA__V8_INLINE void start(__m256i both, samba__v8_rows rows, samba__v8_ints *sum)
{
    for (size_t r = 0; r < rows.n; r++) {
        __m256i x_sums = samba__v8_four(samba__v8_row_of(rows, r)->sums_16);
        sum[r] = (samba__v8_ints)_mm256_madd_epi16(both, x_sums);
        sum[r] += sum[r];
    }
}

/* The fp32 step of a sub-block for 8 outputs. */
SAMBA__V8_INLINE void step(const samba__v8_ints *sum, __m256 d, samba__v8_rows rows, float *acc)
{
    for (size_t r = 0; r < rows.n; r++)
        samba__v8_step(acc + 16 * r, sum[r], d, &samba__v8_row_of(rows, r)->scale);
}

/* A packed block of one panel. */
typedef struct block {
    const uint8_t *w;
    __m256 d[2];
} block;

/* One sub-block of it; rows: at the first. */
SAMBA__V8_INLINE void packed_sub(const block *from, size_t half, size_t sub, samba__v8_rows rows,
                                 float *acc)
{
    size_t n = 4 * half + sub;
    const uint8_t *q = from->w + half * HALF;
    rows = samba__v8_later(rows, n);
    samba__v8_ask(from->w + n * (PACKED / N_SUB), PACKED / N_SUB);
    for (size_t i = 0; i < 2; i++) {
        samba__v8_ints sum[SAMBA__V8_FEW];
        samba__v8_rows at = rows;
        pairs p = pairs_of(from->w + SCALES + 32 * n + 16 * i);
        start(p.both, rows, sum);
        for (size_t g = 0; g < 8; g += 2, at.x += 8)
            add_pair(quants(q, sub, 2 * g + i), quants(q, sub, 2 * g + 2 + i),
                     g < 4 ? p.first : p.second, at, sum);
        step(sum, from->d[i], rows, acc + 8 * i);
    }
}

SAMBA__V8_INLINE void packed_block(const uint8_t *w, samba__v8_rows rows, float *acc)
{
    block from = {w, {samba__v8_halves(w + DELTA), samba__v8_halves(w + DELTA + 16)}};
    for (size_t half = 0; half < 2; half++) {
        packed_sub(&from, half, 0, rows, acc);
        packed_sub(&from, half, 1, rows, acc);
        packed_sub(&from, half, 2, rows, acc);
        packed_sub(&from, half, 3, rows, acc);
    }
}

/* An unpacked sub-block. */
SAMBA__V8_INLINE void unpacked_sub(const uint8_t *w, samba__v8_rows rows, float *acc)
{
    for (size_t i = 0; i < 2; i++) {
        samba__v8_ints sum[SAMBA__V8_ROWS];
        samba__v8_rows at = rows;
        const uint8_t *sc = w + PAIRS + 32 * i, *q = w + 32 * i;
        start(samba__v8_load_int(sc + 128), rows, sum);
        for (size_t g = 0; g < 8; g += 2, at.x += 8)
            add_pair(samba__v8_load_int(q + 64 * g), samba__v8_load_int(q + 64 * g + 64),
                     samba__v8_load_int(sc + (g < 4 ? 0 : 64)), at, sum);
        step(sum, samba__v8_floats(sc + 192), rows, acc + 8 * i);
    }
}

SAMBA__V8_INLINE void samba__v8_tile_run(bool packed, const samba__v8_tile *t, size_t n_r)
{
    const uint8_t *w = t->w;
    samba__v8_rows rows = samba__v8_narrow_rows(t, n_r);
    for (size_t b = 0; packed && b < t->n_blocks; b += N_SUB, w += PACKED) {
        for (size_t p = 0; p < t->n_panels; p++)
            packed_block(w + p * t->w_stride, rows, t->acc + p * 16 * n_r);
        rows = samba__v8_later(rows, N_SUB);
    }
    for (size_t b = 0; !packed && b < t->n_blocks; b++, w += UNPACKED) {
        unpacked_sub(w, rows, t->acc);
        rows = samba__v8_later(rows, 1);
    }
}

static void run(const samba__linear_args *args)
{
    static const samba__v8_format format = {BLOCK,  PACKED, samba__v8_narrow_bytes,
                                            unpack, few,    many};
    samba__v8_run_blocks(&format, args);
}

void samba__avx2_linear_q6_k(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        panel_bytes, pack, samba__v8_narrow_bytes, samba__v8_narrow_prepare, run, gather};
}
