/*
 * Property, on real models through the public header: twenty sessions of one model - fed in chunks
 * and batches, cloned, saved, restored, rewound, pinned, freed, moved on by proposals - have at
 * every moment the tokens and, bit for bit, the logits of straight decoding, on 1 to 4 threads.
 * Snapshots also go through the bytes of a file, and those are, byte for byte, the file of a fresh
 * session that read the same tokens in one go: nothing of any other session shows in them.
 *
 * All sessions read from a few streams of tokens whose logits are known from one plain run of one
 * thread. Two streams begin alike, so that sessions of one past part ways; one begins at a far
 * position. 5,000 operations on each of four models, a quarter on each number of threads;
 * `--full`: 100,000. The seed is printed.
 */
#include "support/rig.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS = 20,
    SNAPSHOTS = 6,
    STREAMS = 3,
    LENGTH = 330, /* several windows of any of the models */
    ALIKE = 70,   /* tokens at which streams 0 and 1 begin */
    LONGEST = 60,
    FAR = 1000003
};

/* Where something stands: after n tokens of a stream. */
typedef struct place {
    int stream;
    size_t n;
    bool has_logits;
} place;

typedef struct player {
    samba_session *session; /* NULL: none */
    place at;
    bool forgets; /* its history is capped */
} player;

typedef struct world {
    const char *name;
    samba_model *model;
    samba_context *context;
    samba_dtype kv;
    size_t n_vocab;
    samba_token tokens[STREAMS][LENGTH];
    float *logits[STREAMS]; /* [LENGTH][n_vocab] */
    player players[SESSIONS];
    samba_snapshot *snapshots[SNAPSHOTS];
    place pictured[SNAPSHOTS];
    bool forgotten[SNAPSHOTS]; /* not all tokens are in it */
    rig_random random;
    size_t n_rewound, n_refused, n_replayed, n_files;
} world;

static uint64_t first_of(int stream)
{
    return stream == 2 ? FAR : 0;
}

/* ---------------------------------------------------------------- the straight run */

static void open_model(world *w, int32_t n_threads)
{
    char path[512];
    const rig_options options = {.n_threads = n_threads};
    snprintf(path, sizeof path, GOLDEN_CASES "/%s", w->name);
    w->context = rig_context(&options);
    w->model = rig_load(w->context, path, &options);
}

static void close_model(world *w)
{
    samba_model_release(w->model);
    samba_context_free(w->context);
}

static void read_streams(world *w)
{
    samba_model_info info = {.struct_size = sizeof info};
    open_model(w, 1);
    CK_OK(samba_model_get_info(w->model, &info, RIG_ERROR));
    w->n_vocab = info.n_vocab;
    for (int k = 0; k < STREAMS; k++) {
        const samba_session_options o = {.struct_size = sizeof o,
                                         .kv_dtype = w->kv,
                                         .first_position = first_of(k),
                                         .checkpoint_bytes = SAMBA_CHECKPOINTS_NONE};
        samba_session *s = NULL;
        CK_OK(samba_session_create(w->model, &o, &s, RIG_ERROR));
        w->logits[k] = malloc(LENGTH * w->n_vocab * sizeof(float));
        for (size_t i = 0; i < LENGTH; i++) {
            w->tokens[k][i] = k == 1 && i < ALIKE
                                  ? w->tokens[0][i]
                                  : (samba_token)rig_below(&w->random, (uint32_t)w->n_vocab);
            rig_eval(s, &w->tokens[k][i], 1, 0);
            memcpy(w->logits[k] + i * w->n_vocab, rig_logits(s, 0), w->n_vocab * sizeof(float));
        }
        samba_session_free(s);
    }
    close_model(w);
}

/* ---------------------------------------------------------------- checking */

static void check_row(const world *w, const float *got, int stream, size_t n)
{
    ck_assert_msg(
        memcmp(got, w->logits[stream] + (n - 1) * w->n_vocab, w->n_vocab * sizeof(float)) == 0,
        "%s: stream %d, other logits after token %zu", w->name, stream, n);
}

