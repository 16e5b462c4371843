/*
 * Softmax attention: full or windowed, grouped heads, rotary embedding, short convolution. Keys and
 * values go to pages first and are read back from there only. With NARROW, q is computed for the
 * output rows alone, unless the short convolution needs all of them for its state.
 */
#include "cpu/cpu.h"

#include "base/fmath.h"

typedef struct attention {
    samba_backend_weights base;
    size_t n_heads, taps; /* taps 0: no short convolution */
    uint64_t window;
    samba__cpu_linear in, out; /* in: q | k | v */
    samba__cpu_rope rope;
    const float *conv[3]; /* q, k, v: [taps][padded channels] */
} attention;

typedef struct attention_run {
    samba_backend_pass *pass;
    const attention *w;
    bool narrow, rope_ready;
    bool q_compact; /* q holds output rows */
    samba__cpu_prepared in_rows, q_rows, out_rows;
    float *qkv;  /* [rows][in.ld]; q_compact: the q columns of row i belong to output i */
    float *conv; /* the same after convolution; NULL without it */
    float *y;    /* [rows or outputs][ldy] */
    size_t ldy;
} attention_run;

static void take(attention_run *r, samba__cpu_arena *arena)
{
    const attention *w = r->w;
    r->in_rows = samba__cpu_take_prepared(arena, &w->in);
    r->q_rows = samba__cpu_take_prepared(arena, &w->in);
    r->qkv = samba__cpu_take_floats(arena, w->in.ld);
    r->conv = w->taps ? samba__cpu_take_floats(arena, w->in.ld) : NULL;
    r->ldy = samba__cpu_ld(w->n_heads * w->base.kv.head_dim);
    r->y = samba__cpu_take_floats(arena, r->ldy);
    r->out_rows = samba__cpu_take_prepared(arena, &w->out);
}

static void build_conv(samba__cpu_builder *b, attention *w)
{
    static const int roles[3] = {SAMBA_W_Q_CONV, SAMBA_W_K_CONV, SAMBA_W_V_CONV};
    w->taps = b->desc->d_conv;
    if (!samba__cpu_build_check(b, w->taps <= 1024, "d_conv", w->taps) || w->taps == 0)
        return;
    for (size_t i = 0; i < 3; i++) {
        size_t channels = w->in.parts[i].rows;
        w->conv[i] = samba__cpu_build_table(b, roles[i], channels, w->taps, false);
        if (w->taps > 1)
            samba__cpu_slab_section(
                &w->base.slab, (samba__cpu_section){1, channels, w->taps - 1, false, false, 0});
    }
}

static void build(samba__cpu_builder *b, samba_backend_weights *base)
{
    attention *w = (attention *)base;
    const samba_backend_sublayer *d = b->desc;
    size_t c = d->head_dim, h = d->n_heads, g = d->n_kv_heads;
    *w = (attention){.base = *base, .n_heads = h, .window = d->window};
    samba__cpu_build_norm(b, &w->base);
    if (!samba__cpu_build_check(b, c > 0, "head_dim", c) ||
        !samba__cpu_build_check(b, g > 0 && h > 0 && h % g == 0,
                                "n_heads no multiple of n_kv_heads", g))
        return;
    w->base.kv = (samba__kv_shape){g, c};
    w->base.owns_pages = true;
    samba__cpu_build_linear(&w->in, d->d_model);
    samba__cpu_build_part(b, &w->in, SAMBA_W_Q, SAMBA_W_Q_BIAS, h * c);
    samba__cpu_build_part(b, &w->in, SAMBA_W_K, SAMBA_W_K_BIAS, g * c);
    samba__cpu_build_part(b, &w->in, SAMBA_W_V, SAMBA_W_V_BIAS, g * c);
    samba__cpu_build_linear(&w->out, h * c);
    samba__cpu_build_part(b, &w->out, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, d->d_model);
    samba__cpu_build_rope(b, &w->rope, c, &w->base);
    build_conv(b, w);
    w->base.needs.thread_bytes = samba__cpu_attend_bytes(b->device, &w->base, h / g, 1);
    samba__cpu_arena count = {.n_rows = 1};
    take(&(attention_run){.w = w}, &count);
    w->base.footprint.row_bytes = count.used;
}

