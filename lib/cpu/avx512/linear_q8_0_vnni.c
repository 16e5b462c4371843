/*
 * y = x W^T with Q8_0 weights, by vpdpbusd. That instruction multiplies unsigned by signed bytes,
 * so weights are held with 128 added (sign bit flipped), and every activation block brings the
 * start value -128 * sum(x) which takes it off again: the int32 sum of a block is exact. Then one
 * fp32 step per block: acc = fma(sum, w_scale * x_scale, acc), blocks in order.
 *
 * Packed panel: quants [n_blocks][8][16 rows][4], then scales f16 [n_blocks][16], padded to 64
 * bytes. Prepared row: int8 [n_blocks][32], then {f32 scale, int32 start} [n_blocks], padded to 64
 * bytes.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "cpu/avx512/avx512.h"

#include <immintrin.h>

enum {
    BLOCK = 32,
    SRC_BYTES = 34,
    QUANT_BYTES = 512,
    SCALE_BYTES = 32,
    ROWS = 6,
    PANELS = 2
};

typedef struct row_block {
    float scale;
    int32_t start;
} row_block;

static size_t pad64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static size_t panel_bytes(size_t cols)
{
    return pad64(cols / BLOCK * (QUANT_BYTES + SCALE_BYTES));
}

static size_t row_bytes(size_t cols)
{
    return pad64(cols / BLOCK * (BLOCK + sizeof(row_block)));
}

static void pack_row(const uint8_t *src, size_t n_blocks, uint8_t *panel, size_t lane)
{
    uint8_t *scales = panel + n_blocks * QUANT_BYTES;
    for (size_t b = 0; b < n_blocks; b++, src += SRC_BYTES) {
        memcpy(scales + b * SCALE_BYTES + 2 * lane, src, 2);
        for (size_t g = 0; g < 8; g++)
            for (size_t i = 0; i < 4; i++)
                panel[b * QUANT_BYTES + g * 64 + lane * 4 + i] = src[2 + 4 * g + i] ^ 0x80;
    }
}

static void pack(const samba__pack_args *a)
{
    size_t n_blocks = a->cols / BLOCK;
    for (size_t r = 0; r < a->rows; r++) {
        size_t row = a->first_row + r;
        uint8_t *panel = (uint8_t *)a->packed + row / 16 * panel_bytes(a->cols);
        pack_row((const uint8_t *)a->src + r * n_blocks * SRC_BYTES, n_blocks, panel, row % 16);
    }
}

static void gather(const void *packed, size_t cols, size_t row, float *to)
{
    size_t n_blocks = cols / BLOCK, lane = row % 16;
    const uint8_t *panel = (const uint8_t *)packed + row / 16 * panel_bytes(cols);
    const uint8_t *scales = panel + n_blocks * QUANT_BYTES;
    for (size_t b = 0; b < n_blocks; b++) {
        float d = samba__f16_to_f32(samba__load_u16(scales + b * SCALE_BYTES + 2 * lane));
        for (size_t i = 0; i < BLOCK; i++) {
            uint8_t q = panel[b * QUANT_BYTES + i / 4 * 64 + lane * 4 + i % 4];
            to[b * BLOCK + i] = d * (float)(int8_t)(q ^ 0x80);
        }
    }
}

/* One block: scale = absmax / 127, quants rounded to nearest even. */
static void prepare_block(const float *x, int8_t *q, row_block *block)
{
    __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    float inverse = top > 0.0f ? 127.0f / top : 0.0f;
    __m512 s = _mm512_set1_ps(inverse);
    __m512i qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, s));
    __m512i qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, s));
    _mm_storeu_si128((__m128i *)(void *)q, _mm512_cvtsepi32_epi8(qa));
    _mm_storeu_si128((__m128i *)(void *)(q + 16), _mm512_cvtsepi32_epi8(qb));
    block->scale = top / 127.0f;
    block->start = -128 * _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
}

static void prepare_rows(const samba__prepare_args *a)
{
    size_t n_blocks = a->cols / BLOCK;
    for (size_t r = 0; r < a->n_rows; r++) {
        int8_t *q = (int8_t *)a->to + r * row_bytes(a->cols);
        row_block *blocks = (row_block *)(void *)(q + n_blocks * BLOCK);
        for (size_t b = 0; b < n_blocks; b++)
            prepare_block(a->x + r * a->ldx + b * BLOCK, q + b * BLOCK, blocks + b);
    }
}

typedef struct tile {
    const samba__linear_args *args;
    const uint8_t *w; /* first panel */
    const int8_t *x;  /* first row */
    size_t w_stride, x_stride, n_blocks;
    size_t row, panel;
} tile;

