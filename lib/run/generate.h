/*
 * Drawing, feeding and delivering tokens until there is a reason to stop, on the calling thread.
 */
#ifndef SAMBA_RUN_GENERATE_H
#define SAMBA_RUN_GENERATE_H

#include "run/session.h"

typedef struct samba__listener {
    samba_token_fn on_token; /* may be NULL */
    void *user_data;
} samba__listener;

/* As samba_session_generate says. `options` is complete; *result is written on success. */
samba_status samba__session_generate(samba_session *session, samba_sampler *sampler,
                                     const samba_generate_options *options,
                                     const samba__listener *listener, samba_generate_result *result,
                                     samba_error **error);

/* top_logprobs and stop_tokens are possible ones. */
samba_status samba__generate_check(const samba_session *session,
                                   const samba_generate_options *options, samba_error **error);
/* Whether no text has been fed yet: special tokens give none. */
bool samba__session_begins_text(const samba_session *session);

#endif
