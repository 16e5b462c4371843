/*
 * The law: logits depend on the model and the tokens only. One evaluation of the whole prompt is
 * compared by memcmp with every other way to feed the same tokens: in chunks, in batches with
 * strangers, as proposals kept in part, through clones, on other numbers of threads, with other
 * outputs asked for. Every golden case, all types of keys, values and weights.
 */
#include "cpu/kernels.h"
#include "support/fake_device.h"
#include "support/golden_case.h"
#include "support/rig.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct subject {
    char name[160];
    samba_model *model;
    const samba_token *tokens;
    size_t n, n_vocab, d_model;
    samba_dtype kv;
    bool scores_rows; /* the backend has log_prob: no score depends on where calls are cut */
    float *logits;    /* [n][n_vocab] */
    float *hidden;    /* [n][d_model], after the final norm */
    float *stream;    /* [n][d_model], after the first block */
    rig_random random;
} subject;

static samba_eval_options eval_options(samba_outputs outputs, int32_t hidden)
{
    return (samba_eval_options){
        .struct_size = sizeof(samba_eval_options), .outputs = outputs, .hidden = hidden};
}

/* ---------------------------------------------------------------- comparing */

/* Without the backend's log_prob, a token right after a cut between two calls is scored by other
 * code, off by a last bit or two. */
static void nearly_same(const subject *s, float got, float want, size_t position)
{
    ck_assert_msg(fabs((double)got - (double)want) <= 1e-6 * fabs((double)want) + 1e-6,
                  "%s: score %zu after a cut is %.9g, was %.9g", s->name, position, (double)got,
                  (double)want);
}

static void same(const subject *s, const char *how, const float *got, const float *want, size_t n,
                 uint64_t position)
{
    if (memcmp(got, want, n * sizeof *got) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&got[i], &want[i], sizeof *got) == 0,
                      "%s: %s: position %llu, element %zu is %.9g, was %.9g", s->name, how,
                      (unsigned long long)position, i, (double)got[i], (double)want[i]);
}

/* The rows that the last eval of n tokens left, which ended at the session's position. */
static void same_rows(const subject *s, const char *how, const samba_session *session, size_t n,
                      const samba_eval_options *options)
{
    uint64_t end = samba_session_position(session);
    size_t rows = options->outputs == SAMBA_OUTPUT_NONE  ? 0
                  : options->outputs == SAMBA_OUTPUT_ALL ? n
                                                         : 1;
    ck_assert_uint_eq(samba_session_n_rows(session), rows);
    for (size_t i = 0; i < rows; i++) {
        size_t p = (size_t)end - rows + i;
        same(s, how, rig_logits(session, i), s->logits + p * s->n_vocab, s->n_vocab, p);
        if (options->hidden == SAMBA_HIDDEN_FINAL)
            same(s, how, rig_hidden(session, i), s->hidden + p * s->d_model, s->d_model, p);
        else if (options->hidden == 1)
            same(s, how, rig_hidden(session, i), s->stream + p * s->d_model, s->d_model, p);
    }
}

static samba_eval_options random_options(rig_random *r)
{
    static const samba_outputs outputs[] = {0, SAMBA_OUTPUT_LAST, SAMBA_OUTPUT_ALL,
                                            SAMBA_OUTPUT_NONE};
    static const int32_t hidden[] = {0, 0, SAMBA_HIDDEN_FINAL, 1};
    samba_eval_options o = eval_options(outputs[rig_below(r, 4)], hidden[rig_below(r, 4)]);
    if (o.outputs == SAMBA_OUTPUT_NONE)
        o.hidden = 0;
    return o;
}

static size_t chunk_of(subject *s, size_t chunk, size_t left)
{
    size_t n = chunk ? chunk : 1 + rig_below(&s->random, 23);
    return n < left ? n : left;
}

/* ---------------------------------------------------------------- ways to feed */

