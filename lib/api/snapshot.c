/* Snapshots at the boundary: checks arguments, completes option structs, delegates to run/. */
#include "run/snapshot.h"
#include "api/options.h"

static samba_status refuse(samba_error **error, const char *what)
{
    return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL",
                       what);
}

samba_status samba_session_snapshot(const samba_session *session,
                                    const samba_snapshot_options *options,
                                    samba_snapshot **snapshot, samba_error **error)
{
    samba_snapshot_options o;
    if (!session || !snapshot)
        return refuse(error, session ? "snapshot" : "session");
    SAMBA__TRY(samba__options_read(session->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_snapshot_options", error));
    if (o.metadata_size && !o.metadata)
        return refuse(error, "metadata");
    return samba__snapshot_take(session, &o, snapshot, error);
}

samba_snapshot *samba_snapshot_retain(samba_snapshot *snapshot)
{
    return snapshot ? samba__snapshot_retain(snapshot) : NULL;
}

void samba_snapshot_release(samba_snapshot *snapshot)
{
    samba__snapshot_release(snapshot);
}

samba_status samba_session_restore(samba_session *session, const samba_snapshot *snapshot,
                                   samba_error **error)
{
    if (!session || !snapshot)
        return refuse(error, session ? "snapshot" : "session");
    return samba__snapshot_restore(snapshot, session, error);
}

samba_status samba_session_create_from(samba_model *model, const samba_snapshot *snapshot,
                                       const samba_session_options *options,
                                       samba_session **session, samba_error **error)
{
    samba_session_options o;
    if (!model || !snapshot || !session)
        return refuse(error, !model ? "model" : !snapshot ? "snapshot" : "session");
    SAMBA__TRY(samba__options_read(model->alloc, options, sizeof o, &o, sizeof o,
                                   "samba_session_options", error));
    return samba__snapshot_open(snapshot, model, &o, session, error);
}
