/* The context: allocator, log, and the devices opened so far. Reference-counted by what it owns. */
#ifndef SAMBA_RUN_CONTEXT_H
#define SAMBA_RUN_CONTEXT_H

#include "backend/device.h"
#include "base/sync.h"

struct samba_cancel {
    atomic_int requested; /* lock-free: set from signal handlers */
    samba_context *context;
};

static inline bool samba__cancelled(const samba_cancel *cancel)
{
    return cancel && atomic_load_explicit(&((samba_cancel *)(uintptr_t)cancel)->requested,
                                          memory_order_relaxed);
}

/* `options` is complete (see api/options.h) and checked. */
samba_status samba__context_create(const samba_context_options *options, samba_context **context,
                                   samba_error **error);
samba_status samba__cancel_create(samba_context *context, samba_cancel **cancel,
                                  samba_error **error);
void samba__cancel_free(samba_cancel *cancel); /* accepts NULL */

const samba_allocator *samba__context_alloc(const samba_context *context);
const samba__log_sink *samba__context_log(const samba_context *context);
int32_t samba__context_threads(const samba_context *context);
/* Threads that a call outside passes may use, its caller's included: 1 if the host brings its own
 * pool, which belongs to passes. */
int32_t samba__context_own_threads(const samba_context *context);
/* Entries of all devices, one after another: writes at most `capacity`, returns their number. */
size_t samba__context_profile(samba_context *context, samba_profile_entry *entries, size_t capacity,
                              bool reset);
samba_context *samba__context_retain(samba_context *context);
void samba__context_release(samba_context *context);
/* Opens on first use, then shares; owned by the context. NOT_FOUND names the backend. */
samba_status samba__context_device(samba_context *context, const char *backend, int32_t index,
                                   samba__device **device, samba_error **error);

#endif
