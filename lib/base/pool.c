/*
 * The thread pool; see pool.h. All waiting goes through a gate: a counter that one thread advances
 * and others wait on, first spinning for some microseconds, then asleep on a condition variable. A
 * pool has three gates: `start` (a run begins), `finish` (its last thread is done) and `meet` (a
 * barrier is complete). The function to run is written before `start` advances and read after.
 */
#include "base/pool.h"
#include "base/cpu.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <uv.h>

/*
 * How long to spin. Long enough for the unevenness of shares of one product, short enough to cost
 * nothing to a host that pauses. With more threads than cores, spinning keeps from working the very
 * thread that is waited for.
 */
enum {
    SPIN_NS = 10000,
    SPIN_NS_CROWDED = 500,
    SPINS_PER_LOOK = 16,
    LINE = 64
};

typedef struct gate {
    _Alignas(LINE) atomic_uint count;
    atomic_uint asleep;
    uv_mutex_t lock;
    uv_cond_t wake;
} gate;

typedef struct worker {
    struct samba__pool *pool;
    uint32_t index;
    uv_thread_t thread;
} worker;

struct samba__pool {
    samba_allocator alloc;
    uint32_t n;
    uint32_t n_started; /* workers that run; n - 1 once created */
    uint32_t n_gates;   /* initialised */
    uint64_t spin_ns;
    worker *workers; /* [n - 1]; workers[i] is thread i + 1 */
    samba__pool_fn fn;
    void *arg;
    bool stop;
    gate start, finish, meet;
    _Alignas(LINE) atomic_uint working; /* workers that have not finished this run */
    _Alignas(LINE) atomic_uint arrived; /* threads at the barrier */
};

static bool gate_init(gate *g)
{
    atomic_init(&g->count, 0);
    atomic_init(&g->asleep, 0);
    if (uv_mutex_init(&g->lock) != 0)
        return false;
    if (uv_cond_init(&g->wake) != 0) {
        uv_mutex_destroy(&g->lock);
        return false;
    }
    return true;
}

static void gate_destroy(gate *g)
{
    uv_cond_destroy(&g->wake);
    uv_mutex_destroy(&g->lock);
}

static bool gate_spin(gate *g, unsigned seen, uint64_t spin_ns)
{
    uint64_t begin = uv_hrtime();
    do
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (atomic_load_explicit(&g->count, memory_order_acquire) != seen)
                return true;
            samba__cpu_relax();
        }
    while (uv_hrtime() - begin < spin_ns);
    return false;
}

/* Waits until the gate has advanced past `seen`. */
static void gate_wait(gate *g, unsigned seen, uint64_t spin_ns)
{
    if (gate_spin(g, seen, spin_ns))
        return;
    uv_mutex_lock(&g->lock);
    /* Sequentially consistent, as in gate_advance: either the other side sees `asleep`, or this
     * side sees `count`. */
    atomic_fetch_add(&g->asleep, 1);
    while (atomic_load(&g->count) == seen)
        uv_cond_wait(&g->wake, &g->lock);
    atomic_fetch_sub(&g->asleep, 1);
    uv_mutex_unlock(&g->lock);
}

static void gate_advance(gate *g)
{
    atomic_fetch_add(&g->count, 1);
    if (atomic_load(&g->asleep) == 0)
        return;
    uv_mutex_lock(&g->lock);
    uv_cond_broadcast(&g->wake);
    uv_mutex_unlock(&g->lock);
}

static void run_share(samba__pool *pool, uint32_t index)
{
    uint64_t saved = samba__float_enter();
    pool->fn(pool->arg, index, pool->n);
    samba__float_leave(saved);
}

static void worker_main(void *arg)
{
    worker *w = arg;
    samba__pool *pool = w->pool;
    for (unsigned seen = 0;; seen++) {
        gate_wait(&pool->start, seen, pool->spin_ns);
        if (pool->stop)
            return;
        run_share(pool, w->index);
        if (atomic_fetch_sub(&pool->working, 1) == 1)
            gate_advance(&pool->finish);
    }
}

