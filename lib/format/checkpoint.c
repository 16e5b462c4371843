/*
 * The tensor directory that all containers fill, and the choice of the container by content. Here
 * are the checks that hold for every container: sizes against shapes, ranges against files,
 * distinct names, no two tensors sharing bytes. Knows no container's syntax.
 */
#include "format/checkpoint.h"
#include "format/containers.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DIMS = 4
};

static void sift_down(const void **items, size_t root, size_t n, samba__compare_fn compare)
{
    for (;;) {
        size_t child = 2 * root + 1;
        if (child >= n)
            return;
        if (child + 1 < n && compare(items[child], items[child + 1]) < 0)
            child++;
        if (compare(items[root], items[child]) >= 0)
            return;
        const void *t = items[root];
        items[root] = items[child];
        items[child] = t;
        root = child;
    }
}

void samba__sort_pointers(const void **items, size_t n, samba__compare_fn compare)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(items, i, n, compare);
    for (size_t end = n; end-- > 1;) {
        const void *t = items[0];
        items[0] = items[end];
        items[end] = t;
        sift_down(items, 0, end, compare);
    }
}

samba_status samba__checkpoint_new(const samba_allocator *a, const char *path, size_t max_sources,
                                   samba__checkpoint **checkpoint, samba_error **error)
{
    samba__checkpoint *c = samba__calloc(a, 1, sizeof *c);
    if (!c)
        return samba__fail_oom(error);
    c->alloc = a;
    samba__arena_init(&c->arena, a);
    c->path = samba__arena_strndup(&c->arena, path, strlen(path));
    c->sources = samba__calloc(a, max_sources, sizeof(samba__source *));
    if (!c->path || !c->sources) {
        samba__checkpoint_close(c);
        return samba__fail_oom(error);
    }
    *checkpoint = c;
    return SAMBA_OK;
}

uint32_t samba__checkpoint_adopt(samba__checkpoint *checkpoint, samba__source *source)
{
    checkpoint->sources[checkpoint->n_sources] = source;
    return checkpoint->n_sources++;
}

void samba__checkpoint_close(samba__checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    const samba_allocator *a = checkpoint->alloc;
    for (uint32_t i = 0; i < checkpoint->n_sources; i++)
        samba__source_close(checkpoint->sources[i]);
    samba__free(a, checkpoint->sources);
    samba__free(a, checkpoint->tensors);
    samba__gguf_free(checkpoint->gguf);
    samba__free(a, checkpoint->config_json);
    samba__free(a, checkpoint->tokenizer_json);
    samba__free(a, checkpoint->tokenizer_config_json);
    samba__free(a, checkpoint->generation_config_json);
    samba__arena_free(&checkpoint->arena);
    samba__free(a, checkpoint);
}

bool samba__file_tensor_elements(const samba__file_tensor *tensor, uint64_t *n)
{
    uint64_t product = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        if (__builtin_mul_overflow(product, tensor->shape[i], &product))
            return false;
    *n = product;
    return true;
}

static samba__where where_of(const samba__checkpoint *c, const samba__file_tensor *t)
{
    return (samba__where){samba__source_name(c->sources[t->file]), t->name, t->offset};
}

/* Shape, dtype and size must tell the same story. */
static samba_status check_size(const samba__checkpoint *c, const samba__file_tensor *t,
                               samba_error **error)
{
    const samba__where where = where_of(c, t);
    uint64_t n, bytes;
    if (!samba__file_tensor_elements(t, &n))
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "the shape of tensor %s has more elements than 64 bits count",
                              t->name);
    if (!t->dtype)
        return SAMBA_OK;
    const samba__dtype_info *info = samba__dtype_info_of(t->dtype);
    uint64_t row = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    if (!info || row % info->block || !samba__dtype_bytes(t->dtype, n, &bytes))
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "tensor %s has %" PRIu64 " elements in rows of %" PRIu64
                              ", which its type %s can't hold",
                              t->name, n, row, t->dtype_name);
    if (bytes != t->bytes)
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "tensor %s has %" PRIu64 " bytes, its shape needs %" PRIu64, t->name,
                              t->bytes, bytes);
    return SAMBA_OK;
}

