/* Where the time goes: the same work once more in a context that keeps a profile, prefill and
 * decode apart. Counting costs little, but the other figures are taken without it. */
#include "samba-lm-bench.h"

#include <string.h>

enum {
    PREFILL = 512,
    DECODE = 32
};

static samba_status feed(lm_bench *b, samba_session *s, uint64_t n, samba_error **error)
{
    samba_token tokens[PREFILL];
    const samba_eval_options o = {.struct_size = sizeof o, .cancel = b->host.cancel};
    for (uint64_t i = 0; i < n; i++)
        tokens[i] = (samba_token)(lm_random(&b->random) % b->model.info.n_vocab);
    return samba_session_eval(s, tokens, n, &o, error);
}

static samba_status take(lm_bench *b, lm_bench_profile_result *p, uint64_t tokens,
                         samba_error **error)
{
    p->tokens = tokens;
    samba_status status = samba_context_get_profile(
        b->host.context, p->entries, LM_BENCH_PROFILE_MAX, sizeof *p->entries, &p->n, error);
    p->n = p->n < LM_BENCH_PROFILE_MAX ? p->n : LM_BENCH_PROFILE_MAX;
    samba_context_reset_profile(b->host.context);
    return status;
}

static samba_status run(lm_bench *b, samba_session *s, samba_error **error)
{
    samba_status status = feed(b, s, 32, error);
    samba_context_reset_profile(b->host.context);
    if (status == SAMBA_OK)
        status = feed(b, s, PREFILL, error);
    if (status == SAMBA_OK)
        status = take(b, &b->results.profiles[0], PREFILL, error);
    for (int i = 0; i < DECODE && status == SAMBA_OK; i++)
        status = feed(b, s, 1, error);
    return status == SAMBA_OK ? take(b, &b->results.profiles[1], DECODE, error) : status;
}

/* The model once more, in a context of its own. */
static int reopen(lm_bench *b)
{
    lm_common common = b->args->common;
    int rc = LM_OK;
    common.profile = 1;
    lm_host_close(&b->host);
    rc = lm_host_open(&b->host, &common);
    return rc == LM_OK ? lm_bench_load_plain(b) : rc;
}

int lm_bench_profile(lm_bench *b)
{
    samba_error *error = NULL;
    samba_session *s = NULL;
    int rc = reopen(b);
    if (rc != LM_OK)
        return rc;
    const samba_session_options o = {.struct_size = sizeof o,
                                     .kv_dtype = b->model.kv,
                                     .rows_per_pass = (uint32_t)b->args->rows_per_pass};
    samba_status status = samba_session_create(b->host.model, &o, &s, &error);
    if (status == SAMBA_OK)
        status = run(b, s, &error);
    samba_session_free(s);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}
