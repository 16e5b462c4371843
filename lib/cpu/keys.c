/*
 * Keys and values of the softmax attentions: storing rows into pages and walking queries over them.
 * Tasks are (sequence, tile of query rows, kv head or pair, query heads); what a query gives does
 * not depend on its task.
 */
#include "cpu/cpu.h"

void samba__cpu_normed_share(samba_backend_pass *pass, const samba__cpu_projection *r,
                             samba__cpu_thread t)
{
    samba__cpu_input in = {
        .norm = r->norm, .lin = r->lin, .prepared = r->rows, .n_rows = pass->n_rows};
    samba__cpu_input_share(pass, &in, t);
    if (r->q_compact) {
        in.prepared = r->q_rows;
        in.row_map = pass->out_row;
        in.n_rows = pass->batch.n_out;
        samba__cpu_input_share(pass, &in, t);
    }
    if (r->rope)
        samba__cpu_rope_share(pass, r->rope, t);
}

void samba__cpu_project_share(samba_backend_pass *pass, const samba__cpu_projection *r,
                              samba__cpu_thread t)
{
    samba__cpu_compact_share(pass, r->narrow, t);
    samba__cpu_linear_run run = {.y = r->qkv, .ldy = r->lin->ld};
    run.x = r->q_compact ? r->q_rows : r->rows;
    run.n_rows = r->q_compact ? pass->batch.n_out : pass->n_rows;
    run.part_end = 1;
    samba__cpu_linear_run_share(pass, r->lin, &run, t);
    run.x = r->rows;
    run.n_rows = pass->n_rows;
    run.part_begin = 1;
    run.part_end = r->lin->n_parts;
    samba__cpu_linear_run_share(pass, r->lin, &run, t);
}

void samba__cpu_store(samba_backend_pass *pass, const samba_backend_weights *w,
                      const samba__kv_store_args *args, size_t row)
{
    const samba_backend_batch *batch = &pass->batch;
    samba__kv_store_args a = *args;
    size_t i = 0, end = row + args->n_rows;
    a.shape = w->kv;
    for (; row < end; row += a.n_rows, a.k += a.n_rows * a.ldk, a.v += a.n_rows * a.ldv) {
        while (i + 1 < batch->n_seqs && pass->first_row[i + 1] <= row)
            i++;
        const samba_backend_seq *s = &batch->seqs[i];
        size_t in_seq = row - pass->first_row[i];
        uint64_t at = s->position + in_seq;
        a.slot = (size_t)(at % SAMBA__PAGE);
        /* As far as the rows asked for, the sequence and the page go. */
        a.n_rows = SAMBA__PAGE - a.slot < end - row ? SAMBA__PAGE - a.slot : end - row;
        a.n_rows = s->n_rows - in_seq < a.n_rows ? s->n_rows - in_seq : a.n_rows;
        /* Pages of the slot begin at `first`; resolve has checked that they reach this far. */
        a.page = pass->pages[pass->first_page[i] + (size_t)(at / SAMBA__PAGE - pass->page_base[i])];
        pass->device->kernels.kv[s->kv_dtype].store(&a);
    }
}

samba__cpu_store_task samba__cpu_next_store(const samba_backend_pass *pass, size_t n_heads,
                                            size_t *begin, size_t end)
{
    size_t block = *begin / n_heads, head = *begin % n_heads;
    size_t n = n_heads - head < end - *begin ? n_heads - head : end - *begin;
    size_t row = block * SAMBA__CPU_STORE_ROWS, left = pass->n_rows - row;
    *begin += n;
    return (samba__cpu_store_task){row, left < SAMBA__CPU_STORE_ROWS ? left : SAMBA__CPU_STORE_ROWS,
                                   head, n};
}

void samba__cpu_store_range(const samba_backend_pass *pass, size_t n_heads,
                            samba__cpu_thread thread, size_t *begin, size_t *end)
{
    size_t n_blocks = (pass->n_rows + SAMBA__CPU_STORE_ROWS - 1) / SAMBA__CPU_STORE_ROWS;
    samba__pool_share(n_blocks * n_heads, 1, thread.index, thread.n, begin, end);
}

size_t samba__cpu_attend_bytes(const samba_backend_device *device, const samba_backend_weights *w,
                               size_t n_heads, size_t n_value_heads)
{
    size_t most = 0;
    for (size_t t = 0; t < SAMBA__N_DTYPES; t++) {
        const samba__kv_kernels *k = &device->kernels.kv[t];
        size_t n =
            k->attend && k->page_bytes(w->kv) ? k->scratch_bytes(w->kv, n_heads, n_value_heads) : 0;
        most = n > most ? n : most;
    }
    return most;
}

