/*
 * One pass over the rows of one or more sequences: lock the device, begin, embed, every sublayer of
 * the plan, head, submit, wait, read the outputs, end. Changes nothing in the sessions: the state
 * that it writes is spare until the caller commits.
 */
#ifndef SAMBA_RUN_FORWARD_H
#define SAMBA_RUN_FORWARD_H

#include "run/model.h"
#include "state/output.h"
#include "state/sequence.h"

/* One sequence's part of a pass. */
typedef struct samba__part {
    samba__sequence *sequence; /* with a step of n_rows rows reserved */
    const samba_token *tokens; /* [n_rows] */
    uint32_t n_rows, n_out;    /* the last n_out rows give outputs */
    /* Where outputs go: rows [output_row, output_row + n_out), hidden states if it has any. */
    samba__output *output;
    size_t output_row;
    struct samba__request *request; /* the caller's */
    const samba_cancel *cancel;     /* of this part alone: ends the pass too */
    /* A score: n_out is n_rows, and the first n_scored rows give the log-probabilities of
     * tokens[1 .. n_scored], which are there, instead of logits. Else NULL. */
    float *logprobs; /* [n_scored] */
    uint32_t n_scored;
} samba__part;

typedef struct samba__forward {
    const samba_model *model;
    samba__part *parts; /* [n_parts] */
    uint32_t n_parts;
    int32_t hidden;          /* as in samba_eval_options; 0: none */
    bool scores;             /* some part does */
    samba_backend_seq *seqs; /* room for [n_parts] */
    samba_token *tokens;     /* room for all rows, twice if it scores: targets come behind them */
    const samba_cancel *cancel;
} samba__forward;

samba_status samba__forward_run(const samba__forward *f, samba_error **error);

#endif
