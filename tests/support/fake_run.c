/*
 * Runs the written-down steps of a pass, sublayer by sublayer, row by row. State and weights are
 * open only here.
 */
#include "fake_internal.h"

#include <math.h>
#include <string.h>

static const samba_backend_seq *seq_of(const samba_backend_pass *p, const fake_row *row)
{
    return &p->batch.seqs[row->seq];
}

static void run_embed(samba_backend_pass *p, samba_backend_weights *w)
{
    const float *table = fake_region_open(&w->region);
    uint32_t r = 0;
    p->d_model = (uint32_t)w->cols;
    for (uint32_t i = 0; i < p->batch.n_seqs; i++) {
        const samba_backend_seq *s = &p->batch.seqs[i];
        for (uint32_t k = 0; k < s->n_rows; k++, r++) {
            samba_token t = p->batch.tokens[r];
            if (t < 0 || (uint64_t)t >= w->rows) {
                fake_violation("token %d of %llu", t, (unsigned long long)w->rows);
                t = 0;
            }
            for (uint64_t c = 0; c < w->cols; c++)
                p->x[r * w->cols + c] = (double)table[(uint64_t)t * w->cols + c];
            p->rows[r] = (fake_row){i, k, s->position + k, k + s->n_out >= s->n_rows};
        }
    }
    p->n_live = r;
    fake_region_close(&w->region);
}

/* Opens or closes what a sublayer may touch of one sequence's state. */
static void guard_state(samba_backend_pass *p, const samba_backend_seq *s, const fake_command *c,
                        bool open)
{
    const samba_backend_batch *b = &p->batch;
    if (c->run.page_slot >= 0) {
        const samba_backend_pages *g = &s->pages[c->run.page_slot];
        for (uint32_t i = 0; i < g->n_pages; i++) {
            fake_page *page = fake_find_page(p->device, g->pages[i]);
            if (page && open)
                fake_region_open(&page->region);
            else if (page)
                fake_region_close(&page->region);
        }
    }
    if (c->run.slab_slot < 0)
        return;
    for (uint32_t set = 0; set < s->n_slab_sets; set++) {
        uint32_t id = s->slab_out[set * b->n_slab_slots + (uint32_t)c->run.slab_slot];
        fake_slab *slab = fake_find_slab(p->device, id);
        if (!slab)
            continue;
        if (slab->kind != c->weights->kind || slab->n_floats != c->weights->slab_floats)
            fake_violation("slab %u was made for another sublayer", id);
        if (open)
            fake_region_open(&slab->region);
        else
            fake_region_close(&slab->region);
    }
}

/* The state before a row: slab_in for the sequence's first row, then what the row before left. */
static float *state_before(samba_backend_pass *p, const samba_backend_seq *s, const fake_command *c,
                           uint32_t index)
{
    if (c->run.slab_slot < 0)
        return NULL;
    uint32_t slots = p->batch.n_slab_slots, slot = (uint32_t)c->run.slab_slot;
    uint32_t set = s->n_slab_sets == 1 ? 0 : index;
    size_t bytes = c->weights->slab_floats * sizeof(float);
    fake_slab *to = fake_find_slab(p->device, s->slab_out[set * slots + slot]);
    if (!to)
        return NULL;
    if (index == 0 && s->slab_in[slot] == SAMBA_SLAB_ZERO) {
        memset(to->region.base, 0, bytes);
    } else if (index == 0) {
        fake_slab *from = fake_find_slab(p->device, s->slab_in[slot]);
        if (!from || from->n_floats != to->n_floats || from->kind != to->kind) {
            fake_violation("slab_in %u does not fit the sublayer", s->slab_in[slot]);
            return to->region.base;
        }
        memcpy(to->region.base, fake_region_open(&from->region), bytes);
        fake_region_close(&from->region);
    } else if (set > 0) {
        const fake_slab *from = fake_find_slab(p->device, s->slab_out[(set - 1) * slots + slot]);
        if (from)
            memcpy(to->region.base, from->region.base, bytes);
    }
    return to->region.base;
}

/* Keeps the output rows only. */
static void narrow(samba_backend_pass *p)
{
    uint32_t kept = 0;
    for (uint32_t r = 0; r < p->n_live; r++) {
        if (!p->rows[r].out)
            continue;
        p->rows[kept] = p->rows[r];
        memmove(p->x + (size_t)kept * p->d_model, p->x + (size_t)r * p->d_model,
                p->d_model * sizeof *p->x);
        memmove(p->memory + (size_t)kept * p->memory_width, p->memory + (size_t)r * p->memory_width,
                p->memory_width * sizeof *p->memory);
        kept++;
    }
    p->n_live = kept;
    p->narrowed = true;
}

