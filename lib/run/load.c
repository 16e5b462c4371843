/*
 * Loading: checkpoint -> plan -> one sublayer's weights after the other into a staging buffer,
 * hashed and handed to the device, which keeps its own form of them. Most memory held at once: what
 * the device keeps, plus one sublayer (or the embedding).
 */
#include "base/cpu.h"
#include "model/fingerprint.h"
#include "model/roles.h"
#include "model/vocab.h"
#include "run/model.h"
#include "run/progress.h"
#include "tensor/dtype.h"

#include <stdio.h>
#include <string.h>

enum {
    STAGING_ALIGN = 64,
    DTYPES = 8,
    TYPES_TEXT = 160
};

typedef struct loader {
    const samba_allocator *alloc;
    const samba_model_options *options;
    samba__checkpoint *checkpoint;
    samba__plan *plan;
    samba_model *model;
    samba__fingerprint fingerprint;
    samba__scratch scratch;
    unsigned char *staging;
    size_t capacity, staged; /* bytes of staging, and in use */
    samba__progress progress;
    uint64_t done, total;    /* staged bytes of all weights */
    uint32_t counts[DTYPES]; /* weights by type */
} loader;

/* ---- staging ---- */

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

/* Empties the staging buffer and makes room for a group of weights. */
static samba_status stage_begin(loader *l, samba__weight *const *weights, size_t n,
                                samba_error **error)
{
    size_t need;
    SAMBA__TRY(samba__stage_bytes(l->plan, weights, n, l->options->weight_dtype, &need, error));
    l->staged = 0;
    if (need <= l->capacity)
        return SAMBA_OK;
    samba__free(l->alloc, l->staging);
    l->capacity = 0;
    l->staging = samba__alloc_aligned(l->alloc, need, STAGING_ALIGN);
    if (!l->staging)
        return samba__fail_oom(error);
    l->capacity = need;
    return SAMBA_OK;
}

static samba_status show_progress(loader *l, samba_error **error)
{
    if (samba__progress_show(&l->progress, l->done, l->total) == SAMBA_CONTINUE)
        return SAMBA_OK;
    return samba__fail(l->alloc, error, SAMBA_ERROR_CANCELLED, "loading was cancelled");
}

/* Reads and hashes one weight; `out` describes it until the next stage_begin. */
static samba_status stage(loader *l, const samba__weight *w, samba_backend_tensor *out,
                          samba_error **error)
{
    uint64_t bytes = 0;
    bool kept;
    samba_dtype dtype = samba__weight_dtype(w, l->options->weight_dtype, &kept);
    unsigned char *to = l->staging + l->staged;
    SAMBA__TRY(show_progress(l, error));
    samba__dtype_bytes(dtype, w->rows * w->cols, &bytes); /* checked by stage_begin */
    SAMBA__INVARIANT(l->staged + bytes <= l->capacity);
    SAMBA__TRY(samba__weight_read(l->checkpoint, w, dtype, to, &l->scratch, error));
    samba__fingerprint_add(&l->fingerprint, w, dtype, to, (size_t)bytes);
    *out = (samba_backend_tensor){.data = to, .dtype = dtype, .rows = w->rows, .cols = w->cols};
    l->staged += padded((size_t)bytes);
    l->done += padded((size_t)bytes);
    l->counts[dtype]++;
    l->model->n_parameters += w->rows * w->cols;
    return SAMBA_OK;
}

/* ---- weights to the device ---- */

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
    samba_model *m = l->model;
    samba_backend_footprint footprint;
    samba_backend_tensor table;
    SAMBA__TRY(stage_begin(l, &l->plan->embed, 1, error));
    SAMBA__TRY(stage(l, l->plan->embed, &table, error));
    SAMBA__TRY(m->device->vtbl->prepare_embed(m->device->handle, &table, &m->embed, error));
    count_footprint(m, m->embed, &footprint);
    return SAMBA_OK;
}

