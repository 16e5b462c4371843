/* Command line, timing and printing of the kernel benchmark; see bench.h. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PIECES = 7 /* of one measurement, with a look at the peaks between them */
};

typedef struct bench_report {
    const char *kernel, *tier; /* asked for; NULL: all */
    double seconds;
    bool json, list;
    size_t n; /* printed */
    double clock, read;
    double rates[LM_PEAK_TYPES];              /* operations per second, best seen */
    const lm_peak_loop *loops[LM_PEAK_TYPES]; /* of the tier at hand */
    lm_peak_memory memory;
} bench_report;

/* ---- memory */

static struct {
    void *blocks[256];
    size_t n;
} heap;

void *bench_bytes(size_t size)
{
    void *p = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!p || heap.n == sizeof heap.blocks / sizeof *heap.blocks) {
        fprintf(stderr, "bench: no memory for %zu bytes\n", size);
        exit(EXIT_FAILURE);
    }
    memset(p, 0, (size + 127) / 64 * 64);
    heap.blocks[heap.n++] = p;
    return p;
}

void bench_free(void)
{
    while (heap.n)
        free(heap.blocks[--heap.n]);
}

uint32_t bench_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

float *bench_floats(size_t n, float scale)
{
    float *p = bench_bytes(n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = ((float)(bench_random() >> 8) * 0x1p-23f - 1) * scale;
    return p;
}

/* ---- timing */

static double own_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double time_of(const bench_work *w, size_t n)
{
    double begin = own_time();
    for (size_t i = 0; i < n; i++)
        w->run(w->arg);
    return own_time() - begin;
}

static void keep(double *best, double value)
{
    *best = value > *best ? value : *best;
}

static void look_at_peaks(bench_report *r, const bench_work *w)
{
    const double seconds = r->seconds / PIECES / 2;
    keep(&r->clock, lm_peak_clock(seconds / 4));
    if (w->ops > 0 && r->loops[w->type])
        keep(&r->rates[w->type],
             lm_peak_rounds(r->loops[w->type], 1, seconds) * r->loops[w->type]->ops);
    if (w->bytes > 0)
        keep(&r->read, lm_peak_read_rate(&r->memory, 1));
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- printing */

typedef struct figures {
    double seconds, best; /* of one run: median of the pieces, and the best */
    double ops_share, bytes_share, cycles;
} figures;

static figures figures_of(const bench_report *r, const bench_work *w, const double *pieces)
{
    figures f = {.seconds = pieces[PIECES / 2], .best = pieces[0]};
    if (w->ops > 0 && r->rates[w->type] > 0)
        f.ops_share = w->ops / f.best / r->rates[w->type];
    if (w->bytes > 0 && r->read > 0)
        f.bytes_share = w->bytes / f.best / r->read;
    if (w->elements > 0)
        f.cycles = f.best * r->clock / w->elements;
    return f;
}

static void print_line(const bench *b, const bench_work *w, const figures *f)
{
    printf("%-12s %-12s %-26s %10.2f us", b->kernels.name, w->kernel, w->variant, 1e6 * f->best);
    if (w->ops > 0)
        printf(" %9.1f Gop/s %6.1f %%", w->ops / f->best * 1e-9, 100 * f->ops_share);
    if (w->bytes > 0)
        printf(" %8.2f GB/s %6.1f %%", w->bytes / f->best * 1e-9, 100 * f->bytes_share);
    if (w->elements > 0)
        printf("  %8.3f cycles a %s", f->cycles, w->element);
    printf("\n");
    fflush(stdout);
}

static void print_number(const char *name, double value)
{
    if (isfinite(value) && value > 0)
        printf(", \"%s\": %.9g", name, value);
}

static void print_json(const bench *b, const bench_work *w, const figures *f)
{
    printf("%s{\"tier\": \"%s\", \"kernel\": \"%s\", \"variant\": \"%s\"",
           b->report->n ? ",\n " : "", b->kernels.name, w->kernel, w->variant);
    print_number("seconds", f->best);
    print_number("median_seconds", f->seconds);
    print_number("ops_per_second", w->ops / f->best);
    print_number("of_ops_peak", f->ops_share);
    print_number("bytes_per_second", w->bytes / f->best);
    print_number("of_read_peak", f->bytes_share);
    print_number("cycles_per_element", f->cycles);
    if (w->elements > 0)
        printf(", \"element\": \"%s\"", w->element);
    printf("}");
}

bool bench_wants(const bench *b, const char *kernel, bool is_new)
{
    const char *asked = b->report->kernel;
    return (is_new || b->first) && (!asked || strstr(kernel, asked));
}

void bench_measure(const bench *b, const bench_work *w)
{
    bench_report *r = b->report;
    double pieces[PIECES];
    if (r->list) {
        printf("%-12s %-12s %s\n", b->kernels.name, w->kernel, w->variant);
        return;
    }
    double once = time_of(w, 1), wanted = r->seconds / PIECES;
    size_t n = once < wanted ? (size_t)(wanted / (once + 1e-9)) : 1;
    n = n < 1000000 ? n : 1000000;
    for (int i = 0; i < PIECES; i++) {
        look_at_peaks(r, w);
        pieces[i] = time_of(w, n) / (double)n;
    }
    qsort(pieces, PIECES, sizeof *pieces, by_size);
    figures f = figures_of(r, w, pieces);
    if (r->json)
        print_json(b, w, &f);
    else
        print_line(b, w, &f);
    r->n++;
}

/* ---- tiers */

static void choose_loops(bench_report *r, const char *tier)
{
    for (int t = 0; t < LM_PEAK_TYPES; t++) {
        r->loops[t] = lm_peak_best((lm_peak_type)t, tier);
        if (!r->loops[t]) /* done in f32 */
            r->loops[t] = lm_peak_best(LM_PEAK_F32, tier);
        r->rates[t] = 0;
    }
}

static void print_peaks(const bench_report *r)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    for (int t = 0; t < LM_PEAK_TYPES; t++) {
        if (!(r->rates[t] > 0))
            continue;
        const lm_peak_loop *l = r->loops[t];
        double each = r->rates[t] / l->ops * l->instructions / r->clock;
        printf("%-12s peak %-7s %.1f Gop/s, %.2f instructions per cycle: %.0f %% of %g  (%s)\n", "",
               names[t], r->rates[t] * 1e-9, each, 100 * each / lm_peak_issue_rate(each),
               lm_peak_issue_rate(each), l->name);
    }
    printf("%-12s clock %.3f GHz%s", "", r->clock * 1e-9, r->read > 0 ? "" : "\n\n");
    if (r->read > 0)
        printf(", read %.1f GB/s\n\n", r->read * 1e-9);
}

static void run_tiers(bench *b)
{
    b->first = true;
    for (samba_cpu_tier tier = SAMBA_CPU_REFERENCE; tier <= SAMBA_CPU_NEON_DOTPROD; tier++) {
        if (!samba__kernels_select(tier, &b->kernels) ||
            (b->report->tier && strcmp(b->report->tier, b->kernels.name) != 0))
            continue;
        choose_loops(b->report, b->kernels.name);
        bench_linear(b);
        bench_mamba(b);
        bench_attention(b);
        bench_rest(b);
        if (!b->report->json && !b->report->list && b->report->n)
            print_peaks(b->report);
        b->plainer = b->kernels;
        b->first = false;
    }
}

/* ---- command line */

static int usage(const char *wrong)
{
    if (wrong)
        fprintf(stderr, "bench_kernels: what is \"%s\"?\n", wrong);
    fprintf(wrong ? stderr : stdout,
            "usage: bench_kernels [options]\n\n"
            "  --kernel NAME   kernels whose name contains NAME (linear, prepare, scan, ...)\n"
            "  --tier NAME     one tier only, all of it; else what is new with each tier\n"
            "  --seconds S     for one figure (default 0.2)\n"
            "  --memory MIB    size of what is to come from memory (default 256)\n"
            "  --quick         small shapes and short times, to see that all of it runs\n"
            "  --list          names only\n"
            "  --json          one array of objects\n");
    return wrong ? 2 : 0;
}

int main(int argc, char **argv)
{
    bench_report report = {.seconds = 0.2};
    bench b = {.rows = 256, .width = 1536, .positions = 2048, .memory = 256, .report = &report};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--help") == 0)
            return usage(NULL);
        if (strcmp(argv[i], "--quick") == 0) {
            b.rows = 32;
            b.width = 256;
            b.positions = 128;
            b.memory = 1;
            report.seconds = 0.001;
        } else if (strcmp(argv[i], "--list") == 0) {
            report.list = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            report.json = true;
        } else if (value && strcmp(argv[i], "--kernel") == 0) {
            report.kernel = argv[++i];
        } else if (value && strcmp(argv[i], "--tier") == 0) {
            report.tier = argv[++i];
        } else if (value && strcmp(argv[i], "--seconds") == 0) {
            report.seconds = strtod(argv[++i], NULL);
        } else if (value && strcmp(argv[i], "--memory") == 0) {
            b.memory = strtoul(argv[++i], NULL, 10);
        } else {
            return usage(argv[i]);
        }
    }
    b.memory <<= 20;
    if (!report.list &&
        !lm_peak_memory_open(&report.memory, b.memory < 4 << 20 ? 4 << 20 : b.memory))
        return EXIT_FAILURE;
    if (!report.list)
        lm_peak_memory_tune(&report.memory, 1);
    printf("%s", report.json ? "[" : "");
    run_tiers(&b);
    printf("%s", report.json ? "]\n" : "");
    lm_peak_memory_close(&report.memory);
    if (!report.n && !report.list)
        fprintf(stderr, "bench_kernels: nothing like that here\n");
    return report.n || report.list ? EXIT_SUCCESS : EXIT_FAILURE;
}
