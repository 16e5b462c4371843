/*
 * A pass is a transaction: with the n-th allocation, the n-th call of the backend or the n-th
 * sublayer's cancel failing, for every n and every kind of call, the session stands at the end of
 * its last whole pass - tokens, position, logits - its neighbours notice nothing, and the same call
 * made again goes through to the right bits. A rewind that fails leaves the checkpoints too.
 */
#include "support/suite.h"
#include "toy_backend.h"

#include <string.h>

enum {
    FED = 18,
    TOKENS = 23,
    TRIES = 2000
};

/* A session in the middle of its life, whose memory a clone shares. */
typedef struct scene {
    toy *t;
    samba_cancel *cancel;
    samba_session *s, *other;
    toy_shadow shadow; /* of both */
    samba_token tokens[TOKENS];
} scene;

typedef samba_status (*action)(scene *c);

static void set_up(scene *c)
{
    uint64_t random = 3;
    const samba_session_options o = {
        .struct_size = sizeof o, .rows_per_pass = 9, .checkpoint_interval = 4};
    c->t = toy_create(true);
    ck_assert_int_eq(samba_cancel_create(c->t->context, &c->cancel, NULL), SAMBA_OK);
    toy_device_of(c->t)->cancel = c->cancel;
    c->s = toy_session(c->t, &o);
    toy_shadow_init(&c->shadow, true);
    for (int i = 0; i < FED; i++) {
        samba_token t = toy_token(&random);
        ck_assert_int_eq(samba_session_eval(c->s, &t, 1, NULL, NULL), SAMBA_OK);
        toy_shadow_feed(&c->shadow, t);
    }
    ck_assert_int_eq(samba_session_clone(c->s, &c->other, NULL), SAMBA_OK);
    for (int i = 0; i < TOKENS; i++)
        c->tokens[i] = toy_token(&random);
}

static void tear_down(scene *c)
{
    toy_check_session(c->other, &c->shadow, true);
    samba_session_free(c->s);
    samba_session_free(c->other);
    samba_cancel_free(c->cancel);
    toy_shadow_free(&c->shadow);
    toy_free(c->t);
}

static samba_status feed_one(scene *c)
{
    const samba_eval_options o = {.struct_size = sizeof o, .cancel = c->cancel};
    return samba_session_eval(c->s, c->tokens, 1, &o, NULL);
}

static samba_status feed_many(scene *c)
{
    const samba_eval_options o = {.struct_size = sizeof o, .cancel = c->cancel};
    return samba_session_eval(c->s, c->tokens, TOKENS, &o, NULL);
}

static samba_status feed_all_rows(scene *c)
{
    const samba_eval_options o = {
        .struct_size = sizeof o, .outputs = SAMBA_OUTPUT_ALL, .hidden = 3, .cancel = c->cancel};
    return samba_session_eval(c->s, c->tokens, TOKENS, &o, NULL);
}

static samba_status score(scene *c)
{
    const samba_eval_options o = {.struct_size = sizeof o, .cancel = c->cancel};
    float scores[TOKENS];
    memset(scores, 0, sizeof scores);
    samba_status status = samba_session_score(c->s, c->tokens, TOKENS, &o, scores, NULL);
    for (int i = 0; i < TOKENS; i++)
        ck_assert(status == SAMBA_OK ? scores[i] < 0 : memcmp(&scores[i], "\0\0\0\0", 4) == 0);
    return status;
}

/* Keeps all of a proposal. */
static samba_status propose(scene *c)
{
    const samba_eval_options o = {
        .struct_size = sizeof o, .speculative = SAMBA_YES, .cancel = c->cancel};
    samba_status status = samba_session_eval(c->s, c->tokens, 7, &o, NULL);
    return status == SAMBA_OK ? samba_session_keep(c->s, 7, NULL) : status;
}

/* With a neighbour that must not be touched by failures of ours; it is another clone. */
static samba_status in_batch(scene *c)
{
    samba_session *third = NULL;
    samba_status status = samba_session_clone(c->other, &third, NULL);
    if (status != SAMBA_OK)
        return status;
    samba_eval_item items[2] = {
        {.session = third, .tokens = c->tokens, .n_tokens = 5},
        {.session = c->s, .tokens = c->tokens, .n_tokens = TOKENS},
    };
    const samba_batch_options o = {
        .struct_size = sizeof o, .rows_per_pass = 8, .cancel = c->cancel};
    samba_eval_batch(items, 2, sizeof *items, &o, NULL);
    samba_session_free(third);
    return items[1].status;
}

