/*
 * Prefix cache: images of prompts (state/prefix_index.h) behind a lock, files of those that the
 * budget has no room for (prefix_spill.h), and evals that start from them. Under the lock entries
 * are only found, linked and counted; passes run, images are made and freed, and files are read and
 * written outside of it. Streams store on the thread that makes everybody's passes: what that
 * displaces waits there to be written by the next call of a host.
 *
 * Files: prefix_cache.c (life, storing), prefix_reading.c (finding, and reading by way of a cache).
 */
#ifndef SAMBA_RUN_PREFIX_CACHE_H
#define SAMBA_RUN_PREFIX_CACHE_H

#include "run/prefix_spill.h"
#include "run/session.h"
#include "state/prefix_index.h"

struct samba_prefix_cache {
    samba__refs refs; /* the host's, and of streams that it was given to */
    const samba_allocator *alloc;
    samba_model *model; /* retained */
    uint32_t interval;  /* 0: none */
    uv_mutex_t lock;    /* of all below */
    samba__prefix_index index;
    samba__spill spill;
    samba__prefix_entry *late;      /* out of the index, to be written yet */
    samba_prefix_cache_stats stats; /* what is counted along the way */
};

/* What to read, and how. */
typedef struct samba__prefix_prompt {
    const samba_token *tokens;
    size_t n;
    samba_outputs outputs; /* LAST or NONE */
    const samba_cancel *cancel;
} samba__prefix_prompt;

/* `options` is complete. */
samba_status samba__prefix_cache_create(samba_model *model,
                                        const samba_prefix_cache_options *options,
                                        samba_prefix_cache **cache, samba_error **error);
void samba__prefix_cache_free(samba_prefix_cache *cache); /* the host's reference; accepts NULL */
samba_prefix_cache *samba__prefix_cache_retain(samba_prefix_cache *cache);
void samba__prefix_cache_release(samba_prefix_cache *cache); /* writes nothing; accepts NULL */
samba_status samba__prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                      const samba__prefix_prompt *prompt,
                                      samba_prefix_report *report, samba_error **error);
samba_status samba__prefix_cache_put(samba_prefix_cache *cache, const samba_session *session,
                                     samba_error **error);
void samba__prefix_cache_clear(samba_prefix_cache *cache);
samba_status samba__prefix_cache_flush(samba_prefix_cache *cache, samba_error **error);
void samba__prefix_cache_get_stats(samba_prefix_cache *cache, samba_prefix_cache_stats *stats);

/* ---- parts of these, also for streams ---- */

/* MISMATCH, STATE, BUSY: the session cannot be read by way of the cache. */
samba_status samba__prefix_cache_check(const samba_prefix_cache *cache,
                                       const samba_session *session, samba_error **error);
/* STATE: the session has dropped tokens. */
samba_status samba__prefix_cache_check_history(const samba_prefix_cache *cache,
                                               const samba_session *session, samba_error **error);
/* Takes the image over, whatever becomes of it. What it displaces is written to the folder at once,
 * or left for samba__prefix_cache_write_late. */
samba__prefix_put samba__prefix_cache_store(samba_prefix_cache *cache, samba__image *image,
                                            bool writes_files);
void samba__prefix_cache_write_late(samba_prefix_cache *cache);

/* A prompt on its way into a session. */
typedef struct samba__prefix_reading {
    samba_prefix_cache *cache;
    samba__prefix_key key;  /* all tokens from position 0 to the prompt's end */
    samba__history history; /* the same, shared by the images; empty: out of memory */
    bool needs_logits;      /* at the end */
    bool writes_files;      /* at once, when something is stored */
    uint64_t from;          /* where the session stands that is to read it */
    samba_prefix_report report;
} samba__prefix_reading;

/* Finds the longest beginning that is known, and starts the report. *image is the caller's: of a
 * position behind `from`, or NULL: nothing that long. May read files. */
void samba__prefix_reading_find(samba__prefix_reading *reading, samba__layout *layout,
                                samba__image **image);
/* The next position to be stored, behind `at`: a multiple of the interval, where the prompt left
 * what was cached (so may the next one), or its end. */
size_t samba__prefix_reading_stop(const samba__prefix_reading *reading, size_t at);
/* Where the session stands becomes an entry, if memory and budget allow. True if it is a new one.
 * The session's own history may be short or none: the image's has every token up to here. */
bool samba__prefix_reading_store(const samba__prefix_reading *reading,
                                 const samba_session *session);
/* At the end: counts it. */
void samba__prefix_reading_count(const samba__prefix_reading *reading);

#endif
