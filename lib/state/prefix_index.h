/*
 * Images of prompts by their tokens, within a budget of bytes: the store behind a prefix cache.
 * Sorted by (type of keys and values, tokens), a prefix before what it is a prefix of, so that the
 * neighbours of a prompt are those that share most with it: a few comparisons tell the longest
 * common prefix, exactly, and no hash has to be trusted. Images share cells, tokens and logits;
 * what several of them hold is counted once. Least recently used first out.
 *
 * Knows no model, no file and no lock: its owner locks. What is taken out comes back as a list,
 * because freeing it (and whatever else is done with it) belongs outside the lock.
 */
#ifndef SAMBA_STATE_PREFIX_INDEX_H
#define SAMBA_STATE_PREFIX_INDEX_H

#include "state/image.h"
#include "state/tally.h"

typedef struct samba__prefix_entry {
    samba__image *image;                       /* at position >= 1 after all of its tokens: its
                                                  history holds every one */
    struct samba__prefix_entry *older, *newer; /* by use; in a list of those taken out: newer */
} samba__prefix_entry;

typedef struct samba__prefix_index {
    const samba_allocator *alloc;
    samba__prefix_entry **entries; /* [n], sorted */
    size_t n, capacity;
    samba__prefix_entry *oldest, *newest;
    samba__tally tally; /* of cells, logits and histories */
    uint64_t bytes, max_bytes;
} samba__prefix_index;

typedef struct samba__prefix_key {
    samba_dtype kv_dtype;
    const samba_token *tokens;
    size_t n;
} samba__prefix_key;

/* Of an image whose history holds every token; valid as long as the image. */
samba__prefix_key samba__prefix_key_of(const samba__image *image);

/* What is there for a key. */
typedef struct samba__prefix_match {
    size_t matched;             /* longest common prefix with any entry of its type */
    samba__prefix_entry *entry; /* the longest one that is a prefix; NULL: none */
    bool lacks_logits;          /* one of the whole key was passed over, as logits are needed */
} samba__prefix_match;

/* Takes the reference; NULL when memory is out (the reference is then still the caller's). */
samba__prefix_entry *samba__prefix_entry_create(samba__image *image);
void samba__prefix_entries_free(samba__prefix_entry *list); /* accepts NULL */
/* Bytes of all that an image holds. */
uint64_t samba__prefix_image_bytes(const samba__image *image);

void samba__prefix_index_init(samba__prefix_index *index, const samba_allocator *a,
                              uint64_t max_bytes);
/* The entries go too. */
void samba__prefix_index_free(samba__prefix_index *index);

/* An entry of the whole key counts only if it has logits or none are needed. Uses nothing up. */
void samba__prefix_index_find(const samba__prefix_index *index, const samba__prefix_key *key,
                              bool needs_logits, samba__prefix_match *match);
/* Marks an entry as the one used last. */
void samba__prefix_index_touch(samba__prefix_index *index, samba__prefix_entry *entry);

typedef enum samba__prefix_put {
    SAMBA__PREFIX_ADDED,
    SAMBA__PREFIX_KNOWN,   /* there is one of these tokens, which counts as used now */
    SAMBA__PREFIX_TOO_BIG, /* alone more than the budget */
    SAMBA__PREFIX_NO_MEMORY
} samba__prefix_put;
/*
 * Puts an entry in. What has to be freed afterwards comes in *spare: the entry itself if it was not
 * taken (one without logits gives way to one with them). What the budget has no room for any more
 * goes in front of *out, least recently used last.
 */
samba__prefix_put samba__prefix_index_put(samba__prefix_index *index, samba__prefix_entry *entry,
                                          samba__prefix_entry **spare, samba__prefix_entry **out);
/* Takes everything out; a list. */
samba__prefix_entry *samba__prefix_index_clear(samba__prefix_index *index);

#endif