/* ---------------------------------------------------------------- run */

static void conv_step(const attention_run *r, const samba__cpu_step *step, samba__cpu_thread t)
{
    const attention *w = r->w;
    size_t ld = w->in.ld;
    for (size_t i = 0; i < 3; i++) {
        size_t channels = samba__pad16(w->in.parts[i].rows), begin, end;
        size_t at = w->taps > 1 ? w->base.slab.sections[i].offset : 0;
        size_t from = step->row * ld + w->in.parts[i].column;
        samba__pool_share(channels, 16, t.index, t.n, &begin, &end);
        if (begin == end)
            continue;
        r->pass->device->kernels.conv(
            &(samba__conv_args){.x = r->qkv + from,
                                .ldx = ld,
                                .y = r->conv + from,
                                .ldy = ld,
                                .n_rows = step->n_rows,
                                .begin = begin,
                                .end = end,
                                .channels = channels,
                                .taps = w->taps,
                                .weight = w->conv[i],
                                .state_in = samba__cpu_state_at(step->state_in, at),
                                .state_out = step->state_out ? step->state_out + at : NULL});
    }
}

/* A conv of one tap has no state and no slabs: one step per sequence. */
static void conv_share(const attention_run *r, samba__cpu_thread t)
{
    const samba_backend_pass *p = r->pass;
    for (size_t s = 0; s < p->batch.n_seqs; s++) {
        samba__cpu_step whole = {.row = p->first_row[s], .n_rows = p->batch.seqs[s].n_rows};
        if (r->w->taps == 1) {
            conv_step(r, &whole, t);
            continue;
        }
        for (size_t i = 0; i < samba__cpu_n_steps(p, s); i++) {
            samba__cpu_step step = samba__cpu_step_of(p, s, i);
            conv_step(r, &step, t);
        }
    }
}

/* Rotates heads [first, first + n) of the q or k columns x of one row. */
static void rotate(const attention_run *r, float *x, size_t row, size_t first, size_t n)
{
    const attention *w = r->w;
    const samba_backend_pass *p = r->pass;
    if (w->rope.key.dims)
        p->device->kernels.rope(&(samba__rope_args){.x = x + first * w->base.kv.head_dim,
                                                    .ldx = w->in.ld,
                                                    .n_rows = 1,
                                                    .n_heads = n,
                                                    .head_dim = w->base.kv.head_dim,
                                                    .half = w->rope.key.dims / 2,
                                                    .cos = p->cos + row * p->ld_rope,
                                                    .sin = p->sin + row * p->ld_rope,
                                                    .ld = p->ld_rope});
}

/* Rotates and stores k, stores v. */
static void store_share(const attention_run *r, float *qkv, samba__cpu_thread t)
{
    const attention *w = r->w;
    size_t g = w->base.kv.n_heads, ld = w->in.ld, begin, end;
    samba__cpu_store_range(r->pass, g, t, &begin, &end);
    while (begin < end) {
        samba__cpu_store_task s = samba__cpu_next_store(r->pass, g, &begin, end);
        float *k = qkv + s.row * ld + w->in.parts[1].column;
        for (size_t i = 0; i < s.n_rows; i++)
            rotate(r, k + i * ld, s.row + i, s.head, s.n_heads);
        samba__cpu_store(r->pass, &w->base,
                         &(samba__kv_store_args){.n_rows = s.n_rows,
                                                 .head_begin = s.head,
                                                 .head_end = s.head + s.n_heads,
                                                 .k = k,
                                                 .v = qkv + s.row * ld + w->in.parts[2].column,
                                                 .ldk = ld,
                                                 .ldv = ld},
                         s.row);
    }
}

/* Items are (query row, query head). */
static void rotate_queries(const attention_run *r, float *qkv, samba__cpu_thread t)
{
    const samba_backend_pass *p = r->pass;
    size_t h = r->w->n_heads, begin, end;
    size_t n_rows = r->q_compact ? p->batch.n_out : p->n_rows;
    samba__pool_share(n_rows * h, 1, t.index, t.n, &begin, &end);
    while (begin < end) {
        size_t i = begin / h, head = begin % h;
        size_t n = h - head < end - begin ? h - head : end - begin;
        rotate(r, qkv + i * r->w->in.ld, r->q_compact ? p->out_row[i] : i, head, n);
        begin += n;
    }
}

