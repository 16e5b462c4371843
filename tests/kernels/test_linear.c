/*
 * Linear kernels of every dtype against double products over the decoded weights. Kernels of block
 * formats may round activations to int8 per 32 columns, and must then be exact within a group, so
 * the expected sums are made from activations rounded in the same way.
 */
#include "kit.h"
#include "tensor/dtype.h"

typedef struct matrix {
    const samba__linear_kernels *k;
    const samba__dtype_info *info;
    size_t rows, cols;
    char *file;         /* [1 + bytes], from 1 on: unaligned */
    double *w, *w_size; /* what the file's numbers mean, and the sizes of what is added */
    float *x;           /* [n][ldx] */
    double *xq;         /* what a kernel may make of x: [n][cols] */
    size_t ldx, n;
    void *packed, *prepared;
} matrix;

/* ---------------------------------------------------------------- weights */

static uint64_t encoded_bytes(const samba__dtype_info *info, size_t n)
{
    uint64_t bytes = 0;
    ck_assert(samba__dtype_bytes(info->dtype, n, &bytes));
    return bytes;
}

static bool is_blocks(const samba__dtype_info *info)
{
    return info->block > 1;
}

static void random_file(matrix *m)
{
    size_t n = m->rows * m->cols;
    float *w = kit_random(n, 1.0f);
    m->info->from_f32(w, m->file + 1, n);
    kit_free(w);
}

static void expand(samba_dtype dtype, const char *from, samba__block *b, size_t *group)
{
    const uint8_t *f = (const uint8_t *)from;
    *group = 32;
    *b = (samba__block){0};
    if (dtype == SAMBA_DTYPE_Q8_0) {
        samba__q8_0_expand(f, b);
    } else if (dtype == SAMBA_DTYPE_Q4_0) {
        samba__q4_0_expand(f, b);
    } else if (dtype == SAMBA_DTYPE_Q4_K) {
        samba__q4_k_expand(f, b);
    } else {
        ck_assert_int_eq(dtype, SAMBA_DTYPE_Q6_K);
        samba__q6_k_expand(f, b);
        *group = 16;
    }
}

/* Exact values, and the sizes of what is added: scale * q and the minimum. */
static void decode(matrix *m)
{
    size_t n = m->rows * m->cols, group;
    m->w = malloc(n * sizeof *m->w);
    m->w_size = malloc(n * sizeof *m->w_size);
    float *w = kit_floats(n);
    m->info->to_f32(m->file + 1, w, n);
    for (size_t i = 0; i < n; i++) {
        m->w[i] = (double)w[i];
        m->w_size[i] = fabs(m->w[i]);
    }
    kit_free(w);
    for (size_t i = 0; is_blocks(m->info) && i < n; i += m->info->block) {
        samba__block b;
        expand(m->info->dtype, m->file + 1 + i / m->info->block * m->info->block_bytes, &b, &group);
        for (size_t j = 0; j < m->info->block; j++) {
            double product = (double)b.scale[j / group] * b.q[j], min = (double)b.min[j / group];
            kit_near(m->w[i + j], product - min, (fabs(product) + fabs(min)) * 0x1p-23, "decode: ");
            m->w[i + j] = product - min;
            m->w_size[i + j] = fabs(product) + fabs(min);
        }
    }
}

/* In two goes, as fused tensors come. */
static void pack(matrix *m)
{
    size_t size = samba__pad16(m->rows) / 16 * m->k->panel_bytes(m->cols);
    size_t first = kit_below(m->rows + 1);
    const char *file = m->file + 1, *rest = file + encoded_bytes(m->info, first * m->cols);
    ck_assert_uint_eq(m->k->panel_bytes(m->cols) % 64, 0);
    m->packed = aligned_alloc(64, size);
    memset(m->packed, 0, size);
    m->k->pack(&(samba__pack_args){file, first, m->cols, m->packed, 0});
    m->k->pack(&(samba__pack_args){rest, m->rows - first, m->cols, m->packed, first});
}

/* ---------------------------------------------------------------- activations */

/* The quantised activations of one block: int8 times absmax / 127. What lies near the middle of two
 * integers is moved, as which one a kernel then takes is its own choice. */
static void round_block(float *x, double *to)
{
    double max = 0;
    for (size_t i = 0; i < 32; i++)
        max = fabs((double)x[i]) > max ? fabs((double)x[i]) : max;
    for (size_t i = 0; i < 32; i++) {
        double t = max > 0 ? (double)x[i] * 127 / max : 0, q = nearbyint(t);
        if (fabs(fabs(t - q) - 0.5) < 0.01)
            x[i] = (float)(q * max / 127);
        to[i] = q * max / 127;
    }
}

