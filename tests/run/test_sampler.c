/*
 * Sampler stages and draws against a plain reference written here in double precision with the C
 * library's mathematics: random chains on random logits keep the same tokens and draw the same one.
 * Then the properties that a reference does not show: order of the chain, frequencies, fixed draws.
 */
#include "base/rng.h"
#include "run/sampler.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    VOCAB_MAX = 32000,
    CHAIN_MAX = 5,
    HISTORY = 100
};

static samba_context *context;

static void setup(void)
{
    ck_assert_int_eq(samba_context_create(NULL, &context, NULL), SAMBA_OK);
}

static void teardown(void)
{
    samba_context_free(context);
}

/* ---- random numbers and inputs */

static uint64_t rng_state;

static double uniform(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(rng_state >> 11) * 0x1p-53;
}

static size_t below(size_t n)
{
    return (size_t)(uniform() * (double)n);
}

/* Spread out, with ties, and with what a faulty device may give. */
static void random_logits(float *logits, size_t n)
{
    double width = uniform() < 0.2 ? 40 : 6;
    bool ties = uniform() < 0.3, faults = uniform() < 0.3;
    for (size_t i = 0; i < n; i++) {
        double x = (uniform() + uniform() + uniform() - 1.5) * width;
        logits[i] = (float)(ties ? floor(x * 2) / 2 : x);
        if (faults && i > 0 && uniform() < 0.1)
            logits[i] = uniform() < 0.5 ? NAN : -INFINITY;
    }
}

/* ---- the reference: candidates in double, sorted whole, libm */

typedef struct ref {
    samba_candidate c[VOCAB_MAX];
    size_t n;
    double key[VOCAB_MAX]; /* by token */
} ref;

static ref reference;

static int by_logit(const void *a, const void *b)
{
    const samba_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static int by_key(const void *a, const void *b)
{
    const samba_candidate *x = a, *y = b;
    double kx = reference.key[x->token], ky = reference.key[y->token];
    if (kx != ky)
        return kx < ky ? -1 : 1;
    return by_logit(a, b);
}

static void ref_clean(ref *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n; i++)
        if (!isnan(r->c[i].logit) && r->c[i].logit != -INFINITY)
            r->c[kept++] = r->c[i];
    r->n = kept;
    qsort(r->c, r->n, sizeof *r->c, by_logit);
}

/* Probabilities of the sorted candidates. */
static double ref_sum(const ref *r)
{
    double sum = 0;
    for (size_t i = 0; i < r->n; i++)
        sum += exp((double)r->c[i].logit - (double)r->c[0].logit);
    return sum;
}

static double ref_p(const ref *r, size_t i, float best, double sum)
{
    return exp((double)r->c[i].logit - (double)best) / sum;
}

static void ref_mass(ref *r, float best, double sum, float p)
{
    double mass = 0;
    size_t kept = 0;
    while (kept < r->n && (p >= 1 || mass < (double)p))
        mass += ref_p(r, kept++, best, sum);
    r->n = kept;
}

static void ref_typical(ref *r, float p)
{
    double sum = ref_sum(r), entropy = 0;
    float best = r->c[0].logit;
    for (size_t i = 0; i < r->n; i++) {
        double q = ref_p(r, i, best, sum);
        entropy -= q > 0 ? q * log(q) : 0;
    }
    for (size_t i = 0; i < r->n; i++)
        reference.key[r->c[i].token] =
            fabs(-((double)r->c[i].logit - (double)best - log(sum)) - entropy);
    qsort(r->c, r->n, sizeof *r->c, by_key);
    ref_mass(r, best, sum, p);
}

static void ref_penalties(ref *r, const samba_penalties *p, const samba_token *history, size_t n)
{
    size_t from = p->last_n < n ? n - (size_t)p->last_n : 0;
    for (size_t i = 0; i < r->n; i++) {
        float *l = &r->c[i].logit;
        int count = 0;
        for (size_t j = from; j < n; j++)
            count += history[j] == r->c[i].token;
        if (!count)
            continue;
        *l = *l > 0 ? *l / p->repeat : *l * p->repeat;
        *l = *l - (float)count * p->frequency - p->presence;
    }
}

static samba_token ref_draw(const ref *r, double u)
{
    double sum = ref_sum(r), mass = 0;
    for (size_t i = 0; i < r->n; i++) {
        mass += exp((double)r->c[i].logit - (double)r->c[0].logit);
        if (mass > u * sum)
            return r->c[i].token;
    }
    return r->c[r->n - 1].token;
}

/* ---- one random stage, added to the sampler and done to the reference */

