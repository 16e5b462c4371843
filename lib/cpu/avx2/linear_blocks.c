/* Preparing rows for the block formats, and the walk over panels, rows and pieces of K. */
#include "cpu/avx2/linear_blocks.h"

/* q = x * (127 / absmax) as four registers of int32; absmax / 127. */
static inline float quantise(const float *x, __m256i q[4])
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v[4], top = _mm256_setzero_ps();
    for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        top = _mm256_max_ps(top, _mm256_andnot_ps(sign, v[i]));
    }
    float max = samba__v8_top(top);
    __m256 inverse = _mm256_set1_ps(max > 0x1p-120f ? 127.0f / max : 0.0f);
    for (size_t i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    return max / 127.0f;
}

/* Two registers of int32 as 16 int16, in order. */
static inline __m256i join(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

static inline int32_t sum_of(__m256i a, __m256i b)
{
    __m256i s = _mm256_add_epi32(a, b);
    __m128i h = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}

static size_t pad64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

size_t samba__v8_wide_bytes(size_t cols)
{
    return samba__v8_odd_lines(cols * sizeof(int16_t) + cols / SAMBA__V8_BLOCK * sizeof(float));
}

void samba__v8_wide_prepare(const samba__prepare_args *args)
{
    size_t n_blocks = args->cols / SAMBA__V8_BLOCK;
    for (size_t r = 0; r < args->n_rows; r++) {
        uint8_t *to = (uint8_t *)args->to + r * samba__v8_wide_bytes(args->cols);
        float *scales = (float *)(void *)(to + args->cols * sizeof(int16_t));
        for (size_t b = 0; b < n_blocks; b++) {
            __m256i q[4];
            scales[b] = quantise(args->x + r * args->ldx + b * SAMBA__V8_BLOCK, q);
            samba__v8_store_int(to + 64 * b, join(q[0], q[1]));
            samba__v8_store_int(to + 64 * b + 32, join(q[2], q[3]));
        }
    }
}

size_t samba__v8_narrow_bytes(size_t cols)
{
    return samba__v8_odd_lines(cols + cols / SAMBA__V8_BLOCK * sizeof(samba__v8_narrow));
}

void samba__v8_narrow_prepare(const samba__prepare_args *args)
{
    size_t n_blocks = args->cols / SAMBA__V8_BLOCK;
    for (size_t r = 0; r < args->n_rows; r++) {
        uint8_t *to = (uint8_t *)args->to + r * samba__v8_narrow_bytes(args->cols);
        samba__v8_narrow *blocks = (samba__v8_narrow *)(void *)(to + args->cols);
        for (size_t b = 0; b < n_blocks; b++) {
            __m256i q[4];
            float scale = quantise(args->x + r * args->ldx + b * SAMBA__V8_BLOCK, q);
            __m256i bytes = _mm256_packs_epi16(join(q[0], q[1]), join(q[2], q[3]));
            int32_t s0 = sum_of(q[0], q[1]), s1 = sum_of(q[2], q[3]);
            samba__v8_store_int(to + 32 * b, _mm256_permute4x64_epi64(bytes, 0xd8));
            blocks[b] = (samba__v8_narrow){.scale = scale,
                                           .scaled_sum = scale * (float)(s0 + s1),
                                           .sum_8 = -8 * (s0 + s1),
                                           .sums_16 = {(int16_t)(-16 * s0), (int16_t)(-16 * s1)}};
        }
    }
}

static size_t panel_bytes(const samba__v8_format *f, size_t cols)
{
    return pad64(cols / f->cols * f->bytes);
}

/* Asks the second cache for `bytes` of the piece or panel behind the one at hand: a part with every
 * tile, as the processor waits where it is asked for too much at once. */
static void ask_next(uintptr_t w, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)(w + i), _MM_HINT_T1);
}

/* Rows [row, row + n) of one panel. */
static void group_run(const samba__v8_format *f, const samba__linear_args *a, size_t panel,
                      size_t row, size_t n)
{
    float acc[SAMBA__V8_GROUP * 16] __attribute__((aligned(64)));
    uint8_t unpacked[SAMBA__V8_UNPACKED] __attribute__((aligned(64)));
    const uint8_t *w = (const uint8_t *)a->packed + panel * panel_bytes(f, a->cols);
    samba__v8_tile t = {.x_stride = f->row_bytes(a->cols), .cols = a->cols, .n_panels = 1};
    const uint8_t *x = (const uint8_t *)a->x + row * t.x_stride;
    samba__v8_chains chains = {panel, row, n, acc, 16};
    samba__v8_start(a, chains);
    for (size_t k = 0; k < a->cols; k += SAMBA__V8_PIECE) {
        size_t cols = a->cols - k < SAMBA__V8_PIECE ? a->cols - k : SAMBA__V8_PIECE;
        const uint8_t *piece = w + k / f->cols * f->bytes;
        size_t bytes = cols / f->cols * f->bytes;
        f->unpack(piece, cols / f->cols, unpacked);
        t.w = unpacked;
        t.block = k / SAMBA__V8_BLOCK;
        t.n_blocks = cols / SAMBA__V8_BLOCK;
        for (size_t r = 0, n_r; r < n; r += n_r) {
            n_r = samba__v8_part(n - r, SAMBA__V8_ROWS);
            t.x = x + r * t.x_stride;
            t.acc = acc + 16 * r;
            ask_next((uintptr_t)piece + bytes + bytes * r / n, bytes * n_r / n);
            if (k + cols == a->cols)
                samba__v8_ask_outputs(a,
                                      (samba__v8_chains){.panel = panel, .row = row + r, .n = n_r});
            f->many(&t, n_r);
        }
    }
    samba__v8_finish(a, chains);
}

/* One or two rows stream through a few panels at once: one core reads several streams faster than
 * one. */
static void few_run(const samba__v8_format *f, const samba__linear_args *a)
{
    float acc[SAMBA__V8_STREAMS * SAMBA__V8_FEW * 16] __attribute__((aligned(64)));
    samba__v8_tile t = {.x = a->x, .cols = a->cols, .acc = acc};
    size_t size = 16 * a->n_rows;
    t.x_stride = f->row_bytes(a->cols);
    t.w_stride = panel_bytes(f, a->cols);
    t.n_blocks = a->cols / SAMBA__V8_BLOCK;
    for (size_t p = a->panel_begin; p < a->panel_end; p += t.n_panels) {
        t.n_panels = samba__v8_part(a->panel_end - p, SAMBA__V8_STREAMS);
        t.w = (const uint8_t *)a->packed + p * t.w_stride;
        for (size_t i = 0; i < t.n_panels; i++)
            samba__v8_start(a, (samba__v8_chains){p + i, 0, a->n_rows, acc + i * size, 16});
        f->few(&t, a->n_rows);
        for (size_t i = 0; i < t.n_panels; i++)
            samba__v8_finish(a, (samba__v8_chains){p + i, 0, a->n_rows, acc + i * size, 16});
    }
}

void samba__v8_run_blocks(const samba__v8_format *f, const samba__linear_args *a)
{
    if (a->n_rows <= SAMBA__V8_FEW) {
        few_run(f, a);
        return;
    }
    for (size_t row = 0, n; row < a->n_rows; row += n) {
        n = samba__v8_part(a->n_rows - row, SAMBA__V8_GROUP);
        for (size_t p = a->panel_begin; p < a->panel_end; p++)
            group_run(f, a, p, row, n);
    }
}
