/*
 * Errors: what they hold, that text from files comes out clean, and that there always is one, even
 * without memory. Also the log, which cleans its lines the same way.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

static void *no_memory(void *user_data, size_t size, size_t align)
{
    (void)user_data;
    (void)size;
    (void)align;
    return NULL;
}

static void no_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)ptr;
    (void)size;
    (void)align;
    ++*(int *)user_data;
}

START_TEST(holds_what_it_is_given)
{
    const samba_allocator *a = samba__alloc_default();
    char file[] = "a/file", tensor[] = "layers.0.weight";
    const samba__where where = {.file = file, .tensor = tensor, .offset = 1ull << 40};
    samba_error *e = NULL;
    ck_assert_int_eq(
        samba__fail_at(a, &e, SAMBA_ERROR_MISMATCH, &where, "%s has %d rows, not %d", tensor, 3, 4),
        SAMBA_ERROR_MISMATCH);
    memset(file, 'x', 2); /* copied */
    memset(tensor, 'x', 2);
    ck_assert_int_eq(samba_error_status(e), SAMBA_ERROR_MISMATCH);
    ck_assert_str_eq(samba_error_message(e), "layers.0.weight has 3 rows, not 4");
    ck_assert_str_eq(samba_error_file(e), "a/file");
    ck_assert_str_eq(samba_error_tensor(e), "layers.0.weight");
    ck_assert_uint_eq(samba_error_offset(e), 1ull << 40);
    samba_error_free(e);

    e = NULL;
    ck_assert_int_eq(samba__fail(a, &e, SAMBA_ERROR_STATE, "plain"), SAMBA_ERROR_STATE);
    ck_assert_str_eq(samba_error_message(e), "plain");
    ck_assert_ptr_null(samba_error_file(e));
    ck_assert_ptr_null(samba_error_tensor(e));
    ck_assert_uint_eq(samba_error_offset(e), SAMBA_NO_OFFSET);
    samba_error_free(e);
}
END_TEST

START_TEST(nobody_wants_to_know)
{
    const samba__where where = {.file = "f", .offset = 1};
    int calls = 0;
    const samba_allocator a = {sizeof a, no_memory, no_free, &calls};
    ck_assert_int_eq(samba__fail(&a, NULL, SAMBA_ERROR_IO, "%d", 1), SAMBA_ERROR_IO);
    ck_assert_int_eq(samba__fail_at(&a, NULL, SAMBA_ERROR_IO, &where, "%d", 1), SAMBA_ERROR_IO);
    ck_assert_int_eq(samba__fail_oom(NULL), SAMBA_ERROR_OUT_OF_MEMORY);
    ck_assert_int_eq(samba_error_status(NULL), SAMBA_OK);
    ck_assert_str_eq(samba_error_message(NULL), "");
    ck_assert_ptr_null(samba_error_file(NULL));
    ck_assert_ptr_null(samba_error_tensor(NULL));
    ck_assert_uint_eq(samba_error_offset(NULL), SAMBA_NO_OFFSET);
    samba_error_free(NULL);
}
END_TEST

START_TEST(without_memory_there_is_one_of_the_same_status)
{
    int frees = 0;
    const samba_allocator a = {sizeof a, no_memory, no_free, &frees};
    for (samba_status s = -2; s < 40; s++) {
        samba_error *e = NULL;
        if (s == SAMBA_OK)
            continue;
        ck_assert_int_eq(samba__fail(&a, &e, s, "message %d", 1), s);
        ck_assert_ptr_nonnull(e);
        bool known = s >= 1 && s <= SAMBA_ERROR_INTERNAL;
        ck_assert_int_eq(samba_error_status(e), known ? s : SAMBA_ERROR_INTERNAL);
        const char *name = samba_status_string(s);
        ck_assert_int_eq(strncmp(samba_error_message(e), name, strlen(name)), 0);
        ck_assert_ptr_null(samba_error_file(e));
        ck_assert_uint_eq(samba_error_offset(e), SAMBA_NO_OFFSET);
        samba_error_free(e);
        samba_error_free(e); /* static: any number of times */
    }
    samba_error *e = NULL;
    ck_assert_int_eq(samba__fail_oom(&e), SAMBA_ERROR_OUT_OF_MEMORY);
    ck_assert_str_eq(samba_error_message(e), "out of memory");
    samba_error_free(e);
    ck_assert_int_eq(frees, 0);
}
END_TEST

START_TEST(names_of_statuses)
{
    for (samba_status s = 0; s <= SAMBA_ERROR_INTERNAL; s++)
        for (samba_status t = 0; t < s; t++)
            ck_assert_str_ne(samba_status_string(s), samba_status_string(t));
    ck_assert_str_eq(samba_status_string(SAMBA_OK), "ok");
    ck_assert_str_eq(samba_status_string(SAMBA_ERROR_OUT_OF_MEMORY), "out of memory");
    ck_assert_str_eq(samba_status_string(SAMBA_ERROR_INTERNAL), "internal error");
    ck_assert_str_eq(samba_status_string(SAMBA_ERROR_INTERNAL + 1), "unknown status");
    ck_assert_str_eq(samba_status_string(-1), "unknown status");
    ck_assert_str_eq(samba_status_string(INT32_MIN), "unknown status");
}
END_TEST

