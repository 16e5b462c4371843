/* See damage.h. Knows the layout of the files on its own: no code of the library. */
#include "damage.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t damage_random(uint64_t *seed) /* splitmix64 */
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(uint64_t *seed, size_t n)
{
    return n ? (size_t)(damage_random(seed) % n) : 0;
}

/* ---------------------------------------------------------------- buffers */

static unsigned char *resize(unsigned char *data, size_t size)
{
    data = realloc(data, size ? size : 1);
    ck_assert_ptr_nonnull(data);
    return data;
}

bytes bytes_copy(const bytes *b)
{
    bytes c = {resize(NULL, b->size), b->size};
    memcpy(c.data, b->data, b->size);
    return c;
}

bytes bytes_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "no file %s", path);
    fseek(f, 0, SEEK_END);
    bytes b = {NULL, (size_t)ftell(f)};
    rewind(f);
    b.data = resize(NULL, b.size);
    ck_assert_uint_eq(fread(b.data, 1, b.size, f), b.size);
    fclose(f);
    return b;
}

void bytes_write(const bytes *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f && fwrite(b->data, 1, b->size, f) == b->size, "can't write %s", path);
    fclose(f);
}

/* Puts n bytes in place of those from `at` to `end`. */
static void replace(bytes *b, size_t at, size_t end, const void *with, size_t n)
{
    bytes c = {resize(NULL, b->size - (end - at) + n), b->size - (end - at) + n};
    memcpy(c.data, b->data, at);
    memcpy(c.data + at, with, n);
    memcpy(c.data + at + n, b->data + end, b->size - end);
    free(b->data);
    *b = c;
}

/* ---------------------------------------------------------------- bytes */

static const uint64_t extremes[] = {0,          1,          2,          0x7f,
                                    0x80,       0xff,       0xffff,     1 << 24,
                                    0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32,
                                    1ull << 62, INT64_MAX,  1ull << 63, UINT64_MAX - 31,
                                    UINT64_MAX};

enum {
    N_EXTREMES = sizeof extremes / sizeof *extremes
};

static uint64_t extreme(uint64_t *seed)
{
    return extremes[below(seed, N_EXTREMES)];
}

static size_t pick(uint64_t *seed, const bytes *b, size_t head)
{
    return below(seed, below(seed, 8) && head < b->size ? head : b->size);
}

static void put_extreme(uint64_t *seed, bytes *b, size_t at)
{
    uint64_t v = extreme(seed);
    size_t n = (size_t)1 << below(seed, 4);
    for (size_t i = 0; i < n && at + i < b->size; i++)
        b->data[at + i] = (unsigned char)(v >> 8 * i);
}

static void copy_stretch(uint64_t *seed, bytes *b, size_t head)
{
    size_t from = pick(seed, b, head), to = pick(seed, b, head);
    size_t room = b->size - (from > to ? from : to);
    memmove(b->data + to, b->data + from, below(seed, room < 64 ? room : 64) + 1);
}

static void shift(uint64_t *seed, bytes *b, size_t head)
{
    unsigned char piece[40];
    size_t at = pick(seed, b, head), room = b->size - at, n = below(seed, room < 40 ? room : 40);
    memcpy(piece, b->data + at, n);
    if (below(seed, 2))
        replace(b, at, at + n, "", 0);
    else
        replace(b, at, at, piece, n);
}

void damage_bytes(uint64_t *seed, bytes *b, size_t head)
{
    if (!b->size)
        return;
    size_t at = pick(seed, b, head);
    switch (below(seed, 5)) {
    case 0:
        b->data[at] = (unsigned char)(b->data[at] ^ 1u << below(seed, 8));
        break;
    case 1:
        b->data[at] = (unsigned char)damage_random(seed);
        break;
    case 2:
        put_extreme(seed, b, at);
        break;
    case 3:
        copy_stretch(seed, b, head);
        break;
    default:
        shift(seed, b, head);
    }
}

/* ---------------------------------------------------------------- JSON */

/* A string, number or word from `at` on; its end, or 0 if there is none. */
static size_t token_end(const bytes *b, size_t at, size_t limit)
{
    const unsigned char *d = b->data;
    size_t i = at;
    if (d[at] == '"') {
        for (i = at + 1; i < limit && d[i] != '"'; i++)
            i += d[i] == '\\';
        return i < limit ? i + 1 : 0;
    }
    while (i < limit && ((d[i] >= '0' && d[i] <= '9') || (d[i] >= 'a' && d[i] <= 'z') ||
                         d[i] == '-' || d[i] == '+' || d[i] == '.' || d[i] == 'E'))
        i++;
    return i > at ? i : 0;
}

