/*
 * What the tests of lib/format share: a byte buffer to build files in, an allocator that counts and
 * fails on demand, small sample files of both containers, and a walk that touches everything an
 * opened checkpoint offers. The sample GGUF is built here byte by byte, not by the library's
 * writer.
 */
#ifndef TESTS_FORMAT_UTIL_H
#define TESTS_FORMAT_UTIL_H

#include "format/checkpoint.h"

typedef struct blob {
    uint8_t *data;
    size_t size, capacity;
} blob;

void blob_put(blob *b, const void *data, size_t n);
void blob_u8(blob *b, uint8_t v);
void blob_u32(blob *b, uint32_t v);
void blob_u64(blob *b, uint64_t v);
/* u64 length and the bytes, as GGUF stores strings. */
void blob_string(blob *b, const char *s);
void blob_zeros(blob *b, size_t n);
void blob_pad(blob *b, size_t align);
void blob_free(blob *b);

/* Counts live and peak bytes; allocation number `fail_at` (from 0) and, if `lasting`, all later
 * ones fail. SIZE_MAX: none. */
typedef struct counting {
    samba_allocator a;
    size_t live, peak, blocks, calls, fail_at;
    bool lasting;
} counting;
void counting_init(counting *c);

/* splitmix64 */
uint64_t next_random(uint64_t *state);

void gguf_head(blob *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys);
void gguf_key(blob *b, const char *key, uint32_t type);
void gguf_key_u32(blob *b, const char *key, uint32_t value);
/* dims innermost first, as in the file; at most 5 are written, whatever n_dims says */
void gguf_tensor(blob *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                 uint64_t offset);

/* Small valid files: every value type, several tensor types. Data bytes count up. */
blob sample_gguf(uint32_t version);
blob sample_safetensors(void);
/* A .safetensors file of a header text and n data bytes that count up from `first`. */
blob safetensors_of(const char *header, size_t n, uint8_t first);

/* Opens the bytes as one file. */
samba_status open_bytes(const samba_allocator *a, const void *data, size_t size,
                        samba__checkpoint **checkpoint, samba_error **error);
/* Opens bytes that must be good, and must be of this container. */
samba__checkpoint *open_good(const blob *b, int container);
/* The tensor is there and is this; its bytes count up from `first`. */
typedef struct expected_tensor {
    const char *name;
    samba_dtype dtype;
    const char *dtype_name;
    uint64_t bytes; /* at most 512 */
    uint8_t first;
} expected_tensor;
void check_tensor(const samba__checkpoint *c, const expected_tensor *expected);
/* Reads every byte of every tensor and asks every getter about every metadata value. False if a
 * tensor can't be read, or if an answer contradicts another. */
bool walk(const samba__checkpoint *checkpoint);

/* Opens bytes that must be refused; fails the test unless the status is `status` and the message
 * holds `text`. */
void expect_refused(const blob *b, samba_status status, const char *text);
/* Opens valid bytes with the n-th allocation failing, for every n, once and for good. */
void expect_survives_oom(const blob *b);
/* Every shorter prefix is refused, or opens with everything readable; those that cut `needed` bytes
 * are refused. */
void expect_survives_truncation(const blob *b, size_t needed);

/* 20,000 random corruptions, most of them in the first `head` bytes; prints seed and figures. */
void check_corruptions(const blob *b, size_t head, uint64_t seed);

/* A folder below the temporary folder, unique to this process and name. */
void temp_folder(char path[256], const char *name);
void write_file(const char *folder, const char *name, const void *data, size_t size);
void remove_folder(const char *path);

#endif
