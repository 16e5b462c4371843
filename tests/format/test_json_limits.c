/*
 * json.h at its limits: a number's last bit, a text cut anywhere, memory that runs out, long
 * objects, names chosen to collide, and what a text may cost.
 */
#include "format/json.h"
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static samba__json_doc *parse(const blob *b)
{
    samba__json_doc *doc = NULL;
    samba_error *e = NULL;
    const samba_status status =
        samba__json_parse(samba__alloc_default(), (const char *)b->data, b->size, "text", &doc, &e);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(e));
    return doc;
}

static void put(blob *b, const char *text)
{
    blob_put(b, text, strlen(text));
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---------------------------------------------------------------- numbers */

/* "[number]" gives what strtod gives, bit by bit, or is refused where that is infinite. */
static void check_number(const char *number)
{
    blob b = {0};
    samba__json_doc *doc = NULL;
    double got = 0, want = strtod(number, NULL);
    put(&b, "[");
    put(&b, number);
    put(&b, "]");
    const samba_status status =
        samba__json_parse(samba__alloc_default(), (const char *)b.data, b.size, "text", &doc, NULL);
    if (isfinite(want)) {
        ck_assert_msg(status == SAMBA_OK, "%s is refused", number);
        ck_assert(samba__json_double(samba__json_at(samba__json_root(doc), 0), &got));
        ck_assert_msg(memcmp(&got, &want, sizeof got) == 0 || (got == 0 && want == 0),
                      "%s: %a, not %a", number, got, want);
    } else {
        ck_assert_msg(status == SAMBA_ERROR_FORMAT, "%s is not refused", number);
    }
    samba__json_free(doc);
    blob_free(&b);
}

static double random_double(uint64_t *seed)
{
    double x;
    do {
        const uint64_t bits = next_random(seed) & ~((uint64_t)1 << 63);
        memcpy(&x, &bits, sizeof x);
    } while (!isfinite(x));
    return x;
}

START_TEST(rounds_random_decimals)
{
    uint64_t seed = 7;
    char s[1200];
    for (int i = 0; i < 100000; i++) {
        const uint64_t r = next_random(&seed);
        const unsigned long long m = next_random(&seed) >> r % 64;
        switch (i % 4) {
        case 0: /* any mantissa, any exponent */
            snprintf(s, sizeof s, "%s%llue%d", r >> 63 ? "-" : "", m, (int)(r >> 8) % 350);
            break;
        case 1: /* as programs write them: 1 to 20 digits */
            snprintf(s, sizeof s, "%.*e", (int)(r % 20), random_double(&seed));
            break;
        case 2:
            snprintf(s, sizeof s, "%llu.%06llu", m >> 12, (unsigned long long)(r % 1000000));
            break;
        default: /* near the smallest */
            snprintf(s, sizeof s, "%llu.%llue-%d", m % 10, m, 300 + (int)(r >> 8 & 31));
        }
        check_number(s);
    }
}
END_TEST

/* Exactly between two doubles, and the least bit below and above. */
START_TEST(rounds_ties)
{
    uint64_t seed = 11;
    static char s[1300];
    for (int i = 0; i < 3000; i++) {
        /* glibc prints all digits of these, and x + half an ulp is one, too, of long double */
        const double x =
            i % 3 == 0 ? ldexp((double)(next_random(&seed) >> 12), -1074) : random_double(&seed);
        const long double tie = ((long double)x + (long double)nextafter(x, INFINITY)) / 2;
        if (!isfinite(nextafter(x, INFINITY)))
            continue;
        snprintf(s, sizeof s, "%.1090Le", tie);
        check_number(s);
        char *e = strchr(s, 'e');
        e[-1] = '1';
        check_number(s);
        snprintf(s, sizeof s, "%.*Le", 17 + i % 30, tie);
        check_number(s);
    }
}
END_TEST

START_TEST(rounds_at_the_edges)
{
    static const char *const cases[] = {"0.0",
                                        "-0.0",
                                        "0e999999999999999999999",
                                        "1e-999999999999999999999",
                                        "1e999999999999999999999",
                                        "1.7976931348623157e308",
                                        "1.7976931348623158e308",
                                        "1.7976931348623159e308",
                                        "179769313486231580793e289",
                                        "4.9406564584124654e-324",
                                        "2.4703282292062327e-324",
                                        "2.4703282292062328e-324",
                                        "2.2250738585072014e-308",
                                        "2.2250738585072011e-308",
                                        "9007199254740993.0",
                                        "9007199254740993e0",
                                        "9007199254740992.99999999999999999999999999999",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "18446744073709551616",
                                        "1e22",
                                        "1e23",
                                        "8.5e22",
                                        "123456789012345678901234567890e-30",
                                        "0.000000000000000000000000000001e30"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_number(cases[i]);
    static char s[3000];
    for (size_t zeros = 0; zeros < 2400; zeros += 61) { /* 1e-3 in other words */
        memset(s, '0', sizeof s);
        s[0] = '1';
        snprintf(s + 1 + zeros, sizeof s - 1 - zeros, "e-%zu", zeros + 3);
        check_number(s);
        memset(s, '0', sizeof s);
        s[1] = '.';
        snprintf(s + 2 + zeros, sizeof s - 2 - zeros, "1e%zu", zeros - 2 + (zeros < 2));
        check_number(s);
    }
}
END_TEST

START_TEST(keeps_integers_of_64_bits)
{
    uint64_t seed = 13;
    for (int i = 0; i < 20000; i++) {
        const int64_t want = i == 0   ? INT64_MIN
                             : i == 1 ? INT64_MAX
                                      : (int64_t)next_random(&seed) >> i % 64;
        char s[32];
        int64_t got = 0;
        blob b = {0};
        snprintf(s, sizeof s, "[%lld]", (long long)want);
        put(&b, s);
        samba__json_doc *doc = parse(&b);
        ck_assert(samba__json_int(samba__json_at(samba__json_root(doc), 0), &got) && got == want);
        samba__json_free(doc);
        blob_free(&b);
    }
}
END_TEST

/* ---------------------------------------------------------------- faults */

static const char sample[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\\ud83d\\ude00\",true,null,false,1e-"
                             "300],\"b\":{\"c\":{\"d\":[]}},"
                             "\"\xc3\xa9\":\"\xe2\x82\xac\", "
                             "\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6,\"k7\":{}}";

static void says(const char *text, const char *message, uint64_t offset)
{
    samba__json_doc *doc = NULL;
    samba_error *e = NULL;
    ck_assert_int_eq(
        samba__json_parse(samba__alloc_default(), text, strlen(text), "a.json", &doc, &e),
        SAMBA_ERROR_FORMAT);
    ck_assert_str_eq(samba_error_message(e), message);
    ck_assert_uint_eq(samba_error_offset(e), offset);
    samba_error_free(e);
}

START_TEST(says_what_is_expected_where)
{
    says("", "a.json line 1 column 0: expected '[' or '{', the text ends", 0);
    says("[1 2]", "a.json line 1 column 3: expected ',' or ']' behind a value, not '2'", 3);
    says("{\n \"\xc3\xa9\" 1}",
         "a.json line 2 column 5: expected ':' behind a member's name, not '1'", 8);
    says("{\"a\":1\n\n",
         "a.json line 3 column 0: expected ',' or '}' behind a member, the text ends", 8);
    says("{1:1}", "a.json line 1 column 1: expected a member's name in quotes, not '1'", 1);
    says("[01]", "a.json line 1 column 2: expected ',' or ']' behind a value, not '1'", 2);
    says("[1,]", "a.json line 1 column 3: expected a value, not ']'", 3);
    says("[nul]", "a.json line 1 column 1: expected a value, not 'n'", 1);
    says("[-]", "a.json line 1 column 2: expected a digit, not ']'", 2);
    says("[1.e5]", "a.json line 1 column 3: expected a digit, not 'e'", 3);
    says("[1e+]", "a.json line 1 column 4: expected a digit, not ']'", 4);
    says("[\"a\\x\"]", "a.json line 1 column 4: expected an escape, one of \"\\/bfnrtu, not 'x'",
         4);
    says("[\"\\u12g4\"]", "a.json line 1 column 6: expected a hexadecimal digit, not 'g'", 6);
    says("[\"\\u12\"]", "a.json line 1 column 6: expected a hexadecimal digit, not '\"'", 6);
    says("[\"\\ud800\"]",
         "a.json line 1 column 8: expected \\u and the second half of a surrogate pair, not '\"'",
         8);
    says("[\"\\ud800\\u0041\"]",
         "a.json line 1 column 8: expected \\u and the second half of a surrogate pair, not '\\'",
         8);
    says("[\"\\udc00\"]",
         "a.json line 1 column 4: the second half of a surrogate pair has no first", 4);
    says("[\"a\tb\"]", "a.json line 1 column 3: a string holds the control character 0x09", 3);
    says("[\"a", "a.json line 1 column 3: expected a string's closing '\"', the text ends", 3);
    says("[\"\xed\xa0\x80\"]", "a.json line 1 column 2: unable to decode byte 0xed", 2);
    says("[1]\xff", "a.json line 1 column 3: expected nothing behind the end, not byte 0xff", 3);
    says("[-1e400]", "a.json line 1 column 1: a number past the largest double", 1);
    says("{\"a\\u0000\":1}", "a.json line 1 column 10: a NUL byte in a member's name", 10);
    says("[{\"x\\n\":1,\"y\":2,\"x\\u000a\":3}]",
         "a.json line 1 column 28: duplicate object key \"x?\"", 28);
}
END_TEST

/* No shorter text is a document, and none is read past its end (a sanitizer sees that). */
START_TEST(refuses_every_truncation)
{
    for (size_t n = 0; n + 1 < sizeof sample; n++) {
        char *text = malloc(n + !n);
        samba__json_doc *doc = NULL;
        ck_assert_ptr_nonnull(text);
        memcpy(text, sample, n);
        ck_assert_int_eq(samba__json_parse(samba__alloc_default(), text, n, "text", &doc, NULL),
                         SAMBA_ERROR_FORMAT);
        ck_assert_ptr_null(doc);
        free(text);
    }
}
END_TEST

/* The parse with every allocation failing, once and for good: says so, and leaves nothing. */
static size_t check_memory(const blob *b)
{
    counting c;
    for (size_t n = 0;; n++)
        for (int lasting = 0; lasting < 2; lasting++) {
            samba__json_doc *doc = NULL;
            samba_error *e = NULL;
            counting_init(&c);
            c.fail_at = n;
            c.lasting = lasting != 0;
            const samba_status status =
                samba__json_parse(&c.a, (const char *)b->data, b->size, "text", &doc, &e);
            if (c.calls <= n) {
                ck_assert_int_eq(status, SAMBA_OK);
                samba__json_free(doc);
                ck_assert_uint_eq(c.blocks, 0);
                return n;
            }
            ck_assert_int_eq(status, SAMBA_ERROR_OUT_OF_MEMORY);
            ck_assert_int_eq(samba_error_status(e), SAMBA_ERROR_OUT_OF_MEMORY);
            ck_assert_ptr_null(doc);
            samba_error_free(e);
            ck_assert_uint_eq(c.blocks, 0);
        }
}

START_TEST(survives_every_failed_allocation)
{
    blob b = {0};
    put(&b, sample);
    ck_assert_uint_gt(check_memory(&b), 3);
    blob_free(&b);
    put(&b, "[");
    for (int i = 0; i < 600; i++) { /* blocks, longer stacks, longer scratch */
        char s[80];
        snprintf(s, sizeof s, "{\"k%d\":\"%d\",\"b\":1,\"c\":2,\"d\":0.5,\"e\":[],\"f\":{}},", i,
                 i);
        put(&b, s);
    }
    put(&b, "{");
    for (int i = 0; i < 100; i++) {
        char s[32];
        snprintf(s, sizeof s, "%s\"k%d\":%d", i ? "," : "", i, i);
        put(&b, s);
    }
    put(&b, "}]");
    ck_assert_uint_gt(check_memory(&b), 50);
    blob_free(&b);
}
END_TEST

/* ---------------------------------------------------------------- cost */

enum {
    MANY = 200000
};

/* Shuffled and with long equal beginnings, both of which a sort could mind. */
static void many_key(char s[64], uint32_t i, bool alike)
{
    const unsigned n = (unsigned)((uint64_t)i * 48271 % MANY);
    snprintf(s, 64, alike ? "model.layers.with.a.long.name.%06u" : "%06u.x", n);
}

static void check_many(bool alike)
{
    blob b = {0};
    char s[64];
    for (uint32_t i = 0; i < MANY; i++) {
        put(&b, i ? ",\"" : "{\"");
        many_key(s, i, alike);
        put(&b, s);
        snprintf(s, sizeof s, "\":%u", i);
        put(&b, s);
    }
    put(&b, "}");
    const double begin = seconds();
    samba__json_doc *doc = parse(&b);
    const double parsed = seconds();
    const samba__json *root = samba__json_root(doc), *value;
    const char *key;
    const void *it = NULL;
    ck_assert_uint_eq(samba__json_size(root), MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        int64_t n = -1;
        many_key(s, i, alike);
        it = samba__json_next(root, it, &key, &value);
        ck_assert(it && strcmp(key, s) == 0);
        ck_assert(samba__json_get(root, s) == value && samba__json_int(value, &n) && n == i);
    }
    ck_assert_ptr_null(samba__json_next(root, it, &key, &value));
    ck_assert_ptr_null(samba__json_get(root, ""));
    ck_assert_ptr_null(samba__json_get(root, "000000"));
    printf("%d members, %zu bytes: parse %.3f s, every member by name and in order %.3f s\n", MANY,
           b.size, parsed - begin, seconds() - parsed);
    ck_assert_double_lt(seconds() - begin, 10); /* one by one it would be minutes */
    samba__json_free(doc);

    /* the last one again */
    samba__json_doc *none = NULL;
    samba_error *e = NULL;
    b.size--;
    put(&b, ",\"");
    many_key(s, 7, alike);
    put(&b, s);
    put(&b, "\":0}");
    ck_assert_int_eq(
        samba__json_parse(samba__alloc_default(), (const char *)b.data, b.size, "text", &none, &e),
        SAMBA_ERROR_FORMAT);
    ck_assert(strstr(samba_error_message(e), s));
    samba_error_free(e);
    blob_free(&b);
}

START_TEST(reads_long_objects)
{
    check_many(_i != 0);
}
END_TEST

/* The peak is what a text costs at most: at 2 bytes a value, 24 times. */
START_TEST(bounds_memory)
{
    static const struct {
        const char *begin, *more, *end;
    } texts[] = {{"[0", ",0", "]"},       {"[[]", ",[]", "]"},   {"[{}", ",{}", "]"},
                 {"[\"\"", ",\"\"", "]"}, {"[[0]", ",[0]", "]"}, {"[{\"\":0}", ",{\"\":0}", "]"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t n = 1000; n < 600000; n = n * 5 / 2) {
            blob b = {0};
            counting c;
            samba__json_doc *doc = NULL;
            counting_init(&c);
            put(&b, texts[i].begin);
            for (size_t k = 0; k < n; k++)
                put(&b, texts[i].more);
            put(&b, texts[i].end);
            ck_assert_int_eq(
                samba__json_parse(&c.a, (const char *)b.data, b.size, "text", &doc, NULL),
                SAMBA_OK);
            ck_assert_msg(c.peak < 40 * b.size + 8192, "%s...: %zu bytes of %zu", texts[i].begin,
                          c.peak, b.size);
            samba__json_free(doc);
            ck_assert_uint_eq(c.live, 0);
            blob_free(&b);
        }
}
END_TEST

/* Long objects, too, whose members are sorted. */
START_TEST(bounds_memory_of_members)
{
    blob b = {0};
    counting c;
    samba__json_doc *doc = NULL;
    counting_init(&c);
    put(&b, "{\"\":0");
    for (unsigned i = 0; i < 140000; i++) {
        char s[16];
        snprintf(s, sizeof s, ",\"%x\":0", i);
        put(&b, s);
    }
    put(&b, "}");
    ck_assert_int_eq(samba__json_parse(&c.a, (const char *)b.data, b.size, "text", &doc, NULL),
                     SAMBA_OK);
    ck_assert_msg(c.peak < 40 * b.size, "%zu bytes of %zu", c.peak, b.size);
    samba__json_free(doc);
    blob_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/json_limits");
    TCase *t = tcase_create("limits");
    tcase_set_timeout(t, 100);
    tcase_add_test(t, rounds_random_decimals);
    tcase_add_test(t, rounds_ties);
    tcase_add_test(t, rounds_at_the_edges);
    tcase_add_test(t, keeps_integers_of_64_bits);
    tcase_add_test(t, says_what_is_expected_where);
    tcase_add_test(t, refuses_every_truncation);
    tcase_add_test(t, survives_every_failed_allocation);
    tcase_add_loop_test(t, reads_long_objects, 0, 2);
    tcase_add_test(t, bounds_memory);
    tcase_add_test(t, bounds_memory_of_members);
    suite_add_tcase(s, t);
    return run_suite(s);
}
