/*
 * Q4_0, Q4_K and Q6_K: decoding by the definition of each format, written down here once more, and
 * encoding: never worse than plain rounding (the ends of the range laid on the extreme values), on
 * the whole clearly better, and defined for whatever goes in.
 */
#include "base/half.h"
#include "support/suite.h"
#include "tensor/dtype.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    BLOCK = 256, /* of values in these tests: 1 or 8 blocks */
    BYTES = 210
};

static uint64_t rng_state = 1;

static uint32_t random_bits(void)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 32);
}

static float random_value(void) /* [-1, 1) */
{
    return (float)(int32_t)random_bits() * 0x1p-31f;
}

static double load_f16(const uint8_t *p)
{
    return (double)samba__f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* ---- the formats by definition ---- */

static double q4_0_element(const uint8_t *b, size_t i)
{
    int q = i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4;
    return load_f16(b) * (q - 8);
}

static double q4_k_element(const uint8_t *b, size_t i)
{
    const uint8_t *s = b + 4;
    size_t j = i / 32;
    int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    int m = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    int q = b[16 + 32 * (j / 2) + i % 32] >> (j % 2 ? 4 : 0) & 15;
    return load_f16(b) * sc * q - load_f16(b + 2) * m;
}

static double q6_k_element(const uint8_t *b, size_t i)
{
    const uint8_t *ql = b + i / 128 * 64, *qh = b + 128 + i / 128 * 32;
    size_t l = i % 32;
    int q = 0;
    switch (i % 128 / 32) {
    case 0:
        q = (ql[l] & 15) | (qh[l] & 3) << 4;
        break;
    case 1:
        q = (ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4;
        break;
    case 2:
        q = ql[l] >> 4 | (qh[l] >> 4 & 3) << 4;
        break;
    default:
        q = ql[l + 32] >> 4 | (qh[l] >> 6 & 3) << 4;
    }
    return load_f16(b + 208) * (int8_t)b[192 + i / 16] * (q - 32);
}

/* ---- plain rounding: what the squares of the errors are with it ---- */

static double grid_error(const float *x, size_t n, double step, double min, int low, int high)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double q = step != 0 ? nearbyint(((double)x[i] + min) / step) : 0;
        q = q < low ? low : q > high ? high : q;
        double e = step * q - min - (double)x[i];
        sum += e * e;
    }
    return sum;
}

static double to_f16(double d)
{
    return (double)samba__f16_to_f32(samba__f32_to_f16((float)(d > 65504 ? 65504 : d)));
}

static double extreme(const float *x, size_t n)
{
    double at = 0;
    for (size_t i = 0; i < n; i++)
        at = fabs((double)x[i]) > fabs(at) ? (double)x[i] : at;
    return at;
}

static double q4_0_plain(const float *x)
{
    double sum = 0;
    for (size_t i = 0; i < BLOCK; i += 32)
        sum += grid_error(x + i, 32, to_f16(extreme(x + i, 32) / -8), 0, -8, 7);
    return sum;
}

static double q4_k_plain(const float *x)
{
    double scale[8], min[8], most_scale = 0, most_min = 0, sum = 0;
    for (size_t g = 0; g < 8; g++) {
        double low = 0, high = 0;
        for (size_t i = 32 * g; i < 32 * g + 32; i++) {
            low = (double)x[i] < low ? (double)x[i] : low;
            high = (double)x[i] > high ? (double)x[i] : high;
        }
        scale[g] = (high - low) / 15;
        min[g] = -low;
        most_scale = scale[g] > most_scale ? scale[g] : most_scale;
        most_min = min[g] > most_min ? min[g] : most_min;
    }
    double d = to_f16(most_scale / 63), dmin = to_f16(most_min / 63);
    for (size_t g = 0; g < 8; g++)
        sum += grid_error(x + 32 * g, 32, d > 0 ? d * fmin(round(scale[g] / d), 63) : 0,
                          dmin > 0 ? dmin * fmin(round(min[g] / dmin), 63) : 0, 0, 15);
    return sum;
}

