/*
 * Delivery on a host's libuv loop: its waker signals an async handle, and on the loop's thread all
 * there is gets taken. The handle outlives the stream until the loop has closed it.
 */
#include "run/stream.h"

typedef struct samba__stream_uv {
    uv_async_t async;
    samba__stream_listener listener;
    samba_context *context; /* retained, for the allocator */
    samba_stream *stream;   /* NULL: closed */
} delivery;

static void on_closed(uv_handle_t *handle)
{
    delivery *d = handle->data;
    samba_context *context = d->context;
    samba__free(samba__context_alloc(context), d);
    samba__context_release(context);
}

/* On the loop's thread. on_event may close the stream. */
static void deliver(uv_async_t *async)
{
    delivery *d = async->data;
    samba_stream_event event;
    while (d->stream && !d->stream->done_delivered &&
           samba__stream_next(d->stream, 0, &event, NULL) == SAMBA_OK && event.kind) {
        d->listener.on_event(d->listener.user_data, d->stream, &event);
    }
}

static void signal_loop(void *user_data)
{
    delivery *d = user_data;
    (void)uv_async_send(&d->async);
}

void samba__stream_uv_close(delivery *d)
{
    if (!d)
        return;
    d->stream = NULL;
    uv_close((uv_handle_t *)&d->async, on_closed);
}

samba_status samba__stream_start_uv(samba_session *session, samba_sampler *sampler,
                                    const samba_stream_options *options,
                                    const samba__stream_listener *listener, samba_stream **stream,
                                    samba_error **error)
{
    samba_context *context = session->model->context;
    delivery *d = samba__calloc(session->alloc, 1, sizeof *d);
    if (!d)
        return samba__fail_oom(error);
    int failed = uv_async_init(listener->loop, &d->async, deliver);
    if (failed) {
        samba__free(session->alloc, d);
        return samba__fail(session->alloc, error, SAMBA_ERROR_BACKEND, "uv_async_init: %s",
                           uv_strerror(failed));
    }
    d->async.data = d;
    d->listener = *listener;
    d->context = samba__context_retain(context);
    const samba__stream_waker waker = {signal_loop, d};
    samba_status status = samba__stream_start(session, sampler, options, &waker, &d->stream, error);
    if (status != SAMBA_OK) {
        uv_close((uv_handle_t *)&d->async, on_closed);
        return status;
    }
    d->stream->uv = d;
    *stream = d->stream;
    return SAMBA_OK;
}