static samba_status check_tensor(const samba__checkpoint *c, const samba__file_tensor *t,
                                 samba_error **error)
{
    const samba__where where = where_of(c, t);
    const uint64_t size = samba__source_size(c->sources[t->file]);
    if (!t->name[0])
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "a tensor has an empty name");
    if (t->n_dims > MAX_DIMS)
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "tensor %s has %u dimensions, at most %d are supported", t->name,
                              (unsigned)t->n_dims, MAX_DIMS);
    SAMBA__TRY(check_size(c, t, error));
    if (t->offset > size || t->bytes > size - t->offset)
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "tensor %s ends %" PRIu64 " bytes after byte %" PRIu64
                              ", the file has %" PRIu64 " bytes",
                              t->name, t->bytes, t->offset, size);
    return SAMBA_OK;
}

samba_status samba__checkpoint_add(samba__checkpoint *checkpoint, const samba__file_tensor *tensor,
                                   size_t *capacity, samba_error **error)
{
    SAMBA__TRY(check_tensor(checkpoint, tensor, error));
    void *p = checkpoint->tensors;
    samba__file_tensor t = *tensor;
    t.name = samba__arena_strndup(&checkpoint->arena, t.name, strlen(t.name));
    t.dtype_name = samba__arena_strndup(&checkpoint->arena, t.dtype_name, strlen(t.dtype_name));
    if (!t.name || !t.dtype_name ||
        !samba__grow(checkpoint->alloc, &p, capacity, checkpoint->n_tensors + 1, sizeof t))
        return samba__fail_oom(error);
    checkpoint->tensors = p;
    checkpoint->tensors[checkpoint->n_tensors++] = t;
    return SAMBA_OK;
}

static int by_place(const void *a, const void *b)
{
    const samba__file_tensor *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int by_name(const void *a, const void *b)
{
    const samba__file_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static samba_status check_overlaps(const samba__checkpoint *c, const void **order,
                                   samba_error **error)
{
    const samba__file_tensor *last = NULL; /* the one that ends last so far; ends never overflow */
    for (size_t i = 0; i < c->n_tensors; i++) {
        const samba__file_tensor *t = order[i];
        if (!t->bytes)
            continue;
        if (last && last->file == t->file && last->offset + last->bytes > t->offset) {
            const samba__where where = where_of(c, t);
            return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                                  "tensors %s and %s share bytes", last->name, t->name);
        }
        last = t;
    }
    return SAMBA_OK;
}

static samba_status check_names(const samba__checkpoint *c, const void **order, samba_error **error)
{
    for (size_t i = 1; i < c->n_tensors; i++) {
        const samba__file_tensor *t = order[i];
        if (by_name(order[i - 1], t) == 0) {
            const samba__where where = where_of(c, t);
            return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                                  "tensor %s is there twice", t->name);
        }
    }
    return SAMBA_OK;
}

