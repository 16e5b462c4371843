/*
 * y = x W^T with Q4_K weights: w = d * sc * q - dmin * m in sub-blocks of 32. Sums of q * x are
 * those of Q4_0 (linear_nibbles.h). Per sub-block acc = fma(sum, (d * sc) * x_scale, acc), and then
 * the minima meet the sum of the activations: acc = fma(-(dmin * m), x_scale * sum(x), acc).
 *
 * Packed block of a panel: f16 d [16], f16 dmin [16], the file's scale bytes [12][16], then [4
 * pairs of sub-blocks][8 groups of k][16 rows][4] bytes of the file, low nibbles for the first of a
 * pair. Unpacked sub-block: f32 d * sc [16], f32 dmin * m [16], bytes [8 groups][16 rows][4].
 */
#include "base/bytes.h"
#include "base/half.h"
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/linear_nibbles.h"

enum {
    BLOCK = 256,
    SUB = SAMBA__V8_BLOCK,
    N_SUB = BLOCK / SUB,
    FILE_BYTES = 144,
    SCALES = 64, /* offsets in a packed block */
    QUANTS = SCALES + 12 * 16,
    PACKED = QUANTS + BLOCK / 2 * 16,
    UNPACKED = 128 + SUB * 16 /* of a sub-block */
};
_Static_assert(SAMBA__V8_PIECE / SUB * UNPACKED <= SAMBA__V8_UNPACKED, "unpacked piece");

/* Scales and minima of the sub-blocks of a block and panel. */
typedef struct factors {
    float scale[N_SUB][16], min[N_SUB][16];
} factors;

static size_t panel_bytes(size_t cols)
{
    return cols / BLOCK * PACKED;
}

static void pack_block(const uint8_t *from, uint8_t *block, size_t lane)
{
    __builtin_memcpy(block + 2 * lane, from, 2);
    __builtin_memcpy(block + 32 + 2 * lane, from + 2, 2);
    for (size_t i = 0; i < 12; i++)
        block[SCALES + 16 * i + lane] = from[4 + i];
    for (size_t g = 0; g < 32; g++)
        __builtin_memcpy(block + QUANTS + 64 * g + 4 * lane, from + 16 + 4 * g, 4);
}

static void pack(const samba__pack_args *a)
{
    samba__v8_pack_blocks(a, &(samba__v8_blocks){BLOCK, FILE_BYTES, PACKED, pack_block});
}

/* Six-bit scales and minima of 16 rows for sub-blocks j and j + 4, j < 4. */
static inline void six_bits(const uint8_t *scales, size_t j, __m128i sc[2], __m128i m[2])
{
    const __m128i *s = (const __m128i *)(const void *)scales;
    const __m128i low6 = _mm_set1_epi8(63), low4 = _mm_set1_epi8(15);
    const __m128i top = _mm_set1_epi8((char)0xc0);
    __m128i a = _mm_load_si128(s + j), b = _mm_load_si128(s + j + 4);
    __m128i c = _mm_load_si128(s + j + 8);
    sc[0] = _mm_and_si128(a, low6);
    m[0] = _mm_and_si128(b, low6);
    sc[1] = _mm_or_si128(_mm_and_si128(c, low4), _mm_srli_epi16(_mm_and_si128(a, top), 2));
    m[1] = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(c, 4), low4),
                        _mm_srli_epi16(_mm_and_si128(b, top), 2));
}

/* to[16] = d * bytes */
static inline void scaled(const uint8_t *d, __m128i bytes, float *to)
{
    __m256i q0 = _mm256_cvtepu8_epi32(bytes);
    __m256i q1 = _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8));
    _mm256_store_ps(to, _mm256_mul_ps(samba__v8_halves(d), _mm256_cvtepi32_ps(q0)));
    _mm256_store_ps(to + 8, _mm256_mul_ps(samba__v8_halves(d + 16), _mm256_cvtepi32_ps(q1)));
}

static inline void factors_of(const uint8_t *w, factors *f)
{
    for (size_t j = 0; j < 4; j++) {
        __m128i sc[2], m[2];
        six_bits(w + SCALES, j, sc, m);
        for (size_t i = 0; i < 2; i++) {
            scaled(w, sc[i], f->scale[j + 4 * i]);
            scaled(w + 32, m[i], f->min[j + 4 * i]);
        }
    }
}

static void gather(const void *packed, size_t cols, size_t row, float *to)
{
    const uint8_t *block = (const uint8_t *)packed + row / 16 * panel_bytes(cols);
    size_t lane = row % 16;
    for (size_t k = 0; k < cols; k += BLOCK, block += PACKED) {
        factors f __attribute__((aligned(32)));
        factors_of(block, &f);
        for (size_t i = 0; i < BLOCK; i++) {
            size_t sub = i / SUB, at = i % SUB;
            uint8_t q = block[QUANTS + sub / 2 * 512 + at / 4 * 64 + 4 * lane + at % 4];
            q = sub % 2 ? q >> 4 : q & 15;
            to[k + i] = f.scale[sub][lane] * (float)q - f.min[sub][lane];
        }
    }
}

