/* Rotary table step by step against the C library, and the rotation. */
#include "base/half.h"
#include "kit.h"

START_TEST(table)
{
    static const uint64_t starts[] = {0, 1, 2047, 1000000, 16777213, (uint64_t)1 << 33};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 48; i++) {
        size_t half = 1 + kit_below(130), ld = samba__pad16(half), n = 1 + kit_below(5);
        float *theta = kit_floats(half), *c = kit_floats(n * ld), *s = kit_floats(n * ld);
        float condense = i % 3 ? 1.0f : 2.0f;
        bool bf16 = i % 2;
        for (size_t j = 0; j < half; j++)
            theta[j] = (float)pow(10000.0, -(double)j / (double)half);
        t.rope_table(
            &(samba__rope_table_args){theta, half, starts[i % 6], n, condense, bf16, c, s, ld});
        for (size_t r = 0; r < n; r++)
            for (size_t j = 0; j < half; j++) {
                float angle = (float)(starts[i % 6] + r) / condense * theta[j];
                float wc = (float)cos((double)angle), ws = (float)sin((double)angle);
                double bound = bf16 ? 0x1p-9 : 0x1p-24; /* one unit at the most */
                kit_near(c[r * ld + j], (double)wc, bound, "cos: ");
                kit_near(s[r * ld + j], (double)ws, bound, "sin: ");
                if (bf16)
                    ck_assert_uint_eq(samba__f32_bits(c[r * ld + j]) & 0xffff, 0);
            }
        kit_check_margins(c, n, ld, half);
        kit_check_margins(s, n, ld, half);
        /* A row alone: the same bits. */
        float *c1 = kit_floats(ld), *s1 = kit_floats(ld);
        t.rope_table(&(samba__rope_table_args){theta, half, starts[i % 6] + n - 1, 1, condense,
                                               bf16, c1, s1, ld});
        ck_assert_mem_eq(c1, c + (n - 1) * ld, half * sizeof *c);
        ck_assert_mem_eq(s1, s + (n - 1) * ld, half * sizeof *s);
        kit_free(c1);
        kit_free(s1);
        kit_free(theta);
        kit_free(c);
        kit_free(s);
    }
}
END_TEST

START_TEST(rotate)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 30; i++) {
        size_t half = 1 + kit_below(i % 5 ? 33 : 70), dim = 2 * half + kit_below(5),
               heads = 1 + kit_below(4);
        size_t n = 1 + kit_below(4), width = heads * dim, ldx = samba__pad16(width) + 16;
        size_t ld = samba__pad16(half);
        float *x = kit_rows(n, ldx, width, 2.0f), *y = kit_floats(n * ldx);
        float *c = kit_rows(n, ld, half, 1.0f), *s = kit_rows(n, ld, half, 1.0f);
        memcpy(y, x, n * ldx * sizeof *x);
        t.rope(&(samba__rope_args){y, ldx, n, heads, dim, half, c, s, ld});
        for (size_t r = 0; r < n; r++)
            for (size_t j = 0; j < width; j++) {
                size_t k = j % dim, u = k % half;
                double v = (double)x[r * ldx + j], cos_ = (double)c[r * ld + u],
                       sin_ = (double)s[r * ld + u];
                if (k < half)
                    v = v * cos_ - (double)x[r * ldx + j + half] * sin_;
                else if (k < 2 * half)
                    v = v * cos_ + (double)x[r * ldx + j - half] * sin_;
                kit_near(y[r * ldx + j], v, 1e-6, "dim %zu half %zu column %zu: ", dim, half, k);
            }
        kit_check_margins(y, n, ldx, width);
        /* The last row and its heads one by one: the same bits. */
        for (size_t h = 0; h < heads; h++)
            t.rope(&(samba__rope_args){x + (n - 1) * ldx + h * dim, ldx, 1, 1, dim, half,
                                       c + (n - 1) * ld, s + (n - 1) * ld, ld});
        ck_assert_mem_eq(x + (n - 1) * ldx, y + (n - 1) * ldx, width * sizeof *x);
        kit_free(x);
        kit_free(y);
        kit_free(c);
        kit_free(s);
    }
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{table}, {rotate}};
    return kit_main("kernels/rope", tests, 2);
}
