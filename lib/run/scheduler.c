/* The scheduler's life and its thread; see scheduler.h. What a pass takes is scheduler_pass.c. */
#include "run/scheduler.h"
#include "base/cpu.h"
#include "run/scheduler_pass.h"
#include "run/stream.h"

enum {
    MAX_GAP_MS = 50,
    ROWS_PER_PASS = 256
};

/* ---------------------------------------------------------------- life */

static bool init_sync(samba__scheduler *s)
{
    if (uv_mutex_init(&s->lock))
        return false;
    if (uv_cond_init(&s->work)) {
        uv_mutex_destroy(&s->lock);
        return false;
    }
    if (uv_cond_init(&s->changed)) {
        uv_cond_destroy(&s->work);
        uv_mutex_destroy(&s->lock);
        return false;
    }
    return true;
}

static void free_arrays(samba__scheduler *s)
{
    samba__free(s->alloc, s->ready);
    samba__free(s->alloc, s->wanted);
    samba__free(s->alloc, s->pass.parts);
    samba__free(s->alloc, s->pass.seqs);
    samba__free(s->alloc, s->pass.tokens);
    samba__free(s->alloc, s);
}

static samba__scheduler *create(samba_model *model)
{
    const samba_allocator *a = model->alloc;
    samba__scheduler *s = samba__calloc(a, 1, sizeof *s);
    if (!s)
        return NULL;
    s->alloc = a;
    s->model = model;
    s->limits = (samba_stream_limits){
        .struct_size = sizeof s->limits, .max_gap_ms = MAX_GAP_MS, .rows_per_pass = ROWS_PER_PASS};
    s->stats.struct_size = sizeof s->stats;
    s->ready = samba__calloc(a, SAMBA__SHARED_ROWS, sizeof(samba_stream *));
    s->wanted = samba__calloc(a, SAMBA__SHARED_ROWS, sizeof(samba__request *));
    s->pass = (samba__pass){.model = model, .cancel = &s->abort, .wants_errors = true};
    s->pass.parts = samba__calloc(a, SAMBA__SHARED_ROWS, sizeof *s->pass.parts);
    s->pass.seqs = samba__calloc(a, SAMBA__SHARED_ROWS, sizeof *s->pass.seqs);
    s->pass.tokens = samba__calloc(a, 2 * SAMBA__SHARED_ROWS, sizeof *s->pass.tokens);
    if (!s->ready || !s->wanted || !s->pass.parts || !s->pass.seqs || !s->pass.tokens ||
        !init_sync(s)) {
        free_arrays(s);
        return NULL;
    }
    return s;
}

samba_status samba__scheduler_of(samba_model *model, samba__scheduler **scheduler,
                                 samba_error **error)
{
    samba__scheduler *s = samba__model_scheduler(model), *other = NULL;
    if (!s) {
        s = create(model);
        if (!s)
            return samba__fail_oom(error);
        if (!atomic_compare_exchange_strong(&model->scheduler, &other, s)) {
            samba__scheduler_free(s);
            s = other;
        }
    }
    *scheduler = s;
    return SAMBA_OK;
}

void samba__scheduler_free(samba__scheduler *s)
{
    if (!s)
        return;
    if (s->to_join)
        uv_thread_join(&s->thread);
    uv_cond_destroy(&s->changed);
    uv_cond_destroy(&s->work);
    uv_mutex_destroy(&s->lock);
    free_arrays(s);
}

samba_status samba__scheduler_check(const samba__scheduler *s, samba_error **error)
{
    int pid = s ? atomic_load(&((samba__scheduler *)(uintptr_t)s)->pid) : 0;
    if (!pid || pid == (int)uv_os_getpid())
        return SAMBA_OK;
    return samba__fail(s->alloc, error, SAMBA_ERROR_STATE,
                       "process %d is a child of %d, in which the streams of this model run",
                       (int)uv_os_getpid(), pid);
}

/* ---------------------------------------------------------------- the thread */

/* Seconds until the first deadline; negative: there is none. */
static double until_deadline(const samba__scheduler *s)
{
    double first = 0;
    for (const samba_stream *st = s->first; st; st = st->next)
        if (st->deadline > 0 && !st->end.reason && (first == 0 || st->deadline < first))
            first = st->deadline;
    if (first == 0)
        return -1;
    double left = first - samba__clock_seconds();
    return left > 0 ? left : 0;
}

static void wait_for_work(samba__scheduler *s)
{
    double seconds = until_deadline(s);
    if (seconds < 0)
        uv_cond_wait(&s->work, &s->lock);
    else
        uv_cond_timedwait(&s->work, &s->lock, (uint64_t)(seconds * 1e9) + 1000000);
}

/* Unlinks the streams that the thread has nothing to do with any more. Returns them. */
static samba_stream *take_closed(samba__scheduler *s)
{
    samba_stream *gone = NULL, *last = NULL;
    for (samba_stream **at = &s->first; *at;) {
        samba_stream *st = *at;
        if (st->closed) {
            *at = st->next;
            st->next = gone;
            gone = st;
        } else {
            last = st;
            at = &st->next;
        }
    }
    s->last = last;
    return gone;
}

static void let_go(samba_stream *gone)
{
    while (gone) {
        samba_stream *next = gone->next;
        samba__stream_drop_work(gone);
        samba__stream_release(gone);
        gone = next;
    }
}

/* One round; false if there was nothing to do. Called and left with the lock held, which has been
 * let go meanwhile if the result is true. */
