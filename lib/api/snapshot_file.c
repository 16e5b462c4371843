/* Snapshot files at the boundary: checks arguments, completes option structs, delegates to run/. */
#include "api/options.h"
#include "base/mac.h"
#include "base/pool.h"
#include "run/snapshot.h"

static samba_status refuse(samba_error **error, const char *what)
{
    return samba__fail(samba__alloc_default(), error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is NULL",
                       what);
}

static samba_status check_range(const samba_allocator *a, const char *name, int32_t value,
                                int32_t most, samba_error **error)
{
    if (value >= 0 && value <= most)
        return SAMBA_OK;
    return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT, "%s is %d, possible are 0 to %d",
                       name, (int)value, (int)most);
}

static samba_status check_key(const samba_allocator *a, const void *key, size_t size,
                              samba_error **error)
{
    if (!key && !size)
        return SAMBA_OK;
    if (!key)
        return refuse(error, "mac_key");
    if (size < SAMBA__MAC_KEY_MIN || size > SAMBA__MAC_KEY_MAX)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "mac_key_size is %zu, possible are %d to %d", size, SAMBA__MAC_KEY_MIN,
                           SAMBA__MAC_KEY_MAX);
    if (!samba__mac_available())
        return samba__fail(a, error, SAMBA_ERROR_UNSUPPORTED,
                           "a mac_key is given, this library was built without libsodium");
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- writing */

static samba_status write_options(const samba_snapshot *snapshot,
                                  const samba_snapshot_write_options *options,
                                  samba_snapshot_write_options *o, samba_error **error)
{
    const samba_allocator *a = snapshot->alloc;
    SAMBA__TRY(samba__options_read(a, options, sizeof *o, o, sizeof *o,
                                   "samba_snapshot_write_options", error));
    SAMBA__TRY(check_range(a, "codec", o->codec, SAMBA_CODEC_ZSTD, error));
    SAMBA__TRY(check_range(a, "lossy_kv", o->lossy_kv, SAMBA_NO, error));
    SAMBA__TRY(check_range(a, "n_threads", o->n_threads, SAMBA__POOL_MAX, error));
    if (o->zstd_level < -100 || o->zstd_level > 22)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "zstd_level is %d, possible are -100 to 22", (int)o->zstd_level);
    return check_key(a, o->mac_key, o->mac_key_size, error);
}

samba_status samba_snapshot_write_file(const samba_snapshot *snapshot, const char *path,
                                       const samba_snapshot_write_options *options,
                                       samba_error **error)
{
    samba_snapshot_write_options o;
    if (!snapshot || !path)
        return refuse(error, snapshot ? "path" : "snapshot");
    SAMBA__TRY(write_options(snapshot, options, &o, error));
    return samba__snapshot_write_file(snapshot, path, &o, error);
}

samba_status samba_snapshot_write_memory(const samba_snapshot *snapshot,
                                         const samba_snapshot_write_options *options,
                                         samba_bytes **bytes, samba_error **error)
{
    samba_snapshot_write_options o;
    if (!snapshot || !bytes)
        return refuse(error, snapshot ? "bytes" : "snapshot");
    SAMBA__TRY(write_options(snapshot, options, &o, error));
    return samba__snapshot_write_memory(snapshot, &o, bytes, error);
}

const void *samba_bytes_data(const samba_bytes *bytes)
{
    return bytes ? bytes->data : NULL;
}

size_t samba_bytes_size(const samba_bytes *bytes)
{
    return bytes ? bytes->size : 0;
}

void samba_bytes_free(samba_bytes *bytes)
{
    samba__bytes_free(bytes);
}

samba_status samba_snapshot_write_sink(const samba_snapshot *snapshot, const samba_sink *sink,
                                       const samba_snapshot_write_options *options,
                                       samba_error **error)
{
    samba_snapshot_write_options o;
    samba_sink s;
    if (!snapshot || !sink)
        return refuse(error, snapshot ? "sink" : "snapshot");
    SAMBA__TRY(
        samba__options_read(snapshot->alloc, sink, sizeof s, &s, sizeof s, "samba_sink", error));
    if (!s.write)
        return refuse(error, "sink.write");
    SAMBA__TRY(write_options(snapshot, options, &o, error));
    return samba__snapshot_write_sink(snapshot, &s, &o, error);
}

/* ---------------------------------------------------------------- reading */

static samba_status read_options(const samba_allocator *a,
                                 const samba_snapshot_read_options *options,
                                 samba_snapshot_read_options *o, samba_error **error)
{
    SAMBA__TRY(samba__options_read(a, options, sizeof *o, o, sizeof *o,
                                   "samba_snapshot_read_options", error));
    SAMBA__TRY(check_range(a, "mode", o->mode, SAMBA_SNAPSHOT_VERIFY, error));
    SAMBA__TRY(check_range(a, "n_threads", o->n_threads, SAMBA__POOL_MAX, error));
    if (o->mode == SAMBA_SNAPSHOT_HEADER && o->mac_key)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "a mac_key is given with mode HEADER, which does not read the file");
    return check_key(a, o->mac_key, o->mac_key_size, error);
}

