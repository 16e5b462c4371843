/*
 * Random damage to small files: each damaged file must give an error or a directory that can be
 * read in full, and take memory in proportion to its size.
 */
#include "base/bytes.h"
#include "format/util.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_CORRUPTIONS = 20000
};

static const uint64_t extremes[] = {0,          1,          0x7f,           0x80,
                                    0xff,       0xffff,     0x7fffffff,     0x80000000,
                                    0xffffffff, INT64_MAX,  1ull << 63,     UINT64_MAX,
                                    1ull << 32, 1ull << 62, UINT64_MAX - 31};

/* Where the head of a file ends: most damage goes there. */
static size_t pick(uint64_t *seed, size_t size, size_t head)
{
    const uint64_t r = next_random(seed);
    return (size_t)(r % 8 ? (r >> 3) % head : (r >> 3) % size);
}

static void put_extreme(uint64_t *seed, uint8_t *data, size_t size, size_t head)
{
    uint8_t v[8];
    const size_t n = (size_t)1 << (next_random(seed) % 4), at = pick(seed, size, head);
    samba__store_u64(v, extremes[next_random(seed) % (sizeof extremes / sizeof *extremes)]);
    memcpy(data + at, v, n < size - at ? n : size - at);
}

/* Copies a stretch of the file over another place of it. */
static void splice(uint64_t *seed, uint8_t *data, size_t size, size_t head)
{
    const size_t from = pick(seed, size, head), to = pick(seed, size, head);
    const size_t room = size - (from > to ? from : to);
    memmove(data + to, data + from, next_random(seed) % (room < 64 ? room : 64) + 1);
}

/* A digit of a text header becomes another. */
static void change_digit(uint64_t *seed, uint8_t *data, size_t size, size_t head)
{
    size_t at = pick(seed, size, head);
    for (size_t i = 0; i < size; i++, at = (at + 1) % size)
        if (data[at] >= '0' && data[at] <= '9') {
            data[at] = (uint8_t)('0' + next_random(seed) % 10);
            return;
        }
}

/* Removes or doubles a stretch; returns the new size (at most twice the old). */
static size_t shift(uint64_t *seed, uint8_t *data, size_t size, size_t head)
{
    const size_t at = pick(seed, size, head);
    const size_t n = next_random(seed) % (size - at < 40 ? size - at : 40);
    if (next_random(seed) % 2) {
        memmove(data + at, data + at + n, size - at - n);
        return size - n;
    }
    memmove(data + at + n, data + at, size - at);
    return size + n;
}

/* Damages `data` (with room for twice `size`) in 1 to 3 ways; returns the new size. */
static size_t corrupt(uint64_t *seed, uint8_t *data, size_t size, size_t head)
{
    for (uint64_t k = next_random(seed) % 3 + 1; k && size > head; k--) {
        switch (next_random(seed) % 6) {
        case 0:
            data[pick(seed, size, head)] ^= (uint8_t)(1u << next_random(seed) % 8);
            break;
        case 1:
            data[pick(seed, size, head)] = (uint8_t)next_random(seed);
            break;
        case 2:
            put_extreme(seed, data, size, head);
            break;
        case 3:
            splice(seed, data, size, head);
            break;
        case 4:
            change_digit(seed, data, size, head);
            break;
        default:
            size = shift(seed, data, size, head);
        }
    }
    return size;
}

void check_corruptions(const blob *b, size_t head, uint64_t seed)
{
    size_t opened = 0, worst = 0;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < N_CORRUPTIONS; i++) {
        counting c;
        samba__checkpoint *ck = NULL;
        samba_error *e = NULL;
        uint8_t *data = malloc(4 * b->size);
        ck_assert_ptr_nonnull(data);
        memcpy(data, b->data, b->size);
        const size_t size = corrupt(&seed, data, b->size, head);
        data = realloc(data, size); /* exact, so that a sanitizer sees a read past the end */
        counting_init(&c);
        if (open_bytes(&c.a, data, size, &ck, &e) == SAMBA_OK) {
            opened++;
            ck_assert_msg(walk(ck), "corruption %d can't be read", i);
        } else {
            ck_assert_int_ne(samba_error_status(e), SAMBA_ERROR_INTERNAL);
            ck_assert_int_ne(samba_error_status(e), SAMBA_ERROR_OUT_OF_MEMORY);
            ck_assert_int_ne(samba_error_status(e), SAMBA_ERROR_INVALID_ARGUMENT);
        }
        worst = c.peak > worst ? c.peak : worst;
        ck_assert_uint_le(c.peak, 65536 + 40 * size);
        samba__checkpoint_close(ck);
        samba_error_free(e);
        ck_assert_uint_eq(c.blocks, 0);
        free(data);
    }
    printf("%d corruptions of %zu bytes: %zu opened, peak %zu bytes\n", N_CORRUPTIONS, b->size,
           opened, worst);
    ck_assert_uint_gt(opened, N_CORRUPTIONS / 100); /* the damage is not so great that */
    ck_assert_uint_lt(opened, N_CORRUPTIONS / 2);   /* nothing interesting is reached  */
}
