/*
 * The pool: every share of every phase is done once, what is written in a phase is seen in the
 * next, many short runs at sizes above and below the number of cores, all threads on one core,
 * threads that come late or never, hosts' pools of every kind, and a thread that cannot be started.
 * Built also with ThreadSanitizer.
 */
#include "base/cpu.h"
#include "base/pool.h"
#include "support/suite.h"

#include <errno.h>
#include <fenv.h>
#include <float.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum {
    MOST = 8,
    PHASES = 6
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

/* The machine is said to have room for all, so that it is tried without. */
static samba__pool *make_pool(uint32_t n)
{
    samba__pool *pool = NULL;
    samba_error *error = NULL;
    samba_status status = samba__pool_create(
        samba__alloc_default(), &(samba__pool_options){.n_threads = n, .n_cpus = n}, &pool, &error);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
    ck_assert_uint_eq(samba__pool_size(pool), n);
    return pool;
}

/* What shares have been done; plain memory on purpose. */
typedef struct tally {
    uint32_t done[PHASES][MOST], shares[PHASES][MOST];
    atomic_uint wrong;
} tally;

static void count_one(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    tally *t = arg;
    if (index >= n || n > MOST || phase >= PHASES) {
        atomic_fetch_add(&t->wrong, 1);
        return;
    }
    t->done[phase][index]++;
    t->shares[phase][index] = n;
}

/* Every share once, n the same in all phases but the serial ones. */
static void check_tally(tally *t, uint64_t serial)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < PHASES; p++) {
        uint32_t want = serial >> p & 1 ? 1 : t->shares[p][0];
        if (!(serial >> p & 1))
            n = n ? n : want;
        ck_assert_uint_eq(want, serial >> p & 1 ? 1 : n);
        for (uint32_t k = 0; k < MOST; k++) {
            ck_assert_uint_eq(t->done[p][k], k < want ? 1 : 0);
            ck_assert(k >= want || t->shares[p][k] == want);
        }
    }
    ck_assert_uint_eq(atomic_load(&t->wrong), 0);
}

START_TEST(every_share_is_done_once)
{
    static const uint64_t serials[] = {0, 1, 0x2a, 0x15, 0x33, 0x3f};
    samba__pool *pool = make_pool((uint32_t)_i);
    for (int i = 0; i < 600; i++) {
        uint64_t serial = serials[(size_t)i % (sizeof serials / sizeof *serials)];
        tally t = {.wrong = 0};
        samba__pool_run(
            pool,
            &(samba__pool_job){.fn = count_one, .arg = &t, .n_phases = PHASES, .serial = serial});
        check_tally(&t, serial);
    }
    samba__pool_run(pool, &(samba__pool_job){.fn = count_one}); /* no phases: nothing */
    samba__pool_free(pool);
}
END_TEST

typedef struct relay {
    samba__pool *pool;
    uint64_t cells[2][MOST];
    uint32_t rounds;
    unsigned late; /* microseconds that one share in each phase takes longer */
    atomic_uint wrong;
} relay;

/* In each phase every share writes what it reads of its neighbours' last phase: only phases that
 * are really apart give the right numbers. */
static void pass_on(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    relay *r = arg;
    uint64_t *from = r->cells[phase % 2], *to = r->cells[(phase + 1) % 2], max = 0;
    if (r->late && phase % n == index)
        usleep(r->late);
    for (uint32_t k = 0; k < n; k++) {
        if (from[k] != phase)
            atomic_fetch_add(&r->wrong, 1);
        max = from[k] > max ? from[k] : max;
    }
    to[index] = max + 1;
}

static void run_relay(relay *r)
{
    memset(r->cells, 0, sizeof r->cells);
    samba__pool_run(r->pool, &(samba__pool_job){.fn = pass_on, .arg = r, .n_phases = r->rounds});
    ck_assert_uint_eq(r->cells[r->rounds % 2][0], r->rounds);
    ck_assert_uint_eq(atomic_load(&r->wrong), 0);
}

START_TEST(phases_are_apart)
{
    relay r = {.pool = make_pool((uint32_t)_i), .rounds = 200};
    for (int i = 0; i < 10; i++)
        run_relay(&r);
    samba__pool_free(r.pool);
}
END_TEST

/* One share late in each phase, by less and more than spinning lasts, and pauses between runs. */
START_TEST(sleepers_wake)
{
    relay r = {.pool = make_pool(4), .rounds = 8};
    for (int i = 0; i < 40; i++) {
        r.late = i % 2 ? 900 : 100;
        run_relay(&r);
        usleep((useconds_t)(i % 3) * 500);
    }
    samba__pool_free(r.pool);
}
END_TEST

