/*
 * Linear kernels of plain elements in shapes past every block that a tier may work in: more columns
 * than a piece of k, more rows than a row block. However rows and panels are cut, the bits are the
 * same; some outputs are compared with double products.
 */
#include "base/half.h"
#include "kit.h"

static const samba_dtype dtypes[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16};

typedef struct problem {
    const samba__linear_kernels *k;
    samba_dtype dtype;
    size_t rows, cols, n, ldx, ldy;
    float *w, *x, *bias; /* w: as decoded */
    char *packed, *prepared;
} problem;

/* One weight, rounded to the format, and its bytes; returns how many. */
static size_t encode(samba_dtype dtype, float *w, char *to)
{
    uint16_t h = dtype == SAMBA_DTYPE_F16 ? samba__f32_to_f16(*w) : samba__f32_to_bf16(*w);
    if (dtype == SAMBA_DTYPE_F32) {
        memcpy(to, w, 4);
        return 4;
    }
    *w = dtype == SAMBA_DTYPE_F16 ? samba__f16_to_f32(h) : samba__bf16_to_f32(h);
    memcpy(to, &h, 2);
    return 2;
}

static problem problem_new(const samba__kernels *t, samba_dtype dtype, size_t rows, size_t cols,
                           size_t n)
{
    problem p = {&t->linear[dtype], dtype, rows, cols, n, 0, 0, NULL, NULL, NULL, NULL, NULL};
    size_t bytes = samba__pad16(rows) / 16 * p.k->panel_bytes(cols), at = 1;
    char *file = malloc(rows * cols * 4 + 1); /* unaligned on purpose */
    p.ldx = samba__pad16(cols) + 16;
    p.ldy = samba__pad16(rows) + 16;
    p.w = kit_random(rows * cols, 1.0f);
    p.x = kit_rows(n, p.ldx, cols, 2.0f);
    p.bias = kit_random(rows, 1.0f);
    for (size_t i = 0; i < rows * cols; i++)
        at += encode(dtype, p.w + i, file + at);
    p.packed = aligned_alloc(64, bytes);
    memset(p.packed, 0, bytes);
    p.k->pack(&(samba__pack_args){file + 1, rows, cols, p.packed, 0});
    p.prepared = aligned_alloc(64, n * p.k->row_bytes(cols));
    memset(p.prepared, 0xff, n * p.k->row_bytes(cols));
    p.k->prepare_rows(&(samba__prepare_args){p.x, p.ldx, n, cols, p.prepared});
    free(file);
    return p;
}

static void problem_free(problem *p)
{
    kit_free(p->w);
    kit_free(p->x);
    kit_free(p->bias);
    free(p->packed);
    free(p->prepared);
}

static size_t part_of(size_t left, size_t most)
{
    size_t n = most ? 1 + kit_below(most) : left;
    return n < left ? n : left;
}

/* Rows and panels in runs of at most the given numbers; 0: all at once. */
static void run_cut(const problem *p, float *y, size_t most_rows, size_t most_panels)
{
    size_t panels = samba__pad16(p->rows) / 16;
    samba__linear_args a = {.packed = p->packed, .rows = p->rows, .cols = p->cols};
    a.bias = p->bias;
    a.ldy = p->ldy;
    for (size_t r = 0; r < p->n; r += a.n_rows) {
        a.n_rows = part_of(p->n - r, most_rows);
        a.x = p->prepared + r * p->k->row_bytes(p->cols);
        a.y = y + r * p->ldy;
        for (a.panel_begin = 0; a.panel_begin < panels; a.panel_begin = a.panel_end) {
            a.panel_end = a.panel_begin + part_of(panels - a.panel_begin, most_panels);
            p->k->run(&a);
        }
    }
}

static void check_some(int tier, const problem *p, const float *y)
{
    double slack = p->dtype == SAMBA_DTYPE_BF16 && tier == SAMBA_CPU_AVX512_BF16 ? 0x1p-8 : 1e-6;
    for (size_t i = 0; i < 40; i++) {
        size_t r = kit_below(p->n), j = kit_below(p->rows);
        double sum = (double)p->bias[j], size = fabs(sum);
        for (size_t k = 0; k < p->cols; k++) {
            double v = (double)p->x[r * p->ldx + k] * (double)p->w[j * p->cols + k];
            sum += v;
            size += fabs(v);
        }
        kit_near(y[r * p->ldy + j], sum, slack * size + 1e-6,
                 "row %zu output %zu of %zu x %zu: ", r, j, p->rows, p->cols);
    }
}

START_TEST(cuts)
{
    static const size_t cols[] = {127, 129, 1024, 1025, 2051};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 15; i++) {
        problem p = problem_new(&t, dtypes[i % 3], 85 + kit_below(30), cols[i / 3],
                                i % 2 ? 97 + kit_below(110) : 9 + kit_below(30));
        float *all = kit_floats(p.n * p.ldy), *cut = kit_floats(p.n * p.ldy);
        run_cut(&p, all, 0, 0);
        check_some(_i, &p, all);
        kit_check_margins(all, p.n, p.ldy, p.rows);
        run_cut(&p, cut, 12, 5);
        ck_assert_mem_eq(all, cut, p.n * p.ldy * sizeof *all);
        kit_free(all);
        kit_free(cut);
        problem_free(&p);
    }
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{cuts}};
    return kit_main("kernels/linear_float", tests, 1);
}
