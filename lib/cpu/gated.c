/* What SwiGLU and the gated memory unit share: x += out(silu(in x) * b), where b is the second
 * matrix of `in`, or the memory that the pass has published. A thread has the same panels of both
 * factors, so the product needs no step of its own. */
#include "cpu/cpu.h"

typedef struct gated_run {
    samba_backend_pass *pass;
    const samba__cpu_gated *w;
    samba__cpu_prepared in_rows, out_rows;
    float *h; /* [rows][in.ld]; the product replaces the first matrix's part */
} gated_run;

static void take(gated_run *r, samba__cpu_arena *arena)
{
    r->in_rows = samba__cpu_take_prepared(arena, &r->w->in);
    r->h = samba__cpu_take_floats(arena, r->w->in.ld);
    r->out_rows = samba__cpu_take_prepared(arena, &r->w->out);
}

void samba__cpu_build_gated(samba__cpu_builder *b, samba__cpu_gated *w)
{
    const samba_backend_sublayer *d = b->desc;
    samba__cpu_build_linear(&w->out, w->width);
    samba__cpu_build_part(b, &w->out, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, d->d_model);
    samba__cpu_arena count = {.n_rows = 1};
    take(&(gated_run){.w = w}, &count);
    w->base.footprint.row_bytes = count.used;
}

static void multiply_share(const gated_run *r, samba__cpu_thread t)
{
    const samba__cpu_gated *w = r->w;
    samba_backend_pass *p = r->pass;
    bool reads_memory = w->base.reads_memory != 0;
    size_t begin, end, ld = w->in.ld;
    samba__pool_share(w->width, 16, t.index, t.n, &begin, &end);
    p->device->kernels.silu_mul(
        &(samba__gate_args){.a = r->h,
                            .b = reads_memory ? p->memory : r->h + w->in.parts[1].column,
                            .lda = ld,
                            .ldb = reads_memory ? p->ldm : ld,
                            .y = r->h,
                            .ldy = ld,
                            .n_rows = p->n_rows,
                            .begin = begin,
                            .end = end});
    samba__cpu_lap(p, t, SAMBA__CPU_PHASE_GATE);
}

enum {
    STEP_NORM,
    STEP_IN,
    STEP_OUT_ROWS,
    STEP_OUT,
    N_STEPS
};

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const gated_run *r = run;
    const samba__cpu_gated *w = r->w;
    samba_backend_pass *p = r->pass;
    const samba__cpu_input in = {
        .norm = &w->base.norm, .lin = &w->in, .prepared = r->in_rows, .n_rows = p->n_rows};
    const samba__cpu_linear_run product = {.x = r->in_rows,
                                           .n_rows = p->n_rows,
                                           .y = r->h,
                                           .ldy = w->in.ld,
                                           .part_end = w->in.n_parts};
    const samba__cpu_output out = {.lin = &w->out,
                                   .prepared = r->out_rows,
                                   .input = r->h,
                                   .ld = w->in.ld,
                                   .n_rows = p->n_rows};
    switch (step) {
    case STEP_NORM:
        samba__cpu_input_share(p, &in, t);
        break;
    case STEP_IN:
        samba__cpu_linear_run_share(p, &w->in, &product, t);
        multiply_share(r, t);
        break;
    case STEP_OUT_ROWS:
        samba__cpu_output_prepare(p, &out, t);
        break;
    case STEP_OUT:
        samba__cpu_output_run(p, &out, t);
        break;
    }
}

void samba__cpu_run_gated(samba_backend_pass *pass, const samba_backend_weights *base, bool narrow)
{
    (void)narrow;
    gated_run r = {.pass = pass, .w = (const samba__cpu_gated *)base};
    samba__cpu_arena arena = samba__cpu_arena_of(pass);
    take(&r, &arena);
    const uint64_t one_row = 1u << STEP_NORM | 1u << STEP_OUT_ROWS;
    samba__cpu_run(pass, &(samba__cpu_steps){.work = work,
                                             .run = &r,
                                             .n = N_STEPS,
                                             .serial = pass->n_rows == 1 ? one_row : 0});
}
