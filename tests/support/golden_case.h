/* Reads the golden cases: case.json and expected.safetensors, with a reader of its own. */
#ifndef SAMBA_TESTS_GOLDEN_CASE_H
#define SAMBA_TESTS_GOLDEN_CASE_H

#include "golden_names.h"

#include <stddef.h>
#include <stdint.h>

typedef struct golden_tensor {
    char name[64];
    uint64_t shape[4]; /* unused dimensions are 1 */
    uint32_t n_dims;
    uint64_t n;  /* product */
    float *data; /* F32 */
} golden_tensor;

typedef struct golden_case {
    char folder[512];
    char name[64];
    char rope[8]; /* "bf16", "fp32", "none" */
    int32_t *tokens;
    size_t n_tokens;
    int32_t greedy[64];
    size_t n_greedy;
    golden_tensor *tensors;
    size_t n_tensors;
} golden_case;

/* Ends the test on failure. `root` is tests/golden/cases. */
golden_case *golden_open(const char *root, const char *name);
void golden_close(golden_case *c);
const golden_tensor *golden_find(const golden_case *c, const char *name); /* or NULL */

/* All F32 and integer tensors of a safetensors file; integers become floats. */
size_t golden_read_safetensors(const char *path, golden_tensor **tensors);
void golden_free_tensors(golden_tensor *tensors, size_t n);

/* max |got - expected| / max |expected|; infinity where got is not finite. */
double golden_error(const float *got, const float *expected, size_t n);

#endif