static void stage_values(samba_sampler *s, ref *r)
{
    static const float ps[] = {0.01f, 0.3f, 0.5f, 0.9f, 0.999f, 1.0f};
    float p = ps[below(6)], t = (float)(0.1 + 2 * uniform());
    uint32_t k = 1 + (uint32_t)below(uniform() < 0.5 ? 50 : 2 * VOCAB_MAX);
    switch (below(5)) {
    case 0:
        ck_assert_int_eq(samba_sampler_add_temperature(s, t, NULL), SAMBA_OK);
        for (size_t i = 0; i < r->n; i++)
            r->c[i].logit /= t;
        break;
    case 1:
        ck_assert_int_eq(samba_sampler_add_top_k(s, k, NULL), SAMBA_OK);
        r->n = r->n < k ? r->n : k;
        break;
    case 2:
        ck_assert_int_eq(samba_sampler_add_top_p(s, p, NULL), SAMBA_OK);
        ref_mass(r, r->c[0].logit, ref_sum(r), p);
        break;
    case 3:
        ck_assert_int_eq(samba_sampler_add_typical_p(s, p, NULL), SAMBA_OK);
        ref_typical(r, p);
        break;
    default:
        ck_assert_int_eq(samba_sampler_add_min_p(s, p, NULL), SAMBA_OK);
        for (size_t i = r->n; i-- > 1;)
            if (exp((double)r->c[i].logit - (double)r->c[0].logit) < (double)p)
                r->n = i;
    }
}

static void stage_penalties(samba_sampler *s, ref *r, const samba_token *history, size_t n)
{
    samba_penalties p = {.struct_size = sizeof p};
    p.repeat = (float)(0.5 + uniform());
    p.frequency = (float)(uniform() - 0.3);
    p.presence = (float)(uniform() - 0.3);
    p.last_n = uniform() < 0.3 ? UINT64_MAX : below(80);
    ck_assert_int_eq(samba_sampler_add_penalties(s, &p, NULL), SAMBA_OK);
    p.last_n = p.last_n ? p.last_n : 64;
    ref_penalties(r, &p, history, n);
}

static void stage_bias(samba_sampler *s, ref *r, size_t n_vocab)
{
    samba_token tokens[20];
    float biases[20];
    size_t n = below(21);
    for (size_t i = 0; i < n; i++) {
        tokens[i] = (samba_token)below(n_vocab);
        /* Token 0 is never forbidden, so that one is left. */
        biases[i] = tokens[i] && uniform() < 0.2 ? -INFINITY : (float)(4 * uniform() - 2);
    }
    ck_assert_int_eq(samba_sampler_add_logit_bias(s, tokens, biases, n, NULL), SAMBA_OK);
    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < n; j++)
            r->c[i].logit += r->c[i].token == tokens[j] ? biases[j] : 0;
}

static int32_t even_only(void *user_data, const samba_sampler_state *state, uint32_t *allowed,
                         size_t n_vocab)
{
    (void)user_data;
    (void)state;
    for (size_t i = 0; i < (n_vocab + 31) / 32; i++)
        allowed[i] &= 0x55555555u;
    return 0;
}

static void stage_mask(samba_sampler *s, ref *r)
{
    bool any = false;
    for (size_t i = 0; i < r->n; i++)
        any |= r->c[i].token % 2 == 0;
    if (!any)
        return;
    ck_assert_int_eq(samba_sampler_add_mask(s, even_only, NULL, NULL, NULL), SAMBA_OK);
    for (size_t i = 0; i < r->n; i++)
        if (r->c[i].token % 2)
            r->c[i].logit = NAN;
}

/* Last in the chain: what is left. */
typedef struct spy {
    samba_candidate c[VOCAB_MAX];
    size_t n;
} spy;
static spy seen;

static int32_t look(void *user_data, const samba_sampler_state *state, samba_candidate *candidates,
                    size_t *n)
{
    (void)user_data;
    (void)state;
    memcpy(seen.c, candidates, *n * sizeof *candidates);
    seen.n = *n;
    qsort(seen.c, seen.n, sizeof *seen.c, by_logit);
    return 0;
}

static void compare_with_reference(const ref *r, size_t n_vocab)
{
    ck_assert_uint_eq(seen.n, r->n);
    for (size_t i = 0; i < r->n; i++) {
        ck_assert_int_eq(seen.c[i].token, r->c[i].token);
        ck_assert_mem_eq(&seen.c[i].logit, &r->c[i].logit, sizeof(float));
        ck_assert_uint_lt((size_t)r->c[i].token, n_vocab);
    }
}

