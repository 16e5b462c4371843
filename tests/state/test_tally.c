/*
 * A tally against a plain array of counts: random taking and dropping of addresses that crowd
 * together, through growth and with failing allocations.
 */
#include "state/tally.h"
#include "support/fail_alloc.h"
#include "support/suite.h"

#include <string.h>

enum {
    OBJECTS = 3000,
    STEPS = 200000
};

static uint64_t seed = 5;

static size_t below(size_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((seed >> 33) % n);
}

START_TEST(against_counts)
{
    static char objects[OBJECTS * 16];
    static size_t counts[OBJECTS];
    samba__tally t;
    size_t n = 0, n_wrong = 0; /* an assertion each would take minutes */
    samba__tally_init(&t, fail_alloc_allocator());
    for (int step = 0; step < STEPS; step++) {
        size_t range = (size_t)(step / (STEPS / 8) + 1) * OBJECTS / 8, i = below(range);
        void *object = objects + 16 * i;
        bool grows = step / 10000 % 2 == 0;
        if (counts[i] && below(grows ? 4 : 2)) {
            n_wrong += samba__tally_drop(&t, object) != (counts[i] == 1);
            n -= --counts[i] == 0;
        } else if (samba__tally_reserve(&t, 1)) {
            n_wrong += samba__tally_take(&t, object) != (counts[i] == 0);
            n += counts[i]++ == 0;
        }
        n_wrong += t.n != n;
    }
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_gt(n, OBJECTS / 4);
    for (size_t i = 0; i < OBJECTS; i++)
        for (; counts[i]; counts[i]--)
            n_wrong += samba__tally_drop(&t, objects + 16 * i) != (counts[i] == 1);
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_eq(t.n, 0);
    samba__tally_free(&t);
}
END_TEST

/* A table that cannot grow stays as it is. */
START_TEST(no_memory)
{
    static char objects[200];
    samba__tally t;
    samba__tally_init(&t, fail_alloc_allocator());
    fail_alloc_begin(1, true);
    bool first = samba__tally_reserve(&t, 1), absurd = samba__tally_reserve(&t, SIZE_MAX);
    fail_alloc_end();
    ck_assert(!first && !absurd);
    ck_assert(samba__tally_reserve(&t, 10));
    for (int i = 0; i < 10; i++)
        ck_assert(samba__tally_take(&t, objects + i));
    fail_alloc_begin(1, true);
    bool more = samba__tally_reserve(&t, 100);
    fail_alloc_end();
    ck_assert(!more);
    for (int i = 0; i < 10; i++)
        ck_assert(samba__tally_drop(&t, objects + i));
    samba__tally_free(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tally");
    TCase *tcase = tcase_create("counts");
    tcase_add_test(tcase, against_counts);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
