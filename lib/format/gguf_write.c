/*
 * Writing GGUF v3, alignment 32. Keys and the tensor directory gather in two buffers and go out
 * with begin_data; tensor data then streams through. The writer counts bytes, so that a file whose
 * directory and data disagree is never committed. A failed set_* or add_tensor leaves the writer as
 * it was.
 */
#include "base/bytes.h"
#include "base/half.h"
#include "format/containers.h"
#include "format/gguf.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <string.h>

enum {
    VERSION = 3,
    ALIGNMENT = 32,
    HEADER_BYTES = 24,
    MAX_KEY = 65535,
    MAX_NAME = 63
};

typedef struct bytes {
    void *data;
    size_t size, capacity;
} bytes;

typedef struct tensor_out {
    const char *name;
    uint64_t bytes;
} tensor_out;

struct samba__gguf_writer {
    const samba_allocator *alloc;
    samba__writer *file;
    samba__arena arena; /* names */
    bytes keys, directory;
    const void **key_names;
    size_t n_keys, key_capacity;
    tensor_out *tensors;
    size_t n_tensors, tensor_capacity;
    uint64_t data_bytes; /* of all tensors added, padded */
    bool in_data;
    size_t current;   /* tensor that the next data byte belongs to */
    uint64_t written; /* bytes of that tensor */
};

/* ---- buffers; every record reserves all its room first ---- */

static bool reserve(const samba__gguf_writer *w, bytes *b, size_t n)
{
    size_t need;
    return samba__add_size(b->size, n, &need) &&
           samba__grow(w->alloc, &b->data, &b->capacity, need, 1);
}

static uint8_t *append(bytes *b, size_t n)
{
    uint8_t *p = (uint8_t *)b->data + b->size;
    b->size += n;
    return p;
}

static void append_u32(bytes *b, uint32_t v)
{
    samba__store_u32(append(b, 4), v);
}

static void append_u64(bytes *b, uint64_t v)
{
    samba__store_u64(append(b, 8), v);
}

static void append_string(bytes *b, const char *s, size_t n)
{
    append_u64(b, n);
    if (n)
        memcpy(append(b, n), s, n);
}

/* ---- keys ---- */

static samba_status fail_key(const samba__gguf_writer *w, const char *key, samba_status code,
                             const char *what, samba_error **error)
{
    return samba__fail(w->alloc, error, code, "GGUF key %s: %s", key, what);
}

/* Begins a key with room for its value of `n` bytes; after it nothing can fail. */
static samba_status begin_key(samba__gguf_writer *w, const char *key, uint32_t type, size_t n,
                              samba_error **error)
{
    const size_t length = strlen(key);
    size_t need;
    void *names = w->key_names;
    if (w->in_data)
        return fail_key(w, key, SAMBA_ERROR_STATE, "set after begin_data", error);
    if (length == 0 || length > MAX_KEY)
        return fail_key(w, key, SAMBA_ERROR_INVALID_ARGUMENT, "empty or longer than 65535 bytes",
                        error);
    if (strcmp(key, "general.alignment") == 0)
        return fail_key(w, key, SAMBA_ERROR_INVALID_ARGUMENT, "fixed by the writer", error);
    const char *copy = samba__arena_strndup(&w->arena, key, length);
    if (!copy || !samba__add_size(8 + length + 4, n, &need) || !reserve(w, &w->keys, need) ||
        !samba__grow(w->alloc, &names, &w->key_capacity, w->n_keys + 1, sizeof *w->key_names))
        return samba__fail_oom(error);
    w->key_names = names;
    w->key_names[w->n_keys++] = copy;
    append_string(&w->keys, key, length);
    append_u32(&w->keys, type);
    return SAMBA_OK;
}

/* The same for an array of n elements that take `size` bytes. */
static samba_status begin_array(samba__gguf_writer *w, const char *key, uint32_t type, size_t n,
                                size_t size, samba_error **error)
{
    size_t need;
    if (!samba__add_size(size, 4 + 8, &need))
        return samba__fail_oom(error);
    SAMBA__TRY(begin_key(w, key, SAMBA__GGUF_ARRAY, need, error));
    append_u32(&w->keys, type);
    append_u64(&w->keys, n);
    return SAMBA_OK;
}

