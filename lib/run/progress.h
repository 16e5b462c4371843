/* Progress and cancelling of long calls that are not passes: loading, converting. */
#ifndef SAMBA_RUN_PROGRESS_H
#define SAMBA_RUN_PROGRESS_H

#include "run/context.h"

typedef struct samba__progress {
    samba_progress_fn fn; /* may be NULL */
    void *user_data;
    const samba_cancel *cancel; /* may be NULL */
} samba__progress;

/* Tells the host; SAMBA_STOP if it or the cancel object asks for the end. */
static inline int32_t samba__progress_show(const samba__progress *p, uint64_t done, uint64_t total)
{
    if (samba__cancelled(p->cancel))
        return SAMBA_STOP;
    return p->fn ? p->fn(p->user_data, done, total) : SAMBA_CONTINUE;
}

#endif
