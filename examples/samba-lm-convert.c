/* samba-lm convert: any checkpoint that loads becomes one GGUF file. */
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

int lm_convert(int argc, char **argv)
{
    convert_args a = {.type = 0};
    lm_host host;
    const lm_option options[] = {
        {"--type", NULL, "TYPE", "of the matrices: f32, f16, bf16, q8_0 (default: as they are)",
         lm_set_dtype, &a.type},
        {"--name", NULL, "NAME", "the model's name in the file", lm_set_string, &a.name},
    };
    const lm_usage usage = {.command = "convert",
                            .synopsis = "IN OUT.gguf",
                            .about = "Writes a checkpoint as one GGUF file, tokenizer inside.",
                            .options = options,
                            .n_options = sizeof options / sizeof *options,
                            .common = &a.common,
                            .min_args = 2,
                            .max_args = 2};
    int rc = lm_parse(&usage, argc, argv, a.positional);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    rc = lm_host_open(&host, &a.common);
    if (rc == LM_OK)
        rc = run(&a, &host);
    lm_host_close(&host);
    return rc;
}