static void random_chain(size_t n_vocab)
{
    static float logits[VOCAB_MAX];
    static samba_token history[HISTORY];
    ref *r = &reference;
    samba_sampler *s = NULL;
    size_t n_stages = below(CHAIN_MAX + 1), n_history = below(HISTORY + 1);
    samba_sampler_state state = {.struct_size = sizeof state,
                                 .history = history,
                                 .n_history = n_history,
                                 .position = below(1000000),
                                 .branch = below(3)};
    uint64_t seed = below(1000);
    ck_assert_int_eq(samba_sampler_create(context, &s, NULL), SAMBA_OK);
    samba_sampler_add_seed(s, seed, NULL);
    random_logits(logits, n_vocab);
    for (size_t i = 0; i < n_history; i++)
        history[i] =
            (samba_token)below(uniform() < 0.5 ? 10 % n_vocab + 1 : n_vocab) % (samba_token)n_vocab;
    r->n = n_vocab;
    for (size_t i = 0; i < n_vocab; i++)
        r->c[i] = (samba_candidate){(samba_token)i, logits[i]};
    ref_clean(r);
    for (size_t i = 0; i < n_stages; i++) {
        size_t which = below(8);
        if (which < 5)
            stage_values(s, r);
        else if (which == 5)
            stage_penalties(s, r, history, n_history);
        else if (which == 6 && r->c[0].token == 0)
            stage_bias(s, r, n_vocab);
        else
            stage_mask(s, r);
        ref_clean(r);
    }
    ck_assert_int_eq(samba_sampler_add_stage(s, look, NULL, NULL, NULL), SAMBA_OK);
    samba_token token = -1;
    float logprob = 1;
    ck_assert_int_eq(samba_sampler_draw(s, &state, logits, n_vocab, &token, &logprob, NULL),
                     SAMBA_OK);
    compare_with_reference(r, n_vocab);
    ck_assert_int_eq(token, ref_draw(r, samba__rng_uniform(seed, state.branch, state.position)));

    /* The log-probability is of the raw distribution. */
    r->n = n_vocab;
    for (size_t i = 0; i < n_vocab; i++)
        r->c[i] = (samba_candidate){(samba_token)i, logits[i]};
    ref_clean(r);
    double expected = (double)logits[token] - (double)r->c[0].logit - log(ref_sum(r));
    ck_assert_double_eq_tol((double)logprob, expected, 1e-6 * (1 + fabs(expected)));
    samba_sampler_free(s);
}

START_TEST(chains_match_reference)
{
    static const size_t vocab[] = {1, 2, 7, 1000, VOCAB_MAX};
    static const int rounds[] = {50, 200, 400, 150, 10};
    rng_state = 20220600 + (uint64_t)_i;
    for (int i = 0; i < rounds[_i]; i++)
        random_chain(vocab[_i]);
}
END_TEST

/* ---- order */

