/*
 * samba-lm passkey: hides a random five-digit number in a long text and asks for it. Every sample
 * is read token by token from its beginning; the session's memory does not grow with the length.
 */
#include "samba-lm.h"

#include <stdlib.h>
#include <string.h>

enum {
    LENGTHS_MAX = 32,
    DIGITS = 5
};

typedef struct passkey_args {
    lm_common common;
    lm_ids lengths;
    double depth; /* below 0: spread over the samples */
    uint64_t samples, seed;
    const char *filler;
    samba_dtype kv;
    int show;
    const char *positional[1]; /* model */
} passkey_args;

/* The outcome at one length. */
typedef struct outcome {
    uint64_t n, exact, digits;
    uint64_t shortest, longest; /* prompts, in tokens */
    double *wrong;              /* [n_wrong] depths */
    size_t n_wrong;
    double seconds;
    uint64_t state_bytes;
} outcome;

typedef struct answer {
    char text[DIGITS + 1];
    size_t n;
} answer;

/* Collects the first five characters that are no spaces. */
static int32_t on_token(void *user_data, const samba_token_event *event)
{
    answer *a = user_data;
    for (size_t i = 0; i < event->text_size && a->n < DIGITS; i++)
        if (event->text[i] != ' ')
            a->text[a->n++] = event->text[i];
    return a->n == DIGITS ? SAMBA_STOP : SAMBA_CONTINUE;
}

/* Reads one prompt and lets the model answer, greedily. */
static samba_status ask(const lm_host *host, samba_session *session, const lm_ids *ids, lm_bar *bar,
                        uint64_t done, answer *a, samba_error **error)
{
    samba_generate_options o = {
        .struct_size = sizeof o, .max_tokens = 3 * DIGITS, .cancel = host->cancel};
    *a = (answer){.n = 0};
    samba_status status = samba_session_reset(session, error);
    if (status == SAMBA_OK)
        status = lm_feed(session, ids, host->cancel, bar, done, error);
    if (status == SAMBA_OK)
        status = samba_session_generate(session, NULL, &o, on_token, a, NULL, error);
    return status;
}

static void count_answer(outcome *o, const answer *a, uint32_t key, double depth, size_t n_tokens)
{
    char expected[DIGITS + 8];
    snprintf(expected, sizeof expected, "%05u", key);
    for (int i = 0; i < DIGITS; i++)
        o->digits += a->text[i] == expected[i];
    if (strcmp(a->text, expected) == 0)
        o->exact++;
    else
        o->wrong[o->n_wrong++] = depth;
    o->shortest = o->n == 0 || n_tokens < o->shortest ? n_tokens : o->shortest;
    o->longest = n_tokens > o->longest ? n_tokens : o->longest;
    o->n++;
}

static void show(const passkey_args *a, lm_bar *bar, size_t n_tokens, double depth, uint32_t key,
                 const answer *got, double seconds)
{
    if (!a->show || a->common.json)
        return;
    int was_on = bar->on;
    lm_bar_end(bar);
    bar->on = was_on;
    printf("%zu tokens read in %.2f s, \"The pass key is %05u.\" hidden at %.0f %% of them\n"
           "  %s\n  the model answers: ",
           n_tokens, seconds, key, 100 * depth, lm_haystack_question);
    fwrite(got->text, 1, got->n, stdout);
    printf("   (%s)\n",
           (uint32_t)strtoul(got->text, NULL, 10) == key && got->n == DIGITS ? "right" : "wrong");
    fflush(stdout);
}

typedef struct test {
    const passkey_args *args;
    const lm_host *host;
    samba_session *session;
    lm_haystack haystack;
    uint64_t random, fed;
    lm_bar bar;
    lm_buffer prompt;
} test;

