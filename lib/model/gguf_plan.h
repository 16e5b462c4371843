/*
 * A plan as GGUF metadata: architecture "samba", the standard keys for other tools to read, and the
 * plan itself spelled out under samba.plan.*, one array per parameter with one entry per sublayer,
 * so that any hybrid loads without anyone knowing its family. Floats are bit-exact.
 */
#ifndef SAMBA_MODEL_GGUF_PLAN_H
#define SAMBA_MODEL_GGUF_PLAN_H

#include "format/gguf.h"
#include "model/build.h"

/* Everything but tokenizer and tensors. `file_type` is general.file_type. */
samba_status samba__gguf_plan_write(samba__gguf_writer *w, const samba__plan *plan,
                                    const char *name, uint32_t file_type, samba_error **error);
/* Fills the build's plan: sizes, and every sublayer's parameters, slots checked; no weights. */
samba_status samba__gguf_plan_read(samba__build *b, samba_error **error);

#endif
