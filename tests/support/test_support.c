/*
 * The helpers that other tests rely on: a failing allocation must really fail, wherever it is made,
 * and a micro model must be what it says.
 */
#include "base/alloc.h"
#include "support/fail_alloc.h"
#include "support/micro_model.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Five allocations by the allocator; with malloc seen, one more by the C library itself. */
static samba_status five(void *arg)
{
    const samba_allocator *a = fail_alloc_allocator();
    samba_status status = SAMBA_OK;
    void *p[5];
    for (size_t i = 0; i < 5; i++) {
        p[i] = samba__alloc_aligned(a, 100 + i, i % 2 ? 64 : 16);
        if (!p[i])
            status = SAMBA_ERROR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < 5; i++)
        samba__free(a, p[i]);
    if (fail_alloc_sees_all()) {
        char *(*volatile copy)(const char *) = strdup; /* or compilers drop it with its free */
        char *s = copy("by the C library");
        if (!s)
            status = SAMBA_ERROR_OUT_OF_MEMORY;
        free(s);
    }
    if (arg)
        ++*(int *)arg;
    return status;
}

START_TEST(every_allocation_is_met)
{
    int runs = 0;
    size_t want = fail_alloc_sees_all() ? 6 : 5;
    ck_assert_uint_eq(fail_alloc_every(five, &runs, 1), want);
    /* two without failure, each n once and the run past the end in both modes, one after */
    ck_assert_int_eq(runs, (int)(2 + 2 * (want + 1) + 1));
}
END_TEST

START_TEST(transient_and_lasting)
{
    const samba_allocator *a = fail_alloc_allocator();
    for (int lasting = 0; lasting < 2; lasting++) {
        void *p[6];
        long live = fail_alloc_live();
        fail_alloc_begin(3, lasting);
        for (int i = 0; i < 6; i++)
            p[i] = samba__alloc(a, 10);
        ck_assert_uint_eq(fail_alloc_end(), 6);
        ck_assert(fail_alloc_hit());
        for (int i = 0; i < 6; i++)
            ck_assert_int_eq(p[i] == NULL, lasting ? i >= 2 : i == 2);
        for (int i = 0; i < 6; i++)
            samba__free(a, p[i]);
        ck_assert_int_eq(fail_alloc_live(), live);
    }
    fail_alloc_begin(2, false);
    samba__free(a, samba__alloc(a, 1));
    ck_assert_uint_eq(fail_alloc_end(), 1);
    ck_assert(!fail_alloc_hit());
}
END_TEST

START_TEST(a_block_left_behind_shows)
{
    const samba_allocator *a = fail_alloc_allocator();
    long live = fail_alloc_live();
    void *p = samba__alloc(a, 10);
    ck_assert_int_eq(fail_alloc_live(), live + 1);
    samba__free(a, p);
    ck_assert_int_eq(fail_alloc_live(), live);
}
END_TEST

START_TEST(all_kinds_of_allocation_count)
{
    if (!fail_alloc_sees_all())
        return;
    /* pointers the compiler cannot see through: it may drop a malloc whose block is freed unused */
    void *(*volatile m)(size_t) = malloc;
    void *(*volatile c)(size_t, size_t) = calloc;
    void *(*volatile r)(void *, size_t) = realloc;
    void *(*volatile al)(size_t, size_t) = aligned_alloc;
    int (*volatile pm)(void **, size_t, size_t) = posix_memalign;
    for (size_t n = 0; n <= 5; n++) {
        void *p[5] = {0}, *q = NULL;
        long live = fail_alloc_live();
        fail_alloc_begin(n, false);
        p[0] = m(10);
        p[1] = c(3, 7);
        p[2] = r(NULL, 20);
        p[3] = al(64, 128);
        int failed = pm(&q, 256, 10);
        ck_assert_uint_eq(fail_alloc_end(), 5);
        p[4] = failed ? NULL : q;
        for (size_t i = 0; i < 5; i++)
            ck_assert_int_eq(p[i] == NULL, n == i + 1);
        ck_assert_int_eq(fail_alloc_live(), live + (n ? 4 : 5));
        fail_alloc_begin(1, false);
        void *same = r(p[0], 1000);
        fail_alloc_end();
        ck_assert(!p[0] || same == NULL); /* and p[0] is still there */
        free(same);
        for (size_t i = 0; i < 5; i++)
            free(p[i]);
        ck_assert_int_eq(fail_alloc_live(), live);
    }
}
END_TEST

static void *allocate_much(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        five(NULL);
    return NULL;
}

START_TEST(threads_count_together)
{
    pthread_t t[3];
    size_t each = fail_alloc_sees_all() ? 6000 : 5000;
    for (int round = 0; round < 2; round++) { /* the first makes the C library's thread blocks */
        long live = fail_alloc_live();
        fail_alloc_begin(0, false);
        for (int i = 0; i < 3; i++)
            pthread_create(&t[i], NULL, allocate_much, NULL);
        for (int i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        size_t calls = fail_alloc_end();
        ck_assert_uint_ge(calls, 3 * each);
        ck_assert_uint_le(calls, 3 * each + 100);
        if (round)
            ck_assert_int_eq(fail_alloc_live(), live);
    }
}
END_TEST

static char *slurp(const char *folder, const char *name, size_t *size)
{
    static char text[1 << 20];
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    *size = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[*size] = 0;
    return f ? text : NULL;
}

/* The header is as long as its prefix says, the last tensor ends where the file ends. */
START_TEST(micro_models_are_whole)
{
    static const micro_options all[] = {{0},
                                        {.tied = true},
                                        {.bf16 = true},
                                        {.tokenizer = true},
                                        {.n_blocks = 5, .window = UINT32_MAX}};
    char folder[64];
    size_t size;
    ck_assert(micro_folder_make(folder));
    ck_assert(micro_model_write(folder, &all[_i]));
    char *text = slurp(folder, "model.safetensors", &size);
    ck_assert_ptr_nonnull(text);
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | (unsigned char)text[i];
    ck_assert(header % 8 == 0 && header < size - 8);
    char saved = text[8 + header];
    text[8 + header] = 0;
    char *end = strrchr(text + 8, ',');
    ck_assert_uint_eq(strtoull(end + 1, NULL, 10) + 8 + header, size);
    ck_assert_int_eq(strstr(text + 8, "lm_head.weight") == NULL, all[_i].tied);
    ck_assert_int_eq(strstr(text + 8, "BF16") != NULL, all[_i].bf16);
    text[8 + header] = saved;
    text = slurp(folder, "config.json", &size);
    ck_assert_ptr_nonnull(
        strstr(text, all[_i].n_blocks ? "\"layers\": [1, 3]" : "\"layers\": [1]"));
    ck_assert_int_eq(slurp(folder, "tokenizer.json", &size) != NULL, all[_i].tokenizer);
    micro_folder_remove(folder);
    ck_assert_ptr_null(slurp(folder, "config.json", &size));
    ck_assert(!micro_model_write(folder, &all[_i])); /* no such folder */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("support");
    TCase *c = tcase_create("support");
    tcase_add_test(c, every_allocation_is_met);
    tcase_add_test(c, transient_and_lasting);
    tcase_add_test(c, a_block_left_behind_shows);
    tcase_add_test(c, all_kinds_of_allocation_count);
    tcase_add_test(c, threads_count_together);
    tcase_add_loop_test(c, micro_models_are_whole, 0, 5);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
