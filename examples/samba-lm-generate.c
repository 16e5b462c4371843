/* samba-lm generate: continue a prompt; pieces of text are printed as they come. */
#include "samba-lm.h"

#include <stdlib.h>
#include <string.h>

typedef struct generate_args {
    lm_common common;
    lm_sampling sampling;
    const char *file, *save, *resume;
    uint64_t max_tokens;
    samba_dtype kv;
    lm_ids prompt_ids, stop_ids;
    int ignore_eos, stats, special, no_prompt, lossy;
    const char *positional[2]; /* model, prompt */
} generate_args;

static int parse(generate_args *a, int argc, char **argv)
{
    lm_option options[12 + LM_SAMPLING_OPTIONS] = {
        {"--file", "-f", "FILE", "read the prompt from FILE (\"-\": stdin)", lm_set_string,
         &a->file},
        {"--ids", NULL, "IDS", "the prompt as token ids", lm_set_ids, &a->prompt_ids},
        {"--max-tokens", "-n", "N", "how many tokens to write (default 256)", lm_set_count,
         &a->max_tokens},
        {"--ignore-eos", NULL, NULL, "go on after the end-of-text token", lm_set_flag,
         &a->ignore_eos},
        {"--stop-id", NULL, "ID", "stop at this token too; repeatable", lm_set_ids, &a->stop_ids},
        {"--special", NULL, NULL, "read special tokens in the prompt, and print them", lm_set_flag,
         &a->special},
        {"--no-prompt", NULL, NULL, "do not print the prompt", lm_set_flag, &a->no_prompt},
        {"--kv", NULL, "TYPE", "type of keys and values: f16 (default), f32, bf16, q8_0",
         lm_set_dtype, &a->kv},
        {"--save", NULL, "FILE", "save the session there when done", lm_set_string, &a->save},
        {"--lossy", NULL, NULL, "save keys and values in 8 bits: smaller, not exact", lm_set_flag,
         &a->lossy},
        {"--resume", NULL, "FILE", "go on from a session saved there; a prompt is read after it",
         lm_set_string, &a->resume},
        {"--stats", NULL, NULL, "print speed and memory on stderr", lm_set_flag, &a->stats},
    };
    const size_t own = 12; /* rows above */
    lm_sampling_options(&a->sampling, options + own);
    const lm_usage usage = {
        .command = "generate",
        .synopsis = "MODEL [PROMPT | -f FILE]",
        .about = "Continues a prompt (argument, file or stdin). Sampling options act in the order "
                 "given.",
        .options = options,
        .n_options = own + LM_SAMPLING_OPTIONS,
        .common = &a->common,
        .min_args = 1,
        .max_args = 2};
    int rc = lm_parse(&usage, argc, argv, a->positional);
    if (rc == LM_OK && (a->prompt_ids.n > 0) + (a->file != NULL) + (a->positional[1] != NULL) > 1)
        return lm_bad_usage("generate", "generate: the prompt is given more than once");
    return rc;
}

/* What has been written so far. */
typedef struct output {
    int json, has_text, failed;
    lm_buffer text;
    samba_token *tokens;
    size_t n, capacity;
} output;

static int32_t on_token(void *user_data, const samba_token_event *event)
{
    output *o = user_data;
    if (o->json) {
        lm_append(&o->text, event->text, event->text_size);
        if (event->token >= 0 && o->n == o->capacity) {
            o->capacity = o->capacity ? 2 * o->capacity : 256;
            o->tokens = lm_alloc(o->tokens, o->capacity, sizeof *o->tokens);
        }
        if (event->token >= 0)
            o->tokens[o->n++] = event->token;
        return SAMBA_CONTINUE;
    }
    if (o->has_text)
        fwrite(event->text, 1, event->text_size, stdout);
    else if (event->token >= 0)
        printf("%d ", event->token);
    o->failed = fflush(stdout) != 0;
    return o->failed ? SAMBA_STOP : SAMBA_CONTINUE;
}

static double rate(uint64_t tokens, double seconds)
{
    return seconds > 0 ? (double)tokens / seconds : 0;
}

