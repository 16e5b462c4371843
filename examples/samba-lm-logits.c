/* samba-lm logits: the logits of given tokens as a safetensors file, for comparisons. */
#include "samba-lm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct logits_args {
    lm_common common;
    lm_ids ids;
    int all;
    samba_dtype kv;
    const char *out;
    const char *positional[1]; /* model */
} logits_args;

enum {
    PIECE = 256
};

/* Length of the header as 8 bytes, the header padded to a multiple of 8, then the data. */
static void write_header(FILE *out, size_t rows, size_t n_vocab)
{
    char header[256];
    int n =
        snprintf(header, sizeof header,
                 "{\"logits\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[0,%llu]}}",
                 rows, n_vocab, (unsigned long long)rows * n_vocab * 4);
    for (; n % 8; n++)
        header[n] = ' ';
    for (int i = 0; i < 8; i++)
        fputc(i == 0 ? n : 0, out); /* n < 256 */
    fwrite(header, 1, (size_t)n, out);
}

static void write_row(FILE *out, const float *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        unsigned char bytes[4] = {(unsigned char)bits, (unsigned char)(bits >> 8),
                                  (unsigned char)(bits >> 16), (unsigned char)(bits >> 24)};
        fwrite(bytes, 1, 4, out);
    }
}

static samba_status write_rows(samba_session *session, FILE *out, samba_error **error)
{
    for (size_t i = 0, n = samba_session_n_rows(session); i < n; i++) {
        const float *row;
        size_t n_vocab;
        samba_status status = samba_session_logits(session, i, &row, &n_vocab, error);
        if (status != SAMBA_OK)
            return status;
        write_row(out, row, n_vocab);
    }
    return SAMBA_OK;
}

static samba_status compute(const logits_args *a, const lm_host *host, samba_session *session,
                            FILE *out, samba_error **error)
{
    samba_status status = SAMBA_OK;
    write_header(out, a->all ? a->ids.n : 1, host->info.n_vocab);
    if (!a->all) {
        status = lm_feed(session, &a->ids, host->cancel, NULL, 0, error);
        return status == SAMBA_OK ? write_rows(session, out, error) : status;
    }
    for (size_t at = 0; at < a->ids.n && status == SAMBA_OK; at += PIECE) {
        size_t n = a->ids.n - at < PIECE ? a->ids.n - at : PIECE;
        samba_eval_options o = {
            .struct_size = sizeof o, .outputs = SAMBA_OUTPUT_ALL, .cancel = host->cancel};
        status = samba_session_eval(session, a->ids.ids + at, n, &o, error);
        if (status == SAMBA_OK)
            status = write_rows(session, out, error);
    }
    return status;
}

static int run(const logits_args *a, const lm_host *host)
{
    samba_session *session = NULL;
    samba_error *error = NULL;
    samba_session_options o = {
        .struct_size = sizeof o, .kv_dtype = a->kv, .max_history = SAMBA_HISTORY_NONE};
    FILE *out = fopen(a->out, "wb");
    if (!out)
        return lm_complain("cannot write: %s (%s)", strerror(errno), a->out);
    samba_status status = samba_session_create(host->model, &o, &session, &error);
    if (status == SAMBA_OK)
        status = compute(a, host, session, out, &error);
    samba_session_free(session);
    int rc = status == SAMBA_OK ? LM_OK : lm_report(error);
    if (rc == LM_OK && !lm_flush_ok(out, a->out))
        rc = LM_FAILED;
    fclose(out);
    if (rc != LM_OK)
        return remove(a->out), rc;
    size_t rows = a->all ? a->ids.n : 1;
    if (a->common.json) {
        printf("{\"file\": ");
        lm_json_string(stdout, a->out, strlen(a->out));
        printf(", \"rows\": %zu, \"n_vocab\": %u}\n", rows, host->info.n_vocab);
    }
    return lm_flush_ok(stdout, "stdout") ? LM_OK : LM_FAILED;
}

int lm_logits(int argc, char **argv)
{
    logits_args a = {.all = 0};
    lm_host host;
    const lm_option options[] = {
        {"--ids", NULL, "IDS", "the tokens, like 1,2,3", lm_set_ids, &a.ids},
        {"--all", NULL, NULL, "logits of every token (default: of the last)", lm_set_flag, &a.all},
        {"--kv", NULL, "TYPE", "type of keys and values: f16 (default), f32, bf16, q8_0",
         lm_set_dtype, &a.kv},
        {"--out", "-o", "FILE", "where to write: safetensors, tensor \"logits\" [rows, vocab] f32",
         lm_set_string, &a.out},
    };
    const lm_usage usage = {.command = "logits",
                            .synopsis = "MODEL --ids IDS --out FILE",
                            .about = "Writes the logits of given tokens.",
                            .options = options,
                            .n_options = sizeof options / sizeof *options,
                            .common = &a.common,
                            .min_args = 1,
                            .max_args = 1};
    int rc = lm_parse(&usage, argc, argv, a.positional);
    if (rc == LM_OK && (!a.ids.n || !a.out))
        rc = lm_bad_usage("logits", "logits needs %s", a.ids.n ? "--out FILE" : "--ids IDS");
    if (rc == LM_OK) {
        rc = lm_host_open(&host, &a.common);
        if (rc == LM_OK)
            rc = lm_host_load(&host, a.positional[0]);
        if (rc == LM_OK)
            rc = run(&a, &host);
        lm_host_close(&host);
    }
    free(a.ids.ids);
    return rc < 0 ? LM_OK : rc;
}
