/*
 * Checksums and content hashes (xxHash): XXH64 and XXH3-128, at once or piece by piece. They find
 * damage, not forgery; for that there is mac.h.
 */
#ifndef SAMBA_BASE_HASH_H
#define SAMBA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum {
    SAMBA__HASH_BYTES = 16
};

/* XXH3-128 in its canonical (big-endian) form. */
void samba__hash128(const void *data, size_t size, uint8_t out[SAMBA__HASH_BYTES]);
/* begin, update ... update, end. Streams are independent of each other. */
typedef struct samba__hash_stream {
    _Alignas(64) unsigned char state[576];
} samba__hash_stream;
void samba__hash_begin(samba__hash_stream *stream);
void samba__hash_update(samba__hash_stream *stream, const void *data, size_t size);
void samba__hash_end(const samba__hash_stream *stream, uint8_t out[SAMBA__HASH_BYTES]);

/* XXH64 with seed 0. */
uint64_t samba__hash64(const void *data, size_t size);
typedef struct samba__hash64_stream {
    uint64_t state[12];
} samba__hash64_stream;
void samba__hash64_begin(samba__hash64_stream *stream);
void samba__hash64_update(samba__hash64_stream *stream, const void *data, size_t size);
uint64_t samba__hash64_end(const samba__hash64_stream *stream);

#endif
