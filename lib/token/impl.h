/*
 * What the files of lib/token share. A tokenizer is data: tables and two lists of steps, filled by
 * a reader (tokenizer_json.c, tokenizer_vocab.c) and never changed after. Encoding runs a text as
 * a list of pieces through:
 *
 *   non-normalised added tokens -> valid and invalid UTF-8 apart -> normalisers
 *   -> normalised added tokens -> splitters -> BPE per piece
 *
 * which is the order of Hugging Face's tokenizers.
 */
#ifndef SAMBA_TOKEN_IMPL_H
#define SAMBA_TOKEN_IMPL_H

#include "token/regex.h"
#include "token/tokenizer.h"
#include "token/utf8.h"
#include "token/vocab_map.h"

enum {
    SAMBA__MAX_STEPS = 32,
    SAMBA__MAX_ADDED_BYTES = 1024, /* length of one added token */
    SAMBA__MAX_TOKENS = 1 << 24,
    SAMBA__MAX_AFFIX = 16, /* tokens the post-processor puts before or after */
};

/* ---- steps ---- */

typedef enum samba__step_kind {
    /* normalisers: text of a piece -> text */
    SAMBA__NORMALIZE_UNICODE, /* compose, compat */
    SAMBA__NORMALIZE_LOWERCASE,
    SAMBA__NORMALIZE_STRIP,   /* left, right */
    SAMBA__NORMALIZE_PREPEND, /* content */
    SAMBA__NORMALIZE_REPLACE, /* regex or pattern -> content */
    /* splitters: piece -> pieces */
    SAMBA__SPLIT_REGEX,       /* regex, behavior, invert */
    SAMBA__SPLIT_LITERAL,     /* pattern, behavior, invert */
    SAMBA__SPLIT_DIGITS,      /* behavior */
    SAMBA__SPLIT_PUNCTUATION, /* behavior */
    SAMBA__SPLIT_SPACE,       /* behavior */
    /* splitters too, but text -> text */
    SAMBA__MAP_BYTES,  /* every byte becomes the character that stands for it */
    SAMBA__MAP_SPACES, /* ' ' -> content */
    SAMBA__MAP_PREFIX, /* content before a piece that lacks it, or the first one only */
} samba__step_kind;

typedef enum samba__behavior {
    SAMBA__ISOLATED,
    SAMBA__REMOVED,
    SAMBA__MERGED_WITH_PREVIOUS,
    SAMBA__MERGED_WITH_NEXT,
    SAMBA__CONTIGUOUS
} samba__behavior;

typedef struct samba__step {
    samba__step_kind kind;
    samba__behavior behavior;
    bool invert, left, right, compose, compat, first_only;
    samba__regex *regex; /* owned */
    samba__text pattern; /* literal, not empty (or the regex's source); in the arena */
    samba__text content;
} samba__step;

typedef struct samba__steps {
    samba__step at[SAMBA__MAX_STEPS];
    size_t n;
} samba__steps;

/* ---- added tokens ---- */

typedef struct samba__added {
    samba__text content; /* as matched: normalised if `normalized` */
    samba_token id;
    uint32_t order; /* of two with the same content the lower one counts */
    bool special, normalized, single_word, lstrip, rstrip;
} samba__added;

/* Sorted by content, so that a match narrows a range byte by byte. */
typedef struct samba__added_set {
    samba__added *items; /* [n] */
    size_t n;
    uint32_t first[257]; /* items that begin with byte b: first[b] .. first[b + 1] */
} samba__added_set;

/* ---- the object ---- */

enum {
    SAMBA__TOKEN_IN_MODEL = 1, /* the BPE model may give it */
    SAMBA__TOKEN_SPECIAL = 2,
    SAMBA__TOKEN_ADDED = 4,
    SAMBA__TOKEN_BYTE = 8,
};

enum {
    SAMBA__SHORT_CPS = 0x800
};

struct samba__tokenizer {
    const samba_allocator *alloc;
    samba__arena arena;
    size_t n_tokens;
    samba__text *texts;   /* [n_tokens], as written in the file; data NULL: no such id */
    uint8_t *flags;       /* [n_tokens] */
    samba__vocab_map map; /* texts -> ids */

