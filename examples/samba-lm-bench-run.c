/* The runs: what is fed, in which order, and when the machine is looked at in between. Rows that
 * are compared with each other take turns. */
#include "samba-lm-bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

enum {
    CONTEXT = 256,       /* tokens before batched decoding */
    FULL_CONTEXT = 4096, /* tokens fed where attention is full */
    POSITIONS_MAX = 8,
    SESSIONS_MAX = 32
};

/* ---- results */

lm_bench_row *lm_bench_add_row(lm_bench_results *r, int part, const char *format, ...)
{
    va_list args;
    if (r->n == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : 32;
        r->rows = lm_alloc(r->rows, r->capacity, sizeof *r->rows);
    }
    lm_bench_row *row = &r->rows[r->n++];
    *row = (lm_bench_row){.part = part};
    va_start(args, format);
    vsnprintf(row->label, sizeof row->label, format, args);
    va_end(args);
    return row;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void lm_bench_add_time(lm_bench_row *row, double seconds, double busy)
{
    if (row->n == row->capacity) {
        row->capacity = row->capacity ? 2 * row->capacity : 16;
        row->seconds = lm_alloc(row->seconds, row->capacity, sizeof *row->seconds);
        row->busy = lm_alloc(row->busy, row->capacity, sizeof *row->busy);
    }
    row->seconds[row->n] = seconds;
    row->busy[row->n++] = busy;
    qsort(row->seconds, row->n, sizeof *row->seconds, by_size);
    qsort(row->busy, row->n, sizeof *row->busy, by_size);
}

double lm_bench_median(const double *sorted, size_t n)
{
    return n ? (sorted[(n - 1) / 2] + sorted[n / 2]) / 2 : 0;
}

/* ---- a run's time, and how much of the processors it got */

typedef struct stopwatch {
    double wall, busy;
} stopwatch;

double lm_bench_processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static stopwatch start(void)
{
    return (stopwatch){lm_seconds(), lm_bench_processor_seconds()};
}

static void stop(const lm_bench *b, lm_bench_row *row, stopwatch began)
{
    double seconds = lm_seconds() - began.wall, busy = lm_bench_processor_seconds() - began.busy;
    lm_bench_add_time(row, seconds, busy / seconds / b->peaks.n_threads);
}

/* ---- sessions */

static samba_status create(const lm_bench *b, uint64_t first, samba_session **s,
                           samba_error **error)
{
    const samba_session_options o = {.struct_size = sizeof o,
                                     .kv_dtype = b->model.kv,
                                     .rows_per_pass = (uint32_t)b->args->rows_per_pass,
                                     .max_history = SAMBA_HISTORY_NONE,
                                     .first_position = first};
    return samba_session_create(b->host.model, &o, s, error);
}

static samba_token any_token(lm_bench *b)
{
    return (samba_token)(lm_random(&b->random) % b->model.info.n_vocab);
}

static samba_status feed(lm_bench *b, samba_session *s, uint64_t n, samba_error **error)
{
    samba_token *tokens = lm_alloc(NULL, n, sizeof *tokens);
    const samba_eval_options o = {.struct_size = sizeof o, .cancel = b->host.cancel};
    for (uint64_t i = 0; i < n; i++)
        tokens[i] = any_token(b);
    samba_status status = samba_session_eval(s, tokens, n, &o, error);
    free(tokens);
    return status;
}

static uint64_t repeats_of(const lm_bench *b, uint64_t usual)
{
    return b->args->repeats ? b->args->repeats : b->args->quick ? 2 : usual;
}

/* ---- prefill */

static samba_status prefill_once(lm_bench *b, samba_session *s, lm_bench_row *row, uint64_t n,
                                 samba_error **error)
{
    samba_status status = samba_session_reset(s, error);
    stopwatch began = start();
    if (status == SAMBA_OK)
        status = feed(b, s, n, error);
    if (row && status == SAMBA_OK)
        stop(b, row, began);
    lm_bench_peaks_look(&b->peaks);
    return status;
}

int lm_bench_prefill(lm_bench *b)
{
    static const uint64_t lengths[] = {128, 512, 2048};
    size_t first = b->results.n, n_lengths = b->args->quick ? 2 : 3;
    samba_error *error = NULL;
    samba_session *s = NULL;
    for (size_t i = 0; i < n_lengths; i++) {
        lm_bench_row *row = lm_bench_add_row(&b->results, LM_BENCH_PREFILL, "%llu tokens",
                                             (unsigned long long)lengths[i]);
        row->tokens = (double)lengths[i];
        row->cost = lm_bench_cost_prefill(&b->model, 0, lengths[i]);
    }
    samba_status status = create(b, 0, &s, &error);
    if (status == SAMBA_OK)
        status = prefill_once(b, s, NULL, 32, &error); /* what is only slow once */
    for (uint64_t r = 0; r < repeats_of(b, 3); r++)
        for (size_t i = 0; i < n_lengths && status == SAMBA_OK; i++)
            status = prefill_once(b, s, &b->results.rows[first + i], lengths[i], &error);
    samba_session_free(s);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

/* ---- decode */

/* How many single tokens take about a third of a second. */
static samba_status steps_for(lm_bench *b, samba_session *s, uint64_t *steps, samba_error **error)
{
    double began = lm_seconds();
    samba_status status = SAMBA_OK;
    for (int i = 0; i < 3 && status == SAMBA_OK; i++)
        status = feed(b, s, 1, error);
    double each = (lm_seconds() - began) / 3, wanted = b->args->quick ? 0.05 : 0.3;
    *steps = each * 64 < wanted ? 64 : each * 4 > wanted ? 4 : (uint64_t)(wanted / each);
    return status;
}

typedef struct decode_place {
    uint64_t position, fed, steps;
    samba_session *session;
    size_t row;
} decode_place;

/* A session that stands at the position with everything in sight that the model keeps. */
static samba_status go_to(lm_bench *b, decode_place *place, samba_error **error)
{
    uint64_t fill = b->model.full_attention ? FULL_CONTEXT : b->model.window;
    fill = fill < 16 ? 16 : fill;
    place->fed = place->position < fill ? place->position : fill;
    samba_status status = create(b, place->position - place->fed, &place->session, error);
    if (status == SAMBA_OK)
        status = feed(b, place->session, place->fed, error);
    if (status == SAMBA_OK)
        status = steps_for(b, place->session, &place->steps, error);
    return status;
}

static samba_status decode_once(lm_bench *b, decode_place *place, samba_error **error)
{
    lm_bench_row *row = &b->results.rows[place->row];
    samba_status status = SAMBA_OK;
    stopwatch began = start();
    for (uint64_t i = 0; i < place->steps && status == SAMBA_OK; i++)
        status = feed(b, place->session, 1, error);
    stop(b, row, began);
    lm_bench_peaks_look(&b->peaks);
    return status;
}

/* Costs are those of the middle of what was decoded. */
void lm_bench_count_decode(const lm_bench *b, lm_bench_row *row, uint64_t fed, uint64_t steps,
                           uint64_t sessions)
{
    row->tokens = (double)(steps * sessions);
    row->cost = lm_bench_cost_decode(&b->model, fed, sessions);
    row->cost.bytes *= (double)steps;
    row->cost.attention *= (double)steps;
    for (int t = 0; t < 8; t++)
        row->cost.weights[t] *= (double)steps;
}

int lm_bench_decode(lm_bench *b)
{
    static const uint64_t positions[] = {256, 4096, 1000000};
    decode_place places[3] = {{0}};
    size_t n = 3;
    samba_error *error = NULL;
    samba_status status = SAMBA_OK;
    for (size_t i = 0; i < n && status == SAMBA_OK; i++) {
        places[i].position = positions[i];
        places[i].row = b->results.n;
        status = go_to(b, &places[i], &error);
        lm_bench_row *row = lm_bench_add_row(&b->results, LM_BENCH_DECODE, "at position %llu",
                                             (unsigned long long)positions[i]);
        lm_bench_count_decode(b, row, places[i].fed, places[i].steps, 1);
    }
    for (uint64_t r = 0; r < repeats_of(b, 5); r++)
        for (size_t i = 0; i < n && status == SAMBA_OK; i++)
            status = decode_once(b, &places[i], &error);
    for (size_t i = 0; i < n; i++)
        samba_session_free(places[i].session);
    if (status != SAMBA_OK)
        return lm_report(error);
    b->results.rows[places[2].row].against = 1 + (double)places[1].row;
    return LM_OK;
}

/* ---- batched decode */

static samba_status batch_step(lm_bench *b, samba_session *const *sessions, size_t n, uint64_t rows,
                               samba_error **error)
{
    samba_eval_item items[SESSIONS_MAX];
    samba_token *tokens = lm_alloc(NULL, n * rows, sizeof *tokens);
    const samba_batch_options o = {
        .struct_size = sizeof o, .rows_per_pass = 256, .cancel = b->host.cancel};
    for (size_t i = 0; i < n * rows; i++)
        tokens[i] = any_token(b);
    for (size_t i = 0; i < n; i++)
        items[i] = (samba_eval_item){
            .session = sessions[i], .tokens = tokens + i * rows, .n_tokens = rows};
    samba_status status = samba_eval_batch(items, n, sizeof *items, &o, error);
    free(tokens);
    return status;
}

static samba_status batch_once(lm_bench *b, samba_session *const *sessions, size_t n,
                               lm_bench_row *row, samba_error **error)
{
    samba_status status = SAMBA_OK;
    uint64_t steps = b->args->quick ? 2 : 6, fed = samba_session_position(sessions[0]);
    stopwatch began = start();
    for (uint64_t i = 0; i < steps && status == SAMBA_OK; i++)
        status = batch_step(b, sessions, n, 1, error);
    stop(b, row, began);
    lm_bench_count_decode(b, row, fed, steps, n);
    lm_bench_peaks_look(&b->peaks);
    return status;
}

int lm_bench_batch(lm_bench *b)
{
    samba_session *sessions[SESSIONS_MAX] = {NULL};
    size_t most = b->args->max_sessions ? (size_t)b->args->max_sessions : b->args->quick ? 4 : 32;
    size_t first = b->results.n, n_rows = 0;
    samba_error *error = NULL;
    samba_status status = SAMBA_OK;
    for (size_t i = 0; i < most && status == SAMBA_OK; i++)
        status = create(b, 0, &sessions[i], &error);
    if (status == SAMBA_OK)
        status = batch_step(b, sessions, most, CONTEXT, &error);
    for (size_t n = 1; n <= most; n *= 2, n_rows++)
        lm_bench_add_row(&b->results, LM_BENCH_BATCH, "%zu session%s", n, n > 1 ? "s" : "")
            ->against = 1 + (double)first;
    for (uint64_t r = 0; r < repeats_of(b, 3); r++)
        for (size_t k = 0; k < n_rows && status == SAMBA_OK; k++)
            status = batch_once(b, sessions, (size_t)1 << k, &b->results.rows[first + k], &error);
    for (size_t i = 0; i < most; i++)
        samba_session_free(sessions[i]);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

/* ---- clone, snapshot */

static samba_status clone_once(lm_bench *b, const samba_session *s, lm_bench_row *row,
                               samba_error **error)
{
    samba_session *clone = NULL;
    stopwatch began = start();
    samba_status status = samba_session_clone(s, &clone, error);
    stop(b, row, began);
    samba_session_free(clone);
    return status;
}

static samba_status snapshot_once(lm_bench *b, const samba_session *s, lm_bench_row *row,
                                  samba_error **error)
{
    samba_snapshot *snapshot = NULL;
    stopwatch began = start();
    samba_status status = samba_session_snapshot(s, NULL, &snapshot, error);
    stop(b, row, began);
    samba_snapshot_release(snapshot);
    return status;
}

int lm_bench_clone(lm_bench *b)
{
    enum {
        CLONES = 64
    };
    samba_error *error = NULL;
    samba_session *s = NULL;
    uint64_t n = b->args->history        ? b->args->history
                 : b->args->quick        ? 64
                 : b->model.window > 512 ? b->model.window
                                         : 512;
    size_t at = b->results.n;
    lm_bench_add_row(&b->results, LM_BENCH_CLONE, "clone after %llu tokens", (unsigned long long)n);
    lm_bench_add_row(&b->results, LM_BENCH_CLONE, "snapshot");
    samba_status status = create(b, 0, &s, &error);
    if (status == SAMBA_OK)
        status = feed(b, s, n, &error);
    for (int i = 0; i < CLONES && status == SAMBA_OK; i++) {
        status = clone_once(b, s, &b->results.rows[at], &error);
        if (status == SAMBA_OK)
            status = snapshot_once(b, s, &b->results.rows[at + 1], &error);
    }
    samba_session_free(s);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}
