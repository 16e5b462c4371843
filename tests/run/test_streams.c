/*
 * Streams on the toy backend: their tokens are those of blocking generation whatever runs beside
 * them, the session stands at the last delivered token, and the end comes exactly once.
 */
#include "run/scheduler.h"
#include "support/suite.h"
#include "toy_backend.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST = 200 /* tokens of any stream here */
};

/* --short: for valgrind. */
static size_t n_streams = 64, n_early = 40;

/* What blocking generation gives, and the plain model behind every token. */
typedef struct reference {
    samba_token prompt[64];
    size_t n_prompt;
    samba_token tokens[MOST];
    float logprobs[MOST];
    size_t n;
} reference;

static int32_t note(void *user_data, const samba_token_event *event)
{
    reference *r = user_data;
    r->tokens[r->n] = event->token;
    r->logprobs[r->n++] = event->logprob;
    return SAMBA_CONTINUE;
}

static samba_sampler *sampler_of(toy *t, uint64_t seed)
{
    samba_sampler *s = NULL;
    ck_assert_int_eq(samba_sampler_create(t->context, &s, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_add_temperature(s, 1.5f, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_add_seed(s, seed, NULL), SAMBA_OK);
    return s;
}

static void make_reference(toy *t, samba_sampler *sampler, uint64_t seed, uint64_t max,
                           reference *r)
{
    samba_session *s = toy_session(t, NULL);
    const samba_generate_options o = {
        .struct_size = sizeof o, .max_tokens = max, .ignore_eos = SAMBA_YES, .branch = seed};
    uint64_t random = seed;
    *r = (reference){.n_prompt = 1 + toy_random(&random) % 64};
    for (size_t i = 0; i < r->n_prompt; i++)
        r->prompt[i] = toy_token(&random);
    ck_assert_int_eq(samba_session_eval(s, r->prompt, r->n_prompt, NULL, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_session_generate(s, sampler, &o, note, r, NULL, NULL), SAMBA_OK);
    ck_assert_uint_eq(r->n, max);
    samba_session_free(s);
}

static samba_stream_options options_of(const reference *r, uint64_t seed)
{
    return (samba_stream_options){.struct_size = sizeof(samba_stream_options),
                                  .prompt = r->prompt,
                                  .n_prompt = r->n_prompt,
                                  .max_tokens = r->n,
                                  .ignore_eos = SAMBA_YES,
                                  .branch = seed};
}

static samba_stream_event next(samba_stream *stream)
{
    samba_stream_event e = {.struct_size = sizeof e};
    samba_error *error = NULL;
    samba_status status = samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, &error);
    ck_assert_msg(status == SAMBA_OK, "%s", error ? samba_error_message(error) : "");
    return e;
}

/* The session is, bit for bit, where feeding the prompt and n tokens leads. */
static void check_at(const samba_session *session, const reference *r, size_t n, bool full)
{
    toy_shadow shadow;
    toy_shadow_init(&shadow, full);
    toy_shadow_feed_all(&shadow, r->prompt, r->n_prompt);
    toy_shadow_feed_all(&shadow, r->tokens, n);
    toy_check_session(session, &shadow, true);
    toy_shadow_free(&shadow);
}

static void check_token(const samba_stream_event *e, const reference *r, size_t i)
{
    ck_assert_int_eq(e->kind, SAMBA_STREAM_TOKEN);
    ck_assert_int_eq(e->token, r->tokens[i]);
    ck_assert(memcmp(&e->logprob, &r->logprobs[i], sizeof e->logprob) == 0);
    ck_assert_uint_eq(e->position, r->n_prompt + i);
    ck_assert_uint_eq(e->n_tokens, i + 1);
}

/* The session can go on where it stands, alone. */
static void check_goes_on(samba_session *session, const reference *r, size_t n, bool full)
{
    toy_shadow shadow;
    uint64_t random = 77;
    toy_shadow_init(&shadow, full);
    toy_shadow_feed_all(&shadow, r->prompt, r->n_prompt);
    toy_shadow_feed_all(&shadow, r->tokens, n);
    for (int i = 0; i < 20; i++) {
        samba_token token = toy_token(&random);
        ck_assert_int_eq(samba_session_eval(session, &token, 1, NULL, NULL), SAMBA_OK);
        toy_shadow_feed(&shadow, token);
        toy_check_session(session, &shadow, true);
    }
    toy_shadow_free(&shadow);
}

START_TEST(one_stream)
{
    toy *t = toy_create(_i != 0);
    samba_sampler *sampler = sampler_of(t, 3);
    samba_session *s = toy_session(t, NULL), *clone = NULL;
    samba_stream *stream = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    reference r;
    make_reference(t, sampler, 11, 100, &r);
    const samba_stream_options o = options_of(&r, 11);
    ck_assert_int_eq(samba_stream_start(s, sampler, &o, &stream, NULL), SAMBA_OK);
    for (size_t i = 0; i < r.n; i++) {
        e = next(stream);
        check_token(&e, &r, i);
        ck_assert_int_eq(samba_session_eval(s, r.prompt, 1, NULL, NULL), SAMBA_ERROR_BUSY);
        ck_assert_int_eq(samba_session_clone(s, &clone, NULL), SAMBA_OK);
        check_at(clone, &r, i + 1, _i != 0);
        if (i % 9 == 0)
            check_goes_on(clone, &r, i + 1, _i != 0);
        samba_session_free(clone);
    }
    e = next(stream);
    ck_assert_int_eq(e.kind, SAMBA_STREAM_DONE);
    ck_assert_int_eq(e.reason, SAMBA_STOP_LENGTH);
    ck_assert_int_eq(samba_stream_try_next(stream, &e, NULL), SAMBA_ERROR_STATE);
    check_at(s, &r, r.n, _i != 0);
    samba_stream_close(stream);
    check_goes_on(s, &r, r.n, _i != 0);
    samba_session_free(s);
    samba_sampler_free(sampler);
    toy_free(t);
}
END_TEST

/* Taken so far, then cancelled or closed: the session stands there. */
START_TEST(ends_early)
{
    toy *t = toy_create(_i & 1);
    samba_sampler *sampler = sampler_of(t, 3);
    reference r;
    make_reference(t, sampler, 5, 60, &r);
    for (size_t n = 0; n < n_early; n++) {
        samba_session *s = toy_session(t, NULL);
        samba_stream *stream = NULL;
        samba_stream_options o = options_of(&r, 5);
        samba_stream_event e = {.struct_size = sizeof e};
        o.queue_depth = 1 + (uint32_t)n % 12;
        ck_assert_int_eq(samba_stream_start(s, sampler, &o, &stream, NULL), SAMBA_OK);
        for (size_t i = 0; i < n; i++) {
            e = next(stream);
            check_token(&e, &r, i);
        }
        if (_i & 2) {
            samba_stream_cancel(stream);
            e = next(stream);
            ck_assert_int_eq(e.kind, SAMBA_STREAM_DONE);
            ck_assert_int_eq(e.reason, SAMBA_STOP_CANCELLED);
            ck_assert_uint_eq(e.n_tokens, n);
        }
        samba_stream_close(stream);
        if (n) {
            check_at(s, &r, n, _i & 1);
            check_goes_on(s, &r, n, _i & 1);
        } else {
            uint64_t at = samba_session_position(s);
            ck_assert(at == 0 || at == r.n_prompt);
        }
        samba_session_free(s);
    }
    samba_sampler_free(sampler);
    toy_free(t);
}
END_TEST

/* ---------------------------------------------------------------- many at once */

enum {
    STREAMS = 64,
    KINDS = 16,
    GUEST_MOST = 1000 /* tokens: the device has no room for endless ones */
};

typedef struct actor {
    toy *t;
    const reference *r;
    samba_session *session;
    samba_stream *stream;
    size_t n;      /* taken */
    size_t end_at; /* cancels or closes then; MOST: never */
    bool slow;
    int closes; /* or cancels */
    bool over;
} actor;

static void act(actor *a, bool full, uint64_t *random)
{
    samba_stream_event e = {.struct_size = sizeof e};
    if (a->over || (a->slow && toy_random(random) % 8))
        return;
    if (a->n == a->end_at) {
        if (a->closes)
            samba_stream_close(a->stream);
        else
            samba_stream_cancel(a->stream);
        if (a->closes)
            a->stream = NULL;
        a->end_at = MOST;
        a->over = a->closes;
    } else {
        if (toy_random(random) % 64 == 0 && a->n) {
            samba_snapshot *snapshot = NULL;
            samba_status status = samba_stream_suspend(a->stream, &snapshot, NULL);
            ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_STATE);
            samba_snapshot_release(snapshot);
            if (status == SAMBA_OK)
                ck_assert_int_eq(samba_stream_resume(a->stream, NULL), SAMBA_OK);
        }
        ck_assert_int_eq(samba_stream_try_next(a->stream, &e, NULL), SAMBA_OK);
        if (e.kind == SAMBA_STREAM_TOKEN)
            check_token(&e, a->r, a->n++);
        a->over = e.kind == SAMBA_STREAM_DONE;
    }
    if (!a->over)
        return;
    samba_stream_close(a->stream);
    if (a->n)
        check_at(a->session, a->r, a->n, full);
    samba_session_free(a->session);
}

START_TEST(many_streams)
{
    static reference kinds[KINDS];
    toy *t = toy_create(_i & 1);
    uint64_t random = (uint64_t)_i + 1;
    samba_sampler *sampler = sampler_of(t, 9);
    samba_session *guest = toy_session(t, NULL);
    toy_shadow shadow;
    actor actors[STREAMS];
    size_t begun = 0, live = 0;
    toy_shadow_init(&shadow, _i & 1);
    for (uint64_t k = 0; k < KINDS; k++)
        make_reference(t, sampler, k, 1 + toy_random(&random) % 100, &kinds[k]);
    if (_i & 2)
        ck_assert_int_eq(samba_model_set_stream_limits(
                             &t->model,
                             &(samba_stream_limits){.struct_size = sizeof(samba_stream_limits),
                                                    .max_state_bytes = 60000,
                                                    .rows_per_pass = 40},
                             NULL),
                         SAMBA_OK);
    do {
        if (begun < n_streams && toy_random(&random) % 3 == 0) {
            uint64_t k = toy_random(&random) % KINDS;
            actor *a = &actors[begun++];
            *a = (actor){.t = t, .r = &kinds[k], .session = toy_session(t, NULL)};
            samba_stream_options o = options_of(a->r, k);
            o.priority = 1 + (int32_t)(toy_random(&random) % 100);
            o.queue_depth = 1 + (uint32_t)(toy_random(&random) % 6);
            a->slow = toy_random(&random) % 4 == 0;
            a->closes = toy_random(&random) % 2 == 0;
            a->end_at = toy_random(&random) % 3 ? MOST : toy_random(&random) % a->r->n;
            ck_assert_int_eq(samba_stream_start(a->session, sampler, &o, &a->stream, NULL),
                             SAMBA_OK);
        }
        if (toy_random(&random) % 16 == 0) {
            samba_token tokens[40];
            size_t n = 1 + toy_random(&random) % 40;
            for (size_t i = 0; i < n; i++)
                tokens[i] = toy_token(&random);
            if (shadow.n > GUEST_MOST) { /* this loop may turn far faster than the streams */
                ck_assert_int_eq(samba_session_reset(guest, NULL), SAMBA_OK);
                toy_shadow_free(&shadow);
                toy_shadow_init(&shadow, _i & 1);
            }
            ck_assert_int_eq(samba_session_eval(guest, tokens, n, NULL, NULL), SAMBA_OK);
            toy_shadow_feed_all(&shadow, tokens, n);
            toy_check_session(guest, &shadow, true);
        }
        live = 0;
        for (size_t i = 0; i < begun; i++) {
            act(&actors[i], _i & 1, &random);
            live += !actors[i].over;
        }
        usleep(20); /* valgrind runs one thread at a time: let it be theirs */
    } while (begun < n_streams || live);
    samba_session_free(guest);
    toy_shadow_free(&shadow);
    samba_sampler_free(sampler);
    toy_free(t);
}
END_TEST

/* ---------------------------------------------------------------- guests */

enum {
    GUEST = 180, /* tokens of a guest's input */
    PROPOSAL = 5,
    GUESTS = 5
};

/* All that a guest's calls give. */
typedef struct findings {
    float scores[GUEST], logits[GUEST][TOY_VOCAB], hidden[GUEST][TOY_D_MODEL];
    float proposed[PROPOSAL][TOY_VOCAB], kept[TOY_VOCAB];
} findings;

/* Holds a stream's draws back, all but the first, until a guest waits for a pass or none is left:
 * so each pass has a guest, and a fast stream does not fill the device before slow guests have
 * come. */
typedef struct pacer {
    toy *t;
    atomic_int draws, guests;
} pacer;

static bool guest_waits(const toy *t)
{
    samba__scheduler *s = samba__model_scheduler(&t->model);
    uv_mutex_lock(&s->lock);
    bool waits = s->arrived || s->guests;
    uv_mutex_unlock(&s->lock);
    return waits;
}

static int32_t pace(void *user_data, const samba_sampler_state *state, samba_candidate *candidates,
                    size_t *n)
{
    pacer *p = user_data;
    (void)state;
    (void)candidates;
    (void)n;
    if (atomic_fetch_add(&p->draws, 1))
        while (atomic_load(&p->guests) && !guest_waits(p->t))
            uv_sleep(1);
    return 0;
}

typedef struct guest {
    toy *t;
    pacer *pacer;   /* NULL: nobody else is there */
    int32_t hidden; /* where its hidden states are tapped */
    samba_token tokens[GUEST];
    findings found;
    int n_failed;
} guest;

static void copy_rows(guest *g, const samba_session *s, size_t n, float (*logits)[TOY_VOCAB],
                      float (*hidden)[TOY_D_MODEL])
{
    for (size_t i = 0; i < n; i++) {
        const float *row = NULL, *h = NULL;
        g->n_failed += samba_session_logits(s, i, &row, NULL, NULL) != SAMBA_OK;
        memcpy(logits[i], row, sizeof logits[i]);
        if (!hidden)
            continue;
        g->n_failed += samba_session_hidden(s, i, &h, NULL, NULL) != SAMBA_OK;
        memcpy(hidden[i], h, sizeof hidden[i]);
    }
}

/* A score, hidden states of all rows, a proposal of which two tokens are kept. */
static void visit(void *arg)
{
    guest *g = arg;
    const samba_eval_options all = {.struct_size = sizeof all,
                                    .outputs = SAMBA_OUTPUT_ALL,
                                    .hidden = g->hidden},
                             propose = {.struct_size = sizeof propose, .speculative = SAMBA_YES};
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 100};
    samba_session *s = toy_session(g->t, &o);
    g->n_failed +=
        samba_session_score(s, g->tokens, GUEST, NULL, g->found.scores, NULL) != SAMBA_OK;
    g->n_failed += samba_session_eval(s, g->tokens, GUEST, &all, NULL) != SAMBA_OK;
    copy_rows(g, s, GUEST, g->found.logits, g->found.hidden);
    g->n_failed += samba_session_eval(s, g->tokens, PROPOSAL, &propose, NULL) != SAMBA_OK;
    copy_rows(g, s, PROPOSAL, g->found.proposed, NULL);
    g->n_failed += samba_session_keep(s, 2, NULL) != SAMBA_OK;
    copy_rows(g, s, 1, &g->found.kept, NULL);
    samba_session_free(s);
    if (g->pacer)
        atomic_fetch_sub(&g->pacer->guests, 1);
}

