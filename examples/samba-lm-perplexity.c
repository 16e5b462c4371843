/*
 * samba-lm perplexity: reads a text once, from its first token to its last, in bounded memory, and
 * prints how well each token was predicted by all before it, by position.
 */
#include "samba-lm.h"

#include <math.h>
#include <stdlib.h>

typedef struct perplexity_args {
    lm_common common;
    uint64_t by, limit;
    samba_dtype kv;
    const char *positional[2]; /* model, file */
} perplexity_args;

typedef struct bucket {
    double sum; /* of -log p */
    uint64_t n;
} bucket;

enum {
    PIECE = 1024
};

/* The first token of all has nothing before it and is not counted: buckets hold positions 1..by,
 * by+1..2by, and so on. */
static samba_status score(samba_session *session, const lm_ids *ids, const lm_host *host,
                          uint64_t by, bucket *buckets, samba_error **error)
{
    float logprobs[PIECE];
    samba_eval_options o = {.struct_size = sizeof o, .cancel = host->cancel};
    samba_status status = SAMBA_OK;
    lm_bar bar;
    lm_bar_start(&bar, "scoring", "tokens", ids->n);
    for (size_t at = 0; at < ids->n && status == SAMBA_OK;) {
        size_t n = ids->n - at < PIECE ? ids->n - at : PIECE;
        status = samba_session_score(session, ids->ids + at, n, &o, logprobs, error);
        for (size_t i = at ? 0 : 1; i < n && status == SAMBA_OK; i++) {
            bucket *b = &buckets[(at + i - 1) / by];
            b->sum -= (double)logprobs[i];
            b->n++;
        }
        at += n;
        lm_bar_update(&bar, at);
    }
    lm_bar_end(&bar);
    return status;
}

static double mean(bucket b)
{
    return b.n ? b.sum / (double)b.n : 0;
}

static void print_result(const perplexity_args *a, const bucket *buckets, size_t n, uint64_t total,
                         double seconds)
{
    bucket all = {0};
    for (size_t i = 0; i < n; i++) {
        all.sum += buckets[i].sum;
        all.n += buckets[i].n;
    }
    if (!a->common.json) {
        printf("%20s  %8s  %10s\n", "positions", "NLL", "perplexity");
        for (size_t i = 0; i < n; i++)
            printf("%10llu-%-9llu  %8.4f  %10.3f\n", (unsigned long long)(i * a->by + 1),
                   (unsigned long long)((i + 1) * a->by < total ? (i + 1) * a->by : total - 1),
                   mean(buckets[i]), exp(mean(buckets[i])));
        printf("%20s  %8.4f  %10.3f   %llu tokens, %.1f tokens/s\n", "all", mean(all),
               exp(mean(all)), (unsigned long long)total, (double)total / seconds);
        return;
    }
    printf("{\"n_tokens\": %llu, \"n_scored\": %llu, \"nll\": ", (unsigned long long)total,
           (unsigned long long)all.n);
    lm_json_number(stdout, mean(all));
    printf(", \"perplexity\": ");
    lm_json_number(stdout, exp(mean(all)));
    printf(", \"by\": %llu, \"nll_by\": [", (unsigned long long)a->by);
    for (size_t i = 0; i < n; i++) {
        printf("%s", i ? ", " : "");
        lm_json_number(stdout, mean(buckets[i]));
    }
    printf("], \"seconds\": ");
    lm_json_number(stdout, seconds);
    printf("}\n");
}

static int run(const perplexity_args *a, const lm_host *host, const lm_buffer *text)
{
    lm_ids ids = {0};
    samba_session *session = NULL;
    samba_error *error = NULL;
    samba_session_options o = {
        .struct_size = sizeof o, .kv_dtype = a->kv, .max_history = SAMBA_HISTORY_NONE};
    int rc = LM_OK;
    if (lm_tokenize_text(host->model, text, NULL, &ids, &error) != SAMBA_OK)
        return free(ids.ids), lm_report(error);
    if (a->limit && ids.n > a->limit)
        ids.n = (size_t)a->limit;
    if (ids.n < 2)
        return free(ids.ids), lm_complain("the text has %zu tokens, 2 are needed", ids.n);
    size_t n = (size_t)((ids.n - 2) / a->by) + 1;
    bucket *buckets = lm_alloc(NULL, n, sizeof *buckets);
    for (size_t i = 0; i < n; i++)
        buckets[i] = (bucket){0};
    double start = lm_seconds();
    if (samba_session_create(host->model, &o, &session, &error) != SAMBA_OK ||
        score(session, &ids, host, a->by, buckets, &error) != SAMBA_OK)
        rc = lm_report(error);
    else
        print_result(a, buckets, n, ids.n, lm_seconds() - start);
    samba_session_free(session);
    free(buckets);
    free(ids.ids);
    return rc == LM_OK && !lm_flush_ok(stdout, "stdout") ? LM_FAILED : rc;
}

int lm_perplexity(int argc, char **argv)
{
    perplexity_args a = {.by = 4096};
    lm_host host;
    lm_buffer text = {0};
    const lm_option options[] = {
        {"--by", NULL, "N", "positions per line of the table (default 4096)", lm_set_count, &a.by},
        {"--limit", NULL, "N", "read the first N tokens only", lm_set_count, &a.limit},
        {"--kv", NULL, "TYPE", "type of keys and values: f16 (default), f32, bf16, q8_0",
         lm_set_dtype, &a.kv},
    };
    const lm_usage usage = {
        .command = "perplexity",
        .synopsis = "MODEL FILE",
        .about = "Mean negative log-likelihood (natural log, per token) of a text (\"-\": stdin),\n"
                 "read in one pass.",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .common = &a.common,
        .min_args = 2,
        .max_args = 2};
    int rc = lm_parse(&usage, argc, argv, a.positional);
    if (rc != LM_OK)
        return rc < 0 ? LM_OK : rc;
    if (a.by == 0)
        return lm_bad_usage("perplexity", "perplexity: --by must be at least 1");
    if ((rc = lm_read_input(NULL, a.positional[1], &text)) != LM_OK)
        return rc;
    rc = lm_host_open(&host, &a.common);
    if (rc == LM_OK)
        rc = lm_host_load(&host, a.positional[0]);
    if (rc == LM_OK)
        rc = run(&a, &host, &text);
    lm_host_close(&host);
    free(text.data);
    return rc;
}
