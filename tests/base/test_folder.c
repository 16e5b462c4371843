/* Folders: which files are shown, with what, when it ends, and what is no folder. */
#include "support/slow_build.h"
#include "base/folder.h"
#include "support/fail_alloc.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/samba-folder-XXXXXX";

static void path_in(const char *name, char path[256])
{
    snprintf(path, 256, "%s/%s", folder, name);
}

static void write_file(const char *name, size_t size)
{
    char path[256];
    path_in(name, path);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    while (size--)
        fputc('x', f);
    fclose(f);
}

typedef struct seen {
    size_t n, most;
    uint64_t bytes;
    bool other; /* one that should not be there, or of a strange time */
} seen;

static bool show(void *arg, const samba__folder_file *file)
{
    seen *s = arg;
    s->n++;
    s->bytes += file->size;
    s->other |= file->name[0] != 'a' || file->modified < (int64_t)1000000000 * 1000000000;
    return s->n < s->most;
}

static void set_up(void)
{
    char path[256], other[256];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    write_file("a1", 10);
    write_file("a2", 0);
    write_file("a3", 500);
    path_in("sub", path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    path_in("a3", path);
    path_in("link", other);
    ck_assert_int_eq(symlink(path, other), 0);
}

static void tear_down(void)
{
    char path[256];
    const char *names[] = {"a1", "a2", "a3", "link"};
    for (size_t i = 0; i < 4; i++) {
        path_in(names[i], path);
        ck_assert(samba__file_remove(path));
        ck_assert(samba__file_remove(path)); /* gone already */
        ck_assert_uint_eq(samba__file_bytes(path), 0);
    }
    path_in("sub", path);
    ck_assert(!samba__file_remove(path));
    rmdir(path);
    rmdir(folder);
    strcpy(folder, "/tmp/samba-folder-XXXXXX");
}

START_TEST(listing)
{
    char path[256];
    seen all = {.most = 99}, two = {.most = 2};
    ck_assert_int_eq(samba__folder_list(fail_alloc_allocator(), folder, show, &all, NULL),
                     SAMBA_OK);
    ck_assert(all.n == 3 && all.bytes == 510 && !all.other);
    ck_assert_int_eq(samba__folder_list(fail_alloc_allocator(), folder, show, &two, NULL),
                     SAMBA_OK);
    ck_assert_uint_eq(two.n, 2);
    path_in("a3", path);
    ck_assert_uint_eq(samba__file_bytes(path), 500);
}
END_TEST

START_TEST(no_folder)
{
    char path[256];
    seen none = {.most = 9};
    samba_error *error = NULL;
    path_in("nowhere", path);
    ck_assert_int_eq(samba__folder_list(fail_alloc_allocator(), path, show, &none, &error),
                     SAMBA_ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(samba_error_message(error), "nowhere"));
    samba_error_free(error);
    path_in("a1", path);
    ck_assert_int_eq(samba__folder_list(fail_alloc_allocator(), path, show, &none, NULL),
                     SAMBA_ERROR_IO);
    ck_assert_uint_eq(none.n, 0);
}
END_TEST

static samba_status list_again(void *arg)
{
    seen all = {.most = 99};
    return samba__folder_list(arg, folder, show, &all, NULL);
}

START_TEST(no_memory)
{
    if (SLOW_BUILD) /* whose malloc is not ours to fail */
        return;
    samba_allocator a = *fail_alloc_allocator();
    fail_alloc_every(list_again, &a, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("folder");
    TCase *tcase = tcase_create("folder");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, listing);
    tcase_add_test(tcase, no_folder);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
