/*
 * The pipeline components of tokenizer.json: normalizer, pre_tokenizer, decoder. Sequences are
 * flattened into the step lists.
 */
#include "token/json_read.h"
#include "token/patterns.h"

#include <string.h>

samba__text samba__read_type(const samba__json *component)
{
    samba__text type = {"", 0};
    (void)samba__json_string(samba__json_get(component, "type"), &type.data, &type.size);
    return type;
}

bool samba__text_is(samba__text text, const char *s)
{
    return text.size == strlen(s) && memcmp(text.data, s, text.size) == 0;
}

samba_status samba__read_unsupported(samba__reading *r, const char *what, samba__text name)
{
    return samba__fail(r->alloc, r->error, SAMBA_ERROR_UNSUPPORTED,
                       "tokenizer.json: %s \"%.*s\" is not supported", what,
                       (int)(name.size < 80 ? name.size : 80), name.data);
}

samba_status samba__read_malformed(samba__reading *r, const char *what, const char *key)
{
    return samba__fail(r->alloc, r->error, SAMBA_ERROR_FORMAT,
                       "tokenizer.json: %s has no valid \"%s\"", what, key);
}

samba_status samba__read_keys(samba__reading *r, const char *what, const samba__json *object,
                              const char *allowed)
{
    const char *key;
    const samba__json *value;
    if (!samba__json_is_object(object))
        return samba__fail(r->alloc, r->error, SAMBA_ERROR_FORMAT,
                           "tokenizer.json: %s is not an object", what);
    for (const void *it = samba__json_next(object, NULL, &key, &value); it;
         it = samba__json_next(object, it, &key, &value)) {
        size_t n = strlen(key);
        const char *at = n && !strchr(key, ' ') ? strstr(allowed, key) : NULL;
        while (at && (at[-1] != ' ' || at[n] != ' '))
            at = strstr(at + 1, key);
        if (!at)
            return samba__fail(r->alloc, r->error, SAMBA_ERROR_UNSUPPORTED,
                               "tokenizer.json: field \"%.80s\" of %s is not supported", key, what);
    }
    return SAMBA_OK;
}

samba_status samba__read_bool(samba__reading *r, const char *what, const samba__json *object,
                              const char *key, bool otherwise, bool *out)
{
    const samba__json *v = samba__json_get(object, key);
    *out = otherwise;
    if (samba__json_is_null(v) || samba__json_bool(v, out))
        return SAMBA_OK;
    return samba__read_malformed(r, what, key);
}

samba_status samba__read_string(samba__reading *r, const char *what, const samba__json *object,
                                const char *key, samba__text *out)
{
    if (samba__json_string(samba__json_get(object, key), &out->data, &out->size))
        return SAMBA_OK;
    return samba__read_malformed(r, what, key);
}

typedef samba_status (*read_fn)(samba__reading *r, const samba__json *v);

static samba_status read_list(samba__reading *r, const samba__json *v, const char *what,
                              const char *key, read_fn read)
{
    const samba__json *list = samba__json_get(v, key);
    SAMBA__TRY(samba__read_keys(r, what, v,
                                key[0] == 'n'   ? " type normalizers "
                                : key[0] == 'p' ? " type pretokenizers "
                                                : " type decoders "));
    if (!samba__json_is_array(list))
        return samba__read_malformed(r, what, key);
    for (size_t i = 0; i < samba__json_size(list); i++)
        SAMBA__TRY(read(r, samba__json_at(list, i)));
    return SAMBA_OK;
}

/* {"String": s} or {"Regex": s}; only one of the results is set. */
static samba_status read_pattern(samba__reading *r, const char *what, const samba__json *v,
                                 samba__text *literal, samba__text *regex)
{
    const samba__json *pattern = samba__json_get(v, "pattern");
    *literal = *regex = (samba__text){0};
    SAMBA__TRY(samba__read_keys(r, what, pattern, " String Regex "));
    bool is_regex = samba__json_get(pattern, "Regex") != NULL;
    samba__text *out = is_regex ? regex : literal;
    SAMBA__TRY(samba__read_string(r, what, pattern, is_regex ? "Regex" : "String", out));
    return out->size ? SAMBA_OK : samba__read_malformed(r, what, "pattern");
}

/* ---- normalizers ---- */

