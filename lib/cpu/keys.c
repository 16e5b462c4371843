/*
 * Keys and values of the softmax attentions: storing rows into pages and walking queries over them.
 * Tasks are (sequence, tile of query rows, kv head or pair, query heads); what a query gives does
 * not depend on its task.
 */
#include "cpu/cpu.h"

void samba__cpu_store(samba_backend_pass *pass, const samba_backend_weights *w,
                      const samba__kv_store_args *args, size_t row)
{
    const samba_backend_batch *batch = &pass->batch;
    size_t i = 0;
    while (i + 1 < batch->n_seqs && pass->first_row[i + 1] <= row)
        i++;
    const samba_backend_seq *s = &batch->seqs[i];
    samba__kv_store_args a = *args;
    uint64_t at = s->position + (row - pass->first_row[i]);
    /* Pages of the slot begin at `first`; resolve has checked that they reach this far. */
    a.page = pass->pages[pass->first_page[i] + (size_t)(at / SAMBA__PAGE - pass->page_base[i])];
    a.slot = (size_t)(at % SAMBA__PAGE);
    a.n_rows = 1;
    a.shape = w->kv;
    pass->device->kernels.kv[s->kv_dtype].store(&a);
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
            .first_key = pass->page_base[t->seq] * SAMBA__PAGE,
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
    size_t n_groups = w->kv.n_heads / heads->key_step, n_tiles = 0, begin, end, at = 0;
    size_t in_group = heads->n_heads / w->kv.n_heads; /* query heads or pairs per group */
    for (size_t i = 0; i < pass->batch.n_seqs; i++)
        n_tiles +=
            (queries_of(pass, heads, narrow, i).n + SAMBA__ATTEND_ROWS - 1) / SAMBA__ATTEND_ROWS;
    /* Too few groups for the threads: split them by query head. */
    size_t n_cuts = n_tiles * n_groups < thread.n ? in_group : 1;
    size_t per_tile = n_groups * n_cuts;
    samba__pool_share(n_tiles * per_tile, 1, thread.index, thread.n, &begin, &end);
    void *scratch = samba__cpu_thread_scratch(pass, thread);
    for (size_t i = 0; i < pass->batch.n_seqs && at < end; i++) {
        queries q = queries_of(pass, heads, narrow, i);
        size_t n = (q.n + SAMBA__ATTEND_ROWS - 1) / SAMBA__ATTEND_ROWS * per_tile;
        for (size_t j = at < begin ? begin - at : 0; j < n && at + j < end; j++) {
            task t = {.seq = i, .tile = j / per_tile, .group = j % per_tile / n_cuts};
            t.first = j % n_cuts * (in_group / n_cuts);
            t.n = in_group / n_cuts;
            run_task(pass, w, heads, &q, &t, scratch);
        }
        at += n;
    }
}
