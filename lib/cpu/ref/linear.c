/*
 * Reference linear kernels for weights of plain elements: F32, F16, BF16. A panel is [cols][16]
 * elements, padded to 64 bytes. 16-bit weights are widened piece by piece into a small buffer, so
 * one loop serves all three; activations stay f32 and every output is one chain over k.
 */
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

enum {
    ROWS = 32,
    PIECE = 256
};

/* How one element type is copied in and widened; the rest is shared. */
typedef struct plain {
    size_t size;
    void (*widen)(const void *from, float *to, size_t n); /* NULL: already f32 */
} plain;

static void widen_f16(const void *from, float *to, size_t n)
{
    const uint16_t *h = from;
    for (size_t i = 0; i < n; i++)
        to[i] = samba__ref_f16(h[i]);
}

static void widen_bf16(const void *from, float *to, size_t n)
{
    const uint16_t *h = from;
    for (size_t i = 0; i < n; i++)
        to[i] = samba__bf16_to_f32(h[i]);
}

static const plain plain_f32 = {4, NULL};
static const plain plain_f16 = {2, widen_f16};
static const plain plain_bf16 = {2, widen_bf16};

static size_t panel_bytes(size_t cols, size_t size)
{
    return (cols * 16 * size + 63) & ~(size_t)63;
}

static void pack(const samba__pack_args *args, size_t size)
{
    size_t stride = panel_bytes(args->cols, size);
    for (size_t i = 0; i < args->rows; i++) {
        size_t row = args->first_row + i;
        const char *from = (const char *)args->src + i * args->cols * size;
        char *to = (char *)args->packed + row / 16 * stride + row % 16 * size;
        for (size_t k = 0; k < args->cols; k++)
            memcpy(to + k * 16 * size, from + k * size, size);
    }
}

static size_t row_bytes(size_t cols)
{
    return samba__pad16(cols) * sizeof(float);
}

static void prepare_rows(const samba__prepare_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        memcpy((char *)args->to + r * row_bytes(args->cols), args->x + r * args->ldx,
               args->cols * sizeof(float));
}

/* acc[n_rows][16] += x . panel, n of the K steps. */
static void rows_times_piece(float (*acc)[16], const float *x, size_t ldx, size_t n_rows,
                             const float *w, size_t n)
{
    size_t r = 0;
    for (; r + 2 <= n_rows; r += 2)
        samba__ref_tile(2, acc + r, x + r * ldx, ldx, w, n);
    if (r < n_rows)
        samba__ref_tile(1, acc + r, x + r * ldx, ldx, w, n);
}

static void run_panel(const samba__linear_args *args, const plain *type, size_t panel, size_t row,
                      size_t n_rows)
{
    float acc[ROWS][16], buffer[PIECE * 16];
    size_t ldx = row_bytes(args->cols) / sizeof(float);
    const char *w = (const char *)args->packed + panel * panel_bytes(args->cols, type->size);
    const float *x = (const float *)args->x + row * ldx;
    samba__ref_start(acc, n_rows, args, panel);
    for (size_t k = 0; k < args->cols; k += PIECE) {
        size_t n = args->cols - k < PIECE ? args->cols - k : PIECE;
        const void *from = w + k * 16 * type->size;
        const float *piece = from;
        if (type->widen) {
            type->widen(from, buffer, n * 16);
            piece = buffer;
        }
        rows_times_piece(acc, x + k, ldx, n_rows, piece, n);
    }
    samba__ref_finish(acc, row, n_rows, args, panel);
}

static void run(const samba__linear_args *args, const plain *type)
{
    for (size_t row = 0; row < args->n_rows; row += ROWS) {
        size_t n = args->n_rows - row < ROWS ? args->n_rows - row : ROWS;
        for (size_t p = args->panel_begin; p < args->panel_end; p++)
            run_panel(args, type, p, row, n);
    }
}

static const char *gather_start(const void *packed, size_t cols, size_t row, size_t size)
{
    return (const char *)packed + row / 16 * panel_bytes(cols, size) + row % 16 * size;
}

static void gather(const void *packed, size_t cols, size_t row, float *to, const plain *type)
{
    const char *from = gather_start(packed, cols, row, type->size);
    for (size_t k = 0; k < cols; k++, from += 16 * type->size) {
        if (type->widen)
            type->widen(from, to + k, 1);
        else
            memcpy(to + k, from, sizeof *to);
    }
}

/* The table has plain function pointers: bind the element type. */
static size_t panel_bytes_4(size_t cols)
{
    return panel_bytes(cols, 4);
}

static size_t panel_bytes_2(size_t cols)
{
    return panel_bytes(cols, 2);
}

static void pack_4(const samba__pack_args *args)
{
    pack(args, 4);
}

static void pack_2(const samba__pack_args *args)
{
    pack(args, 2);
}

static void run_f32(const samba__linear_args *args)
{
    run(args, &plain_f32);
}

static void run_f16(const samba__linear_args *args)
{
    run(args, &plain_f16);
}

static void run_bf16(const samba__linear_args *args)
{
    run(args, &plain_bf16);
}

static void gather_f32(const void *packed, size_t cols, size_t row, float *to)
{
    gather(packed, cols, row, to, &plain_f32);
}

static void gather_f16(const void *packed, size_t cols, size_t row, float *to)
{
    gather(packed, cols, row, to, &plain_f16);
}

static void gather_bf16(const void *packed, size_t cols, size_t row, float *to)
{
    gather(packed, cols, row, to, &plain_bf16);
}

void samba__ref_linear_table(samba__linear_kernels *table)
{
    table[SAMBA_DTYPE_F32] = (samba__linear_kernels){panel_bytes_4, pack_4,  row_bytes,
                                                     prepare_rows,  run_f32, gather_f32};
    table[SAMBA_DTYPE_F16] = (samba__linear_kernels){panel_bytes_2, pack_2,  row_bytes,
                                                     prepare_rows,  run_f16, gather_f16};
    table[SAMBA_DTYPE_BF16] = (samba__linear_kernels){panel_bytes_2, pack_2,   row_bytes,
                                                      prepare_rows,  run_bf16, gather_bf16};
    samba__ref_linear_blocks(table);
}
