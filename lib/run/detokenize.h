/*
 * Tokens to text: all at once, and token by token with incomplete characters held back. The model's
 * ids past the tokenizer's (padding of the vocabulary) give no text.
 */
#ifndef SAMBA_RUN_DETOKENIZE_H
#define SAMBA_RUN_DETOKENIZE_H

#include "run/model.h"

/* UNSUPPORTED without a tokenizer. */
samba_status samba__need_tokenizer(const samba_model *model, samba_error **error);
/* INVALID_ARGUMENT unless every token is one of the model's. */
samba_status samba__check_tokens(const samba_model *model, const samba_token *tokens, size_t n,
                                 samba_error **error);

typedef struct samba__detokenize_how {
    bool skip_special;
    bool continues; /* text goes before the first token */
} samba__detokenize_how;

/* Bytes of a run of tokens; `text` NULL only counts. The model has a tokenizer, tokens are good. */
size_t samba__detokenize(const samba_model *model, const samba_token *tokens, size_t n,
                         samba__detokenize_how how, char *text);

struct samba_detokenizer {
    samba_model *model; /* retained */
    bool skip_special;
    bool begun; /* a token has counted: sentencepiece drops the first one's space only */
    samba__utf8_hold hold;
    void *text;
    size_t capacity;
};
samba_status samba__detokenizer_create(samba_model *model, samba__detokenize_how how,
                                       samba_detokenizer **detokenizer, samba_error **error);
samba_status samba__detokenizer_push(samba_detokenizer *d, samba_token token, const char **text,
                                     size_t *size, samba_error **error);
samba_status samba__detokenizer_flush(samba_detokenizer *d, const char **text, size_t *size,
                                      samba_error **error);
void samba__detokenizer_free(samba_detokenizer *d); /* accepts NULL */

#endif
