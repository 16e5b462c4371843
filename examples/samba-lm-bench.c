/* samba-lm bench: how fast a model runs here, and how far that is from what the machine can do. */
#include "samba-lm-bench.h"

#include <stdlib.h>
#include <string.h>

typedef struct part_name {
    const char *name;
    int part;
} part_name;

static const part_name part_names[] = {
    {"prefill", LM_BENCH_PREFILL}, {"decode", LM_BENCH_DECODE}, {"batch", LM_BENCH_BATCH},
    {"clone", LM_BENCH_CLONE},     {"load", LM_BENCH_LOAD},     {"profile", LM_BENCH_PROFILE},
    {"streams", LM_BENCH_STREAMS},
};

enum {
    N_PARTS = sizeof part_names / sizeof *part_names
};

static const char *set_parts(void *to, const char *text)
{
    static const char wanted[] = "of prefill, decode, batch, streams, clone, load, profile";
    int *parts = to;
    while (*text) {
        size_t n = strcspn(text, ","), i = 0;
        while (i < N_PARTS &&
               (strlen(part_names[i].name) != n || memcmp(part_names[i].name, text, n)))
            i++;
        if (i == N_PARTS)
            return wanted;
        *parts |= part_names[i].part;
        text += n + (text[n] == ',');
    }
    return *parts ? NULL : wanted;
}

static int run(lm_bench *b)
{
    int parts = b->args->parts, rc = lm_bench_load(b);
    if (rc != LM_OK)
        return rc;
    if (!lm_bench_model_read(&b->model, b->host.model,
                             b->args->kv ? b->args->kv : SAMBA_DTYPE_F16) ||
        !lm_bench_peaks_open(&b->peaks, b->model.info.tier, (uint32_t)b->model.info.n_threads,
                             b->args->quick))
        return LM_FAILED;
    if (rc == LM_OK && parts & LM_BENCH_PREFILL)
        rc = lm_bench_prefill(b);
    if (rc == LM_OK && parts & LM_BENCH_DECODE)
        rc = lm_bench_decode(b);
    if (rc == LM_OK && parts & LM_BENCH_BATCH)
        rc = lm_bench_batch(b);
    if (rc == LM_OK && parts & LM_BENCH_STREAMS)
        rc = lm_bench_streams(b);
    if (rc == LM_OK && parts & LM_BENCH_CLONE)
        rc = lm_bench_clone(b);
    if (rc == LM_OK && parts & LM_BENCH_PROFILE)
        rc = lm_bench_profile(b);
    return rc;
}

static void close_bench(lm_bench *b)
{
    for (size_t i = 0; i < b->results.n; i++) {
        free(b->results.rows[i].seconds);
        free(b->results.rows[i].busy);
    }
    free(b->results.rows);
    free(b->model.sublayers);
    lm_bench_peaks_close(&b->peaks);
    lm_host_close(&b->host);
}

static int check(lm_bench_args *a)
{
    if (!a->model == !a->shape)
        return lm_bad_usage("bench", "bench needs a MODEL or a --shape");
    if (a->shape && !lm_shape_find(a->shape)) {
        fprintf(stderr, "samba-lm: known shapes:");
        for (size_t i = 0; i < lm_n_shapes; i++)
            fprintf(stderr, " %s", lm_shapes[i].name);
        fputc('\n', stderr);
        return lm_bad_usage("bench", "no shape \"%s\"", a->shape);
    }
    if (a->max_sessions > 32 || a->rows_per_pass > UINT32_MAX)
        return lm_bad_usage("bench", "--sessions is at most 32, --rows at most %u", UINT32_MAX);
    a->type = a->type ? a->type : SAMBA_DTYPE_Q8_0;
    a->parts = a->parts ? a->parts : LM_BENCH_ALL;
    return LM_OK;
}

int lm_bench_main(int argc, char **argv)
{
    lm_bench_args args = {.folder = "/tmp"};
    lm_bench b = {.args = &args, .random = 1};
    const lm_option options[] = {
        {"--shape", NULL, "NAME", "a random model of a known shape instead of a file",
         lm_set_string, &args.shape},
        {"--type", NULL, "TYPE", "its matrices: q8_0 (default), q4_k, bf16, ...", lm_set_dtype,
         &args.type},
        {"--only", NULL, "PARTS", "prefill,decode,batch,streams,clone,load,profile (default: all)",
         set_parts, &args.parts},
        {"--quick", NULL, NULL, "less of everything: seconds, for a first look", lm_set_flag,
         &args.quick},
        {"--repeats", NULL, "N", "runs of each kind (default: 3 to 5)", lm_set_count,
         &args.repeats},
        {"--sessions", NULL, "N", "most sessions in a batch (default: 32)", lm_set_count,
         &args.max_sessions},
        {"--history", NULL, "N", "tokens before clone and snapshot (default: the window)",
         lm_set_count, &args.history},
        {"--rows", NULL, "N", "tokens per pass (default: the library's)", lm_set_count,
         &args.rows_per_pass},
        {"--kv", NULL, "TYPE", "keys and values: f16 (default), f32, bf16, q8_0", lm_set_dtype,
         &args.kv},
        {"--folder", NULL, "DIR", "where the random model's file goes for a while (/tmp)",
         lm_set_string, &args.folder},
        {"--seed", NULL, "N", "of the random model", lm_set_count, &args.seed},
    };
    const lm_usage usage = {
        .command = "bench",
        .synopsis = "MODEL | --shape NAME",
        .about = "Measures how fast a model runs, next to what the machine can do at most: clock,\n"
                 "arithmetic and read bandwidth are measured in the same run, in turns with the\n"
                 "work, and every figure is printed with its ratio to them.\n"
                 "Shapes: samba-421m, samba-1.3b, samba-1.7b, samba-3.8b, mamba-1.3b, llama-438m,\n"
                 "llama-1.6b-gqa, phi4-mini-flash.",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .common = &args.common,
        .max_args = 1};
    int rc = lm_parse(&usage, argc, argv, &args.model);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    rc = check(&args);
    if (rc == LM_OK)
        rc = lm_host_open(&b.host, &args.common);
    else
        return rc;
    if (rc == LM_OK)
        rc = run(&b);
    if (rc == LM_OK) {
        if (args.common.json)
            lm_bench_print_json(&b);
        else
            lm_bench_print(&b);
        rc = lm_flush_ok(stdout, "stdout") ? LM_OK : LM_FAILED;
    }
    close_bench(&b);
    return rc;
}
