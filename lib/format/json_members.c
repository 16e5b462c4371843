/*
 * Finding an object's members by name, and those that bear the same one. Long objects are sorted,
 * not hashed: no choice of names can make it slow. Names are C strings here, for the reader refuses
 * zero bytes in them.
 */
#include "format/json_value.h"

#include <string.h>

static const char *key_of(const samba__json *items, uint32_t member)
{
    return items[2 * (size_t)member].as.text;
}

/* The order of these numbers is the order of the strings, as far as they go. */
static uint64_t head_of(const char *key)
{
    uint64_t head = 0;
    for (int shift = 56; shift >= 0 && *key; shift -= 8, key++)
        head |= (uint64_t)(unsigned char)*key << shift;
    return head;
}

/* Equal heads with a zero in them are equal strings. */
static bool is_after(const samba__json *items, samba__json_sorted a, samba__json_sorted b)
{
    if (a.head != b.head)
        return a.head > b.head;
    return (a.head & 0xff) && strcmp(key_of(items, a.member), key_of(items, b.member)) > 0;
}

/* Sorted [from, middle) and [middle, to) become one sorted run of `out`. */
static void merge(const samba__json *items, const samba__json_sorted *in, const size_t bounds[3],
                  samba__json_sorted *out)
{
    size_t left = bounds[0], right = bounds[1];
    for (size_t i = bounds[0]; i < bounds[2]; i++) {
        const bool take_right =
            left == bounds[1] || (right < bounds[2] && is_after(items, in[left], in[right]));
        out[i] = in[take_right ? right++ : left++];
    }
}

void samba__json_sort(const samba__json *items, uint32_t n, samba__json_sorted *scratch,
                      uint32_t *order)
{
    samba__json_sorted *in = scratch, *out = scratch + n;
    for (uint32_t i = 0; i < n; i++)
        in[i] = (samba__json_sorted){.head = head_of(key_of(items, i)), .member = i};
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t at = 0; at < n; at += 2 * run) {
            const size_t middle = n - at < run ? n : at + run;
            const size_t bounds[3] = {at, middle, n - middle < run ? n : middle + run};
            merge(items, in, bounds, out);
        }
        samba__json_sorted *t = in;
        in = out;
        out = t;
    }
    for (uint32_t i = 0; i < n; i++)
        order[i] = in[i].member;
}

uint32_t samba__json_duplicate(const samba__json *items, uint32_t n, const uint32_t *order)
{
    if (n > SAMBA__JSON_LISTED) {
        for (uint32_t i = 1; i < n; i++)
            if (strcmp(key_of(items, order[i - 1]), key_of(items, order[i])) == 0)
                return order[i];
        return n;
    }
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(key_of(items, i), key_of(items, k)) == 0)
                return i;
    return n;
}

static const samba__json *find_sorted(const samba__json *items, uint32_t n, const char *key)
{
    const uint32_t *order = (const uint32_t *)(const void *)(items + 2 * (size_t)n);
    for (uint32_t low = 0, high = n; low < high;) {
        const uint32_t middle = low + (high - low) / 2;
        const int side = strcmp(key, key_of(items, order[middle]));
        if (side == 0)
            return &items[2 * (size_t)order[middle] + 1];
        if (side < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const samba__json *samba__json_find(const samba__json *object, const char *key)
{
    const samba__json *items = object->as.items;
    if (object->n > SAMBA__JSON_LISTED)
        return find_sorted(items, object->n, key);
    for (uint32_t i = 0; i < object->n; i++)
        if (strcmp(key_of(items, i), key) == 0)
            return &items[2 * i + 1];
    return NULL;
}
