/* The machine's peaks as the bench uses them: the best loop of each type that the model's tier has,
 * looked at again and again between the runs; the best counts. */
#include "samba-lm-bench.h"

int lm_bench_peaks_open(lm_bench_peaks *p, const char *tier, uint32_t n_threads, int quick)
{
    const size_t bytes = (size_t)1 << (quick ? 28 : 30);
    *p = (lm_bench_peaks){.n_threads = n_threads, .seconds = quick ? 0.01 : 0.03};
    for (int t = 0; t < LM_PEAK_TYPES; t++)
        p->loops[t] = lm_peak_best((lm_peak_type)t, tier);
    if (!lm_peak_memory_open(&p->memory, bytes))
        return lm_complain("no memory to measure the reading of memory with"), 0;
    lm_peak_memory_tune(&p->memory, n_threads);
    lm_bench_peaks_look(p);
    return 1;
}

void lm_bench_peaks_close(lm_bench_peaks *p)
{
    lm_peak_memory_close(&p->memory);
}

static void keep(double *best, double value)
{
    *best = value > *best ? value : *best;
}

void lm_bench_peaks_look(lm_bench_peaks *p)
{
    keep(&p->clock, lm_peak_clock(p->seconds / 4));
    for (int t = 0; t < LM_PEAK_TYPES; t++)
        if (p->loops[t])
            keep(&p->rounds[t], lm_peak_rounds(p->loops[t], p->n_threads, p->seconds));
    keep(&p->read, lm_peak_read_rate(&p->memory, p->n_threads));
}

lm_peak_type lm_bench_type_of(samba_dtype dtype)
{
    switch (dtype) {
    case SAMBA_DTYPE_F32:
    case SAMBA_DTYPE_F16:
        return LM_PEAK_F32;
    case SAMBA_DTYPE_BF16:
        return LM_PEAK_BF16;
    default:
        return LM_PEAK_INT8;
    }
}

double lm_bench_peak_of(const lm_bench_peaks *p, lm_peak_type type)
{
    lm_peak_type t = p->loops[type] ? type : LM_PEAK_F32;
    return p->loops[t] ? p->rounds[t] * p->loops[t]->ops : 0;
}

double lm_bench_ideal_seconds(const lm_bench_peaks *p, const lm_bench_cost *cost)
{
    double seconds = cost->attention / lm_bench_peak_of(p, LM_PEAK_F32);
    for (int d = 1; d < 8; d++)
        if (cost->weights[d] > 0)
            seconds += cost->weights[d] / lm_bench_peak_of(p, lm_bench_type_of(d));
    return seconds;
}

double lm_bench_main_peak(const lm_bench_peaks *p, const lm_bench_cost *cost)
{
    double by_type[LM_PEAK_TYPES] = {0};
    lm_peak_type most = LM_PEAK_F32;
    for (int d = 1; d < 8; d++)
        by_type[lm_bench_type_of(d)] += cost->weights[d];
    for (int t = 0; t < LM_PEAK_TYPES; t++)
        if (by_type[t] > by_type[most])
            most = (lm_peak_type)t;
    return lm_bench_peak_of(p, most);
}
