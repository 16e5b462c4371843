/*
 * Sessions that begin at a position of their own (samba_session_options.first_position), without a
 * past. Models without positional encoding must not notice: the same bits, where attention's key
 * blocks fall the same way, else the same numbers. With RoPE nothing but the usual law holds: the
 * result does not depend on how the tokens were fed. And nothing that lay in memory before the
 * first position may show.
 */
#include "support/fake_device.h"
#include "support/golden_case.h"
#include "support/rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKENS = 90
};

static const char *const unplaced[] = {"mamba_hf", "ms_samba_nope", "phi4flash", "ms_mamba"};
static const char *const placed[] = {"ms_samba", "ms_llama_full", "ms_llama_swa_gqa2",
                                     "ms_samba_scattn", "ms_retnet"};

typedef struct world {
    const char *name;
    samba_context *context;
    samba_model *model;
    size_t n_vocab;
    samba_token tokens[TOKENS];
} world;

static world open_world(const char *name, const samba_backend_vtbl *backend)
{
    char path[512];
    const rig_options options = {.backend = backend, .n_threads = 2};
    world w = {.name = name, .context = rig_context(&options)};
    samba_model_info info = {.struct_size = sizeof info};
    rig_random random = {7};
    snprintf(path, sizeof path, GOLDEN_CASES "/%s", name);
    w.model = rig_load(w.context, path, &options);
    CK_OK(samba_model_get_info(w.model, &info, RIG_ERROR));
    w.n_vocab = info.n_vocab;
    for (int i = 0; i < TOKENS; i++)
        w.tokens[i] = (samba_token)rig_below(&random, info.n_vocab);
    return w;
}

static void close_world(world *w)
{
    samba_model_release(w->model);
    samba_context_free(w->context);
}

static samba_session *session_at(const world *w, uint64_t first, uint32_t rows)
{
    samba_session *s = NULL;
    const samba_session_options o = {
        .struct_size = sizeof o, .rows_per_pass = rows, .first_position = first};
    CK_OK(samba_session_create(w->model, &o, &s, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(s), first);
    return s;
}

/* Logits of every token [TOKENS][n_vocab], fed `chunk` at a time; caller frees. */
static float *logits_of(const world *w, samba_session *s, size_t chunk)
{
    float *all = malloc(TOKENS * w->n_vocab * sizeof *all);
    uint64_t first = samba_session_position(s);
    for (size_t at = 0; at < TOKENS; at += chunk) {
        size_t n = TOKENS - at < chunk ? TOKENS - at : chunk;
        rig_eval(s, w->tokens + at, n, SAMBA_OUTPUT_ALL);
        ck_assert_uint_eq(samba_session_position(s), first + at + n);
        for (size_t i = 0; i < n; i++)
            memcpy(all + (at + i) * w->n_vocab, rig_logits(s, i), w->n_vocab * sizeof *all);
    }
    return all;
}

static void check_same(const world *w, uint64_t first, const float *got, const float *want)
{
    for (size_t i = 0; i < TOKENS * w->n_vocab; i++)
        ck_assert_msg(memcmp(&got[i], &want[i], sizeof *got) == 0,
                      "%s at %llu: token %zu, logit %zu is %.9g, was %.9g", w->name,
                      (unsigned long long)first, i / w->n_vocab, i % w->n_vocab, (double)got[i],
                      (double)want[i]);
}

static void check_near(const world *w, uint64_t first, const float *got, const float *want)
{
    double top = 0;
    for (size_t i = 0; i < TOKENS * w->n_vocab; i++)
        top = fmax(top, fabs((double)want[i]));
    for (size_t i = 0; i < TOKENS * w->n_vocab; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= 1e-4 * top,
                      "%s at %llu: token %zu, logit %zu is %.9g, was %.9g", w->name,
                      (unsigned long long)first, i / w->n_vocab, i % w->n_vocab, (double)got[i],
                      (double)want[i]);
}

/* ---------------------------------------------------------------- no positional encoding */

START_TEST(unplaced_models_do_not_notice)
{
    static const uint64_t firsts[] = {
        64, 1, 70, 127, 1000000, (uint64_t)1 << 39, ((uint64_t)1 << 40) - TOKENS};
    world w = open_world(unplaced[_i], NULL);
    samba_session *s = session_at(&w, 0, 0);
    float *want = logits_of(&w, s, TOKENS);
    samba_session_free(s);
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        s = session_at(&w, firsts[i], 0);
        float *got = logits_of(&w, s, 17);
        if (firsts[i] % 64 == 0 || _i == 0 || _i == 3) /* recurrent: no key blocks at all */
            check_same(&w, firsts[i], got, want);
        else
            check_near(&w, firsts[i], got, want);
        samba_session_free(s);
        free(got);
    }
    free(want);
    close_world(&w);
}
END_TEST

