/*
 * The model of tokenizer.json: BPE options, vocabulary and merges.
 */
#include "token/json_read.h"

#include <string.h>

static samba_status refuse_text_option(samba__reading *r, const samba__json *model, const char *key)
{
    samba__text text = {"", 0};
    const samba__json *v = samba__json_get(model, key);
    if (samba__json_is_null(v) || (samba__json_string(v, &text.data, &text.size) && !text.size))
        return SAMBA_OK;
    return samba__read_unsupported(r, key, text);
}

static samba_status check_options(samba__reading *r, const samba__json *model)
{
    samba__text type = samba__read_type(model);
    const samba__json *dropout = samba__json_get(model, "dropout");
    double p = 0;
    if (type.size && !samba__text_is(type, "BPE"))
        return samba__read_unsupported(r, "model", type);
    SAMBA__TRY(samba__read_keys(r, "model", model,
                                " type dropout unk_token continuing_subword_prefix "
                                "end_of_word_suffix fuse_unk byte_fallback ignore_merges vocab "
                                "merges "));
    if (!samba__json_is_null(dropout) && !samba__json_double(dropout, &p))
        return samba__read_malformed(r, "model", "dropout");
    if (p != 0)
        return samba__fail(r->alloc, r->error, SAMBA_ERROR_UNSUPPORTED,
                           "tokenizer.json: model dropout %g is not supported", p);
    SAMBA__TRY(refuse_text_option(r, model, "continuing_subword_prefix"));
    return refuse_text_option(r, model, "end_of_word_suffix");
}

samba_status samba__read_model_size(samba__reading *r, const samba__json *model, size_t *n_entries,
                                    int64_t *max_id)
{
    const samba__json *vocab = samba__json_get(model, "vocab"), *value;
    const char *key;
    SAMBA__TRY(check_options(r, model));
    if (!samba__json_is_object(vocab))
        return samba__read_malformed(r, "model", "vocab");
    for (const void *it = samba__json_next(vocab, NULL, &key, &value); it;
         it = samba__json_next(vocab, it, &key, &value)) {
        int64_t id;
        if (!samba__json_int(value, &id) || id < 0 || id >= SAMBA__MAX_TOKENS)
            return samba__fail(r->alloc, r->error, SAMBA_ERROR_FORMAT,
                               "tokenizer.json: token \"%.80s\" has no id between 0 and %d", key,
                               SAMBA__MAX_TOKENS - 1);
        *max_id = id > *max_id ? id : *max_id;
        *n_entries += 1;
    }
    return SAMBA_OK;
}

static samba_status read_vocab(samba__reading *r, const samba__json *vocab)
{
    const samba__json *value;
    const char *key;
    for (const void *it = samba__json_next(vocab, NULL, &key, &value); it;
         it = samba__json_next(vocab, it, &key, &value)) {
        int64_t id = 0;
        (void)samba__json_int(value, &id); /* checked before */
        SAMBA__TRY(samba__tokenizer_set(r->t, (samba_token)id, (samba__text){key, strlen(key)},
                                        SAMBA__TOKEN_IN_MODEL, r->error));
    }
    return SAMBA_OK;
}

static samba_status read_unk(samba__reading *r, const samba__json *model)
{
    samba__text unk;
    const samba__json *v = samba__json_get(model, "unk_token");
    if (samba__json_is_null(v))
        return SAMBA_OK;
    SAMBA__TRY(samba__read_string(r, "model", model, "unk_token", &unk));
    r->t->unk = samba__tokenizer_model_id(r->t, unk.data, unk.size);
    r->t->unk_missing = r->t->unk < 0;
    return SAMBA_OK;
}

/* "a b", or ["a", "b"] joined the same way. */
static samba_status read_merge(samba__reading *r, const samba__json *v, samba__text *merge)
{
    samba__text a, b;
    if (samba__json_string(v, &merge->data, &merge->size))
        return samba__tokenizer_keep(r->t, *merge, merge, r->error);
    if (!samba__json_is_array(v) || samba__json_size(v) != 2 ||
        !samba__json_string(samba__json_at(v, 0), &a.data, &a.size) ||
        !samba__json_string(samba__json_at(v, 1), &b.data, &b.size))
        return samba__read_malformed(r, "model", "merges");
    if (memchr(a.data, ' ', a.size) || memchr(b.data, ' ', b.size))
        return samba__read_unsupported(r, "merge of a token with a space:", a.size ? a : b);
    char *s = samba__arena_alloc(&r->t->arena, a.size + b.size + 1, 1);
    if (!s)
        return samba__fail_oom(r->error);
    memcpy(s, a.data, a.size);
    s[a.size] = ' ';
    memcpy(s + a.size + 1, b.data, b.size);
    *merge = (samba__text){s, a.size + b.size + 1};
    return SAMBA_OK;
}

static bool is_version_line(samba__text merge)
{
    return merge.size >= 8 && memcmp(merge.data, "#version", 8) == 0;
}

static samba_status read_merges(samba__reading *r, const samba__json *list, samba__text **merges,
                                size_t *n_merges)
{
    size_t n = samba__json_size(list), used = 0;
    if (!samba__json_is_array(list))
        return samba__read_malformed(r, "model", "merges");
    samba__text *texts = samba__arena_alloc(&r->t->arena, n, sizeof *texts);
    if (!texts)
        return samba__fail_oom(r->error);
    for (size_t i = 0; i < n; i++) {
        SAMBA__TRY(read_merge(r, samba__json_at(list, i), &texts[used]));
        used += samba__json_is_array(samba__json_at(list, i)) || !is_version_line(texts[used]);
    }
    *merges = texts;
    *n_merges = used;
    return SAMBA_OK;
}

samba_status samba__read_model(samba__reading *r, const samba__json *model,
                               const samba__text **merges, size_t *n_merges)
{
    samba__tokenizer *t = r->t;
    samba__text *texts = NULL;
    SAMBA__TRY(samba__read_bool(r, "model", model, "fuse_unk", false, &t->fuse_unk));
    SAMBA__TRY(samba__read_bool(r, "model", model, "byte_fallback", false, &t->byte_fallback));
    SAMBA__TRY(samba__read_bool(r, "model", model, "ignore_merges", false, &t->ignore_merges));
    SAMBA__TRY(read_vocab(r, samba__json_get(model, "vocab")));
    SAMBA__TRY(read_unk(r, model));
    samba__tokenizer_index(t);
    SAMBA__TRY(read_merges(r, samba__json_get(model, "merges"), &texts, n_merges));
    *merges = texts;
    return samba__tokenizer_add_merges(t, texts, *n_merges, r->error);
}
