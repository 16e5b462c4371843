/*
 * A stream: generation that runs on its model's scheduler. It works on a clone of the session (the
 * runner); every token that has been fed waits in a queue together with an image of the runner
 * behind it, and whoever takes the token puts the session there. So the session always stands at
 * the last delivered token, ending a stream is letting go of the runner, and nothing is replayed.
 * Images share their pages with the runner, which goes on behind their end; a token ahead costs
 * its slabs and its logits. Delivered tokens go back to the scheduler's thread, which makes the
 * next ones of them: queue, reader and runner pass the same entries round, and a stream that runs
 * does not allocate.
 *
 * Files: stream.c (life, delivery), stream_prompt.c (what is read first), stream_text.c (what is
 * delivered when: text and stop strings), stream_work.c (the scheduler's side), stream_uv.c
 * (delivery on a libuv loop). Members are in three groups: fixed, under the scheduler's lock, and
 * the scheduler thread's own.
 */
#ifndef SAMBA_RUN_STREAM_H
#define SAMBA_RUN_STREAM_H

#include "run/batch.h"
#include "run/detokenize.h"
#include "run/prefix_cache.h"
#include "run/scheduler.h"
#include "run/snapshot.h"
#include "run/stop_strings.h"

enum {
    SAMBA__STREAM_TOP_MOST = 64
};

/* Who is called with events, and on which loop. */
typedef struct samba__stream_listener {
    struct uv_loop_s *loop;
    samba_stream_fn on_event;
    void *user_data;
} samba__stream_listener;

/* Who is told that there is something to take; fn may be NULL. */
typedef struct samba__stream_waker {
    samba_ready_fn fn;
    void *arg;
} samba__stream_waker;

/* How far the text of a stream has come. */
typedef struct samba__stream_place {
    samba__utf8_hold hold; /* bytes of a character that is not complete */
    bool begins_text;      /* nothing but special tokens has been fed so far */
    uint64_t n_tokens;
} samba__stream_place;

/* A token that has been drawn, fed, and not yet delivered. */
typedef struct samba__stream_entry {
    struct samba__stream_entry *next;
    const samba_allocator *alloc;
    samba__image *image;       /* of the runner behind it */
    samba__stream_place place; /* behind it */
    samba_token token;
    float logprob;
    uint64_t position;
    uint64_t text_begin, text_end; /* of the stream's text */
    char *text;                    /* [text_size] */
    size_t text_size, text_capacity;
    size_t n_top;
    samba_logprob top[];
} samba__stream_entry;

typedef struct samba__stream_queue {
    samba__stream_entry *first, *last;
    size_t n;
} samba__stream_queue;

typedef struct samba__stream_end {
    samba_stop_reason reason; /* 0: not yet */
    samba_token stop_token;   /* or -1 */
    int32_t stop_string;      /* or -1 */
    samba_status status;
    samba_error *error; /* may be NULL in any case */
} samba__stream_end;

typedef enum samba__stream_phase {
    SAMBA__STREAM_PROMPT, /* its request is the prompt */
    SAMBA__STREAM_DRAW,   /* the next token is to be drawn */
    SAMBA__STREAM_FEED    /* its request is the token drawn */
} samba__stream_phase;

struct samba_stream {
    samba__refs refs; /* the handle's and the scheduler's */
    const samba_allocator *alloc;
    samba_model *model; /* retained */
    samba__scheduler *scheduler;
    samba_sampler *sampler; /* retained; NULL: greedy */
    samba_token *prompt;    /* [n_prompt]; NULL with a prefix cache: `reading` has it */
    size_t n_prompt;
    samba_token *stop_tokens; /* [n_stop_tokens] */
    size_t n_stop_tokens;
    uint64_t max_tokens, branch;
    bool ignore_eos, skip_special;
    size_t n_top, depth;
    int32_t priority;
    double deadline; /* by samba__clock_seconds; 0: none */
    uint64_t need_bytes;
    void *user_data; /* the host's */
    samba__stream_waker waker;
    struct samba__stream_uv *uv; /* NULL: no loop */

    /* Under the scheduler's lock. */
    samba_session *session;     /* NULL: let go, or freed */
    samba__stream_queue queue;  /* settled, oldest first */
    samba__stream_queue spent;  /* delivered: the next ones are made of them */
    samba__stream_place place;  /* behind the last delivered token */
    samba__stream_end end;      /* what comes after the queue */
    samba_session *next_runner; /* from a resume, for the scheduler */
    bool prompt_done;           /* the session stands behind the prompt */
    bool suspended, admitted, closed;
    bool done_delivered;
    bool wants_wake; /* the reader has found nothing */
    bool notifying;  /* on_ready runs */
    uv_thread_t notifier;
    uv_cond_t changed; /* for who waits in samba_stream_next */
    samba_stream *next;

