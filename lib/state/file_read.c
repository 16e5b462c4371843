/*
 * Reading a snapshot file, front to back. Nothing in it is believed: sizes are held against the
 * file and the caller's limit before memory is taken, stored bytes against their checksums, chunks
 * against what their rows must be, floats and tokens against their range.
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/mac.h"
#include "state/file_format.h"
#include "state/rounds.h"
#include "state/snapshot_file.h"

typedef struct reader {
    const samba__source *source;
    const samba__file_read *options;
    samba__content *content;
    samba__file_head head;
    samba__hash_stream hash; /* of the whole file */
    samba__mac mac;
    bool whole; /* all is read: hash and MAC mean something */
    samba__hash64_stream section_hash;
    uint64_t done;
    samba__rounds rounds;
} reader;

/* ---------------------------------------------------------------- memory */

static bool is_kept(const samba__section *s, samba_snapshot_mode mode)
{
    return mode == SAMBA_SNAPSHOT_FULL || s->kind == SAMBA_SECTION_TOKENS ||
           s->kind == SAMBA_SECTION_METADATA;
}

/* Sections begin at a multiple of 64, but that the parts of a slab lie one after the other. */
static bool place(const samba__content *c, size_t i, uint64_t *at)
{
    const samba__section *s = &c->sections[i];
    const bool part =
        i > 0 && s->kind != SAMBA_SECTION_KV && s->sublayer >= 0 && s->sublayer == s[-1].sublayer;
    if (part)
        return true;
    if (*at > UINT64_MAX - 64)
        return false;
    *at = (*at + 63) / 64 * 64;
    return true;
}

static samba_status check_limit(const reader *r, samba_error **error)
{
    const samba__where where = {.file = samba__source_name(r->source), .offset = SAMBA_NO_OFFSET};
    uint64_t total = 0;
    for (size_t i = 0; i < r->content->n_sections; i++) {
        const samba__section *s = &r->content->sections[i];
        if (r->options->mode == SAMBA_SNAPSHOT_HEADER && !is_kept(s, r->options->mode))
            continue;
        if (__builtin_add_overflow(total, s->bytes, &total) || total > r->options->max_bytes)
            return samba__fail_at(r->content->alloc, error, SAMBA_ERROR_LIMIT, &where,
                                  "%s decodes to more than %llu bytes, max_bytes is %llu",
                                  where.file, (unsigned long long)r->options->max_bytes,
                                  (unsigned long long)r->options->max_bytes);
    }
    return SAMBA_OK;
}

/* No section can decode to what it declares from fewer bytes than its chunks take at least. */
static samba_status check_stored(const reader *r, samba_error **error)
{
    for (size_t i = 0; i < r->content->n_sections; i++) {
        const samba__section *s = &r->content->sections[i];
        uint64_t raw = 0;
        samba__section_bytes(s, s->stored_type, &raw);
        if (s->codec == SAMBA_CODEC_ZSTD &&
            s->stored_bytes < samba__chunk_least(s, s->stored_type, raw))
            return samba__file_fail(r->source, s, s->offset, error,
                                    "it is too short for what it declares");
    }
    return SAMBA_OK;
}

