/*
 * The pool: every thread works once per run, what is written before a barrier is seen after it,
 * many short runs at sizes above and below the number of cores, and a thread that cannot be
 * started. Built also with ThreadSanitizer.
 */
#include "base/cpu.h"
#include "base/pool.h"
#include "support/suite.h"

#include <errno.h>
#include <fenv.h>
#include <float.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum {
    MOST = 8
};

/* The linker sends the library's uv_thread_create here. */
static int threads_left = -1; /* how many may still be started; -1: any number */
int __real_uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *arg);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *arg);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *arg)
{
    if (threads_left == 0)
        return UV_EAGAIN;
    if (threads_left > 0)
        threads_left--;
    return __real_uv_thread_create(thread, entry, arg);
}

static samba__pool *make_pool(uint32_t n)
{
    samba__pool *pool = NULL;
    samba_error *error = NULL;
    samba_status status = samba__pool_create(samba__alloc_default(), n, &pool, &error);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
    ck_assert_uint_eq(samba__pool_size(pool), n);
    return pool;
}

typedef struct tally {
    uint64_t by_thread[MOST][8]; /* [thread][0], a cache line each; plain memory on purpose */
    uint64_t run;
    atomic_uint wrong;
} tally;

static void count_one(void *arg, uint32_t index, uint32_t n)
{
    tally *t = arg;
    if (index >= n || n > MOST) {
        atomic_fetch_add(&t->wrong, 1);
        return;
    }
    t->by_thread[index][0] += t->run;
}

START_TEST(every_thread_works_once_per_run)
{
    uint32_t n = (uint32_t)_i;
    const uint64_t runs = 3000;
    samba__pool *pool = make_pool(n);
    tally t = {.run = 0};
    for (uint64_t i = 1; i <= runs; i++) {
        t.run = i;
        samba__pool_run(pool, count_one, &t);
        for (uint32_t k = 0; k < n; k++)
            ck_assert_uint_eq(t.by_thread[k][0], i * (i + 1) / 2);
    }
    ck_assert_uint_eq(atomic_load(&t.wrong), 0);
    samba__pool_free(pool);
}
END_TEST

typedef struct relay {
    samba__pool *pool;
    uint64_t cells[2][MOST];
    uint32_t rounds;
    atomic_uint wrong;
} relay;

/* Each round every thread writes what it reads of its neighbours' last round: only a barrier that
 * really separates the rounds gives the right numbers. */
static void pass_on(void *arg, uint32_t index, uint32_t n)
{
    relay *r = arg;
    for (uint32_t round = 0; round < r->rounds; round++) {
        uint64_t *from = r->cells[round % 2], *to = r->cells[(round + 1) % 2], max = 0;
        for (uint32_t k = 0; k < n; k++) {
            if (from[k] != round)
                atomic_fetch_add(&r->wrong, 1);
            max = from[k] > max ? from[k] : max;
        }
        to[index] = max + 1;
        samba__pool_barrier(r->pool);
    }
}

START_TEST(barriers_separate_rounds)
{
    uint32_t n = (uint32_t)_i;
    relay r = {.pool = make_pool(n), .rounds = 200};
    for (int i = 0; i < 10; i++) {
        memset(r.cells, 0, sizeof r.cells);
        samba__pool_run(r.pool, pass_on, &r);
        for (uint32_t k = 0; k < n; k++)
            ck_assert_uint_eq(r.cells[r.rounds % 2][k], r.rounds);
    }
    ck_assert_uint_eq(atomic_load(&r.wrong), 0);
    samba__pool_free(r.pool);
}
END_TEST

/* One thread late at each barrier and pauses between runs: the waiting ones park and wake. */
static void late(void *arg, uint32_t index, uint32_t n)
{
    relay *r = arg;
    for (uint32_t round = 0; round < n; round++) {
        if (round == index)
            usleep(300);
        r->cells[0][index]++;
        samba__pool_barrier(r->pool);
    }
}

