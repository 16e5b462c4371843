/* xxHash behind types of known size, so that no stream needs memory of its own; see hash.h. */
#include "base/hash.h"

#include <string.h>

/* For the sizes of the streaming states, which would otherwise come from malloc. */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

_Static_assert(sizeof(XXH3_state_t) <= sizeof(samba__hash_stream), "a state fits");
_Static_assert(sizeof(XXH64_state_t) <= sizeof(samba__hash64_stream), "a state fits");

static void canonical(XXH128_hash_t hash, uint8_t out[SAMBA__HASH_BYTES])
{
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, hash);
    memcpy(out, c.digest, SAMBA__HASH_BYTES);
}

void samba__hash128(const void *data, size_t size, uint8_t out[SAMBA__HASH_BYTES])
{
    canonical(XXH3_128bits(data, size), out);
}

static XXH3_state_t *state128(const samba__hash_stream *stream)
{
    return (XXH3_state_t *)(uintptr_t)stream->state;
}

void samba__hash_begin(samba__hash_stream *stream)
{
    XXH3_128bits_reset(state128(stream));
}

void samba__hash_update(samba__hash_stream *stream, const void *data, size_t size)
{
    XXH3_128bits_update(state128(stream), data, size);
}

void samba__hash_end(const samba__hash_stream *stream, uint8_t out[SAMBA__HASH_BYTES])
{
    canonical(XXH3_128bits_digest(state128(stream)), out);
}

uint64_t samba__hash64(const void *data, size_t size)
{
    return XXH64(data, size, 0);
}

static XXH64_state_t *state64(const samba__hash64_stream *stream)
{
    return (XXH64_state_t *)(uintptr_t)stream->state;
}

void samba__hash64_begin(samba__hash64_stream *stream)
{
    XXH64_reset(state64(stream), 0);
}

void samba__hash64_update(samba__hash64_stream *stream, const void *data, size_t size)
{
    XXH64_update(state64(stream), data, size);
}

uint64_t samba__hash64_end(const samba__hash64_stream *stream)
{
    return XXH64_digest(state64(stream));
}
