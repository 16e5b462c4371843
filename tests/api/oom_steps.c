/* The calls that are made while memory runs out; see oom_world.h. */
#include "oom_world.h"
#include "support/fail_alloc.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        samba_status status_ = (call);                                                             \
        if (status_ != SAMBA_OK)                                                                   \
            return status_;                                                                        \
    } while (0)

void world_blame(world *w, const char *what)
{
    if (!w->blame)
        w->blame = what;
}

void world_put(world *w, const void *data, size_t size)
{
    if (size > sizeof w->record - w->n_record) {
        world_blame(w, "the record is full");
        return;
    }
    if (size)
        memcpy(w->record + w->n_record, data, size);
    w->n_record += size;
}

void world_put_logits(world *w, const samba_session *session)
{
    const float *logits = NULL;
    size_t n = 0;
    if (samba_session_logits(session, SAMBA_ROW_LAST, &logits, &n, NULL) != SAMBA_OK)
        world_blame(w, "there are no logits");
    else
        world_put(w, logits, n * sizeof *logits);
}

samba_token world_token(int which, uint64_t position)
{
    return (samba_token)((position * 37 + (uint64_t)which * 101 + position / 7) % 256);
}

/* ---------------------------------------------------------------- context */

static samba_status create_context(world *w, samba_error **error)
{
    const samba_context_options o = {
        .struct_size = sizeof o, .allocator = fail_alloc_allocator(), .n_threads = 2};
    return samba_context_create(&o, &w->made_context, error);
}

static samba_status create_cancel(world *w, samba_error **error)
{
    return samba_cancel_create(w->made_context, &w->cancel, error);
}

/* ---------------------------------------------------------------- models */

static samba_status load_folder(world *w, samba_error **error)
{
    return samba_model_load(w->context, w->files->folder, NULL, &w->loaded, error);
}

static samba_status load_plain_folder(world *w, samba_error **error)
{
    return samba_model_load(w->context, w->files->plain, NULL, &w->loaded, error);
}

static samba_status load_gguf(world *w, samba_error **error)
{
    return samba_model_load(w->context, w->files->gguf, NULL, &w->loaded, error);
}

/* Converting on the way in: weights pass through the staging buffer in another type. */
static samba_status load_memory(world *w, samba_error **error)
{
    const samba_model_options o = {.struct_size = sizeof o, .weight_dtype = SAMBA_DTYPE_BF16};
    return samba_model_load_memory(w->context, w->files->gguf_bytes, w->files->gguf_size, &o,
                                   &w->loaded, error);
}

static samba_status load_safetensors(world *w, samba_error **error)
{
    const samba_model_options o = {
        .struct_size = sizeof o, .config_json = w->files->config, .config_json_size = SIZE_MAX};
    return samba_model_load_memory(w->context, w->files->safetensors, w->files->safetensors_size,
                                   &o, &w->loaded, error);
}

static int32_t read_bytes(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    const world_files *f = user_data;
    if (offset > f->gguf_size || size > f->gguf_size - offset)
        return 1;
    memcpy(buffer, (const char *)f->gguf_bytes + offset, size);
    return 0;
}

static samba_status load_reader(world *w, samba_error **error)
{
    const samba_reader r = {.struct_size = sizeof r,
                            .size = w->files->gguf_size,
                            .read_at = read_bytes,
                            .user_data = (void *)(uintptr_t)w->files};
    return samba_model_load_reader(w->context, &r, NULL, &w->loaded, error);
}

static samba_status estimate_and_info(world *w, samba_error **error)
{
    const char *const paths[] = {w->files->gguf, w->files->folder};
    samba_estimate e[2];
    memset(e, 0, sizeof e);
    for (int i = 0; i < 2; i++) {
        e[i].struct_size = sizeof e[i];
        TRY(samba_model_estimate(w->context, paths[i], NULL, NULL, &e[i], error));
    }
    world_put(w, e, sizeof e);
    return SAMBA_OK;
}

