/*
 * Allocation through hooks: what the hooks get, alignment, overflow, and that a failure changes
 * nothing.
 */
#include "base/alloc.h"
#include "support/suite.h"

#include <stdint.h>
#include <string.h>

/* A hook that checks its own use: sizes and alignments given back must be those asked for. */
typedef struct hook {
    size_t live, live_bytes, calls, wrong;
    size_t fail_at; /* the call that fails; 0: none */
    size_t largest_align;
} hook;

typedef struct block {
    size_t size, align;
    void *base;
} block;

static void *hook_alloc(void *user_data, size_t size, size_t align)
{
    hook *h = user_data;
    if (++h->calls == h->fail_at)
        return NULL;
    if (align == 0 || (align & (align - 1)) != 0 || align > 4096)
        h->wrong++;
    /* aligned to `align` and to no more than that, so that nothing relies on luck */
    unsigned char *base = malloc(size + 3 * align + sizeof(block));
    ck_assert_ptr_nonnull(base);
    uintptr_t at = ((uintptr_t)base + sizeof(block) + align - 1) & ~(align - 1);
    if (at % (2 * align) == 0)
        at += align;
    unsigned char *p = base + (at - (uintptr_t)base);
    block b = {size, align, base};
    memcpy(p - sizeof b, &b, sizeof b);
    memset(p, 0xa5, size);
    h->live++;
    h->live_bytes += size;
    h->largest_align = align > h->largest_align ? align : h->largest_align;
    return p;
}

static void hook_free(void *user_data, void *ptr, size_t size, size_t align)
{
    hook *h = user_data;
    block b;
    memcpy(&b, (unsigned char *)ptr - sizeof b, sizeof b);
    if (b.size != size || b.align != align)
        h->wrong++;
    h->live--;
    h->live_bytes -= size;
    free(b.base);
}

static samba_allocator hooked(hook *h)
{
    return (samba_allocator){sizeof(samba_allocator), hook_alloc, hook_free, h};
}

static void check_clean(const hook *h)
{
    ck_assert_uint_eq(h->live, 0);
    ck_assert_uint_eq(h->live_bytes, 0);
    ck_assert_uint_eq(h->wrong, 0);
}

START_TEST(blocks_are_aligned_and_whole)
{
    hook h = {0};
    const samba_allocator own = hooked(&h);
    const samba_allocator *const allocators[] = {&own, samba__alloc_default()};
    for (size_t k = 0; k < 2; k++)
        for (size_t align = 1; align <= 4096; align *= 2)
            for (size_t size = 0; size < 200; size += 7) {
                unsigned char *p = samba__alloc_aligned(allocators[k], size, align);
                ck_assert_ptr_nonnull(p);
                ck_assert_uint_eq((uintptr_t)p % (align < 16 ? 16 : align), 0);
                memset(p, 0x5a, size); /* the header must survive, the sanitizer sees the end */
                samba__free(allocators[k], p);
            }
    ck_assert_uint_eq(h.largest_align, 4096);
    check_clean(&h);
    samba__free(&own, NULL);
}
END_TEST

/* Fresh and used memory, whole pages or less: what stood there and beside it stays. */
START_TEST(touching_changes_nothing)
{
    const samba_allocator *a = samba__alloc_default();
    for (size_t size = 0; size < 700000; size = size * 3 + 4099) {
        unsigned char *p = samba__alloc(a, size + 2);
        ck_assert_ptr_nonnull(p);
        samba__alloc_touch(p + 1, size);
        memset(p, 0x5a, size + 2);
        samba__alloc_touch(p + 1, size);
        size_t changed = 0;
        for (size_t i = 0; i < size + 2; i++)
            changed += p[i] != 0x5a;
        ck_assert_uint_eq(changed, 0);
        samba__free(a, p);
    }
}
END_TEST

/* The default hooks alone: any size at any alignment that the contract allows. */
START_TEST(default_hooks)
{
    const samba_allocator *a = samba__alloc_default();
    for (size_t align = 1; align <= 4096; align *= 2)
        for (size_t size = 0; size < 5000; size += 499) {
            void *p = a->alloc(a->user_data, size, align);
            ck_assert_ptr_nonnull(p);
            ck_assert_uint_eq((uintptr_t)p % align, 0);
            memset(p, 1, size);
            a->free(a->user_data, p, size, align);
        }
    ck_assert_ptr_null(a->alloc(a->user_data, SIZE_MAX, 4096));
    ck_assert_ptr_null(a->alloc(a->user_data, SIZE_MAX - 4000, 4096));
}
END_TEST