static void check(const world *w, const player *p)
{
    const samba_token *tokens = NULL;
    uint64_t first = 0, start = first_of(p->at.stream);
    size_t n = 0;
    ck_assert_uint_eq(samba_session_position(p->session), start + p->at.n);
    CK_OK(samba_session_tokens(p->session, &tokens, &first, &n, RIG_ERROR));
    ck_assert_uint_eq(first + n, start + p->at.n);
    if (!p->forgets)
        ck_assert_uint_eq(n, p->at.n);
    if (n)
        ck_assert_mem_eq(tokens, w->tokens[p->at.stream] + (first - start), n * sizeof *tokens);
    if (p->at.has_logits)
        check_row(w, rig_logits(p->session, SAMBA_ROW_LAST), p->at.stream, p->at.n);
    else
        ck_assert_uint_eq(samba_session_n_rows(p->session), 0);
}

/* ---------------------------------------------------------------- what is played */

static samba_session_options random_session(world *w, int stream)
{
    return (samba_session_options){
        .struct_size = sizeof(samba_session_options),
        .kv_dtype = w->kv,
        .rows_per_pass = 1 + rig_below(&w->random, 100),
        .max_history = rig_below(&w->random, 4) ? 0 : 1 + rig_below(&w->random, 200),
        .first_position = first_of(stream),
        .checkpoint_bytes = rig_below(&w->random, 3) ? 0 : 1 + rig_below(&w->random, 1000000),
        .checkpoint_interval = rig_below(&w->random, 2) ? 0 : 1 + rig_below(&w->random, 30)};
}

static void begin(world *w, player *p)
{
    int stream = (int)rig_below(&w->random, STREAMS);
    const samba_session_options o = random_session(w, stream);
    CK_OK(samba_session_create(w->model, &o, &p->session, RIG_ERROR));
    p->at = (place){.stream = stream};
    p->forgets = o.max_history != 0;
}

/* Tokens to come, and how many of them; on the stretch that two streams share, of either. */
static const samba_token *next_tokens(world *w, player *p, size_t *n)
{
    size_t left = LENGTH - p->at.n, most = rig_below(&w->random, 3) ? 6 : LONGEST;
    if (p->at.stream < 2 && p->at.n <= ALIKE)
        p->at.stream = (int)rig_below(&w->random, 2);
    *n = left ? 1 + rig_below(&w->random, (uint32_t)(left < most ? left : most)) : 0;
    return w->tokens[p->at.stream] + p->at.n;
}

static void fed(const world *w, player *p, size_t n, samba_outputs outputs)
{
    for (size_t i = 0; outputs == SAMBA_OUTPUT_ALL && i < n; i++)
        check_row(w, rig_logits(p->session, i), p->at.stream, p->at.n + i + 1);
    p->at.n += n;
    if (n)
        p->at.has_logits = outputs != SAMBA_OUTPUT_NONE;
}

static void play_eval(world *w, player *p)
{
    size_t n = 0;
    const samba_token *tokens = next_tokens(w, p, &n);
    samba_outputs outputs = (samba_outputs)rig_below(&w->random, 4);
    rig_eval(p->session, tokens, n, outputs);
    fed(w, p, n, outputs);
}

static void play_batch(world *w)
{
    samba_eval_item items[SESSIONS];
    player *players[SESSIONS];
    size_t n = 0;
    for (int i = 0; i < SESSIONS; i++) {
        if (!w->players[i].session || rig_below(&w->random, 3))
            continue;
        players[n] = &w->players[i];
        items[n] = (samba_eval_item){.session = players[n]->session};
        items[n].tokens = next_tokens(w, players[n], &items[n].n_tokens);
        n++;
    }
    CK_OK(samba_eval_batch(items, n, sizeof *items, NULL, RIG_ERROR));
    for (size_t i = 0; i < n; i++) {
        fed(w, players[i], items[i].n_tokens, SAMBA_OUTPUT_LAST);
        check(w, players[i]);
    }
}