static samba_status add_normalizer(samba__reading *r, const samba__step *step)
{
    return samba__tokenizer_add_step(r->t, &r->t->normalizers, step, r->error);
}

static samba_status read_replace(samba__reading *r, const samba__json *v)
{
    samba__step step = {.kind = SAMBA__NORMALIZE_REPLACE};
    samba__text literal, regex;
    SAMBA__TRY(samba__read_keys(r, "normalizer Replace", v, " type pattern content "));
    SAMBA__TRY(read_pattern(r, "normalizer Replace", v, &literal, &regex));
    SAMBA__TRY(samba__read_string(r, "normalizer Replace", v, "content", &step.content));
    if (regex.size)
        SAMBA__TRY(samba__regex_create(r->alloc, regex, &step.regex, r->error));
    step.pattern = regex.size ? regex : literal;
    return add_normalizer(r, &step);
}

static samba_status read_strip(samba__reading *r, const samba__json *v)
{
    samba__step step = {.kind = SAMBA__NORMALIZE_STRIP};
    SAMBA__TRY(samba__read_keys(r, "normalizer Strip", v, " type strip_left strip_right "));
    SAMBA__TRY(samba__read_bool(r, "normalizer Strip", v, "strip_left", true, &step.left));
    SAMBA__TRY(samba__read_bool(r, "normalizer Strip", v, "strip_right", true, &step.right));
    return add_normalizer(r, &step);
}

static samba_status read_prepend(samba__reading *r, const samba__json *v)
{
    samba__step step = {.kind = SAMBA__NORMALIZE_PREPEND};
    SAMBA__TRY(samba__read_keys(r, "normalizer Prepend", v, " type prepend "));
    SAMBA__TRY(samba__read_string(r, "normalizer Prepend", v, "prepend", &step.content));
    return add_normalizer(r, &step);
}

samba_status samba__read_normalizer(samba__reading *r, const samba__json *v)
{
    samba__text type = samba__read_type(v);
    if (samba__json_is_null(v))
        return SAMBA_OK;
    if (samba__text_is(type, "Sequence"))
        return read_list(r, v, "normalizer Sequence", "normalizers", samba__read_normalizer);
    if (samba__text_is(type, "Replace"))
        return read_replace(r, v);
    if (samba__text_is(type, "Strip"))
        return read_strip(r, v);
    if (samba__text_is(type, "Prepend"))
        return read_prepend(r, v);
    samba__step step = {.kind = SAMBA__NORMALIZE_UNICODE};
    if (samba__text_is(type, "Lowercase"))
        step.kind = SAMBA__NORMALIZE_LOWERCASE;
    else if (samba__text_is(type, "NFC") || samba__text_is(type, "NFKC"))
        step.compose = true;
    else if (!samba__text_is(type, "NFD") && !samba__text_is(type, "NFKD"))
        return samba__read_unsupported(r, "normalizer", type);
    step.compat = type.size == 4;
    SAMBA__TRY(samba__read_keys(r, "normalizer", v, " type "));
    return add_normalizer(r, &step);
}

/* ---- pre-tokenizers ---- */

static samba_status add_splitter(samba__reading *r, const samba__step *step)
{
    return samba__tokenizer_add_step(r->t, &r->t->splitters, step, r->error);
}

static samba_status read_behavior(samba__reading *r, const char *what, const samba__json *v,
                                  samba__behavior *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    samba__text name;
    SAMBA__TRY(samba__read_string(r, what, v, "behavior", &name));
    for (int i = 0; i < 5; i++) {
        if (samba__text_is(name, names[i])) {
            *out = (samba__behavior)i;
            return SAMBA_OK;
        }
    }
    return samba__read_unsupported(r, "split behavior", name);
}

static samba_status read_split(samba__reading *r, const samba__json *v)
{
    samba__step step = {.kind = SAMBA__SPLIT_LITERAL};
    samba__text literal, regex;
    const char *what = "pre_tokenizer Split";
    SAMBA__TRY(samba__read_keys(r, what, v, " type pattern behavior invert "));
    SAMBA__TRY(read_pattern(r, what, v, &literal, &regex));
    SAMBA__TRY(read_behavior(r, what, v, &step.behavior));
    SAMBA__TRY(samba__read_bool(r, what, v, "invert", false, &step.invert));
    step.pattern = literal;
    if (regex.size) {
        step.kind = SAMBA__SPLIT_REGEX;
        step.pattern = regex;
        SAMBA__TRY(samba__regex_create(r->alloc, regex, &step.regex, r->error));
    }
    return add_splitter(r, &step);
}

