/*
 * Property: whatever is done to twenty sessions that share their memory - evals in chunks of any
 * size, batches, clones, resets, proposals kept in part, snapshots and what comes of them, pins and
 * rewinds, cancels and failures at any moment - each of them stands where a plain
 * one-token-at-a-time computation of its tokens stands, bit for bit; no page is written that
 * somebody else can see; page counts keep their bound; checkpoints are charged what they alone
 * hold, and stay within their budget; nothing is left over.
 */
#include "support/suite.h"
#include "toy_backend.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS = 20,
    SNAPSHOTS = 6,
    STEPS = 4000,
    LONGEST = 40
};

typedef struct player {
    samba_session *session; /* NULL: not there */
    toy_shadow shadow;
    bool has_logits;
    size_t n_lost; /* tokens that its history never saw: those that a snapshot had dropped */
} player;

typedef struct picture {
    samba_snapshot *snapshot; /* NULL: none */
    toy_shadow shadow;
    bool has_logits;
    size_t n_kept;
} picture;

typedef struct game {
    toy *t;
    toy_device *d;
    bool full;
    uint64_t random;
    player players[SESSIONS];
    picture pictures[SNAPSHOTS];
    samba_cancel *cancel;
    size_t n_failed, n_done;
    size_t n_rewound, n_refused, n_replayed, n_restored; /* how rewinds went */
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

static samba_session_options random_session(game *g)
{
    return (samba_session_options){.struct_size = sizeof(samba_session_options),
                                   .rows_per_pass = 6 + (uint32_t)below(g, 12),
                                   .max_history = below(g, 3) ? 0 : 1 + below(g, 40),
                                   .checkpoint_bytes = below(g, 3) ? below(g, 20000) : 0,
                                   .checkpoint_interval = 1 + (uint32_t)below(g, 20)};
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
        p->n_lost = 0;
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
    to->n_lost = p->n_lost;
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
        p->n_lost = 0;
    }
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

/* ---------------------------------------------------------------- snapshots */

static void play_snapshot(game *g, player *p)
{
    picture *to = &g->pictures[below(g, SNAPSHOTS)];
    samba_snapshot *snapshot = NULL;
    set_trap(g);
    samba_status status = samba_session_snapshot(p->session, NULL, &snapshot, NULL);
    end_trap(g);
    ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_OUT_OF_MEMORY);
    if (status != SAMBA_OK)
        return;
    samba_snapshot_release(to->snapshot);
    *to = (picture){.snapshot = snapshot,
                    .shadow = to->shadow,
                    .has_logits = p->has_logits,
                    .n_kept = p->session->history.n};
    toy_shadow_copy(&to->shadow, &p->shadow);
}

/* A new session, or the one that stands there, goes where a snapshot is. */
static void play_restore(game *g, player *p)
{
    const picture *from = &g->pictures[below(g, SNAPSHOTS)];
    const samba_session_options o = random_session(g);
    samba_session *s = NULL;
    samba_status status;
    if (!from->snapshot)
        return;
    set_trap(g);
    bool anew = below(g, 2);
    if (anew)
        status = samba_session_create_from(&g->t->model, from->snapshot, &o, &s, NULL);
    else
        status = samba_session_restore(p->session, from->snapshot, NULL);
    end_trap(g);
    ck_assert(status == SAMBA_OK || (anew && status == SAMBA_ERROR_OUT_OF_MEMORY));
    if (status != SAMBA_OK)
        return;
    if (anew) {
        samba_session_free(p->session);
        p->session = s;
    }
    toy_shadow_copy(&p->shadow, &from->shadow);
    p->has_logits = from->has_logits;
    p->n_lost = from->shadow.n - from->n_kept;
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

/* ---------------------------------------------------------------- rewinding */

static void play_pin(game *g, player *p)
{
    uint64_t at = samba_session_position(p->session);
    set_trap(g);
    samba_status status = below(g, 3) ? samba_session_pin(p->session, NULL)
                                      : samba_session_unpin(p->session, below(g, at + 1), NULL);
    end_trap(g);
    ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_OUT_OF_MEMORY ||
              status == SAMBA_ERROR_NOT_FOUND || status == SAMBA_ERROR_LIMIT);
    if (status == SAMBA_ERROR_LIMIT)
        ck_assert_uint_eq(p->session->checkpoints.n, SAMBA__CHECKPOINTS_MOST);
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

/* Where a rewind must go back to, and whether the tokens from there on can be known. */
static uint64_t nearest(const player *p, uint64_t position, bool *possible)
{
    const samba__checkpoints *c = &p->session->checkpoints;
    uint64_t from = 0, kept_from = p->shadow.n - p->session->history.n;
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t at = samba__image_position(c->list[i].image);
        const samba__image *m = c->list[i].image;
        if (at < position || (at == position && (m->logits || !at)))
            from = at;
        if (at >= position && at - m->history.n < kept_from)
            kept_from = at - m->history.n;
    }
    if (position == p->shadow.n && p->has_logits)
        from = position;
    *possible = from == position || kept_from <= from;
    return from;
}