static void play_proposal(world *w, player *p)
{
    const samba_eval_options o = {.struct_size = sizeof o, .speculative = SAMBA_YES};
    size_t n = 0;
    const samba_token *tokens = next_tokens(w, p, &n);
    n = n < 5 ? n : 5;
    if (!n || samba_session_eval(p->session, tokens, n, &o, NULL) != SAMBA_OK)
        return; /* more than rows_per_pass */
    size_t kept = rig_below(&w->random, (uint32_t)n + 1);
    CK_OK(samba_session_keep(p->session, kept, RIG_ERROR));
    fed(w, p, kept, SAMBA_OUTPUT_LAST);
}

static void play_clone(world *w, const player *p)
{
    player *to = &w->players[rig_below(&w->random, SESSIONS)];
    if (to == p)
        return;
    samba_session_free(to->session);
    *to = *p;
    to->session = NULL;
    CK_OK(samba_session_clone(p->session, &to->session, RIG_ERROR));
    check(w, to);
}

static void play_snapshot(world *w, const player *p)
{
    uint32_t i = rig_below(&w->random, SNAPSHOTS);
    samba_snapshot_release(w->snapshots[i]);
    w->snapshots[i] = NULL;
    CK_OK(samba_session_snapshot(p->session, NULL, &w->snapshots[i], RIG_ERROR));
    w->pictured[i] = p->at;
    w->forgotten[i] = p->forgets;
}

static samba_bytes *write_file(const samba_snapshot *snapshot)
{
    samba_bytes *file = NULL;
    CK_OK(samba_snapshot_write_memory(snapshot, NULL, &file, RIG_ERROR));
    return file;
}

/* The file of a session that has done nothing but read up to there. */
static samba_bytes *straight_file(const world *w, const place *at)
{
    const samba_session_options o = {
        .struct_size = sizeof o, .kv_dtype = w->kv, .first_position = first_of(at->stream)};
    samba_session *s = NULL;
    samba_snapshot *snapshot = NULL;
    CK_OK(samba_session_create(w->model, &o, &s, RIG_ERROR));
    rig_eval(s, w->tokens[at->stream], at->n,
             at->has_logits ? SAMBA_OUTPUT_LAST : SAMBA_OUTPUT_NONE);
    CK_OK(samba_session_snapshot(s, NULL, &snapshot, RIG_ERROR));
    samba_bytes *file = write_file(snapshot);
    samba_snapshot_release(snapshot);
    samba_session_free(s);
    return file;
}

/* A snapshot is replaced by what its file says. */
static void play_file(world *w)
{
    uint32_t i = rig_below(&w->random, SNAPSHOTS);
    samba_snapshot *read = NULL;
    if (!w->snapshots[i])
        return;
    samba_bytes *file = write_file(w->snapshots[i]);
    if (!w->forgotten[i]) {
        samba_bytes *want = straight_file(w, &w->pictured[i]);
        ck_assert_uint_eq(samba_bytes_size(file), samba_bytes_size(want));
        ck_assert_msg(
            memcmp(samba_bytes_data(file), samba_bytes_data(want), samba_bytes_size(want)) == 0,
            "%s: another file than after straight reading, stream %d at %zu", w->name,
            w->pictured[i].stream, w->pictured[i].n);
        samba_bytes_free(want);
    }
    CK_OK(samba_snapshot_read_memory(w->context, samba_bytes_data(file), samba_bytes_size(file),
                                     NULL, &read, RIG_ERROR));
    samba_bytes_free(file);
    samba_snapshot_release(w->snapshots[i]);
    w->snapshots[i] = read;
    w->n_files++;
}

static void play_restore(world *w, player *p)
{
    uint32_t i = rig_below(&w->random, SNAPSHOTS);
    if (!w->snapshots[i])
        return;
    if (rig_below(&w->random, 2)) {
        CK_OK(samba_session_restore(p->session, w->snapshots[i], RIG_ERROR));
        p->forgets |= w->forgotten[i];
    } else {
        const samba_session_options o = random_session(w, w->pictured[i].stream);
        samba_session_free(p->session);
        p->session = NULL;
        CK_OK(samba_session_create_from(w->model, w->snapshots[i], &o, &p->session, RIG_ERROR));
        p->forgets = o.max_history != 0 || w->forgotten[i];
    }
    p->at = w->pictured[i];
}