/* The wanted-th token (SIZE_MAX: counts) in [first, limit). */
static size_t find_token(const bytes *b, size_t first, size_t limit, size_t wanted, size_t *end)
{
    size_t n = 0;
    for (size_t i = first; i < limit; i++) {
        size_t e = token_end(b, i, limit);
        if (!e)
            continue;
        if (n++ == wanted) {
            *end = e;
            return i;
        }
        i = e - 1;
    }
    return wanted == SIZE_MAX ? n : SIZE_MAX;
}

static size_t nearby_number(uint64_t *seed, const char *old, char *out, size_t room)
{
    double x = strtod(old, NULL);
    const double choices[] = {x + 1, x - 1, x * 2, x / 2, -x, x + 0.5, x * x, x * 16, x * 1e9};
    return (size_t)snprintf(out, room, "%.17g", choices[below(seed, 9)]);
}

static const char *const values[] = {
    "0",
    "1",
    "-1",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "1e-400",
    "0.5",
    "1.0",
    "-0.0",
    "true",
    "false",
    "null",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "[[[[[[]]]]]]",
    "[1,2]",
    "{\"a\":{}}",
    "3",
    "64",
    "65536",
    "1000000000000000000000000000000",
    "\"\\ud800\"",
    "16777217",
    "1e5",
    "0.1",
};
enum {
    N_VALUES = sizeof values / sizeof *values
};

static size_t other_value(uint64_t *seed, const char *old, char *out, size_t room)
{
    if (old[0] != '"' && below(seed, 3))
        return nearby_number(seed, old, out, room);
    return (size_t)snprintf(out, room, "%s", values[below(seed, N_VALUES)]);
}

/* Within [first, *limit), which moves along. */
static void damage_text(uint64_t *seed, bytes *b, size_t first, size_t *limit)
{
    char old[64] = "", with[64];
    size_t end = 0, n = find_token(b, first, *limit, SIZE_MAX, &end), before = b->size;
    if (!n)
        return;
    size_t at = find_token(b, first, *limit, below(seed, n), &end);
    memcpy(old, b->data + at, end - at < 63 ? end - at : 63);
    if (old[0] == '"' && below(seed, 2) && end - at > 2) { /* another string */
        b->data[at + 1 + below(seed, end - at - 2)] = (unsigned char)('a' + below(seed, 26));
        return;
    }
    replace(b, at, end, with, other_value(seed, old, with, sizeof with));
    *limit += b->size - before;
}

void damage_json(uint64_t *seed, bytes *b)
{
    size_t limit = b->size;
    damage_text(seed, b, 0, &limit);
}

bool damage_json_each(size_t number, bytes *b)
{
    size_t end = 0, at = find_token(b, 0, b->size, number / N_VALUES, &end);
    if (at == SIZE_MAX)
        return false;
    replace(b, at, end, values[number % N_VALUES], strlen(values[number % N_VALUES]));
    return true;
}

void damage_safetensors(uint64_t *seed, bytes *b)
{
    uint64_t length = 0;
    for (size_t i = 8; b->size > 8 && i-- > 0;)
        length = length << 8 | b->data[i];
    if (b->size <= 8 || length > b->size - 8)
        return;
    size_t limit = 8 + (size_t)length;
    damage_text(seed, b, 8, &limit);
    for (size_t i = 0; i < 8; i++)
        b->data[i] = (unsigned char)((uint64_t)(limit - 8) >> 8 * i);
}

/* ---------------------------------------------------------------- GGUF */

typedef struct walker {
    const bytes *b;
    size_t at;
    bool broken;
} walker;

static uint64_t take(walker *w, size_t n)
{
    uint64_t v = 0;
    if (w->broken || n > w->b->size - w->at) {
        w->broken = true;
        return 0;
    }
    for (size_t i = n; i-- > 0;)
        v = v << 8 | w->b->data[w->at + i];
    w->at += n;
    return v;
}

static void skip(walker *w, uint64_t n)
{
    if (w->broken || n > w->b->size - w->at)
        w->broken = true;
    else
        w->at += (size_t)n;
}

/* Bytes of a scalar of GGUF type 0..12; 0: string or array. */
static size_t scalar_size(uint64_t type)
{
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < 13 ? sizes[type] : 0;
}

enum {
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    MAX_PLACES = 4096
};

/* A number, or the bytes of a string, that may be changed. */
typedef struct place {
    size_t at, size;
    bool string;
} place;
typedef struct places {
    size_t n;
    place list[MAX_PLACES];
} places;

