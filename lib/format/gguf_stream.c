/* The buffered reader of gguf_stream.h. */
#include "format/gguf_stream.h"
#include "base/bytes.h"

#include <inttypes.h>
#include <string.h>

enum {
    BUFFER_BYTES = 16 << 10,
    MAX_METADATA = 256 << 20
};

samba_status samba__gguf_stream_open(const samba_allocator *a, const samba__source *source,
                                     samba__gguf_stream *stream, samba_error **error)
{
    const uint64_t size = samba__source_size(source);
    samba__gguf_stream s = {.alloc = a, .source = source};
    s.end = size < MAX_METADATA ? size : MAX_METADATA;
    s.capacity = size < BUFFER_BYTES ? (size_t)size : BUFFER_BYTES;
    s.buffer = samba__alloc(a, s.capacity);
    if (!s.buffer)
        return samba__fail_oom(error);
    *stream = s;
    return SAMBA_OK;
}

void samba__gguf_stream_close(samba__gguf_stream *stream)
{
    samba__free(stream->alloc, stream->buffer);
    stream->buffer = NULL;
}

samba_status samba__gguf_stream_need(const samba__gguf_stream *s, uint64_t n, samba_error **error)
{
    const samba__where where = {.file = samba__source_name(s->source), .offset = s->pos};
    if (n <= samba__gguf_stream_left(s))
        return SAMBA_OK;
    if (s->end < samba__source_size(s->source))
        return samba__fail_at(s->alloc, error, SAMBA_ERROR_LIMIT, &where,
                              "the metadata of %s goes past %d MB", where.file, MAX_METADATA >> 20);
    return samba__fail_at(s->alloc, error, SAMBA_ERROR_FORMAT, &where,
                          "%s needs %" PRIu64 " bytes at byte %" PRIu64 ", %" PRIu64 " are left",
                          where.file, n, s->pos, samba__gguf_stream_left(s));
}

static samba_status fill(samba__gguf_stream *s, samba_error **error)
{
    const uint64_t left = samba__gguf_stream_left(s);
    const size_t n = left < s->capacity ? (size_t)left : s->capacity;
    s->filled = 0;
    SAMBA__TRY(samba__source_read(s->source, s->pos, s->buffer, n, error));
    s->buffer_at = s->pos;
    s->filled = n;
    return SAMBA_OK;
}

samba_status samba__gguf_stream_take(samba__gguf_stream *s, void *to, size_t n, samba_error **error)
{
    uint8_t *out = to;
    SAMBA__TRY(samba__gguf_stream_need(s, n, error));
    while (n) {
        const bool inside = s->pos >= s->buffer_at && s->pos - s->buffer_at < s->filled;
        if (!inside && n >= s->capacity) {
            SAMBA__TRY(samba__source_read(s->source, s->pos, out, n, error));
            s->pos += n;
            return SAMBA_OK;
        }
        if (!inside)
            SAMBA__TRY(fill(s, error));
        const size_t at = (size_t)(s->pos - s->buffer_at);
        const size_t part = n < s->filled - at ? n : s->filled - at;
        memcpy(out, s->buffer + at, part);
        out += part;
        s->pos += part;
        n -= part;
    }
    return SAMBA_OK;
}

samba_status samba__gguf_stream_skip(samba__gguf_stream *s, uint64_t n, samba_error **error)
{
    SAMBA__TRY(samba__gguf_stream_need(s, n, error));
    s->pos += n;
    return SAMBA_OK;
}

void samba__gguf_stream_seek(samba__gguf_stream *s, uint64_t pos)
{
    SAMBA__INVARIANT(pos <= s->pos);
    s->pos = pos;
}

samba_status samba__gguf_stream_u32(samba__gguf_stream *s, uint32_t *out, samba_error **error)
{
    uint8_t b[4];
    SAMBA__TRY(samba__gguf_stream_take(s, b, sizeof b, error));
    *out = samba__load_u32(b);
    return SAMBA_OK;
}

samba_status samba__gguf_stream_u64(samba__gguf_stream *s, uint64_t *out, samba_error **error)
{
    uint8_t b[8];
    SAMBA__TRY(samba__gguf_stream_take(s, b, sizeof b, error));
    *out = samba__load_u64(b);
    return SAMBA_OK;
}