/* A session made from a snapshot takes the place of ours. */
static samba_status from_snapshot(scene *c)
{
    samba_snapshot *snapshot = NULL;
    samba_session *s = NULL;
    samba_status status = samba_session_snapshot(c->s, NULL, &snapshot, NULL);
    if (status == SAMBA_OK)
        status = samba_session_create_from(&c->t->model, snapshot, NULL, &s, NULL);
    samba_snapshot_release(snapshot);
    if (status == SAMBA_OK) {
        samba_session_free(c->s);
        c->s = s;
        status = feed_many(c);
    }
    return status;
}

/* There, back and there again. */
static samba_status by_restore(scene *c)
{
    samba_snapshot *snapshot = NULL;
    samba_status status = samba_session_snapshot(c->s, NULL, &snapshot, NULL);
    if (status == SAMBA_OK)
        status = feed_many(c);
    if (status == SAMBA_OK)
        status = samba_session_restore(c->s, snapshot, NULL);
    if (status == SAMBA_OK)
        status = feed_many(c);
    samba_snapshot_release(snapshot);
    return status;
}

static samba_status pinned(scene *c)
{
    samba_status status = samba_session_pin(c->s, NULL);
    return status == SAMBA_OK ? feed_one(c) : status;
}

static samba_status by_reset(scene *c)
{
    return samba_session_reset(c->s, NULL);
}

static const struct {
    const char *name;
    action act;
    size_t n; /* tokens fed by it */
    bool resets;
} actions[] = {
    {"feed one", feed_one, 1, false},
    {"feed many", feed_many, TOKENS, false},
    {"all rows", feed_all_rows, TOKENS, false},
    {"score", score, TOKENS, false},
    {"propose", propose, 7, false},
    {"batch", in_batch, TOKENS, false},
    {"create_from", from_snapshot, TOKENS, false},
    {"restore", by_restore, TOKENS, false},
    {"pin", pinned, 1, false},
    {"reset", by_reset, 0, true},
};
enum {
    ACTIONS = sizeof actions / sizeof *actions
};

enum {
    TRAP_MEMORY,
    TRAP_MEMORY_LASTING,
    TRAP_BACKEND,
    TRAP_CANCEL,
    TRAPS
};

static void set_trap(scene *c, int trap, int64_t n)
{
    toy_device *d = toy_device_of(c->t);
    if (trap == TRAP_MEMORY || trap == TRAP_MEMORY_LASTING)
        c->t->memory.fail_in = n + 1;
    c->t->memory.lasting = trap == TRAP_MEMORY_LASTING;
    if (trap == TRAP_BACKEND)
        d->fail_in = n;
    if (trap == TRAP_CANCEL)
        d->cancel_in = n;
}

/* Back to normal; false if the trap was not sprung. */
static bool end_trap(scene *c, int trap)
{
    toy_device *d = toy_device_of(c->t);
    bool sprung = trap == TRAP_MEMORY           ? c->t->memory.fail_in < 0
                  : trap == TRAP_MEMORY_LASTING ? c->t->memory.fail_in == 0
                  : trap == TRAP_BACKEND        ? d->fail_in < 0
                                                : d->cancel_in < 0;
    c->t->memory.fail_in = d->fail_in = d->cancel_in = -1;
    samba_cancel_reset(c->cancel);
    return sprung;
}

static samba_status wanted(int trap)
{
    return trap == TRAP_BACKEND  ? SAMBA_ERROR_BACKEND
           : trap == TRAP_CANCEL ? SAMBA_ERROR_CANCELLED
                                 : SAMBA_ERROR_OUT_OF_MEMORY;
}

/* Where the session stands after a failure, and that it can go on from there to the end. */
static void check_failed(scene *c, size_t n_tokens)
{
    uint64_t fed = samba_session_position(c->s) - FED;
    toy_shadow now;
    ck_assert_uint_lt(fed, n_tokens ? n_tokens : 1);
    toy_shadow_init(&now, true);
    toy_shadow_copy(&now, &c->shadow);
    toy_shadow_feed_all(&now, c->tokens, (size_t)fed);
    toy_check_session(c->s, &now, fed == 0);
    toy_shadow_feed_all(&now, c->tokens + fed, TOKENS - (size_t)fed);
    ck_assert_int_eq(samba_session_eval(c->s, c->tokens + fed, TOKENS - (size_t)fed, NULL, NULL),
                     SAMBA_OK);
    toy_check_session(c->s, &now, true);
    toy_shadow_free(&now);
}

/* One action with one trap at n; false when n is past its end. */
static bool try_once(int which, int trap, int64_t n)
{
    scene c = {0};
    set_up(&c);
    int64_t live = c.t->memory.live;
    set_trap(&c, trap, n);
    samba_status status = actions[which].act(&c);
    bool sprung = end_trap(&c, trap);
    ck_assert_msg(status == SAMBA_OK || status == wanted(trap), "%s, trap %d at %lld: status %d",
                  actions[which].name, trap, (long long)n, status);
    ck_assert(sprung || status == SAMBA_OK);
    ck_assert_int_ge(c.t->memory.live, live - 40);
    if (status != SAMBA_OK) {
        check_failed(&c, actions[which].n);
    } else {
        toy_shadow now;
        toy_shadow_init(&now, true);
        if (!actions[which].resets)
            toy_shadow_copy(&now, &c.shadow);
        toy_shadow_feed_all(&now, c.tokens, actions[which].n);
        toy_check_session(c.s, &now, !actions[which].resets);
        toy_shadow_free(&now);
    }
    tear_down(&c);
    return sprung;
}

