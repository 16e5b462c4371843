/*
 * Random-access sources, whole small files, paths. A file's size is taken when it is opened; a read
 * that meets its end earlier is an input/output error that names file and offset, unless the host
 * has asked for a mapping. Anything that is
 * not a regular file (folder, pipe, device) is refused, without waiting for a pipe's other end.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

_Static_assert(sizeof(off_t) == 8, "files larger than 2 GiB");

/* Linux reads at most a little less than 2 GiB at once. */
#define READ_MAX ((size_t)1 << 30)

typedef enum source_kind {
    SOURCE_FILE,
    SOURCE_MEMORY,
    SOURCE_READER,
} source_kind;

struct samba__source {
    samba_allocator alloc;
    source_kind kind;
    uint64_t size;
    char *name;
    int fd;                    /* SOURCE_FILE, else -1 */
    const unsigned char *data; /* SOURCE_MEMORY, and `map` */
    void *map;                 /* of a file, else NULL */
    samba_reader reader;
    uv_mutex_t *lock; /* of a reader that is not parallel, else NULL */
};

void samba__errno_text(int code, char text[SAMBA__ERRNO_TEXT])
{
    uv_strerror_r(uv_translate_sys_error(code), text, SAMBA__ERRNO_TEXT);
}

static samba_status source_new(const samba_allocator *a, source_kind kind, const char *name,
                               samba__source **source, samba_error **error)
{
    samba__source *s = samba__calloc(a, 1, sizeof *s);
    char *copy = s ? samba__strndup(a, name, strlen(name)) : NULL;
    if (!copy) {
        samba__free(a, s);
        return samba__fail_oom(error);
    }
    s->alloc = *a;
    s->kind = kind;
    s->name = copy;
    s->fd = -1;
    *source = s;
    return SAMBA_OK;
}

static samba_status fail_errno(const samba_allocator *a, samba_error **error, samba_status status,
                               const char *path, int code)
{
    const samba__where where = {.file = path, .offset = SAMBA_NO_OFFSET};
    char text[SAMBA__ERRNO_TEXT];
    samba__errno_text(code, text);
    return samba__fail_at(a, error, status, &where, "cannot open %s: %s", path, text);
}

/* Opens a regular file; `missing` is the status when there is none of that name. */
static samba_status open_regular(const samba_allocator *a, const char *path, samba_status missing,
                                 int *fd, uint64_t *size, samba_error **error)
{
    const samba__where where = {.file = path, .offset = SAMBA_NO_OFFSET};
    struct stat st;
    int f;
    do
        f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (f < 0 && errno == EINTR);
    if (f < 0) {
        bool none = errno == ENOENT || errno == ENOTDIR;
        return fail_errno(a, error, none ? missing : SAMBA_ERROR_IO, path, errno);
    }
    if (fstat(f, &st) != 0) {
        int code = errno;
        close(f);
        return fail_errno(a, error, SAMBA_ERROR_IO, path, code);
    }
    if (!S_ISREG(st.st_mode)) {
        close(f);
        return samba__fail_at(a, error, SAMBA_ERROR_IO, &where, "%s is %s, not a regular file",
                              path, S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    }
    *fd = f;
    *size = (uint64_t)st.st_size;
    return SAMBA_OK;
}

static samba_status open_source(const samba_allocator *a, const char *path, samba_status missing,
                                samba__source **source, samba_error **error)
{
    samba__source *s = NULL;
    SAMBA__TRY(source_new(a, SOURCE_FILE, path, &s, error));
    samba_status status = open_regular(a, path, missing, &s->fd, &s->size, error);
    if (status != SAMBA_OK) {
        samba__source_close(s);
        return status;
    }
    *source = s;
    return SAMBA_OK;
}

samba_status samba__source_open_path(const samba_allocator *a, const char *path,
                                     samba__source **source, samba_error **error)
{
    return open_source(a, path, SAMBA_ERROR_IO, source, error);
}

samba_status samba__source_open_memory(const samba_allocator *a, const void *data, size_t size,
                                       const char *name, samba__source **source,
                                       samba_error **error)
{
    samba__source *s = NULL;
    SAMBA__TRY(source_new(a, SOURCE_MEMORY, name ? name : "memory", &s, error));
    s->data = data;
    s->size = size;
    *source = s;
    return SAMBA_OK;
}

samba_status samba__source_open_reader(const samba_allocator *a, const samba_reader *reader,
                                       samba__source **source, samba_error **error)
{
    samba__source *s = NULL;
    if (!reader->read_at)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "reader has no read_at");
    SAMBA__TRY(source_new(a, SOURCE_READER, reader->name ? reader->name : "reader", &s, error));
    s->reader = *reader;
    s->reader.name = s->name;
    s->size = reader->size;
    if (reader->parallel != SAMBA_YES) {
        uv_mutex_t *lock = samba__alloc(a, sizeof *lock);
        if (!lock || uv_mutex_init(lock) != 0) {
            samba__free(a, lock);
            samba__source_close(s);
            return samba__fail_oom(error);
        }
        s->lock = lock;
    }
    *source = s;
    return SAMBA_OK;
}

uint64_t samba__source_size(const samba__source *source)
{
    return source->size;
}

const samba_allocator *samba__source_alloc(const samba__source *source)
{
    return &source->alloc;
}

const char *samba__source_name(const samba__source *source)
{
    return source->name;
}

