/*
 * A stream's work on the scheduler's thread: drawing tokens, and what comes of a token that has
 * been fed. Whatever fails here ends the stream alone; what its queue holds is still delivered.
 */
#include "run/generate.h"
#include "run/stream.h"

#include <string.h>

/* Under the lock: whether what the runner gives is still wanted. */
static bool counts(const samba_stream *st)
{
    return !st->end.reason && !st->suspended && !st->closed && !st->next_runner;
}

static void finish(samba_stream *st, samba__stream_end end)
{
    bool wake = false;
    uv_mutex_lock(&st->scheduler->lock);
    if (counts(st)) {
        samba__stream_finish(st, &end);
        wake = samba__stream_ready(st);
    } else {
        samba_error_free(end.error);
    }
    uv_mutex_unlock(&st->scheduler->lock);
    samba__stream_drop_work(st);
    if (wake)
        samba__stream_notify(st);
}

static void fail(samba_stream *st, samba_status status, samba_error *error)
{
    finish(st, (samba__stream_end){.reason = SAMBA_STOP_ERROR,
                                   .stop_token = -1,
                                   .stop_string = -1,
                                   .status = status,
                                   .error = error});
}

/* Hands out what is settled. */
static void publish(samba_stream *st, samba__stream_queue *out)
{
    samba__stream_entry *e;
    bool wake = false;
    if (!out->n)
        return;
    uv_mutex_lock(&st->scheduler->lock);
    if (counts(st)) {
        while ((e = samba__stream_queue_pop(out)))
            samba__stream_queue_push(&st->queue, e);
        wake = samba__stream_ready(st);
    }
    uv_mutex_unlock(&st->scheduler->lock);
    samba__stream_queue_clear(out);
    if (wake)
        samba__stream_notify(st);
}

/* The text has ended by itself: nothing held can become a stop string any more. */
static void end_text(samba_stream *st, samba__stream_end end)
{
    publish(st, &st->held);
    finish(st, end);
}

void samba__stream_drop_work(samba_stream *st)
{
    samba__stream_entry_free(st->drawn);
    st->drawn = NULL;
    samba__stream_queue_clear(&st->held);
    if (!st->runner)
        return;
    samba__request_drop_output(&st->request);
    samba_error_free(st->request.error);
    st->request = (samba__request){0};
    samba__session_free(st->runner);
    st->runner = NULL;
}

/* ---------------------------------------------------------------- drawing */

static bool is_stop(const samba_stream *st, samba_token token)
{
    if (!st->ignore_eos && token == st->model->eos)
        return true;
    for (size_t i = 0; i < st->n_stop_tokens; i++)
        if (token == st->stop_tokens[i])
            return true;
    return false;
}

/* One that was delivered, or a new one. What its image held serves the pass to come. */
static samba__stream_entry *make_entry(samba_stream *st)
{
    const size_t n_top = st->n_top;
    uv_mutex_lock(&st->scheduler->lock);
    samba__stream_entry *e = samba__stream_queue_pop(&st->spent);
    uv_mutex_unlock(&st->scheduler->lock);
    if (!e) {
        e = samba__calloc(st->alloc, 1, sizeof *e + n_top * sizeof(samba_logprob));
        if (e)
            *e = (samba__stream_entry){.alloc = st->alloc, .n_top = n_top};
        return e;
    }
    samba__session_recycle(st->runner, e->image);
    e->image = NULL;
    return e;
}

static samba_status draw(samba_stream *st, samba__stream_entry **entry, samba_error **error)
{
    samba_session *r = st->runner;
    const float *logits = NULL;
    samba__stream_entry *e = make_entry(st);
    const samba__draw from = {.branch = st->branch, .user_data = st->user_data};
    samba_status status;
    if (!e)
        return samba__fail_oom(error);
    e->position = samba__session_position(r);
    SAMBA__TRY_GOTO(samba__session_sample(r, st->sampler, &from, &e->token, &e->logprob, error));
    if (e->n_top) {
        SAMBA__TRY_GOTO(samba__session_logits(r, SAMBA_ROW_LAST, &logits, error));
        SAMBA__TRY_GOTO(samba__session_top(r, logits, e->n_top, e->top, error));
    }
    *entry = e;
    return SAMBA_OK;
fail:
    samba__stream_entry_free(e);
    return status;
}

