/* Reading .safetensors: types, offsets, and headers that must be refused. */
#include "base/bytes.h"
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(lists_tensors)
{
    blob b = sample_safetensors();
    samba__checkpoint *c = open_good(&b, SAMBA__CONTAINER_SAFETENSORS);
    ck_assert_uint_eq(c->n_tensors, 5);
    ck_assert_ptr_null(samba__checkpoint_find(c, "__metadata__"));
    check_tensor(c, &(expected_tensor){"b", SAMBA_DTYPE_F32, "F32", 24, 0});
    check_tensor(c, &(expected_tensor){"a", SAMBA_DTYPE_BF16, "BF16", 8, 24});
    check_tensor(c, &(expected_tensor){"c\xc3\xa9", SAMBA_DTYPE_F16, "F16", 2, 32});
    check_tensor(c, &(expected_tensor){"n", 0, "I64", 8, 34});
    check_tensor(c, &(expected_tensor){"empty", SAMBA_DTYPE_F32, "F32", 0, 0});
    const samba__file_tensor *t = samba__checkpoint_find(c, "b");
    ck_assert(t->n_dims == 2 && t->shape[0] == 2 && t->shape[1] == 3);
    ck_assert_uint_eq(samba__checkpoint_find(c, "c\xc3\xa9")->n_dims, 0);
    ck_assert(!c->config_json && !c->tokenizer_json);
    ck_assert(walk(c));
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

START_TEST(keeps_unknown_types)
{
    blob b = safetensors_of("{\"x\":{\"dtype\":\"F4_NEW\",\"shape\":[3],\"data_offsets\":[0,2]},"
                            "\"y\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[2,5]}}",
                            5, 0);
    samba__checkpoint *c = open_good(&b, SAMBA__CONTAINER_SAFETENSORS);
    check_tensor(c, &(expected_tensor){"x", 0, "F4_NEW", 2, 0});
    check_tensor(c, &(expected_tensor){"y", 0, "BOOL", 3, 2});
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

/* A header for 64 data bytes. */
static void refused(const char *header, samba_status status, const char *text)
{
    blob b = safetensors_of(header, 64, 0);
    expect_refused(&b, status, text);
    blob_free(&b);
}

START_TEST(refuses_bad_headers)
{
    static const struct {
        const char *header, *text;
    } cases[] = {
        {"[]", "neither a GGUF nor a safetensors"},
        {" {}", "neither a GGUF nor a safetensors"},
        {"\xef\xbb\xbf{}", "neither a GGUF nor a safetensors"},
        {"{", "line 1"},
        {"{}{}", "line 1"},
        {"{\"x\":1}", "tensor x: its entry is no object"},
        {"{\"x\":[]}", "tensor x: its entry is no object"},
        {"{\"x\":{}}", "tensor x: dtype"},
        {"{\"x\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", "tensor x: dtype"},
        {"{\"x\":{\"dtype\":\"\",\"shape\":[1],\"data_offsets\":[0,4]}}", "tensor x: dtype"},
        {"{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", "shape is no array"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]}}", "shape is no array"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "a dimension"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", "a dimension"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", "a dimension"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[62,66]}}", "ends at byte 66"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}",
         "ends at byte 9223372036854775807"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e30]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
         "tensor x has 4 bytes, its shape needs 8"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]}}", "its shape needs 4"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
         "more elements than 64 bits"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}",
         "can't hold"},
        {"{\"x\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "do not fit the shape"},
        {"{\"x\":{\"dtype\":\"I64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}",
         "do not fit the shape"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "empty name"},
        {"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         "unable to decode byte"},
        {"{\"x\\u0000\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "NUL"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         "duplicate"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[7,11]}}",
         "tensors x and y share bytes"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]},"
         "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         "share bytes"},
        {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
         "deeper"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].header, SAMBA_ERROR_FORMAT, cases[i].text);
    refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}",
            SAMBA_ERROR_UNSUPPORTED, "has 5 dimensions");
}
END_TEST

START_TEST(refuses_bad_lengths)
{
    static const uint64_t lengths[] = {
        0, 1, 1000, 100 << 20, (100 << 20) + 1, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    blob b = safetensors_of("{}", 64, 0);
    samba__checkpoint_close(
        open_good(&b, SAMBA__CONTAINER_SAFETENSORS)); /* no tensors is fine here */
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        samba__store_u64(b.data, lengths[i]);
        expect_refused(&b, SAMBA_ERROR_FORMAT, i < 2 ? "line 1" : "the header of bytes has");
    }
    b.size = 8;
    expect_refused(&b, SAMBA_ERROR_FORMAT, "too few");
    b.size = 0;
    expect_refused(&b, SAMBA_ERROR_FORMAT, "too few");
    blob_free(&b);
}
END_TEST

START_TEST(survives_truncation)
{
    blob b = sample_safetensors();
    expect_survives_truncation(&b, b.size);
    blob_free(&b);
}
END_TEST

START_TEST(survives_failing_allocations)
{
    blob b = sample_safetensors();
    expect_survives_oom(&b);
    blob_free(&b);
}
END_TEST

START_TEST(corrupt_safetensors_is_refused_or_readable)
{
    blob b = sample_safetensors();
    check_corruptions(&b, b.size - 42, 7002);
    blob_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/safetensors");
    TCase *t = tcase_create("safetensors");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, lists_tensors);
    tcase_add_test(t, keeps_unknown_types);
    tcase_add_test(t, refuses_bad_headers);
    tcase_add_test(t, refuses_bad_lengths);
    tcase_add_test(t, survives_truncation);
    tcase_add_test(t, survives_failing_allocations);
    tcase_add_test(t, corrupt_safetensors_is_refused_or_readable);
    suite_add_tcase(s, t);
    return run_suite(s);
}