/* A number of 4 bytes: u32, i32 or f32. */
static samba_status set_word(samba__gguf_writer *w, const char *key, uint32_t type, uint32_t bits,
                             samba_error **error)
{
    SAMBA__TRY(begin_key(w, key, type, 4, error));
    append_u32(&w->keys, bits);
    return SAMBA_OK;
}

/* An array of them, in host order. */
static samba_status set_words(samba__gguf_writer *w, const char *key, uint32_t type,
                              const void *values, size_t n, samba_error **error)
{
    const uint8_t *p = values;
    size_t size;
    if (!samba__mul_size(n, 4, &size))
        return samba__fail_oom(error);
    SAMBA__TRY(begin_array(w, key, type, n, size, error));
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, p + 4 * i, sizeof bits);
        append_u32(&w->keys, bits);
    }
    return SAMBA_OK;
}

samba_status samba__gguf_set_u32(samba__gguf_writer *w, const char *key, uint32_t value,
                                 samba_error **error)
{
    return set_word(w, key, SAMBA__GGUF_U32, value, error);
}

samba_status samba__gguf_set_f32(samba__gguf_writer *w, const char *key, float value,
                                 samba_error **error)
{
    return set_word(w, key, SAMBA__GGUF_F32, samba__f32_bits(value), error);
}

samba_status samba__gguf_set_u32_array(samba__gguf_writer *w, const char *key,
                                       const uint32_t *values, size_t n, samba_error **error)
{
    return set_words(w, key, SAMBA__GGUF_U32, values, n, error);
}

samba_status samba__gguf_set_i32_array(samba__gguf_writer *w, const char *key,
                                       const int32_t *values, size_t n, samba_error **error)
{
    return set_words(w, key, SAMBA__GGUF_I32, values, n, error);
}

samba_status samba__gguf_set_f32_array(samba__gguf_writer *w, const char *key, const float *values,
                                       size_t n, samba_error **error)
{
    return set_words(w, key, SAMBA__GGUF_F32, values, n, error);
}

samba_status samba__gguf_set_bool(samba__gguf_writer *w, const char *key, bool value,
                                  samba_error **error)
{
    SAMBA__TRY(begin_key(w, key, SAMBA__GGUF_BOOL, 1, error));
    *append(&w->keys, 1) = value;
    return SAMBA_OK;
}

samba_status samba__gguf_set_string(samba__gguf_writer *w, const char *key, const char *value,
                                    size_t size, samba_error **error)
{
    size_t need;
    if (!samba__add_size(size, 8, &need))
        return samba__fail_oom(error);
    SAMBA__TRY(begin_key(w, key, SAMBA__GGUF_STRING, need, error));
    append_string(&w->keys, value, size);
    return SAMBA_OK;
}

samba_status samba__gguf_set_string_array(samba__gguf_writer *w, const char *key,
                                          const samba__string *values, size_t n,
                                          samba_error **error)
{
    size_t size;
    if (!samba__mul_size(n, 8, &size))
        return samba__fail_oom(error);
    for (size_t i = 0; i < n; i++)
        if (!samba__add_size(size, values[i].size, &size))
            return samba__fail_oom(error);
    SAMBA__TRY(begin_array(w, key, SAMBA__GGUF_STRING, n, size, error));
    for (size_t i = 0; i < n; i++)
        append_string(&w->keys, values[i].data, values[i].size);
    return SAMBA_OK;
}

/* ---- tensors ---- */

