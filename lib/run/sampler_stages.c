/*
 * The stages of the chain, one function each, and the table that names them. A stage sees the
 * candidates of the stage before it and knows nothing of the rest of the chain. What callbacks
 * return is checked here.
 */
#include "base/fmath.h"
#include "run/sampler_chain.h"

#include <math.h>
#include <string.h>

typedef samba_status (*stage_fn)(const samba__stage *stage, samba__draw *d, samba_error **error);
typedef struct stage_entry {
    const char *name;
    stage_fn apply;
} stage_entry;
static const stage_entry *entry_of(samba__stage_kind kind);

/* Restores the invariants after logits changed or candidates went. */
static samba_status settle(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    samba_candidate *c = d->candidates;
    size_t kept = 0;
    float best = -INFINITY;
    for (size_t i = 0; i < d->n; i++) {
        if (!(c[i].logit > -INFINITY))
            continue;
        best = c[i].logit > best ? c[i].logit : best;
        c[kept++] = c[i];
    }
    d->n = kept;
    d->best = best;
    return kept ? SAMBA_OK
                : samba__fail(d->alloc, error, SAMBA_ERROR_STATE,
                              "sampler stage %zu (%s) left no token of %zu", d->stage,
                              entry_of(stage->kind)->name, d->n_vocab);
}

static samba_status apply_greedy(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    const samba__order by_logit = {.best = d->best};
    (void)stage;
    (void)error;
    samba__order_select(&by_logit, d->candidates, d->n, 1);
    d->n = 1;
    return SAMBA_OK;
}

/* If the best quotient would overflow, the best logit is moved to 0 first, which leaves the
 * distribution as it is. If the best is +inf, only its equals stay. */
static samba_status apply_temperature(const samba__stage *stage, samba__draw *d,
                                      samba_error **error)
{
    samba_candidate *c = d->candidates;
    float t = stage->as.value, shift = isinf(d->best / t) ? d->best : 0.0f;
    for (size_t i = 0; i < d->n; i++) {
        if (isinf(shift))
            c[i].logit = c[i].logit >= d->best ? c[i].logit : -INFINITY;
        else
            c[i].logit = (c[i].logit - shift) / t;
    }
    return settle(stage, d, error);
}

static samba_status apply_top_k(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    const samba__order by_logit = {.best = d->best};
    (void)error;
    if (stage->as.k < d->n) {
        samba__order_select(&by_logit, d->candidates, d->n, stage->as.k);
        d->n = stage->as.k;
    }
    return SAMBA_OK;
}

/* Keeps the fewest candidates, first in order first, that together weigh p * total. */
static void keep_mass(samba__draw *d, const samba__order *order, float p)
{
    samba__masses masses;
    samba__draw_masses(d, order, &masses);
    double wanted = (double)p * (double)masses.total;
    uint64_t whole = (uint64_t)wanted;
    samba__draw_take(d, order, &masses, whole + ((double)whole < wanted), &d->n);
}

static samba_status apply_top_p(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    const samba__order by_logit = {.best = d->best};
    (void)error;
    if (stage->as.value < 1.0f)
        keep_mass(d, &by_logit, stage->as.value);
    return SAMBA_OK;
}

static samba_status apply_min_p(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    samba_candidate *c = d->candidates;
    size_t kept = 0;
    float p = stage->as.value;
    double least = (double)d->best + (p < 1.0f ? samba__log((double)p) : 0.0);
    (void)error;
    for (size_t i = 0; i < d->n; i++)
        if ((double)c[i].logit >= least)
            c[kept++] = c[i];
    d->n = kept;
    return SAMBA_OK;
}

/*
 * With x = best - logit and Z = sum of exp(-x), surprise is x + log Z and the entropy is
 * log Z + sum(x exp(-x)) / Z: their distance is |x - centre|, centre = sum(x exp(-x)) / Z.
 */
static samba_status apply_typical_p(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    samba__order order = {.best = d->best};
    uint64_t total = 0, sum = 0;
    if (stage->as.value >= 1.0f)
        return SAMBA_OK;
    for (size_t i = 0; i < d->n; i++) {
        double x = samba__order_position(&order, d->candidates[i]);
        uint64_t weight = samba__draw_weight(d, x);
        total += weight;
        sum += weight ? (uint64_t)(x * (double)weight) : 0; /* x exp(-x) < 1: fits like the total */
    }
    order.typical = true;
    order.centre = (double)sum / (double)total;
    keep_mass(d, &order, stage->as.value);
    /* The best candidate may be gone. */
    return settle(stage, d, error);
}

static float penalize(const samba_penalties *p, float logit, uint32_t count)
{
    logit = logit > 0 ? logit / p->repeat : logit * p->repeat;
    return logit - (float)count * p->frequency - p->presence;
}

