/* The prefix cache's life and its evals; see prefix_cache.h. */
#include "run/prefix_cache.h"
#include "run/batch.h"
#include "run/detokenize.h"

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
    c->alloc = model->alloc;
    c->model = samba__model_retain(model);
    c->interval = interval == SAMBA_PREFIX_INTERVAL_NONE ? 0 : interval;
    samba__prefix_index_init(&c->index, c->alloc, max_bytes);
    samba_status status =
        samba__spill_open(&c->spill, model, options->spill_directory, &limits, error);
    if (status != SAMBA_OK) {
        samba__prefix_cache_free(c);
        return status;
    }
    *cache = c;
    return SAMBA_OK;
}

void samba__prefix_cache_free(samba_prefix_cache *cache)
{
    if (!cache)
        return;
    samba_model *model = cache->model;
    samba__prefix_index_free(&cache->index);
    samba__spill_close(&cache->spill);
    uv_mutex_destroy(&cache->lock);
    samba__free(cache->alloc, cache);
    samba__model_release(model);
}

void samba__prefix_cache_clear(samba_prefix_cache *cache)
{
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

/* Takes the image over, whatever becomes of it. */
static samba__prefix_put store(samba_prefix_cache *c, samba__image *image)
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
    uv_mutex_unlock(&c->lock);
    samba__prefix_entries_free(spare);
    spill_all(c, out);
    samba__prefix_entries_free(out);
    return result;
}

