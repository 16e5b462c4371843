/*
 * A sequence on the move: its current state, and the spare cells that its passes write. A step is a
 * transaction:
 *
 *     reserve -> copy_tails -> describe -> (the backend's pass) -> commit or discard
 *
 * Reserve makes everything there that the pass and the commit need, so that commit cannot fail; it
 * changes nothing that anybody can see. The pass reads the state's slabs and writes spare ones; it
 * writes pages only past the position: rows there are scratch until commit, and a last page in
 * which somebody else has gone on is replaced by a copy. Commit swaps cells between state and
 * spares; cells that nobody shares are kept for the next step. Once a window is full, its slot
 * holds as many pages as the largest step so far needs wherever it starts within a page; from then
 * on an unshared sequence never allocates, and its bytes stay the same. One thread at a time.
 */
#ifndef SAMBA_STATE_SEQUENCE_H
#define SAMBA_STATE_SEQUENCE_H

#include "state/state.h"

/* Spares of a page slot, and what the reserved step does there. */
typedef struct samba__page_hold {
    samba__cell_stack spares;
    size_t n_new;     /* pages appended */
    bool copies_tail; /* someone else has gone on in the last page: a copy takes its place */
    bool claims_tail; /* rows of the last page are ours to write */
} samba__page_hold;

typedef struct samba__sequence {
    samba__layout *layout;
    samba__state *state;
    samba__state *spare_state;      /* empty; NULL: none */
    samba__cell_stack *slab_spares; /* [n_slab_slots] */
    samba__page_hold *pages;        /* [n_page_slots] */
    uint32_t n_rows, n_sets;        /* of the reserved step; 0: none */
    uint32_t most_rows;             /* of any step so far */
    /* Tables that the backend reads during the pass. */
    uint32_t *slab_ids; /* slab_in [n_slab_slots], then slab_out [n_sets][n_slab_slots] */
    size_t slab_ids_capacity;
    uint32_t *page_ids;
    size_t page_ids_capacity;
    samba_backend_pages *page_tables; /* [n_page_slots] */
} samba__sequence;

typedef struct samba__step {
    uint32_t n_rows;      /* 1 .. rows_per_pass */
    uint32_t n_sets;      /* 1: the state after the last row; n_rows: after every row */
    uint64_t max_bytes;   /* fails with LIMIT if the sequence would hold more; 0: no limit */
    uint64_t other_bytes; /* what else counts against it */
} samba__step;

/* Nothing fed yet; takes its own reference of the layout. */
samba_status samba__sequence_init(samba__sequence *seq, samba__layout *layout,
                                  uint64_t first_position, samba_error **error);
/* At the place of `from`, sharing all its cells. */
samba_status samba__sequence_init_shared(samba__sequence *seq, const samba__sequence *from,
                                         samba_error **error);
void samba__sequence_free(samba__sequence *seq); /* accepts a zeroed one */
/* Back to the first position; keeps unshared cells as spares, within the limits. No step is
 * reserved. */
samba_status samba__sequence_reset(samba__sequence *seq, samba_error **error);
/* To the place of `state`, which is shared from then on; unshared cells of the present state are
 * kept as spares. Cannot fail. No step is reserved. */
void samba__sequence_restore(samba__sequence *seq, samba__state *state);

/* Takes a reference of another state of the same layout over. If nobody else has one, its parts
 * serve the next step, within the limits. No step is reserved. */
void samba__sequence_recycle(samba__sequence *seq, samba__state *state);

samba_status samba__sequence_reserve(samba__sequence *seq, const samba__step *step,
                                     samba_error **error);
/* Under the device's pass lock: other passes may be reading the pages. */
samba_status samba__sequence_copy_tails(samba__sequence *seq, samba_error **error);
/* Fills in position, n_rows and the tables; they are valid until the next reserve. */
void samba__sequence_describe(samba__sequence *seq, samba_backend_seq *to);
/* Moves on by the first n_kept rows (1 .. n_rows) of the step. With one set n_kept is n_rows. */
void samba__sequence_commit(samba__sequence *seq, uint32_t n_kept);
void samba__sequence_discard(samba__sequence *seq);

/* Bytes of all cells held: state, shared or not, and spares. */
uint64_t samba__sequence_bytes(const samba__sequence *seq);

#endif
