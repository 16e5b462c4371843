/*
 * The directory of a .safetensors file: 8 bytes of header length, a JSON object, then data. All of
 * the header is untrusted; offsets count from the end of the header. Reads no tensor data.
 */
#include "base/bytes.h"
#include "format/containers.h"
#include "format/json.h"

#include <inttypes.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER = 100 << 20
};

typedef struct dtype_row {
    const char *name;
    samba_dtype dtype; /* 0: not readable, but its size is checked */
    uint32_t bytes;
} dtype_row;

static const dtype_row dtypes[] = {
    {"F32", SAMBA_DTYPE_F32, 4},
    {"F16", SAMBA_DTYPE_F16, 2},
    {"BF16", SAMBA_DTYPE_BF16, 2},
    {"F64", 0, 8},
    {"I64", 0, 8},
    {"I32", 0, 4},
    {"I16", 0, 2},
    {"I8", 0, 1},
    {"U64", 0, 8},
    {"U32", 0, 4},
    {"U16", 0, 2},
    {"U8", 0, 1},
    {"BOOL", 0, 1},
    {"F8_E4M3", 0, 1},
    {"F8_E5M2", 0, 1},
    {"F8_E8M0", 0, 1},
    {"C64", 0, 8},
};

typedef struct header {
    samba__checkpoint *checkpoint;
    const char *file_name;
    uint32_t file;
    uint64_t data; /* where the data section begins */
    uint64_t data_bytes;
} header;

static samba_status fail_entry(const header *h, const char *tensor, const char *what,
                               samba_error **error)
{
    const samba__where where = {h->file_name, tensor, LENGTH_BYTES};
    return samba__fail_at(h->checkpoint->alloc, error, SAMBA_ERROR_FORMAT, &where, "tensor %s: %s",
                          tensor, what);
}

static const dtype_row *find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

static samba_status read_shape(const header *h, const samba__json *shape, samba__file_tensor *t,
                               samba_error **error)
{
    const size_t n = samba__json_size(shape);
    if (!samba__json_is_array(shape))
        return fail_entry(h, t->name, "shape is no array", error);
    t->n_dims = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    for (size_t i = 0; i < n && i < sizeof t->shape / sizeof *t->shape; i++) {
        int64_t x;
        if (!samba__json_int(samba__json_at(shape, i), &x) || x < 0)
            return fail_entry(h, t->name, "a dimension is no whole number >= 0", error);
        t->shape[i] = (uint64_t)x;
    }
    return SAMBA_OK;
}

static samba_status read_offsets(const header *h, const samba__json *pair, samba__file_tensor *t,
                                 samba_error **error)
{
    int64_t begin, end;
    if (!samba__json_is_array(pair) || samba__json_size(pair) != 2 ||
        !samba__json_int(samba__json_at(pair, 0), &begin) ||
        !samba__json_int(samba__json_at(pair, 1), &end) || begin < 0 || end < begin)
        return fail_entry(h, t->name, "data_offsets are no two whole numbers 0 <= begin <= end",
                          error);
    if ((uint64_t)end > h->data_bytes) {
        const samba__where where = {h->file_name, t->name, h->data};
        return samba__fail_at(h->checkpoint->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "tensor %s ends at byte %" PRId64
                              " of the data, the file has %" PRIu64,
                              t->name, end, h->data_bytes);
    }
    t->offset = h->data + (uint64_t)begin;
    t->bytes = (uint64_t)(end - begin);
    return SAMBA_OK;
}

/* samba__checkpoint_add checks readable types; this is for the others whose size is known. */
static samba_status check_unreadable(const header *h, const dtype_row *row,
                                     const samba__file_tensor *t, samba_error **error)
{
    uint64_t n, bytes;
    if (!row || row->dtype || t->n_dims > sizeof t->shape / sizeof *t->shape)
        return SAMBA_OK;
    if (!samba__file_tensor_elements(t, &n) || __builtin_mul_overflow(n, row->bytes, &bytes) ||
        bytes != t->bytes)
        return fail_entry(h, t->name, "data_offsets do not fit the shape", error);
    return SAMBA_OK;
}

