/*
 * A tokenizer.json seen as tokenizer.ggml.* keys: which model and split name fit, token types,
 * scores, and what had to be left out.
 */
#include "token/impl.h"
#include "token/patterns.h"

#include <stdio.h>
#include <string.h>

enum {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN,
    TYPE_CONTROL,
    TYPE_USER,
    TYPE_UNUSED,
    TYPE_BYTE
};

static bool equal(samba__text a, const char *b)
{
    return a.size == strlen(b) && memcmp(a.data, b, a.size) == 0;
}

/* The regexes of the splits before a final byte map; false if it is not of that kind. */
static bool byte_level_regexes(const samba__tokenizer *t, samba__text *regexes, size_t *n)
{
    const samba__steps *s = &t->splitters;
    *n = 0;
    for (size_t i = 0, mapped = 0; i < s->n; i++) {
        const samba__step *step = &s->at[i];
        bool digits = step->kind == SAMBA__SPLIT_DIGITS;
        if (step->kind == SAMBA__MAP_BYTES) {
            if (mapped++)
                return false;
            continue;
        }
        if ((step->kind != SAMBA__SPLIT_REGEX && !digits) || step->invert ||
            step->behavior == SAMBA__REMOVED || *n == SAMBA__PRE_REGEXES ||
            (!digits && step->behavior != SAMBA__ISOLATED))
            return false;
        /* Digits come before the map, where a class and its regex are the same. */
        if (digits && mapped)
            return false;
        regexes[(*n)++] = !digits                             ? step->pattern
                          : step->behavior == SAMBA__ISOLATED ? (samba__text){"\\p{N}", 5}
                                                              : (samba__text){"\\p{N}+", 6};
    }
    return s->n && s->at[s->n - 1].kind == SAMBA__MAP_BYTES;
}

static const char metaspace[] = "\xe2\x96\x81";

static bool is_metaspace(samba__text text)
{
    return equal(text, metaspace);
}

/*
 * Prepend and Replace as normalisers, or Metaspace as pre-tokenizer. *exact: every piece gets the
 * prefix and nothing is split, as GGUF readers do it.
 */
static bool is_sentencepiece(const samba__tokenizer *t, bool *prefix, bool *exact)
{
    bool spaces = false;
    *prefix = false;
    *exact = true;
    for (size_t i = 0; i < t->normalizers.n; i++) {
        const samba__step *s = &t->normalizers.at[i];
        if (s->kind == SAMBA__NORMALIZE_PREPEND && is_metaspace(s->content) && i == 0)
            *prefix = true;
        else if (s->kind == SAMBA__NORMALIZE_REPLACE && !s->regex && equal(s->pattern, " ") &&
                 is_metaspace(s->content))
            spaces = true;
        else
            *exact = false;
    }
    for (size_t i = 0; i < t->splitters.n; i++) {
        const samba__step *s = &t->splitters.at[i];
        if (s->kind == SAMBA__MAP_SPACES && is_metaspace(s->content)) {
            spaces = true;
        } else if (s->kind == SAMBA__MAP_PREFIX && is_metaspace(s->content)) {
            *prefix = true;
            *exact = false; /* not before a text that begins with a space */
        } else {
            *exact = false;
        }
    }
    return spaces;
}

static bool plain_added(const samba__added_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->items[i].single_word || set->items[i].lstrip || set->items[i].rstrip)
            return false;
    return true;
}

static bool all_bytes(const samba__tokenizer *t, bool byte_level)
{
    for (unsigned b = 0; b < 256; b++) {
        samba_token id = byte_level ? t->short_ids[samba__byte_char((uint8_t)b)] : t->byte_ids[b];
        if (id < 0)
            return false;
    }
    return true;
}

static void choose_model(samba__tokenizer *t)
{
    samba__vocab *v = &t->vocab;
    samba__text regexes[SAMBA__PRE_REGEXES];
    size_t n;
    bool prefix, exact;
    bool common = plain_added(&t->added) && t->added_normalized.n == 0 && t->n_prefix <= 1 &&
                  t->n_suffix <= 1;
    v->add_space_prefix = 0;
    if (byte_level_regexes(t, regexes, &n)) {
        const char *pre = samba__pre_name(regexes, n, t->ignore_merges);
        bool same_merging = pre != NULL;
        if (!pre)
            pre = samba__pre_name(regexes, n, !t->ignore_merges);
        if (!pre)
            return;
        v->model = (samba__text){"gpt2", 4};
        v->pre = (samba__text){pre, strlen(pre)};
        t->vocab_exact = common && same_merging && t->normalizers.n == 0 && all_bytes(t, true);
    } else if (is_sentencepiece(t, &prefix, &exact)) {
        v->model = (samba__text){"llama", 5};
        v->pre = (samba__text){"default", 7};
        v->add_space_prefix = prefix;
        t->vocab_exact =
            common && exact && !t->ignore_merges && t->byte_fallback && all_bytes(t, false);
    }
}

