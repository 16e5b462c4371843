/* Streams: 1, 8 and 32 at a time, read in turn by one thread, against what one gives. */
#include "samba-lm-bench.h"

enum {
    CONTEXT = 256,
    STREAMS_MAX = 32
};
static const size_t counts[] = {1, 8, STREAMS_MAX};

/* One token of each. */
static samba_status take_round(samba_stream *const *streams, size_t n, samba_error **error)
{
    samba_status status = SAMBA_OK;
    for (size_t i = 0; i < n && status == SAMBA_OK; i++) {
        samba_stream_event event = {.struct_size = sizeof event};
        status = samba_stream_next(streams[i], SAMBA_WAIT_FOREVER, &event, error);
    }
    return status;
}

/* From clones of one session; the first tokens, which come while streams still start, are not
 * counted. */
static samba_status run_streams(lm_bench *b, const samba_session *from, size_t n, size_t row,
                                samba_error **error)
{
    samba_session *sessions[STREAMS_MAX] = {NULL};
    samba_stream *streams[STREAMS_MAX] = {NULL};
    uint64_t rounds = b->args->quick ? 4 : 16;
    const samba_stream_options o = {.struct_size = sizeof o,
                                    .max_tokens = SAMBA_TOKENS_UNLIMITED,
                                    .ignore_eos = SAMBA_YES,
                                    .queue_depth = 2};
    samba_status status = SAMBA_OK;
    for (size_t i = 0; i < n && status == SAMBA_OK; i++)
        status = samba_session_clone(from, &sessions[i], error);
    for (size_t i = 0; i < n && status == SAMBA_OK; i++)
        status = samba_stream_start(sessions[i], NULL, &o, &streams[i], error);
    for (int i = 0; i < 3 && status == SAMBA_OK; i++)
        status = take_round(streams, n, error);
    double start = lm_seconds(), busy = lm_bench_processor_seconds();
    for (uint64_t i = 0; i < rounds && status == SAMBA_OK; i++)
        status = take_round(streams, n, error);
    lm_bench_row *r = &b->results.rows[row];
    double seconds = lm_seconds() - start;
    busy = lm_bench_processor_seconds() - busy;
    lm_bench_add_time(r, seconds, busy / seconds / b->peaks.n_threads);
    lm_bench_count_decode(b, r, CONTEXT, rounds, n);
    for (size_t i = 0; i < n; i++)
        samba_stream_close(streams[i]);
    for (size_t i = 0; i < n; i++)
        samba_session_free(sessions[i]);
    lm_bench_peaks_look(&b->peaks);
    return status;
}

int lm_bench_streams(lm_bench *b)
{
    const samba_session_options so = {.struct_size = sizeof so, .kv_dtype = b->args->kv};
    samba_token tokens[CONTEXT];
    samba_session *from = NULL;
    samba_error *error = NULL;
    size_t first = b->results.n;
    uint64_t repeats = b->args->repeats ? b->args->repeats : b->args->quick ? 1 : 3;
    for (size_t i = 0; i < CONTEXT; i++)
        tokens[i] = (samba_token)((i * 7919 + 13) % b->model.info.n_vocab);
    samba_status status = samba_session_create(b->host.model, &so, &from, &error);
    if (status == SAMBA_OK)
        status = samba_session_eval(from, tokens, CONTEXT, NULL, &error);
    for (size_t k = 0; k < 3; k++)
        lm_bench_add_row(&b->results, LM_BENCH_STREAMS, "%zu stream%s", counts[k],
                         counts[k] > 1 ? "s" : "")
            ->against = 1 + (double)first;
    for (uint64_t r = 0; r < repeats; r++)
        for (size_t k = 0; k < 3 && status == SAMBA_OK; k++)
            status = run_streams(b, from, counts[k], first + k, &error);
    samba_session_free(from);
    b->results.streams.struct_size = sizeof b->results.streams;
    if (status == SAMBA_OK)
        status = samba_model_get_stream_stats(b->host.model, &b->results.streams, &error);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}
