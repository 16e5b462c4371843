/*
 * Sessions on the toy backend: what each call gives and refuses, how batches are cut and shared,
 * scores, the limit of bytes, and the figures. Exact: every row is compared with the plain form.
 */
#include "support/suite.h"
#include "toy_backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_int_eq((call), SAMBA_OK)

/* The call must fail so, with a message that holds all the texts. */
static void check_failure(samba_status got, samba_status wanted, samba_error **error,
                          const char *text, const char *more)
{
    ck_assert_int_eq(got, wanted);
    ck_assert_int_eq(samba_error_status(*error), wanted);
    ck_assert_msg(strstr(samba_error_message(*error), text) &&
                      strstr(samba_error_message(*error), more),
                  "\"%s\" lacks \"%s\" or \"%s\"", samba_error_message(*error), text, more);
    samba_error_free(*error);
    *error = NULL;
}

static toy_shadow plain(const toy *t, const samba_token *tokens, size_t n)
{
    toy_shadow s;
    toy_shadow_init(&s, t->model.n_page_slots == 3);
    toy_shadow_feed_all(&s, tokens, n);
    return s;
}

static void check_fed(const toy *t, const samba_session *s, const samba_token *tokens, size_t n)
{
    toy_shadow shadow = plain(t, tokens, n);
    toy_check_session(s, &shadow, n != 0);
    toy_shadow_free(&shadow);
}

static samba_token *some_tokens(size_t n)
{
    samba_token *tokens = malloc(n * sizeof *tokens);
    uint64_t random = 21;
    for (size_t i = 0; i < n; i++)
        tokens[i] = toy_token(&random);
    return tokens;
}

/* ---------------------------------------------------------------- one session */