static void print_stats(const samba_session_stats *s)
{
    fprintf(stderr, "prompt  %6llu tokens, %9.1f tokens/s\n", (unsigned long long)s->prefill_tokens,
            rate(s->prefill_tokens, s->prefill_seconds));
    fprintf(stderr, "written %6llu tokens, %9.1f tokens/s\n", (unsigned long long)s->decode_tokens,
            rate(s->decode_tokens, s->decode_seconds));
    fprintf(stderr, "state   %.2f MB, history %.1f kB, %llu passes\n", (double)s->state_bytes / 1e6,
            (double)s->history_bytes / 1e3, (unsigned long long)s->n_passes);
}

static void print_json(const output *o, const lm_host *host, size_t n_prompt,
                       const samba_generate_result *result, const samba_session_stats *s)
{
    const char *reason = lm_interrupted()                      ? "interrupted"
                         : result->reason == SAMBA_STOP_TOKEN  ? "token"
                         : result->reason == SAMBA_STOP_LENGTH ? "length"
                                                               : "error";
    printf("{\"model\": ");
    lm_json_string(stdout, host->info.name, strlen(host->info.name));
    printf(", \"prompt_tokens\": %zu, \"tokens\": ", n_prompt);
    lm_json_ids(stdout, o->tokens, o->n);
    if (o->has_text) {
        printf(", \"text\": ");
        lm_json_string(stdout, o->text.data, o->text.size);
    }
    printf(", \"stop\": \"%s\", \"stop_token\": %d", reason,
           result->reason == SAMBA_STOP_TOKEN ? result->stop_token : -1);
    printf(", \"prefill_tokens_per_second\": ");
    lm_json_number(stdout, rate(s->prefill_tokens, s->prefill_seconds));
    printf(", \"decode_tokens_per_second\": ");
    lm_json_number(stdout, rate(s->decode_tokens, s->decode_seconds));
    printf(", \"state_bytes\": %llu, \"history_bytes\": %llu}\n",
           (unsigned long long)s->state_bytes, (unsigned long long)s->history_bytes);
}

/* The tokens of the prompt's text, if ids were not given. An empty text is the model's BOS token.
 */
static int prepare(const generate_args *a, const lm_host *host, const lm_buffer *text, lm_ids *ids)
{
    samba_error *error = NULL;
    samba_tokenize_options o = {.struct_size = sizeof o,
                                .parse_special = a->special ? SAMBA_YES : SAMBA_NO,
                                .add_special = a->resume ? SAMBA_NO : 0};
    if (a->prompt_ids.n)
        return LM_OK;
    if (lm_tokenize_text(host->model, text, &o, ids, &error) != SAMBA_OK)
        return lm_report(error);
    if (a->resume) /* it may just go on */
        return LM_OK;
    if (ids->n == 0 && host->info.bos_token >= 0)
        ids->ids[ids->n++] = host->info.bos_token;
    return ids->n ? LM_OK : lm_complain("the prompt is empty");
}

