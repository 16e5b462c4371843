/*
 * Histories against plain arrays: random stages, commits in part, clones, resets and frees over
 * many views of shared buffers, with and without a cap; failed allocations change nothing.
 */
#include "state/history.h"
#include "support/fail_alloc.h"
#include "support/suite.h"

#include <string.h>

enum {
    VIEWS = 12,
    ROOM = 4096,
    STEPS = 40000
};

typedef struct view {
    samba__history h;
    samba_token tokens[ROOM]; /* all fed since the last reset */
    size_t n;
    bool alive;
} view;

static view views[VIEWS];
static uint64_t seed;

static size_t below(size_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((seed >> 33) % n);
}

static void check_view(const view *v)
{
    size_t kept = v->n < v->h.max ? v->n : v->h.max;
    ck_assert_uint_eq(v->h.n, kept);
    if (kept)
        ck_assert_mem_eq(samba__history_tokens(&v->h), v->tokens + v->n - kept,
                         kept * sizeof(samba_token));
    if (v->h.max <= ROOM) /* bounded: twice the cap, or one chunk more */
        ck_assert_uint_le(samba__history_bytes(&v->h), (2 * v->h.max + 40) * sizeof(samba_token));
}

static void append(view *v)
{
    samba_token tokens[40];
    size_t n = 1 + below(below(4) ? 3 : 40), kept = below(3) ? n : below(n + 1);
    if (v->n + n > ROOM)
        return;
    for (size_t i = 0; i < n; i++)
        tokens[i] = (samba_token)below(1000);
    fail_alloc_begin(below(10) == 0, false);
    samba_status status = samba__history_stage(&v->h, tokens, n, NULL);
    fail_alloc_end();
    ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_OUT_OF_MEMORY);
    if (status != SAMBA_OK)
        return;
    memcpy(v->tokens + v->n, tokens, kept * sizeof *tokens);
    v->n += kept;
    samba__history_commit(&v->h, kept);
}

static void share(view *from)
{
    view *to = &views[below(VIEWS)];
    if (to == from)
        return;
    if (to->alive)
        samba__history_free(&to->h);
    *to = *from;
    samba__history_init_shared(&to->h, &from->h);
}

START_TEST(against_arrays)
{
    static const size_t caps[] = {SIZE_MAX, 0, 1, 7, 64, 1000};
    size_t max = caps[_i];
    long live = fail_alloc_live();
    seed = (uint64_t)_i + 1;
    for (int step = 0; step < STEPS; step++) {
        view *v = &views[below(VIEWS)];
        size_t what = below(20);
        if (!v->alive) {
            samba__history_init(&v->h, fail_alloc_allocator(), max);
            v->alive = true;
            v->n = 0;
        } else if (what < 15) {
            append(v);
        } else if (what < 18) {
            share(v);
        } else if (what < 19) {
            samba__history_free(&v->h);
            v->alive = false;
        } else {
            samba__history_reset(&v->h);
            v->n = 0;
        }
        for (size_t i = 0; i < VIEWS && step % 64 == 0; i++)
            if (views[i].alive)
                check_view(&views[i]);
    }
    for (size_t i = 0; i < VIEWS; i++) {
        if (views[i].alive)
            samba__history_free(&views[i].h);
        views[i].alive = false;
    }
    ck_assert_int_eq(fail_alloc_live(), live);
}
END_TEST

/* Of the views that end at one place the first to go on does so in place: no copy for the parent
 * of a clone, whatever the length. */
START_TEST(first_goes_on_in_place)
{
    samba__history h, clone;
    samba_token token = 1;
    samba__history_init(&h, fail_alloc_allocator(), SIZE_MAX);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(samba__history_stage(&h, &token, 1, NULL), SAMBA_OK);
        samba__history_commit(&h, 1);
    }
    samba__history_init_shared(&clone, &h);
    const samba_token *before = samba__history_tokens(&h);
    fail_alloc_begin(1, true);
    samba_status status = samba__history_stage(&h, &token, 1, NULL);
    samba_status refused = samba__history_stage(&clone, &token, 1, NULL);
    fail_alloc_end();
    ck_assert_int_eq(status, SAMBA_OK);
    ck_assert_int_eq(refused, SAMBA_ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_eq(samba__history_tokens(&h), before);
    /* Not kept after all: the place is free again, for either. */
    samba__history_commit(&h, 0);
    fail_alloc_begin(1, true);
    status = samba__history_stage(&clone, &token, 1, NULL);
    fail_alloc_end();
    ck_assert_int_eq(status, SAMBA_OK);
    samba__history_free(&h);
    samba__history_free(&clone);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("history");
    TCase *tcase = tcase_create("history");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, against_arrays, 0, 6);
    tcase_add_test(tcase, first_goes_on_in_place);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
