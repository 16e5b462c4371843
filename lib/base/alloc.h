/*
 * Memory through the host's hooks. Every block carries a small header with its size and alignment,
 * so freeing needs the pointer only while the hook still gets both. All sizes are checked: an
 * overflowing product is an allocation that fails. Nothing here reports errors; callers turn NULL
 * into samba__fail_oom().
 */
#ifndef SAMBA_BASE_ALLOC_H
#define SAMBA_BASE_ALLOC_H

#include "samba.h"
#include <stdbool.h>
#include <stddef.h>

/* The C library's allocator; static storage. */
const samba_allocator *samba__alloc_default(void);

/* n * size, false on overflow. */
bool samba__mul_size(size_t a, size_t b, size_t *product);
bool samba__add_size(size_t a, size_t b, size_t *sum);

/* 16-byte aligned, uninitialised; NULL on failure. size 0 gives a valid pointer. */
void *samba__alloc(const samba_allocator *a, size_t size);
void *samba__alloc_aligned(const samba_allocator *a, size_t size, size_t align);
/* `size` bytes are about to be written, all of them: has the system give their pages in one call,
 * where it can, instead of one after the other. Changes no byte. */
void samba__alloc_touch(void *ptr, size_t size);
void *samba__alloc_array(const samba_allocator *a, size_t n, size_t elem_size);
/* Zeroed. */
void *samba__calloc(const samba_allocator *a, size_t n, size_t elem_size);
char *samba__strndup(const samba_allocator *a, const char *s, size_t n);
/* Accepts NULL. */
void samba__free(const samba_allocator *a, void *ptr);

/*
 * Makes room for `need` elements in a growing array (doubling); *ptr and *capacity change only on
 * success. Returns false when memory is out.
 */
bool samba__grow(const samba_allocator *a, void **ptr, size_t *capacity, size_t need,
                 size_t elem_size);

/*
 * An arena: many small objects with one lifetime. All are freed together. Objects are zeroed and
 * 16-byte aligned.
 */
typedef struct samba__arena {
    const samba_allocator *alloc;
    struct samba__arena_block *blocks;
    size_t used; /* of the newest block */
} samba__arena;
void samba__arena_init(samba__arena *arena, const samba_allocator *a);
void *samba__arena_alloc(samba__arena *arena, size_t n, size_t elem_size);
char *samba__arena_strndup(samba__arena *arena, const char *s, size_t n);
void samba__arena_free(samba__arena *arena);

#endif
