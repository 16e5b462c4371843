/* The embedding: the table is packed like any matrix, so that a tied head can multiply by it, and
 * its rows are gathered from the panels. */
#include "cpu/cpu.h"

typedef struct embed {
    samba_backend_weights base;
    samba__cpu_linear table; /* one part: [n_vocab][d_model] */
} embed;

static void build(samba__cpu_builder *b, samba_backend_weights *base, const void *arg)
{
    const samba_backend_tensor *t = arg;
    embed *w = (embed *)base;
    *w = (embed){.base = *base};
    samba__cpu_build_linear(&w->table, t->cols);
    samba__cpu_build_tensor(b, &w->table, t, "embedding");
    w->base.is_embed = true;
    w->base.d_model = t->cols;
    w->base.needs.d_model = samba__cpu_ld(t->cols);
}

samba_status samba__cpu_prepare_embed(samba_backend_device *device,
                                      const samba_backend_tensor *table,
                                      samba_backend_weights **weights, samba_error **error)
{
    samba__cpu_builder b = {.device = device, .error = error};
    return samba__cpu_build(&b, build, table, sizeof(embed), weights);
}

const samba__cpu_linear *samba__cpu_embed_table(const samba_backend_weights *w)
{
    return w->is_embed ? &((const embed *)w)->table : NULL;
}

typedef struct embed_run {
    samba_backend_pass *pass;
    const samba__cpu_linear *table;
} embed_run;

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const embed_run *r = run;
    const samba__cpu_part *part = &r->table->parts[0];
    samba_backend_pass *p = r->pass;
    size_t begin, end;
    (void)step;
    samba__pool_share(p->batch.n_rows, 1, t.index, t.n, &begin, &end);
    for (size_t i = begin; i < end; i++)
        part->kernels->gather(part->packed, r->table->cols, (size_t)p->batch.tokens[i],
                              p->x + i * p->ldx);
    samba__cpu_lap(p, t, SAMBA__CPU_PHASE_EMBED);
}

samba_status samba__cpu_embed(samba_backend_pass *pass, const samba_backend_weights *w,
                              samba_error **error)
{
    embed_run r = {.pass = pass, .table = samba__cpu_embed_table(w)};
    if (!r.table || pass->embedded)
        return samba__cpu_fail(pass->device, error, SAMBA_ERROR_STATE,
                               "embed twice, or with weights of another kind");
    for (size_t i = 0; i < pass->batch.n_rows; i++) {
        samba_token t = pass->batch.tokens[i];
        if (t < 0 || (size_t)t >= r.table->parts[0].rows)
            return samba__cpu_fail(pass->device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                                   "token %d in row %zu, the vocabulary has %zu", (int)t, i,
                                   r.table->parts[0].rows);
    }
    pass->d_model = w->d_model;
    pass->ldx = samba__cpu_ld(w->d_model);
    pass->embedded = true;
    samba__cpu_run(pass, &(samba__cpu_steps){
                             .work = work, .run = &r, .n = 1, .serial = pass->batch.n_rows == 1});
    return SAMBA_OK;
}
