/* json.h: what it accepts, what it answers, and what it refuses before or while parsing. */
#include "format/json.h"
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static samba__json_doc *parse(const char *text)
{
    samba__json_doc *doc = NULL;
    samba_error *e = NULL;
    const samba_status status =
        samba__json_parse(samba__alloc_default(), text, strlen(text), "text", &doc, &e);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(e));
    return doc;
}

static void refused(const char *text, size_t size, samba_status status, const char *message)
{
    counting c;
    samba__json_doc *doc = NULL;
    samba_error *e = NULL;
    counting_init(&c);
    ck_assert_int_eq(samba__json_parse(&c.a, text, size, "text", &doc, &e), status);
    ck_assert_ptr_null(doc);
    ck_assert_msg(strstr(samba_error_message(e), message), "%s", samba_error_message(e));
    ck_assert_str_eq(samba_error_file(e), "text");
    samba_error_free(e);
    ck_assert_uint_eq(c.blocks, 0);
}

START_TEST(answers_by_type)
{
    samba__json_doc *doc = parse("{\"i\":-7,\"whole\":3.0,\"half\":0.5,\"t\":true,\"f\":false,"
                                 "\"s\":\"a\\u0000b\",\"n\":null,\"a\":[1,[]],\"o\":{}}");
    const samba__json *r = samba__json_root(doc);
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    size_t size = 0;
    ck_assert(samba__json_is_object(r) && !samba__json_is_array(r) && !samba__json_is_null(r));
    ck_assert(samba__json_int(samba__json_get(r, "i"), &i) && i == -7);
    ck_assert(samba__json_int(samba__json_get(r, "whole"), &i) && i == 3);
    ck_assert(!samba__json_int(samba__json_get(r, "half"), &i));
    ck_assert(samba__json_double(samba__json_get(r, "half"), &d) && d == 0.5);
    ck_assert(samba__json_double(samba__json_get(r, "i"), &d) && d == -7.0);
    ck_assert(samba__json_bool(samba__json_get(r, "t"), &b) && b);
    ck_assert(samba__json_bool(samba__json_get(r, "f"), &b) && !b);
    ck_assert(!samba__json_bool(samba__json_get(r, "i"), &b));
    ck_assert(!samba__json_int(samba__json_get(r, "t"), &i));
    ck_assert(samba__json_string(samba__json_get(r, "s"), &s, &size));
    ck_assert(size == 3 && memcmp(s, "a\0b", 4) == 0);
    ck_assert(!samba__json_string(samba__json_get(r, "i"), &s, &size));
    ck_assert(samba__json_is_null(samba__json_get(r, "n")));
    ck_assert(samba__json_is_array(samba__json_get(r, "a")));
    ck_assert_uint_eq(samba__json_size(samba__json_get(r, "a")), 2);
    ck_assert_uint_eq(samba__json_size(r), 9);
    ck_assert(samba__json_is_array(samba__json_at(samba__json_get(r, "a"), 1)));
    ck_assert_ptr_null(samba__json_at(samba__json_get(r, "a"), 2));
    samba__json_free(doc);
}
END_TEST

START_TEST(takes_absent_values)
{
    int64_t i;
    double d;
    bool b;
    const char *s;
    size_t n;
    const samba__json *v;
    ck_assert(!samba__json_is_object(NULL) && !samba__json_is_array(NULL));
    ck_assert(samba__json_is_null(NULL));
    ck_assert_ptr_null(samba__json_get(NULL, "x"));
    ck_assert_ptr_null(samba__json_at(NULL, 0));
    ck_assert_uint_eq(samba__json_size(NULL), 0);
    ck_assert(!samba__json_int(NULL, &i) && !samba__json_double(NULL, &d));
    ck_assert(!samba__json_bool(NULL, &b) && !samba__json_string(NULL, &s, &n));
    ck_assert_ptr_null(samba__json_next(NULL, NULL, &s, &v));
    samba__json_free(NULL);
}
END_TEST

