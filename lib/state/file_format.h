/*
 * Header, directory and trailer of a snapshot file, by FORMAT.md: writing them, and reading them
 * with every check that can be made without the payload. Internal to the writer and the reader.
 */
#ifndef SAMBA_STATE_FILE_FORMAT_H
#define SAMBA_STATE_FILE_FORMAT_H

#include "base/file.h"
#include "base/mac.h"
#include "state/content.h"

enum {
    SAMBA__FILE_VERSION = 1,
    SAMBA__FILE_HEADER = 256,
    SAMBA__FILE_ENTRY = 96,
    SAMBA__FILE_TRAILER = 80,
    SAMBA__FILE_MAC_AT = 32,  /* in the trailer */
    SAMBA__FILE_HASH_AT = 64, /* in the trailer */
    SAMBA__FILE_NAME_MOST = 1024,
    SAMBA__FILE_SECTIONS_MOST = 1 << 20,
    SAMBA__FILE_METADATA_MOST = 16 << 20,
    SAMBA__FILE_ROW_MOST = 1 << 30 /* bytes of a row: a chunk's planes are counted in 31 bits */
};

/* Feature bits. A reader refuses required ones that it does not know. */
#define SAMBA__FEATURE_LOSSY_KV ((uint64_t)1)     /* required */
#define SAMBA__FEATURE_OPTIONAL_MAC ((uint64_t)1) /* optional */

/* A directory entry, in memory beside its section. */
typedef struct samba__file_entry {
    samba_codec codec;
    int32_t stored_type;
    uint64_t offset, stored_bytes, hash;
} samba__file_entry;

typedef struct samba__file_header {
    uint64_t required, optional;
    uint32_t size; /* name and padding included */
    uint32_t library_version, n_sections;
    uint64_t raw_bytes; /* of all sections, in their stored types */
} samba__file_header;

/* Size of the header of a content with this name. */
size_t samba__file_header_size(const char *name);
/* `to` has header->size bytes. */
void samba__file_put_header(const samba__content *content, const samba__file_header *header,
                            uint8_t *to);
void samba__file_put_entry(const samba__section *section, const samba__file_entry *entry,
                           uint8_t to[SAMBA__FILE_ENTRY]);
typedef struct samba__file_end {
    uint64_t directory; /* offset */
    const uint8_t *entries;
    size_t n_entries;
} samba__file_end;
/* All but MAC and content hash, which are zero. */
void samba__file_put_trailer(const samba__file_end *end, uint8_t to[SAMBA__FILE_TRAILER]);

/* What a file says of itself before its payload is read. */
typedef struct samba__file_head {
    samba__file_header header;
    uint8_t *head;    /* [header.size] as in the file */
    uint8_t *entries; /* the directory as in the file */
    uint64_t directory;
    uint8_t trailer[SAMBA__FILE_TRAILER];
    uint64_t *hashes; /* [n_sections]: XXH64 of stored bytes */
} samba__file_head;
/* Fills in all of `content` but the bytes of its sections. On failure both are to be freed too. */
samba_status samba__file_read_head(const samba__source *source, const samba_allocator *a,
                                   samba__file_head *head, samba__content *content,
                                   samba_error **error);
void samba__file_head_free(samba__file_head *head, const samba_allocator *a);

/* An error of status FORMAT at a place of the file; `section` NULL: none. */
samba_status samba__file_fail(const samba__source *source, const samba__section *section,
                              uint64_t offset, samba_error **error, const char *why);

#endif
