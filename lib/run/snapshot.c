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
    return SAMBA_OK;
}

static samba_status take_content(samba_snapshot *s, samba__image *image,
                                 const samba_snapshot_options *options, samba_error **error)
{
    const samba__content_parts parts = {.image = image,
                                        .id = &s->model->id,
                                        .name = s->model->name,
                                        .n_vocab = s->model->n_vocab,
                                        .metadata = s->metadata,
                                        .metadata_size = options->metadata_size};
    return samba__content_of_image(s->alloc, &parts, &s->content, error);
}

samba_status samba__snapshot_of_image(samba_model *model, samba__image *image,
                                      const samba_snapshot_options *options,
                                      samba_snapshot **snapshot, samba_error **error)
{
    samba_snapshot *s = samba__calloc(model->alloc, 1, sizeof *s);
    samba_status status;
    if (!s)
        return samba__fail_oom(error);
    samba__refs_init(&s->refs);
    s->alloc = model->alloc;
    s->model = samba__model_retain(model);
    s->context = samba__context_retain(s->model->context);
    SAMBA__TRY_GOTO(copy_metadata(s, options, error));
    SAMBA__TRY_GOTO(take_content(s, image, options, error));
    *snapshot = s;
    return SAMBA_OK;
fail:
    samba__snapshot_release(s);
    return status;
}

samba_status samba__snapshot_take(const samba_session *session,
                                  const samba_snapshot_options *options, samba_snapshot **snapshot,
                                  samba_error **error)
{
    samba__image *image = NULL;
    SAMBA__TRY(samba__session_image(session, &image, error));
    samba_status status = samba__snapshot_of_image(session->model, image, options, snapshot, error);
    samba__image_release(image);
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
    samba_context *context = snapshot->context;
    samba__content_free(&snapshot->content);
    samba__free(snapshot->alloc, snapshot->metadata);
    samba__free(snapshot->alloc, snapshot);
    samba__model_release(model);
    samba__context_release(context);
}

/* ---------------------------------------------------------------- restoring */

/* What differs, by the first bytes of both digests. */
static samba_status fail_digest(const samba_snapshot *s, const samba_model *m, const char *what,
                                const uint8_t *theirs, const uint8_t *ours, samba_error **error)
{
    return samba__fail(m->alloc, error, SAMBA_ERROR_MISMATCH,
                       "the snapshot was taken with %s %02x%02x%02x%02x (model \"%s\"), the model "
                       "\"%s\" has %s %02x%02x%02x%02x",
                       what, theirs[0], theirs[1], theirs[2], theirs[3], s->content.name, m->name,
                       what, ours[0], ours[1], ours[2], ours[3]);
}

static samba_status check_model(const samba_snapshot *s, const samba_model *m, samba_error **error)
{
    const samba__model_id *theirs = &s->content.id, *ours = &m->id;
    const struct {
        const char *name;
        const uint8_t *theirs, *ours;
    } parts[] = {{"architecture", theirs->architecture, ours->architecture},
                 {"weights", theirs->weights, ours->weights},
                 {"tokenizer", theirs->tokenizer, ours->tokenizer},
                 {"fingerprint", theirs->all, ours->all}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (memcmp(parts[i].theirs, parts[i].ours, SAMBA__HASH_BYTES) != 0)
            return fail_digest(s, m, parts[i].name, parts[i].theirs, parts[i].ours, error);
    if (s->content.n_vocab == m->n_vocab)
        return SAMBA_OK;
    return samba__fail(m->alloc, error, SAMBA_ERROR_MISMATCH,
                       "the snapshot has a vocabulary of %u tokens, the model of %u",
                       s->content.n_vocab, m->n_vocab);
}

static samba_status check_kv_dtype(const samba_snapshot *s, const samba_model *m,
                                   samba_dtype kv_dtype, samba_error **error)
{
    samba_dtype ours = s->content.kv_dtype;
    if (ours == kv_dtype)
        return SAMBA_OK;
    return samba__fail(m->alloc, error, SAMBA_ERROR_MISMATCH,
                       "the snapshot keeps keys and values as %s, the session as %s",
                       samba_dtype_name(ours), samba_dtype_name(kv_dtype));
}

static samba_status check_whole(const samba_snapshot *s, const samba_model *m, samba_error **error)
{
    if (s->content.mode == SAMBA_SNAPSHOT_FULL)
        return SAMBA_OK;
    return samba__fail(m->alloc, error, SAMBA_ERROR_STATE,
                       "the snapshot was read without its state (mode %s), it cannot be restored",
                       s->content.mode == SAMBA_SNAPSHOT_HEADER ? "HEADER" : "VERIFY");
}

samba_status samba__snapshot_restore(const samba_snapshot *snapshot, samba_session *session,
                                     samba_error **error)
{
    samba__layout *layout = session->sequence.layout;
    samba__image *image = snapshot->content.image;
    SAMBA__TRY(samba__session_check_idle(session, error));
    SAMBA__TRY(check_whole(snapshot, session->model, error));
    SAMBA__TRY(check_model(snapshot, session->model, error));
    SAMBA__TRY(check_kv_dtype(snapshot, session->model, layout->kv_dtype, error));
    if (image && image->layout->device == layout->device) {
        samba__session_install(session, image);
        return SAMBA_OK;
    }
    SAMBA__TRY(samba__content_image(&snapshot->content, layout, &image, error));
    samba__session_install(session, image);
    samba__image_release(image);
    return SAMBA_OK;
}

samba_status samba__snapshot_open(const samba_snapshot *snapshot, samba_model *model,
                                  const samba_session_options *options, samba_session **session,
                                  samba_error **error)
{
    samba_session_options o = *options;
    uint64_t first = snapshot->content.span.first;
    samba_session *s = NULL;
    SAMBA__TRY(check_model(snapshot, model, error));
    if (o.kv_dtype)
        SAMBA__TRY(check_kv_dtype(snapshot, model, o.kv_dtype, error));
    if (o.first_position && o.first_position != first)
        return samba__fail(model->alloc, error, SAMBA_ERROR_MISMATCH,
                           "first_position is %llu, the snapshot's is %llu",
                           (unsigned long long)o.first_position, (unsigned long long)first);
    o.kv_dtype = snapshot->content.kv_dtype;
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
