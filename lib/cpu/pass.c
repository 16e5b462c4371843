/*
 * A pass: reserves everything it will need at begin, so that no later step runs out of memory (but
 * for logits of many rows, see head.c), then runs sublayer after sublayer. The pass and its memory
 * belong to the device and are kept, so a steady stream of passes never allocates.
 */
#include "cpu/cpu.h"

#include <string.h>

bool samba__cpu_reserve(samba_backend_device *device, samba__cpu_buffer *buffer, size_t size)
{
    if (size <= buffer->size)
        return true;
    char *data = samba__alloc_aligned(&device->alloc, size, SAMBA__ALIGN);
    if (!data)
        return false;
    samba__free(&device->alloc, buffer->data);
    buffer->data = data;
    buffer->size = size;
    return true;
}

void *samba__cpu_thread_scratch(const samba_backend_pass *pass, samba__cpu_thread thread)
{
    return pass->thread_scratch + thread.index * pass->thread_bytes;
}

/* ---------------------------------------------------------------- begin */

static samba_status check_seq(const samba_backend_device *device, const samba_backend_batch *batch,
                              size_t i, samba_error **error)
{
    const samba_backend_seq *s = &batch->seqs[i];
    if (s->n_rows == 0 || s->n_out > s->n_rows)
        return samba__cpu_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "sequence %zu of a batch has %u rows and %u output rows", i,
                               s->n_rows, s->n_out);
    if (s->n_slab_sets != 1 && s->n_slab_sets != s->n_rows)
        return samba__cpu_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "sequence %zu of a batch has %u slab sets for %u rows", i,
                               s->n_slab_sets, s->n_rows);
    if (s->position > UINT64_MAX / 2)
        return samba__cpu_fail(device, error, SAMBA_ERROR_LIMIT,
                               "sequence %zu of a batch is at position %llu", i,
                               (unsigned long long)s->position);
    return SAMBA_OK;
}

/* Sizes of the batch that the descriptions of its sequences add up to. */
typedef struct totals {
    size_t rows, out, sets, pages; /* pages: most of any one slot */
} totals;

static samba_status check_batch(const samba_backend_device *device,
                                const samba_backend_batch *batch, totals *sum, samba_error **error)
{
    *sum = (totals){0};
    for (size_t i = 0; i < batch->n_seqs; i++) {
        SAMBA__TRY(check_seq(device, batch, i, error));
        sum->rows += batch->seqs[i].n_rows;
        sum->out += batch->seqs[i].n_out;
        sum->sets += batch->seqs[i].n_slab_sets;
    }
    for (size_t p = 0; p < batch->n_page_slots; p++) {
        size_t n = 0;
        for (size_t i = 0; i < batch->n_seqs; i++)
            n += batch->seqs[i].pages[p].n_pages;
        sum->pages = n > sum->pages ? n : sum->pages;
    }
    if (sum->rows != batch->n_rows || sum->out != batch->n_out || batch->n_rows == 0)
        return samba__cpu_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "a batch says %u rows and %u output rows, its sequences have %zu "
                               "and %zu",
                               batch->n_rows, batch->n_out, sum->rows, sum->out);
    return SAMBA_OK;
}

/* Hands out the workspace; counts with base NULL. Overflow sticks. */
typedef struct carver {
    char *base;
    size_t used;
    bool overflow;
} carver;

static void *carve(carver *c, size_t n, size_t size)
{
    size_t bytes, at = c->used;
    if (!samba__mul_size(n, size, &bytes) || bytes > SIZE_MAX - 63 ||
        !samba__add_size(at, (bytes + 63) & ~(size_t)63, &c->used))
        c->overflow = true;
    return c->base && !c->overflow ? c->base + at : NULL;
}

