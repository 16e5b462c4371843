/*
 * What the JSON files share: a parsed value, as json_parse.c makes it and json.c reads it, and the
 * reader that walks the text. Values and strings live in the document's arena. json_string.c and
 * json_number.c read one token each, json_members.c orders an object's members.
 */
#ifndef SAMBA_FORMAT_JSON_VALUE_H
#define SAMBA_FORMAT_JSON_VALUE_H

#include "base/alloc.h"
#include "format/json.h"

typedef enum samba__json_kind {
    SAMBA__JSON_NULL,
    SAMBA__JSON_FALSE,
    SAMBA__JSON_TRUE,
    SAMBA__JSON_INT,
    SAMBA__JSON_REAL,
    SAMBA__JSON_STRING,
    SAMBA__JSON_ARRAY,
    SAMBA__JSON_OBJECT
} samba__json_kind;

enum {
    SAMBA__JSON_DEPTH = 64,
    /* Objects of more members have an index behind them. */
    SAMBA__JSON_LISTED = 8
};

/* 16 bytes, so that a long array of small numbers is not many times its text. */
struct samba__json {
    uint32_t kind;
    uint32_t n; /* bytes, elements or members */
    union {
        int64_t integer;
        double real;
        const char *text; /* [n], terminated */
        /* Array: [n]. Object: [2 n], key (a string without zero bytes) and value by turns; then,
         * if n > SAMBA__JSON_LISTED, uint32_t [n]: the members ordered by key. */
        const samba__json *items;
    } as;
};

typedef enum samba__json_fault {
    SAMBA__JSON_NO_MEMORY,
    SAMBA__JSON_EXPECTED, /* `what` should be at `at` */
    SAMBA__JSON_WRONG,    /* `what` is wrong at `at` */
    SAMBA__JSON_BYTE,     /* the byte at `at` is, `what` says in which way */
    SAMBA__JSON_TOO_DEEP,
    SAMBA__JSON_DUPLICATE /* `what` is the key */
} samba__json_fault;

typedef struct samba__json_reader {
    samba__arena *arena;
    const char *text;
    size_t size, at;
    /* The last three are set where reading fails. */
    samba__json_fault fault;
    const char *what;
    size_t fault_at;
} samba__json_reader;

/* Notes a fault at r->at; false, for the caller to return. */
static inline bool samba__json_refuse(samba__json_reader *r, samba__json_fault fault,
                                      const char *what)
{
    r->fault = fault;
    r->what = what;
    r->fault_at = r->at;
    return false;
}

static inline int samba__json_peek(const samba__json_reader *r)
{
    return r->at < r->size ? (unsigned char)r->text[r->at] : -1;
}

/* The whole text: an array or an object with blanks around it. */
bool samba__json_read(samba__json_reader *r, samba__json *root);
/* From the opening quote on; from '-' or a digit on. */
bool samba__json_read_string(samba__json_reader *r, samba__json *out);
bool samba__json_read_number(samba__json_reader *r, samba__json *out);

/* One member while they are ordered. */
typedef struct samba__json_sorted {
    uint64_t head; /* the key's first bytes, the first one highest */
    uint32_t member;
} samba__json_sorted;

/* Orders the members of items [2 n] by key into order [n], with scratch [2 n]. */
void samba__json_sort(const samba__json *items, uint32_t n, samba__json_sorted *scratch,
                      uint32_t *order);
/* A member whose key an earlier one has too; n if there is none. `order` counts if n is past
 * SAMBA__JSON_LISTED. */
uint32_t samba__json_duplicate(const samba__json *items, uint32_t n, const uint32_t *order);
/* The value, NULL if no member is called that. */
const samba__json *samba__json_find(const samba__json *object, const char *key);

#endif
