/* Finding, checking and writing tokenizers; see vocab.h. */
#include "model/vocab.h"
#include "format/json.h"

#include <string.h>

/* A samba__vocab whose arrays were made from GGUF metadata. */
typedef struct gguf_vocab {
    samba__vocab vocab;
    samba__arena arena;
} gguf_vocab;

static samba_status fail_vocab(const samba__checkpoint *k, samba_error **error, samba_status status,
                               const char *what)
{
    const samba__where where = {.file = k->path, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(k->alloc, error, status, &where, "tokenizer: %s", what);
}

/* ---- from GGUF arrays ---- */

static samba_status read_strings(const samba__checkpoint *k, samba__arena *arena, const char *key,
                                 const samba__text **out, size_t *n, samba_error **error)
{
    const samba__gguf_value *v = samba__gguf_find(k->gguf, key);
    size_t size = samba__gguf_array_size(v);
    samba__text *texts = samba__arena_alloc(arena, size, sizeof *texts);
    if (!texts)
        return samba__fail_oom(error);
    for (size_t i = 0; i < size; i++) {
        samba__string s;
        if (!samba__gguf_array_string(v, i, &s))
            return fail_vocab(k, error, SAMBA_ERROR_FORMAT, key);
        texts[i] = (samba__text){s.data, s.size};
    }
    *out = texts;
    *n = size;
    return SAMBA_OK;
}

static samba_status read_scores(const samba__checkpoint *k, gguf_vocab *g, samba_error **error)
{
    const samba__gguf_value *v = samba__gguf_find(k->gguf, "tokenizer.ggml.scores");
    if (!v)
        return SAMBA_OK;
    float *scores = samba__arena_alloc(&g->arena, g->vocab.n_tokens, sizeof *scores);
    if (!scores)
        return samba__fail_oom(error);
    for (size_t i = 0; i < g->vocab.n_tokens; i++) {
        double score;
        if (!samba__gguf_array_f64(v, i, &score))
            return fail_vocab(k, error, SAMBA_ERROR_FORMAT, "scores are no list, one per token");
        scores[i] = (float)score;
    }
    g->vocab.scores = scores;
    return SAMBA_OK;
}

static samba_status read_types(const samba__checkpoint *k, gguf_vocab *g, samba_error **error)
{
    const samba__gguf_value *v = samba__gguf_find(k->gguf, "tokenizer.ggml.token_type");
    if (!v)
        return SAMBA_OK;
    int32_t *types = samba__arena_alloc(&g->arena, g->vocab.n_tokens, sizeof *types);
    if (!types)
        return samba__fail_oom(error);
    for (size_t i = 0; i < g->vocab.n_tokens; i++) {
        int64_t type;
        if (!samba__gguf_array_i64(v, i, &type) || type < 0 || type > 100)
            return fail_vocab(k, error, SAMBA_ERROR_FORMAT, "types are no list, one per token");
        types[i] = (int32_t)type;
    }
    g->vocab.types = types;
    return SAMBA_OK;
}

static samba_token read_id(const samba__checkpoint *k, const char *key, size_t n)
{
    uint64_t id;
    return samba__gguf_get_u64(samba__gguf_find(k->gguf, key), &id) && id < n ? (samba_token)id
                                                                              : -1;
}

static int32_t read_switch(const samba__checkpoint *k, const char *key)
{
    bool on;
    return samba__gguf_get_bool(samba__gguf_find(k->gguf, key), &on) ? on : -1;
}

static samba__text read_word(const samba__checkpoint *k, const char *key)
{
    samba__string s = {"", 0};
    samba__gguf_get_string(samba__gguf_find(k->gguf, key), &s);
    return (samba__text){s.data, s.size};
}

/* The arena is the caller's to free, also on failure. */
static samba_status read_gguf_vocab(const samba__checkpoint *k, gguf_vocab *g, samba_error **error)
{
    samba__vocab *v = &g->vocab;
    samba__arena_init(&g->arena, k->alloc);
    *v = (samba__vocab){.model = read_word(k, "tokenizer.ggml.model"),
                        .pre = read_word(k, "tokenizer.ggml.pre"),
                        .add_bos = read_switch(k, "tokenizer.ggml.add_bos_token"),
                        .add_eos = read_switch(k, "tokenizer.ggml.add_eos_token"),
                        .add_space_prefix = read_switch(k, "tokenizer.ggml.add_space_prefix")};
    SAMBA__TRY(
        read_strings(k, &g->arena, "tokenizer.ggml.tokens", &v->tokens, &v->n_tokens, error));
    SAMBA__TRY(
        read_strings(k, &g->arena, "tokenizer.ggml.merges", &v->merges, &v->n_merges, error));
    SAMBA__TRY(read_scores(k, g, error));
    SAMBA__TRY(read_types(k, g, error));
    v->bos = read_id(k, "tokenizer.ggml.bos_token_id", v->n_tokens);
    v->eos = read_id(k, "tokenizer.ggml.eos_token_id", v->n_tokens);
    v->unk = read_id(k, "tokenizer.ggml.unknown_token_id", v->n_tokens);
    return SAMBA_OK;
}

static samba_status load_gguf(const samba__checkpoint *k, samba__tokenizer **tokenizer,
                              samba_error **error)
{
    gguf_vocab g;
    samba__string json;
    if (samba__gguf_get_string(samba__gguf_find(k->gguf, "tokenizer.huggingface.json"), &json))
        return samba__tokenizer_from_json(k->alloc, json.data, json.size, tokenizer, error);
    if (!samba__gguf_find(k->gguf, "tokenizer.ggml.tokens"))
        return SAMBA_OK;
    samba_status status = read_gguf_vocab(k, &g, error);
    if (status == SAMBA_OK)
        status = samba__tokenizer_from_vocab(k->alloc, &g.vocab, tokenizer, error);
    samba__arena_free(&g.arena);
    return status;
}

/* ---- tokenizer_config.json ---- */

/* A token written as its text, or as an object that holds it. */
static samba_token find_token(const samba__json *v, const samba__tokenizer *tokenizer)
{
    const char *text;
    size_t size;
    if (samba__json_is_object(v))
        v = samba__json_get(v, "content");
    if (!tokenizer || !samba__json_string(v, &text, &size))
        return -1;
    return samba__tokenizer_find(tokenizer, text, size);
}

/* One template, or a list of named ones: then the one called default. */
static const samba__json *find_template(const samba__json *v)
{
    const char *name;
    size_t size;
    if (!samba__json_is_array(v))
        return v;
    for (size_t i = 0; i < samba__json_size(v); i++) {
        const samba__json *item = samba__json_at(v, i);
        if (samba__json_string(samba__json_get(item, "name"), &name, &size) &&
            strcmp(name, "default") == 0)
            return samba__json_get(item, "template");
    }
    return NULL;
}

static samba_status read_tokenizer_config(const samba__checkpoint *k, samba__plan *plan,
                                          const samba__tokenizer *tokenizer, samba_error **error)
{
    samba__json_doc *doc = NULL;
    const char *text;
    size_t size;
    samba_status status = SAMBA_OK;
    if (!k->tokenizer_config_json)
        return SAMBA_OK;
    SAMBA__TRY(samba__json_parse(k->alloc, k->tokenizer_config_json, k->tokenizer_config_json_size,
                                 "tokenizer_config.json", &doc, error));
    const samba__json *root = samba__json_root(doc);
    if (plan->bos < 0)
        plan->bos = find_token(samba__json_get(root, "bos_token"), tokenizer);
    if (plan->eos < 0)
        plan->eos = find_token(samba__json_get(root, "eos_token"), tokenizer);
    if (samba__json_string(find_template(samba__json_get(root, "chat_template")), &text, &size)) {
        plan->chat_template = samba__arena_strndup(&plan->arena, text, strlen(text));
        if (!plan->chat_template)
            status = samba__fail_oom(error);
    }
    samba__json_free(doc);
    return status;
}

samba_status samba__vocab_load(const samba__checkpoint *checkpoint, samba__plan *plan,
                               samba__tokenizer **tokenizer, samba_error **error)
{
    const samba__checkpoint *k = checkpoint;
    samba__tokenizer *t = NULL;
    samba_status status;
    if (k->container == SAMBA__CONTAINER_GGUF)
        SAMBA__TRY(load_gguf(k, &t, error));
    else if (k->tokenizer_json)
        SAMBA__TRY(samba__tokenizer_from_json(k->alloc, k->tokenizer_json, k->tokenizer_json_size,
                                              &t, error));
    if (t && samba__tokenizer_n_tokens(t) > plan->n_vocab) {
        status = samba__fail(k->alloc, error, SAMBA_ERROR_MISMATCH,
                             "the tokenizer has %u ids, the model %u", samba__tokenizer_n_tokens(t),
                             plan->n_vocab);
        goto fail;
    }
    SAMBA__TRY_GOTO(read_tokenizer_config(k, plan, t, error));
    *tokenizer = t;
    return SAMBA_OK;
fail:
    samba__tokenizer_free(t);
    return status;
}

/* ---- writing ---- */

static samba_status write_strings(samba__gguf_writer *w, const char *key, const samba__text *texts,
                                  size_t n, const samba_allocator *a, samba_error **error)
{
    samba__string *strings = samba__alloc_array(a, n, sizeof *strings);
    if (!strings)
        return samba__fail_oom(error);
    for (size_t i = 0; i < n; i++)
        strings[i] = (samba__string){texts[i].data, texts[i].size};
    samba_status status = samba__gguf_set_string_array(w, key, strings, n, error);
    samba__free(a, strings);
    return status;
}

static samba_status write_switch(samba__gguf_writer *w, const char *key, int32_t on,
                                 samba_error **error)
{
    return on < 0 ? SAMBA_OK : samba__gguf_set_bool(w, key, on != 0, error);
}

static samba_status write_word(samba__gguf_writer *w, const char *key, samba__text word,
                               samba_error **error)
{
    return word.size ? samba__gguf_set_string(w, key, word.data, word.size, error) : SAMBA_OK;
}

static samba_status write_vocab(samba__gguf_writer *w, const samba__vocab *v,
                                const samba_allocator *a, samba_error **error)
{
    SAMBA__TRY(write_word(w, "tokenizer.ggml.model", v->model, error));
    SAMBA__TRY(write_word(w, "tokenizer.ggml.pre", v->pre, error));
    SAMBA__TRY(write_strings(w, "tokenizer.ggml.tokens", v->tokens, v->n_tokens, a, error));
    if (v->scores)
        SAMBA__TRY(
            samba__gguf_set_f32_array(w, "tokenizer.ggml.scores", v->scores, v->n_tokens, error));
    if (v->types)
        SAMBA__TRY(samba__gguf_set_i32_array(w, "tokenizer.ggml.token_type", v->types, v->n_tokens,
                                             error));
    if (v->n_merges)
        SAMBA__TRY(write_strings(w, "tokenizer.ggml.merges", v->merges, v->n_merges, a, error));
    if (v->unk >= 0)
        SAMBA__TRY(
            samba__gguf_set_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unk, error));
    SAMBA__TRY(write_switch(w, "tokenizer.ggml.add_bos_token", v->add_bos, error));
    SAMBA__TRY(write_switch(w, "tokenizer.ggml.add_eos_token", v->add_eos, error));
    return write_switch(w, "tokenizer.ggml.add_space_prefix", v->add_space_prefix, error);
}

