/*
 * Property: whatever is done to twenty sessions that share their memory - evals in chunks of any
 * size, batches, clones, resets, proposals kept in part, cancels and failures at any moment - each
 * of them stands where a plain one-token-at-a-time computation of its tokens stands, bit for bit;
 * no page is written that somebody else can see; page counts keep their bound; nothing is left
 * over.
 */
#include "support/suite.h"
#include "toy_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS = 20,
    STEPS = 4000,
    LONGEST = 40
};

typedef struct player {
    samba_session *session; /* NULL: not there */
    toy_shadow shadow;
    bool has_logits;
} player;

typedef struct game {
    toy *t;
    toy_device *d;
    bool full;
    uint64_t random;
    player players[SESSIONS];
    samba_cancel *cancel;
    size_t n_failed, n_done;
} game;

static size_t below(game *g, size_t n)
{
    return (size_t)(toy_random(&g->random) % n);
}

/* Makes something fail soon, or not. */
static void set_trap(game *g)
{
    g->d->fail_in = g->t->memory.fail_in = g->d->cancel_in = -1;
    samba_cancel_reset(g->cancel);
    switch (below(g, 8)) {
    case 0:
        g->d->fail_in = (int64_t)below(g, 60);
        break;
    case 1:
        g->t->memory.fail_in = (int64_t)below(g, 12) + 1;
        break;
    case 2:
        g->d->cancel_in = (int64_t)below(g, 30);
        break;
    default:
        break;
    }
}

static void end_trap(game *g)
{
    g->d->fail_in = g->t->memory.fail_in = g->d->cancel_in = -1;
}

static bool expected_failure(samba_status status)
{
    return status == SAMBA_ERROR_BACKEND || status == SAMBA_ERROR_OUT_OF_MEMORY ||
           status == SAMBA_ERROR_CANCELLED;
}

