/*
 * Generation; see generate.h. Whatever can fail for a token (drawing, room for its text, feeding)
 * comes before its delivery, so the session always stands after the last token delivered.
 */
#include "run/generate.h"
#include "run/batch.h"

#include <string.h>

enum {
    TOP_MOST = 64,
    MAX_TOKENS = 256
};

typedef struct generation {
    samba_session *session;
    samba_sampler *sampler;
    const samba_generate_options *options;
    const samba__listener *listener;
    samba__utf8_hold hold; /* bytes of a character that is not complete */
    bool begins_text;      /* nothing but special tokens has been fed so far */
    bool stopped;          /* on_token said so */
    samba_token_event event;
    samba_logprob top[TOP_MOST];
} generation;

samba_status samba__generate_check(const samba_session *s, const samba_generate_options *o,
                                   samba_error **error)
{
    if (o->top_logprobs > TOP_MOST)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "top_logprobs is %u, at most %d are possible", o->top_logprobs,
                           TOP_MOST);
    for (size_t i = 0; i < o->n_stop_tokens; i++)
        if (o->stop_tokens[i] < 0 || (uint32_t)o->stop_tokens[i] >= s->model->n_vocab)
            return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "stop_tokens[%zu] is %d, the vocabulary has %u tokens", i,
                               o->stop_tokens[i], s->model->n_vocab);
    return SAMBA_OK;
}

/* Histories begin with text after a few tokens at most. */
bool samba__session_begins_text(const samba_session *s)
{
    const samba_token *tokens = samba__history_tokens(&s->history);
    const samba__state *state = s->sequence.state;
    if (!s->model->tokenizer || s->history.n != state->position - state->first_position)
        return false;
    for (size_t i = 0; i < s->history.n; i++)
        if (!samba__tokenizer_is_special(s->model->tokenizer, tokens[i]))
            return false;
    return true;
}

static bool is_stop(const generation *g, samba_token token)
{
    const samba_generate_options *o = g->options;
    if (o->ignore_eos != SAMBA_YES && token == g->session->model->eos)
        return true;
    for (size_t i = 0; i < o->n_stop_tokens; i++)
        if (token == o->stop_tokens[i])
            return true;
    return false;
}

/* Draws into the event. Callbacks of the sampler may not change the session. */
static samba_status draw(generation *g, samba_error **error)
{
    samba_session *s = g->session;
    samba_token_event *e = &g->event;
    const float *logits = NULL;
    size_t n_vocab = s->model->n_vocab;
    SAMBA__TRY(samba__session_logits(s, SAMBA_ROW_LAST, &logits, error));
    const samba__draw from = {.branch = g->options->branch, .user_data = g->listener->user_data};
    s->user = g;
    samba_status status =
        samba__session_sample(s, g->sampler, &from, &e->token, &e->logprob, error);
    s->user = NULL;
    if (status != SAMBA_OK)
        return status;
    e->position = samba__session_position(s);
    e->n_top = g->options->top_logprobs < n_vocab ? g->options->top_logprobs : n_vocab;
    e->top = g->top;
    if (!e->n_top)
        return SAMBA_OK;
    return samba__session_top(s, logits, e->n_top, g->top, error);
}

/* The bytes of the event's token, and room for them and what was held back. */
static samba_status prepare_text(generation *g, samba__text *piece, samba_error **error)
{
    samba_session *s = g->session;
    const samba__tokenizer *t = s->model->tokenizer;
    void *text = s->scratch->text;
    *piece = (samba__text){.data = ""};
    if (t &&
        (g->options->skip_special == SAMBA_NO || !samba__tokenizer_is_special(t, g->event.token)))
        samba__tokenizer_piece(t, g->event.token, g->begins_text, piece);
    if (!samba__grow(s->alloc, &text, &s->scratch->text_capacity,
                     piece->size + sizeof g->hold.bytes, 1))
        return samba__fail_oom(error);
    s->scratch->text = text;
    return SAMBA_OK;
}

static samba_status feed(generation *g, samba_error **error)
{
    samba__request request = {.session = g->session,
                              .tokens = &g->event.token,
                              .n_tokens = 1,
                              .outputs = SAMBA_OUTPUT_LAST};
    return samba__request_run(&request, g->options->cancel, error);
}

static void deliver(generation *g, size_t text_size)
{
    samba_session *s = g->session;
    g->event.struct_size = sizeof g->event;
    g->event.text = s->scratch->text;
    g->event.text_size = text_size;
    if (!g->listener->on_token)
        return;
    s->user = g;
    g->stopped = g->listener->on_token(g->listener->user_data, &g->event) != SAMBA_CONTINUE;
    s->user = NULL;
}

/* Feeds and delivers the token of the event. */
static samba_status step(generation *g, samba_error **error)
{
    const samba__tokenizer *t = g->session->model->tokenizer;
    samba__text piece;
    SAMBA__TRY(prepare_text(g, &piece, error));
    SAMBA__TRY(feed(g, error));
    if (g->begins_text && !samba__tokenizer_is_special(t, g->event.token))
        g->begins_text = false;
    deliver(g, samba__utf8_push(&g->hold, piece.data, piece.size, g->session->scratch->text));
    return SAMBA_OK;
}

/* Text still held back goes out in an event of its own. */
static void deliver_rest(generation *g)
{
    if (!g->hold.n)
        return;
    g->event = (samba_token_event){.token = -1, .position = samba__session_position(g->session)};
    deliver(g, samba__utf8_flush(&g->hold, g->session->scratch->text));
}

static samba_status run(generation *g, samba_generate_result *result, samba_error **error)
{
    uint64_t max = g->options->max_tokens ? g->options->max_tokens : MAX_TOKENS;
    *result = (samba_generate_result){
        .struct_size = sizeof *result, .reason = SAMBA_STOP_LENGTH, .stop_token = -1};
    while (result->n_tokens < max) {
        if (samba__cancelled(g->options->cancel))
            return samba__fail(g->session->alloc, error, SAMBA_ERROR_CANCELLED,
                               "cancelled after %llu tokens", (unsigned long long)result->n_tokens);
        SAMBA__TRY(draw(g, error));
        if (is_stop(g, g->event.token)) {
            result->reason = SAMBA_STOP_TOKEN;
            result->stop_token = g->event.token;
            break;
        }
        SAMBA__TRY(step(g, error));
        result->n_tokens++;
        if (g->stopped) {
            result->reason = SAMBA_STOP_CALLBACK;
            break;
        }
    }
    deliver_rest(g);
    return SAMBA_OK;
}

samba_status samba__session_generate(samba_session *session, samba_sampler *sampler,
                                     const samba_generate_options *options,
                                     const samba__listener *listener, samba_generate_result *result,
                                     samba_error **error)
{
    generation g = {
        .session = session, .sampler = sampler, .options = options, .listener = listener};
    samba_generate_result r;
    const float *logits = NULL;
    SAMBA__TRY(samba__session_check_idle(session, error));
    SAMBA__TRY(samba__generate_check(session, options, error));
    SAMBA__TRY(samba__session_logits(session, SAMBA_ROW_LAST, &logits, error));
    g.begins_text = samba__session_begins_text(session);
    SAMBA__TRY(run(&g, &r, error));
    *result = r;
    return SAMBA_OK;
}
