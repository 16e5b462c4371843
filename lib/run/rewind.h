/*
 * Going back. checkpoint.c takes checkpoints as a session moves on; rewind.c restores one and
 * evaluates what lies between it and the position asked for, through the ordinary passes.
 */
#ifndef SAMBA_RUN_REWIND_H
#define SAMBA_RUN_REWIND_H

#include "run/session.h"

/* Budget and interval as the options say, or by default. */
void samba__session_init_checkpoints(samba_session *session, const samba_session_options *options);

/* Drops checkpoints until the budget holds: as things stand (n_rows 0), or after a step of n_rows,
 * before that takes any memory. */
void samba__session_fit_checkpoints(samba_session *session, uint32_t n_rows);
/* Whether a checkpoint should be taken at the end of a step of n_rows, which so far gives no row
 * out: then room for its logits, else NULL (also when memory is out). */
samba__output *samba__session_checkpoint_row(samba_session *session, uint32_t n_rows);
/* After a step is committed: takes a checkpoint if one is due and there is memory. `row`: logits of
 * its last row, if they are not among the session's rows; takes the reference; may be NULL. */
void samba__session_after_step(samba_session *session, samba__output *row);

/* To the place of an image farther on, which somebody else has evaluated: as after a step. */
void samba__session_follow(samba_session *session, samba__image *image);

/* After a restore, where there are none: the image that the session stands on is the first. */
void samba__session_begin_checkpoints(samba_session *session, samba__image *image);

uint64_t samba__session_checkpoint_bytes(const samba_session *session);
samba_status samba__session_pin(samba_session *session, samba_error **error);
samba_status samba__session_unpin(samba_session *session, uint64_t position, samba_error **error);

/* `options` is complete. */
samba_status samba__session_rewind(samba_session *session, uint64_t position,
                                   const samba_rewind_options *options, samba_rewind_report *report,
                                   samba_error **error);

#endif
