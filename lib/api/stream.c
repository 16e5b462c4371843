/* Streams at the boundary: checks arguments, completes option structs, delegates to run/. */
#include "run/stream.h"
#include "api/options.h"

static samba_status refuse(samba_error **error, const char *what)
{
    return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL",
                       what);
}

/* ---------------------------------------------------------------- starting */

static samba_status check_switch(const samba_session *s, const char *name, int32_t value,
                                 samba_error **error)
{
    if (value >= 0 && value <= SAMBA_NO)
        return SAMBA_OK;
    return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is %d, known are 0 to %d",
                       name, value, SAMBA_NO);
}

static samba_status read_options(const samba_session *s, const samba_stream_options *options,
                                 samba_stream_options *o, samba_error **error)
{
    SAMBA__TRY(samba__options_read(s->alloc, options, sizeof *o, o, sizeof *o,
                                   "samba_stream_options", error));
    if ((o->n_prompt && !o->prompt) || (o->n_stop_tokens && !o->stop_tokens) ||
        (o->n_stop_strings && !o->stop_strings) || (o->text_size && !o->text))
        return refuse(error, o->n_prompt && !o->prompt               ? "prompt"
                             : o->n_stop_tokens && !o->stop_tokens   ? "stop_tokens"
                             : o->n_stop_strings && !o->stop_strings ? "stop_strings"
                                                                     : "text");
    SAMBA__TRY(check_switch(s, "ignore_eos", o->ignore_eos, error));
    return check_switch(s, "skip_special", o->skip_special, error);
}

samba_status samba_stream_start(samba_session *session, samba_sampler *sampler,
                                const samba_stream_options *options, samba_stream **stream,
                                samba_error **error)
{
    samba_stream_options o;
    if (!session || !stream)
        return refuse(error, session ? "stream" : "session");
    SAMBA__TRY(read_options(session, options, &o, error));
    const samba__stream_waker waker = {o.on_ready, o.user_data};
    return samba__stream_start(session, sampler, &o, &waker, stream, error);
}

samba_status samba_stream_start_uv(samba_session *session, samba_sampler *sampler,
                                   const samba_stream_options *options, struct uv_loop_s *loop,
                                   samba_stream_fn on_event, samba_stream **stream,
                                   samba_error **error)
{
    samba_stream_options o;
    if (!session || !loop || !on_event || !stream)
        return refuse(error, !session    ? "session"
                             : !loop     ? "loop"
                             : !on_event ? "on_event"
                                         : "stream");
    SAMBA__TRY(read_options(session, options, &o, error));
    if (o.on_ready)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "on_ready is set, events come to on_event");
    const samba__stream_listener listener = {
        .loop = loop, .on_event = on_event, .user_data = o.user_data};
    return samba__stream_start_uv(session, sampler, &o, &listener, stream, error);
}

/* ---------------------------------------------------------------- reading and ending */

samba_status samba_stream_next(samba_stream *stream, uint64_t timeout_ms, samba_stream_event *event,
                               samba_error **error)
{
    samba_stream_event e;
    if (!stream || !event)
        return refuse(error, stream ? "event" : "stream");
    if (event->struct_size < sizeof event->struct_size)
        return samba__fail(stream->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "samba_stream_event.struct_size is %zu", event->struct_size);
    SAMBA__TRY(samba__stream_next(stream, timeout_ms, &e, error));
    return samba__output_write(stream->alloc, event, &e, sizeof e, "samba_stream_event", error);
}

samba_status samba_stream_try_next(samba_stream *stream, samba_stream_event *event,
                                   samba_error **error)
{
    return samba_stream_next(stream, 0, event, error);
}

void samba_stream_cancel(samba_stream *stream)
{
    if (stream)
        samba__stream_cancel(stream);
}

void samba_stream_close(samba_stream *stream)
{
    samba__stream_close(stream);
}

samba_status samba_stream_get_prefix_report(const samba_stream *stream, samba_prefix_report *report,
                                            samba_error **error)
{
    samba_prefix_report now;
    if (!stream)
        return refuse(error, "stream");
    SAMBA__TRY(samba__stream_prefix_report(stream, &now, error));
    return samba__output_write(stream->alloc, report, &now, sizeof now, "samba_prefix_report",
                               error);
}

samba_status samba_stream_suspend(samba_stream *stream, samba_snapshot **snapshot,
                                  samba_error **error)
{
    return stream ? samba__stream_suspend(stream, snapshot, error) : refuse(error, "stream");
}

samba_status samba_stream_resume(samba_stream *stream, samba_error **error)
{
    return stream ? samba__stream_resume(stream, error) : refuse(error, "stream");
}

/* ---------------------------------------------------------------- the model's */

samba_status samba_model_set_stream_limits(samba_model *model, const samba_stream_limits *limits,
                                           samba_error **error)
{
    samba_stream_limits l;
    if (!model)
        return refuse(error, "model");
    SAMBA__TRY(samba__options_read(model->alloc, limits, sizeof l, &l, sizeof l,
                                   "samba_stream_limits", error));
    return samba__scheduler_set_limits(model, &l, error);
}

samba_status samba_model_get_stream_stats(const samba_model *model, samba_stream_stats *stats,
                                          samba_error **error)
{
    samba_stream_stats now;
    if (!model || !stats)
        return refuse(error, model ? "stats" : "model");
    SAMBA__TRY(samba__scheduler_get_stats(model, &now, error));
    return samba__output_write(model->alloc, stats, &now, sizeof now, "samba_stream_stats", error);
}
