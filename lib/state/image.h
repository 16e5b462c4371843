/*
 * An image: everything that a sequence is at one position, without the means to move on. Its state
 * (cells shared with whoever else holds them), its tokens, and the logits of its last row.
 * Immutable and reference-counted; taking one costs a few references, whatever the history and the
 * vocabulary. What snapshots, checkpoints and prefix caches hold. Knows no model and no file.
 *
 * A row of logits is shared too, unless it is one of many or has hidden states beside it: then it
 * is copied, so that an image never keeps more than a row alive.
 */
#ifndef SAMBA_STATE_IMAGE_H
#define SAMBA_STATE_IMAGE_H

#include "state/history.h"
#include "state/output.h"
#include "state/state.h"

typedef struct samba__image {
    samba__refs refs;
    const samba_allocator *alloc;
    samba__layout *layout;
    samba__state *state;
    samba__history history; /* nothing staged */
    samba__output *logits;  /* [1][n_vocab]; NULL: none */
} samba__image;

/* What an image is made of; all borrowed. */
typedef struct samba__image_parts {
    samba__layout *layout;
    samba__state *state; /* shared from now on: whoever moves on unshares it first */
    const samba__history *history;
    samba__output *output; /* NULL: no logits */
    size_t row;            /* of it */
    samba__image **spare;  /* to make it of, then NULL; NULL or of NULL: none */
} samba__image_parts;

samba_status samba__image_create(const samba__image_parts *parts, samba__image **image,
                                 samba_error **error);
samba__image *samba__image_retain(samba__image *image);
/* Takes an image that nobody else has apart: layout and history go, state and logits become the
 * caller's, what is left can be a spare. */
void samba__image_empty(samba__image *image, samba__state **state, samba__output **logits);
void samba__image_release(samba__image *image); /* accepts NULL */

static inline uint64_t samba__image_position(const samba__image *image)
{
    return image->state->position;
}

#endif
