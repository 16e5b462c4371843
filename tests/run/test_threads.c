/*
 * Clones share memory across threads: each thread moves on its own sessions, all born of one, takes
 * snapshots, restores them, rewinds, while the others free, copy and recycle what they have in
 * common; one snapshot is restored by all. Every session ends where the plain computation ends.
 * (Meant for ThreadSanitizer; useful without.)
 */
#include "support/suite.h"
#include "toy_backend.h"

enum {
    THREADS = 8,
    ROUNDS = 60
};

typedef struct worker {
    uv_thread_t thread;
    samba_session *session; /* a clone of the common ancestor */
    samba_model *model;
    samba_snapshot *common; /* of the ancestor */
    toy_shadow shadow;
    uint64_t random;
    bool failed;
} worker;

/* There and back by a snapshot, and by a rewind; to where the ancestor was, in a session of its
 * own. */
static void travel(worker *w, const samba_token *tokens, size_t n)
{
    uint64_t at = samba_session_position(w->session);
    samba_snapshot *snapshot = NULL;
    samba_session *other = NULL;
    w->failed |= samba_session_snapshot(w->session, NULL, &snapshot, NULL) != SAMBA_OK;
    w->failed |= samba_session_eval(w->session, tokens, n, NULL, NULL) != SAMBA_OK;
    if (toy_random(&w->random) % 2)
        w->failed |= samba_session_restore(w->session, snapshot, NULL) != SAMBA_OK;
    else
        w->failed |= samba_session_rewind(w->session, at, NULL, NULL, NULL) != SAMBA_OK;
    w->failed |= samba_session_create_from(w->model, w->common, NULL, &other, NULL) != SAMBA_OK;
    samba_snapshot_release(snapshot);
    w->failed |= samba_session_eval(other, tokens, n, NULL, NULL) != SAMBA_OK;
    samba_session_free(other);
}

/* No assertions here: Check's are for the main thread. */
static void work(void *arg)
{
    worker *w = arg;
    samba_token tokens[12];
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = 1 + toy_random(&w->random) % 12;
        samba_session *clone = NULL;
        for (size_t i = 0; i < n; i++)
            tokens[i] = toy_token(&w->random);
        w->failed |= samba_session_clone(w->session, &clone, NULL) != SAMBA_OK;
        w->failed |= samba_session_eval(w->session, tokens, n, NULL, NULL) != SAMBA_OK;
        w->failed |= samba_session_eval(clone, tokens, 1, NULL, NULL) != SAMBA_OK;
        toy_shadow_feed_all(&w->shadow, tokens, n);
        samba_session_free(clone);
        travel(w, tokens, n);
    }
}

START_TEST(clones_on_threads)
{
    toy *t = toy_create(_i != 0);
    const samba_session_options o = {.struct_size = sizeof o,
                                     .rows_per_pass = 7,
                                     .max_history = _i == 2 ? 50 : 0,
                                     .checkpoint_bytes = 1000000, /* none is dropped: all positions can be gone back to */
        .checkpoint_interval = 5};
    samba_snapshot *common = NULL;
    samba_session *ancestor = toy_session(t, &o);
    worker workers[THREADS];
    toy_shadow shadow;
    uint64_t random = 9;
    toy_shadow_init(&shadow, _i != 0);
    for (int i = 0; i < 30; i++) {
        samba_token token = toy_token(&random);
        ck_assert_int_eq(samba_session_eval(ancestor, &token, 1, NULL, NULL), SAMBA_OK);
        toy_shadow_feed(&shadow, token);
    }
    ck_assert_int_eq(samba_session_snapshot(ancestor, NULL, &common, NULL), SAMBA_OK);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.random = (uint64_t)i, .model = &t->model, .common = common};
        toy_shadow_init(&workers[i].shadow, _i != 0);
        toy_shadow_copy(&workers[i].shadow, &shadow);
        ck_assert_int_eq(samba_session_clone(ancestor, &workers[i].session, NULL), SAMBA_OK);
    }
    samba_session_free(ancestor);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(uv_thread_create(&workers[i].thread, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&workers[i].thread);
        ck_assert(!workers[i].failed);
    }
    for (int i = 0; i < THREADS; i++) {
        toy_check_session(workers[i].session, &workers[i].shadow, true);
        samba_session_free(workers[i].session);
        toy_shadow_free(&workers[i].shadow);
    }
    samba_snapshot_release(common);
    toy_shadow_free(&shadow);
    toy_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tcase = tcase_create("clones");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, clones_on_threads, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
