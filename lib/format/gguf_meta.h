/* How GGUF metadata lies in memory, between gguf.c (which fills it) and gguf_meta.c (which reads
 * it). */
#ifndef SAMBA_FORMAT_GGUF_META_H
#define SAMBA_FORMAT_GGUF_META_H

#include "format/gguf.h"

/* Numbers stay as the file's little-endian bytes, so that all widths share one decoder. */
struct samba__gguf_value {
    const char *key;
    uint32_t type;
    uint32_t elem_type; /* of an array */
    size_t n;           /* array: elements; string: bytes */
    union {
        uint8_t scalar[8];
        const uint8_t *data; /* string or array; of strings: all their bytes, one after another */
    } as;
    const uint32_t *ends; /* [n] array of strings: where each ends in data */
};

struct samba__gguf {
    const samba_allocator *alloc;
    samba__arena arena; /* keys, strings, arrays */
    samba__gguf_value *values;
    size_t n_values, capacity;
    const void **by_key; /* [n_values] values sorted by key, keys distinct */
};

/* Bytes of one number of a value type; 0 for strings, arrays and unknown types. */
uint32_t samba__gguf_type_bytes(uint32_t type);

#endif
