/*
 * The table of element types, and the Q8_0 codec against its definition in double precision.
 */
#include "base/half.h"
#include "support/suite.h"
#include "tensor/dtype.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* What the table must say of each type; how far a codec may be off for values within 3. */
static const struct {
    samba_dtype dtype;
    const char *name;
    uint32_t gguf, block, bytes;
    float tolerance;
} all[] = {
    {SAMBA_DTYPE_F32, "f32", 0, 1, 4, 0},           {SAMBA_DTYPE_F16, "f16", 1, 1, 2, 0.001f},
    {SAMBA_DTYPE_BF16, "bf16", 30, 1, 2, 0.01f},    {SAMBA_DTYPE_Q8_0, "q8_0", 8, 32, 34, 0.02f},
    {SAMBA_DTYPE_Q4_0, "q4_0", 2, 32, 18, 0.45f},   {SAMBA_DTYPE_Q4_K, "q4_k", 12, 256, 144, 0.45f},
    {SAMBA_DTYPE_Q6_K, "q6_k", 14, 256, 210, 0.1f},
};
enum {
    N_ALL = sizeof all / sizeof *all,
    BLOCK = SAMBA__Q8_0_BLOCK,
    BYTES = SAMBA__Q8_0_BYTES
};

static uint64_t rng_state = 1;

static float random_value(float size)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return ((float)(rng_state >> 40) * 0x1p-23f - 1) * size;
}

START_TEST(rows_agree)
{
    for (size_t i = 0; i < N_ALL; i++) {
        const samba__dtype_info *info = samba__dtype_info_of(all[i].dtype);
        ck_assert_ptr_nonnull(info);
        ck_assert_int_eq(info->dtype, all[i].dtype);
        ck_assert_uint_eq(info->gguf_type, all[i].gguf);
        ck_assert_ptr_eq(samba__dtype_info_of_gguf(all[i].gguf), info);
        ck_assert_str_eq(info->name, all[i].name);
        ck_assert_str_eq(samba_dtype_name(all[i].dtype), info->name);
        ck_assert_int_eq(samba_dtype_from_name(info->name), all[i].dtype);
        ck_assert(info->block == all[i].block && info->block_bytes == all[i].bytes);
    }
    ck_assert_int_eq(samba_dtype_from_name("BF16"), SAMBA_DTYPE_BF16);
    ck_assert_int_eq(samba_dtype_from_name("Q8_0"), SAMBA_DTYPE_Q8_0);
    ck_assert_int_eq(samba_dtype_from_name("Q4_K"), SAMBA_DTYPE_Q4_K);
    static const char *const no_names[] = {"",      "f",   "f3",   "f322", "q8",
                                           "q8_00", "bf1", " f32", "q4",   "q4_1"};
    for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++)
        ck_assert_int_eq(samba_dtype_from_name(no_names[i]), 0);
    ck_assert_int_eq(samba_dtype_from_name(NULL), 0);
    static const samba_dtype no_types[] = {0, -1, 8, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof no_types / sizeof *no_types; i++) {
        ck_assert_ptr_null(samba__dtype_info_of(no_types[i]));
        ck_assert_ptr_null(samba_dtype_name(no_types[i]));
    }
    ck_assert_ptr_null(samba__dtype_info_of_gguf(3));
    ck_assert_ptr_null(samba__dtype_info_of_gguf(UINT32_MAX));
}
END_TEST

