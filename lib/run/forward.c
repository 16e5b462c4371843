/* One pass; see forward.h. Knows kinds of outputs and where they are tapped, no formats. */
#include "run/forward.h"

#include <string.h>

typedef const samba_backend_vtbl vtbl;

/* Lines the parts up as the backend's ragged batch. */
static void gather(const samba__forward *f, samba_backend_batch *batch)
{
    *batch = (samba_backend_batch){.struct_size = sizeof *batch,
                                   .n_seqs = f->n_parts,
                                   .n_slab_slots = f->model->n_slab_slots,
                                   .n_page_slots = f->model->n_page_slots,
                                   .seqs = f->seqs,
                                   .tokens = f->tokens,
                                   .max_row_bytes = f->model->max_row_bytes};
    for (uint32_t i = 0; i < f->n_parts; i++) {
        const samba__part *p = &f->parts[i];
        samba__sequence_describe(p->sequence, &f->seqs[i]);
        f->seqs[i].n_out = p->n_out;
        memcpy(f->tokens + batch->n_rows, p->tokens, p->n_rows * sizeof *p->tokens);
        batch->n_rows += p->n_rows;
        batch->n_out += p->n_out;
    }
}

/* What each output row is to score, part by part; -1: its logits are wanted. */
static void set_targets(const samba__forward *f, samba_token *targets)
{
    for (uint32_t i = 0; i < f->n_parts; i++) {
        const samba__part *p = &f->parts[i];
        uint32_t n = p->logprobs ? p->n_scored : 0;
        for (uint32_t k = 0; k < p->n_out; k++)
            *targets++ = k < n ? p->tokens[k + 1] : -1;
    }
}

static samba_status cancelled(const samba__forward *f, samba_error **error)
{
    bool requested = samba__cancelled(f->cancel);
    for (uint32_t i = 0; i < f->n_parts && !requested; i++)
        requested = samba__cancelled(f->parts[i].cancel);
    if (!requested)
        return SAMBA_OK;
    return samba__fail(f->model->alloc, error, SAMBA_ERROR_CANCELLED, "cancelled during a pass");
}

static samba_status run_sublayers(const samba__forward *f, samba_backend_pass *pass,
                                  samba_error **error)
{
    const samba_model *m = f->model;
    vtbl *v = m->device->vtbl;
    for (uint32_t i = 0; i < m->n_sublayers; i++) {
        const samba__model_sublayer *s = &m->sublayers[i];
        const samba_backend_run run = {.struct_size = sizeof run,
                                       .flags = i == m->narrow_at ? SAMBA_RUN_NARROW : 0,
                                       .slab_slot = s->slab_slot,
                                       .page_slot = s->page_slot};
        SAMBA__TRY(cancelled(f, error));
        SAMBA__TRY(v->sublayer(pass, s->weights, &run, error));
        if (s->ends_block && f->hidden == (int64_t)s->block + 1)
            SAMBA__TRY(v->tap(pass, error));
    }
    return cancelled(f, error);
}

static samba_status compute(const samba__forward *f, samba_backend_pass *pass,
                            const samba_token *targets, samba_error **error)
{
    const samba_model *m = f->model;
    vtbl *v = m->device->vtbl;
    const samba_backend_head_run head = {
        .struct_size = sizeof head,
        .mode = targets ? SAMBA_HEAD_TARGETS : SAMBA_HEAD_LOGITS,
        .keep_hidden = f->hidden == SAMBA_HIDDEN_FINAL,
        .targets = targets,
    };
    SAMBA__TRY(v->embed(pass, m->embed, error));
    SAMBA__TRY(run_sublayers(f, pass, error));
    SAMBA__TRY(v->head(pass, m->head, &head, error));
    SAMBA__TRY(v->submit(pass, error));
    return v->wait(pass, error);
}

/* Logits, hidden states and scores of every part. Rows that are scored have no logits. */
static samba_status read_rows(const samba__forward *f, samba_backend_pass *pass,
                              samba_error **error)
{
    vtbl *v = f->model->device->vtbl;
    uint32_t row = 0, logits_row = 0;
    for (uint32_t i = 0; i < f->n_parts; i++) {
        const samba__part *p = &f->parts[i];
        const samba__output *o = p->output;
        uint32_t n_scored = p->logprobs ? p->n_scored : 0, n_logits = p->n_out - n_scored;
        if (n_scored)
            SAMBA__TRY(v->read(pass, SAMBA_OUT_LOGPROBS, row, n_scored, p->logprobs, error));
        if (n_logits)
            SAMBA__TRY(v->read(pass, SAMBA_OUT_LOGITS, logits_row, n_logits,
                               o->logits + p->output_row * o->shape.n_vocab, error));
        if (n_logits && o->hidden)
            SAMBA__TRY(v->read(pass, SAMBA_OUT_HIDDEN, row + n_scored, n_logits,
                               o->hidden + p->output_row * o->shape.d_hidden, error));
        row += p->n_out;
        logits_row += n_logits;
    }
    return SAMBA_OK;
}

static samba_status run_pass(const samba__forward *f, samba_error **error)
{
    samba__device *device = f->model->device;
    samba_backend_batch batch;
    samba_backend_pass *pass = NULL;
    samba_token *targets = NULL;
    for (uint32_t i = 0; i < f->n_parts; i++)
        SAMBA__TRY(samba__sequence_copy_tails(f->parts[i].sequence, error));
    gather(f, &batch);
    if (f->scores) {
        targets = f->tokens + batch.n_rows;
        set_targets(f, targets);
    }
    SAMBA__TRY(device->vtbl->begin(device->handle, &batch, &pass, error));
    samba_status status = compute(f, pass, targets, error);
    if (status == SAMBA_OK)
        status = read_rows(f, pass, error);
    device->vtbl->end(pass);
    return status;
}

samba_status samba__forward_run(const samba__forward *f, samba_error **error)
{
    uv_mutex_lock(&f->model->device->pass_lock);
    samba_status status = run_pass(f, error);
    uv_mutex_unlock(&f->model->device->pass_lock);
    return status;
}