/* n tokens are there by now, those that the session draws when it is fed with them. */
static void check_tokens(const samba_stream_event *events, size_t n, samba_sampler *sampler,
                         samba_session *session)
{
    samba_token token;
    float logprob;
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(samba_session_sample(session, sampler, 1, &token, &logprob, NULL),
                         SAMBA_OK);
        ck_assert_int_eq(events[i].kind, SAMBA_STREAM_TOKEN);
        ck_assert_int_eq(events[i].token, token);
        ck_assert(memcmp(&events[i].logprob, &logprob, sizeof logprob) == 0);
        ck_assert_int_eq(samba_session_eval(session, &token, 1, NULL, NULL), SAMBA_OK);
    }
}

static void make_guests(toy *t, pacer *p, guest *guests)
{
    static const int32_t taps[GUESTS] = {SAMBA_HIDDEN_FINAL, 1, 2, 3, 2};
    uint64_t random = 12;
    for (size_t i = 0; i < GUESTS; i++) {
        guests[i] = (guest){.t = t, .pacer = p, .hidden = taps[i]};
        for (size_t k = 0; k < GUEST; k++)
            guests[i].tokens[k] = toy_token(&random);
    }
}

static void visit_all(guest *guests)
{
    uv_thread_t threads[GUESTS];
    for (size_t i = 0; i < GUESTS; i++)
        ck_assert_int_eq(uv_thread_create(&threads[i], visit, &guests[i]), 0);
    for (size_t i = 0; i < GUESTS; i++) {
        uv_thread_join(&threads[i]);
        ck_assert_int_eq(guests[i].n_failed, 0);
    }
}

