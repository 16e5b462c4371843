/*
 * The Mamba mixer: in_proj -> conv + silu -> x_proj -> dt_proj -> scan, gate -> out_proj. Channels
 * are padded to 16 in every buffer; a thread owns a range of channels from conv to scan.
 */
#include "cpu/cpu.h"

typedef struct mamba {
    samba_backend_weights base;
    size_t channels, n_state, rank, taps; /* channels: padded */
    size_t ld;                            /* of rows of channels */
    size_t width;                         /* d_inner */
    samba__cpu_linear in, x_proj, dt_proj, out;
    size_t z_column; /* of in's output */
    const float *conv, *conv_bias, *a, *d, *dt_bias;
} mamba;

/* Buffers of one run. */
typedef struct mamba_run {
    samba_backend_pass *pass;
    const mamba *w;
    bool narrow;
    samba__cpu_prepared in_rows, x_rows, dt_rows, out_rows;
    float *xz;  /* [rows][in.ld]: x | z */
    float *x;   /* [rows][ld] after conv */
    float *dbc; /* [rows][x_proj.ld]: dt | B | C */
    float *dt;  /* [rows][ld]; then y */
} mamba_run;

static void take(mamba_run *r, samba__cpu_arena *arena)
{
    const mamba *w = r->w;
    r->in_rows = samba__cpu_take_prepared(arena, &w->in);
    r->xz = samba__cpu_take_floats(arena, w->in.ld);
    r->x = samba__cpu_take_floats(arena, w->ld);
    r->x_rows = samba__cpu_take_prepared(arena, &w->x_proj);
    r->dbc = samba__cpu_take_floats(arena, w->x_proj.ld);
    r->dt_rows = samba__cpu_take_prepared(arena, &w->dt_proj);
    r->dt = samba__cpu_take_floats(arena, w->ld);
    r->out_rows = samba__cpu_take_prepared(arena, &w->out);
}

static void build(samba__cpu_builder *b, samba_backend_weights *base)
{
    mamba *w = (mamba *)base;
    const samba_backend_sublayer *d = b->desc;
    size_t e = d->d_inner;
    *w = (mamba){.base = *base, .width = e, .channels = samba__pad16(e), .ld = samba__cpu_ld(e)};
    w->n_state = d->d_state;
    w->rank = d->dt_rank;
    w->taps = d->d_conv;
    samba__cpu_build_norm(b, &w->base);
    if (!samba__cpu_build_check(b, d->d_conv >= 1 && d->d_conv <= 1024, "d_conv", d->d_conv))
        return;
    w->z_column = w->channels; /* two parts, so that z begins at a multiple of 16 */
    samba__cpu_build_linear(&w->in, d->d_model);
    samba__cpu_build_halves(b, &w->in, SAMBA_W_IN, SAMBA_W_IN_BIAS, e);
    samba__cpu_build_linear(&w->x_proj, e);
    samba__cpu_build_part(b, &w->x_proj, SAMBA_W_X_PROJ, SAMBA__CPU_NO_BIAS,
                          w->rank + 2 * w->n_state);
    samba__cpu_build_linear(&w->dt_proj, w->rank);
    samba__cpu_build_part(b, &w->dt_proj, SAMBA_W_DT_PROJ, SAMBA__CPU_NO_BIAS, e);
    samba__cpu_build_linear(&w->out, e);
    samba__cpu_build_part(b, &w->out, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, d->d_model);
    w->conv = samba__cpu_build_table(b, SAMBA_W_CONV, e, w->taps, false);
    w->conv_bias = samba__cpu_build_vector(b, SAMBA_W_CONV_BIAS, e, SAMBA__CPU_OPTIONAL);
    w->a = samba__cpu_build_table(b, SAMBA_W_A, e, w->n_state, true);
    w->d = samba__cpu_build_vector(b, SAMBA_W_D, e, SAMBA__CPU_REQUIRED);
    w->dt_bias = samba__cpu_build_vector(b, SAMBA_W_DT_BIAS, e, SAMBA__CPU_REQUIRED);
    if (w->taps > 1)
        samba__cpu_slab_section(&w->base.slab,
                                (samba__cpu_section){1, e, w->taps - 1, false, false, 0});
    samba__cpu_slab_section(&w->base.slab, (samba__cpu_section){1, e, w->n_state, false, true, 0});
    if (d->flags & SAMBA_SUBLAYER_PUBLISH_MEMORY)
        w->base.needs.memory = w->ld;
    samba__cpu_arena count = {.n_rows = 1};
    take(&(mamba_run){.w = w}, &count);
    w->base.footprint.row_bytes = count.used;
}

