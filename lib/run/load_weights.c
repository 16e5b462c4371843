/*
 * Weights from the checkpoint to the device, one sublayer after the other, hashed on the way. A
 * device that reads rows takes them from the file by and by, on as many threads as it likes (see
 * samba_backend_rows): then nothing is held but its own form. For others a sublayer's weights are
 * put in a staging buffer first.
 *
 * A tensor's rows are hashed in order, whoever reads them: the thread that has read some waits
 * until all before them are hashed. That never blocks, since reads begin in that order. The host's
 * progress callback is called by the loading thread alone, from pause() and between groups.
 */
#include "run/load_weights.h"
#include "base/cpu.h"
#include "model/fingerprint.h"
#include "model/roles.h"
#include "run/progress.h"
#include "tensor/dtype.h"

#include <stdatomic.h>
#include <string.h>

enum {
    STAGING_ALIGN = 64,
    GROUP_MAX = SAMBA_W_COUNT,
    ROWS_STAGING = 32 << 20 /* what a device that reads rows may hold, and scratch */
};

/* Scratch for conversion that no thread is using. */
typedef struct spare {
    struct spare *next;
    samba__scratch scratch;
} spare;

typedef struct loader loader;

/* One weight that the device reads by rows. */
typedef struct row_source {
    samba_backend_rows rows; /* first, so that one is the other */
    loader *l;
    const samba__weight *weight;
    samba_dtype dtype;
    uint64_t row_bytes;
    /* Under the loader's lock; the stream is his whose turn it is. */
    uint64_t next_row;
    bool failed;
    samba__hash_stream hash;
} row_source;

struct loader {
    samba__weights_load *in;
    samba__fingerprint fingerprint;
    samba__progress progress;
    uint64_t done, total; /* padded bytes of all weights */
    /* Whole weights: */
    samba__scratch scratch;
    unsigned char *staging;
    size_t capacity, staged; /* bytes of staging, and in use */
    /* By rows: */
    bool by_rows;
    row_source *sources; /* [GROUP_MAX] */
    size_t n_sources;
    _Atomic uint64_t read; /* bytes of the current group */
    uv_mutex_t lock;
    uv_cond_t turn; /* some next_row has changed */
    spare *spares;
};

static size_t padded(size_t bytes)
{
    return (bytes + STAGING_ALIGN - 1) / STAGING_ALIGN * STAGING_ALIGN;
}

samba_status samba__stage_bytes(const samba__plan *plan, samba__weight *const *weights, size_t n,
                                samba_dtype wanted, size_t *bytes, samba_error **error)
{
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const samba__weight *w = weights[i];
        uint64_t size;
        bool kept;
        if (!w)
            continue;
        if (!samba__dtype_bytes(samba__weight_dtype(w, wanted, &kept), w->rows * w->cols, &size) ||
            size > SIZE_MAX / 2 || *bytes > SIZE_MAX / 2 - (size_t)size - STAGING_ALIGN)
            return samba__fail(plan->alloc, error, SAMBA_ERROR_LIMIT, "tensor %s is too large",
                               w->tensor->name);
        *bytes += padded((size_t)size);
    }
    return SAMBA_OK;
}

uint64_t samba__load_staging(const samba__device *device, uint64_t staging)
{
    bool by_rows = device->info.flags & SAMBA_BACKEND_READS_ROWS;
    return by_rows && staging > ROWS_STAGING ? ROWS_STAGING : staging;
}

static samba_status show_progress(const loader *l, samba_error **error)
{
    uint64_t done = l->done + atomic_load(&l->read);
    if (samba__progress_show(&l->progress, done, l->total) == SAMBA_CONTINUE)
        return SAMBA_OK;
    return samba__fail(l->in->alloc, error, SAMBA_ERROR_CANCELLED, "loading was cancelled");
}

static void count_weight(loader *l, const samba__weight *w, samba_dtype dtype, size_t bytes)
{
    l->done += padded(bytes);
    l->in->counts[dtype]++;
    l->in->model->n_parameters += w->rows * w->cols;
}

/* ---- by rows ---- */