static samba_status check_session(const samba_prefix_cache *c, const samba_session *s,
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

samba_status samba__prefix_cache_put(samba_prefix_cache *cache, const samba_session *session,
                                     samba_error **error)
{
    uint64_t position = samba__session_position(session);
    samba__image *image = NULL;
    SAMBA__TRY(check_session(cache, session, error));
    if (!position || session->history.n != position)
        return samba__fail(cache->alloc, error, SAMBA_ERROR_STATE,
                           "the session stands at position %llu and has kept %zu tokens; to be "
                           "found again it needs all, and at least one",
                           (unsigned long long)position, session->history.n);
    SAMBA__TRY(samba__session_image(session, &image, error));
    uint64_t bytes = samba__prefix_image_bytes(image);
    switch (store(cache, image)) {
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

/* ---------------------------------------------------------------- finding */

/* What is there for a prompt. */
typedef struct search {
    const samba__prefix_key *key;
    bool needs_logits;
    samba__prefix_match match; /* in memory */
    bool other_is_longer;      /* one of another type */
    samba__image *image;       /* the longest there is, retained; NULL: none */
    samba__spill_file file;    /* a longer one, not read yet */
    bool from_file, file_failed;
} search;

/* (lock) */
static bool other_type_is_longer(const samba_prefix_cache *c, const search *s)
{
    samba__prefix_match other;
    for (samba_dtype d = SAMBA_DTYPE_F32; d <= SAMBA_DTYPE_Q8_0; d++) {
        const samba__prefix_key k = {.kv_dtype = d, .tokens = s->key->tokens, .n = s->key->n};
        if (d == s->key->kv_dtype)
            continue;
        samba__prefix_index_find(&c->index, &k, false, &other);
        if (other.matched > s->match.matched)
            return true;
    }
    return false;
}

/* The longest image in memory; true if there is a longer file. */
static bool look(samba_prefix_cache *c, search *s)
{
    samba__image_release(s->image);
    s->image = NULL;
    uv_mutex_lock(&c->lock);
    samba__prefix_index_find(&c->index, s->key, s->needs_logits, &s->match);
    if (s->match.entry) {
        s->image = samba__image_retain(s->match.entry->image);
        samba__prefix_index_touch(&c->index, s->match.entry);
    }
    s->other_is_longer = other_type_is_longer(c, s);
    uint64_t n = s->image ? samba__image_position(s->image) : 0;
    bool longer = samba__spill_find(&c->spill, s->key, n, s->needs_logits, &s->file);
    uv_mutex_unlock(&c->lock);
    return longer;
}

/* Brings the file that was found into memory. One that can't be restored is not asked again; false:
 * look for another. */
static bool fetch(samba_prefix_cache *c, search *s, samba__layout *layout)
{
    samba__image *image = NULL;
    samba_status status = samba__spill_read(&c->spill, &s->file, s->key, layout, &image, NULL);
    uv_mutex_lock(&c->lock);
    c->stats.n_file_hits += status == SAMBA_OK;
    c->stats.n_file_failures += status != SAMBA_OK;
    if (status != SAMBA_OK && status != SAMBA_ERROR_OUT_OF_MEMORY)
        samba__spill_forget(&c->spill, &s->file);
    uv_mutex_unlock(&c->lock);
    s->from_file = status == SAMBA_OK;
    s->file_failed |= status != SAMBA_OK;
    if (status != SAMBA_OK)
        return status == SAMBA_ERROR_OUT_OF_MEMORY;
    (void)store(c, samba__image_retain(image));
    samba__image_release(s->image);
    s->image = image;
    return true;
}

static samba_prefix_reason reason_of(const search *s, const samba_prefix_report *report)
{
    if (report->restored == s->key->n)
        return SAMBA_PREFIX_WHOLE;
    if (s->file_failed)
        return SAMBA_PREFIX_FILE_FAILED;
    if (s->match.lacks_logits)
        return SAMBA_PREFIX_NO_LOGITS;
    if (report->restored < report->matched)
        return SAMBA_PREFIX_NOT_STORED;
    return s->other_is_longer ? SAMBA_PREFIX_OTHER_KV_DTYPE : SAMBA_PREFIX_NEW;
}

/* The longest beginning there is, in memory or in a file, and why it is not longer. s->image, if
 * any, is the caller's. */
static void find(samba_prefix_cache *c, search *s, samba__layout *layout,
                 samba_prefix_report *report)
{
    while (look(c, s) && !fetch(c, s, layout))
        continue;
    report->restored = s->image ? samba__image_position(s->image) : 0;
    report->matched = report->restored > s->match.matched ? report->restored : s->match.matched;
    report->from_file = s->from_file;
    report->reason = reason_of(s, report);
}

/* ---------------------------------------------------------------- reading */

/* One eval. */
typedef struct reading {
    samba_prefix_cache *cache;
    samba_session *session;
    const samba__prefix_prompt *prompt;
    samba__history history; /* all tokens, which the images share; empty: out of memory */
    samba_prefix_report *report;
} reading;

static void copy_tokens(reading *r)
{
    const samba__prefix_prompt *p = r->prompt;
    samba__history_init(&r->history, r->cache->alloc, p->n);
    if (samba__history_stage(&r->history, p->tokens, p->n, NULL) == SAMBA_OK)
        samba__history_commit(&r->history, p->n);
}

/* Where the session stands becomes an entry, if memory and budget allow. The session's own history
 * may be short or none: the image's has every token up to here. */
static void store_here(reading *r)
{
    const samba_session *s = r->session;
    const samba__rows *rows = &s->rows;
    samba__history history = r->history;
    samba__image *image = NULL;
    if (!history.n)
        return;
    history.n = (size_t)samba__session_position(s);
    const samba__image_parts parts = {.layout = s->sequence.layout,
                                      .state = s->sequence.state,
                                      .history = &history,
                                      .output = rows->output,
                                      .row = rows->first};
    if (samba__image_create(&parts, &image, NULL) == SAMBA_OK)
        r->report->stored += store(r->cache, image) == SAMBA__PREFIX_ADDED;
}

/* The next position to be stored: a multiple of the interval, where the prompt left what was
 * cached (so may the next one), or its end. */
static size_t next_stop(const reading *r, size_t at)
{
    size_t stop = r->prompt->n, matched = (size_t)r->report->matched;
    uint32_t interval = r->cache->interval;
    if (interval && interval - at % interval < stop - at)
        stop = at + (interval - at % interval);
    return at < matched && matched < stop ? matched : stop;
}

/* Every stop gets logits, one row each, so that any of them can be a whole prompt. */
static samba_status read_rest(reading *r, samba_error **error)
{
    const samba__prefix_prompt *p = r->prompt;
    for (size_t at = (size_t)r->report->restored, next; at < p->n; at = next) {
        next = next_stop(r, at);
        samba__request request = {.session = r->session,
                                  .tokens = p->tokens + at,
                                  .n_tokens = next - at,
                                  .outputs = SAMBA_OUTPUT_LAST};
        SAMBA__TRY(samba__request_run(&request, p->cancel, error));
        store_here(r);
    }
    return SAMBA_OK;
}

static void count(samba_prefix_cache *c, const samba_prefix_report *report)
{
    uv_mutex_lock(&c->lock);
    c->stats.n_hits += report->restored != 0;
    c->stats.n_misses += report->restored == 0;
    c->stats.n_restored += report->restored;
    c->stats.n_replayed += report->replayed;
    uv_mutex_unlock(&c->lock);
}

samba_status samba__prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                      const samba__prefix_prompt *prompt,
                                      samba_prefix_report *report, samba_error **error)
{
    samba__layout *layout = session->sequence.layout;
    const samba__prefix_key key = {
        .kv_dtype = layout->kv_dtype, .tokens = prompt->tokens, .n = prompt->n};
    search found = {.key = &key, .needs_logits = prompt->outputs == SAMBA_OUTPUT_LAST};
    samba_prefix_report done = {.struct_size = sizeof done};
    reading r = {.cache = cache, .session = session, .prompt = prompt, .report = &done};
    samba_status status = SAMBA_OK;
    SAMBA__TRY(check_session(cache, session, error));
    SAMBA__TRY(samba__check_tokens(cache->model, prompt->tokens, prompt->n, error));
    find(cache, &found, layout, &done);
    done.replayed = prompt->n - done.restored;
    done.exact = (cache->model->device->info.flags & SAMBA_BACKEND_INVARIANT) != 0;
    if (found.image)
        samba__session_install(session, found.image);
    else
        SAMBA__TRY_GOTO(samba__session_reset(session, error));
    if (done.replayed)
        copy_tokens(&r);
    SAMBA__TRY_GOTO(read_rest(&r, error));
    if (prompt->outputs == SAMBA_OUTPUT_NONE)
        samba__session_set_rows(session, NULL, 0, 0);
    count(cache, &done);
    *report = done;
fail:
    samba__image_release(found.image);
    samba__history_free(&r.history);
    return status;
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
    SAMBA__TRY(all_images(cache, &images, &n, error));
    for (size_t i = 0; i < n; i++) {
        if (status == SAMBA_OK)
            status = spill(cache, images[i], error);
        samba__image_release(images[i]);
    }
    samba__free(cache->alloc, images);
    return status;
}