/* After an eval of n tokens that may have ended early: the shadow follows as far as it got. */
static void follow(game *g, player *p, const samba_token *tokens, size_t n, samba_outputs outputs,
                   samba_status status)
{
    uint64_t at = samba_session_position(p->session);
    ck_assert_uint_ge(at, p->shadow.n);
    size_t fed = (size_t)(at - p->shadow.n);
    ck_assert(status == SAMBA_OK || expected_failure(status));
    ck_assert(status == SAMBA_OK ? fed == n : fed < n);
    toy_shadow_feed_all(&p->shadow, tokens, fed);
    if (fed)
        p->has_logits = fed == n && outputs != SAMBA_OUTPUT_NONE;
    g->n_done += status == SAMBA_OK;
    g->n_failed += status != SAMBA_OK;
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

static size_t random_tokens(game *g, samba_token tokens[LONGEST])
{
    size_t n = below(g, 3) ? 1 + below(g, 5) : 1 + below(g, LONGEST);
    for (size_t i = 0; i < n; i++)
        tokens[i] = toy_token(&g->random);
    return n;
}

/* All rows of the last eval against the shadow of before. */
static void check_all_rows(const toy_shadow *before, const samba_session *s,
                           const samba_token *tokens, size_t n, int32_t hidden)
{
    toy_shadow plain;
    float logits[TOY_VOCAB], state[TOY_D_MODEL];
    const float *got = NULL;
    toy_shadow_init(&plain, before->full);
    toy_shadow_copy(&plain, before);
    ck_assert_uint_eq(samba_session_n_rows(s), n);
    for (size_t i = 0; i < n; i++) {
        toy_shadow_feed(&plain, tokens[i]);
        toy_logits(plain.last, logits);
        ck_assert_int_eq(samba_session_logits(s, i, &got, NULL, NULL), SAMBA_OK);
        ck_assert_mem_eq(got, logits, sizeof logits);
        if (!hidden)
            continue;
        toy_hidden(hidden < 0 ? plain.last : plain.taps[hidden - 1], state);
        ck_assert_int_eq(samba_session_hidden(s, i, &got, NULL, NULL), SAMBA_OK);
        ck_assert_mem_eq(got, state, sizeof state);
    }
    toy_shadow_free(&plain);
}

static samba_eval_options random_options(game *g)
{
    return (samba_eval_options){.struct_size = sizeof(samba_eval_options),
                                .outputs = (samba_outputs)below(g, 4),
                                .hidden = (int32_t)below(g, TOY_BLOCKS + 2) - 1,
                                .cancel = g->cancel};
}

static void play_eval(game *g, player *p)
{
    samba_token tokens[LONGEST];
    toy_shadow before;
    size_t n = random_tokens(g, tokens);
    samba_eval_options o = random_options(g);
    toy_shadow_init(&before, g->full);
    toy_shadow_copy(&before, &p->shadow);
    set_trap(g);
    samba_status status = samba_session_eval(p->session, tokens, n, &o, NULL);
    end_trap(g);
    follow(g, p, tokens, n, o.outputs, status);
    if (status == SAMBA_OK && o.outputs == SAMBA_OUTPUT_ALL)
        check_all_rows(&before, p->session, tokens, n, o.hidden);
    toy_shadow_free(&before);
}

static void play_batch(game *g)
{
    samba_token tokens[SESSIONS][LONGEST];
    samba_eval_options options[SESSIONS];
    samba_eval_item items[SESSIONS];
    player *players[SESSIONS];
    size_t n = 0;
    for (size_t i = 0; i < SESSIONS; i++) {
        if (!g->players[i].session || below(g, 2))
            continue;
        options[n] = random_options(g);
        players[n] = &g->players[i];
        items[n] = (samba_eval_item){.session = players[n]->session,
                                     .tokens = tokens[n],
                                     .n_tokens = random_tokens(g, tokens[n]),
                                     .options = &options[n],
                                     .status = 99};
        n++;
    }
    const samba_batch_options o = {
        .struct_size = sizeof o, .rows_per_pass = (uint32_t)below(g, 30), .cancel = g->cancel};
    set_trap(g);
    samba_error *error = NULL;
    samba_status status = samba_eval_batch(items, n, sizeof *items, &o, &error), first = SAMBA_OK;
    end_trap(g);
    for (size_t i = 0; i < n; i++) {
        follow(g, players[i], tokens[i], items[i].n_tokens, options[i].outputs, items[i].status);
        first = first ? first : items[i].status;
    }
    ck_assert_int_eq(status, first);
    ck_assert((status == SAMBA_OK) == (error == NULL));
    samba_error_free(error);
}

static void play_proposal(game *g, player *p)
{
    samba_token tokens[LONGEST];
    samba_eval_options o = {.struct_size = sizeof o, .speculative = SAMBA_YES, .cancel = g->cancel};
    samba_session *clone = NULL;
    size_t n = 1 + below(g, 6), kept = below(g, n + 1);
    for (size_t i = 0; i < n; i++)
        tokens[i] = toy_token(&g->random);
    set_trap(g);
    samba_status status = samba_session_eval(p->session, tokens, n, &o, NULL);
    end_trap(g);
    if (status != SAMBA_OK) {
        ck_assert(expected_failure(status));
        toy_check_session(p->session, &p->shadow, p->has_logits);
        return;
    }
    ck_assert_uint_eq(samba_session_position(p->session), p->shadow.n);
    check_all_rows(&p->shadow, p->session, tokens, n, 0);
    ck_assert_int_eq(samba_session_eval(p->session, tokens, 1, NULL, NULL), SAMBA_ERROR_STATE);
    ck_assert_int_eq(samba_session_clone(p->session, &clone, NULL), SAMBA_ERROR_STATE);
    if (below(g, 10) == 0) {
        ck_assert_int_eq(samba_session_reset(p->session, NULL), SAMBA_OK);
        toy_shadow_free(&p->shadow);
        p->has_logits = false;
    } else {
        ck_assert_int_eq(samba_session_keep(p->session, kept, NULL), SAMBA_OK);
        toy_shadow_feed_all(&p->shadow, tokens, kept);
        p->has_logits = kept ? true : p->has_logits;
    }
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

static void play_clone(game *g, player *p)
{
    player *to = &g->players[below(g, SESSIONS)];
    samba_session *clone = NULL;
    if (to == p)
        return;
    set_trap(g);
    g->d->fail_in = -1;
    samba_status status = samba_session_clone(p->session, &clone, NULL);
    end_trap(g);
    ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_OUT_OF_MEMORY);
    if (status != SAMBA_OK)
        return;
    samba_session_free(to->session);
    to->session = clone;
    to->has_logits = p->has_logits;
    toy_shadow_copy(&to->shadow, &p->shadow);
    toy_check_session(to->session, &to->shadow, to->has_logits);
}

static void play_reset(game *g, player *p)
{
    set_trap(g);
    samba_status status = samba_session_reset(p->session, NULL);
    end_trap(g);
    if (status == SAMBA_OK) {
        toy_shadow_free(&p->shadow);
        p->has_logits = false;
    }
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

/* Pages of a windowed slot, spares included, never pass ceil((w - 1 + rows) / page) + 1; slabs two
 * per slot; spare pages of a full slot ceil(rows / page) + 1. */
static void check_bounds(const player *p)
{
    const samba__sequence *q = &p->session->sequence;
    uint32_t rows = p->session->rows_per_pass;
    for (uint32_t i = 0; i < q->layout->n_page_slots; i++) {
        uint32_t window = q->layout->pages[i].window;
        uint64_t seen = window ? window - 1 : 0;
        uint64_t limit = (seen + rows + TOY_PAGE - 1) / TOY_PAGE + 1;
        ck_assert_uint_le(q->pages[i].spares.n + (window ? q->state->lists[i].n : 0), limit);
    }
    for (uint32_t i = 0; i < q->layout->n_slab_slots; i++)
        ck_assert_uint_le(q->slab_spares[i].n + (q->state->slabs[i] != NULL), 2);
}

static void fill_place(game *g, player *p)
{
    const samba_session_options o = {.struct_size = sizeof o,
                                     .rows_per_pass = 6 + (uint32_t)below(g, 12),
                                     .max_history = below(g, 3) ? 0 : 1 + below(g, 40)};
    p->session = toy_session(g->t, &o);
    toy_shadow_free(&p->shadow);
    p->has_logits = false;
}

static void play(game *g)
{
    player *p = &g->players[below(g, SESSIONS)];
    size_t what = below(g, 20);
    if (!p->session) {
        fill_place(g, p);
    } else if (what < 7) {
        play_eval(g, p);
    } else if (what < 10) {
        play_batch(g);
    } else if (what < 14) {
        play_clone(g, p);
    } else if (what < 17) {
        play_proposal(g, p);
    } else if (what < 18) {
        play_reset(g, p);
    } else if (what < 19) {
        samba_session_free(p->session);
        p->session = NULL;
    }
    if (p->session && p->shadow.n > 400)
        play_reset(g, p);
    if (p->session)
        check_bounds(p);
    toy_check(g->t);
}

static void run_game(bool full, uint64_t seed)
{
    game g = {.full = full, .random = seed};
    printf("schedules: full %d, seed %llu\n", full, (unsigned long long)seed);
    g.t = toy_create(full);
    g.d = toy_device_of(g.t);
    ck_assert_int_eq(samba_cancel_create(g.t->context, &g.cancel, NULL), SAMBA_OK);
    g.d->cancel = g.cancel;
    for (size_t i = 0; i < SESSIONS; i++)
        toy_shadow_init(&g.players[i].shadow, full);
    for (int i = 0; i < STEPS; i++)
        play(&g);
    ck_assert_uint_gt(g.n_done, STEPS / 2); /* the traps are sprung often, but not always */
    ck_assert_uint_gt(g.n_failed, STEPS / 20);
    for (size_t i = 0; i < SESSIONS; i++) {
        samba_session_free(g.players[i].session);
        toy_shadow_free(&g.players[i].shadow);
    }
    samba_cancel_free(g.cancel);
    toy_free(g.t);
}

START_TEST(windowed)
{
    run_game(false, 11 + (uint64_t)_i);
}
END_TEST

START_TEST(with_full_attention)
{
    run_game(true, 101 + (uint64_t)_i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedules");
    TCase *tcase = tcase_create("random");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, windowed, 0, 3);
    tcase_add_loop_test(tcase, with_full_attention, 0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
