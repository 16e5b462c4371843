/*
 * Any checkpoint that loads -> one GGUF file with plan and tokenizer inside. One tensor at a time
 * is in memory.
 */
#ifndef SAMBA_MODEL_CONVERT_H
#define SAMBA_MODEL_CONVERT_H

#include "model/plan.h"

typedef struct samba__convert_params {
    const samba_allocator *alloc;
    const char *in_path, *out_path;
    const char *name; /* NULL or "": the input's */
    samba__plan_options plan;
    samba_progress_fn progress; /* may be NULL; SAMBA_STOP cancels */
    void *progress_user_data;
} samba__convert_params;

samba_status samba__convert(const samba__convert_params *params, samba_convert_report *report,
                            samba_error **error);

#endif
