/*
 * Passes of the fake backend: begin checks and reserves, the steps are only written down, submit
 * checks their order, wait does everything, read hands out.
 */
#include "fake_internal.h"

#include <string.h>

/* Whether weights, slabs and pages of a pass are held (delta 1) or let go (delta -1). */
static void hold_state(samba_backend_device *device, const samba_backend_batch *b, uint32_t delta)
{
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        const samba_backend_seq *s = &b->seqs[i];
        for (uint32_t k = 0; k < b->n_slab_slots * (s->n_slab_sets + 1); k++) {
            uint32_t id = k < b->n_slab_slots ? s->slab_in[k] : s->slab_out[k - b->n_slab_slots];
            fake_slab *slab = id == SAMBA_SLAB_ZERO ? NULL : fake_find_slab(device, id);
            if (slab)
                slab->users += delta;
        }
        for (uint32_t k = 0; k < b->n_page_slots; k++) {
            for (uint32_t p = 0; p < s->pages[k].n_pages; p++) {
                fake_page *page = fake_find_page(device, s->pages[k].pages[p]);
                if (page)
                    page->users += delta;
            }
        }
    }
}

/* slab_out belongs to this pass alone; what is in it is lost now. */
static void poison_slabs(samba_backend_device *device, const samba_backend_batch *b,
                         const samba_backend_seq *s)
{
    for (uint32_t k = 0; k < b->n_slab_slots * s->n_slab_sets; k++) {
        fake_slab *slab = fake_find_slab(device, s->slab_out[k]);
        if (!slab)
            continue;
        if (slab->users != 1)
            fake_violation("slab_out %u is named %u times in the pass", s->slab_out[k],
                           slab->users);
        fake_poison(fake_region_open(&slab->region), slab->n_floats);
        fake_region_close(&slab->region);
    }
}

static void poison_rows(fake_page *page, uint32_t id, uint64_t first, uint64_t end)
{
    if (page->users != 1)
        fake_violation("page %u is written and named %u times in the pass", id, page->users);
    uint8_t *base = fake_region_open(&page->region);
    memset(base + first * page->row_bytes, 0xff, (end - first) * page->row_bytes);
    fake_region_close(&page->region);
}

/* The rows of this pass are lost in every page of the sequence; all pages must be there. */
static void poison_pages(samba_backend_device *device, const samba_backend_batch *b,
                         const samba_backend_seq *s)
{
    uint64_t end = s->position + s->n_rows;
    for (uint32_t k = 0; k < b->n_page_slots; k++) {
        const samba_backend_pages *g = &s->pages[k];
        if (g->first * FAKE_PAGE_POSITIONS > s->position ||
            (g->first + g->n_pages) * FAKE_PAGE_POSITIONS < end)
            fake_violation("page slot %u: pages %llu + %u do not cover positions %llu to %llu", k,
                           (unsigned long long)g->first, g->n_pages,
                           (unsigned long long)s->position, (unsigned long long)end);
        for (uint32_t p = 0; p < g->n_pages; p++) {
            uint64_t start = (g->first + p) * FAKE_PAGE_POSITIONS,
                     stop = start + FAKE_PAGE_POSITIONS;
            uint64_t from = s->position > start ? s->position : start;
            uint64_t to = end < stop ? end : stop;
            fake_page *page = fake_find_page(device, g->pages[p]);
            if (page && page->dtype != s->kv_dtype)
                fake_violation("page %u has dtype %d, the sequence %d", g->pages[p], page->dtype,
                               s->kv_dtype);
            if (page && from < to)
                poison_rows(page, g->pages[p], from - start, to - start);
        }
    }
}

static bool batch_is_sound(const samba_backend_batch *b)
{
    uint64_t rows = 0, out = 0;
    bool sound = b->struct_size >= sizeof *b && b->n_seqs && b->n_rows && b->tokens;
    for (uint32_t i = 0; sound && i < b->n_seqs; i++) {
        const samba_backend_seq *s = &b->seqs[i];
        rows += s->n_rows;
        out += s->n_out;
        sound = s->n_rows && s->n_out <= s->n_rows &&
                (s->n_slab_sets == 1 || s->n_slab_sets == s->n_rows) &&
                (!b->n_slab_slots || (s->slab_in && s->slab_out)) && (!b->n_page_slots || s->pages);
    }
    return sound && rows == b->n_rows && out == b->n_out;
}

/* Cuts the arena into its parts. */
static void lay_out(samba_backend_pass *p)
{
    const samba_backend_device *d = p->device;
    uint64_t rows = p->batch.n_rows, out = p->batch.n_out;
    p->x = p->arena.base;
    p->memory = p->x + rows * d->max_d_model;
    p->scratch = p->memory + rows * d->max_memory;
    p->rows = (fake_row *)(p->scratch + d->max_scratch + 2 * d->max_d_model);
    p->hidden = (float *)(p->rows + rows);
    p->logprobs = p->hidden + out * d->max_d_model;
    p->memory_out = p->logprobs + out;
    p->logits = p->memory_out + rows * d->max_memory;
}

