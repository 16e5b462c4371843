/*
 * Generation on the toy backend: tokens are those of drawing and feeding by hand; every delivered
 * token has been fed; reasons to stop; text in whole characters; what callbacks may do; cancel and
 * failures leave the session after the last token delivered.
 */
#include "support/suite.h"
#include "toy_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_int_eq((call), SAMBA_OK)

enum {
    MOST = 4000,
    PROMPT = 6
};

/* What on_token saw. */
typedef struct listener {
    samba_session *session;
    samba_token tokens[MOST];
    size_t n, stop_at; /* 0: never */
    char text[16 * MOST];
    size_t text_size;
    size_t n_rests; /* events with token -1 */
    samba_cancel *cancel;
    size_t cancel_at;
    bool busy_seen;
} listener;

static void check_top(const samba_token_event *e)
{
    for (size_t i = 1; i < e->n_top; i++)
        ck_assert(e->top[i - 1].logprob >= e->top[i].logprob);
}

static int32_t on_token(void *user_data, const samba_token_event *e)
{
    listener *l = user_data;
    ck_assert_uint_le(l->text_size + e->text_size, sizeof l->text);
    memcpy(l->text + l->text_size, e->text, e->text_size);
    l->text_size += e->text_size;
    if (e->token < 0) {
        l->n_rests++;
        ck_assert_uint_gt(e->text_size, 0);
        return SAMBA_CONTINUE;
    }
    ck_assert_uint_eq(samba_session_position(l->session), e->position + 1);
    check_top(e);
    l->tokens[l->n++] = e->token;
    if (l->cancel && l->n == l->cancel_at)
        samba_cancel_request(l->cancel);
    return l->n == l->stop_at ? SAMBA_STOP : SAMBA_CONTINUE;
}

static toy *make(samba_session **s, toy_shadow *shadow)
{
    toy *t = toy_create(false);
    uint64_t random = 2;
    *s = toy_session(t, NULL);
    toy_shadow_init(shadow, false);
    for (int i = 0; i < PROMPT; i++) {
        samba_token token = toy_token(&random);
        OK(samba_session_eval(*s, &token, 1, NULL, NULL));
        toy_shadow_feed(shadow, token);
    }
    return t;
}

static void end(toy *t, samba_session *s, toy_shadow *shadow, listener *l)
{
    samba_session_free(s);
    toy_shadow_free(shadow);
    free(l);
    toy_free(t);
}

static listener *new_listener(samba_session *s)
{
    listener *l = calloc(1, sizeof *l);
    l->session = s;
    return l;
}

static samba_sampler *make_sampler(toy *t)
{
    samba_sampler *sampler = NULL;
    const samba_penalties p = {.struct_size = sizeof p, .repeat = 1.2f};
    OK(samba_sampler_create(t->context, &sampler, NULL));
    OK(samba_sampler_add_penalties(sampler, &p, NULL));
    OK(samba_sampler_add_top_p(sampler, 0.95f, NULL));
    OK(samba_sampler_add_seed(sampler, 17, NULL));
    return sampler;
}

START_TEST(as_by_hand)
{
    toy_shadow shadow;
    samba_session *s = NULL, *hand = NULL;
    toy *t = make(&s, &shadow);
    listener *l = new_listener(s);
    samba_sampler *sampler = make_sampler(t);
    samba_generate_result r = {.struct_size = sizeof r};
    const samba_generate_options o = {.struct_size = sizeof o,
                                      .max_tokens = 200,
                                      .ignore_eos = SAMBA_YES,
                                      .top_logprobs = 5,
                                      .branch = 3};
    OK(samba_session_clone(s, &hand, NULL));
    OK(samba_session_generate(s, sampler, &o, on_token, l, &r, NULL));
    ck_assert_int_eq(r.reason, SAMBA_STOP_LENGTH);
    ck_assert_int_eq(r.stop_token, -1);
    ck_assert_uint_eq(r.n_tokens, 200);
    ck_assert_uint_eq(l->n, 200);
    for (size_t i = 0; i < l->n; i++) {
        samba_token token = -1;
        OK(samba_session_sample(hand, sampler, 3, &token, NULL, NULL));
        ck_assert_int_eq(token, l->tokens[i]);
        OK(samba_session_eval(hand, &token, 1, NULL, NULL));
        toy_shadow_feed(&shadow, token);
    }
    toy_check_session(s, &shadow, true);
    samba_session_free(hand);
    samba_sampler_free(sampler);
    end(t, s, &shadow, l);
}
END_TEST