START_TEST(bytes_are_checked)
{
    uint64_t bytes = 77;
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_F32, 0, &bytes) && bytes == 0);
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_F32, 5, &bytes) && bytes == 20);
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_BF16, 5, &bytes) && bytes == 10);
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_Q8_0, 64, &bytes) && bytes == 68);
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_F32, UINT64_MAX / 4, &bytes));
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_F16, UINT64_MAX / 2, &bytes));
    ck_assert(!samba__dtype_bytes(SAMBA_DTYPE_F32, UINT64_MAX / 4 + 1, &bytes));
    ck_assert(!samba__dtype_bytes(SAMBA_DTYPE_F16, UINT64_MAX / 2 + 1, &bytes));
    ck_assert(!samba__dtype_bytes(SAMBA_DTYPE_Q8_0, UINT64_MAX - 31, &bytes));
    for (uint64_t n = 1; n < 32; n++)
        ck_assert(!samba__dtype_bytes(SAMBA_DTYPE_Q8_0, 32 + n, &bytes));
    ck_assert(samba__dtype_bytes(SAMBA_DTYPE_Q4_K, 512, &bytes) && bytes == 288);
    ck_assert(!samba__dtype_bytes(SAMBA_DTYPE_Q6_K, 128, &bytes));
    ck_assert(!samba__dtype_bytes(0, 32, &bytes));
}
END_TEST

/* Encoded data may lie anywhere: the codecs run at every offset, between poisoned margins. */
START_TEST(codecs_at_odd_addresses)
{
    enum {
        N = 768,
        ROOM = N * 4 + 64
    };
    float x[N], y[N + 2];
    for (size_t i = 0; i < N; i++)
        x[i] = random_value(3);
    for (size_t t = 0; t < N_ALL; t++) {
        const samba__dtype_info *info = samba__dtype_info_of(all[t].dtype);
        size_t bytes = N / info->block * info->block_bytes;
        unsigned char first[ROOM], room[ROOM];
        info->from_f32(x, first, N);
        for (size_t offset = 1; offset < 9; offset++) {
            memset(room, 0xee, sizeof room);
            info->from_f32(x, room + offset, N);
            ck_assert_mem_eq(room + offset, first, bytes);
            ck_assert(room[offset - 1] == 0xee && room[offset + bytes] == 0xee);
            y[0] = y[N + 1] = -12345;
            info->to_f32(room + offset, y + 1, N);
            ck_assert(y[0] == -12345 && y[N + 1] == -12345);
            for (size_t i = 0; i < N; i++)
                ck_assert_float_le(fabsf(y[1 + i] - x[i]), all[t].tolerance);
        }
        info->from_f32(x, room, 0); /* nothing */
        info->to_f32(room, y, 0);
    }
}
END_TEST

START_TEST(scalar_types_are_little_endian)
{
    const float x[2] = {1.5f, -2};
    unsigned char b[8];
    samba__dtype_info_of(SAMBA_DTYPE_F32)->from_f32(x, b, 2);
    ck_assert_mem_eq(b, "\0\0\xc0\x3f\0\0\0\xc0", 8);
    samba__dtype_info_of(SAMBA_DTYPE_F16)->from_f32(x, b, 2);
    ck_assert_mem_eq(b, "\0\x3e\0\xc0", 4);
    samba__dtype_info_of(SAMBA_DTYPE_BF16)->from_f32(x, b, 2);
    ck_assert_mem_eq(b, "\xc0\x3f\0\xc0", 4);
}
END_TEST

static float scale_of(const unsigned char *block)
{
    return samba__f16_to_f32((uint16_t)(block[0] | block[1] << 8));
}

/* Ordinary blocks of many sizes: scale and every q by definition, error at most half a step. */
START_TEST(q8_0_by_definition)
{
    float x[BLOCK], y[BLOCK];
    unsigned char b[BYTES];
    for (int round = 0; round < 20000; round++) {
        float size = ldexpf(1, round % 34 - 16);
        double max = 0;
        for (int j = 0; j < BLOCK; j++) {
            x[j] = random_value(size);
            max = fmax(max, fabs((double)x[j]));
        }
        samba__q8_0_from_f32(x, b, BLOCK);
        samba__q8_0_to_f32(b, y, BLOCK);
        double d = max / 127, stored = (double)scale_of(b);
        ck_assert_double_le(fabs(stored - d), d * 0x1.01p-11 + 0x1p-25);
        for (int j = 0; j < BLOCK; j++) {
            int q = (int8_t)b[2 + j];
            double exact = (double)x[j] / d;
            ck_assert_msg(fabs(exact - q) <= 0.5 + 1e-4, "%a / %a is not %d", (double)x[j], d, q);
            ck_assert(y[j] == (float)stored * (float)q);
        }
    }
}
END_TEST

