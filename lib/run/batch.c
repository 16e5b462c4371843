/* The work of one call, cut into passes; see batch.h. */
#include "run/batch.h"
#include "base/cpu.h"
#include "run/rewind.h"
#include "run/scheduler.h"

#include <string.h>

/* What goes on during samba__requests_run. */
typedef struct batch_run {
    samba__request *requests; /* [n] */
    size_t n;
    const samba_cancel *cancel;
    uint32_t rows_per_pass;
    bool wants_errors;
    const samba_model *model;        /* of the first session */
    samba__session_scratch *scratch; /* the first session's */
    size_t turn;                     /* request that the next pass serves first */
    samba__pass pass;                /* the one at hand, in the scratch */
} batch_run;

static samba_error **error_of(bool wanted, samba__request *q)
{
    return wanted && !q->error ? &q->error : NULL;
}

static bool unfinished(const samba__request *q)
{
    return q->status == SAMBA_OK && q->done < q->n_tokens;
}

/* ---------------------------------------------------------------- joining */

static samba_status check_tokens(const samba__request *q, samba_error **error)
{
    uint32_t n_vocab = q->session->model->n_vocab;
    for (size_t i = 0; i < q->n_tokens; i++)
        if (q->tokens[i] < 0 || (uint32_t)q->tokens[i] >= n_vocab)
            return samba__fail(q->session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "tokens[%zu] is %d, the vocabulary has %u tokens", i, q->tokens[i],
                               n_vocab);
    return SAMBA_OK;
}

static samba_status check_options(const batch_run *r, const samba__request *q, samba_error **error)
{
    const samba_session *s = q->session;
    uint32_t most = s->rows_per_pass < r->rows_per_pass ? s->rows_per_pass : r->rows_per_pass;
    if (q->hidden < SAMBA_HIDDEN_FINAL || q->hidden > (int64_t)s->model->n_blocks)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "hidden is %d, the model has %u blocks", q->hidden, s->model->n_blocks);
    if (q->speculative && q->n_tokens > most)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "a proposal has %zu tokens, a pass takes %u", q->n_tokens, most);
    return SAMBA_OK;
}

/* Whether the session may take part at all. */
static samba_status check_session(const batch_run *r, const samba__request *q, samba_error **error)
{
    const samba_session *s = q->session;
    size_t index = (size_t)(q - r->requests);
    SAMBA__TRY(samba__scheduler_check(samba__model_scheduler(s->model), error));
    if (s->user == r)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "the session of item %zu stands in the batch already", index);
    if (s->model != r->model)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "the session of item %zu is of another model than the first", index);
    return samba__session_check_idle(s, error);
}

samba_status samba__request_output(samba__request *q, samba_error **error)
{
    const samba_model *m = q->session->model;
    bool all = q->outputs == SAMBA_OUTPUT_ALL || q->speculative;
    const samba__output_shape shape = {.n_rows = all ? q->n_tokens : 1,
                                       .n_vocab = m->n_vocab,
                                       .d_hidden = q->hidden ? m->d_model : 0};
    if (q->outputs == SAMBA_OUTPUT_NONE && !q->speculative)
        return SAMBA_OK;
    return samba__output_create(q->session->alloc, &shape, &q->session->spare_output, &q->output,
                                error);
}

static samba_status join(const batch_run *r, samba__request *q, samba_error **error)
{
    SAMBA__TRY(check_session(r, q, error));
    q->session->user = r;
    q->joined = true;
    if (!q->n_tokens)
        return SAMBA_OK;
    SAMBA__TRY(check_options(r, q, error));
    SAMBA__TRY(check_tokens(q, error));
    return samba__request_output(q, error);
}

void samba__request_drop_output(samba__request *q)
{
    if (!q->session)
        return;
    samba__output_recycle(q->output, &q->session->spare_output);
    q->output = NULL;
}

/* The end of a request's part in the run, however it went. */
static void leave(samba__request *q)
{
    if (!q->joined)
        return;
    samba__request_drop_output(q);
    q->session->user = NULL;
    q->joined = false;
}

static bool room(const samba_allocator *a, void *array, size_t *capacity, size_t n, size_t size)
{
    void *p;
    memcpy(&p, array, sizeof p);
    if (!samba__grow(a, &p, capacity, n, size))
        return false;
    memcpy(array, &p, sizeof p);
    return true;
}

