/*
 * A tokenizer from the text of tokenizer.json: the whole, the added tokens and the post-processor.
 * "truncation" and "padding" are left to the host and not looked at.
 */
#include "token/json_read.h"

#include <string.h>

/* ---- added tokens ---- */

static samba_status read_added_token(samba__reading *r, const samba__json *v, samba__added *out)
{
    const char *what = "added token";
    int64_t id;
    SAMBA__TRY(
        samba__read_keys(r, what, v, " id content single_word lstrip rstrip normalized special "));
    SAMBA__TRY(samba__read_string(r, what, v, "content", &out->content));
    if (!samba__json_int(samba__json_get(v, "id"), &id) || id < 0 || id >= SAMBA__MAX_TOKENS)
        return samba__read_malformed(r, what, "id");
    out->id = (samba_token)id;
    SAMBA__TRY(samba__read_bool(r, what, v, "single_word", false, &out->single_word));
    SAMBA__TRY(samba__read_bool(r, what, v, "lstrip", false, &out->lstrip));
    SAMBA__TRY(samba__read_bool(r, what, v, "rstrip", false, &out->rstrip));
    SAMBA__TRY(samba__read_bool(r, what, v, "special", false, &out->special));
    return samba__read_bool(r, what, v, "normalized", !out->special, &out->normalized);
}

/* Array [*n], allocated. Tokens without text are left out, as they can't be found. */
static samba_status read_added_list(samba__reading *r, const samba__json *list,
                                    samba__added **added, size_t *n)
{
    size_t size = samba__json_size(list), used = 0;
    if (!samba__json_is_null(list) && !samba__json_is_array(list))
        return samba__read_malformed(r, "the file", "added_tokens");
    samba__added *items = samba__calloc(r->alloc, size, sizeof *items);
    if (!items)
        return samba__fail_oom(r->error);
    for (size_t i = 0; i < size; i++) {
        samba_status status = read_added_token(r, samba__json_at(list, i), &items[used]);
        if (status != SAMBA_OK) {
            samba__free(r->alloc, items);
            return status;
        }
        used += items[used].content.size > 0;
    }
    *added = items;
    *n = used;
    return SAMBA_OK;
}

static samba_status enter_added(samba__reading *r, const samba__added *added, size_t n)
{
    samba__tokenizer *t = r->t;
    for (size_t i = 0; i < n; i++) {
        samba__text text = added[i].content;
        samba_token id = samba__vocab_map_get(&t->map, text.data, text.size);
        if (id >= 0 && id != added[i].id)
            return samba__fail(r->alloc, r->error, SAMBA_ERROR_MISMATCH,
                               "added token \"%.*s\" has id %d, the vocabulary says %d",
                               (int)(text.size < 80 ? text.size : 80), text.data, (int)added[i].id,
                               (int)id);
        if (id < 0)
            SAMBA__TRY(samba__tokenizer_set(t, added[i].id, text, 0, r->error));
        t->flags[added[i].id] |=
            (uint8_t)(SAMBA__TOKEN_ADDED | (added[i].special ? SAMBA__TOKEN_SPECIAL : 0));
    }
    return samba__tokenizer_set_added(t, added, n, r->error);
}

/* ---- post-processor ---- */

/* Puts a token outermost before or behind the text. */
static samba_status add_affix(samba__reading *r, bool before, int64_t id)
{
    samba__tokenizer *t = r->t;
    size_t *n = before ? &t->n_prefix : &t->n_suffix;
    samba_token *list = before ? t->prefix : t->suffix;
    if (id < 0 || (uint64_t)id >= t->n_tokens)
        return samba__fail(r->alloc, r->error, SAMBA_ERROR_FORMAT,
                           "tokenizer.json: post_processor adds token %lld, the vocabulary has %zu",
                           (long long)id, t->n_tokens);
    if (*n == SAMBA__MAX_AFFIX)
        return samba__fail(r->alloc, r->error, SAMBA_ERROR_LIMIT,
                           "tokenizer.json: post_processor adds more than %d tokens",
                           SAMBA__MAX_AFFIX);
    list[(*n)++] = (samba_token)id;
    return SAMBA_OK;
}

