/*
 * The threads of a compute device. samba__pool_run hands one function to every thread and returns
 * when all have finished; the caller works as thread 0, so a pool of 1 has no threads at all.
 * Division of the work is static and the function's own affair (see samba__pool_share): results
 * never depend on timing. Waiting spins briefly, then parks. One run at a time per pool; the owner
 * serialises. Built on libuv threads, mutexes and condition variables. During a run every thread,
 * the caller included, computes with the default floating point control, whatever the host has set.
 */
#ifndef SAMBA_BASE_POOL_H
#define SAMBA_BASE_POOL_H

#include "base/alloc.h"
#include "base/error.h"

typedef struct samba__pool samba__pool;

enum {
    SAMBA__POOL_MAX = 1024
};

/* index: 0 .. n-1. */
typedef void (*samba__pool_fn)(void *arg, uint32_t index, uint32_t n);

samba_status samba__pool_create(const samba_allocator *a, uint32_t n_threads, samba__pool **pool,
                                samba_error **error);
void samba__pool_free(samba__pool *pool); /* joins; accepts NULL */
uint32_t samba__pool_size(const samba__pool *pool);
void samba__pool_run(samba__pool *pool, samba__pool_fn fn, void *arg);
/* Inside a run: waits until every thread of the run has come here. */
void samba__pool_barrier(samba__pool *pool);

/* This thread's part [*begin, *end) of n items, in units of `unit` (the last may be short). */
static inline void samba__pool_share(size_t n, size_t unit, uint32_t index, uint32_t n_threads,
                                     size_t *begin, size_t *end)
{
    size_t units = (n + unit - 1) / unit;
    size_t b = units * index / n_threads * unit, e = units * (index + 1) / n_threads * unit;
    *begin = b < n ? b : n;
    *end = e < n ? e : n;
}

#endif
