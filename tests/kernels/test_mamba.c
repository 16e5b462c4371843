/* Convolution and selective scan against double recurrences, and against themselves in pieces. */
#include "kit.h"

typedef struct conv_case {
    size_t rows, taps, channels, ld;
    float *x, *w, *bias, *state;
} conv_case;

static double conv_at(const conv_case *c, bool with_state, size_t t, size_t e)
{
    double sum = c->bias ? (double)c->bias[e] : 0;
    for (size_t j = 0; j < c->taps; j++) {
        size_t at = t + j; /* row at - (taps - 1) */
        double v = 0;
        if (at >= c->taps - 1)
            v = (double)c->x[(at - c->taps + 1) * c->ld + e];
        else if (with_state)
            v = (double)c->state[at * c->channels + e];
        sum += v * (double)c->w[j * c->channels + e];
    }
    return kit_silu(sum);
}

static void run_conv(const samba__kernels *t, const conv_case *c, const float *state, float *y,
                     float *out, size_t row, size_t n)
{
    size_t cut = kit_below(c->channels / 16 + 1) * 16;
    samba__conv_args a = {.x = c->x + row * c->ld, .ldx = c->ld, .y = y + row * c->ld};
    a.ldy = c->ld;
    a.n_rows = n;
    a.channels = c->channels;
    a.taps = c->taps;
    a.weight = c->w;
    a.bias = c->bias;
    a.state_in = state;
    a.state_out = out;
    a.end = cut;
    t->conv(&a);
    a.begin = cut;
    a.end = c->channels;
    t->conv(&a);
}

START_TEST(conv)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 60; i++) {
        conv_case c = {.rows = 1 + kit_below(20), .taps = 1 + kit_below(6)};
        c.channels = 16 * (1 + kit_below(5));
        c.ld = c.channels + 16;
        size_t n_state = (c.taps - 1) * c.channels;
        bool with_state = kit_below(2);
        c.x = kit_rows(c.rows, c.ld, c.channels, 2.0f);
        c.w = kit_random(c.taps * c.channels, 1.0f);
        c.bias = kit_below(2) ? kit_random(c.channels, 1.0f) : NULL;
        c.state = kit_random(n_state, 2.0f);
        float *y = kit_floats(c.rows * c.ld), *out = kit_floats(n_state);
        run_conv(&t, &c, with_state ? c.state : NULL, y, out, 0, c.rows);
        for (size_t r = 0; r < c.rows; r++)
            for (size_t e = 0; e < c.channels; e++)
                kit_near(y[r * c.ld + e], conv_at(&c, with_state, r, e), 1e-5,
                         "taps %zu: ", c.taps);
        kit_check_margins(y, c.rows, c.ld, c.channels);
        kit_check_margins(out, 1, n_state, n_state);
        /* Row by row, through the state: the same bits. */
        float *y1 = kit_floats(c.rows * c.ld), *s[2] = {kit_floats(n_state), kit_floats(n_state)};
        for (size_t r = 0; r < c.rows; r++)
            run_conv(&t, &c, r ? s[(r + 1) % 2] : with_state ? c.state : NULL, y1, s[r % 2], r, 1);
        ck_assert_mem_eq(y, y1, c.rows * c.ld * sizeof *y);
        ck_assert_mem_eq(out, s[(c.rows + 1) % 2], n_state * sizeof *out);
        kit_free(c.x);
        kit_free(c.w);
        if (c.bias)
            kit_free(c.bias);
        kit_free(c.state);
        kit_free(y);
        kit_free(y1);
        kit_free(out);
        kit_free(s[0]);
        kit_free(s[1]);
    }
}
END_TEST

/* One scan problem; channels padded, lanes past `used` hold poison in the inputs. */
typedef struct scan_case {
    size_t rows, n, channels, used, ld, ldbc;
    float *x, *z, *dt, *bc, *a, *d, *dt_bias, *state;
} scan_case;

static scan_case scan_new(void)
{
    static const size_t states[] = {1, 8, 16, 5, 16, 32};
    scan_case c = {.rows = 1 + kit_below(20), .n = states[kit_below(6)]};
    c.channels = 16 * (1 + kit_below(5));
    c.used = c.channels - kit_below(16);
    c.ld = c.channels + 16;
    c.ldbc = samba__pad16(2 * c.n) + 16;
    c.x = kit_rows(c.rows, c.ld, c.used, 2.0f);
    c.z = kit_rows(c.rows, c.ld, c.used, 6.0f);
    c.dt = kit_rows(c.rows, c.ld, c.used, 8.0f);
    c.bc = kit_rows(c.rows, c.ldbc, 2 * c.n, 1.0f);
    c.a = kit_random(c.channels * c.n, 1.0f);
    for (size_t i = 0; i < c.channels * c.n; i++)
        c.a[i] = -fabsf(c.a[i]) * (float)c.n - 0.01f;
    c.d = kit_random(c.channels, 1.0f);
    c.dt_bias = kit_random(c.channels, 1.0f);
    c.state = kit_random(c.channels * c.n, 1.0f);
    return c;
}

static void scan_free(scan_case *c)
{
    float *all[] = {c->x, c->z, c->dt, c->bc, c->a, c->d, c->dt_bias, c->state};
    for (size_t i = 0; i < 8; i++)
        kit_free(all[i]);
}