    /* encoding */
    samba__added_set added, added_normalized;
    samba__steps normalizers, splitters;
    samba__merges merges;
    samba_token short_ids[SAMBA__SHORT_CPS]; /* of one-character tokens; -1: none */
    samba_token byte_ids[256];               /* of <0xXX>; -1: none */
    samba_token unk;
    bool unk_missing; /* the file names one that it does not have */
    bool ignore_merges, byte_fallback, fuse_unk;
    bool splits_words; /* merges.joins is complete */
    samba_token prefix[SAMBA__MAX_AFFIX], suffix[SAMBA__MAX_AFFIX];
    size_t n_prefix, n_suffix;

    /* decoding: [n_tokens] each, in running text and at its begin */
    samba__text *pieces, *first_pieces;

    /* as GGUF has it */
    samba__vocab vocab;
    bool vocab_exact; /* a tokenizer made from it encodes the same */
};

/* ---- one encode call ---- */

typedef struct samba__buffer {
    char *data;
    size_t n, capacity;
} samba__buffer;

enum {
    SAMBA__PIECE_RAW = 1,    /* no valid character in it: goes through unchanged */
    SAMBA__PIECE_JOINED = 2, /* continues what stands before it: never gets a prefix */
    SAMBA__PIECE_FIRST = 4,  /* begins where the text begins */
};

typedef struct samba__piece {
    size_t begin, end;
    samba_token token; /* -1: text still */
    uint32_t flags;
} samba__piece;

typedef struct samba__pieces {
    samba__piece *at;
    size_t n, capacity;
} samba__pieces;

typedef struct samba__span {
    size_t begin, end;
    bool match;
} samba__span;

typedef struct samba__symbols {
    samba_token *ids;
    size_t n, capacity;
    void *scratch; /* of bpe.c */
    size_t scratch_capacity;
} samba__symbols;

typedef struct samba__work {
    const samba_allocator *alloc;
    samba__text text;         /* borrowed, or one of the buffers */
    samba__buffer buffers[2]; /* the text before and after a step */
    uint32_t current;         /* the buffer that `text` may lie in */
    samba__buffer scratch[2]; /* of the normalisers */
    samba__pieces pieces, next;
    samba__span *spans;
    size_t n_spans, spans_capacity;
    samba__symbols symbols;
    int32_t *cps; /* of normalize.c */
    size_t n_cps, cps_capacity;
    samba__searcher *searcher; /* made on first use */
    size_t text_size;
} samba__work;

void samba__work_free(samba__work *w);
samba_status samba__work_searcher(samba__work *w, samba_error **error);
/* Steps may make a text longer, but not without bound: LIMIT. */
samba_status samba__work_check(const samba__work *w, size_t n_bytes, samba_error **error);
/* False: out of memory. */
bool samba__buffer_add(samba__buffer *b, const samba_allocator *a, const char *s, size_t n);
bool samba__pieces_add(samba__pieces *p, const samba_allocator *a, samba__piece piece);
static inline samba__text samba__piece_text(const samba__work *w, const samba__piece *p)
{
    if (p->begin == p->end) /* the text may be empty, and then nowhere */
        return (samba__text){"", 0};
    return (samba__text){w->text.data + p->begin, p->end - p->begin};
}

/* added.c: sorts items, drops doubles and fills `first`; matches a set in every piece of text. */
void samba__added_prepare(samba__added_set *set);
samba_status samba__added_split(const samba__added_set *set, bool parse_special, samba__work *w,
                                samba_error **error);

/* normalize.c: one text through all steps; the result lies in w->scratch until the next call.
 * `flags` are a piece's, in and out. */
samba_status samba__normalize(const samba__steps *steps, samba__work *w, samba__text text,
                              uint32_t *flags, samba__text *out, samba_error **error);
/* Every piece of the text. */
samba_status samba__normalize_pieces(const samba__steps *steps, samba__work *w,
                                     samba_error **error);

/* pretoken.c */
samba_status samba__cut_invalid(samba__work *w, samba_error **error);
samba_status samba__split_pieces(const samba__steps *steps, samba__work *w, samba_error **error);
/* All matches of a step in a text, and what lies between them, as w->spans. */
samba_status samba__find_spans(const samba__step *step, samba__text text, samba__work *w,
                               samba_error **error);