/* Query rows of a sequence: their first position, and where they begin in q and in y. */
typedef struct queries {
    size_t n, q_row, y_row;
    uint64_t position;
} queries;

static queries queries_of(const samba_backend_pass *pass, const samba__cpu_heads *heads,
                          bool narrow, size_t seq)
{
    const samba_backend_seq *s = &pass->batch.seqs[seq];
    bool outputs = narrow || pass->narrowed;
    uint32_t skip = outputs ? s->n_rows - s->n_out : 0;
    queries q = {.n = s->n_rows - skip, .position = s->position + skip};
    q.q_row =
        heads->q_compact || pass->narrowed ? pass->first_out[seq] : pass->first_row[seq] + skip;
    q.y_row = outputs ? pass->first_out[seq] : pass->first_row[seq];
    return q;
}

/* Query heads [first, first + n) that share kv head group `group`, in one tile of rows. */
typedef struct task {
    size_t seq, tile, group, first, n;
} task;

static void run_task(samba_backend_pass *pass, const samba_backend_weights *w,
                     const samba__cpu_heads *heads, const queries *q, const task *t, void *scratch)
{
    const samba_backend_seq *s = &pass->batch.seqs[t->seq];
    size_t c = w->kv.head_dim, row = t->tile * SAMBA__ATTEND_ROWS, left = q->n - row;
    size_t per_group = heads->n_heads * heads->key_step / w->kv.n_heads; /* query heads */
    for (size_t k = 0; k < heads->key_step; k++) {
        size_t head = t->group * per_group + t->first * heads->key_step + k;
        size_t pair = head / heads->key_step;
        pass->device->kernels.kv[s->kv_dtype].attend(&(samba__attend_args){
            .shape = w->kv,
            .pages = (const void *const *)(pass->pages + pass->first_page[t->seq]),
            .first_page = pass->page_base[t->seq],
            .first_key = pass->first_key[t->seq],
            .position = q->position + row,
            .window = heads->window,
            .n_rows = left < SAMBA__ATTEND_ROWS ? left : SAMBA__ATTEND_ROWS,
            .n_heads = t->n,
            .key_head = t->group * heads->key_step + k,
            .value_head = t->group * heads->key_step,
            .n_value_heads = heads->n_value_heads,
            .scale = heads->scale,
            .q = heads->q + (q->q_row + row) * heads->ldq + head * c,
            .ldq = heads->ldq,
            .q_stride = heads->key_step * c,
            .y = heads->y[k] + (q->y_row + row) * heads->ldy + pair * heads->n_value_heads * c,
            .ldy = heads->ldy,
            .y_stride = heads->n_value_heads * c,
            .scratch = scratch});
    }
}

void samba__cpu_attend_share(samba_backend_pass *pass, const samba_backend_weights *w,
                             const samba__cpu_heads *heads, bool narrow, samba__cpu_thread thread)
{
    size_t n_groups = w->kv.n_heads / heads->key_step, n_tiles = 0, begin, end;
    size_t in_group = heads->n_heads / w->kv.n_heads; /* query heads or pairs per group */
    for (size_t i = 0; i < pass->batch.n_seqs; i++)
        n_tiles +=
            (queries_of(pass, heads, narrow, i).n + SAMBA__ATTEND_ROWS - 1) / SAMBA__ATTEND_ROWS;
    /* Too few groups for the threads: split them by query head. */
    size_t n_cuts = n_tiles * n_groups < thread.n ? in_group : 1;
    samba__pool_share(n_tiles * n_groups * n_cuts, 1, thread.index, thread.n, &begin, &end);
    void *scratch = samba__cpu_thread_scratch(pass, thread);
    /* Group by group: later tiles of a sequence see more keys, and a group's pages stay near. */
    while (begin < end) {
        size_t cut = begin / n_tiles, last = (cut + 1) * n_tiles, at = cut * n_tiles;
        last = last < end ? last : end;
        for (size_t i = 0; at < last; i++) {
            queries q = queries_of(pass, heads, narrow, i);
            size_t n = (q.n + SAMBA__ATTEND_ROWS - 1) / SAMBA__ATTEND_ROWS;
            for (size_t j = at < begin ? begin - at : 0; j < n && at + j < last; j++) {
                task t = {.seq = i, .tile = j, .group = cut / n_cuts};
                t.first = cut % n_cuts * (in_group / n_cuts);
                t.n = in_group / n_cuts;
                run_task(pass, w, heads, &q, &t, scratch);
            }
            at += n;
        }
        begin = last;
    }
    samba__cpu_lap(pass, thread, SAMBA__CPU_PHASE_ATTENTION);
}
