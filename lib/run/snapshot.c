/* Snapshots in memory: taking, restoring; see snapshot.h. */
#include "run/snapshot.h"
#include "tensor/dtype.h"

#include <string.h>

enum {
    METADATA_MOST = 16 << 20
};

/* ---------------------------------------------------------------- life */

static samba_status copy_metadata(samba_snapshot *s, const samba_snapshot_options *options,
                                  samba_error **error)
{
    if (options->metadata_size > METADATA_MOST)
        return samba__fail(s->alloc, error, SAMBA_ERROR_LIMIT,
                           "metadata_size is %zu, at most %d are possible", options->metadata_size,
                           METADATA_MOST);
    if (!options->metadata_size)
        return SAMBA_OK;
    s->metadata = samba__alloc(s->alloc, options->metadata_size);
    if (!s->metadata)
        return samba__fail_oom(error);
    memcpy(s->metadata, options->metadata, options->metadata_size);
    s->metadata_size = options->metadata_size;
    return SAMBA_OK;
}

samba_status samba__snapshot_take(const samba_session *session,
                                  const samba_snapshot_options *options, samba_snapshot **snapshot,
                                  samba_error **error)
{
    samba_snapshot *s = samba__calloc(session->alloc, 1, sizeof *s);
    samba_status status;
    if (!s)
        return samba__fail_oom(error);
    samba__refs_init(&s->refs);
    s->alloc = session->alloc;
    s->model = samba__model_retain(session->model);
    SAMBA__TRY_GOTO(copy_metadata(s, options, error));
    SAMBA__TRY_GOTO(samba__session_image(session, &s->image, error));
    *snapshot = s;
    return SAMBA_OK;
fail:
    samba__snapshot_release(s);
    return status;
}

samba_snapshot *samba__snapshot_retain(samba_snapshot *snapshot)
{
    samba__refs_take(&snapshot->refs);
    return snapshot;
}

void samba__snapshot_release(samba_snapshot *snapshot)
{
    if (!snapshot || !samba__refs_drop(&snapshot->refs))
        return;
    samba_model *model = snapshot->model;
    samba__image_release(snapshot->image);
    samba__free(snapshot->alloc, snapshot->metadata);
    samba__free(snapshot->alloc, snapshot);
    samba__model_release(model);
}

/* ---------------------------------------------------------------- restoring */

static samba_status check_model(const samba_snapshot *s, const samba_model *m, samba_error **error)
{
    if (memcmp(s->model->fingerprint, m->fingerprint, sizeof m->fingerprint) == 0)
        return SAMBA_OK;
    return samba__fail(m->alloc, error, SAMBA_ERROR_MISMATCH,
                       "the snapshot is of model \"%s\", the session of model \"%s\", which is "
                       "another one",
                       s->model->name, m->name);
}

static samba_status check_kv_dtype(const samba_snapshot *s, const samba_model *m,
                                   samba_dtype kv_dtype, samba_error **error)
{
    samba_dtype ours = s->image->layout->kv_dtype;
    if (ours == kv_dtype)
        return SAMBA_OK;
    return samba__fail(m->alloc, error, SAMBA_ERROR_MISMATCH,
                       "the snapshot keeps keys and values as %s, the session as %s",
                       samba_dtype_name(ours), samba_dtype_name(kv_dtype));
}

samba_status samba__snapshot_restore(const samba_snapshot *snapshot, samba_session *session,
                                     samba_error **error)
{
    SAMBA__TRY(samba__session_check_idle(session, error));
    SAMBA__TRY(check_model(snapshot, session->model, error));
    SAMBA__TRY(check_kv_dtype(snapshot, session->model, session->sequence.layout->kv_dtype, error));
    if (snapshot->image->layout->device != session->model->device)
        return samba__fail(session->alloc, error, SAMBA_ERROR_UNSUPPORTED,
                           "the snapshot lies on another device than the session");
    samba__session_install(session, snapshot->image);
    return SAMBA_OK;
}

samba_status samba__snapshot_open(const samba_snapshot *snapshot, samba_model *model,
                                  const samba_session_options *options, samba_session **session,
                                  samba_error **error)
{
    samba_session_options o = *options;
    uint64_t first = snapshot->image->state->first_position;
    samba_session *s = NULL;
    SAMBA__TRY(check_model(snapshot, model, error));
    if (o.kv_dtype)
        SAMBA__TRY(check_kv_dtype(snapshot, model, o.kv_dtype, error));
    if (o.first_position && o.first_position != first)
        return samba__fail(model->alloc, error, SAMBA_ERROR_MISMATCH,
                           "first_position is %llu, the snapshot's is %llu",
                           (unsigned long long)o.first_position, (unsigned long long)first);
    o.kv_dtype = snapshot->image->layout->kv_dtype;
    o.first_position = first;
    SAMBA__TRY(samba__session_create(model, &o, &s, error));
    samba_status status = samba__snapshot_restore(snapshot, s, error);
    if (status != SAMBA_OK) {
        samba__session_free(s);
        return status;
    }
    *session = s;
    return SAMBA_OK;
}