static void run_scan(const samba__kernels *t, const scan_case *c, const float *state, float *out,
                     float *y, float *memory, size_t row, size_t n)
{
    size_t cut = kit_below(c->channels / 16 + 1) * 16;
    samba__scan_args a = {.n_rows = n, .n_state = c->n, .end = cut};
    a.x = c->x + row * c->ld;
    a.z = c->z + row * c->ld;
    a.dt = c->dt + row * c->ld;
    a.ldx = a.ldz = a.lddt = a.ldy = a.ldm = c->ld;
    a.b = c->bc + row * c->ldbc;
    a.c = a.b + c->n;
    a.ldbc = c->ldbc;
    a.a = c->a;
    a.d = c->d;
    a.dt_bias = c->dt_bias;
    a.state_in = state;
    a.state_out = out;
    a.y = y + row * c->ld;
    a.memory = memory ? memory + row * c->ld : NULL;
    t->scan(&a);
    a.begin = cut;
    a.end = c->channels;
    t->scan(&a);
}

static void check_channel(const scan_case *c, bool with_state, size_t e, const float *y,
                          const float *memory, const float *out)
{
    double h[32];
    for (size_t n = 0; n < c->n; n++)
        h[n] = with_state ? (double)c->state[(e / 16 * c->n + n) * 16 + e % 16] : 0;
    for (size_t t = 0; t < c->rows; t++) {
        const float *b = c->bc + t * c->ldbc;
        double x = (double)c->x[t * c->ld + e], sum = 0, size = 1;
        double dt = kit_softplus((double)c->dt[t * c->ld + e] + (double)c->dt_bias[e]);
        for (size_t n = 0; n < c->n; n++) {
            h[n] = exp(dt * (double)c->a[(e / 16 * c->n + n) * 16 + e % 16]) * h[n] +
                   dt * x * (double)b[n];
            sum += h[n] * (double)b[c->n + n];
            size += fabs(h[n]);
        }
        sum += (double)c->d[e] * x;
        kit_near(memory[t * c->ld + e], sum, 1e-5 * size, "memory of row %zu: ", t);
        kit_near(y[t * c->ld + e], sum * kit_silu((double)c->z[t * c->ld + e]), 1e-4 * size,
                 "output of row %zu: ", t);
    }
    for (size_t n = 0; n < c->n; n++)
        kit_near(out[(e / 16 * c->n + n) * 16 + e % 16], h[n], 1e-5 * (1 + fabs(h[n])),
                 "state %zu: ", n);
}

START_TEST(scan)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    for (size_t i = 0; i < 60; i++) {
        scan_case c = scan_new();
        size_t n_state = c.channels * c.n, n_y = c.rows * c.ld;
        bool with_state = kit_below(2);
        const float *first = with_state ? c.state : NULL;
        float *y = kit_floats(n_y), *memory = kit_floats(n_y), *out = kit_floats(n_state);
        run_scan(&t, &c, first, out, y, memory, 0, c.rows);
        for (size_t e = 0; e < c.used; e++)
            check_channel(&c, with_state, e, y, memory, out);
        kit_check_margins(y, c.rows, c.ld, c.channels);
        kit_check_margins(memory, c.rows, c.ld, c.channels);
        kit_check_margins(out, 1, n_state, n_state);
        /* In pieces, without memory, y over dt: the same bits. */
        float *s[2] = {kit_floats(n_state), kit_floats(n_state)};
        size_t row = 0, step = 0;
        for (; row < c.rows; step++) {
            size_t n = 1 + kit_below(3);
            n = n < c.rows - row ? n : c.rows - row;
            run_scan(&t, &c, step ? s[(step + 1) % 2] : first, s[step % 2], c.dt, NULL, row, n);
            row += n;
        }
        for (size_t r = 0; r < c.rows; r++)
            ck_assert_mem_eq(y + r * c.ld, c.dt + r * c.ld, c.used * sizeof *y);
        for (size_t at = 0; at < n_state; at++)
            if (at / 16 / c.n * 16 + at % 16 < c.used)
                ck_assert_mem_eq(&out[at], &s[(step + 1) % 2][at], sizeof *out);
        float *all[] = {y, memory, out, s[0], s[1]};
        for (size_t k = 0; k < 5; k++)
            kit_free(all[k]);
        scan_free(&c);
    }
}
END_TEST

/* No state is the same bits as a state of zeros. */
START_TEST(zero_state)
{
    samba__kernels t;
    if (!kit_tier(_i, &t))
        return;
    scan_case c = scan_new();
    size_t n_state = c.channels * c.n, n_y = c.rows * c.ld;
    float *y[2] = {kit_floats(n_y), kit_floats(n_y)};
    float *s[2] = {kit_floats(n_state), kit_floats(n_state)};
    memset(c.state, 0, n_state * sizeof *c.state);
    run_scan(&t, &c, NULL, s[0], y[0], NULL, 0, c.rows);
    run_scan(&t, &c, c.state, s[1], y[1], NULL, 0, c.rows);
    for (size_t r = 0; r < c.rows; r++)
        ck_assert_mem_eq(y[0] + r * c.ld, y[1] + r * c.ld, c.used * sizeof **y);
    for (size_t i = 0; i < 2; i++) {
        kit_free(y[i]);
        kit_free(s[i]);
    }
    scan_free(&c);
}
END_TEST

int main(void)
{
    const kit_test tests[] = {{conv}, {scan}, {zero_state}};
    return kit_main("kernels/mamba", tests, 3);
}
