/* Snapshots to and from bytes: options, sinks and sources for lib/state; see snapshot.h. */
#include "run/progress.h"
#include "run/snapshot.h"

#include <string.h>

enum {
    LEVEL = 1
};
#define MAX_BYTES ((uint64_t)1 << 30)

/* ---------------------------------------------------------------- both ways */

typedef struct watching {
    const samba_allocator *alloc;
    samba__progress progress;
    const char *what;
} watching;

static samba_status show(void *arg, uint64_t done, uint64_t total, samba_error **error)
{
    const watching *w = arg;
    if (samba__progress_show(&w->progress, done, total) == SAMBA_CONTINUE)
        return SAMBA_OK;
    return samba__fail(w->alloc, error, SAMBA_ERROR_CANCELLED, "%s was cancelled", w->what);
}

static uint32_t threads(const samba_context *context, int32_t wanted)
{
    return (uint32_t)(wanted ? wanted : samba__context_own_threads(context));
}

/* ---------------------------------------------------------------- writing */

static samba_status write_to(const samba_snapshot *s, const samba_snapshot_write_options *o,
                             const samba__file_sink *sink, samba_error **error)
{
    watching w = {.alloc = s->alloc,
                  .progress = {o->progress, o->progress_user_data, o->cancel},
                  .what = "writing the snapshot"};
    const samba__file_write write = {.codec = o->codec ? o->codec : SAMBA_CODEC_ZSTD,
                                     .level = o->zstd_level ? o->zstd_level : LEVEL,
                                     .lossy_kv = o->lossy_kv == SAMBA_YES,
                                     .n_threads = threads(s->context, o->n_threads),
                                     .library_version = samba_version_number(),
                                     .key = {o->mac_key, o->mac_key_size},
                                     .watch = {show, &w}};
    return samba__content_write(&s->content, &write, sink, error);
}

static samba_status file_write(void *arg, const void *data, size_t size, samba_error **error)
{
    return samba__writer_write(arg, data, size, error);
}

samba_status samba__snapshot_write_file(const samba_snapshot *snapshot, const char *path,
                                        const samba_snapshot_write_options *options,
                                        samba_error **error)
{
    samba__writer *writer = NULL;
    SAMBA__TRY(samba__writer_open(snapshot->alloc, path, &writer, error));
    const samba__file_sink sink = {file_write, writer, NULL};
    const samba_status status = write_to(snapshot, options, &sink, error);
    if (status != SAMBA_OK) {
        samba__writer_abort(writer);
        return status;
    }
    return samba__writer_commit(writer, error);
}

static samba_status memory_write(void *arg, const void *data, size_t size, samba_error **error)
{
    samba_bytes *b = arg;
    void *to = b->data;
    size_t need;
    if (!samba__add_size(b->size, size, &need) ||
        !samba__grow(b->alloc, &to, &b->capacity, need, 1))
        return samba__fail_oom(error);
    b->data = to;
    if (data != b->data + b->size)
        memcpy(b->data + b->size, data, size);
    b->size = need;
    return SAMBA_OK;
}

static uint8_t *memory_room(void *arg, size_t size)
{
    const samba_bytes *b = arg;
    return size <= b->capacity - b->size ? b->data + b->size : NULL;
}

/* Room for all at once, so that nothing is copied twice. What is not needed is given back where it
 * is most of it: a copy, into memory that the system clears first, takes a quarter of the time that
 * writing took, and the end of a large block that nobody touched costs addresses only. */
static samba_status write_bytes(const samba_snapshot *s, const samba_snapshot_write_options *o,
                                samba_bytes *b, samba_error **error)
{
    const samba__file_sink sink = {memory_write, b, memory_room};
    const uint64_t bound = samba__content_file_bound(&s->content, o->lossy_kv == SAMBA_YES);
    if (s->content.mode == SAMBA_SNAPSHOT_FULL) {
        b->data = bound <= SIZE_MAX ? samba__alloc(b->alloc, (size_t)bound) : NULL;
        b->capacity = b->data ? (size_t)bound : 0;
    }
    SAMBA__TRY(write_to(s, o, &sink, error));
    if (b->size >= b->capacity / 2)
        return SAMBA_OK;
    uint8_t *exact = samba__alloc(b->alloc, b->size);
    if (!exact)
        return SAMBA_OK;
    memcpy(exact, b->data, b->size);
    samba__free(b->alloc, b->data);
    b->data = exact;
    b->capacity = b->size;
    return SAMBA_OK;
}

samba_status samba__snapshot_write_memory(const samba_snapshot *snapshot,
                                          const samba_snapshot_write_options *options,
                                          samba_bytes **bytes, samba_error **error)
{
    samba_bytes *b = samba__calloc(snapshot->alloc, 1, sizeof *b);
    if (!b)
        return samba__fail_oom(error);
    b->alloc = snapshot->alloc;
    b->context = samba__context_retain(snapshot->context);
    const samba_status status = write_bytes(snapshot, options, b, error);
    if (status != SAMBA_OK)
        samba__bytes_free(b);
    else
        *bytes = b;
    return status;
}