/* FNV-1a of the file, without the C library's buffers. */
static bool hash_file(const char *path, uint64_t *hash)
{
    static unsigned char buffer[1 << 16];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *hash = 0xcbf29ce484222325u;
    while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < n; i++)
            *hash = (*hash ^ buffer[i]) * 0x100000001b3u;
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static samba_status convert_to(world *w, const char *in, samba_error **error)
{
    const samba_convert_options o = {.struct_size = sizeof o, .weight_dtype = SAMBA_DTYPE_F16};
    samba_convert_report report;
    uint64_t hash = 0;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    samba_status status = samba_convert(w->context, in, w->files->out, &o, &report, error);
    bool there = hash_file(w->files->out, &hash);
    unlink(w->files->out);
    if (status != SAMBA_OK && there)
        world_blame(w, "a conversion failed and left a file");
    TRY(status);
    world_put(w, &report, sizeof report);
    world_put(w, &hash, sizeof hash);
    return there ? SAMBA_OK : SAMBA_ERROR_INTERNAL;
}

static samba_status convert_folder(world *w, samba_error **error)
{
    return convert_to(w, w->files->folder, error);
}

static samba_status convert_gguf(world *w, samba_error **error)
{
    return convert_to(w, w->files->gguf, error);
}

/* ---------------------------------------------------------------- text */

static const char text[] = "The ringing \xc3\xa9 and the hen: <|eos|> \xff\xe2\x82, then on and on";

static samba_status tokenize(world *w, samba_error **error)
{
    const samba_tokenize_options o = {.struct_size = sizeof o, .parse_special = SAMBA_YES};
    samba_token tokens[128];
    size_t n = 0, special = 0;
    TRY(samba_tokenize(w->model, text, SIZE_MAX, &o, NULL, 0, &special, error));
    TRY(samba_tokenize(w->model, text, sizeof text - 1, NULL, tokens, 128, &n, error));
    world_put(w, tokens, n * sizeof *tokens);
    world_put(w, &special, sizeof special);
    return SAMBA_OK;
}

static samba_status detokenize(world *w, samba_error **error)
{
    static const samba_token tokens[] = {84, 104, 257, 271, 195, 169, 262, 255};
    char bytes[64];
    size_t n = 0;
    samba_token found = -1;
    TRY(samba_detokenize(w->model, tokens, 8, NULL, bytes, sizeof bytes, &n, error));
    TRY(samba_token_find(w->model, "<|eos|>", SIZE_MAX, &found, error));
    world_put(w, bytes, n);
    world_put(w, &found, sizeof found);
    return SAMBA_OK;
}

static samba_status create_detokenizer(world *w, samba_error **error)
{
    return samba_detokenizer_create(w->model, NULL, &w->detokenizer, error);
}

