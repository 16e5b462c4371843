/* A stream's life, and what its reader sees; see stream.h. */
#include "run/stream.h"
#include "base/cpu.h"
#include "run/generate.h"
#include "run/rewind.h"

#include <string.h>

enum {
    MAX_TOKENS = 256,
    QUEUE_DEPTH = 8,
    PRIORITY_MOST = 100
};

/* ---------------------------------------------------------------- starting */

static samba_status check_options(const samba_session *s, const samba_stream_options *o,
                                  samba_error **error)
{
    if (o->priority < 0 || o->priority > PRIORITY_MOST)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "priority is %d, 1 to %d are possible", o->priority, PRIORITY_MOST);
    if (o->n_prompt && o->text)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "the prompt is given as %zu tokens and as text", o->n_prompt);
    const samba_generate_options g = {.top_logprobs = o->top_logprobs,
                                      .stop_tokens = o->stop_tokens,
                                      .n_stop_tokens = o->n_stop_tokens};
    SAMBA__TRY(samba__generate_check(s, &g, error));
    if (o->prefix_cache) {
        SAMBA__TRY(samba__prefix_cache_check(o->prefix_cache, s, error));
        SAMBA__TRY(samba__prefix_cache_check_history(o->prefix_cache, s, error));
    }
    return samba__check_tokens(s->model, o->prompt, o->n_prompt, error);
}

/* Tokens to be fed first, of either kind; there must be something to draw from afterwards. */
static samba_status copy_prompt(samba_stream *st, samba_session *s, const samba_stream_options *o,
                                samba_error **error)
{
    const samba_token *tokens = o->prompt;
    const float *logits = NULL;
    size_t n = o->n_prompt;
    if (o->text) {
        size_t size = o->text_size == SIZE_MAX ? strlen(o->text) : o->text_size;
        SAMBA__TRY(samba__session_encode(s, o->text, size, error));
        tokens = s->scratch->ids.ids;
        n = s->scratch->ids.n;
    }
    if (!n)
        SAMBA__TRY(samba__session_logits(s, SAMBA_ROW_LAST, &logits, error));
    return samba__stream_prompt_copy(st, s, tokens, n, error);
}

static samba_status copy_stop_tokens(samba_stream *st, const samba_stream_options *o,
                                     samba_error **error)
{
    size_t n = o->n_stop_tokens;
    st->stop_tokens = samba__alloc_array(st->alloc, n, sizeof *st->stop_tokens);
    if (!st->stop_tokens)
        return samba__fail_oom(error);
    if (n)
        memcpy(st->stop_tokens, o->stop_tokens, n * sizeof *st->stop_tokens);
    st->n_stop_tokens = n;
    return SAMBA_OK;
}

/* What the stream may come to hold by itself. */
static uint64_t bytes_needed(const samba_stream *st, const samba_session *s)
{
    const samba__layout *l = s->sequence.layout;
    uint64_t tokens = st->max_tokens < SAMBA__POSITION_END ? st->max_tokens : SAMBA__POSITION_END;
    uint64_t end = samba__session_position(s) + st->n_prompt + tokens;
    uint64_t bytes = (st->depth + 1) * sizeof(float) * st->model->n_vocab;
    for (uint32_t i = 0; i < l->n_slab_slots; i++)
        bytes += (st->depth + 3) * l->slabs[i].bytes;
    for (uint32_t i = 0; i < l->n_page_slots; i++) {
        uint64_t n = samba__layout_n_pages(l, end), limit = samba__layout_page_limit(l, i);
        bytes += (l->pages[i].window && limit < n ? limit : n) * l->pages[i].kind.bytes;
    }
    return bytes;
}

static void take_options(samba_stream *st, const samba_stream_options *o)
{
    st->max_tokens = o->max_tokens ? o->max_tokens : MAX_TOKENS;
    st->branch = o->branch;
    st->ignore_eos = o->ignore_eos == SAMBA_YES;
    st->skip_special = o->skip_special != SAMBA_NO;
    st->n_top = o->top_logprobs < st->model->n_vocab ? o->top_logprobs : st->model->n_vocab;
    st->depth = o->queue_depth ? o->queue_depth : QUEUE_DEPTH;
    st->priority = o->priority ? o->priority : SAMBA__PRIORITY;
    if (o->deadline_ms)
        st->deadline = samba__clock_seconds() + (double)o->deadline_ms * 1e-3;
    st->user_data = o->user_data;
    st->wants_wake = true;
    if (o->prefix_cache)
        st->reading.cache = samba__prefix_cache_retain(o->prefix_cache);
}

