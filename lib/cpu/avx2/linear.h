/*
 * What the linear kernels share: the cut of rows into groups and tiles, the start of the chains
 * (bias or 0) and their end. Chains of a group of rows and one panel live in a small array
 * [rows][16] between pieces of K, so a piece of weights stays in the first cache (widened or
 * unpacked there once) while all rows of the group pass over it.
 */
#ifndef SAMBA_CPU_AVX2_LINEAR_H
#define SAMBA_CPU_AVX2_LINEAR_H

#include "cpu/avx2/lanes.h"
#include "cpu/kernels.h"

enum {
    SAMBA__V8_ROWS = 6,    /* of a tile: 12 sums, 2 weights, 2 for the step */
    SAMBA__V8_GROUP = 128, /* most rows that pass over a piece of weights */
    SAMBA__V8_FEW = 2      /* up to here rows go straight over the packed panel */
};

/* Bytes of a prepared row: an odd number of cache lines, so that a group's rows spread over the
 * sets of the first cache. */
static inline size_t samba__v8_odd_lines(size_t bytes)
{
    return ((bytes + 63) & ~(size_t)63) | 64;
}

/* Size of the next of the even parts, none above `most`, that n things are cut into. */
static inline size_t samba__v8_part(size_t n, size_t most)
{
    size_t parts = (n + most - 1) / most;
    return (n + parts - 1) / parts;
}

/* The chains of rows [row, row + n) of one panel: acc [n][ld], 16 used. */
typedef struct samba__v8_chains {
    size_t panel, row, n;
    float *acc;
    size_t ld;
} samba__v8_chains;

/* They start with the bias, or 0. */
static inline void samba__v8_start(const samba__linear_args *a, samba__v8_chains c)
{
    for (size_t j = 0; j < 16; j += 8) {
        size_t at = 16 * c.panel + j;
        __m256 bias = _mm256_setzero_ps();
        if (a->bias)
            bias = samba__v8_load(a->bias + at, samba__v8_left(at, a->rows));
        for (size_t r = 0; r < c.n; r++)
            _mm256_store_ps(c.acc + r * c.ld + j, bias);
    }
}

/* Asks for the lines of y where chains are about to end: they lie far apart. */
static inline void samba__v8_ask_outputs(const samba__linear_args *a, samba__v8_chains c)
{
    for (size_t r = 0; r < c.n; r++)
        _mm_prefetch((const char *)(a->y + (c.row + r) * a->ldy + 16 * c.panel), _MM_HINT_T0);
}

/* They end in y = acc, or y = y + acc. */
static inline void samba__v8_finish(const samba__linear_args *a, samba__v8_chains c)
{
    for (size_t j = 0; j < 16; j += 8) {
        size_t at = 16 * c.panel + j, left = samba__v8_left(at, a->rows);
        for (size_t r = 0; r < c.n; r++) {
            float *y = a->y + (c.row + r) * a->ldy + at;
            __m256 v = _mm256_load_ps(c.acc + r * c.ld + j);
            if (a->accumulate)
                v = _mm256_add_ps(samba__v8_load(y, left), v);
            samba__v8_store(y, v, left);
        }
    }
}

#endif
