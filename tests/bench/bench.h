/*
 * The kernel benchmark: every kernel of every tier that build and machine have, one thread, timed
 * by the thread's own processor time in short runs that alternate with the machine's peak loops.
 * A family (linear.c, mamba.c, ...) lists its work; bench.c times and prints it. Figures:
 * operations per second over the peak of their type, bytes per second over the read bandwidth of
 * memory, and cycles per element of whatever the kernel counts in.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include "cpu/kernels.h"
#include "samba-lm-peak.h"

typedef struct bench {
    samba__kernels kernels, plainer; /* of this tier, and of the one measured before it */
    bool first;                      /* there is no tier before */
    size_t rows, width, positions;   /* typical sizes: rows of a pass, channels, keys */
    size_t memory;                   /* bytes that no cache holds */
    struct bench_report *report;
} bench;

/* One thing to measure. Zero means: not counted. */
typedef struct bench_work {
    const char *kernel; /* "scan" */
    char variant[48];   /* "256 rows" */
    double ops;         /* of one run */
    lm_peak_type type;  /* that they are of */
    double bytes;       /* that come from memory */
    double elements;
    const char *element; /* "state" */
    void (*run)(const void *arg);
    const void *arg;
} bench_work;

/* Whether a kernel's function is new with this tier, and asked for. */
bool bench_wants(const bench *b, const char *kernel, bool is_new);
void bench_measure(const bench *b, const bench_work *work);

/* Memory that lives until the program ends or bench_free: 64-byte aligned; the end of the program
 * if there is none. */
void *bench_bytes(size_t size);
float *bench_floats(size_t n, float scale); /* random in [-scale, scale) */
void bench_free(void);
uint32_t bench_random(void);

void bench_linear(const bench *b);
void bench_mamba(const bench *b);
void bench_attention(const bench *b);
void bench_rest(const bench *b);

#endif
