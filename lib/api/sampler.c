/*
 * Public face of the sampler: checks arguments and fills in defaults; the rest is run/sampler.h.
 */
#include "run/sampler.h"
#include "api/options.h"

#include <math.h>

static samba_status refuse(const samba_sampler *sampler, samba_error **error, const char *what)
{
    return samba__fail(sampler ? samba__sampler_alloc(sampler) : samba__alloc_default(), error,
                       SAMBA_ERROR_INVALID_ARGUMENT, "%s", what);
}

samba_status samba_sampler_create(samba_context *context, samba_sampler **sampler,
                                  samba_error **error)
{
    if (!context || !sampler)
        return refuse(NULL, error, !context ? "context is NULL" : "sampler is NULL");
    return samba__sampler_create(context, sampler, error);
}

void samba_sampler_free(samba_sampler *sampler)
{
    samba__sampler_release(sampler);
}

samba_status samba_sampler_add_greedy(samba_sampler *sampler, samba_error **error)
{
    const samba__stage stage = {.kind = SAMBA__STAGE_GREEDY};
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    return samba__sampler_add(sampler, &stage, error);
}

static samba_status add_value(samba_sampler *sampler, samba__stage_kind kind, float value,
                              samba_error **error)
{
    samba__stage stage = {.kind = kind};
    stage.as.value = value;
    return samba__sampler_add(sampler, &stage, error);
}

samba_status samba_sampler_add_temperature(samba_sampler *sampler, float t, samba_error **error)
{
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    if (!(t > 0) || isinf(t))
        return samba__fail(samba__sampler_alloc(sampler), error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "temperature is %g, must be finite and above 0", (double)t);
    return add_value(sampler, SAMBA__STAGE_TEMPERATURE, t, error);
}

samba_status samba_sampler_add_top_k(samba_sampler *sampler, uint32_t k, samba_error **error)
{
    samba__stage stage = {.kind = SAMBA__STAGE_TOP_K};
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    if (k == 0)
        return refuse(sampler, error, "top_k is 0, must be at least 1");
    stage.as.k = k;
    return samba__sampler_add(sampler, &stage, error);
}

static samba_status add_probability(samba_sampler *sampler, samba__stage_kind kind,
                                    const char *name, float p, samba_error **error)
{
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    if (!(p > 0 && p <= 1))
        return samba__fail(samba__sampler_alloc(sampler), error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "%s is %g, must be above 0 and at most 1", name, (double)p);
    return add_value(sampler, kind, p, error);
}

samba_status samba_sampler_add_top_p(samba_sampler *sampler, float p, samba_error **error)
{
    return add_probability(sampler, SAMBA__STAGE_TOP_P, "top_p", p, error);
}

samba_status samba_sampler_add_min_p(samba_sampler *sampler, float p, samba_error **error)
{
    return add_probability(sampler, SAMBA__STAGE_MIN_P, "min_p", p, error);
}

samba_status samba_sampler_add_typical_p(samba_sampler *sampler, float p, samba_error **error)
{
    return add_probability(sampler, SAMBA__STAGE_TYPICAL_P, "typical_p", p, error);
}

samba_status samba_sampler_add_penalties(samba_sampler *sampler, const samba_penalties *penalties,
                                         samba_error **error)
{
    samba__stage stage = {.kind = SAMBA__STAGE_PENALTIES};
    samba_penalties *p = &stage.as.penalties;
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    const samba_allocator *a = samba__sampler_alloc(sampler);
    SAMBA__TRY(
        samba__options_read(a, penalties, sizeof *penalties, p, sizeof *p, "penalties", error));
    p->repeat = p->repeat >= 0 && p->repeat <= 0 ? 1.0f : p->repeat;
    p->last_n = p->last_n ? p->last_n : 64;
    if (!(p->repeat > 0) || isinf(p->repeat))
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "repeat penalty is %g, must be finite and above 0", (double)p->repeat);
    if (!isfinite(p->frequency) || !isfinite(p->presence))
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "frequency penalty is %g and presence penalty %g, must be finite",
                           (double)p->frequency, (double)p->presence);
    return samba__sampler_add(sampler, &stage, error);
}

samba_status samba_sampler_add_logit_bias(samba_sampler *sampler, const samba_token *tokens,
                                          const float *biases, size_t n, samba_error **error)
{
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    if (n && (!tokens || !biases))
        return refuse(sampler, error, !tokens ? "tokens is NULL" : "biases is NULL");
    if (n > INT32_MAX)
        return refuse(sampler, error, "more logit biases than there can be tokens");
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || isnan(biases[i]))
            return samba__fail(samba__sampler_alloc(sampler), error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "logit bias %zu is %g for token %d", i, (double)biases[i],
                               tokens[i]);
    return samba__sampler_add_bias(sampler, tokens, biases, n, error);
}

samba_status samba_sampler_add_seed(samba_sampler *sampler, uint64_t seed, samba_error **error)
{
    if (!sampler)
        return refuse(NULL, error, "sampler is NULL");
    return samba__sampler_set_seed(sampler, seed, error);
}

/* A callback stage; the user data is freed on every way that does not keep it. */
static samba_status add_callback(samba_sampler *sampler, const samba__stage *stage,
                                 samba_error **error)
{
    if (sampler && (stage->as.callback.stage || stage->as.callback.mask))
        return samba__sampler_add(sampler, stage, error);
    if (stage->as.callback.free_user_data)
        stage->as.callback.free_user_data(stage->as.callback.user_data);
    return refuse(sampler, error, !sampler ? "sampler is NULL" : "the callback is NULL");
}

samba_status samba_sampler_add_stage(samba_sampler *sampler, samba_sampler_stage_fn stage,
                                     void *user_data, void (*free_user_data)(void *),
                                     samba_error **error)
{
    samba__stage s = {.kind = SAMBA__STAGE_CUSTOM};
    s.as.callback.stage = stage;
    s.as.callback.user_data = user_data;
    s.as.callback.free_user_data = free_user_data;
    return add_callback(sampler, &s, error);
}

samba_status samba_sampler_add_mask(samba_sampler *sampler, samba_sampler_mask_fn mask,
                                    void *user_data, void (*free_user_data)(void *),
                                    samba_error **error)
{
    samba__stage s = {.kind = SAMBA__STAGE_MASK};
    s.as.callback.mask = mask;
    s.as.callback.user_data = user_data;
    s.as.callback.free_user_data = free_user_data;
    return add_callback(sampler, &s, error);
}

samba_status samba_sampler_draw(samba_sampler *sampler, const samba_sampler_state *state,
                                const float *logits, size_t n_vocab, samba_token *token,
                                float *logprob, samba_error **error)
{
    const samba_allocator *a = sampler ? samba__sampler_alloc(sampler) : samba__alloc_default();
    samba_sampler_state s;
    if (!logits || !token)
        return refuse(sampler, error, !logits ? "logits is NULL" : "token is NULL");
    SAMBA__TRY(samba__options_read(a, state, sizeof *state, &s, sizeof s, "state", error));
    if (s.n_history && !s.history)
        return refuse(sampler, error, "history is NULL but n_history is not 0");
    if (sampler)
        return samba__sampler_draw_shared(sampler, &s, logits, n_vocab, token, logprob, error);
    samba__sampler_scratch scratch; /* greedy draws put nothing into it */
    samba__sampler_scratch_init(&scratch, a);
    return samba__sampler_draw(NULL, &s, logits, n_vocab, &scratch, token, logprob, error);
}
