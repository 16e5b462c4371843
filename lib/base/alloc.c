/*
 * Allocation through hooks; see alloc.h. A block is [padding][samba__header][user bytes], where the
 * header sits directly before the user's pointer and the whole is aligned for the user.
 */
#include "base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct samba__header {
    size_t total; /* bytes asked from the hook */
    size_t align;
} samba__header;

enum {
    ALIGN_MIN = 16,
    ALIGN_MAX = 4096,
    HUGE_PAGE = 2 << 20,
    HUGE_FROM = 2 * HUGE_PAGE,
    TOUCH_PAGE = 4096, /* where the system's are larger it refuses, and nothing happens */
    TOUCH_FROM = 1 << 16,
    ARENA_BLOCK = 4096
};
_Static_assert(sizeof(samba__header) <= ALIGN_MIN, "the header fits in front of the user's bytes");

/* Weights are read from end to end for every token: with large pages, where the system has them to
 * give, that is faster, and so is touching them for the first time. */
static void *alloc_huge(size_t size)
{
    void *p;
    if (posix_memalign(&p, HUGE_PAGE, size) != 0)
        return NULL;
#if defined(MADV_HUGEPAGE)
    (void)madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}

static void *default_alloc(void *user_data, size_t size, size_t align)
{
    (void)user_data;
    if (size >= HUGE_FROM && size <= SIZE_MAX - HUGE_PAGE)
        return alloc_huge(size);
    if (align <= _Alignof(max_align_t))
        return malloc(size ? size : 1);
    if (size > SIZE_MAX - (align - 1))
        return NULL;
    size = (size + align - 1) & ~(align - 1); /* aligned_alloc wants a multiple */
    return aligned_alloc(align, size ? size : align);
}

static void default_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)user_data;
    (void)size;
    (void)align;
    free(ptr);
}

const samba_allocator *samba__alloc_default(void)
{
    static const samba_allocator a = {sizeof(samba_allocator), default_alloc, default_free, NULL};
    return &a;
}

bool samba__mul_size(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

bool samba__add_size(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

/* Bytes to ask for: header room of one alignment unit plus the rounded-up user size. */
static bool block_size(size_t size, size_t align, size_t *total)
{
    return samba__add_size(size, 2 * align - 1, total) && (*total &= ~(align - 1), true);
}

void *samba__alloc_aligned(const samba_allocator *a, size_t size, size_t align)
{
    size_t total;
    if (align < ALIGN_MIN)
        align = ALIGN_MIN;
    if (align > ALIGN_MAX || !block_size(size, align, &total))
        return NULL;
    unsigned char *base = a->alloc(a->user_data, total, align);
    if (!base)
        return NULL;
    samba__header *h = (samba__header *)(void *)(base + align) - 1;
    h->total = total;
    h->align = align;
    return base + align;
}

void samba__alloc_touch(void *ptr, size_t size)
{
#if defined(MADV_POPULATE_WRITE)
    const uintptr_t begin = ((uintptr_t)ptr + TOUCH_PAGE - 1) & ~(uintptr_t)(TOUCH_PAGE - 1);
    const uintptr_t end = ((uintptr_t)ptr + size) & ~(uintptr_t)(TOUCH_PAGE - 1);
    if (size >= TOUCH_FROM)
        (void)madvise((void *)begin, end - begin, MADV_POPULATE_WRITE);
#else
    (void)ptr;
    (void)size;
#endif
}

void *samba__alloc(const samba_allocator *a, size_t size)
{
    return samba__alloc_aligned(a, size, ALIGN_MIN);
}

void *samba__alloc_array(const samba_allocator *a, size_t n, size_t elem_size)
{
    size_t size;
    return samba__mul_size(n, elem_size, &size) ? samba__alloc(a, size) : NULL;
}

void *samba__calloc(const samba_allocator *a, size_t n, size_t elem_size)
{
    void *p = samba__alloc_array(a, n, elem_size);
    if (p)
        memset(p, 0, n * elem_size);
    return p;
}

char *samba__strndup(const samba_allocator *a, const char *s, size_t n)
{
    size_t size;
    char *p = samba__add_size(n, 1, &size) ? samba__alloc(a, size) : NULL;
    if (p) {
        if (n)
            memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

void samba__free(const samba_allocator *a, void *ptr)
{
    if (!ptr)
        return;
    samba__header *h = (samba__header *)ptr - 1;
    size_t total = h->total, align = h->align;
    a->free(a->user_data, (unsigned char *)ptr - align, total, align);
}

bool samba__grow(const samba_allocator *a, void **ptr, size_t *capacity, size_t need,
                 size_t elem_size)
{
    if (need <= *capacity)
        return true;
    size_t cap = *capacity < 8 ? 8 : *capacity;
    while (cap < need) {
        if (cap > SIZE_MAX / 2)
            return false;
        cap *= 2;
    }
    void *p = samba__alloc_array(a, cap, elem_size);
    if (!p)
        return false;
    if (*capacity)
        memcpy(p, *ptr, *capacity * elem_size);
    samba__free(a, *ptr);
    *ptr = p;
    *capacity = cap;
    return true;
}

struct samba__arena_block {
    struct samba__arena_block *next;
    size_t size;
};
_Static_assert(sizeof(struct samba__arena_block) <= ALIGN_MIN, "objects start at ALIGN_MIN");

void samba__arena_init(samba__arena *arena, const samba_allocator *a)
{
    *arena = (samba__arena){.alloc = a};
}

static bool arena_push(samba__arena *arena, size_t size)
{
    size_t total, room = size > ARENA_BLOCK ? size : ARENA_BLOCK;
    if (!samba__add_size(room, ALIGN_MIN, &total))
        return false;
    struct samba__arena_block *b = samba__alloc(arena->alloc, total);
    if (!b)
        return false;
    b->next = arena->blocks;
    b->size = total;
    arena->blocks = b;
    arena->used = ALIGN_MIN;
    return true;
}

void *samba__arena_alloc(samba__arena *arena, size_t n, size_t elem_size)
{
    size_t size;
    if (!samba__mul_size(n, elem_size, &size) || !samba__add_size(size, ALIGN_MIN - 1, &size))
        return NULL;
    size &= ~(size_t)(ALIGN_MIN - 1);
    struct samba__arena_block *b = arena->blocks;
    if (!b || size > b->size - arena->used) {
        if (!arena_push(arena, size))
            return NULL;
        b = arena->blocks;
    }
    void *p = (unsigned char *)b + arena->used;
    arena->used += size;
    memset(p, 0, size);
    return p;
}

char *samba__arena_strndup(samba__arena *arena, const char *s, size_t n)
{
    size_t size;
    char *p = samba__add_size(n, 1, &size) ? samba__arena_alloc(arena, size, 1) : NULL;
    if (p && n)
        memcpy(p, s, n);
    return p;
}

void samba__arena_free(samba__arena *arena)
{
    struct samba__arena_block *b = arena->blocks;
    while (b) {
        struct samba__arena_block *next = b->next;
        samba__free(arena->alloc, b);
        b = next;
    }
    arena->blocks = NULL;
    arena->used = 0;
}
