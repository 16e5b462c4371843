/*
 * Log-probabilities of given tokens. The token at i is scored by the row before it: in the backend,
 * while its logits are there, except the first one, whose logits the session holds.
 */
#include "run/batch.h"

/* The first token, by the logits that the session has now. */
static samba_status score_first(const samba_session *session, samba_token token, float *logprob,
                                samba_error **error)
{
    const float *logits = NULL;
    *logprob = 0;
    if (samba__session_at_start(session))
        return SAMBA_OK;
    SAMBA__TRY(samba__session_logits(session, SAMBA_ROW_LAST, &logits, error));
    if (token >= 0 && (uint32_t)token < session->model->n_vocab) /* else the run refuses it */
        samba__session_log_probs(session, logits, &token, 1, logprob);
    return SAMBA_OK;
}

samba_status samba__session_score(samba_session *session, const samba_token *tokens,
                                  size_t n_tokens, const samba_cancel *cancel, float *logprobs,
                                  samba_error **error)
{
    SAMBA__TRY(samba__session_check_idle(session, error));
    if (!n_tokens)
        return SAMBA_OK;
    float *scores = samba__alloc_array(session->alloc, n_tokens, sizeof *scores);
    if (!scores)
        return samba__fail_oom(error);
    samba__request request = {.session = session,
                              .tokens = tokens,
                              .n_tokens = n_tokens,
                              .outputs = SAMBA_OUTPUT_LAST,
                              .logprobs = scores + 1};
    samba_status status = score_first(session, tokens[0], &scores[0], error);
    if (status == SAMBA_OK)
        status = samba__request_run(&request, cancel, error);
    for (size_t i = 0; status == SAMBA_OK && i < n_tokens; i++)
        logprobs[i] = scores[i];
    samba__free(session->alloc, scores);
    return status;
}
