/*
 * Reference counts, locks and one-time flags. Locks are libuv's; counts are C11 atomics.
 */
#ifndef SAMBA_BASE_SYNC_H
#define SAMBA_BASE_SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct samba__refs {
    atomic_uint_fast32_t n;
} samba__refs;

static inline void samba__refs_init(samba__refs *r)
{
    atomic_init(&r->n, 1);
}

static inline void samba__refs_take(samba__refs *r)
{
    atomic_fetch_add_explicit(&r->n, 1, memory_order_relaxed);
}

/* True when the last one has gone; everything others did is then visible. (Not release and a fence
 * for the last: ThreadSanitizer does not see fences.) */
static inline bool samba__refs_drop(samba__refs *r)
{
    return atomic_fetch_sub_explicit(&r->n, 1, memory_order_acq_rel) == 1;
}

/* True if the caller holds the only reference (and so may write the object). */
static inline bool samba__refs_unique(const samba__refs *r)
{
    return atomic_load_explicit(&((samba__refs *)(uintptr_t)r)->n, memory_order_acquire) == 1;
}

#endif