static spare *take_spare(loader *l)
{
    uv_mutex_lock(&l->lock);
    spare *s = l->spares;
    if (s)
        l->spares = s->next;
    uv_mutex_unlock(&l->lock);
    if (!s && (s = samba__calloc(l->in->alloc, 1, sizeof *s)))
        s->scratch.alloc = l->in->alloc;
    return s;
}

static void give_spare(loader *l, spare *s)
{
    uv_mutex_lock(&l->lock);
    s->next = l->spares;
    l->spares = s;
    uv_mutex_unlock(&l->lock);
}

static samba_status fetch(const row_source *s, samba__row_range range, void *buffer,
                          const void **data, samba_error **error)
{
    const samba__checkpoint *k = s->l->in->checkpoint;
    *data = samba__weight_view_rows(k, s->weight, s->dtype, range);
    if (*data)
        return SAMBA_OK;
    spare *scratch = take_spare(s->l);
    if (!scratch)
        return samba__fail_oom(error);
    *data = buffer;
    uint64_t saved = samba__float_enter();
    samba_status status =
        samba__weight_read_rows(k, s->weight, s->dtype, range, buffer, &scratch->scratch, error);
    samba__float_leave(saved);
    give_spare(s->l, scratch);
    return status;
}

/* Waits for the rows before; false if one of them has failed, whose error counts. */
static bool wait_turn(row_source *s, uint64_t row)
{
    loader *l = s->l;
    uv_mutex_lock(&l->lock);
    while (s->next_row != row && !s->failed)
        uv_cond_wait(&l->turn, &l->lock);
    bool ok = !s->failed;
    uv_mutex_unlock(&l->lock);
    return ok;
}

static void end_turn(row_source *s, uint64_t next_row, bool failed)
{
    loader *l = s->l;
    uv_mutex_lock(&l->lock);
    s->next_row = next_row;
    s->failed |= failed;
    uv_cond_broadcast(&l->turn);
    uv_mutex_unlock(&l->lock);
}

static samba_status read_rows(const samba_backend_rows *rows, uint64_t first, uint64_t n,
                              void *buffer, const void **data, samba_error **error)
{
    /* The device has it const; all that changes is under the lock. */
    row_source *s = ((const row_source *)(const void *)rows)->l->sources;
    s += (const row_source *)(const void *)rows - s;
    samba_status status = fetch(s, (samba__row_range){first, n}, buffer, data, error);
    if (status != SAMBA_OK) {
        end_turn(s, first, true);
        return status;
    }
    if (!wait_turn(s, first))
        return SAMBA_OK;
    samba__hash_update(&s->hash, *data, (size_t)(n * s->row_bytes));
    atomic_fetch_add(&s->l->read, n * s->row_bytes);
    end_turn(s, first + n, false);
    return SAMBA_OK;
}

static samba_status pause_rows(const samba_backend_rows *rows, samba_error **error)
{
    return show_progress(((const row_source *)(const void *)rows)->l, error);
}

static void add_source(loader *l, const samba__weight *w, samba_backend_tensor *out)
{
    bool kept;
    uint64_t row_bytes = 0;
    row_source *s = &l->sources[l->n_sources++];
    samba_dtype dtype = samba__weight_dtype(w, l->in->options->weight_dtype, &kept);
    samba__dtype_bytes(dtype, w->cols, &row_bytes); /* checked by begin_group */
    s->rows =
        (samba_backend_rows){.struct_size = sizeof s->rows,
                             .parallel = samba__checkpoint_parallel(l->in->checkpoint, w->tensor),
                             .read = read_rows,
                             .pause = pause_rows};
    s->l = l;
    s->weight = w;
    s->dtype = dtype;
    s->row_bytes = row_bytes;
    s->next_row = 0;
    s->failed = false;
    samba__hash_begin(&s->hash);
    *out = (samba_backend_tensor){.data = &s->rows,
                                  .dtype = dtype,
                                  .flags = SAMBA_TENSOR_ROWS,
                                  .rows = w->rows,
                                  .cols = w->cols};
}

