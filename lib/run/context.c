/*
 * The context: what models share. It lives as long as the longest of its owners (the caller's
 * handle, models, samplers, cancel objects), each of which holds one reference. Devices are opened
 * under the lock and stay until the end, so a device pointer is as good as the context.
 */
#include "run/context.h"
#include "base/cpu.h"

#include <string.h>

struct samba_context {
    samba__refs refs;
    samba_allocator alloc;
    samba__log_sink log;
    int32_t n_threads;
    samba_cpu_tier cpu_tier;
    bool profile;
    samba_thread_pool thread_pool;       /* run NULL: none */
    const samba_backend_vtbl **backends; /* [n_backends], the host's */
    size_t n_backends;
    uv_mutex_t lock; /* guards the devices */
    samba__device **devices;
    size_t n_devices, capacity;
};

samba_status samba__context_create(const samba_context_options *options, samba_context **context,
                                   samba_error **error)
{
    const samba_allocator *a = options->allocator ? options->allocator : samba__alloc_default();
    samba_context *c = samba__calloc(a, 1, sizeof *c);
    if (!c)
        return samba__fail_oom(error);
    samba__refs_init(&c->refs);
    c->alloc = *a;
    c->log =
        (samba__log_sink){.fn = options->log,
                          .user_data = options->log_user_data,
                          .level = options->log_level ? options->log_level : SAMBA_LOG_WARNING};
    c->n_threads = options->n_threads ? options->n_threads : (int32_t)samba__cpu_cores();
    if (options->thread_pool) {
        c->thread_pool = *options->thread_pool;
        c->n_threads = c->thread_pool.n_threads;
    }
    c->cpu_tier = options->cpu_tier;
    c->profile = options->profile == SAMBA_YES;
    c->n_backends = options->n_backends;
    c->backends = samba__alloc_array(a, c->n_backends, sizeof *c->backends);
    if (!c->backends || uv_mutex_init(&c->lock) != 0) {
        samba__free(a, c->backends);
        samba__free(a, c);
        return samba__fail_oom(error);
    }
    for (size_t i = 0; i < c->n_backends; i++)
        c->backends[i] = options->backends[i];
    *context = c;
    return SAMBA_OK;
}

const samba_allocator *samba__context_alloc(const samba_context *context)
{
    return &context->alloc;
}

const samba__log_sink *samba__context_log(const samba_context *context)
{
    return &context->log;
}

int32_t samba__context_threads(const samba_context *context)
{
    return context->n_threads;
}

int32_t samba__context_own_threads(const samba_context *context)
{
    return context->thread_pool.run ? 1 : context->n_threads;
}

samba_context *samba__context_retain(samba_context *context)
{
    samba__refs_take(&context->refs);
    return context;
}

void samba__context_release(samba_context *context)
{
    if (!context || !samba__refs_drop(&context->refs))
        return;
    const samba_allocator a = context->alloc;
    for (size_t i = 0; i < context->n_devices; i++)
        samba__device_close(context->devices[i]);
    samba__free(&a, context->devices);
    samba__free(&a, context->backends);
    uv_mutex_destroy(&context->lock);
    samba__free(&a, context);
}

/* The host's backends come first, so that a host can put its own in place of ours. */
static const samba_backend_vtbl *find_backend(const samba_context *c, const char *name)
{
    for (size_t i = 0; i < c->n_backends; i++)
        if (strcmp(c->backends[i]->name, name) == 0)
            return c->backends[i];
    return samba__registry_find(name);
}

/* Under the lock. */
static samba_status find_or_open(samba_context *c, const samba_backend_vtbl *vtbl, int32_t index,
                                 samba__device **device, samba_error **error)
{
    for (size_t i = 0; i < c->n_devices; i++) {
        if (c->devices[i]->vtbl == vtbl && c->devices[i]->index == index) {
            *device = c->devices[i];
            return SAMBA_OK;
        }
    }
    void *devices = c->devices;
    if (!samba__grow(&c->alloc, &devices, &c->capacity, c->n_devices + 1, sizeof *c->devices))
        return samba__fail_oom(error);
    c->devices = devices;
    const samba__device_params params = {.alloc = &c->alloc,
                                         .log = &c->log,
                                         .index = index,
                                         .n_threads = c->n_threads,
                                         .cpu_tier = c->cpu_tier,
                                         .profile = c->profile,
                                         .thread_pool =
                                             c->thread_pool.run ? &c->thread_pool : NULL};
    SAMBA__TRY(samba__device_open(vtbl, &params, &c->devices[c->n_devices], error));
    *device = c->devices[c->n_devices++];
    return SAMBA_OK;
}

samba_status samba__context_device(samba_context *context, const char *backend, int32_t index,
                                   samba__device **device, samba_error **error)
{
    const samba_backend_vtbl *vtbl = find_backend(context, backend);
    if (!vtbl)
        return samba__fail(&context->alloc, error, SAMBA_ERROR_NOT_FOUND, "no backend named \"%s\"",
                           backend);
    uv_mutex_lock(&context->lock);
    samba_status status = find_or_open(context, vtbl, index, device, error);
    uv_mutex_unlock(&context->lock);
    return status;
}

size_t samba__context_profile(samba_context *context, samba_profile_entry *entries, size_t capacity,
                              bool reset)
{
    size_t n = 0;
    uv_mutex_lock(&context->lock);
    for (size_t i = 0; i < context->n_devices; i++) {
        size_t used = n < capacity ? n : capacity;
        n += samba__device_profile(context->devices[i], entries ? entries + used : NULL,
                                   capacity - used, reset);
    }
    uv_mutex_unlock(&context->lock);
    return n;
}

samba_status samba__cancel_create(samba_context *context, samba_cancel **cancel,
                                  samba_error **error)
{
    samba_cancel *c = samba__calloc(&context->alloc, 1, sizeof *c);
    if (!c)
        return samba__fail_oom(error);
    atomic_init(&c->requested, 0);
    c->context = samba__context_retain(context);
    *cancel = c;
    return SAMBA_OK;
}

void samba__cancel_free(samba_cancel *cancel)
{
    if (!cancel)
        return;
    samba_context *context = cancel->context;
    samba__free(&context->alloc, cancel);
    samba__context_release(context);
}
