/*
 * Rounds: chunks that are collected, worked on by all threads, and then taken in order. What the
 * writer and the reader of snapshot files share.
 */
#ifndef SAMBA_STATE_ROUNDS_H
#define SAMBA_STATE_ROUNDS_H

#include "base/pool.h"
#include "state/chunk.h"

enum {
    /* Per thread of several; a round may pass it by a chunk or a slab. */
    SAMBA__ROUND_BYTES = 1 << 19,
    SAMBA__THREADS_FROM = 16 << 20, /* fewer bytes than this are worked on by one thread */
    SAMBA__ROUND_THREADS = 64       /* more do not help */
};

typedef struct samba__round_task {
    samba__chunk chunk;
    size_t section;
    samba__chunk_result result;
} samba__round_task;

typedef struct samba__rounds {
    const samba_allocator *alloc;
    samba__pool *pool; /* NULL: one thread */
    uint32_t n_threads;
    bool decode;
    samba__chunk_codec codecs[SAMBA__ROUND_THREADS];
    samba__round_task *tasks;
    size_t n, capacity;
    uint8_t *in, *out; /* buffers of the round */
    size_t in_used, in_capacity, out_used, out_capacity;
} samba__rounds;

/* `bytes` to be worked on in all. */
samba_status samba__rounds_init(samba__rounds *r, const samba_allocator *a, uint32_t n_threads,
                                uint64_t bytes, samba_error **error);
void samba__rounds_free(samba__rounds *r); /* accepts a zeroed one */
/* Whether the round has room for `in` and `out` more bytes; an empty round always has, or grows;
 * false there means that memory is out. */
bool samba__rounds_room(samba__rounds *r, size_t in, size_t out);
/* Adds a task. False: memory is out. */
bool samba__rounds_add(samba__rounds *r, const samba__round_task *task);
/* Does all tasks; their results are set. */
void samba__rounds_run(samba__rounds *r);
/* Starts the next round. */
void samba__rounds_clear(samba__rounds *r);

#endif