static void prepare(matrix *m)
{
    m->xq = malloc(m->n * m->cols * sizeof *m->xq);
    for (size_t r = 0; r < m->n; r++)
        for (size_t i = 0; i < m->cols; i += is_blocks(m->info) ? 32 : 1) {
            if (is_blocks(m->info))
                round_block(m->x + r * m->ldx + i, m->xq + r * m->cols + i);
            else
                m->xq[r * m->cols + i] = (double)m->x[r * m->ldx + i];
        }
    ck_assert_uint_eq(m->k->row_bytes(m->cols) % 64, 0);
    m->prepared = aligned_alloc(64, m->n * m->k->row_bytes(m->cols));
    memset(m->prepared, 0xff, m->n * m->k->row_bytes(m->cols));
    m->k->prepare_rows(&(samba__prepare_args){m->x, m->ldx, m->n, m->cols, m->prepared});
}

/* ---------------------------------------------------------------- cases */

/* fill_w writes the file, fill_x the rows; NULL: random values. */
typedef struct filling {
    void (*fill_w)(matrix *m, size_t variant);
    void (*fill_x)(matrix *m, size_t variant);
    size_t w_variant, x_variant;
} filling;

static matrix matrix_new(const samba__kernels *t, samba_dtype dtype, size_t rows, size_t cols,
                         size_t n, const filling *f)
{
    matrix m = {.k = &t->linear[dtype], .rows = rows, .cols = cols, .n = n};
    m.info = samba__dtype_info_of(dtype);
    m.file = malloc(1 + encoded_bytes(m.info, rows * cols));
    if (f)
        f->fill_w(&m, f->w_variant);
    else
        random_file(&m);
    decode(&m);
    pack(&m);
    m.ldx = samba__pad16(cols) + 16;
    m.x = kit_rows(n, m.ldx, cols, 2.0f);
    if (f)
        f->fill_x(&m, f->x_variant);
    else if (n > 1 && cols >= 32)
        memset(m.x + m.ldx, 0, 32 * sizeof(float)); /* a block of zeros */
    prepare(&m);
    return m;
}

static void matrix_free(matrix *m)
{
    free(m->file);
    free(m->w);
    free(m->w_size);
    kit_free(m->x);
    free(m->xq);
    free(m->packed);
    free(m->prepared);
}

static samba__linear_args args_of(const matrix *m, float *y, size_t ldy)
{
    samba__linear_args a = {.packed = m->packed, .rows = m->rows, .cols = m->cols};
    a.panel_end = samba__pad16(m->rows) / 16;
    a.x = m->prepared;
    a.n_rows = m->n;
    a.y = y;
    a.ldy = ldy;
    return a;
}

/* Rounding of the activations that a tier is free to do, relative to each product. */
static double freedom(int tier, const samba__dtype_info *info)
{
    if (info->dtype == SAMBA_DTYPE_BF16 && tier == SAMBA_CPU_AVX512_BF16)
        return 0x1p-8;
    return is_blocks(info) ? 0x1p-20 : 0;
}

static void check_product(const matrix *m, double slack, const float *y, size_t ldy,
                          const float *bias, const float *before)
{
    double bound = slack + 0x1p-24 * (double)(8 + m->cols / 8);
    for (size_t r = 0; r < m->n; r++)
        for (size_t j = 0; j < m->rows; j++) {
            const double *x = m->xq + r * m->cols, *w = m->w + j * m->cols;
            const double *w_size = m->w_size + j * m->cols;
            double sum = bias ? (double)bias[j] : 0, size = fabs(sum);
            for (size_t i = 0; i < m->cols; i++) {
                sum += x[i] * w[i];
                size += fabs(x[i]) * w_size[i];
            }
            if (before) {
                sum += (double)before[r * ldy + j];
                size += fabs((double)before[r * ldy + j]);
            }
            kit_near(y[r * ldy + j], sum, size * bound + 1e-35,
                     "%s row %zu output %zu of %zu x %zu: ", m->info->name, r, j, m->rows, m->cols);
        }
}

/* The embedding's way in: the bits of the codec. */
static void check_gather(const matrix *m)
{
    float *row = kit_floats(m->cols), *wanted = kit_floats(m->cols);
    for (size_t j = 0; j < m->rows; j += 1 + kit_below(7)) {
        m->k->gather(m->packed, m->cols, j, row);
        m->info->to_f32(m->file + 1 + encoded_bytes(m->info, j * m->cols), wanted, m->cols);
        ck_assert_mem_eq(row, wanted, m->cols * sizeof *row);
        kit_check_margins(row, 1, m->cols, m->cols);
    }
    kit_free(row);
    kit_free(wanted);
}

