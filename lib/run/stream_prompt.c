/*
 * The prompt of a stream. With a prefix cache it is looked up by the thread that starts the stream,
 * files included, so that the runner begins behind what is known; then it is read in stretches,
 * each up to a position to be stored. Storing happens on the scheduler's thread and touches no
 * file.
 */
#include "run/stream.h"

#include <string.h>

/* Everything from position 0 on, which the cache asks for and its images share. */
static samba_status copy_all(samba_stream *st, const samba_session *s, const samba_token *prompt,
                             size_t n, samba_error **error)
{
    samba__prefix_reading *r = &st->reading;
    samba__history_init(&r->history, st->alloc, s->history.n + n);
    SAMBA__TRY(
        samba__history_stage(&r->history, samba__history_tokens(&s->history), s->history.n, error));
    samba__history_commit(&r->history, s->history.n);
    SAMBA__TRY(samba__history_stage(&r->history, prompt, n, error));
    samba__history_commit(&r->history, n);
    r->from = samba__session_position(s);
    r->needs_logits = true;
    r->key = (samba__prefix_key){.kv_dtype = s->sequence.layout->kv_dtype,
                                 .tokens = samba__history_tokens(&r->history),
                                 .n = r->history.n};
    return SAMBA_OK;
}

samba_status samba__stream_prompt_copy(samba_stream *st, const samba_session *s,
                                       const samba_token *tokens, size_t n, samba_error **error)
{
    st->n_prompt = n;
    if (st->reading.cache)
        return copy_all(st, s, tokens, n, error);
    st->prompt = samba__alloc_array(st->alloc, n, sizeof *st->prompt);
    if (!st->prompt)
        return samba__fail_oom(error);
    if (n)
        memcpy(st->prompt, tokens, n * sizeof *tokens);
    return SAMBA_OK;
}

/* The runner goes to the longest beginning that is known; *stop is where to read to first. */
static void look_up(samba_stream *st, size_t *stop)
{
    samba__prefix_reading *r = &st->reading;
    samba__image *image = NULL;
    samba__prefix_reading_find(r, st->runner->sequence.layout, &image);
    if (image)
        samba__session_place(st->runner, image);
    samba__image_release(image);
    *stop = samba__prefix_reading_stop(r, (size_t)r->report.restored);
}

samba_status samba__stream_prompt_begin(samba_stream *st, samba_error **error)
{
    const samba__prefix_reading *r = &st->reading;
    size_t n = st->n_prompt, stop;
    const samba_token *tokens = st->prompt;
    if (r->cache) {
        look_up(st, &stop);
        tokens = r->key.tokens + r->report.restored;
        n = stop - (size_t)r->report.restored;
    }
    st->prompt_done = st->n_prompt == 0;
    st->phase = st->n_prompt ? SAMBA__STREAM_PROMPT : SAMBA__STREAM_DRAW;
    if (!st->n_prompt)
        return SAMBA_OK;
    st->request = (samba__request){.session = st->runner,
                                   .tokens = tokens,
                                   .n_tokens = n,
                                   .outputs = SAMBA_OUTPUT_LAST,
                                   .priority = st->priority};
    return n ? samba__request_output(&st->request, error) : SAMBA_OK;
}

/* Under the lock the report is anybody's. */
static void store_here(samba_stream *st)
{
    bool stored = samba__prefix_reading_store(&st->reading, st->runner);
    uv_mutex_lock(&st->scheduler->lock);
    st->reading.report.stored += stored;
    uv_mutex_unlock(&st->scheduler->lock);
}

samba_status samba__stream_prompt_next(samba_stream *st, bool *more, samba_error **error)
{
    samba__prefix_reading *r = &st->reading;
    samba__request *q = &st->request;
    size_t at = (size_t)samba__session_position(st->runner);
    *more = r->cache && at < r->key.n;
    if (!r->cache)
        return SAMBA_OK;
    if (q->n_tokens)
        store_here(st);
    if (*more) {
        q->tokens += q->n_tokens;
        q->n_tokens = samba__prefix_reading_stop(r, at) - at;
        q->done = 0;
        return samba__request_output(q, error);
    }
    samba__prefix_reading_count(r);
    samba__prefix_cache_release(r->cache);
    r->cache = NULL;
    return SAMBA_OK;
}

samba_status samba__stream_prefix_report(const samba_stream *st, samba_prefix_report *report,
                                         samba_error **error)
{
    SAMBA__TRY(samba__scheduler_check(st->scheduler, error));
    uv_mutex_lock(&st->scheduler->lock);
    *report = st->reading.report;
    uv_mutex_unlock(&st->scheduler->lock);
    if (report->struct_size)
        return SAMBA_OK;
    return samba__fail(st->alloc, error, SAMBA_ERROR_STATE,
                       "the stream was started without a prefix cache");
}

void samba__stream_prompt_free(samba_stream *st)
{
    samba__prefix_cache_release(st->reading.cache);
    samba__history_free(&st->reading.history);
    samba__free(st->alloc, st->prompt);
}
