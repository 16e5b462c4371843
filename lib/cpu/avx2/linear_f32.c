/*
 * y = x W^T with weights of plain elements: f32, f16, bf16. A panel is [cols][16]; a tile of 6 rows
 * and one panel keeps 12 chains of fused multiply-adds in registers, one or two rows take 4 or 2
 * panels side by side instead. Each output has one chain over k, whatever tile it falls into, and
 * 16-bit weights widen exactly. Packing and gathering are ref/'s: the layout is the same.
 */
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/linear.h"

enum {
    PIECE = 128 /* k steps that a group of rows does at a time */
};
enum {
    KIND_F32,
    KIND_F16,
    KIND_BF16
};

/* A tile's rows x [n_r][ldx] and weights w [n_p panels, stride bytes apart][n][16]. */
typedef struct tile {
    const float *x;
    size_t ldx;
    const char *w;
    size_t stride, n;
    float *acc; /* [n_r][16 n_p] */
} tile;

SAMBA__V8_INLINE size_t elem_bytes(int kind)
{
    return kind == KIND_F32 ? 4 : 2;
}

SAMBA__V8_INLINE __m256 load_8(int kind, const char *p)
{
    if (kind == KIND_F32)
        return _mm256_load_ps((const float *)(const void *)p);
    __m128i h = _mm_load_si128((const __m128i *)(const void *)p);
    if (kind == KIND_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

SAMBA__V8_INLINE void tile_run(int kind, const tile *t, size_t n_r, size_t n_p)
{
    __m256 acc[2 * SAMBA__V8_ROWS];
    size_t es = elem_bytes(kind), n = 2 * n_r * n_p;
    for (size_t i = 0; i < n; i++)
        acc[i] = _mm256_load_ps(t->acc + 8 * i);
    for (size_t k = 0; k < t->n; k++)
        for (size_t p = 0; p < n_p; p++) {
            const char *at = t->w + p * t->stride + 16 * es * k;
            __m256 w0 = load_8(kind, at), w1 = load_8(kind, at + 8 * es);
            for (size_t r = 0; r < n_r; r++) {
                __m256 x = _mm256_broadcast_ss(t->x + r * t->ldx + k),
                       *to = acc + 2 * (r * n_p + p);
                to[0] = _mm256_fmadd_ps(x, w0, to[0]);
                to[1] = _mm256_fmadd_ps(x, w1, to[1]);
            }
        }
    for (size_t i = 0; i < n; i++)
        _mm256_store_ps(t->acc + 8 * i, acc[i]);
}

SAMBA__V8_INLINE void tile_rows(int kind, const tile *t, size_t n_r)
{
    switch (n_r) {
    case 1:
        tile_run(kind, t, 1, 1);
        break;
    case 2:
        tile_run(kind, t, 2, 1);
        break;
    case 3:
        tile_run(kind, t, 3, 1);
        break;
    case 4:
        tile_run(kind, t, 4, 1);
        break;
    case 5:
        tile_run(kind, t, 5, 1);
        break;
    default:
        tile_run(kind, t, SAMBA__V8_ROWS, 1);
        break;
    }
}

static size_t row_floats(size_t cols)
{
    return samba__pad16(cols);
}

static size_t panel_stride(int kind, size_t cols)
{
    return (cols * 16 * elem_bytes(kind) + 63) & ~(size_t)63;
}

/* One or two rows: panels side by side, each read in one stream. */
SAMBA__V8_INLINE void few_panels(int kind, const samba__linear_args *a, size_t panel, size_t n_p)
{
    float acc[4 * 16] __attribute__((aligned(32)));
    tile t = {.x = a->x, .ldx = row_floats(a->cols), .n = a->cols, .acc = acc};
    t.stride = panel_stride(kind, a->cols);
    t.w = (const char *)a->packed + panel * t.stride;
    for (size_t p = 0; p < n_p; p++)
        samba__v8_start(a, (samba__v8_chains){panel + p, 0, a->n_rows, acc + 16 * p, 16 * n_p});
    if (a->n_rows == 1)
        tile_run(kind, &t, 1, n_p);
    else
        tile_run(kind, &t, 2, n_p < 2 ? n_p : 2);
    for (size_t p = 0; p < n_p; p++)
        samba__v8_finish(a, (samba__v8_chains){panel + p, 0, a->n_rows, acc + 16 * p, 16 * n_p});
}

SAMBA__V8_INLINE void run_few(int kind, const samba__linear_args *a)
{
    size_t p = a->panel_begin;
    for (; a->n_rows == 1 && p + 4 <= a->panel_end; p += 4)
        few_panels(kind, a, p, 4);
    for (; p + 2 <= a->panel_end; p += 2)
        few_panels(kind, a, p, 2);
    for (; p < a->panel_end; p++)
        few_panels(kind, a, p, 1);
}

/* Rows [row, row + n) of one panel. */
SAMBA__V8_INLINE void group_run(int kind, const samba__linear_args *a, size_t panel, size_t row,
                                size_t n)
{
    float acc[SAMBA__V8_GROUP * 16] __attribute__((aligned(32)));
    float wide[PIECE * 16] __attribute__((aligned(32)));
    size_t ldx = row_floats(a->cols), es = elem_bytes(kind);
    const char *w = (const char *)a->packed + panel * panel_stride(kind, a->cols);
    const float *x = (const float *)a->x + row * ldx;
    samba__v8_chains chains = {panel, row, n, acc, 16};
    samba__v8_start(a, chains);
    for (size_t k = 0; k < a->cols; k += PIECE) {
        tile t = {.ldx = ldx, .w = w + 16 * es * k};
        t.n = a->cols - k < PIECE ? a->cols - k : PIECE;
        if (kind != KIND_F32) {
            for (size_t i = 0; i < 16 * t.n; i += 8)
                _mm256_store_ps(wide + i, load_8(kind, t.w + es * i));
            t.w = (const char *)wide;
        }
        for (size_t r = 0, n_r; r < n; r += n_r) {
            n_r = samba__v8_part(n - r, SAMBA__V8_ROWS);
            t.x = x + r * ldx + k;
            t.acc = acc + 16 * r;
            if (k + t.n == a->cols)
                samba__v8_ask_outputs(a,
                                      (samba__v8_chains){.panel = panel, .row = row + r, .n = n_r});
            tile_rows(KIND_F32, &t, n_r);
        }
    }
    samba__v8_finish(a, chains);
}

SAMBA__V8_INLINE void run_any(int kind, const samba__linear_args *a)
{
    if (a->n_rows <= SAMBA__V8_FEW) {
        run_few(kind, a);
        return;
    }
    for (size_t row = 0, n; row < a->n_rows; row += n) {
        n = samba__v8_part(a->n_rows - row, SAMBA__V8_GROUP);
        for (size_t p = a->panel_begin; p < a->panel_end; p++)
            group_run(kind, a, p, row, n);
    }
}

static void run_f32(const samba__linear_args *args)
{
    run_any(KIND_F32, args);
}

static void run_f16(const samba__linear_args *args)
{
    run_any(KIND_F16, args);
}

static void run_bf16(const samba__linear_args *args)
{
    run_any(KIND_BF16, args);
}

void samba__avx2_linear_float(samba__linear_kernels *table)
{
    table[SAMBA_DTYPE_F32].run = run_f32;
    table[SAMBA_DTYPE_F16].run = run_f16;
    table[SAMBA_DTYPE_BF16].run = run_bf16;
}
