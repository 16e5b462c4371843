/*
 * Sections: the pieces that a saved state consists of, in the canonical layouts of samba/backend.h,
 * which no page size, instruction set or thread count shows in. Each is an array of one type; what
 * there must be follows from a layout and a position. Knows no file.
 */
#ifndef SAMBA_STATE_SECTION_H
#define SAMBA_STATE_SECTION_H

#include "state/layout.h"

/* Element types: those of samba_dtype that keys and values have, and two more. */
enum {
    SAMBA__TYPE_I32 = 16,
    SAMBA__TYPE_U8 = 17
};

enum {
    SAMBA__SECTION_DIMS = 4
};

typedef struct samba__section {
    samba_section_kind kind;
    int32_t sublayer; /* -1: none */
    int32_t type;     /* of the elements: samba_dtype, SAMBA__TYPE_I32 or _U8 */
    uint32_t n_dims;
    uint64_t dims[SAMBA__SECTION_DIMS]; /* [n_dims]; the rest is 0 */
    uint64_t bytes;                     /* as `type` */
    uint32_t slot;       /* of the layout that it was made from: page slot of KV, else slab slot */
    uint64_t at;         /* where it begins in its slab, canonical */
    const uint8_t *data; /* [bytes]; NULL: in cells, or not kept */
    /* In the file that it was read from; 0: none. */
    samba_codec codec;
    int32_t stored_type;
    uint64_t offset, stored_bytes;
} samba__section;

/* "kv of sublayer 3", for messages. */
enum {
    SAMBA__SECTION_TEXT = 64
};
void samba__section_text(const samba__section *section, char text[SAMBA__SECTION_TEXT]);
const char *samba__section_kind_name(samba_section_kind kind); /* NULL: unknown */
const char *samba__type_name(int32_t type);                    /* NULL: unknown */
/* Bytes of one unit (an element; of Q8_0 a block) and elements in it. 0: unknown type. */
size_t samba__type_unit(int32_t type, uint32_t *elements);
/* Bytes of the section as `type`; false when they cannot be counted, or the last dimension is no
 * multiple of the block. */
bool samba__section_bytes(const samba__section *section, int32_t type, uint64_t *bytes);
/* Bytes of a row: one position of KV, one element of all else. */
size_t samba__section_row(const samba__section *section, int32_t type);
/* The order in which sections stand: < 0, 0, > 0. */
int samba__section_compare(const samba__section *a, const samba__section *b);

/* State sections of a sequence that began at `first` and stands at `position`, in order; none where
 * nothing has been fed. Writes at most `capacity`, returns how many there are. */
typedef struct samba__span {
    uint64_t first, position;
} samba__span;
size_t samba__layout_sections(const samba__layout *layout, samba__span span,
                              samba__section *sections, size_t capacity);
/* Positions of a page slot's keys and values that queries to come can see. */
uint64_t samba__layout_rows(const samba__layout *layout, uint32_t slot, samba__span span);

#endif