/* The fake device's memory is NaN where nothing was written, and its pages hold 16 positions. */
START_TEST(fake_device_sees_nothing_before_the_first)
{
    static const uint64_t firsts[] = {16, 5, 31, 1000003};
    fake_counts counts;
    fake_reset_counts();
    world w = open_world(unplaced[1 + _i], &fake_vtbl);
    samba_session *s = session_at(&w, 0, 0);
    float *want = logits_of(&w, s, TOKENS);
    samba_session_free(s);
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        s = session_at(&w, firsts[i], 0);
        float *got = logits_of(&w, s, 13);
        check_near(&w, firsts[i], got, want);
        samba_session_free(s);
        free(got);
    }
    free(want);
    close_world(&w);
    fake_get_counts(&counts);
    ck_assert_msg(counts.violations == 0, "%s", counts.first_violation);
}
END_TEST

/* ---------------------------------------------------------------- the law, with RoPE too */

/* A session's pages come from the heap; those that another one left full of other keys are the
 * likeliest. */
static void leave_rubbish(const world *w)
{
    samba_session *s = session_at(w, 0, 0);
    samba_token other[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        other[i] = (w->tokens[i] + 1) % (samba_token)w->n_vocab;
    rig_eval(s, other, TOKENS, 0);
    samba_session_free(s);
}

START_TEST(the_law_holds_from_any_position)
{
    static const uint64_t firsts[] = {1, 63, 100, 4096, 999999};
    static const size_t chunks[] = {1, 7, 40};
    world w = open_world(placed[_i], NULL);
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        samba_session *s = session_at(&w, firsts[i], 0);
        float *want = logits_of(&w, s, TOKENS);
        samba_session_free(s);
        leave_rubbish(&w);
        for (size_t k = 0; k < 3; k++) {
            s = session_at(&w, firsts[i], chunks[k] == 7 ? 5 : 0);
            float *got = logits_of(&w, s, chunks[k]);
            check_same(&w, firsts[i], got, want);
            free(got);
            CK_OK(samba_session_reset(s, RIG_ERROR)); /* back to the first position */
            ck_assert_uint_eq(samba_session_position(s), firsts[i]);
            got = logits_of(&w, s, TOKENS);
            check_same(&w, firsts[i], got, want);
            free(got);
            samba_session_free(s);
        }
        free(want);
    }
    close_world(&w);
}
END_TEST

