/* Header, directory and trailer as bytes; see file_format.h and FORMAT.md. */
#include "state/file_format.h"
#include "base/bytes.h"
#include "base/hash.h"

#include <stdio.h>

static const uint8_t magic[12] = {0x89, 'S', 'M', 'B', 'S', '\r', '\n', 0x1a, '\n', 0, 0, 0};

/* Offsets in the header. */
enum {
    AT_VERSION = 12,
    AT_REQUIRED = 16,
    AT_OPTIONAL = 24,
    AT_SIZE = 32,
    AT_NAME_SIZE = 36,
    AT_LIBRARY = 40,
    AT_KV_DTYPE = 44,
    AT_POSITION = 48,
    AT_FIRST = 56,
    AT_N_TOKENS = 64,
    AT_N_VOCAB = 72,
    AT_N_SECTIONS = 76,
    AT_RAW = 80,
    AT_ID = 88,        /* four digests of 16 bytes */
    AT_RESERVED = 152, /* zero, to the checksum */
    AT_HASH = 248
};

/* Offsets in a directory entry. */
enum {
    E_KIND = 0,
    E_SUBLAYER = 4,
    E_TYPE = 8,
    E_STORED_TYPE = 12,
    E_CODEC = 16,
    E_N_DIMS = 20,
    E_DIMS = 24,
    E_OFFSET = 56,
    E_STORED = 64,
    E_RAW = 72,
    E_HASH = 80,
    E_RESERVED = 88
};

/* Offsets in the trailer. */
enum {
    T_DIRECTORY = 0,
    T_DIRECTORY_BYTES = 8,
    T_FILE_BYTES = 16,
    T_HASH = 24
};

/* ---------------------------------------------------------------- writing */

static size_t name_size(const char *name)
{
    const size_t n = strlen(name);
    return n < SAMBA__FILE_NAME_MOST ? n : SAMBA__FILE_NAME_MOST;
}

size_t samba__file_header_size(const char *name)
{
    return SAMBA__FILE_HEADER + (name_size(name) + 7) / 8 * 8;
}

/* Of all bytes but the checksum's own. */
static uint64_t header_hash(const uint8_t *header, size_t size)
{
    samba__hash64_stream h;
    samba__hash64_begin(&h);
    samba__hash64_update(&h, header, AT_HASH);
    samba__hash64_update(&h, header + SAMBA__FILE_HEADER, size - SAMBA__FILE_HEADER);
    return samba__hash64_end(&h);
}

void samba__file_put_header(const samba__content *c, const samba__file_header *h, uint8_t *to)
{
    memset(to, 0, h->size);
    memcpy(to, magic, sizeof magic);
    samba__store_u32(to + AT_VERSION, SAMBA__FILE_VERSION);
    samba__store_u64(to + AT_REQUIRED, h->required);
    samba__store_u64(to + AT_OPTIONAL, h->optional);
    samba__store_u32(to + AT_SIZE, h->size);
    samba__store_u32(to + AT_NAME_SIZE, (uint32_t)name_size(c->name));
    samba__store_u32(to + AT_LIBRARY, h->library_version);
    samba__store_u32(to + AT_KV_DTYPE, (uint32_t)c->kv_dtype);
    samba__store_u64(to + AT_POSITION, c->span.position);
    samba__store_u64(to + AT_FIRST, c->span.first);
    samba__store_u64(to + AT_N_TOKENS, c->n_tokens);
    samba__store_u32(to + AT_N_VOCAB, c->n_vocab);
    samba__store_u32(to + AT_N_SECTIONS, h->n_sections);
    samba__store_u64(to + AT_RAW, h->raw_bytes);
    memcpy(to + AT_ID, c->id.all, 16);
    memcpy(to + AT_ID + 16, c->id.architecture, 16);
    memcpy(to + AT_ID + 32, c->id.weights, 16);
    memcpy(to + AT_ID + 48, c->id.tokenizer, 16);
    memcpy(to + SAMBA__FILE_HEADER, c->name, name_size(c->name));
    samba__store_u64(to + AT_HASH, header_hash(to, h->size));
}

