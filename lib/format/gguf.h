/*
 * GGUF version 2 and 3 (read), 3 (write): key-value metadata and a tensor directory. Reading checks
 * everything before believing it; see checkpoint.h for the tensor side.
 */
#ifndef SAMBA_FORMAT_GGUF_H
#define SAMBA_FORMAT_GGUF_H

#include "base/file.h"

/* Value types, as numbered in the file. */
enum {
    SAMBA__GGUF_U8,
    SAMBA__GGUF_I8,
    SAMBA__GGUF_U16,
    SAMBA__GGUF_I16,
    SAMBA__GGUF_U32,
    SAMBA__GGUF_I32,
    SAMBA__GGUF_F32,
    SAMBA__GGUF_BOOL,
    SAMBA__GGUF_STRING,
    SAMBA__GGUF_ARRAY,
    SAMBA__GGUF_U64,
    SAMBA__GGUF_I64,
    SAMBA__GGUF_F64
};

typedef struct samba__gguf samba__gguf;
typedef struct samba__gguf_value samba__gguf_value;

typedef struct samba__string {
    const char *data; /* not terminated */
    size_t size;
} samba__string;

/* ---- metadata that was read ---- */
const samba__gguf_value *samba__gguf_find(const samba__gguf *gguf, const char *key);
size_t samba__gguf_n_values(const samba__gguf *gguf);
/* Key (zero-terminated) and value number i. */
const samba__gguf_value *samba__gguf_value_at(const samba__gguf *gguf, size_t i, const char **key);
/* Each returns false when the value is NULL or of another kind. Integers of any width convert if
 * they fit; float takes f32 and f64; indexes count array elements. */
bool samba__gguf_get_u64(const samba__gguf_value *v, uint64_t *out);
bool samba__gguf_get_i64(const samba__gguf_value *v, int64_t *out);
bool samba__gguf_get_f64(const samba__gguf_value *v, double *out);
bool samba__gguf_get_bool(const samba__gguf_value *v, bool *out);
bool samba__gguf_get_string(const samba__gguf_value *v, samba__string *out);
/* 0 if v is no array. */
size_t samba__gguf_array_size(const samba__gguf_value *v);
bool samba__gguf_array_u64(const samba__gguf_value *v, size_t i, uint64_t *out);
bool samba__gguf_array_i64(const samba__gguf_value *v, size_t i, int64_t *out);
bool samba__gguf_array_f64(const samba__gguf_value *v, size_t i, double *out);
bool samba__gguf_array_string(const samba__gguf_value *v, size_t i, samba__string *out);
void samba__gguf_free(samba__gguf *gguf); /* accepts NULL */

/* ---- writing ---- */
/* Order of calls: set_* and add_tensor in any order, then begin_data, then the bytes of every
 * tensor in the order added, then commit. The writer adds padding and checks sizes. */
typedef struct samba__gguf_writer samba__gguf_writer;
samba_status samba__gguf_writer_open(const samba_allocator *a, const char *path,
                                     samba__gguf_writer **writer, samba_error **error);
samba_status samba__gguf_set_u32(samba__gguf_writer *w, const char *key, uint32_t value,
                                 samba_error **error);
samba_status samba__gguf_set_f32(samba__gguf_writer *w, const char *key, float value,
                                 samba_error **error);
samba_status samba__gguf_set_bool(samba__gguf_writer *w, const char *key, bool value,
                                  samba_error **error);
samba_status samba__gguf_set_string(samba__gguf_writer *w, const char *key, const char *value,
                                    size_t size, samba_error **error);
samba_status samba__gguf_set_u32_array(samba__gguf_writer *w, const char *key,
                                       const uint32_t *values, size_t n, samba_error **error);
samba_status samba__gguf_set_i32_array(samba__gguf_writer *w, const char *key,
                                       const int32_t *values, size_t n, samba_error **error);
samba_status samba__gguf_set_f32_array(samba__gguf_writer *w, const char *key, const float *values,
                                       size_t n, samba_error **error);
samba_status samba__gguf_set_string_array(samba__gguf_writer *w, const char *key,
                                          const samba__string *values, size_t n,
                                          samba_error **error);
/* shape: outermost first. */
samba_status samba__gguf_add_tensor(samba__gguf_writer *w, const char *name, samba_dtype dtype,
                                    const uint64_t *shape, uint32_t n_dims, samba_error **error);
samba_status samba__gguf_begin_data(samba__gguf_writer *w, samba_error **error);
/* The next bytes of tensor data; tensors follow each other. */
samba_status samba__gguf_write_data(samba__gguf_writer *w, const void *data, size_t size,
                                    samba_error **error);
/* Ends the writer; *file_bytes may be NULL. */
samba_status samba__gguf_writer_commit(samba__gguf_writer *w, uint64_t *file_bytes,
                                       samba_error **error);
void samba__gguf_writer_abort(samba__gguf_writer *w); /* accepts NULL */

/* Metadata and tensors of a GGUF file; called by checkpoint.c. */
struct samba__checkpoint;
samba_status samba__gguf_read(struct samba__checkpoint *checkpoint, uint32_t file,
                              samba_error **error);

#endif
