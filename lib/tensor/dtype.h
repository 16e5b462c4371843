/*
 * Element types: names, block layouts, and the scalar codec of each. No threads, no files. A block
 * format is one file (q8_0.c ...), its declarations in blocks.h, and one row of the table in
 * dtype.c.
 */
#ifndef SAMBA_TENSOR_DTYPE_H
#define SAMBA_TENSOR_DTYPE_H

#include "samba.h"
#include "tensor/blocks.h"
#include <stdbool.h>

typedef struct samba__dtype_info {
    const char *name;
    samba_dtype dtype;
    uint32_t block;       /* elements per block */
    uint32_t block_bytes; /* bytes per block */
    uint32_t gguf_type;   /* number in GGUF files */
    /* n is a multiple of `block`. Pointers need no alignment on the encoded side. */
    void (*to_f32)(const void *src, float *dst, size_t n);
    void (*from_f32)(const float *src, void *dst, size_t n);
} samba__dtype_info;

/* NULL for an unknown dtype. */
const samba__dtype_info *samba__dtype_info_of(samba_dtype dtype);
/* By GGUF type number; NULL if not supported. */
const samba__dtype_info *samba__dtype_info_of_gguf(uint32_t gguf_type);
/* Bytes of n elements; false on overflow, unknown dtype, or n no multiple of the block. */
bool samba__dtype_bytes(samba_dtype dtype, uint64_t n, uint64_t *bytes);

#endif
