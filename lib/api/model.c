/* Models, estimates and conversion at the boundary: checks arguments, delegates. */
#include "run/model.h"
#include "api/options.h"

#include <string.h>

static samba_status fail_null(const samba_allocator *a, samba_error **error, const char *what)
{
    return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL", what);
}

/* Texts may be zero-terminated. */
static void text_size(const char *text, size_t *size)
{
    if (text && *size == SIZE_MAX)
        *size = strlen(text);
}

static samba_status read_options(const samba_allocator *a, const samba_model_options *options,
                                 samba_model_options *o, samba_error **error)
{
    SAMBA__TRY(
        samba__options_read(a, options, sizeof *o, o, sizeof *o, "samba_model_options", error));
    if (o->weight_dtype && !samba_dtype_name(o->weight_dtype))
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "weight_dtype is %d, which is no known type", o->weight_dtype);
    if (o->rope_table < 0 || o->rope_table > SAMBA_ROPE_TABLE_F32)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "rope_table is %d, known are 1 and 2", o->rope_table);
    if (o->mmap < 0 || o->mmap > SAMBA_NO)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "mmap is %d, known are 1 and 2",
                           o->mmap);
    if (!o->config_json && o->config_json_size)
        return fail_null(a, error, "config_json");
    if (!o->tokenizer_json && o->tokenizer_json_size)
        return fail_null(a, error, "tokenizer_json");
    text_size(o->config_json, &o->config_json_size);
    text_size(o->tokenizer_json, &o->tokenizer_json_size);
    return SAMBA_OK;
}

samba_status samba_model_load(samba_context *context, const char *path,
                              const samba_model_options *options, samba_model **model,
                              samba_error **error)
{
    samba_model_options o;
    if (!context || !path || !model)
        return fail_null(samba__alloc_default(), error,
                         !context ? "context"
                         : !path  ? "path"
                                  : "model");
    SAMBA__TRY(read_options(samba__context_alloc(context), options, &o, error));
    const samba__load_input input = {.path = path};
    return samba__model_load(context, &input, &o, model, error);
}

samba_status samba_model_load_memory(samba_context *context, const void *data, size_t size,
                                     const samba_model_options *options, samba_model **model,
                                     samba_error **error)
{
    samba__load_input input = {0};
    samba_model_options o;
    if (!context || !data || !model)
        return fail_null(samba__alloc_default(), error,
                         !context ? "context"
                         : !data  ? "data"
                                  : "model");
    const samba_allocator *a = samba__context_alloc(context);
    SAMBA__TRY(read_options(a, options, &o, error));
    SAMBA__TRY(samba__source_open_memory(a, data, size, "memory", &input.source, error));
    return samba__model_load(context, &input, &o, model, error);
}

samba_status samba_model_load_reader(samba_context *context, const samba_reader *reader,
                                     const samba_model_options *options, samba_model **model,
                                     samba_error **error)
{
    samba__load_input input = {0};
    samba_model_options o;
    samba_reader r;
    if (!context || !reader || !model)
        return fail_null(samba__alloc_default(), error,
                         !context  ? "context"
                         : !reader ? "reader"
                                   : "model");
    const samba_allocator *a = samba__context_alloc(context);
    SAMBA__TRY(samba__options_read(a, reader, sizeof r, &r, sizeof r, "samba_reader", error));
    if (!r.read_at)
        return fail_null(a, error, "reader.read_at");
    SAMBA__TRY(read_options(a, options, &o, error));
    SAMBA__TRY(samba__source_open_reader(a, &r, &input.source, error));
    return samba__model_load(context, &input, &o, model, error);
}

samba_model *samba_model_retain(samba_model *model)
{
    return model ? samba__model_retain(model) : NULL;
}

void samba_model_release(samba_model *model)
{
    samba__model_release(model);
}

samba_status samba_model_get_info(const samba_model *model, samba_model_info *info,
                                  samba_error **error)
{
    samba_model_info full;
    if (!model || !info)
        return fail_null(samba__alloc_default(), error, model ? "info" : "model");
    samba__model_info(model, &full);
    return samba__output_write(model->alloc, info, &full, sizeof full, "samba_model_info", error);
}

samba_status samba_model_get_sublayer(const samba_model *model, uint32_t index,
                                      samba_sublayer_info *info, samba_error **error)
{
    if (!model || !info)
        return fail_null(samba__alloc_default(), error, model ? "info" : "model");
    if (index >= model->n_sublayers)
        return samba__fail(model->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "sublayer %u was asked for, the model has %u", index,
                           model->n_sublayers);
    return samba__output_write(model->alloc, info, &model->infos[index], sizeof *model->infos,
                               "samba_sublayer_info", error);
}

samba_status samba_model_estimate(samba_context *context, const char *path,
                                  const samba_model_options *model_options,
                                  const samba_session_options *session_options,
                                  samba_estimate *estimate, samba_error **error)
{
    samba_model_options m;
    samba_session_options s;
    samba_estimate full;
    if (!context || !path || !estimate)
        return fail_null(samba__alloc_default(), error,
                         !context ? "context"
                         : !path  ? "path"
                                  : "estimate");
    const samba_allocator *a = samba__context_alloc(context);
    SAMBA__TRY(read_options(a, model_options, &m, error));
    SAMBA__TRY(samba__options_read(a, session_options, sizeof s, &s, sizeof s,
                                   "samba_session_options", error));
    if (s.kv_dtype && !samba_dtype_name(s.kv_dtype))
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "kv_dtype is %d, which is no known type", s.kv_dtype);
    SAMBA__TRY(samba__model_estimate(context, path, &m, &s, &full, error));
    return samba__output_write(a, estimate, &full, sizeof full, "samba_estimate", error);
}

samba_status samba_convert(samba_context *context, const char *in_path, const char *out_path,
                           const samba_convert_options *options, samba_convert_report *report,
                           samba_error **error)
{
    samba_convert_report full = {.struct_size = sizeof full};
    samba_convert_options o;
    if (!context || !in_path || !out_path)
        return fail_null(samba__alloc_default(), error,
                         !context   ? "context"
                         : !in_path ? "in_path"
                                    : "out_path");
    const samba_allocator *a = samba__context_alloc(context);
    SAMBA__TRY(
        samba__options_read(a, options, sizeof o, &o, sizeof o, "samba_convert_options", error));
    if (report && report->struct_size < sizeof report->struct_size)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_convert_report.struct_size is %zu", report->struct_size);
    SAMBA__TRY(samba__model_convert(context, in_path, out_path, &o, &full, error));
    return report
               ? samba__output_write(a, report, &full, sizeof full, "samba_convert_report", error)
               : SAMBA_OK;
}
