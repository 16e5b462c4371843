/*
 * Untrusted bytes -> tensor directory + metadata, whatever the container. Opening checks everything
 * that can be checked without reading tensor data: header sizes, offsets, overlaps, shape products,
 * name clashes. Knows nothing of models.
 */
#ifndef SAMBA_FORMAT_CHECKPOINT_H
#define SAMBA_FORMAT_CHECKPOINT_H

#include "base/file.h"
#include "format/gguf.h"

/* One tensor. Shapes are outermost first (GGUF stores them the other way round). */
typedef struct samba__file_tensor {
    const char *name;
    samba_dtype dtype;      /* 0: a type that this library can't read; then dtype_name tells */
    const char *dtype_name; /* as the file calls it, e.g. "I64" */
    uint32_t n_dims;        /* 0..4; 0: a scalar */
    uint32_t file;          /* index into samba__checkpoint.sources */
    uint64_t shape[4];
    uint64_t offset; /* absolute, in that file */
    uint64_t bytes;
} samba__file_tensor;

typedef int32_t samba__container;
enum {
    SAMBA__CONTAINER_SAFETENSORS = 1,
    SAMBA__CONTAINER_GGUF = 2
};

typedef struct samba__checkpoint {
    const samba_allocator *alloc;
    samba__arena arena;
    samba__container container;
    const char *path;        /* or the source's name; for messages */
    samba__source **sources; /* owned */
    uint32_t n_sources;
    samba__file_tensor *tensors; /* sorted by name, names distinct */
    size_t n_tensors;
    samba__gguf *gguf; /* GGUF only: its metadata; owned */
    /* Safetensors only; text, zero-terminated, owned; NULL if there is none. */
    char *config_json;
    size_t config_json_size;
    char *tokenizer_json;
    size_t tokenizer_json_size;
    char *tokenizer_config_json; /* tokenizer_config.json: chat template, bos/eos names */
    size_t tokenizer_config_json_size;
    char *generation_config_json;
    size_t generation_config_json_size;
} samba__checkpoint;

/* Texts that take the place of files beside the checkpoint; NULL: the files, if any. Borrowed. */
typedef struct samba__checkpoint_texts {
    const char *config_json;
    size_t config_json_size;
    const char *tokenizer_json;
    size_t tokenizer_json_size;
} samba__checkpoint_texts;

/* A folder, a .safetensors file or a .gguf file, told apart by content. */
samba_status samba__checkpoint_open_path(const samba_allocator *a, const char *path,
                                         const samba__checkpoint_texts *texts,
                                         samba__checkpoint **checkpoint, samba_error **error);
/* One file behind a source; takes `source`, also on failure. */
samba_status samba__checkpoint_open_source(const samba_allocator *a, samba__source *source,
                                           const samba__checkpoint_texts *texts,
                                           samba__checkpoint **checkpoint, samba_error **error);
void samba__checkpoint_close(samba__checkpoint *checkpoint); /* accepts NULL */

/* NULL if there is none. */
const samba__file_tensor *samba__checkpoint_find(const samba__checkpoint *checkpoint,
                                                 const char *name);
/* Reads bytes [first, first + size) of a tensor's data. */
samba_status samba__checkpoint_read(const samba__checkpoint *checkpoint,
                                    const samba__file_tensor *tensor, uint64_t first, void *to,
                                    size_t size, samba_error **error);
/* Maps the files (see samba__source_map). */
samba_status samba__checkpoint_map(samba__checkpoint *checkpoint, samba_error **error);
/* The same bytes where they lie already, or NULL. */
const void *samba__checkpoint_view(const samba__checkpoint *checkpoint,
                                   const samba__file_tensor *tensor, uint64_t first, size_t size);
/* Whether a tensor may be read on several threads at once. */
bool samba__checkpoint_parallel(const samba__checkpoint *checkpoint,
                                const samba__file_tensor *tensor);

/* ---- inside lib/format: what the container readers share ---- */

/* Adds one tensor after checking shape product, size and range in its file. Copies the name. */
samba_status samba__checkpoint_add(samba__checkpoint *checkpoint, const samba__file_tensor *tensor,
                                   size_t *capacity, samba_error **error);
/* Sorts; refuses duplicate names and overlapping ranges within a file. */
samba_status samba__checkpoint_seal(samba__checkpoint *checkpoint, samba_error **error);

#endif