static uint64_t arena_bytes(const samba_backend_device *d, const samba_backend_batch *b)
{
    return sizeof(double) * (b->n_rows * (d->max_d_model + d->max_memory) + d->max_scratch +
                             2 * d->max_d_model) +
           sizeof(fake_row) * b->n_rows +
           sizeof(float) *
               (b->n_out * (d->max_d_model + 1 + d->max_vocab) + b->n_rows * d->max_memory);
}

samba_status fake_begin(samba_backend_device *device, const samba_backend_batch *batch,
                        samba_backend_pass **pass, samba_error **error)
{
    if (device->running) {
        fake_violation("begin while a pass runs");
        return fake_fail(device, error, SAMBA_ERROR_STATE, "a pass is running");
    }
    if (!batch_is_sound(batch)) {
        fake_violation("begin: the batch contradicts itself");
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "bad batch");
    }
    samba_backend_pass *p = fake_host_alloc(device->host, sizeof *p);
    if (!p)
        goto no_memory;
    p->device = device;
    p->batch = *batch;
    p->capacity = device->n_weights + 8;
    p->commands = fake_host_alloc(device->host, p->capacity * sizeof *p->commands);
    if (!p->commands || !fake_region_create(&p->arena, arena_bytes(device, batch)))
        goto no_memory;
    lay_out(p);
    pthread_mutex_lock(&device->lock);
    device->running = p;
    pthread_mutex_unlock(&device->lock);
    hold_state(device, batch, 1);
    for (uint32_t i = 0; i < batch->n_seqs; i++) {
        poison_slabs(device, batch, &batch->seqs[i]);
        poison_pages(device, batch, &batch->seqs[i]);
    }
    fake_count(0, 0, 0, 0, 1);
    *pass = p;
    return SAMBA_OK;

no_memory:
    if (p)
        fake_host_free(device->host, p->commands);
    fake_host_free(device->host, p);
    return fake_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "no memory for a pass of %u rows",
                     batch->n_rows);
}

static samba_status record(samba_backend_pass *pass, fake_op op,
                           const samba_backend_weights *weights, fake_command **command,
                           samba_error **error)
{
    if (pass->state != 0 || pass->n_commands == pass->capacity) {
        fake_violation("step %d %s", op, pass->state ? "after submit" : "too many");
        return fake_fail(pass->device, error, SAMBA_ERROR_STATE, "the pass takes no more steps");
    }
    fake_command *c = &pass->commands[pass->n_commands++];
    memset(c, 0, sizeof *c);
    c->op = op;
    c->weights = (samba_backend_weights *)(uintptr_t)weights;
    if (c->weights) {
        pthread_mutex_lock(&pass->device->lock);
        c->weights->users++;
        pthread_mutex_unlock(&pass->device->lock);
    }
    *command = c;
    return SAMBA_OK;
}

samba_status fake_embed(samba_backend_pass *pass, const samba_backend_weights *weights,
                        samba_error **error)
{
    fake_command *c = NULL;
    return record(pass, FAKE_OP_EMBED, weights, &c, error);
}

samba_status fake_sublayer(samba_backend_pass *pass, const samba_backend_weights *weights,
                           const samba_backend_run *run, samba_error **error)
{
    fake_command *c = NULL;
    samba_status status = record(pass, FAKE_OP_SUBLAYER, weights, &c, error);
    if (status == SAMBA_OK)
        c->run = *run;
    return status;
}

samba_status fake_tap(samba_backend_pass *pass, samba_error **error)
{
    fake_command *c = NULL;
    return record(pass, FAKE_OP_TAP, NULL, &c, error);
}

samba_status fake_head(samba_backend_pass *pass, const samba_backend_weights *weights,
                       const samba_backend_head_run *run, samba_error **error)
{
    fake_command *c = NULL;
    samba_status status = record(pass, FAKE_OP_HEAD, weights, &c, error);
    if (status == SAMBA_OK)
        c->head = *run;
    return status;
}

/* ---------------------------------------------------------------- submit */

static const char *sublayer_mistake(const samba_backend_pass *p, const fake_command *c)
{
    const samba_backend_weights *w = c->weights;
    const samba_backend_batch *b = &p->batch;
    bool has_pages =
        w->kind == SAMBA_SUBLAYER_ATTENTION || w->kind == SAMBA_SUBLAYER_DIFF_ATTENTION;
    if (w->kind >= FAKE_EMBED || c->run.struct_size < sizeof c->run)
        return "a sublayer step with other weights";
    if ((c->run.slab_slot >= 0) != (w->slab_floats != 0) ||
        (c->run.slab_slot >= 0 && (uint32_t)c->run.slab_slot >= b->n_slab_slots))
        return "a slab slot that does not fit the sublayer";
    if ((c->run.page_slot >= 0) != has_pages ||
        (has_pages && (uint32_t)c->run.page_slot >= b->n_page_slots))
        return "a page slot that does not fit the sublayer";
    if (p->narrowed && (w->slab_floats || (has_pages && !(w->desc.flags & SAMBA_SUBLAYER_CROSS))))
        return "a sublayer that writes state after NARROW";
    if (w->kind == SAMBA_SUBLAYER_GMU && !p->published)
        return "a GMU before any published memory";
    if (b->max_row_bytes < w->footprint.row_bytes)
        return "max_row_bytes is too small";
    return NULL;
}