static bool round_of_work(samba__scheduler *s)
{
    double start = samba__clock_seconds(), drawing, passing = 0;
    samba_stream *gone = take_closed(s), *wakes = samba__scheduler_expire(s);
    samba__scheduler_gather(s);
    if (!gone && !wakes && !s->n_ready && !s->guests)
        return false;
    uv_mutex_unlock(&s->lock);
    if (wakes)
        samba__stream_notify(wakes);
    let_go(gone);
    drawing = samba__clock_seconds();
    samba__scheduler_draw(s);
    drawing = samba__clock_seconds() - drawing;
    samba__scheduler_compose(s);
    uint32_t n_rows = samba__scheduler_rows(s);
    if (n_rows)
        passing = samba__scheduler_run(s);
    uv_mutex_lock(&s->lock);
    samba__scheduler_release_guests(s, !atomic_load(&s->n_running));
    s->stats.n_passes += n_rows != 0;
    s->stats.n_rows += n_rows;
    s->stats.pass_seconds += passing;
    s->stats.draw_seconds += drawing;
    s->stats.overhead_seconds += samba__clock_seconds() - start - passing - drawing;
    return true;
}

static void run(void *arg)
{
    samba__scheduler *s = arg;
    uv_mutex_lock(&s->lock);
    while (!s->stop)
        if (!round_of_work(s) && !s->stop)
            wait_for_work(s);
    atomic_store(&s->n_running, 0);
    s->stats.n_running = s->stats.n_waiting = 0;
    samba__scheduler_release_guests(s, true);
    samba_stream *gone = take_closed(s);
    uv_mutex_unlock(&s->lock);
    let_go(gone);
}

/* ---------------------------------------------------------------- streams come and go */

/* Under the lock, which the thread may still need; others who want it joined wait meanwhile. */
static void join(samba__scheduler *s)
{
    s->joining = true;
    uv_mutex_unlock(&s->lock);
    uv_thread_join(&s->thread);
    uv_mutex_lock(&s->lock);
    s->joining = false;
    atomic_store(&s->pid, 0);
    uv_cond_broadcast(&s->changed);
}

/* Under the lock. */
static samba_status start_thread(samba__scheduler *s, samba_error **error)
{
    while (s->joining)
        uv_cond_wait(&s->changed, &s->lock);
    if (s->to_join) {
        s->to_join = false;
        join(s);
    }
    if (atomic_load(&s->pid))
        return SAMBA_OK;
    s->stop = false;
    atomic_store(&s->abort.requested, 0);
    int status = uv_thread_create(&s->thread, run, s);
    if (status)
        return samba__fail(s->alloc, error, SAMBA_ERROR_BACKEND,
                           "no thread for streams can be started: %s", uv_strerror(status));
    atomic_store(&s->pid, (int)uv_os_getpid());
    return SAMBA_OK;
}

samba_status samba__scheduler_open(samba__scheduler *s, samba_stream *stream, samba_error **error)
{
    uv_mutex_lock(&s->lock);
    samba_status status = start_thread(s, error);
    if (status == SAMBA_OK) {
        samba__refs_take(&stream->refs);
        if (s->last)
            s->last->next = stream;
        else
            s->first = stream;
        s->last = stream;
        s->n_open++;
        uv_cond_signal(&s->work);
    }
    uv_mutex_unlock(&s->lock);
    return status;
}

void samba__scheduler_close(samba__scheduler *s)
{
    uv_thread_t self = uv_thread_self();
    uv_cond_signal(&s->work);
    if (--s->n_open)
        return;
    s->stop = true;
    atomic_store(&s->abort.requested, 1);
    if (uv_thread_equal(&self, &s->thread)) {
        s->to_join = true;
        return;
    }
    join(s);
}

bool samba__scheduler_share(samba__scheduler *s, samba__guest *guest)
{
    if (!s || !atomic_load(&s->n_running))
        return false;
    uv_mutex_lock(&s->lock);
    bool joins = atomic_load(&s->n_running) && !s->stop;
    if (joins) {
        guest->released = false;
        guest->next = s->arrived;
        s->arrived = guest;
        uv_cond_signal(&s->work);
        while (!guest->released)
            uv_cond_wait(&s->changed, &s->lock);
    }
    uv_mutex_unlock(&s->lock);
    return joins;
}

/* ---------------------------------------------------------------- limits and figures */

samba_status samba__scheduler_set_limits(samba_model *model, const samba_stream_limits *limits,
                                         samba_error **error)
{
    samba__scheduler *s = NULL;
    samba_stream_limits l = *limits;
    l.max_gap_ms = l.max_gap_ms ? l.max_gap_ms : MAX_GAP_MS;
    l.rows_per_pass = l.rows_per_pass ? l.rows_per_pass : ROWS_PER_PASS;
    if (l.rows_per_pass > SAMBA__SHARED_ROWS)
        return samba__fail(model->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "rows_per_pass is %u, at most %d are possible", l.rows_per_pass,
                           SAMBA__SHARED_ROWS);
    SAMBA__TRY(samba__scheduler_of(model, &s, error));
    SAMBA__TRY(samba__scheduler_check(s, error));
    uv_mutex_lock(&s->lock);
    s->limits = l;
    uv_cond_signal(&s->work);
    uv_mutex_unlock(&s->lock);
    return SAMBA_OK;
}

samba_status samba__scheduler_get_stats(const samba_model *model, samba_stream_stats *stats,
                                        samba_error **error)
{
    samba__scheduler *s = samba__model_scheduler(model);
    *stats = (samba_stream_stats){.struct_size = sizeof *stats};
    if (!s)
        return SAMBA_OK;
    SAMBA__TRY(samba__scheduler_check(s, error));
    uv_mutex_lock(&s->lock);
    *stats = s->stats;
    stats->n_open = s->n_open;
    uv_mutex_unlock(&s->lock);
    return SAMBA_OK;
}
