/* The kernels of Mamba: conv and selective scan, in cycles per channel and per state element. */
#include "bench.h"

#include <stdio.h>

enum {
    STATES = 16,
    TAPS = 4
};

typedef struct mamba {
    const samba__kernels *k;
    samba__conv_args conv;
    samba__scan_args scan;
} mamba;

static void conv(const void *arg)
{
    const mamba *m = arg;
    m->k->conv(&m->conv);
}

static void scan(const void *arg)
{
    const mamba *m = arg;
    m->k->scan(&m->scan);
}

static void fill(mamba *m, size_t n, size_t e)
{
    m->conv = (samba__conv_args){.x = bench_floats(n * e, 1),
                                 .ldx = e,
                                 .y = bench_bytes(n * e * sizeof(float)),
                                 .ldy = e,
                                 .n_rows = n,
                                 .end = e,
                                 .channels = e,
                                 .taps = TAPS,
                                 .weight = bench_floats(TAPS * e, 0.5f),
                                 .bias = bench_floats(e, 0.1f),
                                 .state_in = bench_floats((TAPS - 1) * e, 1),
                                 .state_out = bench_bytes((TAPS - 1) * e * sizeof(float))};
    float *a = bench_floats(e * STATES, 1);
    for (size_t i = 0; i < e * STATES; i++)
        a[i] = -1 - (float)(i / 16 % STATES) * (1 + 0.1f * a[i]);
    m->scan = (samba__scan_args){.n_rows = n, .n_state = STATES, .end = e};
    m->scan.x = bench_floats(n * e, 1);
    m->scan.z = bench_floats(n * e, 1);
    m->scan.dt = bench_floats(n * e, 1);
    m->scan.ldx = m->scan.ldz = m->scan.lddt = m->scan.ldy = e;
    m->scan.b = bench_floats(n * 2 * STATES, 1);
    m->scan.c = m->scan.b + STATES;
    m->scan.ldbc = 2 * STATES;
    m->scan.a = a;
    m->scan.d = bench_floats(e, 1);
    m->scan.dt_bias = bench_floats(e, 1);
    m->scan.state_in = bench_floats(e * STATES, 1);
    m->scan.state_out = bench_bytes(e * STATES * sizeof(float));
    m->scan.y = bench_bytes(n * e * sizeof(float));
}

static void with_rows(const bench *b, size_t n)
{
    mamba m = {.k = &b->kernels};
    size_t e = 2 * b->width;
    bench_work w = {.arg = &m};
    fill(&m, n, e);
    snprintf(w.variant, sizeof w.variant, "%zu row%s", n, n > 1 ? "s" : "");
    if (bench_wants(b, "conv", b->kernels.conv != b->plainer.conv)) {
        w.kernel = "conv";
        w.elements = (double)(n * e);
        w.element = "channel";
        w.run = conv;
        bench_measure(b, &w);
    }
    if (bench_wants(b, "scan", b->kernels.scan != b->plainer.scan)) {
        w.kernel = "scan";
        w.elements = (double)(n * e * STATES);
        w.element = "state";
        w.run = scan;
        bench_measure(b, &w);
    }
    bench_free();
}

void bench_mamba(const bench *b)
{
    with_rows(b, b->rows);
    with_rows(b, 1);
}
