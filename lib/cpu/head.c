/*
 * Final norm and output projection for the output rows. Log-probabilities go through blocks of a
 * few rows, so that [rows][n_vocab] is never held. Logits are the one buffer whose size begin
 * cannot know; it reserves them for one row per sequence, and more are made room for here.
 */
#include "cpu/cpu.h"

#include <string.h>

enum {
    BLOCK_ROWS = 16
};

typedef struct head {
    samba_backend_weights base;
    samba__cpu_linear own;          /* table of its own; n_parts 0 when tied */
    const samba__cpu_linear *table; /* own, or the embedding's */
} head;

typedef struct head_run {
    samba_backend_pass *pass;
    const head *w;
    const samba_backend_head_run *run;
    samba__cpu_prepared rows;
    float *block;  /* [BLOCK_ROWS][ldv]: TARGETS */
    float *logits; /* [n_logits][ldv] */
} head_run;

static void build(samba__cpu_builder *b, samba_backend_weights *base, const void *arg)
{
    const samba_backend_head *h = arg;
    head *w = (head *)base;
    *w = (head){.base = *base};
    bool layer = h->norm == SAMBA_NORM_LAYER;
    samba__cpu_build_check(b, layer || h->norm == SAMBA_NORM_RMS, "norm kind", (uint64_t)h->norm);
    const samba__cpu_linear *tied = h->tied ? samba__cpu_embed_table(h->tied) : NULL;
    size_t d = tied ? tied->cols : (size_t)h->table.cols;
    samba__cpu_build_linear(&w->own, d);
    if (!tied)
        samba__cpu_build_tensor(b, &w->own, &h->table, "output");
    w->table = tied ? tied : &w->own;
    w->base.is_head = true;
    w->base.d_model = d;
    w->base.norm.run = layer ? b->device->kernels.layer_norm : b->device->kernels.rms_norm;
    w->base.norm.eps = h->norm_eps;
    w->base.norm.weight = samba__cpu_build_floats(b, &h->norm_weight, "output norm", d);
    if (layer && h->norm_bias.data)
        w->base.norm.bias = samba__cpu_build_floats(b, &h->norm_bias, "output norm bias", d);
    w->base.needs = (samba__cpu_needs){.d_model = samba__cpu_ld(d),
                                       .n_vocab = w->table->width,
                                       .head_row_bytes = w->table->row_bytes};
    w->base.footprint.row_bytes = w->table->row_bytes;
}

samba_status samba__cpu_prepare_head(samba_backend_device *device, const samba_backend_head *h,
                                     samba_backend_weights **weights, samba_error **error)
{
    samba__cpu_builder b = {.device = device, .error = error};
    if (h->tied && !samba__cpu_embed_table(h->tied))
        return samba__cpu_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "a head is tied to weights that are no embedding");
    return samba__cpu_build(&b, build, h, sizeof(head), weights);
}

/* ---------------------------------------------------------------- run */

/* Norm of a thread's output rows into hidden, and their preparation. */
static void norm_share(const head_run *r, samba__cpu_thread t)
{
    samba_backend_pass *p = r->pass;
    const samba__cpu_norm *norm = &r->w->base.norm;
    size_t begin, end;
    samba__pool_share(p->batch.n_out, 1, t.index, t.n, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        float *y = r->run->keep_hidden || r->run->mode == SAMBA_HEAD_NORM
                       ? p->hidden + i * p->ldx
                       : samba__cpu_thread_scratch(p, t);
        norm->run(&(samba__norm_args){.x = p->x + (p->narrowed ? i : p->out_row[i]) * p->ldx,
                                      .ldx = p->ldx,
                                      .y = y,
                                      .ldy = p->ldx,
                                      .n_rows = 1,
                                      .n = p->d_model,
                                      .weight = norm->weight,
                                      .bias = norm->bias,
                                      .eps = norm->eps});
        samba__cpu_lap(p, t, SAMBA__CPU_PHASE_NORM);
        if (r->run->mode != SAMBA_HEAD_NORM)
            samba__cpu_linear_prepare(r->w->table, r->rows, i, 1, y, p->ldx);
        samba__cpu_lap(p, t, SAMBA__CPU_PHASE_PREPARE);
    }
}

/* y = logits of output rows [first, first + n). */
static void project_share(const head_run *r, size_t first, size_t n, float *y, samba__cpu_thread t)
{
    const samba__cpu_linear *table = r->w->table;
    const samba__cpu_part *part = &table->parts[0];
    samba__linear_args args = {.packed = part->packed,
                               .rows = part->rows,
                               .cols = table->cols,
                               .n_rows = n,
                               .y = y,
                               .ldy = r->pass->ldv};
    args.x = r->rows.data + first * part->kernels->row_bytes(table->cols);
    samba__pool_share(table->width / 16, 1, t.index, t.n, &args.panel_begin, &args.panel_end);
    part->kernels->run(&args);
    samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_HEAD);
}

static size_t count_wanted(const samba_token *targets, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += targets[i] < 0;
    return k;
}

