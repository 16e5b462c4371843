/*
 * Files under bad conditions: interrupted and short system calls, files that shrink, full disks,
 * crashes, every system call and every allocation of a commit failing in turn. The linker sends the
 * library's system calls to the __wrap_ functions below.
 */
#include "base/file.h"
#include "support/fail_alloc.h"
#include "support/suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- faults */

typedef enum call {
    CALL_NONE,
    CALL_OPEN,
    CALL_PREAD,
    CALL_WRITE,
    CALL_FSYNC,
    CALL_CLOSE,
    CALL_RENAME,
    N_CALLS
} call;

static call fault_call; /* which function fails */
static int fault_at;    /* counts down to its failing call */
static int fault_errno;
static bool fault_met;
static bool trickle; /* calls are interrupted every other time and handle a few bytes */
static unsigned trickle_calls;

static bool fault(call c)
{
    if (fault_call != c || --fault_at != 0)
        return false;
    fault_met = true;
    errno = fault_errno;
    return true;
}

static bool interrupted(size_t *size)
{
    if (!trickle)
        return false;
    if (*size > 7)
        *size = 1 + trickle_calls % 7;
    errno = EINTR;
    return trickle_calls++ % 2 == 0;
}

static void set_fault(call c, int at, int code)
{
    fault_call = c;
    fault_at = at;
    fault_errno = code;
    fault_met = false;
}

ssize_t __real_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset)
{
    if (fault(CALL_PREAD) || interrupted(&size))
        return -1;
    return __real_pread64(fd, buffer, size, offset);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (fault(CALL_WRITE) || interrupted(&size))
        return -1;
    return __real_write(fd, data, size);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, unsigned mode);
int __wrap_open64(const char *path, int flags, unsigned mode)
{
    size_t none = 0;
    return fault(CALL_OPEN) || interrupted(&none) ? -1 : __real_open64(path, flags, mode);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    size_t none = 0;
    return fault(CALL_FSYNC) || interrupted(&none) ? -1 : __real_fsync(fd);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    int result = __real_close(fd); /* a failing close closes nevertheless */
    return fault(CALL_CLOSE) ? -1 : result;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return fault(CALL_RENAME) ? -1 : __real_rename(from, to);
}

/* ---------------------------------------------------------------- a folder and its files */

enum {
    N_BYTES = 300000
};
static unsigned char bytes[N_BYTES];
static char folder[64];
static char target[128]; /* folder/file */

static void set_up(void)
{
    for (size_t i = 0; i < N_BYTES; i++)
        bytes[i] = (unsigned char)((i * 2654435761u) >> 13);
    strcpy(folder, "/tmp/samba-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(target, sizeof target, "%s/file", folder);
    set_fault(CALL_NONE, 0, 0);
    trickle = false;
}

static void each_file(void (*f)(const char *path))
{
    char path[512];
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            f(path);
        }
    closedir(d);
}

static void remove_one(const char *path)
{
    remove(path);
}

static void tear_down(void)
{
    set_fault(CALL_NONE, 0, 0);
    each_file(remove_one);
    rmdir(folder);
}

static int n_files;

static void count_file(const char *path)
{
    (void)path;
    n_files++;
}

static int count_files(void)
{
    n_files = 0;
    each_file(count_file);
    return n_files;
}

static int count_open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void put_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

static void check_file(const char *path, const void *data, size_t size)
{
    static unsigned char got[N_BYTES + 1];
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(got, 1, sizeof got, f);
    fclose(f);
    ck_assert_uint_eq(n, size);
    ck_assert(memcmp(got, data, size) == 0);
}

/* Checks and drops the error of a failed call. */
static void check_error(samba_error **error, samba_status status, const char *file, uint64_t offset,
                        const char *text)
{
    ck_assert_ptr_nonnull(*error);
    ck_assert_int_eq(samba_error_status(*error), status);
    if (file)
        ck_assert_str_eq(samba_error_file(*error), file);
    if (offset != SAMBA_NO_OFFSET)
        ck_assert_uint_eq(samba_error_offset(*error), offset);
    ck_assert_msg(strstr(samba_error_message(*error), text), "no '%s' in: %s", text,
                  samba_error_message(*error));
    samba_error_free(*error);
    *error = NULL;
}

