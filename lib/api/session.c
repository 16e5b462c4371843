/* Sessions at the boundary: checks arguments, completes option structs, delegates to run/. */
#include "run/session.h"
#include "api/options.h"
#include "run/batch.h"

#include <string.h>

static samba_status refuse(const samba_session *session, samba_error **error, const char *what)
{
    return samba__fail(session ? session->alloc : samba__alloc_default(), error,
                       SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL", what);
}

/* ---------------------------------------------------------------- life */

samba_status samba_session_create(samba_model *model, const samba_session_options *options,
                                  samba_session **session, samba_error **error)
{
    samba_session_options o;
    if (!model || !session)
        return refuse(NULL, error, model ? "session" : "model");
    SAMBA__TRY(samba__options_read(model->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_session_options", error));
    return samba__session_create(model, &o, session, error);
}

void samba_session_free(samba_session *session)
{
    samba__session_free(session);
}

samba_status samba_session_clone(const samba_session *session, samba_session **clone,
                                 samba_error **error)
{
    if (!session || !clone)
        return refuse(session, error, session ? "clone" : "session");
    return samba__session_clone(session, clone, error);
}

samba_status samba_session_reset(samba_session *session, samba_error **error)
{
    return session ? samba__session_reset(session, error) : refuse(NULL, error, "session");
}

/* ---------------------------------------------------------------- reading */

uint64_t samba_session_position(const samba_session *session)
{
    return session ? samba__session_where(session) : 0;
}

samba_model *samba_session_model(const samba_session *session)
{
    return session ? session->model : NULL;
}

samba_status samba_session_tokens(const samba_session *session, const samba_token **tokens,
                                  uint64_t *first, size_t *n_tokens, samba_error **error)
{
    if (!session || !tokens || !first || !n_tokens)
        return refuse(session, error,
                      !session  ? "session"
                      : !tokens ? "tokens"
                      : !first  ? "first"
                                : "n_tokens");
    SAMBA__TRY(samba__session_check_free(session, error));
    *tokens = samba__history_tokens(&session->history);
    *n_tokens = session->history.n;
    *first = samba__session_position(session) - session->history.n;
    return SAMBA_OK;
}

samba_status samba_session_logits(const samba_session *session, size_t row, const float **logits,
                                  size_t *n_vocab, samba_error **error)
{
    if (!session || !logits)
        return refuse(session, error, session ? "logits" : "session");
    SAMBA__TRY(samba__session_check_free(session, error));
    SAMBA__TRY(samba__session_logits(session, row, logits, error));
    if (n_vocab)
        *n_vocab = session->model->n_vocab;
    return SAMBA_OK;
}

size_t samba_session_n_rows(const samba_session *session)
{
    return session && !samba__session_stream(session) ? samba__session_rows(session)->n : 0;
}

samba_status samba_session_hidden(const samba_session *session, size_t row, const float **hidden,
                                  size_t *d_model, samba_error **error)
{
    if (!session || !hidden)
        return refuse(session, error, session ? "hidden" : "session");
    SAMBA__TRY(samba__session_check_free(session, error));
    SAMBA__TRY(samba__session_hidden(session, row, hidden, error));
    if (d_model)
        *d_model = session->model->d_model;
    return SAMBA_OK;
}

samba_status samba_session_top_logprobs(const samba_session *session, size_t row, size_t n,
                                        samba_logprob *top, samba_error **error)
{
    const float *logits = NULL;
    if (!session || (!top && n))
        return refuse(session, error, session ? "top" : "session");
    SAMBA__TRY(samba__session_check_free(session, error));
    SAMBA__TRY(samba__session_logits(session, row, &logits, error));
    if (n > session->model->n_vocab)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "n is %zu, the vocabulary has %u tokens", n, session->model->n_vocab);
    return samba__session_top(session, logits, n, top, error);
}

samba_status samba_session_sample(const samba_session *session, samba_sampler *sampler,
                                  uint64_t branch, samba_token *token, float *logprob,
                                  samba_error **error)
{
    if (!session || !token)
        return refuse(session, error, session ? "token" : "session");
    SAMBA__TRY(samba__session_check_free(session, error));
    const samba__draw draw = {.branch = branch};
    return samba__session_sample(session, sampler, &draw, token, logprob, error);
}

samba_status samba_session_get_stats(const samba_session *session, samba_session_stats *stats,
                                     samba_error **error)
{
    samba_session_stats now;
    if (!session || !stats)
        return refuse(session, error, session ? "stats" : "session");
    SAMBA__TRY(samba__session_check_free(session, error));
    samba__session_get_stats(session, &now);
    return samba__output_write(session->alloc, stats, &now, sizeof now, "samba_session_stats",
                               error);
}

/* ---------------------------------------------------------------- feeding */

static samba_status check_choice(const samba_session *s, const char *name, int32_t value,
                                 int32_t most, samba_error **error)
{
    if (value >= 0 && value <= most)
        return SAMBA_OK;
    return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is %d, known are 0 to %d",
                       name, value, most);
}

/* Reads the options of an eval; zero fields become the defaults they stand for. */
static samba_status read_options(const samba_session *s, const samba_eval_options *options,
                                 samba_eval_options *o, samba_error **error)
{
    SAMBA__TRY(samba__options_read(s->alloc, options, sizeof *o, o, sizeof *o, "samba_eval_options",
                                   error));
    SAMBA__TRY(check_choice(s, "outputs", o->outputs, SAMBA_OUTPUT_NONE, error));
    SAMBA__TRY(check_choice(s, "speculative", o->speculative, SAMBA_NO, error));
    o->outputs = o->outputs ? o->outputs : SAMBA_OUTPUT_LAST;
    return SAMBA_OK;
}

/* A request of one session, from checked arguments. */
static samba_status make_request(samba_session *session, const samba_token *tokens, size_t n_tokens,
                                 const samba_eval_options *o, samba__request *request,
                                 samba_error **error)
{
    if (n_tokens && !tokens)
        return refuse(session, error, "tokens");
    *request = (samba__request){.session = session,
                                .tokens = tokens,
                                .n_tokens = n_tokens,
                                .outputs = o->outputs,
                                .hidden = o->hidden,
                                .speculative = o->speculative == SAMBA_YES};
    return SAMBA_OK;
}

samba_status samba_session_eval(samba_session *session, const samba_token *tokens, size_t n_tokens,
                                const samba_eval_options *options, samba_error **error)
{
    samba_eval_options o;
    samba__request request;
    if (!session)
        return refuse(NULL, error, "session");
    SAMBA__TRY(read_options(session, options, &o, error));
    SAMBA__TRY(make_request(session, tokens, n_tokens, &o, &request, error));
    return samba__request_run(&request, o.cancel, error);
}

samba_status samba_session_feed_text(samba_session *session, const char *text, size_t size,
                                     const samba_eval_options *options, samba_error **error)
{
    samba_eval_options o;
    samba__request request;
    if (!session || (!text && size))
        return refuse(session, error, session ? "text" : "session");
    SAMBA__TRY(read_options(session, options, &o, error));
    SAMBA__TRY(samba__session_encode(session, text, size == SIZE_MAX ? strlen(text) : size, error));
    const samba__token_list *ids = &session->scratch->ids;
    SAMBA__TRY(make_request(session, ids->ids, ids->n, &o, &request, error));
    return samba__request_run(&request, o.cancel, error);
}

samba_status samba_session_keep(samba_session *session, size_t n_tokens, samba_error **error)
{
    return session ? samba__session_keep(session, n_tokens, error) : refuse(NULL, error, "session");
}

samba_status samba_session_score(samba_session *session, const samba_token *tokens, size_t n_tokens,
                                 const samba_eval_options *options, float *logprobs,
                                 samba_error **error)
{
    samba_eval_options o;
    if (!session || (n_tokens && (!tokens || !logprobs)))
        return refuse(session, error, !session ? "session" : !tokens ? "tokens" : "logprobs");
    SAMBA__TRY(read_options(session, options, &o, error));
    if (o.outputs != SAMBA_OUTPUT_LAST || o.hidden || o.speculative == SAMBA_YES)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "outputs, hidden and speculative must be default when scoring");
    return samba__session_score(session, tokens, n_tokens, o.cancel, logprobs, error);
}