static samba_status run_sample(test *t, uint64_t tokens, double depth, outcome *o,
                               samba_error **error)
{
    lm_ids ids = {0};
    answer got;
    uint32_t key = 10000 + (uint32_t)(lm_random(&t->random) % 90000);
    double start = lm_seconds();
    lm_haystack_build(&t->haystack, tokens, depth, key, &t->random, &t->prompt);
    samba_status status = lm_tokenize_text(t->host->model, &t->prompt, NULL, &ids, error);
    if (status == SAMBA_OK)
        status = ask(t->host, t->session, &ids, &t->bar, t->fed, &got, error);
    if (status == SAMBA_OK) {
        t->fed += tokens;
        show(t->args, &t->bar, ids.n, depth, key, &got, lm_seconds() - start);
        count_answer(o, &got, key, depth, ids.n);
    }
    free(ids.ids);
    return status;
}

static samba_status run_length(test *t, uint64_t tokens, outcome *o, samba_error **error)
{
    const passkey_args *a = t->args;
    samba_status status = SAMBA_OK;
    samba_session_stats stats = {.struct_size = sizeof stats};
    double start = lm_seconds();
    for (uint64_t i = 0; i < a->samples && status == SAMBA_OK; i++) {
        double depth = a->depth >= 0 ? a->depth : ((double)i + 0.5) / (double)a->samples;
        status = run_sample(t, tokens, depth, o, error);
    }
    o->seconds = lm_seconds() - start;
    if (status == SAMBA_OK)
        status = samba_session_get_stats(t->session, &stats, error);
    o->state_bytes = stats.state_bytes;
    return status;
}

static void print_table(const passkey_args *a, const outcome *outcomes)
{
    printf("%10s  %17s  %7s  %6s  %6s  %9s  %11s  %s\n", "tokens", "prompts", "samples", "exact",
           "digits", "tokens/s", "state bytes", "wrong at depth");
    for (size_t i = 0; i < a->lengths.n; i++) {
        const outcome *o = &outcomes[i];
        char range[48];
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)o->shortest,
                 (unsigned long long)o->longest);
        printf("%10d  %17s  %7llu  %6.3f  %6.3f  %9.0f  %11llu ", a->lengths.ids[i], range,
               (unsigned long long)o->n, (double)o->exact / (double)o->n,
               (double)o->digits / (double)o->n / DIGITS,
               (double)(o->shortest + o->longest) / 2 * (double)o->n / o->seconds,
               (unsigned long long)o->state_bytes);
        for (size_t j = 0; j < o->n_wrong; j++)
            printf(" %.3f", o->wrong[j]);
        printf("\n");
    }
}

static void print_json(const passkey_args *a, const outcome *outcomes)
{
    printf("{\"filler\": \"%s\", \"seed\": %llu, \"results\": [", a->filler ? "file" : "repeated",
           (unsigned long long)a->seed);
    for (size_t i = 0; i < a->lengths.n; i++) {
        const outcome *o = &outcomes[i];
        printf("%s{\"tokens\": %d, \"samples\": %llu, \"exact_match\": ", i ? ", " : "",
               a->lengths.ids[i], (unsigned long long)o->n);
        lm_json_number(stdout, (double)o->exact / (double)o->n);
        printf(", \"digit_accuracy\": ");
        lm_json_number(stdout, (double)o->digits / (double)o->n / DIGITS);
        printf(", \"prompt_tokens\": [%llu, %llu], \"wrong_at_depth\": [",
               (unsigned long long)o->shortest, (unsigned long long)o->longest);
        for (size_t j = 0; j < o->n_wrong; j++) {
            printf("%s", j ? ", " : "");
            lm_json_number(stdout, o->wrong[j]);
        }
        printf("], \"state_bytes\": %llu, \"seconds\": ", (unsigned long long)o->state_bytes);
        lm_json_number(stdout, o->seconds);
        printf("}");
    }
    printf("]}\n");
}

