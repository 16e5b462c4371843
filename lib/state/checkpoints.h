/*
 * Checkpoints of a sequence: images of its earlier positions, sorted, all of one lineage: each
 * moved on to become the next, and the last the present state. So what two of them share is known
 * from the positions: full pages that both windows show, the page of the position if nobody wrote
 * on, slabs only where nothing was fed in between.
 *
 * The list is charged the bytes that it alone keeps alive: cells, logits, page tables and token
 * buffers of a checkpoint that neither the next one nor the sequence holds. Of all but the last one
 * that is fixed; what the last one holds alone grows as the sequence moves on. Before a step takes
 * any cell, checkpoints are dropped until the budget will hold after it too. Knows no passes.
 */
#ifndef SAMBA_STATE_CHECKPOINTS_H
#define SAMBA_STATE_CHECKPOINTS_H

#include "state/image.h"

enum {
    SAMBA__CHECKPOINTS_MOST = 64 /* so that a clone, which shares them all, stays cheap */
};

typedef struct samba__checkpoint_entry {
    samba__image *image;
    bool pinned;    /* never dropped for the budget */
    uint64_t bytes; /* that the next one does not hold; of the last one: not kept here */
} samba__checkpoint_entry;

typedef struct samba__checkpoints {
    samba__checkpoint_entry list[SAMBA__CHECKPOINTS_MOST]; /* [n] */
    uint32_t n;
    uint32_t interval; /* least positions between two that are taken by themselves */
    uint64_t budget;   /* bytes; 0: none are taken by themselves */
} samba__checkpoints;

/* What the sequence holds beside its checkpoints; all borrowed. */
typedef struct samba__present {
    const samba__layout *layout;
    const samba__state *state;
    const samba__history *history;
    const samba__output *output; /* NULL: none */
    uint32_t n_rows;             /* of the step that comes next; 0: as things stand */
} samba__present;

/* Zeroed is empty. Drops all. */
void samba__checkpoints_clear(samba__checkpoints *c);
/* `c`, which is empty, gets the same checkpoints, budget and interval. */
void samba__checkpoints_share(samba__checkpoints *c, const samba__checkpoints *from);
/* Drops those after `position`. */
void samba__checkpoints_cut(samba__checkpoints *c, uint64_t position);

/* Bytes charged; with n_rows, those after the step. */
uint64_t samba__checkpoints_bytes(const samba__checkpoints *c, const samba__present *present);
/* Drops the least useful ones until the budget holds, or only pinned ones are left. */
void samba__checkpoints_fit(samba__checkpoints *c, const samba__present *present);

/* Whether one should be taken at `position`, which is the present one or after the next step. */
bool samba__checkpoints_due(const samba__checkpoints *c, const samba__present *present,
                            uint64_t position);
/* Appends an image of the present position and takes the reference over. One at the same position
 * makes way, its pin stays. A full list drops the least useful one; false (and the reference stays
 * the caller's): all are pinned. */
bool samba__checkpoints_add(samba__checkpoints *c, const samba__present *present,
                            samba__image *image, bool pinned);
/* The token buffer that the present history has left behind is given up by those checkpoints whose
 * tokens it still holds. Does what memory allows. */
void samba__checkpoints_follow(samba__checkpoints *c, const samba__present *present);

/* Index of the last one at or before `position`, or n. */
uint32_t samba__checkpoints_find(const samba__checkpoints *c, uint64_t position);

#endif
