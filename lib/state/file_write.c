/*
 * Writing a snapshot file: header, sections, directory, trailer, in one pass over the content. The
 * directory stands at the end because only then is it known how long encoded sections are.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/mac.h"
#include "state/file_format.h"
#include "state/rounds.h"
#include "state/snapshot_file.h"
#include "tensor/blocks.h"

typedef struct writer {
    const samba__content *content;
    const samba__file_write *options;
    const samba__file_sink *sink;
    samba__hash_stream hash; /* of the whole file */
    samba__mac mac;
    uint64_t offset, done, total;
    samba__file_entry *entries; /* [n_sections] */
    samba__hash64_stream section_hash;
    size_t section; /* being written */
    samba__rounds rounds;
} writer;

/* ---------------------------------------------------------------- bytes */

static samba_status put(writer *w, const void *data, size_t size, samba_error **error)
{
    if (!size)
        return SAMBA_OK;
    samba__hash_update(&w->hash, data, size);
    if (w->options->key.data)
        samba__mac_update(&w->mac, data, size);
    SAMBA__TRY(w->sink->write(w->sink->arg, data, size, error));
    w->offset += size;
    return SAMBA_OK;
}

static int32_t stored_type(const samba__section *s, bool lossy_kv)
{
    const bool lossy = lossy_kv && s->kind == SAMBA_SECTION_KV && s->dims[0] &&
                       s->dims[3] % SAMBA__Q8_0_BLOCK == 0;
    return lossy ? SAMBA_DTYPE_Q8_0 : s->type;
}

static samba_status put_header(writer *w, samba_error **error)
{
    const samba__content *c = w->content;
    const samba_allocator *a = c->alloc;
    samba__file_header h = {.size = (uint32_t)samba__file_header_size(c->name),
                            .library_version = w->options->library_version,
                            .n_sections = (uint32_t)c->n_sections,
                            .optional = w->options->key.data ? SAMBA__FEATURE_OPTIONAL_MAC : 0};
    for (size_t i = 0; i < c->n_sections; i++) {
        const int32_t type = stored_type(&c->sections[i], w->options->lossy_kv);
        uint64_t raw = 0;
        samba__section_bytes(&c->sections[i], type, &raw);
        h.raw_bytes += raw;
        if (type != c->sections[i].type)
            h.required |= SAMBA__FEATURE_LOSSY_KV;
    }
    uint8_t *bytes = samba__alloc(a, h.size);
    if (!bytes)
        return samba__fail_oom(error);
    samba__file_put_header(c, &h, bytes);
    const samba_status status = put(w, bytes, h.size, error);
    samba__free(a, bytes);
    return status;
}

static samba_status put_end(writer *w, samba_error **error)
{
    const samba__content *c = w->content;
    uint8_t trailer[SAMBA__FILE_TRAILER];
    uint8_t *entries = samba__alloc_array(c->alloc, c->n_sections, SAMBA__FILE_ENTRY);
    samba_status status;
    if (!entries)
        return samba__fail_oom(error);
    for (size_t i = 0; i < c->n_sections; i++)
        samba__file_put_entry(&c->sections[i], &w->entries[i], entries + i * SAMBA__FILE_ENTRY);
    samba__file_put_trailer(&(samba__file_end){w->offset, entries, c->n_sections}, trailer);
    SAMBA__TRY_GOTO(put(w, entries, c->n_sections * SAMBA__FILE_ENTRY, error));
    SAMBA__TRY_GOTO(put(w, trailer, SAMBA__FILE_MAC_AT, error));
    if (w->options->key.data)
        samba__mac_end(&w->mac, trailer + SAMBA__FILE_MAC_AT);
    samba__hash_update(&w->hash, trailer + SAMBA__FILE_MAC_AT, SAMBA__MAC_BYTES);
    samba__hash_end(&w->hash, trailer + SAMBA__FILE_HASH_AT);
    status = w->sink->write(w->sink->arg, trailer + SAMBA__FILE_MAC_AT,
                            SAMBA__FILE_TRAILER - SAMBA__FILE_MAC_AT, error);
fail:
    samba__free(c->alloc, entries);
    return status;
}

/* ---------------------------------------------------------------- sections */

/* Ends sections until `section` is the one being written. */
static void go_to(writer *w, size_t section)
{
    for (; w->section < section; w->section++) {
        samba__file_entry *e = &w->entries[w->section];
        e->stored_bytes = w->offset - e->offset;
        e->hash = samba__hash64_end(&w->section_hash);
        if (w->section + 1 < w->content->n_sections)
            w->entries[w->section + 1].offset = w->offset;
        samba__hash64_begin(&w->section_hash);
    }
}

