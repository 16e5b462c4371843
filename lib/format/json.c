/*
 * jansson behind json.h: the only file that includes it. jansson parses recursively and allocates
 * with the process-wide malloc, so size and depth are bounded before it sees the text. Its values
 * travel as opaque pointers.
 */
#include "format/json.h"
#include "base/alloc.h"

#include <jansson.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,
    MAX_BYTES = 256 << 20
};

struct samba__json_doc {
    const samba_allocator *alloc;
    json_t *root;
};

/* jansson's functions that only look still take a plain json_t*. */
static json_t *value_of(const samba__json *v)
{
    return (json_t *)(uintptr_t)v;
}

static const samba__json *json_of(const json_t *v)
{
    return (const samba__json *)(const void *)v;
}

/* Offset of the bracket that opens level MAX_DEPTH + 1; `size` if there is none. */
static size_t find_too_deep(const char *text, size_t size)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return i;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return size;
}

static samba_status check_text(const samba_allocator *a, const char *text, size_t size,
                               const char *what, samba_error **error)
{
    samba__where where = {.file = what, .offset = 0};
    if (size > MAX_BYTES)
        return samba__fail_at(a, error, SAMBA_ERROR_LIMIT, &where,
                              "%s has %zu bytes, at most %d are read", what, size, MAX_BYTES);
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return samba__fail_at(a, error, SAMBA_ERROR_FORMAT, &where,
                              "%s begins with a byte order mark, which JSON does not allow", what);
    const size_t deep = find_too_deep(text, size);
    where.offset = deep;
    if (deep < size)
        return samba__fail_at(a, error, SAMBA_ERROR_FORMAT, &where,
                              "%s nests deeper than %d levels at byte %zu", what, MAX_DEPTH, deep);
    return SAMBA_OK;
}

/*
 * Integers past 64 bits are legal JSON and common (a model_max_length of 10^30), but jansson
 * refuses them. Only then the text is read again with every number as a double.
 */
static json_t *load_once(const char *text, size_t size, json_error_t *e)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *root = json_loadb(text, size, flags, e);
    if (!root && json_error_code(e) == json_error_numeric_overflow)
        root = json_loadb(text, size, flags | JSON_DECODE_INT_AS_REAL, e);
    return root;
}

/*
 * jansson says "invalid token" and the like when memory runs out in the middle of one. So a text is
 * read twice before it is called malformed, and not at all if a trivial one can't be read either.
 */
static json_t *load(const char *text, size_t size, json_error_t *e, bool *out_of_memory)
{
    json_t *root = load_once(text, size, e);
    if (!root)
        root = load_once(text, size, e);
    *out_of_memory = false;
    if (root)
        return root;
    json_t *trivial = json_loads("{\"a\": [\"b\", 1]}", 0, NULL);
    *out_of_memory = !trivial || json_error_code(e) == json_error_out_of_memory || !e->text[0];
    json_decref(trivial);
    return NULL;
}

static samba_status fail_parse(const samba_allocator *a, const json_error_t *e, const char *what,
                               samba_error **error)
{
    const samba__where where = {.file = what,
                                .offset = e->position < 0 ? 0 : (uint64_t)e->position};
    return samba__fail_at(a, error, SAMBA_ERROR_FORMAT, &where, "%s line %d column %d: %s", what,
                          e->line, e->column, e->text);
}

samba_status samba__json_parse(const samba_allocator *a, const char *text, size_t size,
                               const char *what, samba__json_doc **doc, samba_error **error)
{
    json_error_t e;
    bool out_of_memory;
    SAMBA__TRY(check_text(a, text, size, what, error));
    samba__json_doc *d = samba__alloc(a, sizeof *d);
    if (!d)
        return samba__fail_oom(error);
    d->alloc = a;
    d->root = load(text, size, &e, &out_of_memory);
    if (!d->root) {
        samba__free(a, d);
        return out_of_memory ? samba__fail_oom(error) : fail_parse(a, &e, what, error);
    }
    *doc = d;
    return SAMBA_OK;
}

void samba__json_free(samba__json_doc *doc)
{
    if (!doc)
        return;
    json_decref(doc->root);
    samba__free(doc->alloc, doc);
}

const samba__json *samba__json_root(const samba__json_doc *doc)
{
    return json_of(doc->root);
}

bool samba__json_is_object(const samba__json *v)
{
    return json_is_object(value_of(v));
}

bool samba__json_is_array(const samba__json *v)
{
    return json_is_array(value_of(v));
}

bool samba__json_is_null(const samba__json *v)
{
    return !v || json_is_null(value_of(v));
}

const samba__json *samba__json_get(const samba__json *object, const char *key)
{
    return json_of(json_object_get(value_of(object), key));
}

size_t samba__json_size(const samba__json *array_or_object)
{
    const json_t *v = value_of(array_or_object);
    return json_is_array(v) ? json_array_size(v) : json_object_size(v);
}

const samba__json *samba__json_at(const samba__json *array, size_t i)
{
    return json_of(json_array_get(value_of(array), i));
}

bool samba__json_int(const samba__json *v, int64_t *out)
{
    const json_t *j = value_of(v);
    const double exact = 9007199254740992.0; /* 2^53: beyond, a double may have been rounded */
    if (json_is_integer(j)) {
        *out = json_integer_value(j);
        return true;
    }
    const double x = json_real_value(j);
    if (!json_is_real(j) || !(x >= -exact && x <= exact) || x != (double)(int64_t)x)
        return false;
    *out = (int64_t)x;
    return true;
}

bool samba__json_double(const samba__json *v, double *out)
{
    const json_t *j = value_of(v);
    if (!json_is_number(j))
        return false;
    *out = json_number_value(j);
    return true;
}

bool samba__json_bool(const samba__json *v, bool *out)
{
    const json_t *j = value_of(v);
    if (!json_is_boolean(j))
        return false;
    *out = json_is_true(j);
    return true;
}

bool samba__json_string(const samba__json *v, const char **out, size_t *size)
{
    const json_t *j = value_of(v);
    if (!json_is_string(j))
        return false;
    *out = json_string_value(j);
    *size = json_string_length(j);
    return true;
}

const void *samba__json_next(const samba__json *object, const void *iterator, const char **key,
                             const samba__json **value)
{
    json_t *o = value_of(object);
    void *it =
        iterator ? json_object_iter_next(o, (void *)(uintptr_t)iterator) : json_object_iter(o);
    if (it) {
        *key = json_object_iter_key(it);
        *value = json_of(json_object_iter_value(it));
    }
    return it;
}
