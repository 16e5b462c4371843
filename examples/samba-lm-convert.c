/* samba-lm convert and quantize: any checkpoint that loads becomes one GGUF file. */
#include "samba-lm.h"

#include <string.h>

typedef struct convert_args {
    lm_common common;
    samba_dtype type;
    const char *name;
    const char *positional[2]; /* in, out */
} convert_args;

static int run(const convert_args *a, const lm_host *host)
{
    samba_error *error = NULL;
    lm_bar bar;
    samba_convert_report report = {.struct_size = sizeof report};
    samba_convert_options o = {.struct_size = sizeof o,
                               .weight_dtype = a->type,
                               .name = a->name,
                               .progress = lm_bar_progress,
                               .progress_user_data = &bar,
                               .cancel = host->cancel};
    double start = lm_seconds();
    lm_bar_start(&bar, "converting", "MB", 0);
    samba_status status =
        samba_convert(host->context, a->positional[0], a->positional[1], &o, &report, &error);
    lm_bar_end(&bar);
    if (status != SAMBA_OK)
        return lm_report(error);
    if (a->common.json) {
        printf("{\"file\": ");
        lm_json_string(stdout, a->positional[1], strlen(a->positional[1]));
        printf(", \"n_tensors\": %llu, \"n_kept\": %llu, \"file_bytes\": %llu, \"seconds\": ",
               (unsigned long long)report.n_tensors, (unsigned long long)report.n_kept,
               (unsigned long long)report.file_bytes);
        lm_json_number(stdout, lm_seconds() - start);
        printf("}\n");
    } else {
        printf("%s: %llu tensors, %.2f MB", a->positional[1], (unsigned long long)report.n_tensors,
               (double)report.file_bytes / 1e6);
        if (report.n_kept)
            printf("; %llu kept another type (rows are no multiple of a block)",
                   (unsigned long long)report.n_kept);
        printf("\n");
    }
    return lm_flush_ok(stdout, "stdout") ? LM_OK : LM_FAILED;
}

/* The two commands differ in what they ask for. */
static int convert(int argc, char **argv, lm_usage usage, int need_type)
{
    convert_args a = {.type = 0};
    lm_host host;
    const lm_option options[] = {
        {"--type", NULL, "TYPE",
         need_type ? "of the matrices: q8_0, q6_k, q4_k, q4_0 (or f32, f16, bf16)"
                   : "of the matrices: f32, f16, bf16, q8_0, q6_k, q4_k, q4_0 (default: as they "
                     "are)",
         lm_set_dtype, &a.type},
        {"--name", NULL, "NAME", "the model's name in the file", lm_set_string, &a.name},
    };
    usage.options = options;
    usage.n_options = sizeof options / sizeof *options;
    usage.common = &a.common;
    usage.min_args = usage.max_args = 2;
    int rc = lm_parse(&usage, argc, argv, a.positional);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    if (need_type && !a.type)
        return lm_bad_usage(usage.command, "quantize needs --type TYPE");
    rc = lm_host_open(&host, &a.common);
    if (rc == LM_OK)
        rc = run(&a, &host);
    lm_host_close(&host);
    return rc;
}

int lm_convert(int argc, char **argv)
{
    const lm_usage usage = {
        .command = "convert",
        .synopsis = "IN OUT.gguf",
        .about =
            "Writes a checkpoint as one GGUF file, tokenizer inside. In every quantised file\n"
            "norms, convolutions, A, D and dt_proj stay f32, x_proj is at least q8_0 and what\n"
            "makes the logits at least q6_k; matrices whose rows are no multiple of a block (32,\n"
            "or 256 for q6_k and q4_k) become bf16."};
    return convert(argc, argv, usage, 0);
}

int lm_quantize(int argc, char **argv)
{
    const lm_usage usage = {.command = "quantize",
                            .synopsis = "IN OUT.gguf",
                            .about = "Writes a model's matrices in another type; best from a file\n"
                                     "that is not quantised yet. As convert, for all that loads."};
    return convert(argc, argv, usage, 1);
}
