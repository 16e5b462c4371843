/*
 * Reading GGUF: every value type, conversions, tensor types, and files that must be refused. The
 * files are built byte by byte in util.c and here.
 */
#include "base/bytes.h"
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const samba__gguf_value *value(const samba__checkpoint *c, const char *kind, uint32_t type)
{
    char key[16];
    snprintf(key, sizeof key, "%s.%u", kind, (unsigned)type);
    return samba__gguf_find(c->gguf, key);
}

static void check_number(const samba__checkpoint *c, uint32_t type)
{
    const bool is_float = type == SAMBA__GGUF_F32 || type == SAMBA__GGUF_F64;
    const bool is_signed = type == SAMBA__GGUF_I8 || type == SAMBA__GGUF_I16 ||
                           type == SAMBA__GGUF_I32 || type == SAMBA__GGUF_I64;
    const samba__gguf_value *one = value(c, "one", type), *array = value(c, "array", type);
    uint64_t u = 0, au = 0;
    int64_t s = 0, as = 0;
    double d = 0, ad = 0;
    ck_assert_ptr_nonnull(one);
    ck_assert_uint_eq(samba__gguf_array_size(one), 0);
    ck_assert_uint_eq(samba__gguf_array_size(array), 3);
    ck_assert_int_eq(samba__gguf_get_u64(one, &u), !is_float && !is_signed);
    ck_assert_int_eq(samba__gguf_array_u64(array, 2, &au), !is_float && !is_signed);
    ck_assert_int_eq(samba__gguf_get_i64(one, &s), !is_float);
    ck_assert_int_eq(samba__gguf_array_i64(array, 2, &as), !is_float);
    ck_assert_int_eq(samba__gguf_get_f64(one, &d), is_float);
    ck_assert_int_eq(samba__gguf_array_f64(array, 2, &ad), is_float);
    ck_assert(!samba__gguf_array_i64(array, 3, &as) && !samba__gguf_array_f64(array, 3, &ad));
    if (is_float)
        ck_assert(d == -2.0 && ad == -2.0);
    else
        ck_assert(s == (is_signed ? -2 : 2) && as == s);
    if (!is_float && !is_signed)
        ck_assert(u == 2 && au == 2);
}

START_TEST(reads_every_value_type)
{
    blob b = sample_gguf((uint32_t)_i);
    samba__checkpoint *c = open_good(&b, SAMBA__CONTAINER_GGUF);
    samba__string text;
    bool flag = false;
    ck_assert_uint_eq(samba__gguf_n_values(c->gguf), 25);
    for (uint32_t type = 0; type < 13; type++)
        if (type != SAMBA__GGUF_BOOL && type != SAMBA__GGUF_STRING && type != SAMBA__GGUF_ARRAY)
            check_number(c, type);
    ck_assert(samba__gguf_get_bool(value(c, "one", SAMBA__GGUF_BOOL), &flag) && flag);
    ck_assert(samba__gguf_get_string(value(c, "one", SAMBA__GGUF_STRING), &text));
    ck_assert(text.size == 4 && memcmp(text.data, "snow", 4) == 0);
    const samba__gguf_value *v = value(c, "array", SAMBA__GGUF_STRING);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(samba__gguf_array_string(v, i, &text));
        ck_assert(text.size == (i == 1 ? 0u : 4u) && memcmp(text.data, "snow", text.size) == 0);
    }
    ck_assert(!samba__gguf_array_string(v, 3, &text));
    ck_assert_uint_eq(samba__gguf_array_size(samba__gguf_find(c->gguf, "empty")), 0);
    ck_assert_ptr_null(samba__gguf_find(c->gguf, "absent"));
    ck_assert(!samba__gguf_get_bool(NULL, &flag) && !samba__gguf_get_string(NULL, &text));
    ck_assert(walk(c));
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