START_TEST(refusals)
{
    toy *t = toy_create(false);
    samba_session *s = toy_session(t, NULL);
    samba_error *error = NULL;
    const samba_token bad[] = {3, 4, TOY_VOCAB};
    check_failure(samba_session_eval(s, bad, 3, NULL, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error,
                  "tokens[2] is 61", "61 tokens");
    const samba_eval_options far = {.struct_size = sizeof far, .hidden = TOY_BLOCKS + 1};
    check_failure(samba_session_eval(s, bad, 2, &far, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error,
                  "hidden is 5", "4 blocks");
    const float *row = NULL;
    check_failure(samba_session_logits(s, 0, &row, NULL, &error), SAMBA_ERROR_STATE, &error,
                  "no output rows", "position 0");
    samba_session_options o = {.struct_size = sizeof o, .kv_dtype = SAMBA_DTYPE_BF16};
    samba_session *none = NULL;
    check_failure(samba_session_create(&t->model, &o, &none, &error), SAMBA_ERROR_UNSUPPORTED,
                  &error, "bf16", "sublayer 1");
    check_failure(samba_session_feed_text(s, "x", 1, NULL, &error), SAMBA_ERROR_UNSUPPORTED, &error,
                  "tokenizer", "");
    check_fed(t, s, NULL, 0);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

START_TEST(outputs)
{
    toy *t = toy_create(true);
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 6};
    samba_session *s = toy_session(t, &o);
    samba_token *tokens = some_tokens(50);
    const float *hidden = NULL;
    float expected[TOY_D_MODEL];
    samba_eval_options e = {.struct_size = sizeof e, .outputs = SAMBA_OUTPUT_ALL, .hidden = 1};
    OK(samba_session_eval(s, tokens, 20, &e, NULL));
    ck_assert_uint_eq(samba_session_n_rows(s), 20);
    for (size_t i = 0; i < 20; i++) {
        toy_shadow p = plain(t, tokens, i + 1);
        OK(samba_session_hidden(s, i, &hidden, NULL, NULL));
        toy_hidden(p.taps[0], expected);
        ck_assert_mem_eq(hidden, expected, sizeof expected);
        toy_shadow_free(&p);
    }
    e.outputs = SAMBA_OUTPUT_NONE;
    OK(samba_session_eval(s, tokens + 20, 20, &e, NULL));
    ck_assert_uint_eq(samba_session_n_rows(s), 0);
    ck_assert_int_eq(samba_session_sample(s, NULL, 0, &(samba_token){0}, NULL, NULL),
                     SAMBA_ERROR_STATE);
    e = (samba_eval_options){.struct_size = sizeof e, .hidden = SAMBA_HIDDEN_FINAL};
    OK(samba_session_eval(s, tokens + 40, 10, &e, NULL));
    ck_assert_uint_eq(samba_session_n_rows(s), 1);
    check_fed(t, s, tokens, 50);
    OK(samba_session_eval(s, NULL, 0, NULL, NULL)); /* changes nothing */
    check_fed(t, s, tokens, 50);
    OK(samba_session_reset(s, NULL));
    check_fed(t, s, NULL, 0);
    OK(samba_session_eval(s, tokens, 33, NULL, NULL));
    check_fed(t, s, tokens, 33);
    free(tokens);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* Held rows stay as they are while their session moves on, is reset and ends, and its model's
 * reference of the test with it. */
START_TEST(held_logits)
{
    toy *t = toy_create(false);
    samba_session *s = toy_session(t, NULL);
    samba_token *tokens = some_tokens(40);
    const samba_eval_options all = {.struct_size = sizeof all, .outputs = SAMBA_OUTPUT_ALL};
    samba_logits *held = NULL, *last = NULL;
    samba_error *error = NULL;
    size_t rows = 9, vocab = 9;
    check_failure(samba_session_hold_logits(s, &held, &error), SAMBA_ERROR_STATE, &error,
                  "no output rows", "");
    ck_assert_ptr_null(held);
    OK(samba_session_eval(s, tokens, 10, &all, NULL));
    OK(samba_session_hold_logits(s, &held, NULL));
    const float *now = NULL;
    OK(samba_session_logits(s, 0, &now, NULL, NULL));
    ck_assert_ptr_eq(samba_logits_data(held, NULL, NULL), now); /* shared */
    OK(samba_session_eval(s, tokens + 10, 30, NULL, NULL));
    OK(samba_session_hold_logits(s, &last, NULL));
    ck_assert_ptr_eq(samba_logits_retain(last), last);
    samba_logits_release(last);
    OK(samba_session_reset(s, NULL));
    OK(samba_session_eval(s, tokens + 5, 35, NULL, NULL));
    samba_session_free(s);
    float expected[TOY_VOCAB];
    const float *data = samba_logits_data(held, &rows, &vocab);
    ck_assert_uint_eq(rows, 10);
    ck_assert_uint_eq(vocab, TOY_VOCAB);
    for (size_t i = 0; i < rows; i++) {
        toy_shadow p = plain(t, tokens, i + 1);
        toy_logits(p.last, expected);
        ck_assert_mem_eq(data + i * TOY_VOCAB, expected, sizeof expected);
        toy_shadow_free(&p);
    }
    toy_shadow p = plain(t, tokens, 40);
    toy_logits(p.last, expected);
    ck_assert_mem_eq(samba_logits_data(last, &rows, NULL), expected, sizeof expected);
    ck_assert_uint_eq(rows, 1);
    toy_shadow_free(&p);
    samba_logits_release(held);
    samba_logits_release(last);
    samba_logits_release(NULL);
    ck_assert_ptr_null(samba_logits_retain(NULL));
    ck_assert_ptr_null(samba_logits_data(NULL, &rows, NULL));
    ck_assert_uint_eq(rows, 0);
    free(tokens);
    toy_free(t);
}
END_TEST

/* By rows, what scoring gives, to the bit. */
START_TEST(logprobs_of_rows)
{
    enum {
        N = 12
    };
    toy *t = toy_create(false);
    samba_session *s = toy_session(t, NULL);
    samba_token *tokens = some_tokens(N);
    const samba_eval_options all = {.struct_size = sizeof all, .outputs = SAMBA_OUTPUT_ALL};
    float scored[N], logprob = 9;
    samba_error *error = NULL;
    OK(samba_session_score(s, tokens, N, NULL, scored, NULL));
    OK(samba_session_reset(s, NULL));
    check_failure(samba_session_logprob(s, 0, 0, &logprob, &error), SAMBA_ERROR_STATE, &error,
                  "no output rows", "");
    OK(samba_session_eval(s, tokens, N, &all, NULL));
    check_failure(samba_session_logprob(s, 0, TOY_VOCAB, &logprob, &error),
                  SAMBA_ERROR_INVALID_ARGUMENT, &error, "token is 61", "61 tokens");
    check_failure(samba_session_logprob(s, N, 0, &logprob, &error), SAMBA_ERROR_INVALID_ARGUMENT,
                  &error, "row is 12", "12");
    ck_assert_float_eq(logprob, 9);
    for (size_t i = 1; i < N; i++) {
        OK(samba_session_logprob(s, i - 1, tokens[i], &logprob, NULL));
        ck_assert_mem_eq(&logprob, &scored[i], sizeof logprob);
    }
    free(tokens);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

START_TEST(scores)
{
    enum {
        N = 40
    };
    toy *t = toy_create(false);
    samba_token *tokens = some_tokens(N);
    float whole[N], cut[N];
    for (uint32_t rows = 1; rows < 45; rows += 6) {
        const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = rows};
        samba_session *s = toy_session(t, &o);
        OK(samba_session_score(s, tokens, N, NULL, rows == 1 ? whole : cut, NULL));
        check_fed(t, s, tokens, N);
        ck_assert_mem_eq(whole, rows == 1 ? whole : cut, sizeof whole);
        samba_session_free(s);
    }
    ck_assert(memcmp(whole, "\0\0\0\0", 4) == 0);
    for (size_t i = 1; i < N; i++) {
        float logits[TOY_VOCAB];
        double sum = 0;
        toy_shadow p = plain(t, tokens, i);
        toy_logits(p.last, logits);
        for (int v = 0; v < TOY_VOCAB; v++)
            sum += exp((double)logits[v]);
        ck_assert(fabs((double)logits[tokens[i]] - log(sum) - (double)whole[i]) < 1e-6);
        toy_shadow_free(&p);
    }
    /* In two calls, the second one's first token by the logits at hand. */
    samba_session *s = toy_session(t, NULL);
    OK(samba_session_score(s, tokens, 17, NULL, cut, NULL));
    OK(samba_session_score(s, tokens + 17, N - 17, NULL, cut + 17, NULL));
    for (size_t i = 0; i < N; i++)
        ck_assert(fabsf(cut[i] - whole[i]) < 1e-6f);
    const samba_eval_options none = {.struct_size = sizeof none, .outputs = SAMBA_OUTPUT_NONE};
    OK(samba_session_eval(s, tokens, 1, &none, NULL));
    ck_assert_int_eq(samba_session_score(s, tokens, 2, NULL, cut, NULL), SAMBA_ERROR_STATE);
    free(tokens);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* The default budget for checkpoints is one whole state, is used, and is kept to. */
START_TEST(checkpoints_by_default)
{
    toy *t = toy_create(_i != 0);
    const samba_session_options o = {
        .struct_size = sizeof o, .rows_per_pass = 4, .checkpoint_interval = 1};
    samba_session *s = toy_session(t, &o);
    samba_session_stats stats = {.struct_size = sizeof stats};
    uint64_t most = 0, random = 3;
    for (int i = 0; i < 400; i++) {
        const samba_token token = toy_token(&random);
        ck_assert_int_eq(samba_session_eval(s, &token, 1, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(samba_session_get_stats(s, &stats, NULL), SAMBA_OK);
        most = stats.checkpoint_bytes > most ? stats.checkpoint_bytes : most;
    }
    const uint64_t pages = samba__pages_spanned(TOY_WINDOW_A - 1 + 4, TOY_PAGE) +
                           samba__pages_spanned(TOY_WINDOW_B - 1 + 4, TOY_PAGE) +
                           (_i ? samba__pages_spanned(4, TOY_PAGE) : 0);
    const uint64_t whole = pages * TOY_PAGE_BYTES + 2 * TOY_SLAB_BYTES + TOY_VOCAB * sizeof(float);
    ck_assert_uint_le(most, whole);
    ck_assert_uint_gt(most, whole - 100);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* Full attention grows to the limit and not past it; the session stays where it was. */
START_TEST(limit_of_bytes)
{
    toy *t = toy_create(true);
    const samba_session_options o = {
        .struct_size = sizeof o, .rows_per_pass = 8, .max_state_bytes = 12000};
    samba_session *s = toy_session(t, &o);
    samba_session_stats stats = {.struct_size = sizeof stats};
    samba_token *tokens = some_tokens(1000);
    samba_error *error = NULL;
    size_t n = 0;
    samba_status status = SAMBA_OK;
    while (n < 992 && status == SAMBA_OK) {
        status = samba_session_eval(s, tokens + n, 8, NULL, &error);
        n += status == SAMBA_OK ? 8 : 0;
    }
    check_failure(status, SAMBA_ERROR_LIMIT, &error, "bytes of state", "max_state_bytes is 12000");
    ck_assert_uint_ge(n, 160);
    check_fed(t, s, tokens, n);
    OK(samba_session_get_stats(s, &stats, NULL));
    ck_assert_uint_le(stats.state_bytes, 12000);
    ck_assert_uint_gt(stats.state_bytes, 12000 - 2 * TOY_PAGE_BYTES);
    samba_session_free(s);
    free(tokens);
    toy_free(t);
}
END_TEST

START_TEST(figures)
{
    toy *t = toy_create(false);
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 10};
    samba_session *s = toy_session(t, &o);
    samba_token *tokens = some_tokens(25);
    samba_session_stats stats = {.struct_size = sizeof stats};
    OK(samba_session_get_stats(s, &stats, NULL));
    ck_assert_uint_eq(stats.state_bytes, 0);
    OK(samba_session_eval(s, tokens, 25, NULL, NULL));
    OK(samba_session_eval(s, tokens, 1, NULL, NULL));
    OK(samba_session_get_stats(s, &stats, NULL));
    ck_assert_uint_eq(stats.position, 26);
    ck_assert_uint_eq(stats.n_passes, 4);
    ck_assert_uint_eq(stats.prefill_tokens, 25);
    ck_assert_uint_eq(stats.decode_tokens, 1);
    ck_assert(stats.prefill_seconds > 0 && stats.decode_seconds > 0);
    uint64_t cells = 4 * TOY_SLAB_BYTES, rows = 2 * TOY_VOCAB * sizeof(float);
    ck_assert_uint_eq((stats.state_bytes - cells - rows) % TOY_PAGE_BYTES, 0);
    ck_assert_uint_eq(stats.state_bytes - cells - rows,
                      (uint64_t)toy_device_of(t)->n_pages * TOY_PAGE_BYTES);
    ck_assert_ptr_eq(samba_session_model(s), &t->model);
    free(tokens);
    samba_session_free(s);
    toy_free(t);
}
END_TEST

/* ---------------------------------------------------------------- batches */

enum {
    ITEMS = 5
};

typedef struct batch {
    toy *t;
    samba_token *tokens;
    samba_eval_item items[ITEMS];
} batch;

static batch make_batch(void)
{
    batch b = {.t = toy_create(true), .tokens = some_tokens(200)};
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 16};
    for (size_t i = 0; i < ITEMS; i++)
        b.items[i] = (samba_eval_item){.session = toy_session(b.t, &o),
                                       .tokens = b.tokens + i,
                                       .n_tokens = i == 0 ? 100 : i,
                                       .status = 99};
    return b;
}

static void free_batch(batch *b)
{
    for (size_t i = 0; i < ITEMS; i++)
        samba_session_free(b->items[i].session);
    free(b->tokens);
    toy_free(b->t);
}

static void check_item(const batch *b, size_t i, size_t n)
{
    check_fed(b->t, b->items[i].session, b->tokens + i, n);
}

START_TEST(cut_fairly)
{
    batch b = make_batch();
    toy_device *d = toy_device_of(b.t);
    samba_cancel *cancel = NULL;
    OK(samba_cancel_create(b.t->context, &cancel, NULL));
    const samba_batch_options o = {.struct_size = sizeof o, .rows_per_pass = 16, .cancel = cancel};
    d->cancel = cancel;
    d->cancel_in = TOY_SUBLAYERS; /* at the beginning of the second pass */
    samba_error *error = NULL;
    check_failure(samba_eval_batch(b.items, ITEMS, sizeof *b.items, &o, &error),
                  SAMBA_ERROR_CANCELLED, &error, "cancelled", "");
    /* 3 rows are each item's share of 16; what the short ones leave goes to the long one. */
    ck_assert_int_eq(b.items[0].status, SAMBA_ERROR_CANCELLED);
    ck_assert_uint_eq(samba_session_position(b.items[0].session), 16 - 1 - 2 - 3 - 3);
    for (size_t i = 1; i < ITEMS; i++)
        ck_assert_int_eq(b.items[i].status, i < 4 ? SAMBA_OK : SAMBA_ERROR_CANCELLED);
    for (size_t i = 1; i < 4; i++)
        check_item(&b, i, i);
    ck_assert_uint_eq(samba_session_position(b.items[4].session), 3);
    samba_cancel_free(cancel);
    free_batch(&b);
}
END_TEST

START_TEST(rows_are_used)
{
    batch b = make_batch();
    toy_device *d = toy_device_of(b.t);
    OK(samba_eval_batch(b.items, ITEMS, sizeof *b.items, NULL, NULL));
    for (size_t i = 0; i < ITEMS; i++)
        check_item(&b, i, b.items[i].n_tokens);
    ck_assert_int_eq(d->max_rows, 16);
    ck_assert_int_eq(d->n_rows, 110);
    ck_assert_int_eq(d->n_passes, 7); /* 110 rows in passes of 16 */
    /* More sessions than rows: all get their turn. */
    const samba_batch_options o = {.struct_size = sizeof o, .rows_per_pass = 2};
    for (size_t i = 0; i < ITEMS; i++)
        OK(samba_session_reset(b.items[i].session, NULL));
    OK(samba_eval_batch(b.items, ITEMS, sizeof *b.items, &o, NULL));
    for (size_t i = 0; i < ITEMS; i++)
        check_item(&b, i, b.items[i].n_tokens);
    ck_assert_int_eq(d->n_passes, 7 + 55);
    free_batch(&b);
}
END_TEST

/* With fewer rows than sessions none waits longer than the others. */
START_TEST(all_get_their_turn)
{
    batch b = make_batch();
    toy_device *d = toy_device_of(b.t);
    samba_cancel *cancel = NULL;
    OK(samba_cancel_create(b.t->context, &cancel, NULL));
    const samba_batch_options o = {.struct_size = sizeof o, .rows_per_pass = 2, .cancel = cancel};
    for (size_t i = 0; i < ITEMS; i++)
        b.items[i].n_tokens = 100;
    d->cancel = cancel;
    d->cancel_in = 50 * TOY_SUBLAYERS;
    ck_assert_int_eq(samba_eval_batch(b.items, ITEMS, sizeof *b.items, &o, NULL),
                     SAMBA_ERROR_CANCELLED);
    for (size_t i = 0; i < ITEMS; i++)
        ck_assert_uint_eq(samba_session_position(b.items[i].session), 50 * 2 / ITEMS);
    samba_cancel_free(cancel);
    free_batch(&b);
}
END_TEST

/* Items that want hidden states of different places, proposals, and plain ones, together. */
START_TEST(mixed_wishes)
{
    batch b = make_batch();
    samba_eval_options o[ITEMS];
    const float *hidden = NULL;
    float expected[TOY_D_MODEL];
    for (size_t i = 0; i < ITEMS; i++) {
        o[i] = (samba_eval_options){.struct_size = sizeof o[i], .hidden = (int32_t)i - 1};
        o[i].speculative = i == 4 ? SAMBA_YES : SAMBA_NO;
        b.items[i].options = &o[i];
    }
    OK(samba_eval_batch(b.items, ITEMS, sizeof *b.items, NULL, NULL));
    for (size_t i = 0; i < ITEMS; i++) {
        const samba_session *s = b.items[i].session;
        if (i == 4)
            OK(samba_session_keep(b.items[i].session, 4, NULL));
        check_item(&b, i, b.items[i].n_tokens);
        toy_shadow p = plain(b.t, b.tokens + i, b.items[i].n_tokens);
        if (i == 1) { /* asked for none */
            ck_assert_int_eq(samba_session_hidden(s, 0, &hidden, NULL, NULL), SAMBA_ERROR_STATE);
        } else {
            OK(samba_session_hidden(s, SAMBA_ROW_LAST, &hidden, NULL, NULL));
            toy_hidden(i ? p.taps[i - 2] : p.last, expected);
            ck_assert_mem_eq(hidden, expected, sizeof expected);
        }
        toy_shadow_free(&p);
    }
    free_batch(&b);
}
END_TEST

START_TEST(items_fail_alone)
{
    batch b = make_batch();
    samba_token bad = -1;
    samba_error *error = NULL;
    samba_eval_item items[7];
    memcpy(items, b.items, sizeof b.items);
    toy *stranger = toy_create(false);
    items[2].tokens = &bad;
    items[2].n_tokens = 1;
    items[3].session = NULL;
    items[5] = items[1];
    items[6] = items[1];
    items[6].session = toy_session(stranger, NULL);
    check_failure(samba_eval_batch(items, 7, sizeof *items, NULL, &error),
                  SAMBA_ERROR_INVALID_ARGUMENT, &error, "tokens[0] is -1", "61 tokens");
    for (size_t i = 0; i < 7; i++) {
        bool fails = i == 2 || i == 3 || i >= 5;
        ck_assert_int_eq(items[i].status, fails ? SAMBA_ERROR_INVALID_ARGUMENT : SAMBA_OK);
        if (!fails)
            check_item(&b, i, items[i].n_tokens);
    }
    check_item(&b, 2, 0);
    ck_assert_uint_eq(samba_session_position(items[6].session), 0);
    samba_session_free(items[6].session);
    toy_free(stranger);
    free_batch(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, outputs);
    tcase_add_test(tcase, held_logits);
    tcase_add_test(tcase, logprobs_of_rows);
    tcase_add_test(tcase, scores);
    tcase_add_loop_test(tcase, checkpoints_by_default, 0, 2);
    tcase_add_test(tcase, limit_of_bytes);
    tcase_add_test(tcase, figures);
    tcase_add_test(tcase, cut_fairly);
    tcase_add_test(tcase, rows_are_used);
    tcase_add_test(tcase, all_get_their_turn);
    tcase_add_test(tcase, mixed_wishes);
    tcase_add_test(tcase, items_fail_alone);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
