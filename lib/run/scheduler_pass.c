/* What the scheduler's passes consist of; see scheduler_pass.h. */
#include "run/scheduler_pass.h"
#include "base/cpu.h"
#include "run/stream.h"

enum {
    LEAST_ROWS = 8,                       /* of prompts in a pass, however slow the model */
    FIRST_ROWS = 32,                      /* while nothing has been measured */
    SINGLE_ROWS = SAMBA__SHARED_ROWS / 2, /* tokens in a pass: a proposal has room beside them */
    GUEST_ROWS = SINGLE_ROWS / 4          /* of these, what streams leave to guests */
};

static bool unfinished(const samba__request *q)
{
    return q->status == SAMBA_OK && q->done < q->n_tokens;
}

static uint32_t rows_left(const samba__request *q)
{
    size_t left = q->n_tokens - q->done;
    return left < q->session->rows_per_pass ? (uint32_t)left : q->session->rows_per_pass;
}

/* ---------------------------------------------------------------- gathering */

samba_stream *samba__scheduler_expire(samba__scheduler *s)
{
    double now = samba__clock_seconds();
    for (samba_stream *st = s->first; st; st = st->next) {
        samba__stream_end end = {
            .reason = SAMBA_STOP_DEADLINE, .stop_token = -1, .stop_string = -1};
        if (st->end.reason || st->closed || !(st->deadline > 0) || now < st->deadline)
            continue;
        samba__stream_finish(st, &end);
        if (samba__stream_ready(st))
            return st;
    }
    return NULL;
}

/* Adopts the runner of a resume; lets go of the work of a stream that has ended or is suspended. */
static void renew(samba_stream *st)
{
    bool keeps_prompt = st->suspended && !st->prompt_done;
    if ((st->end.reason || (st->suspended && !keeps_prompt) || st->next_runner) && st->runner)
        samba__stream_drop_work(st);
    if (st->end.reason) {
        samba__session_free(st->next_runner);
        st->next_runner = NULL;
    }
    if (!st->next_runner)
        return;
    st->runner = st->next_runner;
    st->next_runner = NULL;
    st->at = st->place;
    st->text_bytes = 0;
    samba__stop_strings_reset(&st->stops);
    st->phase = SAMBA__STREAM_DRAW;
}

/* Of the streams that wait for memory, the one whose turn it is. */
static samba_stream *next_waiting(const samba__scheduler *s)
{
    samba_stream *next = NULL;
    for (samba_stream *st = s->first; st; st = st->next)
        if (!st->admitted && !st->end.reason && !st->suspended &&
            (!next || st->priority > next->priority))
            next = st;
    return next;
}

static void admit(samba__scheduler *s)
{
    uint64_t limit = s->limits.max_state_bytes;
    samba_stream *st;
    s->need_bytes = 0;
    for (st = s->first; st; st = st->next) {
        st->admitted = st->admitted && !st->end.reason && !st->suspended;
        s->need_bytes += st->admitted ? st->need_bytes : 0;
    }
    while ((st = next_waiting(s))) {
        if (limit && s->need_bytes && st->need_bytes > limit - s->need_bytes)
            return;
        if (limit && s->need_bytes > limit)
            return;
        st->admitted = true;
        s->need_bytes += st->need_bytes;
    }
}

static bool has_work(const samba_stream *st)
{
    return st->admitted && st->runner && !st->end.reason && !st->suspended &&
           (st->phase == SAMBA__STREAM_PROMPT || st->queue.n < st->depth);
}

/* Those who have arrived go to the end of the queue. */
static void welcome(samba__scheduler *s)
{
    samba__guest **end = &s->guests, *arrived = s->arrived, *oldest = NULL;
    s->arrived = NULL;
    while (arrived) {
        samba__guest *next = arrived->next;
        arrived->next = oldest;
        oldest = arrived;
        arrived = next;
    }
    while (*end)
        end = &(*end)->next;
    *end = oldest;
}

