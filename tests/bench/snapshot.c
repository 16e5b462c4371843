/*
 * What saving costs: bytes per second of writing and reading snapshots, one thread, beside memcpy,
 * xxHash and zstd on the same bytes in the same run, and as ratios to memcpy and zstd -1; sizes by
 * codec; what lossy keys and values change; restore to next token against reading the prompt again.
 * Public header only.
 *
 *     bench_snapshot MODEL.gguf|SHAPE [TOKENS [FED [TEXT_FILE]]]
 *
 * TOKENS is the position, of which the last FED tokens (default all) are fed: a window's content is
 * the same, and long histories need no hour. With a text the change of its negative log-likelihood
 * is measured too.
 */
#include "samba-lm-shapes.h"
#include "samba.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>
#include <zstd.h>

enum {
    REPEATS = 7
};

static void check(samba_status status, samba_error *error)
{
    if (status == SAMBA_OK)
        return;
    fprintf(stderr, "%s\n", error ? samba_error_message(error) : samba_status_string(status));
    exit(1);
}

/* Of this thread's processor, so that neighbours count less. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef struct bench {
    samba_context *context;
    samba_model *model;
    samba_session *session;
    samba_snapshot *snapshot;
    uint64_t raw;
    size_t n_vocab;
    samba_token *tokens;
    size_t n_tokens;
    double prompt_seconds;
    double copy_seconds, zip_seconds; /* of memcpy and zstd -1; 0: not known yet */
} bench;

static double best(double a, double b)
{
    return b < a ? b : a;
}

static void row(const bench *b, const char *what, double seconds, uint64_t bytes)
{
    printf("%-34s %8.2f GB/s", what, (double)b->raw / seconds / 1e9);
    if (b->zip_seconds > 0)
        printf("  %5.2f memcpy %6.2f zstd", b->copy_seconds / seconds, b->zip_seconds / seconds);
    if (bytes)
        printf("  %10llu bytes, %.3f of raw", (unsigned long long)bytes,
               (double)bytes / (double)b->raw);
    printf("\n");
    fflush(stdout);
}

/* ---- the yardsticks: the same bytes in one piece */

enum {
    KV_PIECE = 1 << 17 /* as much of a plane as a chunk of the file has */
};

/* zstd alone on what a snapshot gives it: the bytes of f16 or bf16 that hold exponents, in
 * pieces. What is found is mostly the speed of its Huffman coder. */
static void plane_yardstick(const samba_bytes *raw)
{
    const uint8_t *from = samba_bytes_data(raw);
    const size_t n = samba_bytes_size(raw) / 2, bound = ZSTD_compressBound(KV_PIECE);
    const bench plane_only = {.raw = n};
    uint8_t *plane = malloc(n), *to = malloc(bound), *back = malloc(KV_PIECE);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    double zip = 1e9, unzip = 1e9;
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        plane[i] = from[2 * i + 1];
    for (int i = 0; i < REPEATS; i++) {
        double there = 0, again = 0;
        size = 0;
        for (size_t at = 0; at < n; at += KV_PIECE) {
            const size_t piece = n - at < KV_PIECE ? n - at : KV_PIECE;
            const double t = now();
            const size_t z = ZSTD_compressCCtx(c, to, bound, plane + at, piece, 1);
            const double middle = now();
            ZSTD_decompress(back, piece, to, z);
            again += now() - middle;
            there += middle - t;
            size += z;
        }
        zip = best(zip, there);
        unzip = best(unzip, again);
    }
    row(&plane_only, "zstd -1 of every second byte", zip, size);
    row(&plane_only, "its decompression", unzip, 0);
    ZSTD_freeCCtx(c);
    free(plane);
    free(to);
    free(back);
}

static void yardsticks(bench *b, const samba_bytes *raw)
{
    const size_t n = samba_bytes_size(raw), bound = ZSTD_compressBound(n);
    char *to = malloc(bound), *back = malloc(n);
    double hash64 = 1e9, hash128 = 1e9, zip = 1e9, unzip = 1e9;
    size_t size = 0;
    volatile uint64_t sum = 0; /* so that nothing is left out */
    memset(to, 1, bound);
    memset(back, 1, n);
    b->copy_seconds = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        double t = now();
        memcpy(back, samba_bytes_data(raw), n);
        b->copy_seconds = best(b->copy_seconds, now() - t);
        t = now();
        sum = sum + XXH64(samba_bytes_data(raw), n, 0);
        hash64 = best(hash64, now() - t);
        t = now();
        sum = sum + XXH3_128bits(samba_bytes_data(raw), n).low64;
        hash128 = best(hash128, now() - t);
        if (i > 2)
            continue;
        t = now();
        size = ZSTD_compress(to, bound, samba_bytes_data(raw), n, 1);
        zip = best(zip, now() - t);
        t = now();
        ZSTD_decompress(back, n, to, size);
        unzip = best(unzip, now() - t);
    }
    b->zip_seconds = zip;
    row(b, "memcpy", b->copy_seconds, 0);
    row(b, "XXH64", hash64, 0);
    row(b, "XXH3-128", hash128, 0);
    row(b, "zstd -1 of the raw bytes", zip, size);
    row(b, "its decompression", unzip, 0);
    plane_yardstick(raw);
    free(to);
    free(back);
}