enum {
    STEP_NORM,
    STEP_IN,
    STEP_CONV,
    STEP_STORE,
    STEP_ATTEND,
    STEP_OUT_ROWS,
    STEP_OUT,
    N_STEPS
};

static void project_share(const attention_run *r, bool norm, samba__cpu_thread t)
{
    const attention *w = r->w;
    const samba__cpu_projection projection = {.norm = &w->base.norm,
                                              .lin = &w->in,
                                              .rope = r->rope_ready ? NULL : &w->rope,
                                              .rows = r->in_rows,
                                              .q_rows = r->q_rows,
                                              .qkv = r->qkv,
                                              .narrow = r->narrow,
                                              .q_compact = r->q_compact};
    if (norm)
        samba__cpu_normed_share(r->pass, &projection, t);
    else
        samba__cpu_project_share(r->pass, &projection, t);
}

static void attend_share(const attention_run *r, const float *qkv, samba__cpu_thread t)
{
    const attention *w = r->w;
    samba__cpu_attend_share(
        r->pass, &w->base,
        &(samba__cpu_heads){.q = qkv,
                            .ldq = w->in.ld,
                            .q_compact = r->q_compact,
                            .key_step = 1,
                            .n_value_heads = 1,
                            .scale = 1.0f / samba__sqrtf((float)w->base.kv.head_dim),
                            .window = w->window,
                            .n_heads = w->n_heads,
                            .y = {r->y, NULL},
                            .ldy = r->ldy},
        r->narrow, t);
}

static void rotate_and_store(const attention_run *r, float *qkv, samba__cpu_thread t)
{
    store_share(r, qkv, t);
    rotate_queries(r, qkv, t);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_STORE);
}

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const attention_run *r = run;
    samba_backend_pass *p = r->pass;
    float *qkv = r->conv ? r->conv : r->qkv;
    const samba__cpu_output out = {.lin = &r->w->out,
                                   .prepared = r->out_rows,
                                   .input = r->y,
                                   .ld = r->ldy,
                                   .n_rows = r->narrow ? p->batch.n_out : p->n_rows};
    switch (step) {
    case STEP_NORM:
    case STEP_IN:
        project_share(r, step == STEP_NORM, t);
        break;
    case STEP_CONV:
        if (r->conv)
            conv_share(r, t);
        samba__cpu_lap(p, t, SAMBA__CPU_PHASE_CONV);
        break;
    case STEP_STORE:
        rotate_and_store(r, qkv, t);
        break;
    case STEP_ATTEND:
        attend_share(r, qkv, t);
        break;
    case STEP_OUT_ROWS:
        samba__cpu_output_prepare(p, &out, t);
        break;
    case STEP_OUT:
        samba__cpu_output_run(p, &out, t);
        break;
    }
}

static void run(samba_backend_pass *pass, const samba_backend_weights *base, bool narrow)
{
    attention_run r = {.pass = pass, .w = (const attention *)base, .narrow = narrow};
    samba__cpu_arena arena = samba__cpu_arena_of(pass);
    take(&r, &arena);
    r.q_compact = narrow && !r.w->taps;
    r.rope_ready = r.w->rope.key.dims == 0 || samba__cpu_rope_ready(pass, &r.w->rope);
    if (!r.rope_ready)
        pass->rope = r.w->rope.key;
    uint64_t serial = r.conv ? 0 : 1u << STEP_CONV;
    if (pass->n_rows == 1)
        serial |= 1u << STEP_NORM | 1u << STEP_STORE | 1u << STEP_OUT_ROWS;
    samba__cpu_run(pass,
                   &(samba__cpu_steps){.work = work, .run = &r, .n = N_STEPS, .serial = serial});
}

const samba__cpu_kind samba__cpu_attention = {SAMBA_SUBLAYER_ATTENTION, "attention",
                                              sizeof(attention), build, run};
