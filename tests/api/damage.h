/*
 * Random damage to model files: of bytes, of JSON values, of GGUF metadata. The same seed does the
 * same damage. Buffers are reallocated to the exact size, so that a sanitizer sees reads past the
 * end.
 */
#ifndef TESTS_API_DAMAGE_H
#define TESTS_API_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bytes {
    unsigned char *data; /* malloc'ed */
    size_t size;
} bytes;

uint64_t damage_random(uint64_t *seed);
bytes bytes_copy(const bytes *b);
bytes bytes_read(const char *path);
void bytes_write(const bytes *b, const char *path);

/* Flips, extremes, stretches copied, removed or doubled; mostly within the first `head` bytes. */
void damage_bytes(uint64_t *seed, bytes *b, size_t head);
/* Changes one value (or key) of a JSON text: extremes, other types, other numbers nearby. */
void damage_json(uint64_t *seed, bytes *b);
/* The same for the header of a safetensors file, whose length stays right. */
void damage_safetensors(uint64_t *seed, bytes *b);
/* Changes one value, or one entry of an array, of a GGUF file's metadata, or a tensor's shape, type
 * or offset. Does nothing if the file is too damaged to be walked. */
void damage_gguf(uint64_t *seed, bytes *b);

/*
 * One change after the other, all that there are: the number-th one, or false past the last. Every
 * value of a JSON text becomes each of a list; every number of a GGUF file's metadata (of long
 * arrays the first ones) each of its neighbours and extremes.
 */
bool damage_json_each(size_t number, bytes *b);
bool damage_gguf_each(size_t number, bytes *b);

#endif
