/*
 * Interposes the C library's allocation functions (glibc: its __libc_ names do the work) and
 * counts. Counters are atomics: any thread may allocate at any time, also before main.
 */
#include "support/fail_alloc.h"

#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#if !defined(SANITIZED) && defined(__GLIBC__)
#define INTERPOSES 1
#else
#define INTERPOSES 0
#endif

static atomic_bool armed, lasting_failure, hit;
static atomic_size_t calls, fail_at;
static atomic_long live;

void fail_alloc_begin(size_t n, bool lasting)
{
    atomic_store(&calls, 0);
    atomic_store(&hit, false);
    atomic_store(&fail_at, n);
    atomic_store(&lasting_failure, lasting);
    atomic_store(&armed, true);
}

size_t fail_alloc_end(void)
{
    atomic_store(&armed, false);
    return atomic_load(&calls);
}

bool fail_alloc_hit(void)
{
    return atomic_load(&hit);
}

long fail_alloc_live(void)
{
    return atomic_load(&live);
}

bool fail_alloc_sees_all(void)
{
    return INTERPOSES;
}

/* True if this allocation is to be refused. */
static bool refuse(void)
{
    if (!atomic_load(&armed))
        return false;
    size_t call = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);
    if (at == 0 || call < at || (call > at && !atomic_load(&lasting_failure)))
        return false;
    atomic_store(&hit, true);
    errno = ENOMEM;
    return true;
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add(&live, 1);
    return p;
}

#if INTERPOSES

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);
void *memalign(size_t align, size_t size);

#define VISIBLE __attribute__((visibility("default")))

VISIBLE void *malloc(size_t size)
{
    return refuse() ? NULL : counted(__libc_malloc(size));
}

VISIBLE void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : counted(__libc_calloc(n, size));
}

VISIBLE void *realloc(void *p, size_t size)
{
    if (p && size == 0) { /* glibc frees it */
        free(p);
        return NULL;
    }
    if (refuse())
        return NULL;
    void *q = __libc_realloc(p, size);
    return p ? q : counted(q);
}

VISIBLE void *reallocarray(void *p, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, total);
}

VISIBLE void *memalign(size_t align, size_t size)
{
    return refuse() ? NULL : counted(__libc_memalign(align, size));
}

VISIBLE void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

VISIBLE int posix_memalign(void **p, size_t align, size_t size)
{
    if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0)
        return EINVAL;
    int saved = errno;
    void *q = memalign(align, size);
    errno = saved;
    if (!q)
        return ENOMEM;
    *p = q;
    return 0;
}

VISIBLE void free(void *p)
{
    if (p)
        atomic_fetch_sub(&live, 1);
    __libc_free(p);
}

static void *hook_alloc(void *user_data, size_t size, size_t align)
{
    (void)user_data;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void hook_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)user_data;
    (void)size;
    (void)align;
    free(ptr);
}

#else

static void *hook_alloc(void *user_data, size_t size, size_t align)
{
    (void)user_data;
    size_t whole = (size + align - 1) / align * align;
    return refuse() ? NULL : counted(aligned_alloc(align, whole ? whole : align));
}

static void hook_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)user_data;
    (void)size;
    (void)align;
    if (ptr)
        atomic_fetch_sub(&live, 1);
    free(ptr);
}

#endif

const samba_allocator *fail_alloc_allocator(void)
{
    static const samba_allocator a = {sizeof(samba_allocator), hook_alloc, hook_free, NULL};
    return &a;
}

/* One run; the number of its allocations. */
static size_t run(fail_alloc_scenario scenario, void *arg, size_t n, bool lasting)
{
    const char *mode = lasting ? "lasting" : "transient";
    long before = fail_alloc_live();
    fail_alloc_begin(n, lasting);
    samba_status status = scenario(arg);
    size_t asked = fail_alloc_end();
    long left = fail_alloc_live() - before;
    bool met = fail_alloc_hit();
    if (!met)
        ck_assert_msg(status == SAMBA_OK, "without failure (n %zu): %s", n,
                      samba_status_string(status));
    ck_assert_msg(status == SAMBA_OK || status == SAMBA_ERROR_OUT_OF_MEMORY ||
                      status == SAMBA_ERROR_BACKEND,
                  "allocation %zu failing (%s) gives: %s", n, mode, samba_status_string(status));
    ck_assert_msg(left == 0, "allocation %zu failing (%s) leaves %ld blocks", n, mode, left);
    return asked;
}

size_t fail_alloc_every(fail_alloc_scenario scenario, void *arg, size_t step)
{
    scenario(arg); /* what the C library allocates once */
    size_t total = run(scenario, arg, 0, false);
    ck_assert_msg(total > 0, "the scenario allocates nothing that is seen");
    for (int lasting = 0; lasting < 2; lasting++)
        for (size_t n = 1;; n += step) {
            run(scenario, arg, n, lasting);
            if (!fail_alloc_hit())
                break;
        }
    run(scenario, arg, 0, false);
    return total;
}
