/*
 * Ending a call early costs nothing but the pass in flight: cancelled (or failed by the backend) at
 * every step of every pass, and at a thousand random moments from another thread, a session stands
 * at the end of its last whole pass, and goes on to the same bits.
 */
#include "backend/device.h"
#include "support/fake_device.h"
#include "support/golden_case.h"
#include "support/rig.h"
#include "support/spy_device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    ROWS = 16,
    FED = 7
}; /* rows per pass; tokens fed before the call that is ended */

typedef struct bench {
    golden_case *c;
    samba_context *context;
    samba_model *model;
    samba_cancel *cancel;
    samba_session *start;      /* FED tokens in */
    float *before, *logits;    /* logits of start; logits of every position after it [n][n_vocab] */
    size_t n_vocab, n;         /* n: tokens to come */
    const samba_token *tokens; /* those */
} bench;

static bench set_up(const char *name, const rig_options *options)
{
    bench b = {.c = golden_open(GOLDEN_CASES, name)};
    b.context = rig_context(options);
    b.model = rig_load(b.context, b.c->folder, options);
    CK_OK(samba_cancel_create(b.context, &b.cancel, RIG_ERROR));
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(b.model, &info, RIG_ERROR));
    b.n_vocab = info.n_vocab;
    b.tokens = b.c->tokens + FED;
    b.n = b.c->n_tokens - FED;
    b.before = malloc(b.n_vocab * sizeof(float));
    b.logits = malloc(b.n * b.n_vocab * sizeof(float));
    b.start = rig_session(b.model, 0, ROWS);
    rig_eval(b.start, b.c->tokens, FED, 0);
    memcpy(b.before, rig_logits(b.start, 0), b.n_vocab * sizeof(float));
    samba_session *whole = NULL;
    CK_OK(samba_session_clone(b.start, &whole, RIG_ERROR));
    rig_eval(whole, b.tokens, b.n, SAMBA_OUTPUT_ALL);
    for (size_t i = 0; i < b.n; i++)
        memcpy(b.logits + i * b.n_vocab, rig_logits(whole, i), b.n_vocab * sizeof(float));
    samba_session_free(whole);
    return b;
}

static void tear_down(bench *b)
{
    free(b->before);
    free(b->logits);
    samba_session_free(b->start);
    samba_cancel_free(b->cancel);
    samba_model_release(b->model);
    samba_context_free(b->context);
    golden_close(b->c);
}

static const float *logits_at(const bench *b, uint64_t position)
{
    return position == FED ? b->before : b->logits + (position - FED - 1) * b->n_vocab;
}

/* Where a session may stand after `status`, and that it goes on as if nothing had been. */
static void check_after(const bench *b, samba_session *s, samba_status status,
                        samba_outputs outputs)
{
    size_t bytes = b->n_vocab * sizeof(float);
    uint64_t p = samba_session_position(s);
    if (status == SAMBA_OK) {
        ck_assert_uint_eq(p, FED + b->n);
        ck_assert_mem_eq(rig_logits(s, SAMBA_ROW_LAST), logits_at(b, p), bytes);
        return;
    }
    ck_assert_uint_ge(p, FED);
    ck_assert_msg((p - FED) % ROWS == 0, "the session stands at %llu", (unsigned long long)p);
    const float *logits = NULL;
    size_t n = 0;
    if (p == FED) {
        ck_assert_mem_eq(rig_logits(s, SAMBA_ROW_LAST), b->before, bytes);
        ck_assert_uint_eq(samba_session_n_rows(s), 1);
    } else if (samba_session_logits(s, SAMBA_ROW_LAST, &logits, &n, NULL) == SAMBA_OK) {
        /* allowed to be gone, not allowed to be wrong */
        ck_assert_mem_eq(logits, logits_at(b, p), bytes);
    }
    rig_eval(s, b->tokens + (p - FED), FED + b->n - p, outputs);
    ck_assert_uint_eq(samba_session_position(s), FED + b->n);
    ck_assert_mem_eq(rig_logits(s, SAMBA_ROW_LAST), logits_at(b, FED + b->n), bytes);
}

