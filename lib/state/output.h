/*
 * Rows that a pass gave out: logits, and hidden states where asked for. Reference-counted and, once
 * installed in a session, never written again, so that clones share it; whoever holds the only
 * reference may recycle it.
 */
#ifndef SAMBA_STATE_OUTPUT_H
#define SAMBA_STATE_OUTPUT_H

#include "base/alloc.h"
#include "base/error.h"
#include "base/sync.h"

typedef struct samba__output_shape {
    size_t n_rows;
    size_t n_vocab;
    size_t d_hidden; /* 0: no hidden states */
} samba__output_shape;

typedef struct samba__output {
    samba__refs refs;
    const samba_allocator *alloc;
    samba__output_shape shape;
    size_t capacity; /* floats */
    float *logits;   /* [n_rows][n_vocab] */
    float *hidden;   /* [n_rows][d_hidden]; NULL: none */
} samba__output;

/* Uninitialised rows. Reuses *spare (and sets it to NULL) if it is large enough. LIMIT if the size
 * cannot be counted. */
samba_status samba__output_create(const samba_allocator *a, const samba__output_shape *shape,
                                  samba__output **spare, samba__output **output,
                                  samba_error **error);
samba__output *samba__output_retain(samba__output *output); /* accepts NULL */
void samba__output_release(samba__output *output);          /* accepts NULL */
/* Takes a reference over. It becomes *spare if it is unshared, small and larger than what is there;
 * else it is dropped. `output` may be NULL. */
void samba__output_recycle(samba__output *output, samba__output **spare);
uint64_t samba__output_bytes(const samba__output *output); /* accepts NULL */

#endif
