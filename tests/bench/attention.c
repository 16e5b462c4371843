/* Attention over pages of every type of keys and values: a tile of queries against the arithmetic
 * peak of f32, one query per kilobyte read; and storing rows. */
#include "bench.h"

#include <stdio.h>

enum {
    HEAD = 128,
    KV_HEADS = 4
};

typedef struct attention {
    const samba__kv_kernels *k;
    samba__attend_args attend;
    samba__kv_store_args store;
} attention;

static void attend(const void *arg)
{
    const attention *a = arg;
    samba__attend_args args = a->attend;
    for (size_t h = 0; h < KV_HEADS; h++) {
        args.key_head = args.value_head = h;
        a->k->attend(&args);
    }
}

static void store(const void *arg)
{
    const attention *a = arg;
    a->k->store(&a->store);
}

/* Pages full of keys, and queries at the end of them. */
static void fill(attention *a, size_t positions, size_t rows, size_t heads)
{
    const samba__kv_shape shape = {KV_HEADS, HEAD};
    size_t n_pages = positions / SAMBA__PAGE, ld = KV_HEADS * HEAD, ldq = heads * HEAD;
    const void **pages = bench_bytes(n_pages * sizeof *pages);
    a->store = (samba__kv_store_args){.shape = shape,
                                      .n_rows = SAMBA__PAGE,
                                      .head_end = KV_HEADS,
                                      .k = bench_floats(SAMBA__PAGE * ld, 1),
                                      .v = bench_floats(SAMBA__PAGE * ld, 1),
                                      .ldk = ld,
                                      .ldv = ld};
    for (size_t i = 0; i < n_pages; i++) {
        a->store.page = bench_bytes(a->k->page_bytes(shape));
        a->k->store(&a->store);
        pages[i] = a->store.page;
    }
    a->attend = (samba__attend_args){.shape = shape,
                                     .pages = pages,
                                     .position = positions - rows,
                                     .n_rows = rows,
                                     .n_heads = heads,
                                     .n_value_heads = 1,
                                     .scale = 0.088f,
                                     .q = bench_floats(rows * ldq, 1),
                                     .ldq = ldq,
                                     .q_stride = HEAD,
                                     .y = bench_bytes(rows * ldq * sizeof(float)),
                                     .ldy = ldq,
                                     .y_stride = HEAD,
                                     .scratch = bench_bytes(a->k->scratch_bytes(shape, heads, 1))};
}

static void with(const bench *b, samba_dtype dtype, size_t rows, size_t heads)
{
    attention a = {.k = &b->kernels.kv[dtype]};
    const samba__kv_shape shape = {KV_HEADS, HEAD};
    fill(&a, b->positions, rows, heads);
    double keys = (double)(rows * b->positions) - (double)(rows * (rows - 1)) / 2;
    bench_work w = {.kernel = "attention",
                    .ops = 4.0 * HEAD * KV_HEADS * (double)heads * keys,
                    .type = LM_PEAK_F32,
                    .elements = (double)(b->positions * a.k->row_bytes(shape)),
                    .element = "byte of keys and values",
                    .run = attend,
                    .arg = &a};
    if (rows > 1)
        w.elements = 0;
    snprintf(w.variant, sizeof w.variant, "%s, %zu row%s, %zu head%s", samba_dtype_name(dtype),
             rows, rows > 1 ? "s" : "", heads, heads > 1 ? "s" : "");
    bench_measure(b, &w);
    bench_free();
}

static void storing(const bench *b, samba_dtype dtype)
{
    attention a = {.k = &b->kernels.kv[dtype]};
    fill(&a, SAMBA__PAGE, 1, 1);
    bench_work w = {.kernel = "store",
                    .elements = 2.0 * SAMBA__PAGE * KV_HEADS * HEAD,
                    .element = "element",
                    .run = store,
                    .arg = &a};
    snprintf(w.variant, sizeof w.variant, "%s", samba_dtype_name(dtype));
    bench_measure(b, &w);
    bench_free();
}

void bench_attention(const bench *b)
{
    for (samba_dtype t = 0; t < SAMBA__N_DTYPES; t++) {
        const samba__kv_kernels *k = &b->kernels.kv[t], *old = &b->plainer.kv[t];
        if (!k->attend)
            continue;
        if (bench_wants(b, "attention", k->attend != old->attend)) {
            with(b, t, SAMBA__ATTEND_ROWS, 1);
            with(b, t, SAMBA__ATTEND_ROWS, 4);
            with(b, t, 1, 1);
            with(b, t, 1, 4);
        }
        if (bench_wants(b, "store", k->store != old->store))
            storing(b, t);
    }
}
