/*
 * Snapshot files while memory and disk fail: every n-th allocation and every n-th system call of
 * writing, reading and restoring; a writer killed at any moment. The session goes on as if nothing
 * had been, the file is the old or the new one.
 */
#include "support/fail_alloc.h"
#include "support/micro_model.h"
#include "support/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- system calls */

enum {
    CALL_OPEN = 1,
    CALL_PREAD,
    CALL_WRITE,
    CALL_FSYNC,
    CALL_RENAME
};
static struct {
    int call, at, code;
    bool met, trickle;
    unsigned n;
} fault;

static bool fails(int call)
{
    if (fault.call != call || --fault.at != 0)
        return false;
    fault.met = true;
    errno = fault.code;
    return true;
}

/* Interrupted every other time, and a few bytes only. */
static bool interrupted(size_t *size)
{
    if (!fault.trickle)
        return false;
    *size = *size > 999 ? 999 : *size;
    errno = EINTR;
    return fault.n++ % 2 == 0;
}

ssize_t __real_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset)
{
    return fails(CALL_PREAD) || interrupted(&size) ? -1 : __real_pread64(fd, buffer, size, offset);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    return fails(CALL_WRITE) || interrupted(&size) ? -1 : __real_write(fd, data, size);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, unsigned mode);
int __wrap_open64(const char *path, int flags, unsigned mode)
{
    return fails(CALL_OPEN) ? -1 : __real_open64(path, flags, mode);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return fails(CALL_FSYNC) ? -1 : __real_fsync(fd);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return fails(CALL_RENAME) ? -1 : __real_rename(from, to);
}

/* ---------------------------------------------------------------- a world */

static char folder[64], path[128];
static samba_context *context;
static samba_model *model;
static samba_session *session; /* at 40 */
static samba_snapshot *live;

static const samba_token tokens[40] = {1, 5, 2, 9, 7, 3, 8, 4, 6, 11, 30, 2, 5, 9};

/* What is written: keys and values of three ways. */
static const struct {
    samba_dtype kv;
    samba_snapshot_write_options o;
} kinds[] = {
    {SAMBA_DTYPE_F32, {.struct_size = sizeof kinds[0].o, .codec = SAMBA_CODEC_RAW}},
    {SAMBA_DTYPE_Q8_0, {.struct_size = sizeof kinds[0].o, .codec = SAMBA_CODEC_ZSTD}},
    {SAMBA_DTYPE_F16,
     {.struct_size = sizeof kinds[0].o, .codec = SAMBA_CODEC_ZSTD, .lossy_kv = SAMBA_YES}},
    {SAMBA_DTYPE_F32,
     {.struct_size = sizeof kinds[0].o, .codec = SAMBA_CODEC_RAW, .lossy_kv = SAMBA_YES}},
};
enum {
    N_KINDS = sizeof kinds / sizeof *kinds
};
static const samba_snapshot_write_options *options; /* of the kind */

/* Of the session as it is, with metadata that takes several writes and reads. */
static samba_snapshot *picture(void)
{
    static uint8_t noise[300000];
    const samba_snapshot_options o = {
        .struct_size = sizeof o, .metadata = noise, .metadata_size = sizeof noise};
    samba_snapshot *s = NULL;
    rig_random r = {1};
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rig_below(&r, 256);
    CK_OK(samba_session_snapshot(session, &o, &s, RIG_ERROR));
    return s;
}

static void begin(int kind)
{
    options = &kinds[kind].o;
    session = rig_session(model, kinds[kind].kv, 0);
    rig_eval(session, tokens, 40, 0);
    live = picture();
}

static void set_up(void)
{
    const micro_options micro = {.window = 20, .d_model = 64}; /* heads of 32 */
    const rig_options o = {.n_threads = 1, .allocator = fail_alloc_allocator()};
    ck_assert(micro_folder_make(folder) && micro_model_write(folder, &micro));
    snprintf(path, sizeof path, "%s/state.samba", folder);
    memset(&fault, 0, sizeof fault);
    context = rig_context(&o);
    model = rig_load(context, folder, &o);
}

