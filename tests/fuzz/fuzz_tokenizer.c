/*
 * A tokenizer.json and a text: the bytes up to the first zero byte are the file, the rest is the
 * text (without a zero byte the file is its own text). Whatever loads must encode with a status,
 * give ids in range, and survive the way through GGUF's arrays.
 */
#include "fuzz/fuzz.h"
#include "token/tokenizer.h"

#include <string.h>

/* Encoding gives ids in range, or an error and nothing. */
static void encode_all(const samba__tokenizer *t, const char *text, size_t size)
{
    const samba_allocator *a = samba__alloc_default();
    for (int k = 0; k < 4; k++) {
        samba__token_list list = {0};
        samba_error *error = NULL;
        samba__text piece;
        const samba__encode_flags flags = {k & 1, k & 2};
        if (samba__tokenizer_encode(t, text, size, flags, &list, &error) == SAMBA_OK
                ? error != NULL
                : !error || list.n)
            __builtin_trap();
        for (size_t i = 0; i < list.n; i++) {
            const samba_token id = list.ids[i];
            if (!samba__tokenizer_piece(t, id, i == 0, &piece) || !piece.data)
                __builtin_trap();
        }
        samba_error_free(error);
        samba__free(a, list.ids);
    }
}

static void check_vocab(const samba__tokenizer *t, const char *text, size_t size)
{
    samba__tokenizer *again = NULL;
    samba_error *error = NULL;
    samba__vocab v;
    samba__tokenizer_vocab(t, &v);
    if (v.n_tokens != samba__tokenizer_n_tokens(t))
        __builtin_trap();
    for (size_t i = 0; i < v.n_tokens; i++)
        if (!v.tokens[i].data ||
            samba__tokenizer_find(t, v.tokens[i].data, v.tokens[i].size) >= (samba_token)v.n_tokens)
            __builtin_trap();
    if (samba__tokenizer_from_vocab(samba__alloc_default(), &v, &again, &error) == SAMBA_OK)
        encode_all(again, text, size);
    else if (!error)
        __builtin_trap();
    samba_error_free(error);
    samba__tokenizer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *json = (const char *)data;
    const char *zero = size ? memchr(data, 0, size) : NULL;
    const size_t n = zero ? (size_t)(zero - json) : size;
    const char *text = zero ? zero + 1 : json;
    samba__tokenizer *t = NULL;
    samba_error *error = NULL;
    if (samba__tokenizer_from_json(samba__alloc_default(), json, n, &t, &error) == SAMBA_OK) {
        encode_all(t, text, zero ? size - n - 1 : n);
        check_vocab(t, text, zero ? size - n - 1 : n);
    } else if (t || !error) {
        __builtin_trap();
    }
    samba_error_free(error);
    samba__tokenizer_free(t);
    return 0;
}