static int run(generate_args *a, lm_host *host, samba_session *session, const lm_buffer *text,
               const lm_ids *ids)
{
    samba_error *error = NULL;
    samba_sampler *sampler = NULL;
    output out = {.json = a->common.json, .has_text = host->info.has_tokenizer};
    samba_generate_result result = {.struct_size = sizeof result};
    samba_session_stats stats = {.struct_size = sizeof stats};
    samba_generate_options o = {.struct_size = sizeof o,
                                .max_tokens = a->max_tokens,
                                .stop_tokens = a->stop_ids.ids,
                                .n_stop_tokens = a->stop_ids.n,
                                .ignore_eos = a->ignore_eos ? SAMBA_YES : SAMBA_NO,
                                .skip_special = a->special ? SAMBA_NO : SAMBA_YES,
                                .cancel = host->cancel};
    lm_bar bar;
    if (!a->common.json && !a->no_prompt && text->size) {
        fwrite(text->data, 1, text->size, stdout);
        fflush(stdout);
    }
    lm_bar_start(&bar, "reading", "tokens", ids->n);
    bar.on = bar.on && a->common.json; /* the text is on the terminal already */
    samba_status status = lm_sampling_build(&a->sampling, host->context, &sampler, &error);
    if (status == SAMBA_OK)
        status = lm_feed(session, ids, host->cancel, &bar, 0, &error);
    lm_bar_end(&bar);
    if (status == SAMBA_OK)
        status = samba_session_generate(session, sampler, &o, on_token, &out, &result, &error);
    samba_sampler_free(sampler);
    if (!a->common.json)
        fputc('\n', stdout);
    int rc = status == SAMBA_OK ? LM_OK : lm_report(error);
    samba_session_get_stats(session, &stats, NULL);
    if (a->common.json && (rc == LM_OK || rc == LM_INTERRUPTED))
        print_json(&out, host, ids->n, &result, &stats);
    if (a->stats)
        print_stats(&stats);
    free(out.text.data);
    free(out.tokens);
    return rc == LM_OK && (out.failed || !lm_flush_ok(stdout, "stdout")) ? LM_FAILED : rc;
}

/* A session where the saved one was. */
static int resume(const generate_args *a, const lm_host *host, const samba_session_options *o,
                  samba_session **session)
{
    samba_error *error = NULL;
    samba_snapshot *saved = NULL;
    const samba_snapshot_read_options all = {.struct_size = sizeof all, .max_bytes = UINT64_MAX};
    samba_status status =
        samba_snapshot_read_file(host->context, a->resume, &all, &saved, &error);
    if (status == SAMBA_OK)
        status = samba_session_create_from(host->model, saved, o, session, &error);
    samba_snapshot_release(saved);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

static int save(const generate_args *a, const samba_session *session)
{
    const samba_snapshot_write_options o = {.struct_size = sizeof o,
                                            .lossy_kv = a->lossy ? SAMBA_YES : SAMBA_NO};
    samba_error *error = NULL;
    samba_snapshot *snapshot = NULL;
    samba_status status = samba_session_snapshot(session, NULL, &snapshot, &error);
    if (status == SAMBA_OK)
        status = samba_snapshot_write_file(snapshot, a->save, &o, &error);
    samba_snapshot_release(snapshot);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

/* With the arguments and the prompt's text at hand. */
static int generate(generate_args *a, const lm_buffer *text)
{
    lm_host host;
    lm_ids ids = {0};
    samba_session *session = NULL;
    samba_error *error = NULL;
    samba_session_options o = {.struct_size = sizeof o, .kv_dtype = a->kv};
    int rc = lm_host_open(&host, &a->common);
    if (rc == LM_OK)
        rc = lm_host_load(&host, a->positional[0]);
    if (rc == LM_OK)
        rc = prepare(a, &host, text, &ids);
    if (rc == LM_OK && a->resume)
        rc = resume(a, &host, &o, &session);
    else if (rc == LM_OK && samba_session_create(host.model, &o, &session, &error) != SAMBA_OK)
        rc = lm_report(error);
    if (rc == LM_OK)
        rc = run(a, &host, session, text, a->prompt_ids.n ? &a->prompt_ids : &ids);
    if (a->save && (rc == LM_OK || rc == LM_INTERRUPTED))
        rc = save(a, session) == LM_OK ? rc : LM_FAILED;
    samba_session_free(session);
    lm_host_close(&host);
    free(ids.ids);
    return rc;
}

int lm_generate(int argc, char **argv)
{
    generate_args a = {.file = NULL};
    lm_buffer text = {0};
    int rc = parse(&a, argc, argv);
    if (rc == LM_OK && !a.prompt_ids.n && !(a.resume && !a.positional[1] && !a.file))
        rc = lm_read_input(a.positional[1], a.file, &text);
    if (rc == LM_OK)
        rc = generate(&a, &text);
    free(a.prompt_ids.ids);
    free(a.stop_ids.ids);
    free(text.data);
    return rc < 0 ? LM_OK : rc;
}