START_TEST(parked_threads_wake)
{
    relay r = {.pool = make_pool(4)};
    for (uint64_t i = 1; i <= 60; i++) {
        samba__pool_run(r.pool, late, &r);
        for (uint32_t k = 0; k < 4; k++)
            ck_assert_uint_eq(r.cells[0][k], 4 * i);
        usleep((useconds_t)(i % 3) * 200);
    }
    samba__pool_free(r.pool);
}
END_TEST

static void nothing(void *arg, uint32_t index, uint32_t n)
{
    (void)arg;
    (void)index;
    (void)n;
}

START_TEST(pools_come_and_go)
{
    for (uint32_t i = 0; i < 200; i++) {
        samba__pool *pool = make_pool(1 + i % MOST);
        if (i % 3)
            samba__pool_run(pool, nothing, NULL);
        samba__pool_free(pool);
    }
    samba__pool_free(NULL);
}
END_TEST

static void *run_from_elsewhere(void *arg)
{
    relay *r = arg;
    memset(r->cells, 0, sizeof r->cells);
    samba__pool_run(r->pool, pass_on, r);
    return NULL;
}

START_TEST(any_thread_may_run)
{
    relay r = {.pool = make_pool(3), .rounds = 20};
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, run_from_elsewhere, &r), 0);
        pthread_join(thread, NULL);
        run_from_elsewhere(&r);
    }
    ck_assert_uint_eq(atomic_load(&r.wrong), 0);
    samba__pool_free(r.pool);
}
END_TEST

START_TEST(threads_that_do_not_start)
{
    for (int started = 0; started < MOST - 1; started++) {
        samba__pool *pool = NULL;
        samba_error *error = NULL;
        threads_left = started;
        ck_assert_int_eq(samba__pool_create(samba__alloc_default(), MOST, &pool, &error),
                         SAMBA_ERROR_BACKEND);
        threads_left = -1;
        ck_assert_ptr_null(pool);
        char want[64];
        snprintf(want, sizeof want, "cannot start thread %d of %d: ", started + 1, MOST);
        ck_assert_msg(strstr(samba_error_message(error), want), "%s", samba_error_message(error));
        samba_error_free(error);
    }
}
END_TEST

START_TEST(sizes_that_are_refused)
{
    static const uint32_t sizes[] = {0, SAMBA__POOL_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        samba__pool *pool = NULL;
        samba_error *error = NULL;
        ck_assert_int_eq(samba__pool_create(samba__alloc_default(), sizes[i], &pool, &error),
                         SAMBA_ERROR_INVALID_ARGUMENT);
        ck_assert_ptr_null(pool);
        samba_error_free(error);
    }
}
END_TEST

START_TEST(shares_cover_everything_once)
{
    for (size_t n = 0; n < 70; n++)
        for (size_t unit = 1; unit < 20; unit += 3)
            for (uint32_t threads = 1; threads <= MOST; threads++) {
                size_t at = 0;
                for (uint32_t k = 0; k < threads; k++) {
                    size_t begin, end;
                    samba__pool_share(n, unit, k, threads, &begin, &end);
                    ck_assert(begin == at && end >= begin && end <= n);
                    ck_assert(begin % unit == 0 || begin == n);
                    at = end;
                }
                ck_assert_uint_eq(at, n);
            }
}
END_TEST

typedef struct env_seen {
    volatile float small;
    atomic_uint flushed;
    atomic_uint rounded;
    atomic_uint unblocked;
} env_seen;

static void look_at_env(void *arg, uint32_t index, uint32_t n)
{
    env_seen *e = arg;
    (void)n;
    if (e->small / 4 == 0) /* a subnormal */
        atomic_fetch_add(&e->flushed, 1);
    if (1 + e->small != 1) /* rounded up; fegetround may look at another unit of the processor */
        atomic_fetch_add(&e->rounded, 1);
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (index > 0 && (!sigismember(&set, SIGINT) || !sigismember(&set, SIGALRM)))
        atomic_fetch_add(&e->unblocked, 1);
}