/* Room for the largest pass of the run: parts, tokens, and targets behind them. */
static bool reserve_scratch(const batch_run *r)
{
    samba__session_scratch *s = r->scratch;
    const samba_allocator *a = r->model->alloc;
    size_t rows = 0;
    for (size_t i = 0; i < r->n && rows < r->rows_per_pass; i++) {
        size_t n = unfinished(&r->requests[i]) ? r->requests[i].n_tokens : 0;
        rows += n < r->rows_per_pass ? n : r->rows_per_pass;
    }
    rows = rows < r->rows_per_pass ? rows : r->rows_per_pass;
    return room(a, &s->parts, &s->parts_capacity, r->n, sizeof *s->parts) &&
           room(a, &s->seqs, &s->seqs_capacity, r->n, sizeof *s->seqs) &&
           room(a, &s->tokens, &s->tokens_capacity, 2 * rows, sizeof *s->tokens);
}

/* ---------------------------------------------------------------- sharing a pass */

/* The most rows that a pass may have of it. */
static uint32_t rows_wanted(const samba__request *q)
{
    size_t left = q->n_tokens - q->done;
    return left < q->session->rows_per_pass ? (uint32_t)left : q->session->rows_per_pass;
}

/* A pass taps one place only: requests for hidden states of another wait. */
static bool suits_pass(const batch_run *r, const samba__request *q)
{
    return unfinished(q) && (!q->hidden || !r->pass.hidden || q->hidden == r->pass.hidden);
}

static uint32_t fair_share(const batch_run *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += unfinished(&r->requests[i]);
    return n && n < r->rows_per_pass ? (uint32_t)(r->rows_per_pass / n) : 1;
}

/* Gives each request its share, from `turn` on round the list, proposals all or nothing; then what
 * is left in the same order. The first that got nothing is the next pass's first. */
static void share_pass(batch_run *r)
{
    samba__part *parts = r->scratch->parts;
    uint32_t share = fair_share(r), left = r->rows_per_pass;
    size_t start = r->turn;
    bool all_served = true;
    r->pass.n_parts = 0;
    r->pass.hidden = 0;
    for (size_t k = 0; k < r->n; k++) {
        size_t i = (start + k) % r->n;
        samba__request *q = &r->requests[i];
        uint32_t n = unfinished(q) ? rows_wanted(q) : 0;
        n = q->speculative || n < share ? n : share;
        if (n > left && !q->speculative)
            n = left;
        if (!n || n > left || !suits_pass(r, q)) {
            if (all_served && unfinished(q)) {
                r->turn = i;
                all_served = false;
            }
            continue;
        }
        r->pass.hidden = q->hidden ? q->hidden : r->pass.hidden;
        parts[r->pass.n_parts++] = (samba__part){.request = q, .n_rows = n};
        left -= n;
    }
    for (uint32_t p = 0; p < r->pass.n_parts && left; p++) {
        uint32_t extra = rows_wanted(parts[p].request) - parts[p].n_rows;
        extra = extra < left ? extra : left;
        parts[p].n_rows += extra;
        left -= extra;
    }
}

/* Which of its rows give outputs, and where they go. */
static void place_outputs(samba__request *q, samba__part *p)
{
    bool last_pass = q->done + p->n_rows == q->n_tokens;
    p->output = q->output;
    if (q->logprobs || q->outputs == SAMBA_OUTPUT_ALL || q->speculative) {
        p->n_out = p->n_rows;
        p->output_row = q->logprobs ? 0 : q->done;
        p->logprobs = q->logprobs ? q->logprobs + q->done : NULL;
        p->n_scored = p->n_rows - last_pass;
    } else {
        p->n_out = q->outputs == SAMBA_OUTPUT_LAST && last_pass;
    }
    if (p->n_out)
        return;
    q->row = samba__session_checkpoint_row(q->session, p->n_rows);
    p->output = q->row ? q->row : q->output;
    p->n_out = q->row != NULL;
}

static void drop_row(samba__request *q)
{
    samba__output_release(q->row);
    q->row = NULL;
}

