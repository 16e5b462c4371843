/* Philox against the published known answers, and the uniform numbers made of it. */
#include "base/rng.h"
#include "support/suite.h"

#include <string.h>

typedef struct answer {
    uint32_t counter[4], key[2], out[4];
} answer;

/* Random123's kat_vectors, "philox4x32 10". */
static const answer answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

START_TEST(known_answers)
{
    const answer *k = &answers[_i];
    uint32_t out[4];
    samba__philox4x32(k->counter, k->key, out);
    ck_assert_mem_eq(out, k->out, sizeof out);
}
END_TEST

/* Draws are promised to stay the same in later versions: counter, key and bits as they are here. */
START_TEST(uniform_uses_all_of_its_arguments)
{
    const uint64_t seed = 0x299f31d0a4093822u;
    const uint64_t branch = 0x0370734413198a2eu, position = 0x85a308d3243f6a88u;
    uint64_t bits = (0x94fdccebull << 32 | 0xd16cfe09u) >> 11;
    ck_assert(samba__rng_uniform(seed, branch, position) == (double)bits * 0x1p-53);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t b = (uint64_t)1 << bit;
        double u = samba__rng_uniform(seed, branch, position);
        ck_assert(samba__rng_uniform(seed ^ b, branch, position) != u);
        ck_assert(samba__rng_uniform(seed, branch ^ b, position) != u);
        ck_assert(samba__rng_uniform(seed, branch, position ^ b) != u);
    }
}
END_TEST

START_TEST(uniform_is_uniform)
{
    enum {
        N = 200000,
        BINS = 64
    };
    unsigned bins[BINS] = {0};
    double sum = 0, lag = 0, last = 0.5;
    for (uint64_t i = 0; i < N; i++) {
        double u = samba__rng_uniform(7, i & 1, i >> 1);
        ck_assert(u >= 0 && u < 1);
        sum += u;
        lag += (u - 0.5) * (last - 0.5);
        last = u;
        bins[(int)(u * BINS)]++;
    }
    double chi = 0;
    for (int i = 0; i < BINS; i++) {
        double d = bins[i] - (double)N / BINS;
        chi += d * d / ((double)N / BINS);
    }
    ck_assert(sum / N > 0.497 && sum / N < 0.503);
    ck_assert(lag / N > -0.001 && lag / N < 0.001);
    ck_assert(chi > 25 && chi < 120); /* 63 degrees of freedom; a fixed sequence */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/rng");
    TCase *c = tcase_create("rng");
    tcase_add_loop_test(c, known_answers, 0, sizeof answers / sizeof *answers);
    tcase_add_test(c, uniform_uses_all_of_its_arguments);
    tcase_add_test(c, uniform_is_uniform);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