static void add_place(places *p, size_t at, size_t size, bool string)
{
    if (p->n < MAX_PLACES && size)
        p->list[p->n++] = (place){at, size, string};
}

static void walk_one(walker *w, uint64_t type, places *p)
{
    if (type == GGUF_STRING) {
        uint64_t n = take(w, 8);
        size_t at = w->at;
        skip(w, n);
        if (!w->broken)
            add_place(p, at, (size_t)n, true);
        return;
    }
    size_t size = scalar_size(type);
    w->broken |= size == 0;
    add_place(p, w->at, size, false);
    skip(w, size);
}

/* Long arrays (the vocabulary) would drown the others. */
static void walk_value(walker *w, places *p)
{
    uint64_t type = take(w, 4);
    if (type != GGUF_ARRAY) {
        walk_one(w, type, p);
        return;
    }
    add_place(p, w->at, 4, false); /* type of the entries, their number */
    type = take(w, 4);
    add_place(p, w->at, 8, false);
    uint64_t n = take(w, 8);
    for (uint64_t i = 0; i < n && !w->broken; i++) {
        size_t before = p->n;
        walk_one(w, type, p);
        if (i >= 40)
            p->n = before;
    }
}

static void walk_tensor(walker *w, places *p)
{
    skip(w, take(w, 8));
    uint64_t n_dims = take(w, 4);
    for (uint64_t i = 0; i < n_dims && !w->broken; i++) {
        add_place(p, w->at, 8, false);
        take(w, 8);
    }
    add_place(p, w->at, 4, false);
    take(w, 4);
    add_place(p, w->at, 8, false);
    take(w, 8);
}

static bool walk_file(const bytes *b, places *p)
{
    walker w = {b, 8, b->size < 24};
    p->n = 0;
    uint64_t n_tensors = take(&w, 8), n_values = take(&w, 8);
    for (uint64_t i = 0; i < n_values && !w.broken; i++) {
        skip(&w, take(&w, 8));
        walk_value(&w, p);
    }
    size_t n_meta = p->n;
    for (uint64_t i = 0; i < n_tensors && !w.broken; i++)
        walk_tensor(&w, p);
    if (p->n > n_meta + n_meta / 4) /* mostly metadata */
        p->n = n_meta + n_meta / 4;
    return !w.broken && p->n;
}

static void put_number(unsigned char *at, size_t size, uint64_t v)
{
    for (size_t i = 0; i < size; i++)
        at[i] = (unsigned char)(v >> 8 * i);
}

enum {
    N_NEIGHBOURS = 5
};

static uint64_t neighbour(const unsigned char *at, size_t size, size_t which)
{
    uint64_t v = 0;
    for (size_t i = size; i-- > 0;)
        v = v << 8 | at[i];
    const uint64_t choices[N_NEIGHBOURS] = {v + 1, v - 1, v * 2, v / 2, v ^ 1};
    return choices[which];
}

static void change_number(uint64_t *seed, unsigned char *at, size_t size)
{
    size_t which = below(seed, N_NEIGHBOURS + 4);
    put_number(at, size, which < N_NEIGHBOURS ? neighbour(at, size, which) : extreme(seed));
}

/* Names of kinds become others of the same length, so that the plan stays one. */
static void change_string(uint64_t *seed, unsigned char *at, size_t size)
{
    static const char *const names[] = {"gmu", "gla", "rms", "mamba", "layer", "samba"};
    for (size_t k = 0, start = below(seed, 6); k < 6 && below(seed, 8); k++) {
        const char *name = names[(start + k) % 6];
        if (strlen(name) != size || memcmp(at, name, size) == 0)
            continue;
        memcpy(at, name, size);
        return;
    }
    at[below(seed, size)] = (unsigned char)damage_random(seed);
}

void damage_gguf(uint64_t *seed, bytes *b)
{
    static places p;
    if (!walk_file(b, &p))
        return;
    const place *at = &p.list[below(seed, p.n)];
    if (at->string)
        change_string(seed, b->data + at->at, at->size);
    else
        change_number(seed, b->data + at->at, at->size);
}

bool damage_gguf_each(size_t number, bytes *b)
{
    const size_t each = N_NEIGHBOURS + N_EXTREMES;
    static places p;
    if (!walk_file(b, &p) || number / each >= p.n)
        return false;
    const place *at = &p.list[number / each];
    const size_t which = number % each;
    if (at->string) /* letters by turns */
        b->data[at->at + which % at->size] ^= 1;
    else
        put_number(b->data + at->at, at->size,
                   which < N_NEIGHBOURS ? neighbour(b->data + at->at, at->size, which)
                                        : extremes[which - N_NEIGHBOURS]);
    return true;
}
