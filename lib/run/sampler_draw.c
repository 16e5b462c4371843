/*
 * One draw: candidates from the logits, the chain, then the inverse of the cumulative distribution;
 * and the two readings of raw logits, log-probability and best tokens. Greedy draws never build the
 * candidates. Allocates only to grow the scratch.
 */
#include "base/fmath.h"
#include "base/rng.h"
#include "run/sampler_chain.h"

#include <math.h>
#include <string.h>

void samba__sampler_scratch_init(samba__sampler_scratch *scratch, const samba_allocator *alloc)
{
    *scratch = (samba__sampler_scratch){.alloc = alloc};
}

void samba__sampler_scratch_free(samba__sampler_scratch *scratch)
{
    if (!scratch || !scratch->alloc)
        return;
    samba__free(scratch->alloc, scratch->candidates);
    samba__free(scratch->alloc, scratch->mask);
    samba__free(scratch->alloc, scratch->marks);
    samba__sampler_scratch_init(scratch, scratch->alloc);
}

/* Makes an array of `need` elements, zeroed; what it held does not matter. */
static bool reserve(const samba_allocator *a, void **ptr, size_t *capacity, size_t need,
                    size_t elem_size)
{
    if (need <= *capacity)
        return true;
    void *p = samba__calloc(a, need, elem_size);
    if (!p)
        return false;
    samba__free(a, *ptr);
    *ptr = p;
    *capacity = need;
    return true;
}

static bool reserve_candidates(samba__sampler_scratch *s, size_t n_vocab)
{
    void *p = s->candidates;
    bool ok = reserve(s->alloc, &p, &s->candidate_capacity, n_vocab, sizeof *s->candidates);
    s->candidates = p;
    return ok;
}

static bool reserve_mask(samba__sampler_scratch *s, size_t n_vocab)
{
    void *p = s->mask;
    bool ok = reserve(s->alloc, &p, &s->mask_capacity, (n_vocab + 31) / 32, sizeof *s->mask);
    s->mask = p;
    return ok;
}

static bool reserve_marks(samba__sampler_scratch *s, size_t n_vocab)
{
    void *p = s->marks;
    bool ok = reserve(s->alloc, &p, &s->mark_capacity, n_vocab, sizeof *s->marks);
    s->marks = p;
    return ok;
}

static samba_status no_candidates(const samba_allocator *a, size_t n_vocab, samba_error **error)
{
    return samba__fail(a, error, SAMBA_ERROR_BACKEND, "all %zu logits are NaN or -inf", n_vocab);
}

static samba_status check_vocab(const samba_allocator *a, size_t n_vocab, samba_error **error)
{
    return n_vocab >= 1 && n_vocab <= INT32_MAX
               ? SAMBA_OK
               : samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                             "n_vocab is %zu, must be 1 to %d", n_vocab, INT32_MAX);
}

/* Lowest id of the largest logit; n_vocab if there is none above -inf. */
static size_t best_logit(const float *logits, size_t n_vocab)
{
    size_t best = n_vocab;
    float value = -INFINITY;
    for (size_t i = 0; i < n_vocab; i++) {
        if (logits[i] > value) {
            value = logits[i];
            best = i;
        }
    }
    return best;
}

/* Logits relative to the best, with the limit where the best is +inf; NaN as -inf. */
static double relative(float logit, float best)
{
    if (logit >= best)
        return 0.0;
    return logit > -INFINITY ? (double)logit - (double)best : -(double)INFINITY;
}

/* log of the sum over the vocabulary of exp(logit - best). */
static double log_total(const float *logits, size_t n_vocab, float best)
{
    double sum = 0;
    for (size_t i = 0; i < n_vocab; i++) {
        double x = relative(logits[i], best);
        if (x > -700)
            sum += samba__exp(x);
    }
    return samba__log(sum);
}

void samba__token_logprobs(const float *logits, size_t n_vocab, const samba_token *tokens, size_t n,
                           float *logprobs)
{
    size_t best = best_logit(logits, n_vocab);
    double sum = best == n_vocab ? 0 : log_total(logits, n_vocab, logits[best]);
    for (size_t i = 0; i < n; i++)
        logprobs[i] =
            best == n_vocab ? -INFINITY : (float)(relative(logits[tokens[i]], logits[best]) - sum);
}

/* All candidates above -inf, by id. */
static void fill_candidates(samba__draw *d, const float *logits)
{
    d->n = 0;
    d->best = -INFINITY;
    for (size_t i = 0; i < d->n_vocab; i++) {
        if (!(logits[i] > -INFINITY))
            continue;
        d->best = logits[i] > d->best ? logits[i] : d->best;
        d->candidates[d->n++] = (samba_candidate){(samba_token)i, logits[i]};
    }
}

