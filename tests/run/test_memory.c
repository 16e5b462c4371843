/*
 * Bounded: once its windows are full, a session's bytes stay what they are and it asks the
 * allocator for nothing, however much it reads, if it keeps no checkpoints; its token history is
 * told apart. `--full`: 100,000
 * tokens of the bundled model.
 */
#include "support/fail_alloc.h"
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static samba_context *context;
static samba_model *model;
static size_t n_vocab, n_tokens; /* how far to read */
static rig_random numbers;

/* _i 0: a small model with full windows after 48 tokens; 1: the bundled one */
static bool set_up(int which)
{
    const char *path = which ? BUNDLED_MODEL : GOLDEN_CASES "/ms_samba_long";
    if (which && access(path, R_OK) != 0) {
        printf("no %s: left out\n", path);
        return false;
    }
    rig_options options = {.n_threads = 2, .allocator = fail_alloc_allocator()};
    context = rig_context(&options);
    model = rig_load(context, path, &options);
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    n_vocab = info.n_vocab;
    n_tokens = rig_full || which == 0 ? 100000 : 6000;
    return true;
}

static void tear_down(void)
{
    samba_model_release(model);
    samba_context_free(context);
}

static samba_session *session_with(uint64_t max_history)
{
    samba_session *s = NULL;
    samba_session_options o = {.struct_size = sizeof o,
                               .max_history = max_history,
                               .checkpoint_bytes = SAMBA_CHECKPOINTS_NONE};
    CK_OK(samba_session_create(model, &o, &s, RIG_ERROR));
    return s;
}

static samba_session_stats stats_of(const samba_session *s)
{
    samba_session_stats stats = {.struct_size = sizeof stats};
    CK_OK(samba_session_get_stats(s, &stats, RIG_ERROR));
    return stats;
}

/* Feeds n tokens, `chunk` at a time; no assertion inside: those allocate. Returns the first status.
 */
static samba_status read_on(samba_session *s, size_t n, size_t chunk)
{
    samba_token tokens[1024];
    for (size_t fed = 0; fed < n;) {
        size_t k = n - fed < chunk ? n - fed : chunk;
        for (size_t i = 0; i < k; i++)
            tokens[i] = (samba_token)rig_below(&numbers, (uint32_t)n_vocab);
        samba_status status = samba_session_eval(s, tokens, k, NULL, NULL);
        if (status != SAMBA_OK)
            return status;
        fed += k;
    }
    return SAMBA_OK;
}

/* The same bytes at 2,000 tokens and at any later time; no allocation in between. */
START_TEST(same_bytes_and_no_allocation)
{
    static const size_t chunks[] = {256, 1, 37, 1000};
    if (!set_up(_i))
        return;
    for (size_t c = 0; c < 4; c++) {
        size_t n = chunks[c] == 1 ? 2000 + (n_tokens - 2000) / 4 : n_tokens;
        if (chunks[c] == 256)
            n = 100000;
        samba_session *s = session_with(SAMBA_HISTORY_NONE);
        ck_assert_int_eq(read_on(s, 2000, chunks[c]), SAMBA_OK);
        samba_session_stats early = stats_of(s);
        for (size_t from = 2000; from < n; from += (n - 2000) / 4) {
            fail_alloc_begin(0, false);
            samba_status status = read_on(s, (n - 2000) / 4, chunks[c]);
            size_t calls = fail_alloc_end();
            ck_assert_int_eq(status, SAMBA_OK);
            ck_assert_msg(calls == 0, "chunks of %zu, from token %zu on: %zu allocations",
                          chunks[c], from, calls);
            samba_session_stats late = stats_of(s);
            ck_assert_msg(late.state_bytes == early.state_bytes,
                          "chunks of %zu: %llu bytes at %llu, %llu at %llu", chunks[c],
                          (unsigned long long)early.state_bytes, (unsigned long long)early.position,
                          (unsigned long long)late.state_bytes, (unsigned long long)late.position);
            ck_assert_uint_eq(late.history_bytes, early.history_bytes);
        }
        printf("chunks of %zu: %llu bytes of state at %llu tokens\n", chunks[c],
               (unsigned long long)early.state_bytes, (unsigned long long)stats_of(s).position);
        samba_session_free(s);
    }
    tear_down();
}
END_TEST

