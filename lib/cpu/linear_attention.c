/*
 * Gated linear attention and retention: one matrix S [key_dim][value_dim] per head, decayed per key
 * channel (GLA, from the input) or by a constant per head (retention, with rotary q and k). Work is
 * divided by heads and by panels of 16 value channels.
 */
#include "base/fmath.h"
#include "cpu/cpu.h"

enum {
    PART_Q,
    PART_K,
    PART_V,
    PART_GATE,
    PART_GK
};

typedef struct lin_attention {
    samba_backend_weights base;
    size_t n_heads, key_dim, value_dim;
    bool gated;                       /* GLA */
    samba__cpu_linear in, decay, out; /* in: q | k | v | gate (| gk_a); decay: gk_b */
    samba__cpu_rope rope;
    const float *subnorm;
    float eps;
} lin_attention;

typedef struct lin_run {
    samba_backend_pass *pass;
    const lin_attention *w;
    bool narrow, rope_ready;
    samba__cpu_prepared in_rows, decay_rows, out_rows;
    float *in;    /* [rows][in.ld] */
    float *decay; /* [rows][decay.ld]; GLA */
    float *o;     /* [rows][ldo]; then the normed and gated output rows */
    size_t ldo;
} lin_run;

static void take(lin_run *r, samba__cpu_arena *arena)
{
    const lin_attention *w = r->w;
    r->in_rows = samba__cpu_take_prepared(arena, &w->in);
    r->in = samba__cpu_take_floats(arena, w->in.ld);
    if (w->gated) {
        r->decay_rows = samba__cpu_take_prepared(arena, &w->decay);
        r->decay = samba__cpu_take_floats(arena, w->decay.ld);
    }
    r->ldo = samba__cpu_ld(w->n_heads * w->value_dim);
    r->o = samba__cpu_take_floats(arena, r->ldo);
    r->out_rows = samba__cpu_take_prepared(arena, &w->out);
}

static void build_in(samba__cpu_builder *b, lin_attention *w)
{
    const samba_backend_sublayer *d = b->desc;
    size_t keys = w->n_heads * w->key_dim, values = w->n_heads * w->value_dim;
    samba__cpu_build_linear(&w->in, d->d_model);
    samba__cpu_build_part(b, &w->in, SAMBA_W_Q, SAMBA_W_Q_BIAS, keys);
    samba__cpu_build_part(b, &w->in, SAMBA_W_K, SAMBA_W_K_BIAS, keys);
    samba__cpu_build_part(b, &w->in, SAMBA_W_V, SAMBA_W_V_BIAS, values);
    samba__cpu_build_part(b, &w->in, SAMBA_W_GATE, SAMBA_W_GATE_BIAS, values);
    if (w->gated) {
        samba__cpu_build_part(b, &w->in, SAMBA_W_GK_A, SAMBA__CPU_NO_BIAS, d->gate_rank);
        samba__cpu_build_linear(&w->decay, d->gate_rank);
        samba__cpu_build_part(b, &w->decay, SAMBA_W_GK_B, SAMBA_W_GK_BIAS, keys);
    }
}

static void build(samba__cpu_builder *b, samba_backend_weights *base)
{
    lin_attention *w = (lin_attention *)base;
    const samba_backend_sublayer *d = b->desc;
    *w = (lin_attention){.base = *base, .n_heads = d->n_heads, .eps = d->subnorm_eps};
    w->key_dim = d->key_dim;
    w->value_dim = d->value_dim;
    w->gated = d->kind == SAMBA_SUBLAYER_GLA;
    samba__cpu_build_norm(b, &w->base);
    if (!samba__cpu_build_check(b, w->n_heads > 0 && w->n_heads < 1u << 16, "n_heads", w->n_heads))
        return;
    build_in(b, w);
    if (b->status != SAMBA_OK)
        return;
    samba__cpu_build_linear(&w->out, w->n_heads * w->value_dim);
    samba__cpu_build_part(b, &w->out, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, d->d_model);
    w->subnorm = samba__cpu_build_vector(b, SAMBA_W_SUBNORM, w->value_dim, SAMBA__CPU_REQUIRED);
    samba__cpu_build_rope(b, &w->rope, w->key_dim, &w->base);
    samba__cpu_slab_section(&w->base.slab, (samba__cpu_section){.heads = w->n_heads,
                                                                .channels = w->value_dim,
                                                                .inner = w->key_dim,
                                                                .inner_first = true,
                                                                .grouped = true});
    samba__cpu_arena count = {.n_rows = 1};
    take(&(lin_run){.w = w}, &count);
    w->base.footprint.row_bytes = count.used;
}