/* The text of tokenizer.json, of either container. */
static samba__string find_json(const samba__checkpoint *k)
{
    samba__string s = {NULL, 0};
    if (k->container == SAMBA__CONTAINER_GGUF)
        samba__gguf_get_string(samba__gguf_find(k->gguf, "tokenizer.huggingface.json"), &s);
    else
        s = (samba__string){k->tokenizer_json, k->tokenizer_json_size};
    return s;
}

static samba_status write_arrays(samba__gguf_writer *w, const samba__checkpoint *k,
                                 const samba__tokenizer *tokenizer, samba_error **error)
{
    const samba__string json = find_json(k);
    samba__vocab view;
    gguf_vocab g;
    samba_status status;
    if (json.data) {
        SAMBA__TRY(
            samba__gguf_set_string(w, "tokenizer.huggingface.json", json.data, json.size, error));
        samba__tokenizer_vocab(tokenizer, &view);
        if (!view.model.size) /* the keys can't express it */
            return SAMBA_OK;
        return write_vocab(w, &view, k->alloc, error);
    }
    /* Another tool's arrays go over as they are: the fingerprint is hashed over them. */
    status = read_gguf_vocab(k, &g, error);
    if (status == SAMBA_OK)
        status = write_vocab(w, &g.vocab, k->alloc, error);
    samba__arena_free(&g.arena);
    return status;
}

samba_status samba__vocab_write(samba__gguf_writer *w, const samba__checkpoint *checkpoint,
                                const samba__plan *plan, const samba__tokenizer *tokenizer,
                                samba_error **error)
{
    if (tokenizer)
        SAMBA__TRY(write_arrays(w, checkpoint, tokenizer, error));
    if (plan->chat_template)
        SAMBA__TRY(samba__gguf_set_string(w, "tokenizer.chat_template", plan->chat_template,
                                          strlen(plan->chat_template), error));
    if (plan->bos >= 0)
        SAMBA__TRY(
            samba__gguf_set_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)plan->bos, error));
    if (plan->eos >= 0)
        SAMBA__TRY(
            samba__gguf_set_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)plan->eos, error));
    return SAMBA_OK;
}