static samba_status prepare_part(samba__request *q, samba__part *p, samba_error **error)
{
    samba_session *s = q->session;
    const samba__step step = {.n_rows = p->n_rows,
                              .n_sets = q->speculative ? p->n_rows : 1,
                              .max_bytes = s->max_state_bytes,
                              .other_bytes =
                                  samba__session_output_bytes(s) + samba__output_bytes(q->output)};
    p->sequence = &s->sequence;
    p->tokens = q->tokens + q->done;
    p->output = q->output;
    p->cancel = q->cancel;
    samba__session_fit_checkpoints(s, p->n_rows);
    place_outputs(q, p);
    samba_status status = samba__sequence_reserve(&s->sequence, &step, error);
    if (status == SAMBA_OK) {
        status = samba__history_stage(&s->history, p->tokens, p->n_rows, error);
        if (status != SAMBA_OK)
            samba__sequence_discard(&s->sequence);
    }
    if (status != SAMBA_OK)
        drop_row(q);
    return status;
}

/* Reserves every part; those that fail drop out. */
static void prepare_parts(samba__pass *pass)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < pass->n_parts; i++) {
        samba__part p = pass->parts[i];
        samba__request *q = p.request;
        q->status = prepare_part(q, &p, error_of(pass->wants_errors, q));
        if (q->status == SAMBA_OK)
            pass->parts[n++] = p;
    }
    pass->n_parts = n;
}

/* ---------------------------------------------------------------- running a pass */

static void count_pass(samba_session *s, uint32_t n_rows, double seconds)
{
    s->stats.n_passes++;
    if (n_rows > 1) {
        s->stats.prefill_tokens += n_rows;
        s->stats.prefill_seconds += seconds;
    } else {
        s->stats.decode_tokens++;
        s->stats.decode_seconds += seconds;
    }
}

static void commit_part(samba__request *q, const samba__part *p)
{
    samba_session *s = q->session;
    samba__output *output = q->output;
    q->done += p->n_rows;
    if (q->done == q->n_tokens)
        q->output = NULL; /* the session's from here on */
    if (q->speculative) {
        s->proposed = (samba__rows){.output = output, .n = p->n_rows};
        s->n_proposed = p->n_rows;
        samba__session_fit_checkpoints(s, 0);
        return;
    }
    samba__sequence_commit(&s->sequence, p->n_rows);
    samba__history_commit(&s->history, p->n_rows);
    if (q->done == q->n_tokens && output)
        samba__session_set_rows(s, output, 0, output->shape.n_rows);
    else
        samba__session_set_rows(s, NULL, 0, 0);
    samba__session_after_step(s, q->row);
    q->row = NULL;
}

static void discard_part(samba__request *q)
{
    drop_row(q);
    samba__sequence_discard(&q->session->sequence);
    samba__history_commit(&q->session->history, 0);
    samba__session_fit_checkpoints(q->session, 0);
}

/* Runs the prepared parts; commits all or none. The error is the first request's. */
static void run_prepared(samba__pass *pass)
{
    samba__part *parts = pass->parts;
    samba__request *first = parts[0].request;
    samba__forward f = {.model = pass->model,
                        .parts = parts,
                        .n_parts = pass->n_parts,
                        .hidden = pass->hidden,
                        .seqs = pass->seqs,
                        .tokens = pass->tokens,
                        .cancel = pass->cancel};
    for (uint32_t i = 0; i < pass->n_parts; i++)
        f.scores |= parts[i].logprobs != NULL;
    for (uint32_t i = 1; i < pass->n_parts; i++)
        if ((uintptr_t)parts[i].request < (uintptr_t)first)
            first = parts[i].request;
    double start = samba__clock_seconds();
    samba_status status = samba__forward_run(&f, error_of(pass->wants_errors, first));
    double seconds = samba__clock_seconds() - start;
    for (uint32_t i = 0; i < pass->n_parts; i++) {
        samba__request *q = parts[i].request;
        q->status = status;
        if (status != SAMBA_OK) {
            discard_part(q);
            continue;
        }
        commit_part(q, &parts[i]);
        count_pass(q->session, parts[i].n_rows, seconds);
    }
}

void samba__pass_run(samba__pass *pass)
{
    prepare_parts(pass);
    if (pass->n_parts)
        run_prepared(pass);
}

/* ---------------------------------------------------------------- the run */

