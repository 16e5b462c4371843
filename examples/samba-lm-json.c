/* One request's JSON; see samba-lm-json.h. */
#include "samba-lm-json.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    char *at, *end; /* *end is 0 */
    const char *why;
} reader;

static int fail(reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    return 0;
}

static int skip_to(reader *r, char c)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at))
        r->at++;
    return r->at < r->end && *r->at == c;
}

static int expect(reader *r, char c, const char *why)
{
    if (!skip_to(r, c))
        return fail(r, why);
    r->at++;
    return 1;
}

static int hex4(reader *r, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = r->at < r->end ? *r->at : 0;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return fail(r, "\\u needs four hexadecimal digits");
        *value = *value * 16 + (uint32_t)digit;
    }
    return 1;
}

static size_t put_utf8(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 63));
    to[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* Behind "\u". Never longer than what it is read from. */
static int read_escaped(reader *r, char **to)
{
    uint32_t c, low;
    if (!hex4(r, &c))
        return 0;
    if (c >= 0xd800 && c < 0xdc00) {
        if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
            return fail(r, "half of a surrogate pair");
        r->at += 2;
        if (!hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
            return fail(r, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        return fail(r, "half of a surrogate pair");
    }
    *to += put_utf8(c, *to);
    return 1;
}

static int read_string(reader *r, const char **text, size_t *size)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (!expect(r, '"', "a string is expected"))
        return 0;
    char *to = r->at;
    *text = to;
    while (r->at < r->end && *r->at != '"') {
        char c = *r->at++;
        if (c != '\\') {
            *to++ = c;
            continue;
        }
        c = r->at < r->end ? *r->at++ : 0;
        const char *name = c ? strchr(names, c) : NULL;
        if (name)
            *to++ = values[name - names];
        else if (c != 'u')
            return fail(r, "an unknown escape in a string");
        else if (!read_escaped(r, &to))
            return 0;
    }
    if (r->at == r->end)
        return fail(r, "a string has no end");
    r->at++;
    *size = (size_t)(to - *text);
    *to = 0;
    return 1;
}

static int read_word(reader *r, lm_json *value)
{
    static const char *const words[] = {"null", "false", "true"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(r->end - r->at) < n || memcmp(r->at, words[i], n))
            continue;
        r->at += n;
        value->kind = i ? LM_JSON_BOOL : LM_JSON_NULL;
        value->number = i == 2;
        return 1;
    }
    char *end;
    if (!strchr("-0123456789", *r->at))
        return fail(r, "a value is expected");
    value->kind = LM_JSON_NUMBER;
    value->number = strtod(r->at, &end);
    r->at = end;
    return 1;
}

static int read_value(reader *r, lm_json *value, int in_list);

static int read_list(reader *r, lm_json *list)
{
    list->kind = LM_JSON_LIST;
    r->at++;
    if (skip_to(r, ']'))
        return r->at++, 1;
    do {
        list->items = lm_alloc(list->items, list->size + 1, sizeof *list->items);
        list->items[list->size] = (lm_json){.name = ""};
        if (!read_value(r, &list->items[list->size++], 1))
            return 0;
    } while (skip_to(r, ',') && r->at++);
    return expect(r, ']', "a list has no end");
}

static int read_value(reader *r, lm_json *value, int in_list)
{
    if (skip_to(r, '"')) {
        value->kind = LM_JSON_STRING;
        return read_string(r, &value->text, &value->size);
    }
    if (r->at == r->end)
        return fail(r, "a value is expected");
    if (*r->at == '[' && !in_list)
        return read_list(r, value);
    return read_word(r, value);
}

static int read_object(reader *r, lm_json *object)
{
    size_t size;
    if (!expect(r, '{', "an object is expected"))
        return 0;
    while (!skip_to(r, '}')) {
        object->items = lm_alloc(object->items, object->size + 1, sizeof *object->items);
        lm_json *member = &object->items[object->size++];
        *member = (lm_json){0};
        if (!read_string(r, &member->name, &size) || !expect(r, ':', "\":\" is expected") ||
            !read_value(r, member, 0))
            return 0;
        if (skip_to(r, ','))
            r->at++;
        else if (!skip_to(r, '}'))
            return fail(r, "\",\" or \"}\" is expected");
    }
    r->at++;
    skip_to(r, 0);
    return r->at == r->end || fail(r, "something follows the object");
}

lm_json *lm_json_read(char *line, size_t size, const char **why)
{
    reader r = {.at = line, .end = line + size};
    lm_json *object = lm_alloc(NULL, 1, sizeof *object);
    *object = (lm_json){.kind = LM_JSON_LIST};
    if (memchr(line, 0, size) ? fail(&r, "a zero byte") : read_object(&r, object))
        return object;
    *why = r.why;
    lm_json_free(object);
    return NULL;
}

void lm_json_free(lm_json *object)
{
    for (size_t i = 0; object && i < object->size; i++)
        free(object->items[i].items);
    if (object)
        free(object->items);
    free(object);
}

const lm_json *lm_json_member(const lm_json *object, const char *name)
{
    static const lm_json none = {.kind = LM_JSON_NULL, .text = ""};
    for (size_t i = 0; i < object->size; i++)
        if (strcmp(object->items[i].name, name) == 0)
            return &object->items[i];
    return &none;
}
