/*
 * The content of a snapshot in canonical form: figures, the model's identity, and sections. Of an
 * image the state stays in its cells and is packed when somebody asks for it; what was read from a
 * file holds its own bytes. Immutable once made. Building an image from content, through the layout
 * of whoever wants it, allocates all it needs first: it succeeds whole or changes nothing. Knows no
 * model and no file.
 */
#ifndef SAMBA_STATE_CONTENT_H
#define SAMBA_STATE_CONTENT_H

#include "model/fingerprint.h"
#include "state/image.h"
#include "state/section.h"

/* About the file it was read from; zeros if it was none. */
typedef struct samba__file_facts {
    uint32_t format_version, library_version;
    uint64_t file_bytes;
    samba_codec codec;
    bool lossy, has_mac;
} samba__file_facts;

typedef struct samba__content {
    const samba_allocator *alloc;
    samba__image *image; /* retained; NULL: no cells */
    samba__model_id id;
    const char *name; /* of the model; lives as long as the content */
    samba__span span;
    uint64_t n_tokens;
    uint32_t n_vocab;
    samba_dtype kv_dtype;
    samba_snapshot_mode mode;
    samba__section *sections; /* [n_sections], in order */
    size_t n_sections;
    uint8_t *bytes;   /* of sections that were read; owned */
    char *owned_name; /* NULL: borrowed */
    samba__file_facts file;
} samba__content;

typedef struct samba__content_parts {
    samba__image *image;
    const samba__model_id *id;
    const char *name; /* borrowed for the content's life, as is metadata */
    uint32_t n_vocab;
    const void *metadata;
    size_t metadata_size;
} samba__content_parts;

samba_status samba__content_of_image(const samba_allocator *a, const samba__content_parts *parts,
                                     samba__content *content, samba_error **error);
void samba__content_free(samba__content *content); /* accepts a zeroed one */

/* The first section of a kind without sublayer, or NULL. */
const samba__section *samba__content_find(const samba__content *content, samba_section_kind kind);
uint64_t samba__content_raw_bytes(const samba__content *content);

/* Rows [first, first + n) of a KV section, or the whole slab whose first part the section is, into
 * `to`, from wherever they are. Any number of threads at once, while the cells' sessions go on. */
typedef struct samba__rows_range {
    uint64_t first, n;
} samba__rows_range;
samba_status samba__content_rows(const samba__content *content, const samba__section *section,
                                 samba__rows_range rows, uint8_t *to, samba_error **error);
samba_status samba__content_slab(const samba__content *content, const samba__section *section,
                                 uint8_t *to, uint64_t size, samba_error **error);
/* Bytes of the slab that the section at `index` begins: its own and those of the parts after it. */
uint64_t samba__content_slab_bytes(const samba__content *content, size_t index, size_t *n_parts);

/* An image of the content for sessions of `layout`. MISMATCH, naming the section, if the sections
 * are not those of the layout. The content is whole (mode FULL). */
samba_status samba__content_image(const samba__content *content, samba__layout *layout,
                                  samba__image **image, samba_error **error);

#endif
