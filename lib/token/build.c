/*
 * Building a tokenizer: what the readers of tokenizer.json and of GGUF arrays have in common. Every
 * text is copied; ids and texts are unique; derived tables are filled here.
 */
#include "token/impl.h"

#include <stdio.h>
#include <string.h>

samba_status samba__tokenizer_create(const samba_allocator *a, size_t n_tokens,
                                     samba__tokenizer **tokenizer, samba_error **error)
{
    if (n_tokens == 0 || n_tokens > SAMBA__MAX_TOKENS)
        return samba__fail(a, error, SAMBA_ERROR_LIMIT,
                           "the tokenizer has %zu token ids, 1 to %d are allowed", n_tokens,
                           SAMBA__MAX_TOKENS);
    samba__tokenizer *t = samba__calloc(a, 1, sizeof *t);
    if (!t)
        return samba__fail_oom(error);
    t->alloc = a;
    t->n_tokens = n_tokens;
    t->unk = -1;
    t->splits_words = true;
    samba__arena_init(&t->arena, a);
    t->texts = samba__calloc(a, n_tokens, sizeof *t->texts);
    t->flags = samba__calloc(a, n_tokens, 1);
    if (!t->texts || !t->flags || !samba__vocab_map_init(&t->map, a, n_tokens, t->texts)) {
        samba__tokenizer_free(t);
        return samba__fail_oom(error);
    }
    *tokenizer = t;
    return SAMBA_OK;
}

static void steps_free(samba__steps *steps)
{
    for (size_t i = 0; i < steps->n; i++)
        samba__regex_free(steps->at[i].regex);
    steps->n = 0;
}

void samba__tokenizer_free(samba__tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    const samba_allocator *a = tokenizer->alloc;
    steps_free(&tokenizer->normalizers);
    steps_free(&tokenizer->splitters);
    samba__merges_free(&tokenizer->merges, a);
    samba__vocab_map_free(&tokenizer->map, a);
    samba__free(a, tokenizer->texts);
    samba__free(a, tokenizer->flags);
    samba__arena_free(&tokenizer->arena);
    samba__free(a, tokenizer);
}

samba_status samba__tokenizer_keep(samba__tokenizer *t, samba__text text, samba__text *kept,
                                   samba_error **error)
{
    const char *copy = samba__arena_strndup(&t->arena, text.data, text.size);
    if (!copy)
        return samba__fail_oom(error);
    *kept = (samba__text){copy, text.size};
    return SAMBA_OK;
}

static int shown(samba__text text)
{
    return text.size < 80 ? (int)text.size : 80;
}

samba_status samba__tokenizer_set(samba__tokenizer *t, samba_token id, samba__text text,
                                  uint8_t flags, samba_error **error)
{
    if (id < 0 || (size_t)id >= t->n_tokens)
        return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                           "token \"%.*s\" has id %d, the vocabulary has %zu", shown(text),
                           text.data, (int)id, t->n_tokens);
    if (t->texts[id].data)
        return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                           "token id %d is given to \"%.*s\" and to \"%.*s\"", (int)id,
                           shown(t->texts[id]), t->texts[id].data, shown(text), text.data);
    SAMBA__TRY(samba__tokenizer_keep(t, text, &t->texts[id], error));
    t->flags[id] = flags;
    switch (samba__vocab_map_put(&t->map, id)) {
    case SAMBA__PUT_NEW:
        return SAMBA_OK;
    case SAMBA__PUT_THERE:
        return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                           "token \"%.*s\" has id %d and id %d", shown(text), text.data,
                           (int)samba__vocab_map_get(&t->map, text.data, text.size), (int)id);
    default:
        return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                           "the vocabulary is made to collide in hash tables");
    }
}

samba_token samba__tokenizer_model_id(const samba__tokenizer *t, const char *text, size_t size)
{
    samba_token id = samba__vocab_map_get(&t->map, text, size);
    return id >= 0 && t->flags[id] & SAMBA__TOKEN_IN_MODEL ? id : -1;
}

void samba__tokenizer_index(samba__tokenizer *t)
{
    for (size_t i = 0; i < SAMBA__SHORT_CPS; i++) {
        char s[4];
        size_t n = samba__utf8_encode((uint32_t)i, s);
        t->short_ids[i] = samba__tokenizer_model_id(t, s, n);
    }
    for (unsigned b = 0; b < 256; b++) {
        char s[8];
        snprintf(s, sizeof s, "<0x%02X>", b);
        samba_token id = samba__vocab_map_get(&t->map, s, 6);
        bool usable = id >= 0 && t->byte_fallback &&
                      t->flags[id] & (SAMBA__TOKEN_IN_MODEL | SAMBA__TOKEN_BYTE);
        t->byte_ids[b] = usable ? id : -1;
        if (usable)
            t->flags[id] |= SAMBA__TOKEN_BYTE;
    }
}

/* Last character of a text. */
static bool last_char(samba__text text, uint32_t *cp)
{
    for (size_t n = 1; n <= 4 && n <= text.size; n++)
        if (samba__utf8_decode(text.data + text.size - n, n, cp) == n)
            return true;
    return false;
}

/*
 * A token that can stand for unknown characters takes part in merges by its id, not by its text;
 * then words can't be cut by looking at characters.
 */
static void note_join(samba__tokenizer *t, samba_token left, samba_token right)
{
    uint32_t l, r;
    bool odd =
        (t->flags[left] | t->flags[right]) & SAMBA__TOKEN_BYTE || left == t->unk || right == t->unk;
    if (odd || !last_char(t->texts[left], &l) ||
        !samba__utf8_decode(t->texts[right].data, t->texts[right].size, &r))
        t->splits_words = false;
    else
        samba__join_set(&t->merges, l, r);
}

