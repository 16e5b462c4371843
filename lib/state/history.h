/*
 * The tokens fed, newest last, contiguous. A view (start, n) into a reference-counted buffer:
 * clones share the buffer, and of several views that end at the same place the first to go on
 * writes there in place, the others copy. So a clone costs one reference whatever the length, and
 * what a clone or a checkpoint sees never changes. Grows by doubling; with a cap the oldest tokens
 * are dropped.
 *
 * Tokens are staged before a pass and kept, or not, after it: stage -> commit(n kept).
 */
#ifndef SAMBA_STATE_HISTORY_H
#define SAMBA_STATE_HISTORY_H

#include "base/alloc.h"
#include "base/error.h"

typedef struct samba__history {
    const samba_allocator *alloc;
    struct samba__history_buffer *buffer; /* NULL: none yet */
    size_t start, n;                      /* tokens kept */
    size_t staged;                        /* behind them, claimed by this view */
    size_t max;                           /* most tokens kept; 0: none, SIZE_MAX: all */
} samba__history;

void samba__history_init(samba__history *h, const samba_allocator *a, size_t max);
/* Nothing is staged in `from`. */
void samba__history_init_shared(samba__history *h, const samba__history *from);
/* Sees `n` of the tokens that `from` keeps, after the first `skip`. */
void samba__history_init_within(samba__history *h, const samba__history *from, size_t skip,
                                size_t n);
void samba__history_free(samba__history *h); /* accepts a zeroed one */
void samba__history_reset(samba__history *h);
/* Becomes a view of what `from`, which has the same allocator, sees, as far as its own `max`
 * allows. Nothing is staged in either. */
void samba__history_restore(samba__history *h, const samba__history *from);

samba_status samba__history_stage(samba__history *h, const samba_token *tokens, size_t n,
                                  samba_error **error);
/* Keeps the first n of the staged tokens. */
void samba__history_commit(samba__history *h, size_t n);
/* The tokens kept, h->n of them; valid until the next stage or reset. */
const samba_token *samba__history_tokens(const samba__history *h);
uint64_t samba__history_bytes(const samba__history *h);

#endif