    /* The reader's. */
    samba__stream_entry *taken; /* what the last event points into */
    char rest[4];

    /* The scheduler thread's. */
    samba_session *runner; /* NULL: nothing left to do */
    samba__stream_phase phase;
    samba__request request;
    samba__stream_entry *drawn;    /* being fed */
    samba__stream_place at;        /* of the runner */
    samba__prefix_reading reading; /* no cache: none was given, or the prompt has been read. Its
                                    * report is changed under the lock; struct_size 0: none */
    samba__stop_strings stops;
    samba__stream_queue held; /* may belong to a stop string */
    uint64_t text_bytes;
};

/* ---- stream.c ---- */

/* `options` is complete; of it, on_ready is left to the waker. */
samba_status samba__stream_start(samba_session *session, samba_sampler *sampler,
                                 const samba_stream_options *options,
                                 const samba__stream_waker *waker, samba_stream **stream,
                                 samba_error **error);
/* *event is complete and written on success. */
samba_status samba__stream_next(samba_stream *stream, uint64_t timeout_ms,
                                samba_stream_event *event, samba_error **error);
void samba__stream_cancel(samba_stream *stream);
void samba__stream_close(samba_stream *stream);
void samba__stream_release(samba_stream *stream); /* drops a reference; accepts NULL */
samba_status samba__stream_suspend(samba_stream *stream, samba_snapshot **snapshot,
                                   samba_error **error);
samba_status samba__stream_resume(samba_stream *stream, samba_error **error);
/* Delivered by calls on the loop's thread. */
samba_status samba__stream_start_uv(samba_session *session, samba_sampler *sampler,
                                    const samba_stream_options *options,
                                    const samba__stream_listener *listener, samba_stream **stream,
                                    samba_error **error);
/* The session is about to be freed: its stream, if it has one, goes on without. */
void samba__stream_forget(samba_session *session);

/* Under the lock: ends the stream unless it has ended; takes end->error. */
void samba__stream_finish(samba_stream *stream, samba__stream_end *end);
/* Under the lock: puts the session behind what the image was taken of. */
void samba__stream_follow(samba_stream *stream, samba__image *image);
/* Under the lock: there is something to take. True if on_ready is to be called. */
bool samba__stream_ready(samba_stream *stream);
/* Without the lock, after that: calls it unless the stream is closed by now. */
void samba__stream_notify(samba_stream *stream);

/* ---- stream_prompt.c ---- */

/* Of a stream that starts on the session. */
samba_status samba__stream_prompt_copy(samba_stream *stream, const samba_session *session,
                                       const samba_token *tokens, size_t n, samba_error **error);
/* Once there is a runner: its first request. */
samba_status samba__stream_prompt_begin(samba_stream *stream, samba_error **error);
/* On the scheduler's thread, after the request: whether there is more to read, then as the next
 * request. */
samba_status samba__stream_prompt_next(samba_stream *stream, bool *more, samba_error **error);
samba_status samba__stream_prefix_report(const samba_stream *stream, samba_prefix_report *report,
                                         samba_error **error);
void samba__stream_prompt_free(samba_stream *stream);

/* ---- stream_uv.c ---- */

/* The stream has been closed, on the loop's thread: no more calls. Accepts NULL. */
void samba__stream_uv_close(struct samba__stream_uv *uv);

/* ---- stream_text.c ---- */

void samba__stream_entry_free(samba__stream_entry *entry); /* accepts NULL */
void samba__stream_queue_push(samba__stream_queue *queue, samba__stream_entry *entry);
samba__stream_entry *samba__stream_queue_pop(samba__stream_queue *queue); /* NULL: empty */
void samba__stream_queue_clear(samba__stream_queue *queue);
/* The entry that was fed gets its text and joins the held ones. Those that are settled by it move
 * to `out`. *stop_string is -1, or the one that is complete; then nothing stays held. */
samba_status samba__stream_settle(samba_stream *stream, samba__stream_entry *entry,
                                  samba__stream_queue *out, int32_t *stop_string,
                                  samba_error **error);

/* ---- stream_work.c: on the scheduler's thread, without its lock ---- */

/* Draws until there is a token to feed, or an end. */
void samba__stream_draw(samba_stream *stream);
/* After a pass that the stream's request was in. */
void samba__stream_advance(samba_stream *stream);
/* Lets go of all that runs ahead. */
void samba__stream_drop_work(samba_stream *stream);

#endif
