/*
 * What becomes of a proposal. A speculative eval leaves its step reserved: every row's slabs stand
 * among the spares, its keys and values lie past the position, its tokens are staged behind the
 * history. Keeping j of them is choosing set j - 1; nothing is computed and nothing can fail.
 */
#include "run/rewind.h"

static samba_status check_keep(const samba_session *session, size_t n_tokens, samba_error **error)
{
    if (!session->n_proposed)
        return samba__fail(session->alloc, error, SAMBA_ERROR_STATE,
                           "there is no proposal to keep tokens of");
    if (session->user)
        return samba__session_check_idle(session, error);
    if (n_tokens <= session->n_proposed)
        return SAMBA_OK;
    return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                       "n_tokens is %zu, the proposal has %u tokens", n_tokens,
                       session->n_proposed);
}

void samba__session_drop_proposal(samba_session *session)
{
    samba__output_recycle(session->proposed.output, &session->spare_output);
    session->proposed = (samba__rows){0};
    session->n_proposed = 0;
}

samba_status samba__session_keep(samba_session *session, size_t n_tokens, samba_error **error)
{
    SAMBA__TRY(check_keep(session, n_tokens, error));
    samba__history_commit(&session->history, n_tokens);
    if (n_tokens == 0) {
        samba__sequence_discard(&session->sequence);
    } else {
        samba__sequence_commit(&session->sequence, (uint32_t)n_tokens);
        samba__session_set_rows(session, session->proposed.output, n_tokens - 1, 1);
        session->proposed.output = NULL;
    }
    samba__session_drop_proposal(session);
    if (n_tokens)
        samba__session_after_step(session, NULL);
    return SAMBA_OK;
}
