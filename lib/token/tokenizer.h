/*
 * Text <-> tokens. One immutable object per model, usable by any number of threads. Two kinds of
 * BPE: byte-level (a split regex, then merges over bytes mapped to printable characters) and
 * sentencepiece-style (merges over characters, with byte fallback). Knows no file container.
 */
#ifndef SAMBA_TOKEN_TOKENIZER_H
#define SAMBA_TOKEN_TOKENIZER_H

#include "base/alloc.h"
#include "base/error.h"

typedef struct samba__tokenizer samba__tokenizer;

typedef struct samba__text {
    const char *data; /* not terminated */
    size_t size;
} samba__text;

/*
 * A tokenizer as GGUF's tokenizer.ggml.* keys hold it; all pointers borrowed for the call.
 * model "gpt2": byte-level, merges needed; "llama": sentencepiece, merged by rank if there are
 * merges, else by score (one of both is needed).
 */
typedef struct samba__vocab {
    samba__text model;         /* "gpt2", "llama" */
    samba__text pre;           /* "gpt2", "olmo", "llama-bpe", "qwen2", ... picks the split regex */
    const samba__text *tokens; /* [n_tokens] */
    const float *scores;       /* [n_tokens] or NULL */
    const int32_t *types;      /* [n_tokens] or NULL: 1 normal 2 unknown 3 control 4 user 6 byte */
    size_t n_tokens;
    const samba__text *merges; /* [n_merges] "a b" */
    size_t n_merges;
    samba_token bos, eos, unk;                  /* -1: none */
    int32_t add_bos, add_eos, add_space_prefix; /* -1: unknown, by the model's custom */
} samba__vocab;

/* From the text of a Hugging Face tokenizer.json. UNSUPPORTED names the component not known. */
samba_status samba__tokenizer_from_json(const samba_allocator *a, const char *json, size_t size,
                                        samba__tokenizer **tokenizer, samba_error **error);
samba_status samba__tokenizer_from_vocab(const samba_allocator *a, const samba__vocab *vocab,
                                         samba__tokenizer **tokenizer, samba_error **error);
void samba__tokenizer_free(samba__tokenizer *tokenizer); /* accepts NULL */

/* A view for writing tokenizer.ggml.* keys, without allocating: the arrays are built with the
 * tokenizer and live as long. model.size is 0 if those keys can't express the tokenizer. */
void samba__tokenizer_vocab(const samba__tokenizer *tokenizer, samba__vocab *vocab);
/* True if a tokenizer made from the view encodes every text as this one does. Where not (NFC,
 * stripping added tokens, ...) a file should carry tokenizer.json's text as well. */
bool samba__tokenizer_vocab_is_exact(const samba__tokenizer *tokenizer);

/* Ids are 0 .. n-1; ids without an entry are possible inside (they give no text). */
uint32_t samba__tokenizer_n_tokens(const samba__tokenizer *tokenizer);

typedef struct samba__encode_flags {
    bool parse_special; /* special tokens in the text become tokens */
    bool add_special;   /* what the post-processor adds */
} samba__encode_flags;
/* Growing output, appended to; free with samba__free(a, out->ids), a being the tokenizer's. After a
 * failure n is what it was. */
typedef struct samba__token_list {
    samba_token *ids;
    size_t n, capacity;
} samba__token_list;
samba_status samba__tokenizer_encode(const samba__tokenizer *tokenizer, const char *text,
                                     size_t size, samba__encode_flags flags, samba__token_list *out,
                                     samba_error **error);
/* Raw bytes of one token within running text (valid while the tokenizer lives). `first`: it begins
 * the text, where sentencepiece drops the leading space. False if the id is out of range. */
bool samba__tokenizer_piece(const samba__tokenizer *tokenizer, samba_token id, bool first,
                            samba__text *bytes);
bool samba__tokenizer_is_special(const samba__tokenizer *tokenizer, samba_token id);
/* The id of an exact vocabulary entry (as written in the file), or -1. */
samba_token samba__tokenizer_find(const samba__tokenizer *tokenizer, const char *text, size_t size);

/*
 * Incremental UTF-8: bytes in, whole characters out. At most 3 bytes are held back; bytes that can
 * never become a character pass through unchanged.
 */
typedef struct samba__utf8_hold {
    unsigned char bytes[4];
    uint32_t n;
} samba__utf8_hold;
/* Appends hold + bytes to `out` (room for size + 3), keeps the incomplete tail; returns bytes out.
 */
size_t samba__utf8_push(samba__utf8_hold *hold, const char *bytes, size_t size, char *out);
size_t samba__utf8_flush(samba__utf8_hold *hold, char *out);

#endif