static samba_status read_path(samba_context *context, const char *path,
                              const samba_snapshot_read_options *o, samba_snapshot **snapshot,
                              samba_error **error)
{
    samba__source *source = NULL;
    SAMBA__TRY(samba__source_open_path(samba__context_alloc(context), path, &source, error));
    const samba_status status = samba__snapshot_read(context, source, o, snapshot, error);
    samba__source_close(source);
    return status;
}

samba_status samba_snapshot_read_file(samba_context *context, const char *path,
                                      const samba_snapshot_read_options *options,
                                      samba_snapshot **snapshot, samba_error **error)
{
    samba_snapshot_read_options o;
    if (!context || !path || !snapshot)
        return refuse(error, !context ? "context" : !path ? "path" : "snapshot");
    SAMBA__TRY(read_options(samba__context_alloc(context), options, &o, error));
    return read_path(context, path, &o, snapshot, error);
}

samba_status samba_snapshot_read_memory(samba_context *context, const void *data, size_t size,
                                        const samba_snapshot_read_options *options,
                                        samba_snapshot **snapshot, samba_error **error)
{
    samba_snapshot_read_options o;
    samba__source *source = NULL;
    if (!context || !data || !snapshot)
        return refuse(error, !context ? "context" : !data ? "data" : "snapshot");
    const samba_allocator *a = samba__context_alloc(context);
    SAMBA__TRY(read_options(a, options, &o, error));
    SAMBA__TRY(samba__source_open_memory(a, data, size, "memory", &source, error));
    const samba_status status = samba__snapshot_read(context, source, &o, snapshot, error);
    samba__source_close(source);
    return status;
}

samba_status samba_snapshot_read_reader(samba_context *context, const samba_reader *reader,
                                        const samba_snapshot_read_options *options,
                                        samba_snapshot **snapshot, samba_error **error)
{
    samba_snapshot_read_options o;
    samba_reader r;
    samba__source *source = NULL;
    if (!context || !reader || !snapshot)
        return refuse(error, !context ? "context" : !reader ? "reader" : "snapshot");
    const samba_allocator *a = samba__context_alloc(context);
    SAMBA__TRY(samba__options_read(a, reader, sizeof r, &r, sizeof r, "samba_reader", error));
    if (!r.read_at)
        return refuse(error, "reader.read_at");
    SAMBA__TRY(read_options(a, options, &o, error));
    SAMBA__TRY(samba__source_open_reader(a, &r, &source, error));
    const samba_status status = samba__snapshot_read(context, source, &o, snapshot, error);
    samba__source_close(source);
    return status;
}

samba_status samba_snapshot_verify_file(samba_context *context, const char *path,
                                        const samba_snapshot_read_options *options,
                                        samba_error **error)
{
    samba_snapshot_read_options o;
    samba_snapshot *snapshot = NULL;
    if (!context || !path)
        return refuse(error, context ? "path" : "context");
    SAMBA__TRY(read_options(samba__context_alloc(context), options, &o, error));
    if (o.mode && o.mode != SAMBA_SNAPSHOT_FULL) /* the default, named or not */
        return samba__fail(samba__context_alloc(context), error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "mode is %d, it must be default", (int)o.mode);
    o.mode = SAMBA_SNAPSHOT_VERIFY;
    SAMBA__TRY(read_path(context, path, &o, &snapshot, error));
    samba__snapshot_release(snapshot);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- figures */

samba_status samba_snapshot_get_info(const samba_snapshot *snapshot, samba_snapshot_info *info,
                                     samba_error **error)
{
    samba_snapshot_info full;
    if (!snapshot || !info)
        return refuse(error, snapshot ? "info" : "snapshot");
    samba__snapshot_info(snapshot, &full);
    return samba__output_write(snapshot->alloc, info, &full, sizeof full, "samba_snapshot_info",
                               error);
}

samba_status samba_snapshot_get_section(const samba_snapshot *snapshot, uint64_t index,
                                        samba_snapshot_section_info *info, samba_error **error)
{
    samba_snapshot_section_info full;
    if (!snapshot || !info)
        return refuse(error, snapshot ? "info" : "snapshot");
    if (index >= snapshot->content.n_sections)
        return samba__fail(snapshot->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "section %llu was asked for, the snapshot has %zu",
                           (unsigned long long)index, snapshot->content.n_sections);
    samba__snapshot_section_info(snapshot, (size_t)index, &full);
    return samba__output_write(snapshot->alloc, info, &full, sizeof full,
                               "samba_snapshot_section_info", error);
}

samba_status samba_snapshot_tokens(const samba_snapshot *snapshot, const samba_token **tokens,
                                   uint64_t *first, size_t *n_tokens, samba_error **error)
{
    if (!snapshot || !tokens || !first || !n_tokens)
        return refuse(error, !snapshot ? "snapshot"
                             : !tokens ? "tokens"
                             : !first  ? "first"
                                       : "n_tokens");
    const samba__content *c = &snapshot->content;
    const samba__section *s = samba__content_find(c, SAMBA_SECTION_TOKENS);
    *tokens = s ? (const samba_token *)(const void *)s->data : NULL;
    *first = c->span.position - c->n_tokens;
    *n_tokens = (size_t)c->n_tokens;
    return SAMBA_OK;
}