static __mmask16 panel_mask(const samba__linear_args *a, size_t panel)
{
    size_t left = a->rows - 16 * panel;
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

static inline __attribute__((always_inline)) void tile_block(const tile *t, size_t b, size_t n_r,
                                                             size_t n_p, __m512 acc[ROWS][PANELS])
{
    __m512i sum[ROWS][PANELS];
    const row_block *xb[ROWS];
    for (size_t r = 0; r < n_r; r++) {
        const int8_t *row = t->x + r * t->x_stride;
        xb[r] = (const row_block *)(const void *)(row + t->n_blocks * BLOCK) + b;
        for (size_t p = 0; p < n_p; p++)
            sum[r][p] = _mm512_set1_epi32(xb[r]->start);
    }
    for (size_t g = 0; g < 8; g++) {
        __m512i w[PANELS];
        for (size_t p = 0; p < n_p; p++)
            w[p] = _mm512_load_si512(t->w + p * t->w_stride + b * QUANT_BYTES + g * 64);
        for (size_t r = 0; r < n_r; r++) {
            int32_t four;
            memcpy(&four, t->x + r * t->x_stride + b * BLOCK + g * 4, 4);
            __m512i x = _mm512_set1_epi32(four);
            for (size_t p = 0; p < n_p; p++)
                sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], w[p], x);
        }
    }
    for (size_t p = 0; p < n_p; p++) {
        const uint8_t *scales = t->w + p * t->w_stride + t->n_blocks * QUANT_BYTES;
        __m512 ws = _mm512_cvtph_ps(
            _mm256_load_si256((const __m256i *)(const void *)(scales + b * SCALE_BYTES)));
        for (size_t r = 0; r < n_r; r++)
            acc[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][p]),
                                        _mm512_mul_ps(ws, _mm512_set1_ps(xb[r]->scale)), acc[r][p]);
    }
}

static inline __attribute__((always_inline)) void tile_run(const tile *t, size_t n_r, size_t n_p)
{
    const samba__linear_args *a = t->args;
    __m512 acc[ROWS][PANELS];
    for (size_t p = 0; p < n_p; p++) {
        __mmask16 m = panel_mask(a, t->panel + p);
        __m512 bias =
            a->bias ? _mm512_maskz_loadu_ps(m, a->bias + 16 * (t->panel + p)) : _mm512_setzero_ps();
        for (size_t r = 0; r < n_r; r++)
            acc[r][p] = bias;
    }
    for (size_t b = 0; b < t->n_blocks; b++)
        tile_block(t, b, n_r, n_p, acc);
    for (size_t p = 0; p < n_p; p++) {
        __mmask16 m = panel_mask(a, t->panel + p);
        for (size_t r = 0; r < n_r; r++) {
            float *y = a->y + (t->row + r) * a->ldy + 16 * (t->panel + p);
            if (a->accumulate)
                acc[r][p] = _mm512_add_ps(_mm512_maskz_loadu_ps(m, y), acc[r][p]);
            _mm512_mask_storeu_ps(y, m, acc[r][p]);
        }
    }
}

static inline __attribute__((always_inline)) void rows_run(tile *t, size_t n_p)
{
    for (t->row = 0; t->row < t->args->n_rows;) {
        size_t left = t->args->n_rows - t->row;
        t->x = (const int8_t *)t->args->x + t->row * t->x_stride;
        switch (left < ROWS ? left : ROWS) {
        case 1:
            tile_run(t, 1, n_p);
            break;
        case 2:
            tile_run(t, 2, n_p);
            break;
        case 3:
            tile_run(t, 3, n_p);
            break;
        case 4:
            tile_run(t, 4, n_p);
            break;
        case 5:
            tile_run(t, 5, n_p);
            break;
        default:
            tile_run(t, ROWS, n_p);
            break;
        }
        t->row += left < ROWS ? left : ROWS;
    }
}

static void run(const samba__linear_args *args)
{
    tile t = {.args = args,
              .w_stride = panel_bytes(args->cols),
              .x_stride = row_bytes(args->cols),
              .n_blocks = args->cols / BLOCK};
    for (t.panel = args->panel_begin; t.panel < args->panel_end;) {
        t.w = (const uint8_t *)args->packed + t.panel * t.w_stride;
        if (args->panel_end - t.panel >= PANELS) {
            rows_run(&t, PANELS);
            t.panel += PANELS;
        } else {
            rows_run(&t, 1);
            t.panel++;
        }
    }
}

void samba__avx512_vnni_linear_q8_0(samba__linear_kernels *kernels)
{
    *kernels = (samba__linear_kernels){panel_bytes, pack, row_bytes, prepare_rows, run, gather};
}
