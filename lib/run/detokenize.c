/* Tokens to text; see detokenize.h. */
#include "run/detokenize.h"

#include <string.h>

enum {
    HELD_MAX = 3
};

samba_status samba__need_tokenizer(const samba_model *model, samba_error **error)
{
    if (model->tokenizer)
        return SAMBA_OK;
    return samba__fail(model->alloc, error, SAMBA_ERROR_UNSUPPORTED,
                       "the model has no tokenizer, or this build none at all");
}

samba_status samba__check_tokens(const samba_model *model, const samba_token *tokens, size_t n,
                                 samba_error **error)
{
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= model->n_vocab)
            return samba__fail(model->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "token %zu is %d, the vocabulary has %u", i, tokens[i],
                               model->n_vocab);
    return SAMBA_OK;
}

/* The text of one token. *first: no token has counted yet; a skipped one does not count, one
 * without text does. */
static samba__text piece_of(const samba__tokenizer *t, samba_token token, bool skip_special,
                            bool *first)
{
    samba__text piece = {"", 0};
    if (skip_special && samba__tokenizer_is_special(t, token))
        return piece;
    if (!samba__tokenizer_piece(t, token, *first, &piece))
        return (samba__text){"", 0};
    *first = false;
    return piece;
}

size_t samba__detokenize(const samba_model *model, const samba_token *tokens, size_t n,
                         samba__detokenize_how how, char *text)
{
    size_t size = 0;
    bool first = !how.continues;
    for (size_t i = 0; i < n; i++) {
        samba__text piece = piece_of(model->tokenizer, tokens[i], how.skip_special, &first);
        if (text && piece.size)
            memcpy(text + size, piece.data, piece.size);
        size += piece.size;
    }
    return size;
}

samba_status samba__detokenizer_create(samba_model *model, samba__detokenize_how how,
                                       samba_detokenizer **detokenizer, samba_error **error)
{
    SAMBA__TRY(samba__need_tokenizer(model, error));
    samba_detokenizer *d = samba__calloc(model->alloc, 1, sizeof *d);
    if (!d)
        return samba__fail_oom(error);
    d->model = samba__model_retain(model);
    d->skip_special = how.skip_special;
    d->begun = how.continues;
    *detokenizer = d;
    return SAMBA_OK;
}

samba_status samba__detokenizer_push(samba_detokenizer *d, samba_token token, const char **text,
                                     size_t *size, samba_error **error)
{
    const samba_allocator *a = d->model->alloc;
    SAMBA__TRY(samba__check_tokens(d->model, &token, 1, error));
    bool first = !d->begun;
    samba__text piece = piece_of(d->model->tokenizer, token, d->skip_special, &first);
    if (!samba__grow(a, &d->text, &d->capacity, piece.size + HELD_MAX, 1))
        return samba__fail_oom(error);
    *size = samba__utf8_push(&d->hold, piece.data, piece.size, d->text);
    *text = d->text;
    d->begun = !first;
    return SAMBA_OK;
}

samba_status samba__detokenizer_flush(samba_detokenizer *d, const char **text, size_t *size,
                                      samba_error **error)
{
    if (!samba__grow(d->model->alloc, &d->text, &d->capacity, HELD_MAX, 1))
        return samba__fail_oom(error);
    *size = samba__utf8_flush(&d->hold, d->text);
    *text = d->text;
    d->begun = false;
    return SAMBA_OK;
}

void samba__detokenizer_free(samba_detokenizer *d)
{
    if (!d)
        return;
    samba_model *model = d->model;
    samba__free(model->alloc, d->text);
    samba__free(model->alloc, d);
    samba__model_release(model);
}