static samba_status add_template_token(samba__reading *r, const samba__json *processor,
                                       const samba__json *piece, bool before)
{
    const char *what = "post_processor TemplateProcessing";
    samba__text name;
    SAMBA__TRY(samba__read_string(r, what, piece, "id", &name));
    const samba__json *tokens = samba__json_get(processor, "special_tokens");
    const samba__json *ids = samba__json_get(samba__json_get(tokens, name.data), "ids");
    if (strlen(name.data) != name.size || !samba__json_is_array(ids))
        return samba__read_malformed(r, what, "special_tokens");
    for (size_t i = 0; i < samba__json_size(ids); i++) {
        int64_t id;
        if (!samba__json_int(samba__json_at(ids, i), &id))
            return samba__read_malformed(r, what, "ids");
        SAMBA__TRY(add_affix(r, before, id));
    }
    return SAMBA_OK;
}

static void reverse(samba_token *ids, size_t from, size_t to)
{
    for (; from + 1 < to; from++, to--) {
        samba_token swap = ids[from];
        ids[from] = ids[to - 1];
        ids[to - 1] = swap;
    }
}

/* What is added later stands further out: the prefix goes [new][old]. */
static void new_prefix_first(samba__tokenizer *t, size_t old)
{
    reverse(t->prefix, 0, old);
    reverse(t->prefix, old, t->n_prefix);
    reverse(t->prefix, 0, t->n_prefix);
}

static samba_status read_template(samba__reading *r, const samba__json *v)
{
    const char *what = "post_processor TemplateProcessing";
    const samba__json *single = samba__json_get(v, "single");
    size_t sequences = 0, old = r->t->n_prefix;
    SAMBA__TRY(samba__read_keys(r, what, v, " type single pair special_tokens "));
    if (!samba__json_is_array(single))
        return samba__read_malformed(r, what, "single");
    for (size_t i = 0; i < samba__json_size(single); i++) {
        const samba__json *piece = samba__json_at(single, i);
        const samba__json *sequence = samba__json_get(piece, "Sequence");
        const samba__json *special = samba__json_get(piece, "SpecialToken");
        samba__text id = {"", 0};
        if (sequence) {
            SAMBA__TRY(samba__read_string(r, what, sequence, "id", &id));
            sequences++;
        }
        if ((sequence && !samba__text_is(id, "A")) || sequences > 1 || (!sequence && !special))
            return samba__read_malformed(r, what, "single");
        if (special)
            SAMBA__TRY(add_template_token(r, v, special, sequences == 0));
    }
    if (sequences != 1)
        return samba__read_malformed(r, what, "single");
    new_prefix_first(r->t, old);
    return SAMBA_OK;
}

/* "cls": ["<s>", 0], "sep": ["</s>", 2]: cls text sep. */
static samba_status read_cls_sep(samba__reading *r, const samba__json *v)
{
    const char *what = "post_processor with cls and sep";
    int64_t cls, sep;
    size_t old = r->t->n_prefix;
    SAMBA__TRY(samba__read_keys(r, what, v, " type sep cls trim_offsets add_prefix_space "));
    if (!samba__json_int(samba__json_at(samba__json_get(v, "cls"), 1), &cls))
        return samba__read_malformed(r, what, "cls");
    if (!samba__json_int(samba__json_at(samba__json_get(v, "sep"), 1), &sep))
        return samba__read_malformed(r, what, "sep");
    SAMBA__TRY(add_affix(r, true, cls));
    new_prefix_first(r->t, old);
    return add_affix(r, false, sep);
}

static samba_status read_post_processor(samba__reading *r, const samba__json *v)
{
    samba__text type = samba__read_type(v);
    const samba__json *list = samba__json_get(v, "processors");
    if (samba__json_is_null(v))
        return SAMBA_OK;
    if (samba__text_is(type, "TemplateProcessing"))
        return read_template(r, v);
    if (samba__text_is(type, "RobertaProcessing") || samba__text_is(type, "BertProcessing"))
        return read_cls_sep(r, v);
    if (samba__text_is(type, "ByteLevel")) /* only moves offsets */
        return samba__read_keys(r, "post_processor ByteLevel", v,
                                " type add_prefix_space trim_offsets use_regex ");
    if (!samba__text_is(type, "Sequence"))
        return samba__read_unsupported(r, "post_processor", type);
    SAMBA__TRY(samba__read_keys(r, "post_processor Sequence", v, " type processors "));
    if (!samba__json_is_array(list))
        return samba__read_malformed(r, "post_processor Sequence", "processors");
    for (size_t i = 0; i < samba__json_size(list); i++)
        SAMBA__TRY(read_post_processor(r, samba__json_at(list, i)));
    return SAMBA_OK;
}

