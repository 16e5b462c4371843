/*
 * The built-in backends by name. The one file that names concrete descriptors; a new backend is one
 * declaration and one row here.
 */
#include "backend/device.h"

#include <string.h>

extern const samba_backend_vtbl samba__cpu_backend;

const samba_backend_vtbl *samba__registry_find(const char *name)
{
    static const samba_backend_vtbl *const rows[] = {&samba__cpu_backend};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i]->name, name) == 0)
            return rows[i];
    return NULL;
}
