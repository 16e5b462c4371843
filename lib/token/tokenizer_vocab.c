/*
 * A tokenizer from GGUF's arrays. "gpt2" is byte-level BPE whose split pattern has a name; "llama"
 * is sentencepiece BPE. Sentencepiece joins the neighbours whose union is the token with the best
 * score: the same as merges of all ways to cut every token in two, ranked by the token's score.
 * Only normal tokens are made by merging; control, unknown and byte tokens never are, so text can't
 * forge them. Unused ones (type 5) aren't either, where sentencepiece would use them in passing;
 * nor is a character merged that has no token of its own.
 */
#include "token/impl.h"
#include "token/patterns.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN,
    TYPE_CONTROL,
    TYPE_USER,
    TYPE_UNUSED,
    TYPE_BYTE
};

/* No token made by merging is longer; keeps the number of ways to cut them in bounds. */
enum {
    MERGED_MAX = 256
};

typedef struct reader {
    const samba__vocab *in;
    samba__tokenizer *t;
    bool byte_level;
    samba_error **error;
} reader;

static bool is(samba__text text, const char *s)
{
    return text.size == strlen(s) && memcmp(text.data, s, text.size) == 0;
}

static samba_status malformed(const reader *r, const char *what, long long value)
{
    return samba__fail(r->t->alloc, r->error, SAMBA_ERROR_FORMAT, "tokenizer: %s %lld", what,
                       value);
}

static samba_status unsupported(const samba_allocator *a, const char *what, samba__text name,
                                samba_error **error)
{
    return samba__fail(a, error, SAMBA_ERROR_UNSUPPORTED, "tokenizer: %s \"%.*s\" is not supported",
                       what, (int)(name.size < 80 ? name.size : 80), name.data);
}

static int32_t type_of(const samba__vocab *in, size_t i)
{
    samba_token id = (samba_token)i;
    if (in->types && in->types[i] != 0)
        return in->types[i];
    if (!in->types && id == in->unk)
        return TYPE_UNKNOWN;
    return !in->types && (id == in->bos || id == in->eos) ? TYPE_CONTROL : TYPE_NORMAL;
}

/* An id without a token, written as "[PAD<id>]". */
static bool is_hole(const samba__vocab *in, size_t i)
{
    char name[32];
    snprintf(name, sizeof name, "[PAD%zu]", i);
    return type_of(in, i) == TYPE_UNUSED && is(in->tokens[i], name);
}

/* Added tokens are found as they are written; in a byte-level model one may also be a byte. */
static bool stands_for_byte(const reader *r, samba__text text)
{
    uint32_t cp;
    size_t n = samba__utf8_decode(text.data, text.size, &cp);
    return r->byte_level && n && n == text.size && samba__char_byte(cp) >= 0;
}

static uint8_t flags_of(const reader *r, samba__text text, int32_t type)
{
    const uint8_t model = stands_for_byte(r, text) ? SAMBA__TOKEN_IN_MODEL : 0;
    switch (type) {
    case TYPE_UNKNOWN:
    case TYPE_CONTROL:
        return SAMBA__TOKEN_ADDED | SAMBA__TOKEN_SPECIAL | model;
    case TYPE_USER:
        return SAMBA__TOKEN_ADDED | model;
    case TYPE_BYTE:
        return SAMBA__TOKEN_BYTE;
    case TYPE_UNUSED:
        return 0;
    default:
        return SAMBA__TOKEN_IN_MODEL;
    }
}

static samba_status read_tokens(reader *r)
{
    const samba__vocab *in = r->in;
    for (size_t i = 0; i < in->n_tokens; i++) {
        int32_t type = type_of(in, i);
        if (type < TYPE_NORMAL || type > TYPE_BYTE)
            return malformed(r, "a token has the unknown type", type);
        if (is_hole(in, i))
            continue;
        SAMBA__TRY(samba__tokenizer_set(r->t, (samba_token)i, in->tokens[i],
                                        flags_of(r, in->tokens[i], type), r->error));
        if (type == TYPE_UNKNOWN && r->t->unk < 0 && !r->byte_level)
            r->t->unk = (samba_token)i;
    }
    return SAMBA_OK;
}