/* Threads without a processor of their own: nothing hangs, and nothing is lost. */
START_TEST(one_core_for_all)
{
    cpu_set_t saved, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof saved, &saved), 0);
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &saved))
            CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    relay r = {.pool = make_pool((uint32_t)_i), .rounds = 100};
    for (int i = 0; i < 100; i++)
        run_relay(&r);
    samba__pool_free(r.pool);
    samba__pool *pool = NULL; /* asked for more than there is room for */
    ck_assert_int_eq(samba__pool_create(samba__alloc_default(),
                                        &(samba__pool_options){.n_threads = 1024}, &pool, NULL),
                     SAMBA_OK);
    ck_assert_uint_eq(samba__pool_size(pool), 1);
    samba__pool_free(pool);
    sched_setaffinity(0, sizeof saved, &saved);
}
END_TEST

static void nothing(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    (void)arg;
    (void)phase;
    (void)index;
    (void)n;
}

START_TEST(pools_come_and_go)
{
    for (uint32_t i = 0; i < 200; i++) {
        samba__pool *pool = make_pool(1 + i % MOST);
        if (i % 3)
            samba__pool_run(pool, &(samba__pool_job){.fn = nothing, .n_phases = 2});
        if (i % 20 == 0)
            usleep(1500); /* its threads are asleep */
        samba__pool_free(pool);
    }
    samba__pool_free(NULL);
}
END_TEST

static void *run_from_elsewhere(void *arg)
{
    run_relay(arg);
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
    samba__pool_free(r.pool);
}
END_TEST

/* Runs of several threads take turns. */
static void *run_many(void *arg)
{
    relay r = {.pool = arg, .rounds = 30};
    for (int i = 0; i < 50; i++)
        run_relay(&r);
    return NULL;
}

START_TEST(runs_take_turns)
{
    pthread_t threads[3];
    samba__pool *pool = make_pool(3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_many, pool), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    samba__pool_free(pool);
}
END_TEST

typedef struct nested {
    samba__pool *pool;
    atomic_uint taken;
} nested;

static void *try_it(void *arg)
{
    nested *t = arg;
    if (samba__pool_try_run(t->pool, &(samba__pool_job){.fn = nothing, .n_phases = 1}))
        atomic_fetch_add(&t->taken, 1);
    return NULL;
}

static void try_from_inside(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    pthread_t thread;
    (void)phase;
    (void)n;
    if (index == 0 && pthread_create(&thread, NULL, try_it, arg) == 0)
        pthread_join(thread, NULL);
}

START_TEST(a_busy_pool_is_not_waited_for)
{
    nested t = {.pool = make_pool((uint32_t)_i)};
    samba__pool_run(t.pool, &(samba__pool_job){.fn = try_from_inside, .arg = &t, .n_phases = 1});
    ck_assert_uint_eq(atomic_load(&t.taken), 0);
    try_it(&t);
    ck_assert_uint_eq(atomic_load(&t.taken), 1);
    samba__pool_free(t.pool);
}
END_TEST

/* ---- pools of a host ---- */

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

