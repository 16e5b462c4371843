/*
 * Reading one JSON object of strings, numbers, truth values and lists of strings or of numbers:
 * what a request of serve-stdio is made of. Nothing else is accepted.
 */
#ifndef SAMBA_LM_JSON_H
#define SAMBA_LM_JSON_H

#include "samba-lm.h"

typedef enum lm_json_kind {
    LM_JSON_NULL, /* also: there is no such member */
    LM_JSON_BOOL,
    LM_JSON_NUMBER,
    LM_JSON_STRING,
    LM_JSON_LIST
} lm_json_kind;

typedef struct lm_json {
    const char *name; /* of a member; zero-terminated */
    lm_json_kind kind;
    double number;    /* or 0, 1 */
    const char *text; /* zero-terminated as well */
    size_t size;      /* of the text, or of the list */
    struct lm_json *items;
} lm_json;

/* Rewrites `line` in place, which the result points into. NULL: not such an object; *why says what
 * is wrong. Caller frees with lm_json_free. */
lm_json *lm_json_read(char *line, size_t size, const char **why);
void lm_json_free(lm_json *object);
/* The member, or one of kind LM_JSON_NULL. */
const lm_json *lm_json_member(const lm_json *object, const char *name);

#endif