static samba_status check_need(const samba_stream *st, samba_error **error)
{
    uv_mutex_lock(&st->scheduler->lock);
    uint64_t limit = st->scheduler->limits.max_state_bytes;
    uv_mutex_unlock(&st->scheduler->lock);
    if (!limit || st->need_bytes <= limit)
        return SAMBA_OK;
    return samba__fail(st->alloc, error, SAMBA_ERROR_LIMIT,
                       "the stream may need %llu bytes, max_state_bytes of the model's streams is "
                       "%llu",
                       (unsigned long long)st->need_bytes, (unsigned long long)limit);
}

/* The runner goes where the session has yet to go: checkpoints are the session's to take. */
static samba_status clone_runner(const samba_session *session, samba_session **runner,
                                 samba_error **error)
{
    SAMBA__TRY(samba__session_clone(session, runner, error));
    samba__checkpoints_clear(&(*runner)->checkpoints);
    (*runner)->checkpoints.budget = 0;
    return SAMBA_OK;
}

static samba_status prepare(samba_stream *st, samba_session *session, const samba_stream_options *o,
                            samba_error **error)
{
    SAMBA__TRY(samba__scheduler_of(st->model, &st->scheduler, error));
    take_options(st, o);
    SAMBA__TRY(copy_prompt(st, session, o, error));
    SAMBA__TRY(copy_stop_tokens(st, o, error));
    SAMBA__TRY(
        samba__stop_strings_init(&st->stops, st->alloc, o->stop_strings, o->n_stop_strings, error));
    st->need_bytes = bytes_needed(st, session);
    SAMBA__TRY(check_need(st, error));
    SAMBA__TRY(clone_runner(session, &st->runner, error));
    st->at.begins_text = st->place.begins_text = samba__session_begins_text(st->runner);
    return samba__stream_prompt_begin(st, error);
}

samba_status samba__stream_start(samba_session *session, samba_sampler *sampler,
                                 const samba_stream_options *options,
                                 const samba__stream_waker *waker, samba_stream **stream,
                                 samba_error **error)
{
    samba_status status;
    SAMBA__TRY(samba__scheduler_check(samba__model_scheduler(session->model), error));
    SAMBA__TRY(samba__session_check_idle(session, error));
    SAMBA__TRY(check_options(session, options, error));
    samba_stream *st = samba__calloc(session->alloc, 1, sizeof *st);
    if (!st)
        return samba__fail_oom(error);
    if (uv_cond_init(&st->changed)) {
        samba__free(session->alloc, st);
        return samba__fail_oom(error);
    }
    samba__refs_init(&st->refs);
    st->alloc = session->alloc;
    st->model = samba__model_retain(session->model);
    st->sampler = samba__sampler_retain(sampler);
    st->session = session;
    st->waker = *waker;
    SAMBA__TRY_GOTO(prepare(st, session, options, error));
    atomic_store(&session->stream, st);
    status = samba__scheduler_open(st->scheduler, st, error);
    if (status != SAMBA_OK) {
        atomic_store(&session->stream, NULL);
        goto fail;
    }
    *stream = st;
    return SAMBA_OK;
fail:
    st->session = NULL; /* the host's all along */
    samba__stream_drop_work(st);
    samba__stream_release(st);
    return status;
}

/* ---------------------------------------------------------------- ending */

void samba__stream_release(samba_stream *st)
{
    if (!st || !samba__refs_drop(&st->refs))
        return;
    samba_model *model = st->model;
    SAMBA__INVARIANT(!st->runner && !st->session);
    samba__session_free(st->next_runner);
    samba__stream_queue_clear(&st->queue);
    samba__stream_queue_clear(&st->spent);
    samba__stream_entry_free(st->taken);
    samba_error_free(st->end.error);
    samba__stop_strings_free(&st->stops);
    samba__stream_prompt_free(st);
    samba__free(st->alloc, st->stop_tokens);
    samba__sampler_release(st->sampler);
    uv_cond_destroy(&st->changed);
    samba__free(st->alloc, st);
    samba__model_release(model);
}

void samba__stream_finish(samba_stream *st, samba__stream_end *end)
{
    if (st->end.reason) {
        samba_error_free(end->error);
        return;
    }
    st->end = *end;
    samba__stream_queue_clear(&st->spent);
}

/* Under the lock: the session is the host's again. */
static void let_session_go(samba_stream *st)
{
    if (st->session)
        atomic_store(&st->session->stream, NULL);
    st->session = NULL;
}

void samba__stream_forget(samba_session *session)
{
    samba__scheduler *s = samba__model_scheduler(session->model);
    if (!samba__session_stream(session) || samba__scheduler_check(s, NULL) != SAMBA_OK)
        return;
    uv_mutex_lock(&s->lock);
    samba_stream *st = samba__session_stream(session);
    if (st)
        let_session_go(st);
    uv_mutex_unlock(&s->lock);
}

