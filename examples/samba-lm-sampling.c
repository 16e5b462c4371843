/*
 * The sampling options of `generate`: stages in the order given on the command line. The penalties
 * are one stage and so are the biases; each stands where the first of its options stands.
 */
#include "samba-lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    GREEDY,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    MIN_P,
    TYPICAL_P,
    PENALTIES,
    BIAS
};

static const char *push(lm_sampling *s, int kind, double value)
{
    for (size_t i = 0; i < s->n_stages && (kind == PENALTIES || kind == BIAS); i++)
        if (s->stages[i].kind == kind)
            return NULL;
    if (s->n_stages == LM_STAGES_MAX)
        return "among at most 32 sampling options";
    s->stages[s->n_stages++] = (lm_stage){kind, value};
    return NULL;
}

static const char *set_greedy(void *to, const char *text)
{
    (void)text;
    return push(to, GREEDY, 0);
}

static const char *set_temperature(void *to, const char *text)
{
    double t;
    if (!lm_parse_number(text, &t) || !(t > 0) || !isfinite((float)t) || !((float)t > 0))
        return "a number above 0 (for no randomness: --greedy)";
    return push(to, TEMPERATURE, t);
}

static const char *set_top_k(void *to, const char *text)
{
    uint64_t k;
    if (!lm_parse_count(text, &k) || k < 1 || k > UINT32_MAX)
        return "a whole number of at least 1";
    return push(to, TOP_K, (double)k);
}

static const char *set_probability(lm_sampling *s, int kind, const char *text)
{
    double p;
    if (!lm_parse_number(text, &p) || !((float)p > 0 && p <= 1))
        return "a number above 0 and at most 1";
    return push(s, kind, p);
}

static const char *set_top_p(void *to, const char *text)
{
    return set_probability(to, TOP_P, text);
}

static const char *set_min_p(void *to, const char *text)
{
    return set_probability(to, MIN_P, text);
}

static const char *set_typical_p(void *to, const char *text)
{
    return set_probability(to, TYPICAL_P, text);
}

static const char *set_repeat(void *to, const char *text)
{
    lm_sampling *s = to;
    double r;
    if (!lm_parse_number(text, &r) || !((float)r > 0) || !isfinite((float)r))
        return "a number above 0 (1 = none)";
    s->penalties.repeat = (float)r;
    return push(s, PENALTIES, 0);
}

static const char *set_penalty(lm_sampling *s, float *penalty, const char *text)
{
    double x;
    if (!lm_parse_number(text, &x) || !isfinite((float)x))
        return "a number";
    *penalty = (float)x;
    return push(s, PENALTIES, 0);
}

static const char *set_frequency(void *to, const char *text)
{
    return set_penalty(to, &((lm_sampling *)to)->penalties.frequency, text);
}

static const char *set_presence(void *to, const char *text)
{
    return set_penalty(to, &((lm_sampling *)to)->penalties.presence, text);
}

static const char *set_last_n(void *to, const char *text)
{
    lm_sampling *s = to;
    uint64_t n;
    if (strcmp(text, "all") == 0)
        n = UINT64_MAX;
    else if (!lm_parse_count(text, &n) || n < 1)
        return "a whole number of at least 1, or all";
    s->penalties.last_n = n;
    return NULL;
}

static const char *set_bias(void *to, const char *text)
{
    lm_sampling *s = to;
    char id[16];
    double bias;
    uint64_t token;
    size_t length = strcspn(text, "=");
    if (length >= sizeof id || !text[length] || s->n_biases == LM_BIASES_MAX)
        return "ID=NUMBER (-inf forbids the token)";
    memcpy(id, text, length);
    id[length] = 0;
    if (!lm_parse_count(id, &token) || token > INT32_MAX ||
        !lm_parse_number(text + length + 1, &bias) || isnan(bias))
        return "ID=NUMBER (-inf forbids the token)";
    s->bias_tokens[s->n_biases] = (samba_token)token;
    s->biases[s->n_biases++] = (float)bias;
    return push(s, BIAS, 0);
}

void lm_sampling_options(lm_sampling *s, lm_option *options)
{
    const lm_option table[LM_SAMPLING_OPTIONS] = {
        {"--greedy", NULL, NULL, "always the most likely token", set_greedy, s},
        {"--temp", NULL, "T", "temperature (default, without any of these: 0.8, then top-p 0.95)",
         set_temperature, s},
        {"--top-k", NULL, "K", "keep the K most likely tokens", set_top_k, s},
        {"--top-p", NULL, "P", "keep the most likely tokens that together reach P", set_top_p, s},
        {"--min-p", NULL, "P", "keep tokens of at least P times the best one's probability",
         set_min_p, s},
        {"--typical-p", NULL, "P", "locally typical sampling", set_typical_p, s},
        {"--repeat-penalty", NULL, "R", "divide the logits of tokens seen lately by R", set_repeat,
         s},
        {"--frequency-penalty", NULL, "X", "subtract X per occurrence", set_frequency, s},
        {"--presence-penalty", NULL, "X", "subtract X once for tokens seen lately", set_presence,
         s},
        {"--last-n", NULL, "N", "how many tokens are \"lately\" (default 64; or: all)", set_last_n,
         s},
        {"--logit-bias", NULL, "ID=X", "add X to a token's logit (-inf forbids it); repeatable",
         set_bias, s},
        {"--seed", NULL, "N", "seed of the draws (default 0)", lm_set_count, &s->seed},
    };
    memcpy(options, table, sizeof table);
    s->penalties.struct_size = sizeof s->penalties;
}

static samba_status add(const lm_sampling *s, const lm_stage *stage, samba_sampler *sampler,
                        samba_error **error)
{
    switch (stage->kind) {
    case GREEDY:
        return samba_sampler_add_greedy(sampler, error);
    case TEMPERATURE:
        return samba_sampler_add_temperature(sampler, (float)stage->value, error);
    case TOP_K:
        return samba_sampler_add_top_k(sampler, (uint32_t)stage->value, error);
    case TOP_P:
        return samba_sampler_add_top_p(sampler, (float)stage->value, error);
    case MIN_P:
        return samba_sampler_add_min_p(sampler, (float)stage->value, error);
    case TYPICAL_P:
        return samba_sampler_add_typical_p(sampler, (float)stage->value, error);
    case PENALTIES:
        return samba_sampler_add_penalties(sampler, &s->penalties, error);
    default:
        return samba_sampler_add_logit_bias(sampler, s->bias_tokens, s->biases, s->n_biases, error);
    }
}

samba_status lm_sampling_build(const lm_sampling *s, samba_context *context,
                               samba_sampler **sampler, samba_error **error)
{
    static const lm_stage defaults[] = {{TEMPERATURE, 0.8}, {TOP_P, 0.95}};
    samba_sampler *made = NULL;
    samba_status status = samba_sampler_create(context, &made, error);
    if (status == SAMBA_OK)
        status = samba_sampler_add_seed(made, s->seed, error);
    for (size_t i = 0; i < s->n_stages && status == SAMBA_OK; i++)
        status = add(s, &s->stages[i], made, error);
    for (size_t i = 0; i < 2 && s->n_stages == 0 && status == SAMBA_OK; i++)
        status = add(s, &defaults[i], made, error);
    if (status == SAMBA_OK)
        *sampler = made;
    else
        samba_sampler_free(made);
    return status;
}
