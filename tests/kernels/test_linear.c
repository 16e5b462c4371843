/* Linear kernels of every dtype against double products over the decoded weights. */
#include "kit.h"
#include "tensor/dtype.h"

static const samba_dtype dtypes[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                     SAMBA_DTYPE_Q8_0};

typedef struct matrix {
    const samba__linear_kernels *k;
    size_t rows, cols;
    float *w;  /* as the file's numbers decode */
    float *x;  /* [n][ldx] */
    float *xq; /* what a kernel may make of x: [n][cols] */
    size_t ldx, n;
    void *packed, *prepared;
    bool q8;
} matrix;

static void *encode(samba_dtype dtype, float *w, size_t n)
{
    uint64_t bytes;
    const samba__dtype_info *info = samba__dtype_info_of(dtype);
    ck_assert(samba__dtype_bytes(dtype, n, &bytes));
    char *data = malloc(bytes + 1);
    info->from_f32(w, data + 1, n); /* unaligned on purpose */
    info->to_f32(data + 1, w, n);
    return data;
}

/* The quantised activations of one block: int8 times absmax / 127. */
static void round_block(const float *x, float *to)
{
    double max = 0;
    for (size_t i = 0; i < 32; i++)
        max = fmax(max, fabs((double)x[i]));
    for (size_t i = 0; i < 32; i++)
        to[i] = max > 0 ? (float)(nearbyint((double)x[i] * 127 / max) * max / 127) : 0.0f;
}

static matrix matrix_new(const samba__kernels *t, samba_dtype dtype, size_t rows, size_t cols,
                         size_t n)
{
    matrix m = {.k = &t->linear[dtype], .rows = rows, .cols = cols, .n = n};
    m.q8 = dtype == SAMBA_DTYPE_Q8_0;
    m.w = kit_random(rows * cols, 1.0f);
    char *file = encode(dtype, m.w, rows * cols);
    size_t size = samba__pad16(rows) / 16 * m.k->panel_bytes(cols);
    ck_assert_uint_eq(m.k->panel_bytes(cols) % 64, 0);
    ck_assert_uint_eq(m.k->row_bytes(cols) % 64, 0);
    m.packed = aligned_alloc(64, size);
    memset(m.packed, 0, size);
    /* In two goes, as fused tensors come. */
    size_t first = kit_below(rows + 1);
    uint64_t skip = 0;
    ck_assert(samba__dtype_bytes(dtype, first * cols, &skip));
    m.k->pack(&(samba__pack_args){file + 1, first, cols, m.packed, 0});
    m.k->pack(&(samba__pack_args){file + 1 + skip, rows - first, cols, m.packed, first});
    free(file);
    m.ldx = samba__pad16(cols) + 16;
    m.x = kit_rows(n, m.ldx, cols, 2.0f);
    if (n > 1 && cols >= 32)
        memset(m.x + m.ldx, 0, 32 * sizeof(float)); /* a block of zeros */
    m.xq = kit_floats(n * cols);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < cols; i += m.q8 ? 32 : 1) {
            if (m.q8)
                round_block(m.x + r * m.ldx + i, m.xq + r * cols + i);
            else
                m.xq[r * cols + i] = m.x[r * m.ldx + i];
        }
    m.prepared = aligned_alloc(64, n * m.k->row_bytes(cols));
    memset(m.prepared, 0xff, n * m.k->row_bytes(cols));
    m.k->prepare_rows(&(samba__prepare_args){m.x, m.ldx, n, cols, m.prepared});
    return m;
}

static void matrix_free(matrix *m)
{
    kit_free(m->w);
    kit_free(m->x);
    kit_free(m->xq);
    free(m->packed);
    free(m->prepared);
}

/* Rounding of the activations that a tier is free to do, relative to each product. */
static double freedom(int tier, samba_dtype dtype)
{
    if (dtype == SAMBA_DTYPE_BF16 && tier == SAMBA_CPU_AVX512_BF16)
        return 0x1p-8;
    return dtype == SAMBA_DTYPE_Q8_0 ? 0x1p-20 : 0;
}