static samba_status load_sublayer(loader *l, uint32_t i, samba_error **error)
{
    const samba__plan_sublayer *s = &l->plan->sublayers[i];
    samba_model *m = l->model;
    samba__model_sublayer *to = &m->sublayers[i];
    samba_backend_sublayer desc = s->desc;
    SAMBA__TRY(stage_begin(l, s->weights, SAMBA_W_COUNT, error));
    for (uint32_t r = 0; r < SAMBA_W_COUNT; r++)
        if (s->weights[r])
            SAMBA__TRY(stage(l, s->weights[r], &desc.tensors[r], error));
    SAMBA__TRY(m->device->vtbl->prepare_sublayer(m->device->handle, &desc, &to->weights, error));
    count_footprint(m, to->weights, &to->footprint);
    m->infos[i] = samba__sublayer_info(s, &to->footprint);
    return SAMBA_OK;
}

static samba_status load_head(loader *l, samba_error **error)
{
    const samba__plan *p = l->plan;
    samba_model *m = l->model;
    samba__weight *const group[] = {p->final_norm, p->final_norm_bias, p->head};
    samba_backend_footprint footprint;
    samba_backend_head head = {.struct_size = sizeof head,
                               .norm = p->final_norm_kind,
                               .norm_eps = p->final_norm_eps,
                               .tied = p->head ? NULL : m->embed};
    SAMBA__TRY(stage_begin(l, group, 3, error));
    SAMBA__TRY(stage(l, p->final_norm, &head.norm_weight, error));
    if (p->final_norm_bias)
        SAMBA__TRY(stage(l, p->final_norm_bias, &head.norm_bias, error));
    if (p->head)
        SAMBA__TRY(stage(l, p->head, &head.table, error));
    SAMBA__TRY(m->device->vtbl->prepare_head(m->device->handle, &head, &m->head, error));
    count_footprint(m, m->head, &footprint);
    return SAMBA_OK;
}

static samba_status load_weights(loader *l, samba_error **error)
{
    const samba__plan *p = l->plan;
    size_t total;
    SAMBA__TRY(
        samba__stage_bytes(p, p->weights, p->n_weights, l->options->weight_dtype, &total, error));
    l->total = total;
    SAMBA__TRY(samba__fingerprint_begin(&l->fingerprint, p, error));
    SAMBA__TRY(load_embed(l, error));
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        SAMBA__TRY(load_sublayer(l, i, error));
    SAMBA__TRY(load_head(l, error));
    SAMBA__TRY(
        samba__fingerprint_end(&l->fingerprint, p, l->checkpoint, l->model->fingerprint, error));
    return show_progress(l, error);
}

/* ---- the model object ---- */

/* "q8_0 42, f32 97": the block formats first. */
static const char *types_text(loader *l)
{
    char text[TYPES_TEXT] = "";
    size_t at = 0;
    for (int32_t d = DTYPES - 1; d > 0; d--) {
        const char *name = samba_dtype_name(d);
        if (l->counts[d] && name)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %u", at ? ", " : "", name,
                                   l->counts[d]);
    }
    return samba__arena_strndup(&l->model->arena, text, at);
}

static const char *copy_text(samba_model *m, const char *text)
{
    return samba__arena_strndup(&m->arena, text, strlen(text));
}

static samba_status copy_texts(loader *l, samba_error **error)
{
    samba_model *m = l->model;
    const samba__plan *p = l->plan;
    m->family = copy_text(m, p->family);
    m->name = copy_text(m, p->name);
    m->weight_types = types_text(l);
    if (p->chat_template)
        m->chat_template = copy_text(m, p->chat_template);
    if (!m->family || !m->name || !m->weight_types || (p->chat_template && !m->chat_template))
        return samba__fail_oom(error);
    m->bos = p->bos;
    m->eos = p->eos;
    return SAMBA_OK;
}

static samba_status make_arrays(loader *l, samba_error **error)
{
    samba_model *m = l->model;
    const samba__plan *p = l->plan;
    m->sublayers = samba__arena_alloc(&m->arena, p->n_sublayers, sizeof *m->sublayers);
    m->infos = samba__arena_alloc(&m->arena, p->n_sublayers, sizeof *m->infos);
    m->slab_slots = samba__arena_alloc(&m->arena, p->n_slab_slots, sizeof *m->slab_slots);
    m->page_slots = samba__arena_alloc(&m->arena, p->n_page_slots, sizeof *m->page_slots);
    if (!m->sublayers || !m->infos || !m->slab_slots || !m->page_slots)
        return samba__fail_oom(error);
    m->n_vocab = p->n_vocab;
    m->d_model = p->d_model;
    m->n_blocks = p->n_blocks;
    m->n_sublayers = p->n_sublayers;
    m->n_slab_slots = p->n_slab_slots;
    m->n_page_slots = p->n_page_slots;
    m->narrow_at = p->narrow_at;
    return SAMBA_OK;
}

