/* Contexts and cancel objects at the boundary: checks arguments, delegates. */
#include "run/context.h"
#include "api/options.h"

#include <string.h>

enum {
    THREADS_MAX = 1024,
    PROFILE_ENTRIES = 128 /* more than all backends of a context have */
};

/* The allocator that errors of this call are made with: the host's once it is known to be good. */
static samba_status check_allocator(const samba_allocator *given, const samba_allocator **a,
                                    samba_error **error)
{
    *a = samba__alloc_default();
    if (!given)
        return SAMBA_OK;
    if (given->struct_size < sizeof *given)
        return samba__fail(*a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_allocator.struct_size is %zu, at least %zu is needed",
                           given->struct_size, sizeof *given);
    if (!given->alloc || !given->free)
        return samba__fail(*a, error, SAMBA_ERROR_INVALID_ARGUMENT, "samba_allocator.%s is NULL",
                           given->alloc ? "free" : "alloc");
    *a = given;
    return SAMBA_OK;
}

static samba_status check_pool(const samba_allocator *a, const samba_thread_pool *pool,
                               int32_t n_threads, samba_error **error)
{
    if (!pool)
        return SAMBA_OK;
    if (pool->struct_size < sizeof *pool)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_thread_pool.struct_size is %zu, at least %zu is needed",
                           pool->struct_size, sizeof *pool);
    if (!pool->run)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_thread_pool.run is NULL");
    if (pool->n_threads < 1 || pool->n_threads > THREADS_MAX)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_thread_pool.n_threads is %d, 1 to %d are possible",
                           pool->n_threads, THREADS_MAX);
    if (n_threads && n_threads != pool->n_threads)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "n_threads is %d, samba_thread_pool.n_threads is %d", n_threads,
                           pool->n_threads);
    return SAMBA_OK;
}

static samba_status check_options(const samba_allocator *a, const samba_context_options *o,
                                  samba_error **error)
{
    if (o->log_level < 0 || o->log_level > SAMBA_LOG_DEBUG)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "log_level is %d, known are 1 to %d", o->log_level, SAMBA_LOG_DEBUG);
    if (o->n_threads < 0 || o->n_threads > THREADS_MAX)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "n_threads is %d, at most %d is possible", o->n_threads, THREADS_MAX);
    SAMBA__TRY(check_pool(a, o->thread_pool, o->n_threads, error));
    if (o->cpu_tier < 0 || o->cpu_tier > SAMBA_CPU_NEON_DOTPROD)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "cpu_tier is %d, known are 1 to %d", o->cpu_tier,
                           SAMBA_CPU_NEON_DOTPROD);
    if (o->profile < 0 || o->profile > SAMBA_NO)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "profile is %d, known are 1 and 2", o->profile);
    if (o->n_backends && !o->backends)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "backends is NULL, n_backends is %zu", o->n_backends);
    for (size_t i = 0; i < o->n_backends; i++)
        if (!o->backends[i] || !o->backends[i]->name)
            return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "backends[%zu] or its name is NULL", i);
    return SAMBA_OK;
}

samba_status samba_context_create(const samba_context_options *options, samba_context **context,
                                  samba_error **error)
{
    const samba_allocator *a = samba__alloc_default();
    samba_context_options o;
    if (!context)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "context is NULL");
    SAMBA__TRY(
        samba__options_read(a, options, sizeof o, &o, sizeof o, "samba_context_options", error));
    SAMBA__TRY(check_allocator(o.allocator, &a, error));
    SAMBA__TRY(check_options(a, &o, error));
    return samba__context_create(&o, context, error);
}

void samba_context_free(samba_context *context)
{
    samba__context_release(context);
}

samba_status samba_context_get_profile(samba_context *context, samba_profile_entry *entries,
                                       size_t capacity, size_t item_size, size_t *n_entries,
                                       samba_error **error)
{
    const samba_allocator *a = samba__alloc_default();
    samba_profile_entry all[PROFILE_ENTRIES];
    if (!context || !n_entries || (capacity && !entries))
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL",
                           !context     ? "context"
                           : !n_entries ? "n_entries"
                                        : "entries");
    if (capacity && item_size < sizeof *entries)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "item_size is %zu, a samba_profile_entry has %zu bytes", item_size,
                           sizeof *entries);
    size_t n = samba__context_profile(context, all, PROFILE_ENTRIES, false);
    for (size_t i = 0; i < n && i < capacity && i < PROFILE_ENTRIES; i++)
        memcpy((unsigned char *)entries + i * item_size, &all[i], sizeof all[i]);
    *n_entries = n;
    return SAMBA_OK;
}

void samba_context_reset_profile(samba_context *context)
{
    if (context)
        samba__context_profile(context, NULL, 0, true);
}

samba_status samba_cancel_create(samba_context *context, samba_cancel **cancel, samba_error **error)
{
    if (!context || !cancel)
        return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "%s is NULL", context ? "cancel" : "context");
    return samba__cancel_create(context, cancel, error);
}

void samba_cancel_request(samba_cancel *cancel)
{
    if (cancel)
        atomic_store_explicit(&cancel->requested, 1, memory_order_relaxed);
}

void samba_cancel_reset(samba_cancel *cancel)
{
    if (cancel)
        atomic_store_explicit(&cancel->requested, 0, memory_order_relaxed);
}

void samba_cancel_free(samba_cancel *cancel)
{
    samba__cancel_free(cancel);
}