/* ---------------------------------------------------------------- batches */

/* The caller's items, whatever the size of the struct that it knows. */
typedef struct item_array {
    unsigned char *base;
    size_t n, size;
} item_array;

static samba_eval_item *item_at(const item_array *items, size_t i)
{
    return (samba_eval_item *)(void *)(items->base + i * items->size);
}

/* Whose memory the call works in: the first session that there is. */
static const samba_session *first_session(const item_array *items)
{
    for (size_t i = 0; i < items->n; i++)
        if (item_at(items, i)->session)
            return item_at(items, i)->session;
    return NULL;
}

/* For failures of the call as a whole. */
static samba_status fail_all(const item_array *items, samba_status status)
{
    for (size_t i = 0; i < items->n; i++)
        item_at(items, i)->status = status;
    return status;
}

static samba_status fill_request(const samba_eval_item *item, samba__request *request,
                                 samba_error **error)
{
    samba_eval_options o;
    if (!item->session)
        return refuse(NULL, error, "session of a batch item");
    SAMBA__TRY(read_options(item->session, item->options, &o, error));
    return make_request(item->session, item->tokens, item->n_tokens, &o, request, error);
}

static samba_status run_items(const item_array *items, const samba_batch_options *options,
                              samba_error **error)
{
    const samba__run_options run = {.rows_per_pass = options->rows_per_pass,
                                    .cancel = options->cancel};
    const samba_session *lead = first_session(items);
    samba__request *requests = NULL;
    samba_status status = lead ? samba__requests_room(lead, items->n, &requests, error)
                               : refuse(NULL, error, "session of every batch item");
    if (status != SAMBA_OK)
        return fail_all(items, status);
    for (size_t i = 0; i < items->n; i++) {
        samba_error *why = NULL;
        status = fill_request(item_at(items, i), &requests[i], error ? &why : NULL);
        requests[i].status = status;
        requests[i].error = why;
    }
    status = samba__requests_run(requests, items->n, &run, error);
    for (size_t i = 0; i < items->n; i++)
        item_at(items, i)->status = requests[i].status;
    return status;
}

samba_status samba_eval_batch(samba_eval_item *items, size_t n_items, size_t item_size,
                              const samba_batch_options *options, samba_error **error)
{
    const samba_allocator *a = samba__alloc_default();
    const item_array array = {.base = (unsigned char *)items, .n = n_items, .size = item_size};
    samba_batch_options o;
    if (!n_items)
        return SAMBA_OK;
    if (!items)
        return refuse(NULL, error, "items");
    if (item_size < sizeof *items || item_size % _Alignof(samba_eval_item))
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "item_size is %zu, a samba_eval_item has %zu bytes", item_size,
                           sizeof *items);
    samba_status status =
        samba__options_read(a, options, sizeof o, &o, sizeof o, "samba_batch_options", error);
    return status == SAMBA_OK ? run_items(&array, &o, error) : fail_all(&array, status);
}
