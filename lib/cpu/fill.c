/*
 * Packing the matrices of a weights object. Their rows are cut into chunks that fit a core's cache
 * from reading to packing. Threads claim chunks in order, each with a buffer of its own, so that
 * file, hash (which the tensor's owner takes inside of read, row after row) and packing overlap,
 * and no matrix is ever held in file layout. The pool is used if it is free, and for a bounded time
 * at once: a pass of another model never waits long, and in between the host may cancel.
 */
#include "base/cpu.h"
#include "cpu/cpu.h"
#include "tensor/dtype.h"

#include <stdatomic.h>

enum {
    CHUNK_BYTES = 1 << 18,   /* aimed at; whole panels, so more where rows are very long */
    BUFFERS_BYTES = 1 << 24, /* of all threads, unless one alone needs more */
    TURN_BYTES = 1 << 24,    /* packed between two pauses */
    SMALL_BYTES = 1 << 16,   /* not worth waking threads for */
    PANEL = 16
};

typedef struct fill_run {
    samba__cpu_builder *b;
    size_t row_bytes[SAMBA__CPU_FILLS]; /* in file layout */
    size_t chunk_rows[SAMBA__CPU_FILLS];
    size_t buffer_bytes;
    char *buffers; /* [n_buffers][buffer_bytes] */
    uint32_t n_buffers;
    size_t end;         /* chunks before it may be claimed */
    atomic_size_t next; /* chunk to be claimed */
    atomic_bool failed; /* whoever sets it owns the two below */
    samba_status status;
    samba_error *error;
} fill_run;

static const samba_backend_rows *rows_of(const samba_backend_tensor *tensor)
{
    return tensor->flags & SAMBA_TENSOR_ROWS ? tensor->data : NULL;
}

samba_status samba__cpu_read_rows(const samba_backend_tensor *tensor, uint64_t first, uint64_t n,
                                  void *buffer, const void **data, samba_error **error)
{
    const samba_backend_rows *rows = rows_of(tensor);
    if (rows)
        return rows->read(rows, first, n, buffer, data, error);
    uint64_t skip = 0;
    (void)samba__dtype_bytes(tensor->dtype, first * tensor->cols, &skip);
    *data = (const char *)tensor->data + skip;
    return SAMBA_OK;
}

/* ---- chunks ---- */

typedef struct chunk {
    size_t fill, part;
    size_t tensor_row, first_row, rows; /* in the tensor, in the part */
} chunk;

static size_t chunks_of(const fill_run *r, size_t fill, size_t part)
{
    size_t rows = r->b->fills[fill].parts[part].rows, step = r->chunk_rows[fill];
    return rows / step + (rows % step != 0);
}

/* Chunk `at` in the order of fills, parts and rows; false past the end. */
static bool find_chunk(const fill_run *r, size_t at, chunk *c)
{
    for (size_t f = 0; f < r->b->n_fills; f++) {
        size_t row = 0;
        for (size_t p = 0; p < r->b->fills[f].n_parts; p++) {
            size_t n = chunks_of(r, f, p), rows = r->b->fills[f].parts[p].rows;
            if (at < n) {
                size_t first = at * r->chunk_rows[f], left = rows - first;
                *c = (chunk){f, p, row + first, first, r->chunk_rows[f]};
                c->rows = left < c->rows ? left : c->rows;
                return true;
            }
            at -= n;
            row += rows;
        }
    }
    return false;
}

/* Chunks from `at` on that make up one turn. */
static size_t turn_end(const fill_run *r, size_t at)
{
    chunk c;
    for (size_t bytes = 0; bytes < TURN_BYTES && find_chunk(r, at, &c); at++)
        bytes += c.rows * r->row_bytes[c.fill];
    return at;
}

static void fail(fill_run *r, samba_status status, samba_error *error)
{
    if (atomic_exchange(&r->failed, true)) {
        samba_error_free(error);
        return;
    }
    r->status = status;
    r->error = error;
}

