/* One round of the scheduler's thread, in the order in which it goes through them. */
#ifndef SAMBA_RUN_SCHEDULER_PASS_H
#define SAMBA_RUN_SCHEDULER_PASS_H

#include "run/scheduler.h"

/* Under the lock: ends streams whose deadline has passed. Returns the first whose on_ready is to be
 * called; NULL: none. */
samba_stream *samba__scheduler_expire(samba__scheduler *s);
/* Under the lock: which streams have work (ready), after ends, suspensions and the memory
 * limit; and how many. */
void samba__scheduler_gather(samba__scheduler *s);
/* Draws the next token where one is wanted. */
void samba__scheduler_draw(samba__scheduler *s);
/* Chooses the rows of the next pass. */
void samba__scheduler_compose(samba__scheduler *s);
/* Their number. */
uint32_t samba__scheduler_rows(const samba__scheduler *s);
/* Runs it and hands out what came of it. Returns the seconds that the pass took. */
double samba__scheduler_run(samba__scheduler *s);
/* Under the lock: gives guests back that have finished, were cancelled, or failed; or all of them.
 * True if there was one. */
bool samba__scheduler_release_guests(samba__scheduler *s, bool all);

#endif
