/*
 * Threads of a context: how many may be asked for, and hosts that bring their own. Whatever a
 * host's pool makes of the tasks, logits are the bits that one thread gives.
 */
#include "support/micro_model.h"
#include "support/rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum {
    VOCAB = 48,
    MOST = 6
};
static char folder[64];

static void setup(void)
{
    const micro_options o = {.d_model = 64, .n_blocks = 3, .n_vocab = VOCAB};
    ck_assert(micro_folder_make(folder));
    ck_assert(micro_model_write(folder, &o));
}

static void teardown(void)
{
    micro_folder_remove(folder);
}

/* ---- hosts ---- */

typedef void (*task_fn)(void *arg, uint32_t index, uint32_t n);

typedef struct call {
    task_fn task;
    void *arg;
    uint32_t index, n;
} call;

static void *run_call(void *arg)
{
    const call *c = arg;
    c->task(c->arg, c->index, c->n);
    return NULL;
}

static atomic_uint runs;

static int32_t on_threads(void *user_data, task_fn task, void *arg, uint32_t n)
{
    pthread_t threads[MOST];
    call calls[MOST];
    uint32_t from = user_data ? 1 : 0; /* the first one by the caller */
    atomic_fetch_add(&runs, 1);
    for (uint32_t i = from; i < n; i++) {
        calls[i] = (call){task, arg, i, n};
        pthread_create(&threads[i], NULL, run_call, &calls[i]);
    }
    if (from)
        task(arg, 0, n);
    for (uint32_t i = from; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static int32_t one_by_one(void *user_data, task_fn task, void *arg, uint32_t n)
{
    (void)user_data;
    atomic_fetch_add(&runs, 1);
    for (uint32_t i = 0; i < n; i++)
        task(arg, i, n);
    return 0;
}

static int32_t refuse(void *user_data, task_fn task, void *arg, uint32_t n)
{
    (void)user_data;
    (void)task;
    (void)arg;
    (void)n;
    atomic_fetch_add(&runs, 1);
    return 1;
}

/* ---- the same bits ---- */

static samba_context *make_context(int32_t n_threads, const samba_thread_pool *pool)
{
    samba_context *context = NULL;
    const samba_context_options o = {
        .struct_size = sizeof o, .n_threads = n_threads, .thread_pool = pool};
    CK_OK(samba_context_create(&o, &context, RIG_ERROR));
    return context;
}

enum {
    ROWS = 40,
    STEPS = 10
};
typedef struct result {
    float rows[ROWS][VOCAB], last[STEPS][VOCAB];
} result;

static void compute(samba_context *context, result *to)
{
    samba_token tokens[ROWS];
    samba_model *model = rig_load(context, folder, &(rig_options){0});
    samba_session *session = rig_session(model, SAMBA_DTYPE_F32, 16);
    for (int i = 0; i < ROWS; i++)
        tokens[i] = (i * 7 + 3) % VOCAB;
    rig_eval(session, tokens, ROWS, SAMBA_OUTPUT_ALL);
    for (size_t i = 0; i < ROWS; i++)
        memcpy(to->rows[i], rig_logits(session, i), sizeof to->rows[i]);
    for (size_t i = 0; i < STEPS; i++) {
        rig_eval(session, tokens + i, 1, 0);
        memcpy(to->last[i], rig_logits(session, SAMBA_ROW_LAST), sizeof to->last[i]);
    }
    samba_session_free(session);
    samba_model_release(model);
    samba_context_free(context);
}

START_TEST(any_threads_give_the_same_bits)
{
    static const int32_t counts[] = {2, 3, 7, 1024, 0};
    static int32_t (*const hosts[])(void *, task_fn, void *, uint32_t) = {on_threads, on_threads,
                                                                          one_by_one, refuse};
    static result want, got;
    int any;
    compute(make_context(1, NULL), &want);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        compute(make_context(counts[i], NULL), &got);
        ck_assert_int_eq(memcmp(&got, &want, sizeof want), 0);
    }
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        for (int32_t n = 1; n <= MOST; n += 2) {
            const samba_thread_pool pool = {.struct_size = sizeof pool,
                                            .n_threads = n,
                                            .run = hosts[i],
                                            .user_data = i ? &any : NULL};
            atomic_store(&runs, 0);
            compute(make_context(n == 3 ? n : 0, &pool), &got);
            ck_assert_int_eq(memcmp(&got, &want, sizeof want), 0);
            ck_assert_int_eq(atomic_load(&runs) > 0, n > 1);
        }
}
END_TEST

/* ---- what is refused ---- */

static samba_status create(int32_t n_threads, const samba_thread_pool *pool)
{
    samba_context *context = NULL;
    const samba_context_options o = {
        .struct_size = sizeof o, .n_threads = n_threads, .thread_pool = pool};
    samba_status status = samba_context_create(&o, &context, RIG_ERROR);
    ck_assert_int_eq(status == SAMBA_OK, context != NULL);
    samba_context_free(context);
    return status;
}

START_TEST(wrong_numbers_are_refused)
{
    static const int32_t bad[] = {-1, 1025, INT32_MIN, INT32_MAX};
    samba_thread_pool pool = {.struct_size = sizeof pool, .n_threads = 4, .run = one_by_one};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(bad[i], NULL));
        samba_thread_pool p = pool;
        p.n_threads = bad[i];
        CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(0, &p));
    }
    CK_OK(create(0, &pool));
    CK_OK(create(4, &pool));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(3, &pool));
    ck_assert_ptr_nonnull(strstr(rig_message(), "n_threads is 3"));
    pool.n_threads = 0;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(0, &pool));
    pool.n_threads = 4;
    pool.run = NULL;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(0, &pool));
    pool.run = one_by_one;
    pool.struct_size = sizeof pool - 1;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(0, &pool));
    for (int32_t n = 1; n <= 1024; n *= 2) {
        CK_OK(create(n, NULL));
        ck_assert_ptr_null(*rig_error());
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("run/thread_pool");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, setup, teardown);
    tcase_add_test(t, any_threads_give_the_same_bits);
    tcase_add_test(t, wrong_numbers_are_refused);
    suite_add_tcase(suite, t);
    return rig_main(argc, argv, suite);
}