/* With absmax 127 the scale is 1 and q is the plain rounding of x. */
START_TEST(q8_0_ties_go_away_from_zero)
{
    float x[BLOCK] = {127,   0.5f,   -0.5f,   1.5f,           -1.5f,           2.5f,
                      -2.5f, 126.5f, -126.5f, 0x1.fffffep-2f, -0x1.fffffep-2f, 0x1.7ffffep0f,
                      0,     -0.0f,  -127,    63.5f};
    const int want[BLOCK] = {127, 1, -1, 2, -2, 3, -3, 127, -127, 0, 0, 1, 0, 0, -127, 64};
    unsigned char b[BYTES];
    samba__q8_0_from_f32(x, b, BLOCK);
    ck_assert(scale_of(b) == 1);
    for (int j = 0; j < BLOCK; j++)
        ck_assert_int_eq((int8_t)b[2 + j], want[j]);
}
END_TEST

/* What the encoder makes, it makes again of its own output. */
START_TEST(q8_0_is_stable)
{
    float x[BLOCK], y[BLOCK], z[BLOCK];
    unsigned char b[BYTES];
    for (int round = 0; round < 2000; round++) {
        for (int j = 0; j < BLOCK; j++)
            x[j] = random_value(ldexpf(1, round % 20 - 10));
        samba__q8_0_from_f32(x, b, BLOCK);
        samba__q8_0_to_f32(b, y, BLOCK);
        samba__q8_0_from_f32(y, b, BLOCK);
        samba__q8_0_to_f32(b, z, BLOCK);
        ck_assert_mem_eq(y, z, sizeof y);
    }
}
END_TEST

/* Whatever goes in, finite numbers come out. */
START_TEST(q8_0_of_anything)
{
    static const float odd[] = {NAN,    INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0,
                                -0.0f,  FLT_MIN,  0x1p-149f, 1e-30f,  1e30f,    8.3e6f,
                                8.4e6f, 1,        -1e-6f,    5e-6f,   3.7e-6f};
    const size_t n_odd = sizeof odd / sizeof *odd;
    float x[BLOCK], y[BLOCK];
    unsigned char b[BYTES];
    for (size_t i = 0; i < n_odd; i++)
        for (size_t k = 0; k < n_odd; k++) {
            for (size_t j = 0; j < BLOCK; j++)
                x[j] = j % 3 == 0 ? odd[i] : j % 3 == 1 ? odd[k] : 0;
            samba__q8_0_from_f32(x, b, BLOCK);
            samba__q8_0_to_f32(b, y, BLOCK);
            for (size_t j = 0; j < BLOCK; j++) {
                ck_assert(isfinite(y[j]));
                if (isnan(x[j]))
                    ck_assert(y[j] == 0);
                ck_assert(!(x[j] > 0) || y[j] >= 0);
                ck_assert(!(x[j] < 0) || y[j] <= 0);
            }
        }
    const float nans[BLOCK] = {NAN, NAN, 2, NAN, -1};
    samba__q8_0_from_f32(nans, b, BLOCK); /* NaN does not disturb its neighbours */
    samba__q8_0_to_f32(b, y, BLOCK);
    ck_assert_float_eq_tol(y[2], 2, 0.01f);
    ck_assert_float_eq_tol(y[4], -1, 0.01f);
    memset(b, 0xff, sizeof b); /* decoding what nobody encoded: a NaN scale */
    samba__q8_0_to_f32(b, y, BLOCK);
    ck_assert(isnan(y[0]));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor/dtype");
    TCase *c = tcase_create("dtype");
    tcase_add_test(c, rows_agree);
    tcase_add_test(c, bytes_are_checked);
    tcase_add_test(c, codecs_at_odd_addresses);
    tcase_add_test(c, scalar_types_are_little_endian);
    tcase_add_test(c, q8_0_by_definition);
    tcase_add_test(c, q8_0_ties_go_away_from_zero);
    tcase_add_test(c, q8_0_is_stable);
    tcase_add_test(c, q8_0_of_anything);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
