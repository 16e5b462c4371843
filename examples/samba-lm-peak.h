/*
 * What the machine can do at most, measured: the yardstick of `samba-lm bench` and of tests/bench.
 * Needs nothing of the library. A compute loop keeps independent chains of one instruction in
 * registers; reading walks a large buffer with plain vector loads. The proof that a loop is no
 * slower than the machine: its instructions per clock, the clock being taken from a chain of
 * dependent additions (one per cycle on every processor worth naming) in the same process.
 */
#ifndef SAMBA_LM_PEAK_H
#define SAMBA_LM_PEAK_H

#include <stddef.h>
#include <stdint.h>

/* What is multiplied. */
typedef enum lm_peak_type {
    LM_PEAK_F32,
    LM_PEAK_BF16,
    LM_PEAK_INT8,
    LM_PEAK_TYPES
} lm_peak_type;

/* One instruction, or a fixed sequence of them that does the work of one. */
typedef struct lm_peak_loop {
    const char *name; /* "fma zmm" */
    lm_peak_type type;
    const char *tier;          /* the first samba_cpu_tier that has it: "avx2", ... */
    double ops;                /* per round; a multiply and an add are two */
    double instructions;       /* per round */
    uint64_t (*run)(uint64_t); /* does at least so many rounds; returns how many */
    int (*usable)(void);       /* on this machine */
} lm_peak_loop;

/* All loops of this build, from the plainest to the best of each type. */
extern const lm_peak_loop lm_peak_loops[];
extern const size_t lm_peak_n_loops;

/* Reads n_streams streams of `bytes` each, one after another from `at` on, in step; prefetches
 * `ahead` bytes before. Multiples of 4096. Returns something made of the bytes. */
typedef uint64_t (*lm_peak_read_fn)(const void *at, size_t bytes, size_t n_streams, size_t ahead);
/* Whether a tier (its name) may use the loop, and the machine can. */
int lm_peak_allowed(const lm_peak_loop *loop, const char *tier);
/* The last such loop of a type, or NULL. */
const lm_peak_loop *lm_peak_best(lm_peak_type type, const char *tier);
/* The widest reader that the machine has. */
lm_peak_read_fn lm_peak_reader(void);
/* Does `n` dependent additions. */
void lm_peak_add_chain(uint64_t n);

/* Cycles per second. */
double lm_peak_clock(double seconds);
/* Rounds per second of all threads together, each at it for about `seconds`. */
double lm_peak_rounds(const lm_peak_loop *loop, uint32_t n_threads, double seconds);
/* Instructions per cycle that the machine issues of the loop's kind: the rate nearest to what was
 * measured among 1/2, 1, 2, 3, 4. */
double lm_peak_issue_rate(double instructions_per_cycle);

typedef struct lm_peak_memory {
    void *data;
    size_t bytes;
    size_t n_streams, ahead; /* the best found so far */
} lm_peak_memory;
/* False: no memory. */
int lm_peak_memory_open(lm_peak_memory *memory, size_t bytes);
void lm_peak_memory_close(lm_peak_memory *memory);
/* Tries the ways of reading and keeps the best. */
void lm_peak_memory_tune(lm_peak_memory *memory, uint32_t n_threads);
/* Bytes per second of one walk over all of it. */
double lm_peak_read_rate(const lm_peak_memory *memory, uint32_t n_threads);

#endif
