/*
 * Differential attention of SambaY, no positions: per pair of heads A1 - lambda*A2 over values two
 * heads wide, then a norm. Cross layers have queries only and read the pages of another sublayer.
 */
#include "base/fmath.h"
#include "cpu/cpu.h"

typedef struct diff {
    samba_backend_weights base;
    size_t n_heads;
    uint64_t window;
    samba__cpu_linear in, out; /* in: q | k | v, or q */
    const float *subnorm;
    float lambda, out_scale, eps;
    bool cross;
} diff;

typedef struct diff_run {
    samba_backend_pass *pass;
    const diff *w;
    bool narrow;
    samba__cpu_prepared in_rows, q_rows, out_rows;
    float *qkv;     /* [rows][in.ld]; with narrow the q columns of row i belong to output i */
    float *a1, *a2; /* [rows or outputs][ld] */
    size_t ld;
} diff_run;

static void take(diff_run *r, samba__cpu_arena *arena)
{
    const diff *w = r->w;
    r->in_rows = samba__cpu_take_prepared(arena, &w->in);
    r->q_rows = samba__cpu_take_prepared(arena, &w->in);
    r->qkv = samba__cpu_take_floats(arena, w->in.ld);
    r->ld = samba__cpu_ld(w->n_heads * w->base.kv.head_dim);
    r->a1 = samba__cpu_take_floats(arena, r->ld);
    r->a2 = samba__cpu_take_floats(arena, r->ld);
    r->out_rows = samba__cpu_take_prepared(arena, &w->out);
}

static void build(samba__cpu_builder *b, samba_backend_weights *base)
{
    diff *w = (diff *)base;
    const samba_backend_sublayer *d = b->desc;
    size_t c = d->head_dim, h = d->n_heads, g = d->n_kv_heads;
    *w = (diff){.base = *base, .n_heads = h, .window = d->window};
    w->cross = d->flags & SAMBA_SUBLAYER_CROSS;
    w->lambda = d->lambda;
    w->out_scale = 1.0f - d->lambda_init;
    w->eps = d->subnorm_eps;
    samba__cpu_build_norm(b, &w->base);
    if (!samba__cpu_build_check(b, c > 0, "head_dim", c) ||
        !samba__cpu_build_check(b, g > 0 && h > 0 && g % 2 == 0 && h % g == 0,
                                "n_heads no multiple of an even n_kv_heads", g))
        return;
    w->base.kv = (samba__kv_shape){g, c};
    w->base.owns_pages = !w->cross;
    samba__cpu_build_linear(&w->in, d->d_model);
    samba__cpu_build_part(b, &w->in, SAMBA_W_Q, SAMBA_W_Q_BIAS, h * c);
    if (!w->cross) {
        samba__cpu_build_part(b, &w->in, SAMBA_W_K, SAMBA_W_K_BIAS, g * c);
        samba__cpu_build_part(b, &w->in, SAMBA_W_V, SAMBA_W_V_BIAS, g * c);
    }
    samba__cpu_build_linear(&w->out, h * c);
    samba__cpu_build_part(b, &w->out, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, d->d_model);
    w->subnorm = samba__cpu_build_vector(b, SAMBA_W_SUBNORM, 2 * c, SAMBA__CPU_REQUIRED);
    w->base.needs.thread_bytes = samba__cpu_attend_bytes(b->device, &w->base, h / g, 2);
    samba__cpu_arena count = {.n_rows = 1};
    take(&(diff_run){.w = w}, &count);
    w->base.footprint.row_bytes = count.used;
}

static void store_share(const diff_run *r, samba__cpu_thread t)
{
    const diff *w = r->w;
    size_t g = w->base.kv.n_heads, ld = w->in.ld, begin, end;
    samba__cpu_store_range(r->pass, g, t, &begin, &end);
    while (begin < end) {
        samba__cpu_store_task s = samba__cpu_next_store(r->pass, g, &begin, end);
        samba__cpu_store(r->pass, &w->base,
                         &(samba__kv_store_args){.n_rows = s.n_rows,
                                                 .head_begin = s.head,
                                                 .head_end = s.head + s.n_heads,
                                                 .k = r->qkv + s.row * ld + w->in.parts[1].column,
                                                 .v = r->qkv + s.row * ld + w->in.parts[2].column,
                                                 .ldk = ld,
                                                 .ldv = ld},
                         s.row);
    }
}