static samba_status fail_tensor(const samba__gguf_writer *w, const char *name, samba_status code,
                                const char *what, samba_error **error)
{
    const samba__where where = {.tensor = name, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(w->alloc, error, code, &where, "GGUF tensor %s: %s", name, what);
}

/* Bytes of a tensor, and with padding the bytes of all; false if shape and type do not fit. */
static bool tensor_bytes(const samba__gguf_writer *w, const samba__file_tensor *t, uint64_t *size,
                         uint64_t *data_bytes)
{
    const samba__dtype_info *info = samba__dtype_info_of(t->dtype);
    uint64_t n, end;
    if (!info || t->shape[t->n_dims - 1] % info->block || !samba__file_tensor_elements(t, &n) ||
        !samba__dtype_bytes(t->dtype, n, size) ||
        __builtin_add_overflow(w->data_bytes, *size, &end) ||
        __builtin_add_overflow(end, ALIGNMENT - 1, &end))
        return false;
    *data_bytes = end & ~(uint64_t)(ALIGNMENT - 1);
    return true;
}

samba_status samba__gguf_add_tensor(samba__gguf_writer *w, const char *name, samba_dtype dtype,
                                    const uint64_t *shape, uint32_t n_dims, samba_error **error)
{
    const size_t length = strlen(name);
    samba__file_tensor t = {.name = name, .dtype = dtype, .n_dims = n_dims};
    uint64_t data_bytes;
    void *tensors = w->tensors;
    if (w->in_data)
        return fail_tensor(w, name, SAMBA_ERROR_STATE, "added after begin_data", error);
    if (length == 0 || length > MAX_NAME || n_dims == 0 || n_dims > 4)
        return fail_tensor(w, name, SAMBA_ERROR_INVALID_ARGUMENT,
                           "the name must have 1 to 63 bytes, the shape 1 to 4 dimensions", error);
    memcpy(t.shape, shape, n_dims * sizeof *shape);
    if (!tensor_bytes(w, &t, &t.bytes, &data_bytes))
        return fail_tensor(w, name, SAMBA_ERROR_INVALID_ARGUMENT,
                           "the type is unknown or can't hold rows of this length", error);
    const char *copy = samba__arena_strndup(&w->arena, name, length);
    if (!copy || !reserve(w, &w->directory, 8 + length + 4 + 8 * (size_t)n_dims + 4 + 8) ||
        !samba__grow(w->alloc, &tensors, &w->tensor_capacity, w->n_tensors + 1, sizeof *w->tensors))
        return samba__fail_oom(error);
    w->tensors = tensors;
    w->tensors[w->n_tensors++] = (tensor_out){copy, t.bytes};
    append_string(&w->directory, name, length);
    append_u32(&w->directory, n_dims);
    for (uint32_t i = n_dims; i-- > 0;)
        append_u64(&w->directory, shape[i]);
    append_u32(&w->directory, samba__dtype_info_of(dtype)->gguf_type);
    append_u64(&w->directory, w->data_bytes);
    w->data_bytes = data_bytes;
    return SAMBA_OK;
}

/* ---- output ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Sorts names and finds one that is there twice, or NULL. */
static const char *find_twice(const void **names, size_t n)
{
    samba__sort_pointers(names, n, by_text);
    for (size_t i = 1; i < n; i++)
        if (by_text(names[i - 1], names[i]) == 0)
            return names[i];
    return NULL;
}

static samba_status check_names(samba__gguf_writer *w, samba_error **error)
{
    const char *twice = find_twice(w->key_names, w->n_keys);
    if (twice)
        return fail_key(w, twice, SAMBA_ERROR_INVALID_ARGUMENT, "set twice", error);
    const void **names = samba__alloc_array(w->alloc, w->n_tensors, sizeof *names);
    if (!names)
        return samba__fail_oom(error);
    for (size_t i = 0; i < w->n_tensors; i++)
        names[i] = w->tensors[i].name;
    twice = find_twice(names, w->n_tensors);
    samba__free(w->alloc, names);
    if (twice)
        return fail_tensor(w, twice, SAMBA_ERROR_INVALID_ARGUMENT, "added twice", error);
    return SAMBA_OK;
}

/* Zeros up to the next multiple of ALIGNMENT. */
static samba_status pad(samba__gguf_writer *w, samba_error **error)
{
    static const uint8_t zeros[ALIGNMENT];
    const uint64_t over = samba__writer_offset(w->file) % ALIGNMENT;
    return over ? samba__writer_write(w->file, zeros, (size_t)(ALIGNMENT - over), error) : SAMBA_OK;
}

/* Closes tensors that are complete; those without bytes take no call of write_data. */
static samba_status finish_tensors(samba__gguf_writer *w, samba_error **error)
{
    while (w->current < w->n_tensors && w->written == w->tensors[w->current].bytes) {
        SAMBA__TRY(pad(w, error));
        w->current++;
        w->written = 0;
    }
    return SAMBA_OK;
}

samba_status samba__gguf_begin_data(samba__gguf_writer *w, samba_error **error)
{
    uint8_t head[HEADER_BYTES] = "GGUF";
    if (w->in_data)
        return samba__fail(w->alloc, error, SAMBA_ERROR_STATE, "begin_data was called before");
    SAMBA__TRY(check_names(w, error));
    w->in_data = true; /* after a failed write nothing but abort makes sense */
    samba__store_u32(head + 4, VERSION);
    samba__store_u64(head + 8, w->n_tensors);
    samba__store_u64(head + 16, w->n_keys);
    SAMBA__TRY(samba__writer_write(w->file, head, sizeof head, error));
    if (w->keys.size)
        SAMBA__TRY(samba__writer_write(w->file, w->keys.data, w->keys.size, error));
    if (w->directory.size)
        SAMBA__TRY(samba__writer_write(w->file, w->directory.data, w->directory.size, error));
    SAMBA__TRY(pad(w, error));
    return finish_tensors(w, error);
}

samba_status samba__gguf_write_data(samba__gguf_writer *w, const void *data, size_t size,
                                    samba_error **error)
{
    const uint8_t *p = data;
    if (!w->in_data)
        return samba__fail(w->alloc, error, SAMBA_ERROR_STATE, "tensor data before begin_data");
    while (size) {
        if (w->current == w->n_tensors)
            return samba__fail(w->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "%zu bytes of data past the last of %zu tensors", size,
                               w->n_tensors);
        const uint64_t left = w->tensors[w->current].bytes - w->written;
        const size_t part = size < left ? size : (size_t)left;
        SAMBA__TRY(samba__writer_write(w->file, p, part, error));
        p += part;
        size -= part;
        w->written += part;
        SAMBA__TRY(finish_tensors(w, error));
    }
    return SAMBA_OK;
}

/* ---- life ---- */

static void writer_free(samba__gguf_writer *w)
{
    samba__free(w->alloc, w->keys.data);
    samba__free(w->alloc, w->directory.data);
    samba__free(w->alloc, w->key_names);
    samba__free(w->alloc, w->tensors);
    samba__arena_free(&w->arena);
    samba__free(w->alloc, w);
}

samba_status samba__gguf_writer_open(const samba_allocator *a, const char *path,
                                     samba__gguf_writer **writer, samba_error **error)
{
    samba__gguf_writer *w = samba__calloc(a, 1, sizeof *w);
    if (!w)
        return samba__fail_oom(error);
    w->alloc = a;
    samba__arena_init(&w->arena, a);
    samba_status status = samba__writer_open(a, path, &w->file, error);
    if (status != SAMBA_OK) {
        writer_free(w);
        return status;
    }
    *writer = w;
    return SAMBA_OK;
}

samba_status samba__gguf_writer_commit(samba__gguf_writer *w, uint64_t *file_bytes,
                                       samba_error **error)
{
    if (!w->in_data || w->current < w->n_tensors) {
        samba_status status = samba__fail(w->alloc, error, SAMBA_ERROR_STATE,
                                          "GGUF file committed with the data of %zu of %zu tensors",
                                          w->current, w->n_tensors);
        samba__gguf_writer_abort(w);
        return status;
    }
    const uint64_t size = samba__writer_offset(w->file);
    samba_status status = samba__writer_commit(w->file, error);
    if (status == SAMBA_OK && file_bytes)
        *file_bytes = size;
    writer_free(w);
    return status;
}

void samba__gguf_writer_abort(samba__gguf_writer *writer)
{
    if (!writer)
        return;
    samba__writer_abort(writer->file);
    writer_free(writer);
}