/* ---- writing and reading */

static samba_bytes *write_one(const bench *b, const samba_snapshot_write_options *o,
                              double *seconds)
{
    samba_bytes *bytes = NULL;
    *seconds = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        samba_error *error = NULL;
        samba_bytes_free(bytes);
        bytes = NULL;
        const double t = now();
        check(samba_snapshot_write_memory(b->snapshot, o, &bytes, &error), error);
        *seconds = best(*seconds, now() - t);
    }
    return bytes;
}

static void read_one(const bench *b, const samba_bytes *bytes, const char *name)
{
    const samba_snapshot_read_options o = {
        .struct_size = sizeof o, .n_threads = 1, .max_bytes = UINT64_MAX};
    double reading = 1e9, restoring = 1e9, wall = 1e9;
    char what[64];
    for (int i = 0; i < REPEATS; i++) {
        samba_error *error = NULL;
        samba_snapshot *s = NULL;
        samba_session *session = NULL;
        double t = now();
        check(samba_snapshot_read_memory(b->context, samba_bytes_data(bytes),
                                         samba_bytes_size(bytes), &o, &s, &error),
              error);
        const double middle = now();
        check(samba_session_create_from(b->model, s, NULL, &session, &error), error);
        const double end = now();
        reading = best(reading, middle - t);
        restoring = best(restoring, end - middle);
        wall = best(wall, end - t);
        samba_session_free(session);
        samba_snapshot_release(s);
    }
    snprintf(what, sizeof what, "read %s", name);
    row(b, what, reading, 0);
    snprintf(what, sizeof what, "restore %s", name);
    row(b, what, restoring, 0);
    snprintf(what, sizeof what, "read and restore %s", name);
    row(b, what, wall, 0);
    printf("%-34s %8.3f ms to the next token, reading the prompt took %.1f ms\n", name, wall * 1e3,
           b->prompt_seconds * 1e3);
}

/* ---- what lossy keys and values change */

static void drift(const bench *b, const samba_bytes *lossy, const samba_token *text, size_t n)
{
    samba_error *error = NULL;
    samba_snapshot *s = NULL;
    samba_session *exact = NULL, *other = NULL;
    float *p = calloc(2 * (n ? n : 1), sizeof *p);
    const float *x, *y;
    size_t n_vocab;
    double most = 0, size = 0, nll[2] = {0, 0};
    check(samba_snapshot_read_memory(b->context, samba_bytes_data(lossy), samba_bytes_size(lossy),
                                     NULL, &s, &error),
          error);
    check(samba_session_create_from(b->model, b->snapshot, NULL, &exact, &error), error);
    check(samba_session_create_from(b->model, s, NULL, &other, &error), error);
    check(samba_session_score(exact, text, n, NULL, p, &error), error);
    check(samba_session_score(other, text, n, NULL, p + n, &error), error);
    check(samba_session_restore(exact, b->snapshot, &error), error);
    check(samba_session_restore(other, s, &error), error);
    check(samba_session_eval(exact, text, 1, NULL, &error), error);
    check(samba_session_eval(other, text, 1, NULL, &error), error);
    check(samba_session_logits(exact, SAMBA_ROW_LAST, &x, &n_vocab, &error), error);
    check(samba_session_logits(other, SAMBA_ROW_LAST, &y, &n_vocab, &error), error);
    for (size_t i = 0; i < n_vocab; i++) {
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
        size = fmax(size, fabs((double)x[i]));
    }
    for (size_t i = 0; i < n; i++) {
        nll[0] -= (double)p[i] / (double)n;
        nll[1] -= (double)p[n + i] / (double)n;
    }
    printf("lossy: next logits differ by at most %.4f (largest %.2f); NLL of %zu tokens %.6f -> "
           "%.6f (%+.6f)\n",
           most, size, n, nll[0], nll[1], nll[1] - nll[0]);
    free(p);
    samba_session_free(exact);
    samba_session_free(other);
    samba_snapshot_release(s);
}

/* ---- set-up */

