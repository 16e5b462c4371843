/*
 * The structure of a JSON text (RFC 8259): strict, in one pass, recursing as deep as json.h allows.
 * Memory comes from the document's arena and from two growing arrays: the values whose array or
 * object is not closed yet, and room to order members in. Running out of it is a fault like any
 * other: that is why the reader is our own, for no library's takes a host's memory hooks and
 * survives their refusal.
 */
#include "format/json_value.h"

#include <string.h>

typedef struct parser {
    samba__json_reader *r;
    unsigned depth;
    void *stack, *scratch; /* samba__json [n_stack], samba__json_sorted [scratch_capacity] */
    size_t n_stack, capacity, scratch_capacity;
} parser;

static bool fail_oom(parser *p)
{
    return samba__json_refuse(p->r, SAMBA__JSON_NO_MEMORY, NULL);
}

static bool expected(parser *p, const char *what)
{
    return samba__json_refuse(p->r, SAMBA__JSON_EXPECTED, what);
}

/* The next byte that is no blank; -1 at the end. */
static int next(samba__json_reader *r)
{
    int c;
    while ((c = samba__json_peek(r)) == ' ' || c == '\n' || c == '\t' || c == '\r')
        r->at++;
    return c;
}

static bool push(parser *p, const samba__json *v)
{
    if (p->n_stack == p->capacity &&
        !samba__grow(p->r->arena->alloc, &p->stack, &p->capacity, p->n_stack + 1, sizeof *v))
        return fail_oom(p);
    ((samba__json *)p->stack)[p->n_stack++] = *v;
    return true;
}

/* Their order, if there are many of them, and that no two are called the same. */
static bool index_members(parser *p, samba__json *items, uint32_t n)
{
    uint32_t *order = (uint32_t *)(void *)(items + 2 * (size_t)n);
    if (n > SAMBA__JSON_LISTED) {
        if (!samba__grow(p->r->arena->alloc, &p->scratch, &p->scratch_capacity, 2 * (size_t)n,
                         sizeof(samba__json_sorted)))
            return fail_oom(p);
        samba__json_sort(items, n, p->scratch, order);
    }
    const uint32_t twice = samba__json_duplicate(items, n, order);
    if (twice == n)
        return true;
    return samba__json_refuse(p->r, SAMBA__JSON_DUPLICATE, items[2 * (size_t)twice].as.text);
}

/* The values on the stack from `base` on become the content. */
static bool close_list(parser *p, size_t base, bool object, samba__json *out)
{
    const size_t n_items = p->n_stack - base, n = object ? n_items / 2 : n_items;
    const size_t n_order = object && n > SAMBA__JSON_LISTED ? n : 0;
    samba__json *items = NULL;
    if (n_items) {
        items = samba__arena_alloc(p->r->arena,
                                   n_items * sizeof *items + n_order * sizeof(uint32_t), 1);
        if (!items)
            return fail_oom(p);
        memcpy(items, (samba__json *)p->stack + base, n_items * sizeof *items);
    }
    p->n_stack = base;
    *out = (samba__json){.kind = object ? SAMBA__JSON_OBJECT : SAMBA__JSON_ARRAY,
                         .n = (uint32_t)n,
                         .as.items = items};
    return !object || !n || index_members(p, items, (uint32_t)n);
}

static bool parse_key(parser *p)
{
    samba__json key;
    if (next(p->r) != '"')
        return expected(p, "a member's name in quotes");
    if (!samba__json_read_string(p->r, &key))
        return false;
    if (strlen(key.as.text) != key.n)
        return samba__json_refuse(p->r, SAMBA__JSON_WRONG, "a NUL byte in a member's name");
    if (next(p->r) != ':')
        return expected(p, "':' behind a member's name");
    p->r->at++;
    return push(p, &key);
}

static bool parse_value(parser *p, samba__json *out);

static bool parse_list(parser *p, bool object, samba__json *out)
{
    const size_t base = p->n_stack;
    const int close = object ? '}' : ']';
    samba__json value;
    if (++p->depth > SAMBA__JSON_DEPTH)
        return samba__json_refuse(p->r, SAMBA__JSON_TOO_DEEP, NULL);
    p->r->at++;
    for (bool more = next(p->r) != close; more;) {
        if ((object && !parse_key(p)) || !parse_value(p, &value) || !push(p, &value))
            return false;
        const int c = next(p->r);
        more = c == ',';
        if (!more && c != close)
            return expected(p, object ? "',' or '}' behind a member" : "',' or ']' behind a value");
        p->r->at += more;
    }
    p->r->at++;
    p->depth--;
    return close_list(p, base, object, out);
}

static bool parse_word(parser *p, const char *word, samba__json_kind kind, samba__json *out)
{
    const size_t n = strlen(word);
    if (p->r->size - p->r->at < n || memcmp(p->r->text + p->r->at, word, n) != 0)
        return expected(p, "a value");
    p->r->at += n;
    *out = (samba__json){.kind = kind};
    return true;
}

static bool parse_value(parser *p, samba__json *out)
{
    const int c = next(p->r);
    switch (c) {
    case '{':
    case '[':
        return parse_list(p, c == '{', out);
    case '"':
        return samba__json_read_string(p->r, out);
    case 't':
        return parse_word(p, "true", SAMBA__JSON_TRUE, out);
    case 'f':
        return parse_word(p, "false", SAMBA__JSON_FALSE, out);
    case 'n':
        return parse_word(p, "null", SAMBA__JSON_NULL, out);
    default:
        return c == '-' || (c >= '0' && c <= '9') ? samba__json_read_number(p->r, out)
                                                  : expected(p, "a value");
    }
}

bool samba__json_read(samba__json_reader *r, samba__json *root)
{
    parser p = {.r = r};
    const int c = next(r);
    bool good = c == '{' || c == '[' ? parse_value(&p, root) : expected(&p, "'[' or '{'");
    if (good && next(r) >= 0)
        good = expected(&p, "nothing behind the end");
    samba__free(r->arena->alloc, p.stack);
    samba__free(r->arena->alloc, p.scratch);
    return good;
}
