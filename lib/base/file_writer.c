/*
 * A file that appears under its name only when complete: bytes go to a temporary file of a unique
 * name in the same folder, which is synced and renamed at the end. Whatever fails, the temporary
 * file is removed; after a crash it may stay behind, and nothing ever reads it.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define WRITE_MAX ((size_t)1 << 30)
enum {
    BUFFER_BYTES = 1 << 16,
    NAME_TRIES = 16,
    TEMP_NAME_BYTES = 32
};

struct samba__writer {
    samba_allocator alloc;
    char *path;
    char *folder;
    char *temp; /* NULL while no temporary file exists */
    int fd;     /* -1 when closed */
    uint64_t offset;
    size_t filled;         /* of buffer */
    bool failed;           /* a write has failed: the file cannot become complete */
    unsigned char *buffer; /* [BUFFER_BYTES] */
};

static samba_status fail_errno(const samba__writer *w, const char *what, int code,
                               samba_error **error)
{
    const samba__where where = {.file = w->path, .offset = w->offset};
    char text[SAMBA__ERRNO_TEXT];
    samba__errno_text(code, text);
    return samba__fail_at(&w->alloc, error, SAMBA_ERROR_IO, &where, "cannot %s %s: %s", what,
                          w->path, text);
}

/* 64 bits that another writer, thread or process is unlikely to have; O_EXCL settles the rest. */
static uint64_t unique_bits(const samba__writer *w)
{
    uint64_t bits;
    if (uv_random(NULL, NULL, &bits, sizeof bits, 0, NULL) == 0)
        return bits;
    return uv_hrtime() ^ (uint64_t)uv_os_getpid() << 40 ^ (uintptr_t)w;
}

static int open_retrying(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static samba_status create_temp(samba__writer *w, samba_error **error)
{
    for (int i = 0; i < NAME_TRIES; i++) {
        char name[TEMP_NAME_BYTES];
        snprintf(name, sizeof name, ".samba-%016" PRIx64 ".tmp", unique_bits(w));
        char *temp = samba__path_join(&w->alloc, w->folder, name);
        if (!temp)
            return samba__fail_oom(error);
        int fd = open_retrying(temp, O_WRONLY | O_CREAT | O_EXCL), code = errno;
        if (fd >= 0) {
            w->fd = fd;
            w->temp = temp;
            return SAMBA_OK;
        }
        samba__free(&w->alloc, temp);
        if (code != EEXIST)
            return fail_errno(w, "create", code, error);
    }
    return fail_errno(w, "create", EEXIST, error);
}

static void writer_free(samba__writer *w)
{
    const samba_allocator a = w->alloc;
    if (w->fd >= 0)
        close(w->fd);
    if (w->temp)
        unlink(w->temp);
    samba__free(&a, w->buffer);
    samba__free(&a, w->temp);
    samba__free(&a, w->folder);
    samba__free(&a, w->path);
    samba__free(&a, w);
}

samba_status samba__writer_open(const samba_allocator *a, const char *path, samba__writer **writer,
                                samba_error **error)
{
    const samba__where where = {.file = path, .offset = SAMBA_NO_OFFSET};
    struct stat st;
    samba_status status;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return samba__fail_at(a, error, SAMBA_ERROR_IO, &where, "%s exists and is %s", path,
                              S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    samba__writer *w = samba__calloc(a, 1, sizeof *w);
    if (!w)
        return samba__fail_oom(error);
    w->alloc = *a;
    w->fd = -1;
    w->path = samba__strndup(a, path, strlen(path));
    w->folder = samba__path_folder(a, path);
    w->buffer = samba__alloc(a, BUFFER_BYTES);
    if (!w->path || !w->folder || !w->buffer) {
        status = samba__fail_oom(error);
        goto fail;
    }
    SAMBA__TRY_GOTO(create_temp(w, error));
    *writer = w;
    return SAMBA_OK;
fail:
    writer_free(w);
    return status;
}

static samba_status write_all(samba__writer *w, const unsigned char *data, size_t size,
                              samba_error **error)
{
    while (size > 0) {
        ssize_t n = write(w->fd, data, size < WRITE_MAX ? size : WRITE_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            w->failed = true;
            return fail_errno(w, "write", n == 0 ? ENOSPC : errno, error);
        }
        data += n;
        size -= (size_t)n;
    }
    return SAMBA_OK;
}

static samba_status flush(samba__writer *w, samba_error **error)
{
    size_t n = w->filled;
    w->filled = 0;
    return write_all(w, w->buffer, n, error);
}

static samba_status fail_earlier(const samba__writer *w, samba_error **error)
{
    const samba__where where = {.file = w->path, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(&w->alloc, error, SAMBA_ERROR_STATE, &where,
                          "an earlier write to %s has failed", w->path);
}

samba_status samba__writer_write(samba__writer *writer, const void *data, size_t size,
                                 samba_error **error)
{
    if (writer->failed)
        return fail_earlier(writer, error);
    if (size > BUFFER_BYTES - writer->filled)
        SAMBA__TRY(flush(writer, error));
    if (size >= BUFFER_BYTES) {
        SAMBA__TRY(write_all(writer, data, size, error));
    } else if (size > 0) {
        memcpy(writer->buffer + writer->filled, data, size);
        writer->filled += size;
    }
    writer->offset += size;
    return SAMBA_OK;
}

uint64_t samba__writer_offset(const samba__writer *writer)
{
    return writer->offset;
}

static int sync_fd(int fd)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

/* Some file systems cannot sync a folder (EINVAL, or EBADF as it is open for reading): there the
 * rename is as durable as it gets. */
static samba_status sync_folder(const samba__writer *w, int folder, samba_error **error)
{
    if (sync_fd(folder) == 0 || errno == EINVAL || errno == EBADF || errno == ENOTSUP)
        return SAMBA_OK;
    return fail_errno(w, "sync the folder of the complete new file", errno, error);
}

samba_status samba__writer_commit(samba__writer *writer, samba_error **error)
{
    samba__writer *w = writer;
    samba_status status;
    int folder = -1;
    if (w->failed) {
        status = fail_earlier(w, error);
        goto fail;
    }
    SAMBA__TRY_GOTO(flush(w, error));
    folder = open_retrying(w->folder, O_RDONLY | O_DIRECTORY);
    if (folder < 0 && errno != EACCES) { /* a folder may allow writing but not reading */
        status = fail_errno(w, "open the folder of", errno, error);
        goto fail;
    }
    if (sync_fd(w->fd) != 0) {
        status = fail_errno(w, "sync", errno, error);
        goto fail;
    }
    int closed = close(w->fd), code = errno;
    w->fd = -1;
    if (closed != 0 && code != EINTR) {
        status = fail_errno(w, "close", code, error);
        goto fail;
    }
    if (rename(w->temp, w->path) != 0) {
        status = fail_errno(w, "rename the temporary file to", errno, error);
        goto fail;
    }
    samba__free(&w->alloc, w->temp);
    w->temp = NULL;
    status = folder >= 0 ? sync_folder(w, folder, error) : SAMBA_OK;
fail:
    if (folder >= 0)
        close(folder);
    writer_free(w);
    return status;
}

void samba__writer_abort(samba__writer *writer)
{
    if (writer)
        writer_free(writer);
}
