/*
 * A cell: one slab (recurrent state of one sublayer) or one page (keys and values of some
 * positions) in a backend's memory, as a reference-counted object. Whoever holds the only reference
 * may have it written or reuse it; a shared slab is only read. A shared page is append-only: of
 * several sequences that end at the same place in it the first to go on claims the rows behind and
 * writes there, the others copy the page, and nobody sees rows behind its own end. Knows the
 * backend contract, not what a cell holds. References are taken and dropped on any thread.
 */
#ifndef SAMBA_STATE_CELL_H
#define SAMBA_STATE_CELL_H

#include "backend/device.h"
#include "base/sync.h"

/* What a slot's cells are. */
typedef struct samba__cell_kind {
    const samba_backend_weights *weights; /* of the sublayer that owns the slot */
    uint64_t bytes;
    samba_dtype kv_dtype; /* of pages; 0: slabs */
} samba__cell_kind;

typedef struct samba__cell {
    samba__refs refs;
    uint32_t id; /* the backend's name for it */
    bool is_page;
    atomic_uint claimed; /* of a page that somebody ends in: rows written or about to be */
    uint64_t bytes;
    samba__device *device;
} samba__cell;

samba_status samba__cell_create(samba__device *device, const samba__cell_kind *kind,
                                samba__cell **cell, samba_error **error);
samba__cell *samba__cell_retain(samba__cell *cell);
void samba__cell_release(samba__cell *cell); /* accepts NULL */
/* For the caller, whose rows end at `end`, to write rows [end, to): false if someone else has gone
 * on from there. */
bool samba__cell_claim(samba__cell *page, uint32_t end, uint32_t to);
/* Who has claimed rows, or holds the only reference, says how far they are good. */
static inline void samba__cell_settle(samba__cell *page, uint32_t end)
{
    atomic_store_explicit(&page->claimed, end, memory_order_release);
}

/* A bounded stack of cells that are held by nobody else: spares for the passes to come. */
typedef struct samba__cell_stack {
    samba__cell **cells; /* [capacity] */
    size_t n, capacity;
} samba__cell_stack;

/* Makes room for `capacity` cells; false when memory is out. */
bool samba__cell_stack_room(samba__cell_stack *stack, const samba_allocator *a, size_t capacity);
/* The same, and creates cells until there are `n` (<= capacity). Cells
 * created before a failure stay. */
samba_status samba__cell_stack_fill(samba__cell_stack *stack, samba__device *device,
                                    const samba__cell_kind *kind, size_t n, size_t capacity,
                                    samba_error **error);
/* Takes a reference over: kept if nobody shares the cell and there is room, else dropped. */
void samba__cell_stack_give(samba__cell_stack *stack, samba__cell *cell);
/* Drops cells until at most n are left. */
void samba__cell_stack_trim(samba__cell_stack *stack, size_t n);
void samba__cell_stack_free(samba__cell_stack *stack, const samba_allocator *a);

#endif