START_TEST(reasons)
{
    toy_shadow shadow;
    samba_session *s = NULL;
    toy *t = make(&s, &shadow);
    listener *l = new_listener(s);
    samba_sampler *sampler = make_sampler(t);
    samba_generate_result r = {.struct_size = sizeof r};
    samba_generate_options o = {.struct_size = sizeof o, .max_tokens = SAMBA_TOKENS_UNLIMITED};
    OK(samba_session_generate(s, sampler, &o, on_token, l, &r, NULL)); /* a draw of 61 is EOS */
    ck_assert_int_eq(r.reason, SAMBA_STOP_TOKEN);
    ck_assert_int_eq(r.stop_token, TOY_EOS);
    ck_assert_uint_eq(r.n_tokens, l->n);
    ck_assert_uint_eq(samba_session_position(s), PROMPT + l->n);
    for (size_t i = 0; i < l->n; i++)
        ck_assert_int_ne(l->tokens[i], TOY_EOS);

    samba_token token = -1;
    OK(samba_session_eval(s, &(samba_token){TOY_EOS}, 1, NULL, NULL));
    OK(samba_session_sample(s, sampler, 0, &token, NULL, NULL));
    o.stop_tokens = &token;
    o.n_stop_tokens = 1;
    OK(samba_session_generate(s, sampler, &o, NULL, NULL, &r, NULL));
    ck_assert_int_eq(r.reason, SAMBA_STOP_TOKEN);
    ck_assert_int_eq(r.stop_token, token);
    ck_assert_uint_eq(r.n_tokens, 0);

    o = (samba_generate_options){.struct_size = sizeof o, .ignore_eos = SAMBA_YES};
    l->n = 0;
    l->stop_at = 9;
    OK(samba_session_generate(s, NULL, &o, on_token, l, &r, NULL));
    ck_assert_int_eq(r.reason, SAMBA_STOP_CALLBACK);
    ck_assert_uint_eq(r.n_tokens, 9);
    OK(samba_session_generate(s, NULL, &o, NULL, NULL, &r, NULL));
    ck_assert_uint_eq(r.n_tokens, 256);

    o.top_logprobs = 65;
    ck_assert_int_eq(samba_session_generate(s, NULL, &o, NULL, NULL, &r, NULL),
                     SAMBA_ERROR_INVALID_ARGUMENT);
    o = (samba_generate_options){
        .struct_size = sizeof o, .stop_tokens = &token, .n_stop_tokens = 1};
    token = TOY_VOCAB;
    ck_assert_int_eq(samba_session_generate(s, NULL, &o, NULL, NULL, &r, NULL),
                     SAMBA_ERROR_INVALID_ARGUMENT);
    samba_sampler_free(sampler);
    end(t, s, &shadow, l);
}
END_TEST

static int32_t meddling(void *user_data, const samba_token_event *e)
{
    listener *l = user_data;
    samba_session *clone = NULL;
    samba_logprob top[4];
    ck_assert_int_eq(samba_session_eval(l->session, &e->token, 1, NULL, NULL), SAMBA_ERROR_BUSY);
    ck_assert_int_eq(samba_session_reset(l->session, NULL), SAMBA_ERROR_BUSY);
    ck_assert_int_eq(samba_session_generate(l->session, NULL, NULL, NULL, NULL, NULL, NULL),
                     SAMBA_ERROR_BUSY);
    OK(samba_session_top_logprobs(l->session, SAMBA_ROW_LAST, 4, top, NULL));
    OK(samba_session_clone(l->session, &clone, NULL));
    OK(samba_session_eval(clone, &e->token, 1, NULL, NULL));
    samba_session_free(clone);
    check_top(e);
    l->n++;
    return SAMBA_CONTINUE;
}

