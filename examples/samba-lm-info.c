/* samba-lm info: what a model is made of, and what it will take to run it. */
#include "samba-lm.h"

#include <string.h>

static void hex(const uint8_t *bytes, char text[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static void print_fields(FILE *out, const samba_model_info *m, const samba_estimate *e)
{
    char fingerprint[33];
    hex(m->fingerprint, fingerprint);
    fprintf(out, "name          %s\nfamily        %s\n", *m->name ? m->name : "-", m->family);
    fprintf(out, "parameters    %.2f M\n", (double)m->n_parameters / 1e6);
    fprintf(out, "tensors       %s\n", m->weight_types);
    fprintf(out, "blocks        %u of width %u, %u sublayers\n", m->n_blocks, m->d_model,
            m->n_sublayers);
    fprintf(out, "vocabulary    %u, %s tokenizer, BOS %d, EOS %d%s\n", m->n_vocab,
            m->has_tokenizer ? "with" : "no", m->bos_token, m->eos_token,
            m->chat_template ? ", chat template" : "");
    fprintf(out, "backend       %s, %s%s\n", m->backend, m->tier,
            m->invariant ? ", schedule-invariant" : "");
    fprintf(out, "memory        %.2f MB of weights, %.2f MB for a pass\n",
            (double)m->weight_bytes / 1e6, (double)e->pass_bytes / 1e6);
    fprintf(out, "session       %.2f MB once full", (double)e->state_bytes / 1e6);
    if (e->state_bytes_per_token)
        fprintf(out, ", and %llu bytes per token (full attention)",
                (unsigned long long)e->state_bytes_per_token);
    fprintf(out, "; history %llu bytes per token\n",
            (unsigned long long)e->history_bytes_per_token);
    fprintf(out, "loaded in     %.3f s\nfingerprint   %s\n", m->load_seconds, fingerprint);
}

/* The numbers that matter for the kind, in words. */
static void describe(const samba_sublayer_info *s, char *text, size_t size)
{
    char reach[32];
    if (s->window)
        snprintf(reach, sizeof reach, ", window %u", s->window);
    else
        snprintf(reach, sizeof reach, "%s", strstr(s->kind, "attention") ? ", full" : "");
    if (s->n_heads)
        snprintf(text, size, "%u heads (%u kv) of %u%s", s->n_heads, s->n_kv_heads, s->head_dim,
                 reach);
    else if (s->d_state)
        snprintf(text, size, "inner %u, state %u, conv %u", s->d_inner, s->d_state, s->d_conv);
    else
        snprintf(text, size, "inner %u", s->d_inner);
}

static int print_sublayers(const samba_model *model, uint32_t n, int json)
{
    samba_error *error = NULL;
    if (!json)
        printf("\n%4s %5s  %-14s %-6s %-42s %12s %10s\n", "#", "block", "kind", "norm", "shape",
               "weights kB", "slab kB");
    for (uint32_t i = 0; i < n; i++) {
        samba_sublayer_info s = {.struct_size = sizeof s};
        char text[96];
        if (samba_model_get_sublayer(model, i, &s, &error) != SAMBA_OK)
            return lm_report(error);
        describe(&s, text, sizeof text);
        if (!json) {
            printf("%4u %5u  %-14s %-6s %-42s %12.1f %10.1f\n", i, s.block, s.kind, s.norm, text,
                   (double)s.weight_bytes / 1e3, (double)s.slab_bytes / 1e3);
            continue;
        }
        printf("%s{\"kind\": \"%s\", \"norm\": \"%s\", \"block\": %u, \"n_heads\": %u, "
               "\"n_kv_heads\": %u, \"head_dim\": %u, \"window\": %u, \"d_inner\": %u, "
               "\"d_state\": %u, \"d_conv\": %u, \"weight_bytes\": %llu, \"slab_bytes\": %llu}",
               i ? ", " : "", s.kind, s.norm, s.block, s.n_heads, s.n_kv_heads, s.head_dim,
               s.window, s.d_inner, s.d_state, s.d_conv, (unsigned long long)s.weight_bytes,
               (unsigned long long)s.slab_bytes);
    }
    return LM_OK;
}

static void print_json_fields(const samba_model_info *m, const samba_estimate *e)
{
    char fingerprint[33];
    const char *const names[] = {"name", "family", "backend", "tier", "weight_types"};
    const char *const values[] = {m->name, m->family, m->backend, m->tier, m->weight_types};
    hex(m->fingerprint, fingerprint);
    printf("{");
    for (int i = 0; i < 5; i++) {
        printf("\"%s\": ", names[i]);
        lm_json_string(stdout, values[i], strlen(values[i]));
        printf(", ");
    }
    printf("\"chat_template\": ");
    if (m->chat_template)
        lm_json_string(stdout, m->chat_template, strlen(m->chat_template));
    else
        printf("null");
    printf(", \"n_parameters\": %llu, \"weight_bytes\": %llu, \"n_vocab\": %u, \"d_model\": %u, "
           "\"n_blocks\": %u, \"n_sublayers\": %u, \"has_tokenizer\": %s, \"bos_token\": %d, "
           "\"eos_token\": %d, \"invariant\": %s, \"fingerprint\": \"%s\", \"load_seconds\": ",
           (unsigned long long)m->n_parameters, (unsigned long long)m->weight_bytes, m->n_vocab,
           m->d_model, m->n_blocks, m->n_sublayers, m->has_tokenizer ? "true" : "false",
           m->bos_token, m->eos_token, m->invariant ? "true" : "false", fingerprint);
    lm_json_number(stdout, m->load_seconds);
    printf(", \"load_peak_bytes\": %llu, \"pass_bytes\": %llu, \"state_bytes\": %llu, "
           "\"state_bytes_per_token\": %llu, \"history_bytes_per_token\": %llu, \"sublayers\": [",
           (unsigned long long)e->load_peak_bytes, (unsigned long long)e->pass_bytes,
           (unsigned long long)e->state_bytes, (unsigned long long)e->state_bytes_per_token,
           (unsigned long long)e->history_bytes_per_token);
}

static int print_model(const lm_host *host, const char *path, int json)
{
    samba_error *error = NULL;
    samba_estimate estimate = {.struct_size = sizeof estimate};
    if (samba_model_estimate(host->context, path, NULL, NULL, &estimate, &error) != SAMBA_OK)
        return lm_report(error);
    if (json)
        print_json_fields(&host->info, &estimate);
    else
        print_fields(stdout, &host->info, &estimate);
    int rc = print_sublayers(host->model, host->info.n_sublayers, json);
    if (json)
        printf("]}\n");
    return rc == LM_OK && !lm_flush_ok(stdout, "stdout") ? LM_FAILED : rc;
}

int lm_info(int argc, char **argv)
{
    lm_common common = {0};
    lm_host host;
    const char *path;
    const lm_usage usage = {.command = "info",
                            .synopsis = "MODEL",
                            .about = "Describes a model: size, memory, and every sublayer.",
                            .common = &common,
                            .min_args = 1,
                            .max_args = 1};
    int rc = lm_parse(&usage, argc, argv, &path);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    rc = lm_host_open(&host, &common);
    if (rc == LM_OK)
        rc = lm_host_load(&host, path);
    if (rc == LM_OK)
        rc = print_model(&host, path, common.json);
    lm_host_close(&host);
    return rc;
}