/* What the history shows is what a session that never went past shows. */
static void check_history(const player *p)
{
    size_t seen = p->shadow.n - p->n_lost, max = p->session->history.max;
    ck_assert_uint_eq(p->session->history.n, seen < max ? seen : max);
}

static void check_rewound(game *g, player *p, uint64_t to, const samba_rewind_report *report)
{
    bool possible = false;
    uint64_t from = nearest(p, to, &possible);
    ck_assert(possible);
    ck_assert_uint_eq(report->position, to);
    ck_assert_uint_eq(report->restored_at, from);
    ck_assert_uint_eq(report->replayed, to - from);
    ck_assert_int_eq(report->exact, 1);
    g->n_rewound++;
    g->n_replayed += to > from;
    g->n_restored += from > 0 && from < p->shadow.n;
}

static void play_rewind(game *g, player *p)
{
    uint64_t at = samba_session_position(p->session), first;
    uint64_t to = below(g, 4) || at < 20 ? below(g, at + 1) : at - below(g, 20);
    samba_rewind_options o = {.struct_size = sizeof o, .dry_run = SAMBA_YES, .cancel = g->cancel};
    samba_rewind_report plan = {.struct_size = sizeof plan}, report = plan;
    samba__checkpoints before = p->session->checkpoints;
    size_t n_kept = p->session->history.n;
    bool possible = false;
    first = nearest(p, to, &possible);
    samba_status planned = samba_session_rewind(p->session, to, &o, &plan, NULL), status;
    ck_assert_int_eq(planned, possible ? SAMBA_OK : SAMBA_ERROR_STATE);
    ck_assert_uint_eq(samba_session_position(p->session), at);
    if (possible)
        check_rewound(g, p, to, &plan);
    o = (samba_rewind_options){.struct_size = sizeof o, .cancel = g->cancel};
    if (possible && to > first + 1) {
        o.max_replay = to - first - 1;
        ck_assert_int_eq(samba_session_rewind(p->session, to, &o, NULL, NULL), SAMBA_ERROR_LIMIT);
        o.max_replay++;
    }
    set_trap(g);
    status = samba_session_rewind(p->session, to, &o, &report, NULL);
    end_trap(g);
    ck_assert(status == planned || expected_failure(status));
    if (status == SAMBA_OK) {
        ck_assert_mem_eq(&report, &plan,
                         offsetof(samba_rewind_report, exact) + sizeof report.exact);
        toy_shadow_cut(&p->shadow, (size_t)to);
        p->has_logits = to > 0;
        p->n_lost = to ? p->n_lost : 0;
    } else {
        g->n_refused++;
        ck_assert_uint_eq(p->session->history.n, n_kept);
        ck_assert_uint_eq(p->session->checkpoints.n, before.n);
        for (uint32_t i = 0; i < before.n; i++)
            ck_assert_ptr_eq(p->session->checkpoints.list[i].image, before.list[i].image);
    }
    check_history(p);
    toy_check_session(p->session, &p->shadow, p->has_logits);
}

/* ---------------------------------------------------------------- bounds */

static bool holds(const samba__state *s, const samba__cell *cell)
{
    for (uint32_t i = 0; i < s->n_slab_slots; i++)
        if (s->slabs[i] == cell)
            return true;
    for (uint32_t i = 0; i < s->n_page_slots; i++)
        for (size_t k = 0; k < s->lists[i].n; k++)
            if (s->lists[i].cells[k] == cell)
                return true;
    return false;
}

