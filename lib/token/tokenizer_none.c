/*
 * Instead of tokenizers in builds without them: nothing can be created, so the rest is never
 * called with an object.
 */
#include "token/tokenizer.h"

static samba_status refuse(const samba_allocator *a, samba_error **error)
{
    return samba__fail(a, error, SAMBA_ERROR_UNSUPPORTED,
                       "this build of the library has no tokenizer (-Dtokenizer=disabled)");
}

samba_status samba__tokenizer_from_json(const samba_allocator *a, const char *json, size_t size,
                                        samba__tokenizer **tokenizer, samba_error **error)
{
    (void)json;
    (void)size;
    (void)tokenizer;
    return refuse(a, error);
}

samba_status samba__tokenizer_from_vocab(const samba_allocator *a, const samba__vocab *vocab,
                                         samba__tokenizer **tokenizer, samba_error **error)
{
    (void)vocab;
    (void)tokenizer;
    return refuse(a, error);
}

void samba__tokenizer_free(samba__tokenizer *tokenizer)
{
    (void)tokenizer;
}

void samba__tokenizer_vocab(const samba__tokenizer *tokenizer, samba__vocab *vocab)
{
    (void)tokenizer;
    *vocab = (samba__vocab){.bos = -1, .eos = -1, .unk = -1};
}

bool samba__tokenizer_vocab_is_exact(const samba__tokenizer *tokenizer)
{
    (void)tokenizer;
    return false;
}

uint32_t samba__tokenizer_n_tokens(const samba__tokenizer *tokenizer)
{
    (void)tokenizer;
    return 0;
}

samba_status samba__tokenizer_encode(const samba__tokenizer *tokenizer, const char *text,
                                     size_t size, samba__encode_flags flags, samba__token_list *out,
                                     samba_error **error)
{
    (void)tokenizer;
    (void)text;
    (void)size;
    (void)flags;
    (void)out;
    return refuse(samba__alloc_default(), error);
}

bool samba__tokenizer_piece(const samba__tokenizer *tokenizer, samba_token id, bool first,
                            samba__text *bytes)
{
    (void)tokenizer;
    (void)id;
    (void)first;
    (void)bytes;
    return false;
}

bool samba__tokenizer_is_special(const samba__tokenizer *tokenizer, samba_token id)
{
    (void)tokenizer;
    (void)id;
    return false;
}

samba_token samba__tokenizer_find(const samba__tokenizer *tokenizer, const char *text, size_t size)
{
    (void)tokenizer;
    (void)text;
    (void)size;
    return -1;
}
