/*
 * Snapshots: images that outlive their session, with the host's own bytes beside them. A live one
 * shares cells with sessions of its model; going into another session is choosing those cells.
 */
#ifndef SAMBA_RUN_SNAPSHOT_H
#define SAMBA_RUN_SNAPSHOT_H

#include "run/session.h"

struct samba_snapshot {
    samba__refs refs;
    const samba_allocator *alloc;
    samba_model *model;  /* retained */
    samba__image *image; /* retained */
    void *metadata;
    size_t metadata_size;
};

/* `options` is complete. */
samba_status samba__snapshot_take(const samba_session *session,
                                  const samba_snapshot_options *options, samba_snapshot **snapshot,
                                  samba_error **error);
samba_snapshot *samba__snapshot_retain(samba_snapshot *snapshot);
void samba__snapshot_release(samba_snapshot *snapshot); /* accepts NULL */
samba_status samba__snapshot_restore(const samba_snapshot *snapshot, samba_session *session,
                                     samba_error **error);
/* `options` is complete. */
samba_status samba__snapshot_open(const samba_snapshot *snapshot, samba_model *model,
                                  const samba_session_options *options, samba_session **session,
                                  samba_error **error);

#endif
