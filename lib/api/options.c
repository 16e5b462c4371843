/* Reading and writing size-first structs; see options.h. */
#include "api/options.h"

#include <string.h>

samba_status samba__options_read(const samba_allocator *a, const void *options, size_t min_size,
                                 void *to, size_t size, const char *what, samba_error **error)
{
    size_t given;
    memset(to, 0, size);
    if (options) {
        memcpy(&given, options, sizeof given);
        if (given < min_size)
            return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "%s.struct_size is %zu, at least %zu is needed", what, given,
                               min_size);
        for (size_t i = size; i < given; i++)
            if (((const unsigned char *)options)[i])
                return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                                   "%s: byte %zu is set, this version knows %zu bytes", what, i,
                                   size);
        memcpy(to, options, given < size ? given : size);
    }
    memcpy(to, &size, sizeof size);
    return SAMBA_OK;
}

samba_status samba__output_write(const samba_allocator *a, void *to, const void *from, size_t size,
                                 const char *what, samba_error **error)
{
    size_t room;
    if (!to)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL", what);
    memcpy(&room, to, sizeof room);
    if (room < sizeof room)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s.struct_size is %zu", what,
                           room);
    memcpy(to, from, room < size ? room : size);
    memcpy(to, &room, sizeof room);
    return SAMBA_OK;
}
