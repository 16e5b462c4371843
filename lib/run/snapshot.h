/*
 * Snapshots: images that outlive their session, with the host's own bytes beside them. A live one
 * shares cells with sessions of its model; going into another session on its device is choosing
 * those cells. Into a session elsewhere, and out of a file, it goes through the canonical layout:
 * new cells are filled first, then installed, so that a failure leaves the session where it stood.
 * Files: snapshot.c (life, restoring), snapshot_io.c (writing and reading).
 */
#ifndef SAMBA_RUN_SNAPSHOT_H
#define SAMBA_RUN_SNAPSHOT_H

#include "run/session.h"
#include "state/snapshot_file.h"

struct samba_snapshot {
    samba__refs refs;
    const samba_allocator *alloc;
    samba_context *context; /* retained */
    samba_model *model;     /* retained; NULL: read from a file */
    samba__content content; /* of one taken from a session it holds the image */
    void *metadata;         /* of one taken from a session */
};

/* `options` is complete, here and below. Borrows the image, which is one of the model's. */
samba_status samba__snapshot_of_image(samba_model *model, samba__image *image,
                                      const samba_snapshot_options *options,
                                      samba_snapshot **snapshot, samba_error **error);
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

/* Writing and reading; `options` are complete and checked. */
samba_status samba__snapshot_write_file(const samba_snapshot *snapshot, const char *path,
                                        const samba_snapshot_write_options *options,
                                        samba_error **error);
struct samba_bytes {
    const samba_allocator *alloc;
    samba_context *context; /* retained */
    uint8_t *data;
    size_t size, capacity;
};
samba_status samba__snapshot_write_memory(const samba_snapshot *snapshot,
                                          const samba_snapshot_write_options *options,
                                          samba_bytes **bytes, samba_error **error);
void samba__bytes_free(samba_bytes *bytes); /* accepts NULL */
samba_status samba__snapshot_write_sink(const samba_snapshot *snapshot, const samba_sink *sink,
                                        const samba_snapshot_write_options *options,
                                        samba_error **error);
/* Borrows the source. */
samba_status samba__snapshot_read(samba_context *context, const samba__source *source,
                                  const samba_snapshot_read_options *options,
                                  samba_snapshot **snapshot, samba_error **error);

void samba__snapshot_info(const samba_snapshot *snapshot, samba_snapshot_info *info);
void samba__snapshot_section_info(const samba_snapshot *snapshot, size_t index,
                                  samba_snapshot_section_info *info);

#endif