static void check_matrix(int tier, const matrix *m)
{
    size_t ldy = samba__pad16(m->rows) + 16, panels = samba__pad16(m->rows) / 16;
    size_t cut = kit_below(panels + 1);
    double slack = freedom(tier, m->info);
    float *y = kit_floats(m->n * ldy), *bias = kit_random(m->rows, 1.0f);
    float *before = kit_floats(m->n * ldy);
    samba__linear_args a = args_of(m, y, ldy);
    m->k->run(&a);
    check_product(m, slack, y, ldy, NULL, NULL);
    kit_check_margins(y, m->n, ldy, m->rows);
    /* Accumulating onto that, with bias, panels cut in two. */
    memcpy(before, y, m->n * ldy * sizeof *y);
    a.bias = bias;
    a.accumulate = true;
    a.panel_end = cut;
    m->k->run(&a);
    a.panel_begin = cut;
    a.panel_end = panels;
    m->k->run(&a);
    check_product(m, slack, y, ldy, bias, before);
    kit_check_margins(y, m->n, ldy, m->rows);
    check_gather(m);
    kit_free(before);
    kit_free(bias);
    kit_free(y);
}

START_TEST(formula)
{
    static const size_t cols[] = {1, 5, 16, 31, 64, 257, 600}, blocks[] = {1, 2, 3, 10, 19};
    static const size_t rows[] = {1, 15, 16, 17, 50}, ns[] = {1, 2, 3, 7, 33, 150};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (samba_dtype d = 1; d < SAMBA__N_DTYPES; d++)
        for (size_t i = 0; i < 40; i++) {
            size_t block = samba__dtype_info_of(d)->block, c = cols[kit_below(7)];
            if (block > 1)
                c = block * blocks[kit_below(block > 32 ? 3 : 5)];
            matrix m = matrix_new(&t, d, rows[kit_below(5)], c, ns[kit_below(6)], NULL);
            check_matrix(_i, &m);
            matrix_free(&m);
        }
}
END_TEST

/* ---------------------------------------------------------------- extremes */

/* Where a format keeps its parts. */
typedef struct parts {
    size_t q, n_q;         /* bytes of integers */
    size_t f16[2], n_f16;  /* scales of blocks */
    size_t scale, n_scale; /* bytes of small scales */
} parts;

static const parts parts_of[SAMBA__N_DTYPES] = {
    [SAMBA_DTYPE_Q8_0] = {2, 32, {0}, 1, 0, 0},
    [SAMBA_DTYPE_Q4_0] = {2, 16, {0}, 1, 0, 0},
    [SAMBA_DTYPE_Q4_K] = {16, 128, {0, 2}, 2, 4, 12},
    [SAMBA_DTYPE_Q6_K] = {0, 192, {208}, 1, 192, 16},
};

static const uint8_t q_bytes[] = {0x00, 0xff, 0x7f, 0x80, 0x81, 0x88, 0xf0, 0x0f};
static const uint8_t scale_bytes[] = {0xff, 0x7f, 0x80, 0x81, 0x00, 0x3f, 0x01, 0xc0};
/* 1, the largest, both ends of the subnormals, zeros, their negatives */
static const uint16_t f16_words[] = {0x3c00, 0x7bff, 0x0001, 0x03ff, 0x0000,
                                     0xbc00, 0xfbff, 0x8001, 0x83ff, 0x8000};

enum {
    N_Q = sizeof q_bytes,
    N_SCALE = sizeof scale_bytes,
    N_F16 = sizeof f16_words / sizeof *f16_words,
    N_X = 8
};

/* Variant N_Q: any bytes, mixed with whole blocks at one end. */
static void extreme_file(matrix *m, size_t variant)
{
    const parts *p = &parts_of[m->info->dtype];
    size_t n = m->rows * m->cols / m->info->block;
    uint8_t *b = (uint8_t *)m->file + 1;
    for (size_t i = 0; i < n; i++, b += m->info->block_bytes) {
        bool any = variant == N_Q && kit_below(2);
        uint8_t q = q_bytes[variant == N_Q ? kit_below(N_Q) : variant];
        uint8_t scale = scale_bytes[kit_below(N_SCALE)];
        for (size_t k = 0; k < p->n_q; k++)
            b[p->q + k] = any ? (uint8_t)kit_bits() : q;
        for (size_t k = 0; k < p->n_scale; k++)
            b[p->scale + k] = any ? (uint8_t)kit_bits() : scale;
        for (size_t k = 0; k < p->n_f16; k++) {
            uint16_t f = f16_words[kit_below(N_F16)];
            b[p->f16[k]] = (uint8_t)f;
            b[p->f16[k] + 1] = (uint8_t)(f >> 8);
        }
    }
}