/* classes.c: character classes as Rust's standard library has them. */
bool samba__is_space(uint32_t cp);
bool samba__is_numeric(uint32_t cp);
bool samba__is_punctuation(uint32_t cp);
bool samba__is_word(uint32_t cp);
/* The character that stands for a byte in byte-level vocabularies, and back (-1: none). */
uint32_t samba__byte_char(uint8_t byte);
int samba__char_byte(uint32_t cp);

/* bpe.c: appends the ids of one piece. */
samba_status samba__bpe_encode(const samba__tokenizer *t, samba__work *w, samba__text word,
                               bool raw, bool allow_special, samba__token_list *out,
                               samba_error **error);
/* Merges symbols in place; ids flagged SPECIAL in `flags` are never made (NULL: all may be). */
bool samba__bpe_merge(const samba__merges *merges, const uint8_t *flags, const samba_allocator *a,
                      samba__symbols *symbols);

/* build.c: what both readers do. */
samba_status samba__tokenizer_create(const samba_allocator *a, size_t n_tokens,
                                     samba__tokenizer **tokenizer, samba_error **error);
/* Copies the text; FORMAT if the id or the text is taken. */
samba_status samba__tokenizer_set(samba__tokenizer *t, samba_token id, samba__text text,
                                  uint8_t flags, samba_error **error);
samba_status samba__tokenizer_add_merge(samba__tokenizer *t, samba_token left, samba_token right,
                                        uint32_t rank, samba_token id, samba_error **error);
/* Tables that follow from the model's tokens; call when those are set, before merges. */
void samba__tokenizer_index(samba__tokenizer *t);
/* An entry of the BPE model's vocabulary, or -1. */
samba_token samba__tokenizer_model_id(const samba__tokenizer *t, const char *text, size_t size);
/* All of a list "left right"; rank is the place in the list. What they name is in the model. */
samba_status samba__tokenizer_add_merges(samba__tokenizer *t, const samba__text *merges, size_t n,
                                         samba_error **error);
/* Copies into the arena. */
samba_status samba__tokenizer_keep(samba__tokenizer *t, samba__text text, samba__text *kept,
                                   samba_error **error);
/* Appends a step; takes step->regex, copies pattern and content. */
samba_status samba__tokenizer_add_step(samba__tokenizer *t, samba__steps *steps,
                                       const samba__step *step, samba_error **error);
/* A regex split with isolated matches; keeps the pattern for vocab_view.c. */
samba_status samba__tokenizer_add_split(samba__tokenizer *t, samba__text regex,
                                        samba_error **error);
/* Enters added tokens [n] (their content not normalised yet) into the two sets. */
samba_status samba__tokenizer_set_added(samba__tokenizer *t, const samba__added *added, size_t n,
                                        samba_error **error);

/* decode.c */
typedef enum samba__decode_kind {
    SAMBA__DECODE_BYTES,         /* characters that stand for bytes */
    SAMBA__DECODE_REPLACE,       /* from -> to */
    SAMBA__DECODE_BYTE_FALLBACK, /* <0xXX> */
    SAMBA__DECODE_STRIP,         /* of every token: `from` up to `start` and `stop` times */
    SAMBA__DECODE_STRIP_FIRST,   /* one `from` where the text begins */
    SAMBA__DECODE_METASPACE,     /* from -> ' '; at the begin of a text nothing, if `strip` */
    SAMBA__DECODE_JOIN,          /* a space before every token but the first */
} samba__decode_kind;

typedef struct samba__decode_step {
    samba__decode_kind kind;
    samba__text from, to;
    size_t start, stop;
    bool strip;
} samba__decode_step;

typedef struct samba__decoder {
    samba__decode_step at[SAMBA__MAX_STEPS];
    size_t n;
} samba__decoder;

/* Fills pieces and first_pieces. */
samba_status samba__decoder_apply(samba__tokenizer *t, const samba__decoder *decoder,
                                  samba_error **error);

/* vocab_view.c: fills t->vocab of a tokenizer that came from tokenizer.json. merges: NULL where
 * "left right" can't be written. */
samba_status samba__tokenizer_make_vocab(samba__tokenizer *t, const samba__text *merges,
                                         size_t n_merges, samba_error **error);

#endif