static bool any_unfinished(const batch_run *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (unfinished(&r->requests[i]))
            return true;
    return false;
}

/* Ends all unfinished requests. */
static void fail_rest(batch_run *r, samba_status status, const char *message)
{
    for (size_t i = 0; i < r->n; i++) {
        samba__request *q = &r->requests[i];
        if (!unfinished(q))
            continue;
        q->status =
            status == SAMBA_ERROR_OUT_OF_MEMORY
                ? samba__fail_oom(error_of(r->wants_errors, q))
                : samba__fail(r->model->alloc, error_of(r->wants_errors, q), status, "%s", message);
    }
}

/* While streams run, their scheduler makes the passes, unless a proposal is too long for them. */
static bool join_streams(const batch_run *r)
{
    samba__guest guest = {.requests = r->requests, .n = r->n, .cancel = r->cancel};
    samba__scheduler *s = samba__model_scheduler(r->model);
    if (!s)
        return false;
    for (size_t i = 0; i < r->n; i++) {
        samba__request *q = &r->requests[i];
        if (unfinished(q) && q->speculative && q->n_tokens > SAMBA__SHARED_PROPOSAL)
            return false;
        q->cancel = r->cancel;
    }
    return samba__scheduler_share(s, &guest);
}

static void run_passes(batch_run *r)
{
    if (!reserve_scratch(r))
        fail_rest(r, SAMBA_ERROR_OUT_OF_MEMORY, NULL);
    r->pass = (samba__pass){.model = r->model,
                            .parts = r->scratch->parts,
                            .seqs = r->scratch->seqs,
                            .tokens = r->scratch->tokens,
                            .cancel = r->cancel,
                            .wants_errors = r->wants_errors};
    while (any_unfinished(r)) {
        if (samba__cancelled(r->cancel)) {
            fail_rest(r, SAMBA_ERROR_CANCELLED, "cancelled between passes");
            break;
        }
        if (join_streams(r))
            continue;
        share_pass(r);
        samba__pass_run(&r->pass);
    }
}

/* Picks the first failure and drops the other errors. */
static samba_status collect(const batch_run *r, samba_error **error)
{
    samba_status status = SAMBA_OK;
    for (size_t i = 0; i < r->n; i++) {
        samba__request *q = &r->requests[i];
        if (status == SAMBA_OK && q->status != SAMBA_OK) {
            status = q->status;
            if (error)
                *error = q->error;
            else
                samba_error_free(q->error);
        } else {
            samba_error_free(q->error);
        }
        q->error = NULL;
    }
    return status;
}

samba_status samba__requests_run(samba__request *requests, size_t n,
                                 const samba__run_options *options, samba_error **error)
{
    batch_run r = {.requests = requests,
                   .n = n,
                   .cancel = options->cancel,
                   .rows_per_pass = options->rows_per_pass,
                   .wants_errors = error != NULL};
    for (size_t i = 0; i < n; i++) {
        const samba_session *s = requests[i].session;
        if (requests[i].status != SAMBA_OK)
            continue;
        r.model = r.model ? r.model : s->model;
        r.scratch = r.scratch ? r.scratch : s->scratch;
        if (!options->rows_per_pass && s->rows_per_pass > r.rows_per_pass)
            r.rows_per_pass = s->rows_per_pass;
    }
    for (size_t i = 0; i < n; i++)
        if (requests[i].status == SAMBA_OK)
            requests[i].status = join(&r, &requests[i], error_of(r.wants_errors, &requests[i]));
    if (any_unfinished(&r))
        run_passes(&r);
    for (size_t i = 0; i < n; i++)
        leave(&requests[i]);
    return collect(&r, error);
}

samba_status samba__request_run(samba__request *request, const samba_cancel *cancel,
                                samba_error **error)
{
    const samba__run_options options = {.cancel = cancel};
    return samba__requests_run(request, 1, &options, error);
}

samba_status samba__requests_room(const samba_session *session, size_t n, samba__request **requests,
                                  samba_error **error)
{
    samba__session_scratch *s = session->scratch;
    if (!room(session->alloc, &s->requests, &s->requests_capacity, n, sizeof *s->requests))
        return samba__fail_oom(error);
    memset(s->requests, 0, n * sizeof *s->requests);
    *requests = s->requests;
    return SAMBA_OK;
}
