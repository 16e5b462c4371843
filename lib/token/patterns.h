/*
 * The split patterns of well-known byte-level tokenizers and the names by which GGUF's
 * tokenizer.ggml.pre chooses among them.
 */
#ifndef SAMBA_TOKEN_PATTERNS_H
#define SAMBA_TOKEN_PATTERNS_H

#include "token/tokenizer.h"

enum {
    SAMBA__PRE_REGEXES = 4
};

typedef struct samba__pre {
    const char *name;                        /* as tokenizer.ggml.pre has it */
    const char *regexes[SAMBA__PRE_REGEXES]; /* applied one after the other, matches isolated */
    bool ignore_merges;                      /* whole words that are tokens are not merged up */
    bool add_bos;                            /* where the file does not say */
} samba__pre;

/* GPT-2's own pattern, which ByteLevel's use_regex means. */
extern const char samba__pattern_gpt2[];

/* NULL for an unknown name. */
const samba__pre *samba__pre_find(samba__text name);
/* The name that stands for these regexes; NULL if none does. */
const char *samba__pre_name(const samba__text *regexes, size_t n, bool ignore_merges);
/* True for the patterns above: their time is linear in the text, whatever it is. */
bool samba__pattern_is_linear(samba__text pattern);

#endif