/* ---------------------------------------------------------------- sources */

static int32_t read_bytes(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    if (user_data)
        ++*(int *)user_data;
    memcpy(buffer, bytes + offset, size);
    return 0;
}

/* kind 0: path, 1: memory, 2: reader, 3: parallel reader, 4: path, mapped */
static samba__source *open_kind(int kind)
{
    const samba_allocator *a = samba__alloc_default();
    samba_reader reader = {sizeof reader, N_BYTES, read_bytes, NULL, "my reader", 0};
    samba__source *s = NULL;
    samba_status status;
    reader.parallel = kind == 3 ? SAMBA_YES : 0;
    if (kind == 0 || kind == 4) {
        put_file(target, bytes, N_BYTES);
        status = samba__source_open_path(a, target, &s, NULL);
    } else if (kind == 1) {
        status = samba__source_open_memory(a, bytes, N_BYTES, "my memory", &s, NULL);
    } else {
        status = samba__source_open_reader(a, &reader, &s, NULL);
    }
    ck_assert_int_eq(status, SAMBA_OK);
    ck_assert_uint_eq(samba__source_size(s), N_BYTES);
    if (kind > 0)
        ck_assert_int_eq(samba__source_map(s, NULL), SAMBA_OK);
    return s;
}

START_TEST(sources_read_what_is_there)
{
    static unsigned char got[N_BYTES];
    const char *const names[] = {target, "my memory", "my reader", "my reader", target};
    const bool in_memory = _i == 1 || _i == 4;
    samba_error *error = NULL;
    samba__source *s = open_kind(_i);
    ck_assert(samba__source_parallel(s) == (_i != 2));
    ck_assert_str_eq(samba__source_name(s), names[_i]);
    ck_assert_int_eq(samba__source_read(s, 0, got, N_BYTES, NULL), SAMBA_OK);
    ck_assert(memcmp(got, bytes, N_BYTES) == 0);
    for (size_t i = 0; i < 2000; i++) {
        size_t offset = i * 7919 % N_BYTES, size = i * 31 % (N_BYTES - offset);
        size = size < 5000 ? size : 5000;
        memset(got, 0, size + 1);
        trickle = i % 50 == 0;
        ck_assert_int_eq(samba__source_read(s, offset, got, size, &error), SAMBA_OK);
        trickle = false;
        ck_assert(memcmp(got, bytes + offset, size) == 0 && got[size] == 0);
        const void *view = samba__source_view(s, offset, size);
        ck_assert(in_memory ? memcmp(view, bytes + offset, size) == 0 : view == NULL);
    }
    ck_assert_int_eq(samba__source_read(s, N_BYTES, got, 0, &error), SAMBA_OK);
    static const struct {
        uint64_t offset;
        size_t size;
    } outside[] = {{N_BYTES, 1},    {N_BYTES - 1, 2}, {0, N_BYTES + 1},      {N_BYTES + 1, 0},
                   {UINT64_MAX, 1}, {1, SIZE_MAX},    {UINT64_MAX, SIZE_MAX}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        ck_assert_int_eq(samba__source_read(s, outside[i].offset, got, outside[i].size, &error),
                         SAMBA_ERROR_IO);
        check_error(&error, SAMBA_ERROR_IO, names[_i], outside[i].offset, "300000 bytes");
        ck_assert_ptr_null(samba__source_view(s, outside[i].offset, outside[i].size));
    }
    samba__source_close(s);
}
END_TEST

