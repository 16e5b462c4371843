/*
 * What callers do wrong: every mistake gives a status and a message, and leaves the session exactly
 * where it stood, with its logits, able to go on.
 */
#include "support/golden_case.h"
#include "support/rig.h"

#include <stdlib.h>
#include <string.h>

static samba_context *context;
static samba_model *model, *other_model, *full;
static golden_case *prompt;
static size_t n_vocab;

static void set_up(void)
{
    rig_options options = {.n_threads = 1};
    context = rig_context(&options);
    model = rig_load(context, GOLDEN_CASES "/ms_samba", &options);
    other_model = rig_load(context, GOLDEN_CASES "/mamba_hf", &options);
    full = rig_load(context, GOLDEN_CASES "/ms_llama_full", &options);
    prompt = golden_open(GOLDEN_CASES, "ms_samba");
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    n_vocab = info.n_vocab;
}

static void tear_down(void)
{
    golden_close(prompt);
    samba_model_release(full);
    samba_model_release(other_model);
    samba_model_release(model);
    samba_context_free(context);
}

/* A session with some tokens in it, and what it must still say after a mistake. */
typedef struct standing {
    samba_session *s;
    uint64_t position;
    size_t n_rows;
    float *logits;
} standing;

static standing stand(uint32_t rows_per_pass)
{
    standing st = {.s = rig_session(model, 0, rows_per_pass)};
    rig_eval(st.s, prompt->tokens, 10, 0);
    st.position = 10;
    st.n_rows = 1;
    st.logits = malloc(n_vocab * sizeof(float));
    memcpy(st.logits, rig_logits(st.s, 0), n_vocab * sizeof(float));
    return st;
}

static void still_stands(const standing *st)
{
    ck_assert_uint_eq(samba_session_position(st->s), st->position);
    ck_assert_uint_eq(samba_session_n_rows(st->s), st->n_rows);
    ck_assert_mem_eq(rig_logits(st->s, SAMBA_ROW_LAST), st->logits, n_vocab * sizeof(float));
}

static void goes_on(standing *st)
{
    samba_session *clean = rig_session(model, 0, 0);
    rig_eval(clean, prompt->tokens, 30, 0);
    rig_eval(st->s, prompt->tokens + 10, 20, 0);
    ck_assert_mem_eq(rig_logits(st->s, 0), rig_logits(clean, 0), n_vocab * sizeof(float));
    samba_session_free(clean);
    samba_session_free(st->s);
    free(st->logits);
}

#define WRONG SAMBA_ERROR_INVALID_ARGUMENT

START_TEST(bad_tokens)
{
    standing st = stand(4);
    const samba_token bad[] = {-1, (samba_token)n_vocab, INT32_MAX, INT32_MIN};
    float scores[20];
    for (size_t k = 0; k < 4; k++) {
        for (size_t at = 0; at < 20; at += 3) {
            samba_token tokens[20];
            memcpy(tokens, prompt->tokens, sizeof tokens);
            tokens[at] = bad[k];
            /* Checked before the first pass, wherever the bad one is. */
            CK_FAILS(WRONG, samba_session_eval(st.s, tokens, 20, NULL, RIG_ERROR));
            still_stands(&st);
            CK_FAILS(WRONG, samba_session_score(st.s, tokens, 20, NULL, scores, RIG_ERROR));
            still_stands(&st);
        }
    }
    CK_FAILS(WRONG, samba_session_eval(st.s, NULL, 3, NULL, RIG_ERROR));
    ck_assert_int_eq(samba_session_eval(st.s, &bad[0], 1, NULL, NULL), WRONG);
    CK_OK(samba_session_eval(st.s, NULL, 0, NULL, RIG_ERROR)); /* does nothing */
    still_stands(&st);
    goes_on(&st);
}
END_TEST