static int run(const passkey_args *a, const lm_host *host, const lm_buffer *book)
{
    static outcome outcomes[LENGTHS_MAX];
    samba_error *error = NULL;
    uint64_t total = 0;
    test t = {.args = a, .host = host, .random = a->seed};
    samba_session_options o = {
        .struct_size = sizeof o, .kv_dtype = a->kv, .max_history = SAMBA_HISTORY_NONE};
    t.haystack.book = a->filler ? book : NULL;
    samba_status status = samba_session_create(host->model, &o, &t.session, &error);
    if (status == SAMBA_OK)
        status = lm_haystack_measure(&t.haystack, host->model, &error);
    for (size_t i = 0; i < a->lengths.n; i++)
        total += (uint64_t)a->lengths.ids[i] * a->samples;
    lm_bar_start(&t.bar, "pass key", "tokens", total);
    for (size_t i = 0; i < a->lengths.n && status == SAMBA_OK; i++) {
        outcomes[i].wrong = lm_alloc(NULL, (size_t)a->samples, sizeof(double));
        status = run_length(&t, (uint64_t)a->lengths.ids[i], &outcomes[i], &error);
    }
    lm_bar_end(&t.bar);
    if (status == SAMBA_OK && a->common.json)
        print_json(a, outcomes);
    else if (status == SAMBA_OK)
        print_table(a, outcomes);
    int rc = status == SAMBA_OK ? LM_OK : lm_report(error);
    for (size_t i = 0; i < a->lengths.n; i++)
        free(outcomes[i].wrong);
    free(t.prompt.data);
    samba_session_free(t.session);
    return rc == LM_OK && !lm_flush_ok(stdout, "stdout") ? LM_FAILED : rc;
}

static const char *set_depth(void *to, const char *text)
{
    double depth;
    if (!lm_parse_number(text, &depth) || !(depth >= 0 && depth <= 1))
        return "a number from 0 to 1";
    *(double *)to = depth;
    return NULL;
}

static int parse(passkey_args *a, int argc, char **argv)
{
    const lm_option options[] = {
        {"--tokens", NULL, "N,...", "lengths of the prompts (default 4096)", lm_set_ids,
         &a->lengths},
        {"--depth", NULL, "D", "where the key is hidden, 0..1 (default: spread evenly)", set_depth,
         &a->depth},
        {"--samples", NULL, "K", "samples per length (default 5)", lm_set_count, &a->samples},
        {"--filler", NULL, "FILE", "hide it in lines of this text (default: a repeated filler)",
         lm_set_string, &a->filler},
        {"--seed", NULL, "N", "seed of the keys (default 1)", lm_set_count, &a->seed},
        {"--kv", NULL, "TYPE", "type of keys and values: f16 (default), f32, bf16, q8_0",
         lm_set_dtype, &a->kv},
        {"--show", NULL, NULL, "print every answer", lm_set_flag, &a->show},
    };
    const lm_usage usage = {
        .command = "passkey",
        .synopsis = "MODEL",
        .about = "Hides a five-digit number in a long text, asks for it, and counts right answers.",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .common = &a->common,
        .min_args = 1,
        .max_args = 1};
    int rc = lm_parse(&usage, argc, argv, a->positional);
    if (rc != LM_OK)
        return rc;
    if (a->lengths.n > LENGTHS_MAX)
        return lm_bad_usage("passkey", "passkey: at most %d lengths", LENGTHS_MAX);
    if (a->samples < 1 || a->samples > 1000000)
        return lm_bad_usage("passkey", "passkey: --samples must be 1 to 1000000");
    if (a->lengths.n == 0)
        lm_set_ids(&a->lengths, "4096");
    return LM_OK;
}

int lm_passkey(int argc, char **argv)
{
    passkey_args a = {.depth = -1, .samples = 5, .seed = 1};
    lm_host host;
    lm_buffer book = {0};
    int rc = parse(&a, argc, argv);
    if (rc == LM_OK && a.filler)
        rc = lm_read_input(NULL, a.filler, &book);
    if (rc == LM_OK && a.filler && (!book.size || !memchr(book.data, '\n', book.size)))
        rc = lm_complain("the filler has no lines (%s)", a.filler);
    if (rc == LM_OK) {
        rc = lm_host_open(&host, &a.common);
        if (rc == LM_OK)
            rc = lm_host_load(&host, a.positional[0]);
        if (rc == LM_OK)
            rc = run(&a, &host, &book);
        lm_host_close(&host);
    }
    free(a.lengths.ids);
    free(book.data);
    return rc < 0 ? LM_OK : rc;
}