static void check_product(const matrix *m, double slack, const float *y, size_t ldy,
                          const float *bias, const float *before)
{
    for (size_t r = 0; r < m->n; r++)
        for (size_t j = 0; j < m->rows; j++) {
            double sum = bias ? (double)bias[j] : 0, size = fabs(sum);
            for (size_t i = 0; i < m->cols; i++) {
                double p = (double)m->xq[r * m->cols + i] * (double)m->w[j * m->cols + i];
                sum += p;
                size += fabs(p);
            }
            if (before)
                sum += (double)before[r * ldy + j];
            kit_near(y[r * ldy + j], sum,
                     size * (slack + 0x1p-24 * (double)(8 + m->cols / 8)) + 1e-6,
                     "row %zu output %zu of %zu x %zu: ", r, j, m->rows, m->cols);
        }
}

static void check_shape(int tier, const samba__kernels *t, samba_dtype dtype, size_t rows,
                        size_t cols, size_t n)
{
    matrix m = matrix_new(t, dtype, rows, cols, n);
    size_t ldy = samba__pad16(rows) + 16, panels = samba__pad16(rows) / 16, cut;
    float *y = kit_floats(n * ldy), *bias = kit_random(rows, 1.0f);
    samba__linear_args a = {.packed = m.packed, .rows = rows, .cols = cols, .panel_end = panels};
    a.x = m.prepared;
    a.n_rows = n;
    a.y = y;
    a.ldy = ldy;
    m.k->run(&a);
    check_product(&m, freedom(tier, dtype), y, ldy, NULL, NULL);
    kit_check_margins(y, n, ldy, rows);
    /* Accumulating onto that, with bias, panels cut in two. */
    float *before = kit_floats(n * ldy);
    memcpy(before, y, n * ldy * sizeof *y);
    a.bias = bias;
    a.accumulate = true;
    cut = kit_below(panels + 1);
    a.panel_end = cut;
    m.k->run(&a);
    a.panel_begin = cut;
    a.panel_end = panels;
    m.k->run(&a);
    check_product(&m, freedom(tier, dtype), y, ldy, bias, before);
    kit_check_margins(y, n, ldy, rows);
    /* The embedding's way in. */
    float *row = kit_floats(cols);
    for (size_t j = 0; j < rows; j += 1 + kit_below(7)) {
        m.k->gather(m.packed, cols, j, row);
        ck_assert_mem_eq(row, m.w + j * cols, cols * sizeof *row);
        kit_check_margins(row, 1, cols, cols);
    }
    kit_free(row);
    kit_free(before);
    kit_free(bias);
    kit_free(y);
    matrix_free(&m);
}

START_TEST(formula)
{
    static const size_t cols[] = {1, 5, 16, 31, 64, 257, 600}, q8_cols[] = {32, 64, 96, 320, 608};
    static const size_t rows[] = {1, 15, 16, 17, 50}, ns[] = {1, 2, 3, 7, 33, 70};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t d = 0; d < 4; d++)
        for (size_t i = 0; i < 40; i++) {
            size_t c = dtypes[d] == SAMBA_DTYPE_Q8_0 ? q8_cols[kit_below(5)] : cols[kit_below(7)];
            check_shape(_i, &t, dtypes[d], rows[kit_below(5)], c, ns[kit_below(6)]);
        }
}
END_TEST

/* Every row alone gives the bits that it has among many. */
START_TEST(rows_do_not_meet)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t d = 0; d < 4; d++) {
        size_t rows = 50, cols = 320, n = 37, stride, at = 0;
        matrix m = matrix_new(&t, dtypes[d], rows, cols, n);
        stride = m.k->row_bytes(cols);
        float *all = kit_floats(n * 64), *one = kit_floats(n * 64);
        void *again = aligned_alloc(64, n * stride);
        samba__linear_args a = {.packed = m.packed, .rows = rows, .cols = cols, .panel_end = 4};
        a.x = m.prepared;
        a.n_rows = n;
        a.y = all;
        a.ldy = 64;
        m.k->run(&a);
        while (at < n) {
            size_t k = 1 + kit_below(5);
            k = k < n - at ? k : n - at;
            m.k->prepare_rows(&(samba__prepare_args){m.x + at * m.ldx, m.ldx, k, cols, again});
            a.x = again;
            a.n_rows = k;
            a.y = one + at * 64;
            m.k->run(&a);
            at += k;
        }
        ck_assert_mem_eq(all, one, n * 64 * sizeof *all);
        free(again);
        kit_free(all);
        kit_free(one);
        matrix_free(&m);
    }
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{formula}, {rows_do_not_meet}};
    return kit_main("kernels/linear", tests, 2);
}