static void unpack(const uint8_t *w, size_t n, uint8_t *to)
{
    for (; n > 0; n--, w += PACKED) {
        factors f __attribute__((aligned(32)));
        factors_of(w, &f);
        for (size_t sub = 0; sub < N_SUB; sub++, to += UNPACKED) {
            const uint8_t *from = w + QUANTS + sub / 2 * 512;
            __builtin_memcpy(to, f.scale[sub], sizeof f.scale[sub]);
            __builtin_memcpy(to + 64, f.min[sub], sizeof f.min[sub]);
            for (size_t i = 0; i < 512; i += 32)
                samba__v8_store_int(to + 128 + i,
                                    samba__v8_nibbles(samba__v8_load_int(from + i), sub % 2));
        }
    }
}

/* The fp32 steps of a sub-block: scale [16], min [16]. */
SAMBA__V8_INLINE void sub_steps(const samba__v8_shorts *sum, const float *scale, const float *min,
                                samba__v8_rows rows, float *acc)
{
    for (size_t i = 0; i < 2; i++) {
        __m256 sc = _mm256_load_ps(scale + 8 * i), m = _mm256_load_ps(min + 8 * i);
        for (size_t r = 0; r < rows.n; r++) {
            const samba__v8_narrow *xb = samba__v8_row_of(rows, r);
            __m256 x_sum = _mm256_broadcast_ss(&xb->scaled_sum);
            float *to = acc + 16 * r + 8 * i;
            samba__v8_step(to, samba__v8_widen(sum[2 * r + i]), sc, &xb->scale);
            _mm256_store_ps(to, _mm256_fnmadd_ps(m, x_sum, _mm256_load_ps(to)));
        }
    }
}

/* Two sub-blocks of a packed block and panel, from `sub` on; rows: at the first of the block. */
SAMBA__V8_INLINE void pair_run(const uint8_t *w, const factors *f, size_t sub, samba__v8_rows rows,
                               float *acc)
{
    samba__v8_shorts sum[2 * SAMBA__V8_FEW];
    samba__v8_rows first = samba__v8_later(rows, sub), second = samba__v8_later(rows, sub + 1);
    w += QUANTS + sub / 2 * 512;
    samba__v8_ask(w, PACKED / 4);
    samba__v8_sum_side(SAMBA__V8_LOW, w, 8, first, sum);
    sub_steps(sum, f->scale[sub], f->min[sub], first, acc);
    samba__v8_sum_side(SAMBA__V8_HIGH, w, 8, second, sum);
    sub_steps(sum, f->scale[sub + 1], f->min[sub + 1], second, acc);
}

/* All panels take a step together, so that all their streams keep flowing. */
SAMBA__V8_INLINE void packed_run(const samba__v8_tile *t, size_t n_r)
{
    const uint8_t *w = t->w;
    samba__v8_rows rows = samba__v8_narrow_rows(t, n_r);
    factors f[SAMBA__V8_STREAMS] __attribute__((aligned(32)));
    for (size_t b = 0; b < t->n_blocks; b += N_SUB, w += PACKED) {
        for (size_t p = 0; p < t->n_panels; p++)
            factors_of(w + p * t->w_stride, f + p);
        for (size_t sub = 0; sub < N_SUB; sub += 2)
            for (size_t p = 0; p < t->n_panels; p++)
                pair_run(w + p * t->w_stride, f + p, sub, rows, t->acc + p * 16 * n_r);
        rows = samba__v8_later(rows, N_SUB);
    }
}

SAMBA__V8_INLINE void unpacked_run(const samba__v8_tile *t, size_t n_r)
{
    const uint8_t *w = t->w;
    samba__v8_rows rows = samba__v8_narrow_rows(t, n_r);
    for (size_t b = 0; b < t->n_blocks; b++, w += UNPACKED, rows = samba__v8_later(rows, 1)) {
        samba__v8_shorts sum[2 * SAMBA__V8_ROWS];
        const float *scale = (const float *)(const void *)w;
        samba__v8_sum_bytes(w + 128, rows, sum);
        sub_steps(sum, scale, scale + 16, rows, t->acc);
    }
}

SAMBA__V8_INLINE void samba__v8_tile_run(bool packed, const samba__v8_tile *t, size_t n_r)
{
    if (packed)
        packed_run(t, n_r);
    else
        unpacked_run(t, n_r);
}

static void run(const samba__linear_args *args)
{
    static const samba__v8_format format = {BLOCK,  PACKED, samba__v8_narrow_bytes,
                                            unpack, few,    many};
    samba__v8_run_blocks(&format, args);
}

void samba__avx2_linear_q4_k(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){
        panel_bytes, pack, samba__v8_narrow_bytes, samba__v8_narrow_prepare, run, gather};
}