static void tear_down(void)
{
    memset(&fault, 0, sizeof fault);
    samba_snapshot_release(live);
    samba_session_free(session);
    samba_model_release(model);
    samba_context_free(context);
    micro_folder_remove(folder);
}

/* The session gives the logits that it gave. */
static void same_as(const float *want, size_t n, samba_session *s)
{
    ck_assert(memcmp(rig_logits(s, SAMBA_ROW_LAST), want, n * sizeof *want) == 0);
}

/* ---------------------------------------------------------------- memory */

static samba_status everything(void *arg)
{
    (void)arg;
    samba_bytes *bytes = NULL;
    samba_snapshot *read = NULL, *taken = NULL;
    samba_session *s = NULL;
    samba_error *error = NULL;
    samba_status status = samba_session_snapshot(session, NULL, &taken, &error);
    if (!status)
        status = samba_snapshot_write_memory(taken, options, &bytes, &error);
    if (!status)
        status = samba_snapshot_write_file(taken, path, options, &error);
    if (!status)
        status = samba_snapshot_read_file(context, path, NULL, &read, &error);
    samba_snapshot_release(read);
    read = NULL;
    if (!status)
        status = samba_snapshot_read_memory(context, samba_bytes_data(bytes),
                                            samba_bytes_size(bytes), NULL, &read, &error);
    if (!status)
        status = samba_session_create_from(model, read, NULL, &s, &error);
    if (!status)
        status = samba_session_restore(session, read, &error);
    samba_error_free(error);
    samba_session_free(s);
    samba_snapshot_release(read);
    samba_snapshot_release(taken);
    samba_bytes_free(bytes);
    return status;
}

START_TEST(every_allocation)
{
    begin(_i);
    ck_assert_uint_gt(fail_alloc_every(everything, NULL, 1), 30);
    rig_eval(session, tokens, 3, 0);
}
END_TEST

/* ---------------------------------------------------------------- disk */

static const struct {
    int call, code, least; /* calls that a writing takes */
} disk[] = {{CALL_OPEN, EACCES, 2},  {CALL_OPEN, EMFILE, 2}, {CALL_OPEN, EINTR, 2},
            {CALL_WRITE, ENOSPC, 2}, {CALL_WRITE, EIO, 2},   {CALL_WRITE, EINTR, 2},
            {CALL_FSYNC, EIO, 2},    {CALL_FSYNC, EINTR, 2}, {CALL_RENAME, EXDEV, 1}};
enum {
    N_DISK = sizeof disk / sizeof *disk
};

static size_t file_bytes(char **data)
{
    size_t size = 0;
    *data = rig_file(path, &size);
    return size;
}

START_TEST(every_write)
{
    char *old, *new_one, *got;
    int failures = 0;
    const int call = disk[_i % N_DISK].call, code = disk[_i % N_DISK].code;
    begin(_i / N_DISK);
    CK_OK(samba_snapshot_write_file(live, path, options, RIG_ERROR));
    const size_t n_old = file_bytes(&old);
    rig_eval(session, tokens, 5, 0);
    samba_snapshot *later = picture();
    CK_OK(samba_snapshot_write_file(later, path, options, RIG_ERROR));
    const size_t n_new = file_bytes(&new_one);
    int n = 1;
    for (;; n++) {
        CK_OK(samba_snapshot_write_file(live, path, options, RIG_ERROR));
        fault.call = call, fault.code = code, fault.at = n, fault.met = false;
        const samba_status status = samba_snapshot_write_file(later, path, options, NULL);
        fault.call = 0;
        const size_t size = file_bytes(&got);
        const bool is_old = size == n_old && memcmp(got, old, size) == 0;
        const bool is_new = size == n_new && memcmp(got, new_one, size) == 0;
        free(got);
        ck_assert(is_old || is_new);
        ck_assert(status == SAMBA_OK ? is_new : status == SAMBA_ERROR_IO);
        failures += status != SAMBA_OK;
        if (!fault.met)
            break;
    }
    ck_assert_int_gt(n, disk[_i % N_DISK].least);
    ck_assert((failures > 0) == (code != EINTR)); /* interrupted calls are made again */
    free(old);
    free(new_one);
    samba_snapshot_release(later);
}
END_TEST