/* ---------------------------------------------------------------- run */

static void decay_rows_share(const lin_run *r, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    size_t begin, end;
    samba__pool_share(r->pass->n_rows, 1, t.index, t.n, &begin, &end);
    if (begin < end)
        samba__cpu_linear_prepare(&w->decay, r->decay_rows, begin, end - begin,
                                  r->in + begin * w->in.ld + w->in.parts[PART_GK].column, w->in.ld);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_PREPARE);
}

/* decay = exp(log_sigmoid(gk_b gk_a x + bias) / 16): a thread's own panels. */
static void decay_share(const lin_run *r, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    samba_backend_pass *p = r->pass;
    size_t begin, end, ld = w->decay.ld;
    samba__cpu_linear_run_share(
        p, &w->decay,
        &(samba__cpu_linear_run){
            .x = r->decay_rows, .n_rows = p->n_rows, .y = r->decay, .ldy = ld, .part_end = 1},
        t);
    samba__pool_share(w->decay.parts[0].rows, 16, t.index, t.n, &begin, &end);
    p->device->kernels.gla_decay(&(samba__gate_args){.a = r->decay,
                                                     .lda = ld,
                                                     .y = r->decay,
                                                     .ldy = ld,
                                                     .n_rows = p->n_rows,
                                                     .begin = begin,
                                                     .end = end});
    samba__cpu_lap(p, t, SAMBA__CPU_PHASE_GATE);
}

static void rotate_share(const lin_run *r, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    samba_backend_pass *p = r->pass;
    size_t begin, end;
    samba__pool_share(p->n_rows, 1, t.index, t.n, &begin, &end);
    for (size_t part = PART_Q; part <= PART_K; part++)
        p->device->kernels.rope(
            &(samba__rope_args){.x = r->in + begin * w->in.ld + w->in.parts[part].column,
                                .ldx = w->in.ld,
                                .n_rows = end - begin,
                                .n_heads = w->n_heads,
                                .head_dim = w->key_dim,
                                .half = w->rope.key.dims / 2,
                                .cos = p->cos + begin * p->ld_rope,
                                .sin = p->sin + begin * p->ld_rope,
                                .ld = p->ld_rope});
}

/* Value channels [begin, end) of one head over one step. */
static void recur(const lin_run *r, const samba__cpu_step *step, size_t head, size_t begin,
                  size_t end)
{
    const lin_attention *w = r->w;
    const float *in = r->in + step->row * w->in.ld;
    size_t at = head * w->key_dim * samba__pad16(w->value_dim), ld = w->in.ld;
    samba__gla_args args = {.n_rows = step->n_rows, .key_dim = w->key_dim};
    args.begin = begin;
    args.end = end;
    args.q = in + w->in.parts[PART_Q].column + head * w->key_dim;
    args.k = in + w->in.parts[PART_K].column + head * w->key_dim;
    args.v = in + w->in.parts[PART_V].column + head * w->value_dim;
    args.ldqk = args.ldv = ld;
    if (w->gated) {
        args.decay = r->decay + step->row * w->decay.ld + head * w->key_dim;
        args.ldd = w->decay.ld;
    } else {
        args.constant = (float)(1.0 - samba__pow(2.0, -5.0 - (double)head));
    }
    args.scale = 1.0f / samba__sqrtf((float)w->key_dim);
    args.state_in = samba__cpu_state_at(step->state_in, at);
    args.state_out = step->state_out + at;
    args.o = r->o + step->row * r->ldo + head * w->value_dim;
    args.ldo = r->ldo;
    r->pass->device->kernels.gla(&args);
}

/* Items are (head, panel of 16 value channels). */
static void recur_share(const lin_run *r, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    size_t panels = samba__pad16(w->value_dim) / 16, begin, end;
    samba__pool_share(w->n_heads * panels, 1, t.index, t.n, &begin, &end);
    while (begin < end) {
        size_t head = begin / panels, panel = begin % panels;
        size_t n = panels - panel < end - begin ? panels - panel : end - begin;
        size_t last = (panel + n) * 16 < w->value_dim ? (panel + n) * 16 : w->value_dim;
        for (size_t s = 0; s < r->pass->batch.n_seqs; s++)
            for (size_t i = 0; i < samba__cpu_n_steps(r->pass, s); i++) {
                samba__cpu_step step = samba__cpu_step_of(r->pass, s, i);
                recur(r, &step, head, panel * 16, last);
            }
        begin += n;
    }
}

