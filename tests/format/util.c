/* See util.h. */
#include "format/util.h"
#include "base/bytes.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- bytes ---- */

static uint8_t *blob_room(blob *b, size_t n)
{
    while (b->capacity - b->size < n) {
        b->capacity = b->capacity ? 2 * b->capacity : 256;
        b->data = realloc(b->data, b->capacity);
        ck_assert_ptr_nonnull(b->data);
    }
    b->size += n;
    return b->data + b->size - n;
}

void blob_put(blob *b, const void *data, size_t n)
{
    if (n)
        memcpy(blob_room(b, n), data, n);
}

void blob_u8(blob *b, uint8_t v)
{
    *blob_room(b, 1) = v;
}

void blob_u32(blob *b, uint32_t v)
{
    samba__store_u32(blob_room(b, 4), v);
}

void blob_u64(blob *b, uint64_t v)
{
    samba__store_u64(blob_room(b, 8), v);
}

void blob_string(blob *b, const char *s)
{
    blob_u64(b, strlen(s));
    blob_put(b, s, strlen(s));
}

void blob_zeros(blob *b, size_t n)
{
    if (n)
        memset(blob_room(b, n), 0, n);
}

void blob_pad(blob *b, size_t align)
{
    blob_zeros(b, (align - b->size % align) % align);
}

void blob_free(blob *b)
{
    free(b->data);
    *b = (blob){0};
}

uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- allocator ---- */

static void *counting_alloc(void *user_data, size_t size, size_t align)
{
    counting *c = user_data;
    const size_t call = c->calls++;
    if (call == c->fail_at || (c->lasting && call > c->fail_at))
        return NULL;
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    if (!p)
        return NULL;
    c->live += size;
    c->blocks++;
    c->peak = c->live > c->peak ? c->live : c->peak;
    return p;
}

static void counting_free(void *user_data, void *ptr, size_t size, size_t align)
{
    counting *c = user_data;
    (void)align;
    c->live -= size;
    c->blocks--;
    free(ptr);
}

void counting_init(counting *c)
{
    *c = (counting){.fail_at = SIZE_MAX};
    c->a = (samba_allocator){sizeof c->a, counting_alloc, counting_free, c};
}

/* ---- GGUF, by hand ---- */

void gguf_head(blob *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    blob_put(b, "GGUF", 4);
    blob_u32(b, version);
    blob_u64(b, n_tensors);
    blob_u64(b, n_keys);
}

void gguf_key(blob *b, const char *key, uint32_t type)
{
    blob_string(b, key);
    blob_u32(b, type);
}

void gguf_key_u32(blob *b, const char *key, uint32_t value)
{
    gguf_key(b, key, SAMBA__GGUF_U32);
    blob_u32(b, value);
}

void gguf_tensor(blob *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                 uint64_t offset)
{
    blob_string(b, name);
    blob_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 5; i++)
        blob_u64(b, dims[i]);
    blob_u32(b, type);
    blob_u64(b, offset);
}

static void count_up(blob *b, size_t n, uint8_t first)
{
    for (size_t i = 0; i < n; i++)
        blob_u8(b, (uint8_t)(first + i));
}

static void array_head(blob *b, const char *key, uint32_t type, uint64_t n)
{
    gguf_key(b, key, SAMBA__GGUF_ARRAY);
    blob_u32(b, type);
    blob_u64(b, n);
}

/* 13 keys of one scalar each with the value -2 or 2, then 13 arrays of three. */
static void sample_keys(blob *b)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    static const uint64_t values[] = {2,
                                      0xfe,
                                      2,
                                      0xfffe,
                                      2,
                                      0xfffffffe,
                                      0xc0000000,
                                      1,
                                      0,
                                      0,
                                      2,
                                      UINT64_MAX - 1,
                                      0xc000000000000000u};
    char key[16];
    for (uint32_t type = 0; type < 13; type++) {
        if (type == SAMBA__GGUF_ARRAY)
            continue;
        for (uint32_t n = 0; n <= 3; n += 3) { /* a scalar, then an array of 3 */
            snprintf(key, sizeof key, "%s%u", n ? "array." : "one.", (unsigned)type);
            if (n)
                array_head(b, key, type, n);
            else
                gguf_key(b, key, type);
            for (uint32_t i = 0; i < (n ? n : 1); i++) {
                if (type == SAMBA__GGUF_STRING)
                    blob_string(b, i == 1 ? "" : "snow");
                else
                    blob_put(b, &values[type], bytes[type]); /* little-endian hosts */
            }
        }
    }
}

blob sample_gguf(uint32_t version)
{
    static const uint64_t embed[] = {4, 3}, q[] = {64}, k[] = {256}, one[] = {1},
                          cube[] = {2, 3, 4};
    blob b = {0};
    gguf_head(&b, version, 6, 25);
    sample_keys(&b);
    array_head(&b, "empty", SAMBA__GGUF_STRING, 0);
    gguf_tensor(&b, "embed", 2, embed, 0, 0);
    gguf_tensor(&b, "q", 1, q, 8, 64);
    gguf_tensor(&b, "k", 1, k, 12, 160);
    gguf_tensor(&b, "what", 1, one, 57, 320);
    gguf_tensor(&b, "cube", 3, cube, 1, 352);
    gguf_tensor(&b, "bf", 1, one, 30, 416);
    blob_pad(&b, 32);
    count_up(&b, 448, 0);
    return b;
}

