/*
 * Chunks: whole rows of a section, encoded on their own, so that several threads can work and
 * nothing needs memory for more than a few. Raw chunks are the rows; zstd chunks are split into
 * byte planes first, each of which is a zstd frame or, where that gains little, plain. FORMAT.md
 * has the bytes. Knows no file.
 */
#ifndef SAMBA_STATE_CHUNK_H
#define SAMBA_STATE_CHUNK_H

#include "state/section.h"

enum {
    SAMBA__CHUNK_BYTES = 1 << 18, /* rows of a chunk take at most this; at least one row */
    SAMBA__CHUNK_PLANES = 4,      /* at most, in any type */
    SAMBA__PLANE_WORD = 4
};

/* Rows per chunk of a section whose rows are stored as `type`. */
uint64_t samba__chunk_rows(const samba__section *section, int32_t type);
/* Planes of a type. */
uint32_t samba__type_planes(int32_t type);

/* One thread's tools. Zeroed: none yet. */
typedef struct samba__chunk_codec {
    const samba_allocator *alloc;
    void *compressor, *decompressor; /* zstd's */
    uint8_t *planes, *rows;          /* scratch of `capacity` bytes each */
    size_t capacity;
} samba__chunk_codec;
void samba__chunk_codec_free(samba__chunk_codec *codec);

/* The section is of elements `type`, in a file `stored_type` by `codec`. */
typedef struct samba__chunk {
    int32_t type, stored_type;
    samba_codec codec;
    int32_t level;
    const uint8_t *from; /* encoding: rows as `type`; decoding: stored bytes */
    size_t from_size;
    uint8_t *to;
    const uint8_t *stored; /* encoding: set, to_size bytes: `to`, or `from` where it stays as is */
    size_t to_size; /* decoding: of the rows as `type`. Encoding: set, at most samba__chunk_bound */
} samba__chunk;

/* What can go wrong with a chunk; the caller knows its section and makes the error. */
typedef int32_t samba__chunk_result;
enum {
    SAMBA__CHUNK_OK,
    SAMBA__CHUNK_NO_MEMORY,
    SAMBA__CHUNK_BAD,       /* decoding: no such stored bytes can be */
    SAMBA__CHUNK_NOT_FINITE /* a float is NaN or infinite */
};

/* Room that encoding `size` bytes of rows needs. */
size_t samba__chunk_bound(size_t size);
samba__chunk_result samba__chunk_encode(samba__chunk_codec *codec, samba__chunk *chunk);
samba__chunk_result samba__chunk_decode(samba__chunk_codec *codec, const samba__chunk *chunk);

/* Stored size of a zstd chunk from its first words [n_planes], whose planes have plane_size bytes
 * in rows of `rows_size`; 0: there can be no such chunk. */
size_t samba__chunk_stored(int32_t stored_type, const uint8_t *words, size_t rows_size);
/* Least bytes in which `rows_size` bytes of rows can be stored. */
uint64_t samba__chunk_least(const samba__section *section, int32_t stored_type,
                            uint64_t stored_raw);

/* Whether all floats in `size` bytes of whole units are finite. */
bool samba__floats_finite(int32_t type, const uint8_t *data, size_t size);

#endif
