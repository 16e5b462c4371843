/*
 * The codec of chunks on arrays of every type: lossless ones come back bit for bit, raw and zstd;
 * lossy ones within half a step of their block, finite whatever goes in, and written so once more
 * they settle after at most one more change, as samba.h says.
 */
#include "base/bytes.h"
#include "state/chunk.h"
#include "support/fail_alloc.h"
#include "support/suite.h"
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>
#include <zstd.h>

enum {
    N = 32 * 60, /* elements */
    ROOM = 4 * N
};

static uint64_t seed;

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static float uniform(void) /* [-1, 1) */
{
    return (float)(int32_t)random_bits() * 0x1p-31f;
}

static const int32_t kv_types[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                   SAMBA_DTYPE_Q8_0};

static size_t bytes_of(int32_t type)
{
    uint32_t elements;
    const size_t unit = samba__type_unit(type, &elements);
    return N / elements * unit;
}

/* Rows of `type` there and back, as they would be read from a file; returns the stored size. */
static size_t there_and_back(int32_t type, int32_t stored_type, samba_codec codec,
                             const uint8_t *from, uint8_t *to)
{
    static uint8_t stored[ROOM + SAMBA__CHUNK_PLANES * SAMBA__PLANE_WORD];
    samba__chunk_codec tools = {.alloc = fail_alloc_allocator()};
    samba__chunk c = {.type = type,
                      .stored_type = stored_type,
                      .codec = codec,
                      .level = 1,
                      .from = from,
                      .from_size = bytes_of(type),
                      .to = stored};
    ck_assert_int_eq(samba__chunk_encode(&tools, &c), SAMBA__CHUNK_OK);
    ck_assert_uint_le(c.to_size, samba__chunk_bound(bytes_of(stored_type)));
    const samba__chunk back = {.type = type,
                               .stored_type = stored_type,
                               .codec = codec,
                               .from = c.stored,
                               .from_size = c.to_size,
                               .to = to,
                               .to_size = bytes_of(type)};
    ck_assert_int_eq(samba__chunk_decode(&tools, &back), SAMBA__CHUNK_OK);
    samba__chunk_codec_free(&tools);
    return c.to_size;
}

START_TEST(lossless)
{
    static const int32_t types[] = {SAMBA_DTYPE_F32,  SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                    SAMBA_DTYPE_Q8_0, SAMBA__TYPE_I32, SAMBA__TYPE_U8};
    const int32_t type = types[_i];
    static uint8_t from[ROOM], to[ROOM];
    for (samba_codec codec = SAMBA_CODEC_RAW; codec <= SAMBA_CODEC_ZSTD; codec++)
        for (uint32_t mask = 0; mask < 4; mask++) { /* from all alike to noise in every plane */
            for (size_t i = 0; i < ROOM; i++)
                from[i] = (uint8_t)(i % 4 < mask ? random_bits() & 0x3f : i % 4);
            memset(to, 0xaa, sizeof to);
            const size_t stored = there_and_back(type, type, codec, from, to);
            ck_assert_mem_eq(to, from, bytes_of(type));
            ck_assert_uint_eq(to[bytes_of(type) == ROOM ? 0 : bytes_of(type)],
                              bytes_of(type) == ROOM ? from[0] : 0xaa);
            ck_assert(mask || codec == SAMBA_CODEC_RAW || stored < bytes_of(type) / 4);
        }
}
END_TEST

/* Blocks of magnitudes from far below the least scale to `largest`. */
static void fill(float *x, float largest)
{
    for (size_t b = 0; b < N / 32; b++) {
        const float size = ldexpf(largest, -(int)(random_bits() % 50));
        for (size_t i = 0; i < 32; i++)
            x[32 * b + i] = random_bits() % 9 ? size * uniform() : 0;
    }
}

/* What rounding to the type itself does at most. */
static double rounding(int32_t type, double x)
{
    return type == SAMBA_DTYPE_F32   ? 0
           : type == SAMBA_DTYPE_F16 ? fmax(x * 0x1p-11, 0x1p-25)
                                     : x * 0x1p-8;
}

static void within_half_a_step(int32_t type, const float *x, const float *y)
{
    for (size_t b = 0; b < N; b += 32) {
        double most = 0;
        for (size_t i = b; i < b + 32; i++)
            most = fmax(most, fabs((double)x[i]));
        const double step = most / 127, scale = fmax(step * 0x1p-11, 0x1p-25);
        for (size_t i = b; i < b + 32; i++)
            if (!(fabs((double)x[i] - (double)y[i]) <=
                  step * 0.50001 + 127 * scale + rounding(type, most)))
                ck_abort_msg("%g became %g in a block up to %g", (double)x[i], (double)y[i], most);
    }
}