START_TEST(callbacks_may_read)
{
    toy_shadow shadow;
    samba_session *s = NULL;
    toy *t = make(&s, &shadow);
    listener *l = new_listener(s);
    const samba_generate_options o = {
        .struct_size = sizeof o, .max_tokens = 20, .ignore_eos = SAMBA_YES, .top_logprobs = 4};
    OK(samba_session_generate(s, NULL, &o, meddling, l, NULL, NULL));
    ck_assert_uint_eq(l->n, 20);
    ck_assert_uint_eq(samba_session_position(s), PROMPT + 20);
    end(t, s, &shadow, l);
}
END_TEST

/* Ended at every possible point, the session stands after the last token delivered. */
START_TEST(ended_early)
{
    for (int64_t n = 0; n < 200; n++) {
        toy_shadow shadow;
        samba_session *s = NULL;
        toy *t = make(&s, &shadow);
        listener *l = new_listener(s);
        toy_device *d = toy_device_of(t);
        samba_generate_result r = {.struct_size = sizeof r, .reason = 77};
        OK(samba_cancel_create(t->context, &l->cancel, NULL));
        const samba_generate_options o = {.struct_size = sizeof o,
                                          .max_tokens = 1000,
                                          .ignore_eos = SAMBA_YES,
                                          .top_logprobs = 2,
                                          .cancel = l->cancel};
        d->cancel = l->cancel;
        samba_status wanted = SAMBA_ERROR_CANCELLED;
        if (n % 4 == 0) {
            d->cancel_in = n;
        } else if (n % 4 == 1) {
            l->cancel_at = (size_t)n;
        } else if (n % 4 == 2) {
            d->fail_in = n;
            wanted = SAMBA_ERROR_BACKEND;
        } else {
            t->memory.fail_in = 1 + n / 40;
            wanted = SAMBA_ERROR_OUT_OF_MEMORY;
        }
        samba_status status = samba_session_generate(s, NULL, &o, on_token, l, &r, NULL);
        d->fail_in = d->cancel_in = t->memory.fail_in = -1;
        ck_assert(status == wanted || (n % 4 == 3 && status == SAMBA_OK));
        ck_assert(status == SAMBA_OK || r.reason == 77);
        toy_shadow_feed_all(&shadow, l->tokens, l->n);
        toy_check_session(s, &shadow, true);
        samba_cancel_free(l->cancel);
        end(t, s, &shadow, l);
    }
}
END_TEST

/* ---------------------------------------------------------------- text */

/* A vocabulary in which a character may be spread over tokens: bytes of "é", "€" and "😀", words,
 * and special tokens. */
static void give_tokenizer(toy *t)
{
    static const char *const bytes[] = {"<0xC3>", "<0xA9>", "<0xE2>", "<0x82>", "<0xAC>",
                                        "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"};
    static char names[TOY_VOCAB][16];
    samba__text tokens[TOY_VOCAB];
    float scores[TOY_VOCAB];
    int32_t types[TOY_VOCAB];
    for (int i = 0; i < TOY_VOCAB; i++) {
        types[i] = i < 6 ? (i == 0 ? 2 : 3) : i < 15 ? 6 : 1;
        if (i < 6)
            snprintf(names[i], sizeof names[i], i == 0 ? "<unk>" : "<s%d>", i);
        else if (i < 15)
            snprintf(names[i], sizeof names[i], "%s", bytes[i - 6]);
        else
            snprintf(names[i], sizeof names[i], i % 3 ? "w%d" : "\xe2\x96\x81w%d", i);
        tokens[i] = (samba__text){names[i], strlen(names[i])};
        scores[i] = (float)-i;
    }
    const samba__vocab vocab = {.model = {"llama", 5},
                                .pre = {"default", 7},
                                .tokens = tokens,
                                .scores = scores,
                                .types = types,
                                .n_tokens = TOY_VOCAB,
                                .bos = 1,
                                .eos = TOY_EOS,
                                .unk = 0,
                                .add_bos = 1,
                                .add_eos = 0,
                                .add_space_prefix = 1};
    OK(samba__tokenizer_from_vocab(t->model.alloc, &vocab, &t->model.tokenizer, NULL));
}