/* A power of two, so that the weights of n_vocab candidates sum to at most 2^62. */
static double weight_scale(size_t n_vocab)
{
    double scale = 0x1p62;
    for (size_t n = 1; n < n_vocab; n *= 2)
        scale *= 0.5;
    return scale;
}

static samba_token pick(samba__draw *d, double u)
{
    const samba__order by_logit = {.best = d->best};
    samba__masses masses;
    if (d->n == 1)
        return d->candidates[0].token;
    samba__draw_masses(d, &by_logit, &masses);
    uint64_t target = (uint64_t)(u * (double)masses.total);
    target = target < masses.total ? target : masses.total - 1; /* the product may round up */
    return samba__draw_take(d, &by_logit, &masses, target + 1, &d->n).token;
}

static samba_status run_chain(samba_sampler *sampler, samba__draw *d, samba_token *token,
                              samba_error **error)
{
    if ((sampler->uses_mask && !reserve_mask(d->scratch, d->n_vocab)) ||
        (sampler->uses_marks && !reserve_marks(d->scratch, d->n_vocab)))
        return samba__fail_oom(error);
    for (size_t i = 0; i < sampler->n_stages; i++) {
        d->stage = i;
        SAMBA__TRY(samba__stage_apply(&sampler->stages[i], d, error));
    }
    *token = pick(d, samba__rng_uniform(sampler->seed, d->state->branch, d->state->position));
    return SAMBA_OK;
}

static bool is_greedy(const samba_sampler *sampler)
{
    return !sampler || (sampler->n_stages && sampler->stages[0].kind == SAMBA__STAGE_GREEDY &&
                        sampler->n_stages == 1);
}

samba_status samba__sampler_draw(samba_sampler *sampler, const samba_sampler_state *state,
                                 const float *logits, size_t n_vocab,
                                 samba__sampler_scratch *scratch, samba_token *token,
                                 float *logprob, samba_error **error)
{
    const samba_sampler_state empty = {.struct_size = sizeof empty};
    samba_token drawn = 0;
    if (sampler)
        atomic_store_explicit(&sampler->frozen, true, memory_order_relaxed);
    SAMBA__TRY(check_vocab(scratch->alloc, n_vocab, error));
    size_t best = best_logit(logits, n_vocab);
    if (best == n_vocab)
        return no_candidates(scratch->alloc, n_vocab, error);
    if (is_greedy(sampler)) {
        drawn = (samba_token)best;
    } else {
        if (!reserve_candidates(scratch, n_vocab))
            return samba__fail_oom(error);
        samba__draw d = {.alloc = scratch->alloc,
                         .state = state ? state : &empty,
                         .scratch = scratch,
                         .candidates = scratch->candidates,
                         .n_vocab = n_vocab,
                         .scale = weight_scale(n_vocab)};
        fill_candidates(&d, logits);
        SAMBA__TRY(run_chain(sampler, &d, &drawn, error));
    }
    if (logprob)
        samba__token_logprobs(logits, n_vocab, &drawn, 1, logprob);
    *token = drawn;
    return SAMBA_OK;
}

samba_status samba__top_tokens(const float *logits, size_t n_vocab, size_t n, samba_logprob *top,
                               samba__sampler_scratch *scratch, samba_error **error)
{
    SAMBA__TRY(check_vocab(scratch->alloc, n_vocab, error));
    if (n > n_vocab)
        return samba__fail(scratch->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "%zu most likely tokens asked for, the vocabulary has %zu", n, n_vocab);
    if (n == 0)
        return SAMBA_OK;
    size_t best = best_logit(logits, n_vocab);
    if (best == n_vocab)
        return no_candidates(scratch->alloc, n_vocab, error);
    if (!reserve_candidates(scratch, n_vocab))
        return samba__fail_oom(error);
    const samba__order by_logit = {.best = logits[best]};
    samba_candidate *c = scratch->candidates;
    for (size_t i = 0; i < n_vocab; i++)
        c[i] = (samba_candidate){(samba_token)i, logits[i] > -INFINITY ? logits[i] : -INFINITY};
    samba__order_select(&by_logit, c, n_vocab, n);
    samba__order_heap(&by_logit, c, n);
    for (size_t i = 0; i < n; i++) {
        samba_candidate next = samba__order_pop(&by_logit, c, n - i);
        top[i] = (samba_logprob){next.token, next.logit};
    }
    return SAMBA_OK;
}