START_TEST(null_arguments)
{
    standing st = stand(0);
    const samba_token *t = prompt->tokens;
    const float *rows = NULL;
    const samba_token *tokens = NULL;
    uint64_t first = 0;
    size_t n = 0;
    float score;
    samba_token token = 0;
    samba_session *clone = NULL;
    samba_model *m = NULL;
    CK_FAILS(WRONG, samba_session_eval(NULL, t, 1, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_score(st.s, t, 1, NULL, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_score(NULL, t, 1, NULL, &score, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_logits(st.s, 0, NULL, &n, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_logits(NULL, 0, &rows, &n, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_hidden(st.s, 0, NULL, &n, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_clone(st.s, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_clone(NULL, &clone, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_reset(NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_keep(NULL, 0, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_create(NULL, NULL, &clone, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_create(model, NULL, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_tokens(NULL, &tokens, &first, &n, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_sample(st.s, NULL, 0, NULL, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_sample(NULL, NULL, 0, &token, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_get_stats(st.s, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_top_logprobs(st.s, 0, 3, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_generate(NULL, NULL, NULL, NULL, NULL, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_eval_batch(NULL, 2, sizeof(samba_eval_item), NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_load(NULL, "x", NULL, &m, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_load(context, NULL, NULL, &m, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_load(context, "x", NULL, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_load_memory(context, NULL, 10, NULL, &m, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_load_reader(context, NULL, NULL, &m, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_get_info(model, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_model_get_sublayer(model, 0, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_context_create(NULL, NULL, RIG_ERROR));
    ck_assert_ptr_null(clone);
    ck_assert_ptr_null(m);
    samba_session_free(NULL);
    samba_model_release(NULL);
    samba_context_free(NULL);
    samba_sampler_free(NULL);
    samba_cancel_free(NULL);
    samba_error_free(NULL);
    samba_detokenizer_free(NULL);
    still_stands(&st);
    goes_on(&st);
}
END_TEST

/* Sizes of option structs: too small is wrong, a known prefix is fine, a tail must be zero. */
START_TEST(struct_sizes)
{
    standing st = stand(0);
    struct {
        samba_eval_options o;
        unsigned char tail[24];
    } big = {.o = {.struct_size = sizeof big}};
    samba_session *s = NULL;
    CK_OK(samba_session_eval(st.s, NULL, 0, &big.o, RIG_ERROR));
    for (size_t i = 0; i < sizeof big.tail; i++) {
        big.tail[i] = 1;
        CK_FAILS(WRONG, samba_session_eval(st.s, prompt->tokens, 1, &big.o, RIG_ERROR));
        big.tail[i] = 0;
    }
    for (size_t size = 0; size < sizeof(size_t); size++) {
        big.o.struct_size = size;
        CK_FAILS(WRONG, samba_session_eval(st.s, prompt->tokens, 1, &big.o, RIG_ERROR));
        CK_FAILS(WRONG, samba_session_create(model, &(samba_session_options){.struct_size = size},
                                             &s, RIG_ERROR));
        samba_model_info info = {.struct_size = size};
        CK_FAILS(WRONG, samba_model_get_info(model, &info, RIG_ERROR));
        samba_session_stats stats = {.struct_size = size};
        CK_FAILS(WRONG, samba_session_get_stats(st.s, &stats, RIG_ERROR));
        samba_batch_options batch = {.struct_size = size};
        samba_eval_item item = {.session = st.s, .tokens = prompt->tokens, .n_tokens = 1};
        CK_FAILS(WRONG, samba_eval_batch(&item, 1, sizeof item, &batch, RIG_ERROR));
    }
    ck_assert_ptr_null(s);
    /* Output structs: at most struct_size bytes are written. */
    samba_session_stats stats;
    memset(&stats, 0x5a, sizeof stats);
    stats.struct_size = offsetof(samba_session_stats, state_bytes);
    CK_OK(samba_session_get_stats(st.s, &stats, RIG_ERROR));
    ck_assert_uint_eq(stats.position, 10);
    ck_assert_uint_eq(stats.struct_size, offsetof(samba_session_stats, state_bytes));
    const unsigned char *rest = (const unsigned char *)&stats;
    for (size_t i = stats.struct_size; i < sizeof stats; i++)
        ck_assert_uint_eq(rest[i], 0x5a);
    still_stands(&st);
    goes_on(&st);
}
END_TEST

START_TEST(bad_option_values)
{
    standing st = stand(4);
    const samba_eval_options bad[] = {
        {.struct_size = sizeof bad[0], .outputs = 99},
        {.struct_size = sizeof bad[0], .outputs = -1},
        {.struct_size = sizeof bad[0], .hidden = -2},
        {.struct_size = sizeof bad[0], .hidden = 5}, /* the model has 4 blocks */
        {.struct_size = sizeof bad[0], .hidden = INT32_MIN},
        {.struct_size = sizeof bad[0], .speculative = 7},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CK_FAILS(WRONG, samba_session_eval(st.s, prompt->tokens, 2, &bad[i], RIG_ERROR));
        still_stands(&st);
    }
    samba_eval_options proposal = {.struct_size = sizeof proposal, .speculative = SAMBA_YES};
    samba_status status = samba_session_eval(st.s, prompt->tokens, 5, &proposal, NULL);
    ck_assert(status == WRONG || status == SAMBA_ERROR_LIMIT);
    still_stands(&st);
    float scores[4];
    samba_eval_options all = {.struct_size = sizeof all, .outputs = SAMBA_OUTPUT_ALL};
    CK_FAILS(WRONG, samba_session_score(st.s, prompt->tokens, 4, &all, scores, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_score(st.s, prompt->tokens, 4, &proposal, scores, RIG_ERROR));
    still_stands(&st);

    samba_session *s = NULL;
    static const samba_dtype dtypes[] = {8, 99, -1, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < 5; i++) {
        samba_session_options o = {.struct_size = sizeof o, .kv_dtype = dtypes[i]};
        ck_assert_int_ne(samba_session_create(model, &o, &s, NULL), SAMBA_OK);
        samba_model *m = NULL;
        samba_model_options mo = {.struct_size = sizeof mo, .weight_dtype = dtypes[i]};
        ck_assert_int_ne(samba_model_load(context, GOLDEN_CASES "/ms_samba", &mo, &m, NULL),
                         SAMBA_OK);
        ck_assert_ptr_null(m);
    }
    ck_assert_ptr_null(s);
    samba_model *m = NULL;
    samba_model_options mo = {.struct_size = sizeof mo, .backend = "no such thing"};
    CK_FAILS(SAMBA_ERROR_NOT_FOUND,
             samba_model_load(context, GOLDEN_CASES "/ms_samba", &mo, &m, RIG_ERROR));
    ck_assert_msg(strstr(rig_message(), "no such thing") != NULL, "%s", rig_message());
    CK_FAILS(WRONG,
             samba_model_get_sublayer(
                 model, 1000, &(samba_sublayer_info){.struct_size = sizeof(samba_sublayer_info)},
                 RIG_ERROR));
    goes_on(&st);
}
END_TEST

START_TEST(wrong_order)
{
    samba_session *s = rig_session(model, 0, 8);
    const float *rows = NULL;
    size_t n = 0;
    samba_token token = 0;
    samba_logprob top[3];
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_logits(s, SAMBA_ROW_LAST, &rows, &n, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_hidden(s, SAMBA_ROW_LAST, &rows, &n, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_sample(s, NULL, 0, &token, NULL, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_top_logprobs(s, SAMBA_ROW_LAST, 3, top, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_generate(s, NULL, NULL, NULL, NULL, NULL, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_keep(s, 0, RIG_ERROR));
    ck_assert_uint_eq(samba_session_n_rows(s), 0);
    samba_session_free(s);

    standing st = stand(8);
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_hidden(st.s, 0, &rows, &n, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_logits(st.s, 1, &rows, &n, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_keep(st.s, 0, RIG_ERROR));
    still_stands(&st);
    /* While a proposal waits, only keep moves the session. */
    samba_eval_options proposal = {.struct_size = sizeof proposal, .speculative = SAMBA_YES};
    float scores[2];
    CK_OK(samba_session_eval(st.s, prompt->tokens, 5, &proposal, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_eval(st.s, prompt->tokens, 1, NULL, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_eval(st.s, prompt->tokens, 1, &proposal, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE,
             samba_session_score(st.s, prompt->tokens, 2, NULL, scores, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE,
             samba_session_generate(st.s, NULL, NULL, NULL, NULL, NULL, RIG_ERROR));
    CK_FAILS(WRONG, samba_session_keep(st.s, 6, RIG_ERROR));
    CK_OK(samba_session_keep(st.s, 0, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_STATE, samba_session_keep(st.s, 0, RIG_ERROR));
    still_stands(&st);
    goes_on(&st);
}
END_TEST

/* A proposal may also be thrown away by a reset, or by the end of the session. */
START_TEST(proposal_dropped)
{
    standing st = stand(8);
    samba_eval_options proposal = {.struct_size = sizeof proposal, .speculative = SAMBA_YES};
    samba_session *ends = NULL;
    CK_OK(samba_session_clone(st.s, &ends, RIG_ERROR));
    CK_OK(samba_session_eval(ends, prompt->tokens, 8, &proposal, RIG_ERROR));
    samba_session_free(ends);
    CK_OK(samba_session_eval(st.s, prompt->tokens, 8, &proposal, RIG_ERROR));
    CK_OK(samba_session_reset(st.s, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(st.s), 0);
    ck_assert_uint_eq(samba_session_n_rows(st.s), 0);
    rig_eval(st.s, prompt->tokens, 10, 0);
    still_stands(&st);
    goes_on(&st);
}
END_TEST

/* ---------------------------------------------------------------- batches */

START_TEST(bad_batches)
{
    standing st = stand(0), second = stand(0);
    samba_session *stranger = rig_session(other_model, 0, 0);
    const samba_token *t = prompt->tokens;
    samba_eval_item items[2] = {{.session = st.s, .tokens = t, .n_tokens = 2},
                                {.session = st.s, .tokens = t, .n_tokens = 2}};
    CK_FAILS(WRONG, samba_eval_batch(items, 2, sizeof items[0], NULL, RIG_ERROR));
    ck_assert(items[0].status != SAMBA_OK || items[1].status != SAMBA_OK);
    ck_assert_uint_le(samba_session_position(st.s), 12);
    samba_session_free(st.s);
    free(st.logits);
    st = stand(0);

    items[0].session = st.s;
    items[1].session = stranger;
    ck_assert_int_ne(samba_eval_batch(items, 2, sizeof items[0], NULL, NULL), SAMBA_OK);
    ck_assert_int_ne(items[1].status, SAMBA_OK);
    ck_assert_uint_eq(samba_session_position(stranger), 0);
    samba_session_free(st.s);
    free(st.logits);
    st = stand(0);

    items[0].session = st.s;
    items[1].session = second.s;
    for (size_t size = 0; size < sizeof items[0]; size += 4) {
        CK_FAILS(WRONG, samba_eval_batch(items, 2, size, NULL, RIG_ERROR));
        still_stands(&st);
    }
    CK_OK(samba_eval_batch(NULL, 0, sizeof items[0], NULL, RIG_ERROR));
    samba_session_free(stranger);
    goes_on(&st);
    goes_on(&second);
}
END_TEST

/* One item fails; its neighbours are evaluated as if it were not there. */
START_TEST(one_item_fails)
{
    standing st[3] = {stand(0), stand(0), stand(0)};
    samba_token bad[3] = {prompt->tokens[10], -5, 3};
    samba_eval_item items[3];
    for (int i = 0; i < 3; i++)
        items[i] = (samba_eval_item){.session = st[i].s,
                                     .tokens = i == 1 ? bad : prompt->tokens + 10,
                                     .n_tokens = 3,
                                     .status = -1};
    CK_FAILS(WRONG, samba_eval_batch(items, 3, sizeof items[0], NULL, RIG_ERROR));
    ck_assert_int_eq(items[0].status, SAMBA_OK);
    ck_assert_int_eq(items[1].status, WRONG);
    ck_assert_int_eq(items[2].status, SAMBA_OK);
    still_stands(&st[1]);
    rig_eval(st[1].s, prompt->tokens + 10, 3, 0);
    for (int i = 0; i < 3; i += 2)
        ck_assert_mem_eq(rig_logits(st[i].s, 0), rig_logits(st[1].s, 0), n_vocab * sizeof(float));
    for (int i = 0; i < 3; i++) {
        samba_session_free(st[i].s);
        free(st[i].logits);
    }
}
END_TEST

/* Items may be larger than the library knows. */
START_TEST(larger_items)
{
    struct {
        samba_eval_item item;
        uint64_t more;
    } items[2];
    standing st[2] = {stand(0), stand(0)};
    memset(items, 0, sizeof items);
    for (int i = 0; i < 2; i++)
        items[i].item = (samba_eval_item){
            .session = st[i].s, .tokens = prompt->tokens + 10, .n_tokens = 20, .status = -1};
    CK_OK(samba_eval_batch(&items[0].item, 2, sizeof items[0], NULL, RIG_ERROR));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(items[i].item.status, SAMBA_OK);
        ck_assert_uint_eq(samba_session_position(st[i].s), 30);
        samba_session_free(st[i].s);
        free(st[i].logits);
    }
}
END_TEST

/* ---------------------------------------------------------------- limits */

static uint64_t state_bytes(const samba_session *s)
{
    samba_session_stats stats = {.struct_size = sizeof stats};
    CK_OK(samba_session_get_stats(s, &stats, RIG_ERROR));
    return stats.state_bytes;
}

/* Full attention grows until the limit, stays within it, and can be put to use again. */
START_TEST(state_limit)
{
    samba_session *free_one = rig_session(full, 0, 16), *s = NULL;
    for (int i = 0; i < 10; i++)
        rig_eval(free_one, prompt->tokens, 16, 0);
    uint64_t limit = state_bytes(free_one);
    samba_session_options o = {
        .struct_size = sizeof o, .rows_per_pass = 16, .max_state_bytes = limit};
    CK_OK(samba_session_create(full, &o, &s, RIG_ERROR));
    uint64_t last = 0;
    for (int round = 0; round < 2; round++) {
        samba_status status = SAMBA_OK;
        for (int i = 0; i < 1000 && status == SAMBA_OK; i++) {
            last = samba_session_position(s);
            status = samba_session_eval(s, prompt->tokens, 16, NULL, NULL);
            ck_assert_uint_le(state_bytes(s), limit);
        }
        ck_assert_int_eq(status, SAMBA_ERROR_LIMIT);
        ck_assert_uint_eq(samba_session_position(s), last);
        ck_assert_uint_ge(last, 64);
        ck_assert_uint_le(last, 16 * 30);
        CK_FAILS(SAMBA_ERROR_LIMIT, samba_session_eval(s, prompt->tokens, 60, NULL, RIG_ERROR));
        ck_assert_uint_eq(samba_session_position(s), last);
        rig_logits(s, SAMBA_ROW_LAST);
        CK_OK(samba_session_reset(s, RIG_ERROR));
    }
    samba_session_free(s);
    samba_session_free(free_one);
    /* A bounded model never meets a limit that its full state fits in. */
    samba_session *bounded = rig_session(model, 0, 16);
    for (int i = 0; i < 20; i++)
        rig_eval(bounded, prompt->tokens, 64, 0);
    o.max_state_bytes = 2 * state_bytes(bounded);
    CK_OK(samba_session_create(model, &o, &s, RIG_ERROR));
    for (int i = 0; i < 100; i++)
        rig_eval(s, prompt->tokens, 64, 0);
    samba_session_free(s);
    samba_session_free(bounded);
}
END_TEST

START_TEST(history_limit)
{
    static const uint64_t limits[] = {0, SAMBA_HISTORY_NONE, 2, 50, 1000};
    for (size_t k = 0; k < 5; k++) {
        samba_session *s = NULL;
        samba_session_options o = {.struct_size = sizeof o, .max_history = limits[k]};
        CK_OK(samba_session_create(model, &o, &s, RIG_ERROR));
        uint64_t fed = 0;
        for (int i = 0; i < 300; i++) {
            size_t n = 1 + (size_t)(i % 7);
            rig_eval(s, prompt->tokens + fed % 50, n, 0);
            fed += n;
            const samba_token *tokens = NULL;
            uint64_t first = 0;
            size_t kept = 0;
            CK_OK(samba_session_tokens(s, &tokens, &first, &kept, RIG_ERROR));
            uint64_t most = limits[k] == 0 ? fed : limits[k] == SAMBA_HISTORY_NONE ? 0 : limits[k];
            ck_assert_uint_eq(kept, fed < most ? fed : most);
            ck_assert_uint_eq(first + kept, fed);
            for (size_t j = 0; i % 50 == 49 && j < kept; j++) {
                ck_assert_int_ge(tokens[j], 0);
                ck_assert_int_lt(tokens[j], (int)n_vocab);
            }
            if (kept >= n)
                ck_assert_mem_eq(tokens + kept - n, prompt->tokens + (fed - n) % 50,
                                 n * sizeof *tokens);
        }
        samba_session_free(s);
    }
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("limits");
    TCase *tcase = tcase_create("mistakes");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, bad_tokens);
    tcase_add_test(tcase, null_arguments);
    tcase_add_test(tcase, struct_sizes);
    tcase_add_test(tcase, bad_option_values);
    tcase_add_test(tcase, wrong_order);
    tcase_add_test(tcase, proposal_dropped);
    tcase_add_test(tcase, bad_batches);
    tcase_add_test(tcase, one_item_fails);
    tcase_add_test(tcase, larger_items);
    tcase_add_test(tcase, state_limit);
    tcase_add_test(tcase, history_limit);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
