/*
 * One prefix cache, many threads: each reads prompts of the same families through it with a session
 * of its own, stores where it got to, clears everything now and then, under a budget that keeps
 * throwing entries out. Every session ends where the plain computation ends. (Meant for
 * ThreadSanitizer; useful without.)
 */
#include "run/prefix_cache.h"
#include "support/suite.h"
#include "toy_backend.h"

#include <string.h>

enum {
    THREADS = 4,
    ROUNDS = 150,
    LONGEST = 60
};

typedef struct worker {
    uv_thread_t thread;
    samba_prefix_cache *cache;
    samba_session *session;
    uint64_t random;
    bool failed;
    uint64_t n_restored;
} worker;

static bool same_as_plain(const samba_session *s, const samba_token *tokens, size_t n)
{
    const float *logits = NULL;
    float expected[TOY_VOCAB];
    toy_shadow shadow;
    toy_shadow_init(&shadow, true);
    toy_shadow_feed_all(&shadow, tokens, n);
    toy_logits(shadow.last, expected);
    toy_shadow_free(&shadow);
    return samba_session_position(s) == n &&
           samba_session_logits(s, SAMBA_ROW_LAST, &logits, NULL, NULL) == SAMBA_OK &&
           memcmp(logits, expected, sizeof expected) == 0;
}

/* One of three families, cut anywhere, with a tail of its own. */
static size_t make_prompt(worker *w, samba_token *tokens)
{
    uint64_t family = toy_random(&w->random) % 3;
    size_t n = 1 + toy_random(&w->random) % (LONGEST - 10), tail = toy_random(&w->random) % 5;
    for (size_t i = 0; i < n; i++)
        tokens[i] = toy_token(&family);
    while (tail--)
        tokens[n++] = toy_token(&w->random);
    return n;
}

/* No assertions here: Check's are for the main thread. */
static void work(void *arg)
{
    worker *w = arg;
    samba_token tokens[LONGEST];
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = make_prompt(w, tokens);
        samba_prefix_report r = {.struct_size = sizeof r};
        samba_prefix_cache_stats stats = {.struct_size = sizeof stats};
        w->failed |=
            samba_prefix_cache_eval(w->cache, w->session, tokens, n, NULL, &r, NULL) != SAMBA_OK;
        w->failed |= !same_as_plain(w->session, tokens, n);
        w->n_restored += r.restored;
        tokens[n] = toy_token(&w->random);
        w->failed |= samba_session_eval(w->session, tokens + n, 1, NULL, NULL) != SAMBA_OK;
        w->failed |= samba_prefix_cache_put(w->cache, w->session, NULL) != SAMBA_OK;
        w->failed |= !same_as_plain(w->session, tokens, n + 1);
        w->failed |= samba_prefix_cache_get_stats(w->cache, &stats, NULL) != SAMBA_OK ||
                     stats.bytes > stats.max_bytes;
        if (round % 50 == 49)
            samba_prefix_cache_clear(w->cache);
    }
}

START_TEST(one_cache)
{
    const samba_prefix_cache_options o = {
        .struct_size = sizeof o, .max_bytes = 60000, .interval = 8};
    toy *t = toy_create(true);
    samba_prefix_cache *cache = NULL;
    worker workers[THREADS];
    uint64_t n_restored = 0;
    ck_assert_int_eq(samba_prefix_cache_create(&t->model, &o, &cache, NULL), SAMBA_OK);
    for (int i = 0; i < THREADS; i++)
        workers[i] =
            (worker){.cache = cache, .random = (uint64_t)i + 90, .session = toy_session(t, NULL)};
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(uv_thread_create(&workers[i].thread, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&workers[i].thread);
        ck_assert(!workers[i].failed);
        n_restored += workers[i].n_restored;
        samba_session_free(workers[i].session);
    }
    ck_assert_uint_gt(n_restored, 1000);
    ck_assert_uint_gt(cache->stats.n_evicted, 100);
    samba_prefix_cache_free(cache);
    toy_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_threads");
    TCase *tcase = tcase_create("threads");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, one_cache);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
