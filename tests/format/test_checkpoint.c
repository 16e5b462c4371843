/*
 * What holds for every container: damaged files give an error or a directory that can be read in
 * full, memory stays in proportion to the file, sources may fail. Seeds are fixed and printed.
 */
#include "base/bytes.h"
#include "format/containers.h"
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(corrupt_gguf_is_refused_or_readable)
{
    blob b = sample_gguf(3);
    check_corruptions(&b, b.size - 448, 7001);
    blob_free(&b);
}
END_TEST

/* ---- memory in proportion ---- */

/* Thousands of the smallest keys and tensors that a file can hold. */
START_TEST(many_small_entries_stay_in_proportion)
{
    enum {
        N = 9000
    };
    blob b = {0};
    counting c;
    samba__checkpoint *ck = NULL;
    char name[16];
    gguf_head(&b, 3, N, N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%d", i);
        gguf_key(&b, name, SAMBA__GGUF_U8);
        blob_u8(&b, 1);
    }
    for (int i = N; i-- > 0;) {
        snprintf(name, sizeof name, "%d", i);
        gguf_tensor(&b, name, 0, NULL, 57, 0);
    }
    blob_pad(&b, 32);
    counting_init(&c);
    ck_assert_int_eq(open_bytes(&c.a, b.data, b.size, &ck, NULL), SAMBA_OK);
    ck_assert_uint_eq(ck->n_tensors, N);
    ck_assert(walk(ck));
    printf("%zu bytes of file, peak %zu bytes\n", b.size, c.peak);
    ck_assert_uint_le(c.peak, 65536 + 40 * b.size);
    samba__checkpoint_close(ck);
    blob_free(&b);
}
END_TEST

/* ---- a host's reader ---- */

typedef struct flaky {
    const blob *b;
    const blob *again; /* given from the first step back on; NULL: the same */
    uint64_t size;     /* what it claims */
    uint64_t last;     /* offset of the newest read */
    size_t calls, fail_at;
} flaky;

static int32_t flaky_read(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    flaky *f = user_data;
    if (f->calls++ == f->fail_at)
        return 1;
    if (f->again && offset < f->last)
        f->b = f->again;
    f->last = offset;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)buffer)[i] = offset + i < f->b->size ? f->b->data[offset + i] : 0;
    return 0;
}

static samba_status open_flaky(flaky *f, const samba_allocator *a, samba__checkpoint **ck)
{
    samba_reader r = {
        .struct_size = sizeof r, .user_data = f, .size = f->size, .read_at = flaky_read};
    samba__source *source = NULL;
    SAMBA__TRY(samba__source_open_reader(a, &r, &source, NULL));
    return samba__checkpoint_open_source(a, source, NULL, ck, NULL);
}

