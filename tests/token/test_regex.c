/*
 * Oniguruma's syntax on PCRE2: what is translated, what is refused, and that no pattern hangs. The
 * expected matches were found with Oniguruma itself.
 */
#include "support/suite.h"
#include "token/regex.h"
#include "vectors.h"

static samba__text text_of(const char *s)
{
    return (samba__text){s, strlen(s)};
}

static samba_status create(const char *pattern, samba__regex **regex)
{
    return samba__regex_create(samba__alloc_default(), text_of(pattern), regex, NULL);
}

typedef struct example {
    const char *pattern, *text;
    size_t begin, end; /* equal and 99: no match */
} example;

static const example examples[] = {
    {"\\s", "a\xe1\xa0\x8e z", 4, 5}, /* not U+180E */
    {"\\S", " \xe1\xa0\x8e", 1, 4},
    {"[^\\s]+", " \xe1\xa0\x8ex ", 1, 5},
    {"\\w+", "! a\xcc\x81_9\xc2\xb2 ", 2, 9}, /* marks and superscripts are word characters */
    {"\\W", "a\xcc\x81!", 3, 4},
    {"\\h+", "xyz beef", 4, 8},
    {"\\v", "a\n\x0b", 2, 3},
    {"\\bb",
     "a\xcc\x81"
     "b b",
     5, 6},
    {"a{,2}b", "aaab", 1, 4},
    {"(?m:a.b)", "a\nb", 0, 3},
    {"a.b", "a\nb", 99, 99},
    {"a\\Ob", "a\nb", 0, 3},
    {"^b$", "a\nb\nc", 2, 3},
    {"[a[bc]d]+", "xabcdx", 1, 5},
    {"\\u00e9", "\xc3\xa9", 0, 2},
    {"\\x{e9}+", "\xc3\xa9\xc3\xa9", 0, 4},
    {"\\x41", "A", 0, 1},
    {"\\p{Han}+", "x\xe4\xb8\x96\xe3\x83\xbc", 1, 4}, /* the script, not its extensions */
    {"\\p{^L}", "a1", 1, 2},
    {"\\p{Uppercase_Letter}", "aB", 1, 2},
    {"(?i:'S)", "'s", 0, 2},
    {"(?i)x|Y", "y", 0, 1},
    {"\\p{N}{1,3}", "12345", 0, 3},
    {"a{x", "a{x", 0, 3},
    {"\\R", "\r\n", 0, 2},
    {"(?<!a)b|(?=c)c(?!d)", "abcd cb", 5, 6},
};

START_TEST(matches_as_oniguruma)
{
    const example *e = &examples[_i];
    samba__regex *regex = NULL;
    samba_error *error = NULL;
    samba__match m;
    samba_status status =
        samba__regex_create(samba__alloc_default(), text_of(e->pattern), &regex, &error);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
    samba__searcher *s = samba__searcher_create(samba__alloc_default(), 100);
    ck_assert_int_eq(samba__regex_find(regex, s, text_of(e->text), 0, &m, NULL), SAMBA_OK);
    ck_assert_msg(m.found == (e->begin != 99), "%s", e->pattern);
    if (m.found)
        ck_assert_msg(m.begin == e->begin && m.end == e->end, "%s: %zu %zu", e->pattern, m.begin,
                      m.end);
    samba__searcher_free(s);
    samba__regex_free(regex);
}
END_TEST

START_TEST(refuses_what_differs)
{
    static const char *const patterns[] = {
        "a{1,3}+", "a{2}?",  "[a&&b]",   "[a[^b]]", "[[:alpha:]]", "\\Qa\\E",       "a\\Kb",
        "\\Ga",    "\\y",    "\\xe9",    "(*FAIL)", "(?s:.)",      "(?x: a)",       "a(?i)b",
        "(?~a)",   "(?{x})", "(?C1)",    "(?R)",    "(?(1)a|b)",   "\\p{Nonsense}", "\\pL",
        "a\\",     "[abc",   "(abc",     "abc)",    "*a",          "[]a]",          "\\u12",
        "\\x{12",  "\\C",    "[b-[ac]]", "\\M-a",   "\\c",         "(?<=a+)b",      "[\\W]",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        samba__regex *regex = NULL;
        ck_assert_msg(create(patterns[i], &regex) == SAMBA_ERROR_UNSUPPORTED, "%s", patterns[i]);
        ck_assert_ptr_null(regex);
    }
}
END_TEST

START_TEST(limits_pattern_size)
{
    static char big[20000];
    samba__regex *regex = NULL;
    memset(big, 'a', sizeof big - 1);
    ck_assert_int_eq(create(big, &regex), SAMBA_ERROR_LIMIT);
    ck_assert_int_eq(create("((((((a{60000}){60000}){60000}){60000}){60000}){60000})", &regex),
                     SAMBA_ERROR_UNSUPPORTED);
}
END_TEST

/* Exponential, cubic and never-matching patterns end with LIMIT, and soon. */
START_TEST(ends_catastrophes)
{
    static const char *const patterns[] = {
        "(a+)+[xy]",           "(a|aa)+[xy]",  "(a*)*(x|y)",        "a*a*a*[xy]",
        "(?:a?){40}a{40}[xy]", "(.+)\\1+[xy]", "(?=(a+))a*\\1[xy]",
    };
    static char text[20000];
    memset(text, 'a', sizeof text - 1);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        samba__regex *regex = NULL;
        samba_error *error = NULL;
        samba__match m;
        ck_assert_msg(create(patterns[i], &regex) == SAMBA_OK, "%s", patterns[i]);
        samba__searcher *s = samba__searcher_create(samba__alloc_default(), sizeof text);
        samba_status status = SAMBA_OK;
        for (size_t at = 0; at < sizeof text - 1 && status == SAMBA_OK; at++)
            status = samba__regex_find(regex, s, text_of(text), at, &m, &error);
        ck_assert_msg(status == SAMBA_ERROR_LIMIT, "%s: %d", patterns[i], status);
        samba_error_free(error);
        samba__searcher_free(s);
        samba__regex_free(regex);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/regex");
    TCase *tc = tcase_create("regex");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, matches_as_oniguruma, 0, sizeof examples / sizeof *examples);
    tcase_add_test(tc, refuses_what_differs);
    tcase_add_test(tc, limits_pattern_size);
    tcase_add_test(tc, ends_catastrophes);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
