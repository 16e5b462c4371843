/*
 * The error object: one block that holds its strings, freed through the allocator it came from.
 */
#include "base/error.h"
#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct samba_error {
    samba_allocator alloc; /* a copy: the error may outlive its context */
    samba_status status;
    uint64_t offset;
    const char *file;
    const char *tensor;
    const char *message;
};

static const struct samba_error out_of_memory = {
    .status = SAMBA_ERROR_OUT_OF_MEMORY,
    .offset = SAMBA_NO_OFFSET,
    .message = "out of memory",
};

enum { MESSAGE_MAX = 1024, NAME_MAX_BYTES = 512 };

static const char *const status_names[] = {
    "ok",          "invalid argument", "out of memory", "input/output error", "malformed input",
    "unsupported", "mismatch",         "limit",         "wrong state",        "busy",
    "cancelled",   "backend error",    "not found",     "internal error",
};

const char *samba_status_string(samba_status status)
{
    size_t n = sizeof status_names / sizeof *status_names;
    return status >= 0 && (size_t)status < n ? status_names[status] : "unknown status";
}

/* Copies untrusted text: control characters become '?'. */
static char *put(char **at, const char *s, size_t max)
{
    char *start = *at;
    size_t n = 0;
    for (; n < max && s[n]; n++)
        start[n] = (unsigned char)s[n] < 32 || s[n] == 127 ? '?' : s[n];
    start[n] = 0;
    *at += n + 1;
    return start;
}

static size_t name_bytes(const char *s)
{
    return s ? strnlen(s, NAME_MAX_BYTES) + 1 : 0;
}

static samba_error *error_new(const samba_allocator *a, samba_status status,
                              const samba__where *where, const char *message)
{
    size_t size = sizeof(samba_error) + strlen(message) + 1 + name_bytes(where->file) +
                  name_bytes(where->tensor);
    samba_error *e = samba__alloc(a, size);
    if (!e)
        return NULL;
    char *at = (char *)(e + 1);
    *e = (samba_error){.alloc = *a, .status = status, .offset = where->offset};
    e->message = put(&at, message, MESSAGE_MAX);
    e->file = where->file ? put(&at, where->file, NAME_MAX_BYTES) : NULL;
    e->tensor = where->tensor ? put(&at, where->tensor, NAME_MAX_BYTES) : NULL;
    return e;
}

samba_status samba__fail_oom(samba_error **error)
{
    if (error)
        *error = (samba_error *)(uintptr_t)&out_of_memory;
    return SAMBA_ERROR_OUT_OF_MEMORY;
}

static samba_status fail_v(const samba_allocator *a, samba_error **error, samba_status status,
                           const samba__where *where, const char *format, va_list args)
{
    char message[MESSAGE_MAX];
    if (!error)
        return status;
    vsnprintf(message, sizeof message, format, args);
    samba_error *e = error_new(a, status, where, message);
    if (!e)
        return samba__fail_oom(error), status;
    *error = e;
    return status;
}

samba_status samba__fail_at(const samba_allocator *a, samba_error **error, samba_status status,
                            const samba__where *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    status = fail_v(a, error, status, where, format, args);
    va_end(args);
    return status;
}

samba_status samba__fail(const samba_allocator *a, samba_error **error, samba_status status,
                         const char *format, ...)
{
    const samba__where nowhere = {.offset = SAMBA_NO_OFFSET};
    va_list args;
    va_start(args, format);
    status = fail_v(a, error, status, &nowhere, format, args);
    va_end(args);
    return status;
}

samba_status samba_error_status(const samba_error *error)
{
    return error ? error->status : SAMBA_OK;
}

const char *samba_error_message(const samba_error *error)
{
    return error ? error->message : "";
}

const char *samba_error_file(const samba_error *error)
{
    return error ? error->file : NULL;
}

const char *samba_error_tensor(const samba_error *error)
{
    return error ? error->tensor : NULL;
}

uint64_t samba_error_offset(const samba_error *error)
{
    return error ? error->offset : SAMBA_NO_OFFSET;
}

void samba_error_free(samba_error *error)
{
    if (!error || error == &out_of_memory)
        return;
    const samba_allocator a = error->alloc;
    samba__free(&a, error);
}
