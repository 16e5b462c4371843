/*
 * The sampler object: a growing array of stages until its first use, immutable after. Freezing is a
 * one-way atomic flag, so threads that share a frozen sampler need no lock.
 */
#include "run/context.h"
#include "run/sampler_chain.h"

#include <string.h>

samba_status samba__sampler_create(samba_context *context, samba_sampler **sampler,
                                   samba_error **error)
{
    const samba_allocator *a = samba__context_alloc(context);
    samba_sampler *s = samba__calloc(a, 1, sizeof *s);
    if (!s)
        return samba__fail_oom(error);
    s->alloc = a;
    samba__refs_init(&s->refs);
    s->context = samba__context_retain(context);
    atomic_init(&s->frozen, false);
    atomic_init(&s->spare, NULL);
    *sampler = s;
    return SAMBA_OK;
}

static void stage_end(const samba_allocator *a, const samba__stage *stage)
{
    if (stage->kind == SAMBA__STAGE_BIAS)
        samba__free(a, stage->as.bias.items);
    else if ((stage->kind == SAMBA__STAGE_CUSTOM || stage->kind == SAMBA__STAGE_MASK) &&
             stage->as.callback.free_user_data)
        stage->as.callback.free_user_data(stage->as.callback.user_data);
}

samba_sampler *samba__sampler_retain(samba_sampler *sampler)
{
    if (!sampler)
        return NULL;
    atomic_store_explicit(&sampler->frozen, true, memory_order_relaxed);
    samba__refs_take(&sampler->refs);
    return sampler;
}

void samba__sampler_release(samba_sampler *sampler)
{
    if (!sampler || !samba__refs_drop(&sampler->refs))
        return;
    samba_context *context = sampler->context;
    samba__sampler_scratch *spare = atomic_load(&sampler->spare);
    for (size_t i = 0; i < sampler->n_stages; i++)
        stage_end(sampler->alloc, &sampler->stages[i]);
    samba__sampler_scratch_free(spare);
    samba__free(sampler->alloc, spare);
    samba__free(sampler->alloc, sampler->stages);
    samba__free(sampler->alloc, sampler);
    samba__context_release(context);
}

const samba_allocator *samba__sampler_alloc(const samba_sampler *sampler)
{
    return sampler->alloc;
}

static samba_status check_open(samba_sampler *sampler, samba_error **error)
{
    return atomic_load_explicit(&sampler->frozen, memory_order_relaxed)
               ? samba__fail(sampler->alloc, error, SAMBA_ERROR_STATE,
                             "the sampler has been used and takes no more stages (it has %zu)",
                             sampler->n_stages)
               : SAMBA_OK;
}

static samba_status add_stage(samba_sampler *sampler, const samba__stage *stage,
                              samba_error **error)
{
    void *stages = sampler->stages;
    SAMBA__TRY(check_open(sampler, error));
    if (!samba__grow(sampler->alloc, &stages, &sampler->capacity, sampler->n_stages + 1,
                     sizeof *sampler->stages))
        return samba__fail_oom(error);
    sampler->stages = stages;
    sampler->stages[sampler->n_stages++] = *stage;
    sampler->uses_mask |= stage->kind == SAMBA__STAGE_MASK;
    sampler->uses_marks |=
        stage->kind == SAMBA__STAGE_BIAS || stage->kind == SAMBA__STAGE_PENALTIES;
    return SAMBA_OK;
}

samba_status samba__sampler_add(samba_sampler *sampler, const samba__stage *stage,
                                samba_error **error)
{
    samba_status status = add_stage(sampler, stage, error);
    if (status != SAMBA_OK)
        stage_end(sampler->alloc, stage);
    return status;
}

/* Stable merge sort by token: equal tokens keep the caller's order. */
static void sort_biases(samba__bias *items, samba__bias *spare, size_t n)
{
    if (n < 2)
        return;
    size_t half = n / 2, a = 0, b = half;
    sort_biases(items, spare, half);
    sort_biases(items + half, spare, n - half);
    for (size_t i = 0; i < n; i++) {
        bool left = b == n || (a < half && items[a].token <= items[b].token);
        spare[i] = items[left ? a++ : b++];
    }
    memcpy(items, spare, n * sizeof *items);
}

samba_status samba__sampler_add_bias(samba_sampler *sampler, const samba_token *tokens,
                                     const float *biases, size_t n, samba_error **error)
{
    samba__bias *items = samba__alloc_array(sampler->alloc, n, sizeof *items);
    samba__bias *spare = samba__alloc_array(sampler->alloc, n, sizeof *items);
    if (!items || !spare) {
        samba__free(sampler->alloc, items);
        samba__free(sampler->alloc, spare);
        return samba__fail_oom(error);
    }
    for (size_t i = 0; i < n; i++)
        items[i] = (samba__bias){tokens[i], biases[i]};
    sort_biases(items, spare, n);
    samba__free(sampler->alloc, spare);
    samba__stage stage = {.kind = SAMBA__STAGE_BIAS};
    stage.as.bias.items = items;
    stage.as.bias.n = n;
    return samba__sampler_add(sampler, &stage, error);
}

samba_status samba__sampler_set_seed(samba_sampler *sampler, uint64_t seed, samba_error **error)
{
    SAMBA__TRY(check_open(sampler, error));
    sampler->seed = seed;
    return SAMBA_OK;
}

/* The spare, if no other thread has it; else a new one. */
static samba__sampler_scratch *take_scratch(samba_sampler *sampler)
{
    samba__sampler_scratch *s =
        atomic_exchange_explicit(&sampler->spare, NULL, memory_order_acquire);
    if (!s && (s = samba__alloc(sampler->alloc, sizeof *s)))
        samba__sampler_scratch_init(s, sampler->alloc);
    return s;
}

static void give_scratch(samba_sampler *sampler, samba__sampler_scratch *s)
{
    s = atomic_exchange_explicit(&sampler->spare, s, memory_order_acq_rel);
    samba__sampler_scratch_free(s);
    samba__free(sampler->alloc, s);
}

samba_status samba__sampler_draw_shared(samba_sampler *sampler, const samba_sampler_state *state,
                                        const float *logits, size_t n_vocab, samba_token *token,
                                        float *logprob, samba_error **error)
{
    samba__sampler_scratch *scratch = take_scratch(sampler);
    if (!scratch)
        return samba__fail_oom(error);
    samba_status status =
        samba__sampler_draw(sampler, state, logits, n_vocab, scratch, token, logprob, error);
    give_scratch(sampler, scratch);
    return status;
}
