/*
 * What a prefix cache has no room for, as snapshot files in a folder. A file's name tells model,
 * type, number of tokens and a hash of them, so that it is found without being opened; nothing is
 * believed before the tokens inside have been compared. Files that are not ours are never touched;
 * of ours the least recently used go when there are too many bytes of them.
 *
 * A record stands for a file that was there when we last looked: it may be gone or damaged by now.
 * Functions marked (lock) run under the cache's lock and touch no file; the others touch files, and
 * nothing that the lock protects.
 */
#ifndef SAMBA_RUN_PREFIX_SPILL_H
#define SAMBA_RUN_PREFIX_SPILL_H

#include "run/model.h"
#include "state/prefix_index.h"

enum {
    SAMBA__SPILL_NAME = 112
};

typedef struct samba__spill_file {
    char name[SAMBA__SPILL_NAME]; /* without the folder */
    samba_dtype kv_dtype;
    uint64_t n_tokens, hash, bytes;
    bool has_logits;
    uint64_t last_used;             /* by the spill's clock */
    struct samba__spill_file *next; /* in a list of those to be deleted */
} samba__spill_file;

typedef struct samba__spill_limits {
    uint64_t file_bytes;  /* of all files */
    uint64_t image_bytes; /* of one, decoded */
} samba__spill_limits;

typedef struct samba__spill {
    const samba_allocator *alloc;
    samba_model *model;        /* borrowed */
    char *folder;              /* NULL: nothing is ever spilled or found */
    samba__spill_file **files; /* [n], by number of tokens */
    size_t n, capacity;
    uint64_t bytes, clock;
    samba__spill_limits limits;
} samba__spill;

/* Looks at the headers of the files that are there. `folder` NULL: an empty one. NOT_FOUND, IO:
 * the folder cannot be read. */
samba_status samba__spill_open(samba__spill *spill, samba_model *model, const char *folder,
                               const samba__spill_limits *limits, samba_error **error);
void samba__spill_close(samba__spill *spill); /* accepts a zeroed one; the files stay */

/* (lock) The longest file of a beginning of the key that is longer than `more_than` tokens, as a
 * copy; and of the whole key only with logits, if they are needed. False: none. */
bool samba__spill_find(samba__spill *spill, const samba__prefix_key *key, uint64_t more_than,
                       bool needs_logits, samba__spill_file *file);
/* (lock) Whether there is one of just these tokens, as good as the image; it counts as used now. */
bool samba__spill_knows(samba__spill *spill, const samba__image *image);
/* (lock) Takes over a file that was written. What there is no room for any more (maybe itself)
 * comes in front of *old. */
void samba__spill_add(samba__spill *spill, samba__spill_file *file, samba__spill_file **old);
/* (lock) Drops the record of a file, which stays. */
void samba__spill_forget(samba__spill *spill, const samba__spill_file *file);

/* Writes an image; *file is the caller's, for samba__spill_add. */
samba_status samba__spill_write(const samba__spill *spill, samba__image *image,
                                samba__spill_file **file, samba_error **error);
/* Reads an image for sessions of `layout`; MISMATCH if it is not of just the key's tokens. */
samba_status samba__spill_read(const samba__spill *spill, const samba__spill_file *file,
                               const samba__prefix_key *key, samba__layout *layout,
                               samba__image **image, samba_error **error);
/* Deletes the files of a list, and the list. */
void samba__spill_delete(const samba__spill *spill, samba__spill_file *list);

#endif