/* ---------------------------------------------------------------- run */

static void conv_channels(const mamba_run *r, size_t begin, size_t end)
{
    const mamba *w = r->w;
    for (size_t s = 0; s < r->pass->batch.n_seqs; s++)
        for (size_t i = 0; i < samba__cpu_n_steps(r->pass, s); i++) {
            samba__cpu_step step = samba__cpu_step_of(r->pass, s, i);
            r->pass->device->kernels.conv(&(samba__conv_args){.x = r->xz + step.row * w->in.ld,
                                                              .ldx = w->in.ld,
                                                              .y = r->x + step.row * w->ld,
                                                              .ldy = w->ld,
                                                              .n_rows = step.n_rows,
                                                              .begin = begin,
                                                              .end = end,
                                                              .channels = w->channels,
                                                              .taps = w->taps,
                                                              .weight = w->conv,
                                                              .bias = w->conv_bias,
                                                              .state_in = step.state_in,
                                                              .state_out = step.state_out});
        }
}

static void scan_step(const mamba_run *r, const samba__cpu_step *step, size_t begin, size_t end)
{
    const mamba *w = r->w;
    samba_backend_pass *p = r->pass;
    size_t at = w->base.slab.sections[w->base.slab.n_sections - 1].offset;
    const float *b = r->dbc + step->row * w->x_proj.ld + w->rank;
    bool publish = w->base.flags & SAMBA_SUBLAYER_PUBLISH_MEMORY;
    p->device->kernels.scan(
        &(samba__scan_args){.n_rows = step->n_rows,
                            .n_state = w->n_state,
                            .begin = begin,
                            .end = end,
                            .x = r->x + step->row * w->ld,
                            .ldx = w->ld,
                            .z = r->xz + step->row * w->in.ld + w->z_column,
                            .ldz = w->in.ld,
                            .dt = r->dt + step->row * w->ld,
                            .lddt = w->ld,
                            .b = b,
                            .c = b + w->n_state,
                            .ldbc = w->x_proj.ld,
                            .a = w->a,
                            .d = w->d,
                            .dt_bias = w->dt_bias,
                            .state_in = samba__cpu_state_at(step->state_in, at),
                            .state_out = step->state_out + at,
                            .y = r->dt + step->row * w->ld,
                            .ldy = w->ld,
                            .memory = publish ? p->memory + step->row * w->ld : NULL,
                            .ldm = w->ld});
}

static void scan_channels(const mamba_run *r, size_t begin, size_t end)
{
    for (size_t s = 0; s < r->pass->batch.n_seqs && begin < end; s++)
        for (size_t i = 0; i < samba__cpu_n_steps(r->pass, s); i++) {
            samba__cpu_step step = samba__cpu_step_of(r->pass, s, i);
            scan_step(r, &step, begin, end);
        }
}

/* y = lin(rows), all of them. */
static void project(const samba_backend_pass *pass, const samba__cpu_linear *lin,
                    samba__cpu_prepared rows, float *y, samba__cpu_thread thread)
{
    samba__cpu_linear_run_share(
        pass, lin,
        &(samba__cpu_linear_run){
            .x = rows, .n_rows = pass->n_rows, .y = y, .ldy = lin->ld, .part_end = lin->n_parts},
        thread);
}

typedef struct input {
    const float *x; /* [n_rows][ld] */
    size_t ld;
} input;

