/* Norms against double formulas. */
#include "kit.h"

static const size_t sizes[] = {1, 3, 15, 16, 17, 48, 65, 100, 127, 1027, 5000};

static double rms(const float *x, size_t n, double shift, double eps)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)x[i] - shift) * ((double)x[i] - shift);
    return 1.0 / sqrt(sum / (double)n + eps);
}

START_TEST(norms)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 48; i++) {
        size_t n = sizes[kit_below(11)], ld = samba__pad16(n) + 16, rows = 1 + kit_below(4);
        bool layer = i % 2, with_bias = i % 4 == 1;
        float *x = kit_rows(rows, ld, n, 3.0f), *y = kit_floats(rows * ld);
        float *w = kit_random(n, 2.0f), *b = kit_random(n, 1.0f);
        samba__norm_args a = {x, ld, y, ld, rows, n, w, layer && with_bias ? b : NULL, 1e-5f};
        (layer ? t.layer_norm : t.rms_norm)(&a);
        for (size_t r = 0; r < rows; r++) {
            const float *row = x + r * ld;
            double mean = 0;
            for (size_t j = 0; layer && j < n; j++)
                mean += (double)row[j] / (double)n;
            double s = rms(row, n, mean, 1e-5);
            for (size_t j = 0; j < n; j++)
                kit_near(y[r * ld + j],
                         ((double)row[j] - mean) * s * (double)w[j] + (a.bias ? (double)b[j] : 0.0),
                         layer && n < 3 ? 1e-2 : 2e-5, "n %zu layer %d: ", n, layer);
        }
        kit_check_margins(y, rows, ld, n);
        float *one = kit_floats(ld); /* rows do not meet */
        for (size_t r = 0; r < rows; r++) {
            samba__norm_args b1 = a;
            b1.x = x + r * ld;
            b1.y = one;
            b1.n_rows = 1;
            (layer ? t.layer_norm : t.rms_norm)(&b1);
            ck_assert_mem_eq(one, y + r * ld, n * sizeof *y);
        }
        kit_free(one);
        a.y = x; /* in place gives the same bits */
        (layer ? t.layer_norm : t.rms_norm)(&a);
        for (size_t r = 0; r < rows; r++)
            ck_assert_mem_eq(x + r * ld, y + r * ld, n * sizeof *y);
        kit_free(x);
        kit_free(y);
        kit_free(w);
        kit_free(b);
    }
}
END_TEST

/* A constant row has no variance: eps alone keeps it finite. */
START_TEST(extremes)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    float *x = kit_floats(48), *y = kit_floats(48), *w = kit_floats(40);
    for (size_t j = 0; j < 40; j++) {
        x[j] = 7.0f;
        w[j] = 1.0f;
    }
    t.layer_norm(&(samba__norm_args){x, 48, y, 48, 1, 40, w, NULL, 1e-5f});
    for (size_t j = 0; j < 40; j++)
        kit_near(y[j], 0.0, 1e-3, "constant: ");
    for (size_t j = 0; j < 40; j++)
        x[j] = 0.0f;
    t.rms_norm(&(samba__norm_args){x, 48, y, 48, 1, 40, w, NULL, 1e-5f});
    for (size_t j = 0; j < 40; j++)
        kit_near(y[j], 0.0, 0.0, "zero: ");
    kit_free(x);
    kit_free(y);
    kit_free(w);
}
END_TEST

/* Sizes of numbers far from 1: relative accuracy is the same. */
START_TEST(scales)
{
    static const float scale[] = {1e-15f, 1e-3f, 1e6f, 1e15f};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 24; i++) {
        size_t n = sizes[kit_below(11)], ld = samba__pad16(n) + 16;
        bool layer = i % 2;
        float size = scale[kit_below(4)], eps = i % 3 ? 1e-5f : 1e-12f;
        float *x = kit_random(n, size), *y = kit_floats(ld), *w = kit_random(n, 1.0f);
        (layer ? t.layer_norm : t.rms_norm)(&(samba__norm_args){x, ld, y, ld, 1, n, w, NULL, eps});
        double mean = 0;
        for (size_t j = 0; layer && j < n; j++)
            mean += (double)x[j] / (double)n;
        double s = rms(x, n, mean, (double)eps);
        for (size_t j = 0; j < n; j++) {
            double want = ((double)x[j] - mean) * s * (double)w[j];
            double rounding = layer && n < 20 ? 1e-2 : 1e-5;
            kit_near(y[j], want, rounding * fmin(1.0, (double)size * s), "n %zu scale %g: ", n,
                     (double)size);
        }
        kit_check_margins(y, 1, ld, n);
        kit_free(x);
        kit_free(y);
        kit_free(w);
    }
}
END_TEST

START_TEST(per_head)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 32; i++) {
        size_t n = sizes[kit_below(10)], heads = 1 + kit_below(4), rows = 1 + kit_below(3);
        size_t width = n * heads, ld = samba__pad16(width) + 16;
        float *a = kit_rows(rows, ld, width, 2.0f), *b = kit_rows(rows, ld, width, 4.0f);
        float *w = kit_random(n, 1.0f), *y = kit_floats(rows * ld);
        bool gated = i % 2;
        if (gated)
            t.gated_norm(&(samba__gated_norm_args){a, b, ld, ld, y, ld, rows, heads, n, 1e-5f, w});
        else
            t.diff(&(samba__diff_args){a, b, ld, y, ld, rows, heads, n, 0.3f, 1e-5f, 0.8f, w});
        for (size_t at = 0; at < rows * heads; at++) {
            size_t from = at / heads * ld + at % heads * n;
            double v[5000], s = 0;
            for (size_t j = 0; j < n; j++) {
                v[j] = (double)a[from + j] - (gated ? 0 : (double)0.3f * (double)b[from + j]);
                s += v[j] * v[j];
            }
            s = 1.0 / sqrt(s / (double)n + 1e-5);
            for (size_t j = 0; j < n; j++)
                kit_near(y[from + j],
                         v[j] * s * (double)w[j] *
                             (gated ? kit_silu((double)b[from + j]) : (double)0.8f),
                         2e-5, "n %zu gated %d: ", n, gated);
        }
        kit_check_margins(y, rows, ld, width);
        /* In place over the first input, one row at a time: the same bits. */
        for (size_t r = 0; r < rows; r++) {
            float *at = a + r * ld, *other = b + r * ld;
            if (gated)
                t.gated_norm(
                    &(samba__gated_norm_args){at, other, ld, ld, at, ld, 1, heads, n, 1e-5f, w});
            else
                t.diff(
                    &(samba__diff_args){at, other, ld, at, ld, 1, heads, n, 0.3f, 1e-5f, 0.8f, w});
            ck_assert_mem_eq(at, y + r * ld, width * sizeof *y);
        }
        kit_free(a);
        kit_free(b);
        kit_free(w);
        kit_free(y);
    }
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{norms}, {extremes}, {scales}, {per_head}};
    return kit_main("kernels/norm", tests, 4);
}
