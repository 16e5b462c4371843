/* Conversion as a context's call: its allocator, and cancelling through the progress callback. */
#include "model/convert.h"
#include "run/model.h"
#include "run/progress.h"

static int32_t on_progress(void *user_data, uint64_t done, uint64_t total)
{
    return samba__progress_show(user_data, done, total);
}

samba_status samba__model_convert(samba_context *context, const char *in_path, const char *out_path,
                                  const samba_convert_options *options,
                                  samba_convert_report *report, samba_error **error)
{
    samba__progress progress = {.fn = options->progress,
                                .user_data = options->progress_user_data,
                                .cancel = options->cancel};
    const samba__convert_params params = {
        .alloc = samba__context_alloc(context),
        .in_path = in_path,
        .out_path = out_path,
        .name = options->name,
        .plan = {.rope_table = options->rope_table, .weight_dtype = options->weight_dtype},
        .progress = on_progress,
        .progress_user_data = &progress};
    return samba__convert(&params, report, error);
}
