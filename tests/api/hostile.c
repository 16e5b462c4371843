/* See hostile.h. */
#include "hostile.h"
#include "support/rig.h"
#include "support/slow_build.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_MS = SLOW_BUILD ? 20000 : 4000
};

static hostile_seen seen;

/* ---------------------------------------------------------------- memory */

typedef struct meter {
    size_t now, peak, blocks, limit;
    size_t refused, held; /* the first request that went past the limit, what was held then */
} meter;

static void *meter_alloc(void *user_data, size_t size, size_t align)
{
    meter *m = user_data;
    if (size > m->limit || m->now > m->limit - size) {
        if (!m->refused) {
            m->refused = size;
            m->held = m->now;
        }
        return NULL;
    }
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    if (!p)
        return NULL;
    m->now += size;
    m->blocks++;
    m->peak = m->now > m->peak ? m->now : m->peak;
    return p;
}

static void meter_free(void *user_data, void *ptr, size_t size, size_t align)
{
    meter *m = user_data;
    (void)align;
    m->now -= size;
    m->blocks--;
    free(ptr);
}

/* ---------------------------------------------------------------- use of a model that loaded */

static void blame(const hostile_input *in, const char *call, samba_status status,
                  const samba_error *error)
{
    ck_abort_msg("%s %zu: %s: %s (%s)", in->what, in->number, call, samba_status_string(status),
                 error ? samba_error_message(error) : "no error object");
}

/* The call must succeed, or fail with one of two statuses (0: none) and an error object. */
static bool went_well(const hostile_input *in, const char *call, samba_status status,
                      samba_error **error, samba_status a, samba_status b)
{
    if (status == SAMBA_OK
            ? *error != NULL
            : (status != a && status != b) || !*error || samba_error_status(*error) != status)
        blame(in, call, status, *error);
    samba_error_free(*error);
    *error = NULL;
    return status == SAMBA_OK;
}

static void ask_info(const hostile_input *in, samba_model *model, uint32_t *n_vocab)
{
    samba_model_info info = {.struct_size = sizeof info};
    samba_sublayer_info sub = {.struct_size = sizeof sub};
    samba_error *error = NULL;
    went_well(in, "info", samba_model_get_info(model, &info, &error), &error, 0, 0);
    ck_assert(info.n_vocab >= 1 && info.d_model >= 1 && info.n_sublayers >= 1);
    ck_assert(info.name && info.family && info.weight_types);
    ck_assert(info.bos_token < (int64_t)info.n_vocab && info.eos_token < (int64_t)info.n_vocab);
    for (uint32_t i = 0; i < info.n_sublayers; i++)
        went_well(in, "sublayer", samba_model_get_sublayer(model, i, &sub, &error), &error, 0, 0);
    *n_vocab = info.n_vocab;
}

static void use_tokenizer(const hostile_input *in, samba_model *model, uint32_t n_vocab)
{
    static const char text[] = "Hello \xc3\xa9 the <|eos|> 123\n\xff\xe2\x82 end";
    const samba_tokenize_options o = {.struct_size = sizeof o,
                                      .parse_special = in->number % 2 ? SAMBA_YES : SAMBA_NO};
    samba_token tokens[128];
    char back[4096];
    size_t n = 0, size = 0;
    samba_error *error = NULL;
    if (!went_well(in, "tokenize",
                   samba_tokenize(model, text, sizeof text - 1, &o, tokens, 128, &n, &error),
                   &error, SAMBA_ERROR_UNSUPPORTED, SAMBA_ERROR_LIMIT))
        return;
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(tokens[i] >= 0 && (uint32_t)tokens[i] < n_vocab,
                      "%s %zu: token %d of a vocabulary of %u", in->what, in->number, tokens[i],
                      n_vocab);
    went_well(in, "detokenize",
              samba_detokenize(model, tokens, n, NULL, back, sizeof back, &size, &error), &error,
              SAMBA_ERROR_LIMIT, 0);
}

