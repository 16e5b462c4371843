/*
 * Reading GGUF v2 and v3: metadata, then the tensor directory. Nothing is allocated for a declared
 * count or length before the file is known to hold that many bytes, and strings are walked once
 * before they are stored. Tensor data is not read.
 *
 * Layout: "GGUF", u32 version, u64 tensors, u64 keys; per key: string, u32 type, value; per tensor:
 * string, u32 n_dims, u64 dims[] (innermost first), u32 type, u64 offset; padding; data.
 */
#include "base/bytes.h"
#include "format/containers.h"
#include "format/gguf_meta.h"
#include "format/gguf_stream.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 20,
    MAX_KEY = 1 << 16,
    MAX_NAME = 1 << 10,
    MAX_ALIGNMENT = 1 << 16,
    DEFAULT_ALIGNMENT = 32,
    MIN_KEY_BYTES = 8 + 1 + 4 + 1, /* in the file: shortest key with the shortest value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8
};

typedef struct reader {
    samba__checkpoint *checkpoint;
    samba__gguf *gguf;
    samba__gguf_stream stream;
    const char *file_name;
    uint32_t file;
    uint64_t alignment;
} reader;

/* ---- text ---- */

/* Length of the UTF-8 sequence at s (no overlong forms, no surrogates); 0 if it is none. */
static size_t utf8_length(const uint8_t *s, size_t left)
{
    const uint8_t c = s[0];
    const size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Names become C strings in messages and look-ups: UTF-8 without zero bytes, not empty. */
static bool good_name(const char *name, size_t size)
{
    const uint8_t *s = (const uint8_t *)name;
    for (size_t i = 0; i < size;) {
        const size_t n = s[i] ? utf8_length(s + i, size - i) : 0;
        if (!n)
            return false;
        i += n;
    }
    return size > 0;
}

static samba_status fail_here(const reader *r, samba_status code, const char *what,
                              const char *name, samba_error **error)
{
    const samba__where where = {.file = r->file_name, .offset = r->stream.pos};
    return samba__fail_at(r->checkpoint->alloc, error, code, &where,
                          "%s: %s%s%s (before byte %" PRIu64 ")", r->file_name, what,
                          name[0] ? " " : "", name, r->stream.pos);
}

/* Reads a name into `to`, which has room for `max` bytes and a zero. */
static samba_status read_name(reader *r, char *to, size_t max, samba_error **error)
{
    uint64_t size;
    SAMBA__TRY(samba__gguf_stream_u64(&r->stream, &size, error));
    SAMBA__TRY(samba__gguf_stream_need(&r->stream, size, error));
    if (size > max)
        return fail_here(r, SAMBA_ERROR_LIMIT, "a name is too long", "", error);
    SAMBA__TRY(samba__gguf_stream_take(&r->stream, to, (size_t)size, error));
    to[size] = 0;
    if (!good_name(to, (size_t)size))
        return fail_here(r, SAMBA_ERROR_FORMAT, "a name is empty or no UTF-8", "", error);
    return SAMBA_OK;
}

/* ---- values ---- */

/* `size` bytes of the stream, kept in the arena. */
static samba_status read_bytes(reader *r, uint64_t size, const uint8_t **out, samba_error **error)
{
    SAMBA__TRY(samba__gguf_stream_need(&r->stream, size, error));
    uint8_t *p = samba__arena_alloc(&r->gguf->arena, (size_t)size, 1);
    if (!p)
        return samba__fail_oom(error);
    *out = p;
    return samba__gguf_stream_take(&r->stream, p, (size_t)size, error);
}

/* Two passes: the first proves that all the strings are there and measures them. */
static samba_status read_strings(reader *r, samba__gguf_value *v, samba_error **error)
{
    samba__gguf_stream *s = &r->stream;
    const uint64_t begin = s->pos;
    uint64_t size, total = 0;
    for (size_t i = 0; i < v->n; i++) {
        SAMBA__TRY(samba__gguf_stream_u64(s, &size, error));
        SAMBA__TRY(samba__gguf_stream_skip(s, size, error));
        total += size; /* bounded by the stream */
    }
    samba__gguf_stream_seek(s, begin);
    uint8_t *data = samba__arena_alloc(&r->gguf->arena, (size_t)total, 1);
    uint32_t *ends = samba__arena_alloc(&r->gguf->arena, v->n, sizeof *ends);
    if (!data || !ends)
        return samba__fail_oom(error);
    uint32_t at = 0;
    for (size_t i = 0; i < v->n; i++) {
        SAMBA__TRY(samba__gguf_stream_u64(s, &size, error));
        if (size > total - at) /* a source that reads differently the second time */
            return fail_here(r, SAMBA_ERROR_IO, "the file changed while being read", "", error);
        SAMBA__TRY(samba__gguf_stream_take(s, data + at, (size_t)size, error));
        ends[i] = at += (uint32_t)size;
    }
    v->as.data = data;
    v->ends = ends;
    return SAMBA_OK;
}

static samba_status read_array(reader *r, samba__gguf_value *v, samba_error **error)
{
    uint64_t n;
    SAMBA__TRY(samba__gguf_stream_u32(&r->stream, &v->elem_type, error));
    SAMBA__TRY(samba__gguf_stream_u64(&r->stream, &n, error));
    if (v->elem_type == SAMBA__GGUF_ARRAY)
        return fail_here(r, SAMBA_ERROR_UNSUPPORTED, "arrays of arrays are not read, key", v->key,
                         error);
    const bool strings = v->elem_type == SAMBA__GGUF_STRING;
    const uint64_t each = strings ? 8 : samba__gguf_type_bytes(v->elem_type);
    if (!each)
        return fail_here(r, SAMBA_ERROR_FORMAT, "unknown type of array elements, key", v->key,
                         error);
    if (n > samba__gguf_stream_left(&r->stream) / each)
        return fail_here(r, SAMBA_ERROR_FORMAT, "an array is longer than the file, key", v->key,
                         error);
    v->n = (size_t)n;
    return strings ? read_strings(r, v, error) : read_bytes(r, n * each, &v->as.data, error);
}

static samba_status read_value(reader *r, samba__gguf_value *v, samba_error **error)
{
    uint64_t size;
    const uint32_t bytes = samba__gguf_type_bytes(v->type);
    if (v->type == SAMBA__GGUF_ARRAY)
        return read_array(r, v, error);
    if (v->type == SAMBA__GGUF_STRING) {
        SAMBA__TRY(samba__gguf_stream_u64(&r->stream, &size, error));
        SAMBA__TRY(read_bytes(r, size, &v->as.data, error));
        v->n = (size_t)size;
        return SAMBA_OK;
    }
    if (!bytes)
        return fail_here(r, SAMBA_ERROR_FORMAT, "unknown value type, key", v->key, error);
    SAMBA__TRY(samba__gguf_stream_take(&r->stream, v->as.scalar, bytes, error));
    if (v->type == SAMBA__GGUF_BOOL && v->as.scalar[0] > 1)
        return fail_here(r, SAMBA_ERROR_FORMAT, "a bool is neither 0 nor 1, key", v->key, error);
    return SAMBA_OK;
}

static int by_key(const void *a, const void *b)
{
    const samba__gguf_value *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static samba_status sort_keys(reader *r, samba_error **error)
{
    samba__gguf *g = r->gguf;
    const void **order = samba__alloc_array(g->alloc, g->n_values, sizeof *order);
    if (!order)
        return samba__fail_oom(error);
    g->by_key = order;
    for (size_t i = 0; i < g->n_values; i++)
        order[i] = &g->values[i];
    samba__sort_pointers(order, g->n_values, by_key);
    for (size_t i = 1; i < g->n_values; i++)
        if (by_key(order[i - 1], order[i]) == 0)
            return fail_here(r, SAMBA_ERROR_FORMAT, "there twice: key",
                             ((const samba__gguf_value *)order[i])->key, error);
    return SAMBA_OK;
}

/* `scratch` has room for MAX_KEY bytes and a zero. */
static samba_status read_keys(reader *r, uint64_t n, char *scratch, samba_error **error)
{
    samba__gguf *g = r->gguf;
    for (uint64_t i = 0; i < n; i++) {
        samba__gguf_value v = {0};
        void *p = g->values;
        SAMBA__TRY(read_name(r, scratch, MAX_KEY, error));
        v.key = samba__arena_strndup(&g->arena, scratch, strlen(scratch));
        if (!v.key || !samba__grow(g->alloc, &p, &g->capacity, g->n_values + 1, sizeof v))
            return samba__fail_oom(error);
        g->values = p;
        SAMBA__TRY(samba__gguf_stream_u32(&r->stream, &v.type, error));
        SAMBA__TRY(read_value(r, &v, error));
        g->values[g->n_values++] = v;
    }
    return sort_keys(r, error);
}

/* ---- tensors ---- */

typedef struct type_row {
    const char *name;
    uint16_t type, block, bytes;
} type_row;

/* Types that exist but that tensor/dtype.h may not know: for names in messages and size checks. */
static const type_row types[] = {
    {"q4_1", 3, 32, 20},      {"q5_0", 6, 32, 22},      {"q5_1", 7, 32, 24},
    {"q2_K", 10, 256, 84},    {"q3_K", 11, 256, 110},   {"q5_K", 13, 256, 176},
    {"q8_K", 15, 256, 292},   {"iq2_xxs", 16, 256, 66}, {"iq2_xs", 17, 256, 74},
    {"iq3_xxs", 18, 256, 98}, {"iq1_s", 19, 256, 50},   {"iq4_nl", 20, 32, 18},
    {"iq3_s", 21, 256, 110},  {"iq2_s", 22, 256, 82},   {"iq4_xs", 23, 256, 136},
    {"i8", 24, 1, 1},         {"i16", 25, 1, 2},        {"i32", 26, 1, 4},
    {"i64", 27, 1, 8},        {"f64", 28, 1, 8},        {"iq1_m", 29, 256, 56},
    {"tq1_0", 34, 256, 54},   {"tq2_0", 35, 256, 66},   {"mxfp4", 39, 32, 17},
};

static type_row type_of(uint32_t type, samba_dtype *dtype)
{
    const samba__dtype_info *info = samba__dtype_info_of_gguf(type);
    *dtype = info ? info->dtype : 0;
    if (info)
        return (type_row){info->name, 0, (uint16_t)info->block, (uint16_t)info->block_bytes};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return types[i];
    return (type_row){.name = NULL};
}

/* One entry of the directory as the file has it. */
typedef struct entry {
    char name[MAX_NAME + 1];
    char type_name[24]; /* where the type has no name */
    samba__file_tensor tensor;
    uint64_t offset; /* in the data section */
} entry;

/* Bytes by type and shape; unknown types count as 0 bytes. */
static samba_status set_bytes(const reader *r, entry *e, const type_row *type, samba_error **error)
{
    samba__file_tensor *t = &e->tensor;
    uint64_t n;
    t->bytes = 0;
    if (!type->name)
        return SAMBA_OK;
    const uint64_t row = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    if (row % type->block || !samba__file_tensor_elements(t, &n) ||
        __builtin_mul_overflow(n / type->block, type->bytes, &t->bytes))
        return fail_here(r, SAMBA_ERROR_FORMAT, "the shape does not fit the type, tensor", e->name,
                         error);
    return SAMBA_OK;
}

static samba_status read_entry(reader *r, entry *e, samba_error **error)
{
    samba__file_tensor *t = &e->tensor;
    uint32_t type;
    *t = (samba__file_tensor){.name = e->name, .file = r->file};
    SAMBA__TRY(read_name(r, e->name, MAX_NAME, error));
    SAMBA__TRY(samba__gguf_stream_u32(&r->stream, &t->n_dims, error));
    if (t->n_dims > sizeof t->shape / sizeof *t->shape)
        return fail_here(r, SAMBA_ERROR_UNSUPPORTED, "more than 4 dimensions, tensor", e->name,
                         error);
    for (uint32_t i = t->n_dims; i-- > 0;)
        SAMBA__TRY(samba__gguf_stream_u64(&r->stream, &t->shape[i], error));
    SAMBA__TRY(samba__gguf_stream_u32(&r->stream, &type, error));
    SAMBA__TRY(samba__gguf_stream_u64(&r->stream, &e->offset, error));
    if (e->offset % r->alignment)
        return fail_here(r, SAMBA_ERROR_FORMAT, "data is not aligned, tensor", e->name, error);
    const type_row row = type_of(type, &t->dtype);
    snprintf(e->type_name, sizeof e->type_name, "type %" PRIu32, type);
    t->dtype_name = row.name ? row.name : e->type_name;
    return set_bytes(r, e, &row, error);
}

/* Where the data begins is known only past the directory, so it is walked twice. */
static samba_status read_tensors(reader *r, uint64_t n, entry *e, samba_error **error)
{
    const uint64_t begin = r->stream.pos;
    size_t capacity = 0;
    for (uint64_t i = 0; i < n; i++)
        SAMBA__TRY(read_entry(r, e, error));
    const uint64_t mask = r->alignment - 1, data = (r->stream.pos + mask) & ~mask;
    samba__gguf_stream_seek(&r->stream, begin);
    for (uint64_t i = 0; i < n; i++) {
        SAMBA__TRY(read_entry(r, e, error));
        if (__builtin_add_overflow(data, e->offset, &e->tensor.offset))
            return fail_here(r, SAMBA_ERROR_FORMAT, "data lies past 64 bits, tensor", e->name,
                             error);
        SAMBA__TRY(samba__checkpoint_add(r->checkpoint, &e->tensor, &capacity, error));
    }
    return SAMBA_OK;
}

/* ---- the file ---- */

static samba_status read_header(reader *r, uint64_t *n_tensors, uint64_t *n_keys,
                                samba_error **error)
{
    uint32_t magic, version;
    SAMBA__TRY(samba__gguf_stream_u32(&r->stream, &magic, error));
    SAMBA__TRY(samba__gguf_stream_u32(&r->stream, &version, error));
    if (version && !(version & 0xffff))
        return fail_here(r, SAMBA_ERROR_UNSUPPORTED, "big-endian GGUF files are not read", "",
                         error);
    if (version != 2 && version != 3) {
        char text[48];
        snprintf(text, sizeof text, "%" PRIu32 ", versions 2 and 3 are read", version);
        return fail_here(r, SAMBA_ERROR_UNSUPPORTED, "GGUF version", text, error);
    }
    SAMBA__TRY(samba__gguf_stream_u64(&r->stream, n_tensors, error));
    SAMBA__TRY(samba__gguf_stream_u64(&r->stream, n_keys, error));
    if (*n_tensors > MAX_TENSORS || *n_keys > MAX_KEYS)
        return fail_here(r, SAMBA_ERROR_LIMIT, "more than 1048576 tensors or 65536 keys", "",
                         error);
    return samba__gguf_stream_need(&r->stream,
                                   *n_tensors * MIN_TENSOR_BYTES + *n_keys * MIN_KEY_BYTES, error);
}

/* Keys that say how to read the rest. */
static samba_status read_layout(reader *r, samba_error **error)
{
    const samba__gguf_value *v = samba__gguf_find(r->gguf, "general.alignment");
    uint64_t n_files = 1;
    r->alignment = DEFAULT_ALIGNMENT;
    if (v && (!samba__gguf_get_u64(v, &r->alignment) || r->alignment == 0 ||
              r->alignment > MAX_ALIGNMENT || (r->alignment & (r->alignment - 1))))
        return fail_here(r, SAMBA_ERROR_FORMAT, "general.alignment is no power of two up to 65536",
                         "", error);
    if (samba__gguf_get_u64(samba__gguf_find(r->gguf, "split.count"), &n_files) && n_files > 1)
        return fail_here(r, SAMBA_ERROR_UNSUPPORTED,
                         "one part of a split GGUF; merge the parts into one file", "", error);
    return SAMBA_OK;
}

static samba_status read_file(reader *r, samba_error **error)
{
    const samba_allocator *a = r->checkpoint->alloc;
    uint64_t n_tensors, n_keys;
    samba_status status;
    SAMBA__TRY(read_header(r, &n_tensors, &n_keys, error));
    /* One scratch: room for the longest key, and later for one entry. */
    const uint64_t size = samba__source_size(r->checkpoint->sources[r->file]);
    const size_t key = size < MAX_KEY ? (size_t)size : MAX_KEY;
    void *scratch = samba__alloc(a, key + 1 > sizeof(entry) ? key + 1 : sizeof(entry));
    if (!scratch)
        return samba__fail_oom(error);
    SAMBA__TRY_GOTO(read_keys(r, n_keys, scratch, error));
    SAMBA__TRY_GOTO(read_layout(r, error));
    status = read_tensors(r, n_tensors, scratch, error);
fail:
    samba__free(a, scratch);
    return status;
}

samba_status samba__gguf_read(samba__checkpoint *checkpoint, uint32_t file, samba_error **error)
{
    const samba_allocator *a = checkpoint->alloc;
    const samba__source *source = checkpoint->sources[file];
    reader r = {.checkpoint = checkpoint, .file_name = samba__source_name(source), .file = file};
    checkpoint->gguf = r.gguf = samba__calloc(a, 1, sizeof *r.gguf); /* freed with it */
    if (!r.gguf)
        return samba__fail_oom(error);
    r.gguf->alloc = a;
    samba__arena_init(&r.gguf->arena, a);
    SAMBA__TRY(samba__gguf_stream_open(a, source, &r.stream, error));
    samba_status status = read_file(&r, error);
    samba__gguf_stream_close(&r.stream);
    return status;
}
