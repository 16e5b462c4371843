/* The SwiGLU MLP: down(silu(gate x) * up x). A thread has the same panels of gate and up, so the
 * product needs no barrier. */
#include "cpu/cpu.h"

typedef struct mlp {
    samba_backend_weights base;
    size_t width;
    samba__cpu_linear in, out; /* in: gate | up */
} mlp;

typedef struct mlp_run {
    samba_backend_pass *pass;
    const mlp *w;
    samba__cpu_prepared in_rows, out_rows;
    float *h; /* [rows][in.width]: gate | up; the product replaces gate */
} mlp_run;

static void take(mlp_run *r, samba__cpu_arena *arena)
{
    r->in_rows = samba__cpu_take_prepared(arena, &r->w->in);
    r->h = samba__cpu_take_floats(arena, r->w->in.width);
    r->out_rows = samba__cpu_take_prepared(arena, &r->w->out);
}

static void build(samba__cpu_builder *b, samba_backend_weights *base)
{
    mlp *w = (mlp *)base;
    const samba_backend_sublayer *d = b->desc;
    *w = (mlp){.base = *base, .width = d->d_inner};
    samba__cpu_build_norm(b, &w->base);
    samba__cpu_build_linear(&w->in, d->d_model);
    samba__cpu_build_part(b, &w->in, SAMBA_W_GATE, SAMBA_W_GATE_BIAS, w->width);
    samba__cpu_build_part(b, &w->in, SAMBA_W_UP, SAMBA_W_UP_BIAS, w->width);
    samba__cpu_build_linear(&w->out, w->width);
    samba__cpu_build_part(b, &w->out, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, d->d_model);
    samba__cpu_arena count = {.n_rows = 1};
    take(&(mlp_run){.w = w}, &count);
    w->base.footprint.row_bytes = count.used;
}

static void work(void *arg, uint32_t index, uint32_t n)
{
    const mlp_run *r = arg;
    const mlp *w = r->w;
    samba_backend_pass *p = r->pass;
    samba__cpu_thread t = {index, n};
    size_t begin, end, ld = w->in.width;
    samba__cpu_input_share(
        p,
        &(samba__cpu_input){
            .norm = &w->base.norm, .lin = &w->in, .prepared = r->in_rows, .n_rows = p->n_rows},
        t);
    samba__pool_barrier(p->device->pool);
    samba__cpu_linear_run_share(
        &w->in,
        &(samba__cpu_linear_run){
            .x = r->in_rows, .n_rows = p->n_rows, .y = r->h, .ldy = ld, .part_end = 2},
        t);
    samba__pool_share(w->width, 16, index, n, &begin, &end);
    p->device->kernels.silu_mul(&(samba__gate_args){.a = r->h,
                                                    .b = r->h + w->in.parts[1].column,
                                                    .lda = ld,
                                                    .ldb = ld,
                                                    .y = r->h,
                                                    .ldy = ld,
                                                    .n_rows = p->n_rows,
                                                    .begin = begin,
                                                    .end = end});
    samba__pool_barrier(p->device->pool);
    samba__cpu_output_share(
        p,
        &(samba__cpu_output){
            .lin = &w->out, .prepared = r->out_rows, .input = r->h, .ld = ld, .n_rows = p->n_rows},
        t);
}

static void run(samba_backend_pass *pass, const samba_backend_weights *base, bool narrow)
{
    (void)narrow;
    mlp_run r = {.pass = pass, .w = (const mlp *)base};
    samba__cpu_arena arena = samba__cpu_arena_of(pass);
    take(&r, &arena);
    samba__pool_run(pass->device->pool, work, &r);
}

const samba__cpu_kind samba__cpu_swiglu = {SAMBA_SUBLAYER_SWIGLU, "SwiGLU", sizeof(mlp), build,
                                           run};
