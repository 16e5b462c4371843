/*
 * An open compute device: the vtable, its handle, and the host services given to it. Knows the
 * contract only, no concrete backend; registry.c alone names the built-in descriptors.
 */
#ifndef SAMBA_BACKEND_DEVICE_H
#define SAMBA_BACKEND_DEVICE_H

#include "base/alloc.h"
#include "base/log.h"
#include "samba/backend.h"
#include <uv.h>

typedef struct samba__device {
    const samba_backend_vtbl *vtbl;
    samba_backend_device *handle;
    samba_backend_info info;
    samba_backend_host host;
    const samba_allocator *alloc;
    const samba__log_sink *log;
    int32_t index;
    uv_mutex_t pass_lock; /* held from begin to end of a pass: first come, first served */
} samba__device;

/* A built-in backend by name ("cpu"), or NULL. */
const samba_backend_vtbl *samba__registry_find(const char *name);

typedef struct samba__device_params {
    const samba_allocator *alloc; /* this and log outlive the device */
    const samba__log_sink *log;
    int32_t index;
    int32_t n_threads;
    samba_cpu_tier cpu_tier;
    bool profile;
    const samba_thread_pool *thread_pool; /* outlives the device; NULL: none */
} samba__device_params;
/* Checks ABI and struct size of the vtable (missing functions are refused), opens and describes. */
samba_status samba__device_open(const samba_backend_vtbl *vtbl, const samba__device_params *params,
                                samba__device **device, samba_error **error);
/* Writes at most `capacity` entries, returns how many there are. Waits for a running pass. */
size_t samba__device_profile(samba__device *device, samba_profile_entry *entries, size_t capacity,
                             bool reset);
/* Whether the device scores rows of host memory itself; then it has, with the bits of its TARGETS
 * mode. */
bool samba__device_log_probs(samba__device *device, const samba_backend_scores *scores);
void samba__device_close(samba__device *device); /* accepts NULL */

#endif