static void carve_all(carver *c, samba_backend_pass *p, const samba__cpu_needs *needs,
                      const totals *sum)
{
    const samba_backend_batch *b = &p->batch;
    size_t head, n_threads = samba__pool_size(p->device->pool);
    p->x = carve(c, b->n_rows, needs->d_model * sizeof(float));
    p->memory = carve(c, b->n_rows, needs->memory * sizeof(float));
    p->hidden = carve(c, b->n_out, needs->d_model * sizeof(float));
    p->logprobs = carve(c, b->n_out, sizeof(float));
    p->first_row = carve(c, b->n_seqs, sizeof *p->first_row);
    p->first_out = carve(c, b->n_seqs, sizeof *p->first_out);
    p->out_row = carve(c, b->n_out, sizeof *p->out_row);
    p->cos = carve(c, b->n_rows, needs->rope_half * sizeof(float));
    p->sin = carve(c, b->n_rows, needs->rope_half * sizeof(float));
    p->slab_in = carve(c, b->n_seqs, sizeof *p->slab_in);
    p->slab_out = carve(c, sum->sets, sizeof *p->slab_out);
    p->first_set = carve(c, b->n_seqs, sizeof *p->first_set);
    p->pages = carve(c, sum->pages, sizeof *p->pages);
    p->first_page = carve(c, b->n_seqs, sizeof *p->first_page);
    p->page_base = carve(c, b->n_seqs, sizeof *p->page_base);
    p->first_key = carve(c, b->n_seqs, sizeof *p->first_key);
    p->thread_bytes = needs->d_model * sizeof(float);
    if (p->thread_bytes < needs->thread_bytes)
        p->thread_bytes = (needs->thread_bytes + 63) & ~(size_t)63;
    p->thread_scratch = carve(c, n_threads, p->thread_bytes);
    size_t at = c->used;
    if (!samba__mul_size(b->n_out, needs->head_row_bytes, &head) ||
        !samba__mul_size(b->n_rows, b->max_row_bytes, &p->arena_bytes))
        c->overflow = true;
    p->arena_bytes = head > p->arena_bytes ? head : p->arena_bytes;
    carve(c, p->arena_bytes, 1);
    p->arena = c->base ? c->base + at : NULL;
    p->ld_rope = needs->rope_half;
}

static void map_rows(samba_backend_pass *p)
{
    uint32_t row = 0, out = 0;
    size_t set = 0;
    for (size_t i = 0; i < p->batch.n_seqs; i++) {
        const samba_backend_seq *s = &p->batch.seqs[i];
        p->first_row[i] = row;
        p->first_out[i] = out;
        p->first_set[i] = set;
        for (uint32_t j = s->n_rows - s->n_out; j < s->n_rows; j++)
            p->out_row[out++] = row + j;
        row += s->n_rows;
        set += s->n_slab_sets;
    }
}

samba_status samba__cpu_begin(samba_backend_device *device, const samba_backend_batch *batch,
                              samba_backend_pass **pass, samba_error **error)
{
    samba_backend_pass *p = &device->pass;
    samba__cpu_needs needs;
    totals sum;
    if (p->active)
        return samba__cpu_fail(device, error, SAMBA_ERROR_BUSY, "a pass of this device is open");
    SAMBA__TRY(check_batch(device, batch, &sum, error));
    uv_mutex_lock(&device->lock);
    needs = device->needs;
    uv_mutex_unlock(&device->lock);
    *p = (samba_backend_pass){.device = device, .batch = *batch, .n_rows = batch->n_rows};
    carver count = {0};
    carve_all(&count, p, &needs, &sum);
    if (count.overflow || !samba__cpu_reserve(device, &device->workspace, count.used))
        return samba__cpu_fail_oom(device, error);
    if (batch->n_out <= batch->n_seqs) { /* the usual case: logits of last rows */
        size_t row = needs.n_vocab * sizeof(float), size;
        if (!samba__mul_size(batch->n_out, row, &size) ||
            !samba__cpu_reserve(device, &device->logits, size))
            return samba__cpu_fail_oom(device, error);
        p->usual_logits = size;
    }
    carver fill = {.base = device->workspace.data};
    carve_all(&fill, p, &needs, &sum);
    map_rows(p);
    p->active = true;
    samba__cpu_profile_begin(device);
    *pass = p;
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- sublayers */

typedef struct job {
    samba_backend_pass *pass;
    const samba__cpu_steps *steps;
} job;

static void do_step(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    const job *j = arg;
    const samba__cpu_thread thread = {index, n};
    if (phase > 0)
        samba__cpu_lap(j->pass, thread, SAMBA__CPU_PHASE_WAIT);
    j->steps->work(j->steps->run, phase, thread);
}

void samba__cpu_run(samba_backend_pass *pass, const samba__cpu_steps *steps)
{
    const samba__cpu_thread caller = {0, 1};
    job j = {pass, steps};
    samba__cpu_lap(pass, caller, SAMBA__CPU_PHASE_OTHER);
    samba__pool_run(
        pass->device->pool,
        &(samba__pool_job){
            .fn = do_step, .arg = &j, .n_phases = steps->n, .serial = steps->serial});
    samba__cpu_lap(pass, caller, SAMBA__CPU_PHASE_WAIT);
}

void samba__cpu_compact(const samba_backend_pass *pass, float *rows, size_t ld)
{
    for (size_t i = 0; i < pass->batch.n_out; i++)
        if (pass->out_row[i] != i) /* rows only move towards the start */
            memcpy(rows + i * ld, rows + pass->out_row[i] * ld, ld * sizeof *rows);
}

static samba_status check_sublayer(const samba_backend_pass *pass, const samba_backend_weights *w,
                                   samba_error **error)
{
    const samba_backend_device *d = pass->device;
    if (!w->kind || !pass->embedded)
        return samba__cpu_fail(d, error, SAMBA_ERROR_STATE,
                               "sublayer before embed, or with weights of another kind");
    if (w->d_model != pass->d_model)
        return samba__cpu_fail(d, error, SAMBA_ERROR_MISMATCH,
                               "a sublayer of width %zu in a pass of width %zu", w->d_model,
                               pass->d_model);
    if (w->reads_memory && w->reads_memory != pass->memory_width)
        return samba__cpu_fail(d, error, SAMBA_ERROR_STATE,
                               "a GMU reads a memory of width %zu, the pass has published %zu",
                               w->reads_memory, pass->memory_width);
    if (w->footprint.row_bytes > pass->batch.max_row_bytes)
        return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "a %s sublayer needs %llu bytes per row, the batch announced %llu",
                               w->kind->name, (unsigned long long)w->footprint.row_bytes,
                               (unsigned long long)pass->batch.max_row_bytes);
    return SAMBA_OK;
}

