/*
 * BF16 weights by bf16 dot products: two steps of k at once, each product exact, added to the chain
 * in the fixed order of the instruction. A panel is [cols / 2][16][2], an odd last column has a
 * zero beside it. Activations are rounded to bf16, to nearest even, when rows are prepared. The
 * instruction takes subnormal numbers for zeros.
 */
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/linear_float.h"
#include "cpu/avx512/linear_pack.h"
#include "cpu/avx512/sums.h"

static size_t pairs(size_t cols)
{
    return (cols + 1) / 2;
}

static size_t panel_bytes(size_t cols)
{
    return pairs(cols) * 64;
}

static size_t row_bytes(size_t cols)
{
    return (cols * 2 + 63) & ~(size_t)63;
}

static size_t place(size_t cols, size_t row, size_t k)
{
    return row / 16 * panel_bytes(cols) + k / 2 * 64 + row % 16 * 4 + k % 2 * 2;
}

static inline __m512i line(__m512i pairs_of_rows)
{
    return pairs_of_rows;
}

static void pack(const samba__pack_args *args)
{
    samba__pack_rows(args, 2, line, place);
}

static inline __m256i round_16(__m512 x)
{
    return (__m256i)_mm512_cvtneps_pbh(x);
}

/* The last, partly filled 16 columns end in zeros. */
static void prepare_rows(const samba__prepare_args *args)
{
    size_t cols = args->cols;
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *x = args->x + r * args->ldx;
        uint8_t *to = (uint8_t *)args->to + r * row_bytes(cols);
        for (size_t k = 0; k < cols; k += 16) {
            __mmask16 m = samba__mask_of(k, cols);
            __m256i h = round_16(_mm512_maskz_loadu_ps(m, x + k));
            _mm256_store_si256((__m256i *)(void *)(to + 2 * k), h);
        }
    }
}

SAMBA__INLINE size_t samba__float_step_bytes(int way)
{
    (void)way;
    return 64;
}

SAMBA__INLINE __m512 samba__float_weights(int way, const uint8_t *w)
{
    (void)way;
    return _mm512_load_ps(w);
}

SAMBA__INLINE __m512 samba__float_add(__m512 acc, __m512 x, __m512 w)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w);
}

static void run(const samba__linear_args *args)
{
    samba__float_loops loops = {pairs(args->cols), 64, row_bytes(args->cols),
                                panel_bytes(args->cols), NULL};
    if (args->n_rows > SAMBA__FLOAT_STREAM_ROWS)
        samba__float_blocks(args, &loops);
    else
        samba__float_streams(args, &loops, SAMBA__FLOAT_PARTS + 1);
}

static void gather(const void *packed, size_t cols, size_t row, float *to)
{
    const uint8_t *w = packed;
    for (size_t k = 0; k < cols; k++) {
        uint8_t *half = (uint8_t *)(to + k);
        memset(half, 0, 2);
        memcpy(half + 2, w + place(cols, row, k), 2);
    }
}

void samba__avx512_bf16_linear(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){panel_bytes, pack, row_bytes, prepare_rows, run, gather};
}
