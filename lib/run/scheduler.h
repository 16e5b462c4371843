/*
 * The scheduler of a model: one thread that merges the work of all streams, and of blocking calls
 * that come meanwhile (guests), into shared passes. Made with the first stream and kept with the
 * model; the thread runs while streams are open. The lock guards all that hosts and the thread
 * share; passes, drawing and on_ready run without it. Waiting is on condition variables only.
 *
 * A pass takes the next token of every running stream, proposals (whole) and, in what the longest
 * gap leaves, rows of prompts, shared by deficit round robin with priorities as weights. It taps
 * hidden states at one place, that of the oldest guest who asks for any: others wait. Rows are
 * chosen here, nothing else is known of how they are computed; that results do not depend on it is
 * the law of invariance.
 */
#ifndef SAMBA_RUN_SCHEDULER_H
#define SAMBA_RUN_SCHEDULER_H

#include "run/batch.h"

enum {
    SAMBA__SHARED_ROWS = 512,                        /* most of a shared pass */
    SAMBA__SHARED_PROPOSAL = SAMBA__SHARED_ROWS / 2, /* most of one in it */
    SAMBA__PRIORITY = 10                             /* the default */
};

/* A blocking call whose requests take part; on its stack. */
typedef struct samba__guest {
    samba__request *requests; /* [n] */
    size_t n;
    const samba_cancel *cancel;
    bool released; /* back to the caller, finished or not */
    struct samba__guest *next;
} samba__guest;

/* What a pass takes, as measured. */
typedef struct samba__pace {
    double base;    /* seconds of a pass without prompts; 0: not known */
    double per_row; /* seconds of a prompt's row */
} samba__pace;

typedef struct samba__scheduler {
    const samba_allocator *alloc;
    uv_mutex_t lock;
    uv_cond_t work;       /* for the thread */
    uv_cond_t changed;    /* for those who wait for it */
    atomic_int pid;       /* of the process that the thread runs in; 0: it does not run */
    atomic_int n_running; /* streams that make passes: guests join while there are some */
    uv_thread_t thread;
    bool stop;          /* the thread is to end */
    bool joining;       /* somebody waits for its end */
    bool to_join;       /* it has ended, or will, and nobody waits for it */
    samba_cancel abort; /* the pass is to end, too */
    size_t n_open;
    samba_stream *first, *last; /* open, or not yet let go by the thread */
    samba__guest *arrived;      /* since the last round, newest first */
    samba_stream_limits limits; /* complete */
    samba_stream_stats stats;
    uint64_t need_bytes; /* of the streams admitted */
    size_t turn;
    /* The thread's. */
    samba_model *model;
    samba__pace pace;
    samba_stream_limits gathered; /* the limits of this round */
    samba__guest *guests;         /* oldest first */
    samba_stream **ready;         /* [SAMBA__SHARED_ROWS] */
    samba__request **wanted;      /* [SAMBA__SHARED_ROWS] */
    size_t n_ready, n_wanted;
    samba__pass pass;
} samba__scheduler;

/* The model's, made if there is none yet. */
samba_status samba__scheduler_of(samba_model *model, samba__scheduler **scheduler,
                                 samba_error **error);
/* Once no stream is left; accepts NULL. */
void samba__scheduler_free(samba__scheduler *scheduler);
/* STATE in a child of the process that the thread runs in. */
samba_status samba__scheduler_check(const samba__scheduler *scheduler, samba_error **error);
/* Takes a stream in (a reference of its own); starts the thread if need be. */
samba_status samba__scheduler_open(samba__scheduler *scheduler, samba_stream *stream,
                                   samba_error **error);
/* Under the lock: one stream less; the last one waits for the thread to end. */
void samba__scheduler_close(samba__scheduler *scheduler);
/* Takes part in the passes of running streams, if there are any, as long as there are: true, and
 * the requests may have come farther. */
bool samba__scheduler_share(samba__scheduler *scheduler, samba__guest *guest);

/* `limits` is complete but for defaults. */
samba_status samba__scheduler_set_limits(samba_model *model, const samba_stream_limits *limits,
                                         samba_error **error);
samba_status samba__scheduler_get_stats(const samba_model *model, samba_stream_stats *stats,
                                        samba_error **error);

/* The model's, or NULL. */
static inline samba__scheduler *samba__model_scheduler(const samba_model *model)
{
    return atomic_load_explicit(&((samba_model *)(uintptr_t)model)->scheduler,
                                memory_order_acquire);
}

#endif
