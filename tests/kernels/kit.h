/*
 * What kernel tests share: every test is a loop over the tiers that build and machine have; buffers
 * begin and end with poison, and are poison (a NaN) where nothing was put; formulas are checked
 * against plain double arithmetic, the law (no dependence on how rows are cut) with memcmp.
 */
#ifndef TESTS_KERNELS_KIT_H
#define TESTS_KERNELS_KIT_H

#include "cpu/kernels.h"
#include "support/suite.h"
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KIT_MARGIN = 64,
    KIT_TIERS = 8,
    KIT_POISON = 0x7fc0dead
};

static uint64_t kit_state = 88172645463325252u;

static inline uint32_t kit_bits(void)
{
    kit_state ^= kit_state << 13;
    kit_state ^= kit_state >> 7;
    kit_state ^= kit_state << 17;
    return (uint32_t)(kit_state >> 32);
}

static inline size_t kit_below(size_t n)
{
    return kit_bits() % n;
}

static inline float kit_value(float scale)
{
    return ((float)(kit_bits() >> 8) * 0x1p-23f - 1.0f) * scale;
}

/* The kernels of tier `tier`, or false: the test has nothing to do. */
static inline bool kit_tier(int tier, samba__kernels *k)
{
    kit_state = 88172645463325252u;
    return samba__kernels_select(tier, k);
}

static inline bool kit_is_poison(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u == KIT_POISON;
}

/* n poisoned floats, 64-byte aligned, between poisoned margins. */
static inline float *kit_floats(size_t n)
{
    size_t total = (n + 2 * KIT_MARGIN + 15) / 16 * 16, bytes = total * sizeof(float);
    float *p = aligned_alloc(64, bytes);
    uint32_t poison = KIT_POISON;
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < total; i++)
        memcpy(&p[i], &poison, sizeof poison);
    return p + KIT_MARGIN;
}

static inline float *kit_random(size_t n, float scale)
{
    float *p = kit_floats(n);
    for (size_t i = 0; i < n; i++)
        p[i] = kit_value(scale);
    return p;
}

/* Rows of n random values, poison between them. */
static inline float *kit_rows(size_t n_rows, size_t ld, size_t n, float scale)
{
    float *p = kit_floats(n_rows * ld);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < n; i++)
            p[r * ld + i] = kit_value(scale);
    return p;
}

/* Nothing outside columns [0, n) of each row was written. */
static inline void kit_check_margins(const float *p, size_t n_rows, size_t ld, size_t n)
{
    for (size_t i = 0; i < KIT_MARGIN; i++) {
        ck_assert_msg(kit_is_poison(p[-1 - (ptrdiff_t)i]), "written %zu before the buffer", i + 1);
        ck_assert_msg(kit_is_poison(p[n_rows * ld + i]), "written %zu past the buffer", i);
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = n; i < ld; i++)
            ck_assert_msg(kit_is_poison(p[r * ld + i]), "written at row %zu column %zu", r, i);
}

static inline void kit_free(const float *p)
{
    free((void *)(uintptr_t)(p - KIT_MARGIN));
}

#define kit_near(value, wanted, bound, ...)                                                        \
    do {                                                                                           \
        double v_ = (double)(value), w_ = (wanted), b_ = (bound);                                  \
        if (!(fabs(v_ - w_) <= b_)) {                                                              \
            printf(__VA_ARGS__);                                                                   \
            ck_abort_msg("got %.9g, wanted %.9g within %.3g", v_, w_, b_);                         \
        }                                                                                          \
    } while (0)

static inline double kit_softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static inline double kit_silu(double x)
{
    return x / (1.0 + exp(-x));
}

/* Runs a suite of tests that each loop over the tiers. */
typedef struct kit_test {
    const TTest *test;
} kit_test;

static inline int kit_main(const char *name, const kit_test *tests, size_t n)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create("tiers");
    tcase_set_timeout(tc, 120);
    for (size_t i = 0; i < n; i++)
        tcase_add_loop_test(tc, tests[i].test, 1, KIT_TIERS);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

#endif
