/* Everything that is done once per element: norms, gates, rotation, linear attention, scoring. */
#include "bench.h"

#include <stdio.h>

enum {
    HEAD = 128,
    KEY_DIM = 192, /* GLA's at d_model 1536 */
    VALUE_DIM = 384
};

typedef struct rest {
    const samba__kernels *k;
    samba__norm_args norm;
    samba__gate_args gate;
    samba__rope_table_args table;
    samba__rope_args rope;
    samba__diff_args diff;
    samba__gla_args gla;
    samba__gated_norm_args gated_norm;
    size_t vocabulary;
    const float *logits;
    float *score;
} rest;

#define RUNNER(name, member)                                                                       \
    static void name(const void *arg)                                                              \
    {                                                                                              \
        const rest *r = arg;                                                                       \
        r->k->name(&r->member);                                                                    \
    }
RUNNER(rms_norm, norm)
RUNNER(layer_norm, norm)
RUNNER(silu_mul, gate)
RUNNER(gla_decay, gate)
RUNNER(rope_table, table)
RUNNER(rope, rope)
RUNNER(diff, diff)
RUNNER(gla, gla)
RUNNER(gated_norm, gated_norm)

static void log_probs(const void *arg)
{
    const rest *r = arg;
    const int32_t target = 7;
    r->k->log_probs(r->logits, r->vocabulary, &target, 1, r->score);
}

static void fill_rows(rest *r, size_t n, size_t d)
{
    float *y = bench_bytes(n * d * sizeof *y);
    const float *x = bench_floats(n * d, 1), *g = bench_floats(n * d, 1);
    const float *weight = bench_floats(d, 1), *bias = bench_floats(d, 1);
    r->norm = (samba__norm_args){.x = x, .ldx = d, .y = y, .ldy = d, .n_rows = n, .n = d};
    r->norm.weight = weight;
    r->norm.bias = bias;
    r->norm.eps = 1e-5f;
    r->gate = (samba__gate_args){.a = x, .b = g, .lda = d, .ldb = d, .y = y, .ldy = d};
    r->gate.n_rows = n;
    r->gate.end = d;
    r->diff = (samba__diff_args){.a1 = x, .a2 = g, .ld = d, .y = y, .ldy = d, .n_rows = n};
    r->diff.n_pairs = d / HEAD;
    r->diff.n = HEAD;
    r->diff.lambda = 0.5f;
    r->diff.eps = 1e-5f;
    r->diff.out_scale = 0.5f;
    r->diff.weight = weight;
    r->gated_norm = (samba__gated_norm_args){.o = x, .g = g, .ldo = d, .ldg = d, .y = y, .ldy = d};
    r->gated_norm.n_rows = n;
    r->gated_norm.n_heads = d / HEAD;
    r->gated_norm.n = HEAD;
    r->gated_norm.eps = 1e-5f;
    r->gated_norm.weight = weight;
}

static void fill_rope(rest *r, size_t n, size_t d)
{
    size_t half = HEAD / 2;
    r->table = (samba__rope_table_args){.theta = bench_floats(half, 1),
                                        .half = half,
                                        .position = 1000,
                                        .n_rows = n,
                                        .condense = 1,
                                        .bf16 = true,
                                        .cos = bench_bytes(n * half * sizeof(float)),
                                        .sin = bench_bytes(n * half * sizeof(float)),
                                        .ld = half};
    r->rope = (samba__rope_args){.x = bench_floats(n * d, 1),
                                 .ldx = d,
                                 .n_rows = n,
                                 .n_heads = d / HEAD,
                                 .head_dim = HEAD,
                                 .half = half,
                                 .cos = r->table.cos,
                                 .sin = r->table.sin,
                                 .ld = half};
    r->k->rope_table(&r->table);
}

static void fill_gla(rest *r, size_t n)
{
    float *decay = bench_floats(n * KEY_DIM, 1);
    for (size_t i = 0; i < n * KEY_DIM; i++)
        decay[i] = 0.95f + 0.04f * decay[i];
    r->gla = (samba__gla_args){.n_rows = n,
                               .key_dim = KEY_DIM,
                               .end = VALUE_DIM,
                               .q = bench_floats(n * KEY_DIM, 1),
                               .k = bench_floats(n * KEY_DIM, 1),
                               .ldqk = KEY_DIM,
                               .v = bench_floats(n * VALUE_DIM, 1),
                               .ldv = VALUE_DIM,
                               .decay = decay,
                               .ldd = KEY_DIM,
                               .scale = 0.1f,
                               .state_in = bench_floats(KEY_DIM * VALUE_DIM, 1),
                               .state_out = bench_bytes(KEY_DIM * VALUE_DIM * sizeof(float)),
                               .o = bench_bytes(n * VALUE_DIM * sizeof(float)),
                               .ldo = VALUE_DIM};
}

void bench_rest(const bench *b)
{
    const samba__kernels *k = &b->kernels, *old = &b->plainer;
    size_t n = b->rows, d = b->width;
    rest r = {.k = k, .vocabulary = 32 * b->width / 2, .score = bench_bytes(sizeof(float))};
    fill_rows(&r, n, d);
    fill_rope(&r, n, d);
    fill_gla(&r, n);
    r.logits = bench_floats(r.vocabulary, 10);
    double all = (double)(n * d);
    const struct {
        const char *name;
        bool is_new;
        void (*run)(const void *);
        double elements;
        const char *element;
    } list[] = {
        {"rms_norm", k->rms_norm != old->rms_norm, rms_norm, all, "element"},
        {"layer_norm", k->layer_norm != old->layer_norm, layer_norm, all, "element"},
        {"silu_mul", k->silu_mul != old->silu_mul, silu_mul, all, "element"},
        {"gla_decay", k->gla_decay != old->gla_decay, gla_decay, all, "element"},
        {"rope_table", k->rope_table != old->rope_table, rope_table, (double)n * HEAD / 2, "angle"},
        {"rope", k->rope != old->rope, rope, all, "element"},
        {"diff", k->diff != old->diff, diff, all, "element"},
        {"gla", k->gla != old->gla, gla, (double)n * KEY_DIM * VALUE_DIM, "state"},
        {"gated_norm", k->gated_norm != old->gated_norm, gated_norm, all, "element"},
        {"log_prob", k->log_probs != old->log_probs, log_probs, (double)r.vocabulary, "logit"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        bench_work w = {.kernel = list[i].name,
                        .elements = list[i].elements,
                        .element = list[i].element,
                        .run = list[i].run,
                        .arg = &r};
        snprintf(w.variant, sizeof w.variant, "%zu rows of %zu", n, d);
        if (bench_wants(b, list[i].name, list[i].is_new))
            bench_measure(b, &w);
    }
    bench_free();
}