static void feed(subject *s, samba_session *session, size_t from, size_t chunk, const char *how)
{
    for (size_t p = from; p < s->n;) {
        size_t n = chunk_of(s, chunk, s->n - p);
        samba_eval_options o = random_options(&s->random);
        CK_OK(samba_session_eval(session, s->tokens + p, n, &o, RIG_ERROR));
        p += n;
        ck_assert_uint_eq(samba_session_position(session), p);
        same_rows(s, how, session, n, &o);
    }
}

static void in_chunks(subject *s, uint32_t rows_per_pass, size_t chunk)
{
    char how[64];
    snprintf(how, sizeof how, "chunks of %zu, %u rows per pass", chunk, rows_per_pass);
    samba_session *session = rig_session(s->model, s->kv, rows_per_pass);
    feed(s, session, 0, chunk, how);
    samba_session_free(session);
}

enum {
    N_OTHERS = 3,
    MAX_OTHER = 160
};

/* The others' tokens, and what they are fed in the end, must also be right for them alone. */
static void in_batches(subject *s)
{
    static const uint32_t rows[] = {1, 3, 16, 256};
    samba_token other[N_OTHERS][MAX_OTHER];
    samba_session *sessions[1 + N_OTHERS];
    size_t fed[1 + N_OTHERS] = {0};
    for (int i = 0; i <= N_OTHERS; i++)
        sessions[i] = rig_session(s->model, s->kv, rows[rig_below(&s->random, 4)]);
    for (int i = 0; i < N_OTHERS; i++)
        for (int k = 0; k < MAX_OTHER; k++)
            other[i][k] = (samba_token)rig_below(&s->random, (uint32_t)s->n_vocab);
    while (fed[0] < s->n) {
        samba_eval_item items[1 + N_OTHERS];
        samba_eval_options options[1 + N_OTHERS];
        size_t n_items = 0, mine = rig_below(&s->random, 1 + N_OTHERS);
        for (size_t k = 0; k <= N_OTHERS; k++) {
            size_t i = (k + mine) % (1 + N_OTHERS), limit = i ? MAX_OTHER : s->n;
            size_t n = chunk_of(s, 0, limit - fed[i]);
            options[n_items] = random_options(&s->random);
            items[n_items] = (samba_eval_item){
                .session = sessions[i],
                .tokens = i ? other[i - 1] + fed[i] : s->tokens + fed[i],
                .n_tokens = n,
                .options = &options[n_items],
                .status = -1,
            };
            fed[i] += n;
            n_items += n > 0;
        }
        samba_batch_options batch = {.struct_size = sizeof batch,
                                     .rows_per_pass = rows[rig_below(&s->random, 4)]};
        CK_OK(samba_eval_batch(items, n_items, sizeof items[0], &batch, RIG_ERROR));
        for (size_t k = 0; k < n_items; k++) {
            ck_assert_int_eq(items[k].status, SAMBA_OK);
            if (items[k].session == sessions[0])
                same_rows(s, "in batches", sessions[0], items[k].n_tokens, &options[k]);
        }
    }
    for (int i = 1; i <= N_OTHERS; i++) {
        if (!fed[i])
            continue;
        samba_session *alone = rig_session(s->model, s->kv, 0);
        CK_OK(samba_session_eval(alone, other[i - 1], fed[i] - 1, NULL, RIG_ERROR));
        CK_OK(samba_session_reset(sessions[i], RIG_ERROR));
        rig_eval(sessions[i], other[i - 1], fed[i], 0);
        rig_eval(alone, other[i - 1] + fed[i] - 1, 1, 0);
        same(s, "a neighbour", rig_logits(alone, 0), rig_logits(sessions[i], 0), s->n_vocab,
             fed[i]);
        samba_session_free(alone);
    }
    for (int i = 0; i <= N_OTHERS; i++)
        samba_session_free(sessions[i]);
}

