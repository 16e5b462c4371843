/*
 * The codec of chunks on its own: rows of every type whose planes are noise or compressible, in
 * every combination, come back bit for bit; nothing is written beyond what was
 * promised; noise is stored as it is.
 */
#include "base/bytes.h"
#include "state/chunk.h"
#include "support/suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 1 << 18,
    GUARD = 64
};

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Bytes at p, p + step, ...: noise, or few values. Never 0xff in a row's high byte: finite. */
static void fill(uint8_t *rows, size_t size, size_t step, size_t p, bool noise)
{
    uint32_t state = 7 + (uint32_t)p;
    for (size_t i = p; i < size; i += step)
        rows[i] = (uint8_t)(noise ? next(&state) : 0x30 + (next(&state) & next(&state) & 7));
}

static void back_again(const samba__chunk *chunk, uint32_t noise, uint32_t n_planes)
{
    samba__chunk_codec codec = {.alloc = samba__alloc_default()};
    samba__chunk c = *chunk;
    const size_t bound = samba__chunk_bound(c.from_size);
    uint8_t *to = malloc(bound + GUARD), *rows = malloc(c.from_size);
    memset(to, 0xa5, bound + GUARD);
    c.to = to;
    ck_assert_int_eq(samba__chunk_encode(&codec, &c), SAMBA__CHUNK_OK);
    ck_assert_uint_le(c.to_size, bound);
    for (size_t i = 0; i < GUARD; i++)
        ck_assert_uint_eq(to[bound + i], 0xa5);
    for (uint32_t p = 0; p < n_planes; p++) /* the highest bit says: compressed */
        ck_assert_uint_eq(samba__load_u32(c.stored + 4 * p) >> 31, !(noise >> p & 1));
    const samba__chunk read = {.type = c.type,
                               .stored_type = c.stored_type,
                               .codec = c.codec,
                               .from = c.stored,
                               .from_size = c.to_size,
                               .to = rows,
                               .to_size = c.from_size};
    ck_assert_int_eq(samba__chunk_decode(&codec, &read), SAMBA__CHUNK_OK);
    ck_assert(memcmp(rows, c.from, c.from_size) == 0);
    samba__chunk_codec_free(&codec);
    free(to);
    free(rows);
}

START_TEST(planes_come_back)
{
    static const struct {
        int32_t type;
        uint32_t bytes;
    } types[] = {{SAMBA_DTYPE_F32, 4}, {SAMBA_DTYPE_F16, 2}, {SAMBA_DTYPE_BF16, 2}};
    const size_t sizes[] = {ROWS, ROWS - 4 * 4099, 8192}; /* of the last nothing is sampled */
    uint8_t *rows = malloc(ROWS);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (uint32_t noise = 0; noise < 1u << (types[t].bytes - 1); noise++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                for (uint32_t p = 0; p < types[t].bytes; p++)
                    fill(rows, ROWS, types[t].bytes, p, noise >> p & 1);
                const samba__chunk c = {.type = types[t].type,
                                        .stored_type = types[t].type,
                                        .codec = SAMBA_CODEC_ZSTD,
                                        .level = i == 1 ? 3 : 1,
                                        .from = rows,
                                        .from_size = sizes[i]};
                back_again(&c, noise, types[t].bytes);
            }
    free(rows);
}
END_TEST

/* Scales and numbers of Q8_0: the planes of a unit are not alike. */
START_TEST(blocks_come_back)
{
    const size_t size = ROWS / 34 * 34;
    uint8_t *rows = malloc(size);
    for (uint32_t noise = 0; noise < 8; noise += 4) {
        fill(rows, size, 1, 0, noise & 4);
        fill(rows, size, 34, 0, false);
        fill(rows, size, 34, 1, false);
        const samba__chunk c = {.type = SAMBA_DTYPE_Q8_0,
                                .stored_type = SAMBA_DTYPE_Q8_0,
                                .codec = SAMBA_CODEC_ZSTD,
                                .level = 1,
                                .from = rows,
                                .from_size = size};
        back_again(&c, noise, 3);
    }
    free(rows);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("state/planes");
    TCase *c = tcase_create("planes");
    tcase_add_test(c, planes_come_back);
    tcase_add_test(c, blocks_come_back);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