/* rows = a thread's share of the input, prepared. */
static void prepare(const samba_backend_pass *pass, const samba__cpu_linear *lin,
                    samba__cpu_prepared rows, input in, samba__cpu_thread thread)
{
    size_t begin, end;
    samba__pool_share(pass->n_rows, 1, thread.index, thread.n, &begin, &end);
    if (begin < end)
        samba__cpu_linear_prepare(lin, rows, begin, end - begin, in.x + begin * in.ld, in.ld);
    samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_PREPARE);
}

enum {
    STEP_NORM,
    STEP_IN, /* and conv */
    STEP_X_ROWS,
    STEP_X_PROJ,
    STEP_DT_ROWS,
    STEP_SCAN, /* after dt_proj */
    STEP_OUT_ROWS,
    STEP_OUT,
    N_STEPS
};

/* Panels of x and z are shares of channels, and so are those of dt: conv and scan follow in the
 * same step. */
static void in_share(const mamba_run *r, samba__cpu_thread t)
{
    size_t begin, end;
    samba__cpu_compact_share(r->pass, r->narrow, t);
    project(r->pass, &r->w->in, r->in_rows, r->xz, t);
    samba__pool_share(r->w->channels, 16, t.index, t.n, &begin, &end);
    if (begin < end)
        conv_channels(r, begin, end);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_CONV);
}

static void scan_share(const mamba_run *r, samba__cpu_thread t)
{
    size_t begin, end;
    project(r->pass, &r->w->dt_proj, r->dt_rows, r->dt, t);
    samba__pool_share(r->w->channels, 16, t.index, t.n, &begin, &end);
    scan_channels(r, begin, end);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_SCAN);
}

static void out_share(const mamba_run *r, bool prepare, samba__cpu_thread t)
{
    samba_backend_pass *p = r->pass;
    const samba__cpu_output out = {.lin = &r->w->out,
                                   .prepared = r->out_rows,
                                   .input = r->dt,
                                   .ld = r->w->ld,
                                   .row_map = r->narrow ? p->out_row : NULL,
                                   .n_rows = r->narrow ? p->batch.n_out : p->n_rows};
    if (prepare)
        samba__cpu_output_prepare(p, &out, t);
    else
        samba__cpu_output_run(p, &out, t);
}

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const mamba_run *r = run;
    const mamba *w = r->w;
    samba_backend_pass *p = r->pass;
    const samba__cpu_input in = {
        .norm = &w->base.norm, .lin = &w->in, .prepared = r->in_rows, .n_rows = p->n_rows};
    switch (step) {
    case STEP_NORM:
        samba__cpu_input_share(p, &in, t);
        break;
    case STEP_IN:
        in_share(r, t);
        break;
    case STEP_X_ROWS:
        prepare(p, &w->x_proj, r->x_rows, (input){r->x, w->ld}, t);
        break;
    case STEP_X_PROJ:
        project(p, &w->x_proj, r->x_rows, r->dbc, t);
        break;
    case STEP_DT_ROWS:
        prepare(p, &w->dt_proj, r->dt_rows, (input){r->dbc, w->x_proj.ld}, t);
        break;
    case STEP_SCAN:
        scan_share(r, t);
        break;
    default:
        out_share(r, step == STEP_OUT_ROWS, t);
    }
}

static void run(samba_backend_pass *pass, const samba_backend_weights *base, bool narrow)
{
    mamba_run r = {.pass = pass, .w = (const mamba *)base, .narrow = narrow};
    samba__cpu_arena arena = samba__cpu_arena_of(pass);
    take(&r, &arena);
    if (base->flags & SAMBA_SUBLAYER_PUBLISH_MEMORY) {
        pass->memory_width = r.w->width;
        pass->ldm = r.w->ld;
    }
    const uint64_t one_row =
        1u << STEP_NORM | 1u << STEP_X_ROWS | 1u << STEP_DT_ROWS | 1u << STEP_OUT_ROWS;
    samba__cpu_run(pass, &(samba__cpu_steps){.work = work,
                                             .run = &r,
                                             .n = N_STEPS,
                                             .serial = pass->n_rows == 1 ? one_row : 0});
}

const samba__cpu_kind samba__cpu_mamba = {SAMBA_SUBLAYER_MAMBA, "Mamba", sizeof(mamba), build, run};
