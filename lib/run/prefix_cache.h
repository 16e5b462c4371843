/*
 * Prefix cache: images of prompts (state/prefix_index.h) behind a lock, files of those that the
 * budget has no room for (prefix_spill.h), and evals that start from them. Under the lock entries
 * are only found, linked and counted; passes run, images are made and freed, and files are read and
 * written outside of it.
 */
#ifndef SAMBA_RUN_PREFIX_CACHE_H
#define SAMBA_RUN_PREFIX_CACHE_H

#include "run/prefix_spill.h"
#include "run/session.h"
#include "state/prefix_index.h"

struct samba_prefix_cache {
    const samba_allocator *alloc;
    samba_model *model; /* retained */
    uint32_t interval;  /* 0: none */
    uv_mutex_t lock;    /* of all below */
    samba__prefix_index index;
    samba__spill spill;
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
void samba__prefix_cache_free(samba_prefix_cache *cache); /* accepts NULL */
samba_status samba__prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                      const samba__prefix_prompt *prompt,
                                      samba_prefix_report *report, samba_error **error);
samba_status samba__prefix_cache_put(samba_prefix_cache *cache, const samba_session *session,
                                     samba_error **error);
void samba__prefix_cache_clear(samba_prefix_cache *cache);
samba_status samba__prefix_cache_flush(samba_prefix_cache *cache, samba_error **error);
void samba__prefix_cache_get_stats(samba_prefix_cache *cache, samba_prefix_cache_stats *stats);

#endif
