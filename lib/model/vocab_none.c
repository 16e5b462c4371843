/* Stands in for vocab.c in builds without tokenizers: models work on token ids. */
#include "model/vocab.h"

samba_status samba__vocab_load(const samba__checkpoint *checkpoint, samba__plan *plan,
                               samba__tokenizer **tokenizer, samba_error **error)
{
    (void)checkpoint;
    (void)plan;
    (void)error;
    *tokenizer = NULL;
    return SAMBA_OK;
}

samba_status samba__vocab_write(samba__gguf_writer *w, const samba__checkpoint *checkpoint,
                                const samba__plan *plan, const samba__tokenizer *tokenizer,
                                samba_error **error)
{
    (void)w;
    (void)tokenizer;
    if (samba__gguf_find(checkpoint->gguf, "tokenizer.ggml.tokens") ||
        samba__gguf_find(checkpoint->gguf, "tokenizer.huggingface.json"))
        return samba__fail(plan->alloc, error, SAMBA_ERROR_UNSUPPORTED,
                           "this build of the library cannot carry the tokenizer over");
    return SAMBA_OK;
}