static samba_status make_room(reader *r, samba_error **error)
{
    samba__content *c = r->content;
    uint64_t at = 0;
    SAMBA__TRY(check_limit(r, error));
    SAMBA__TRY(check_stored(r, error));
    for (size_t i = 0; i < c->n_sections; i++) {
        if (!is_kept(&c->sections[i], r->options->mode))
            continue;
        if (!place(c, i, &at) || __builtin_add_overflow(at, c->sections[i].bytes, &at))
            return samba__fail_oom(error);
    }
    c->bytes = at <= SIZE_MAX ? samba__alloc_aligned(c->alloc, (size_t)at, 64) : NULL;
    if (!c->bytes)
        return samba__fail_oom(error);
    at = 0;
    for (size_t i = 0; i < c->n_sections; i++) {
        if (!is_kept(&c->sections[i], r->options->mode))
            continue;
        place(c, i, &at);
        c->sections[i].data = c->bytes + at;
        at += c->sections[i].bytes;
    }
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- chunks */

static void take(reader *r, const void *data, size_t size)
{
    if (!r->whole)
        return;
    samba__hash_update(&r->hash, data, size);
    if (r->options->key.data)
        samba__mac_update(&r->mac, data, size);
}

static samba_status fail_task(const reader *r, const samba__round_task *t, samba_error **error)
{
    const samba__section *s = &r->content->sections[t->section];
    if (t->result == SAMBA__CHUNK_NO_MEMORY)
        return samba__fail_oom(error);
    return samba__file_fail(r->source, s, s->offset, error,
                            t->result == SAMBA__CHUNK_BAD ? "it cannot be decoded"
                                                          : "it holds NaN or infinity");
}

static samba_status end_round(reader *r, samba_error **error)
{
    const samba__file_watch *watch = &r->options->watch;
    samba__rounds *rounds = &r->rounds;
    samba__rounds_run(rounds);
    for (size_t i = 0; i < rounds->n; i++)
        if (rounds->tasks[i].result != SAMBA__CHUNK_OK)
            return fail_task(r, &rounds->tasks[i], error);
    samba__rounds_clear(rounds);
    return watch->show ? watch->show(watch->arg, r->done, r->content->file.file_bytes, error)
                       : SAMBA_OK;
}

static samba_status room(reader *r, size_t in, size_t out, samba_error **error)
{
    if (samba__rounds_room(&r->rounds, in, out))
        return SAMBA_OK;
    if (r->rounds.n)
        SAMBA__TRY(end_round(r, error));
    return samba__rounds_room(&r->rounds, in, out) ? SAMBA_OK : samba__fail_oom(error);
}

/* A section being read: what is left of its stored bytes, and of its rows. */
typedef struct progress {
    size_t section;
    uint64_t offset, left;
    uint64_t rows_left, rows; /* per chunk */
    size_t row, stored_row;
    uint8_t *to; /* NULL: not kept */
} progress;

static progress progress_of(const reader *r, size_t section)
{
    const samba__section *s = &r->content->sections[section];
    progress p = {.section = section,
                  .offset = s->offset,
                  .left = s->stored_bytes,
                  .rows = samba__chunk_rows(s, s->stored_type),
                  .row = samba__section_row(s, s->type),
                  .stored_row = samba__section_row(s, s->stored_type)};
    p.rows_left = p.row ? s->bytes / p.row : 0;
    if (s->data)
        p.to = r->content->bytes + (s->data - r->content->bytes);
    return p;
}

/* Stored size of the next chunk, which decodes to `size` bytes of its stored type. */
static samba_status chunk_stored(const reader *r, const progress *p, size_t size, size_t *stored,
                                 samba_error **error)
{
    const samba__section *s = &r->content->sections[p->section];
    const size_t n_words = samba__type_planes(s->stored_type) * SAMBA__PLANE_WORD;
    uint8_t words[SAMBA__CHUNK_PLANES * SAMBA__PLANE_WORD];
    *stored = size;
    if (s->codec == SAMBA_CODEC_ZSTD) {
        if (p->left < n_words)
            return samba__file_fail(r->source, s, p->offset, error, "it ends within a chunk");
        SAMBA__TRY(samba__source_read(r->source, p->offset, words, n_words, error));
        *stored = samba__chunk_stored(s->stored_type, words, size);
        if (!*stored)
            return samba__file_fail(r->source, s, p->offset, error,
                                    "a chunk's sizes are impossible");
    }
    return *stored <= p->left
               ? SAMBA_OK
               : samba__file_fail(r->source, s, p->offset, error, "it ends within a chunk");
}

/* Reads the next chunk and adds it to the round. */
static samba_status read_chunk(reader *r, progress *p, samba_error **error)
{
    const samba__section *s = &r->content->sections[p->section];
    const uint64_t n = p->rows_left < p->rows ? p->rows_left : p->rows;
    const size_t size = (size_t)n * p->row;
    samba__rounds *rounds = &r->rounds;
    size_t stored;
    SAMBA__TRY(chunk_stored(r, p, (size_t)n * p->stored_row, &stored, error));
    SAMBA__TRY(room(r, stored, p->to ? 0 : size, error));
    /* What is stored as it is goes straight to its place. */
    const bool in_place = p->to && s->codec == SAMBA_CODEC_RAW && s->stored_type == s->type;
    const uint8_t *from = samba__source_view(r->source, p->offset, stored);
    uint8_t *to = p->to ? p->to : rounds->out + rounds->out_used;
    if (!from) {
        uint8_t *buffer = in_place ? to : rounds->in + rounds->in_used;
        SAMBA__TRY(samba__source_read(r->source, p->offset, buffer, stored, error));
        from = buffer;
        rounds->in_used += in_place ? 0 : stored;
    }
    take(r, from, stored);
    samba__hash64_update(&r->section_hash, from, stored);
    rounds->out_used += p->to ? 0 : size;
    p->to = p->to ? p->to + size : NULL;
    p->offset += stored;
    p->left -= stored;
    p->rows_left -= n;
    r->done += stored;
    const samba__round_task t = {.section = p->section,
                                 .chunk = {.type = s->type,
                                           .stored_type = s->stored_type,
                                           .codec = s->codec,
                                           .from = from,
                                           .from_size = stored,
                                           .to = to,
                                           .to_size = size}};
    return samba__rounds_add(rounds, &t) ? SAMBA_OK : samba__fail_oom(error);
}

static samba_status read_section(reader *r, size_t section, samba_error **error)
{
    const samba__section *s = &r->content->sections[section];
    progress p = progress_of(r, section);
    samba__hash64_begin(&r->section_hash);
    while (p.rows_left)
        SAMBA__TRY(read_chunk(r, &p, error));
    if (p.left)
        return samba__file_fail(r->source, s, p.offset, error,
                                "it has bytes behind its last chunk");
    if (samba__hash64_end(&r->section_hash) != r->head.hashes[section])
        return samba__file_fail(r->source, s, s->offset, error, "its checksum is wrong");
    return SAMBA_OK;
}

static samba_status check_tokens(const reader *r, samba_error **error)
{
    const samba__section *s = samba__content_find(r->content, SAMBA_SECTION_TOKENS);
    const samba_token *tokens = s ? (const samba_token *)(const void *)s->data : NULL;
    for (uint64_t i = 0; s && i < s->dims[0]; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= r->content->n_vocab)
            return samba__file_fail(r->source, s, s->offset, error,
                                    "it holds a token outside the vocabulary");
    return SAMBA_OK;
}

static samba_status read_sections(reader *r, samba_error **error)
{
    samba__content *c = r->content;
    uint64_t bytes = 0;
    r->done = c->file.file_bytes; /* all but what is read below */
    for (size_t i = 0; i < c->n_sections; i++)
        if (r->whole || is_kept(&c->sections[i], r->options->mode)) {
            bytes += c->sections[i].bytes;
            r->done -= c->sections[i].stored_bytes;
        }
    SAMBA__TRY(samba__rounds_init(&r->rounds, c->alloc, r->options->n_threads, bytes, error));
    r->rounds.decode = true;
    for (size_t i = 0; i < c->n_sections; i++)
        if (r->whole || is_kept(&c->sections[i], r->options->mode))
            SAMBA__TRY(read_section(r, i, error));
    SAMBA__TRY(end_round(r, error));
    return check_tokens(r, error);
}

/* ---------------------------------------------------------------- all */

static samba_status check_mac(reader *r, samba_error **error)
{
    const uint64_t offset = r->content->file.file_bytes - SAMBA__FILE_TRAILER + SAMBA__FILE_MAC_AT;
    uint8_t mac[SAMBA__MAC_BYTES];
    if (!r->options->key.data)
        return SAMBA_OK;
    samba__mac_end(&r->mac, mac);
    if (!r->content->file.has_mac)
        return samba__file_fail(r->source, NULL, offset, error,
                                "a key is given, and the file has no MAC");
    if (!samba__mac_equal(mac, r->head.trailer + SAMBA__FILE_MAC_AT))
        return samba__file_fail(r->source, NULL, offset, error,
                                "its MAC is not that of the key given");
    return SAMBA_OK;
}

static samba_status check_end(reader *r, samba_error **error)
{
    const uint8_t *t = r->head.trailer;
    uint8_t hash[SAMBA__HASH_BYTES];
    if (!r->whole)
        return SAMBA_OK;
    take(r, r->head.entries, r->content->n_sections * SAMBA__FILE_ENTRY);
    take(r, t, SAMBA__FILE_MAC_AT);
    samba__hash_update(&r->hash, t + SAMBA__FILE_MAC_AT, SAMBA__MAC_BYTES);
    samba__hash_end(&r->hash, hash);
    if (memcmp(hash, t + SAMBA__FILE_HASH_AT, sizeof hash) != 0)
        return samba__file_fail(r->source, NULL, r->content->file.file_bytes - SAMBA__HASH_BYTES,
                                error, "the content's hash is wrong");
    return check_mac(r, error);
}

static samba_status read_all(reader *r, samba_error **error)
{
    samba__content *c = r->content;
    SAMBA__TRY(samba__file_read_head(r->source, c->alloc, &r->head, c, error));
    c->mode = r->options->mode;
    r->whole = c->mode != SAMBA_SNAPSHOT_HEADER;
    SAMBA__TRY(make_room(r, error));
    samba__hash_begin(&r->hash);
    if (r->options->key.data)
        samba__mac_begin(&r->mac, r->options->key.data, r->options->key.size);
    take(r, r->head.head, r->head.header.size);
    SAMBA__TRY(read_sections(r, error));
    return check_end(r, error);
}

samba_status samba__content_read(const samba__source *source, const samba_allocator *a,
                                 const samba__file_read *options, samba__content *content,
                                 samba_error **error)
{
    samba__content c = {.alloc = a};
    reader r = {.source = source, .options = options, .content = &c};
    const samba_status status = read_all(&r, error);
    samba__rounds_free(&r.rounds);
    samba__file_head_free(&r.head, a);
    if (status != SAMBA_OK)
        samba__content_free(&c);
    else
        *content = c;
    return status;
}