static samba_status read_added(reader *r)
{
    const samba__tokenizer *t = r->t;
    size_t n = 0;
    for (size_t i = 0; i < t->n_tokens; i++)
        n += (t->flags[i] & SAMBA__TOKEN_ADDED) && t->texts[i].size;
    samba__added *added = samba__calloc(t->alloc, n, sizeof *added);
    if (!added)
        return samba__fail_oom(r->error);
    n = 0;
    for (size_t i = 0; i < t->n_tokens; i++) {
        if (!(t->flags[i] & SAMBA__TOKEN_ADDED) || !t->texts[i].size)
            continue;
        added[n].content = t->texts[i];
        added[n].id = (samba_token)i;
        added[n++].special = t->flags[i] & SAMBA__TOKEN_SPECIAL;
    }
    samba_status status = samba__tokenizer_set_added(r->t, added, n, r->error);
    samba__free(t->alloc, added);
    return status;
}

/* An id in range, or -1. */
static samba_status check_id(const reader *r, const char *what, samba_token id)
{
    if (id < -1 || (id >= 0 && (size_t)id >= r->in->n_tokens))
        return malformed(r, what, id);
    return SAMBA_OK;
}

static samba_status read_affixes(reader *r, bool default_bos)
{
    const samba__vocab *in = r->in;
    samba__tokenizer *t = r->t;
    SAMBA__TRY(check_id(r, "bos_token_id is out of range:", in->bos));
    SAMBA__TRY(check_id(r, "eos_token_id is out of range:", in->eos));
    SAMBA__TRY(check_id(r, "unknown_token_id is out of range:", in->unk));
    if ((in->add_bos == 1 && in->bos < 0) || (in->add_eos == 1 && in->eos < 0))
        return malformed(r, "a token is to be added to every text, but its id is", -1);
    if (in->add_bos < 0 ? default_bos && in->bos >= 0 : in->add_bos)
        t->prefix[t->n_prefix++] = in->bos;
    if (in->add_eos > 0)
        t->suffix[t->n_suffix++] = in->eos;
    return SAMBA_OK;
}

/* ---- merges ---- */

static samba_status read_merges(reader *r)
{
    samba__tokenizer *t = r->t;
    size_t n = r->in->n_merges;
    samba__text *merges = samba__arena_alloc(&t->arena, n, sizeof *merges);
    if (!merges)
        return samba__fail_oom(r->error);
    for (size_t i = 0; i < n; i++)
        SAMBA__TRY(samba__tokenizer_keep(t, r->in->merges[i], &merges[i], r->error));
    t->vocab.merges = merges;
    t->vocab.n_merges = n;
    return samba__tokenizer_add_merges(t, merges, n, r->error);
}

typedef struct ranked {
    float score;
    samba_token id;
    uint32_t rank;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* All ways to make one token from two. */
static samba_status add_cuts(reader *r, const ranked *token)
{
    samba__tokenizer *t = r->t;
    samba__text text = t->texts[token->id];
    uint32_t cp;
    size_t n;
    for (size_t i = samba__utf8_decode(text.data, text.size, &cp); i && i < text.size; i += n) {
        samba_token left = samba__tokenizer_model_id(t, text.data, i);
        samba_token right = samba__tokenizer_model_id(t, text.data + i, text.size - i);
        n = samba__utf8_decode(text.data + i, text.size - i, &cp);
        if (n == 0)
            break;
        if (left >= 0 && right >= 0)
            SAMBA__TRY(
                samba__tokenizer_add_merge(t, left, right, token->rank, token->id, r->error));
    }
    return SAMBA_OK;
}

static samba_status add_all_cuts(reader *r, ranked *tokens, size_t n)
{
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) { /* equal scores: the leftmost place decides, so equal rank */
        rank += i && tokens[i].score != tokens[i - 1].score;
        tokens[i].rank = rank;
        SAMBA__TRY(add_cuts(r, &tokens[i]));
    }
    return SAMBA_OK;
}