/* Kept tokens count apart from state, 4 bytes each and little more, and can be capped. */
START_TEST(history_apart)
{
    if (!set_up(0))
        return;
    samba_session *all = session_with(0), *some = session_with(1000),
                  *none = session_with(SAMBA_HISTORY_NONE);
    rig_random start = numbers;
    CK_OK(read_on(all, 2000, 256));
    uint64_t state = stats_of(all).state_bytes;
    CK_OK(read_on(all, n_tokens - 2000, 256));
    numbers = start;
    CK_OK(read_on(some, n_tokens, 256));
    numbers = start;
    CK_OK(read_on(none, n_tokens, 256));
    ck_assert_uint_eq(stats_of(all).state_bytes, state);
    ck_assert_uint_eq(stats_of(some).state_bytes, state);
    ck_assert_uint_eq(stats_of(none).state_bytes, state);
    ck_assert_uint_ge(stats_of(all).history_bytes, 4 * n_tokens);
    ck_assert_uint_le(stats_of(all).history_bytes, 8 * n_tokens + 65536);
    ck_assert_uint_ge(stats_of(some).history_bytes, 4 * 1000);
    ck_assert_uint_le(stats_of(some).history_bytes, 65536);
    ck_assert_uint_le(stats_of(none).history_bytes, 4096);
    samba_session_free(all);
    samba_session_free(some);
    samba_session_free(none);
    tear_down();
}
END_TEST

/* A capped history and the drawing of tokens need no memory either, once they have run. */
START_TEST(generation_without_allocation)
{
    if (!set_up(0))
        return;
    samba_session *s = session_with(64);
    samba_sampler *sampler = NULL;
    CK_OK(samba_sampler_create(context, &sampler, RIG_ERROR));
    CK_OK(samba_sampler_add_penalties(
        sampler, &(samba_penalties){.struct_size = sizeof(samba_penalties), .repeat = 1.1f},
        RIG_ERROR));
    CK_OK(samba_sampler_add_top_k(sampler, 20, RIG_ERROR));
    CK_OK(samba_sampler_add_top_p(sampler, 0.95f, RIG_ERROR));
    CK_OK(read_on(s, 500, 256));
    size_t calls = 0;
    for (int round = 0; round < 3; round++) {
        fail_alloc_begin(0, false);
        samba_status status = SAMBA_OK;
        for (int i = 0; i < 400 && status == SAMBA_OK; i++) {
            samba_token t = 0;
            float logprob;
            status = samba_session_sample(s, sampler, 0, &t, &logprob, NULL);
            if (status == SAMBA_OK)
                status = samba_session_eval(s, &t, 1, NULL, NULL);
        }
        calls = fail_alloc_end();
        ck_assert_int_eq(status, SAMBA_OK);
    }
    ck_assert_uint_eq(calls, 0);
    samba_sampler_free(sampler);
    samba_session_free(s);
    tear_down();
}
END_TEST

/* A life: a session, its clones, all moving on, all freed. */
static samba_status live_and_die(void)
{
    samba_session *s = session_with(0), *clones[20] = {0};
    samba_status status = read_on(s, 300, 64);
    for (int i = 0; i < 20 && status == SAMBA_OK; i++) {
        status = samba_session_clone(s, &clones[i], NULL);
        if (status == SAMBA_OK)
            status = read_on(i % 2 ? s : clones[i], 10 + (size_t)i, 7);
    }
    for (int i = 0; i < 20; i++)
        samba_session_free(clones[i]);
    samba_session_free(s);
    return status;
}

START_TEST(everything_comes_back)
{
    if (!set_up(0))
        return;
    ck_assert_int_eq(live_and_die(), SAMBA_OK); /* the first one warms up what the model keeps */
    long before = fail_alloc_live();
    samba_status status = live_and_die();
    long left = fail_alloc_live() - before;
    ck_assert_int_eq(status, SAMBA_OK);
    ck_assert_msg(left == 0, "%ld blocks are left", left);
    tear_down();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("bounded");
    tcase_set_timeout(tcase, 1200);
    tcase_add_loop_test(tcase, same_bytes_and_no_allocation, 0, 2);
    tcase_add_test(tcase, history_apart);
    tcase_add_test(tcase, generation_without_allocation);
    tcase_add_test(tcase, everything_comes_back);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