/* Blocking calls of every kind take part in the passes of running streams: they find what they find
 * alone, no pass is made beside the scheduler's, and in each of theirs the stream goes on. */
START_TEST(guests)
{
    enum {
        ROWS = 48,
        ENOUGH = 1000, /* more tokens than passes with guests, all of which the device can hold */
        LEAST = GUESTS * 2 * GUEST / ROWS /* passes that they take, so tokens */
    };
    static guest alone[GUESTS], visiting[GUESTS];
    const samba_stream_limits limits = {.struct_size = sizeof limits, .rows_per_pass = ROWS};
    samba_stream_options o = {.struct_size = sizeof o,
                              .prompt = alone->tokens,
                              .n_prompt = 10,
                              .max_tokens = ENOUGH,
                              .ignore_eos = SAMBA_YES,
                              .queue_depth = ENOUGH,
                              .branch = 1};
    samba_stream_stats stats = {.struct_size = sizeof stats};
    samba_stream_event events[LEAST];
    toy *t = toy_create(true);
    samba_sampler *sampler = sampler_of(t, 5);
    samba_session *s = toy_session(t, NULL);
    samba_stream *stream = NULL;
    pacer p = {.t = t, .guests = GUESTS};
    ck_assert_int_eq(samba_sampler_add_stage(sampler, pace, &p, NULL, NULL), SAMBA_OK);
    make_guests(t, NULL, alone);
    make_guests(t, &p, visiting);
    visit_all(alone);
    ck_assert_int_eq(samba_model_set_stream_limits(&t->model, &limits, NULL), SAMBA_OK);
    int64_t n_passes = toy_device_of(t)->n_passes;
    ck_assert_int_eq(samba_stream_start(s, sampler, &o, &stream, NULL), SAMBA_OK);
    events[0] = next(stream); /* it runs */
    visit_all(visiting);
    for (size_t i = 1; i < LEAST; i++) {
        events[i].struct_size = sizeof events[i];
        ck_assert_int_eq(samba_stream_try_next(stream, &events[i], NULL), SAMBA_OK);
    }
    samba_stream_close(stream);
    ck_assert_int_eq(samba_model_get_stream_stats(&t->model, &stats, NULL), SAMBA_OK);
    ck_assert_int_eq((int64_t)stats.n_passes, toy_device_of(t)->n_passes - n_passes);
    for (size_t i = 0; i < GUESTS; i++)
        ck_assert(memcmp(&visiting[i].found, &alone[i].found, sizeof(findings)) == 0);
    ck_assert_int_eq(samba_session_reset(s, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_session_eval(s, o.prompt, o.n_prompt, NULL, NULL), SAMBA_OK);
    check_tokens(events, LEAST, sampler, s);
    samba_session_free(s);
    samba_sampler_free(sampler);
    toy_free(t);
}
END_TEST

/* ---------------------------------------------------------------- memory */

/* The stream has worked ahead as far as it may. */
static void wait_full(const toy *t)
{
    samba_stream_stats stats = {.struct_size = sizeof stats, .n_running = 1};
    while (stats.n_running) {
        ck_assert_int_eq(samba_model_get_stream_stats(&t->model, &stats, NULL), SAMBA_OK);
        uv_sleep(1);
    }
}

/* Calls of the allocator while a stream that runs gives 1,000 tokens. */
static uint64_t count_allocations(toy *t, const samba_session_options *session_options, size_t top)
{
    enum {
        WARM = 100,
        COUNTED = 1000
    };
    static const char *const stops[] = {"never"};
    const samba_token prompt[] = {1, 2, 3};
    const samba_stream_options o = {.struct_size = sizeof o,
                                    .prompt = prompt,
                                    .n_prompt = 3,
                                    .max_tokens = UINT32_MAX,
                                    .ignore_eos = SAMBA_YES,
                                    .top_logprobs = (uint32_t)top,
                                    .stop_strings = stops,
                                    .n_stop_strings = 1};
    samba_session *s = toy_session(t, session_options);
    samba_sampler *sampler = sampler_of(t, 8);
    samba_stream *stream = NULL;
    uint64_t before = 0;
    ck_assert_int_eq(samba_stream_start(s, sampler, &o, &stream, NULL), SAMBA_OK);
    for (size_t i = 0; i < WARM + COUNTED; i++) {
        if (i == 1)
            wait_full(t);
        if (i == WARM)
            before = __atomic_load_n(&t->memory.n_allocs, __ATOMIC_SEQ_CST);
        ck_assert_int_eq(next(stream).kind, SAMBA_STREAM_TOKEN);
    }
    uint64_t n = __atomic_load_n(&t->memory.n_allocs, __ATOMIC_SEQ_CST) - before;
    samba_stream_close(stream);
    samba_sampler_free(sampler);
    samba_session_free(s);
    return n;
}

/* Entries, images, slabs, logits and tables go round: what is left is the history's growth (4), the
 * state that a checkpoint every 64 tokens keeps (16 of about 16), and, of attention without a
 * window, a page every 4 positions and the growth of its tables (250 and about 40). On a busy
 * machine one or two entries more may be on their way than ever before (12 calls each). */
START_TEST(allocations)
{
    enum {
        ENTRIES = 2 * 12
    };
    const samba_session_options plain = {.struct_size = sizeof plain,
                                         .checkpoint_bytes = SAMBA_CHECKPOINTS_NONE};
    toy *t = toy_create(_i != 0);
    ck_assert_uint_le(count_allocations(t, &plain, 0), ENTRIES + (_i ? 330 : 4));
    ck_assert_uint_le(count_allocations(t, &plain, 3), ENTRIES + (_i ? 330 : 4));
    ck_assert_uint_le(count_allocations(t, NULL, 3), ENTRIES + (_i ? 1000 : 400));
    toy_free(t);
}
END_TEST

/* Whose draw it is, as its stage sees it: of many threads, each with draws of its own. */
typedef struct drawer {
    atomic_uint draws;
} drawer;
static drawer nobody;

static int32_t count_draw(void *user_data, const samba_sampler_state *state,
                          samba_candidate *candidates, size_t *n)
{
    drawer *d = state->user_data ? state->user_data : &nobody;
    (void)user_data;
    (void)candidates;
    (void)n;
    atomic_fetch_add(&d->draws, 1);
    return 0;
}

static int32_t ignore(void *user_data, const samba_token_event *event)
{
    (void)user_data;
    (void)event;
    return SAMBA_CONTINUE;
}

/* Streams and calls that share a sampler: its stages are told for whom they work. */
START_TEST(stages_know_whose_draw_it_is)
{
    toy *t = toy_create(false);
    samba_sampler *sampler = NULL;
    drawer drawers[3] = {{0}};
    samba_session *sessions[3];
    samba_stream *streams[2];
    const samba_token prompt[] = {1, 2, 3};
    samba_token token;
    ck_assert_int_eq(samba_sampler_create(t->context, &sampler, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_add_stage(sampler, count_draw, NULL, NULL, NULL), SAMBA_OK);
    for (size_t i = 0; i < 3; i++) {
        sessions[i] = toy_session(t, NULL);
        ck_assert_int_eq(samba_session_eval(sessions[i], prompt, 3, NULL, NULL), SAMBA_OK);
    }
    for (size_t i = 0; i < 2; i++) {
        const samba_stream_options o = {.struct_size = sizeof o,
                                        .max_tokens = 20 + i,
                                        .ignore_eos = SAMBA_YES,
                                        .user_data = &drawers[i]};
        ck_assert_int_eq(samba_stream_start(sessions[i], sampler, &o, &streams[i], NULL), SAMBA_OK);
    }
    const samba_generate_options o = {
        .struct_size = sizeof o, .max_tokens = 22, .ignore_eos = SAMBA_YES};
    ck_assert_int_eq(
        samba_session_generate(sessions[2], sampler, &o, ignore, &drawers[2], NULL, NULL),
        SAMBA_OK);
    ck_assert_int_eq(samba_session_sample(sessions[2], sampler, 0, &token, NULL, NULL), SAMBA_OK);
    for (size_t i = 0; i < 2; i++) {
        while (next(streams[i]).kind != SAMBA_STREAM_DONE)
            continue;
        samba_stream_close(streams[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(atomic_load(&drawers[i].draws), 20 + i);
        samba_session_free(sessions[i]);
    }
    ck_assert_uint_eq(atomic_load(&nobody.draws), 1);
    samba_sampler_free(sampler);
    toy_free(t);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--short") == 0) {
        n_streams = 6;
        n_early = 4;
    }
    Suite *suite = suite_create("streams");
    TCase *tcase = tcase_create("streams");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, one_stream, 0, 2);
    tcase_add_loop_test(tcase, ends_early, 0, 4);
    tcase_add_loop_test(tcase, many_streams, 0, 4);
    tcase_add_test(tcase, guests);
    tcase_add_test(tcase, stages_know_whose_draw_it_is);
    tcase_add_loop_test(tcase, allocations, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
