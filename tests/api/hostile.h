/*
 * One attempt to load something that may be broken, with a counting allocator: whatever it is, the
 * library says what is wrong or makes a model that works, within bounds of memory and time, and
 * leaves nothing behind. Anything else fails the test.
 */
#ifndef TESTS_API_HOSTILE_H
#define TESTS_API_HOSTILE_H

#include "samba.h"

/* What is loaded: a path, or bytes, or a reader; and the texts beside the last two. */
typedef struct hostile_input {
    const char *path;
    const void *data;
    size_t size;
    const samba_reader *reader;
    const char *config, *tokenizer; /* NULL: none */
    size_t config_size, tokenizer_size;
    uint64_t total; /* bytes of all that is read, for the bound */
    size_t number;  /* of the attempt: varies what is done with the model, and names it */
    const char *what;
    int holes; /* 1: unused ids are likely */
} hostile_input;

/*
 * Most bytes that the library may hold at any time, from the context's creation to the end of a
 * session of a few tokens: HOSTILE_FLOOR + HOSTILE_FACTOR x the bytes of the input, and for the ids
 * that a tokenizer.json may leave unused HOSTILE_HOLES. (Rows are padded to panels of 16, half
 * types become float, a page has room for 64 positions.)
 */
enum {
    HOSTILE_FLOOR = 1 << 20,
    HOSTILE_FACTOR = 4,
    HOSTILE_HOLES = 65536 * 128
};

/* The status of loading. */
samba_status hostile_try(const hostile_input *input);

/* What has been seen since the process began. */
typedef struct hostile_seen {
    size_t n, loaded;
    double worst_ratio; /* (peak - floor) / bytes of input */
    size_t peak;        /* worst of all */
    double slowest;     /* milliseconds */
} hostile_seen;
const hostile_seen *hostile_look(void);

#endif
