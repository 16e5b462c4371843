/*
 * Writing GGUF: what the writer writes, the reader reads back, for every kind of value and every
 * tensor type; misuse is refused, and a file that is not complete never appears.
 */
#include "format/util.h"
#include "support/suite.h"
#include "tensor/dtype.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256], path[512];

static void setup(void)
{
    temp_folder(folder, "gguf-write");
    snprintf(path, sizeof path, "%s/out.gguf", folder);
}

static void teardown(void)
{
    remove_folder(folder);
}

static const uint32_t words[] = {0, 1, UINT32_MAX};
static const int32_t ints[] = {INT32_MIN, -1, 0, INT32_MAX};
static const float floats[] = {0.0f, -1.5f, 3.4e38f};
static const samba__string strings[] = {
    {"a", 1}, {"", 0}, {"\xff\0z", 3}, {"snow \xe2\x98\x83", 8}};

static const struct {
    const char *name;
    samba_dtype dtype;
    uint64_t shape[4];
    uint32_t n_dims;
    uint64_t bytes;
} tensors[] = {
    {"one", SAMBA_DTYPE_F32, {1}, 1, 4},          {"none", SAMBA_DTYPE_F32, {0, 7}, 2, 0},
    {"half", SAMBA_DTYPE_F16, {3, 5}, 2, 30},     {"brain", SAMBA_DTYPE_BF16, {2, 3, 4}, 3, 48},
    {"block", SAMBA_DTYPE_Q8_0, {2, 64}, 2, 136}, {"deep", SAMBA_DTYPE_F32, {2, 1, 3, 4}, 4, 96},
    {"four", SAMBA_DTYPE_Q4_0, {3, 32}, 2, 54},   {"k4", SAMBA_DTYPE_Q4_K, {2, 256}, 2, 288},
    {"k6", SAMBA_DTYPE_Q6_K, {1, 512}, 2, 420},
};
enum {
    N_TENSORS = sizeof tensors / sizeof *tensors,
    MAX_DATA = 2048
};

/* Everything up to begin_data. */
static samba_status declare(samba__gguf_writer *w, samba_error **e)
{
    SAMBA__TRY(samba__gguf_set_string(w, "general.architecture", "samba", 5, e));
    SAMBA__TRY(samba__gguf_set_u32(w, "u32", 4000000000u, e));
    SAMBA__TRY(samba__gguf_set_f32(w, "f32", -0.25f, e));
    SAMBA__TRY(samba__gguf_set_bool(w, "yes", true, e));
    SAMBA__TRY(samba__gguf_set_bool(w, "no", false, e));
    SAMBA__TRY(samba__gguf_set_string(w, "empty", "", 0, e));
    SAMBA__TRY(samba__gguf_set_u32_array(w, "words", words, 3, e));
    SAMBA__TRY(samba__gguf_set_i32_array(w, "ints", ints, 4, e));
    SAMBA__TRY(samba__gguf_set_f32_array(w, "floats", floats, 3, e));
    SAMBA__TRY(samba__gguf_set_string_array(w, "strings", strings, 4, e));
    SAMBA__TRY(samba__gguf_set_string_array(w, "no strings", NULL, 0, e));
    for (size_t i = 0; i < N_TENSORS; i++)
        SAMBA__TRY(samba__gguf_add_tensor(w, tensors[i].name, tensors[i].dtype, tensors[i].shape,
                                          tensors[i].n_dims, e));
    return SAMBA_OK;
}

static uint64_t data_bytes(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i < N_TENSORS; i++)
        n += tensors[i].bytes;
    return n;
}

/* Writes the sample in pieces of `piece` bytes; byte i of all tensor data is (uint8_t)(7 * i). */
static samba_status write_sample(const samba_allocator *a, size_t piece, uint64_t *size,
                                 samba_error **e)
{
    samba__gguf_writer *w = NULL;
    uint8_t data[MAX_DATA];
    const size_t total = (size_t)data_bytes();
    samba_status status;
    for (size_t i = 0; i < total; i++)
        data[i] = (uint8_t)(7 * i);
    SAMBA__TRY(samba__gguf_writer_open(a, path, &w, e));
    SAMBA__TRY_GOTO(declare(w, e));
    SAMBA__TRY_GOTO(samba__gguf_begin_data(w, e));
    for (size_t at = 0; at < total; at += piece)
        SAMBA__TRY_GOTO(
            samba__gguf_write_data(w, data + at, total - at < piece ? total - at : piece, e));
    return samba__gguf_writer_commit(w, size, e);
fail:
    samba__gguf_writer_abort(w);
    return status;
}