static samba_status eval(const bench *b, samba_session *s, samba_outputs outputs)
{
    samba_eval_options o = {.struct_size = sizeof o, .outputs = outputs, .cancel = b->cancel};
    samba_error *error = NULL;
    samba_status status = samba_session_eval(s, b->tokens, b->n, &o, &error);
    ck_assert((status == SAMBA_OK) == (error == NULL));
    if (error)
        ck_assert_int_eq(samba_error_status(error), status);
    samba_error_free(error);
    return status;
}

/* ---------------------------------------------------------------- at every step */

typedef struct plan {
    samba_cancel *cancel; /* NULL: fail the step instead */
    uint64_t at, start;
} plan;

static int on_step(void *user_data, uint64_t step)
{
    plan *p = user_data;
    if (step - p->start != p->at)
        return 0;
    if (!p->cancel)
        return 1;
    samba_cancel_request(p->cancel);
    return 0;
}

static const samba_backend_vtbl *real_backend(int i)
{
    return i ? &fake_vtbl : samba__registry_find("cpu");
}

static void check_no_violations(void)
{
    fake_counts counts;
    fake_get_counts(&counts);
    ck_assert_msg(counts.violations == 0, "%s", counts.first_violation);
    ck_assert_int_eq(counts.devices + counts.weights + counts.slabs + counts.pages + counts.passes,
                     0);
}

/* _i: backend, and cancel or fail */
START_TEST(at_every_step)
{
    static const char *const cases[] = {"ms_samba", "phi4flash"};
    for (int k = 0; k < 2; k++) {
        rig_options options = {.backend = spy_watch(real_backend(_i % 2)), .n_threads = 2};
        bench b = set_up(cases[k], &options);
        samba_status wanted = _i < 2 ? SAMBA_ERROR_CANCELLED : SAMBA_ERROR_BACKEND;
        uint64_t at = 1, n_ended = 0;
        for (samba_status status = wanted; at < 100000; at++) {
            samba_outputs outputs = at % 2 ? SAMBA_OUTPUT_LAST : SAMBA_OUTPUT_ALL;
            plan p = {_i < 2 ? b.cancel : NULL, at, spy_look()->n_steps};
            samba_session *s = NULL;
            CK_OK(samba_session_clone(b.start, &s, RIG_ERROR));
            spy_on_step(on_step, &p);
            status = eval(&b, s, outputs);
            uint64_t steps = spy_look()->n_steps - p.start;
            bool reached = steps >= at;
            /* Ended within a sublayer; after the last one, the pass may be finished. */
            ck_assert_msg(status == SAMBA_OK || steps <= at + 4, "%llu more steps",
                          (unsigned long long)(steps - at));
            spy_on_step(NULL, NULL);
            samba_cancel_reset(b.cancel);
            ck_assert_msg(status == wanted || (status == SAMBA_OK && (_i < 2 || !reached)),
                          "step %llu gave %s", (unsigned long long)at, samba_status_string(status));
            n_ended += status == wanted;
            check_after(&b, s, status, outputs);
            samba_session_free(s);
            if (!reached)
                break;
        }
        ck_assert_uint_gt(n_ended, 20);
        tear_down(&b);
        spy_watch(NULL);
    }
    check_no_violations();
}
END_TEST

