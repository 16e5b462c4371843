/*
 * The state of a sequence at one position: for each slab slot a slab (NULL: the zero state), for
 * each page slot the pages that queries to come can see. Reference-counted as a whole, so that a
 * clone or a snapshot takes one reference; who wants to move on from a shared state copies its
 * tables first (samba__state_unshare), never the cells.
 *
 * Positions are absolute: a token's position decides its RoPE angle and its page. A sequence begins
 * at first_position (usually 0), has no past there, and has been fed position - first_position
 * tokens; both numbers belong to its state. Positions stay below SAMBA__POSITION_END.
 *
 * Between passes list i holds exactly the pages [first, first + n) with
 * first = samba__state_first_page(position) and first + n = samba__layout_n_pages(position); a
 * sequence that has not moved yet holds none. Slots of a page before first_position hold nothing.
 */
#ifndef SAMBA_STATE_STATE_H
#define SAMBA_STATE_STATE_H

#include "state/layout.h"

typedef struct samba__page_list {
    uint64_t first;      /* number (position / page_positions) of cells[0] */
    samba__cell **cells; /* [n], oldest first */
    size_t n, capacity;
} samba__page_list;

typedef struct samba__state {
    samba__refs refs;
    const samba_allocator *alloc;
    uint64_t first_position, position; /* of the first token, of the next one */
    uint32_t n_slab_slots, n_page_slots;
    samba__cell **slabs;     /* [n_slab_slots] */
    samba__page_list *lists; /* [n_page_slots] */
} samba__state;

/* Beyond it the angles of RoPE have lost all meaning. */
#define SAMBA__POSITION_END ((uint64_t)1 << 40)

/* Nothing fed yet. */
samba_status samba__state_create(const samba__layout *layout, uint64_t first_position,
                                 samba__state **state, samba_error **error);
samba__state *samba__state_retain(samba__state *state);
void samba__state_release(samba__state *state); /* accepts NULL */
/* Replaces *state, if shared, by a copy that shares its cells; made of *spare, an empty one of the
 * same layout, if there is one (then NULL). */
samba_status samba__state_unshare(const samba__layout *layout, samba__state **state,
                                  samba__state **spare, samba_error **error);
/* Number of the oldest page of a list that a query at `position` or later can see. */
uint64_t samba__state_first_page(const samba__state *state, const samba__layout *layout,
                                 uint32_t slot, uint64_t position);
/* Bytes of the cells. */
uint64_t samba__state_bytes(const samba__state *state);
/* Room for `extra` more pages. */
bool samba__page_list_reserve(samba__page_list *list, const samba_allocator *a, size_t extra);

#endif
