/*
 * Snapshot files: content to bytes (file_write.c) and back (file_read.c), by FORMAT.md. Both work
 * through rounds of chunks, so that memory beyond the content itself stays at a few MiB per thread,
 * and threads, where more than one is asked for, work on the chunks of a round. Threads are those
 * of a pool of the call's own: a device's pool belongs to passes.
 */
#ifndef SAMBA_STATE_SNAPSHOT_FILE_H
#define SAMBA_STATE_SNAPSHOT_FILE_H

#include "base/file.h"
#include "state/content.h"

/* Asked between rounds: fails when the call is to end early. */
typedef struct samba__file_watch {
    samba_status (*show)(void *arg, uint64_t done, uint64_t total, samba_error **error);
    void *arg;
} samba__file_watch;

typedef struct samba__file_key {
    const void *data; /* NULL: none */
    size_t size;
} samba__file_key;

/* Where bytes go, in order. */
typedef struct samba__file_sink {
    samba_status (*write)(void *arg, const void *data, size_t size, samba_error **error);
    void *arg;
    /* `size` bytes where the next write will put its first ones, or NULL; what was made there is
     * written without a copy. NULL: never. */
    uint8_t *(*room)(void *arg, size_t size);
} samba__file_sink;

typedef struct samba__file_write {
    samba_codec codec;
    int32_t level;
    bool lossy_kv;
    uint32_t n_threads, library_version;
    samba__file_key key;
    samba__file_watch watch;
} samba__file_write;
/* STATE if the content is not whole, or not finite (names the section). */
samba_status samba__content_write(const samba__content *content, const samba__file_write *options,
                                  const samba__file_sink *sink, samba_error **error);
/* Most bytes that writing can give. */
uint64_t samba__content_file_bound(const samba__content *content, bool lossy_kv);

typedef struct samba__file_read {
    samba_snapshot_mode mode;
    uint64_t max_bytes;
    uint32_t n_threads;
    samba__file_key key;
    samba__file_watch watch;
} samba__file_read;
samba_status samba__content_read(const samba__source *source, const samba_allocator *a,
                                 const samba__file_read *options, samba__content *content,
                                 samba_error **error);

#endif