START_TEST(lossy)
{
    const int32_t type = kv_types[_i];
    const samba__dtype_info *info = samba__dtype_info_of(type);
    static uint8_t first[ROOM], second[ROOM], third[ROOM], fourth[ROOM];
    static float x[N], y[N];
    for (int round = 0; round < 200; round++) {
        const samba_codec codec = round % 2 ? SAMBA_CODEC_RAW : SAMBA_CODEC_ZSTD;
        const bool huge = round % 5 == 4; /* beyond what decodes: held at the largest f16 */
        fill(x, huge && type != SAMBA_DTYPE_F16 ? 3e38f : 60000);
        x[0] = huge ? 65504 : x[0]; /* times 127 / 127 it is more */
        info->from_f32(x, first, N);
        info->to_f32(first, x, N);
        const size_t stored = there_and_back(type, SAMBA_DTYPE_Q8_0, codec, first, second);
        ck_assert(codec == SAMBA_CODEC_ZSTD || stored == bytes_of(SAMBA_DTYPE_Q8_0));
        ck_assert(samba__floats_finite(type, second, bytes_of(type)));
        info->to_f32(second, y, N);
        if (!huge)
            within_half_a_step(type, x, y);
        there_and_back(type, SAMBA_DTYPE_Q8_0, codec, second, third);
        there_and_back(type, SAMBA_DTYPE_Q8_0, codec, third, fourth);
        ck_assert_mem_eq(fourth, third, bytes_of(type));
        if (type == SAMBA_DTYPE_F32 && !huge)
            ck_assert_mem_eq(third, second, bytes_of(type));
    }
}
END_TEST

/* No NaN or infinity is written in any type, nor read: of a Q8_0 block that is its scale. */
START_TEST(only_finite)
{
    const int32_t type = kv_types[_i];
    static uint8_t rows[ROOM], to[ROOM + SAMBA__CHUNK_PLANES * SAMBA__PLANE_WORD];
    static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7c01, 0x7f80, 0xff80, 0x7fff};
    samba__chunk_codec tools = {.alloc = fail_alloc_allocator()};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const size_t unit = type == SAMBA_DTYPE_Q8_0 ? 34 : type == SAMBA_DTYPE_F32 ? 4 : 2;
        const bool is_16 = type == SAMBA_DTYPE_F16 || type == SAMBA_DTYPE_Q8_0;
        const uint16_t mask = is_16 ? 0x7c00 : 0x7f80;
        const bool finite = (bad[i] & mask) != mask;
        memset(rows, 0, sizeof rows);
        samba__store_u16(rows + 7 * unit + (type == SAMBA_DTYPE_F32 ? 2 : 0), bad[i]);
        samba__chunk c = {.type = type,
                          .stored_type = type,
                          .codec = SAMBA_CODEC_RAW,
                          .from = rows,
                          .from_size = bytes_of(type),
                          .to = to};
        const samba__chunk_result want = finite ? SAMBA__CHUNK_OK : SAMBA__CHUNK_NOT_FINITE;
        ck_assert_int_eq(samba__chunk_encode(&tools, &c), want);
        c.from = rows;
        c.to_size = c.from_size;
        ck_assert_int_eq(samba__chunk_decode(&tools, &c), want);
        c.stored_type = SAMBA_DTYPE_Q8_0;
        c.codec = SAMBA_CODEC_ZSTD;
        if (type != SAMBA_DTYPE_Q8_0)
            ck_assert_int_eq(samba__chunk_encode(&tools, &c), want);
    }
    samba__chunk_codec_free(&tools);
}
END_TEST

/* ---------------------------------------------------------------- frames that lie */

/* A frame of `n` zeros; with or without its size in it. */
static size_t frame_of(size_t n, bool with_size, uint8_t *to, size_t room)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    void *zeros = calloc(n, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, with_size);
    const size_t size = ZSTD_compress2(c, to, room, zeros, n);
    ck_assert(!ZSTD_isError(size));
    free(zeros);
    ZSTD_freeCCtx(c);
    return size;
}

/* A chunk of one plane of 4,096 bytes whose frame is of another size (a bomb, or too little), tells
 * none, or is cut: refused, and nothing is written past the plane. */
START_TEST(frames_that_lie)
{
    static const struct {
        size_t n, cut;
        bool with_size, good;
    } frames[] = {{4096, 0, true, true},   {4097, 0, true, false},     {4095, 0, true, false},
                  {4096, 0, false, false}, {64 << 20, 0, true, false}, {64 << 20, 0, false, false},
                  {4096, 1, true, false}};
    static uint8_t chunk[1 << 15], to[4096 + 64];
    samba__chunk_codec tools = {.alloc = fail_alloc_allocator()};
    size_t size = frame_of(frames[_i].n, frames[_i].with_size, chunk + 4, sizeof chunk - 4);
    size -= frames[_i].cut;
    samba__store_u32(chunk, (uint32_t)1 << 31 | (uint32_t)size);
    memset(to, 0x5a, sizeof to);
    const samba__chunk c = {.type = SAMBA__TYPE_U8,
                            .stored_type = SAMBA__TYPE_U8,
                            .codec = SAMBA_CODEC_ZSTD,
                            .from = chunk,
                            .from_size = 4 + size,
                            .to = to,
                            .to_size = 4096};
    ck_assert_int_eq(samba__chunk_decode(&tools, &c),
                     frames[_i].good ? SAMBA__CHUNK_OK : SAMBA__CHUNK_BAD);
    for (size_t i = 4096; i < sizeof to; i++)
        ck_assert_uint_eq(to[i], 0x5a);
    ck_assert_uint_le(tools.capacity, 4096);
    samba__chunk_codec_free(&tools);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chunk");
    TCase *tcase = tcase_create("chunk");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, lossless, 0, 6);
    tcase_add_loop_test(tcase, lossy, 0, 3);
    tcase_add_loop_test(tcase, only_finite, 0, 4);
    tcase_add_loop_test(tcase, frames_that_lie, 0, 7);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