static samba_status merges_from_scores(reader *r)
{
    samba__tokenizer *t = r->t;
    size_t n = 0, cuts = 0;
    ranked *tokens = samba__calloc(t->alloc, t->n_tokens, sizeof *tokens);
    samba_status status = tokens ? SAMBA_OK : samba__fail_oom(r->error);
    for (size_t i = 0; i < t->n_tokens && status == SAMBA_OK; i++) {
        if (!(t->flags[i] & SAMBA__TOKEN_IN_MODEL))
            continue;
        if (isnan(r->in->scores[i]))
            status = malformed(r, "no number is the score of token", (long long)i);
        else if (t->texts[i].size > MERGED_MAX)
            status = samba__fail(t->alloc, r->error, SAMBA_ERROR_LIMIT,
                                 "tokenizer: token %zu has %zu bytes, at most %d are allowed", i,
                                 t->texts[i].size, MERGED_MAX);
        tokens[n++] = (ranked){r->in->scores[i], (samba_token)i, 0};
        cuts += t->texts[i].size;
    }
    if (status == SAMBA_OK && !samba__merges_init(&t->merges, t->alloc, cuts))
        status = samba__fail_oom(r->error);
    if (status == SAMBA_OK) {
        qsort(tokens, n, sizeof *tokens, by_score);
        status = add_all_cuts(r, tokens, n);
    }
    samba__free(t->alloc, tokens);
    return status;
}

/* ---- the two models ---- */

static const samba__text space = {" ", 1}, metaspace = {"\xe2\x96\x81", 3};

static samba_status read_gpt2(reader *r, const samba__pre *pre)
{
    samba__tokenizer *t = r->t;
    const samba__step bytes = {.kind = SAMBA__MAP_BYTES};
    const samba__step prefix = {.kind = SAMBA__MAP_PREFIX, .content = space};
    const samba__decoder decoder = {.at = {{.kind = SAMBA__DECODE_BYTES}}, .n = 1};
    t->ignore_merges = pre->ignore_merges;
    t->unk = r->in->unk;
    SAMBA__TRY(read_tokens(r));
    samba__tokenizer_index(t);
    SAMBA__TRY(read_merges(r));
    if (r->in->add_space_prefix == 1)
        SAMBA__TRY(samba__tokenizer_add_step(t, &t->splitters, &prefix, r->error));
    for (size_t i = 0; i < SAMBA__PRE_REGEXES && pre->regexes[i]; i++) {
        samba__text regex = {pre->regexes[i], strlen(pre->regexes[i])};
        SAMBA__TRY(samba__tokenizer_add_split(t, regex, r->error));
    }
    SAMBA__TRY(samba__tokenizer_add_step(t, &t->splitters, &bytes, r->error));
    SAMBA__TRY(read_added(r));
    return samba__decoder_apply(t, &decoder, r->error);
}

static samba_status read_llama(reader *r)
{
    samba__tokenizer *t = r->t;
    const samba__step prepend = {.kind = SAMBA__NORMALIZE_PREPEND, .content = metaspace};
    const samba__step escape = {
        .kind = SAMBA__NORMALIZE_REPLACE, .pattern = space, .content = metaspace};
    samba__decoder decoder = {
        .at = {{.kind = SAMBA__DECODE_REPLACE, .from = metaspace, .to = space},
               {.kind = SAMBA__DECODE_BYTE_FALLBACK},
               {.kind = SAMBA__DECODE_STRIP_FIRST, .from = space}},
        .n = 2,
    };
    t->byte_fallback = t->fuse_unk = true;
    t->unk = r->in->unk;
    SAMBA__TRY(read_tokens(r));
    samba__tokenizer_index(t);
    SAMBA__TRY(r->in->n_merges ? read_merges(r) : merges_from_scores(r));
    if (r->in->add_space_prefix != 0) {
        SAMBA__TRY(samba__tokenizer_add_step(t, &t->normalizers, &prepend, r->error));
        decoder.n = 3;
    }
    SAMBA__TRY(samba__tokenizer_add_step(t, &t->normalizers, &escape, r->error));
    SAMBA__TRY(read_added(r));
    return samba__decoder_apply(t, &decoder, r->error);
}