void samba__scheduler_gather(samba__scheduler *s)
{
    size_t n_waiting = 0, n_work = 0, index = 0, most = SINGLE_ROWS;
    for (samba_stream *st = s->first; st; st = st->next)
        renew(st);
    admit(s);
    welcome(s);
    s->gathered = s->limits;
    most -= s->guests ? GUEST_ROWS : 0;
    for (const samba_stream *st = s->first; st; st = st->next) {
        n_waiting += !st->admitted && !st->end.reason && !st->suspended;
        n_work += has_work(st);
    }
    /* More than a pass holds take turns. */
    size_t start = n_work > most ? s->turn % n_work : 0;
    s->n_ready = 0;
    for (int lap = 0; lap < 2; lap++, index = 0)
        for (samba_stream *st = s->first; st; st = st->next) {
            if (!has_work(st))
                continue;
            bool ours = lap == 0 ? index >= start : index < start;
            index++;
            if (ours && s->n_ready < most)
                s->ready[s->n_ready++] = st;
        }
    s->turn += s->n_ready;
    s->stats.n_waiting = n_waiting;
    s->stats.n_running = n_work;
    atomic_store(&s->n_running, (int)n_work);
}

void samba__scheduler_draw(samba__scheduler *s)
{
    for (size_t i = 0; i < s->n_ready; i++) {
        samba_stream *st = s->ready[i];
        if (st->phase == SAMBA__STREAM_PROMPT && !unfinished(&st->request))
            samba__stream_advance(st); /* was put off by a suspension */
        if (st->runner && st->phase == SAMBA__STREAM_DRAW)
            samba__stream_draw(st);
    }
}

/* ---------------------------------------------------------------- composing */

/* All requests that want rows. */
static void list_wanted(samba__scheduler *s)
{
    s->n_wanted = 0;
    for (size_t i = 0; i < s->n_ready; i++)
        if (s->ready[i]->runner && unfinished(&s->ready[i]->request))
            s->wanted[s->n_wanted++] = &s->ready[i]->request;
    for (samba__guest *g = s->guests; g; g = g->next)
        for (size_t i = 0; i < g->n && s->n_wanted < SAMBA__SHARED_ROWS; i++)
            if (unfinished(&g->requests[i]) && !samba__cancelled(g->cancel))
                s->wanted[s->n_wanted++] = &g->requests[i];
}

/* A pass taps one place: that of the oldest guest who asks for any. */
static void choose_hidden(samba__scheduler *s)
{
    s->pass.hidden = 0;
    for (size_t i = 0; i < s->n_wanted && !s->pass.hidden; i++)
        s->pass.hidden = s->wanted[i]->hidden;
}

static bool suits(const samba__scheduler *s, const samba__request *q)
{
    return !q->hidden || q->hidden == s->pass.hidden;
}

static bool is_prompt(const samba__scheduler *s, const samba__request *q)
{
    return !q->speculative && rows_left(q) > 1 && suits(s, q);
}

static void take(samba__scheduler *s, samba__request *q, uint32_t n_rows)
{
    if (n_rows)
        s->pass.parts[s->pass.n_parts++] = (samba__part){.request = q, .n_rows = n_rows};
}

/* All of a proposal or nothing, the oldest guest's first. */
static uint32_t take_proposals(samba__scheduler *s, uint32_t n_rows)
{
    for (size_t i = 0; i < s->n_wanted; i++) {
        samba__request *q = s->wanted[i];
        size_t n = q->n_tokens;
        if (!q->speculative || n == 1 || n > SAMBA__SHARED_ROWS - n_rows || !suits(s, q))
            continue;
        take(s, q, (uint32_t)n);
        n_rows += (uint32_t)n;
    }
    return n_rows;
}

/* Rows of prompts that fit between two tokens. */
static uint32_t prompt_rows(const samba__scheduler *s, uint32_t n_decoding)
{
    uint32_t most = s->gathered.rows_per_pass;
    double gap = s->gathered.max_gap_ms * 1e-3 - s->pace.base;
    most = most > n_decoding ? most - n_decoding : 1;
    if (!n_decoding)
        return most;
    double rows = s->pace.per_row > 0 ? gap / s->pace.per_row : FIRST_ROWS;
    rows = rows < LEAST_ROWS ? LEAST_ROWS : rows;
    return rows < most ? (uint32_t)rows : most;
}

static int64_t weight(const samba__request *q)
{
    return q->priority ? q->priority : SAMBA__PRIORITY;
}

