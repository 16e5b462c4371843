/*
 * A checkpoint's tokenizer, wherever it keeps it: tokenizer.json beside or inside, or the arrays of
 * tokenizer.ggml.*. Builds without tokenizers have a stand-in.
 */
#ifndef SAMBA_MODEL_VOCAB_H
#define SAMBA_MODEL_VOCAB_H

#include "format/gguf.h"
#include "model/plan.h"
#include "token/tokenizer.h"

/* *tokenizer becomes NULL if there is none. MISMATCH if it has more ids than the model. Completes
 * chat template and first and last token of the plan, where only tokenizer files know them. */
samba_status samba__vocab_load(const samba__checkpoint *checkpoint, samba__plan *plan,
                               samba__tokenizer **tokenizer, samba_error **error);
/* Writes all tokenizer.* keys; `tokenizer` as loaded, may be NULL. */
samba_status samba__vocab_write(samba__gguf_writer *w, const samba__checkpoint *checkpoint,
                                const samba__plan *plan, const samba__tokenizer *tokenizer,
                                samba_error **error);

#endif
