/*
 * What a prefix cache saves and costs: a prompt read whole, read again through the cache, and with
 * a new end; then the same with a thousand entries that share all but their last tokens with it,
 * the hardest case for finding one. Times are medians, ratios within one run.
 */
#include <samba.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    PREFIX = 2000,
    TAIL = 16,
    OTHERS = 1000,
    REPEATS = 15
};

typedef struct bench {
    samba_context *context;
    samba_model *model;
    samba_session *session;
    samba_prefix_cache *cache;
    uint32_t n_vocab;
    samba_token tokens[PREFIX + TAIL];
} bench;

static void must(samba_status status, samba_error *error)
{
    if (status == SAMBA_OK)
        return;
    fprintf(stderr, "bench_prefix: %s\n", error ? samba_error_message(error) : "failed");
    exit(EXIT_FAILURE);
}

#define MUST(call)                                                                                 \
    do {                                                                                           \
        samba_error *error = NULL;                                                                 \
        samba_status status_ = (call);                                                             \
        must(status_, error);                                                                      \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Median seconds to make the session stand after n tokens, of which `shared` are in the cache. */
static double measure(bench *b, size_t n, size_t shared, samba_prefix_cache *cache, int repeats)
{
    double seconds[REPEATS];
    for (int i = 0; i < repeats; i++) {
        samba_prefix_report r = {.struct_size = sizeof r};
        for (size_t k = shared; k < n; k++) /* never seen before */
            b->tokens[k] = (samba_token)((unsigned)rand() % b->n_vocab);
        double start = now();
        if (cache) {
            MUST(samba_prefix_cache_eval(cache, b->session, b->tokens, n, NULL, &r, &error));
        } else {
            MUST(samba_session_reset(b->session, &error));
            MUST(samba_session_eval(b->session, b->tokens, n, NULL, &error));
        }
        seconds[i] = now() - start;
        if (cache && r.restored != shared)
            fprintf(stderr, "restored %d of %d: %s\n", (int)r.restored, (int)shared,
                    samba_prefix_reason_string(r.reason));
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, ascending);
    return seconds[repeats / 2];
}

/* Entries that differ from the prompt in their last tokens only. */
static void add_others(bench *b)
{
    for (int i = 0; i < OTHERS; i++) {
        samba_session *s = NULL;
        samba_token tail[2] = {(samba_token)((unsigned)i % b->n_vocab),
                               (samba_token)((unsigned)rand() % b->n_vocab)};
        MUST(samba_session_clone(b->session, &s, &error));
        MUST(samba_session_eval(s, tail, 2, NULL, &error));
        MUST(samba_prefix_cache_put(b->cache, s, &error));
        samba_session_free(s);
    }
}

static void print_stats(bench *b)
{
    samba_prefix_cache_stats stats = {.struct_size = sizeof stats};
    MUST(samba_prefix_cache_get_stats(b->cache, &stats, &error));
    printf("%-44s %8.1f MB\n", "bytes of all entries", (double)stats.bytes / 1e6);
    printf("%-44s %8d\n", "entries", (int)stats.n_entries);
}

static void print(const char *what, double seconds, double whole)
{
    printf("%-44s %9.4f ms  %9.3g of reading all\n", what, seconds * 1e3, seconds / whole);
}

int main(int argc, char **argv)
{
    static bench b;
    const samba_prefix_cache_options options = {.struct_size = sizeof options,
                                                .max_bytes = (uint64_t)8 << 30};
    samba_model_info info = {.struct_size = sizeof info};
    if (argc != 2) {
        fprintf(stderr, "usage: bench_prefix MODEL\n");
        return 2;
    }
    MUST(samba_context_create(NULL, &b.context, &error));
    MUST(samba_model_load(b.context, argv[1], NULL, &b.model, &error));
    MUST(samba_model_get_info(b.model, &info, &error));
    MUST(samba_session_create(b.model, NULL, &b.session, &error));
    MUST(samba_prefix_cache_create(b.model, &options, &b.cache, &error));
    b.n_vocab = info.n_vocab;
    double whole = measure(&b, PREFIX, 0, NULL, 3);
    print("2,000 tokens read", whole, whole);
    print("read through the cache, nothing there yet", measure(&b, PREFIX, 0, b.cache, 1), whole);
    print("read again through the cache", measure(&b, PREFIX, PREFIX, b.cache, REPEATS), whole);
    print_stats(&b);
    print("2,000 tokens and 16 new ones", measure(&b, PREFIX + TAIL, PREFIX, b.cache, REPEATS),
          whole);
    measure(&b, PREFIX, PREFIX, b.cache, 1);
    add_others(&b);
    print("read again, with 1,000 entries beside it", measure(&b, PREFIX, PREFIX, b.cache, REPEATS),
          whole);
    print_stats(&b);
    samba_prefix_cache_free(b.cache);
    samba_session_free(b.session);
    samba_model_release(b.model);
    samba_context_free(b.context);
    return 0;
}
