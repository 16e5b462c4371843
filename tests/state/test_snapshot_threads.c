/*
 * Eight sessions of one model on eight threads: each evaluates, clones itself, takes snapshots,
 * writes them to memory and to a file, restores what it read, while the others do the same; one
 * snapshot is written and restored by all. Each ends with the bits of a session alone. (Meant for
 * ThreadSanitizer; useful without.)
 */
#include "state/snapshot_world.h"
#include "support/micro_model.h"

#include <stdio.h>
#include <uv.h>

enum {
    THREADS = 8,
    ROUNDS = 12
};

typedef struct worker {
    uv_thread_t thread;
    const world *w;
    samba_session *session;
    samba_snapshot *common; /* of where all began */
    const samba_bytes *common_bytes;
    char path[128];
    size_t n; /* tokens fed after that */
    rig_random random;
    int32_t n_failed;
} worker;

static void same_as_common(worker *k)
{
    samba_bytes *b = NULL;
    k->n_failed += samba_snapshot_write_memory(k->common, NULL, &b, NULL) != SAMBA_OK;
    k->n_failed +=
        !b || samba_bytes_size(b) != samba_bytes_size(k->common_bytes) ||
        memcmp(samba_bytes_data(b), samba_bytes_data(k->common_bytes), samba_bytes_size(b)) != 0;
    samba_bytes_free(b);
}

/* The session goes astray and comes back by its snapshot: through memory, a file, or as it is. */
static void there_and_back(worker *k)
{
    const uint32_t how = rig_below(&k->random, 3);
    samba_snapshot *live = NULL, *read = NULL;
    samba_bytes *b = NULL;
    k->n_failed += samba_session_snapshot(k->session, NULL, &live, NULL) != SAMBA_OK;
    k->n_failed += samba_session_eval(k->session, token_at(k->w, k->n + 7), 2, NULL, NULL) != 0;
    if (how == 0 && samba_snapshot_write_memory(live, NULL, &b, NULL) == SAMBA_OK)
        samba_snapshot_read_memory(k->w->context, samba_bytes_data(b), samba_bytes_size(b), NULL,
                                   &read, NULL);
    if (how == 1 && samba_snapshot_write_file(live, k->path, NULL, NULL) == SAMBA_OK)
        samba_snapshot_read_file(k->w->context, k->path, NULL, &read, NULL);
    if (how == 2)
        read = samba_snapshot_retain(live);
    k->n_failed += !read || samba_session_restore(k->session, read, NULL) != SAMBA_OK;
    samba_bytes_free(b);
    samba_snapshot_release(read);
    samba_snapshot_release(live);
}

/* No assertions here: Check's are for the main thread. */
static void work(void *arg)
{
    worker *k = arg;
    for (int round = 0; round < ROUNDS; round++) {
        samba_session *clone = NULL, *other = NULL;
        const size_t n = 1 + rig_below(&k->random, 5);
        k->n_failed += samba_session_clone(k->session, &clone, NULL) != SAMBA_OK;
        for (size_t i = 0; i < n; i++)
            k->n_failed +=
                samba_session_eval(k->session, token_at(k->w, k->n + i), 1, NULL, NULL) != SAMBA_OK;
        k->n += n;
        k->n_failed += samba_session_eval(clone, token_at(k->w, 3), 1, NULL, NULL) != SAMBA_OK;
        samba_session_free(clone);
        there_and_back(k);
        same_as_common(k);
        k->n_failed +=
            samba_session_create_from(k->w->model, k->common, NULL, &other, NULL) != SAMBA_OK;
        samba_session_free(other);
    }
}

START_TEST(eight_sessions)
{
    static const samba_dtype kv[] = {SAMBA_DTYPE_F16, SAMBA_DTYPE_Q8_0};
    world w = open_world(_i ? WIDE : "ms_samba", 0);
    worker workers[THREADS];
    char folder[64];
    samba_session *ancestor = session_at(&w, kv[_i], 70);
    samba_snapshot *common = NULL;
    samba_bytes *bytes = NULL;
    ck_assert(micro_folder_make(folder));
    CK_OK(samba_session_snapshot(ancestor, NULL, &common, RIG_ERROR));
    CK_OK(samba_snapshot_write_memory(common, NULL, &bytes, RIG_ERROR));
    for (int i = 0; i < THREADS; i++) {
        workers[i] =
            (worker){.w = &w, .common = common, .common_bytes = bytes, .random = {(uint64_t)i + 1}};
        snprintf(workers[i].path, sizeof workers[i].path, "%s/%d.samba", folder, i);
        CK_OK(samba_session_clone(ancestor, &workers[i].session, RIG_ERROR));
    }
    samba_session_free(ancestor);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(uv_thread_create(&workers[i].thread, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        uv_thread_join(&workers[i].thread);
    for (int i = 0; i < THREADS; i++) {
        samba_session *alone = session_at(&w, kv[_i], 70);
        for (size_t k = 0; k < workers[i].n; k++)
            rig_eval(alone, token_at(&w, k), 1, 0);
        ck_assert_int_eq(workers[i].n_failed, 0);
        float *want = go_on(&w, alone), *got = go_on(&w, workers[i].session);
        ck_assert(memcmp(got, want, N_MORE * w.n_vocab * sizeof *got) == 0);
        free(want);
        free(got);
        samba_session_free(alone);
        samba_session_free(workers[i].session);
    }
    micro_folder_remove(folder);
    samba_snapshot_release(common);
    samba_bytes_free(bytes);
    close_world(&w);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("snapshots on threads");
    TCase *tc = tcase_create("threads");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, eight_sessions, 0, 2);
    suite_add_tcase(suite, tc);
    return rig_main(argc, argv, suite);
}
