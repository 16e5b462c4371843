/*
 * Bounded: once its windows are full an unshared session without checkpoints keeps its bytes and
 * never asks for memory again - of the allocator, and (in plain builds) of malloc itself - whether
 * it is fed tokens, chunks, proposals or batches, or generates. Its history alone grows, a few
 * times. Checkpoints share its memory, so with them new cells are taken; then all that it and they
 * hold stays within the state and the budget.
 */
#include "support/fail_alloc.h"
#include "support/suite.h"
#include "toy_backend.h"

#include <stdio.h>

enum {
    WARM = 2000,
    MIDDLE = 20000,
    LONG = 100000
};

static uint64_t state_bytes(const samba_session *s)
{
    samba_session_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(samba_session_get_stats(s, &stats, NULL), SAMBA_OK);
    return stats.state_bytes;
}

static uint64_t history_bytes(const samba_session *s)
{
    samba_session_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(samba_session_get_stats(s, &stats, NULL), SAMBA_OK);
    return stats.history_bytes;
}

/* A way to move a session on. */
typedef void (*feeder)(samba_session *s, uint64_t *random, uint64_t until);

static void by_token(samba_session *s, uint64_t *random, uint64_t until)
{
    while (samba_session_position(s) < until) {
        samba_token t = toy_token(random);
        if (samba_session_eval(s, &t, 1, NULL, NULL) != SAMBA_OK)
            return;
    }
}

static void by_chunk(samba_session *s, uint64_t *random, uint64_t until)
{
    samba_token tokens[25]; /* three passes each */
    const samba_eval_options o = {.struct_size = sizeof o, .hidden = 2};
    for (int i = 0; i < 25; i++)
        tokens[i] = toy_token(random);
    while (samba_session_position(s) < until)
        if (samba_session_eval(s, tokens, 25, &o, NULL) != SAMBA_OK)
            return;
}

static void by_generating(samba_session *s, uint64_t *random, uint64_t until)
{
    samba_token t = toy_token(random);
    uint64_t at = samba_session_position(s);
    if (at == 0)
        samba_session_eval(s, &t, 1, NULL, NULL);
    const samba_generate_options o = {.struct_size = sizeof o,
                                      .max_tokens = until - samba_session_position(s),
                                      .ignore_eos = SAMBA_YES,
                                      .top_logprobs = 3};
    samba_session_generate(s, NULL, &o, NULL, NULL, NULL, NULL);
}

static void by_proposal(samba_session *s, uint64_t *random, uint64_t until)
{
    const samba_eval_options o = {.struct_size = sizeof o, .speculative = SAMBA_YES};
    samba_token tokens[4];
    while (samba_session_position(s) < until) {
        for (int i = 0; i < 4; i++)
            tokens[i] = toy_token(random);
        uint64_t left = until - samba_session_position(s);
        size_t kept = toy_random(random) % 5;
        if (samba_session_eval(s, tokens, 4, &o, NULL) != SAMBA_OK ||
            samba_session_keep(s, kept < left ? kept : left, NULL) != SAMBA_OK)
            return;
    }
}

static const struct {
    const char *name;
    feeder feed;
    uint64_t per_call; /* positions are multiples of it */
    bool slab_sets;    /* allocates and frees the states of every row of a proposal */
} ways[] = {
    {"tokens", by_token, 1, false},
    {"chunks", by_chunk, 25, false},
    {"generation", by_generating, 1, false},
    {"proposals", by_proposal, 1, true},
};