static samba_status read_byte_level(samba__reading *r, const samba__json *v)
{
    const char *what = "pre_tokenizer ByteLevel";
    const samba__text gpt2 = {samba__pattern_gpt2, strlen(samba__pattern_gpt2)};
    const samba__step prefix = {.kind = SAMBA__MAP_PREFIX, .content = {" ", 1}};
    const samba__step bytes = {.kind = SAMBA__MAP_BYTES};
    bool add_prefix, use_regex;
    SAMBA__TRY(samba__read_keys(r, what, v, " type add_prefix_space trim_offsets use_regex "));
    SAMBA__TRY(samba__read_bool(r, what, v, "add_prefix_space", true, &add_prefix));
    SAMBA__TRY(samba__read_bool(r, what, v, "use_regex", true, &use_regex));
    if (add_prefix)
        SAMBA__TRY(add_splitter(r, &prefix));
    if (use_regex)
        SAMBA__TRY(samba__tokenizer_add_split(r->t, gpt2, r->error));
    return add_splitter(r, &bytes);
}

static samba_status read_digits(samba__reading *r, const samba__json *v)
{
    samba__step step = {.kind = SAMBA__SPLIT_DIGITS};
    bool single;
    SAMBA__TRY(samba__read_keys(r, "pre_tokenizer Digits", v, " type individual_digits "));
    SAMBA__TRY(samba__read_bool(r, "pre_tokenizer Digits", v, "individual_digits", false, &single));
    step.behavior = single ? SAMBA__ISOLATED : SAMBA__CONTIGUOUS;
    return add_splitter(r, &step);
}

static samba_status read_punctuation(samba__reading *r, const samba__json *v)
{
    samba__step step = {.kind = SAMBA__SPLIT_PUNCTUATION};
    SAMBA__TRY(samba__read_keys(r, "pre_tokenizer Punctuation", v, " type behavior "));
    if (samba__json_get(v, "behavior"))
        SAMBA__TRY(read_behavior(r, "pre_tokenizer Punctuation", v, &step.behavior));
    return add_splitter(r, &step);
}

/* \w of Rust's regex crate, which is not Oniguruma's. */
#define RUST_WORD                                                                                  \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}"                       \
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

/* Words and runs of symbols, whitespace dropped. */
static samba_status read_whitespace(samba__reading *r, const samba__json *v)
{
    static const char regex[] = "[" RUST_WORD "]+|[^\\s" RUST_WORD "]+";
    samba__step step = {.kind = SAMBA__SPLIT_REGEX,
                        .behavior = SAMBA__REMOVED,
                        .invert = true,
                        .pattern = {regex, sizeof regex - 1}};
    SAMBA__TRY(samba__read_keys(r, "pre_tokenizer Whitespace", v, " type "));
    SAMBA__TRY(samba__regex_create(r->alloc, step.pattern, &step.regex, r->error));
    return add_splitter(r, &step);
}

/* Older files say add_prefix_space, newer ones prepend_scheme. */
static samba_status read_prepend_scheme(samba__reading *r, const char *what, const samba__json *v,
                                        bool *prepend, bool *first_only)
{
    const samba__json *scheme = samba__json_get(v, "prepend_scheme");
    samba__text name = {"always", 6};
    SAMBA__TRY(samba__read_bool(r, what, v, "add_prefix_space", true, prepend));
    if (!samba__json_is_null(scheme))
        SAMBA__TRY(samba__read_string(r, what, v, "prepend_scheme", &name));
    bool never = samba__text_is(name, "never");
    *first_only = samba__text_is(name, "first");
    if (!never && !*first_only && !samba__text_is(name, "always"))
        return samba__read_unsupported(r, "prepend_scheme", name);
    if (never)
        *prepend = false;
    return SAMBA_OK;
}