void samba__cpu_compact_share(samba_backend_pass *pass, bool narrow, samba__cpu_thread thread)
{
    if (!narrow || thread.index != 0)
        return;
    samba__cpu_compact(pass, pass->x, pass->ldx);
    samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_COMPACT);
}

/* After x: the memory too holds output rows only from here on. */
static void drop_rows(samba_backend_pass *pass)
{
    if (pass->memory_width)
        samba__cpu_compact(pass, pass->memory, pass->ldm);
    pass->n_rows = pass->batch.n_out;
    pass->narrowed = true;
}

samba_status samba__cpu_sublayer(samba_backend_pass *pass, const samba_backend_weights *w,
                                 const samba_backend_run *run, samba_error **error)
{
    SAMBA__TRY(check_sublayer(pass, w, error));
    if (pass->n_rows == 0)
        return SAMBA_OK;
    bool narrow = run->flags & SAMBA_RUN_NARROW && pass->batch.n_out < pass->n_rows;
    bool has_state = w->slab.n_sections || w->kv.n_heads;
    if (w->slab.n_sections)
        SAMBA__TRY(samba__cpu_resolve_slabs(pass, w, run->slab_slot, error));
    if (w->kv.n_heads)
        SAMBA__TRY(samba__cpu_resolve_pages(pass, w, run->page_slot, error));
    if (narrow && !has_state) { /* nothing needs the other rows any more */
        samba__cpu_compact(pass, pass->x, pass->ldx);
        drop_rows(pass);
        narrow = false;
    }
    if (pass->n_rows)
        w->kind->run(pass, w, narrow);
    if (narrow)
        drop_rows(pass);
    return SAMBA_OK;
}

bool samba__cpu_rope_ready(const samba_backend_pass *pass, const samba__cpu_rope *rope)
{
    const samba__cpu_rope_key *a = &pass->rope, *b = &rope->key;
    return a->dims == b->dims && a->table == b->table && !(a->base < b->base) &&
           !(a->base > b->base) && !(a->condense < b->condense) && !(a->condense > b->condense);
}