/* A host may have other rounding, or subnormals flushed: results must not depend on that. */
START_TEST(runs_compute_with_default_float_control)
{
    env_seen e = {.small = FLT_MIN};
    ck_assert_int_eq(fesetround(FE_UPWARD), 0);
    samba__pool *pool = make_pool((uint32_t)_i);
    ck_assert(1 + e.small != 1);
    samba__pool_run(pool, look_at_env, &e);
    ck_assert_int_eq(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
#if defined(__x86_64__)
    unsigned saved = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(saved | 0x8040); /* flush to zero, subnormals are zero */
    samba__pool_run(pool, look_at_env, &e);
    ck_assert_uint_eq(__builtin_ia32_stmxcsr() & 0x8040, 0x8040);
    __builtin_ia32_ldmxcsr(saved);
#endif
    ck_assert_uint_eq(atomic_load(&e.flushed), 0);
    ck_assert_uint_eq(atomic_load(&e.rounded), 0);
    ck_assert_uint_eq(atomic_load(&e.unblocked), 0);
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    ck_assert(!sigismember(&set, SIGINT)); /* the caller's own mask is as before */
    samba__pool_free(pool);
}
END_TEST

START_TEST(processor_facts_are_sane)
{
    uint32_t f = samba__cpu_features();
    ck_assert_uint_eq(f, samba__cpu_features());
    if (f & (SAMBA__CPU_AVX512_VNNI | SAMBA__CPU_AVX512_BF16))
        ck_assert(f & SAMBA__CPU_AVX512);
    if (f & SAMBA__CPU_AVX512)
        ck_assert(f & SAMBA__CPU_AVX2);
#if defined(__x86_64__)
    ck_assert_int_eq(!!(f & SAMBA__CPU_AVX2),
                     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    ck_assert_int_eq(!!(f & SAMBA__CPU_AVX512), __builtin_cpu_supports("avx512bw") &&
                                                    __builtin_cpu_supports("avx512vl") &&
                                                    __builtin_cpu_supports("avx512dq"));
    ck_assert_int_eq(!!(f & SAMBA__CPU_AVX512_VNNI), !!__builtin_cpu_supports("avx512vnni"));
    ck_assert_uint_eq(f & (SAMBA__CPU_NEON | SAMBA__CPU_DOTPROD), 0);
#endif
    uint32_t cores = samba__cpu_cores();
    ck_assert(cores >= 1 && (long)cores <= sysconf(_SC_NPROCESSORS_CONF));
    double begin = samba__clock_seconds();
    usleep(2000);
    double passed = samba__clock_seconds() - begin;
    ck_assert(passed >= 0.0019 && passed < 10);
}
END_TEST

/* Not a pass mark, but a line to look at: cost of an empty run by size. */
START_TEST(cost_of_a_run)
{
    for (uint32_t n = 1; n <= MOST; n *= 2) {
        samba__pool *pool = make_pool(n);
        double begin = samba__clock_seconds();
        for (int i = 0; i < 2000; i++)
            samba__pool_run(pool, nothing, NULL);
        double us = (samba__clock_seconds() - begin) / 2000 * 1e6;
        printf("pool of %u: %.2f us per empty run\n", (unsigned)n, us);
        ck_assert_msg(us < 5000, "a pool of %u takes %g us per run", (unsigned)n, us);
        samba__pool_free(pool);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/pool");
    TCase *c = tcase_create("pool");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, every_thread_works_once_per_run, 1, MOST + 1);
    tcase_add_loop_test(c, barriers_separate_rounds, 1, MOST + 1);
    tcase_add_test(c, parked_threads_wake);
    tcase_add_test(c, pools_come_and_go);
    tcase_add_test(c, any_thread_may_run);
    tcase_add_test(c, threads_that_do_not_start);
    tcase_add_test(c, sizes_that_are_refused);
    tcase_add_test(c, shares_cover_everything_once);
    tcase_add_loop_test(c, runs_compute_with_default_float_control, 1, 5);
    tcase_add_test(c, processor_facts_are_sane);
    tcase_add_test(c, cost_of_a_run);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
