/*
 * Decoding is a table: the bytes of every token are worked out once, for running text and for the
 * begin of a text, by the decoder's steps. Added tokens that the model does not have stand for
 * their own text, also where that happens to consist of characters that stand for bytes.
 */
#include "token/impl.h"

#include <string.h>

typedef struct decoding {
    samba__tokenizer *t;
    samba__buffer in, out;
    size_t left; /* bytes that the steps may still write */
    bool first, added, too_long;
} decoding;

/* Decoders may lengthen texts: in all to so much, and so many times the vocabulary's. */
enum {
    GROWTH_BASE = 1 << 24,
    GROWTH_MAX = 64
};

static bool put(decoding *d, const char *s, size_t n)
{
    d->too_long = d->too_long || n > d->left;
    if (d->too_long)
        return false;
    d->left -= n;
    return samba__buffer_add(&d->out, d->t->alloc, s, n);
}

static bool put_all(decoding *d)
{
    return put(d, d->in.data, d->in.n);
}

/* If every character stands for a byte: those bytes. */
static bool decode_bytes(decoding *d)
{
    for (size_t i = 0, n; i < d->in.n; i += n) {
        uint32_t cp;
        n = samba__utf8_decode(d->in.data + i, d->in.n - i, &cp);
        int byte = n && !d->added ? samba__char_byte(cp) : -1;
        char c = (char)byte;
        if (byte < 0) {
            d->out.n = 0;
            return put_all(d);
        }
        if (!put(d, &c, 1))
            return false;
    }
    return true;
}

static bool decode_replace(decoding *d, const samba__decode_step *s, samba__text to)
{
    size_t i = 0;
    while (i < d->in.n) {
        const char *at = memmem(d->in.data + i, d->in.n - i, s->from.data, s->from.size);
        size_t end = at ? (size_t)(at - d->in.data) : d->in.n;
        if (!put(d, d->in.data + i, end - i) || (at && !put(d, to.data, to.size)))
            return false;
        i = at ? end + s->from.size : end;
    }
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool decode_byte_fallback(decoding *d)
{
    const char *s = d->in.data;
    if (d->in.n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex_digit(s[3]) < 0 ||
        hex_digit(s[4]) < 0)
        return put_all(d);
    char c = (char)(hex_digit(s[3]) << 4 | hex_digit(s[4]));
    return put(d, &c, 1);
}

static bool decode_strip(decoding *d, const samba__decode_step *s, size_t start, size_t stop)
{
    const char *data = d->in.data;
    size_t begin = 0, end = d->in.n, n = s->from.size;
    for (; start && end - begin >= n && memcmp(data + begin, s->from.data, n) == 0; start--)
        begin += n;
    for (; stop && end - begin >= n && memcmp(data + end - n, s->from.data, n) == 0; stop--)
        end -= n;
    return put(d, data + begin, end - begin);
}

static bool decode_step(decoding *d, const samba__decode_step *s)
{
    const samba__text space = {" ", 1}, nothing = {"", 0};
    switch (s->kind) {
    case SAMBA__DECODE_BYTES:
        return decode_bytes(d);
    case SAMBA__DECODE_REPLACE:
        return decode_replace(d, s, s->to);
    case SAMBA__DECODE_METASPACE:
        return decode_replace(d, s, s->strip && d->first ? nothing : space);
    case SAMBA__DECODE_BYTE_FALLBACK:
        return decode_byte_fallback(d);
    case SAMBA__DECODE_STRIP:
        return decode_strip(d, s, s->start, s->stop);
    case SAMBA__DECODE_STRIP_FIRST:
        return decode_strip(d, s, d->first, 0);
    default:
        return (d->first || put(d, " ", 1)) && put_all(d);
    }
}

/* One token's bytes, in d->in. */
static bool decode_token(decoding *d, const samba__decoder *decoder, samba__text text)
{
    d->in.n = 0;
    if (!samba__buffer_add(&d->in, d->t->alloc, text.data, text.size))
        return false;
    for (size_t i = 0; i < decoder->n; i++) {
        d->out.n = 0;
        if (!decode_step(d, &decoder->at[i]))
            return false;
        samba__buffer swap = d->in;
        d->in = d->out;
        d->out = swap;
    }
    return true;
}

/* Keeps d->in, or takes `same` if it is the same. */
static bool keep(decoding *d, samba__text same, samba__text *kept)
{
    if (same.size == d->in.n && same.data && memcmp(same.data, d->in.data, d->in.n) == 0) {
        *kept = same;
        return true;
    }
    const char *copy = samba__arena_strndup(&d->t->arena, d->in.data, d->in.n);
    *kept = (samba__text){copy, d->in.n};
    return copy != NULL;
}

samba_status samba__decoder_apply(samba__tokenizer *t, const samba__decoder *decoder,
                                  samba_error **error)
{
    decoding d = {.t = t, .left = GROWTH_BASE};
    bool ok = true;
    for (size_t i = 0; i < t->n_tokens; i++)
        d.left += GROWTH_MAX * t->texts[i].size;
    t->pieces = samba__arena_alloc(&t->arena, t->n_tokens, sizeof *t->pieces);
    t->first_pieces = samba__arena_alloc(&t->arena, t->n_tokens, sizeof *t->first_pieces);
    ok = t->pieces && t->first_pieces && samba__buffer_add(&d.in, t->alloc, "", 1) &&
         samba__buffer_add(&d.out, t->alloc, "", 1);
    for (size_t i = 0; ok && i < t->n_tokens; i++) {
        if (!t->texts[i].data)
            continue;
        d.added = t->flags[i] & SAMBA__TOKEN_ADDED && !(t->flags[i] & SAMBA__TOKEN_IN_MODEL);
        d.first = false;
        ok = decode_token(&d, decoder, t->texts[i]) && keep(&d, t->texts[i], &t->pieces[i]);
        d.first = true;
        ok = ok && decode_token(&d, decoder, t->texts[i]) &&
             keep(&d, t->pieces[i], &t->first_pieces[i]);
    }
    samba__free(t->alloc, d.in.data);
    samba__free(t->alloc, d.out.data);
    if (d.too_long)
        return samba__fail(t->alloc, error, SAMBA_ERROR_LIMIT,
                           "the tokenizer's decoder makes its tokens more than %d times as long",
                           GROWTH_MAX);
    return ok ? SAMBA_OK : samba__fail_oom(error);
}