samba_status samba__checkpoint_seal(samba__checkpoint *checkpoint, samba_error **error)
{
    const samba_allocator *a = checkpoint->alloc;
    const size_t n = checkpoint->n_tensors;
    samba_status status;
    samba__file_tensor *sorted = samba__alloc_array(a, n, sizeof *sorted);
    const void **order = samba__alloc_array(a, n, sizeof *order);
    if (!sorted || !order) {
        status = samba__fail_oom(error);
        goto fail;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = &checkpoint->tensors[i];
    samba__sort_pointers(order, n, by_place);
    SAMBA__TRY_GOTO(check_overlaps(checkpoint, order, error));
    samba__sort_pointers(order, n, by_name);
    SAMBA__TRY_GOTO(check_names(checkpoint, order, error));
    for (size_t i = 0; i < n; i++)
        sorted[i] = *(const samba__file_tensor *)order[i];
    samba__free(a, checkpoint->tensors);
    checkpoint->tensors = sorted;
    samba__free(a, order);
    return SAMBA_OK;
fail:
    samba__free(a, order);
    samba__free(a, sorted);
    return status;
}

/* A zip is what PyTorch saves; saying so beats "malformed". */
static samba_status check_zip(const samba__checkpoint *c, const uint8_t head[4],
                              samba_error **error)
{
    if (memcmp(head, "PK\3\4", 4) != 0)
        return SAMBA_OK;
    const samba__where where = {.file = c->path, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(c->alloc, error, SAMBA_ERROR_UNSUPPORTED, &where,
                          "%s is a zip archive, as PyTorch saves them; convert it to safetensors",
                          c->path);
}

/* The first bytes decide. No safetensors file begins with "GGUF": its header would be 1 GB long. */
static samba_status read_container(samba__checkpoint *c, samba_error **error)
{
    uint8_t head[4] = {0};
    size_t capacity = 0;
    if (samba__source_size(c->sources[0]) >= sizeof head)
        SAMBA__TRY(samba__source_read(c->sources[0], 0, head, sizeof head, error));
    if (memcmp(head, "GGUF", 4) == 0) {
        c->container = SAMBA__CONTAINER_GGUF;
        SAMBA__TRY(samba__gguf_read(c, 0, error));
    } else {
        c->container = SAMBA__CONTAINER_SAFETENSORS;
        SAMBA__TRY(check_zip(c, head, error));
        SAMBA__TRY(samba__safetensors_read(c, 0, &capacity, error));
    }
    return samba__checkpoint_seal(c, error);
}

/* Takes `source`. folder: where texts may lie, or NULL. */
static samba_status open_file(const samba_allocator *a, samba__source *source, const char *folder,
                              const samba__checkpoint_texts *texts, samba__checkpoint **checkpoint,
                              samba_error **error)
{
    samba__checkpoint *c = NULL;
    samba_status status = samba__checkpoint_new(a, samba__source_name(source), 1, &c, error);
    if (status != SAMBA_OK) {
        samba__source_close(source);
        return status;
    }
    samba__checkpoint_adopt(c, source);
    SAMBA__TRY_GOTO(read_container(c, error));
    if (c->container == SAMBA__CONTAINER_SAFETENSORS)
        SAMBA__TRY_GOTO(samba__hf_read_texts(c, folder, texts, error));
    *checkpoint = c;
    return SAMBA_OK;
fail:
    samba__checkpoint_close(c);
    return status;
}

samba_status samba__checkpoint_open_source(const samba_allocator *a, samba__source *source,
                                           const samba__checkpoint_texts *texts,
                                           samba__checkpoint **checkpoint, samba_error **error)
{
    return open_file(a, source, NULL, texts, checkpoint, error);
}

samba_status samba__checkpoint_open_path(const samba_allocator *a, const char *path,
                                         const samba__checkpoint_texts *texts,
                                         samba__checkpoint **checkpoint, samba_error **error)
{
    samba__source *source = NULL;
    if (samba__path_is_folder(path))
        return samba__hf_open_folder(a, path, texts, checkpoint, error);
    SAMBA__TRY(samba__source_open_path(a, path, &source, error));
    char *folder = samba__path_folder(a, path);
    if (!folder) {
        samba__source_close(source);
        return samba__fail_oom(error);
    }
    samba_status status = open_file(a, source, folder, texts, checkpoint, error);
    samba__free(a, folder);
    return status;
}

static int key_to_tensor(const void *key, const void *tensor)
{
    return strcmp(key, ((const samba__file_tensor *)tensor)->name);
}

const samba__file_tensor *samba__checkpoint_find(const samba__checkpoint *checkpoint,
                                                 const char *name)
{
    if (!checkpoint->n_tensors)
        return NULL;
    return bsearch(name, checkpoint->tensors, checkpoint->n_tensors, sizeof *checkpoint->tensors,
                   key_to_tensor);
}

samba_status samba__checkpoint_read(const samba__checkpoint *checkpoint,
                                    const samba__file_tensor *tensor, uint64_t first, void *to,
                                    size_t size, samba_error **error)
{
    const samba__where where = where_of(checkpoint, tensor);
    if (first > tensor->bytes || size > tensor->bytes - first)
        return samba__fail_at(checkpoint->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT, &where,
                              "%zu bytes after byte %" PRIu64 " of tensor %s, which has %" PRIu64,
                              size, first, tensor->name, tensor->bytes);
    if (!size)
        return SAMBA_OK;
    return samba__source_read(checkpoint->sources[tensor->file], tensor->offset + first, to, size,
                              error);
}

samba_status samba__checkpoint_map(samba__checkpoint *checkpoint, samba_error **error)
{
    for (uint32_t i = 0; i < checkpoint->n_sources; i++)
        SAMBA__TRY(samba__source_map(checkpoint->sources[i], error));
    return SAMBA_OK;
}

const void *samba__checkpoint_view(const samba__checkpoint *checkpoint,
                                   const samba__file_tensor *tensor, uint64_t first, size_t size)
{
    if (first > tensor->bytes || size > tensor->bytes - first)
        return NULL;
    return samba__source_view(checkpoint->sources[tensor->file], tensor->offset + first, size);
}

bool samba__checkpoint_parallel(const samba__checkpoint *checkpoint,
                                const samba__file_tensor *tensor)
{
    return samba__source_parallel(checkpoint->sources[tensor->file]);
}
