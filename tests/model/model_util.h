/* What the tests of lib/model share: opening golden cases, describing plans, hashing weights. */
#ifndef TESTS_MODEL_UTIL_H
#define TESTS_MODEL_UTIL_H

#include "model/plan.h"
#include "support/golden_names.h"
#include <check.h>

#define GOLDEN TEST_ROOT "/tests/golden/cases"

/* End the test on failure. */
samba__checkpoint *util_open(const char *path);
samba__checkpoint *util_open_case(const char *name);
samba__plan *util_plan(const samba__checkpoint *checkpoint, const samba__plan_options *options);

/* One line of everything that a plan says, as in data/plans.txt. */
void util_describe(const samba__plan *plan, char *text, size_t size);
/* Reads a weight; caller frees with free(). */
void *util_read(const samba__checkpoint *checkpoint, const samba__weight *w, samba_dtype dtype,
                size_t *bytes);
/* Reads everything, as types `wanted` makes it. */
void util_fingerprint(const samba__checkpoint *checkpoint, const samba__plan *plan,
                      samba_dtype wanted, uint8_t out[16]);

/* The plan must fail, with this status and this in its message; file is named. */
void util_refused(const samba__checkpoint *checkpoint, samba_status status, const char *part);

/* splitmix64 */
uint64_t util_random(uint64_t *state);
/* Text of a file, terminated; caller frees. */
char *util_file(const char *path, size_t *size);

#endif