START_TEST(readers_may_fail_or_lie)
{
    blob b = sample_gguf(3);
    size_t failures = 0;
    samba_status status = SAMBA_ERROR_IO;
    for (size_t n = 0; status != SAMBA_OK; n++) {
        counting c;
        samba__checkpoint *ck = NULL;
        flaky f = {.b = &b, .size = b.size, .fail_at = n};
        counting_init(&c);
        status = open_flaky(&f, &c.a, &ck);
        ck_assert(status == SAMBA_OK || (status == SAMBA_ERROR_IO && !ck && ++failures));
        samba__checkpoint_close(ck);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert_uint_ge(failures, 2);
    /* a file that claims to be enormous is refused without memory for it */
    counting c;
    samba__checkpoint *ck = NULL;
    flaky f = {.b = &b, .size = UINT64_MAX / 2, .fail_at = SIZE_MAX};
    counting_init(&c);
    (void)open_flaky(&f, &c.a, &ck);
    ck_assert_uint_le(c.peak, 65536 + 40 * b.size);
    samba__checkpoint_close(ck);
    ck_assert_uint_eq(c.blocks, 0);
    blob_free(&b);
}
END_TEST

/* The array of strings is walked twice; the second time its first string is longer. */
START_TEST(bytes_may_change_between_reads)
{
    blob b = {0};
    gguf_head(&b, 3, 0, 1);
    gguf_key(&b, "strings", SAMBA__GGUF_ARRAY);
    blob_u32(&b, SAMBA__GGUF_STRING);
    blob_u64(&b, 4000);
    const size_t first = b.size;
    for (int i = 0; i < 4000; i++)
        blob_string(&b, "sixteen letters.");
    blob_zeros(&b, 64);
    blob other = {0};
    blob_put(&other, b.data, b.size);
    samba__store_u64(other.data + first, 16 + 8 + 16);

    counting c;
    samba__checkpoint *ck = NULL;
    flaky f = {.b = &b, .again = &other, .size = b.size, .fail_at = SIZE_MAX};
    counting_init(&c);
    ck_assert_int_eq(open_flaky(&f, &c.a, &ck), SAMBA_ERROR_IO);
    ck_assert_ptr_null(ck);
    ck_assert_uint_eq(c.blocks, 0);
    f = (flaky){.b = &b, .size = b.size, .fail_at = SIZE_MAX};
    ck_assert_int_eq(open_flaky(&f, &c.a, &ck), SAMBA_OK);
    ck_assert(walk(ck));
    samba__checkpoint_close(ck);
    blob_free(&b);
    blob_free(&other);
}
END_TEST

/* ---- the directory ---- */

static samba_status add(samba__checkpoint *c, samba_dtype dtype, uint64_t rows, uint64_t columns,
                        uint64_t bytes)
{
    static size_t capacity;
    const samba__file_tensor t = {.name = "t",
                                  .dtype = dtype,
                                  .dtype_name = "type",
                                  .n_dims = 2,
                                  .shape = {rows, columns},
                                  .bytes = bytes};
    return samba__checkpoint_add(c, &t, &capacity, NULL);
}

START_TEST(checks_shapes_against_types)
{
    static const uint8_t data[256];
    const samba_allocator *a = samba__alloc_default();
    samba__source *source = NULL;
    samba__checkpoint *c = NULL;
    ck_assert_int_eq(samba__source_open_memory(a, data, sizeof data, "data", &source, NULL),
                     SAMBA_OK);
    ck_assert_int_eq(samba__checkpoint_new(a, "path", 1, &c, NULL), SAMBA_OK);
    ck_assert_uint_eq(samba__checkpoint_adopt(c, source), 0);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_Q8_0, 2, 32, 68), SAMBA_OK);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_Q8_0, 2, 16, 34), SAMBA_ERROR_FORMAT); /* half a block */
    ck_assert_int_eq(add(c, SAMBA_DTYPE_Q8_0, 2, 32, 67), SAMBA_ERROR_FORMAT);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_Q4_K, 1, 256, 144), SAMBA_OK);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_Q4_K, 2, 128, 144), SAMBA_ERROR_FORMAT);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_Q6_K, 1, 256, 209), SAMBA_ERROR_FORMAT);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_F32, 8, 8, 256), SAMBA_OK);
    ck_assert_int_eq(add(c, SAMBA_DTYPE_F32, 13, 5, 260), SAMBA_ERROR_FORMAT);
    ck_assert_int_eq(add(c, 99, 1, 1, 4), SAMBA_ERROR_FORMAT);
    ck_assert_int_eq(add(c, 0, 7, 7, 9), SAMBA_OK); /* not readable: any size that is there */
    ck_assert_int_eq(add(c, 0, 7, 7, 257), SAMBA_ERROR_FORMAT);
    samba__checkpoint_close(c);
}
END_TEST

/* ---- the sort ---- */

static int compare_ints(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

START_TEST(sorts)
{
    uint64_t seed = 7003;
    int values[200];
    const void *items[200];
    for (size_t n = 0; n <= 200; n++) {
        long sum = 0, sorted_sum = 0;
        for (size_t i = 0; i < n; i++) {
            values[i] = (int)(next_random(&seed) % 50);
            items[i] = &values[i];
            sum += values[i];
        }
        samba__sort_pointers(items, n, compare_ints);
        for (size_t i = 0; i < n; i++) {
            sorted_sum += *(const int *)items[i];
            ck_assert(i == 0 || compare_ints(items[i - 1], items[i]) <= 0);
        }
        ck_assert_int_eq(sum, sorted_sum);
    }
}
END_TEST

/* ---- paths ---- */

START_TEST(opens_files_by_content)
{
    char folder[256], path[512];
    samba__checkpoint *c = NULL;
    samba_error *e = NULL;
    const samba_allocator *a = samba__alloc_default();
    temp_folder(folder, "checkpoint");
    blob b = sample_gguf(2);
    write_file(folder, "model.safetensors.gz", b.data, b.size);
    snprintf(path, sizeof path, "%s/model.safetensors.gz", folder);
    ck_assert_int_eq(samba__checkpoint_open_path(a, path, NULL, &c, &e), SAMBA_OK);
    ck_assert_int_eq(c->container, SAMBA__CONTAINER_GGUF);
    ck_assert_str_eq(c->path, path);
    samba__checkpoint_close(c);
    c = NULL;
    snprintf(path, sizeof path, "%s/absent", folder);
    ck_assert_int_ne(samba__checkpoint_open_path(a, path, NULL, &c, &e), SAMBA_OK);
    ck_assert_ptr_null(c);
    ck_assert_str_eq(samba_error_file(e), path);
    samba_error_free(e);
    remove_folder(folder);
    blob_free(&b);
    samba__checkpoint_close(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/checkpoint");
    TCase *t = tcase_create("checkpoint");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, corrupt_gguf_is_refused_or_readable);
    tcase_add_test(t, many_small_entries_stay_in_proportion);
    tcase_add_test(t, readers_may_fail_or_lie);
    tcase_add_test(t, bytes_may_change_between_reads);
    tcase_add_test(t, checks_shapes_against_types);
    tcase_add_test(t, sorts);
    tcase_add_test(t, opens_files_by_content);
    suite_add_tcase(s, t);
    return run_suite(s);
}