static samba_status read_entry(const header *h, const char *name, const samba__json *entry,
                               size_t *capacity, samba_error **error)
{
    samba__file_tensor t = {.name = name, .file = h->file};
    size_t size;
    if (!samba__json_is_object(entry))
        return fail_entry(h, name, "its entry is no object", error);
    if (!samba__json_string(samba__json_get(entry, "dtype"), &t.dtype_name, &size) || !size)
        return fail_entry(h, name, "dtype is no string", error);
    SAMBA__TRY(read_shape(h, samba__json_get(entry, "shape"), &t, error));
    SAMBA__TRY(read_offsets(h, samba__json_get(entry, "data_offsets"), &t, error));
    const dtype_row *row = find_dtype(t.dtype_name);
    t.dtype = row ? row->dtype : 0;
    SAMBA__TRY(check_unreadable(h, row, &t, error));
    return samba__checkpoint_add(h->checkpoint, &t, capacity, error);
}

static samba_status read_entries(const header *h, const samba__json *root, size_t *capacity,
                                 samba_error **error)
{
    const samba__where where = {.file = h->file_name, .offset = LENGTH_BYTES};
    const char *name;
    const samba__json *entry;
    if (!samba__json_is_object(root))
        return samba__fail_at(h->checkpoint->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "the header of %s is no JSON object", h->file_name);
    for (const void *it = samba__json_next(root, NULL, &name, &entry); it;
         it = samba__json_next(root, it, &name, &entry))
        if (strcmp(name, "__metadata__") != 0)
            SAMBA__TRY(read_entry(h, name, entry, capacity, error));
    return SAMBA_OK;
}

/* Length of the JSON text. */
static samba_status read_length(const samba__checkpoint *c, const samba__source *source,
                                size_t *length, samba_error **error)
{
    const samba__where where = {.file = samba__source_name(source), .offset = 0};
    const uint64_t size = samba__source_size(source);
    uint8_t head[LENGTH_BYTES + 1]; /* and the first byte of the JSON text */
    if (size < sizeof head)
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "%s has %" PRIu64 " bytes, too few for a GGUF or safetensors file",
                              where.file, size);
    SAMBA__TRY(samba__source_read(source, 0, head, sizeof head, error));
    const uint64_t n = samba__load_u64(head);
    if (head[LENGTH_BYTES] != '{')
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "%s is neither a GGUF nor a safetensors file", where.file);
    if (n > MAX_HEADER || n > size - LENGTH_BYTES)
        return samba__fail_at(c->alloc, error, SAMBA_ERROR_FORMAT, &where,
                              "the header of %s has %" PRIu64 " bytes, the file has %" PRIu64
                              ", the limit is %d",
                              where.file, n, size, MAX_HEADER);
    *length = (size_t)n;
    return SAMBA_OK;
}

samba_status samba__safetensors_read(samba__checkpoint *checkpoint, uint32_t file, size_t *capacity,
                                     samba_error **error)
{
    const samba_allocator *a = checkpoint->alloc;
    const samba__source *source = checkpoint->sources[file];
    samba__json_doc *doc = NULL;
    samba_status status;
    size_t length = 0;
    SAMBA__TRY(read_length(checkpoint, source, &length, error));
    char *text = samba__alloc(a, length);
    if (!text)
        return samba__fail_oom(error);
    SAMBA__TRY_GOTO(samba__source_read(source, LENGTH_BYTES, text, length, error));
    SAMBA__TRY_GOTO(samba__json_parse(a, text, length, samba__source_name(source), &doc, error));
    const header h = {checkpoint, samba__source_name(source), file, LENGTH_BYTES + length,
                      samba__source_size(source) - LENGTH_BYTES - length};
    status = read_entries(&h, samba__json_root(doc), capacity, error);
fail:
    samba__json_free(doc);
    samba__free(a, text);
    return status;
}