static void fill_sublayers(samba_model *m, const samba__plan *p)
{
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        const samba__plan_sublayer *s = &p->sublayers[i];
        samba__model_sublayer *to = &m->sublayers[i];
        to->kind = s->desc.kind;
        to->block = s->block;
        to->ends_block = i + 1 == p->n_sublayers || p->sublayers[i + 1].block != s->block;
        to->owns_pages = samba__desc_owns_pages(&s->desc);
        to->slab_slot = s->slab_slot;
        to->page_slot = s->page_slot;
        if (to->slab_slot >= 0)
            m->slab_slots[to->slab_slot] = i;
        if (to->owns_pages)
            m->page_slots[to->page_slot] = (samba__page_slot){i, s->desc.window};
        to->window = to->page_slot >= 0 ? m->page_slots[to->page_slot].window : 0;
    }
}

static samba_status make_model(loader *l, samba_context *context, samba_error **error)
{
    const samba_model_options *o = l->options;
    samba__device *device;
    SAMBA__TRY(samba__context_device(context, o->backend ? o->backend : "cpu", o->device_index,
                                     &device, error));
    samba_model *m = samba__calloc(l->alloc, 1, sizeof *m);
    if (!m)
        return samba__fail_oom(error);
    samba__refs_init(&m->refs);
    samba__arena_init(&m->arena, l->alloc);
    m->context = samba__context_retain(context);
    m->alloc = l->alloc;
    m->device = device;
    l->model = m;
    SAMBA__TRY(make_arrays(l, error));
    fill_sublayers(m, l->plan);
    return samba__vocab_load(l->checkpoint, l->plan, &m->tokenizer, error);
}

static samba_status open_input(loader *l, const samba__load_input *input, samba_error **error)
{
    const samba_model_options *o = l->options;
    const samba__checkpoint_texts texts = {.config_json = o->config_json,
                                           .config_json_size = o->config_json_size,
                                           .tokenizer_json = o->tokenizer_json,
                                           .tokenizer_json_size = o->tokenizer_json_size};
    if (input->source)
        return samba__checkpoint_open_source(l->alloc, input->source, &texts, &l->checkpoint,
                                             error);
    return samba__checkpoint_open_path(l->alloc, input->path, &texts, &l->checkpoint, error);
}

samba_status samba__model_load(samba_context *context, const samba__load_input *input,
                               const samba_model_options *options, samba_model **model,
                               samba_error **error)
{
    const double start = samba__clock_seconds();
    const samba__plan_options plan = {.rope_table = options->rope_table,
                                      .weight_dtype = options->weight_dtype};
    samba_status status;
    loader l = {.alloc = samba__context_alloc(context), .options = options};
    l.scratch.alloc = l.alloc;
    l.progress = (samba__progress){.fn = options->progress,
                                   .user_data = options->progress_user_data,
                                   .cancel = options->cancel};
    SAMBA__TRY_GOTO(open_input(&l, input, error));
    SAMBA__TRY_GOTO(samba__plan_create(l.checkpoint, &plan, &l.plan, error));
    SAMBA__TRY_GOTO(make_model(&l, context, error));
    SAMBA__TRY_GOTO(load_weights(&l, error));
    SAMBA__TRY_GOTO(copy_texts(&l, error));
    l.model->load_seconds = samba__clock_seconds() - start;
    *model = l.model;
    l.model = NULL;
fail:
    samba__model_release(l.model);
    samba__free(l.alloc, l.staging);
    samba__scratch_free(&l.scratch);
    samba__fingerprint_free(&l.fingerprint);
    samba__plan_free(l.plan);
    samba__checkpoint_close(l.checkpoint);
    return status;
}