static float extreme_value(size_t variant, size_t i)
{
    switch (variant) {
    case 0:
        return 3.0f;
    case 1:
        return -3.0f;
    case 2:
        return i % 2 ? 3.0f : -3.0f;
    case 3:
        return i % 32 == 17 ? -1.0f : 0.0f;
    case 4:
        return i % 64 < 32 ? 0.0f : kit_value(1.0f);
    case 5:
        return kit_value(1e20f);
    case 6:
        return kit_value(1e-20f);
    default:
        return i % 4 ? kit_value(1e-3f) : kit_below(2) ? 127.0f : -127.0f;
    }
}

static void extreme_rows(matrix *m, size_t variant)
{
    for (size_t r = 0; r < m->n; r++)
        for (size_t i = 0; i < m->cols; i++)
            m->x[r * m->ldx + i] = extreme_value(variant, i);
}

/* Whatever a file may hold, at the ends of all ranges: no saturation, no lost bit. */
START_TEST(extremes)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (samba_dtype d = SAMBA_DTYPE_Q8_0; d < SAMBA__N_DTYPES; d++)
        for (size_t w = 0; w <= N_Q; w++)
            for (size_t x = 0; x < N_X; x++) {
                filling f = {extreme_file, extreme_rows, w, x};
                matrix m = matrix_new(&t, d, 17 + kit_below(20), 512, 1 + kit_below(6), &f);
                check_matrix(_i, &m);
                matrix_free(&m);
            }
}
END_TEST

/* Weights of f16 that only subnormal numbers can hold are multiplied, too. */
static void tiny_f16(matrix *m, size_t variant)
{
    uint8_t *b = (uint8_t *)m->file + 1;
    for (size_t i = 0; i < m->rows * m->cols; i++) {
        b[2 * i] = (uint8_t)kit_bits();
        b[2 * i + 1] = (uint8_t)(kit_bits() & 0x83);
    }
    (void)variant;
}

START_TEST(subnormal_f16)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t x = 0; x < N_X; x++) {
        filling f = {tiny_f16, extreme_rows, 0, x};
        matrix m = matrix_new(&t, SAMBA_DTYPE_F16, 33, 97, 1 + kit_below(6), &f);
        check_matrix(_i, &m);
        matrix_free(&m);
    }
}
END_TEST

/* ---------------------------------------------------------------- the law */

/* Every row alone, in any part of the panels, gives the bits that it has among many. */
static void check_cuts(const matrix *m)
{
    size_t stride = m->k->row_bytes(m->cols), ldy = samba__pad16(m->rows), panels = ldy / 16;
    float *all = kit_floats(m->n * ldy), *cut = kit_floats(m->n * ldy);
    void *again = aligned_alloc(64, m->n * stride);
    samba__linear_args a = args_of(m, all, ldy);
    m->k->run(&a);
    for (size_t at = 0, n; at < m->n; at += n) {
        n = 1 + kit_below(5);
        n = n < m->n - at ? n : m->n - at;
        m->k->prepare_rows(&(samba__prepare_args){m->x + at * m->ldx, m->ldx, n, m->cols, again});
        a.x = again;
        a.n_rows = n;
        a.y = cut + at * ldy;
        for (size_t p = 0; p < panels; p = a.panel_end) {
            a.panel_begin = p;
            a.panel_end = p + 1 + kit_below(panels - p);
            m->k->run(&a);
        }
    }
    ck_assert_mem_eq(all, cut, m->n * ldy * sizeof *all);
    free(again);
    kit_free(all);
    kit_free(cut);
}

START_TEST(rows_do_not_meet)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (samba_dtype d = 1; d < SAMBA__N_DTYPES; d++)
        for (size_t i = 0; i < 4; i++) {
            matrix m = matrix_new(&t, d, 50 + 60 * (i % 2), 512, 7 + 30 * i, NULL);
            check_cuts(&m);
            matrix_free(&m);
        }
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{formula}, {extremes}, {subnormal_f16}, {rows_do_not_meet}};
    return kit_main("kernels/linear", tests, 4);
}
