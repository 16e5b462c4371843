/* Folders: what files are in one, and removing a file. With base/file.h the only place that knows
 * file calls of the system. */
#ifndef SAMBA_BASE_FOLDER_H
#define SAMBA_BASE_FOLDER_H

#include "base/alloc.h"
#include "base/error.h"

typedef struct samba__folder_file {
    const char *name; /* without the folder; valid during the call */
    uint64_t size;
    int64_t modified; /* nanoseconds since 1970 */
} samba__folder_file;

/* False: enough. */
typedef bool (*samba__folder_fn)(void *arg, const samba__folder_file *file);

/* Shows the regular files of a folder (links are none), in no order. NOT_FOUND if there is no such
 * folder, IO if it cannot be read; files that go away meanwhile are left out. */
samba_status samba__folder_list(const samba_allocator *a, const char *path, samba__folder_fn show,
                                void *arg, samba_error **error);

/* Bytes of a file; 0 if there is none. */
uint64_t samba__file_bytes(const char *path);
/* False if it is still there. */
bool samba__file_remove(const char *path);

#endif