static int32_t token_type(const samba__tokenizer *t, size_t id)
{
    if (!t->texts[id].data)
        return TYPE_UNUSED;
    if ((samba_token)id == t->unk && !(t->flags[id] & SAMBA__TOKEN_SPECIAL && !t->byte_fallback))
        return TYPE_UNKNOWN;
    if (t->flags[id] & SAMBA__TOKEN_SPECIAL)
        return TYPE_CONTROL;
    if (t->flags[id] & SAMBA__TOKEN_ADDED)
        return TYPE_USER;
    return t->flags[id] & SAMBA__TOKEN_BYTE ? TYPE_BYTE : TYPE_NORMAL;
}

static samba_status fill_tokens(samba__tokenizer *t, samba_error **error)
{
    samba__text *texts = samba__arena_alloc(&t->arena, t->n_tokens, sizeof *texts);
    int32_t *types = samba__arena_alloc(&t->arena, t->n_tokens, sizeof *types);
    if (!texts || !types)
        return samba__fail_oom(error);
    for (size_t i = 0; i < t->n_tokens; i++) {
        char name[32];
        texts[i] = t->texts[i];
        types[i] = token_type(t, i);
        if (texts[i].data)
            continue;
        int n = snprintf(name, sizeof name, "[PAD%zu]", i);
        SAMBA__TRY(samba__tokenizer_keep(t, (samba__text){name, (size_t)n}, &texts[i], error));
    }
    t->vocab.tokens = texts;
    t->vocab.types = types;
    t->vocab.n_tokens = t->n_tokens;
    return SAMBA_OK;
}

/* A token's score is minus the rank of its first merge; what no merge makes comes behind. */
static samba_status fill_scores(samba__tokenizer *t, size_t n_merges, samba_error **error)
{
    float *scores = samba__arena_alloc(&t->arena, t->n_tokens, sizeof *scores);
    if (!scores)
        return samba__fail_oom(error);
    for (size_t i = 0; i < t->n_tokens; i++)
        scores[i] = t->vocab.types[i] == TYPE_NORMAL ? -(float)(n_merges + i) : 0;
    for (size_t i = 0; i <= t->merges.mask; i++) {
        const samba__merge *m = &t->merges.slots[i];
        if (m->key != UINT64_MAX && -(float)m->rank > scores[m->id])
            scores[m->id] = -(float)m->rank;
    }
    t->vocab.scores = scores;
    return SAMBA_OK;
}

/* The first of these that is a special token, or -1. */
static samba_token find_special(const samba__tokenizer *t, const char *const *names)
{
    for (; *names; names++) {
        samba_token id = samba__vocab_map_get(&t->map, *names, strlen(*names));
        if (id >= 0 && t->flags[id] & SAMBA__TOKEN_SPECIAL)
            return id;
    }
    return -1;
}

samba_status samba__tokenizer_make_vocab(samba__tokenizer *t, const samba__text *merges,
                                         size_t n_merges, samba_error **error)
{
    static const char *const bos[] = {"<s>",     "<|begin_of_text|>", "<bos>", "<|startoftext|>",
                                      "<|bos|>", "<|endoftext|>",     NULL};
    static const char *const eos[] = {"</s>",    "<|end_of_text|>", "<eos>",
                                      "<|eos|>", "<|endoftext|>",   NULL};
    samba__vocab *v = &t->vocab;
    choose_model(t);
    SAMBA__TRY(fill_tokens(t, error));
    SAMBA__TRY(fill_scores(t, n_merges, error));
    v->merges = merges;
    v->n_merges = n_merges;
    v->bos = t->n_prefix ? t->prefix[0] : find_special(t, bos);
    v->eos = t->n_suffix ? t->suffix[t->n_suffix - 1] : find_special(t, eos);
    v->unk = t->unk;
    v->add_bos = t->n_prefix > 0;
    v->add_eos = t->n_suffix > 0;
    return SAMBA_OK;
}
