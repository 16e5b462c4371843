/* What the bench prints: a table for people, or the same numbers as JSON. */
#include "samba-lm-bench.h"

#include <string.h>

/* A row's figures, from its runs and the best peaks seen. */
typedef struct figures {
    double median, best; /* seconds */
    double rate;         /* tokens per second, by the median */
    double ops, bytes;   /* per second */
    double of_peak, best_of_peak;
    double by_parts; /* time at the peaks of each part's own type, over the time taken */
    double busy;
} figures;

static double total_ops(const lm_bench_cost *c)
{
    double sum = c->attention;
    for (int t = 0; t < 8; t++)
        sum += c->weights[t];
    return sum;
}

static figures figures_of(const lm_bench *b, const lm_bench_row *row)
{
    figures f = {.median = lm_bench_median(row->seconds, row->n),
                 .best = row->n ? row->seconds[0] : 0,
                 .busy = lm_bench_median(row->busy, row->n)};
    const lm_bench_cost *c = &row->cost;
    f.rate = f.median > 0 ? row->tokens / f.median : 0;
    f.ops = f.median > 0 ? total_ops(c) / f.median : 0;
    f.bytes = f.median > 0 ? c->bytes / f.median : 0;
    f.by_parts = f.median > 0 ? lm_bench_ideal_seconds(&b->peaks, c) / f.median : 0;
    if (row->part == LM_BENCH_PREFILL)
        f.of_peak = f.ops / lm_bench_main_peak(&b->peaks, c);
    else if (row->part & (LM_BENCH_DECODE | LM_BENCH_BATCH | LM_BENCH_STREAMS))
        f.of_peak = f.bytes / b->peaks.read;
    f.best_of_peak = f.best > 0 ? f.of_peak * f.median / f.best : 0;
    return f;
}

/* Tokens per second over those of the row compared with; 0: with none. */
static double compared(const lm_bench *b, const lm_bench_row *row)
{
    if (!(row->against > 0))
        return 0;
    const lm_bench_row *other = &b->results.rows[(size_t)row->against - 1];
    double rate = figures_of(b, other).rate;
    return rate > 0 ? figures_of(b, row).rate / rate : 0;
}

static double per_cycle(const lm_bench_peaks *p, int type)
{
    return p->rounds[type] * p->loops[type]->instructions / p->n_threads / p->clock;
}

/* ---- table */

static void print_peaks(const lm_bench_peaks *p)
{
    static const char *const names[] = {"fp32", "bf16", "int8"};
    printf("\nthe machine, %u thread%s; clock %.3f GHz\n", p->n_threads,
           p->n_threads > 1 ? "s" : "", p->clock / 1e9);
    for (int t = 0; t < LM_PEAK_TYPES; t++) {
        if (!p->loops[t])
            continue;
        double each = per_cycle(p, t), rate = lm_peak_issue_rate(each);
        printf("  %s  %8.1f Gop/s  %.2f instructions per cycle and thread, %.0f %% of %g  (%s)\n",
               names[t], p->rounds[t] * p->loops[t]->ops / 1e9, each, 100 * each / rate, rate,
               p->loops[t]->name);
    }
    printf("  read  %8.1f GB/s   %.0f MiB in %zu stream%s, %zu bytes prefetched ahead\n",
           p->read / 1e9, (double)p->memory.bytes / 1048576, p->memory.n_streams,
           p->memory.n_streams > 1 ? "s" : "", p->memory.ahead);
}

static void print_row(const lm_bench *b, const lm_bench_row *row)
{
    figures f = figures_of(b, row);
    double ratio = compared(b, row);
    if (row->part == LM_BENCH_CLONE) {
        printf("  %-22s %10.1f us (best %.1f us)\n", row->label, 1e6 * f.median, 1e6 * f.best);
        return;
    }
    if (row->part == LM_BENCH_LOAD) {
        printf("  %-22s %10.3f s  %.2f GB/s; at most %.1f MB held, %.1f MB more than in the end\n",
               row->label, f.median, f.bytes / 1e9, (double)b->results.load_peak_bytes / 1e6,
               (double)(b->results.load_peak_bytes - b->results.load_kept_bytes) / 1e6);
        return;
    }
    printf("  %-22s %10.1f %10.1f %9.1f %9.2f %8.1f %% %8.1f %% %8.1f %% %6.0f %%", row->label,
           f.rate, row->tokens / f.best, f.ops / 1e9, f.bytes / 1e9, 100 * f.of_peak,
           100 * f.best_of_peak, 100 * f.by_parts, 100 * f.busy);
    if (ratio > 0)
        printf("  %.2fx", ratio);
    printf("\n");
}