START_TEST(stays_the_same)
{
    toy *t = toy_create(false);
    const samba_session_options o = {.struct_size = sizeof o,
                                     .rows_per_pass = 10,
                                     .max_history = _i % 2 ? 100 : 0,
                                     .checkpoint_bytes = SAMBA_CHECKPOINTS_NONE};
    samba_session *s = toy_session(t, &o);
    feeder feed = ways[_i / 2].feed;
    uint64_t random = 5;
    feed(s, &random, WARM);
    uint64_t bytes = state_bytes(s), history = history_bytes(s), n_allocs = t->memory.n_allocs;
    int64_t n_pages = toy_device_of(t)->n_pages, n_slabs = toy_device_of(t)->n_slabs;
    fail_alloc_begin(0, false);
    feed(s, &random, MIDDLE);
    size_t n_mallocs = fail_alloc_end();
    uint64_t middle = state_bytes(s);
    uint64_t last = _i % 2 ? MIDDLE + WARM : LONG;
    fail_alloc_begin(0, false);
    feed(s, &random, last);
    n_mallocs += fail_alloc_end();
    ck_assert_uint_eq(samba_session_position(s), last);
    ck_assert_uint_eq(middle, bytes);
    ck_assert_uint_eq(state_bytes(s), bytes);
    ck_assert_int_eq(toy_device_of(t)->n_pages, n_pages);
    ck_assert_int_eq(toy_device_of(t)->n_slabs, n_slabs);
    uint64_t n_grown = 0;
    for (uint64_t b = history; b < history_bytes(s); b *= 2)
        n_grown++;
    ck_assert_uint_le(n_grown, 8);
    if (!ways[_i / 2].slab_sets) {
        ck_assert_uint_eq(t->memory.n_allocs - n_allocs, n_grown);
        if (fail_alloc_sees_all())
            ck_assert_uint_eq(n_mallocs, n_grown);
    }
    if (_i % 2) {
        ck_assert_uint_eq(n_grown, 0);
        ck_assert_uint_le(history, 1000);
    }
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* Cells alive are those of the state at most, and those that the budget pays for; and memory does
 * not creep up. */
START_TEST(bounded_with_checkpoints)
{
    toy *t = toy_create(false);
    const samba_session_options o = {.struct_size = sizeof o,
                                     .rows_per_pass = 10,
                                     .max_history = 100,
                                     .checkpoint_bytes = 6000,
                                     .checkpoint_interval = 1 + 15 * (uint32_t)(_i % 2)};
    samba_session *s = toy_session(t, &o);
    samba_session_stats stats = {.struct_size = sizeof stats};
    feeder feed = ways[_i / 2].feed;
    uint64_t random = 5, most_state = 0;
    int64_t most_early = 0, most_late = 0, cells;
    for (uint32_t i = 0; i < 2; i++)
        most_state += samba__layout_page_limit(s->sequence.layout, i) * TOY_PAGE_BYTES;
    most_state += 2 * 2 * TOY_SLAB_BYTES;
    for (uint64_t at = 25; at <= MIDDLE; at += 25) {
        feed(s, &random, at);
        ck_assert_int_eq(samba_session_get_stats(s, &stats, NULL), SAMBA_OK);
        ck_assert_uint_eq(stats.position, at);
        ck_assert_uint_le(stats.checkpoint_bytes, 6000);
        cells =
            toy_device_of(t)->n_pages * TOY_PAGE_BYTES + toy_device_of(t)->n_slabs * TOY_SLAB_BYTES;
        ck_assert_int_le(cells, (int64_t)(most_state + 6000));
        int64_t *most = at < MIDDLE / 2 ? &most_early : &most_late;
        *most = t->memory.live > *most ? t->memory.live : *most;
        ck_assert_uint_ge(stats.n_checkpoints, at > 100 ? 2 : 0);
    }
    ck_assert_int_le(most_late, most_early + most_early / 4);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* The same for the sessions of a batch. */
START_TEST(batches)
{
    enum {
        N = 5
    };
    toy *t = toy_create(false);
    const samba_session_options o = {.struct_size = sizeof o,
                                     .rows_per_pass = 10,
                                     .max_history = SAMBA_HISTORY_NONE,
                                     .checkpoint_bytes = SAMBA_CHECKPOINTS_NONE};
    samba_eval_item items[N];
    samba_token tokens[3] = {1, 2, 3};
    uint64_t bytes = 0, n_allocs = 0, total = 0;
    for (size_t i = 0; i < N; i++)
        items[i] = (samba_eval_item){
            .session = toy_session(t, &o), .tokens = tokens, .n_tokens = 1 + i % 3};
    for (int k = 0; k < MIDDLE; k++) {
        if (k == WARM) {
            n_allocs = t->memory.n_allocs;
            for (size_t i = 0; i < N; i++)
                bytes += state_bytes(items[i].session);
            fail_alloc_begin(0, false);
        }
        samba_eval_batch(items, N, sizeof *items, NULL, NULL);
    }
    size_t n_mallocs = fail_alloc_end();
    for (size_t i = 0; i < N; i++) {
        ck_assert_uint_eq(samba_session_position(items[i].session), MIDDLE * (1 + i % 3));
        total += state_bytes(items[i].session);
        samba_session_free(items[i].session);
    }
    ck_assert_uint_eq(total, bytes);
    ck_assert_uint_eq(t->memory.n_allocs, n_allocs);
    if (fail_alloc_sees_all())
        ck_assert_uint_eq(n_mallocs, 0);
    toy_free(t);
}
END_TEST

/* A clone costs a few blocks, whatever the length of the history and of a full layer's pages. */
START_TEST(clones_are_cheap)
{
    toy *t = toy_create(true);
    samba_session *s = toy_session(t, NULL), *clone = NULL;
    uint64_t random = 5, cost[2];
    for (int k = 0; k < 2; k++) {
        by_token(s, &random, k ? 10000 : 30);
        uint64_t before = t->memory.n_allocs;
        int64_t n_pages = toy_device_of(t)->n_pages, n_slabs = toy_device_of(t)->n_slabs;
        ck_assert_int_eq(samba_session_clone(s, &clone, NULL), SAMBA_OK);
        cost[k] = t->memory.n_allocs - before;
        ck_assert_int_eq(toy_device_of(t)->n_pages, n_pages);
        ck_assert_int_eq(toy_device_of(t)->n_slabs, n_slabs);
        samba_session_free(clone);
    }
    ck_assert_uint_eq(cost[0], cost[1]);
    ck_assert_uint_le(cost[1], 8);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* All rows of a long input are not kept for reuse. */
START_TEST(large_outputs_go)
{
    toy *t = toy_create(false);
    samba_session *s = toy_session(t, NULL);
    samba_token tokens[200];
    uint64_t random = 5;
    for (int i = 0; i < 200; i++)
        tokens[i] = toy_token(&random);
    samba_session_eval(s, tokens, 200, NULL, NULL);
    samba_session_eval(s, tokens, 200, NULL, NULL);
    uint64_t bytes = state_bytes(s);
    const samba_eval_options all = {.struct_size = sizeof all, .outputs = SAMBA_OUTPUT_ALL};
    samba_session_eval(s, tokens, 200, &all, NULL);
    samba_session_eval(s, tokens, 200, &all, NULL);
    ck_assert_uint_ge(state_bytes(s), bytes + 199 * TOY_VOCAB * sizeof(float));
    samba_session_eval(s, tokens, 200, NULL, NULL);
    samba_session_eval(s, tokens, 200, NULL, NULL);
    ck_assert_uint_eq(state_bytes(s), bytes);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("steady");
    TCase *tcase = tcase_create("bounded");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, stays_the_same, 0, 2 * (int)(sizeof ways / sizeof *ways));
    tcase_add_loop_test(tcase, bounded_with_checkpoints, 0, 2 * (int)(sizeof ways / sizeof *ways));
    tcase_add_test(tcase, batches);
    tcase_add_test(tcase, clones_are_cheap);
    tcase_add_test(tcase, large_outputs_go);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
