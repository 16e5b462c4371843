/*
 * Output rows of a session that a host holds on to: a reference to the rows, which nobody writes
 * any more, and to the model, whose allocator they came from.
 */
#ifndef SAMBA_RUN_LOGITS_H
#define SAMBA_RUN_LOGITS_H

#include "run/session.h"

/* STATE: the session has no rows. */
samba_status samba__logits_hold(const samba_session *session, samba_logits **logits,
                                samba_error **error);
samba_logits *samba__logits_retain(samba_logits *logits);
void samba__logits_release(samba_logits *logits); /* accepts NULL */
const float *samba__logits_data(const samba_logits *logits, size_t *n_rows, size_t *n_vocab);

#endif
