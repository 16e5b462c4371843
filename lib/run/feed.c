/*
 * Text on its way into a session. What the tokenizer adds in front (BOS) comes at position 0 only;
 * what it would add behind (EOS) never does, because the text is to go on. Special tokens written
 * in the text stay text.
 */
#include "run/session.h"

samba_status samba__session_encode(samba_session *session, const char *text, size_t size,
                                   samba_error **error)
{
    const samba__tokenizer *t = session->model->tokenizer;
    samba__token_list *ids = &session->scratch->ids;
    const samba__encode_flags flags = {.add_special = samba__session_at_start(session)};
    SAMBA__TRY(samba__session_check_idle(session, error));
    if (!t)
        return samba__fail(session->alloc, error, SAMBA_ERROR_UNSUPPORTED,
                           "the model has no tokenizer, or this build has none");
    ids->n = 0;
    SAMBA__TRY(samba__tokenizer_encode(t, text, size, flags, ids, error));
    while (flags.add_special && ids->n > 1 && ids->ids[ids->n - 1] == session->model->eos &&
           samba__tokenizer_is_special(t, session->model->eos))
        ids->n--;
    return SAMBA_OK;
}