/* A sticky request: calls end at once until it is reset, and nothing has moved. */
START_TEST(requested_before)
{
    bench b = set_up("ms_samba", &(rig_options){.n_threads = 1});
    samba_cancel_request(b.cancel);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(eval(&b, b.start, 0), SAMBA_ERROR_CANCELLED);
        ck_assert_uint_eq(samba_session_position(b.start), FED);
    }
    float scores[4];
    samba_eval_options o = {.struct_size = sizeof o, .cancel = b.cancel};
    CK_FAILS(SAMBA_ERROR_CANCELLED,
             samba_session_score(b.start, b.tokens, 4, &o, scores, RIG_ERROR));
    samba_generate_options g = {.struct_size = sizeof g, .cancel = b.cancel, .max_tokens = 4};
    CK_FAILS(SAMBA_ERROR_CANCELLED,
             samba_session_generate(b.start, NULL, &g, NULL, NULL, NULL, RIG_ERROR));
    samba_eval_item item = {.session = b.start, .tokens = b.tokens, .n_tokens = 4};
    samba_batch_options batch = {.struct_size = sizeof batch, .cancel = b.cancel};
    CK_FAILS(SAMBA_ERROR_CANCELLED, samba_eval_batch(&item, 1, sizeof item, &batch, RIG_ERROR));
    ck_assert_int_eq(item.status, SAMBA_ERROR_CANCELLED);
    samba_model *model = NULL;
    samba_model_options m = {.struct_size = sizeof m, .cancel = b.cancel};
    CK_FAILS(SAMBA_ERROR_CANCELLED,
             samba_model_load(b.context, b.c->folder, &m, &model, RIG_ERROR));
    ck_assert_ptr_null(model);
    ck_assert_uint_eq(samba_session_position(b.start), FED);
    samba_cancel_reset(b.cancel);
    check_after(&b, b.start, SAMBA_ERROR_CANCELLED, 0);
    tear_down(&b);
}
END_TEST

/* ---------------------------------------------------------------- at random moments */

typedef struct sniper {
    samba_cancel *cancel;
    atomic_int armed; /* 1: shoot after `delay`; -1: go home */
    long delay;       /* ns */
} sniper;

static void *snipe(void *user_data)
{
    sniper *s = user_data;
    for (;;) {
        int armed = atomic_load(&s->armed);
        if (armed < 0)
            return NULL;
        if (!armed) {
            nanosleep(&(struct timespec){0, 20000}, NULL);
            continue;
        }
        struct timespec from, now;
        clock_gettime(CLOCK_MONOTONIC, &from);
        do
            clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - from.tv_sec) * 1000000000L + now.tv_nsec - from.tv_nsec < s->delay);
        samba_cancel_request(s->cancel);
        atomic_store(&s->armed, 0);
    }
}

START_TEST(at_random_moments)
{
    enum {
        TIMES = 1000
    };
    bench b = set_up("ms_samba_long", &(rig_options){.n_threads = 2});
    sniper gun = {.cancel = b.cancel};
    pthread_t thread;
    rig_random random = {2024};
    double start = rig_now();
    samba_session *warm = NULL;
    CK_OK(samba_session_clone(b.start, &warm, RIG_ERROR));
    ck_assert_int_eq(eval(&b, warm, 0), SAMBA_OK);
    samba_session_free(warm);
    long whole = (long)((rig_now() - start) * 1e6);
    int n_cancelled = 0, times = rig_full ? 20 * TIMES : TIMES;
    ck_assert_int_eq(pthread_create(&thread, NULL, snipe, &gun), 0);
    for (int i = 0; i < times; i++) {
        samba_session *s = NULL;
        CK_OK(samba_session_clone(b.start, &s, RIG_ERROR));
        gun.delay = (long)rig_below(&random, (uint32_t)(whole < 4000000 ? whole : 4000000));
        atomic_store(&gun.armed, 1);
        samba_status status = eval(&b, s, 0);
        while (atomic_load(&gun.armed))
            nanosleep(&(struct timespec){0, 5000}, NULL);
        samba_cancel_reset(b.cancel);
        ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_CANCELLED);
        n_cancelled += status != SAMBA_OK;
        check_after(&b, s, status, 0);
        samba_session_free(s);
    }
    atomic_store(&gun.armed, -1);
    pthread_join(thread, NULL);
    printf("%d of %d calls were cancelled under way\n", n_cancelled, times);
    ck_assert_int_gt(n_cancelled, times / 10);
    tear_down(&b);
}
END_TEST