static samba_status read_metaspace_fields(samba__reading *r, const char *what, const samba__json *v,
                                          samba__text *replacement, bool *split)
{
    uint32_t cp;
    SAMBA__TRY(samba__read_keys(
        r, what, v, " type replacement add_prefix_space prepend_scheme split str_rep "));
    SAMBA__TRY(samba__read_string(r, what, v, "replacement", replacement));
    SAMBA__TRY(samba__read_bool(r, what, v, "split", true, split));
    if (!replacement->size ||
        samba__utf8_decode(replacement->data, replacement->size, &cp) != replacement->size)
        return samba__read_malformed(r, what, "replacement");
    return SAMBA_OK;
}

static samba_status read_metaspace(samba__reading *r, const samba__json *v)
{
    const char *what = "pre_tokenizer Metaspace";
    samba__step spaces = {.kind = SAMBA__MAP_SPACES}, prefix = {.kind = SAMBA__MAP_PREFIX};
    samba__step cut = {.kind = SAMBA__SPLIT_LITERAL, .behavior = SAMBA__MERGED_WITH_NEXT};
    bool split, prepend;
    SAMBA__TRY(read_metaspace_fields(r, what, v, &spaces.content, &split));
    SAMBA__TRY(read_prepend_scheme(r, what, v, &prepend, &prefix.first_only));
    prefix.content = cut.pattern = spaces.content;
    SAMBA__TRY(add_splitter(r, &spaces));
    if (prepend)
        SAMBA__TRY(add_splitter(r, &prefix));
    return split ? add_splitter(r, &cut) : SAMBA_OK;
}

static samba_status read_delimiter(samba__reading *r, const samba__json *v)
{
    const char *what = "pre_tokenizer CharDelimiterSplit";
    samba__step step = {.kind = SAMBA__SPLIT_LITERAL, .behavior = SAMBA__REMOVED};
    SAMBA__TRY(samba__read_keys(r, what, v, " type delimiter "));
    SAMBA__TRY(samba__read_string(r, what, v, "delimiter", &step.pattern));
    return step.pattern.size ? add_splitter(r, &step) : samba__read_malformed(r, what, "delimiter");
}

static samba_status read_whitespace_split(samba__reading *r, const samba__json *v)
{
    const samba__step step = {.kind = SAMBA__SPLIT_SPACE, .behavior = SAMBA__REMOVED};
    SAMBA__TRY(samba__read_keys(r, "pre_tokenizer WhitespaceSplit", v, " type "));
    return add_splitter(r, &step);
}

samba_status samba__read_pre_tokenizer(samba__reading *r, const samba__json *v)
{
    static const struct {
        const char *name;
        read_fn read;
    } kinds[] = {
        {"ByteLevel", read_byte_level},  {"Split", read_split},
        {"Digits", read_digits},         {"Punctuation", read_punctuation},
        {"Whitespace", read_whitespace}, {"WhitespaceSplit", read_whitespace_split},
        {"Metaspace", read_metaspace},   {"CharDelimiterSplit", read_delimiter},
    };
    samba__text type = samba__read_type(v);
    if (samba__json_is_null(v))
        return SAMBA_OK;
    if (samba__text_is(type, "Sequence"))
        return read_list(r, v, "pre_tokenizer Sequence", "pretokenizers",
                         samba__read_pre_tokenizer);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (samba__text_is(type, kinds[i].name))
            return kinds[i].read(r, v);
    return samba__read_unsupported(r, "pre_tokenizer", type);
}

/* ---- decoders ---- */

/*
 * Tokens are decoded one by one, so of what comes behind a Fuse only the Strip that sentencepiece
 * tokenizers end with can be done: one character at the begin. `stop` marks a fused decoder.
 */
static bool is_fused(const samba__decoder *d)
{
    return d->n && d->at[d->n - 1].stop == SIZE_MAX;
}

static samba_status add_decode(samba__reading *r, const samba__decode_step *step)
{
    if (r->decoder->n == SAMBA__MAX_STEPS)
        return samba__fail(r->alloc, r->error, SAMBA_ERROR_LIMIT,
                           "the tokenizer's decoder has more than %d steps", SAMBA__MAX_STEPS);
    r->decoder->at[r->decoder->n++] = *step;
    return SAMBA_OK;
}