static void subtract_share(const diff_run *r, size_t n_rows, samba__cpu_thread t)
{
    const diff *w = r->w;
    size_t begin, end;
    samba__pool_share(n_rows, 1, t.index, t.n, &begin, &end);
    r->pass->device->kernels.diff(&(samba__diff_args){.a1 = r->a1 + begin * r->ld,
                                                      .a2 = r->a2 + begin * r->ld,
                                                      .ld = r->ld,
                                                      .y = r->a1 + begin * r->ld,
                                                      .ldy = r->ld,
                                                      .n_rows = end - begin,
                                                      .n_pairs = w->n_heads / 2,
                                                      .n = 2 * w->base.kv.head_dim,
                                                      .lambda = w->lambda,
                                                      .eps = w->eps,
                                                      .out_scale = w->out_scale,
                                                      .weight = w->subnorm});
}

enum {
    STEP_NORM,
    STEP_IN,
    STEP_STORE,
    STEP_ATTEND,
    STEP_OUT_ROWS, /* after the difference */
    STEP_OUT,
    N_STEPS
};

static void project_share(const diff_run *r, bool norm, samba__cpu_thread t)
{
    const diff *w = r->w;
    const samba__cpu_projection projection = {.norm = &w->base.norm,
                                              .lin = &w->in,
                                              .rows = r->in_rows,
                                              .q_rows = r->q_rows,
                                              .qkv = r->qkv,
                                              .narrow = r->narrow,
                                              .q_compact = r->narrow};
    if (norm)
        samba__cpu_normed_share(r->pass, &projection, t);
    else
        samba__cpu_project_share(r->pass, &projection, t);
}

static void attend_share(const diff_run *r, samba__cpu_thread t)
{
    const diff *w = r->w;
    samba__cpu_attend_share(
        r->pass, &w->base,
        &(samba__cpu_heads){.q = r->qkv,
                            .ldq = w->in.ld,
                            .q_compact = r->narrow,
                            .key_step = 2,
                            .n_value_heads = 2,
                            .scale = 1.0f / samba__sqrtf((float)w->base.kv.head_dim),
                            .window = w->window,
                            .n_heads = w->n_heads,
                            .y = {r->a1, r->a2},
                            .ldy = r->ld},
        r->narrow, t);
}

/* A row's difference is made by who prepares it. */
static void out_rows_share(const diff_run *r, const samba__cpu_output *out, samba__cpu_thread t)
{
    subtract_share(r, out->n_rows, t);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_DIFF);
    samba__cpu_output_prepare(r->pass, out, t);
}

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const diff_run *r = run;
    const diff *w = r->w;
    samba_backend_pass *p = r->pass;
    const samba__cpu_output out = {.lin = &w->out,
                                   .prepared = r->out_rows,
                                   .input = r->a1,
                                   .ld = r->ld,
                                   .n_rows = r->narrow ? p->batch.n_out : p->n_rows};
    switch (step) {
    case STEP_NORM:
    case STEP_IN:
        project_share(r, step == STEP_NORM, t);
        break;
    case STEP_STORE:
        if (!w->cross)
            store_share(r, t);
        samba__cpu_lap(p, t, SAMBA__CPU_PHASE_STORE);
        break;
    case STEP_ATTEND:
        attend_share(r, t);
        break;
    case STEP_OUT_ROWS:
        out_rows_share(r, &out, t);
        break;
    case STEP_OUT:
        samba__cpu_output_run(p, &out, t);
        break;
    }
}

static void run(samba_backend_pass *pass, const samba_backend_weights *base, bool narrow)
{
    diff_run r = {.pass = pass, .w = (const diff *)base, .narrow = narrow};
    samba__cpu_arena arena = samba__cpu_arena_of(pass);
    take(&r, &arena);
    uint64_t serial = r.w->cross ? 1u << STEP_STORE : 0;
    if (pass->n_rows == 1)
        serial |= 1u << STEP_NORM | 1u << STEP_STORE | 1u << STEP_OUT_ROWS;
    samba__cpu_run(pass,
                   &(samba__cpu_steps){.work = work, .run = &r, .n = N_STEPS, .serial = serial});
}

const samba__cpu_kind samba__cpu_diff_attention = {
    SAMBA_SUBLAYER_DIFF_ATTENTION, "differential attention", sizeof(diff), build, run};