void samba__bytes_free(samba_bytes *bytes)
{
    if (!bytes)
        return;
    samba_context *context = bytes->context;
    samba__free(bytes->alloc, bytes->data);
    samba__free(bytes->alloc, bytes);
    samba__context_release(context);
}

typedef struct host_sink {
    const samba_allocator *alloc;
    const samba_sink *sink;
} host_sink;

static samba_status sink_write(void *arg, const void *data, size_t size, samba_error **error)
{
    const host_sink *h = arg;
    const int32_t result = h->sink->write(h->sink->user_data, data, size);
    if (result == 0)
        return SAMBA_OK;
    return samba__fail(h->alloc, error, SAMBA_ERROR_IO, "%s: the callback failed with %d",
                       h->sink->name ? h->sink->name : "sink", (int)result);
}

samba_status samba__snapshot_write_sink(const samba_snapshot *snapshot, const samba_sink *sink,
                                        const samba_snapshot_write_options *options,
                                        samba_error **error)
{
    host_sink h = {snapshot->alloc, sink};
    return write_to(snapshot, options, &(samba__file_sink){sink_write, &h, NULL}, error);
}

/* ---------------------------------------------------------------- reading */

samba_status samba__snapshot_read(samba_context *context, const samba__source *source,
                                  const samba_snapshot_read_options *o, samba_snapshot **snapshot,
                                  samba_error **error)
{
    const samba_allocator *a = samba__context_alloc(context);
    watching w = {.alloc = a,
                  .progress = {o->progress, o->progress_user_data, o->cancel},
                  .what = "reading the snapshot"};
    const samba__file_read read = {.mode = o->mode ? o->mode : SAMBA_SNAPSHOT_FULL,
                                   .max_bytes = o->max_bytes ? o->max_bytes : MAX_BYTES,
                                   .n_threads = threads(context, o->n_threads),
                                   .key = {o->mac_key, o->mac_key_size},
                                   .watch = {show, &w}};
    samba_snapshot *s = samba__calloc(a, 1, sizeof *s);
    if (!s)
        return samba__fail_oom(error);
    samba__refs_init(&s->refs);
    s->alloc = a;
    s->context = samba__context_retain(context);
    const samba_status status = samba__content_read(source, a, &read, &s->content, error);
    if (status != SAMBA_OK)
        samba__snapshot_release(s);
    else
        *snapshot = s;
    return status;
}

/* ---------------------------------------------------------------- figures */

void samba__snapshot_info(const samba_snapshot *snapshot, samba_snapshot_info *info)
{
    const samba__content *c = &snapshot->content;
    const samba__section *metadata = samba__content_find(c, SAMBA_SECTION_METADATA);
    *info = (samba_snapshot_info){
        .struct_size = sizeof *info,
        .position = c->span.position,
        .first_position = c->span.first,
        .n_tokens = c->n_tokens,
        .n_sections = c->n_sections,
        .has_logits = samba__content_find(c, SAMBA_SECTION_LOGITS) != NULL,
        .n_vocab = c->n_vocab,
        .kv_dtype = c->kv_dtype,
        .model_name = c->name,
        .metadata = metadata ? metadata->data : NULL,
        .metadata_size = metadata ? (size_t)metadata->bytes : 0,
        .raw_bytes = samba__content_raw_bytes(c),
        .file_bytes = c->file.file_bytes,
        .format_version = c->file.format_version,
        .library_version = c->file.library_version,
        .codec = c->file.codec,
        .lossy = c->file.lossy,
        .has_mac = c->file.has_mac,
        .mode = c->mode,
    };
    memcpy(info->fingerprint, c->id.all, sizeof info->fingerprint);
    memcpy(info->architecture, c->id.architecture, sizeof info->architecture);
    memcpy(info->weights, c->id.weights, sizeof info->weights);
    memcpy(info->tokenizer, c->id.tokenizer, sizeof info->tokenizer);
}

void samba__snapshot_section_info(const samba_snapshot *snapshot, size_t index,
                                  samba_snapshot_section_info *info)
{
    const samba__section *s = &snapshot->content.sections[index];
    *info = (samba_snapshot_section_info){
        .struct_size = sizeof *info,
        .kind = s->kind,
        .sublayer = s->sublayer,
        .name = samba__section_kind_name(s->kind),
        .type = samba__type_name(s->type),
        .n_dims = s->n_dims,
        .raw_bytes = s->bytes,
        .stored_bytes = s->stored_bytes,
        .codec = s->codec,
        .stored_type = s->codec ? samba__type_name(s->stored_type) : NULL,
        .data = s->data,
    };
    for (uint32_t i = 0; i < s->n_dims; i++)
        info->dims[i] = s->dims[i];
}
