/*
 * The library's side of the comparison with the public gguf package (gguf_interop.py):
 *   gguf_tool write OUT.gguf    keys of every kind, tensors of every type (see `tensors`)
 *   gguf_tool list FILE         every key and tensor that this library reads, one a line
 *   gguf_tool decode FILE NAME  the values of a tensor (small ones only), f32 to stdout
 * Tensor values are a simple sequence that the other side computes too.
 */
#include "format/checkpoint.h"
#include "format/containers.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    samba_dtype dtype;
    uint64_t shape[3];
    uint32_t n_dims;
} tensors[] = {
    {"vector", SAMBA_DTYPE_F32, {7}, 1},       {"matrix", SAMBA_DTYPE_F32, {3, 5}, 2},
    {"half", SAMBA_DTYPE_F16, {4, 6}, 2},      {"brain", SAMBA_DTYPE_BF16, {2, 3, 4}, 3},
    {"block", SAMBA_DTYPE_Q8_0, {6, 160}, 2},  {"four", SAMBA_DTYPE_Q4_0, {5, 192}, 2},
    {"four_k", SAMBA_DTYPE_Q4_K, {2, 512}, 2}, {"six_k", SAMBA_DTYPE_Q6_K, {4, 256}, 2},
};
enum {
    N_TENSORS = sizeof tensors / sizeof *tensors,
    MAX_ELEMENTS = 1024,
    MAX_BYTES = 4 * MAX_ELEMENTS
};

/* Element i: in [-1, 1), on a grid that f16 can't hold. */
static float element(uint32_t i)
{
    return (float)(int32_t)(i * 2654435761u) / 2147483648.0f;
}

static uint64_t count(size_t t)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < tensors[t].n_dims; i++)
        n *= tensors[t].shape[i];
    return n;
}

static samba_status write_keys(samba__gguf_writer *w, samba_error **e)
{
    static const uint32_t words[] = {0, 1, 4294967295u};
    static const int32_t ints[] = {-2147483647 - 1, -1, 2147483647};
    static const float floats[] = {0.5f, -1.25f};
    static const samba__string strings[] = {{"a", 1}, {"", 0}, {"snow \xe2\x98\x83", 8}};
    SAMBA__TRY(samba__gguf_set_string(w, "general.architecture", "samba", 5, e));
    SAMBA__TRY(samba__gguf_set_string(w, "general.name", "sample", 6, e));
    SAMBA__TRY(samba__gguf_set_u32(w, "t.u32", 4000000000u, e));
    SAMBA__TRY(samba__gguf_set_f32(w, "t.f32", -0.25f, e));
    SAMBA__TRY(samba__gguf_set_bool(w, "t.yes", true, e));
    SAMBA__TRY(samba__gguf_set_bool(w, "t.no", false, e));
    SAMBA__TRY(samba__gguf_set_u32_array(w, "t.words", words, 3, e));
    SAMBA__TRY(samba__gguf_set_i32_array(w, "t.ints", ints, 3, e));
    SAMBA__TRY(samba__gguf_set_f32_array(w, "t.floats", floats, 2, e));
    return samba__gguf_set_string_array(w, "t.strings", strings, 3, e);
}

static samba_status write_tensor(samba__gguf_writer *w, size_t t, samba_error **e)
{
    static float values[MAX_ELEMENTS];
    static uint8_t encoded[MAX_BYTES];
    const uint64_t n = count(t);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        values[i] = element(i);
    samba__dtype_info_of(tensors[t].dtype)->from_f32(values, encoded, (size_t)n);
    if (!samba__dtype_bytes(tensors[t].dtype, n, &bytes))
        return SAMBA_ERROR_INTERNAL;
    return samba__gguf_write_data(w, encoded, (size_t)bytes, e);
}

static samba_status write_file(const char *path, samba_error **e)
{
    samba__gguf_writer *w = NULL;
    samba_status status;
    SAMBA__TRY(samba__gguf_writer_open(samba__alloc_default(), path, &w, e));
    SAMBA__TRY_GOTO(write_keys(w, e));
    for (size_t t = 0; t < N_TENSORS; t++)
        SAMBA__TRY_GOTO(samba__gguf_add_tensor(w, tensors[t].name, tensors[t].dtype,
                                               tensors[t].shape, tensors[t].n_dims, e));
    SAMBA__TRY_GOTO(samba__gguf_begin_data(w, e));
    for (size_t t = 0; t < N_TENSORS; t++)
        SAMBA__TRY_GOTO(write_tensor(w, t, e));
    return samba__gguf_writer_commit(w, NULL, e);
fail:
    samba__gguf_writer_abort(w);
    return status;
}

