/*
 * Sequential reading of a GGUF file's head through a small buffer, so that neither the file nor its
 * metadata is ever held whole. Everything is bounds-checked; a read past the end is an error that
 * names the place.
 */
#ifndef SAMBA_FORMAT_GGUF_STREAM_H
#define SAMBA_FORMAT_GGUF_STREAM_H

#include "base/file.h"

typedef struct samba__gguf_stream {
    const samba_allocator *alloc;
    const samba__source *source;
    uint64_t pos;
    uint64_t end; /* of what may be read: the file's size or the limit on metadata */
    uint8_t *buffer;
    size_t capacity;
    uint64_t buffer_at; /* the buffer holds bytes [buffer_at, buffer_at + filled) */
    size_t filled;
} samba__gguf_stream;

samba_status samba__gguf_stream_open(const samba_allocator *a, const samba__source *source,
                                     samba__gguf_stream *stream, samba_error **error);
void samba__gguf_stream_close(samba__gguf_stream *stream);

/* Bytes that are left. */
static inline uint64_t samba__gguf_stream_left(const samba__gguf_stream *s)
{
    return s->end - s->pos;
}
/* FORMAT (or LIMIT, when it is the limit that ends the stream) if fewer than n bytes are left. */
samba_status samba__gguf_stream_need(const samba__gguf_stream *s, uint64_t n, samba_error **error);
samba_status samba__gguf_stream_take(samba__gguf_stream *s, void *to, size_t n,
                                     samba_error **error);
samba_status samba__gguf_stream_skip(samba__gguf_stream *s, uint64_t n, samba_error **error);
/* Back to a position that was passed before. */
void samba__gguf_stream_seek(samba__gguf_stream *s, uint64_t pos);
samba_status samba__gguf_stream_u32(samba__gguf_stream *s, uint32_t *out, samba_error **error);
samba_status samba__gguf_stream_u64(samba__gguf_stream *s, uint64_t *out, samba_error **error);

#endif