START_TEST(a_file_that_shrinks_is_an_error_at_its_end)
{
    static unsigned char got[N_BYTES];
    samba_error *error = NULL;
    samba__source *s = open_kind(0);
    ck_assert_int_eq(truncate(target, 1000), 0);
    ck_assert_int_eq(samba__source_read(s, 0, got, 1000, &error), SAMBA_OK);
    ck_assert_int_eq(samba__source_read(s, 900, got, 200, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, 1000, "shorter");
    set_fault(CALL_PREAD, 1, EIO);
    ck_assert_int_eq(samba__source_read(s, 500, got, 10, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, 500, "i/o error");
    ck_assert_int_eq(samba__source_read(s, 500, got, 10, &error), SAMBA_OK);
    samba__source_close(s);
}
END_TEST

START_TEST(only_regular_files_open)
{
    const samba_allocator *a = samba__alloc_default();
    samba_error *error = NULL;
    samba__source *s = NULL;
    char fifo[128], below[160], missing[128];
    char *data = NULL;
    size_t size = 0;
    int fds = count_open_fds();
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    snprintf(missing, sizeof missing, "%s/missing", folder);
    snprintf(below, sizeof below, "%s/below", target);
    ck_assert_int_eq(mkfifo(fifo, 0666), 0);
    put_file(target, "x", 1);
    ck_assert_int_eq(samba__source_open_path(a, folder, &s, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, folder, SAMBA_NO_OFFSET, "a folder");
    ck_assert_int_eq(samba__source_open_path(a, fifo, &s, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, fifo, SAMBA_NO_OFFSET, "device or pipe");
    ck_assert_int_eq(samba__source_open_path(a, "/dev/zero", &s, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, NULL, SAMBA_NO_OFFSET, "device or pipe");
    ck_assert_int_eq(samba__source_open_path(a, missing, &s, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, missing, SAMBA_NO_OFFSET, "no such file");
    ck_assert_int_eq(samba__file_read_all(a, missing, 9, &data, &size, &error),
                     SAMBA_ERROR_NOT_FOUND);
    check_error(&error, SAMBA_ERROR_NOT_FOUND, missing, SAMBA_NO_OFFSET, "no such file");
    ck_assert_int_eq(samba__file_read_all(a, below, 9, &data, &size, &error),
                     SAMBA_ERROR_NOT_FOUND);
    check_error(&error, SAMBA_ERROR_NOT_FOUND, below, SAMBA_NO_OFFSET, "not a directory");
    set_fault(CALL_OPEN, 1, EMFILE);
    ck_assert_int_eq(samba__file_read_all(a, target, 9, &data, &size, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, "too many open files");
    ck_assert(s == NULL && data == NULL && size == 0);
    ck_assert_int_eq(count_open_fds(), fds);
    ck_assert(samba__path_is_folder(folder) && !samba__path_is_folder(target));
    ck_assert(!samba__path_is_folder(missing) && !samba__path_exists(missing));
    ck_assert(samba__path_exists(folder) && samba__path_exists(target));
    samba__source_close(NULL);
}
END_TEST

START_TEST(whole_files)
{
    const samba_allocator *a = samba__alloc_default();
    samba_error *error = NULL;
    char *data = NULL;
    size_t size = 0;
    for (size_t n = 0; n <= N_BYTES; n = n * 3 + 1) {
        put_file(target, bytes, n);
        trickle = n < 1000;
        ck_assert_int_eq(samba__file_read_all(a, target, n, &data, &size, &error), SAMBA_OK);
        trickle = false;
        ck_assert_uint_eq(size, n);
        ck_assert(memcmp(data, bytes, n) == 0 && data[n] == 0);
        samba__free(a, data);
        data = NULL;
        if (n == 0)
            continue;
        ck_assert_int_eq(samba__file_read_all(a, target, n - 1, &data, &size, &error),
                         SAMBA_ERROR_LIMIT);
        check_error(&error, SAMBA_ERROR_LIMIT, target, SAMBA_NO_OFFSET, "limit");
        set_fault(CALL_PREAD, 1, EIO);
        ck_assert_int_eq(samba__file_read_all(a, target, n, &data, &size, &error), SAMBA_ERROR_IO);
        check_error(&error, SAMBA_ERROR_IO, target, 0, "i/o error");
        ck_assert_ptr_null(data);
    }
}
END_TEST

/* ---------------------------------------------------------------- readers and threads */

typedef struct crowd {
    samba__source *source;
    atomic_int inside, most, calls;
} crowd;

static int32_t crowded_read(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    crowd *c = user_data;
    int now = atomic_fetch_add(&c->inside, 1) + 1, most = atomic_load(&c->most);
    while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
        ;
    usleep(2000);
    atomic_fetch_sub(&c->inside, 1);
    atomic_fetch_add(&c->calls, 1);
    return read_bytes(NULL, offset, buffer, size);
}

static void *reading_thread(void *arg)
{
    crowd *c = arg;
    unsigned char got[100];
    for (int i = 0; i < 20; i++)
        if (samba__source_read(c->source, (uint64_t)i, got, sizeof got, NULL) != SAMBA_OK ||
            memcmp(got, bytes + i, sizeof got) != 0)
            return c; /* wrong */
    return NULL;
}

START_TEST(readers_are_serialised_unless_parallel)
{
    crowd c = {0};
    const samba_reader reader = {
        sizeof reader, N_BYTES, crowded_read, &c, NULL, _i ? SAMBA_YES : SAMBA_NO};
    pthread_t threads[4];
    ck_assert_int_eq(samba__source_open_reader(samba__alloc_default(), &reader, &c.source, NULL),
                     SAMBA_OK);
    ck_assert_str_eq(samba__source_name(c.source), "reader");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, reading_thread, &c), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_ptr_null(result);
    }
    ck_assert_int_eq(atomic_load(&c.calls), 80);
    if (_i)
        ck_assert_int_gt(atomic_load(&c.most), 1);
    else
        ck_assert_int_eq(atomic_load(&c.most), 1);
    samba__source_close(c.source);
}
END_TEST

static int32_t failing_read(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    (void)user_data;
    (void)buffer;
    (void)size;
    return offset == 5 ? 17 : 0;
}

START_TEST(readers_that_fail)
{
    const samba_allocator *a = samba__alloc_default();
    samba_reader reader = {sizeof reader, 10, failing_read, NULL, "shaky", 0};
    samba_error *error = NULL;
    samba__source *s = NULL;
    char got[4];
    ck_assert_int_eq(samba__source_open_reader(a, &reader, &s, &error), SAMBA_OK);
    for (int i = 0; i < 2; i++) { /* the lock is free again after a failure */
        ck_assert_int_eq(samba__source_read(s, 5, got, 4, &error), SAMBA_ERROR_IO);
        check_error(&error, SAMBA_ERROR_IO, "shaky", 5, "callback");
        ck_assert_int_eq(samba__source_read(s, 4, got, 4, &error), SAMBA_OK);
    }
    samba__source_close(s);
    reader.read_at = NULL;
    ck_assert_int_eq(samba__source_open_reader(a, &reader, &s, &error),
                     SAMBA_ERROR_INVALID_ARGUMENT);
    samba_error_free(error);
}
END_TEST

START_TEST(paths)
{
    static const char *const folders[][2] = {
        {"a/b/c", "a/b"}, {"/x", "/"},   {"x", "."},   {"a/b/", "a"},  {"", "."},     {"/", "/"},
        {"//", "/"},      {"a//b", "a"}, {"./x", "."}, {"/a/b", "/a"}, {"../x", ".."}};
    static const char *const joins[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}, {"a", "", "a/"}};
    const samba_allocator *a = samba__alloc_default();
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *got = samba__path_folder(a, folders[i][0]);
        ck_assert_str_eq(got, folders[i][1]);
        samba__free(a, got);
    }
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        char *got = samba__path_join(a, joins[i][0], joins[i][1]);
        ck_assert_str_eq(got, joins[i][2]);
        samba__free(a, got);
    }
}
END_TEST

/* ---------------------------------------------------------------- the writer */

/* Writes `size` bytes in pieces of `piece` and commits. */
static samba_status write_file(const samba_allocator *a, size_t size, size_t piece,
                               samba_error **error)
{
    samba__writer *w;
    SAMBA__TRY(samba__writer_open(a, target, &w, error));
    for (size_t at = 0; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        samba_status status = samba__writer_write(w, bytes + at, n, error);
        if (status != SAMBA_OK) {
            samba__writer_abort(w);
            return status;
        }
    }
    return samba__writer_commit(w, error);
}

START_TEST(writes_of_all_sizes)
{
    static const size_t pieces[] = {1, 1000, 65535, 65536, 65537, 200000, N_BYTES};
    const samba_allocator *a = samba__alloc_default();
    size_t piece = pieces[_i];
    trickle = _i == 1;
    for (size_t size = 0; size <= (trickle ? 3000u : (size_t)N_BYTES); size = size * 5 + 7) {
        ck_assert_int_eq(write_file(a, size, piece, NULL), SAMBA_OK);
        check_file(target, bytes, size);
        ck_assert_int_eq(count_files(), 1);
    }
    trickle = false;
    ck_assert_int_eq(write_file(a, N_BYTES, piece, NULL), SAMBA_OK);
    check_file(target, bytes, N_BYTES);
}
END_TEST

START_TEST(nothing_shows_before_commit)
{
    const samba_allocator *a = samba__alloc_default();
    samba__writer *w = NULL;
    struct stat st;
    int fds = count_open_fds();
    umask(027);
    for (int old = 0; old < 2; old++) {
        ck_assert_int_eq(samba__writer_open(a, target, &w, NULL), SAMBA_OK);
        ck_assert_uint_eq(samba__writer_offset(w), 0);
        ck_assert_int_eq(samba__writer_write(w, bytes, N_BYTES, NULL), SAMBA_OK);
        ck_assert_int_eq(samba__writer_write(w, "", 0, NULL), SAMBA_OK);
        ck_assert_int_eq(samba__writer_write(w, bytes, 3, NULL), SAMBA_OK);
        ck_assert_uint_eq(samba__writer_offset(w), N_BYTES + 3);
        if (old)
            check_file(target, "old", 3);
        else
            ck_assert(!samba__path_exists(target));
        samba__writer_abort(w);
        ck_assert_int_eq(count_files(), old);
        put_file(target, "old", 3);
    }
    ck_assert_int_eq(write_file(a, 10, 10, NULL), SAMBA_OK);
    ck_assert(stat(target, &st) == 0 && (st.st_mode & 0777) == 0640);
    samba__writer_abort(NULL);
    ck_assert_int_eq(count_open_fds(), fds);
}
END_TEST

typedef struct step {
    call c;
    int code;
    const char *text;
} step;

static const step steps[] = {
    {CALL_OPEN, EACCES, "permission"}, {CALL_WRITE, ENOSPC, "no space"},
    {CALL_WRITE, EIO, "i/o error"},    {CALL_FSYNC, EIO, "i/o error"},
    {CALL_CLOSE, EDQUOT, ""},          {CALL_RENAME, EXDEV, "cross-device"},
    {CALL_OPEN, EMFILE, "too many"},
};

/* Each system call of a commit fails in turn: the old file stays, the temporary one goes. */
START_TEST(every_failing_step_leaves_the_old_file)
{
    const samba_allocator *a = samba__alloc_default();
    const step *s = &steps[_i];
    samba_error *error = NULL;
    int fds = count_open_fds(), failures = 0;
    for (int n = 1; n < 20; n++) {
        put_file(target, "old", 3);
        set_fault(s->c, n, s->code);
        samba_status status = write_file(a, N_BYTES, 50000, &error);
        bool met = fault_met;
        set_fault(CALL_NONE, 0, 0);
        ck_assert_int_eq(count_files(), 1);
        ck_assert_int_eq(count_open_fds(), fds);
        if (!met) {
            ck_assert_int_eq(status, SAMBA_OK);
            ck_assert_int_gt(n, 1);
            break;
        }
        if (status == SAMBA_OK) { /* only what comes after the file is whole may be passed over */
            ck_assert(n == 2 && (s->c == CALL_CLOSE || (s->c == CALL_OPEN && s->code == EACCES)));
            check_file(target, bytes, N_BYTES);
            continue;
        }
        failures++;
        ck_assert_int_eq(status, SAMBA_ERROR_IO);
        if (s->c == CALL_FSYNC &&
            n == 2) { /* of the folder, after the rename: the header says so */
            check_file(target, bytes, N_BYTES);
            check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, "complete new file");
            continue;
        }
        check_file(target, "old", 3);
        check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, s->text);
    }
    ck_assert_int_gt(failures, 0);
}
END_TEST