/* Rows of one block: log-probability, or a copy of the logits where the target is -1. */
static void score_share(const head_run *r, size_t first, size_t n, samba__cpu_thread t)
{
    samba_backend_pass *p = r->pass;
    size_t begin, end;
    samba__pool_share(n, 1, t.index, t.n, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        const float *row = r->block + i * p->ldv;
        samba_token target = r->run->targets[first + i];
        p->logprobs[first + i] = 0.0f;
        if (target >= 0)
            p->device->kernels.log_probs(row, p->n_vocab, &target, 1, &p->logprobs[first + i]);
        else
            memcpy(r->logits + count_wanted(r->run->targets, first + i) * p->ldv, row,
                   p->n_vocab * sizeof *row);
    }
}

/* Norm; then logits, or for each block of rows a product and its scores. */
static uint32_t count_steps(const head_run *r)
{
    size_t n_out = r->pass->batch.n_out;
    if (r->run->mode == SAMBA_HEAD_TARGETS)
        return 1 + 2 * (uint32_t)((n_out + BLOCK_ROWS - 1) / BLOCK_ROWS);
    return r->run->mode == SAMBA_HEAD_LOGITS ? 2 : 1;
}

static void work(const void *run, uint32_t step, samba__cpu_thread t)
{
    const head_run *r = run;
    size_t n_out = r->pass->batch.n_out;
    if (step == 0) {
        norm_share(r, t);
        return;
    }
    if (r->run->mode == SAMBA_HEAD_LOGITS) {
        project_share(r, 0, n_out, r->logits, t);
        return;
    }
    size_t first = (size_t)(step - 1) / 2 * BLOCK_ROWS, left = n_out - first;
    size_t rows = left < BLOCK_ROWS ? left : BLOCK_ROWS;
    if (step % 2) {
        project_share(r, first, rows, r->block, t);
    } else {
        score_share(r, first, rows, t);
        samba__cpu_lap(r->pass, t, SAMBA__CPU_PHASE_SCORE);
    }
}

static samba_status check_run(const samba_backend_pass *p, const samba_backend_weights *w,
                              const samba_backend_head_run *run, samba_error **error)
{
    if (!w->is_head || !p->embedded || w->d_model != p->d_model)
        return samba__cpu_fail(p->device, error, SAMBA_ERROR_STATE,
                               "head before embed, or with weights of another kind");
    if (run->mode < SAMBA_HEAD_LOGITS || run->mode > SAMBA_HEAD_NORM)
        return samba__cpu_fail(p->device, error, SAMBA_ERROR_UNSUPPORTED, "head mode %d",
                               (int)run->mode);
    size_t n_vocab = ((const head *)w)->table->parts[0].rows;
    for (size_t i = 0; run->mode == SAMBA_HEAD_TARGETS && i < p->batch.n_out; i++)
        if (run->targets[i] < -1 || (run->targets[i] >= 0 && (size_t)run->targets[i] >= n_vocab))
            return samba__cpu_fail(p->device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                                   "target %d in row %zu, the vocabulary has %zu",
                                   (int)run->targets[i], i, n_vocab);
    return SAMBA_OK;
}

samba_status samba__cpu_head(samba_backend_pass *pass, const samba_backend_weights *base,
                             const samba_backend_head_run *run, samba_error **error)
{
    head_run r = {.pass = pass, .w = (const head *)base, .run = run};
    size_t blocks = run->mode == SAMBA_HEAD_TARGETS ? BLOCK_ROWS : 0, size, n_out;
    SAMBA__TRY(check_run(pass, base, run, error));
    n_out = pass->batch.n_out;
    if (run->mode == SAMBA_HEAD_TARGETS)
        pass->n_logits = count_wanted(run->targets, n_out);
    else
        pass->n_logits = run->mode == SAMBA_HEAD_LOGITS ? n_out : 0;
    pass->ldv = r.w->table->width;
    if (!samba__mul_size(pass->n_logits + blocks, pass->ldv * sizeof(float), &size) ||
        !samba__cpu_reserve(pass->device, &pass->device->logits, size))
        return samba__cpu_fail_oom(pass->device, error);
    r.logits = (float *)(void *)pass->device->logits.data;
    r.block = r.logits ? r.logits + pass->n_logits * pass->ldv : NULL;
    samba__cpu_arena arena = {.base = pass->arena, .n_rows = n_out};
    r.rows = samba__cpu_take_prepared(&arena, r.w->table);
    pass->n_vocab = run->mode == SAMBA_HEAD_NORM ? 0 : r.w->table->parts[0].rows;
    pass->has_logprobs = run->mode == SAMBA_HEAD_TARGETS;
    pass->has_hidden |= run->keep_hidden || run->mode == SAMBA_HEAD_NORM;
    if (n_out)
        samba__cpu_run(pass, &(samba__cpu_steps){.work = work,
                                                 .run = &r,
                                                 .n = count_steps(&r),
                                                 .serial = n_out == 1 ? 1u << 0 | 1u << 2 : 0});
    return SAMBA_OK;
}
