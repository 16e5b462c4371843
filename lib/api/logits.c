/* Logits that a host holds, and log-probabilities by them: checks arguments, delegates. */
#include "run/logits.h"

static samba_status refuse(const samba_session *session, samba_error **error, const char *what)
{
    return samba__fail(session ? session->alloc : samba__alloc_default(), error,
                       SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL", what);
}

samba_status samba_session_hold_logits(const samba_session *session, samba_logits **logits,
                                       samba_error **error)
{
    if (!session || !logits)
        return refuse(session, error, session ? "logits" : "session");
    return samba__logits_hold(session, logits, error);
}

samba_logits *samba_logits_retain(samba_logits *logits)
{
    return logits ? samba__logits_retain(logits) : NULL;
}

void samba_logits_release(samba_logits *logits)
{
    samba__logits_release(logits);
}

const float *samba_logits_data(const samba_logits *logits, size_t *n_rows, size_t *n_vocab)
{
    size_t rows = 0, vocab = 0;
    const float *data = logits ? samba__logits_data(logits, &rows, &vocab) : NULL;
    if (n_rows)
        *n_rows = rows;
    if (n_vocab)
        *n_vocab = vocab;
    return data;
}

samba_status samba_session_logprob(const samba_session *session, size_t row, samba_token token,
                                   float *logprob, samba_error **error)
{
    const float *logits = NULL;
    if (!session || !logprob)
        return refuse(session, error, session ? "logprob" : "session");
    SAMBA__TRY(samba__session_logits(session, row, &logits, error));
    if (token < 0 || (uint32_t)token >= session->model->n_vocab)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "token is %d, the vocabulary has %u tokens", token,
                           session->model->n_vocab);
    samba__session_log_probs(session, logits, &token, 1, logprob);
    return SAMBA_OK;
}
