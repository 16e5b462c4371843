/*
 * The tokenizer's public side: encoding through the pipeline of impl.h, and look-ups.
 */
#include "token/impl.h"

#include <string.h>

static samba_status make_pieces(const samba__tokenizer *t, samba__work *w, bool parse_special,
                                samba_error **error)
{
    samba__piece whole = {0, w->text.size, -1, SAMBA__PIECE_FIRST};
    if (!samba__pieces_add(&w->pieces, w->alloc, whole))
        return samba__fail_oom(error);
    SAMBA__TRY(samba__added_split(&t->added, parse_special, w, error));
    SAMBA__TRY(samba__cut_invalid(w, error));
    SAMBA__TRY(samba__normalize_pieces(&t->normalizers, w, error));
    SAMBA__TRY(samba__added_split(&t->added_normalized, parse_special, w, error));
    return samba__split_pieces(&t->splitters, w, error);
}

static bool append(const samba_allocator *a, samba__token_list *out, const samba_token *ids,
                   size_t n)
{
    void *p = out->ids;
    if (!samba__grow(a, &p, &out->capacity, out->n + n, sizeof *ids))
        return false;
    out->ids = p;
    if (n)
        memcpy(out->ids + out->n, ids, n * sizeof *ids);
    out->n += n;
    return true;
}

static samba_status encode_text(const samba__tokenizer *t, samba__work *w, bool parse_special,
                                samba__token_list *out, samba_error **error)
{
    SAMBA__TRY(make_pieces(t, w, parse_special, error));
    for (size_t i = 0; i < w->pieces.n; i++) {
        const samba__piece *p = &w->pieces.at[i];
        if (p->token >= 0) {
            if (!append(t->alloc, out, &p->token, 1))
                return samba__fail_oom(error);
        } else if (p->begin < p->end) {
            SAMBA__TRY(samba__bpe_encode(t, w, samba__piece_text(w, p), p->flags & SAMBA__PIECE_RAW,
                                         parse_special, out, error));
        }
    }
    return SAMBA_OK;
}

samba_status samba__tokenizer_encode(const samba__tokenizer *tokenizer, const char *text,
                                     size_t size, samba__encode_flags flags, samba__token_list *out,
                                     samba_error **error)
{
    const samba__tokenizer *t = tokenizer;
    samba__work w = {.alloc = t->alloc, .text = {text, size}, .text_size = size};
    samba_status status = SAMBA_OK;
    size_t before = out->n;
    if (flags.add_special && !append(t->alloc, out, t->prefix, t->n_prefix))
        return samba__fail_oom(error);
    if (size)
        status = encode_text(t, &w, flags.parse_special, out, error);
    if (status == SAMBA_OK && flags.add_special && !append(t->alloc, out, t->suffix, t->n_suffix))
        status = samba__fail_oom(error);
    if (status != SAMBA_OK)
        out->n = before;
    samba__work_free(&w);
    return status;
}

uint32_t samba__tokenizer_n_tokens(const samba__tokenizer *tokenizer)
{
    return (uint32_t)tokenizer->n_tokens;
}

static bool in_range(const samba__tokenizer *t, samba_token id)
{
    return id >= 0 && (size_t)id < t->n_tokens;
}

bool samba__tokenizer_piece(const samba__tokenizer *tokenizer, samba_token id, bool first,
                            samba__text *bytes)
{
    if (!in_range(tokenizer, id))
        return false;
    *bytes = first ? tokenizer->first_pieces[id] : tokenizer->pieces[id];
    if (!bytes->data)
        *bytes = (samba__text){"", 0};
    return true;
}

bool samba__tokenizer_is_special(const samba__tokenizer *tokenizer, samba_token id)
{
    return in_range(tokenizer, id) && tokenizer->flags[id] & SAMBA__TOKEN_SPECIAL;
}

samba_token samba__tokenizer_find(const samba__tokenizer *tokenizer, const char *text, size_t size)
{
    return samba__vocab_map_get(&tokenizer->map, text, size);
}

void samba__tokenizer_vocab(const samba__tokenizer *tokenizer, samba__vocab *vocab)
{
    *vocab = tokenizer->vocab;
}

bool samba__tokenizer_vocab_is_exact(const samba__tokenizer *tokenizer)
{
    return tokenizer->vocab_exact;
}