static size_t kept_after(samba_sampler *s, const float *logits, size_t n)
{
    samba_token token;
    ck_assert_int_eq(samba_sampler_add_stage(s, look, NULL, NULL, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_draw(s, NULL, logits, n, &token, NULL, NULL), SAMBA_OK);
    samba_sampler_free(s);
    return seen.n;
}

START_TEST(order_of_the_chain_matters)
{
    static const float logits[] = {4, 3, 2, 1, 0};
    samba_sampler *a = NULL, *b = NULL;
    samba_sampler_create(context, &a, NULL);
    samba_sampler_create(context, &b, NULL);
    samba_sampler_add_temperature(a, 4, NULL);
    samba_sampler_add_top_p(a, 0.85f, NULL);
    samba_sampler_add_top_p(b, 0.85f, NULL);
    samba_sampler_add_temperature(b, 4, NULL);
    /* p at temperature 4: .33 .26 .20 .12 ..., at 1: .64 .23 .09 ... */
    ck_assert_uint_eq(kept_after(a, logits, 5), 4);
    ck_assert_uint_eq(kept_after(b, logits, 5), 2);
}
END_TEST

/* ---- frequencies */

START_TEST(frequencies_follow_the_softmax)
{
    enum {
        N = 8,
        DRAWS = 40000
    };
    float logits[N];
    double p[N], sum = 0;
    samba_sampler *s = NULL;
    samba_sampler_state state = {.struct_size = sizeof state, .branch = (uint64_t)_i};
    int count[N] = {0};
    for (int i = 0; i < N; i++)
        sum += p[i] = exp((double)(logits[i] = (float)(i * 5 % N) * 0.4f));
    samba_sampler_create(context, &s, NULL);
    samba_sampler_add_seed(s, 99, NULL);
    for (int i = 0; i < DRAWS; i++) {
        samba_token token = -1;
        state.position = (uint64_t)i;
        ck_assert_int_eq(samba_sampler_draw(s, &state, logits, N, &token, NULL, NULL), SAMBA_OK);
        count[token]++;
    }
    double chi2 = 0;
    for (int i = 0; i < N; i++) {
        double expected = DRAWS * p[i] / sum, d = count[i] - expected;
        chi2 += d * d / expected;
    }
    ck_assert_double_lt(chi2, 24.3); /* 7 degrees of freedom, p = 0.001 */
    samba_sampler_free(s);
}
END_TEST

/* ---- fixed draws: these must never change. Computed by an independent program. */

START_TEST(golden_draws)
{
    enum {
        N = 101,
        DRAWS = 16
    };
    static const samba_token plain[DRAWS] = {84, 73, 30, 49, 9,  8,  27, 27,
                                             56, 27, 57, 90, 56, 73, 68, 35};
    static const samba_token chain[DRAWS] = {98, 90, 49, 49, 27, 27, 76, 68,
                                             30, 30, 5,  30, 90, 49, 27, 87};
    float logits[N];
    samba_sampler *a = NULL, *b = NULL;
    for (int i = 0; i < N; i++)
        logits[i] = (float)(i * 37 % N) / 16.0f - 3.0f;
    samba_sampler_create(context, &a, NULL);
    samba_sampler_create(context, &b, NULL);
    samba_sampler_add_seed(a, 7, NULL);
    samba_sampler_add_seed(b, UINT64_C(0x123456789abcdef), NULL);
    samba_sampler_add_top_k(b, 40, NULL);
    samba_sampler_add_temperature(b, 0.5f, NULL);
    samba_sampler_add_top_p(b, 0.875f, NULL);
    for (uint64_t i = 0; i < DRAWS; i++) {
        samba_sampler_state state = {.struct_size = sizeof state, .position = i, .branch = i / 8};
        samba_token token = -1;
        ck_assert_int_eq(samba_sampler_draw(a, &state, logits, N, &token, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(token, plain[i]);
        ck_assert_int_eq(samba_sampler_draw(b, &state, logits, N, &token, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(token, chain[i]);
    }
    samba_sampler_free(a);
    samba_sampler_free(b);
}
END_TEST

/* ---- best tokens */

START_TEST(top_logprobs_match_reference)
{
    static const size_t vocab[] = {1, 2, 7, 1000, VOCAB_MAX};
    static float logits[VOCAB_MAX];
    static samba_logprob top[VOCAB_MAX];
    static samba_token tokens[VOCAB_MAX];
    static float logprobs[VOCAB_MAX];
    samba__sampler_scratch scratch;
    size_t n = vocab[_i];
    samba__sampler_scratch_init(&scratch, samba__alloc_default());
    rng_state = 77 + (uint64_t)_i;
    for (int round = 0; round < 8; round++) {
        ref *r = &reference;
        size_t m = round == 0 ? n : below(n + 1);
        random_logits(logits, n);
        ck_assert_int_eq(samba__top_tokens(logits, n, m, top, &scratch, NULL), SAMBA_OK);
        for (size_t i = 0; i < m; i++)
            tokens[i] = top[i].token;
        samba__token_logprobs(logits, n, tokens, m, logprobs);
        r->n = n;
        for (size_t i = 0; i < n; i++)
            r->c[i] = (samba_candidate){(samba_token)i, isnan(logits[i]) ? -INFINITY : logits[i]};
        qsort(r->c, n, sizeof *r->c, by_logit);
        double sum = ref_sum(r);
        for (size_t i = 0; i < m; i++) {
            double lp = (double)r->c[i].logit - (double)r->c[0].logit - log(sum);
            ck_assert_int_eq(top[i].token, r->c[i].token);
            if (isinf(lp))
                ck_assert_float_eq(logprobs[i], -INFINITY);
            else
                ck_assert_double_eq_tol((double)logprobs[i], lp, 1e-6 * (1 + fabs(lp)));
        }
    }
    ck_assert_int_eq(samba__top_tokens(logits, n, n + 1, top, &scratch, NULL),
                     SAMBA_ERROR_INVALID_ARGUMENT);
    samba__sampler_scratch_free(&scratch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("run/sampler");
    TCase *tc = tcase_create("sampler");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, chains_match_reference, 0, 5);
    tcase_add_test(tc, order_of_the_chain_matters);
    tcase_add_loop_test(tc, frequencies_follow_the_softmax, 0, 3);
    tcase_add_test(tc, golden_draws);
    tcase_add_loop_test(tc, top_logprobs_match_reference, 0, 5);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