static const char *title_of(int part)
{
    switch (part) {
    case LM_BENCH_PREFILL:
        return "prefill: operations over the peak of the weights' type";
    case LM_BENCH_DECODE:
        return "decode, one session: bytes that must be read over the read bandwidth";
    case LM_BENCH_BATCH:
        return "decode, sessions in one batch, 256 tokens each (x: over one session)";
    case LM_BENCH_STREAMS:
        return "streams at a time, 256 tokens each (x: over one stream)";
    case LM_BENCH_CLONE:
        return "clone, snapshot in memory";
    default:
        return "load";
    }
}

static double seconds_of(const lm_bench_profile_result *p)
{
    double sum = 0;
    for (size_t i = 0; i < p->n; i++)
        sum += p->entries[i].seconds;
    return sum;
}

static double share_of(const lm_bench_profile_result *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->entries[i].name, name) == 0)
            return p->entries[i].seconds / seconds_of(p);
    return 0;
}

/* Every name of either profile once, those of the first first. */
static void print_profiles(const lm_bench_results *r)
{
    const lm_bench_profile_result *p = r->profiles;
    if (!p[0].n)
        return;
    printf("\nwhere the time goes                prefill of %llu     decode\n",
           (unsigned long long)p[0].tokens);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < p[k].n; i++) {
            const char *name = p[k].entries[i].name;
            if (k == 0 || share_of(&p[0], name) <= 0)
                printf("  %-28s %10.1f %%     %8.1f %%\n", name, 100 * share_of(&p[0], name),
                       100 * share_of(&p[1], name));
        }
    printf("  %-28s %10.1f       %8.1f   us a token\n", "all",
           1e6 * seconds_of(&p[0]) / (double)p[0].tokens,
           1e6 * seconds_of(&p[1]) / (double)p[1].tokens);
}

/* Where the time of streams goes that is not spent in passes. */
static void print_streams(const samba_stream_stats *s)
{
    if (s->n_passes)
        printf("  of the time in passes: drawing tokens %.2f %%, scheduling %.2f %%\n",
               100 * s->draw_seconds / s->pass_seconds,
               100 * s->overhead_seconds / s->pass_seconds);
}

void lm_bench_print(const lm_bench *b)
{
    const samba_model_info *i = &b->model.info;
    int part = 0;
    printf("%s: %.1f M parameters, %s; %.1f MB held; %s, %d threads, keys and values %s\n",
           *i->name ? i->name : "model", (double)i->n_parameters / 1e6, i->weight_types,
           (double)i->weight_bytes / 1e6, i->tier, i->n_threads, samba_dtype_name(b->model.kv));
    print_peaks(&b->peaks);
    for (size_t r = 0; r < b->results.n; r++) {
        const lm_bench_row *row = &b->results.rows[r];
        if (row->part != part) {
            part = row->part;
            printf("\n%s\n", title_of(part));
            if (part & (LM_BENCH_PREFILL | LM_BENCH_DECODE | LM_BENCH_BATCH | LM_BENCH_STREAMS))
                printf("  %-22s %10s %10s %9s %9s %10s %10s %10s %8s\n", "", "tokens/s", "best",
                       "Gop/s", "GB/s", "of peak", "best", "by parts", "cpu");
        }
        print_row(b, row);
    }
    print_streams(&b->results.streams);
    print_profiles(&b->results);
    if (b->model.full_attention && b->args->parts & LM_BENCH_DECODE)
        printf("\nFull attention holds the last 4096 tokens fed, whatever the position says.\n");
    printf(
        "\nMedians of repeats. \"by parts\": time at the peak of each part's own type over time "
        "taken.\n\"cpu\": processor time that the run got of what its threads could have had.\n");
}

/* ---- JSON */

static void number(const char *name, double value, const char *after)
{
    printf("\"%s\": ", name);
    lm_json_number(stdout, value);
    fputs(after, stdout);
}