static samba_status fail_task(const writer *w, const samba__round_task *t, samba_error **error)
{
    char name[SAMBA__SECTION_TEXT];
    if (t->result == SAMBA__CHUNK_NO_MEMORY)
        return samba__fail_oom(error);
    samba__section_text(&w->content->sections[t->section], name);
    return samba__fail(w->content->alloc, error, SAMBA_ERROR_STATE,
                       "%s holds NaN or infinity: such a state cannot be saved", name);
}

/* Encodes what has been collected and writes it. */
static samba_status end_round(writer *w, samba_error **error)
{
    const samba__file_watch *watch = &w->options->watch;
    samba__rounds *r = &w->rounds;
    samba__rounds_run(r);
    for (size_t i = 0; i < r->n; i++) {
        const samba__round_task *t = &r->tasks[i];
        if (t->result != SAMBA__CHUNK_OK)
            return fail_task(w, t, error);
        go_to(w, t->section);
        samba__hash64_update(&w->section_hash, t->chunk.stored, t->chunk.to_size);
        SAMBA__TRY(put(w, t->chunk.stored, t->chunk.to_size, error));
        w->done += t->chunk.from_size;
    }
    samba__rounds_clear(r);
    return watch->show ? watch->show(watch->arg, w->done, w->total, error) : SAMBA_OK;
}

static samba_status room(writer *w, size_t in, size_t out, samba_error **error)
{
    if (samba__rounds_room(&w->rounds, in, out))
        return SAMBA_OK;
    if (w->rounds.n)
        SAMBA__TRY(end_round(w, error));
    return samba__rounds_room(&w->rounds, in, out) ? SAMBA_OK : samba__fail_oom(error);
}

/* Where the round's first chunk is made: at the end of the sink's bytes if it lets us. */
static uint8_t *first_at(const writer *w, size_t size, uint8_t *otherwise)
{
    uint8_t *at = w->sink->room && !w->rounds.n ? w->sink->room(w->sink->arg, size) : NULL;
    return at ? at : otherwise;
}

/* `from` stays until the round ends; there is room in `out`. */
static samba_status add(writer *w, size_t section, const uint8_t *from, size_t size,
                        samba_error **error)
{
    samba__rounds *r = &w->rounds;
    const size_t most = samba__chunk_bound(size);
    const samba__round_task t = {.section = section,
                                 .chunk = {.type = w->content->sections[section].type,
                                           .stored_type = w->entries[section].stored_type,
                                           .codec = w->entries[section].codec,
                                           .level = w->options->level,
                                           .from = from,
                                           .from_size = size,
                                           .to = first_at(w, most, r->out + r->out_used)}};
    r->out_used += most;
    return samba__rounds_add(r, &t) ? SAMBA_OK : samba__fail_oom(error);
}

/* How a section is cut: bytes of a chunk's rows as they are in memory. */
static size_t chunk_bytes(const writer *w, size_t section)
{
    const samba__section *s = &w->content->sections[section];
    const uint64_t rows = samba__chunk_rows(s, w->entries[section].stored_type);
    return (size_t)rows * samba__section_row(s, s->type);
}

/* A section whose bytes are in memory. */
static samba_status add_bytes(writer *w, size_t section, const uint8_t *data, samba_error **error)
{
    const samba__section *s = &w->content->sections[section];
    const size_t most = chunk_bytes(w, section);
    for (uint64_t at = 0; at < s->bytes; at += most) {
        const size_t n = s->bytes - at < most ? (size_t)(s->bytes - at) : most;
        SAMBA__TRY(room(w, 0, samba__chunk_bound(n), error));
        SAMBA__TRY(add(w, section, data + at, n, error));
    }
    return SAMBA_OK;
}

/* Keys and values that are in cells: packed a chunk at a time. */
static samba_status add_rows(writer *w, size_t section, samba_error **error)
{
    const samba__section *s = &w->content->sections[section];
    const size_t row = samba__section_row(s, s->type);
    const samba__file_entry *e = &w->entries[section];
    const uint64_t most = samba__chunk_rows(s, e->stored_type);
    const bool as_is = e->codec == SAMBA_CODEC_RAW && e->stored_type == s->type;
    samba__rounds *r = &w->rounds;
    for (uint64_t at = 0; at < s->dims[0]; at += most) {
        const samba__rows_range rows = {at, s->dims[0] - at < most ? s->dims[0] - at : most};
        const size_t size = (size_t)rows.n * row;
        SAMBA__TRY(room(w, size, samba__chunk_bound(size), error));
        uint8_t *to = r->in + r->in_used;
        if (as_is) /* then nothing is written to the chunk's `to`, which is the same */
            to = first_at(w, size, to);
        SAMBA__TRY(samba__content_rows(w->content, s, rows, to, error));
        r->in_used += size;
        SAMBA__TRY(add(w, section, to, size, error));
    }
    return SAMBA_OK;
}