static double q6_k_plain(const float *x)
{
    double step[16], most = 0, sum = 0;
    for (size_t g = 0; g < 16; g++) {
        step[g] = extreme(x + 16 * g, 16) / -32;
        most = fabs(step[g]) > fabs(most) ? step[g] : most;
    }
    double d = to_f16(most / -128);
    for (size_t g = 0; g < 16; g++) {
        double code = d != 0 ? round(step[g] / d) : 0;
        code = code < -128 ? -128 : code > 127 ? 127 : code;
        sum += grid_error(x + 16 * g, 16, d * code, 0, -32, 31);
    }
    return sum;
}

static const struct {
    samba_dtype dtype;
    double (*element)(const uint8_t *block, size_t i);
    double (*plain)(const float *x);
    double gain; /* errors of plain rounding, in squares, over ours: at least */
} formats[] = {{SAMBA_DTYPE_Q4_0, q4_0_element, q4_0_plain, 1.1},
               {SAMBA_DTYPE_Q4_K, q4_k_element, q4_k_plain, 1.2},
               {SAMBA_DTYPE_Q6_K, q6_k_element, q6_k_plain, 1.2}};

static const samba__dtype_info *info_of(int i)
{
    return samba__dtype_info_of(formats[i].dtype);
}

/* ---- decoding ---- */

START_TEST(decodes_by_definition)
{
    const samba__dtype_info *info = info_of(_i);
    uint8_t b[1 + BYTES];
    float y[BLOCK];
    for (int round = 0; round < 500; round++) {
        for (size_t i = 0; i < sizeof b; i++)
            b[i] = (uint8_t)(random_bits() & 0xbf); /* so that scales are below 2 */
        info->to_f32(b + 1, y, info->block);
        for (size_t i = 0; i < info->block; i++) {
            double want = formats[_i].element(b + 1, i);
            ck_assert_double_le(fabs((double)y[i] - want), fabs(want) * 0x1p-23 + 2e-4);
        }
    }
}
END_TEST

/* Every bit of the integers and of the scales, one at a time. */
START_TEST(decodes_every_bit)
{
    const samba__dtype_info *info = info_of(_i);
    uint8_t b[BYTES];
    float y[BLOCK];
    for (size_t bit = 0; bit < (size_t)info->block_bytes * 8; bit++) {
        memset(b, 0x11, sizeof b);
        b[0] = b[2] = b[208] = 0;
        b[1] = b[209] = 0x34; /* d = 0.25, in front or at the end */
        b[3] = 0x30;          /* dmin = 0.125 */
        b[bit / 8] = (uint8_t)(b[bit / 8] ^ 1 << bit % 8);
        info->to_f32(b, y, info->block);
        for (size_t i = 0; i < info->block; i++) {
            double want = formats[_i].element(b, i);
            ck_assert_double_le(fabs((double)y[i] - want), fabs(want) * 0x1p-23 + 0x1p-19);
        }
    }
}
END_TEST

/* ---- encoding ---- */

static double error_of(int f, const float *x)
{
    const samba__dtype_info *info = info_of(f);
    uint8_t b[8 * 34];
    float y[BLOCK];
    double sum = 0;
    info->from_f32(x, b, BLOCK);
    info->to_f32(b, y, BLOCK);
    for (size_t i = 0; i < BLOCK; i++) {
        double e = (double)y[i] - (double)x[i];
        sum += e * e;
    }
    return sum;
}

/* Values as weights have them (sums of random numbers), and less friendly ones. */
static void make_values(int kind, float size, float *x)
{
    for (size_t i = 0; i < BLOCK; i++) {
        float u = random_value(), v = random_value(), w = random_value();
        switch (kind) {
        case 0:
            x[i] = u + v + w;
            break;
        case 1:
            x[i] = u * v * w; /* most are small */
            break;
        case 2:
            x[i] = u;
            break;
        case 3:
            x[i] = u > 0 ? u : -u; /* one sign */
            break;
        case 4:
            x[i] = random_bits() % 64 ? 0.01f * u : v; /* few count */
            break;
        case 5:
            x[i] = 0.7f;
            break;
        case 6:
            x[i] = i < 16 || i >= 224 ? u : 0;
            break;
        default:
            x[i] = 5 + 0.1f * u;
        }
        x[i] *= size;
    }
}