static void check_keys(const samba__gguf *g)
{
    uint64_t u;
    int64_t s;
    double d;
    bool yes = false, no = true;
    samba__string text;
    ck_assert_uint_eq(samba__gguf_n_values(g), 11);
    ck_assert(samba__gguf_get_string(samba__gguf_find(g, "general.architecture"), &text));
    ck_assert(text.size == 5 && memcmp(text.data, "samba", 5) == 0);
    ck_assert(samba__gguf_get_u64(samba__gguf_find(g, "u32"), &u) && u == 4000000000u);
    ck_assert(samba__gguf_get_f64(samba__gguf_find(g, "f32"), &d) && d == -0.25);
    ck_assert(samba__gguf_get_bool(samba__gguf_find(g, "yes"), &yes) && yes);
    ck_assert(samba__gguf_get_bool(samba__gguf_find(g, "no"), &no) && !no);
    ck_assert(samba__gguf_get_string(samba__gguf_find(g, "empty"), &text) && text.size == 0);
    for (size_t i = 0; i < 4; i++) {
        ck_assert(samba__gguf_array_i64(samba__gguf_find(g, "ints"), i, &s) && s == ints[i]);
        ck_assert(samba__gguf_array_string(samba__gguf_find(g, "strings"), i, &text));
        ck_assert(text.size == strings[i].size);
        ck_assert(memcmp(text.data, strings[i].data, text.size) == 0);
    }
    for (size_t i = 0; i < 3; i++) {
        ck_assert(samba__gguf_array_u64(samba__gguf_find(g, "words"), i, &u) && u == words[i]);
        ck_assert(samba__gguf_array_f64(samba__gguf_find(g, "floats"), i, &d));
        ck_assert(d == (double)floats[i]);
    }
    ck_assert_uint_eq(samba__gguf_array_size(samba__gguf_find(g, "words")), 3);
    ck_assert_uint_eq(samba__gguf_array_size(samba__gguf_find(g, "no strings")), 0);
}

static void check_tensors(const samba__checkpoint *c)
{
    size_t at = 0;
    uint8_t data[MAX_DATA];
    ck_assert_uint_eq(c->n_tensors, N_TENSORS);
    for (size_t i = 0; i < N_TENSORS; i++) {
        const samba__file_tensor *t = samba__checkpoint_find(c, tensors[i].name);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->dtype, tensors[i].dtype);
        ck_assert_uint_eq(t->n_dims, tensors[i].n_dims);
        ck_assert_mem_eq(t->shape, tensors[i].shape, sizeof t->shape);
        ck_assert_uint_eq(t->bytes, tensors[i].bytes);
        ck_assert_uint_eq(t->offset % 32, 0);
        ck_assert_int_eq(samba__checkpoint_read(c, t, 0, data, (size_t)t->bytes, NULL), SAMBA_OK);
        for (size_t k = 0; k < t->bytes; k++, at++)
            ck_assert_uint_eq(data[k], (uint8_t)(7 * at));
    }
}