START_TEST(iterates_in_file_order)
{
    samba__json_doc *doc = parse("{\"z\":0,\"a\":1,\"m\":2,\"b\":3}");
    static const char *const order[] = {"z", "a", "m", "b"};
    const samba__json *value;
    const char *key;
    int64_t n = 0, i;
    for (const void *it = samba__json_next(samba__json_root(doc), NULL, &key, &value); it;
         it = samba__json_next(samba__json_root(doc), it, &key, &value), n++) {
        ck_assert_str_eq(key, order[n]);
        ck_assert(samba__json_int(value, &i) && i == n);
    }
    ck_assert_int_eq(n, 4);
    samba__json_free(doc);
}
END_TEST

START_TEST(reads_huge_integers_as_doubles)
{
    samba__json_doc *doc = parse("{\"model_max_length\":1000000000000000019884624838656,"
                                 "\"n\":12,\"edge\":9007199254740992,\"past\":9007199254740994}");
    const samba__json *r = samba__json_root(doc);
    int64_t i;
    double d;
    ck_assert(samba__json_double(samba__json_get(r, "model_max_length"), &d) &&
              fabs(d - 1e30) < 1e15);
    ck_assert(!samba__json_int(samba__json_get(r, "model_max_length"), &i));
    ck_assert(samba__json_int(samba__json_get(r, "n"), &i) && i == 12);
    ck_assert(samba__json_int(samba__json_get(r, "edge"), &i) && i == 9007199254740992);
    ck_assert(samba__json_int(samba__json_get(r, "past"), &i) && i == 9007199254740994);
    samba__json_free(doc);
    doc = parse("[9223372036854775807]");
    ck_assert(samba__json_int(samba__json_at(samba__json_root(doc), 0), &i) && i == INT64_MAX);
    samba__json_free(doc);
}
END_TEST

START_TEST(refuses_bad_texts)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "line 1"},
        {"7", "line 1"},
        {"{", "line 1 column 1"},
        {"{\"a\":1,}", "line 1"},
        {"{\"a\":1}\n\n  x", "line 3"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":{\"b\":1,\"b\":1}}", "duplicate"},
        {"\xef\xbb\xbf{}", "byte order mark"},
        {"{\"\xff\":1}", "unable to decode byte 0xff"},
        {"[\"\xc0\xaf\"]", "unable to decode byte"},
        {"[\"\\ud800\"]", "line 1"},
        {"[1e999]", "line 1"},
        {"[NaN]", "line 1"},
        {"[1] // note", "line 1"},
        {"{\"a\\u0000b\":1}", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].text, strlen(cases[i].text), SAMBA_ERROR_FORMAT, cases[i].message);
    refused("{}\0{}", 5, SAMBA_ERROR_FORMAT, "line 1");
}
END_TEST

START_TEST(bounds_the_depth)
{
    enum {
        DEEP = 1000000
    };
    char *text = malloc(2 * DEEP);
    ck_assert_ptr_nonnull(text);
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    refused(text, 2 * DEEP, SAMBA_ERROR_FORMAT, "deeper than 64 levels at byte 64");
    refused(text + DEEP - 65, 130, SAMBA_ERROR_FORMAT, "deeper than 64");
    text[DEEP + 64] = 0;
    samba__json_free(parse(text + DEEP - 64)); /* exactly 64 are fine */
    free(text);
    /* brackets inside strings do not count, escaped quotes do not end them */
    samba__json_free(parse(
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"]"));
}
END_TEST

START_TEST(bounds_the_size)
{
    char small[4] = "[]";
    /* refused by its size alone: the text is never looked at */
    refused(small, ((size_t)256 << 20) + 1, SAMBA_ERROR_LIMIT, "at most 268435456");
}
END_TEST

START_TEST(survives_truncation_and_noise)
{
    static const char text[] = "{\"a\":[1,2.5,\"x\\u00e9\\n\",true,null],\"b\":{\"c\":{\"d\":[]}}}";
    const size_t n = sizeof text - 1;
    uint64_t seed = 20250729;
    for (size_t i = 0; i < n; i++) {
        samba__json_doc *doc = NULL;
        ck_assert_int_eq(samba__json_parse(samba__alloc_default(), text, i, "text", &doc, NULL),
                         SAMBA_ERROR_FORMAT);
    }
    for (int i = 0; i < 20000; i++) {
        char copy[sizeof text];
        samba__json_doc *doc = NULL;
        memcpy(copy, text, sizeof text);
        for (uint64_t k = next_random(&seed) % 4 + 1; k; k--)
            copy[next_random(&seed) % n] = (char)next_random(&seed);
        if (samba__json_parse(samba__alloc_default(), copy, n, "text", &doc, NULL) == SAMBA_OK)
            ck_assert(samba__json_root(doc));
        samba__json_free(doc);
    }
}
END_TEST

