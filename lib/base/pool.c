/*
 * The thread pool; see pool.h and, for the claims, pool_seats.h. Who does the last share of a phase
 * opens the next one: serial phases are done on the way. A run that only the caller takes part in
 * goes without all that.
 */
#include "base/pool.h"
#include "base/cpu.h"
#include "base/pool_seats.h"

#include <signal.h>
#include <string.h>

/* ---- phases ---- */

static bool is_serial(const samba__pool_job *job, uint32_t phase)
{
    return phase < 64 && job->serial >> phase & 1;
}

/* Opens the job's next phase from `at` on, or ends the run. */
static void go_on(samba__pool *pool, samba__seat *self, uint32_t at)
{
    const samba__pool_job *job = &pool->job;
    while (at < job->n_phases && is_serial(job, at))
        job->fn(job->arg, at++, 0, 1);
    uint32_t shares = at < job->n_phases ? pool->n_shares : 0;
    uint64_t word = atomic_load_explicit(&pool->word, memory_order_relaxed);
    uint64_t next = ((word >> SAMBA__WORD_PHASE) + 1) << SAMBA__WORD_PHASE | shares;
    pool->current = at;
    atomic_store_explicit(&pool->left, shares, memory_order_relaxed);
    word = atomic_exchange(&pool->word, next);
    if (!(word & SAMBA__WORD_ASLEEP))
        return;
    if (samba__word_shares(word) || pool->host.run)
        samba__pool_wake(pool, self);
    else
        samba__pool_admit(pool);
}