START_TEST(reads_back_what_it_wrote)
{
    static const size_t pieces[] = {1, 3, 32, 100, 512};
    samba__checkpoint *c = NULL;
    samba_error *e = NULL;
    uint64_t size = 0;
    struct stat st;
    ck_assert_int_eq(write_sample(samba__alloc_default(), pieces[_i], &size, &e), SAMBA_OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq((uint64_t)st.st_size, size);
    ck_assert_uint_eq(size % 32, 0);
    ck_assert_int_eq(samba__checkpoint_open_path(samba__alloc_default(), path, NULL, &c, &e),
                     SAMBA_OK);
    ck_assert_int_eq(c->container, SAMBA__CONTAINER_GGUF);
    check_keys(c->gguf);
    check_tensors(c);
    ck_assert(walk(c));
    samba__checkpoint_close(c);
}
END_TEST

START_TEST(writes_metadata_alone)
{
    samba__gguf_writer *w = NULL;
    samba__checkpoint *c = NULL;
    const samba_allocator *a = samba__alloc_default();
    ck_assert_int_eq(samba__gguf_writer_open(a, path, &w, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_begin_data(w, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_writer_commit(w, NULL, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__checkpoint_open_path(a, path, NULL, &c, NULL), SAMBA_OK);
    ck_assert_uint_eq(c->n_tensors, 0);
    ck_assert_ptr_null(samba__checkpoint_find(c, "x"));
    samba__checkpoint_close(c);
}
END_TEST

static samba__gguf_writer *opened(void)
{
    samba__gguf_writer *w = NULL;
    ck_assert_int_eq(samba__gguf_writer_open(samba__alloc_default(), path, &w, NULL), SAMBA_OK);
    return w;
}

#define EXPECT(call, status_, text)                                                                \
    do {                                                                                           \
        samba_error *e = NULL;                                                                     \
        ck_assert_int_eq((call), (status_));                                                       \
        ck_assert_msg(strstr(samba_error_message(e), (text)), "%s", samba_error_message(e));       \
        samba_error_free(e);                                                                       \
    } while (0)

/* Nothing may be left in the folder, the temporary file included. */
static void expect_no_file(void)
{
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
}

START_TEST(refuses_bad_declarations)
{
    const uint64_t shape[] = {4, 33}, half_rows[] = {2, 128}, huge[] = {1ull << 33, 1ull << 33};
    char name[65];
    samba__gguf_writer *w = opened();
    memset(name, 'n', 64);
    name[64] = 0;
    const samba_status bad = SAMBA_ERROR_INVALID_ARGUMENT;
    EXPECT(samba__gguf_set_u32(w, "", 1, &e), bad, "empty");
    EXPECT(samba__gguf_set_u32(w, "general.alignment", 64, &e), bad, "general.alignment");
    EXPECT(samba__gguf_add_tensor(w, name, SAMBA_DTYPE_F32, shape, 2, &e), bad, "1 to 63 bytes");
    EXPECT(samba__gguf_add_tensor(w, "", SAMBA_DTYPE_F32, shape, 2, &e), bad, "1 to 63 bytes");
    EXPECT(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, shape, 0, &e), bad, "1 to 4 dim");
    EXPECT(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, shape, 5, &e), bad, "1 to 4 dim");
    EXPECT(samba__gguf_add_tensor(w, "t", 99, shape, 2, &e), bad, "tensor t");
    EXPECT(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_Q8_0, shape, 2, &e), bad, "tensor t");
    EXPECT(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_Q4_K, half_rows, 2, &e), bad, "tensor t");
    EXPECT(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, huge, 2, &e), bad, "tensor t");
    EXPECT(samba__gguf_write_data(w, name, 1, &e), SAMBA_ERROR_STATE, "before begin_data");
    ck_assert_int_eq(samba__gguf_begin_data(w, NULL), SAMBA_OK); /* none of these did anything */
    ck_assert_int_eq(samba__gguf_writer_commit(w, NULL, NULL), SAMBA_OK);
}
END_TEST

START_TEST(refuses_names_given_twice)
{
    const uint64_t shape[] = {1};
    samba__gguf_writer *w = opened();
    ck_assert_int_eq(samba__gguf_set_u32(w, "key", 1, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_set_f32(w, "key", 1, NULL), SAMBA_OK);
    EXPECT(samba__gguf_begin_data(w, &e), SAMBA_ERROR_INVALID_ARGUMENT, "key key: set twice");
    samba__gguf_writer_abort(w);
    w = opened();
    ck_assert_int_eq(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, shape, 1, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F16, shape, 1, NULL), SAMBA_OK);
    EXPECT(samba__gguf_begin_data(w, &e), SAMBA_ERROR_INVALID_ARGUMENT, "tensor t: added twice");
    samba__gguf_writer_abort(w);
    expect_no_file();
}
END_TEST