/* ---- the whole ---- */

static samba_status check_root(samba__reading *r, const samba__json *root)
{
    samba__text version;
    SAMBA__TRY(samba__read_keys(r, "the file", root,
                                " version truncation padding added_tokens normalizer "
                                "pre_tokenizer post_processor decoder model "));
    if (samba__json_is_null(samba__json_get(root, "version")))
        return SAMBA_OK;
    SAMBA__TRY(samba__read_string(r, "the file", root, "version", &version));
    return samba__text_is(version, "1.0") ? SAMBA_OK
                                          : samba__read_unsupported(r, "version", version);
}

/* How many ids; holes are allowed as long as entries are not outnumbered. */
static samba_status create(samba__reading *r, const samba__json *model, const samba__added *added,
                           size_t n_added)
{
    size_t n_entries = n_added;
    int64_t max_id = -1;
    SAMBA__TRY(samba__read_model_size(r, model, &n_entries, &max_id));
    for (size_t i = 0; i < n_added; i++)
        max_id = added[i].id > max_id ? added[i].id : max_id;
    if ((uint64_t)max_id + 1 > 2 * (uint64_t)n_entries + 65536 && max_id >= 0)
        return samba__fail(r->alloc, r->error, SAMBA_ERROR_LIMIT,
                           "tokenizer.json: %zu tokens have ids up to %lld", n_entries,
                           (long long)max_id);
    return samba__tokenizer_create(r->alloc, (size_t)(max_id + 1), &r->t, r->error);
}

static samba_status fill(samba__reading *r, const samba__json *root, const samba__added *added,
                         size_t n_added)
{
    const samba__text *merges = NULL;
    size_t n_merges = 0;
    SAMBA__TRY(samba__read_model(r, samba__json_get(root, "model"), &merges, &n_merges));
    SAMBA__TRY(samba__read_normalizer(r, samba__json_get(root, "normalizer")));
    SAMBA__TRY(samba__read_pre_tokenizer(r, samba__json_get(root, "pre_tokenizer")));
    SAMBA__TRY(enter_added(r, added, n_added));
    SAMBA__TRY(read_post_processor(r, samba__json_get(root, "post_processor")));
    SAMBA__TRY(samba__read_decoder(r, samba__json_get(root, "decoder")));
    SAMBA__TRY(samba__decoder_apply(r->t, r->decoder, r->error));
    return samba__tokenizer_make_vocab(r->t, merges, n_merges, r->error);
}

samba_status samba__tokenizer_from_json(const samba_allocator *a, const char *json, size_t size,
                                        samba__tokenizer **tokenizer, samba_error **error)
{
    samba__decoder decoder = {.n = 0};
    samba__reading r = {.alloc = a, .decoder = &decoder, .error = error};
    samba__json_doc *doc = NULL;
    samba__added *added = NULL;
    size_t n_added = 0;
    samba_status status;
    SAMBA__TRY_GOTO(samba__json_parse(a, json, size, "tokenizer.json", &doc, error));
    const samba__json *root = samba__json_root(doc);
    SAMBA__TRY_GOTO(check_root(&r, root));
    SAMBA__TRY_GOTO(read_added_list(&r, samba__json_get(root, "added_tokens"), &added, &n_added));
    SAMBA__TRY_GOTO(create(&r, samba__json_get(root, "model"), added, n_added));
    SAMBA__TRY_GOTO(fill(&r, root, added, n_added));
    *tokenizer = r.t;
    r.t = NULL;
fail:
    samba__tokenizer_free(r.t);
    samba__free(a, added);
    samba__json_free(doc);
    return status;
}
