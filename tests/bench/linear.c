/* Linear kernels of every weight type: many rows against the arithmetic peak, one row over weights
 * that no cache holds against the read bandwidth; then packing, preparing and gathering. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

typedef struct format {
    samba_dtype dtype;
    const char *name;
    lm_peak_type type;
    size_t block, bytes; /* in a file */
} format;

static const format formats[] = {
    {SAMBA_DTYPE_F32, "f32", LM_PEAK_F32, 1, 4},
    {SAMBA_DTYPE_F16, "f16", LM_PEAK_F32, 1, 2},
    {SAMBA_DTYPE_BF16, "bf16", LM_PEAK_BF16, 1, 2},
    {SAMBA_DTYPE_Q8_0, "q8_0", LM_PEAK_INT8, 32, 34},
    {SAMBA_DTYPE_Q4_0, "q4_0", LM_PEAK_INT8, 32, 18},
    {SAMBA_DTYPE_Q4_K, "q4_k", LM_PEAK_INT8, 256, 144},
    {SAMBA_DTYPE_Q6_K, "q6_k", LM_PEAK_INT8, 256, 210},
};

typedef struct linear {
    const samba__linear_kernels *k;
    samba__linear_args args;
    samba__prepare_args prepare;
    samba__pack_args pack;
    float *row;
} linear;

static void run(const void *arg)
{
    const linear *l = arg;
    l->k->run(&l->args);
}

static void prepare(const void *arg)
{
    const linear *l = arg;
    l->k->prepare_rows(&l->prepare);
}

static void pack(const void *arg)
{
    const linear *l = arg;
    l->k->pack(&l->pack);
}

static void gather(const void *arg)
{
    const linear *l = arg;
    for (size_t i = 0; i < 16; i++)
        l->k->gather(l->args.packed, l->args.cols, (i * 37) % l->args.rows, l->row);
}

/* Weights as a file has them; what is a half in a block must be a number. */
static void *random_weights(const format *f, size_t n)
{
    size_t bytes = n / f->block * f->bytes;
    uint8_t *p = bench_bytes(bytes);
    const uint16_t small = 0x1400; /* 2^-10 as a half */
    const float *floats = f->block == 1 ? bench_floats(n, 1) : NULL;
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)bench_random();
    for (size_t i = 0; f->block > 1 && i < n / f->block; i++) {
        uint8_t *block = p + i * f->bytes;
        memcpy(f->dtype == SAMBA_DTYPE_Q6_K ? block + 208 : block, &small, 2);
        if (f->dtype == SAMBA_DTYPE_Q4_K)
            memcpy(block + 2, &small, 2);
    }
    for (size_t i = 0; floats && i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &floats[i], 4);
        uint16_t half =
            (uint16_t)(f->dtype == SAMBA_DTYPE_BF16 ? bits >> 16 : (bits >> 16 & 0x83ff) | 0x3800);
        if (f->dtype == SAMBA_DTYPE_F32)
            memcpy(p + 4 * i, &bits, 4);
        else
            memcpy(p + 2 * i, &half, 2);
    }
    return p;
}

/* A packed matrix of `panels` panels: one packed for real, the others like it. */
static void fill(linear *l, const format *f, size_t cols, size_t panels)
{
    size_t size = l->k->panel_bytes(cols);
    char *packed = bench_bytes(size * panels);
    l->pack = (samba__pack_args){
        .src = random_weights(f, 16 * cols), .rows = 16, .cols = cols, .packed = packed};
    l->k->pack(&l->pack);
    for (size_t i = 1; i < panels; i++)
        memcpy(packed + i * size, packed, size);
    l->args.packed = packed;
    l->args.rows = 16 * panels;
    l->args.cols = cols;
    l->args.panel_end = panels;
}

static void give_rows(linear *l, size_t n, size_t cols)
{
    void *x = bench_bytes(n * l->k->row_bytes(cols));
    l->prepare = (samba__prepare_args){
        .x = bench_floats(n * cols, 1), .ldx = cols, .n_rows = n, .cols = cols, .to = x};
    l->k->prepare_rows(&l->prepare);
    l->args.x = x;
    l->args.n_rows = n;
    l->args.ldy = l->args.rows;
    l->args.y = bench_bytes(n * l->args.rows * sizeof(float));
}

static double weights_of(const linear *l)
{
    return (double)l->args.rows * (double)l->args.cols;
}

/* y of n rows over a square matrix that caches hold. */
static void many_rows(const bench *b, const format *f, size_t n)
{
    linear l = {.k = &b->kernels.linear[f->dtype]};
    fill(&l, f, b->width, b->width / 16);
    give_rows(&l, n, b->width);
    bench_work w = {.kernel = "linear",
                    .ops = 2 * weights_of(&l) * (double)n,
                    .type = f->type,
                    .run = run,
                    .arg = &l};
    snprintf(w.variant, sizeof w.variant, "%s, %zu row%s", f->name, n, n > 1 ? "s" : "");
    bench_measure(b, &w);
    bench_free();
}

static void from_memory(const bench *b, const format *f)
{
    linear l = {.k = &b->kernels.linear[f->dtype]};
    fill(&l, f, b->width, b->memory / l.k->panel_bytes(b->width));
    give_rows(&l, 1, b->width);
    bench_work w = {.kernel = "linear",
                    .bytes = weights_of(&l) / (double)f->block * (double)f->bytes,
                    .run = run,
                    .arg = &l};
    snprintf(w.variant, sizeof w.variant, "%s, 1 row from memory", f->name);
    bench_measure(b, &w);
    bench_free();
}

static void around(const bench *b, const format *f)
{
    linear l = {.k = &b->kernels.linear[f->dtype]};
    size_t cols = b->width;
    fill(&l, f, cols, 16);
    give_rows(&l, 32, cols);
    l.row = bench_bytes(cols * sizeof(float));
    bench_work w = {.element = "element", .arg = &l};
    snprintf(w.variant, sizeof w.variant, "%s", f->name);
    w.kernel = "prepare";
    w.elements = 32.0 * (double)cols;
    w.run = prepare;
    bench_measure(b, &w);
    w.kernel = "pack";
    w.elements = 16.0 * (double)cols;
    w.run = pack;
    bench_measure(b, &w);
    w.kernel = "gather";
    w.run = gather;
    bench_measure(b, &w);
    bench_free();
}

void bench_linear(const bench *b)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const format *f = &formats[i];
        const samba__linear_kernels *k = &b->kernels.linear[f->dtype];
        const samba__linear_kernels *old = &b->plainer.linear[f->dtype];
        if (!k->run)
            continue;
        if (bench_wants(b, "linear", k->run != old->run)) {
            const size_t rows[] = {1, 4, 8, 32, b->rows};
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                many_rows(b, f, rows[r]);
            from_memory(b, f);
        }
        if (bench_wants(b, "prepare pack gather", k->run != old->run))
            around(b, f);
    }
}