START_TEST(refuses_wrong_amounts_of_data)
{
    const uint64_t shape[] = {2};
    const uint8_t data[16] = {0};
    samba__gguf_writer *w = opened();
    ck_assert_int_eq(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, shape, 1, NULL), SAMBA_OK);
    EXPECT(samba__gguf_writer_commit(w, NULL, &e), SAMBA_ERROR_STATE, "0 of 1 tensors");
    expect_no_file();
    w = opened();
    ck_assert_int_eq(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, shape, 1, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_begin_data(w, NULL), SAMBA_OK);
    EXPECT(samba__gguf_begin_data(w, &e), SAMBA_ERROR_STATE, "called before");
    EXPECT(samba__gguf_set_u32(w, "late", 1, &e), SAMBA_ERROR_STATE, "after begin_data");
    EXPECT(samba__gguf_add_tensor(w, "late", SAMBA_DTYPE_F32, shape, 1, &e), SAMBA_ERROR_STATE,
           "after begin_data");
    ck_assert_int_eq(samba__gguf_write_data(w, data, 7, NULL), SAMBA_OK);
    EXPECT(samba__gguf_writer_commit(w, NULL, &e), SAMBA_ERROR_STATE, "0 of 1 tensors");
    expect_no_file();
    w = opened();
    ck_assert_int_eq(samba__gguf_add_tensor(w, "t", SAMBA_DTYPE_F32, shape, 1, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_begin_data(w, NULL), SAMBA_OK);
    EXPECT(samba__gguf_write_data(w, data, 9, &e), SAMBA_ERROR_INVALID_ARGUMENT, "1 bytes of data");
    samba__gguf_writer_abort(w);
    expect_no_file();
    samba__gguf_writer_abort(NULL);
}
END_TEST

START_TEST(survives_failing_allocations)
{
    size_t failures = 0;
    for (size_t n = 0;; n++) {
        counting c;
        samba_error *e = NULL;
        counting_init(&c);
        c.fail_at = n;
        const samba_status status = write_sample(&c.a, 64, NULL, &e);
        samba_error_free(e);
        ck_assert_uint_eq(c.blocks, 0);
        if (status == SAMBA_OK)
            break;
        ck_assert_int_eq(status, SAMBA_ERROR_OUT_OF_MEMORY);
        expect_no_file();
        failures++;
    }
    ck_assert_uint_gt(failures, 8);
}
END_TEST

/* A failed call changes nothing: the next one goes on and the file is the same. */
START_TEST(goes_on_after_a_failed_call)
{
    for (size_t n = 2; n < 30; n++) {
        counting c;
        samba__gguf_writer *w = NULL;
        samba__checkpoint *ck = NULL;
        char big[300];
        uint64_t u = 0;
        memset(big, 'k', sizeof big);
        counting_init(&c);
        ck_assert_int_eq(samba__gguf_writer_open(&c.a, path, &w, NULL), SAMBA_OK);
        c.fail_at = c.calls + n - 2;
        for (uint32_t i = 0; i < 20; i++) {
            snprintf(big + 290, 10, "%u", (unsigned)i);
            if (samba__gguf_set_u32(w, big, i, NULL) != SAMBA_OK)
                ck_assert_int_eq(samba__gguf_set_u32(w, big, i, NULL), SAMBA_OK);
        }
        c.fail_at = SIZE_MAX;
        ck_assert_int_eq(samba__gguf_begin_data(w, NULL), SAMBA_OK);
        ck_assert_int_eq(samba__gguf_writer_commit(w, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(samba__checkpoint_open_path(&c.a, path, NULL, &ck, NULL), SAMBA_OK);
        ck_assert_uint_eq(samba__gguf_n_values(ck->gguf), 20);
        ck_assert(samba__gguf_get_u64(samba__gguf_find(ck->gguf, big), &u) && u == 19);
        samba__checkpoint_close(ck);
        ck_assert_uint_eq(c.blocks, 0);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/gguf_write");
    TCase *t = tcase_create("write");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, reads_back_what_it_wrote, 0, 5);
    tcase_add_test(t, writes_metadata_alone);
    tcase_add_test(t, refuses_bad_declarations);
    tcase_add_test(t, refuses_names_given_twice);
    tcase_add_test(t, refuses_wrong_amounts_of_data);
    tcase_add_test(t, survives_failing_allocations);
    tcase_add_test(t, goes_on_after_a_failed_call);
    suite_add_tcase(s, t);
    return run_suite(s);
}