static bool claim(samba__seat *seat, uint64_t phase)
{
    uint64_t last = atomic_load_explicit(&seat->claimed, memory_order_relaxed);
    return last < phase &&
           atomic_compare_exchange_strong_explicit(&seat->claimed, &last, phase,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* False if someone else has it. */
static bool try_share(samba__pool *pool, samba__seat *self, uint64_t word, uint32_t index)
{
    if (!claim(&pool->seats[index], word >> SAMBA__WORD_PHASE))
        return false;
    uint32_t at = pool->current;
    self->fresh = false;
    pool->job.fn(pool->job.arg, at, index, samba__word_shares(word));
    if (atomic_fetch_sub_explicit(&pool->left, 1, memory_order_acq_rel) == 1)
        go_on(pool, self, at + 1);
    return true;
}

void samba__pool_steal(samba__pool *pool, samba__seat *self, uint64_t word)
{
    uint32_t n = samba__word_shares(word);
    for (uint32_t i = 1; i <= n && !self->leave; i++)
        try_share(pool, self, word, (self->index + i) % n);
}

/* A thread's part in the phase that is open, once. */
static void take_part(samba__pool *pool, samba__seat *self, uint64_t word)
{
    uint32_t n = samba__word_shares(word);
    if (n == 0 || self->leave || self->seen == word >> SAMBA__WORD_PHASE)
        return;
    self->seen = word >> SAMBA__WORD_PHASE;
    if (!try_share(pool, self, word, self->index % n))
        samba__pool_steal(pool, self, word);
}

/* Works until the run is over; at once if it is. */
static void work_to_end(samba__pool *pool, samba__seat *self)
{
    for (;;) {
        uint64_t word = atomic_load_explicit(&pool->word, memory_order_acquire);
        if (samba__word_shares(word) == 0)
            return;
        take_part(pool, self, word);
        samba__pool_wait(pool, self, word);
    }
}

static void worker_main(void *arg)
{
    samba__seat *self = arg;
    samba__pool *pool = self->pool;
    uint64_t saved = samba__float_enter();
    for (;;) {
        /* The word first: free says stop, then opens a phase, and who has seen that phase must not
         * wait for another. */
        uint64_t word = atomic_load_explicit(&pool->word, memory_order_acquire);
        if (atomic_load(&pool->stop))
            break;
        take_part(pool, self, word);
        samba__pool_wait(pool, self, word);
    }
    samba__float_leave(saved);
}

/* ---- runs ---- */

/* A task of a host's pool. */
static void host_task(void *arg, uint32_t index, uint32_t n)
{
    samba__pool *pool = arg;
    (void)n;
    if (index >= pool->n)
        return;
    uint64_t saved = samba__float_enter();
    work_to_end(pool, &pool->seats[index]);
    samba__float_leave(saved);
}

/* How many take part: a host decides by itself, workers that sleep are left out. */
static uint32_t count_shares(samba__pool *pool)
{
    if (pool->host.run)
        return pool->n;
    samba__pool_admit(pool);
    return pool->n - (uint32_t)atomic_load(&pool->n_asleep);
}

static void run_alone(const samba__pool_job *job)
{
    for (uint32_t i = 0; i < job->n_phases; i++)
        job->fn(job->arg, i, 0, 1);
}

/* Under the lock. */
static void run(samba__pool *pool, const samba__pool_job *job)
{
    uint64_t saved = samba__float_enter();
    samba__seat *self = &pool->seats[0];
    pool->n_shares = pool->n > 1 ? count_shares(pool) : 1;
    if (pool->n_shares > 1) {
        pool->job = *job;
        go_on(pool, self, 0);
        if (pool->host.run) /* what its tasks leave undone is done here, all of it if need be */
            pool->host.run(pool->host.user_data, host_task, pool, pool->n);
        work_to_end(pool, self);
    } else {
        run_alone(job);
    }
    samba__float_leave(saved);
}

void samba__pool_run(samba__pool *pool, const samba__pool_job *job)
{
    uv_mutex_lock(&pool->lock);
    run(pool, job);
    uv_mutex_unlock(&pool->lock);
}

bool samba__pool_try_run(samba__pool *pool, const samba__pool_job *job)
{
    if (uv_mutex_trylock(&pool->lock) != 0)
        return false;
    run(pool, job);
    uv_mutex_unlock(&pool->lock);
    return true;
}

/* ---- life ---- */

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
    for (uint32_t i = 1; i < pool->n && result == 0; i++) {
        result = uv_thread_create(&pool->seats[i].thread, worker_main, &pool->seats[i]);
        if (result == 0)
            pool->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return result;
}

static bool init_seats(samba__pool *pool)
{
    for (; pool->n_seats < pool->n; pool->n_seats++) {
        samba__seat *seat = &pool->seats[pool->n_seats];
        if (uv_sem_init(&seat->wake, 0) != 0)
            return false;
        seat->pool = pool;
        seat->index = pool->n_seats;
    }
    return true;
}

static samba_status fail_thread(const samba__pool *pool, int result, samba_error **error)
{
    char text[128];
    uv_strerror_r(result, text, sizeof text);
    return samba__fail(&pool->alloc, error, SAMBA_ERROR_BACKEND, "cannot start thread %u of %u: %s",
                       (unsigned)pool->n_started + 1, (unsigned)pool->n, text);
}

samba_status samba__pool_create(const samba_allocator *a, const samba__pool_options *options,
                                samba__pool **pool, samba_error **error)
{
    samba_status status;
    uint32_t n = options->n_threads, cpus = options->n_cpus;
    if (n == 0 || n > SAMBA__POOL_MAX)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "%u threads asked for, 1 to %d are possible", (unsigned)n,
                           (int)SAMBA__POOL_MAX);
    if (cpus == 0)
        cpus = samba__cpu_threads();
    if (n > cpus && !options->host)
        n = cpus;
    samba__pool *p = samba__alloc_aligned(a, sizeof *p, SAMBA__POOL_LINE);
    if (!p)
        return samba__fail_oom(error);
    memset(p, 0, sizeof *p);
    p->alloc = *a;
    if (uv_mutex_init(&p->lock) != 0) {
        samba__free(a, p);
        return samba__fail_oom(error);
    }
    atomic_flag_clear(&p->waking);
    p->n = n;
    if (options->host)
        p->host = *options->host;
    p->seats = samba__alloc_aligned(a, n * sizeof *p->seats, SAMBA__POOL_LINE);
    if (p->seats)
        memset(p->seats, 0, n * sizeof *p->seats);
    if (!p->seats || !init_seats(p)) {
        status = samba__fail_oom(error);
        goto fail;
    }
    int result = p->host.run ? 0 : start_workers(p);
    if (result != 0) {
        status = fail_thread(p, result, error);
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
    atomic_store(&pool->stop, true);
    atomic_fetch_add(&pool->word, (uint64_t)1 << SAMBA__WORD_PHASE); /* no run: shares stay 0 */
    samba__pool_wake_all(pool);
    for (uint32_t i = 1; i <= pool->n_started; i++)
        uv_thread_join(&pool->seats[i].thread);
    while (pool->n_seats > 0)
        uv_sem_destroy(&pool->seats[--pool->n_seats].wake);
    uv_mutex_destroy(&pool->lock);
    const samba_allocator a = pool->alloc;
    samba__free(&a, pool->seats);
    samba__free(&a, pool);
}

uint32_t samba__pool_size(const samba__pool *pool)
{
    return pool->n;
}
