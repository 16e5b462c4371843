/*
 * A session: one sequence of a model, its tokens, and the rows that its last eval gave out.
 *
 * Files: session.c (life, reading), feed.c (text to tokens), batch.c (work of one call cut into
 * passes), forward.c (one pass), score.c, speculation.c, generate.c, checkpoint.c, rewind.c. All
 * changes go through a pass and its commit: what fails before leaves the session as it was.
 * Arguments are checked here only where the model or the session must be known; the rest is api/.
 */
#ifndef SAMBA_RUN_SESSION_H
#define SAMBA_RUN_SESSION_H

#include "run/model.h"
#include "run/sampler.h"
#include "state/checkpoints.h"
#include "state/sequence.h"

/* Buffers of calls, kept for the next one. They hold nothing between calls, so functions that only
 * read the session use them too. */
typedef struct samba__session_scratch {
    samba__sampler_scratch draw;
    samba__image *image;   /* an empty one, for the next */
    samba__token_list ids; /* of samba_session_feed_text */
    char *text;            /* of samba_session_generate */
    size_t text_capacity;
    /* When this session leads a batch; a session alone is a batch of one. */
    struct samba__request *requests;
    size_t requests_capacity;
    struct samba__part *parts;
    size_t parts_capacity;
    samba_backend_seq *seqs;
    size_t seqs_capacity;
    samba_token *tokens; /* of a pass, then targets */
    size_t tokens_capacity;
} samba__session_scratch;

/* Rows that can be read: [first, first + n) of `output`. */
typedef struct samba__rows {
    samba__output *output; /* NULL: n is 0 */
    size_t first, n;
} samba__rows;

struct samba_session {
    const samba_allocator *alloc;
    samba_model *model;       /* retained */
    samba__sequence sequence; /* state, spares, position */
    samba__history history;
    samba__rows rows;            /* of the last eval */
    samba__output *spare_output; /* for the next one; NULL: none */
    samba__checkpoints checkpoints;
    uint32_t rows_per_pass;
    uint64_t max_state_bytes; /* 0: no limit */
    /* A proposal: its step stays reserved, its tokens staged, until samba_session_keep, or a reset
     * that throws it away. */
    uint32_t n_proposed; /* 0: none */
    samba__rows proposed;
    const void *user;               /* the call that works on it just now; NULL: none */
    _Atomic(samba_stream *) stream; /* that it belongs to; NULL: none */
    samba__session_scratch *scratch;
    struct {
        uint64_t n_passes, prefill_tokens, decode_tokens;
        double prefill_seconds, decode_seconds;
    } stats;
};

/* `options` is complete: what is 0 means the default. */
samba_status samba__session_create(samba_model *model, const samba_session_options *options,
                                   samba_session **session, samba_error **error);
void samba__session_free(samba_session *session); /* accepts NULL */
samba_status samba__session_clone(const samba_session *session, samba_session **clone,
                                  samba_error **error);
samba_status samba__session_reset(samba_session *session, samba_error **error);

static inline uint64_t samba__session_position(const samba_session *session)
{
    return session->sequence.state->position;
}
static inline samba_stream *samba__session_stream(const samba_session *session)
{
    return atomic_load(&((samba_session *)(uintptr_t)session)->stream);
}
/* Holds a session that belongs to a stream in place; STATE in a child process. Undone with let_go,
 * which takes what hold has set. */
samba_status samba__session_hold(const samba_session *session, struct samba__scheduler **held,
                                 samba_error **error);
void samba__session_let_go(struct samba__scheduler *held);
/* Its position, whoever moves it on. */
uint64_t samba__session_where(const samba_session *session);
/* BUSY while it belongs to a stream. */
samba_status samba__session_check_free(const samba_session *session, samba_error **error);
/* Where nothing has been fed yet. */
static inline bool samba__session_at_start(const samba_session *session)
{
    return session->sequence.state->position == session->sequence.state->first_position;
}
/* The rows that can be read: those of a proposal, while there is one. */
const samba__rows *samba__session_rows(const samba_session *session);
/* Row numbers count from 0; SAMBA_ROW_LAST is the last. STATE: no rows, INVALID_ARGUMENT: not so
 * many. */
samba_status samba__session_logits(const samba_session *session, size_t row, const float **logits,
                                   samba_error **error);
samba_status samba__session_hidden(const samba_session *session, size_t row, const float **hidden,
                                   samba_error **error);
void samba__session_get_stats(const samba_session *session, samba_session_stats *stats);
/* log p of tokens [n] by a row of logits; 0 <= token < n_vocab. All that reports any comes here. */
void samba__session_log_probs(const samba_session *session, const float *logits,
                              const samba_token *tokens, size_t n, float *logprobs);
/* The n (<= n_vocab) most likely tokens, best first, ties by lower id. */
samba_status samba__session_top(const samba_session *session, const float *logits, size_t n,
                                samba_logprob *top, samba_error **error);

/* Of a draw, besides what the session has. */
typedef struct samba__draw {
    uint64_t branch;
    void *user_data; /* for callbacks of the sampler */
} samba__draw;

samba_status samba__session_sample(const samba_session *session, samba_sampler *sampler,
                                   const samba__draw *draw, samba_token *token, float *logprob,
                                   samba_error **error);

/* Fails with STATE while a proposal waits, with BUSY while a call works on the session. */
samba_status samba__session_check_idle(const samba_session *session, samba_error **error);
/* An image of where the session stands: everything but its options and statistics. */
samba_status samba__session_image(const samba_session *session, samba__image **image,
                                  samba_error **error);
/* Takes a reference of an image of another position over. If nobody else has one, what it holds
 * serves the passes and images to come. */
void samba__session_recycle(samba_session *session, samba__image *image);
/* Puts the session there. The image is of a layout with the same slots and types on the same
 * device. Its checkpoints go; the image becomes the first of the new ones, unless none are kept.
 * Cannot fail; the session is idle. */
void samba__session_install(samba_session *session, samba__image *image);
/* The same, and the checkpoints stay as they are. */
void samba__session_place(samba_session *session, const samba__image *image);

/* Installs rows as the last eval's; takes the reference. NULL: none. */
void samba__session_set_rows(samba_session *session, samba__output *output, size_t first, size_t n);
/* Bytes of output rows held. */
uint64_t samba__session_output_bytes(const samba_session *session);

/* Tokens of a text as samba_session_feed_text feeds it, into scratch->ids. */
samba_status samba__session_encode(samba_session *session, const char *text, size_t size,
                                   samba_error **error);

/* Forgets the rows of a proposal, if there is one. */
void samba__session_drop_proposal(samba_session *session);
/* Keeps the first n_tokens of a proposal. */
samba_status samba__session_keep(samba_session *session, size_t n_tokens, samba_error **error);

#endif