/* Deficit round robin over the prompts: credit by weight, then what is left in their order. */
static void share_prompts(samba__scheduler *s, uint32_t rows)
{
    int64_t total = 0;
    uint32_t first = s->pass.n_parts, left = rows;
    for (size_t i = 0; i < s->n_wanted; i++)
        if (is_prompt(s, s->wanted[i]))
            total += weight(s->wanted[i]);
    for (size_t i = 0; i < s->n_wanted && left; i++) {
        samba__request *q = s->wanted[i];
        uint32_t want = rows_left(q);
        if (!is_prompt(s, q))
            continue;
        q->credit += weight(q) * rows;
        int64_t due = q->credit / total;
        uint32_t n = due < want ? (uint32_t)(due > 0 ? due : 0) : want;
        n = n < left ? n : left;
        take(s, q, n);
        left -= n;
        q->credit = n == want ? 0 : q->credit - n * total;
    }
    for (uint32_t i = first; i < s->pass.n_parts && left; i++) {
        samba__part *p = &s->pass.parts[i];
        uint32_t more = rows_left(p->request) - p->n_rows;
        more = more < left ? more : left;
        p->n_rows += more;
        left -= more;
    }
}

void samba__scheduler_compose(samba__scheduler *s)
{
    list_wanted(s);
    choose_hidden(s);
    s->pass.n_parts = 0;
    for (size_t i = 0; i < s->n_wanted && s->pass.n_parts < SINGLE_ROWS; i++)
        if (rows_left(s->wanted[i]) == 1 && suits(s, s->wanted[i]))
            take(s, s->wanted[i], 1);
    uint32_t n_taken = take_proposals(s, s->pass.n_parts);
    uint32_t rows = prompt_rows(s, n_taken), room = SAMBA__SHARED_ROWS - n_taken;
    share_prompts(s, rows < room ? rows : room);
}

uint32_t samba__scheduler_rows(const samba__scheduler *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->pass.n_parts; i++)
        n += s->pass.parts[i].n_rows;
    return n;
}

/* ---------------------------------------------------------------- running */

static void learn(samba__scheduler *s, uint32_t n_decoding, uint32_t n_prompt, double seconds)
{
    samba__pace *p = &s->pace;
    if (!n_prompt) {
        p->base = p->base > 0 ? p->base + (seconds - p->base) / 8 : seconds;
        return;
    }
    if (n_prompt < LEAST_ROWS)
        return;
    double rest = n_decoding ? seconds - p->base : seconds;
    double per_row = (rest > 0 ? rest : 0) / n_prompt;
    p->per_row = p->per_row > 0 ? p->per_row + (per_row - p->per_row) / 4 : per_row;
}

/* After a pass that failed as a whole: a request that it was not ended for goes on, the others all
 * learn why. */
static void spread_failure(samba__pass *pass, uint32_t n_parts)
{
    const samba_error *why = NULL;
    for (uint32_t i = 0; i < n_parts && !why; i++)
        why = pass->parts[i].request->error;
    for (uint32_t i = 0; i < n_parts; i++) {
        samba__request *q = pass->parts[i].request;
        if (q->status == SAMBA_ERROR_CANCELLED) {
            samba_error_free(q->error);
            q->error = NULL;
            q->status = SAMBA_OK;
        } else if (q->status != SAMBA_OK && !q->error && why) {
            samba__fail(pass->model->alloc, &q->error, q->status, "%s", samba_error_message(why));
        }
    }
}

double samba__scheduler_run(samba__scheduler *s)
{
    uint32_t n_decoding = 0, n_prompt = 0;
    for (uint32_t i = 0; i < s->pass.n_parts; i++) {
        uint32_t n = s->pass.parts[i].n_rows;
        *(n == 1 ? &n_decoding : &n_prompt) += n;
    }
    double start = samba__clock_seconds();
    samba__pass_run(&s->pass);
    double seconds = samba__clock_seconds() - start;
    spread_failure(&s->pass, s->pass.n_parts);
    learn(s, n_decoding, n_prompt, seconds);
    for (size_t i = 0; i < s->n_ready; i++)
        if (s->ready[i]->runner && s->ready[i]->phase != SAMBA__STREAM_DRAW)
            samba__stream_advance(s->ready[i]);
    return seconds;
}

/* ---------------------------------------------------------------- guests */

static bool is_done(const samba__guest *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (unfinished(&g->requests[i]))
            return samba__cancelled(g->cancel);
    return true;
}

bool samba__scheduler_release_guests(samba__scheduler *s, bool all)
{
    bool any = false;
    welcome(s);
    for (samba__guest **at = &s->guests; *at;) {
        samba__guest *g = *at;
        if (!all && !is_done(g)) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        g->released = any = true;
    }
    if (any)
        uv_cond_broadcast(&s->changed);
    return any;
}