static void run_sublayer(samba_backend_pass *p, const fake_command *c)
{
    const samba_backend_weights *w = c->weights;
    uint32_t d = p->d_model;
    double *in = p->scratch + p->device->max_scratch, *out = in + d;
    bool publish = w->desc.flags & SAMBA_SUBLAYER_PUBLISH_MEMORY;
    if (publish)
        p->memory_width = w->desc.d_inner;
    if (w->desc.d_model != d ||
        (w->kind == SAMBA_SUBLAYER_GMU && w->desc.d_inner != p->memory_width))
        fake_violation("kind %d: widths do not fit the pass", w->kind);
    fake_region_open(&c->weights->region);
    for (uint32_t i = 0; i < p->batch.n_seqs; i++)
        guard_state(p, &p->batch.seqs[i], c, true);
    for (uint32_t r = 0; r < p->n_live; r++) {
        const samba_backend_seq *s = seq_of(p, &p->rows[r]);
        double *x = p->x + (size_t)r * d;
        fake_norm(w->desc.norm, w->desc.norm_eps, w->tensors[SAMBA_W_NORM],
                  w->tensors[SAMBA_W_NORM_BIAS], d, x, in);
        fake_mixer(&(fake_mix){
            .pass = p,
            .w = w,
            .seq = s,
            .pages = c->run.page_slot >= 0 ? &s->pages[c->run.page_slot] : NULL,
            .position = p->rows[r].position,
            .state = state_before(p, s, c, p->rows[r].index),
            .memory = publish || w->kind == SAMBA_SUBLAYER_GMU
                          ? p->memory + (size_t)r * p->memory_width
                          : NULL,
            .in = in,
            .out = out,
            .scratch = p->scratch,
        });
        for (uint32_t k = 0; k < d; k++)
            x[k] += out[k];
    }
    for (uint32_t i = 0; i < p->batch.n_seqs; i++)
        guard_state(p, &p->batch.seqs[i], c, false);
    fake_region_close(&c->weights->region);
    if (c->run.flags & SAMBA_RUN_NARROW)
        narrow(p);
}

/* ---------------------------------------------------------------- outputs */

static void keep_hidden(samba_backend_pass *p, uint32_t out_row, const double *x)
{
    for (uint32_t k = 0; k < p->d_model; k++)
        p->hidden[(size_t)out_row * p->d_model + k] = (float)x[k];
    p->have_hidden = true;
}

static void run_tap(samba_backend_pass *p)
{
    uint32_t out_row = 0;
    for (uint32_t r = 0; r < p->n_live; r++)
        if (p->rows[r].out)
            keep_hidden(p, out_row++, p->x + (size_t)r * p->d_model);
    p->have_hidden = true;
}

static float log_softmax_at(const float *logits, uint32_t n, samba_token target)
{
    double top = -INFINITY, total = 0;
    for (uint32_t i = 0; i < n; i++)
        top = (double)logits[i] > top ? (double)logits[i] : top;
    for (uint32_t i = 0; i < n; i++)
        total += exp((double)logits[i] - top);
    return (float)((double)logits[target] - top - log(total));
}

static void head_row(samba_backend_pass *p, const fake_command *c, uint32_t out_row,
                     const double *normed)
{
    const samba_backend_weights *w = c->weights, *table = w->tied ? w->tied : w;
    float *logits = p->logits + (size_t)p->n_logits * p->n_vocab;
    for (uint32_t v = 0; v < p->n_vocab; v++) {
        double sum = 0;
        for (uint32_t k = 0; k < p->d_model; k++)
            sum += (double)table->tensors[0][(size_t)v * p->d_model + k] * normed[k];
        logits[v] = (float)sum;
    }
    samba_token target = c->head.mode == SAMBA_HEAD_TARGETS ? c->head.targets[out_row] : -1;
    if (target >= (samba_token)p->n_vocab || target < -1) {
        fake_violation("target %d of %u", target, p->n_vocab);
        target = -1;
    }
    if (target < 0)
        p->n_logits++;
    if (c->head.mode == SAMBA_HEAD_TARGETS)
        p->logprobs[out_row] = target < 0 ? 0.0f : log_softmax_at(logits, p->n_vocab, target);
}

static void run_head(samba_backend_pass *p, const fake_command *c)
{
    samba_backend_weights *w = c->weights, *tied = (samba_backend_weights *)(uintptr_t)w->tied;
    double *normed = p->scratch + p->device->max_scratch;
    uint32_t out_row = 0;
    fake_region_open(&w->region);
    if (tied)
        fake_region_open(&tied->region);
    p->n_vocab = (uint32_t)w->rows;
    p->have_logits = c->head.mode != SAMBA_HEAD_NORM;
    p->have_logprobs = c->head.mode == SAMBA_HEAD_TARGETS;
    p->have_hidden |= c->head.keep_hidden != 0;
    for (uint32_t r = 0; r < p->n_live; r++) {
        if (!p->rows[r].out)
            continue;
        fake_norm(w->head.norm, w->head.norm_eps, w->tensors[1], w->tensors[2], p->d_model,
                  p->x + (size_t)r * p->d_model, normed);
        if (c->head.keep_hidden)
            keep_hidden(p, out_row, normed);
        if (c->head.mode != SAMBA_HEAD_NORM)
            head_row(p, c, out_row, normed);
        out_row++;
    }
    if (tied)
        fake_region_close(&tied->region);
    fake_region_close(&w->region);
}

void fake_run(samba_backend_pass *pass)
{
    for (uint32_t i = 0; i < pass->n_commands; i++) {
        const fake_command *c = &pass->commands[i];
        if (c->op == FAKE_OP_EMBED)
            run_embed(pass, c->weights);
        else if (c->op == FAKE_OP_SUBLAYER)
            run_sublayer(pass, c);
        else if (c->op == FAKE_OP_TAP)
            run_tap(pass);
        else
            run_head(pass, c);
    }
    if (pass->memory_width) {
        for (size_t i = 0; i < (size_t)pass->n_live * pass->memory_width; i++)
            pass->memory_out[i] = (float)pass->memory[i];
        pass->have_memory = true;
    }
}
