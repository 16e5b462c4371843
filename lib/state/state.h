/*
 * The state of a sequence at one position: for each slab slot a slab (NULL: the zero state), for
 * each page slot the pages that queries to come can see. Reference-counted as a whole, so that a
 * clone or a snapshot takes one reference; who wants to move on from a shared state copies its
 * tables first (samba__state_unshare), never the cells.
 *
 * Between passes list i holds exactly the pages [first, first + n) with
 * first = samba__layout_first_page(position) and first + n = samba__layout_n_pages(position).
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
    uint64_t position; /* of the next token */
    uint32_t n_slab_slots, n_page_slots;
    samba__cell **slabs;     /* [n_slab_slots] */
    samba__page_list *lists; /* [n_page_slots] */
} samba__state;

/* Position 0. */
samba_status samba__state_create(const samba__layout *layout, samba__state **state,
                                 samba_error **error);
samba__state *samba__state_retain(samba__state *state);
void samba__state_release(samba__state *state); /* accepts NULL */
/* Replaces *state, if shared, by a copy that shares its cells. */
samba_status samba__state_unshare(const samba__layout *layout, samba__state **state,
                                  samba_error **error);
/* Bytes of the cells. */
uint64_t samba__state_bytes(const samba__state *state);
/* Room for `extra` more pages. */
bool samba__page_list_reserve(samba__page_list *list, const samba_allocator *a, size_t extra);

#endif
