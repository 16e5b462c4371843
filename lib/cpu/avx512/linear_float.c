/*
 * Linear kernels for weights of plain elements: F32, F16, BF16. A panel is [cols][16] elements,
 * padded to 64 bytes; activations stay f32 and every output is one chain of fused multiply-adds
 * over k. 16-bit weights are widened on their way into a register (few rows) or once per piece of k
 * (row blocks), which is exact: all three formats have one set of loops.
 */
#include "cpu/avx512/linear_float.h"
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/linear_pack.h"

enum {
    STREAM_F32 = SAMBA__FLOAT_PARTS + 1,
    STREAM_F16,
    STREAM_BF16
};

SAMBA__INLINE size_t samba__float_step_bytes(int way)
{
    return way == STREAM_F16 || way == STREAM_BF16 ? 32 : 64;
}

SAMBA__INLINE __m512 samba__float_weights(int way, const uint8_t *w)
{
    if (way != STREAM_F16 && way != STREAM_BF16)
        return _mm512_load_ps(w);
    __m256i h = _mm256_load_si256((const __m256i *)(const void *)w);
    if (way == STREAM_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

SAMBA__INLINE __m512 samba__float_add(__m512 acc, __m512 x, __m512 w)
{
    return _mm512_fmadd_ps(x, w, acc);
}

/* ---------------------------------------------------------------- layout */

static size_t panel_bytes_4(size_t cols)
{
    return cols * 64;
}

static size_t panel_bytes_2(size_t cols)
{
    return (cols * 32 + 63) & ~(size_t)63;
}

static size_t row_bytes(size_t cols)
{
    return samba__pad16(cols) * sizeof(float);
}

static size_t place_4(size_t cols, size_t row, size_t k)
{
    return row / 16 * panel_bytes_4(cols) + 64 * k + 4 * (row % 16);
}

static size_t place_2(size_t cols, size_t row, size_t k)
{
    return row / 16 * panel_bytes_2(cols) + 32 * k + 2 * (row % 16);
}

static inline __m512i line_4(__m512i line)
{
    return line;
}

/* 16 pairs (k, k + 1) into 16 elements of step k, then 16 of k + 1. */
static inline __m512i line_2(__m512i line)
{
    const __m512i order =
        _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26, 24,
                         22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutexvar_epi16(order, line);
}

static void pack_4(const samba__pack_args *args)
{
    samba__pack_rows(args, 4, line_4, place_4);
}

static void pack_2(const samba__pack_args *args)
{
    samba__pack_rows(args, 2, line_2, place_2);
}

static void prepare_rows(const samba__prepare_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        memcpy((char *)args->to + r * row_bytes(args->cols), args->x + r * args->ldx,
               args->cols * sizeof(float));
}

/* ---------------------------------------------------------------- run */

static void widen_f16(const uint8_t *w, size_t n, float *to)
{
    for (size_t k = 0; k < n; k++)
        _mm512_store_ps(to + 16 * k, samba__float_weights(STREAM_F16, w + 32 * k));
}

static void widen_bf16(const uint8_t *w, size_t n, float *to)
{
    for (size_t k = 0; k < n; k++)
        _mm512_store_ps(to + 16 * k, samba__float_weights(STREAM_BF16, w + 32 * k));
}

/* Once for all formats: the loops over tiles are long. */
static __attribute__((noinline)) void blocks(const samba__linear_args *args,
                                             const samba__float_loops *loops)
{
    samba__float_blocks(args, loops);
}

static void run_f32(const samba__linear_args *args)
{
    samba__float_loops loops = {args->cols, 64, row_bytes(args->cols), panel_bytes_4(args->cols),
                                NULL};
    if (args->n_rows > SAMBA__FLOAT_STREAM_ROWS)
        blocks(args, &loops);
    else
        samba__float_streams(args, &loops, STREAM_F32);
}

static void run_f16(const samba__linear_args *args)
{
    samba__float_loops loops = {args->cols, 32, row_bytes(args->cols), panel_bytes_2(args->cols),
                                widen_f16};
    if (args->n_rows > SAMBA__FLOAT_STREAM_ROWS)
        blocks(args, &loops);
    else
        samba__float_streams(args, &loops, STREAM_F16);
}

static void run_bf16(const samba__linear_args *args)
{
    samba__float_loops loops = {args->cols, 32, row_bytes(args->cols), panel_bytes_2(args->cols),
                                widen_bf16};
    if (args->n_rows > SAMBA__FLOAT_STREAM_ROWS)
        blocks(args, &loops);
    else
        samba__float_streams(args, &loops, STREAM_BF16);
}

/* ---------------------------------------------------------------- gather */

static void gather_f32(const void *packed, size_t cols, size_t row, float *to)
{
    const uint8_t *w = packed;
    for (size_t k = 0; k < cols; k++)
        memcpy(to + k, w + place_4(cols, row, k), sizeof *to);
}

/* Elements of 16 steps side by side. */
static inline __m256i gather_16(const uint8_t *w, size_t n)
{
    uint16_t h[16] __attribute__((aligned(32))) = {0};
    for (size_t i = 0; i < n; i++)
        memcpy(h + i, w + 32 * i, sizeof *h);
    return _mm256_load_si256((const __m256i *)(const void *)h);
}

static inline __attribute__((always_inline)) void gather_2(const void *packed, size_t cols,
                                                           size_t row, float *to, int way)
{
    const uint8_t *w = (const uint8_t *)packed + place_2(cols, row, 0);
    for (size_t k = 0; k < cols; k += 16) {
        size_t n = cols - k < 16 ? cols - k : 16;
        __m256i h = gather_16(w + 32 * k, n);
        _mm512_mask_storeu_ps(to + k, (__mmask16)((1u << n) - 1),
                              samba__float_weights(way, (const uint8_t *)&h));
    }
}

static void gather_f16(const void *packed, size_t cols, size_t row, float *to)
{
    gather_2(packed, cols, row, to, STREAM_F16);
}

static void gather_bf16(const void *packed, size_t cols, size_t row, float *to)
{
    gather_2(packed, cols, row, to, STREAM_BF16);
}

void samba__avx512_linear_float(samba__linear_kernels *table)
{
    table[SAMBA_DTYPE_F32] = (samba__linear_kernels){panel_bytes_4, pack_4,  row_bytes,
                                                     prepare_rows,  run_f32, gather_f32};
    table[SAMBA_DTYPE_F16] = (samba__linear_kernels){panel_bytes_2, pack_2,  row_bytes,
                                                     prepare_rows,  run_f16, gather_f16};
    table[SAMBA_DTYPE_BF16] = (samba__linear_kernels){panel_bytes_2, pack_2,   row_bytes,
                                                      prepare_rows,  run_bf16, gather_bf16};
}
