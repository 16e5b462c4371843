/*
 * Documents and their values; see json.h. The text is read by json_parse.c and its neighbours; here
 * are its bounds, the words of its faults, and the getters.
 */
#include "format/json_value.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_BYTES = 256 << 20
};

struct samba__json_doc {
    const samba_allocator *alloc;
    samba__arena arena;
    samba__json root;
};

/* ---------------------------------------------------------------- parsing */

static samba_status check_text(const samba_allocator *a, const char *text, size_t size,
                               const char *what, samba_error **error)
{
    const samba__where where = {.file = what, .offset = 0};
    if (size > MAX_BYTES)
        return samba__fail_at(a, error, SAMBA_ERROR_LIMIT, &where,
                              "%s has %zu bytes, at most %d are read", what, size, MAX_BYTES);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return samba__fail_at(a, error, SAMBA_ERROR_FORMAT, &where,
                              "%s begins with a byte order mark, which JSON does not allow", what);
    return SAMBA_OK;
}

/* Lines from 1, columns in characters: how many of the line come before. */
static void locate(const char *text, size_t at, unsigned *line, unsigned *column)
{
    *line = 1;
    *column = 0;
    for (size_t i = 0; i < at; i++) {
        *column += ((unsigned char)text[i] & 0xc0) != 0x80;
        if (text[i] == '\n') {
            ++*line;
            *column = 0;
        }
    }
}

/* What is at the place, as a message says it. */
static const char *found(const samba__json_reader *r, char buffer[24])
{
    if (r->fault_at >= r->size)
        return "the text ends";
    const unsigned char c = (unsigned char)r->text[r->fault_at];
    snprintf(buffer, 24, c > 0x20 && c < 0x7f ? "not '%c'" : "not byte 0x%02x", c);
    return buffer;
}

static samba_status fail_parse(const samba_allocator *a, const samba__json_reader *r,
                               const char *what, samba_error **error)
{
    const samba__where where = {.file = what, .offset = r->fault_at};
    const samba_status status = SAMBA_ERROR_FORMAT;
    char buffer[24];
    unsigned line, column;
    if (r->fault == SAMBA__JSON_NO_MEMORY)
        return samba__fail_oom(error);
    if (r->fault == SAMBA__JSON_TOO_DEEP)
        return samba__fail_at(a, error, status, &where,
                              "%s nests deeper than %d levels at byte %zu", what, SAMBA__JSON_DEPTH,
                              r->fault_at);
    locate(r->text, r->fault_at, &line, &column);
    if (r->fault == SAMBA__JSON_DUPLICATE)
        return samba__fail_at(a, error, status, &where,
                              "%s line %u column %u: duplicate object key \"%.64s\"", what, line,
                              column, r->what);
    if (r->fault == SAMBA__JSON_BYTE)
        return samba__fail_at(a, error, status, &where, "%s line %u column %u: %s 0x%02x", what,
                              line, column, r->what, (unsigned char)r->text[r->fault_at]);
    if (r->fault == SAMBA__JSON_EXPECTED)
        return samba__fail_at(a, error, status, &where, "%s line %u column %u: expected %s, %s",
                              what, line, column, r->what, found(r, buffer));
    return samba__fail_at(a, error, status, &where, "%s line %u column %u: %s", what, line, column,
                          r->what);
}

samba_status samba__json_parse(const samba_allocator *a, const char *text, size_t size,
                               const char *what, samba__json_doc **doc, samba_error **error)
{
    SAMBA__TRY(check_text(a, text, size, what, error));
    samba__json_doc *d = samba__alloc(a, sizeof *d);
    if (!d)
        return samba__fail_oom(error);
    d->alloc = a;
    samba__arena_init(&d->arena, a);
    samba__json_reader r = {.arena = &d->arena, .text = text, .size = size};
    if (!samba__json_read(&r, &d->root)) {
        const samba_status status = fail_parse(a, &r, what, error);
        samba__json_free(d); /* a duplicate key is in there */
        return status;
    }
    *doc = d;
    return SAMBA_OK;
}

void samba__json_free(samba__json_doc *doc)
{
    if (!doc)
        return;
    samba__arena_free(&doc->arena);
    samba__free(doc->alloc, doc);
}

/* ---------------------------------------------------------------- values */

const samba__json *samba__json_root(const samba__json_doc *doc)
{
    return &doc->root;
}

bool samba__json_is_object(const samba__json *v)
{
    return v && v->kind == SAMBA__JSON_OBJECT;
}

bool samba__json_is_array(const samba__json *v)
{
    return v && v->kind == SAMBA__JSON_ARRAY;
}

bool samba__json_is_null(const samba__json *v)
{
    return !v || v->kind == SAMBA__JSON_NULL;
}

const samba__json *samba__json_get(const samba__json *object, const char *key)
{
    return samba__json_is_object(object) ? samba__json_find(object, key) : NULL;
}

size_t samba__json_size(const samba__json *array_or_object)
{
    const samba__json *v = array_or_object;
    return samba__json_is_array(v) || samba__json_is_object(v) ? v->n : 0;
}

const samba__json *samba__json_at(const samba__json *array, size_t i)
{
    return samba__json_is_array(array) && i < array->n ? &array->as.items[i] : NULL;
}

bool samba__json_int(const samba__json *v, int64_t *out)
{
    const double exact = 9007199254740992.0; /* 2^53: beyond, a double may have been rounded */
    if (v && v->kind == SAMBA__JSON_INT) {
        *out = v->as.integer;
        return true;
    }
    if (!v || v->kind != SAMBA__JSON_REAL)
        return false;
    const double x = v->as.real;
    if (!(x >= -exact && x <= exact) || x != (double)(int64_t)x)
        return false;
    *out = (int64_t)x;
    return true;
}

bool samba__json_double(const samba__json *v, double *out)
{
    if (!v || (v->kind != SAMBA__JSON_INT && v->kind != SAMBA__JSON_REAL))
        return false;
    *out = v->kind == SAMBA__JSON_INT ? (double)v->as.integer : v->as.real;
    return true;
}

bool samba__json_bool(const samba__json *v, bool *out)
{
    if (!v || (v->kind != SAMBA__JSON_TRUE && v->kind != SAMBA__JSON_FALSE))
        return false;
    *out = v->kind == SAMBA__JSON_TRUE;
    return true;
}

bool samba__json_string(const samba__json *v, const char **out, size_t *size)
{
    if (!v || v->kind != SAMBA__JSON_STRING)
        return false;
    *out = v->as.text;
    *size = v->n;
    return true;
}

const void *samba__json_next(const samba__json *object, const void *iterator, const char **key,
                             const samba__json **value)
{
    if (!samba__json_is_object(object) || object->n == 0)
        return NULL;
    const samba__json *at = iterator ? (const samba__json *)iterator + 2 : object->as.items;
    if (at == object->as.items + 2 * (size_t)object->n)
        return NULL;
    *key = at->as.text;
    *value = at + 1;
    return at;
}