static const char *step_mistake(samba_backend_pass *p, uint32_t i)
{
    const fake_command *c = &p->commands[i];
    if ((i == 0) != (c->op == FAKE_OP_EMBED))
        return "embed is not the first step";
    if (p->headed)
        return "a step after head";
    if (c->weights && c->weights->device != p->device)
        return "weights of another device";
    switch (c->op) {
    case FAKE_OP_EMBED:
        return c->weights->kind == FAKE_EMBED ? NULL : "embed with other weights";
    case FAKE_OP_TAP: {
        bool twice = p->tapped;
        p->tapped = true;
        return twice ? "two taps" : NULL;
    }
    case FAKE_OP_HEAD:
        p->headed = true;
        if (c->weights->kind != FAKE_HEAD || c->head.struct_size < sizeof c->head)
            return "head with other weights";
        if (p->tapped && c->head.keep_hidden)
            return "tap and keep_hidden in one pass";
        return c->head.mode == SAMBA_HEAD_TARGETS && p->batch.n_out && !c->head.targets
                   ? "no targets"
                   : NULL;
    default: {
        const char *mistake = sublayer_mistake(p, c);
        p->narrowed |= (c->run.flags & SAMBA_RUN_NARROW) != 0;
        p->published |= (c->weights->desc.flags & SAMBA_SUBLAYER_PUBLISH_MEMORY) != 0;
        return mistake;
    }
    }
}

samba_status fake_submit(samba_backend_pass *pass, samba_error **error)
{
    const char *mistake = pass->state ? "submit twice" : pass->n_commands ? NULL : "no steps";
    for (uint32_t i = 0; !mistake && i < pass->n_commands; i++)
        mistake = step_mistake(pass, i);
    if (mistake) {
        fake_violation("%s", mistake);
        return fake_fail(pass->device, error, SAMBA_ERROR_STATE, "%s", mistake);
    }
    pass->state = 1;
    pass->narrowed = false; /* from here on: of the run */
    return SAMBA_OK;
}

samba_status fake_wait(samba_backend_pass *pass, samba_error **error)
{
    if (pass->state != 1) {
        fake_violation("wait %s submit", pass->state ? "twice after" : "before");
        return fake_fail(pass->device, error, SAMBA_ERROR_STATE, "nothing to wait for");
    }
    fake_region_open(&pass->arena);
    fake_run(pass);
    fake_region_close(&pass->arena);
    fake_count_run(pass->batch.n_rows);
    pass->state = 2;
    return SAMBA_OK;
}

samba_status fake_read(samba_backend_pass *pass, samba_pass_output output, uint32_t first_row,
                       uint32_t n_rows, float *to, samba_error **error)
{
    const float *from = NULL;
    uint64_t width = 0, rows = pass->batch.n_out;
    if (pass->state == 2 && output == SAMBA_OUT_LOGITS && pass->have_logits) {
        from = pass->logits;
        width = pass->n_vocab;
        rows = pass->n_logits;
    } else if (pass->state == 2 && output == SAMBA_OUT_LOGPROBS && pass->have_logprobs) {
        from = pass->logprobs;
        width = 1;
    } else if (pass->state == 2 && output == SAMBA_OUT_HIDDEN && pass->have_hidden) {
        from = pass->hidden;
        width = pass->d_model;
    } else if (pass->state == 2 && output == SAMBA_OUT_MEMORY && pass->have_memory) {
        from = pass->memory_out;
        width = pass->memory_width;
        rows = pass->n_live;
    }
    if (!from || first_row > rows || n_rows > rows - first_row) {
        fake_violation("read of output %d, rows %u+%u of %llu, in state %d", output, first_row,
                       n_rows, (unsigned long long)rows, pass->state);
        return fake_fail(pass->device, error, SAMBA_ERROR_STATE, "no such output");
    }
    fake_region_open(&pass->arena);
    memcpy(to, from + first_row * width, n_rows * width * sizeof(float));
    fake_region_close(&pass->arena);
    return SAMBA_OK;
}

void fake_end(samba_backend_pass *pass)
{
    if (!pass)
        return;
    samba_backend_device *device = pass->device;
    hold_state(device, &pass->batch, UINT32_MAX);
    pthread_mutex_lock(&device->lock);
    if (device->running != pass)
        fake_violation("end of a pass that does not run");
    device->running = NULL;
    for (uint32_t i = 0; i < pass->n_commands; i++)
        if (pass->commands[i].weights)
            pass->commands[i].weights->users--;
    pthread_mutex_unlock(&device->lock);
    fake_region_destroy(&pass->arena);
    fake_host_free(device->host, pass->commands);
    fake_host_free(device->host, pass);
    fake_count(0, 0, 0, 0, -1);
}