void samba__file_put_entry(const samba__section *s, const samba__file_entry *e,
                           uint8_t to[SAMBA__FILE_ENTRY])
{
    uint64_t raw = 0;
    memset(to, 0, SAMBA__FILE_ENTRY);
    samba__section_bytes(s, e->stored_type, &raw);
    samba__store_u32(to + E_KIND, (uint32_t)s->kind);
    samba__store_u32(to + E_SUBLAYER, (uint32_t)s->sublayer);
    samba__store_u32(to + E_TYPE, (uint32_t)s->type);
    samba__store_u32(to + E_STORED_TYPE, (uint32_t)e->stored_type);
    samba__store_u32(to + E_CODEC, (uint32_t)e->codec);
    samba__store_u32(to + E_N_DIMS, s->n_dims);
    for (uint32_t i = 0; i < s->n_dims; i++)
        samba__store_u64(to + E_DIMS + 8 * i, s->dims[i]);
    samba__store_u64(to + E_OFFSET, e->offset);
    samba__store_u64(to + E_STORED, e->stored_bytes);
    samba__store_u64(to + E_RAW, raw);
    samba__store_u64(to + E_HASH, e->hash);
}

/* Of the directory and the trailer's first fields. */
static uint64_t directory_hash(const uint8_t *entries, size_t size, const uint8_t *trailer)
{
    samba__hash64_stream h;
    samba__hash64_begin(&h);
    samba__hash64_update(&h, entries, size);
    samba__hash64_update(&h, trailer, T_HASH);
    return samba__hash64_end(&h);
}

void samba__file_put_trailer(const samba__file_end *end, uint8_t to[SAMBA__FILE_TRAILER])
{
    const uint64_t size = (uint64_t)end->n_entries * SAMBA__FILE_ENTRY;
    memset(to, 0, SAMBA__FILE_TRAILER);
    samba__store_u64(to + T_DIRECTORY, end->directory);
    samba__store_u64(to + T_DIRECTORY_BYTES, size);
    samba__store_u64(to + T_FILE_BYTES, end->directory + size + SAMBA__FILE_TRAILER);
    samba__store_u64(to + T_HASH, directory_hash(end->entries, (size_t)size, to));
}

/* ---------------------------------------------------------------- reading */

samba_status samba__file_fail(const samba__source *source, const samba__section *section,
                              uint64_t offset, samba_error **error, const char *why)
{
    const char *name = samba__source_name(source);
    const samba__where where = {.file = name, .offset = offset};
    char text[SAMBA__SECTION_TEXT];
    if (!section)
        return samba__fail_at(samba__source_alloc(source), error, SAMBA_ERROR_FORMAT, &where,
                              "%s: %s", name, why);
    samba__section_text(section, text);
    return samba__fail_at(samba__source_alloc(source), error, SAMBA_ERROR_FORMAT, &where,
                          "%s: section %s: %s", name, text, why);
}

