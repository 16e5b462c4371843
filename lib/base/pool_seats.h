/*
 * Inside of the pool, shared by pool.c and pool_wait.c: seats (one per thread) and the word that
 * says which phase is open.
 *
 * The word holds a phase number that only grows and the number of shares, 0 between runs. A share
 * is claimed by raising the number in the seat of its index to the phase's. Both only grow, so a
 * thread that comes late, by however much, can claim nothing of a phase that is over; and what it
 * could claim keeps its phase open, the run going, and `job` as it is.
 */
#ifndef SAMBA_BASE_POOL_SEATS_H
#define SAMBA_BASE_POOL_SEATS_H

#include "base/pool.h"

#include <stdatomic.h>
#include <uv.h>

enum {
    SAMBA__POOL_LINE = 64,
    SAMBA__WORD_SHARES = 0x7ff, /* shares of the open phase; 0: no run */
    SAMBA__WORD_ASLEEP = 0x800, /* someone went to sleep in this phase: look when it ends */
    SAMBA__WORD_PHASE = 12      /* phase number from this bit on */
};

typedef enum seat_state {
    SEAT_AWAKE,
    SEAT_ASLEEP,
    SEAT_CROWDED /* asleep, and was put aside by the system before */
} seat_state;

typedef struct samba__seat {
    _Alignas(SAMBA__POOL_LINE) _Atomic uint64_t claimed; /* last phase whose share was begun */
    _Alignas(SAMBA__POOL_LINE) atomic_int state;         /* seat_state */
    uv_sem_t wake;
    struct samba__pool *pool;
    uint32_t index;
    uv_thread_t thread;
    /* Of the seat's own thread: */
    uint64_t seen;               /* last phase it took part in */
    bool leave;                  /* to sleep, there is no room */
    bool fresh;                  /* woken, and no share done since */
    uint64_t looked, ran, slept; /* the clock, its running time and its own sleeps at that time */
    uv_thread_t looker;
} samba__seat;

struct samba__pool {
    samba_allocator alloc;
    samba_thread_pool host; /* run NULL: threads of our own */
    uint32_t n;
    uint32_t n_started; /* workers that run */
    uint32_t n_seats;   /* initialised */
    samba__seat *seats; /* [n]; 0 is the caller's */
    uv_mutex_t lock;    /* held for a run */
    samba__pool_job job;
    uint32_t n_shares;                       /* of the run */
    uint64_t back_off, retry_at, crowded_at; /* nanoseconds */
    atomic_int n_asleep;                     /* workers, without the caller */
    _Atomic uint64_t crowded_until;          /* spin little until then */
    atomic_bool stop;
    atomic_flag waking; /* held over the fields above */
    /* One line, which goes from thread to thread with every phase: */
    _Alignas(SAMBA__POOL_LINE) _Atomic uint64_t word;
    atomic_uint left; /* shares of the open phase that are not done */
    uint32_t current; /* phase of the job that is open */
};

static inline uint32_t samba__word_shares(uint64_t word)
{
    return (uint32_t)(word & SAMBA__WORD_SHARES);
}

static inline bool samba__word_same(uint64_t a, uint64_t b)
{
    return ((a ^ b) & ~(uint64_t)SAMBA__WORD_ASLEEP) == 0;
}

/* Does shares that nobody has begun, if `word` is still open. */
void samba__pool_steal(samba__pool *pool, samba__seat *self, uint64_t word);

/* pool_wait.c: returns when `word` is over. */
void samba__pool_wait(samba__pool *pool, samba__seat *self, uint64_t word);
/* Wakes whom there is room for: at the start of a run, and when a phase ends in which someone went
 * to sleep. */
void samba__pool_admit(samba__pool *pool);
void samba__pool_wake(samba__pool *pool, samba__seat *self);
/* Wakes all, whatever the room. */
void samba__pool_wake_all(samba__pool *pool);

#endif