static void use_session(const hostile_input *in, samba_model *model, uint32_t n_vocab)
{
    static const samba_dtype kv[] = {0, SAMBA_DTYPE_F32, SAMBA_DTYPE_BF16, SAMBA_DTYPE_Q8_0};
    const samba_session_options so = {.struct_size = sizeof so,
                                      .kv_dtype = kv[in->number % 4],
                                      .rows_per_pass = in->number % 3 ? 0 : 2};
    const samba_token tokens[] = {0, (samba_token)(n_vocab / 2), (samba_token)(n_vocab - 1)};
    samba_session *session = NULL, *clone = NULL;
    samba_error *error = NULL;
    const samba_generate_options go = {.struct_size = sizeof go, .max_tokens = 2};
    if (!went_well(in, "session", samba_session_create(model, &so, &session, &error), &error,
                   SAMBA_ERROR_UNSUPPORTED, 0))
        return;
    went_well(in, "eval", samba_session_eval(session, tokens, 3, NULL, &error), &error, 0, 0);
    ck_assert_uint_eq(samba_session_position(session), 3);
    went_well(in, "clone", samba_session_clone(session, &clone, &error), &error, 0, 0);
    went_well(in, "generate", samba_session_generate(clone, NULL, &go, NULL, NULL, NULL, &error),
              &error, SAMBA_ERROR_BACKEND, 0); /* logits that are no numbers */
    samba_session_free(session);
    samba_session_free(clone);
}

/* ---------------------------------------------------------------- loading */

static samba_status load(const hostile_input *in, samba_context *context, samba_model **model,
                         samba_error **error)
{
    const samba_model_options o = {.struct_size = sizeof o,
                                   .config_json = in->config,
                                   .config_json_size = in->config_size,
                                   .tokenizer_json = in->tokenizer,
                                   .tokenizer_json_size = in->tokenizer_size};
    if (in->path)
        return samba_model_load(context, in->path, &o, model, error);
    if (in->reader)
        return samba_model_load_reader(context, in->reader, &o, model, error);
    return samba_model_load_memory(context, in->data, in->size, &o, model, error);
}

static void check_status(const hostile_input *in, samba_status status, const samba_error *error)
{
    switch (status) {
    case SAMBA_ERROR_IO:
    case SAMBA_ERROR_FORMAT:
    case SAMBA_ERROR_UNSUPPORTED:
    case SAMBA_ERROR_MISMATCH:
    case SAMBA_ERROR_LIMIT:
    case SAMBA_ERROR_NOT_FOUND:
        break;
    default:
        blame(in, "load", status, error);
    }
    const char *message = error ? samba_error_message(error) : NULL;
    ck_assert_msg(message && message[0] && !strchr(message, '\n'),
                  "%s %zu: no error, or not one line: %s", in->what, in->number,
                  message ? message : "none");
}

static void count(const hostile_input *in, const meter *m, bool loaded, double ms)
{
    double over = m->peak > HOSTILE_FLOOR ? (double)(m->peak - HOSTILE_FLOOR) : 0;
    double ratio = over / (double)(in->total ? in->total : 1);
    seen.n++;
    seen.loaded += loaded;
    seen.peak = m->peak > seen.peak ? m->peak : seen.peak;
    seen.worst_ratio = ratio > seen.worst_ratio ? ratio : seen.worst_ratio;
    seen.slowest = ms > seen.slowest ? ms : seen.slowest;
    ck_assert_msg(!m->refused, "%s %zu: asks for %zu bytes and has %zu, of %zu", in->what,
                  in->number, m->refused, m->held, m->limit);
    ck_assert_msg(m->blocks == 0, "%s %zu: leaves %zu blocks", in->what, in->number, m->blocks);
    ck_assert_msg(ms < MOST_MS, "%s %zu: takes %.0f ms", in->what, in->number, ms);
}

samba_status hostile_try(const hostile_input *in)
{
    meter m = {.limit = HOSTILE_FLOOR + HOSTILE_FACTOR * (size_t)in->total +
                        (in->holes ? HOSTILE_HOLES : 0)};
    const samba_allocator a = {sizeof a, meter_alloc, meter_free, &m};
    const samba_context_options o = {.struct_size = sizeof o, .allocator = &a, .n_threads = 1};
    samba_context *context = NULL;
    samba_model *model = NULL;
    samba_error *error = NULL;
    uint32_t n_vocab = 0;
    double start = rig_now();
    went_well(in, "context", samba_context_create(&o, &context, &error), &error, 0, 0);
    samba_status status = load(in, context, &model, &error);
    bool refused = m.refused != 0;
    if (status != SAMBA_OK && !refused)
        check_status(in, status, error);
    ck_assert((status == SAMBA_OK) == (model != NULL) && (status == SAMBA_OK) == (error == NULL));
    samba_error_free(error);
    if (status == SAMBA_OK && !refused) {
        ask_info(in, model, &n_vocab);
        use_tokenizer(in, model, n_vocab);
        use_session(in, model, n_vocab);
    }
    samba_model_release(model);
    samba_context_free(context);
    count(in, &m, status == SAMBA_OK, rig_now() - start);
    return status;
}

const hostile_seen *hostile_look(void)
{
    return &seen;
}