START_TEST(converts_only_what_fits)
{
    blob b = {0};
    uint64_t u = 0;
    int64_t s = 0;
    gguf_head(&b, 3, 0, 2);
    gguf_key(&b, "max", SAMBA__GGUF_U64);
    blob_u64(&b, UINT64_MAX);
    gguf_key(&b, "min", SAMBA__GGUF_I64);
    blob_u64(&b, 1ull << 63);
    samba__checkpoint *c = open_good(&b, SAMBA__CONTAINER_GGUF);
    const samba__gguf_value *max = samba__gguf_find(c->gguf, "max");
    const samba__gguf_value *min = samba__gguf_find(c->gguf, "min");
    ck_assert(samba__gguf_get_u64(max, &u) && u == UINT64_MAX);
    ck_assert(!samba__gguf_get_i64(max, &s));
    ck_assert(samba__gguf_get_i64(min, &s) && s == INT64_MIN);
    ck_assert(!samba__gguf_get_u64(min, &u));
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

START_TEST(lists_tensors)
{
    blob b = sample_gguf(3);
    samba__checkpoint *c = open_good(&b, SAMBA__CONTAINER_GGUF);
    ck_assert_uint_eq(c->n_tensors, 6);
    check_tensor(c, &(expected_tensor){"embed", SAMBA_DTYPE_F32, "f32", 48, 0});
    check_tensor(c, &(expected_tensor){"q", SAMBA_DTYPE_Q8_0, "q8_0", 68, 64});
    check_tensor(c, &(expected_tensor){"cube", SAMBA_DTYPE_F16, "f16", 48, 352 - 256});
    check_tensor(c, &(expected_tensor){"bf", SAMBA_DTYPE_BF16, "bf16", 2, 416 - 256});
    check_tensor(c, &(expected_tensor){"k", SAMBA_DTYPE_Q4_K, "q4_k", 144, 160});
    ck_assert_str_eq(samba__checkpoint_find(c, "what")->dtype_name, "type 57");
    const samba__file_tensor *cube = samba__checkpoint_find(c, "cube"); /* outermost first */
    ck_assert(cube->n_dims == 3 && cube->shape[0] == 4 && cube->shape[1] == 3 &&
              cube->shape[2] == 2);
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

START_TEST(obeys_alignment)
{
    const uint64_t dims[] = {1};
    uint8_t x[4];
    blob b = {0};
    gguf_head(&b, 3, 2, 1);
    gguf_key_u32(&b, "general.alignment", 128);
    gguf_tensor(&b, "a", 1, dims, 0, 0);
    gguf_tensor(&b, "b", 1, dims, 0, 128);
    blob_pad(&b, 128);
    blob_u32(&b, 1);
    blob_pad(&b, 128);
    blob_u32(&b, 2);
    samba__checkpoint *c = open_good(&b, SAMBA__CONTAINER_GGUF);
    for (uint8_t i = 0; i < 2; i++) {
        const samba__file_tensor *t = samba__checkpoint_find(c, i ? "b" : "a");
        ck_assert_int_eq(samba__checkpoint_read(c, t, 0, x, 4, NULL), SAMBA_OK);
        ck_assert_uint_eq(samba__load_u32(x), i + 1u);
    }
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

/* ---- refusals ---- */

static void refused(blob *b, samba_status status, const char *text)
{
    expect_refused(b, status, text);
    blob_free(b);
}

START_TEST(refuses_foreign_heads)
{
    blob b = {0};
    gguf_head(&b, 0x03000000, 0, 0);
    refused(&b, SAMBA_ERROR_UNSUPPORTED, "big-endian");
    gguf_head(&b, 1, 0, 0);
    refused(&b, SAMBA_ERROR_UNSUPPORTED, "GGUF version 1");
    gguf_head(&b, 4, 0, 0);
    refused(&b, SAMBA_ERROR_UNSUPPORTED, "GGUF version 4");
    gguf_head(&b, 0, 0, 0);
    refused(&b, SAMBA_ERROR_UNSUPPORTED, "GGUF version 0");
    gguf_head(&b, 3, UINT64_MAX, 0);
    refused(&b, SAMBA_ERROR_LIMIT, "1048576");
    gguf_head(&b, 3, 0, UINT64_MAX);
    refused(&b, SAMBA_ERROR_LIMIT, "65536");
    gguf_head(&b, 3, 1000000, 0);
    refused(&b, SAMBA_ERROR_FORMAT, "needs 25000000 bytes");
    gguf_head(&b, 3, 0, 65536);
    refused(&b, SAMBA_ERROR_FORMAT, "needs 917504 bytes");
    blob_put(&b, "PK\3\4 and so on", 14);
    refused(&b, SAMBA_ERROR_UNSUPPORTED, "zip archive");
}
END_TEST

/* One key, whose name is given by length, and a few bytes of value. */
static void key_refused(const char *key, size_t size, samba_status status, const char *text)
{
    blob b = {0};
    gguf_head(&b, 3, 0, 1);
    blob_u64(&b, size);
    blob_put(&b, key, size);
    blob_u32(&b, SAMBA__GGUF_U32);
    blob_u32(&b, 1);
    refused(&b, status, text);
}

static void value_refused(uint32_t type, const uint64_t *words, size_t n, samba_status status,
                          const char *text)
{
    blob b = {0};
    gguf_head(&b, 3, 0, 1);
    gguf_key(&b, "key", type);
    for (size_t i = 0; i < n; i++)
        blob_u64(&b, words[i]);
    refused(&b, status, text);
}

/* An array's head: element type and count share words with what follows. */
static void array_refused(uint32_t type, uint64_t n, samba_status status, const char *text)
{
    blob b = {0};
    gguf_head(&b, 3, 0, 1);
    gguf_key(&b, "key", SAMBA__GGUF_ARRAY);
    blob_u32(&b, type);
    blob_u64(&b, n);
    blob_zeros(&b, 32);
    refused(&b, status, text);
}

START_TEST(refuses_bad_keys)
{
    char *long_key = malloc(70000);
    ck_assert_ptr_nonnull(long_key);
    memset(long_key, 'x', 70000);
    key_refused("", 0, SAMBA_ERROR_FORMAT, "empty or no UTF-8");
    key_refused("a\0b", 3, SAMBA_ERROR_FORMAT, "empty or no UTF-8");
    key_refused("a\xff", 2, SAMBA_ERROR_FORMAT, "empty or no UTF-8");
    key_refused("\xc0\xaf", 2, SAMBA_ERROR_FORMAT, "no UTF-8");         /* overlong */
    key_refused("\xed\xa0\x80", 3, SAMBA_ERROR_FORMAT, "no UTF-8");     /* surrogate */
    key_refused("\xf4\x90\x80\x80", 4, SAMBA_ERROR_FORMAT, "no UTF-8"); /* past U+10FFFF */
    key_refused("ab\xe2\x82", 4, SAMBA_ERROR_FORMAT, "no UTF-8");       /* cut short */
    key_refused(long_key, 70000, SAMBA_ERROR_LIMIT, "too long");
    free(long_key);

    blob b = {0};
    gguf_head(&b, 3, 0, 3);
    gguf_key_u32(&b, "a", 1);
    gguf_key_u32(&b, "b", 1);
    gguf_key_u32(&b, "a", 2);
    refused(&b, SAMBA_ERROR_FORMAT, "there twice: key a");
}
END_TEST

START_TEST(refuses_bad_values)
{
    const uint64_t two[] = {2}, huge[] = {UINT64_MAX}, big[] = {1 << 20};
    value_refused(SAMBA__GGUF_BOOL, two, 1, SAMBA_ERROR_FORMAT, "neither 0 nor 1");
    value_refused(13, two, 1, SAMBA_ERROR_FORMAT, "unknown value type");
    value_refused(UINT32_MAX, two, 1, SAMBA_ERROR_FORMAT, "unknown value type");
    value_refused(SAMBA__GGUF_STRING, huge, 1, SAMBA_ERROR_FORMAT, "bytes at byte");
    value_refused(SAMBA__GGUF_STRING, big, 1, SAMBA_ERROR_FORMAT, "needs 1048576 bytes");
    array_refused(SAMBA__GGUF_ARRAY, 1, SAMBA_ERROR_UNSUPPORTED, "arrays of arrays");
    array_refused(13, 1, SAMBA_ERROR_FORMAT, "unknown type of array");
    array_refused(SAMBA__GGUF_U8, UINT64_MAX, SAMBA_ERROR_FORMAT, "longer than the file");
    array_refused(SAMBA__GGUF_F64, UINT64_MAX / 8 + 1, SAMBA_ERROR_FORMAT, "longer than the file");
    array_refused(SAMBA__GGUF_F64, 5, SAMBA_ERROR_FORMAT, "longer than the file");
    array_refused(SAMBA__GGUF_STRING, 5, SAMBA_ERROR_FORMAT, "longer than the file");
    array_refused(SAMBA__GGUF_STRING, UINT64_MAX, SAMBA_ERROR_FORMAT, "longer than the file");
}
END_TEST

START_TEST(refuses_bad_layouts)
{
    static const uint32_t bad[] = {0, 3, 48, 131072, UINT32_MAX};
    blob b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gguf_head(&b, 3, 0, 1);
        gguf_key_u32(&b, "general.alignment", bad[i]);
        refused(&b, SAMBA_ERROR_FORMAT, "general.alignment");
    }
    gguf_head(&b, 3, 0, 1);
    gguf_key(&b, "general.alignment", SAMBA__GGUF_STRING);
    blob_string(&b, "32");
    refused(&b, SAMBA_ERROR_FORMAT, "general.alignment");
    gguf_head(&b, 3, 0, 1);
    gguf_key_u32(&b, "split.count", 2);
    refused(&b, SAMBA_ERROR_UNSUPPORTED, "split GGUF");
}
END_TEST

/* A file with one tensor "t" and 64 data bytes. */
static void tensor_refused(uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset,
                           samba_status status, const char *text)
{
    blob b = {0};
    gguf_head(&b, 3, 1, 0);
    gguf_tensor(&b, "t", n_dims, dims, type, offset);
    blob_pad(&b, 32);
    blob_zeros(&b, 64);
    refused(&b, status, text);
}

START_TEST(refuses_bad_tensors)
{
    const uint64_t one[] = {1}, many[] = {1, 1, 1, 1, 1}, wide[] = {1ull << 40, 1ull << 40},
                   odd[] = {33}, odd_rows[] = {16, 2}, half_rows[] = {128, 2},
                   bytes[] = {1ull << 62}, w16[] = {16}, w17[] = {17}, negative[] = {UINT64_MAX};
    tensor_refused(5, many, 0, 0, SAMBA_ERROR_UNSUPPORTED, "4 dimensions");
    tensor_refused(UINT32_MAX, many, 0, 0, SAMBA_ERROR_UNSUPPORTED, "4 dimensions");
    tensor_refused(2, wide, 0, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(1, bytes, 0, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(1, negative, 0, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(2, wide, 57, 0, SAMBA_ERROR_FORMAT, "more elements than 64 bits");
    tensor_refused(1, odd, 8, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(2, odd_rows, 8, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(1, one, 12, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(2, half_rows, 12, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(2, half_rows, 14, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(2, odd_rows, 2, 0, SAMBA_ERROR_FORMAT, "does not fit the type");
    tensor_refused(1, one, 0, 4, SAMBA_ERROR_FORMAT, "not aligned");
    tensor_refused(1, w17, 0, 0, SAMBA_ERROR_FORMAT, "ends 68 bytes after");
    tensor_refused(1, w16, 0, 32, SAMBA_ERROR_FORMAT, "ends 64 bytes after");
    tensor_refused(1, one, 0, 1ull << 40, SAMBA_ERROR_FORMAT, "ends 4 bytes after");
    tensor_refused(1, one, 0, UINT64_MAX - 31, SAMBA_ERROR_FORMAT, "past 64 bits");
    /* offset + bytes wraps to 0 */
    tensor_refused(1, w16, 0, UINT64_MAX - 127, SAMBA_ERROR_FORMAT, "ends 64 bytes after");
    tensor_refused(1, one, 57, 96, SAMBA_ERROR_FORMAT, "ends 0 bytes after");
}
END_TEST

START_TEST(refuses_clashes)
{
    const uint64_t w9[] = {9}, one[] = {1};
    blob b = {0};
    gguf_head(&b, 3, 2, 0);
    gguf_tensor(&b, "x", 1, w9, 0, 0); /* 36 bytes */
    gguf_tensor(&b, "y", 1, one, 0, 32);
    blob_pad(&b, 32);
    blob_zeros(&b, 64);
    refused(&b, SAMBA_ERROR_FORMAT, "tensors x and y share bytes");
    gguf_head(&b, 3, 2, 0);
    gguf_tensor(&b, "x", 1, one, 0, 0);
    gguf_tensor(&b, "x", 1, one, 0, 32);
    blob_pad(&b, 32);
    blob_zeros(&b, 64);
    refused(&b, SAMBA_ERROR_FORMAT, "tensor x is there twice");
    gguf_head(&b, 3, 1, 0);
    gguf_tensor(&b, "x\xff", 1, one, 0, 0);
    blob_zeros(&b, 64);
    refused(&b, SAMBA_ERROR_FORMAT, "no UTF-8");
}
END_TEST

START_TEST(survives_truncation)
{
    blob b = sample_gguf(3);
    expect_survives_truncation(&b, b.size - 448 + 418);
    blob_free(&b);
}
END_TEST

START_TEST(survives_failing_allocations)
{
    blob b = sample_gguf(3);
    expect_survives_oom(&b);
    blob_free(&b);
}
END_TEST

/* ---- a large vocabulary ---- */

enum {
    N_TOKENS = 200000
};

START_TEST(reads_a_large_vocabulary_fast)
{
    blob b = {0};
    char token[32];
    counting count;
    samba__checkpoint *c = NULL;
    samba__string text;
    double score;
    gguf_head(&b, 3, 0, 3);
    gguf_key(&b, "tokens", SAMBA__GGUF_ARRAY);
    blob_u32(&b, SAMBA__GGUF_STRING);
    blob_u64(&b, N_TOKENS);
    for (unsigned i = 0; i < N_TOKENS; i++) {
        snprintf(token, sizeof token, "token%u", i);
        blob_string(&b, token);
    }
    gguf_key(&b, "scores", SAMBA__GGUF_ARRAY);
    blob_u32(&b, SAMBA__GGUF_F32);
    blob_u64(&b, N_TOKENS);
    for (unsigned i = 0; i < N_TOKENS; i++)
        blob_u32(&b, 0x3f800000u);
    gguf_key_u32(&b, "after", 7);
    counting_init(&count);
    const clock_t start = clock();
    ck_assert_int_eq(open_bytes(&count.a, b.data, b.size, &c, NULL), SAMBA_OK);
    const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("%d tokens, %zu bytes: %.4f s, peak %zu bytes\n", N_TOKENS, b.size, seconds, count.peak);
    ck_assert(seconds < 1.0); /* about 0.01 s without a sanitizer */
    ck_assert_uint_lt(count.peak, b.size + 65536);
    for (size_t i = 0; i < N_TOKENS; i += 997) {
        snprintf(token, sizeof token, "token%zu", i);
        ck_assert(samba__gguf_array_string(samba__gguf_find(c->gguf, "tokens"), i, &text));
        ck_assert(text.size == strlen(token) && memcmp(text.data, token, text.size) == 0);
        ck_assert(samba__gguf_array_f64(samba__gguf_find(c->gguf, "scores"), i, &score));
        ck_assert(score == 1.0);
    }
    samba__checkpoint_close(c);
    ck_assert_uint_eq(count.blocks, 0);
    blob_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/gguf");
    TCase *t = tcase_create("read");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, reads_every_value_type, 2, 4);
    tcase_add_test(t, converts_only_what_fits);
    tcase_add_test(t, lists_tensors);
    tcase_add_test(t, obeys_alignment);
    tcase_add_test(t, refuses_foreign_heads);
    tcase_add_test(t, refuses_bad_keys);
    tcase_add_test(t, refuses_bad_values);
    tcase_add_test(t, refuses_bad_layouts);
    tcase_add_test(t, refuses_bad_tensors);
    tcase_add_test(t, refuses_clashes);
    tcase_add_test(t, survives_truncation);
    tcase_add_test(t, survives_failing_allocations);
    tcase_add_test(t, reads_a_large_vocabulary_fast);
    suite_add_tcase(s, t);
    return run_suite(s);
}
