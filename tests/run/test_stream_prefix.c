/*
 * Streams whose prompts go by way of a prefix cache, on the toy backend: whatever is restored, they
 * give the tokens and leave the session that reading everything gives; reports and stored positions
 * are those of samba_prefix_cache_eval; memory may be out, and the cache may be freed early.
 */
#include "run/prefix_cache.h"
#include "support/suite.h"
#include "toy_backend.h"

#include <string.h>

enum {
    LONG = 60,  /* tokens of the longest prompt */
    TOKENS = 9, /* generated */
    INTERVAL = 16,
    TRIES = 4000
};

typedef struct scene {
    toy *t;
    samba_prefix_cache *cache;
    samba_token prompt[LONG];
} scene;

static void set_up(scene *c)
{
    const samba_prefix_cache_options o = {.struct_size = sizeof o, .interval = INTERVAL};
    uint64_t random = 31;
    *c = (scene){.t = toy_create(true)};
    for (int i = 0; i < LONG; i++)
        c->prompt[i] = toy_token(&random);
    ck_assert_int_eq(samba_prefix_cache_create(&c->t->model, &o, &c->cache, NULL), SAMBA_OK);
}

static void tear_down(scene *c)
{
    samba_prefix_cache_free(c->cache);
    toy_free(c->t);
}

/* The session has been fed `from` tokens of the prompt; the stream reads on up to n. */
static samba_stream_options options_of(const scene *c, size_t from, size_t n)
{
    return (samba_stream_options){.struct_size = sizeof(samba_stream_options),
                                  .prompt = c->prompt + from,
                                  .n_prompt = n - from,
                                  .max_tokens = TOKENS,
                                  .ignore_eos = SAMBA_YES,
                                  .prefix_cache = c->cache};
}

static samba_session *session_at(const scene *c, size_t n)
{
    samba_session *s = toy_session(c->t, NULL);
    ck_assert_int_eq(samba_session_eval(s, c->prompt, n, NULL, NULL), SAMBA_OK);
    return s;
}

/* A greedy stream up to its end, then the session: as without streams and caches. */
static samba_prefix_report run_stream(const scene *c, size_t from, size_t n)
{
    const samba_stream_options o = options_of(c, from, n);
    samba_session *s = session_at(c, from), *plain = session_at(c, n);
    samba_prefix_report report = {.struct_size = sizeof report};
    samba_stream_event e = {.struct_size = sizeof e};
    samba_stream *stream = NULL;
    toy_shadow shadow;
    samba_token token;
    toy_shadow_init(&shadow, true);
    toy_shadow_feed_all(&shadow, c->prompt, n);
    ck_assert_int_eq(samba_stream_start(s, NULL, &o, &stream, NULL), SAMBA_OK);
    for (size_t i = 0; i < TOKENS; i++) {
        ck_assert_int_eq(samba_session_sample(plain, NULL, 0, &token, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(samba_session_eval(plain, &token, 1, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, NULL), SAMBA_OK);
        ck_assert_int_eq(e.kind, SAMBA_STREAM_TOKEN);
        ck_assert_int_eq(e.token, token);
        toy_shadow_feed(&shadow, token);
    }
    ck_assert_int_eq(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, NULL), SAMBA_OK);
    ck_assert_int_eq(e.reason, SAMBA_STOP_LENGTH);
    ck_assert_int_eq(samba_stream_get_prefix_report(stream, &report, NULL), SAMBA_OK);
    samba_stream_close(stream);
    toy_check_session(s, &shadow, true);
    toy_shadow_free(&shadow);
    samba_session_free(plain);
    samba_session_free(s);
    return report;
}

static void check_report(const samba_prefix_report *r, const samba_prefix_report *wanted)
{
    ck_assert_uint_eq(r->matched, wanted->matched);
    ck_assert_uint_eq(r->restored, wanted->restored);
    ck_assert_uint_eq(r->replayed, wanted->replayed);
    ck_assert_uint_eq(r->stored, wanted->stored);
    ck_assert_int_eq(r->reason, wanted->reason);
    ck_assert_int_eq(r->exact, 1);
    ck_assert_int_eq(r->from_file, 0);
}

/* From nothing cached to everything, from sessions that stand before and behind what is cached. */
START_TEST(reports)
{
    static const struct {
        size_t from, n;
        samba_prefix_report wanted;
    } steps[] = {
        {0, 40, {0, 0, 0, 40, 3, SAMBA_PREFIX_NEW, 1, 0}}, /* 16, 32, 40 */
        {0, 40, {0, 40, 40, 0, 0, SAMBA_PREFIX_WHOLE, 1, 0}},
        {0, 60, {0, 40, 40, 20, 2, SAMBA_PREFIX_NEW, 1, 0}},       /* 48, 60 */
        {0, 35, {0, 35, 32, 3, 1, SAMBA_PREFIX_NOT_STORED, 1, 0}}, /* 35 */
        {10, 33, {0, 33, 32, 1, 1, SAMBA_PREFIX_NOT_STORED, 1, 0}},
        {10, 32, {0, 32, 32, 0, 0, SAMBA_PREFIX_WHOLE, 1, 0}},
        {50, 58, {0, 58, 50, 8, 1, SAMBA_PREFIX_NOT_STORED, 1, 0}}, /* behind 48 already */
        {60, 60, {0, 60, 60, 0, 0, SAMBA_PREFIX_WHOLE, 1, 0}},      /* no prompt */
    };
    samba_prefix_cache_stats stats = {.struct_size = sizeof stats};
    scene c;
    set_up(&c);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        samba_prefix_report r = run_stream(&c, steps[i].from, steps[i].n);
        check_report(&r, &steps[i].wanted);
    }
    ck_assert_int_eq(samba_prefix_cache_get_stats(c.cache, &stats, NULL), SAMBA_OK);
    ck_assert_uint_eq(stats.n_hits, 5);
    ck_assert_uint_eq(stats.n_misses, 2); /* a stream without a prompt asks for nothing */
    ck_assert_uint_eq(stats.n_restored, 40 + 40 + 32 + 32 + 32);
    ck_assert_uint_eq(stats.n_replayed, 40 + 0 + 20 + 3 + 1 + 0 + 8);
    ck_assert_uint_eq(stats.n_stored, 8);
    tear_down(&c);
}
END_TEST

