/*
 * What a model and its sessions will need, from headers alone: the plan's shapes go to the device's
 * `measure`, no weight is read. State is counted as the sessions hold it: slabs twice (a pass reads
 * one set and writes another) and so the last row's logits, per windowed layer the pages that a
 * full window and one pass touch.
 */
#include "model/roles.h"
#include "run/load_weights.h"

enum {
    SCRATCH_BYTES = 1 << 18
};

typedef struct estimate {
    const samba__plan *plan;
    samba__device *device;
    const samba_model_options *model;
    samba_dtype kv_dtype;
    uint32_t rows;
    uint64_t row_bytes, staging;
    samba_estimate *out;
} estimate;

static samba_status add_pages(estimate *e, const samba__plan_sublayer *s,
                              const samba_backend_footprint *f, samba_error **error)
{
    const uint64_t bytes = f->page_bytes[e->kv_dtype];
    const uint32_t per = e->device->info.page_positions;
    if (!bytes)
        return samba__fail(e->plan->alloc, error, SAMBA_ERROR_UNSUPPORTED,
                           "backend %s has no pages of type %s", e->device->vtbl->name,
                           samba_dtype_name(e->kv_dtype));
    if (s->desc.window == 0)
        e->out->state_bytes_per_token += bytes / per;
    else
        e->out->state_bytes +=
            samba__pages_spanned((uint64_t)s->desc.window - 1 + e->rows, per) * bytes;
    return SAMBA_OK;
}

static samba_status add_sublayer(estimate *e, const samba__plan_sublayer *s, samba_error **error)
{
    samba_backend_footprint f = {.struct_size = sizeof f};
    size_t staging;
    SAMBA__TRY(e->device->vtbl->measure(e->device->handle, &s->desc, &f, error));
    SAMBA__TRY(samba__stage_bytes(e->plan, s->weights, SAMBA_W_COUNT, e->model->weight_dtype,
                                  &staging, error));
    e->out->weight_bytes += f.weight_bytes;
    e->out->state_bytes += 2 * f.slab_bytes;
    e->row_bytes = f.row_bytes > e->row_bytes ? f.row_bytes : e->row_bytes;
    e->staging = staging > e->staging ? staging : e->staging;
    return samba__desc_owns_pages(&s->desc) ? add_pages(e, s, &f, error) : SAMBA_OK;
}

/* Embedding and head are held about as they are in the file. */
static samba_status add_ends(estimate *e, samba_error **error)
{
    const samba__plan *p = e->plan;
    samba__weight *const head[] = {p->final_norm, p->final_norm_bias, p->head};
    size_t embed, rest;
    SAMBA__TRY(samba__stage_bytes(p, &p->embed, 1, e->model->weight_dtype, &embed, error));
    SAMBA__TRY(samba__stage_bytes(p, head, 3, e->model->weight_dtype, &rest, error));
    e->out->weight_bytes += (uint64_t)embed + rest;
    e->staging = embed > e->staging ? embed : e->staging;
    e->staging = rest > e->staging ? rest : e->staging;
    return SAMBA_OK;
}

static samba_status add_all(estimate *e, samba_error **error)
{
    for (uint32_t i = 0; i < e->plan->n_sublayers; i++)
        SAMBA__TRY(add_sublayer(e, &e->plan->sublayers[i], error));
    SAMBA__TRY(add_ends(e, error));
    const uint64_t logits = (uint64_t)e->plan->n_vocab * sizeof(float);
    e->out->load_peak_bytes =
        e->out->weight_bytes + samba__load_staging(e->device, e->staging) + SCRATCH_BYTES;
    e->out->pass_bytes = e->row_bytes * e->rows + logits;
    e->out->state_bytes += 2 * logits;
    e->out->history_bytes_per_token = sizeof(samba_token);
    return SAMBA_OK;
}

samba_status samba__model_estimate(samba_context *context, const char *path,
                                   const samba_model_options *model_options,
                                   const samba_session_options *session_options,
                                   samba_estimate *result, samba_error **error)
{
    const samba_allocator *a = samba__context_alloc(context);
    const samba__plan_options plan_options = {.rope_table = model_options->rope_table,
                                              .weight_dtype = model_options->weight_dtype};
    const samba__checkpoint_texts texts = {.config_json = model_options->config_json,
                                           .config_json_size = model_options->config_json_size,
                                           .tokenizer_json = model_options->tokenizer_json,
                                           .tokenizer_json_size =
                                               model_options->tokenizer_json_size};
    samba_estimate out = {.struct_size = sizeof out};
    samba__checkpoint *checkpoint = NULL;
    samba__plan *plan = NULL;
    samba_status status;
    estimate e = {.model = model_options,
                  .kv_dtype =
                      session_options->kv_dtype ? session_options->kv_dtype : SAMBA_DTYPE_F16,
                  .rows = session_options->rows_per_pass ? session_options->rows_per_pass
                                                         : SAMBA__ROWS_PER_PASS,
                  .out = &out};
    SAMBA__TRY_GOTO(samba__context_device(context,
                                          model_options->backend ? model_options->backend : "cpu",
                                          model_options->device_index, &e.device, error));
    SAMBA__TRY_GOTO(samba__checkpoint_open_path(a, path, &texts, &checkpoint, error));
    SAMBA__TRY_GOTO(samba__plan_create(checkpoint, &plan_options, &plan, error));
    e.plan = plan;
    SAMBA__TRY_GOTO(add_all(&e, error));
    *result = out;
fail:
    samba__plan_free(plan);
    samba__checkpoint_close(checkpoint);
    return status;
}