/* Norm and gate of the output rows, in place. */
static void gate_share(const lin_run *r, size_t n_rows, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    const samba_backend_pass *p = r->pass;
    size_t begin, end;
    samba__pool_share(n_rows, 1, t.index, t.n, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        size_t row = r->narrow ? p->out_row[i] : i;
        p->device->kernels.gated_norm(
            &(samba__gated_norm_args){.o = r->o + row * r->ldo,
                                      .g = r->in + row * w->in.ld + w->in.parts[PART_GATE].column,
                                      .ldo = r->ldo,
                                      .ldg = w->in.ld,
                                      .y = r->o + row * r->ldo,
                                      .ldy = r->ldo,
                                      .n_rows = 1,
                                      .n_heads = w->n_heads,
                                      .n = w->value_dim,
                                      .eps = w->eps,
                                      .weight = w->subnorm});
    }
}

enum {
    STEP_NORM,
    STEP_IN,
    STEP_ROWS, /* rotation of q and k; preparation for the decay, of other columns */
    STEP_DECAY,
    STEP_RECUR,
    STEP_OUT_ROWS, /* after norm and gate */
    STEP_OUT,
    N_STEPS
};

static void norm_share(const lin_run *r, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    const samba__cpu_input in = {
        .norm = &w->base.norm, .lin = &w->in, .prepared = r->in_rows, .n_rows = r->pass->n_rows};
    samba__cpu_input_share(r->pass, &in, t);
    if (!r->rope_ready)
        samba__cpu_rope_share(r->pass, &w->rope, t);
}

static void in_share(const lin_run *r, samba__cpu_thread t)
{
    const lin_attention *w = r->w;
    samba_backend_pass *p = r->pass;
    samba__cpu_compact_share(p, r->narrow, t);
    samba__cpu_linear_run_share(p, &w->in,
                                &(samba__cpu_linear_run){.x = r->in_rows,
                                                         .n_rows = p->n_rows,
                                                         .y = r->in,
                                                         .ldy = w->in.ld,
                                                         .part_end = w->in.n_parts},
                                t);
}

static void rows_share(const lin_run *r, samba__cpu_thread t)
{
    if (r->w->gated)
        decay_rows_share(r, t);
    if (r->w->rope.key.dims)
        rotate_share(r, t);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_STORE);
}

static void out_rows_share(const lin_run *r, const samba__cpu_output *out, samba__cpu_thread t)
{
    gate_share(r, out->n_rows, t);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_GATE);
    samba__cpu_output_prepare(r->pass, out, t);
}

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const lin_run *r = run;
    const lin_attention *w = r->w;
    samba_backend_pass *p = r->pass;
    const samba__cpu_output out = {.lin = &w->out,
                                   .prepared = r->out_rows,
                                   .input = r->o,
                                   .ld = r->ldo,
                                   .row_map = r->narrow ? p->out_row : NULL,
                                   .n_rows = r->narrow ? p->batch.n_out : p->n_rows};
    switch (step) {
    case STEP_NORM:
        norm_share(r, t);
        break;
    case STEP_IN:
        in_share(r, t);
        break;
    case STEP_ROWS:
        rows_share(r, t);
        break;
    case STEP_DECAY:
        if (w->gated)
            decay_share(r, t);
        break;
    case STEP_RECUR:
        recur_share(r, t);
        samba__cpu_lap(p, t, SAMBA__CPU_PHASE_GLA);
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
    lin_run r = {.pass = pass, .w = (const lin_attention *)base, .narrow = narrow};
    samba__cpu_arena arena = samba__cpu_arena_of(pass);
    take(&r, &arena);
    r.rope_ready = r.w->rope.key.dims == 0 || samba__cpu_rope_ready(pass, &r.w->rope);
    if (!r.rope_ready)
        pass->rope = r.w->rope.key;
    uint64_t serial = r.w->gated ? 0 : 1u << STEP_DECAY;
    if (pass->n_rows == 1)
        serial |= 1u << STEP_NORM | 1u << STEP_ROWS | 1u << STEP_OUT_ROWS;
    samba__cpu_run(pass,
                   &(samba__cpu_steps){.work = work, .run = &r, .n = N_STEPS, .serial = serial});
}

const samba__cpu_kind samba__cpu_gla = {SAMBA_SUBLAYER_GLA, "GLA", sizeof(lin_attention), build,
                                        run};
const samba__cpu_kind samba__cpu_retention = {SAMBA_SUBLAYER_RETENTION, "retention",
                                              sizeof(lin_attention), build, run};
