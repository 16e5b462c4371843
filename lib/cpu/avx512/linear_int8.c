/*
 * Rows for the integer dot products of linear_int8.h: per 32 columns scale = absmax / 127, quants
 * rounded to nearest even, and the sums that the products need. Four blocks go side by side; in a
 * shorter last group the missing ones are zeros that are not stored. A block's bits depend on its
 * own 32 inputs only.
 */
#include "cpu/avx512/linear_int8.h"
#include "cpu/avx512/avx512.h"

enum {
    GROUP = 4 /* blocks */
};

size_t samba__avx512_int8_row_bytes(size_t cols)
{
    return cols / SAMBA__INT8_COLS * sizeof(samba__int8_block);
}

/* Largest lanes of four vectors, as the four dwords of every quarter. */
static __m512 tops_of(const __m512 m[GROUP])
{
    __m512 ab = _mm512_max_ps(_mm512_unpacklo_ps(m[0], m[1]), _mm512_unpackhi_ps(m[0], m[1]));
    __m512 cd = _mm512_max_ps(_mm512_unpacklo_ps(m[2], m[3]), _mm512_unpackhi_ps(m[2], m[3]));
    __m512 low = _mm512_shuffle_ps(ab, cd, 0x44), high = _mm512_shuffle_ps(ab, cd, 0xee);
    __m512 v = _mm512_max_ps(low, high);
    v = _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    return _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0xb1));
}

/* Quants of two blocks, 32 bytes each. */
static __m512i quants_of(const __m512 x[4], __m512 inverse_0, __m512 inverse_1)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i a = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x[0], inverse_0)),
                                   _mm512_cvtps_epi32(_mm512_mul_ps(x[1], inverse_0)));
    __m512i b = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x[2], inverse_1)),
                                   _mm512_cvtps_epi32(_mm512_mul_ps(x[3], inverse_1)));
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(a, b));
}

/* The words behind the quants of two blocks, a half of the register each: scale, scaled_sum, start.
 * The sums of 16 quants each become a pair of int16 in every dword; one multiply-add makes all
 * words of it. */
static __m512i words_of(__m512i q, __m512 scale)
{
    const int32_t magic = SAMBA__INT8_MAGIC, low = 0x00080000, high = 0x00180010;
    const __m512i pair = _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
    const __m512i factor = _mm512_broadcast_i64x4(
        _mm256_setr_epi16(0, 0, 1, 1, -128, -128, -8, -8, -32, 0, 0, -32, 0, 0, 0, 0));
    const __m512i plus =
        _mm512_broadcast_i64x4(_mm256_setr_epi32(0, 0, magic, magic, magic, magic, magic, 0));
    __m512i positive = _mm512_xor_si512(q, _mm512_set1_epi8(-128));
    __m512i sums = _mm512_sad_epu8(positive, _mm512_setzero_si512()); /* of 8, 128 too much each */
    sums = _mm512_add_epi64(sums, _mm512_shuffle_epi32(sums, _MM_PERM_BADC));
    sums = _mm512_sub_epi16(sums, _mm512_set1_epi16(16 * 128));
    __m512i words = _mm512_madd_epi16(_mm512_permutexvar_epi16(pair, sums), factor);
    __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(words), scale);
    words = _mm512_add_epi32(words, plus);
    words = _mm512_mask_mov_epi32(words, 0x0101, _mm512_castps_si512(scale));
    return _mm512_mask_mov_epi32(words, 0x0202, _mm512_castps_si512(scaled));
}

/* Blocks of a group; x [32 n], n <= GROUP. */
SAMBA__INLINE void prepare_group(const float *x, size_t n, samba__int8_block *to)
{
    const __m512 most = _mm512_set1_ps(127.0f);
    __m512 v[2 * GROUP], top[GROUP];
    __m512i words[GROUP];
    for (size_t i = 0; i < 2 * GROUP; i++)
        v[i] = i < 2 * n ? _mm512_loadu_ps(x + 16 * i) : _mm512_setzero_ps();
    for (size_t b = 0; b < GROUP; b++)
        top[b] = _mm512_max_ps(_mm512_abs_ps(v[2 * b]), _mm512_abs_ps(v[2 * b + 1]));
    __m512 tops = tops_of(top);
    /* Below this 127 / top overflows: such blocks count as zeros. */
    __mmask16 some = _mm512_cmp_ps_mask(tops, _mm512_set1_ps(0x1p-120f), _CMP_GT_OQ);
    __m512 inverse = _mm512_maskz_div_ps(some, most, tops), scale = _mm512_div_ps(tops, most);
    for (size_t b = 0; b < GROUP; b += 2) {
        const int pick = (int)b;
        __m512i i0 = _mm512_set1_epi32(pick), i1 = _mm512_set1_epi32(pick + 1);
        __m512i i01 = _mm512_mask_mov_epi32(i0, 0xff00, i1);
        __m512i q = quants_of(v + 2 * b, _mm512_permutexvar_ps(i0, inverse),
                              _mm512_permutexvar_ps(i1, inverse));
        __m512i w = words_of(q, _mm512_permutexvar_ps(i01, scale));
        words[b] = _mm512_shuffle_i64x2(q, w, 0x44);
        words[b + 1] = _mm512_shuffle_i64x2(q, w, 0xee);
    }
    for (size_t b = 0; b < n; b++)
        _mm512_store_si512(to + b, words[b]);
}

void samba__avx512_int8_prepare_rows(const samba__prepare_args *a)
{
    const size_t n = a->cols / SAMBA__INT8_COLS;
    for (size_t r = 0; r < a->n_rows; r++) {
        const float *x = a->x + r * a->ldx;
        samba__int8_block *to = (samba__int8_block *)a->to + r * n;
        size_t b = 0;
        for (; b + GROUP <= n; b += GROUP)
            prepare_group(x + b * SAMBA__INT8_COLS, GROUP, to + b);
        if (b < n)
            prepare_group(x + b * SAMBA__INT8_COLS, n - b, to + b);
    }
}