/* After prepare: takes note of the group's weights. */
static samba_status end_group(loader *l, samba_error **error)
{
    for (size_t i = 0; i < l->n_sources; i++) {
        row_source *s = &l->sources[i];
        if (s->next_row != s->weight->rows)
            return samba__fail(l->in->alloc, error, SAMBA_ERROR_BACKEND,
                               "backend %s has read %llu of %llu rows of tensor %s",
                               l->in->model->device->vtbl->name, (unsigned long long)s->next_row,
                               (unsigned long long)s->weight->rows, s->weight->name);
        samba__fingerprint_add_stream(&l->fingerprint, s->weight, s->dtype, &s->hash);
        count_weight(l, s->weight, s->dtype, (size_t)(s->weight->rows * s->row_bytes));
    }
    l->n_sources = 0;
    atomic_store(&l->read, 0);
    return SAMBA_OK;
}

/* ---- whole ---- */

static samba_status reserve_staging(loader *l, size_t need, samba_error **error)
{
    l->staged = 0;
    if (need <= l->capacity)
        return SAMBA_OK;
    samba__free(l->in->alloc, l->staging);
    l->capacity = 0;
    l->staging = samba__alloc_aligned(l->in->alloc, need, STAGING_ALIGN);
    if (!l->staging)
        return samba__fail_oom(error);
    l->capacity = need;
    return SAMBA_OK;
}

/* Reads and hashes one weight; `out` describes it until the next begin_group. */
static samba_status stage(loader *l, const samba__weight *w, samba_backend_tensor *out,
                          samba_error **error)
{
    uint64_t bytes = 0;
    bool kept;
    samba_dtype dtype = samba__weight_dtype(w, l->in->options->weight_dtype, &kept);
    unsigned char *to = l->staging + l->staged;
    samba__dtype_bytes(dtype, w->rows * w->cols, &bytes); /* checked by begin_group */
    SAMBA__INVARIANT(l->staged + bytes <= l->capacity);
    SAMBA__TRY(samba__weight_read(l->in->checkpoint, w, dtype, to, &l->scratch, error));
    samba__fingerprint_add(&l->fingerprint, w, dtype, to, (size_t)bytes);
    *out = (samba_backend_tensor){.data = to, .dtype = dtype, .rows = w->rows, .cols = w->cols};
    l->staged += padded((size_t)bytes);
    count_weight(l, w, dtype, (size_t)bytes);
    return SAMBA_OK;
}

/* ---- groups: what goes to the device in one call ---- */

static samba_status begin_group(loader *l, samba__weight *const *weights, size_t n,
                                samba_error **error)
{
    size_t need;
    SAMBA__TRY(
        samba__stage_bytes(l->in->plan, weights, n, l->in->options->weight_dtype, &need, error));
    if (!l->by_rows)
        return reserve_staging(l, need, error);
    SAMBA__INVARIANT(l->n_sources == 0);
    return SAMBA_OK;
}

static samba_status give(loader *l, const samba__weight *w, samba_backend_tensor *out,
                         samba_error **error)
{
    SAMBA__TRY(show_progress(l, error));
    if (!l->by_rows)
        return stage(l, w, out, error);
    add_source(l, w, out);
    return SAMBA_OK;
}

static void count_footprint(samba_model *m, const samba_backend_weights *weights,
                            samba_backend_footprint *footprint)
{
    *footprint = (samba_backend_footprint){.struct_size = sizeof *footprint};
    m->device->vtbl->footprint(weights, footprint);
    m->weight_bytes += footprint->weight_bytes;
    if (footprint->row_bytes > m->max_row_bytes)
        m->max_row_bytes = footprint->row_bytes;
}

static samba_status load_embed(loader *l, samba_error **error)
{
    samba_model *m = l->in->model;
    samba__weight *embed = l->in->plan->embed;
    samba_backend_footprint footprint;
    samba_backend_tensor table;
    SAMBA__TRY(begin_group(l, &embed, 1, error));
    SAMBA__TRY(give(l, embed, &table, error));
    SAMBA__TRY(m->device->vtbl->prepare_embed(m->device->handle, &table, &m->embed, error));
    count_footprint(m, m->embed, &footprint);
    return end_group(l, error);
}