/* ---------------------------------------------------------------- another reader's opinion */

static void same_value(const samba__json *v, json_t *j);

static void same_object(const samba__json *v, json_t *j)
{
    const char *key;
    json_t *other;
    const samba__json *value;
    const void *it = NULL;
    ck_assert_uint_eq(samba__json_size(v), json_object_size(j));
    json_object_foreach(j, key, other)
    {
        const char *name = NULL;
        it = samba__json_next(v, it, &name, &value);
        ck_assert(it && strcmp(name, key) == 0);
        ck_assert_ptr_eq(samba__json_get(v, key), value);
        same_value(value, other);
    }
    ck_assert_ptr_null(samba__json_get(v, "no such member"));
}

static void same_value(const samba__json *v, json_t *j)
{
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    size_t n = 0;
    if (json_is_object(j)) {
        ck_assert(samba__json_is_object(v));
        same_object(v, j);
    } else if (json_is_array(j)) {
        ck_assert(samba__json_is_array(v) && samba__json_size(v) == json_array_size(j));
        for (size_t k = 0; k < json_array_size(j); k++)
            same_value(samba__json_at(v, k), json_array_get(j, k));
    } else if (json_is_string(j)) {
        ck_assert(samba__json_string(v, &s, &n) && n == json_string_length(j));
        ck_assert_mem_eq(s, json_string_value(j), n + 1);
    } else if (json_is_integer(j)) {
        ck_assert(samba__json_int(v, &i) && i == json_integer_value(j));
    } else if (json_is_real(j)) {
        const double x = json_real_value(j);
        ck_assert(samba__json_double(v, &d) && memcmp(&d, &x, sizeof d) == 0);
    } else if (json_is_boolean(j)) {
        ck_assert(samba__json_bool(v, &b) && b == json_is_true(j));
    } else {
        ck_assert(v && samba__json_is_null(v));
    }
}

/* The same texts are JSON, and say the same. Integers past 64 bits aside: jansson refuses them. */
static bool compare(const char *text, size_t size)
{
    json_error_t e;
    samba__json_doc *doc = NULL;
    json_t *j = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    samba_error *error = NULL;
    const bool good =
        samba__json_parse(samba__alloc_default(), text, size, "text", &doc, &error) == SAMBA_OK;
    if (!j && json_error_code(&e) == json_error_numeric_overflow && good) {
        samba__json_free(doc);
        return false;
    }
    ck_assert_msg(good == (j != NULL), "%s: %.*s", j ? samba_error_message(error) : e.text,
                  (int)size, text);
    samba_error_free(error);
    if (good)
        same_value(samba__json_root(doc), j);
    samba__json_free(doc);
    json_decref(j);
    return good;
}

static size_t random_value(uint64_t *seed, int depth, char *to);

static size_t random_list(uint64_t *seed, int depth, char *to)
{
    const bool object = next_random(seed) % 2;
    const size_t count = next_random(seed) % (depth ? 6 : 20);
    size_t n = 0;
    to[n++] = object ? '{' : '[';
    for (size_t i = 0; i < count; i++) {
        n += (size_t)sprintf(to + n, "%s", i ? next_random(seed) % 3 ? "," : " ,\n" : "");
        if (object) /* now and then a duplicate */
            n += (size_t)sprintf(to + n, "\"k%d\": ", (int)(next_random(seed) % 200));
        n += random_value(seed, depth + 1, to + n);
    }
    to[n++] = object ? '}' : ']';
    return n;
}