/* Proposals whose first j tokens are the right ones. */
static void by_proposals(subject *s, uint32_t rows_per_pass)
{
    samba_session *session = rig_session(s->model, s->kv, rows_per_pass);
    size_t p = 0;
    while (p < s->n) {
        size_t most = s->n - p < rows_per_pass ? s->n - p : rows_per_pass;
        size_t k = 1 + rig_below(&s->random, (uint32_t)(most < 9 ? most : 9));
        size_t j = rig_below(&s->random, (uint32_t)k + 1);
        samba_token proposal[16];
        for (size_t i = 0; i < k; i++)
            proposal[i] =
                i < j ? s->tokens[p + i] : (samba_token)rig_below(&s->random, (uint32_t)s->n_vocab);
        samba_eval_options o =
            eval_options(rig_below(&s->random, 2) ? SAMBA_OUTPUT_ALL : SAMBA_OUTPUT_LAST, 0);
        o.speculative = SAMBA_YES;
        CK_OK(samba_session_eval(session, proposal, k, &o, RIG_ERROR));
        if (o.outputs == SAMBA_OUTPUT_ALL)
            for (size_t i = 0; i < j; i++)
                same(s, "a proposal", rig_logits(session, i), s->logits + (p + i) * s->n_vocab,
                     s->n_vocab, p + i);
        CK_OK(samba_session_keep(session, j, RIG_ERROR));
        p += j;
        ck_assert_uint_eq(samba_session_position(session), p);
        if (p)
            same(s, "what was kept", rig_logits(session, SAMBA_ROW_LAST),
                 s->logits + (p - 1) * s->n_vocab, s->n_vocab, p - 1);
    }
    samba_session_free(session);
}

/* Random tokens, of which nothing is asked but that they disturb nobody. */
static void stray(subject *s, samba_session *session, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        samba_token t = (samba_token)rig_below(&s->random, (uint32_t)s->n_vocab);
        rig_eval(session, &t, 1, 0);
    }
}

/* One of two that share their past goes on, in step with the other, which goes astray: what one
 * writes must never be seen by the other. */
static void side_by_side(subject *s, samba_session *right, samba_session *wrong, const char *how)
{
    size_t p = (size_t)samba_session_position(right);
    while (p < s->n) {
        size_t n = 2 + rig_below(&s->random, 3);
        n = n < s->n - p ? n : s->n - p;
        samba_eval_options o = random_options(&s->random);
        CK_OK(samba_session_eval(right, s->tokens + p, n, &o, RIG_ERROR));
        p += n;
        same_rows(s, how, right, n, &o);
        /* Behind the other one, where it would overwrite what that has written. */
        stray(s, wrong, 1 + rig_below(&s->random, 2));
    }
}

