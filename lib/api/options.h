/*
 * Size-first structs at the boundary: options are copied into a struct of this version's size, so
 * that the library only ever sees complete ones.
 */
#ifndef SAMBA_API_OPTIONS_H
#define SAMBA_API_OPTIONS_H

#include "base/error.h"
#include <stddef.h>

/* Copies the caller's options over zeros. options NULL: all zeros. INVALID_ARGUMENT if struct_size
 * is smaller than `min_size` or bytes past `size` are not zero. to->struct_size becomes `size`. */
samba_status samba__options_read(const samba_allocator *a, const void *options, size_t min_size,
                                 void *to, size_t size, const char *what, samba_error **error);
/* Writes min(struct_size of `to`, size) bytes of `from`, keeping struct_size of `to`. */
samba_status samba__output_write(const samba_allocator *a, void *to, const void *from, size_t size,
                                 const char *what, samba_error **error);

#endif
