/*
 * Reading a prompt by way of a cache; see prefix_cache.h: what is known of it, where to store on
 * the way, and the eval that does it all.
 */
#include "run/batch.h"
#include "run/detokenize.h"
#include "run/prefix_cache.h"

/* ---------------------------------------------------------------- finding */

/* What is there for a prompt. */
typedef struct search {
    const samba__prefix_key *key;
    bool needs_logits;
    uint64_t from;             /* what ends here or before is of no use */
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
    if (s->match.entry && samba__image_position(s->match.entry->image) > s->from) {
        s->image = samba__image_retain(s->match.entry->image);
        samba__prefix_index_touch(&c->index, s->match.entry);
    }
    s->other_is_longer = other_type_is_longer(c, s);
    uint64_t n = s->image ? samba__image_position(s->image) : s->from;
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
    (void)samba__prefix_cache_store(c, samba__image_retain(image), true);
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

void samba__prefix_reading_find(samba__prefix_reading *r, samba__layout *layout,
                                samba__image **image)
{
    samba_prefix_cache *c = r->cache;
    search s = {.key = &r->key, .needs_logits = r->needs_logits, .from = r->from};
    samba_prefix_report *report = &r->report;
    samba__prefix_cache_write_late(c);
    while (look(c, &s) && !fetch(c, &s, layout))
        continue;
    uint64_t found = s.image ? samba__image_position(s.image) : 0;
    *report = (samba_prefix_report){
        .struct_size = sizeof *report,
        .matched = found > s.match.matched ? found : s.match.matched,
        .restored = s.image ? found : r->from,
        .from_file = s.from_file,
        .exact = (c->model->device->info.flags & SAMBA_BACKEND_INVARIANT) != 0};
    report->replayed = r->key.n - report->restored;
    report->reason = reason_of(&s, report);
    *image = s.image;
}

/* ---------------------------------------------------------------- reading */

size_t samba__prefix_reading_stop(const samba__prefix_reading *r, size_t at)
{
    size_t stop = r->key.n, matched = (size_t)r->report.matched;
    uint32_t interval = r->cache->interval;
    if (interval && interval - at % interval < stop - at)
        stop = at + (interval - at % interval);
    return at < matched && matched < stop ? matched : stop;
}

bool samba__prefix_reading_store(const samba__prefix_reading *r, const samba_session *s)
{
    const samba__rows *rows = &s->rows;
    samba__history history = r->history;
    samba__image *image = NULL;
    if (!history.n)
        return false;
    history.n = (size_t)samba__session_position(s);
    const samba__image_parts parts = {.layout = s->sequence.layout,
                                      .state = s->sequence.state,
                                      .history = &history,
                                      .output = rows->output,
                                      .row = rows->first};
    return samba__image_create(&parts, &image, NULL) == SAMBA_OK &&
           samba__prefix_cache_store(r->cache, image, r->writes_files) == SAMBA__PREFIX_ADDED;
}

void samba__prefix_reading_count(const samba__prefix_reading *r)
{
    samba_prefix_cache *c = r->cache;
    bool hit = r->report.restored > r->from;
    uv_mutex_lock(&c->lock);
    c->stats.n_hits += hit;
    c->stats.n_misses += !hit;
    c->stats.n_restored += hit ? r->report.restored : 0;
    c->stats.n_replayed += r->report.replayed;
    uv_mutex_unlock(&c->lock);
}

/* ---------------------------------------------------------------- evals */

/* Every stop gets logits, one row each, so that any of them can be a whole prompt. */
static samba_status read_rest(samba__prefix_reading *r, samba_session *session,
                              const samba_cancel *cancel, samba_error **error)
{
    for (size_t at = (size_t)r->report.restored, next; at < r->key.n; at = next) {
        next = samba__prefix_reading_stop(r, at);
        samba__request request = {.session = session,
                                  .tokens = r->key.tokens + at,
                                  .n_tokens = next - at,
                                  .outputs = SAMBA_OUTPUT_LAST};
        SAMBA__TRY(samba__request_run(&request, cancel, error));
        r->report.stored += samba__prefix_reading_store(r, session);
    }
    return SAMBA_OK;
}

static void copy_tokens(samba__prefix_reading *r)
{
    samba__history_init(&r->history, r->cache->alloc, r->key.n);
    if (samba__history_stage(&r->history, r->key.tokens, r->key.n, NULL) == SAMBA_OK)
        samba__history_commit(&r->history, r->key.n);
}

samba_status samba__prefix_cache_eval(samba_prefix_cache *cache, samba_session *session,
                                      const samba__prefix_prompt *prompt,
                                      samba_prefix_report *report, samba_error **error)
{
    samba__layout *layout = session->sequence.layout;
    samba__image *image = NULL;
    samba__prefix_reading r = {
        .cache = cache,
        .key = {.kv_dtype = layout->kv_dtype, .tokens = prompt->tokens, .n = prompt->n},
        .needs_logits = prompt->outputs == SAMBA_OUTPUT_LAST,
        .writes_files = true};
    samba_status status = SAMBA_OK;
    SAMBA__TRY(samba__prefix_cache_check(cache, session, error));
    SAMBA__TRY(samba__check_tokens(cache->model, prompt->tokens, prompt->n, error));
    samba__prefix_reading_find(&r, layout, &image);
    if (image)
        samba__session_install(session, image);
    else
        SAMBA__TRY_GOTO(samba__session_reset(session, error));
    if (r.report.replayed)
        copy_tokens(&r);
    SAMBA__TRY_GOTO(read_rest(&r, session, prompt->cancel, error));
    if (prompt->outputs == SAMBA_OUTPUT_NONE)
        samba__session_set_rows(session, NULL, 0, 0);
    samba__prefix_reading_count(&r);
    *report = r.report;
fail:
    samba__image_release(image);
    samba__history_free(&r.history);
    return status;
}