/* One push at a time; one that failed must not have taken the token. */
static samba_status push_tokens(world *w, samba_error **error)
{
    static const samba_token tokens[] = {195, 169, 84, 257, 262, 0xe2, 0x82};
    const char *piece;
    size_t n;
    while (w->generated < 7) {
        TRY(samba_detokenizer_push(w->detokenizer, tokens[w->generated], &piece, &n, error));
        world_put(w, piece, n);
        w->generated++;
    }
    TRY(samba_detokenizer_flush(w->detokenizer, &piece, &n, error));
    world_put(w, piece, n);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- sessions */

/* Feeds what is still missing up to n tokens after the step's beginning, as the header says a host
 * can after a failure. */
static samba_status feed(world *w, int which, uint64_t n, const samba_eval_options *o,
                         samba_error **error)
{
    samba_session *const sessions[] = {w->session, w->second, w->made};
    samba_session *s = sessions[which];
    samba_token tokens[256];
    uint64_t position = samba_session_position(s), end = w->base[which] + n;
    if (position > end) {
        world_blame(w, "a session has read more than it was given");
        return SAMBA_OK;
    }
    for (uint64_t i = position; i < end; i++)
        tokens[i - position] = world_token(which, i);
    return samba_session_eval(s, tokens, (size_t)(end - position), o, error);
}

static samba_status create_session(world *w, samba_error **error)
{
    const samba_session_options o = {.struct_size = sizeof o,
                                     .kv_dtype = SAMBA_DTYPE_F32,
                                     .rows_per_pass = 16,
                                     .max_history = 50};
    return samba_session_create(w->model, &o, &w->made, error);
}

/* Passes of 16, over the window of 8 and over the end of a page. */
static samba_status eval_passes(world *w, samba_error **error)
{
    TRY(feed(w, 2, 75, NULL, error));
    world_put_logits(w, w->made);
    return SAMBA_OK;
}

/* One pass: all or nothing. */
static samba_status eval_all(world *w, samba_error **error)
{
    const samba_eval_options o = {
        .struct_size = sizeof o, .outputs = SAMBA_OUTPUT_ALL, .hidden = SAMBA_HIDDEN_FINAL};
    TRY(feed(w, 0, 13, &o, error));
    for (size_t row = 0; row < 13; row++) {
        const float *values = NULL;
        size_t n = 0;
        TRY(samba_session_logits(w->session, row, &values, &n, error));
        world_put(w, values, 8 * sizeof *values);
        TRY(samba_session_hidden(w->session, row, &values, &n, error));
        world_put(w, values, n * sizeof *values);
    }
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

static samba_status hold_logits(world *w, samba_error **error)
{
    samba_logits *held = NULL;
    size_t n_rows = 0, n_vocab = 0;
    TRY(samba_session_hold_logits(w->session, &held, error));
    const float *data = samba_logits_data(held, &n_rows, &n_vocab);
    world_put(w, data, n_rows * n_vocab * sizeof *data);
    samba_logits_release(held);
    return SAMBA_OK;
}

static samba_status feed_text(world *w, samba_error **error)
{
    TRY(samba_session_feed_text(w->session, "ring on", SIZE_MAX, NULL, error));
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

static samba_status reset(world *w, samba_error **error)
{
    TRY(samba_session_reset(w->session, error));
    return samba_session_n_rows(w->session) ? SAMBA_ERROR_INTERNAL : SAMBA_OK;
}

static samba_status feed_long_text(world *w, samba_error **error)
{
    TRY(samba_session_feed_text(w->session, text, SIZE_MAX, NULL, error));
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

static samba_status propose(world *w, samba_error **error)
{
    const samba_eval_options o = {.struct_size = sizeof o, .speculative = SAMBA_YES};
    TRY(feed(w, 0, 5, &o, error));
    for (size_t row = 0; row < 5; row++) {
        const float *logits = NULL;
        size_t n = 0;
        TRY(samba_session_logits(w->session, row, &logits, &n, error));
        world_put(w, logits, 8 * sizeof *logits);
    }
    return SAMBA_OK;
}

static samba_status keep_three(world *w, samba_error **error)
{
    TRY(samba_session_keep(w->session, 3, error));
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

static samba_status keep_none(world *w, samba_error **error)
{
    TRY(samba_session_keep(w->session, 0, error));
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

static samba_status clone(world *w, samba_error **error)
{
    return samba_session_clone(w->session, &w->made, error);
}

/* The original and its clone go different ways. */
static samba_status diverge(world *w, samba_error **error)
{
    TRY(feed(w, 0, 3, NULL, error));
    TRY(feed(w, 2, 70, NULL, error));
    world_put_logits(w, w->session);
    world_put_logits(w, w->made);
    return SAMBA_OK;
}

static samba_status score(world *w, samba_error **error)
{
    samba_token tokens[20];
    float logprobs[20] = {-1};
    for (uint64_t i = 0; i < 20; i++)
        tokens[i] = world_token(0, i);
    samba_status status = samba_session_score(w->session, tokens, 20, NULL, logprobs, error);
    if (status != SAMBA_OK && logprobs[0] != -1)
        world_blame(w, "a failed score wrote log-probabilities");
    TRY(status);
    world_put(w, logprobs, sizeof logprobs);
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

/* Several passes can't be taken up again, for want of logits: on a session of the step's own. */
static samba_status score_passes(world *w, samba_error **error)
{
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 3};
    samba_session *s = NULL;
    samba_token tokens[20];
    float logprobs[20];
    for (uint64_t i = 0; i < 20; i++)
        tokens[i] = world_token(1, i);
    TRY(samba_session_create(w->model, &o, &s, error));
    samba_status status = samba_session_score(s, tokens, 20, NULL, logprobs, error);
    if (status == SAMBA_OK) {
        world_put(w, logprobs, sizeof logprobs);
        world_put_logits(w, s);
    }
    samba_session_free(s);
    return status;
}

static samba_status top_logprobs(world *w, samba_error **error)
{
    samba_logprob top[7];
    TRY(samba_session_top_logprobs(w->session, SAMBA_ROW_LAST, 7, top, error));
    world_put(w, top, sizeof top);
    return SAMBA_OK;
}

/* Three sessions, of which each goes on by itself after a failure. */
static samba_status eval_batch(world *w, samba_error **error)
{
    static const uint64_t n[] = {60, 1, 7};
    samba_session *const sessions[] = {w->session, w->second, w->made};
    const samba_eval_options all = {.struct_size = sizeof all, .hidden = 1};
    const samba_batch_options o = {.struct_size = sizeof o, .rows_per_pass = 24};
    samba_token tokens[3][64];
    samba_eval_item items[3];
    samba_status first = SAMBA_OK;
    memset(items, 0, sizeof items);
    for (int k = 0; k < 3; k++) {
        uint64_t position = samba_session_position(sessions[k]), end = w->base[k] + n[k];
        for (uint64_t i = position; i < end; i++)
            tokens[k][i - position] = world_token(k, i);
        items[k] = (samba_eval_item){.session = sessions[k],
                                     .tokens = tokens[k],
                                     .n_tokens = (size_t)(end - position),
                                     .options = k == 1 ? &all : NULL,
                                     .status = -1};
    }
    samba_status status = samba_eval_batch(items, 3, sizeof *items, &o, error);
    for (int k = 0; k < 3; k++) {
        bool done = samba_session_position(sessions[k]) == w->base[k] + n[k];
        if (items[k].status == -1 || (items[k].status == SAMBA_OK) != done)
            world_blame(w, "an item's status is not how it ended");
        first = first == SAMBA_OK ? items[k].status : first;
    }
    if (first != status)
        world_blame(w, "the batch's status is not that of its first failure");
    TRY(status);
    for (int k = 0; k < 3; k++)
        world_put_logits(w, sessions[k]);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- sampling */

static samba_status create_sampler(world *w, samba_error **error)
{
    return samba_sampler_create(w->context, &w->sampler, error);
}

static samba_status add_penalties(world *w, samba_error **error)
{
    const samba_penalties p = {.struct_size = sizeof p, .repeat = 1.2f, .presence = 0.1f};
    return samba_sampler_add_penalties(w->sampler, &p, error);
}

static samba_status add_bias(world *w, samba_error **error)
{
    static const samba_token tokens[] = {5, 3, 200};
    static const float biases[] = {0.5f, -1, 2};
    return samba_sampler_add_logit_bias(w->sampler, tokens, biases, 3, error);
}

static int32_t reverse_stage(void *user_data, const samba_sampler_state *state,
                             samba_candidate *candidates, size_t *n)
{
    (void)user_data;
    (void)state;
    for (size_t i = 0; i < *n; i++)
        candidates[i].logit *= 0.5f;
    return 0;
}

static int32_t even_mask(void *user_data, const samba_sampler_state *state, uint32_t *allowed,
                         size_t n_vocab)
{
    (void)user_data;
    (void)state;
    for (size_t i = 0; i < n_vocab / 32; i++)
        allowed[i] &= 0x77777777;
    return 0;
}

static void count_free(void *user_data)
{
    ++*(int *)user_data;
}

/* The user data goes back when adding fails, once. */
static samba_status add_callbacks(world *w, samba_error **error)
{
    int before = w->stages_freed;
    samba_status status = w->generated
                              ? SAMBA_OK
                              : samba_sampler_add_stage(w->sampler, reverse_stage, &w->stages_freed,
                                                        count_free, error);
    if (status == SAMBA_OK) {
        w->generated = 1;
        status = samba_sampler_add_mask(w->sampler, even_mask, &w->stages_freed, count_free, error);
    }
    if (w->stages_freed != before + (status != SAMBA_OK))
        world_blame(w, "a stage's user data was not given back once");
    return status;
}

static samba_status add_cuts(world *w, samba_error **error)
{
    static samba_status (*const add[])(samba_sampler *, float, samba_error **) = {
        samba_sampler_add_temperature, samba_sampler_add_min_p, samba_sampler_add_typical_p,
        samba_sampler_add_top_p};
    static const float values[] = {1.3f, 0.001f, 0.98f, 0.95f};
    while (w->generated < 4) {
        TRY(add[w->generated](w->sampler, values[w->generated], error));
        w->generated++;
    }
    TRY(samba_sampler_add_seed(w->sampler, 7, error));
    return samba_sampler_add_top_k(w->sampler, 50, error);
}

static samba_status sample(world *w, samba_error **error)
{
    samba_token token = -1;
    float logprob = 0;
    const float *logits = NULL;
    size_t n = 0;
    const samba_sampler_state state = {.struct_size = sizeof state, .position = 5};
    if (!w->generated) {
        TRY(samba_session_sample(w->session, w->sampler, 3, &token, &logprob, error));
        world_put(w, &token, sizeof token);
        world_put(w, &logprob, sizeof logprob);
        w->generated = 1;
    }
    TRY(samba_session_logits(w->session, SAMBA_ROW_LAST, &logits, &n, error));
    TRY(samba_sampler_draw(w->sampler, &state, logits, n, &token, &logprob, error));
    world_put(w, &token, sizeof token);
    world_put(w, &logprob, sizeof logprob);
    return SAMBA_OK;
}

static int32_t on_token(void *user_data, const samba_token_event *event)
{
    world *w = user_data;
    if (event->token < 0)
        return SAMBA_CONTINUE;
    w->generated++;
    world_put(w, &event->token, sizeof event->token);
    world_put(w, &event->logprob, sizeof event->logprob);
    world_put(w, &event->position, sizeof event->position);
    world_put(w, event->top, event->n_top * sizeof *event->top);
    return SAMBA_CONTINUE;
}

/* Every token delivered once, and the session after the last of them. */
static samba_status generate(world *w, samba_error **error)
{
    const samba_generate_options o = {.struct_size = sizeof o,
                                      .max_tokens = 75 - w->generated,
                                      .ignore_eos = SAMBA_YES,
                                      .top_logprobs = 2};
    if (w->generated == 75)
        return SAMBA_OK;
    samba_status status =
        samba_session_generate(w->session, w->sampler, &o, on_token, w, NULL, error);
    if (samba_session_position(w->session) != w->base[0] + w->generated)
        world_blame(w, "the session is not after the last token delivered");
    TRY(status);
    world_put_logits(w, w->session);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- all of them */

const scenario world_scenarios[] = {
    {"context", 0, 1, {create_context, create_cancel}},
    {"first load: GGUF", NEEDS_CONTEXT, 2, {load_gguf}},
    {"load a folder", NEEDS_SESSIONS, 1, {load_plain_folder}},
    {"load a folder with tokenizer", NEEDS_SESSIONS, 1, {load_folder}},
    {"load from memory, converting", NEEDS_SESSIONS, 1, {load_memory}},
    {"load safetensors from memory", NEEDS_SESSIONS, 1, {load_safetensors}},
    {"load from a reader", NEEDS_SESSIONS, 1, {load_reader}},
    {"estimate", NEEDS_SESSIONS, 1, {estimate_and_info}},
    {"convert a folder", NEEDS_SESSIONS, 1, {convert_folder}},
    {"convert a GGUF file", NEEDS_SESSIONS, 1, {convert_gguf}},
    {"text", NEEDS_MODEL, 1, {tokenize, detokenize, create_detokenizer, push_tokens}},
    {"eval of several passes", NEEDS_SESSIONS, 2, {create_session, eval_passes, eval_passes}},
    {"first eval", NEEDS_MODEL, 2, {create_session, eval_passes}},
    {"eval of all rows", NEEDS_SESSIONS, 1, {eval_all, top_logprobs, hold_logits}},
    {"text of a session", NEEDS_SESSIONS, 1, {feed_text, reset, feed_long_text}},
    {"speculation", NEEDS_SESSIONS, 1, {propose, keep_three, propose, keep_none}},
    {"clones", NEEDS_SESSIONS, 1, {clone, diverge}},
    {"score", NEEDS_SESSIONS, 1, {score, score_passes}},
    {"batch", NEEDS_SESSIONS, 1, {clone, eval_batch}},
    {"generation",
     NEEDS_SESSIONS,
     1,
     {create_sampler, add_penalties, add_bias, add_callbacks, add_cuts, sample, generate}},
};
const size_t world_n_scenarios = sizeof world_scenarios / sizeof *world_scenarios;
