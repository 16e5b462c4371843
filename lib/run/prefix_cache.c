/* The prefix cache's life, and what is stored in it; see prefix_cache.h. */
#include "run/prefix_cache.h"

enum {
    STATES_KEPT = 16,   /* default budget */
    SPILL_BUDGETS = 8,  /* default of the files', in budgets */
    FULL_TOKENS = 4096, /* what a page slot without a window counts as in it */
    INTERVAL = 512
};

/* ---------------------------------------------------------------- life */

static uint64_t default_bytes(const samba_model *m)
{
    const samba__full_state full = {.kv_dtype = SAMBA_DTYPE_F16,
                                    .rows_per_pass = SAMBA__ROWS_PER_PASS,
                                    .full_tokens = FULL_TOKENS};
    return STATES_KEPT *
           (samba__model_state_bytes(m, &full) + (uint64_t)FULL_TOKENS * sizeof(samba_token));
}

static uint64_t spill_bytes(const samba_prefix_cache_options *options, uint64_t max_bytes)
{
    if (options->max_spill_bytes)
        return options->max_spill_bytes;
    return max_bytes < UINT64_MAX / SPILL_BUDGETS ? SPILL_BUDGETS * max_bytes : UINT64_MAX;
}

samba_status samba__prefix_cache_create(samba_model *model,
                                        const samba_prefix_cache_options *options,
                                        samba_prefix_cache **cache, samba_error **error)
{
    uint32_t interval = options->interval ? options->interval : INTERVAL;
    uint64_t max_bytes = options->max_bytes ? options->max_bytes : default_bytes(model);
    const samba__spill_limits limits = {.file_bytes = spill_bytes(options, max_bytes),
                                        .image_bytes = max_bytes};
    samba_prefix_cache *c = samba__calloc(model->alloc, 1, sizeof *c);
    if (!c)
        return samba__fail_oom(error);
    if (uv_mutex_init(&c->lock) != 0) {
        samba__free(model->alloc, c);
        return samba__fail_oom(error);
    }
    samba__refs_init(&c->refs);
    c->alloc = model->alloc;
    c->model = samba__model_retain(model);
    c->interval = interval == SAMBA_PREFIX_INTERVAL_NONE ? 0 : interval;
    samba__prefix_index_init(&c->index, c->alloc, max_bytes);
    samba_status status =
        samba__spill_open(&c->spill, model, options->spill_directory, &limits, error);
    if (status != SAMBA_OK) {
        samba__prefix_cache_release(c);
        return status;
    }
    *cache = c;
    return SAMBA_OK;
}

samba_prefix_cache *samba__prefix_cache_retain(samba_prefix_cache *cache)
{
    samba__refs_take(&cache->refs);
    return cache;
}

void samba__prefix_cache_release(samba_prefix_cache *cache)
{
    if (!cache || !samba__refs_drop(&cache->refs))
        return;
    samba_model *model = cache->model;
    samba__prefix_entries_free(cache->late);
    samba__prefix_index_free(&cache->index);
    samba__spill_close(&cache->spill);
    uv_mutex_destroy(&cache->lock);
    samba__free(cache->alloc, cache);
    samba__model_release(model);
}

void samba__prefix_cache_free(samba_prefix_cache *cache)
{
    if (cache)
        samba__prefix_cache_write_late(cache);
    samba__prefix_cache_release(cache);
}

void samba__prefix_cache_clear(samba_prefix_cache *cache)
{
    samba__prefix_cache_write_late(cache);
    uv_mutex_lock(&cache->lock);
    samba__prefix_entry *list = samba__prefix_index_clear(&cache->index);
    uv_mutex_unlock(&cache->lock);
    samba__prefix_entries_free(list);
}

void samba__prefix_cache_get_stats(samba_prefix_cache *cache, samba_prefix_cache_stats *stats)
{
    uv_mutex_lock(&cache->lock);
    *stats = cache->stats;
    stats->n_entries = cache->index.n;
    stats->bytes = cache->index.bytes;
    stats->max_bytes = cache->index.max_bytes;
    stats->n_files = cache->spill.n;
    stats->file_bytes = cache->spill.bytes;
    uv_mutex_unlock(&cache->lock);
    stats->struct_size = sizeof *stats;
}

/* ---------------------------------------------------------------- storing */

/* Writes an image to the folder, unless it is there. */
static samba_status spill(samba_prefix_cache *c, samba__image *image, samba_error **error)
{
    samba__spill_file *file = NULL, *old = NULL;
    uv_mutex_lock(&c->lock);
    bool known = samba__spill_knows(&c->spill, image);
    uv_mutex_unlock(&c->lock);
    if (known)
        return SAMBA_OK;
    samba_status status = samba__spill_write(&c->spill, image, &file, error);
    uv_mutex_lock(&c->lock);
    if (file)
        samba__spill_add(&c->spill, file, &old);
    c->stats.n_written += status == SAMBA_OK;
    c->stats.n_file_failures += status != SAMBA_OK;
    uv_mutex_unlock(&c->lock);
    samba__spill_delete(&c->spill, old);
    return status;
}

/* What went out of memory goes into the folder, if there is one. That this fails is counted, no
 * more: nothing is lost that cannot be read again. */
static void spill_all(samba_prefix_cache *c, const samba__prefix_entry *list)
{
    for (; list && c->spill.folder; list = list->newer)
        (void)spill(c, list->image, NULL);
}