START_TEST(every_read)
{
    samba_snapshot *s = NULL;
    int n = 1;
    begin(_i / 2);
    CK_OK(samba_snapshot_write_file(live, path, options, RIG_ERROR));
    for (;; n++) {
        fault.call = _i % 2 ? CALL_PREAD : CALL_OPEN, fault.code = EIO, fault.at = n,
        fault.met = false;
        const samba_status status = samba_snapshot_read_file(context, path, NULL, &s, NULL);
        fault.call = 0;
        if (!fault.met) {
            ck_assert_int_eq(status, SAMBA_OK);
            break;
        }
        ck_assert_int_eq(status, SAMBA_ERROR_IO);
        ck_assert_ptr_null(s);
    }
    ck_assert_int_gt(n, _i % 2 ? 3 : 1);
    samba_snapshot_release(s);
}
END_TEST

START_TEST(short_and_interrupted_calls)
{
    samba_snapshot *s = NULL;
    samba_session *t = NULL;
    begin(_i);
    fault.trickle = true;
    CK_OK(samba_snapshot_write_file(live, path, options, RIG_ERROR));
    CK_OK(samba_snapshot_read_file(context, path, NULL, &s, RIG_ERROR));
    fault.trickle = false;
    CK_OK(samba_session_create_from(model, s, NULL, &t, RIG_ERROR));
    same_as(rig_logits(session, SAMBA_ROW_LAST), 32, t);
    samba_session_free(t);
    samba_snapshot_release(s);
}
END_TEST

static int32_t stops(void *user_data, const void *data, size_t size)
{
    (void)data, (void)size;
    return --*(int *)user_data == 0;
}

START_TEST(sinks_and_limits_that_fail)
{
    int n = 1;
    begin(_i);
    for (;; n++) {
        int left = n;
        const samba_sink sink = {.struct_size = sizeof sink, .write = stops, .user_data = &left};
        if (samba_snapshot_write_sink(live, &sink, options, NULL) == SAMBA_OK)
            break;
    }
    ck_assert_int_gt(n, 5);
    /* A disk that is full, and a folder that cannot be written. */
    if (access("/dev/full", W_OK) == 0)
        CK_FAILS(SAMBA_ERROR_IO, samba_snapshot_write_file(live, "/dev/full", NULL, RIG_ERROR));
    if (geteuid() != 0) {
        ck_assert_int_eq(chmod(folder, 0555), 0);
        CK_FAILS(SAMBA_ERROR_IO, samba_snapshot_write_file(live, path, NULL, RIG_ERROR));
        ck_assert_int_eq(chmod(folder, 0755), 0);
    }
}
END_TEST

START_TEST(killed_at_any_moment)
{
    rig_random r = {7};
    int n_whole = 0;
    begin(0);
    CK_OK(samba_snapshot_write_file(live, path, NULL, RIG_ERROR));
    for (int i = 0; i < (rig_full ? 1000 : 60); i++) {
        const pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
            for (;;) /* over and over, until it is killed */
                if (samba_snapshot_write_file(live, path, NULL, NULL) != SAMBA_OK)
                    _exit(1);
        usleep(rig_below(&r, 8000));
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        int how = 0;
        ck_assert_int_eq(waitpid(child, &how, 0), child);
        ck_assert(WIFSIGNALED(how));
        CK_OK(samba_snapshot_verify_file(context, path, NULL, RIG_ERROR));
        n_whole++;
    }
    ck_assert_int_gt(n_whole, 0);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("snapshot files under faults");
    TCase *tc = tcase_create("faults");
    tcase_set_timeout(tc, 600);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, every_allocation, 0, N_KINDS);
    tcase_add_loop_test(tc, every_write, 0, N_DISK * N_KINDS);
    tcase_add_loop_test(tc, every_read, 0, 2 * N_KINDS);
    tcase_add_loop_test(tc, short_and_interrupted_calls, 0, N_KINDS);
    tcase_add_loop_test(tc, sinks_and_limits_that_fail, 0, N_KINDS);
    tcase_add_test(tc, killed_at_any_moment);
    suite_add_tcase(suite, tc);
    return rig_main(argc, argv, suite);
}