/* Rows [begin, end) of the batch, sequence by sequence. */
void samba__cpu_rope_share(samba_backend_pass *pass, const samba__cpu_rope *rope,
                           samba__cpu_thread thread)
{
    size_t begin, end;
    samba__pool_share(pass->batch.n_rows, 1, thread.index, thread.n, &begin, &end);
    for (size_t i = 0; i < pass->batch.n_seqs; i++) {
        size_t first = pass->first_row[i], last = first + pass->batch.seqs[i].n_rows;
        size_t from = first > begin ? first : begin, to = last < end ? last : end;
        if (from >= to)
            continue;
        pass->device->kernels.rope_table(
            &(samba__rope_table_args){.theta = rope->theta,
                                      .half = rope->key.dims / 2,
                                      .position = pass->batch.seqs[i].position + (from - first),
                                      .n_rows = to - from,
                                      .condense = rope->key.condense,
                                      .bf16 = rope->key.table == SAMBA_ROPE_TABLE_BF16,
                                      .cos = pass->cos + from * pass->ld_rope,
                                      .sin = pass->sin + from * pass->ld_rope,
                                      .ld = pass->ld_rope});
    }
    samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_ROPE);
}

size_t samba__cpu_n_steps(const samba_backend_pass *pass, size_t seq)
{
    return pass->batch.seqs[seq].n_slab_sets;
}

samba__cpu_step samba__cpu_step_of(const samba_backend_pass *pass, size_t seq, size_t step)
{
    const samba_backend_seq *s = &pass->batch.seqs[seq];
    float **out = pass->slab_out + pass->first_set[seq];
    return (samba__cpu_step){.row = pass->first_row[seq] + step,
                             .n_rows = s->n_slab_sets == 1 ? s->n_rows : 1,
                             .state_in = step ? out[step - 1] : pass->slab_in[seq],
                             .state_out = out[step]};
}

/* ---------------------------------------------------------------- outputs */

samba_status samba__cpu_tap(samba_backend_pass *pass, samba_error **error)
{
    if (!pass->embedded)
        return samba__cpu_fail(pass->device, error, SAMBA_ERROR_STATE, "tap before embed");
    for (size_t i = 0; i < pass->batch.n_out; i++) {
        size_t row = pass->narrowed ? i : pass->out_row[i];
        memcpy(pass->hidden + i * pass->ldx, pass->x + row * pass->ldx,
               pass->d_model * sizeof *pass->x);
    }
    pass->has_hidden = true;
    return SAMBA_OK;
}

/* An output as an array of rows; n_rows 0 if there is none. */
typedef struct output {
    const float *data;
    size_t n_rows, width, ld;
} output;

static output output_of(const samba_backend_pass *pass, samba_pass_output which)
{
    if (which == SAMBA_OUT_LOGITS && pass->n_vocab)
        return (output){(const float *)(const void *)pass->device->logits.data, pass->n_logits,
                        pass->n_vocab, pass->ldv};
    if (which == SAMBA_OUT_LOGPROBS && pass->has_logprobs)
        return (output){pass->logprobs, pass->batch.n_out, 1, 1};
    if (which == SAMBA_OUT_HIDDEN && pass->has_hidden)
        return (output){pass->hidden, pass->batch.n_out, pass->d_model, pass->ldx};
    if (which == SAMBA_OUT_MEMORY && pass->memory_width)
        return (output){pass->memory, pass->n_rows, pass->memory_width, pass->ldm};
    return (output){0};
}

samba_status samba__cpu_read(samba_backend_pass *pass, samba_pass_output which, uint32_t first_row,
                             uint32_t n_rows, float *to, samba_error **error)
{
    output o = output_of(pass, which);
    if (first_row > o.n_rows || n_rows > o.n_rows - first_row)
        return samba__cpu_fail(pass->device, error, SAMBA_ERROR_STATE,
                               "output %d of a pass has %zu rows, asked for %u from row %u",
                               (int)which, o.n_rows, n_rows, first_row);
    for (size_t i = 0; i < n_rows; i++)
        memcpy(to + i * o.width, o.data + (first_row + i) * o.ld, o.width * sizeof *to);
    return SAMBA_OK;
}

void samba__cpu_end(samba_backend_pass *pass)
{
    enum {
        KEPT_LOGITS = 64 << 20
    }; /* bytes; logits of whole prompts are not kept */
    if (!pass)
        return;
    samba_backend_device *d = pass->device;
    pass->active = false;
    if (d->logits.size > KEPT_LOGITS && d->logits.size > pass->usual_logits) {
        samba__free(&d->alloc, d->logits.data);
        d->logits = (samba__cpu_buffer){0};
    }
}
