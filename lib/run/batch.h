/*
 * The work of one call on one or more sessions, cut into passes. Every pass gives each unfinished
 * request a fair share of its rows; by the law of invariance neither the cut nor the company
 * changes any result. Requests fail one by one; each pass is committed for all of its sessions or
 * for none.
 */
#ifndef SAMBA_RUN_BATCH_H
#define SAMBA_RUN_BATCH_H

#include "run/forward.h"
#include "run/session.h"

typedef struct samba__request {
    samba_session *session; /* NULL only in requests that come with a failure */
    const samba_token *tokens;
    size_t n_tokens;
    samba_outputs outputs; /* LAST, ALL or NONE */
    int32_t hidden;        /* as in samba_eval_options */
    bool speculative;
    float *logprobs; /* score: [n_tokens - 1], of tokens[1] on; else NULL */
    /* In: SAMBA_OK, or why the request is left out, and its error. Out: how it ended. */
    samba_status status;
    samba_error *error;
    const samba_cancel *cancel; /* of this request alone; NULL: none */
    int32_t priority;           /* among those that share a pass; 0: the default */
    /* The run's own; zero on entry. */
    int64_t credit;        /* rows that it may have of the passes to come */
    bool joined;           /* its session is ours until the end */
    size_t done;           /* tokens whose passes are committed */
    samba__output *output; /* for its rows, until they are installed */
    samba__output *row;    /* of the pass at hand: for a checkpoint at its end; NULL: none */
} samba__request;

typedef struct samba__run_options {
    uint32_t rows_per_pass; /* 0: the largest of the sessions' */
    const samba_cancel *cancel;
} samba__run_options;

/* Status and error are those of the first request that failed; requests hold no errors after. */
samba_status samba__requests_run(samba__request *requests, size_t n,
                                 const samba__run_options *options, samba_error **error);
/* One request; `cancel` may be NULL. */
samba_status samba__request_run(samba__request *request, const samba_cancel *cancel,
                                samba_error **error);
/* Room for n requests (zeroed) that is the session's until its next batch. */
samba_status samba__requests_room(const samba_session *session, size_t n, samba__request **requests,
                                  samba_error **error);

/* One pass of several requests, whoever they come from: `parts` names request and rows of each. */
typedef struct samba__pass {
    const samba_model *model;
    samba__part *parts; /* [n_parts] */
    uint32_t n_parts;
    int32_t hidden;          /* what it taps; 0: nothing */
    samba_backend_seq *seqs; /* room for [n_parts] */
    samba_token *tokens;     /* room for twice all rows */
    const samba_cancel *cancel;
    bool wants_errors;
} samba__pass;
/* Room for the outputs of a request that has not begun, in its session's way. */
samba_status samba__request_output(samba__request *request, samba_error **error);
/* Gives back what is left of it. */
void samba__request_drop_output(samba__request *request);
/* Reserves every part (those that fail drop out), runs the pass and commits all parts or none.
 * Every request's status says how its part went; of a pass that failed the first request has the
 * error. */
void samba__pass_run(samba__pass *pass);

/* As samba_session_score says; all of `logprobs` [n_tokens] is written, or nothing. */
samba_status samba__session_score(samba_session *session, const samba_token *tokens,
                                  size_t n_tokens, const samba_cancel *cancel, float *logprobs,
                                  samba_error **error);

#endif