/* ---------------------------------------------------------------- loading and generating */

static int32_t stop_after(void *user_data, uint64_t done, uint64_t total)
{
    uint64_t *left = user_data;
    ck_assert_uint_le(done, total);
    if (*left == 0)
        return SAMBA_STOP;
    --*left;
    return SAMBA_CONTINUE;
}

START_TEST(while_loading)
{
    samba_context *context = rig_context(&(rig_options){.n_threads = 1});
    for (uint64_t calls = 0;; calls++) {
        samba_model *model = NULL;
        samba_error *error = NULL;
        uint64_t left = calls;
        samba_model_options o = {
            .struct_size = sizeof o, .progress = stop_after, .progress_user_data = &left};
        samba_status status =
            samba_model_load(context, GOLDEN_CASES "/ms_samba", &o, &model, &error);
        if (status == SAMBA_OK) {
            ck_assert_uint_gt(calls, 0);
            samba_model_release(model);
            break;
        }
        ck_assert_int_eq(status, SAMBA_ERROR_CANCELLED);
        ck_assert_ptr_null(model);
        samba_error_free(error);
        ck_assert_uint_lt(calls, 100000);
    }
    samba_context_free(context);
}
END_TEST

typedef struct delivered {
    samba_cancel *cancel;
    uint64_t n, stop_at;
} delivered;

static int32_t on_token(void *user_data, const samba_token_event *event)
{
    delivered *d = user_data;
    if (event->token >= 0 && ++d->n == d->stop_at)
        samba_cancel_request(d->cancel);
    return SAMBA_CONTINUE;
}

START_TEST(while_generating)
{
    bench b = set_up("ms_samba", &(rig_options){.n_threads = 1});
    for (uint64_t stop = 1; stop < 8; stop++) {
        samba_session *s = NULL;
        CK_OK(samba_session_clone(b.start, &s, RIG_ERROR));
        delivered d = {b.cancel, 0, stop};
        samba_generate_options g = {
            .struct_size = sizeof g, .max_tokens = 20, .ignore_eos = SAMBA_YES, .cancel = b.cancel};
        CK_FAILS(SAMBA_ERROR_CANCELLED,
                 samba_session_generate(s, NULL, &g, on_token, &d, NULL, RIG_ERROR));
        samba_cancel_reset(b.cancel);
        ck_assert_uint_eq(samba_session_position(s), FED + d.n);
        ck_assert_uint_eq(d.n, stop);
        /* Going on gives what one uninterrupted run gives. */
        samba_session *whole = NULL;
        CK_OK(samba_session_clone(b.start, &whole, RIG_ERROR));
        g.cancel = NULL;
        g.max_tokens = 12;
        CK_OK(samba_session_generate(whole, NULL, &g, NULL, NULL, NULL, RIG_ERROR));
        g.max_tokens = 12 - stop;
        CK_OK(samba_session_generate(s, NULL, &g, NULL, NULL, NULL, RIG_ERROR));
        ck_assert_mem_eq(rig_logits(s, SAMBA_ROW_LAST), rig_logits(whole, SAMBA_ROW_LAST),
                         b.n_vocab * sizeof(float));
        samba_session_free(whole);
        samba_session_free(s);
    }
    tear_down(&b);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("cancel");
    TCase *tcase = tcase_create("cancel");
    tcase_set_timeout(tcase, 900);
    tcase_add_loop_test(tcase, at_every_step, 0, 4);
    tcase_add_test(tcase, requested_before);
    tcase_add_test(tcase, at_random_moments);
    tcase_add_test(tcase, while_loading);
    tcase_add_test(tcase, while_generating);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