static size_t random_value(uint64_t *seed, int depth, char *to)
{
    static const char *const words[] = {"null",
                                        "true",
                                        "false",
                                        "\"\"",
                                        "\"a\\u0000b\"",
                                        "\"\\ud83d\\ude00\"",
                                        "\"\\\\\\\"\\/\\b\\f\\n\\r\\t\"",
                                        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "0.1e-310",
                                        "4.9e-324",
                                        "2.4e-324",
                                        "1.7976931348623157e308",
                                        "-0",
                                        "-0.0",
                                        "0e5",
                                        "1E+2",
                                        "9007199254740993.0",
                                        "100000000000000016777215.5e-3",
                                        "\"\\u00e9\\u20AC\"",
                                        "[]",
                                        "{}"};
    const uint64_t r = next_random(seed), m = next_random(seed);
    if (depth < 4 && r % 3 == 0)
        return random_list(seed, depth, to);
    switch (r % 7) {
    case 0:
        return (size_t)sprintf(to, "%lld", (long long)(m >> next_random(seed) % 64));
    case 1:
        return (size_t)sprintf(to, "-%llu.%llue%d", (unsigned long long)(m % 1000),
                               (unsigned long long)next_random(seed), (int)(m >> 40) % 340 - 330);
    case 2:
        return (size_t)sprintf(to, "%llu%llu%llu.%lluE-%d", (unsigned long long)(m | 1),
                               (unsigned long long)next_random(seed),
                               (unsigned long long)next_random(seed),
                               (unsigned long long)next_random(seed), (int)(m >> 40) % 400);
    default:
        return (size_t)sprintf(to, "%s", words[m % (sizeof words / sizeof *words)]);
    }
}

START_TEST(agrees_with_jansson)
{
    static const char marks[] = "\\\"{}[]:,0123456789eE+-.u \n";
    static char text[1 << 20];
    uint64_t seed = 20250730;
    size_t good = 0;
    for (int i = 0; i < 6000; i++) {
        size_t n = random_list(&seed, 0, text);
        good += compare(text, n);
        for (int k = 0; k < 4; k++) { /* damage adds up */
            const uint64_t r = next_random(&seed);
            char c = (char)(1 + r % 255); /* jansson skips some zeros */
            if (k % 2)
                c = marks[r % (sizeof marks - 1)];
            text[next_random(&seed) % n] = c;
            compare(text, n);
        }
    }
    ck_assert_uint_gt(good, 1000);
    ck_assert_uint_lt(good, 6000); /* some had duplicates */
}
END_TEST

/* Long numbers are those that the C library reads, digit for digit. */
START_TEST(reads_long_numbers)
{
    static char text[4096];
    uint64_t seed = 5;
    for (int i = 0; i < 3000; i++) {
        const size_t digits = 1 + next_random(&seed) % 1500, point = next_random(&seed) % digits;
        size_t n = 1;
        double d = 0;
        samba__json_doc *doc = NULL;
        text[0] = '[';
        for (size_t k = 0; k < digits; k++) {
            /* powers of two and a half: ties, far out */
            text[n++] = (char)(k == 0  ? '1' + next_random(&seed) % 9
                               : i % 3 ? '0' + next_random(&seed) % 10
                                       : '0');
            if (k == point)
                text[n++] = '.';
        }
        text[n++] = (char)('0' + next_random(&seed) % 2);
        n += (size_t)sprintf(text + n, "e%d]", (int)(next_random(&seed) % 500) - 400 - (int)point);
        const double want = strtod(text + 1, NULL);
        if (!isfinite(want))
            continue;
        ck_assert_int_eq(samba__json_parse(samba__alloc_default(), text, n, "text", &doc, NULL),
                         SAMBA_OK);
        ck_assert(samba__json_double(samba__json_at(samba__json_root(doc), 0), &d));
        ck_assert_msg(d == want, "%.*s: %a, not %a", (int)n, text, d, want);
        samba__json_free(doc);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/json");
    TCase *t = tcase_create("json");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, answers_by_type);
    tcase_add_test(t, takes_absent_values);
    tcase_add_test(t, iterates_in_file_order);
    tcase_add_test(t, reads_huge_integers_as_doubles);
    tcase_add_test(t, refuses_bad_texts);
    tcase_add_test(t, bounds_the_depth);
    tcase_add_test(t, bounds_the_size);
    tcase_add_test(t, survives_truncation_and_noise);
    tcase_add_test(t, agrees_with_jansson);
    tcase_add_test(t, reads_long_numbers);
    suite_add_tcase(s, t);
    return run_suite(s);
}