typedef struct cleaning {
    const char *from, *to;
} cleaning;

static const cleaning cleanings[] = {
    {"plain ASCII ~", "plain ASCII ~"},
    {"a\nb\tc\x7f\x1b[31m", "a?b?c??[31m"},
    {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\x80 \xbf \xff \xfe", "? ? ? ?"},
    {"\xc3", "?"},                       /* cut short */
    {"\xe2\x82", "??"},                  /* cut short */
    {"\xc0\xaf \xe0\x80\xaf", "?? ???"}, /* overlong */
    {"\xed\xa0\x80", "???"},             /* a surrogate */
    {"\xf4\x90\x80\x80", "????"},        /* beyond Unicode */
    {"\xf5\x80\x80\x80", "????"},        /* beyond Unicode */
    {"\xc2\x9b"
     "31m",
     "??31m"}, /* a C1 control: terminals obey it */
    {"\xc2\xa0", "\xc2\xa0"},
    {"\xc3(", "?("},
};

START_TEST(text_is_cleaned)
{
    const cleaning *c = &cleanings[_i];
    const samba__where where = {.file = c->from, .tensor = c->from, .offset = 0};
    samba_error *e = NULL;
    samba__fail_at(samba__alloc_default(), &e, SAMBA_ERROR_FORMAT, &where, "<%s>", c->from);
    char want[64];
    snprintf(want, sizeof want, "<%s>", c->to);
    ck_assert_str_eq(samba_error_message(e), want);
    ck_assert_str_eq(samba_error_file(e), c->to);
    ck_assert_str_eq(samba_error_tensor(e), c->to);
    samba_error_free(e);
}
END_TEST

/* Long text is cut, and a character cut in two is no character. */
START_TEST(long_text_is_cut)
{
    char text[4096];
    for (size_t start = 0; start < 4; start++) {
        memset(text, 'x', sizeof text);
        for (size_t i = start; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[sizeof text - 1] = 0;
        const samba__where where = {.file = text, .tensor = text, .offset = 0};
        samba_error *e = NULL;
        samba__fail_at(samba__alloc_default(), &e, SAMBA_ERROR_FORMAT, &where, "%s", text);
        const char *const parts[] = {samba_error_message(e), samba_error_file(e),
                                     samba_error_tensor(e)};
        for (size_t k = 0; k < 3; k++) {
            size_t n = strlen(parts[k]), whole = n;
            ck_assert(n >= 256 && n < 2048);
            while (parts[k][whole - 1] == '?')
                whole--;
            ck_assert(n - whole <= 2 && (whole - start) % 3 == 0);
            ck_assert_mem_eq(parts[k], text, whole);
        }
        samba_error_free(e);
    }
}
END_TEST

typedef struct heard {
    int lines;
    samba_log_level level;
    char text[2048];
} heard;

static void hear(void *user_data, samba_log_level level, const char *message)
{
    heard *h = user_data;
    h->lines++;
    h->level = level;
    snprintf(h->text, sizeof h->text, "%s", message);
}

START_TEST(log_lines)
{
    heard h = {0};
    const samba__log_sink log = {hear, &h, SAMBA_LOG_WARNING}, deaf = {NULL, &h, SAMBA_LOG_DEBUG};
    samba__log_write(&log, SAMBA_LOG_WARNING, "%d of %s\n", 3, "a\x1b");
    ck_assert(h.lines == 1 && h.level == SAMBA_LOG_WARNING);
    ck_assert_str_eq(h.text, "3 of a??");
    samba__log_write(&log, SAMBA_LOG_INFO, "not wanted");
    samba__log_write(&deaf, SAMBA_LOG_ERROR, "nobody there");
    samba__log_write(NULL, SAMBA_LOG_ERROR, "nor here");
    ck_assert_int_eq(h.lines, 1);
    samba__log_write(&log, SAMBA_LOG_ERROR, "%05000d", 7);
    ck_assert(h.lines == 2 && strlen(h.text) > 256 && strlen(h.text) < sizeof h.text - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/error");
    TCase *c = tcase_create("error");
    tcase_add_test(c, holds_what_it_is_given);
    tcase_add_test(c, nobody_wants_to_know);
    tcase_add_test(c, without_memory_there_is_one_of_the_same_status);
    tcase_add_test(c, names_of_statuses);
    tcase_add_loop_test(c, text_is_cleaned, 0, sizeof cleanings / sizeof *cleanings);
    tcase_add_test(c, long_text_is_cut);
    tcase_add_test(c, log_lines);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