void samba__stream_cancel(samba_stream *st)
{
    samba__stream_end end = {.reason = SAMBA_STOP_CANCELLED, .stop_token = -1, .stop_string = -1};
    samba__stream_queue dropped = {0};
    if (samba__scheduler_check(st->scheduler, NULL) != SAMBA_OK)
        return;
    uv_mutex_lock(&st->scheduler->lock);
    bool wake = false;
    if (!st->done_delivered && (!st->end.reason || st->queue.n)) {
        dropped = st->queue;
        st->queue = (samba__stream_queue){0};
        samba_error_free(st->end.error);
        st->end = end;
        samba__stream_queue_clear(&st->spent);
        wake = samba__stream_ready(st);
        uv_cond_signal(&st->scheduler->work);
    }
    uv_mutex_unlock(&st->scheduler->lock);
    samba__stream_queue_clear(&dropped);
    if (wake)
        samba__stream_notify(st);
}

void samba__stream_close(samba_stream *st)
{
    samba__stream_queue dropped;
    uv_thread_t self = uv_thread_self();
    if (!st || samba__scheduler_check(st->scheduler, NULL) != SAMBA_OK)
        return;
    samba_model *model = samba__model_retain(st->model);
    samba__scheduler *s = st->scheduler;
    uv_mutex_lock(&s->lock);
    while (st->notifying && !uv_thread_equal(&self, &st->notifier))
        uv_cond_wait(&st->changed, &s->lock);
    st->closed = true;
    dropped = st->queue;
    st->queue = (samba__stream_queue){0};
    let_session_go(st);
    samba__scheduler_close(s);
    uv_mutex_unlock(&s->lock);
    samba__stream_queue_clear(&dropped);
    samba__stream_uv_close(st->uv);
    samba__stream_release(st);
    samba__model_release(model);
}

/* ---------------------------------------------------------------- waking */

bool samba__stream_ready(samba_stream *st)
{
    uv_cond_broadcast(&st->changed);
    if (!st->wants_wake || !st->waker.fn || (!st->queue.n && !st->end.reason))
        return false;
    st->wants_wake = false;
    return true;
}

void samba__stream_notify(samba_stream *st)
{
    samba__scheduler *s = st->scheduler;
    uv_mutex_lock(&s->lock);
    while (st->notifying)
        uv_cond_wait(&st->changed, &s->lock);
    bool calls = !st->closed;
    if (calls) {
        st->notifying = true;
        st->notifier = uv_thread_self();
        samba__refs_take(&st->refs);
    }
    uv_mutex_unlock(&s->lock);
    if (!calls)
        return;
    st->waker.fn(st->waker.arg);
    uv_mutex_lock(&s->lock);
    st->notifying = false;
    uv_cond_broadcast(&st->changed);
    uv_mutex_unlock(&s->lock);
    samba__stream_release(st);
}

/* ---------------------------------------------------------------- taking */

void samba__stream_follow(samba_stream *st, samba__image *image)
{
    if (st->session)
        samba__session_follow(st->session, image);
}

/* Under the lock: waits until there is something to take, or the time is over. */
static void wait_ready(samba_stream *st, uint64_t timeout_ms)
{
    double end = samba__clock_seconds() + (double)timeout_ms * 1e-3;
    while (!st->queue.n && !st->end.reason && timeout_ms) {
        if (timeout_ms == SAMBA_WAIT_FOREVER || timeout_ms > (uint64_t)1 << 40) {
            uv_cond_wait(&st->changed, &st->scheduler->lock);
            continue;
        }
        double left = end - samba__clock_seconds();
        if (left <= 0)
            return;
        (void)uv_cond_timedwait(&st->changed, &st->scheduler->lock, (uint64_t)(left * 1e9) + 1);
    }
}

/* Under the lock: the session stands elsewhere by now. Returns it if it is of no more use. */
static samba__stream_entry *give_back(samba_stream *st, samba__stream_entry *taken)
{
    if (!taken || st->end.reason || st->suspended)
        return taken;
    samba__stream_queue_push(&st->spent, taken);
    return NULL;
}

/* Under the lock. The session moves on; who takes the last place in the queue wakes the thread. */
static void take_token(samba_stream *st, samba_stream_event *event)
{
    samba__stream_entry *e = samba__stream_queue_pop(&st->queue);
    if (st->queue.n + 1 == st->depth)
        uv_cond_signal(&st->scheduler->work);
    samba__stream_follow(st, e->image);
    st->place = e->place;
    st->taken = e;
    event->kind = SAMBA_STREAM_TOKEN;
    event->token = e->token;
    event->logprob = e->logprob;
    event->position = e->position;
    event->text = e->text;
    event->text_size = e->text_size;
    event->top = e->top;
    event->n_top = e->n_top;
}

