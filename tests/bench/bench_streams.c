/*
 * Streams under mixed load: how even equal streams are, how long tokens are apart, alone and while
 * long prompts arrive, and how soon a new stream speaks. Usage: bench_streams MODEL [SECONDS]
 */
#include "samba.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    STREAMS = 8,
    GAPS = 1 << 20,
    PROMPT = 32768
};

typedef struct reader {
    samba_session *session;
    samba_stream *stream;
    double last;
    uint64_t n;
} reader;

static double *gaps;
static size_t n_gaps;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(samba_status status)
{
    if (status == SAMBA_OK)
        return;
    fprintf(stderr, "failed: %s\n", samba_status_string(status));
    exit(1);
}

static void start(samba_model *model, reader *r, size_t n_prompt)
{
    samba_token *prompt = malloc(n_prompt * sizeof *prompt);
    for (size_t i = 0; prompt && i < n_prompt; i++)
        prompt[i] = (samba_token)(i * 7919 % 8000);
    const samba_stream_options o = {.struct_size = sizeof o,
                                    .prompt = prompt,
                                    .n_prompt = n_prompt,
                                    .max_tokens = SAMBA_TOKENS_UNLIMITED,
                                    .ignore_eos = SAMBA_YES};
    *r = (reader){0};
    must(samba_session_create(model, NULL, &r->session, NULL));
    must(samba_stream_start(r->session, NULL, &o, &r->stream, NULL));
    r->last = now();
    free(prompt);
}

static int take(reader *r)
{
    samba_stream_event e = {.struct_size = sizeof e};
    must(samba_stream_next(r->stream, 1, &e, NULL));
    if (e.kind != SAMBA_STREAM_TOKEN)
        return 0;
    double t = now();
    if (r->n++ && n_gaps < GAPS)
        gaps[n_gaps++] = t - r->last;
    r->last = t;
    return 1;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_gaps(const char *what)
{
    qsort(gaps, n_gaps, sizeof *gaps, by_size);
    if (n_gaps)
        printf("%s: %zu gaps, p50 %.2f ms, p99 %.2f ms, longest %.2f ms\n", what, n_gaps,
               1e3 * gaps[n_gaps / 2], 1e3 * gaps[n_gaps * 99 / 100], 1e3 * gaps[n_gaps - 1]);
    n_gaps = 0;
}

static void end(reader *r)
{
    samba_stream_close(r->stream);
    samba_session_free(r->session);
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? atof(argv[2]) : 10;
    samba_context *context = NULL;
    samba_model *model = NULL;
    reader readers[STREAMS], late;
    uint64_t least = UINT64_MAX, most = 0;
    gaps = malloc(GAPS * sizeof *gaps);
    if (argc < 2 || !gaps)
        return 2;
    must(samba_context_create(NULL, &context, NULL));
    must(samba_model_load(context, argv[1], NULL, &model, NULL));
    for (int i = 0; i < STREAMS; i++)
        start(model, &readers[i], 64);
    for (double t = now(); now() < t + seconds;)
        for (int i = 0; i < STREAMS; i++)
            take(&readers[i]);
    for (int i = 0; i < STREAMS; i++) {
        least = readers[i].n < least ? readers[i].n : least;
        most = readers[i].n > most ? readers[i].n : most;
    }
    printf("%d equal streams, %.0f s: %llu to %llu tokens, max/min %.3f\n", STREAMS, seconds,
           (unsigned long long)least, (unsigned long long)most, (double)most / (double)least);
    print_gaps("without prompts");
    start(model, &late, 64);
    double asked = now();
    while (!take(&late))
        for (int i = 0; i < STREAMS; i++)
            take(&readers[i]);
    printf("a new stream, 64 tokens to read: first token after %.2f ms\n", 1e3 * (now() - asked));
    end(&late);
    n_gaps = 0;
    start(model, &late, PROMPT);
    asked = now();
    while (!late.n && now() < asked + 60) {
        for (int i = 0; i < STREAMS; i++)
            take(&readers[i]);
        take(&late);
    }
    printf("a new stream, %d tokens to read: first token after %.1f s\n", PROMPT, now() - asked);
    print_gaps("meanwhile");
    end(&late);
    for (int i = 0; i < STREAMS; i++)
        end(&readers[i]);
    free(gaps);
    samba_model_release(model);
    samba_context_free(context);
    return 0;
}