void samba__prefix_cache_write_late(samba_prefix_cache *c)
{
    uv_mutex_lock(&c->lock);
    samba__prefix_entry *list = c->late;
    c->late = NULL;
    uv_mutex_unlock(&c->lock);
    spill_all(c, list);
    samba__prefix_entries_free(list);
}

/* (lock) What went out of memory and is to be written by somebody else joins those. */
static void put_off(samba_prefix_cache *c, samba__prefix_entry **list)
{
    samba__prefix_entry **end = &c->late;
    while (*end)
        end = &(*end)->newer;
    *end = *list;
    *list = NULL;
}

samba__prefix_put samba__prefix_cache_store(samba_prefix_cache *c, samba__image *image,
                                            bool writes_files)
{
    samba__prefix_entry *entry = samba__prefix_entry_create(image), *spare = NULL, *out = NULL;
    if (!entry) {
        samba__image_release(image);
        return SAMBA__PREFIX_NO_MEMORY;
    }
    uv_mutex_lock(&c->lock);
    samba__prefix_put result = samba__prefix_index_put(&c->index, entry, &spare, &out);
    c->stats.n_stored += result == SAMBA__PREFIX_ADDED;
    for (const samba__prefix_entry *e = out; e; e = e->newer)
        c->stats.n_evicted++;
    if (!writes_files && c->spill.folder)
        put_off(c, &out);
    uv_mutex_unlock(&c->lock);
    samba__prefix_entries_free(spare);
    spill_all(c, out);
    samba__prefix_entries_free(out);
    return result;
}

samba_status samba__prefix_cache_check(const samba_prefix_cache *c, const samba_session *s,
                                       samba_error **error)
{
    uint64_t first = s->sequence.state->first_position;
    if (s->model != c->model)
        return samba__fail(c->alloc, error, SAMBA_ERROR_MISMATCH,
                           "the cache is of model \"%s\", the session of model \"%s\", which is "
                           "another one or was loaded another time",
                           c->model->name, s->model->name);
    if (first)
        return samba__fail(c->alloc, error, SAMBA_ERROR_STATE,
                           "the session begins at position %llu, a prefix cache holds what begins "
                           "at 0",
                           (unsigned long long)first);
    return samba__session_check_idle(s, error);
}

samba_status samba__prefix_cache_check_history(const samba_prefix_cache *c, const samba_session *s,
                                               samba_error **error)
{
    uint64_t position = samba__session_position(s);
    if (s->history.n == position)
        return SAMBA_OK;
    return samba__fail(c->alloc, error, SAMBA_ERROR_STATE,
                       "the session stands at position %llu and has kept %zu tokens; to be found "
                       "again it needs all",
                       (unsigned long long)position, s->history.n);
}

samba_status samba__prefix_cache_put(samba_prefix_cache *cache, const samba_session *session,
                                     samba_error **error)
{
    uint64_t position = samba__session_position(session);
    samba__image *image = NULL;
    SAMBA__TRY(samba__prefix_cache_check(cache, session, error));
    SAMBA__TRY(samba__prefix_cache_check_history(cache, session, error));
    if (!position)
        return samba__fail(cache->alloc, error, SAMBA_ERROR_STATE,
                           "nothing has been fed to the session that could be found again");
    SAMBA__TRY(samba__session_image(session, &image, error));
    uint64_t bytes = samba__prefix_image_bytes(image);
    switch (samba__prefix_cache_store(cache, image, true)) {
    case SAMBA__PREFIX_TOO_BIG:
        return samba__fail(cache->alloc, error, SAMBA_ERROR_LIMIT,
                           "the session takes %llu bytes, max_bytes is %llu",
                           (unsigned long long)bytes, (unsigned long long)cache->index.max_bytes);
    case SAMBA__PREFIX_NO_MEMORY:
        return samba__fail_oom(error);
    default:
        return SAMBA_OK;
    }
}

/* ---------------------------------------------------------------- writing all */

/* All images, the least recently used first. */
static samba_status all_images(samba_prefix_cache *c, samba__image ***images, size_t *n,
                               samba_error **error)
{
    uv_mutex_lock(&c->lock);
    samba__image **list = samba__alloc_array(c->alloc, c->index.n, sizeof(samba__image *));
    *n = 0;
    for (const samba__prefix_entry *e = c->index.oldest; list && e; e = e->newer)
        list[(*n)++] = samba__image_retain(e->image);
    uv_mutex_unlock(&c->lock);
    if (!list)
        return samba__fail_oom(error);
    *images = list;
    return SAMBA_OK;
}

samba_status samba__prefix_cache_flush(samba_prefix_cache *cache, samba_error **error)
{
    samba__image **images = NULL;
    samba_status status = SAMBA_OK;
    size_t n = 0;
    if (!cache->spill.folder)
        return samba__fail(cache->alloc, error, SAMBA_ERROR_STATE,
                           "the cache has no spill_directory to write its entries to");
    samba__prefix_cache_write_late(cache);
    SAMBA__TRY(all_images(cache, &images, &n, error));
    for (size_t i = 0; i < n; i++) {
        if (status == SAMBA_OK)
            status = spill(cache, images[i], error);
        samba__image_release(images[i]);
    }
    samba__free(cache->alloc, images);
    return status;
}