static int32_t all_at_once(void *user_data, task_fn task, void *arg, uint32_t n)
{
    pthread_t threads[MOST];
    call calls[MOST];
    atomic_fetch_add((atomic_uint *)user_data, 1);
    for (uint32_t i = 0; i < n; i++) {
        calls[i] = (call){task, arg, i, n};
        pthread_create(&threads[i], NULL, run_call, &calls[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static int32_t one_by_one(void *user_data, task_fn task, void *arg, uint32_t n)
{
    atomic_fetch_add((atomic_uint *)user_data, 1);
    for (uint32_t i = n; i-- > 0;)
        task(arg, i, n);
    return 0;
}

/* Two of them, then the rest by the caller. */
static int32_t in_turns(void *user_data, task_fn task, void *arg, uint32_t n)
{
    pthread_t thread;
    call other = {task, arg, n - 1, n};
    atomic_fetch_add((atomic_uint *)user_data, 1);
    pthread_create(&thread, NULL, run_call, &other);
    for (uint32_t i = 0; i + 1 < n; i++)
        task(arg, i, n);
    pthread_join(thread, NULL);
    return 0;
}

static int32_t only_one(void *user_data, task_fn task, void *arg, uint32_t n)
{
    atomic_fetch_add((atomic_uint *)user_data, 1);
    task(arg, n / 2, n);
    return -1;
}

static int32_t none(void *user_data, task_fn task, void *arg, uint32_t n)
{
    (void)task;
    (void)arg;
    (void)n;
    atomic_fetch_add((atomic_uint *)user_data, 1);
    return -1;
}

static int32_t (*const hosts[])(void *, task_fn, void *, uint32_t) = {all_at_once, one_by_one,
                                                                      in_turns, only_one, none};
enum {
    N_HOSTS = sizeof hosts / sizeof *hosts
};

START_TEST(a_host_may_run_tasks_as_it_likes)
{
    atomic_uint calls = 0;
    samba__pool *pool = NULL;
    const samba_thread_pool host = {.struct_size = sizeof host,
                                    .n_threads = 2 + _i / N_HOSTS,
                                    .run = hosts[_i % N_HOSTS],
                                    .user_data = &calls};
    const samba__pool_options options = {.n_threads = (uint32_t)host.n_threads, .host = &host};
    ck_assert_int_eq(samba__pool_create(samba__alloc_default(), &options, &pool, NULL), SAMBA_OK);
    relay r = {.pool = pool, .rounds = 30};
    for (int i = 0; i < 20; i++) {
        r.late = i == 7 ? 700 : 0;
        run_relay(&r);
    }
    tally t = {.wrong = 0};
    samba__pool_run(
        pool, &(samba__pool_job){.fn = count_one, .arg = &t, .n_phases = PHASES, .serial = 0x12});
    check_tally(&t, 0x12);
    ck_assert_uint_eq(atomic_load(&calls), 21);
    samba__pool_free(pool);
}
END_TEST

START_TEST(threads_that_do_not_start)
{
    for (int started = 0; started < MOST - 1; started++) {
        samba__pool *pool = NULL;
        samba_error *error = NULL;
        threads_left = started;
        const samba__pool_options options = {.n_threads = MOST, .n_cpus = MOST};
        ck_assert_int_eq(samba__pool_create(samba__alloc_default(), &options, &pool, &error),
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
        const samba__pool_options options = {.n_threads = sizes[i]};
        ck_assert_int_eq(samba__pool_create(samba__alloc_default(), &options, &pool, &error),
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
    pthread_t caller;
} env_seen;

static void look_at_env(void *arg, uint32_t phase, uint32_t index, uint32_t n)
{
    env_seen *e = arg;
    (void)phase;
    (void)index;
    (void)n;
    if (e->small / 4 == 0) /* a subnormal */
        atomic_fetch_add(&e->flushed, 1);
    if (1 + e->small != 1) /* rounded up; fegetround may look at another unit of the processor */
        atomic_fetch_add(&e->rounded, 1);
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (!pthread_equal(e->caller, pthread_self()) &&
        (!sigismember(&set, SIGINT) || !sigismember(&set, SIGALRM)))
        atomic_fetch_add(&e->unblocked, 1);
}

/* A host may have other rounding, or subnormals flushed: results must not depend on that. */
START_TEST(runs_compute_with_default_float_control)
{
    env_seen e = {.small = FLT_MIN, .caller = pthread_self()};
    const samba__pool_job job = {.fn = look_at_env, .arg = &e, .n_phases = 20};
    ck_assert_int_eq(fesetround(FE_UPWARD), 0);
    samba__pool *pool = make_pool((uint32_t)_i);
    ck_assert(1 + e.small != 1);
    samba__pool_run(pool, &job);
    ck_assert_int_eq(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
#if defined(__x86_64__)
    unsigned saved = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(saved | 0x8040); /* flush to zero, subnormals are zero */
    samba__pool_run(pool, &job);
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
            samba__pool_run(pool, &(samba__pool_job){.fn = nothing, .n_phases = 1});
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
    tcase_add_loop_test(c, every_share_is_done_once, 1, MOST + 1);
    tcase_add_loop_test(c, phases_are_apart, 1, MOST + 1);
    tcase_add_test(c, sleepers_wake);
    tcase_add_loop_test(c, one_core_for_all, 2, 5);
    tcase_add_test(c, pools_come_and_go);
    tcase_add_test(c, any_thread_may_run);
    tcase_add_test(c, runs_take_turns);
    tcase_add_loop_test(c, a_busy_pool_is_not_waited_for, 1, 4);
    tcase_add_loop_test(c, a_host_may_run_tasks_as_it_likes, 0, 3 * N_HOSTS);
    tcase_add_test(c, threads_that_do_not_start);
    tcase_add_test(c, sizes_that_are_refused);
    tcase_add_test(c, shares_cover_everything_once);
    tcase_add_loop_test(c, runs_compute_with_default_float_control, 1, 5);
    tcase_add_test(c, processor_facts_are_sane);
    tcase_add_test(c, cost_of_a_run);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