static samba_status fail_read(const samba__source *s, uint64_t offset, const char *why,
                              samba_error **error)
{
    const samba__where where = {.file = s->name, .offset = offset};
    return samba__fail_at(&s->alloc, error, SAMBA_ERROR_IO, &where,
                          "cannot read %s at byte %" PRIu64 ": %s", s->name, offset, why);
}

static samba_status read_file(const samba__source *s, uint64_t offset, unsigned char *to,
                              size_t size, samba_error **error)
{
    while (size > 0) {
        ssize_t n = pread(s->fd, to, size < READ_MAX ? size : READ_MAX, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            char text[SAMBA__ERRNO_TEXT];
            samba__errno_text(errno, text);
            return fail_read(s, offset, text, error);
        }
        if (n == 0)
            return fail_read(s, offset, "the file has become shorter", error);
        to += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return SAMBA_OK;
}

static samba_status read_reader(const samba__source *s, uint64_t offset, void *to, size_t size,
                                samba_error **error)
{
    if (s->lock)
        uv_mutex_lock(s->lock);
    int32_t result = s->reader.read_at(s->reader.user_data, offset, to, size);
    if (s->lock)
        uv_mutex_unlock(s->lock);
    return result == 0 ? SAMBA_OK : fail_read(s, offset, "the reader callback failed", error);
}

samba_status samba__source_read(const samba__source *source, uint64_t offset, void *buffer,
                                size_t size, samba_error **error)
{
    if (offset > source->size || size > source->size - offset) {
        const samba__where where = {.file = source->name, .offset = offset};
        return samba__fail_at(&source->alloc, error, SAMBA_ERROR_IO, &where,
                              "%s has %" PRIu64 " bytes, read of %zu bytes at byte %" PRIu64,
                              source->name, source->size, size, offset);
    }
    if (size == 0)
        return SAMBA_OK;
    switch (source->kind) {
    case SOURCE_FILE:
        return read_file(source, offset, buffer, size, error);
    case SOURCE_READER:
        return read_reader(source, offset, buffer, size, error);
    case SOURCE_MEMORY:
        break;
    }
    memcpy(buffer, source->data + offset, size);
    return SAMBA_OK;
}

samba_status samba__source_map(samba__source *source, samba_error **error)
{
    if (source->kind != SOURCE_FILE || source->size == 0 || source->map)
        return SAMBA_OK;
    void *map = source->size <= SIZE_MAX
                    ? mmap(NULL, (size_t)source->size, PROT_READ, MAP_PRIVATE, source->fd, 0)
                    : MAP_FAILED;
    if (map == MAP_FAILED) {
        const samba__where where = {.file = source->name, .offset = SAMBA_NO_OFFSET};
        char text[SAMBA__ERRNO_TEXT];
        samba__errno_text(errno, text);
        return samba__fail_at(&source->alloc, error, SAMBA_ERROR_IO, &where, "cannot map %s: %s",
                              source->name, text);
    }
    (void)posix_madvise(map, (size_t)source->size, POSIX_MADV_SEQUENTIAL);
    source->map = map;
    source->data = map;
    return SAMBA_OK;
}

const void *samba__source_view(const samba__source *source, uint64_t offset, size_t size)
{
    if (!source->data || offset > source->size || size > source->size - offset)
        return NULL;
    return source->data + offset;
}

bool samba__source_parallel(const samba__source *source)
{
    return !source->lock;
}

void samba__source_close(samba__source *source)
{
    if (!source)
        return;
    const samba_allocator a = source->alloc;
    if (source->map)
        munmap(source->map, (size_t)source->size);
    if (source->fd >= 0)
        close(source->fd);
    if (source->lock)
        uv_mutex_destroy(source->lock);
    samba__free(&a, source->lock);
    samba__free(&a, source->name);
    samba__free(&a, source);
}

bool samba__path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool samba__path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

char *samba__path_join(const samba_allocator *a, const char *folder, const char *name)
{
    size_t n = strlen(folder), m = strlen(name), slash = n > 0 && folder[n - 1] != '/', size;
    if (!samba__add_size(n, m, &size) || !samba__add_size(size, slash + 1, &size))
        return NULL;
    char *path = samba__alloc(a, size);
    if (!path)
        return NULL;
    memcpy(path, folder, n);
    if (slash)
        path[n] = '/';
    memcpy(path + n + slash, name, m + 1);
    return path;
}

char *samba__path_folder(const samba_allocator *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? samba__strndup(a, path, n) : samba__strndup(a, ".", 1);
}

samba_status samba__file_read_all(const samba_allocator *a, const char *path, size_t limit,
                                  char **data, size_t *size, samba_error **error)
{
    const samba__where where = {.file = path, .offset = SAMBA_NO_OFFSET};
    samba__source *s = NULL;
    char *text = NULL;
    SAMBA__TRY(open_source(a, path, SAMBA_ERROR_NOT_FOUND, &s, error));
    samba_status status = SAMBA_OK;
    size_t n = (size_t)s->size;
    if (s->size > limit || n == SIZE_MAX) {
        status = samba__fail_at(a, error, SAMBA_ERROR_LIMIT, &where,
                                "%s has %" PRIu64 " bytes, the limit is %zu", path, s->size, limit);
        goto done;
    }
    text = samba__alloc(a, n + 1);
    if (!text) {
        status = samba__fail_oom(error);
        goto done;
    }
    status = samba__source_read(s, 0, text, n, error);
    if (status != SAMBA_OK) {
        samba__free(a, text);
        goto done;
    }
    text[n] = 0;
    *data = text;
    *size = n;
done:
    samba__source_close(s);
    return status;
}