/* A slab that is in a cell, with all its parts: packed at once. */
static samba_status add_slab(writer *w, size_t section, size_t *n_parts, samba_error **error)
{
    const samba__section *s = &w->content->sections[section];
    const uint64_t size = samba__content_slab_bytes(w->content, section, n_parts);
    size_t out = 0;
    for (size_t i = 0; i < *n_parts; i++)
        out += (size_t)s[i].bytes +
               ((size_t)s[i].bytes / chunk_bytes(w, section + i) + 1) * samba__chunk_bound(0);
    SAMBA__TRY(room(w, (size_t)size, out, error));
    uint8_t *to = w->rounds.in + w->rounds.in_used;
    SAMBA__TRY(samba__content_slab(w->content, s, to, size, error));
    w->rounds.in_used += (size_t)size;
    for (size_t i = 0; i < *n_parts; i++) {
        SAMBA__TRY(add_bytes(w, section + i, to, error));
        to += s[i].bytes;
    }
    return SAMBA_OK;
}

static samba_status put_sections(writer *w, samba_error **error)
{
    const samba__content *c = w->content;
    samba__hash64_begin(&w->section_hash);
    if (c->n_sections)
        w->entries[0].offset = w->offset;
    for (size_t i = 0, parts = 1; i < c->n_sections; i += parts, parts = 1) {
        if (c->sections[i].data)
            SAMBA__TRY(add_bytes(w, i, c->sections[i].data, error));
        else if (c->sections[i].kind == SAMBA_SECTION_KV)
            SAMBA__TRY(add_rows(w, i, error));
        else
            SAMBA__TRY(add_slab(w, i, &parts, error));
    }
    SAMBA__TRY(end_round(w, error));
    go_to(w, c->n_sections);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- all */

uint64_t samba__content_file_bound(const samba__content *content, bool lossy_kv)
{
    uint64_t bytes = samba__file_header_size(content->name) + SAMBA__FILE_TRAILER +
                     (uint64_t)content->n_sections * SAMBA__FILE_ENTRY;
    for (size_t i = 0; i < content->n_sections; i++) {
        const samba__section *s = &content->sections[i];
        const int32_t type = stored_type(s, lossy_kv);
        const uint64_t chunk = samba__chunk_rows(s, type) * samba__section_row(s, type);
        uint64_t stored = 0;
        samba__section_bytes(s, type, &stored);
        bytes += stored + (chunk ? stored / chunk + 1 : 0) * samba__chunk_bound(0);
    }
    return bytes;
}

static samba_status write_all(writer *w, samba_error **error)
{
    const samba__content *c = w->content;
    w->total = samba__content_raw_bytes(c);
    SAMBA__TRY(samba__rounds_init(&w->rounds, c->alloc, w->options->n_threads, w->total, error));
    w->entries = samba__alloc_array(c->alloc, c->n_sections, sizeof *w->entries);
    if (!w->entries)
        return samba__fail_oom(error);
    for (size_t i = 0; i < c->n_sections; i++)
        w->entries[i] =
            (samba__file_entry){.codec = w->options->codec,
                                .stored_type = stored_type(&c->sections[i], w->options->lossy_kv)};
    samba__hash_begin(&w->hash);
    if (w->options->key.data)
        samba__mac_begin(&w->mac, w->options->key.data, w->options->key.size);
    SAMBA__TRY(put_header(w, error));
    SAMBA__TRY(put_sections(w, error));
    return put_end(w, error);
}

samba_status samba__content_write(const samba__content *content, const samba__file_write *options,
                                  const samba__file_sink *sink, samba_error **error)
{
    if (content->mode != SAMBA_SNAPSHOT_FULL)
        return samba__fail(content->alloc, error, SAMBA_ERROR_STATE,
                           "the snapshot was read without its state, it cannot be written");
    writer w = {.content = content, .options = options, .sink = sink};
    const samba_status status = write_all(&w, error);
    samba__rounds_free(&w.rounds);
    samba__free(content->alloc, w.entries);
    return status;
}
