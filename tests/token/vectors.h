/*
 * What the tokenizer tests share: reading files of tests/token/data, the vector format (described
 * in make_vectors.py), encoding and decoding in one call. Functions end the test when they fail.
 */
#ifndef SAMBA_TEST_TOKEN_VECTORS_H
#define SAMBA_TEST_TOKEN_VECTORS_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "token/tokenizer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct file_bytes {
    char *data;
    size_t size;
} file_bytes;

static inline file_bytes read_file(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    file_bytes b = {0};
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    b.size = (size_t)ftell(f);
    rewind(f);
    b.data = malloc(b.size + 1);
    ck_assert_ptr_nonnull(b.data);
    ck_assert_uint_eq(fread(b.data, 1, b.size, f), b.size);
    b.data[b.size] = 0;
    fclose(f);
    return b;
}

static inline samba__tokenizer *load_json(const char *json, size_t size)
{
    samba__tokenizer *t = NULL;
    samba_error *error = NULL;
    samba_status status =
        samba__tokenizer_from_json(samba__alloc_default(), json, size, &t, &error);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
    return t;
}

static inline samba__tokenizer *load_file(const char *name)
{
    file_bytes b = read_file(name);
    samba__tokenizer *t = load_json(b.data, b.size);
    free(b.data);
    return t;
}

static inline samba__token_list encode(const samba__tokenizer *t, const char *text, size_t size,
                                       bool parse_special, bool add_special)
{
    samba__token_list list = {0};
    samba_error *error = NULL;
    samba_status status = samba__tokenizer_encode(
        t, text, size, (samba__encode_flags){parse_special, add_special}, &list, &error);
    ck_assert_msg(status == SAMBA_OK, "%s", samba_error_message(error));
    return list;
}

static inline void list_free(samba__token_list *list)
{
    samba__free(samba__alloc_default(), list->ids);
    *list = (samba__token_list){0};
}

/* Allocated; the bytes of all tokens. */
static inline file_bytes decode(const samba__tokenizer *t, const samba_token *ids, size_t n)
{
    file_bytes out = {malloc(1), 0};
    for (size_t i = 0; i < n; i++) {
        samba__text piece;
        if (!samba__tokenizer_piece(t, ids[i], i == 0, &piece))
            ck_abort_msg("token %d is out of range", (int)ids[i]);
        out.data = realloc(out.data, out.size + piece.size + 1);
        if (piece.size)
            memcpy(out.data + out.size, piece.data, piece.size);
        out.size += piece.size;
    }
    return out;
}

/* Small, fast and the same everywhere. */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
