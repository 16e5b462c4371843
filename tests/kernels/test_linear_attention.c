/* Linear attention steps, elementwise gates and log-probabilities against double formulas. */
#include "kit.h"

typedef struct gla_case {
    size_t rows, keys, values, panels, ld;
    float *q, *k, *v, *decay, *state;
} gla_case;

static void run_gla(const samba__kernels *t, const gla_case *c, bool gated, const float *state,
                    float *out, float *o, size_t row, size_t n)
{
    samba__gla_args a = {.n_rows = n, .key_dim = c->keys, .constant = 0.96875f, .scale = 0.25f};
    size_t cut = kit_below(c->panels) * 16;
    a.q = c->q + row * c->ld;
    a.k = c->k + row * c->ld;
    a.v = c->v + row * c->ld + 3; /* heads of any width lie side by side */
    a.decay = gated ? c->decay + row * c->ld : NULL;
    a.ldqk = a.ldv = a.ldd = a.ldo = c->ld;
    a.state_in = state;
    a.state_out = out;
    a.o = o + row * c->ld;
    a.end = cut;
    t->gla(&a);
    a.begin = cut;
    a.end = c->values;
    t->gla(&a);
}

static void check_gla(const gla_case *c, bool gated, bool with_state, size_t v, const float *o,
                      const float *out)
{
    double s[200];
    for (size_t k = 0; k < c->keys; k++)
        s[k] = with_state ? (double)c->state[(v / 16 * c->keys + k) * 16 + v % 16] : 0;
    for (size_t t = 0; t < c->rows; t++) {
        double sum = 0;
        for (size_t k = 0; k < c->keys; k++) {
            size_t at = t * c->ld + k;
            s[k] = s[k] * (gated ? (double)c->decay[at] : 0.96875) +
                   (double)c->k[at] * (double)c->v[t * c->ld + 3 + v];
            sum += s[k] * (double)c->q[at];
        }
        kit_near(o[t * c->ld + v], sum * 0.25, c->keys > 64 ? 1e-3 : 1e-4, "row %zu value %zu: ", t,
                 v);
    }
    for (size_t k = 0; k < c->keys; k++)
        kit_near(out[(v / 16 * c->keys + k) * 16 + v % 16], s[k], 1e-4, "state %zu: ", k);
}

START_TEST(gla)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 60; i++) {
        gla_case c = {.rows = 1 + kit_below(10), .keys = 1 + kit_below(64), .ld = 96};
        if (i >= 56) { /* long runs, wide heads */
            c.rows = 60 + kit_below(100);
            c.keys = 65 + kit_below(136);
            c.ld = 224;
        }
        c.values = 1 + kit_below(70);
        c.panels = samba__pad16(c.values) / 16;
        bool gated = i % 2, with_state = i % 4 < 2;
        size_t n_state = c.panels * 16 * c.keys, n_o = c.rows * c.ld;
        c.q = kit_rows(c.rows, c.ld, c.keys, 1.0f);
        c.k = kit_rows(c.rows, c.ld, c.keys, 1.0f);
        c.v = kit_rows(c.rows, c.ld, c.values + 3, 1.0f);
        c.decay = kit_rows(c.rows, c.ld, c.keys, 1.0f);
        for (size_t j = 0; j < n_o; j++)
            c.decay[j] = fabsf(c.decay[j]);
        c.state = kit_random(n_state, 1.0f);
        const float *first = with_state ? c.state : NULL;
        float *o = kit_floats(n_o), *out = kit_floats(n_state);
        run_gla(&t, &c, gated, first, out, o, 0, c.rows);
        for (size_t v = 0; v < c.values; v++)
            check_gla(&c, gated, with_state, v, o, out);
        kit_check_margins(o, c.rows, c.ld, c.values);
        kit_check_margins(out, 1, n_state, n_state);
        float *o1 = kit_floats(n_o), *s[2] = {kit_floats(n_state), kit_floats(n_state)};
        for (size_t r = 0; r < c.rows; r++)
            run_gla(&t, &c, gated, r ? s[(r + 1) % 2] : first, s[r % 2], o1, r, 1);
        ck_assert_mem_eq(o, o1, n_o * sizeof *o);
        for (size_t at = 0; at < n_state; at++)
            if (at / 16 / c.keys * 16 + at % 16 < c.values)
                ck_assert_mem_eq(&out[at], &s[(c.rows + 1) % 2][at], sizeof *out);
        float *all[] = {c.q, c.k, c.v, c.decay, c.state, o, out, o1, s[0], s[1]};
        for (size_t k = 0; k < 10; k++)
            kit_free(all[k]);
    }
}
END_TEST

START_TEST(gates)
{
    static const float edge[] = {0.0f, -0.0f, 88.0f, -88.0f, 100.0f, -100.0f, 1e-30f, 1e38f};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t n = 1; n < 60; n += 7) {
        size_t ld = 64, rows = 3;
        float *a = kit_rows(rows, ld, n, 20.0f), *b = kit_rows(rows, ld, n, 2.0f);
        float *y = kit_floats(rows * ld), *z = kit_floats(rows * ld);
        for (size_t j = 0; j < 8 && j < n; j++)
            a[j] = edge[j];
        samba__gate_args g = {.a = a, .b = b, .lda = ld, .ldb = ld, .y = y, .ldy = ld};
        g.n_rows = rows;
        g.end = n < 16 ? n : 16;
        t.silu_mul(&g);
        g.begin = g.end;
        g.end = n;
        t.silu_mul(&g);
        g.begin = 0;
        g.y = z;
        t.gla_decay(&g);
        for (size_t r = 0; r < rows; r++)
            for (size_t j = 0; j < n; j++) {
                double v = (double)a[r * ld + j], s = v > -700 ? kit_silu(v) : 0;
                s *= (double)b[r * ld + j];
                kit_near(y[r * ld + j], s, 1e-6 * (1 + fabs(s)), "silu(%g): ", v);
                kit_near(z[r * ld + j], exp(-kit_softplus(-v) / 16), 1e-6, "decay(%g): ", v);
            }
        kit_check_margins(y, rows, ld, n);
        kit_check_margins(z, rows, ld, n);
        kit_free(a);
        kit_free(b);
        kit_free(y);
        kit_free(z);
    }
}
END_TEST

START_TEST(log_probs)
{
    static const size_t sizes[] = {1, 2, 15, 16, 17, 1000, 4096, 4097, 32000, 100003};
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 10; i++) {
        size_t n = sizes[i];
        float *x = kit_random(n, i % 2 ? 30.0f : 3.0f);
        double sum = 0, max = -1e300;
        for (size_t j = 0; j < n; j++)
            max = (double)x[j] > max ? (double)x[j] : max;
        for (size_t j = 0; j < n; j++)
            sum += exp((double)x[j] - max);
        int32_t targets[10];
        float all[10], one;
        for (size_t k = 0; k < 10; k++)
            targets[k] = (int32_t)kit_below(n);
        t.log_probs(x, n, targets, 10, all);
        for (size_t k = 0; k < 10; k++) {
            double logit = (double)x[targets[k]];
            kit_near(all[k], logit - max - log(sum), 1e-5 + 1e-7 * fabs(logit - max), "n %zu: ", n);
            t.log_probs(x, n, &targets[k], 1, &one);
            ck_assert(memcmp(&one, &all[k], sizeof one) == 0);
        }
        kit_free(x);
    }
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{gla}, {gates}, {log_probs}};
    return kit_main("kernels/linear_attention", tests, 3);
}