void samba__stream_draw(samba_stream *st)
{
    samba_error *error = NULL;
    samba__stream_entry *e = NULL;
    if (st->at.n_tokens >= st->max_tokens) {
        end_text(st, (samba__stream_end){
                         .reason = SAMBA_STOP_LENGTH, .stop_token = -1, .stop_string = -1});
        return;
    }
    samba_status status = draw(st, &e, &error);
    if (status == SAMBA_OK && is_stop(st, e->token)) {
        samba_token token = e->token;
        samba__stream_entry_free(e);
        end_text(st, (samba__stream_end){
                         .reason = SAMBA_STOP_TOKEN, .stop_token = token, .stop_string = -1});
        return;
    }
    if (status == SAMBA_OK) {
        st->drawn = e;
        st->request = (samba__request){.session = st->runner,
                                       .tokens = &e->token,
                                       .n_tokens = 1,
                                       .outputs = SAMBA_OUTPUT_LAST,
                                       .priority = st->priority};
        st->phase = SAMBA__STREAM_FEED;
        status = samba__request_output(&st->request, &error);
    }
    if (status != SAMBA_OK)
        fail(st, status, error);
}

/* ---------------------------------------------------------------- after a pass */

/* The prompt has been read: the session follows, unless the stream is suspended; then later. */
static samba_status end_prompt(samba_stream *st, samba_error **error)
{
    samba__image *image = NULL;
    bool follows;
    SAMBA__TRY(samba__session_image(st->runner, &image, error));
    st->at.begins_text = samba__session_begins_text(st->runner);
    uv_mutex_lock(&st->scheduler->lock);
    follows = counts(st);
    if (follows) {
        samba__stream_follow(st, image);
        st->place = st->at;
        st->prompt_done = true;
    }
    uv_mutex_unlock(&st->scheduler->lock);
    samba__image_release(image);
    if (follows)
        st->phase = SAMBA__STREAM_DRAW;
    return SAMBA_OK;
}

static samba_status end_token(samba_stream *st, int32_t *stop_string, samba_error **error)
{
    samba__stream_queue out = {0};
    samba__stream_entry *e = st->drawn;
    SAMBA__TRY(samba__session_image(st->runner, &e->image, error));
    samba_status status = samba__stream_settle(st, e, &out, stop_string, error);
    if (status != SAMBA_OK)
        return status;
    st->drawn = NULL;
    publish(st, &out);
    st->phase = SAMBA__STREAM_DRAW;
    return SAMBA_OK;
}

void samba__stream_advance(samba_stream *st)
{
    samba_error *error = NULL;
    int32_t stop_string = -1;
    bool more = false;
    samba__request *q = &st->request;
    samba_status status = q->status;
    if (status != SAMBA_OK) {
        error = q->error;
        q->error = NULL;
        fail(st, status, error);
        return;
    }
    if (q->done < q->n_tokens)
        return;
    if (st->phase == SAMBA__STREAM_PROMPT)
        status = samba__stream_prompt_next(st, &more, &error);
    if (status == SAMBA_OK && !more)
        status = st->phase == SAMBA__STREAM_PROMPT ? end_prompt(st, &error)
                                                   : end_token(st, &stop_string, &error);
    if (status != SAMBA_OK)
        fail(st, status, error);
    else if (stop_string >= 0)
        finish(st, (samba__stream_end){
                       .reason = SAMBA_STOP_STRING, .stop_token = -1, .stop_string = stop_string});
}