static samba_status fail_unsupported(const samba__source *source, samba_error **error,
                                     const char *what, uint64_t have, uint64_t known)
{
    const samba__where where = {.file = samba__source_name(source), .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(samba__source_alloc(source), error, SAMBA_ERROR_UNSUPPORTED, &where,
                          "%s: %s %llu, this library knows %llu", where.file, what,
                          (unsigned long long)have, (unsigned long long)known);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return !any;
}

/* The fixed part: what it is, and how long the header is. */
static samba_status check_start(const samba__source *source, const uint8_t *h,
                                samba__file_header *header, samba_error **error)
{
    const uint32_t version = samba__load_u32(h + AT_VERSION);
    if (memcmp(h, magic, sizeof magic) != 0)
        return samba__file_fail(source, NULL, 0, error, "not a snapshot file");
    if (version > SAMBA__FILE_VERSION)
        return fail_unsupported(source, error, "format version", version, SAMBA__FILE_VERSION);
    if (version == 0)
        return samba__file_fail(source, NULL, AT_VERSION, error, "format version 0");
    const uint32_t name = samba__load_u32(h + AT_NAME_SIZE);
    header->size = samba__load_u32(h + AT_SIZE);
    if (name > SAMBA__FILE_NAME_MOST || header->size != SAMBA__FILE_HEADER + (name + 7) / 8 * 8 ||
        header->size > samba__source_size(source) - SAMBA__FILE_TRAILER)
        return samba__file_fail(source, NULL, AT_SIZE, error,
                                "the header's size is impossible (damaged or cut short)");
    return SAMBA_OK;
}

static samba_status check_features(const samba__source *source, const samba__file_header *header,
                                   samba_error **error)
{
    if (header->required & ~SAMBA__FEATURE_LOSSY_KV)
        return fail_unsupported(source, error, "it needs features", header->required,
                                SAMBA__FEATURE_LOSSY_KV);
    return SAMBA_OK;
}

static samba_status take_name(const uint8_t *h, samba__content *c, samba_error **error)
{
    const size_t n = samba__load_u32(h + AT_NAME_SIZE);
    c->owned_name = samba__strndup(c->alloc, (const char *)h + SAMBA__FILE_HEADER, n);
    if (!c->owned_name)
        return samba__fail_oom(error);
    samba__clean_line(c->owned_name);
    c->name = c->owned_name;
    return SAMBA_OK;
}

static const char *bad_figures(const samba__content *c, const samba__file_header *header)
{
    uint32_t elements;
    if (c->span.position >= SAMBA__POSITION_END + 1 || c->span.first > c->span.position)
        return "positions are impossible";
    if (c->n_tokens > c->span.position - c->span.first)
        return "more tokens are kept than were fed";
    if (!c->n_vocab || c->n_vocab > INT32_MAX)
        return "the vocabulary's size is impossible";
    if (c->kv_dtype > SAMBA_DTYPE_Q8_0 || !samba__type_unit(c->kv_dtype, &elements))
        return "the type of keys and values is unknown";
    if (header->n_sections > SAMBA__FILE_SECTIONS_MOST)
        return "it has too many sections";
    return NULL;
}

static samba_status parse_header(const samba__source *source, const uint8_t *h,
                                 samba__file_header *header, samba__content *c, samba_error **error)
{
    const uint32_t name = samba__load_u32(h + AT_NAME_SIZE);
    if (header_hash(h, header->size) != samba__load_u64(h + AT_HASH))
        return samba__file_fail(source, NULL, AT_HASH, error, "the header's checksum is wrong");
    header->required = samba__load_u64(h + AT_REQUIRED);
    header->optional = samba__load_u64(h + AT_OPTIONAL);
    header->library_version = samba__load_u32(h + AT_LIBRARY);
    header->n_sections = samba__load_u32(h + AT_N_SECTIONS);
    header->raw_bytes = samba__load_u64(h + AT_RAW);
    SAMBA__TRY(check_features(source, header, error));
    if (!all_zero(h + AT_RESERVED, AT_HASH - AT_RESERVED) ||
        !all_zero(h + SAMBA__FILE_HEADER + name, header->size - SAMBA__FILE_HEADER - name))
        return samba__file_fail(source, NULL, AT_RESERVED, error, "reserved bytes are not zero");
    c->kv_dtype = (samba_dtype)samba__load_u32(h + AT_KV_DTYPE);
    c->span.position = samba__load_u64(h + AT_POSITION);
    c->span.first = samba__load_u64(h + AT_FIRST);
    c->n_tokens = samba__load_u64(h + AT_N_TOKENS);
    c->n_vocab = samba__load_u32(h + AT_N_VOCAB);
    memcpy(c->id.all, h + AT_ID, 16);
    memcpy(c->id.architecture, h + AT_ID + 16, 16);
    memcpy(c->id.weights, h + AT_ID + 32, 16);
    memcpy(c->id.tokenizer, h + AT_ID + 48, 16);
    const char *bad = bad_figures(c, header);
    return bad ? samba__file_fail(source, NULL, 0, error, bad) : take_name(h, c, error);
}

static samba_status read_header(const samba__source *source, const samba_allocator *a,
                                samba__file_head *head, samba__content *c, samba_error **error)
{
    uint8_t start[SAMBA__FILE_HEADER];
    const uint64_t size = samba__source_size(source);
    if (size < sizeof magic)
        return samba__file_fail(source, NULL, 0, error, "not a snapshot file: it is too short");
    if (size < SAMBA__FILE_HEADER + SAMBA__FILE_TRAILER)
        return samba__file_fail(source, NULL, size, error, "the file is cut short");
    SAMBA__TRY(samba__source_read(source, 0, start, sizeof start, error));
    SAMBA__TRY(check_start(source, start, &head->header, error));
    const size_t more = head->header.size - sizeof start;
    head->head = samba__alloc(a, head->header.size);
    if (!head->head)
        return samba__fail_oom(error);
    memcpy(head->head, start, sizeof start);
    SAMBA__TRY(samba__source_read(source, sizeof start, head->head + sizeof start, more, error));
    return parse_header(source, head->head, &head->header, c, error);
}

static samba_status read_directory(const samba__source *source, const samba_allocator *a,
                                   samba__file_head *head, samba_error **error)
{
    const uint64_t size = samba__source_size(source);
    const uint64_t bytes = (uint64_t)head->header.n_sections * SAMBA__FILE_ENTRY;
    uint8_t *t = head->trailer;
    SAMBA__TRY(
        samba__source_read(source, size - SAMBA__FILE_TRAILER, t, SAMBA__FILE_TRAILER, error));
    head->directory = samba__load_u64(t + T_DIRECTORY);
    if (samba__load_u64(t + T_FILE_BYTES) != size ||
        samba__load_u64(t + T_DIRECTORY_BYTES) != bytes ||
        bytes > size - SAMBA__FILE_TRAILER - head->header.size ||
        head->directory != size - SAMBA__FILE_TRAILER - bytes)
        return samba__file_fail(source, NULL, size - SAMBA__FILE_TRAILER, error,
                                "the trailer does not fit the file: it is cut short or damaged");
    head->entries = samba__alloc(a, (size_t)bytes);
    if (!head->entries)
        return samba__fail_oom(error);
    SAMBA__TRY(samba__source_read(source, head->directory, head->entries, (size_t)bytes, error));
    if (directory_hash(head->entries, (size_t)bytes, t) != samba__load_u64(t + T_HASH))
        return samba__file_fail(source, NULL, head->directory, error,
                                "the directory's checksum is wrong");
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- sections */

/* Types and shape that a kind has; NULL, or what is wrong. */
static const char *bad_plain(const samba__section *s, const samba__content *c)
{
    if (s->sublayer != -1 || s->n_dims != 1)
        return "it belongs to no sublayer and has one dimension";
    switch (s->kind) {
    case SAMBA_SECTION_TOKENS:
        return s->type != SAMBA__TYPE_I32  ? "tokens are i32"
               : s->dims[0] != c->n_tokens ? "there are not as many as the header says"
                                           : NULL;
    case SAMBA_SECTION_METADATA:
        return s->type != SAMBA__TYPE_U8                ? "metadata is u8"
               : s->dims[0] > SAMBA__FILE_METADATA_MOST ? "it is larger than 16 MiB"
                                                        : NULL;
    default:
        return s->type != SAMBA_DTYPE_F32 ? "logits are f32"
               : s->dims[0] != c->n_vocab ? "there are not as many as the vocabulary has"
                                          : NULL;
    }
}

static const char *bad_state(const samba__section *s, const samba__content *c)
{
    const uint64_t fed = c->span.position - c->span.first;
    const uint32_t n_dims = s->kind == SAMBA_SECTION_KV       ? 4
                            : s->kind == SAMBA_SECTION_MATRIX ? 3
                                                              : 2;
    if (s->sublayer < 0)
        return "it belongs to no sublayer";
    if (!fed)
        return "nothing has been fed, so there is no state";
    if (s->n_dims != n_dims)
        return "it has not as many dimensions as its kind";
    if (s->kind != SAMBA_SECTION_KV)
        return s->type == SAMBA_DTYPE_F32 ? NULL : "its elements must be f32";
    if (s->type != c->kv_dtype)
        return "its type is not that of keys and values";
    if (s->dims[1] != 2 || s->dims[0] > fed)
        return "its shape is impossible";
    return NULL;
}

static const char *bad_section(const samba__section *s, const samba__content *c)
{
    if (s->kind < SAMBA_SECTION_TOKENS || s->kind > SAMBA_SECTION_KV)
        return "its kind is unknown";
    for (uint32_t i = s->kind == SAMBA_SECTION_KV; i < s->n_dims; i++)
        if (!s->dims[i])
            return "a dimension is 0";
    return s->kind <= SAMBA_SECTION_LOGITS ? bad_plain(s, c) : bad_state(s, c);
}

static const char *bad_codec(const samba__section *s, const samba__file_header *header,
                             uint64_t stored_raw)
{
    const bool lossy = s->stored_type != s->type;
    if (s->codec != SAMBA_CODEC_RAW && s->codec != SAMBA_CODEC_ZSTD)
        return "its codec is unknown";
    if (lossy && (s->kind != SAMBA_SECTION_KV || s->stored_type != SAMBA_DTYPE_Q8_0 ||
                  !(header->required & SAMBA__FEATURE_LOSSY_KV)))
        return "it cannot be stored in another type";
    if (s->codec == SAMBA_CODEC_RAW && s->stored_bytes != stored_raw)
        return "it is stored as it is, but not in as many bytes";
    return NULL;
}

/* Sizes and places are checked by whoever knows the entry before it. */
static const char *parse_entry(const uint8_t *e, const samba__file_header *header,
                               const samba__content *c, samba__section *s)
{
    uint64_t stored_raw;
    *s = (samba__section){.kind = (int32_t)samba__load_u32(e + E_KIND),
                          .sublayer = (int32_t)samba__load_u32(e + E_SUBLAYER),
                          .type = (int32_t)samba__load_u32(e + E_TYPE),
                          .n_dims = samba__load_u32(e + E_N_DIMS),
                          .codec = (samba_codec)samba__load_u32(e + E_CODEC),
                          .stored_type = (int32_t)samba__load_u32(e + E_STORED_TYPE),
                          .offset = samba__load_u64(e + E_OFFSET),
                          .stored_bytes = samba__load_u64(e + E_STORED)};
    if (s->n_dims < 1 || s->n_dims > SAMBA__SECTION_DIMS)
        return "it has 1 to 4 dimensions";
    for (uint32_t i = 0; i < s->n_dims; i++)
        s->dims[i] = samba__load_u64(e + E_DIMS + 8 * i);
    if (!all_zero(e + E_DIMS + 8 * (size_t)s->n_dims,
                  8 * (size_t)(SAMBA__SECTION_DIMS - s->n_dims)) ||
        samba__load_u64(e + E_RESERVED))
        return "reserved bytes are not zero";
    const char *bad = bad_section(s, c);
    if (bad)
        return bad;
    if (!samba__section_bytes(s, s->type, &s->bytes) ||
        !samba__section_bytes(s, s->stored_type, &stored_raw) ||
        stored_raw != samba__load_u64(e + E_RAW))
        return "its size is impossible";
    if (s->bytes && samba__section_row(s, s->type) > SAMBA__FILE_ROW_MOST)
        return "its rows are too large";
    return bad_codec(s, header, stored_raw);
}

static const char *bad_place(const samba__section *s, const samba__section *before, uint64_t offset,
                             uint64_t end)
{
    const int order = before ? samba__section_compare(before, s) : -1;
    if (order == 0)
        return "it is there twice";
    if (order > 0)
        return "it is out of order";
    if (s->offset != offset)
        return s->offset < offset ? "it overlaps what is before it" : "there is a gap before it";
    if (s->stored_bytes > end - offset)
        return "it reaches beyond the directory";
    return NULL;
}

static samba_status parse_sections(const samba__source *source, samba__file_head *head,
                                   samba__content *c, samba_error **error)
{
    uint64_t offset = head->header.size, raw = 0;
    for (size_t i = 0; i < c->n_sections; i++) {
        const uint8_t *e = head->entries + i * SAMBA__FILE_ENTRY;
        samba__section *s = &c->sections[i];
        const char *bad = parse_entry(e, &head->header, c, s);
        if (!bad)
            bad = bad_place(s, i ? s - 1 : NULL, offset, head->directory);
        if (!bad && __builtin_add_overflow(raw, samba__load_u64(e + E_RAW), &raw))
            bad = "its size is impossible";
        if (bad)
            return samba__file_fail(source, s, head->directory + i * SAMBA__FILE_ENTRY, error, bad);
        head->hashes[i] = samba__load_u64(e + E_HASH);
        offset += s->stored_bytes;
    }
    if (offset != head->directory)
        return samba__file_fail(source, NULL, offset, error,
                                "there are bytes between the last section and the directory");
    if (raw != head->header.raw_bytes)
        return samba__file_fail(source, NULL, AT_RAW, error,
                                "the sections are not as large as the header says");
    if (!c->n_tokens != !samba__content_find(c, SAMBA_SECTION_TOKENS))
        return samba__file_fail(source, NULL, AT_N_TOKENS, error,
                                "the tokens that the header counts are not there");
    return SAMBA_OK;
}

/* Whether any section is lossy, and the codec: zstd if any is. */
static void take_facts(const samba__source *source, const samba__file_head *head, samba__content *c)
{
    c->file =
        (samba__file_facts){.format_version = SAMBA__FILE_VERSION,
                            .library_version = head->header.library_version,
                            .file_bytes = samba__source_size(source),
                            .codec = SAMBA_CODEC_RAW,
                            .has_mac = (head->header.optional & SAMBA__FEATURE_OPTIONAL_MAC) != 0};
    for (size_t i = 0; i < c->n_sections; i++) {
        if (c->sections[i].codec == SAMBA_CODEC_ZSTD)
            c->file.codec = SAMBA_CODEC_ZSTD;
        c->file.lossy = c->file.lossy || c->sections[i].stored_type != c->sections[i].type;
    }
}

samba_status samba__file_read_head(const samba__source *source, const samba_allocator *a,
                                   samba__file_head *head, samba__content *content,
                                   samba_error **error)
{
    *content = (samba__content){.alloc = a};
    *head = (samba__file_head){0};
    SAMBA__TRY(read_header(source, a, head, content, error));
    SAMBA__TRY(read_directory(source, a, head, error));
    const size_t n = head->header.n_sections;
    content->sections = samba__alloc_array(a, n, sizeof *content->sections);
    head->hashes = samba__alloc_array(a, n, sizeof *head->hashes);
    if (!content->sections || !head->hashes)
        return samba__fail_oom(error);
    content->n_sections = n;
    SAMBA__TRY(parse_sections(source, head, content, error));
    take_facts(source, head, content);
    if (!content->file.has_mac && !all_zero(head->trailer + SAMBA__FILE_MAC_AT, SAMBA__MAC_BYTES))
        return samba__file_fail(source, NULL, content->file.file_bytes - SAMBA__FILE_TRAILER, error,
                                "reserved bytes are not zero");
    return SAMBA_OK;
}

void samba__file_head_free(samba__file_head *head, const samba_allocator *a)
{
    samba__free(a, head->head);
    samba__free(a, head->entries);
    samba__free(a, head->hashes);
    *head = (samba__file_head){0};
}