/* A claimed chunk is always read: whoever has the next one may be waiting for it. */
static void do_chunk(fill_run *r, const chunk *c, char *buffer)
{
    const samba__cpu_fill *fill = &r->b->fills[c->fill];
    const void *data = NULL;
    samba_error *error = NULL;
    samba_status status =
        samba__cpu_read_rows(fill->tensor, c->tensor_row, c->rows, buffer, &data, &error);
    if (status != SAMBA_OK) {
        fail(r, status, error);
        return;
    }
    fill->kernels->pack(&(samba__pack_args){.src = data,
                                            .rows = c->rows,
                                            .cols = fill->cols,
                                            .packed = fill->parts[c->part].packed,
                                            .first_row = c->first_row});
}

static void do_chunks(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    fill_run *r = arg;
    (void)phase;
    (void)n;
    if (index >= r->n_buffers)
        return;
    while (!atomic_load_explicit(&r->failed, memory_order_relaxed)) {
        size_t at = atomic_load_explicit(&r->next, memory_order_relaxed);
        chunk c;
        while (at < r->end && !atomic_compare_exchange_weak(&r->next, &at, at + 1)) {
        }
        if (at >= r->end || !find_chunk(r, at, &c))
            return;
        do_chunk(r, &c, r->buffers + index * r->buffer_bytes);
    }
}

/* ---- all of them ---- */

/* False if memory is out. */
static bool plan(fill_run *r)
{
    samba__cpu_builder *b = r->b;
    size_t total = 0, n = samba__pool_size(b->device->pool);
    bool parallel = true;
    for (size_t f = 0; f < b->n_fills; f++) {
        const samba_backend_tensor *t = b->fills[f].tensor;
        uint64_t row = 0; /* the product was checked with the tensor */
        (void)samba__dtype_bytes(t->dtype, t->cols, &row);
        size_t panel = PANEL * (size_t)row, panels = CHUNK_BYTES / panel;
        size_t most = samba__pad16((size_t)t->rows);
        r->row_bytes[f] = (size_t)row;
        r->chunk_rows[f] = PANEL * (panels ? panels : 1);
        r->chunk_rows[f] = r->chunk_rows[f] < most ? r->chunk_rows[f] : most;
        if (rows_of(t) && r->chunk_rows[f] * row > r->buffer_bytes)
            r->buffer_bytes = r->chunk_rows[f] * (size_t)row;
        parallel &= !rows_of(t) || rows_of(t)->parallel;
        total += (size_t)t->rows * (size_t)row;
    }
    if (!parallel || total < SMALL_BYTES)
        n = 1;
    if (n * r->buffer_bytes > BUFFERS_BYTES)
        n = BUFFERS_BYTES / r->buffer_bytes ? BUFFERS_BYTES / r->buffer_bytes : 1;
    r->n_buffers = (uint32_t)n;
    if (r->buffer_bytes == 0)
        return true;
    r->buffers = samba__alloc_array(&b->device->alloc, n, r->buffer_bytes);
    return r->buffers != NULL;
}

static void do_turn(fill_run *r)
{
    const samba__pool_job job = {.fn = do_chunks, .arg = r, .n_phases = 1};
    if (r->n_buffers > 1 && samba__pool_try_run(r->b->device->pool, &job))
        return;
    uint64_t saved = samba__float_enter();
    do_chunks(r, 0, 0, 1);
    samba__float_leave(saved);
}

static samba_status pause_between(const fill_run *r)
{
    for (size_t f = 0; f < r->b->n_fills; f++) {
        const samba_backend_rows *rows = rows_of(r->b->fills[f].tensor);
        if (rows)
            return rows->pause(rows, r->b->error);
    }
    return SAMBA_OK;
}

samba_status samba__cpu_fill_all(samba__cpu_builder *b)
{
    fill_run r = {.b = b};
    samba_status status = SAMBA_OK;
    if (b->n_fills == 0)
        return SAMBA_OK;
    if (!plan(&r))
        return samba__cpu_fail_oom(b->device, b->error);
    for (size_t at = 0; status == SAMBA_OK; at = r.end) {
        r.end = turn_end(&r, at);
        if (r.end == at)
            break;
        if (at > 0)
            status = pause_between(&r);
        if (status == SAMBA_OK)
            do_turn(&r);
        if (r.status != SAMBA_OK)
            status = r.status;
    }
    samba__free(&b->device->alloc, r.buffers);
    if (r.error && b->error)
        *b->error = r.error;
    else
        samba_error_free(r.error);
    return status;
}
