/*
 * The threads of a compute device. A run is a list of phases; a phase is divided into shares, and
 * none of its shares starts before all of the phase before it are done. Shares are claimed, not
 * assigned: a thread takes its own share first and then any that nobody has begun, so a thread that
 * the system has put aside holds up the others for what it has begun at most, and one thread alone
 * can do all of it. Results never depend on who does what: the division is by index alone.
 *
 * The caller works too, and a pool of 1 has no threads at all. Threads wait by spinning, then
 * asleep; those that the machine has no room for are left asleep for a while (pool_wait.c). One run
 * at a time per pool: others wait, or go without (samba__pool_try_run). During a run every thread,
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

/* Does share `index` of `n` of a phase. n is the same in all phases of a run but the serial ones,
 * where it is 1, and at most the pool's size. */
typedef void (*samba__pool_fn)(void *arg, uint32_t phase, uint32_t index, uint32_t n);

typedef struct samba__pool_job {
    samba__pool_fn fn;
    void *arg;
    uint32_t n_phases;
    uint64_t serial; /* bit i: phase i is one share, done by whoever ends the phase before it */
} samba__pool_job;

typedef struct samba__pool_options {
    uint32_t n_threads;            /* 1 .. SAMBA__POOL_MAX; with a host's pool, its n_threads */
    const samba_thread_pool *host; /* copied; NULL: the pool starts threads of its own */
    uint32_t n_cpus; /* how many threads the machine can run at a time; 0: ask the system */
} samba__pool_options;

samba_status samba__pool_create(const samba_allocator *a, const samba__pool_options *options,
                                samba__pool **pool, samba_error **error);
void samba__pool_free(samba__pool *pool); /* joins; accepts NULL */
uint32_t samba__pool_size(const samba__pool *pool);
void samba__pool_run(samba__pool *pool, const samba__pool_job *job);
/* False, and nothing is done, if the pool is at work for someone else. */
bool samba__pool_try_run(samba__pool *pool, const samba__pool_job *job);

/* This share [*begin, *end) of n items, in units of `unit` (the last may be short). */
static inline void samba__pool_share(size_t n, size_t unit, uint32_t index, uint32_t n_shares,
                                     size_t *begin, size_t *end)
{
    size_t units = (n + unit - 1) / unit;
    size_t b = units * index / n_shares * unit, e = units * (index + 1) / n_shares * unit;
    *begin = b < n ? b : n;
    *end = e < n ? e : n;
}

#endif