samba_status samba__tokenizer_add_merge(samba__tokenizer *t, samba_token left, samba_token right,
                                        uint32_t rank, samba_token id, samba_error **error)
{
    note_join(t, left, right);
    if (samba__merges_put(&t->merges, left, right, rank, id))
        return SAMBA_OK;
    return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                       "the merges are made to collide in hash tables");
}

static samba_status add_listed(samba__tokenizer *t, samba__text merge, uint32_t rank,
                               samba__buffer *joined, samba_error **error)
{
    const char *space = merge.size > 1 ? memchr(merge.data + 1, ' ', merge.size - 1) : NULL;
    size_t n = space ? (size_t)(space - merge.data) : 0;
    if (!space)
        return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                           "merge %u \"%.*s\" is not two tokens with a space between",
                           (unsigned)rank, shown(merge), merge.data);
    joined->n = 0;
    if (!samba__buffer_add(joined, t->alloc, merge.data, n) ||
        !samba__buffer_add(joined, t->alloc, space + 1, merge.size - n - 1))
        return samba__fail_oom(error);
    samba_token left = samba__vocab_map_get(&t->map, merge.data, n);
    samba_token right = samba__vocab_map_get(&t->map, space + 1, merge.size - n - 1);
    samba_token id = samba__vocab_map_get(&t->map, joined->data, joined->n);
    if (left < 0 || right < 0 || id < 0)
        return samba__fail(t->alloc, error, SAMBA_ERROR_FORMAT,
                           "merge %u \"%.*s\": its %s is not in the vocabulary", (unsigned)rank,
                           shown(merge), merge.data,
                           left < 0    ? "left part"
                           : right < 0 ? "right part"
                                       : "result");
    t->flags[left] |= SAMBA__TOKEN_IN_MODEL;
    t->flags[right] |= SAMBA__TOKEN_IN_MODEL;
    t->flags[id] |= SAMBA__TOKEN_IN_MODEL;
    return samba__tokenizer_add_merge(t, left, right, rank, id, error);
}

samba_status samba__tokenizer_add_merges(samba__tokenizer *t, const samba__text *merges, size_t n,
                                         samba_error **error)
{
    samba__buffer joined = {0};
    samba_status status = SAMBA_OK;
    if (n >= UINT32_MAX || !samba__merges_init(&t->merges, t->alloc, n))
        return samba__fail_oom(error);
    for (size_t i = 0; i < n && status == SAMBA_OK; i++)
        status = add_listed(t, merges[i], (uint32_t)i, &joined, error);
    samba__free(t->alloc, joined.data);
    return status;
}

samba_status samba__tokenizer_add_step(samba__tokenizer *t, samba__steps *steps,
                                       const samba__step *step, samba_error **error)
{
    if (steps->n == SAMBA__MAX_STEPS) {
        samba__regex_free(step->regex);
        return samba__fail(t->alloc, error, SAMBA_ERROR_LIMIT,
                           "the tokenizer has more than %d steps", SAMBA__MAX_STEPS);
    }
    samba__step *s = &steps->at[steps->n++];
    *s = *step;
    if (step->pattern.size)
        SAMBA__TRY(samba__tokenizer_keep(t, step->pattern, &s->pattern, error));
    if (step->content.size)
        SAMBA__TRY(samba__tokenizer_keep(t, step->content, &s->content, error));
    return SAMBA_OK;
}

samba_status samba__tokenizer_add_split(samba__tokenizer *t, samba__text regex, samba_error **error)
{
    samba__step step = {.kind = SAMBA__SPLIT_REGEX, .pattern = regex};
    SAMBA__TRY(samba__regex_create(t->alloc, regex, &step.regex, error));
    return samba__tokenizer_add_step(t, &t->splitters, &step, error);
}

/* The content as it is matched, kept for good. */
static samba_status added_content(samba__tokenizer *t, samba__work *w, samba__added *added,
                                  samba_error **error)
{
    samba__text text = added->content;
    uint32_t flags = 0;
    if (added->normalized)
        SAMBA__TRY(samba__normalize(&t->normalizers, w, text, &flags, &text, error));
    if (text.size == 0 || text.size > SAMBA__MAX_ADDED_BYTES)
        return samba__fail(t->alloc, error, SAMBA_ERROR_LIMIT,
                           "added token %d has %zu bytes when normalized, 1 to %d are allowed",
                           (int)added->id, text.size, SAMBA__MAX_ADDED_BYTES);
    return samba__tokenizer_keep(t, text, &added->content, error);
}

samba_status samba__tokenizer_set_added(samba__tokenizer *t, const samba__added *added, size_t n,
                                        samba_error **error)
{
    samba__work w = {.alloc = t->alloc, .text_size = SAMBA__MAX_ADDED_BYTES};
    samba_status status = SAMBA_OK;
    t->added.items = samba__arena_alloc(&t->arena, n, sizeof *added);
    t->added_normalized.items = samba__arena_alloc(&t->arena, n, sizeof *added);
    if (!t->added.items || !t->added_normalized.items)
        return samba__fail_oom(error);
    for (size_t i = 0; i < n && status == SAMBA_OK; i++) {
        samba__added_set *set = added[i].normalized ? &t->added_normalized : &t->added;
        samba__added *item = &set->items[set->n++];
        *item = added[i];
        item->order = (uint32_t)i + (item->special ? 0 : 0x80000000u);
        status = added_content(t, &w, item, error);
    }
    samba__work_free(&w);
    if (status == SAMBA_OK) {
        samba__added_prepare(&t->added);
        samba__added_prepare(&t->added_normalized);
    }
    return status;
}