static void through_clones(subject *s)
{
    samba_session *session = rig_session(s->model, s->kv, 16), *clone = NULL, *second = NULL;
    size_t p = rig_below(&s->random, (uint32_t)s->n);
    rig_eval(session, s->tokens, p, 0);
    CK_OK(samba_session_clone(session, &clone, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(clone), p);
    if (p)
        same(s, "a clone's logits", rig_logits(clone, SAMBA_ROW_LAST),
             s->logits + (p - 1) * s->n_vocab, s->n_vocab, p - 1);
    CK_OK(samba_session_clone(clone, &second, RIG_ERROR));
    side_by_side(s, clone, session, "a clone beside its original");
    samba_session_free(session);
    session = NULL;
    CK_OK(samba_session_clone(second, &session, RIG_ERROR));
    side_by_side(s, second, session, "an original beside its clone");
    CK_OK(samba_session_reset(session, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(session), 0);
    samba_session_free(second);
    feed(s, session, 0, 0, "after a reset");
    samba_session_free(clone);
    samba_session_free(session);
}

static double log_softmax(const float *logits, size_t n, samba_token t)
{
    double top = -INFINITY, total = 0;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, (double)logits[i]);
    for (size_t i = 0; i < n; i++)
        total += exp((double)logits[i] - top);
    return (double)logits[t] - top - log(total);
}

/* Scores come from the same logits, and do not depend on the cuts either. */
static void by_scoring(subject *s)
{
    static const uint32_t rows[] = {256, 1, 7};
    float *scores[3];
    size_t cut = 1 + rig_below(&s->random, (uint32_t)s->n - 1);
    for (int k = 0; k < 3; k++) {
        samba_session *session = rig_session(s->model, s->kv, rows[k]);
        scores[k] = malloc(s->n * sizeof(float));
        size_t first = k == 2 ? cut : s->n;
        CK_OK(samba_session_score(session, s->tokens, first, NULL, scores[k], RIG_ERROR));
        if (first < s->n)
            CK_OK(samba_session_score(session, s->tokens + first, s->n - first, NULL,
                                      scores[k] + first, RIG_ERROR));
        same(s, "logits after scoring", rig_logits(session, SAMBA_ROW_LAST),
             s->logits + (s->n - 1) * s->n_vocab, s->n_vocab, s->n - 1);
        samba_session_free(session);
    }
    same(s, "scores, one row per pass", scores[1], scores[0], s->n, 0);
    same(s, "scores before a cut", scores[2], scores[0], cut, 0);
    if (s->scores_rows)
        same(s, "score at a cut", scores[2] + cut, scores[0] + cut, 1, cut);
    else
        nearly_same(s, scores[2][cut], scores[0][cut], cut);
    same(s, "scores after a cut", scores[2] + cut + 1, scores[0] + cut + 1, s->n - cut - 1,
         cut + 1);
    ck_assert(scores[0][0] == 0.0f);
    for (size_t p = 1; p < s->n; p++) {
        double want = log_softmax(s->logits + (p - 1) * s->n_vocab, s->n_vocab, s->tokens[p]);
        ck_assert_msg(fabs((double)scores[0][p] - want) <= 2e-6 * (1 + fabs(want)),
                      "%s: score %zu is %.9g, by the logits %.9g", s->name, p, (double)scores[0][p],
                      want);
    }
    for (int k = 0; k < 3; k++)
        free(scores[k]);
}

/* ---------------------------------------------------------------- a model */

/* Everything at once; this is what the others are compared with. */
static void take_reference(subject *s)
{
    s->logits = malloc(s->n * s->n_vocab * sizeof(float));
    s->hidden = malloc(s->n * s->d_model * sizeof(float));
    s->stream = malloc(s->n * s->d_model * sizeof(float));
    for (int32_t which = -1; which <= 1; which++) {
        samba_session *session = rig_session(s->model, s->kv, (uint32_t)s->n);
        samba_eval_options o = eval_options(SAMBA_OUTPUT_ALL, which);
        CK_OK(samba_session_eval(session, s->tokens, s->n, &o, RIG_ERROR));
        for (size_t i = 0; i < s->n; i++) {
            if (which == -1)
                memcpy(s->logits + i * s->n_vocab, rig_logits(session, i),
                       s->n_vocab * sizeof(float));
            else
                same(s, "hidden states on or off", rig_logits(session, i),
                     s->logits + i * s->n_vocab, s->n_vocab, i);
            if (which)
                memcpy((which < 0 ? s->hidden : s->stream) + i * s->d_model, rig_hidden(session, i),
                       s->d_model * sizeof(float));
        }
        samba_session_free(session);
    }
    for (size_t i = 0; i < s->n * s->n_vocab; i++)
        ck_assert_msg(isfinite(s->logits[i]), "%s: logits are not finite", s->name);
}

static void free_reference(subject *s)
{
    free(s->logits);
    free(s->hidden);
    free(s->stream);
}

static bool kv_is_supported(samba_model *model, samba_dtype kv)
{
    samba_session *session = NULL;
    samba_session_options o = {.struct_size = sizeof o, .kv_dtype = kv};
    samba_status status = samba_session_create(model, &o, &session, NULL);
    samba_session_free(session);
    ck_assert_msg(
        status == SAMBA_OK || (status == SAMBA_ERROR_UNSUPPORTED && kv == SAMBA_DTYPE_Q8_0),
        "session with kv dtype %s: %s", samba_dtype_name(kv), samba_status_string(status));
    return status == SAMBA_OK;
}

/* For the bundled model, which takes its time. */
static void some_ways(subject *s)
{
    in_chunks(s, 256, 7);
    in_chunks(s, 16, 0);
    in_batches(s);
    if (s->kv == SAMBA_DTYPE_Q8_0)
        through_clones(s);
}

static void every_way(subject *s)
{
    in_chunks(s, 256, s->n);
    in_chunks(s, 256, 1);
    in_chunks(s, 256, 7);
    in_chunks(s, 3, 64);
    in_chunks(s, 16, 64);
    in_chunks(s, 1, 64);
    int rounds = rig_full ? 50 : 1;
    for (int i = 0; i < rounds; i++) {
        in_chunks(s, 16, 0);
        in_chunks(s, 256, 0);
        in_batches(s);
        by_proposals(s, 16);
        through_clones(s);
    }
    by_scoring(s);
}

typedef struct types {
    samba_dtype weights, kv;
} types;

/* One folder or file with one pair of types on 1, 2 and 5 threads. */
static void check_model(const char *path, const golden_case *c, types t, const rig_options *base)
{
    static const int threads[] = {1, 2, 5};
    subject first = {0};
    bool brief = c->n_tokens > 500 && !rig_full;
    bool all = !base->backend && (rig_full || t.kv == SAMBA_DTYPE_F32 || t.kv == SAMBA_DTYPE_F16);
    for (int k = 0; k < (all ? 3 : 1); k++) {
        rig_options options = *base;
        options.n_threads = threads[k];
        options.weight_dtype = t.weights;
        samba_context *context = rig_context(&options);
        subject s = {.tokens = c->tokens, .n = c->n_tokens, .kv = t.kv};
        s.scores_rows = !base->backend;
        s.model = rig_load(context, path, &options);
        s.random.state = 1234567u + (uint64_t)k;
        samba_model_info info = {.struct_size = sizeof info};
        CK_OK(samba_model_get_info(s.model, &info, RIG_ERROR));
        ck_assert_int_eq(info.invariant, 1);
        s.n_vocab = info.n_vocab;
        s.d_model = info.d_model;
        snprintf(s.name, sizeof s.name, "%s on %s, weights %s, kv %s, %d threads", c->name,
                 info.tier, t.weights ? samba_dtype_name(t.weights) : "as stored",
                 samba_dtype_name(t.kv), threads[k]);
        if (kv_is_supported(s.model, t.kv)) {
            take_reference(&s);
            if (k == 0) {
                if (brief)
                    some_ways(&s);
                else
                    every_way(&s);
                first = s;
            } else {
                same(&s, "another number of threads", s.logits, first.logits, s.n * s.n_vocab, 0);
                if (!brief)
                    in_batches(&s);
                in_chunks(&s, 256, 0);
                free_reference(&s);
            }
        }
        samba_model_release(s.model);
        samba_context_free(context);
    }
    free_reference(&first);
}

static const types pairs[] = {
    {SAMBA_DTYPE_F32, SAMBA_DTYPE_F32},
    {SAMBA_DTYPE_Q8_0, SAMBA_DTYPE_F16},
    {SAMBA_DTYPE_BF16, SAMBA_DTYPE_BF16},
    {SAMBA_DTYPE_F16, SAMBA_DTYPE_Q8_0},
};

START_TEST(golden_on_cpu)
{
    golden_case *c = golden_open(GOLDEN_CASES, golden_names[_i]);
    double start = rig_now();
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        check_model(c->folder, c, pairs[i], &(rig_options){0});
    if (rig_now() - start > 3000)
        printf("%s took %.1f s\n", c->name, (rig_now() - start) * 1e-3);
    golden_close(c);
}
END_TEST

/* Every tier that build and machine have keeps the law as well. */
START_TEST(golden_on_tier)
{
    static const char *const cases[] = {"ms_samba_gqa2", "phi4flash", "ms_gla", "ms_retnet",
                                        "ms_samba_scattn"};
    samba__kernels kernels;
    if (!samba__kernels_select(_i, &kernels))
        return;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        golden_case *c = golden_open(GOLDEN_CASES, cases[k]);
        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
            check_model(c->folder, c, pairs[i], &(rig_options){.cpu_tier = _i});
        golden_close(c);
    }
}
END_TEST