static samba_status load_sublayer(loader *l, uint32_t i, samba_error **error)
{
    const samba__plan_sublayer *s = &l->in->plan->sublayers[i];
    samba_model *m = l->in->model;
    samba__model_sublayer *to = &m->sublayers[i];
    samba_backend_sublayer desc = s->desc;
    SAMBA__TRY(begin_group(l, s->weights, SAMBA_W_COUNT, error));
    for (uint32_t r = 0; r < SAMBA_W_COUNT; r++)
        if (s->weights[r])
            SAMBA__TRY(give(l, s->weights[r], &desc.tensors[r], error));
    SAMBA__TRY(m->device->vtbl->prepare_sublayer(m->device->handle, &desc, &to->weights, error));
    count_footprint(m, to->weights, &to->footprint);
    m->infos[i] = samba__sublayer_info(s, &to->footprint);
    return end_group(l, error);
}

static samba_status load_head(loader *l, samba_error **error)
{
    const samba__plan *p = l->in->plan;
    samba_model *m = l->in->model;
    samba__weight *const group[] = {p->final_norm, p->final_norm_bias, p->head};
    samba_backend_footprint footprint;
    samba_backend_head head = {.struct_size = sizeof head,
                               .norm = p->final_norm_kind,
                               .norm_eps = p->final_norm_eps,
                               .tied = p->head ? NULL : m->embed};
    SAMBA__TRY(begin_group(l, group, 3, error));
    SAMBA__TRY(give(l, p->final_norm, &head.norm_weight, error));
    if (p->final_norm_bias)
        SAMBA__TRY(give(l, p->final_norm_bias, &head.norm_bias, error));
    if (p->head)
        SAMBA__TRY(give(l, p->head, &head.table, error));
    SAMBA__TRY(m->device->vtbl->prepare_head(m->device->handle, &head, &m->head, error));
    count_footprint(m, m->head, &footprint);
    return end_group(l, error);
}

/* ---- all ---- */

static samba_status load_groups(loader *l, samba_error **error)
{
    const samba__plan *p = l->in->plan;
    SAMBA__TRY(samba__fingerprint_begin(&l->fingerprint, p, error));
    SAMBA__TRY(load_embed(l, error));
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        SAMBA__TRY(load_sublayer(l, i, error));
    SAMBA__TRY(load_head(l, error));
    SAMBA__TRY(
        samba__fingerprint_end(&l->fingerprint, p, l->in->checkpoint, &l->in->model->id, error));
    return show_progress(l, error);
}

static samba_status load_by_rows(loader *l, samba_error **error)
{
    const samba_allocator *a = l->in->alloc;
    if (uv_mutex_init(&l->lock) != 0)
        return samba__fail_oom(error);
    if (uv_cond_init(&l->turn) != 0) {
        uv_mutex_destroy(&l->lock);
        return samba__fail_oom(error);
    }
    l->sources = samba__alloc_aligned(a, GROUP_MAX * sizeof *l->sources, STAGING_ALIGN);
    samba_status status = l->sources ? load_groups(l, error) : samba__fail_oom(error);
    samba__free(a, l->sources);
    for (spare *s = l->spares, *next; s; s = next) {
        next = s->next;
        samba__scratch_free(&s->scratch);
        samba__free(a, s);
    }
    uv_cond_destroy(&l->turn);
    uv_mutex_destroy(&l->lock);
    return status;
}

static samba_status load_whole(loader *l, samba_error **error)
{
    l->scratch.alloc = l->in->alloc;
    samba_status status = load_groups(l, error);
    samba__free(l->in->alloc, l->staging);
    samba__scratch_free(&l->scratch);
    return status;
}

samba_status samba__load_weights(samba__weights_load *load, samba_error **error)
{
    const samba_model_options *o = load->options;
    const samba__plan *p = load->plan;
    size_t total;
    loader l = {
        .in = load,
        .progress = {.fn = o->progress, .user_data = o->progress_user_data, .cancel = o->cancel},
        .by_rows = load->model->device->info.flags & SAMBA_BACKEND_READS_ROWS};
    SAMBA__TRY(samba__stage_bytes(p, p->weights, p->n_weights, o->weight_dtype, &total, error));
    l.total = total;
    samba_status status = l.by_rows ? load_by_rows(&l, error) : load_whole(&l, error);
    samba__fingerprint_free(&l.fingerprint);
    return status;
}