static void list_keys(const samba__gguf *g)
{
    for (size_t i = 0; i < samba__gguf_n_values(g); i++) {
        const char *key = NULL;
        const samba__gguf_value *v = samba__gguf_value_at(g, i, &key);
        int64_t s;
        double d;
        bool b;
        samba__string text;
        if (samba__gguf_get_i64(v, &s))
            printf("key %s %" PRId64 "\n", key, s);
        else if (samba__gguf_get_f64(v, &d))
            printf("key %s %.9g\n", key, d);
        else if (samba__gguf_get_bool(v, &b))
            printf("key %s %s\n", key, b ? "True" : "False");
        else if (samba__gguf_get_string(v, &text))
            printf("key %s %.*s\n", key, (int)text.size, text.data);
        else
            printf("key %s [%zu]\n", key, samba__gguf_array_size(v));
    }
}

/* name, type, offset in the file, bytes, FNV-1a of the bytes, shape */
static samba_status list_tensors(const samba__checkpoint *c, samba_error **e)
{
    for (size_t i = 0; i < c->n_tensors; i++) {
        const samba__file_tensor *t = &c->tensors[i];
        uint64_t hash = 0xcbf29ce484222325u;
        for (uint64_t at = 0; at < t->bytes; at++) {
            uint8_t x;
            SAMBA__TRY(samba__checkpoint_read(c, t, at, &x, 1, e));
            hash = (hash ^ x) * 0x100000001b3u;
        }
        printf("tensor %s %s %" PRIu64 " %" PRIu64 " %016" PRIx64, t->name, t->dtype_name,
               t->offset, t->bytes, hash);
        for (uint32_t k = 0; k < t->n_dims; k++)
            printf(" %" PRIu64, t->shape[k]);
        printf("\n");
    }
    return SAMBA_OK;
}

static samba_status list_file(const char *path, samba_error **e)
{
    samba__checkpoint *c = NULL;
    SAMBA__TRY(samba__checkpoint_open_path(samba__alloc_default(), path, NULL, &c, e));
    if (c->gguf)
        list_keys(c->gguf);
    samba_status status = list_tensors(c, e);
    samba__checkpoint_close(c);
    return status;
}

static samba_status decode(const samba__checkpoint *c, const char *name, samba_error **e)
{
    static uint8_t encoded[MAX_BYTES];
    static float values[MAX_ELEMENTS];
    const samba__file_tensor *t = samba__checkpoint_find(c, name);
    const samba__dtype_info *info = t ? samba__dtype_info_of(t->dtype) : NULL;
    uint64_t n;
    if (!info || t->bytes > MAX_BYTES || !samba__file_tensor_elements(t, &n) || n > MAX_ELEMENTS)
        return SAMBA_ERROR_INVALID_ARGUMENT;
    SAMBA__TRY(samba__checkpoint_read(c, t, 0, encoded, (size_t)t->bytes, e));
    info->to_f32(encoded, values, (size_t)n);
    return fwrite(values, sizeof *values, (size_t)n, stdout) == n ? SAMBA_OK : SAMBA_ERROR_IO;
}

static samba_status decode_file(const char *path, const char *name, samba_error **e)
{
    samba__checkpoint *c = NULL;
    SAMBA__TRY(samba__checkpoint_open_path(samba__alloc_default(), path, NULL, &c, e));
    samba_status status = decode(c, name, e);
    samba__checkpoint_close(c);
    return status;
}

int main(int argc, char **argv)
{
    samba_error *e = NULL;
    samba_status status = SAMBA_ERROR_INVALID_ARGUMENT;
    if (argc == 3 && strcmp(argv[1], "write") == 0)
        status = write_file(argv[2], &e);
    else if (argc == 3 && strcmp(argv[1], "list") == 0)
        status = list_file(argv[2], &e);
    else if (argc == 4 && strcmp(argv[1], "decode") == 0)
        status = decode_file(argv[2], argv[3], &e);
    if (status != SAMBA_OK)
        fprintf(stderr, "gguf_tool: %s\n",
                e ? samba_error_message(e) : "write OUT | list FILE | decode FILE NAME");
    samba_error_free(e);
    return status == SAMBA_OK ? 0 : 1;
}
