/* Folders; see folder.h. */
#include "base/folder.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static samba_status fail_errno(const samba_allocator *a, const char *path, int code,
                               samba_error **error)
{
    const samba__where where = {.file = path, .offset = SAMBA_NO_OFFSET};
    char text[SAMBA__ERRNO_TEXT];
    if (code == ENOMEM)
        return samba__fail_oom(error);
    samba__errno_text(code, text);
    return samba__fail_at(a, error, code == ENOENT ? SAMBA_ERROR_NOT_FOUND : SAMBA_ERROR_IO, &where,
                          "cannot read folder %s: %s", path, text);
}

static bool show_entry(int folder, const char *name, samba__folder_fn show, void *arg)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return true;
    const samba__folder_file file = {.name = name,
                                     .size = st.st_size > 0 ? (uint64_t)st.st_size : 0,
                                     .modified = (int64_t)st.st_mtim.tv_sec * 1000000000 +
                                                 (int64_t)st.st_mtim.tv_nsec};
    return show(arg, &file);
}

samba_status samba__folder_list(const samba_allocator *a, const char *path, samba__folder_fn show,
                                void *arg, samba_error **error)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool more = true;
    if (!folder)
        return fail_errno(a, path, errno, error);
    errno = 0;
    while (more && (entry = readdir(folder))) {
        more = show_entry(dirfd(folder), entry->d_name, show, arg);
        errno = 0;
    }
    int code = more ? errno : 0;
    closedir(folder);
    return code ? fail_errno(a, path, code, error) : SAMBA_OK;
}

uint64_t samba__file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

bool samba__file_remove(const char *path)
{
    return unlink(path) == 0 || errno == ENOENT;
}