static void load(bench *b, const char *name)
{
    const samba_context_options o = {.struct_size = sizeof o, .n_threads = 2};
    const lm_shape *shape = lm_shape_find(name);
    samba_error *error = NULL;
    check(samba_context_create(&o, &b->context, &error), error);
    if (!shape) {
        check(samba_model_load(b->context, name, NULL, &b->model, &error), error);
        return;
    }
    lm_random_model *random = lm_random_model_create(shape, SAMBA_DTYPE_Q8_0, 1);
    const samba_reader reader = lm_random_model_reader(random);
    check(samba_model_load_reader(b->context, &reader, NULL, &b->model, &error), error);
    lm_random_model_free(random);
}

/* The text, repeated or cut, or random tokens. */
static void make_tokens(bench *b, const char *path, size_t n, samba_token **text, size_t *n_text)
{
    samba_error *error = NULL;
    static char data[1 << 20];
    size_t size = 0;
    FILE *f = path ? fopen(path, "rb") : NULL;
    if (f) {
        size = fread(data, 1, sizeof data, f);
        fclose(f);
        *text = malloc(size * sizeof **text);
        check(samba_tokenize(b->model, data, size, NULL, *text, size, n_text, &error), error);
    }
    b->tokens = malloc((n + 1) * sizeof *b->tokens);
    for (size_t i = 0; i < n; i++)
        b->tokens[i] =
            *n_text ? (*text)[i % *n_text] : (samba_token)((i * 2654435761u >> 7) % b->n_vocab);
    b->n_tokens = n;
}

static void feed(bench *b, uint64_t position)
{
    const samba_session_options o = {.struct_size = sizeof o,
                                     .first_position = position - b->n_tokens};
    samba_error *error = NULL;
    struct timespec t0, t1;
    check(samba_session_create(b->model, &o, &b->session, &error), error);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    check(samba_session_eval(b->session, b->tokens, b->n_tokens, NULL, &error), error);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    b->prompt_seconds = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) * 1e-9;
    check(samba_session_snapshot(b->session, NULL, &b->snapshot, &error), error);
    samba_snapshot_info info = {.struct_size = sizeof info};
    check(samba_snapshot_get_info(b->snapshot, &info, &error), error);
    b->raw = info.raw_bytes;
}

int main(int argc, char **argv)
{
    bench b = {0};
    samba_token *text = NULL;
    size_t n_text = 0;
    double seconds;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_snapshot MODEL|SHAPE [TOKENS [FED [TEXT_FILE]]]\n");
        return 2;
    }
    const uint64_t position = argc > 2 ? strtoull(argv[2], NULL, 10) : 4096;
    const size_t fed = argc > 3 ? strtoull(argv[3], NULL, 10) : (size_t)position;
    samba_model_info info = {.struct_size = sizeof info};
    samba_error *error = NULL;
    load(&b, argv[1]);
    check(samba_model_get_info(b.model, &info, &error), error);
    b.n_vocab = info.n_vocab;
    make_tokens(&b, argc > 4 ? argv[4] : NULL, fed, &text, &n_text);
    feed(&b, position);
    printf("%s (%s) at %llu: %llu raw bytes\n", argv[1], info.tier, (unsigned long long)position,
           (unsigned long long)b.raw);
    samba_snapshot_write_options raw = {
        .struct_size = sizeof raw, .codec = SAMBA_CODEC_RAW, .n_threads = 1};
    samba_snapshot_write_options zstd = {.struct_size = sizeof zstd, .n_threads = 1};
    samba_snapshot_write_options nine = {
        .struct_size = sizeof nine, .zstd_level = 9, .n_threads = 1};
    samba_snapshot_write_options lossy = {
        .struct_size = sizeof lossy, .lossy_kv = SAMBA_YES, .n_threads = 1};
    const struct {
        const char *name;
        samba_snapshot_write_options *o;
    } kinds[] = {{"raw", &raw}, {"zstd", &zstd}, {"zstd 9", &nine}, {"zstd, lossy kv", &lossy}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char what[64];
        samba_bytes *bytes = write_one(&b, kinds[i].o, &seconds);
        if (i == 0)
            yardsticks(&b, bytes);
        snprintf(what, sizeof what, "write %s", kinds[i].name);
        row(&b, what, seconds, samba_bytes_size(bytes));
        read_one(&b, bytes, kinds[i].name);
        if (kinds[i].o == &lossy)
            drift(&b, bytes, n_text ? text : b.tokens,
                  n_text && n_text < 2000 ? n_text
                  : n_text                ? 2000
                                          : 16);
        samba_bytes_free(bytes);
    }
    free(text);
    free(b.tokens);
    samba_snapshot_release(b.snapshot);
    samba_session_free(b.session);
    samba_model_release(b.model);
    samba_context_free(b.context);
    return 0;
}