/* ---- safetensors ---- */

blob safetensors_of(const char *header, size_t n, uint8_t first)
{
    blob b = {0};
    blob_string(&b, header);
    count_up(&b, n, first);
    return b;
}

blob sample_safetensors(void)
{
    return safetensors_of(
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"
        "\"c\\u00e9\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[32,34]},"
        "\"n\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[34,42]},"
        "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[42,42]}}    ",
        42, 0);
}

/* ---- opening ---- */

samba_status open_bytes(const samba_allocator *a, const void *data, size_t size,
                        samba__checkpoint **checkpoint, samba_error **error)
{
    samba__source *source = NULL;
    SAMBA__TRY(samba__source_open_memory(a, data, size, "bytes", &source, error));
    return samba__checkpoint_open_source(a, source, NULL, checkpoint, error);
}

void expect_refused(const blob *b, samba_status status, const char *text)
{
    counting c;
    samba__checkpoint *ck = NULL;
    samba_error *e = NULL;
    counting_init(&c);
    const samba_status got = open_bytes(&c.a, b->data, b->size, &ck, &e);
    ck_assert_msg(got != SAMBA_OK, "accepted, but should say: %s", text);
    ck_assert_ptr_null(ck);
    ck_assert_msg(got == status && strstr(samba_error_message(e), text),
                  "status %d: %s (want %d: %s)", (int)got, samba_error_message(e), (int)status,
                  text);
    ck_assert_int_eq(samba_error_status(e), status);
    samba_error_free(e);
    ck_assert_uint_eq(c.blocks, 0);
}

void expect_survives_oom(const blob *b)
{
    for (int lasting = 0; lasting < 2; lasting++) {
        for (size_t n = 0;; n++) {
            counting c;
            samba__checkpoint *ck = NULL;
            samba_error *e = NULL;
            counting_init(&c);
            c.fail_at = n;
            c.lasting = lasting;
            const samba_status got = open_bytes(&c.a, b->data, b->size, &ck, &e);
            if (got == SAMBA_OK) {
                ck_assert_uint_ge(n, c.calls); /* no failure was swallowed */
                ck_assert_uint_gt(n, 5);
                ck_assert(walk(ck));
                samba__checkpoint_close(ck);
                ck_assert_uint_eq(c.blocks, 0);
                break;
            }
            ck_assert_int_eq(got, SAMBA_ERROR_OUT_OF_MEMORY);
            ck_assert_int_eq(samba_error_status(e), got);
            ck_assert_ptr_null(ck);
            samba_error_free(e);
            ck_assert_uint_eq(c.blocks, 0);
        }
    }
}

void expect_survives_truncation(const blob *b, size_t needed)
{
    for (size_t n = 0; n < b->size; n++) {
        counting c;
        samba__checkpoint *ck = NULL;
        samba_error *e = NULL;
        uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read past the end */
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, b->data, n);
        counting_init(&c);
        if (open_bytes(&c.a, exact, n, &ck, &e) == SAMBA_OK) {
            ck_assert_msg(n >= needed, "opened with %zu of %zu bytes", n, b->size);
            ck_assert(walk(ck));
        } else {
            /* below 4 bytes there is no magic: a build without JSON says UNSUPPORTED */
            ck_assert(n < 4 || samba_error_status(e) == SAMBA_ERROR_FORMAT);
        }
        samba__checkpoint_close(ck);
        samba_error_free(e);
        ck_assert_uint_eq(c.blocks, 0);
        free(exact);
    }
}

/* ---- folders ---- */

void temp_folder(char path[256], const char *name)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 256, "%s/samba-format-%ld-%s", base, (long)getpid(), name);
    remove_folder(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

void write_file(const char *folder, const char *name, const void *data, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

void remove_folder(const char *path)
{
    char file[1024];
    DIR *d = opendir(path);
    if (!d)
        return;
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        unlink(file);
    }
    closedir(d);
    rmdir(path);
}

samba__checkpoint *open_good(const blob *b, int container)
{
    samba__checkpoint *c = NULL;
    samba_error *e = NULL;
    const samba_status status = open_bytes(samba__alloc_default(), b->data, b->size, &c, &e);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(e));
    ck_assert_int_eq(c->container, container);
    return c;
}

void check_tensor(const samba__checkpoint *c, const expected_tensor *expected)
{
    const samba__file_tensor *t = samba__checkpoint_find(c, expected->name);
    uint8_t data[512];
    ck_assert_msg(t, "%s", expected->name);
    ck_assert_int_eq(t->dtype, expected->dtype);
    ck_assert_str_eq(t->dtype_name, expected->dtype_name);
    ck_assert_uint_eq(t->bytes, expected->bytes);
    ck_assert_int_eq(samba__checkpoint_read(c, t, 0, data, (size_t)t->bytes, NULL), SAMBA_OK);
    for (uint64_t i = 0; i < t->bytes; i++)
        ck_assert_uint_eq(data[i], (uint8_t)(expected->first + i));
}
