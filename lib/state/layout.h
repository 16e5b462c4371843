/*
 * What a sequence's state consists of, for one model and one type of keys and values: which slots
 * there are, what their cells weigh, how far back each page slot must reach. Immutable, shared by a
 * session and its clones. Also the sizes of the canonical (file) layout, which do not depend on the
 * backend. Knows no model: run/ fills it in.
 */
#ifndef SAMBA_STATE_LAYOUT_H
#define SAMBA_STATE_LAYOUT_H

#include "state/cell.h"

typedef struct samba__page_layout {
    samba__cell_kind kind;
    uint32_t window; /* keys that the farthest-looking reader sees, own included; 0: all */
    uint32_t sublayer, n_kv_heads, head_dim; /* canonical rows: k [G][c], v [G][c] */
} samba__page_layout;

/* A slab in the canonical layout: arrays of f32, one after the other. */
typedef struct samba__slab_part {
    samba_section_kind kind;
    uint32_t n_dims;
    uint64_t dims[3];
} samba__slab_part;
typedef struct samba__slab_shape {
    uint32_t sublayer, n_parts;
    samba__slab_part parts[2];
} samba__slab_shape;

typedef struct samba__layout {
    samba__refs refs;
    samba__device *device;
    samba_dtype kv_dtype;
    uint32_t page_positions; /* per page, a power of two */
    uint32_t rows_per_pass;  /* most rows that one sequence has in a pass */
    uint32_t n_slab_slots, n_page_slots;
    samba__cell_kind *slabs;   /* [n_slab_slots] */
    samba__slab_shape *shapes; /* [n_slab_slots] */
    samba__page_layout *pages; /* [n_page_slots] */
} samba__layout;

/* With empty slots, which the caller fills in before sharing it. */
samba_status samba__layout_create(samba__device *device, uint32_t n_slab_slots,
                                  uint32_t n_page_slots, samba__layout **layout,
                                  samba_error **error);
samba__layout *samba__layout_retain(samba__layout *layout);
void samba__layout_release(samba__layout *layout); /* accepts NULL */

/* Number of the oldest page that a query at `position` or later can see: key j is visible to query
 * i if i - window < j <= i. */
uint64_t samba__layout_first_page(const samba__layout *layout, uint32_t slot, uint64_t position);
/* Number of pages that hold the positions before `position`. */
uint64_t samba__layout_n_pages(const samba__layout *layout, uint64_t position);
/* Pages to keep for so many positions in a row, wherever they begin; one may be a spare. */
uint64_t samba__pages_spanned(uint64_t positions, uint32_t page_positions);
/* Windowed slots: most pages that a sequence ever holds, spares included. Others: most spares. */
uint64_t samba__layout_page_limit(const samba__layout *layout, uint32_t slot);

/* How the slab of sublayer number `index` looks; n_parts 0: it has none. */
samba__slab_shape samba__slab_shape_of(const samba_backend_sublayer *sublayer, uint32_t index);
/* Bytes of a sublayer's slab, and of one position of its pages, in the canonical layout of
 * samba/backend.h. 0: it has none. False on overflow or an impossible type. */
bool samba__canonical_slab_bytes(const samba_backend_sublayer *sublayer, uint64_t *bytes);
bool samba__canonical_row_bytes(const samba_backend_sublayer *sublayer, samba_dtype kv_dtype,
                                uint64_t *bytes);

#endif