/* The view of this tokenizer: what it was made from. */
static samba_status keep_vocab(reader *r, const samba__pre *pre)
{
    const samba__vocab *in = r->in;
    samba__tokenizer *t = r->t;
    samba__vocab *v = &t->vocab;
    size_t n = in->n_tokens;
    samba__text *texts = samba__arena_alloc(&t->arena, n, sizeof *texts);
    float *scores = in->scores ? samba__arena_alloc(&t->arena, n, sizeof *scores) : NULL;
    int32_t *types = samba__arena_alloc(&t->arena, n, sizeof *types);
    if (!texts || !types || (in->scores && !scores))
        return samba__fail_oom(r->error);
    for (size_t i = 0; i < n; i++) {
        texts[i] = t->texts[i];
        types[i] = type_of(in, i);
        if (!texts[i].data)
            SAMBA__TRY(samba__tokenizer_keep(t, in->tokens[i], &texts[i], r->error));
    }
    if (scores)
        memcpy(scores, in->scores, n * sizeof *scores);
    samba__text name = {pre ? pre->name : "default", pre ? strlen(pre->name) : 7};
    v->model = r->byte_level ? (samba__text){"gpt2", 4} : (samba__text){"llama", 5};
    v->pre = name;
    v->tokens = texts;
    v->scores = scores;
    v->types = types;
    v->n_tokens = n;
    v->bos = in->bos;
    v->eos = in->eos;
    v->unk = t->unk;
    v->add_bos = t->n_prefix > 0;
    v->add_eos = t->n_suffix > 0;
    v->add_space_prefix = r->byte_level ? in->add_space_prefix == 1 : in->add_space_prefix != 0;
    t->vocab_exact = true;
    return SAMBA_OK;
}

samba_status samba__tokenizer_from_vocab(const samba_allocator *a, const samba__vocab *vocab,
                                         samba__tokenizer **tokenizer, samba_error **error)
{
    const samba__text default_name = {"default", 7};
    reader r = {.in = vocab, .byte_level = is(vocab->model, "gpt2"), .error = error};
    samba__text name = vocab->pre.size ? vocab->pre : default_name;
    const samba__pre *pre = r.byte_level ? samba__pre_find(name) : NULL;
    samba_status status;
    if (!r.byte_level && !is(vocab->model, "llama"))
        return unsupported(a, "model", vocab->model, error);
    if (r.byte_level && !pre)
        return unsupported(a, "pre-tokenizer", name, error);
    if (!vocab->n_merges && (r.byte_level || !vocab->scores))
        return samba__fail(a, error, SAMBA_ERROR_FORMAT, "tokenizer: no %s for model \"%s\"",
                           r.byte_level ? "merges" : "scores or merges",
                           r.byte_level ? "gpt2" : "llama");
    SAMBA__TRY_GOTO(samba__tokenizer_create(a, vocab->n_tokens, &r.t, error));
    SAMBA__TRY_GOTO(read_affixes(&r, pre ? pre->add_bos : true));
    SAMBA__TRY_GOTO(r.byte_level ? read_gpt2(&r, pre) : read_llama(&r));
    SAMBA__TRY_GOTO(keep_vocab(&r, pre));
    *tokenizer = r.t;
    return SAMBA_OK;
fail:
    samba__tokenizer_free(r.t);
    return status;
}