/* All bytes of the tokens, however they were cut into events. */
static size_t pieces(const toy *t, const listener *l, bool skip_special, bool first, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        samba__text piece;
        if (skip_special && samba__tokenizer_is_special(t->model.tokenizer, l->tokens[i]))
            continue;
        ck_assert(samba__tokenizer_piece(t->model.tokenizer, l->tokens[i], first, &piece));
        if (!samba__tokenizer_is_special(t->model.tokenizer, l->tokens[i]))
            first = false;
        memcpy(to + n, piece.data, piece.size);
        n += piece.size;
    }
    return n;
}

START_TEST(text)
{
    static char expected[16 * MOST];
    size_t n_rests = 0;
    for (int round = 0; round < 200; round++) {
        toy *t = toy_create(false);
        samba_session *s = toy_session(t, NULL);
        samba_sampler *sampler = NULL;
        give_tokenizer(t);
        OK(samba_sampler_create(t->context, &sampler, NULL));
        OK(samba_sampler_add_seed(sampler, (uint64_t)round, NULL));
        listener *l = new_listener(s);
        bool skip = round % 2 == 0, first = round % 4 < 2;
        OK(samba_session_eval(s, &(samba_token){first ? 1 : 20}, 1, NULL, NULL));
        const samba_generate_options o = {.struct_size = sizeof o,
                                          .max_tokens = 60 + (uint64_t)round,
                                          .ignore_eos = SAMBA_YES,
                                          .skip_special = skip ? 0 : SAMBA_NO};
        OK(samba_session_generate(s, sampler, &o, on_token, l, NULL, NULL));
        size_t n = pieces(t, l, skip, first, expected);
        ck_assert_uint_eq(l->text_size, n);
        ck_assert_mem_eq(l->text, expected, n);
        ck_assert_uint_le(l->n_rests, 1);
        n_rests += l->n_rests;
        samba_sampler_free(sampler);
        samba__tokenizer_free(t->model.tokenizer);
        t->model.tokenizer = NULL;
        toy_shadow none = {0};
        end(t, s, &none, l);
    }
    ck_assert_uint_gt(n_rests, 0);
}
END_TEST

/* BOS in front at position 0 only. */
START_TEST(feeding_text)
{
    toy *t = toy_create(false);
    samba_session *s = toy_session(t, NULL);
    const samba_token *tokens = NULL;
    uint64_t first = 0;
    size_t n = 0;
    give_tokenizer(t);
    OK(samba_session_feed_text(s, "w16", SIZE_MAX, NULL, NULL));
    OK(samba_session_tokens(s, &tokens, &first, &n, NULL));
    ck_assert_uint_ge(n, 2);
    ck_assert_int_eq(tokens[0], 1);
    size_t before = n;
    OK(samba_session_feed_text(s, "w16", 3, NULL, NULL));
    OK(samba_session_tokens(s, &tokens, &first, &n, NULL));
    ck_assert_uint_gt(n, before);
    for (size_t i = 1; i < n; i++)
        ck_assert_int_ne(tokens[i], 1);
    samba_session_free(s);
    samba__tokenizer_free(t->model.tokenizer);
    t->model.tokenizer = NULL;
    toy_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("generate");
    TCase *tcase = tcase_create("generate");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, as_by_hand);
    tcase_add_test(tcase, reasons);
    tcase_add_test(tcase, callbacks_may_read);
    tcase_add_test(tcase, ended_early);
    if (TEST_TOKENIZER) { /* which this build may lack */
        tcase_add_test(tcase, text);
        tcase_add_test(tcase, feeding_text);
    }
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