/* What the library does with a backend that trusts nobody. */
START_TEST(golden_on_fake)
{
    static const char *const cases[] = {"ms_samba_gqa2", "phi4flash", "ms_gla",
                                        "ms_retnet",     "mamba_hf",  "ms_samba_scattn"};
    golden_case *c = golden_open(GOLDEN_CASES, cases[_i]);
    fake_reset_counts();
    check_model(c->folder, c, pairs[0], &(rig_options){.backend = &fake_vtbl});
    check_model(c->folder, c, pairs[1], &(rig_options){.backend = &fake_vtbl});
    golden_close(c);
    fake_counts counts;
    fake_get_counts(&counts);
    ck_assert_msg(counts.violations == 0, "%s", counts.first_violation);
    ck_assert_int_eq(counts.devices + counts.weights + counts.slabs + counts.pages + counts.passes,
                     0);
    ck_assert_uint_gt(counts.passes_run, 0);
}
END_TEST

/* Heads wide enough for q8_0 keys and values, rows for blocks of 256, and a window that moves: the
 * bundled model. */
START_TEST(bundled_model)
{
    FILE *f = fopen(BUNDLED_MODEL, "rb");
    if (!f) {
        printf("no %s: left out\n", BUNDLED_MODEL);
        return;
    }
    fclose(f);
    static const types bundled[] = {
        {0, SAMBA_DTYPE_Q8_0},
        {0, SAMBA_DTYPE_F16},
        {SAMBA_DTYPE_Q4_0, SAMBA_DTYPE_F16},
        {SAMBA_DTYPE_Q4_K, SAMBA_DTYPE_F16},
        {SAMBA_DTYPE_Q6_K, SAMBA_DTYPE_F16},
        {SAMBA_DTYPE_BF16, SAMBA_DTYPE_BF16},
    };
    samba_token tokens[640];
    rig_random random = {99};
    for (size_t i = 0; i < 640; i++)
        tokens[i] = (samba_token)rig_below(&random, 8192);
    golden_case c = {.tokens = tokens, .n_tokens = rig_full ? 640 : 530, .name = "samba-13m"};
    check_model(BUNDLED_MODEL, &c, bundled[_i], &(rig_options){0});
}
END_TEST

int main(int argc, char **argv)
{
    rig_arguments(argc, argv);
    Suite *suite = suite_create("invariance");
    const struct {
        const char *name;
        const TTest *test;
        int from, to;
    } cases[] = {
        {"cpu", golden_on_cpu, 0, (int)golden_n_runnable},
        {"tiers", golden_on_tier, SAMBA_CPU_REFERENCE, SAMBA_CPU_NEON_DOTPROD + 1},
        {"fake", golden_on_fake, 0, 6},
        {"bundled", bundled_model, 0, rig_full ? 6 : 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        TCase *tcase = tcase_create(cases[i].name);
        tcase_set_timeout(tcase, 1200);
        tcase_add_loop_test(tcase, cases[i].test, cases[i].from, cases[i].to);
        suite_add_tcase(suite, tcase);
    }
    return rig_main(argc, argv, suite);
}