START_TEST(never_worse_than_plain)
{
    float x[BLOCK];
    double ours = 0, plain = 0;
    for (int round = 0; round < 1200; round++) {
        int kind = round % 8;
        make_values(kind, ldexpf(1, round / 8 % 28 - 14), x);
        double mine = error_of(_i, x), theirs = formats[_i].plain(x), size = 0;
        for (size_t i = 0; i < BLOCK; i++)
            size += (double)x[i] * (double)x[i];
        ck_assert_msg(mine <= theirs * 1.0001 + size * 1e-12, "kind %d: %g, plain rounding %g",
                      kind, mine, theirs);
        if (kind == 0) {
            ours += mine / size;
            plain += theirs / size;
        }
    }
    ck_assert_msg(plain > ours * formats[_i].gain, "error %g, plain rounding %g", ours, plain);
}
END_TEST

/* A block of zeros, or of what is too small for any scale, is zeros. */
START_TEST(small_things_are_zero)
{
    const float sizes[] = {0, -0.0f, 0x1p-149f, -0x1p-126f, 0x1p-30f};
    const samba__dtype_info *info = info_of(_i);
    float x[BLOCK], y[BLOCK];
    uint8_t b[8 * 34];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t i = 0; i < BLOCK; i++)
            x[i] = i % 3 ? sizes[s] : -sizes[s];
        info->from_f32(x, b, BLOCK);
        info->to_f32(b, y, BLOCK);
        for (size_t i = 0; i < BLOCK; i++)
            ck_assert(y[i] == 0);
    }
}
END_TEST

/* Blocks do not see each other, and the same values give the same bytes. */
START_TEST(blocks_stand_alone)
{
    const samba__dtype_info *info = info_of(_i);
    float x[3 * BLOCK];
    uint8_t all[3 * 8 * 34], one[BYTES];
    for (size_t i = 0; i < 3; i++)
        make_values((int)i, i == 1 ? 1e4f : 1, x + i * BLOCK);
    info->from_f32(x, all, 3 * BLOCK);
    for (size_t i = 0; i < 3 * BLOCK / info->block; i++) {
        info->from_f32(x + i * info->block, one, info->block);
        ck_assert_mem_eq(one, all + i * info->block_bytes, info->block_bytes);
    }
}
END_TEST

START_TEST(anything_goes_in)
{
    static const float odd[] = {NAN,   INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0,
                                -0.0f, 1e30f,    1e-30f,    65504,   1e6f,     0x1p-149f,
                                3e-8f, -1e-6f,   1,         1e12f};
    const size_t n_odd = sizeof odd / sizeof *odd;
    const samba__dtype_info *info = info_of(_i);
    float x[BLOCK], y[BLOCK];
    uint8_t b[8 * 34];
    for (size_t i = 0; i < n_odd; i++)
        for (size_t k = 0; k < n_odd; k++) {
            for (size_t j = 0; j < BLOCK; j++)
                x[j] = j % 3 == 0 ? odd[i] : j % 3 == 1 ? odd[k] : 0;
            info->from_f32(x, b, BLOCK);
            info->to_f32(b, y, BLOCK);
            for (size_t j = 0; j < BLOCK; j++)
                ck_assert_msg(isfinite(y[j]), "%g among %g became %g", (double)odd[i],
                              (double)odd[k], (double)y[j]);
        }
    for (size_t j = 0; j < BLOCK; j++) /* NaN counts as 0 and does not disturb its neighbours */
        x[j] = j % 2 ? NAN : random_value();
    info->from_f32(x, b, BLOCK);
    info->to_f32(b, y, BLOCK);
    for (size_t j = 0; j < BLOCK; j++)
        ck_assert_float_le(fabsf(y[j] - (j % 2 ? 0 : x[j])), 0.15f);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {decodes_by_definition, decodes_every_bit,  never_worse_than_plain,
                            small_things_are_zero, blocks_stand_alone, anything_goes_in};
    Suite *suite = suite_create("tensor/blocks");
    TCase *c = tcase_create("formats");
    tcase_set_timeout(c, 120);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_loop_test(c, tests[i], 0, sizeof formats / sizeof *formats);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
