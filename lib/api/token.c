/* Text and tokens at the boundary: checks arguments, delegates. */
#include "api/options.h"
#include "run/detokenize.h"

#include <string.h>

static samba_status fail_null(samba_error **error, const char *what)
{
    return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL",
                       what);
}

static samba_status fail_room(const samba_model *model, samba_error **error, size_t need,
                              size_t capacity, const char *unit)
{
    return samba__fail(model->alloc, error, SAMBA_ERROR_LIMIT, "%zu %s do not fit in room for %zu",
                       need, unit, capacity);
}

samba_status samba_tokenize(const samba_model *model, const char *text, size_t size,
                            const samba_tokenize_options *options, samba_token *tokens,
                            size_t capacity, size_t *n_tokens, samba_error **error)
{
    samba_tokenize_options o;
    samba__token_list list = {0};
    if (!model || !n_tokens || (!text && size))
        return fail_null(error, !model ? "model" : !n_tokens ? "n_tokens" : "text");
    SAMBA__TRY(samba__options_read(model->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_tokenize_options", error));
    SAMBA__TRY(samba__need_tokenizer(model, error));
    const samba__encode_flags flags = {.parse_special = o.parse_special == SAMBA_YES,
                                       .add_special = o.add_special != SAMBA_NO};
    samba_status status =
        samba__tokenizer_encode(model->tokenizer, text ? text : "",
                                size == SIZE_MAX ? strlen(text) : size, flags, &list, error);
    if (status == SAMBA_OK && tokens && list.n > capacity)
        status = fail_room(model, error, list.n, capacity, "tokens");
    if (status == SAMBA_OK) {
        if (tokens && list.n)
            memcpy(tokens, list.ids, list.n * sizeof *tokens);
        *n_tokens = list.n;
    }
    samba__free(model->alloc, list.ids);
    return status;
}

static samba_status read_options(const samba_model *model, const samba_detokenize_options *options,
                                 samba__detokenize_how *how, samba_error **error)
{
    samba_detokenize_options o;
    SAMBA__TRY(samba__options_read(model->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_detokenize_options", error));
    *how = (samba__detokenize_how){.skip_special = o.skip_special == SAMBA_YES,
                                   .continues = o.continues == SAMBA_YES};
    return SAMBA_OK;
}

samba_status samba_detokenize(const samba_model *model, const samba_token *tokens, size_t n_tokens,
                              const samba_detokenize_options *options, char *text, size_t capacity,
                              size_t *size, samba_error **error)
{
    samba__detokenize_how how;
    if (!model || !size || (!tokens && n_tokens))
        return fail_null(error, !model ? "model" : !size ? "size" : "tokens");
    SAMBA__TRY(read_options(model, options, &how, error));
    SAMBA__TRY(samba__need_tokenizer(model, error));
    SAMBA__TRY(samba__check_tokens(model, tokens, n_tokens, error));
    size_t need = samba__detokenize(model, tokens, n_tokens, how, NULL);
    if (text && need > capacity)
        return fail_room(model, error, need, capacity, "bytes");
    if (text)
        samba__detokenize(model, tokens, n_tokens, how, text);
    *size = need;
    return SAMBA_OK;
}

samba_status samba_detokenizer_create(samba_model *model, const samba_detokenize_options *options,
                                      samba_detokenizer **detokenizer, samba_error **error)
{
    samba__detokenize_how how;
    if (!model || !detokenizer)
        return fail_null(error, model ? "detokenizer" : "model");
    SAMBA__TRY(read_options(model, options, &how, error));
    return samba__detokenizer_create(model, how, detokenizer, error);
}

samba_status samba_detokenizer_push(samba_detokenizer *detokenizer, samba_token token,
                                    const char **text, size_t *size, samba_error **error)
{
    if (!detokenizer || !text || !size)
        return fail_null(error, !detokenizer ? "detokenizer" : !text ? "text" : "size");
    return samba__detokenizer_push(detokenizer, token, text, size, error);
}

samba_status samba_detokenizer_flush(samba_detokenizer *detokenizer, const char **text,
                                     size_t *size, samba_error **error)
{
    if (!detokenizer || !text || !size)
        return fail_null(error, !detokenizer ? "detokenizer" : !text ? "text" : "size");
    return samba__detokenizer_flush(detokenizer, text, size, error);
}

void samba_detokenizer_free(samba_detokenizer *detokenizer)
{
    samba__detokenizer_free(detokenizer);
}

samba_status samba_token_find(const samba_model *model, const char *text, size_t size,
                              samba_token *token, samba_error **error)
{
    if (!model || !text || !token)
        return fail_null(error, !model ? "model" : !text ? "text" : "token");
    SAMBA__TRY(samba__need_tokenizer(model, error));
    size = size == SIZE_MAX ? strlen(text) : size;
    samba_token id = samba__tokenizer_find(model->tokenizer, text, size);
    if (id < 0)
        return samba__fail(model->alloc, error, SAMBA_ERROR_NOT_FOUND, "no token is \"%.*s\"",
                           (int)(size < 64 ? size : 64), text);
    *token = id;
    return SAMBA_OK;
}

int32_t samba_token_is_special(const samba_model *model, samba_token token)
{
    return model && model->tokenizer && samba__tokenizer_is_special(model->tokenizer, token);
}
