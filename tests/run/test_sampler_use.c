/*
 * The sampler as an object: arguments, freezing, callbacks that misbehave, logits that are not
 * numbers, memory that runs out, sharing by threads, and no allocation once warm.
 */
#include "run/sampler.h"
#include "support/suite.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* An allocator that counts, and fails at a given allocation or from it on. */
typedef struct counting {
    size_t calls, live, fail_at;
    bool lasting;
} counting;

static void *counting_alloc(void *user_data, size_t size, size_t align)
{
    counting *c = user_data;
    size_t call = ++c->calls;
    if (c->fail_at && (c->lasting ? call >= c->fail_at : call == c->fail_at))
        return NULL;
    c->live++;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void counting_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)size;
    (void)align;
    ((counting *)user_data)->live--;
    free(ptr);
}

static counting memory;
static samba_context *context;
static samba_sampler *sampler;

static void setup(void)
{
    samba_allocator a = {sizeof a, counting_alloc, counting_free, &memory};
    samba_context_options o = {.struct_size = sizeof o, .allocator = &a};
    memory = (counting){0};
    ck_assert_int_eq(samba_context_create(&o, &context, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_create(context, &sampler, NULL), SAMBA_OK);
}

static void teardown(void)
{
    samba_sampler_free(sampler);
    sampler = NULL;
    samba_context_free(context);
    ck_assert_uint_eq(memory.live, 0);
}

static void expect_error(samba_status got, samba_status status, samba_error *error,
                         const char *part)
{
    ck_assert_int_eq(got, status);
    ck_assert_ptr_nonnull(error);
    ck_assert_int_eq(samba_error_status(error), status);
    ck_assert_msg(strstr(samba_error_message(error), part), "\"%s\" lacks \"%s\"",
                  samba_error_message(error), part);
    samba_error_free(error);
}

#define EXPECT(call, status, part)                                                                 \
    do {                                                                                           \
        samba_error *err = NULL;                                                                   \
        samba_status got = (call);                                                                 \
        expect_error(got, status, err, part);                                                      \
    } while (0)

static samba_token draw(const float *logits, size_t n)
{
    samba_token token = -7;
    ck_assert_int_eq(samba_sampler_draw(sampler, NULL, logits, n, &token, NULL, NULL), SAMBA_OK);
    return token;
}

/* A failed draw says why and leaves its outputs alone. */
static void draw_fails(const float *logits, size_t n, samba_status status, const char *part)
{
    samba_error *error = NULL;
    samba_token token = -7;
    float logprob = 42;
    samba_status got = samba_sampler_draw(sampler, NULL, logits, n, &token, &logprob, &error);
    expect_error(got, status, error, part);
    ck_assert_int_eq(token, -7);
    ck_assert_float_eq(logprob, 42);
}

static int freed;

static void count_free(void *user_data)
{
    (void)user_data;
    freed++;
}

static int32_t keep_all(void *user_data, const samba_sampler_state *state,
                        samba_candidate *candidates, size_t *n)
{
    (void)user_data;
    (void)state;
    (void)candidates;
    (void)n;
    return 0;
}

START_TEST(bad_arguments)
{
    const samba_status bad = SAMBA_ERROR_INVALID_ARGUMENT;
    static const float values[] = {0, -1, NAN, 1.5f, INFINITY};
    const samba_token tokens[] = {1, -1};
    const float biases[] = {0.5f, 1}, nan_bias[] = {NAN};
    samba_penalties p = {.struct_size = sizeof p, .repeat = -1};
    EXPECT(samba_sampler_create(NULL, &sampler, &err), bad, "context");
    EXPECT(samba_sampler_create(context, NULL, &err), bad, "sampler");
    for (size_t i = 0; i < 5; i++) {
        EXPECT(samba_sampler_add_top_p(sampler, values[i], &err), bad, "top_p");
        EXPECT(samba_sampler_add_min_p(sampler, values[i], &err), bad, "min_p");
        EXPECT(samba_sampler_add_typical_p(sampler, values[i], &err), bad, "typical_p");
        if (i != 3)
            EXPECT(samba_sampler_add_temperature(sampler, values[i], &err), bad, "temperature");
    }
    EXPECT(samba_sampler_add_top_k(sampler, 0, &err), bad, "top_k");
    EXPECT(samba_sampler_add_penalties(sampler, &p, &err), bad, "repeat penalty is -1");
    p = (samba_penalties){.struct_size = sizeof p, .presence = INFINITY};
    EXPECT(samba_sampler_add_penalties(sampler, &p, &err), bad, "presence");
    p = (samba_penalties){.struct_size = 3};
    EXPECT(samba_sampler_add_penalties(sampler, &p, &err), bad, "struct_size");
    EXPECT(samba_sampler_add_logit_bias(sampler, tokens, biases, 2, &err), bad, "token -1");
    EXPECT(samba_sampler_add_logit_bias(sampler, tokens, nan_bias, 1, &err), bad, "nan");
    EXPECT(samba_sampler_add_logit_bias(sampler, NULL, biases, 1, &err), bad, "tokens");
    freed = 0;
    EXPECT(samba_sampler_add_stage(sampler, NULL, NULL, count_free, &err), bad, "callback");
    EXPECT(samba_sampler_add_mask(NULL, NULL, NULL, count_free, &err), bad, "sampler");
    ck_assert_int_eq(freed, 2);

    const float logits[] = {1, 3, 2};
    samba_sampler_state state = {.struct_size = sizeof state, .n_history = 1};
    samba_token token;
    EXPECT(samba_sampler_draw(sampler, NULL, NULL, 3, &token, NULL, &err), bad, "logits");
    EXPECT(samba_sampler_draw(sampler, NULL, logits, 3, NULL, NULL, &err), bad, "token");
    EXPECT(samba_sampler_draw(sampler, &state, logits, 3, &token, NULL, &err), bad, "history");
    draw_fails(logits, 0, bad, "n_vocab is 0");
    /* None of it became a stage: still a plain draw, and one stage more is the first. */
    ck_assert_int_ge(draw(logits, 3), 0);
}
END_TEST

START_TEST(first_use_freezes)
{
    const float logits[] = {1, 3, 2};
    freed = 0;
    ck_assert_int_eq(samba_sampler_add_greedy(sampler, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_add_stage(sampler, keep_all, NULL, count_free, NULL), SAMBA_OK);
    ck_assert_int_eq(draw(logits, 3), 1);
    EXPECT(samba_sampler_add_top_k(sampler, 1, &err), SAMBA_ERROR_STATE, "used");
    EXPECT(samba_sampler_add_seed(sampler, 1, &err), SAMBA_ERROR_STATE, "used");
    EXPECT(samba_sampler_add_logit_bias(sampler, &(samba_token){0}, &(float){1}, 1, &err),
           SAMBA_ERROR_STATE, "used");
    ck_assert_int_eq(freed, 0);
    EXPECT(samba_sampler_add_stage(sampler, keep_all, NULL, count_free, &err), SAMBA_ERROR_STATE,
           "used");
    ck_assert_int_eq(freed, 1);
    samba_sampler_free(sampler);
    sampler = NULL;
    ck_assert_int_eq(freed, 2);
}
END_TEST

START_TEST(sampler_keeps_context)
{
    const float logits[] = {1, 3, 2};
    samba_context_free(context);
    context = NULL;
    samba_sampler_add_greedy(sampler, NULL);
    ck_assert_int_eq(draw(logits, 3), 1);
}
END_TEST

START_TEST(null_sampler_is_greedy)
{
    const float logits[] = {1, 3, 2, 3}, all_nan[] = {NAN, NAN};
    samba_token token = -1;
    float logprob = 0;
    ck_assert_int_eq(samba_sampler_draw(NULL, NULL, logits, 4, &token, &logprob, NULL), SAMBA_OK);
    ck_assert_int_eq(token, 1); /* the lower id of the tie */
    ck_assert_double_eq_tol((double)logprob, -log(2 + exp(-2) + exp(-1)), 1e-6);
    EXPECT(samba_sampler_draw(NULL, NULL, all_nan, 2, &token, NULL, &err), SAMBA_ERROR_BACKEND,
           "all 2 logits");
}
END_TEST

START_TEST(odd_logits)
{
    const float none[] = {NAN, -INFINITY, NAN}, one[] = {NAN, -INFINITY, -3},
                infinite[] = {5, INFINITY, NAN, -INFINITY};
    float logprob;
    samba_token token;
    if (_i == 1)
        samba_sampler_add_temperature(sampler, FLT_MIN / 8, NULL);
    if (_i == 2)
        samba_sampler_add_typical_p(sampler, 0.5f, NULL);
    if (_i == 3)
        samba_sampler_add_greedy(sampler, NULL);
    draw_fails(none, 3, SAMBA_ERROR_BACKEND, "all 3 logits are NaN or -inf");
    ck_assert_int_eq(draw(one, 3), 2);
    ck_assert_int_eq(samba_sampler_draw(sampler, NULL, infinite, 4, &token, &logprob, NULL),
                     SAMBA_OK);
    ck_assert_int_eq(token, 1);
    ck_assert_float_eq(logprob, 0);
}
END_TEST

/* A temperature that overflows every quotient still prefers the best. */
START_TEST(tiny_temperature_is_greedy)
{
    const float logits[] = {1, 3, 2, 2.9f}, negative[] = {-8, -2, -1, -4};
    samba_sampler_add_temperature(sampler, FLT_MIN / 8, NULL);
    for (uint64_t i = 0; i < 50; i++) {
        samba_sampler_state state = {.struct_size = sizeof state, .position = i};
        samba_token token = -1;
        samba_sampler_draw(sampler, &state, logits, 4, &token, NULL, NULL);
        ck_assert_int_eq(token, 1);
        samba_sampler_draw(sampler, &state, negative, 4, &token, NULL, NULL);
        ck_assert_int_eq(token, 2);
    }
}
END_TEST

START_TEST(ties_keep_lower_ids)
{
    const float logits[] = {0, 1, 1, 1, 1, 1, 0};
    samba_sampler_add_top_k(sampler, 2, NULL);
    bool drawn[7] = {false};
    for (uint64_t i = 0; i < 50; i++) {
        samba_sampler_state state = {.struct_size = sizeof state, .position = i};
        samba_token token = 0;
        samba_sampler_draw(sampler, &state, logits, 7, &token, NULL, NULL);
        drawn[token] = true;
    }
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(drawn[i], i == 1 || i == 2);
}
END_TEST

START_TEST(out_of_range_ids)
{
    const float logits[] = {1, 3, 2};
    const samba_token tokens[] = {3, 0};
    const float biases[] = {1, 1};
    samba_sampler_add_logit_bias(sampler, tokens, biases, 2, NULL);
    draw_fails(logits, 3, SAMBA_ERROR_INVALID_ARGUMENT, "token 3, the vocabulary has 3");
    samba_sampler_free(sampler);

    ck_assert_int_eq(samba_sampler_create(context, &sampler, NULL), SAMBA_OK);
    samba_sampler_add_penalties(sampler, NULL, NULL);
    const samba_token history[] = {0, 3, 1};
    samba_sampler_state state = {.struct_size = sizeof state, .history = history, .n_history = 3};
    samba_token token;
    EXPECT(samba_sampler_draw(sampler, &state, logits, 3, &token, NULL, &err),
           SAMBA_ERROR_INVALID_ARGUMENT, "token 3");
    const float four[] = {1, 3, 2, 0};
    ck_assert_int_eq(samba_sampler_draw(sampler, &state, four, 4, &token, NULL, NULL), SAMBA_OK);
}
END_TEST

/* ---- callbacks */

typedef enum trick {
    RETURN_5,
    ZERO,
    TOO_MANY,
    NEGATIVE_ID,
    LARGE_ID,
    ALL_NAN,
    DUPLICATES
} trick;
static trick current;

static int32_t misbehave(void *user_data, const samba_sampler_state *state,
                         samba_candidate *candidates, size_t *n)
{
    (void)user_data;
    ck_assert_uint_eq(state->struct_size, sizeof *state);
    if (current == ZERO)
        *n = 0;
    if (current == TOO_MANY)
        *n += 1;
    if (current == NEGATIVE_ID || current == LARGE_ID)
        candidates[1].token = current == LARGE_ID ? 3 : -1;
    for (size_t i = 0; current == ALL_NAN && i < *n; i++)
        candidates[i].logit = NAN;
    for (size_t i = 0; current == DUPLICATES && i < *n; i++)
        candidates[i].token = 2;
    return current == RETURN_5 ? 5 : 0;
}

static int32_t forbid(void *user_data, const samba_sampler_state *state, uint32_t *allowed,
                      size_t n_vocab)
{
    const uint32_t *bits = user_data;
    (void)state;
    ck_assert_uint_eq(n_vocab, 3);
    ck_assert_uint_eq(*allowed & 7, 7);
    *allowed = *bits;
    return *bits == 0xdead ? -1 : 0;
}

START_TEST(misbehaving_callbacks)
{
    const float logits[] = {1, 3, 2};
    const samba_status bad = SAMBA_ERROR_INVALID_ARGUMENT;
    samba_sampler_add_temperature(sampler, 1, NULL);
    samba_sampler_add_stage(sampler, misbehave, NULL, NULL, NULL);
    current = RETURN_5;
    draw_fails(logits, 3, SAMBA_ERROR_CANCELLED, "stage 1 (custom) returned 5");
    current = ZERO;
    draw_fails(logits, 3, bad, "stage 1 (custom) set n to 0, it was given 3");
    current = TOO_MANY;
    draw_fails(logits, 3, bad, "set n to 4");
    current = NEGATIVE_ID;
    draw_fails(logits, 3, bad, "token -1");
    current = LARGE_ID;
    draw_fails(logits, 3, bad, "token 3");
    current = ALL_NAN;
    draw_fails(logits, 3, SAMBA_ERROR_STATE, "stage 1 (custom) left no token of 3");
    current = DUPLICATES;
    ck_assert_int_eq(draw(logits, 3), 2);
}
END_TEST

START_TEST(masks)
{
    const float logits[] = {1, 3, 2};
    uint32_t bits = 1u << 2;
    samba_sampler_add_mask(sampler, forbid, &bits, NULL, NULL);
    ck_assert_int_eq(draw(logits, 3), 2);
    bits = ~7u; /* bits past the vocabulary say nothing */
    draw_fails(logits, 3, SAMBA_ERROR_STATE, "stage 0 (mask) left no token of 3");
    bits = 0xdead;
    draw_fails(logits, 3, SAMBA_ERROR_CANCELLED, "stage 0 (mask) returned -1");
    bits = 1;
    ck_assert_int_eq(draw(logits, 3), 0);
}
END_TEST

START_TEST(bias_can_forbid_all)
{
    const float logits[] = {1, 3}, biases[] = {-INFINITY, -INFINITY};
    const samba_token tokens[] = {0, 1};
    samba_sampler_add_logit_bias(sampler, tokens, biases, 2, NULL);
    draw_fails(logits, 2, SAMBA_ERROR_STATE, "stage 0 (logit_bias)");
}
END_TEST

/* ---- memory */

static void add_everything(samba_sampler *s, samba_error **error, samba_status *status)
{
    const samba_token tokens[] = {2, 1, 2};
    const float biases[] = {1, 2, 0.5f};
    static uint32_t all = UINT32_MAX;
    samba_penalties p = {.struct_size = sizeof p, .repeat = 1.5f, .last_n = UINT64_MAX};
    *status = samba_sampler_add_penalties(s, &p, error);
    if (*status == SAMBA_OK)
        *status = samba_sampler_add_logit_bias(s, tokens, biases, 3, error);
    if (*status == SAMBA_OK)
        *status = samba_sampler_add_mask(s, forbid, &all, NULL, error);
    if (*status == SAMBA_OK)
        *status = samba_sampler_add_stage(s, keep_all, NULL, count_free, error);
    for (int i = 0; i < 8 && *status == SAMBA_OK; i++) /* more than the first size of the array */
        *status = samba_sampler_add_temperature(s, 1.1f, error);
}

/* One life of a sampler while an allocation fails; true once nothing failed. */
static bool life(size_t fail_at, bool lasting)
{
    const float logits[] = {1, 3, 2};
    samba_sampler *s = NULL;
    samba_error *error = NULL;
    samba_token token = -7;
    size_t live = memory.live;
    memory.calls = 0;
    memory.fail_at = fail_at;
    memory.lasting = lasting;
    samba_status status = samba_sampler_create(context, &s, &error);
    if (status == SAMBA_OK)
        add_everything(s, &error, &status);
    if (status == SAMBA_OK)
        status = samba_sampler_draw(s, NULL, logits, 3, &token, NULL, &error);
    bool whole = status == SAMBA_OK;
    if (!whole) {
        ck_assert_int_eq(status, SAMBA_ERROR_OUT_OF_MEMORY);
        ck_assert_int_eq(samba_error_status(error), SAMBA_ERROR_OUT_OF_MEMORY);
        ck_assert_int_eq(token, -7);
        samba_error_free(error);
        memory.fail_at = 0; /* memory is back: what is there still works */
        if (s)
            ck_assert_int_eq(samba_sampler_draw(s, NULL, logits, 3, &token, NULL, NULL), SAMBA_OK);
    }
    samba_sampler_free(s);
    ck_assert_uint_eq(memory.live, live);
    return whole;
}

START_TEST(every_allocation_may_fail)
{
    size_t n = 1;
    while (!life(n, _i == 1))
        ck_assert_uint_lt(++n, 100);
    ck_assert_uint_gt(n, 8);
}
END_TEST

START_TEST(warm_draws_do_not_allocate)
{
    enum {
        N = 5000
    };
    static float logits[N];
    static samba_token history[200];
    samba_sampler_state state = {.struct_size = sizeof state, .history = history, .n_history = 200};
    samba__sampler_scratch scratch;
    samba_token token = 0, shared = 0;
    float logprob;
    samba_penalties p = {.struct_size = sizeof p, .repeat = 1.2f};
    samba__sampler_scratch_init(&scratch, samba__sampler_alloc(sampler));
    samba_sampler_add_penalties(sampler, &p, NULL);
    samba_sampler_add_logit_bias(sampler, &(samba_token){9}, &(float){1}, 1, NULL);
    samba_sampler_add_typical_p(sampler, 0.99f, NULL);
    samba_sampler_add_top_k(sampler, 100, NULL);
    samba_sampler_add_top_p(sampler, 0.95f, NULL);
    for (int i = 0; i < N; i++)
        logits[i] = (float)(i * 7919 % 1000) / 150.0f;
    for (uint64_t i = 0; i < 20; i++) {
        samba_logprob top[10];
        size_t before = memory.calls;
        state.position = i;
        ck_assert_int_eq(samba__sampler_draw(sampler, &state, logits, N - (i & 1), &scratch, &token,
                                             &logprob, NULL),
                         SAMBA_OK);
        ck_assert_int_eq(samba__top_tokens(logits, N, 10, top, &scratch, NULL), SAMBA_OK);
        ck_assert_int_eq(
            samba_sampler_draw(sampler, &state, logits, N - (i & 1), &shared, NULL, NULL),
            SAMBA_OK);
        ck_assert_int_eq(token, shared);
        history[i] = token;
        ck_assert(i == 0 ? memory.calls > before : memory.calls == before);
    }
    samba__sampler_scratch_free(&scratch);
    samba__sampler_scratch_free(&scratch); /* again: harmless */
}
END_TEST

/* ---- threads */

enum {
    THREADS = 4,
    THREAD_DRAWS = 300,
    THREAD_VOCAB = 400
};
static float thread_logits[THREAD_VOCAB];
static samba_token thread_tokens[THREADS][THREAD_DRAWS];

static void *thread_main(void *arg)
{
    samba_token *tokens = arg;
    for (uint64_t i = 0; i < THREAD_DRAWS; i++) {
        samba_sampler_state state = {.struct_size = sizeof state, .position = i};
        if (samba_sampler_draw(sampler, &state, thread_logits, THREAD_VOCAB, &tokens[i], NULL,
                               NULL) != SAMBA_OK)
            tokens[i] = -1;
    }
    return NULL;
}

START_TEST(threads_share_a_sampler)
{
    pthread_t threads[THREADS];
    samba_context *plain = NULL;
    /* The counting allocator is for one thread. */
    samba_sampler_free(sampler);
    ck_assert_int_eq(samba_context_create(NULL, &plain, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_create(plain, &sampler, NULL), SAMBA_OK);
    samba_context_free(plain);
    samba_sampler_add_top_k(sampler, 50, NULL);
    samba_sampler_add_temperature(sampler, 0.8f, NULL);
    for (int i = 0; i < THREAD_VOCAB; i++)
        thread_logits[i] = (float)(i * 37 % 101) / 30.0f;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_main, thread_tokens[i]), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_mem_eq(thread_tokens[i], thread_tokens[0], sizeof thread_tokens[0]);
    ck_assert_int_ge(thread_tokens[0][0], 0);
    ck_assert_mem_ne(thread_tokens[0], thread_tokens[0] + 1, 100 * sizeof(samba_token));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("run/sampler_use");
    TCase *tc = tcase_create("use");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bad_arguments);
    tcase_add_test(tc, first_use_freezes);
    tcase_add_test(tc, sampler_keeps_context);
    tcase_add_test(tc, null_sampler_is_greedy);
    tcase_add_loop_test(tc, odd_logits, 0, 4);
    tcase_add_test(tc, tiny_temperature_is_greedy);
    tcase_add_test(tc, ties_keep_lower_ids);
    tcase_add_test(tc, out_of_range_ids);
    tcase_add_test(tc, misbehaving_callbacks);
    tcase_add_test(tc, masks);
    tcase_add_test(tc, bias_can_forbid_all);
    tcase_add_loop_test(tc, every_allocation_may_fail, 0, 2);
    tcase_add_test(tc, warm_draws_do_not_allocate);
    tcase_add_test(tc, threads_share_a_sampler);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
