/*
 * Stop strings in a text that comes piece by piece. Every string is followed by its own automaton
 * (Knuth, Morris, Pratt), so a byte costs a step per string however the text is cut. Knows bytes
 * only, no tokens.
 */
#ifndef SAMBA_RUN_STOP_STRINGS_H
#define SAMBA_RUN_STOP_STRINGS_H

#include "base/alloc.h"
#include "base/error.h"

enum {
    SAMBA__STOP_STRINGS_MOST = 64,
    SAMBA__STOP_STRING_BYTES = 4096
};

typedef struct samba__stop_string {
    char *text;      /* [size] */
    uint32_t *shift; /* [size]: length of the longest border of text[0 .. i] */
    size_t size;
    size_t matched; /* bytes of it that the text ends with */
} samba__stop_string;

typedef struct samba__stop_strings {
    samba__arena arena;
    samba__stop_string *items; /* [n] */
    size_t n;
} samba__stop_strings;

/* Copies the strings. INVALID_ARGUMENT names one that is empty, too long or too much. */
samba_status samba__stop_strings_init(samba__stop_strings *s, const samba_allocator *a,
                                      const char *const *strings, size_t n, samba_error **error);
void samba__stop_strings_free(samba__stop_strings *s); /* accepts a zeroed one */
/* The text starts anew. */
void samba__stop_strings_reset(samba__stop_strings *s);
/* The text goes on with bytes[0 .. size): the index of the string that is complete first (the
 * longest of those complete at once) and in *end the number of bytes up to its end, or -1. */
int32_t samba__stop_strings_push(samba__stop_strings *s, const char *bytes, size_t size,
                                 size_t *end);
/* Bytes at the end of the text that may belong to a string to come. */
size_t samba__stop_strings_held(const samba__stop_strings *s);

#endif
