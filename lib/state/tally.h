/*
 * A tally: how many holders there are of each of many objects, by address. Lets a budget count what
 * several holders share once. Knows addresses only, never what they point to; addresses of objects
 * that are held stay unique, so nothing is ever counted for another. Taking may need memory, which
 * is reserved beforehand; the rest cannot fail.
 */
#ifndef SAMBA_STATE_TALLY_H
#define SAMBA_STATE_TALLY_H

#include "base/alloc.h"

typedef struct samba__tally {
    const samba_allocator *alloc;
    struct samba__tally_place *places; /* [capacity], an open hash table */
    size_t capacity;                   /* 0 or a power of two */
    size_t n;                          /* objects held */
} samba__tally;

void samba__tally_init(samba__tally *tally, const samba_allocator *a);
void samba__tally_free(samba__tally *tally);
/* Room for n objects more; false when memory is out. */
bool samba__tally_reserve(samba__tally *tally, size_t n);
/* One holder more; true for the first. Room is there. */
bool samba__tally_take(samba__tally *tally, const void *object);
/* One holder fewer of an object that is held; true for the last. */
bool samba__tally_drop(samba__tally *tally, const void *object);

#endif
