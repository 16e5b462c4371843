/* Counts of holders by address; see tally.h. Linear probing, at most two thirds full. */
#include "state/tally.h"
#include "base/error.h"

#include <string.h>

enum {
    SMALLEST = 64
};

struct samba__tally_place {
    const void *object; /* NULL: free */
    size_t n_holders;
};

typedef struct samba__tally_place place;

void samba__tally_init(samba__tally *tally, const samba_allocator *a)
{
    *tally = (samba__tally){.alloc = a};
}

void samba__tally_free(samba__tally *tally)
{
    samba__free(tally->alloc, tally->places);
    samba__tally_init(tally, tally->alloc);
}

/* Where the search for an object begins: the upper bits of a product, as addresses differ little in
 * their lower ones. */
static size_t home(const void *object, size_t capacity)
{
    uint64_t h = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 32) & (capacity - 1);
}

/* The object's place, or the free one where it belongs. */
static size_t find(const place *places, size_t capacity, const void *object)
{
    size_t i = home(object, capacity);
    while (places[i].object && places[i].object != object)
        i = (i + 1) & (capacity - 1);
    return i;
}

bool samba__tally_reserve(samba__tally *tally, size_t n)
{
    size_t need, capacity = tally->capacity ? tally->capacity : SMALLEST;
    if (!samba__add_size(tally->n, n, &need) || need > SIZE_MAX / 4)
        return false;
    while (capacity / 3 * 2 < need)
        capacity *= 2;
    if (capacity == tally->capacity)
        return true;
    place *places = samba__calloc(tally->alloc, capacity, sizeof *places);
    if (!places)
        return false;
    for (size_t i = 0; i < tally->capacity; i++)
        if (tally->places[i].object)
            places[find(places, capacity, tally->places[i].object)] = tally->places[i];
    samba__free(tally->alloc, tally->places);
    tally->places = places;
    tally->capacity = capacity;
    return true;
}

bool samba__tally_take(samba__tally *tally, const void *object)
{
    SAMBA__INVARIANT(tally->n < tally->capacity);
    place *p = &tally->places[find(tally->places, tally->capacity, object)];
    if (!p->object)
        tally->n++;
    p->object = object;
    return ++p->n_holders == 1;
}

/* Closes the gap at `i`, so that no search ends early: those behind it move up, unless they would
 * come before their home. */
static void close_gap(samba__tally *tally, size_t i)
{
    const size_t mask = tally->capacity - 1;
    for (size_t k = (i + 1) & mask; tally->places[k].object; k = (k + 1) & mask) {
        size_t from = home(tally->places[k].object, tally->capacity);
        if (((k - from) & mask) < ((k - i) & mask))
            continue;
        tally->places[i] = tally->places[k];
        i = k;
    }
    tally->places[i] = (place){0};
}

bool samba__tally_drop(samba__tally *tally, const void *object)
{
    size_t i = find(tally->places, tally->capacity, object);
    SAMBA__INVARIANT(tally->places[i].object);
    if (--tally->places[i].n_holders)
        return false;
    tally->n--;
    close_gap(tally, i);
    return true;
}