static void play_rewind(world *w, player *p)
{
    samba_rewind_report report = {.struct_size = sizeof report};
    size_t back = rig_below(&w->random, 2) ? p->at.n : p->at.n < 30 ? p->at.n : 30;
    size_t to = p->at.n - rig_below(&w->random, (uint32_t)back + 1);
    uint64_t position = first_of(p->at.stream) + to;
    samba_status status = samba_session_rewind(p->session, position, NULL, &report, NULL);
    if (status != SAMBA_OK) {
        ck_assert_int_eq(status, SAMBA_ERROR_STATE);
        ck_assert(p->forgets);
        w->n_refused++;
        return;
    }
    ck_assert_uint_eq(report.position, position);
    ck_assert_uint_eq(report.restored_at + report.replayed, position);
    ck_assert_int_eq(report.exact, 1);
    w->n_rewound++;
    w->n_replayed += report.replayed;
    p->at.n = to;
    p->at.has_logits = to > 0;
}

static void play_pin(world *w, player *p)
{
    uint64_t position = first_of(p->at.stream) + rig_below(&w->random, (uint32_t)p->at.n + 1);
    samba_status status = rig_below(&w->random, 2)
                              ? samba_session_pin(p->session, NULL)
                              : samba_session_unpin(p->session, position, NULL);
    ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_NOT_FOUND || status == SAMBA_ERROR_LIMIT);
}

static void play(world *w)
{
    player *p = &w->players[rig_below(&w->random, SESSIONS)];
    uint32_t what = rig_below(&w->random, 25);
    if (!p->session)
        begin(w, p);
    else if (what < 6)
        play_eval(w, p);
    else if (what < 7)
        play_batch(w);
    else if (what < 9)
        play_proposal(w, p);
    else if (what < 12)
        play_clone(w, p);
    else if (what < 14)
        play_snapshot(w, p);
    else if (what < 16)
        play_restore(w, p);
    else if (what < 21)
        play_rewind(w, p);
    else if (what < 23)
        play_pin(w, p);
    else if (what < 24)
        play_file(w);
    else {
        samba_session_free(p->session);
        p->session = NULL;
    }
    if (p->session)
        check(w, p);
}

static void play_on(world *w, int32_t n_threads, int n)
{
    open_model(w, n_threads);
    for (int i = 0; i < n; i++)
        play(w);
    for (int i = 0; i < SESSIONS; i++)
        samba_session_free(w->players[i].session);
    for (int i = 0; i < SNAPSHOTS; i++)
        samba_snapshot_release(w->snapshots[i]);
    memset(w->players, 0, sizeof w->players);
    memset(w->snapshots, 0, sizeof w->snapshots);
    close_model(w);
}

START_TEST(straight_decoding)
{
    static const struct {
        const char *name;
        samba_dtype kv;
    } cases[] = {{"ms_samba", SAMBA_DTYPE_BF16},
                 {"ms_mamba_swa_mlp", SAMBA_DTYPE_F16},
                 {"ms_gla", SAMBA_DTYPE_F32},
                 {"phi4flash", SAMBA_DTYPE_F16}};
    world w = {.name = cases[_i].name, .kv = cases[_i].kv, .random = {2026 + (uint64_t)_i}};
    const int n = rig_full ? 100000 : 5000;
    double start = rig_now();
    printf("%s: seed %llu\n", w.name, (unsigned long long)w.random.state);
    read_streams(&w);
    for (int32_t n_threads = 1; n_threads <= 4; n_threads++)
        play_on(&w, n_threads, n / 4);
    printf("%s: %d operations in %.0f ms; %zu rewinds (%zu tokens replayed), %zu refused\n", w.name,
           n / 4 * 4, rig_now() - start, w.n_rewound, w.n_replayed, w.n_refused);
    ck_assert_uint_gt(w.n_rewound, (size_t)n / 20);
    ck_assert_uint_gt(w.n_files, (size_t)n / 50);
    for (int k = 0; k < STREAMS; k++)
        free(w.logits[k]);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("state_property");
    TCase *tcase = tcase_create("schedules");
    tcase_set_timeout(tcase, 3000);
    tcase_add_loop_test(tcase, straight_decoding, 0, 4);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