static void print_json_peaks(const lm_bench_peaks *p)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    printf("\"peaks\": {");
    number("clock", p->clock, ", ");
    for (int t = 0; t < LM_PEAK_TYPES; t++) {
        if (!p->loops[t])
            continue;
        printf("\"%s\": {\"loop\": \"%s\", ", names[t], p->loops[t]->name);
        number("ops_per_second", p->rounds[t] * p->loops[t]->ops, ", ");
        number("instructions_per_cycle", per_cycle(p, t), ", ");
        number("issue_rate", lm_peak_issue_rate(per_cycle(p, t)), "}, ");
    }
    number("read_bytes_per_second", p->read, ", ");
    printf("\"read_bytes\": %zu, \"read_streams\": %zu, \"read_ahead\": %zu}", p->memory.bytes,
           p->memory.n_streams, p->memory.ahead);
}

static const char *name_of(int part)
{
    switch (part) {
    case LM_BENCH_PREFILL:
        return "prefill";
    case LM_BENCH_DECODE:
        return "decode";
    case LM_BENCH_BATCH:
        return "batch";
    case LM_BENCH_STREAMS:
        return "streams";
    case LM_BENCH_CLONE:
        return "clone";
    default:
        return "load";
    }
}

static void print_json_row(const lm_bench *b, const lm_bench_row *row)
{
    figures f = figures_of(b, row);
    double ratio = compared(b, row);
    printf("{\"part\": \"%s\", \"label\": \"%s\", \"runs\": %zu, ", name_of(row->part), row->label,
           row->n);
    number("seconds", f.median, ", ");
    number("best_seconds", f.best, ", ");
    number("tokens", row->tokens, ", ");
    number("tokens_per_second", f.rate, ", ");
    number("ops", total_ops(&row->cost), ", ");
    number("bytes", row->cost.bytes, ", ");
    number("of_peak", f.of_peak, ", ");
    number("best_of_peak", f.best_of_peak, ", ");
    number("by_parts", f.by_parts, ", ");
    number("cpu", f.busy, ratio > 0 ? ", " : "}");
    if (ratio > 0)
        number("compared", ratio, "}");
}

static void print_json_profile(const char *name, const lm_bench_profile_result *p)
{
    printf(", \"%s\": {\"tokens\": %llu, \"entries\": [", name, (unsigned long long)p->tokens);
    for (size_t i = 0; i < p->n; i++) {
        printf("%s{\"name\": \"%s\", \"calls\": %llu, ", i ? ", " : "", p->entries[i].name,
               (unsigned long long)p->entries[i].calls);
        number("seconds", p->entries[i].seconds, "}");
    }
    printf("]}");
}

void lm_bench_print_json(const lm_bench *b)
{
    const samba_model_info *i = &b->model.info;
    printf("{\"model\": ");
    lm_json_string(stdout, i->name, strlen(i->name));
    printf(
        ", \"tier\": \"%s\", \"weight_types\": \"%s\", \"kv\": \"%s\", \"threads\": %d, "
        "\"n_parameters\": %llu, \"weight_bytes\": %llu, \"quick\": %s, \"full_attention\": %s, ",
        i->tier, i->weight_types, samba_dtype_name(b->model.kv), i->n_threads,
        (unsigned long long)i->n_parameters, (unsigned long long)i->weight_bytes,
        b->args->quick ? "true" : "false", b->model.full_attention ? "true" : "false");
    print_json_peaks(&b->peaks);
    if (b->results.load)
        printf(", \"load_peak_bytes\": %llu, \"load_kept_bytes\": %llu, \"file_bytes\": %llu",
               (unsigned long long)b->results.load_peak_bytes,
               (unsigned long long)b->results.load_kept_bytes,
               (unsigned long long)b->results.file_bytes);
    printf(", \"results\": [");
    for (size_t r = 0; r < b->results.n; r++) {
        fputs(r ? ", " : "", stdout);
        print_json_row(b, &b->results.rows[r]);
    }
    printf("]");
    if (b->results.profiles[0].n) {
        print_json_profile("prefill_profile", &b->results.profiles[0]);
        print_json_profile("decode_profile", &b->results.profiles[1]);
    }
    printf("}\n");
}
