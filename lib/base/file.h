/*
 * Files: random-access sources (a path, memory, a host's callback), reading small files whole, and
 * writing a file that appears under its name only when complete. The only place that knows POSIX
 * file calls. Files are read with pread, so that one that shrinks gives an error; they are mapped
 * only on request.
 */
#ifndef SAMBA_BASE_FILE_H
#define SAMBA_BASE_FILE_H

#include "base/alloc.h"
#include "base/error.h"
#include <stdbool.h>

typedef struct samba__source samba__source;

/* IO when there is no such file, or no regular one. */
samba_status samba__source_open_path(const samba_allocator *a, const char *path,
                                     samba__source **source, samba_error **error);
/* Borrows `data` until closed. */
samba_status samba__source_open_memory(const samba_allocator *a, const void *data, size_t size,
                                       const char *name, samba__source **source,
                                       samba_error **error);
/* Copies *reader; borrows its user_data until closed. */
samba_status samba__source_open_reader(const samba_allocator *a, const samba_reader *reader,
                                       samba__source **source, samba_error **error);
uint64_t samba__source_size(const samba__source *source);
const samba_allocator *samba__source_alloc(const samba__source *source);
const char *samba__source_name(const samba__source *source);
/* Fills exactly `size` bytes; SAMBA_ERROR_IO otherwise (end of file included: a file that has
 * become shorter). Any number of threads at once; a reader without `parallel` is serialised. */
samba_status samba__source_read(const samba__source *source, uint64_t offset, void *buffer,
                                size_t size, samba_error **error);
/* Maps a file until it is closed: reading and viewing it then raises SIGBUS where the file has
 * become shorter or can't be read. Nothing for other sources. IO if the system refuses. */
samba_status samba__source_map(samba__source *source, samba_error **error);
/* The same bytes where they lie already, or NULL: a reader, a file not mapped, or out of range. */
const void *samba__source_view(const samba__source *source, uint64_t offset, size_t size);
/* Whether reading on several threads at once makes sense: all but readers without `parallel`, which
 * are called on one thread only. */
bool samba__source_parallel(const samba__source *source);
void samba__source_close(samba__source *source);

/* True if `path` is a folder. */
bool samba__path_is_folder(const char *path);
bool samba__path_exists(const char *path);
/* "folder/name", allocated; NULL when memory is out. */
char *samba__path_join(const samba_allocator *a, const char *folder, const char *name);
/* The folder part of a path ("." if none), allocated; NULL when memory is out. */
char *samba__path_folder(const samba_allocator *a, const char *path);

/* A whole file of at most `limit` bytes (LIMIT otherwise), zero-terminated beyond *size. Caller
 * frees with samba__free. NOT_FOUND if there is no such file. */
samba_status samba__file_read_all(const samba_allocator *a, const char *path, size_t limit,
                                  char **data, size_t *size, samba_error **error);

/* What the system says about an errno value; thread-safe. */
enum {
    SAMBA__ERRNO_TEXT = 128
};
void samba__errno_text(int code, char text[SAMBA__ERRNO_TEXT]);

/* Writes to a temporary file beside `path` (".samba-*.tmp"); commit makes it durable (fsync) and
 * renames it. A link called `path` is replaced, not followed; what is no regular file is refused.
 */
typedef struct samba__writer samba__writer;
samba_status samba__writer_open(const samba_allocator *a, const char *path, samba__writer **writer,
                                samba_error **error);
samba_status samba__writer_write(samba__writer *writer, const void *data, size_t size,
                                 samba_error **error);
/* Bytes written so far. */
uint64_t samba__writer_offset(const samba__writer *writer);
/* On failure the temporary file is gone and the old file, if any, untouched (one exception: when
 * the rename was done but the folder cannot be synced, and the message says so). Fails with STATE
 * after a write that failed. Ends the writer. */
samba_status samba__writer_commit(samba__writer *writer, samba_error **error);
/* Drops everything written. Accepts NULL. */
void samba__writer_abort(samba__writer *writer);

#endif
