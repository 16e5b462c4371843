/*
 * Opening a device: believe nothing of the table before it is checked, give the backend its host
 * services, and ask what it is. Knows the contract only.
 */
#include "backend/device.h"

#include <string.h>

enum {
    PAGE_POSITIONS_MAX = 1 << 16
};

static samba_status host_fail(void *host_data, samba_error **error, samba_status status,
                              const char *message)
{
    const samba__device *d = host_data;
    if (status == SAMBA_ERROR_OUT_OF_MEMORY)
        return samba__fail_oom(error);
    return samba__fail(d->alloc, error, status, "%s", message);
}

static void host_log(void *host_data, samba_log_level level, const char *message)
{
    const samba__device *d = host_data;
    samba__log_write(d->log, level, "%s: %s", d->vtbl->name, message);
}

typedef struct required_function {
    size_t offset;
    const char *name;
} required_function;

#define ROW(f)                                                                                     \
    {                                                                                              \
        offsetof(samba_backend_vtbl, f), #f                                                        \
    }
static const required_function required[] = {
    ROW(open),          ROW(close),        ROW(describe),
    ROW(measure),       ROW(footprint),    ROW(prepare_sublayer),
    ROW(prepare_embed), ROW(prepare_head), ROW(release),
    ROW(slab_alloc),    ROW(slab_free),    ROW(slab_pack),
    ROW(slab_unpack),   ROW(page_alloc),   ROW(page_free),
    ROW(page_copy),     ROW(page_pack),    ROW(page_unpack),
    ROW(begin),         ROW(embed),        ROW(sublayer),
    ROW(tap),           ROW(head),         ROW(submit),
    ROW(wait),          ROW(read),         ROW(end),
};
#undef ROW

static samba_status check_vtbl(const samba_allocator *a, const samba_backend_vtbl *v,
                               samba_error **error)
{
    const size_t needed = offsetof(samba_backend_vtbl, profile); /* the rest is optional */
    if (v->struct_size < needed)
        return samba__fail(a, error, SAMBA_ERROR_BACKEND,
                           "backend table has %zu bytes, at least %zu are needed", v->struct_size,
                           needed);
    if (v->abi != SAMBA_BACKEND_ABI)
        return samba__fail(a, error, SAMBA_ERROR_BACKEND,
                           "backend %s has ABI %u, this library has %u", v->name, v->abi,
                           SAMBA_BACKEND_ABI);
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        void (*f)(void);
        memcpy(&f, (const char *)v + required[i].offset, sizeof f);
        if (!f)
            return samba__fail(a, error, SAMBA_ERROR_BACKEND, "backend %s lacks function %s",
                               v->name, required[i].name);
    }
    return SAMBA_OK;
}

static samba_status check_info(const samba__device *d, samba_error **error)
{
    uint32_t n = d->info.page_positions;
    if (n == 0 || n > PAGE_POSITIONS_MAX || (n & (n - 1)) != 0)
        return samba__fail(d->alloc, error, SAMBA_ERROR_BACKEND,
                           "backend %s says %u positions per page, a power of two up to %d is "
                           "needed",
                           d->vtbl->name, n, PAGE_POSITIONS_MAX);
    if (!d->info.device_name)
        return samba__fail(d->alloc, error, SAMBA_ERROR_BACKEND, "backend %s gives no device name",
                           d->vtbl->name);
    return SAMBA_OK;
}

samba_status samba__device_open(const samba_backend_vtbl *vtbl, const samba__device_params *params,
                                samba__device **device, samba_error **error)
{
    const samba_allocator *a = params->alloc;
    samba_status status;
    SAMBA__TRY(check_vtbl(a, vtbl, error));
    samba__device *d = samba__calloc(a, 1, sizeof *d);
    if (!d)
        return samba__fail_oom(error);
    if (uv_mutex_init(&d->pass_lock) != 0) {
        samba__free(a, d);
        return samba__fail_oom(error);
    }
    d->vtbl = vtbl;
    d->alloc = a;
    d->log = params->log;
    d->index = params->index;
    d->host = (samba_backend_host){.struct_size = sizeof d->host,
                                   .allocator = *a,
                                   .fail = host_fail,
                                   .log = host_log,
                                   .host_data = d};
    const samba_backend_open_params open = {.struct_size = sizeof open,
                                            .host = &d->host,
                                            .device_index = params->index,
                                            .n_threads = params->n_threads,
                                            .cpu_tier = params->cpu_tier,
                                            .profile = params->profile,
                                            .thread_pool = params->thread_pool};
    SAMBA__TRY_GOTO(vtbl->open(&open, &d->handle, error));
    d->info.struct_size = sizeof d->info;
    SAMBA__TRY_GOTO(vtbl->describe(d->handle, &d->info, error));
    SAMBA__TRY_GOTO(check_info(d, error));
    *device = d;
    return SAMBA_OK;
fail:
    samba__device_close(d);
    return status;
}

size_t samba__device_profile(samba__device *device, samba_profile_entry *entries, size_t capacity,
                             bool reset)
{
    const samba_backend_vtbl *v = device->vtbl;
    const size_t end = offsetof(samba_backend_vtbl, profile) + sizeof v->profile;
    if (v->struct_size < end || !v->profile)
        return 0;
    uv_mutex_lock(&device->pass_lock);
    size_t n = v->profile(device->handle, entries, capacity, reset);
    uv_mutex_unlock(&device->pass_lock);
    return n;
}

bool samba__device_log_probs(samba__device *device, const samba_backend_scores *scores)
{
    const samba_backend_vtbl *v = device->vtbl;
    const size_t end = offsetof(samba_backend_vtbl, log_probs) + sizeof v->log_probs;
    if (v->struct_size < end || !v->log_probs)
        return false;
    v->log_probs(device->handle, scores);
    return true;
}

void samba__device_close(samba__device *device)
{
    if (!device)
        return;
    if (device->handle)
        device->vtbl->close(device->handle);
    uv_mutex_destroy(&device->pass_lock);
    samba__free(device->alloc, device);
}