START_TEST(folders_that_cannot_be_synced)
{
    static const int codes[] = {EINVAL, EBADF, ENOTSUP};
    for (size_t i = 0; i < 3; i++) {
        set_fault(CALL_FSYNC, 2, codes[i]);
        ck_assert_int_eq(write_file(samba__alloc_default(), 100, 100, NULL), SAMBA_OK);
        ck_assert(fault_met);
    }
}
END_TEST

START_TEST(after_a_failed_write_nothing_can_be_committed)
{
    const samba_allocator *a = samba__alloc_default();
    samba__writer *w = NULL;
    samba_error *error = NULL;
    put_file(target, "old", 3);
    ck_assert_int_eq(samba__writer_open(a, target, &w, NULL), SAMBA_OK);
    set_fault(CALL_WRITE, 1, ENOSPC);
    ck_assert_int_eq(samba__writer_write(w, bytes, 100000, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, "no space");
    ck_assert_int_eq(samba__writer_write(w, bytes, 1, &error), SAMBA_ERROR_STATE);
    check_error(&error, SAMBA_ERROR_STATE, target, SAMBA_NO_OFFSET, "earlier write");
    ck_assert_int_eq(samba__writer_commit(w, &error), SAMBA_ERROR_STATE);
    check_error(&error, SAMBA_ERROR_STATE, target, SAMBA_NO_OFFSET, "earlier write");
    check_file(target, "old", 3);
    ck_assert_int_eq(count_files(), 1);
}
END_TEST

/* The system itself refuses, half way through a write. */
START_TEST(files_past_the_size_limit)
{
    const struct rlimit limit = {100001, 100001};
    samba_error *error = NULL;
    put_file(target, "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(write_file(samba__alloc_default(), N_BYTES, 1000, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, "file too large");
    check_file(target, "old", 3);
    ck_assert_int_eq(count_files(), 1);
    ck_assert_int_eq(write_file(samba__alloc_default(), 100001, 1000, &error), SAMBA_OK);
    check_file(target, bytes, 100001);
}
END_TEST

/* Each test runs in a process of its own, so giving up rights here harms nobody. */
START_TEST(folders_without_the_right_to_write)
{
    samba_error *error = NULL;
    put_file(target, "old", 3);
    ck_assert_int_eq(chmod(folder, 0555), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    ck_assert_int_eq(write_file(samba__alloc_default(), 10, 10, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, "permission denied");
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    check_file(target, "old", 3);
    ck_assert_int_eq(chmod(folder, 0755), 0);
}
END_TEST

START_TEST(what_is_no_regular_file_is_not_replaced)
{
    const samba_allocator *a = samba__alloc_default();
    samba__writer *w = NULL;
    samba_error *error = NULL;
    struct stat st;
    char path[160];
    ck_assert_int_eq(mkfifo(target, 0666), 0);
    ck_assert_int_eq(samba__writer_open(a, target, &w, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, target, SAMBA_NO_OFFSET, "no regular file");
    ck_assert(stat(target, &st) == 0 && S_ISFIFO(st.st_mode));
    ck_assert_int_eq(samba__writer_open(a, folder, &w, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, folder, SAMBA_NO_OFFSET, "a folder");
    snprintf(path, sizeof path, "%s/missing/x", folder);
    ck_assert_int_eq(samba__writer_open(a, path, &w, &error), SAMBA_ERROR_IO);
    check_error(&error, SAMBA_ERROR_IO, path, SAMBA_NO_OFFSET, "no such file");
    ck_assert_ptr_null(w);
    ck_assert_int_eq(count_files(), 1);
}
END_TEST

START_TEST(a_link_is_replaced_not_followed)
{
    char other[160];
    struct stat st;
    snprintf(other, sizeof other, "%s/other", folder);
    put_file(other, "old", 3);
    ck_assert_int_eq(symlink(other, target), 0);
    ck_assert_int_eq(write_file(samba__alloc_default(), 10, 10, NULL), SAMBA_OK);
    check_file(other, "old", 3);
    check_file(target, bytes, 10);
    ck_assert(lstat(target, &st) == 0 && S_ISREG(st.st_mode));
}
END_TEST

START_TEST(a_process_that_dies_leaves_the_old_file)
{
    put_file(target, "old", 3);
    for (int pieces = 0; pieces < 4; pieces++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            samba__writer *w = NULL;
            samba__writer_open(samba__alloc_default(), target, &w, NULL);
            for (int i = 0; w && i < pieces; i++)
                samba__writer_write(w, bytes, 100000, NULL);
            raise(SIGKILL);
        }
        int how;
        ck_assert_int_eq(waitpid(child, &how, 0), child);
        ck_assert(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        check_file(target, "old", 3);
    }
    ck_assert_int_eq(write_file(samba__alloc_default(), N_BYTES, 999, NULL), SAMBA_OK);
    check_file(target, bytes, N_BYTES);
}
END_TEST

START_TEST(two_writers_of_one_file)
{
    const samba_allocator *a = samba__alloc_default();
    samba__writer *w[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(samba__writer_open(a, target, &w[i], NULL), SAMBA_OK);
    for (size_t at = 0; at < 200000; at += 1000)
        for (size_t i = 0; i < 2; i++)
            ck_assert_int_eq(samba__writer_write(w[i], bytes + at + i, 1000, NULL), SAMBA_OK);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(samba__writer_commit(w[i], NULL), SAMBA_OK);
        check_file(target, bytes + i, 200000);
    }
    ck_assert_int_eq(count_files(), 1);
}
END_TEST

/* ---------------------------------------------------------------- memory */

static samba_status use_everything(void *arg)
{
    (void)arg;
    const samba_allocator *a = fail_alloc_allocator();
    const samba_reader reader = {sizeof reader, N_BYTES, read_bytes, NULL, NULL, 0};
    samba__source *s = NULL;
    char *data = NULL;
    size_t size;
    samba_status status = write_file(a, 70000, 1000, NULL);
    if (status == SAMBA_OK)
        status = samba__file_read_all(a, target, N_BYTES, &data, &size, NULL);
    samba__free(a, data);
    if (status == SAMBA_OK)
        status = samba__source_open_memory(a, bytes, 10, NULL, &s, NULL);
    samba__source_close(s);
    s = NULL;
    if (status == SAMBA_OK)
        status = samba__source_open_reader(a, &reader, &s, NULL);
    samba__source_close(s);
    return status;
}

START_TEST(every_allocation_fails_in_turn)
{
    int fds = count_open_fds();
    ck_assert_uint_gt(fail_alloc_every(use_everything, NULL, 1), 10);
    ck_assert_int_eq(count_files(), 1);
    ck_assert_int_eq(count_open_fds(), fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/file");
    TCase *c = tcase_create("file");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, sources_read_what_is_there, 0, 5);
    tcase_add_test(c, a_file_that_shrinks_is_an_error_at_its_end);
    tcase_add_test(c, only_regular_files_open);
    tcase_add_test(c, whole_files);
    tcase_add_loop_test(c, readers_are_serialised_unless_parallel, 0, 2);
    tcase_add_test(c, readers_that_fail);
    tcase_add_test(c, paths);
    tcase_add_loop_test(c, writes_of_all_sizes, 0, 7);
    tcase_add_test(c, nothing_shows_before_commit);
    tcase_add_loop_test(c, every_failing_step_leaves_the_old_file, 0, sizeof steps / sizeof *steps);
    tcase_add_test(c, folders_that_cannot_be_synced);
    tcase_add_test(c, after_a_failed_write_nothing_can_be_committed);
    tcase_add_test(c, files_past_the_size_limit);
    tcase_add_test(c, folders_without_the_right_to_write);
    tcase_add_test(c, what_is_no_regular_file_is_not_replaced);
    tcase_add_test(c, a_link_is_replaced_not_followed);
    tcase_add_test(c, a_process_that_dies_leaves_the_old_file);
    tcase_add_test(c, two_writers_of_one_file);
    tcase_add_test(c, every_allocation_fails_in_turn);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
