/*
 * What the files of `samba-lm bench` share. The bench counts what a pass has to do (operations by
 * the type they are done in, bytes that must be read), times it alternating with the machine's own
 * peaks, and prints every figure with its ratio to them.
 */
#ifndef SAMBA_LM_BENCH_H
#define SAMBA_LM_BENCH_H

#include "samba-lm-peak.h"
#include "samba-lm-shapes.h"
#include "samba-lm.h"

enum {
    LM_BENCH_PREFILL = 1,
    LM_BENCH_DECODE = 2,
    LM_BENCH_BATCH = 4,
    LM_BENCH_CLONE = 8,
    LM_BENCH_LOAD = 16,
    LM_BENCH_PROFILE = 32,
    LM_BENCH_STREAMS = 64,
    LM_BENCH_ALL = 127
};

typedef struct lm_bench_args {
    lm_common common;
    const char *model, *shape, *folder;
    samba_dtype type, kv;
    uint64_t repeats, rows_per_pass, seed, max_sessions, max_tokens, history;
    int parts, quick;
} lm_bench_args;

/* ---- what a model costs (samba-lm-bench-cost.c) */

enum {
    LM_BENCH_TEXT = 256
};
typedef struct lm_bench_model {
    samba_model_info info; /* its strings are the texts below */
    char texts[4][LM_BENCH_TEXT];
    samba_sublayer_info *sublayers; /* [info.n_sublayers] */
    uint32_t narrow_at;             /* the last sublayer that writes state */
    uint32_t window;                /* the widest; 0: no windowed attention */
    int full_attention;             /* some sublayer sees everything */
    samba_dtype kv;
} lm_bench_model;

typedef struct lm_bench_cost {
    double weights[8]; /* operations with weights, by samba_dtype */
    double attention;  /* operations in attention */
    double bytes;      /* that must be read or written at least once */
} lm_bench_cost;

/* False: an error was printed. */
int lm_bench_model_read(lm_bench_model *m, const samba_model *model, samba_dtype kv);
/* Feeding `n` tokens to a session that has been fed `before`, logits for the last one only. */
lm_bench_cost lm_bench_cost_prefill(const lm_bench_model *m, uint64_t before, uint64_t n);
/* One token each for n sessions that have been fed `before` each: what is read of the weights is
 * read once for all of them. */
lm_bench_cost lm_bench_cost_decode(const lm_bench_model *m, uint64_t before, uint64_t n);

/* ---- the machine (samba-lm-bench-peaks.c) */

typedef struct lm_bench_peaks {
    uint32_t n_threads;
    double seconds;                           /* of one look at one loop */
    const lm_peak_loop *loops[LM_PEAK_TYPES]; /* NULL: the tier has none */
    double rounds[LM_PEAK_TYPES];             /* per second, all threads: the best seen */
    double clock, read;                       /* the best seen */
    lm_peak_memory memory;
} lm_bench_peaks;

/* `tier` as in samba_model_info. False: an error was printed. */
int lm_bench_peaks_open(lm_bench_peaks *p, const char *tier, uint32_t n_threads, int quick);
void lm_bench_peaks_close(lm_bench_peaks *p);
/* Measures them all once more and keeps the best. */
void lm_bench_peaks_look(lm_bench_peaks *p);
/* Operations per second of the loop for a type; types that the tier has no loop for are done in
 * f32. */
double lm_bench_peak_of(const lm_bench_peaks *p, lm_peak_type type);
lm_peak_type lm_bench_type_of(samba_dtype dtype);
/* Seconds that the operations take at the peaks of their own types. */
double lm_bench_ideal_seconds(const lm_bench_peaks *p, const lm_bench_cost *cost);
/* Operations per second of the type that most operations are of. */
double lm_bench_main_peak(const lm_bench_peaks *p, const lm_bench_cost *cost);

/* ---- results */

typedef struct lm_bench_row {
    int part; /* LM_BENCH_... */
    char label[40];
    double tokens;   /* per run */
    double *seconds; /* [n] of every run, sorted in the end */
    double *busy;    /* [n]: processor time over threads * seconds */
    size_t n, capacity;
    lm_bench_cost cost; /* per run */
    double against;     /* tokens/s of the row that this one is compared with; 0: none */
} lm_bench_row;

enum {
    LM_BENCH_PROFILE_MAX = 64
};
typedef struct lm_bench_profile_result {
    samba_profile_entry entries[LM_BENCH_PROFILE_MAX];
    size_t n;
    uint64_t tokens;
} lm_bench_profile_result;

typedef struct lm_bench_results {
    lm_bench_row *rows;
    size_t n, capacity;
    int load; /* the two below are measured */
    double load_seconds;
    uint64_t load_peak_bytes, load_kept_bytes, file_bytes;
    lm_bench_profile_result profiles[2]; /* prefill, decode */
    samba_stream_stats streams;          /* of all their passes */
} lm_bench_results;

lm_bench_row *lm_bench_add_row(lm_bench_results *r, int part, const char *format, ...);
void lm_bench_add_time(lm_bench_row *row, double seconds, double busy);
double lm_bench_median(const double *sorted, size_t n);

/* ---- runs (samba-lm-bench-run.c); LM_OK, or the error has been printed */

typedef struct lm_bench {
    const lm_bench_args *args;
    lm_host host;
    lm_bench_model model;
    lm_bench_peaks peaks;
    lm_bench_results results;
    uint64_t random;
} lm_bench;

double lm_bench_processor_seconds(void); /* that this process has had */
/* What `steps` tokens for each of some sessions, fed `fed` before, come to. */
void lm_bench_count_decode(const lm_bench *b, lm_bench_row *row, uint64_t fed, uint64_t steps,
                           uint64_t sessions);
int lm_bench_prefill(lm_bench *b);
int lm_bench_decode(lm_bench *b);
int lm_bench_batch(lm_bench *b);
int lm_bench_clone(lm_bench *b);
int lm_bench_streams(lm_bench *b); /* samba-lm-bench-streams.c */
/* samba-lm-bench-profile.c: the last, for it opens the model anew. */
int lm_bench_profile(lm_bench *b);
/* samba-lm-bench-load.c: loads the model for the runs to come, and measures loading. */
int lm_bench_load(lm_bench *b);
/* Loads it and no more. */
int lm_bench_load_plain(lm_bench *b);

/* samba-lm-bench-print.c */
void lm_bench_print(const lm_bench *b);
void lm_bench_print_json(const lm_bench *b);

#endif
