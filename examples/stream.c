/*
 * A host with a libuv loop: every line typed on stdin is a prompt, and all of them are continued at
 * once. Nothing here waits for a pass; events come as calls on the loop.
 *
 *     printf 'Once upon a time\nIt was a dark night\n' | stream MODEL
 */
#include <samba.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct host {
    samba_model *model;
    uv_pipe_t in;
    uv_tty_t terminal;
    char line[4096];
    size_t size;
    int n; /* prompts so far */
} host;

/* One prompt, and what it leads to. */
typedef struct reply {
    int number;
    samba_session *session;
} reply;

static void complain(samba_error *error)
{
    fprintf(stderr, "%s\n", error ? samba_error_message(error) : "something failed");
    samba_error_free(error);
}

/* On the loop's thread, for every token and once at the end. */
static void on_event(void *user_data, samba_stream *stream, const samba_stream_event *event)
{
    reply *r = user_data;
    if (event->kind == SAMBA_STREAM_TOKEN) {
        printf("%d:%.*s\n", r->number, (int)event->text_size, event->text);
        fflush(stdout);
        return;
    }
    printf("%d. (%llu tokens)\n", r->number, (unsigned long long)event->n_tokens);
    samba_stream_close(stream); /* the session is ours again, and could go on or be saved */
    samba_session_free(r->session);
    free(r);
}

static void start(host *h, uv_loop_t *loop, const char *prompt, size_t size)
{
    samba_error *error = NULL;
    samba_stream *stream = NULL;
    reply *r = calloc(1, sizeof *r);
    if (!r)
        return;
    r->number = ++h->n;
    const samba_stream_options options = {.struct_size = sizeof options,
                                          .text = prompt,
                                          .text_size = size,
                                          .max_tokens = 48,
                                          .user_data = r};
    if (samba_session_create(h->model, NULL, &r->session, &error) ||
        samba_stream_start_uv(r->session, NULL, &options, loop, on_event, &stream, &error)) {
        complain(error);
        samba_session_free(r->session);
        free(r);
    }
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    host *h = handle->data;
    (void)suggested;
    if (h->size == sizeof h->line)
        h->size = 0; /* longer lines are no prompts */
    *buffer = uv_buf_init(h->line + h->size, (unsigned)(sizeof h->line - h->size));
}

static void on_read(uv_stream_t *in, ssize_t n, const uv_buf_t *buffer)
{
    host *h = in->data;
    char *end;
    (void)buffer;
    if (n < 0) {
        uv_close((uv_handle_t *)in, NULL); /* the loop ends with the last stream */
        return;
    }
    h->size += (size_t)n;
    while ((end = memchr(h->line, '\n', h->size))) {
        size_t size = (size_t)(end - h->line);
        if (size)
            start(h, in->loop, h->line, size);
        h->size -= size + 1;
        memmove(h->line, end + 1, h->size);
    }
}

/* A terminal or a pipe. */
static uv_stream_t *open_stdin(host *h, uv_loop_t *loop)
{
    int terminal = uv_guess_handle(0) == UV_TTY;
    uv_stream_t *in = terminal ? (uv_stream_t *)&h->terminal : (uv_stream_t *)&h->in;
    if (terminal ? uv_tty_init(loop, &h->terminal, 0, 1)
                 : uv_pipe_init(loop, &h->in, 0) || uv_pipe_open(&h->in, 0))
        return NULL;
    in->data = h;
    return uv_read_start(in, give_buffer, on_read) ? NULL : in;
}

int main(int argc, char **argv)
{
    samba_context *context = NULL;
    samba_error *error = NULL;
    host h = {0};
    uv_loop_t *loop = uv_default_loop();
    if (argc != 2 || samba_context_create(NULL, &context, &error) ||
        samba_model_load(context, argv[1], NULL, &h.model, &error) || !open_stdin(&h, loop)) {
        if (argc != 2)
            fprintf(stderr, "usage: stream MODEL, prompts on stdin from a terminal or a pipe\n");
        else
            complain(error);
        samba_model_release(h.model);
        samba_context_free(context);
        return 1;
    }
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    samba_model_release(h.model);
    samba_context_free(context);
    return 0;
}
