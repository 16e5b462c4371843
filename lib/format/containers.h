/*
 * What the container readers of this folder share. Nobody outside lib/format includes this. The
 * functions about safetensors and folders live in safetensors.c and hf_dir.c, or in hf_none.c where
 * the build has no JSON.
 */
#ifndef SAMBA_FORMAT_CONTAINERS_H
#define SAMBA_FORMAT_CONTAINERS_H

#include "format/checkpoint.h"

/* A checkpoint without tensors and with room for `max_sources` sources. Copies the path. */
samba_status samba__checkpoint_new(const samba_allocator *a, const char *path, size_t max_sources,
                                   samba__checkpoint **checkpoint, samba_error **error);
/* Takes the source; the room was reserved, so this can't fail. Returns its number. */
uint32_t samba__checkpoint_adopt(samba__checkpoint *checkpoint, samba__source *source);

/* Product of the dimensions; false on overflow. */
bool samba__file_tensor_elements(const samba__file_tensor *tensor, uint64_t *n);

/* Adds the tensors of one .safetensors file; *capacity is that of checkpoint->tensors. */
samba_status samba__safetensors_read(samba__checkpoint *checkpoint, uint32_t file, size_t *capacity,
                                     samba_error **error);
samba_status samba__hf_open_folder(const samba_allocator *a, const char *path,
                                   const samba__checkpoint_texts *texts,
                                   samba__checkpoint **checkpoint, samba_error **error);
/* Fills the checkpoint's texts: from `texts` (may be NULL), else from files in `folder` (may be
 * NULL) where they exist. */
samba_status samba__hf_read_texts(samba__checkpoint *checkpoint, const char *folder,
                                  const samba__checkpoint_texts *texts, samba_error **error);

/* Sorts pointers in place: O(n log n) for any input, without memory (unlike the C library's qsort,
 * which may call malloc). `compare` gets the items. */
typedef int (*samba__compare_fn)(const void *a, const void *b);
void samba__sort_pointers(const void **items, size_t n, samba__compare_fn compare);

#endif
