/*
 * Regular expressions as tokenizer.json writes them (Oniguruma syntax), on PCRE2. What means
 * something else there is translated; what can't be is refused by name. A search never hangs: the
 * split patterns known to be linear run as they are, every other one counts its steps against a
 * budget proportional to the text. Knows nothing of tokenizers.
 */
#ifndef SAMBA_TOKEN_REGEX_H
#define SAMBA_TOKEN_REGEX_H

#include "base/alloc.h"
#include "base/error.h"
#include "token/tokenizer.h"

typedef struct samba__regex samba__regex;
/* UNSUPPORTED if the pattern is not understood. */
samba_status samba__regex_create(const samba_allocator *a, samba__text pattern,
                                 samba__regex **regex, samba_error **error);
void samba__regex_free(samba__regex *regex); /* accepts NULL */

/* What one thread needs while it searches; the budget is shared by all searches made with it. */
typedef struct samba__searcher samba__searcher;
/* text_size: bytes of all the text that will be searched. NULL when memory is out. */
samba__searcher *samba__searcher_create(const samba_allocator *a, size_t text_size);
void samba__searcher_free(samba__searcher *s); /* accepts NULL */

typedef struct samba__match {
    size_t begin, end;
    bool found;
} samba__match;
/* First match at or after `start`. The text must be valid UTF-8. LIMIT if the budget is spent. */
samba_status samba__regex_find(const samba__regex *regex, samba__searcher *s, samba__text text,
                               size_t start, samba__match *match, samba_error **error);

/* Oniguruma's syntax to PCRE2's; the result is allocated and terminated. */
samba_status samba__regex_translate(const samba_allocator *a, samba__text pattern, char **out,
                                    size_t *out_size, samba_error **error);

#endif
