/*
 * Making and forwarding errors. A function that fails calls one of these exactly once, where the
 * cause is known, and returns their value; callers forward with SAMBA__TRY or a `fail:` label.
 */
#ifndef SAMBA_BASE_ERROR_H
#define SAMBA_BASE_ERROR_H

#include "samba.h"

#if defined(__GNUC__)
#define SAMBA__PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SAMBA__PRINTF(f, a)
#endif

/* Where in the input the error lies; NULL and SAMBA_NO_OFFSET where unknown. Copied. */
typedef struct samba__where {
    const char *file;
    const char *tensor;
    uint64_t offset;
} samba__where;

/*
 * Writes *error (unless error is NULL) and returns `status`. Messages are one line, name the thing
 * and both values ("tensor x has 3 rows, config says 4"), and may hold untrusted text: it is
 * cleaned (samba__clean_line). When memory for the object is out, *error becomes a static one of
 * the same status.
 */
samba_status samba__fail(const samba_allocator *a, samba_error **error, samba_status status,
                         const char *format, ...) SAMBA__PRINTF(4, 5);
samba_status samba__fail_at(const samba_allocator *a, samba_error **error, samba_status status,
                            const samba__where *where, const char *format, ...) SAMBA__PRINTF(5, 6);
/* The static out-of-memory error; needs no memory. */
samba_status samba__fail_oom(samba_error **error);

/* Makes untrusted text fit to be shown: '?' for every control character and every byte that is not
 * part of valid UTF-8. In place, same length. */
void samba__clean_line(char *text);

/* Forwards a failure. */
#define SAMBA__TRY(call)                                                                           \
    do {                                                                                           \
        samba_status try_status_ = (call);                                                         \
        if (try_status_ != SAMBA_OK)                                                               \
            return try_status_;                                                                    \
    } while (0)

/* The same with `status` and a `fail:` label in the caller. */
#define SAMBA__TRY_GOTO(call)                                                                      \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != SAMBA_OK)                                                                    \
            goto fail;                                                                             \
    } while (0)

/* States an invariant. Checked in builds with -Dinvariants=true, where a breach traps. */
#if defined(SAMBA_INVARIANTS)
#define SAMBA__INVARIANT(x) ((x) ? (void)0 : __builtin_trap())
#else
#define SAMBA__INVARIANT(x) ((void)sizeof(x))
#endif

#endif
