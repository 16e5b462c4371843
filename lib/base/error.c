/*
 * The error object: one block that holds its strings, freed through the allocator it came from.
 */
#include "base/error.h"
#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
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

enum {
    MESSAGE_MAX = 1024,
    NAME_MAX_BYTES = 512
};

static const char *const status_names[] = {
    "ok",          "invalid argument", "out of memory", "input/output error", "malformed input",
    "unsupported", "mismatch",         "limit",         "wrong state",        "busy",
    "cancelled",   "backend error",    "not found",     "internal error",
};

/* Errors that exist in advance, one per status, for when there is no memory for another. */
#define NO_MEMORY(status_, text)                                                                   \
    {                                                                                              \
        .status = status_, .offset = SAMBA_NO_OFFSET, .message = text                              \
    }
#define NO_DETAILS " (no memory for details)"
static const samba_error static_errors[] = {
    NO_MEMORY(SAMBA_ERROR_INTERNAL, "unknown status" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_INVALID_ARGUMENT, "invalid argument" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_OUT_OF_MEMORY, "out of memory"),
    NO_MEMORY(SAMBA_ERROR_IO, "input/output error" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_FORMAT, "malformed input" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_UNSUPPORTED, "unsupported" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_MISMATCH, "mismatch" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_LIMIT, "limit" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_STATE, "wrong state" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_BUSY, "busy" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_CANCELLED, "cancelled" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_BACKEND, "backend error" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_NOT_FOUND, "not found" NO_DETAILS),
    NO_MEMORY(SAMBA_ERROR_INTERNAL, "internal error" NO_DETAILS),
};

static samba_error *static_error(samba_status status)
{
    size_t n = sizeof static_errors / sizeof *static_errors;
    size_t i = status > 0 && (size_t)status < n ? (size_t)status : 0;
    return (samba_error *)(uintptr_t)&static_errors[i]; /* never written: it has no allocator */
}

const char *samba_status_string(samba_status status)
{
    size_t n = sizeof status_names / sizeof *status_names;
    return status >= 0 && (size_t)status < n ? status_names[status] : "unknown status";
}

/* Bytes of the printable UTF-8 character at s; 0 if there is none (C0 and C1 controls included). */
static size_t character_bytes(const unsigned char *s)
{
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n < 2)
        return s[0] >= 32 && s[0] != 127 ? n : 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) /* also the terminating zero */
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

void samba__clean_line(char *text)
{
    while (*text) {
        size_t n = character_bytes((const unsigned char *)text);
        if (n == 0)
            *text = '?';
        text += n ? n : 1;
    }
}

/* Copies at most `max` bytes of s to *at, cleaned, and moves *at behind them. */
static char *put(char **at, const char *s, size_t max)
{
    char *start = *at;
    size_t n = strnlen(s, max);
    memcpy(start, s, n);
    start[n] = 0;
    samba__clean_line(start);
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
        *error = static_error(SAMBA_ERROR_OUT_OF_MEMORY);
    return SAMBA_ERROR_OUT_OF_MEMORY;
}

static samba_status fail_v(const samba_allocator *a, samba_error **error, samba_status status,
                           const samba__where *where, const char *format, va_list args)
{
    char message[MESSAGE_MAX];
    if (!error)
        return status;
    if (vsnprintf(message, sizeof message, format, args) < 0)
        message[0] = 0;
    samba_error *e = error_new(a, status, where, message);
    *error = e ? e : static_error(status);
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
    if (!error || !error->alloc.free)
        return;
    const samba_allocator a = error->alloc;
    samba__free(&a, error);
}