/* Starts the workers with the host's signals blocked, so that its handlers run on its own threads.
 * Faults stay as the host has them, and profilers see the workers. */
static int start_workers(samba__pool *pool)
{
    sigset_t block, saved;
    int result = 0;
    sigfillset(&block);
    static const int keep[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        sigdelset(&block, keep[i]);
    pthread_sigmask(SIG_BLOCK, &block, &saved);
    for (uint32_t i = 0; i + 1 < pool->n && result == 0; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->index = i + 1;
        result = uv_thread_create(&w->thread, worker_main, w);
        if (result == 0)
            pool->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return result;
}

static bool init_gates(samba__pool *pool)
{
    gate *const gates[] = {&pool->start, &pool->finish, &pool->meet};
    for (; pool->n_gates < 3; pool->n_gates++)
        if (!gate_init(gates[pool->n_gates]))
            return false;
    return true;
}

samba_status samba__pool_create(const samba_allocator *a, uint32_t n_threads, samba__pool **pool,
                                samba_error **error)
{
    samba_status status;
    if (n_threads == 0 || n_threads > SAMBA__POOL_MAX)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "%u threads asked for, 1 to %d are possible", (unsigned)n_threads,
                           (int)SAMBA__POOL_MAX);
    samba__pool *p = samba__alloc_aligned(a, sizeof *p, LINE);
    if (!p)
        return samba__fail_oom(error);
    memset(p, 0, sizeof *p);
    p->alloc = *a;
    p->n = n_threads;
    p->spin_ns = n_threads > samba__cpu_cores() ? SPIN_NS_CROWDED : SPIN_NS;
    p->workers = samba__calloc(a, n_threads, sizeof *p->workers);
    if (!p->workers || !init_gates(p)) {
        status = samba__fail_oom(error);
        goto fail;
    }
    int result = start_workers(p);
    if (result != 0) {
        char text[128];
        uv_strerror_r(result, text, sizeof text);
        status = samba__fail(a, error, SAMBA_ERROR_BACKEND, "cannot start thread %u of %u: %s",
                             (unsigned)p->n_started + 1, (unsigned)n_threads, text);
        goto fail;
    }
    *pool = p;
    return SAMBA_OK;
fail:
    samba__pool_free(p);
    return status;
}

void samba__pool_free(samba__pool *pool)
{
    if (!pool)
        return;
    if (pool->n_started > 0) {
        pool->stop = true;
        gate_advance(&pool->start);
        for (uint32_t i = 0; i < pool->n_started; i++)
            uv_thread_join(&pool->workers[i].thread);
    }
    gate *const gates[] = {&pool->start, &pool->finish, &pool->meet};
    while (pool->n_gates > 0)
        gate_destroy(gates[--pool->n_gates]);
    const samba_allocator a = pool->alloc;
    samba__free(&a, pool->workers);
    samba__free(&a, pool);
}

uint32_t samba__pool_size(const samba__pool *pool)
{
    return pool->n;
}

void samba__pool_run(samba__pool *pool, samba__pool_fn fn, void *arg)
{
    pool->fn = fn;
    pool->arg = arg;
    if (pool->n == 1) {
        run_share(pool, 0);
        return;
    }
    unsigned seen = atomic_load_explicit(&pool->finish.count, memory_order_relaxed);
    atomic_store_explicit(&pool->working, pool->n - 1, memory_order_relaxed);
    gate_advance(&pool->start);
    run_share(pool, 0);
    gate_wait(&pool->finish, seen, pool->spin_ns);
}

void samba__pool_barrier(samba__pool *pool)
{
    if (pool->n == 1)
        return;
    /* Nobody can advance the gate before this thread has arrived. */
    unsigned seen = atomic_load_explicit(&pool->meet.count, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == pool->n) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        gate_advance(&pool->meet);
    } else {
        gate_wait(&pool->meet, seen, pool->spin_ns);
    }
}