static samba_status read_strip_decoder(samba__reading *r, const samba__json *v)
{
    const char *what = "decoder Strip";
    samba__decode_step step = {.kind = SAMBA__DECODE_STRIP};
    int64_t start, stop;
    SAMBA__TRY(samba__read_keys(r, what, v, " type content start stop "));
    SAMBA__TRY(samba__read_string(r, what, v, "content", &step.from));
    if (!samba__json_int(samba__json_get(v, "start"), &start) || start < 0)
        return samba__read_malformed(r, what, "start");
    if (!samba__json_int(samba__json_get(v, "stop"), &stop) || stop < 0)
        return samba__read_malformed(r, what, "stop");
    if (!step.from.size)
        return samba__read_malformed(r, what, "content");
    step.start = (size_t)start;
    step.stop = (size_t)stop;
    if (is_fused(r->decoder)) {
        if (start > 1 || stop > 0)
            return samba__read_unsupported(r, "decoder", (samba__text){"Strip after Fuse", 16});
        step.kind = start ? SAMBA__DECODE_STRIP_FIRST : SAMBA__DECODE_STRIP;
        step.stop = SIZE_MAX;
        step.start = 0;
    }
    return start || stop ? add_decode(r, &step) : SAMBA_OK;
}

static samba_status read_replace_decoder(samba__reading *r, const samba__json *v)
{
    samba__decode_step step = {.kind = SAMBA__DECODE_REPLACE};
    samba__text regex;
    SAMBA__TRY(samba__read_keys(r, "decoder Replace", v, " type pattern content "));
    SAMBA__TRY(read_pattern(r, "decoder Replace", v, &step.from, &regex));
    SAMBA__TRY(samba__read_string(r, "decoder Replace", v, "content", &step.to));
    if (regex.size)
        return samba__read_unsupported(r, "decoder", (samba__text){"Replace by Regex", 16});
    return add_decode(r, &step);
}

static samba_status read_metaspace_decoder(samba__reading *r, const samba__json *v)
{
    samba__decode_step step = {.kind = SAMBA__DECODE_METASPACE};
    bool split, first_only;
    SAMBA__TRY(read_metaspace_fields(r, "decoder Metaspace", v, &step.from, &split));
    SAMBA__TRY(read_prepend_scheme(r, "decoder Metaspace", v, &step.strip, &first_only));
    return add_decode(r, &step);
}

static samba_status read_plain_decoder(samba__reading *r, const samba__json *v, samba__text type)
{
    samba__decode_step step = {.kind = SAMBA__DECODE_BYTES, .stop = SIZE_MAX};
    if (samba__text_is(type, "ByteLevel")) {
        SAMBA__TRY(samba__read_keys(r, "decoder ByteLevel", v,
                                    " type add_prefix_space trim_offsets use_regex "));
        return add_decode(r, &step);
    }
    SAMBA__TRY(samba__read_keys(r, "decoder", v, " type "));
    if (samba__text_is(type, "ByteFallback")) {
        step.kind = SAMBA__DECODE_BYTE_FALLBACK;
        step.stop = 0;
        return add_decode(r, &step);
    }
    /* Fuse does nothing to single tokens: a strip of nothing carries the mark. */
    step.kind = SAMBA__DECODE_STRIP_FIRST;
    step.from = (samba__text){"", 0};
    return add_decode(r, &step);
}

samba_status samba__read_decoder(samba__reading *r, const samba__json *v)
{
    samba__text type = samba__read_type(v);
    const samba__decode_step join = {.kind = SAMBA__DECODE_JOIN};
    if (samba__json_is_null(v))
        return add_decode(r, &join); /* tokens with spaces between */
    if (samba__text_is(type, "Sequence"))
        return read_list(r, v, "decoder Sequence", "decoders", samba__read_decoder);
    if (samba__text_is(type, "Strip"))
        return read_strip_decoder(r, v);
    if (samba__text_is(type, "Fuse"))
        return read_plain_decoder(r, v, type);
    if (is_fused(r->decoder))
        return samba__read_unsupported(r, "decoder behind Fuse or ByteLevel:", type);
    if (samba__text_is(type, "Replace"))
        return read_replace_decoder(r, v);
    if (samba__text_is(type, "Metaspace"))
        return read_metaspace_decoder(r, v);
    if (samba__text_is(type, "ByteLevel") || samba__text_is(type, "ByteFallback"))
        return read_plain_decoder(r, v, type);
    return samba__read_unsupported(r, "decoder", type);
}
