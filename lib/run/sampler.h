/*
 * Drawing tokens: the sampler object, one draw, and the best tokens of a row of logits. The draw's
 * working memory is the caller's (a session keeps one), so that a frozen sampler can be shared by
 * threads and steady-state draws never allocate.
 *
 * How a token is drawn, exactly: candidates are ordered by logit descending, then id ascending.
 * Each weighs floor(exp(logit - best) * scale), a whole number of 64 bits (scale is a power of two
 * that depends on the vocabulary's size alone), so sums do not depend on the order of addition.
 * With u from samba__rng_uniform(seed, branch, position), the token is the first in order at which
 * the running sum passes floor(u * total). No C library mathematics takes part: same logits, same
 * tokens, on every platform.
 *
 * NaN counts as -inf, and -inf is no candidate. If nothing else is left the draw fails: BACKEND
 * when the logits came so, STATE (naming the stage) when a stage did it. +inf takes all
 * probability.
 */
#ifndef SAMBA_RUN_SAMPLER_H
#define SAMBA_RUN_SAMPLER_H

#include "base/alloc.h"
#include "base/error.h"

/* Buffers of a draw, grown on demand to the vocabulary's size. One thread at a time. */
typedef struct samba__sampler_scratch {
    const samba_allocator *alloc;
    samba_candidate *candidates; /* [candidate_capacity] */
    size_t candidate_capacity;
    uint32_t *mask; /* [mask_capacity], one bit per token */
    size_t mask_capacity;
    uint32_t *marks; /* [mark_capacity], one per token; all zero between uses */
    size_t mark_capacity;
} samba__sampler_scratch;

void samba__sampler_scratch_init(samba__sampler_scratch *scratch, const samba_allocator *alloc);
void samba__sampler_scratch_free(samba__sampler_scratch *scratch); /* NULL and half-built: fine */

/* sampler NULL = greedy. state NULL = no history, position 0. *logprob (of the raw distribution)
 * may be NULL. Freezes the sampler. */
samba_status samba__sampler_draw(samba_sampler *sampler, const samba_sampler_state *state,
                                 const float *logits, size_t n_vocab,
                                 samba__sampler_scratch *scratch, samba_token *token,
                                 float *logprob, samba_error **error);

/* The n (<= n_vocab) most likely tokens, best first, ties by lower id. Not scored: logprob is the
 * logit, or -inf. */
samba_status samba__top_tokens(const float *logits, size_t n_vocab, size_t n, samba_logprob *top,
                               samba__sampler_scratch *scratch, samba_error **error);
/* log softmax(logits) at tokens [n]. */
void samba__token_logprobs(const float *logits, size_t n_vocab, const samba_token *tokens, size_t n,
                           float *logprobs);

typedef enum samba__stage_kind {
    SAMBA__STAGE_GREEDY,
    SAMBA__STAGE_TEMPERATURE,
    SAMBA__STAGE_TOP_K,
    SAMBA__STAGE_TOP_P,
    SAMBA__STAGE_MIN_P,
    SAMBA__STAGE_TYPICAL_P,
    SAMBA__STAGE_PENALTIES,
    SAMBA__STAGE_BIAS,
    SAMBA__STAGE_CUSTOM,
    SAMBA__STAGE_MASK,
} samba__stage_kind;

typedef struct samba__bias {
    samba_token token;
    float bias;
} samba__bias;

/* One stage: which, and the one member of the union that it uses. */
typedef struct samba__stage {
    samba__stage_kind kind;
    union {
        float value; /* temperature, top_p, min_p, typical_p */
        uint32_t k;
        samba_penalties penalties; /* defaults filled in */
        struct {
            samba__bias *items; /* [n], by token, equal tokens in the caller's order; owned */
            size_t n;
        } bias;
        struct {
            samba_sampler_stage_fn stage;
            samba_sampler_mask_fn mask;
            void *user_data;
            void (*free_user_data)(void *);
        } callback;
    } as;
} samba__stage;

/* Arguments of these are checked by the caller; STATE once the sampler is frozen. */
samba_status samba__sampler_create(samba_context *context, samba_sampler **sampler,
                                   samba_error **error);
/* Freezes it. */
samba_sampler *samba__sampler_retain(samba_sampler *sampler); /* accepts NULL */
void samba__sampler_release(samba_sampler *sampler);          /* accepts NULL */
const samba_allocator *samba__sampler_alloc(const samba_sampler *sampler);
/* Takes the stage's user data, on failure too. */
samba_status samba__sampler_add(samba_sampler *sampler, const samba__stage *stage,
                                samba_error **error);
samba_status samba__sampler_add_bias(samba_sampler *sampler, const samba_token *tokens,
                                     const float *biases, size_t n, samba_error **error);
samba_status samba__sampler_set_seed(samba_sampler *sampler, uint64_t seed, samba_error **error);
/* A draw with the sampler's own spare scratch, or a temporary one while another thread has it. */
samba_status samba__sampler_draw_shared(samba_sampler *sampler, const samba_sampler_state *state,
                                        const float *logits, size_t n_vocab, samba_token *token,
                                        float *logprob, samba_error **error);

#endif