static samba_status apply_penalties(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    const samba_penalties *p = &stage->as.penalties;
    uint32_t *count = d->scratch->marks;
    size_t n = p->last_n < d->state->n_history ? (size_t)p->last_n : d->state->n_history;
    const samba_token *recent = n ? d->state->history + (d->state->n_history - n) : NULL;
    for (size_t i = 0; i < n; i++)
        if (recent[i] < 0 || (size_t)recent[i] >= d->n_vocab)
            return samba__fail(d->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "history holds token %d, the vocabulary has %zu", recent[i],
                               d->n_vocab);
    for (size_t i = 0; i < n; i++)
        count[recent[i]] += count[recent[i]] < UINT32_MAX;
    for (size_t i = 0; i < d->n; i++) {
        samba_candidate *c = &d->candidates[i];
        if (count[c->token])
            c->logit = penalize(p, c->logit, count[c->token]);
    }
    for (size_t i = 0; i < n; i++)
        count[recent[i]] = 0;
    return settle(stage, d, error);
}

static samba_status apply_bias(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    const samba__bias *items = stage->as.bias.items;
    size_t n = stage->as.bias.n;
    uint32_t *where = d->scratch->marks; /* index of a token's first bias, plus 1 */
    if (n && (size_t)items[n - 1].token >= d->n_vocab)
        return samba__fail(d->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "logit bias names token %d, the vocabulary has %zu", items[n - 1].token,
                           d->n_vocab);
    for (size_t i = n; i-- > 0;)
        where[items[i].token] = (uint32_t)i + 1;
    for (size_t i = 0; i < d->n; i++) {
        samba_candidate *c = &d->candidates[i];
        uint32_t first = where[c->token];
        for (size_t j = first ? first - 1 : n; j < n && items[j].token == c->token; j++)
            c->logit += items[j].bias;
    }
    for (size_t i = 0; i < n; i++)
        where[items[i].token] = 0;
    return settle(stage, d, error);
}

static samba_status apply_custom(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    size_t n = d->n;
    int32_t rc =
        stage->as.callback.stage(stage->as.callback.user_data, d->state, d->candidates, &n);
    if (rc)
        return samba__fail(d->alloc, error, SAMBA_ERROR_CANCELLED,
                           "sampler stage %zu (custom) returned %d", d->stage, rc);
    if (n < 1 || n > d->n)
        return samba__fail(d->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "sampler stage %zu (custom) set n to %zu, it was given %zu", d->stage, n,
                           d->n);
    for (size_t i = 0; i < n; i++)
        if (d->candidates[i].token < 0 || (size_t)d->candidates[i].token >= d->n_vocab)
            return samba__fail(d->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "sampler stage %zu (custom) gave token %d, the vocabulary has %zu",
                               d->stage, d->candidates[i].token, d->n_vocab);
    d->n = n;
    return settle(stage, d, error);
}

static samba_status apply_mask(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    uint32_t *allowed = d->scratch->mask;
    samba_candidate *c = d->candidates;
    size_t kept = 0;
    memset(allowed, 0xff, (d->n_vocab + 31) / 32 * sizeof *allowed);
    int32_t rc =
        stage->as.callback.mask(stage->as.callback.user_data, d->state, allowed, d->n_vocab);
    if (rc)
        return samba__fail(d->alloc, error, SAMBA_ERROR_CANCELLED,
                           "sampler stage %zu (mask) returned %d", d->stage, rc);
    for (size_t i = 0; i < d->n; i++) {
        uint32_t t = (uint32_t)c[i].token;
        if (allowed[t / 32] >> t % 32 & 1)
            c[kept++] = c[i];
    }
    d->n = kept;
    return settle(stage, d, error);
}

static const stage_entry entries[] = {
    [SAMBA__STAGE_GREEDY] = {"greedy", apply_greedy},
    [SAMBA__STAGE_TEMPERATURE] = {"temperature", apply_temperature},
    [SAMBA__STAGE_TOP_K] = {"top_k", apply_top_k},
    [SAMBA__STAGE_TOP_P] = {"top_p", apply_top_p},
    [SAMBA__STAGE_MIN_P] = {"min_p", apply_min_p},
    [SAMBA__STAGE_TYPICAL_P] = {"typical_p", apply_typical_p},
    [SAMBA__STAGE_PENALTIES] = {"penalties", apply_penalties},
    [SAMBA__STAGE_BIAS] = {"logit_bias", apply_bias},
    [SAMBA__STAGE_CUSTOM] = {"custom", apply_custom},
    [SAMBA__STAGE_MASK] = {"mask", apply_mask},
};

static const stage_entry *entry_of(samba__stage_kind kind)
{
    return &entries[kind];
}

samba_status samba__stage_apply(const samba__stage *stage, samba__draw *d, samba_error **error)
{
    return entry_of(stage->kind)->apply(stage, d, error);
}