static void take_end(samba_stream *st, samba_stream_event *event)
{
    const samba__stream_end *end = &st->end;
    event->kind = SAMBA_STREAM_DONE;
    event->reason = end->reason;
    event->stop_token = end->stop_token;
    event->stop_string = end->stop_string;
    event->status = end->status;
    if (end->reason == SAMBA_STOP_ERROR)
        event->message =
            end->error ? samba_error_message(end->error) : samba_status_string(end->status);
    if (end->reason != SAMBA_STOP_STRING)
        event->text_size = samba__utf8_flush(&st->place.hold, st->rest);
    event->text = st->rest;
    event->position = st->session ? samba__session_position(st->session) : 0;
    st->done_delivered = true;
    let_session_go(st);
}

samba_status samba__stream_next(samba_stream *st, uint64_t timeout_ms, samba_stream_event *event,
                                samba_error **error)
{
    samba_stream_event e = {
        .struct_size = sizeof e, .text = "", .message = "", .stop_token = -1, .stop_string = -1};
    samba__stream_entry *old;
    SAMBA__TRY(samba__scheduler_check(st->scheduler, error));
    uv_mutex_lock(&st->scheduler->lock);
    if (st->done_delivered) {
        uv_mutex_unlock(&st->scheduler->lock);
        return samba__fail(st->alloc, error, SAMBA_ERROR_STATE, "the stream has ended");
    }
    wait_ready(st, timeout_ms);
    old = st->taken;
    if (st->queue.n || st->end.reason)
        st->taken = NULL;
    if (st->queue.n)
        take_token(st, &e);
    else if (st->end.reason)
        take_end(st, &e);
    else
        st->wants_wake = true;
    old = st->taken == old ? NULL : give_back(st, old);
    e.n_tokens = st->place.n_tokens;
    uv_mutex_unlock(&st->scheduler->lock);
    samba__stream_entry_free(old);
    *event = e;
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- suspending */

samba_status samba__stream_suspend(samba_stream *st, samba_snapshot **snapshot, samba_error **error)
{
    const samba_snapshot_options options = {.struct_size = sizeof options};
    samba__stream_queue dropped = {0};
    samba_session *session = NULL, *runner = NULL;
    bool running;
    SAMBA__TRY(samba__scheduler_check(st->scheduler, error));
    uv_mutex_lock(&st->scheduler->lock);
    running = !st->suspended && !st->done_delivered && (!st->end.reason || st->queue.n);
    session = st->session;
    if (running && !(snapshot && !session)) {
        st->suspended = true;
        samba__stream_queue_clear(&st->spent);
        runner = st->next_runner;
        st->next_runner = NULL;
        if (st->prompt_done) {
            dropped = st->queue;
            st->queue = (samba__stream_queue){0};
            samba_error_free(st->end.error);
            st->end = (samba__stream_end){0};
        }
        uv_cond_signal(&st->scheduler->work);
    }
    uv_mutex_unlock(&st->scheduler->lock);
    samba__stream_queue_clear(&dropped);
    samba__session_free(runner);
    if (!running || (snapshot && !session))
        return samba__fail(st->alloc, error, SAMBA_ERROR_STATE,
                           !running ? "the stream does not run" : "its session has been freed");
    if (!snapshot)
        return SAMBA_OK;
    samba_status status = samba__snapshot_take(session, &options, snapshot, error);
    if (status != SAMBA_OK)
        (void)samba__stream_resume(st, NULL);
    return status;
}

samba_status samba__stream_resume(samba_stream *st, samba_error **error)
{
    samba_session *runner = NULL;
    bool suspended, renews;
    SAMBA__TRY(samba__scheduler_check(st->scheduler, error));
    uv_mutex_lock(&st->scheduler->lock);
    suspended = st->suspended && !st->end.reason && st->session;
    renews = st->prompt_done;
    samba_session *session = st->session;
    uv_mutex_unlock(&st->scheduler->lock);
    if (!suspended)
        return samba__fail(st->alloc, error, SAMBA_ERROR_STATE,
                           "the stream is not suspended, or its session has been freed");
    if (renews)
        SAMBA__TRY(clone_runner(session, &runner, error));
    uv_mutex_lock(&st->scheduler->lock);
    st->next_runner = runner;
    st->suspended = false;
    uv_cond_signal(&st->scheduler->work);
    uv_mutex_unlock(&st->scheduler->lock);
    return SAMBA_OK;
}