/* Whether the session, or a checkpoint before the i-th, has it already. */
static bool counted(const samba_session *s, uint32_t n, const samba__cell *cell)
{
    for (uint32_t i = 0; i < n; i++)
        if (holds(s->checkpoints.list[i].image->state, cell))
            return true;
    return !cell || holds(s->sequence.state, cell);
}

static uint64_t cells_alone(const samba_session *s, uint32_t n)
{
    const samba__state *state = s->checkpoints.list[n].image->state;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < state->n_slab_slots; i++)
        if (!counted(s, n, state->slabs[i]))
            bytes += state->slabs[i]->bytes;
    for (uint32_t i = 0; i < state->n_page_slots; i++)
        for (size_t k = 0; k < state->lists[i].n; k++)
            if (!counted(s, n, state->lists[i].cells[k]))
                bytes += state->lists[i].cells[k]->bytes;
    return bytes;
}

/* The charge, counted object by object. */
static uint64_t bytes_alone(const samba_session *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->checkpoints.n; i++) {
        const samba__image *m = s->checkpoints.list[i].image;
        const samba__image *next =
            i + 1 < s->checkpoints.n ? s->checkpoints.list[i + 1].image : NULL;
        bytes += cells_alone(s, i);
        if (m->logits != s->rows.output)
            bytes += samba__output_bytes(m->logits);
        if (m->history.buffer != (next ? next->history.buffer : s->history.buffer))
            bytes += samba__history_bytes(&m->history);
        if (m->state == s->sequence.state)
            continue;
        bytes += m->state->n_slab_slots * sizeof(void *);
        for (uint32_t k = 0; k < m->state->n_page_slots; k++)
            bytes += m->state->lists[k].capacity * sizeof(void *);
    }
    return bytes;
}

static void check_checkpoints(const player *p)
{
    samba_session_stats stats = {.struct_size = sizeof stats};
    const samba__checkpoints *c = &p->session->checkpoints;
    bool all_pinned = true;
    ck_assert_int_eq(samba_session_get_stats(p->session, &stats, NULL), SAMBA_OK);
    ck_assert_uint_eq(stats.n_checkpoints, c->n);
    ck_assert_uint_eq(stats.checkpoint_bytes, bytes_alone(p->session));
    for (uint32_t i = 0; i < c->n; i++) {
        all_pinned &= c->list[i].pinned;
        if (i)
            ck_assert_uint_gt(samba__image_position(c->list[i].image),
                              samba__image_position(c->list[i - 1].image));
    }
    ck_assert(all_pinned || stats.checkpoint_bytes <= c->budget);
    if (!c->budget)
        ck_assert(all_pinned);
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
    const samba_session_options o = random_session(g);
    p->session = toy_session(g->t, &o);
    toy_shadow_free(&p->shadow);
    p->has_logits = false;
    p->n_lost = 0;
}

static void play(game *g)
{
    player *p = &g->players[below(g, SESSIONS)];
    size_t what = below(g, 28);
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
    } else if (what < 21) {
        play_snapshot(g, p);
    } else if (what < 23) {
        play_restore(g, p);
    } else if (what < 25) {
        play_pin(g, p);
    } else {
        play_rewind(g, p);
    }
    if (p->session && p->shadow.n > 400)
        play_reset(g, p);
    if (p->session) {
        check_bounds(p);
        check_checkpoints(p);
    }
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
    for (size_t i = 0; i < SNAPSHOTS; i++)
        toy_shadow_init(&g.pictures[i].shadow, full);
    for (int i = 0; i < STEPS; i++)
        play(&g);
    ck_assert_uint_gt(g.n_done, STEPS / 2); /* the traps are sprung often, but not always */
    ck_assert_uint_gt(g.n_failed, STEPS / 20);
    printf("rewinds: %zu, refused or failed %zu, with a replay %zu, from a checkpoint %zu\n",
           g.n_rewound, g.n_refused, g.n_replayed, g.n_restored);
    ck_assert_uint_gt(g.n_rewound, STEPS / 20);
    ck_assert_uint_gt(g.n_restored, STEPS / 100);
    for (size_t i = 0; i < SESSIONS; i++) {
        samba_session_free(g.players[i].session);
        toy_shadow_free(&g.players[i].shadow);
    }
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        samba_snapshot_release(g.pictures[i].snapshot);
        toy_shadow_free(&g.pictures[i].shadow);
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