/* What a stream stores, an eval finds, and the other way round; nothing is read twice. */
START_TEST(shared_with_evals)
{
    samba_prefix_report r = {.struct_size = sizeof r};
    scene c;
    set_up(&c);
    samba_session *s = toy_session(c.t, NULL);
    run_stream(&c, 0, 40);
    ck_assert_int_eq(samba_prefix_cache_eval(c.cache, s, c.prompt, 50, NULL, &r, NULL), SAMBA_OK);
    ck_assert_uint_eq(r.restored, 40);
    int64_t rows = toy_device_of(c.t)->n_rows;
    r = run_stream(&c, 0, 50);
    ck_assert_uint_eq(r.restored, 50);
    /* Of run_stream's own reading beside it, and of the tokens of both. */
    ck_assert_int_eq(toy_device_of(c.t)->n_rows - rows, 50 + 2 * TOKENS);
    samba_session_free(s);
    tear_down(&c);
}
END_TEST

START_TEST(refusals)
{
    scene c, other;
    set_up(&c);
    set_up(&other);
    const samba_session_options late = {.struct_size = sizeof late, .first_position = 4},
                                forgetful = {.struct_size = sizeof forgetful, .max_history = 8};
    samba_prefix_report r = {.struct_size = sizeof r};
    samba_stream_options o = options_of(&c, 0, 20);
    samba_stream *stream = NULL;
    samba_session *s = toy_session(c.t, NULL), *at_4 = toy_session(c.t, &late),
                  *short_one = toy_session(c.t, &forgetful);
    ck_assert_int_eq(samba_session_eval(short_one, c.prompt, 9, NULL, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_stream_start(at_4, NULL, &o, &stream, NULL), SAMBA_ERROR_STATE);
    ck_assert_int_eq(samba_stream_start(short_one, NULL, &o, &stream, NULL), SAMBA_ERROR_STATE);
    o.prefix_cache = other.cache;
    ck_assert_int_eq(samba_stream_start(s, NULL, &o, &stream, NULL), SAMBA_ERROR_MISMATCH);
    o.prefix_cache = NULL;
    ck_assert_int_eq(samba_stream_start(s, NULL, &o, &stream, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_stream_get_prefix_report(stream, &r, NULL), SAMBA_ERROR_STATE);
    ck_assert_int_eq(samba_stream_get_prefix_report(stream, NULL, NULL), SAMBA_ERROR_STATE);
    ck_assert_int_eq(samba_stream_get_prefix_report(NULL, &r, NULL), SAMBA_ERROR_INVALID_ARGUMENT);
    samba_stream_close(stream);
    samba_session_free(s);
    samba_session_free(at_4);
    samba_session_free(short_one);
    tear_down(&other);
    tear_down(&c);
}
END_TEST

/* Closed, cancelled or suspended at any time, with the cache gone while they run. */
START_TEST(ends_early)
{
    uint64_t random = (uint64_t)_i + 1;
    for (int i = 0; i < 60; i++) {
        scene c;
        set_up(&c);
        samba_stream_options o = options_of(&c, 0, LONG);
        samba_session *s[2] = {session_at(&c, 0), session_at(&c, 0)};
        samba_stream *streams[2] = {NULL};
        samba_stream_event e = {.struct_size = sizeof e};
        for (int k = 0; k < 2; k++)
            ck_assert_int_eq(samba_stream_start(s[k], NULL, &o, &streams[k], NULL), SAMBA_OK);
        samba_prefix_cache_free(c.cache);
        c.cache = NULL;
        for (uint64_t spin = toy_random(&random) % 30000; spin; spin--)
            atomic_signal_fence(memory_order_seq_cst);
        if (toy_random(&random) % 2 && samba_stream_suspend(streams[0], NULL, NULL) == SAMBA_OK)
            ck_assert_int_eq(samba_stream_resume(streams[0], NULL), SAMBA_OK);
        if (toy_random(&random) % 2)
            samba_stream_cancel(streams[1]);
        for (e.kind = 0; e.kind != SAMBA_STREAM_DONE;)
            ck_assert_int_eq(samba_stream_next(streams[0], SAMBA_WAIT_FOREVER, &e, NULL), SAMBA_OK);
        ck_assert_int_eq(e.reason, SAMBA_STOP_LENGTH);
        samba_stream_close(streams[1]);
        samba_stream_close(streams[0]);
        uint64_t at = samba_session_position(s[1]);
        ck_assert(at == 0 || at == LONG);
        for (int k = 0; k < 2; k++)
            samba_session_free(s[k]);
        tear_down(&c);
    }
}
END_TEST

/* With the n-th allocation failing: as much as without a cache, and nothing else is lost. */
START_TEST(every_allocation)
{
    int64_t n = 1;
    bool whole = false;
    for (; n < TRIES && !whole; n++) {
        scene c;
        set_up(&c);
        const samba_stream_options o = options_of(&c, 10, LONG);
        samba_stream_event e = {.struct_size = sizeof e};
        samba_stream *stream = NULL;
        run_stream(&c, 0, 20);
        samba_session *s = session_at(&c, 10);
        c.t->memory.lasting = _i != 0;
        __atomic_store_n(&c.t->memory.fail_in, n, __ATOMIC_SEQ_CST);
        if (samba_stream_start(s, NULL, &o, &stream, NULL) == SAMBA_OK)
            while (samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, NULL) == SAMBA_OK &&
                   e.kind != SAMBA_STREAM_DONE)
                continue;
        samba_stream_close(stream);
        whole = __atomic_exchange_n(&c.t->memory.fail_in, -1, __ATOMIC_SEQ_CST) > 0;
        ck_assert(!whole || e.reason == SAMBA_STOP_LENGTH);
        if (e.reason == SAMBA_STOP_ERROR)
            ck_assert_int_eq(e.status, SAMBA_ERROR_OUT_OF_MEMORY);
        samba_session_free(s);
        run_stream(&c, 0, LONG);
        tear_down(&c);
    }
    ck_assert_int_lt(n, TRIES);
    ck_assert_int_gt(n, 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream_prefix");
    TCase *tcase = tcase_create("streams and caches");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, reports);
    tcase_add_test(tcase, shared_with_evals);
    tcase_add_test(tcase, refusals);
    tcase_add_loop_test(tcase, ends_early, 0, 2);
    tcase_add_loop_test(tcase, every_allocation, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