START_TEST(every_n)
{
    int which = _i / TRAPS, trap = _i % TRAPS;
    int64_t n = 0;
    while (n < TRIES && try_once(which, trap, n))
        n++;
    ck_assert_int_lt(n, TRIES);
    /* Something could fail, and did. */
    if (!actions[which].resets)
        ck_assert_int_ge(n, trap == TRAP_CANCEL ? TOY_SUBLAYERS : 3);
}
END_TEST

static void check_rewound(scene *c, uint64_t to)
{
    toy_shadow now;
    toy_shadow_init(&now, true);
    toy_shadow_copy(&now, &c->shadow);
    toy_shadow_cut(&now, (size_t)to);
    toy_check_session(c->s, &now, to > 0);
    ck_assert_int_eq(samba_session_eval(c->s, c->tokens, TOKENS, NULL, NULL), SAMBA_OK);
    toy_shadow_feed_all(&now, c->tokens, TOKENS);
    toy_check_session(c->s, &now, true);
    toy_shadow_free(&now);
}

/* One rewind with one trap at n; false when n is past its end. */
static bool rewind_once(uint64_t to, int trap, int64_t n)
{
    scene c = {0};
    set_up(&c);
    ck_assert_int_eq(samba_session_pin(c.s, NULL), SAMBA_OK);
    const samba_rewind_options o = {.struct_size = sizeof o, .cancel = c.cancel};
    samba_rewind_report report = {.struct_size = sizeof report};
    samba__checkpoints before = c.s->checkpoints;
    set_trap(&c, trap, n);
    samba_status status = samba_session_rewind(c.s, to, &o, &report, NULL);
    bool sprung = end_trap(&c, trap);
    ck_assert(status == SAMBA_OK || (sprung && status == wanted(trap)));
    if (status != SAMBA_OK) {
        ck_assert_uint_eq(report.position + report.replayed, 0);
        toy_check_session(c.s, &c.shadow, true);
        ck_assert_uint_eq(c.s->checkpoints.n, before.n);
        for (uint32_t i = 0; i < before.n; i++) {
            ck_assert_ptr_eq(c.s->checkpoints.list[i].image, before.list[i].image);
            ck_assert_int_eq(c.s->checkpoints.list[i].pinned, before.list[i].pinned);
        }
        ck_assert_int_eq(samba_session_rewind(c.s, to, NULL, NULL, NULL), SAMBA_OK);
    }
    check_rewound(&c, to);
    tear_down(&c);
    return sprung;
}

START_TEST(every_n_of_a_rewind)
{
    static const uint64_t to[] = {0, 2, 10, 16, 17};
    int trap = _i % TRAPS;
    int64_t n = 0;
    while (n < TRIES && rewind_once(to[_i / TRAPS], trap, n))
        n++;
    ck_assert_int_lt(n, TRIES);
    if (to[_i / TRAPS] == 10) /* two beyond a checkpoint */
        ck_assert_int_ge(n, trap == TRAP_CANCEL ? TOY_SUBLAYERS : 3);
}
END_TEST

/* A session that has not begun, and the making of one. */
START_TEST(creation)
{
    toy *t = toy_create(true);
    samba_session *s = NULL, *clone = NULL;
    samba_token token = 7;
    for (int64_t n = 0; n < TRIES; n++) {
        t->memory.fail_in = n + 1;
        samba_status status = samba_session_create(&t->model, NULL, &s, NULL);
        if (status == SAMBA_OK)
            status = samba_session_eval(s, &token, 1, NULL, NULL);
        if (status == SAMBA_OK)
            status = samba_session_clone(s, &clone, NULL);
        bool sprung = t->memory.fail_in < 0;
        t->memory.fail_in = -1;
        ck_assert_int_eq(status, sprung ? SAMBA_ERROR_OUT_OF_MEMORY : SAMBA_OK);
        samba_session_free(s);
        samba_session_free(clone);
        s = clone = NULL;
        if (!sprung) {
            ck_assert_int_ge(n, 10);
            toy_free(t);
            return;
        }
    }
    ck_abort_msg("no end to the allocations");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *tcase = tcase_create("transactions");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, every_n, 0, ACTIONS * TRAPS);
    tcase_add_loop_test(tcase, every_n_of_a_rewind, 0, 5 * TRAPS);
    tcase_add_test(tcase, creation);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