/* Clones at the start and in the middle go on as the original does. */
START_TEST(clones_know_where_they_began)
{
    world w = open_world(placed[_i], NULL);
    samba_session *s = session_at(&w, 100, 0), *clone = NULL, *later = NULL;
    CK_OK(samba_session_clone(s, &clone, RIG_ERROR));
    float *want = logits_of(&w, s, 11);
    CK_OK(samba_session_clone(s, &later, RIG_ERROR));
    float *got = logits_of(&w, clone, 23);
    check_same(&w, 100, got, want);
    free(got);
    CK_OK(samba_session_reset(later, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(later), 100);
    got = logits_of(&w, later, 90);
    check_same(&w, 100, got, want);
    free(got);
    free(want);
    samba_session_free(s);
    samba_session_free(clone);
    samba_session_free(later);
    close_world(&w);
}
END_TEST

START_TEST(proposals_and_scores)
{
    world w = open_world(placed[_i], NULL);
    samba_session *s = session_at(&w, 70, 0), *t = session_at(&w, 70, 0);
    const samba_eval_options o = {.struct_size = sizeof o, .speculative = SAMBA_YES};
    float scores[TOKENS], again[TOKENS];
    CK_OK(samba_session_score(s, w.tokens, TOKENS, NULL, scores, RIG_ERROR));
    ck_assert(scores[0] >= 0 && scores[0] <= 0); /* nothing to score the first by */
    CK_OK(samba_session_eval(t, w.tokens, 6, &o, RIG_ERROR));
    CK_OK(samba_session_keep(t, 0, RIG_ERROR)); /* back at the start */
    ck_assert_uint_eq(samba_session_position(t), 70);
    CK_OK(samba_session_eval(t, w.tokens, 6, &o, RIG_ERROR));
    CK_OK(samba_session_keep(t, 3, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(t), 73);
    rig_eval(t, w.tokens + 3, TOKENS - 3, 0);
    ck_assert_int_eq(memcmp(rig_logits(s, 0), rig_logits(t, 0), w.n_vocab * sizeof(float)), 0);
    CK_OK(samba_session_reset(s, RIG_ERROR));
    CK_OK(samba_session_score(s, w.tokens, TOKENS, NULL, again, RIG_ERROR));
    ck_assert_int_eq(memcmp(scores, again, sizeof scores), 0);
    samba_session_free(s);
    samba_session_free(t);
    close_world(&w);
}
END_TEST

/* ---------------------------------------------------------------- limits and bookkeeping */

START_TEST(history_and_memory)
{
    world w = open_world("ms_samba", NULL);
    samba_session *far = session_at(&w, 1000000, 0), *near = session_at(&w, 0, 0);
    samba_session_stats a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    const samba_token *tokens = NULL;
    uint64_t first = 0;
    size_t n = 0;
    CK_OK(samba_session_tokens(far, &tokens, &first, &n, RIG_ERROR));
    ck_assert_uint_eq(first, 1000000);
    ck_assert_uint_eq(n, 0);
    for (int i = 0; i < 5; i++) {
        rig_eval(far, w.tokens, TOKENS, 0);
        rig_eval(near, w.tokens, TOKENS, 0);
        CK_OK(samba_session_get_stats(far, &a, RIG_ERROR));
        CK_OK(samba_session_get_stats(near, &b, RIG_ERROR));
        ck_assert_uint_eq(a.state_bytes, b.state_bytes); /* 1,000,000 is a multiple of 64 */
        ck_assert_uint_eq(a.position, b.position + 1000000);
    }
    CK_OK(samba_session_tokens(far, &tokens, &first, &n, RIG_ERROR));
    ck_assert_uint_eq(first, 1000000);
    ck_assert_uint_eq(n, 5 * TOKENS);
    ck_assert_int_eq(memcmp(tokens, w.tokens, sizeof w.tokens), 0);
    samba_session_free(far);
    samba_session_free(near);
    close_world(&w);
}
END_TEST

START_TEST(positions_end)
{
    world w = open_world("ms_samba", NULL);
    const uint64_t end = (uint64_t)1 << 40;
    samba_session *s = NULL;
    samba_session_options o = {.struct_size = sizeof o, .first_position = end};
    CK_FAILS(SAMBA_ERROR_LIMIT, samba_session_create(w.model, &o, &s, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "first_position is 1099511627776"));
    o.first_position = UINT64_MAX;
    CK_FAILS(SAMBA_ERROR_LIMIT, samba_session_create(w.model, &o, &s, RIG_ERROR));
    ck_assert_ptr_null(s);
    s = session_at(&w, end - 5, 0);
    CK_FAILS(SAMBA_ERROR_LIMIT, samba_session_eval(s, w.tokens, 6, NULL, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "positions end before 2^40"));
    ck_assert_uint_eq(samba_session_position(s), end - 5);
    rig_eval(s, w.tokens, 5, 0);
    for (size_t i = 0; i < w.n_vocab; i++)
        ck_assert(isfinite(rig_logits(s, 0)[i]));
    CK_FAILS(SAMBA_ERROR_LIMIT, samba_session_eval(s, w.tokens, 1, NULL, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(s), end);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("first position");
    TCase *tcase = tcase_create("sessions");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, unplaced_models_do_not_notice, 0, 4);
    tcase_add_loop_test(tcase, fake_device_sees_nothing_before_the_first, 0, 2);
    tcase_add_loop_test(tcase, the_law_holds_from_any_position, 0, 5);
    tcase_add_loop_test(tcase, clones_know_where_they_began, 0, 5);
    tcase_add_loop_test(tcase, proposals_and_scores, 0, 5);
    tcase_add_test(tcase, history_and_memory);
    tcase_add_test(tcase, positions_end);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