START_TEST(sizes_that_overflow_fail)
{
    hook h = {0};
    const samba_allocator a = hooked(&h);
    samba__arena arena;
    void *p = NULL;
    size_t capacity = 0, product = 7;
    samba__arena_init(&arena, &a);
    for (size_t below = 0; below < 64; below++) {
        ck_assert_ptr_null(samba__alloc(&a, SIZE_MAX - below % 31));
        ck_assert_ptr_null(samba__alloc_aligned(&a, SIZE_MAX - below * 64, 4096));
        ck_assert_ptr_null(samba__alloc_array(&a, SIZE_MAX / 8 + 2 + below, 8));
        ck_assert_ptr_null(samba__calloc(&a, 8, SIZE_MAX / 8 + 2 + below));
        ck_assert_ptr_null(samba__arena_alloc(&arena, SIZE_MAX / 4 + 2 + below, 4));
        ck_assert_ptr_null(samba__arena_alloc(&arena, SIZE_MAX - below % 31, 1));
    }
    ck_assert_ptr_null(samba__alloc_aligned(&a, 1, 8192));
    ck_assert_ptr_null(samba__alloc_aligned(&a, 1, SIZE_MAX / 2 + 1));
    ck_assert_ptr_null(samba__strndup(&a, "x", SIZE_MAX));
    ck_assert(!samba__grow(&a, &p, &capacity, SIZE_MAX, 1));
    ck_assert(!samba__grow(&a, &p, &capacity, SIZE_MAX / 4, 16));
    ck_assert(p == NULL && capacity == 0);
    ck_assert(!samba__mul_size(SIZE_MAX / 2 + 1, 2, &product));
    ck_assert(samba__mul_size(SIZE_MAX, 1, &product) && product == SIZE_MAX);
    ck_assert(!samba__add_size(SIZE_MAX, 1, &product));
    ck_assert(samba__add_size(SIZE_MAX - 1, 1, &product) && product == SIZE_MAX);
    ck_assert_uint_eq(h.calls, 0); /* refused before the hook was asked */
}
END_TEST

START_TEST(zeroed_and_copied)
{
    hook h = {0};
    const samba_allocator a = hooked(&h);
    unsigned char *z = samba__calloc(&a, 37, 11);
    for (size_t i = 0; i < 37 * 11; i++)
        ck_assert_uint_eq(z[i], 0);
    samba__free(&a, z);
    char *s = samba__strndup(&a, "ab\0cd", 5);
    ck_assert_mem_eq(s, "ab\0cd", 6);
    samba__free(&a, s);
    s = samba__strndup(&a, NULL, 0);
    ck_assert_str_eq(s, "");
    samba__free(&a, s);
    check_clean(&h);
}
END_TEST

START_TEST(arrays_grow)
{
    hook h = {0};
    const samba_allocator a = hooked(&h);
    uint32_t *p = NULL;
    size_t capacity = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        void *v = p;
        ck_assert(samba__grow(&a, &v, &capacity, i + 1, sizeof *p));
        p = v;
        ck_assert_uint_gt(capacity, i);
        p[i] = i;
    }
    ck_assert_uint_lt(h.calls, 20);
    for (uint32_t i = 0; i < 5000; i++)
        ck_assert_uint_eq(p[i], i);
    size_t before = capacity;
    void *v = p;
    h.fail_at = h.calls + 1;
    ck_assert(!samba__grow(&a, &v, &capacity, before + 1, sizeof *p));
    ck_assert(v == p && capacity == before && p[4999] == 4999);
    ck_assert(samba__grow(&a, &v, &capacity, before + 1, sizeof *p));
    p = v;
    ck_assert_uint_eq(p[4999], 4999);
    samba__free(&a, p);
    check_clean(&h);
}
END_TEST

/* Objects of many sizes, small and larger than a block: zeroed, aligned, apart from each other. */
START_TEST(arenas)
{
    enum {
        N = 600
    };
    hook h = {0};
    const samba_allocator a = hooked(&h);
    unsigned char *objects[N];
    samba__arena arena;
    samba__arena_init(&arena, &a);
    samba__arena_free(&arena); /* of nothing */
    for (size_t i = 0; i < N; i++) {
        size_t size = i % 50 == 49 ? 9000 + i : i % 97;
        objects[i] = samba__arena_alloc(&arena, size, 1);
        ck_assert_ptr_nonnull(objects[i]);
        ck_assert_uint_eq((uintptr_t)objects[i] % 16, 0);
        for (size_t j = 0; j < size; j++)
            ck_assert_uint_eq(objects[i][j], 0);
        memset(objects[i], (int)(i % 251), size);
    }
    for (size_t i = 0; i < N; i++) {
        size_t size = i % 50 == 49 ? 9000 + i : i % 97;
        for (size_t j = 0; j < size; j++)
            ck_assert_uint_eq(objects[i][j], i % 251);
    }
    char *s = samba__arena_strndup(&arena, "hello world", 5);
    ck_assert_str_eq(s, "hello");
    h.fail_at = h.calls + 1;
    ck_assert_ptr_null(samba__arena_alloc(&arena, 1, 100000));
    ck_assert_ptr_nonnull(samba__arena_alloc(&arena, 1, 100000));
    samba__arena_free(&arena);
    check_clean(&h);
    ck_assert_ptr_nonnull(samba__arena_alloc(&arena, 3, 3)); /* usable again */
    samba__arena_free(&arena);
    check_clean(&h);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/alloc");
    TCase *c = tcase_create("alloc");
    tcase_add_test(c, blocks_are_aligned_and_whole);
    tcase_add_test(c, touching_changes_nothing);
    tcase_add_test(c, default_hooks);
    tcase_add_test(c, sizes_that_overflow_fail);
    tcase_add_test(c, zeroed_and_copied);
    tcase_add_test(c, arrays_grow);
    tcase_add_test(c, arenas);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
