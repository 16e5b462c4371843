/*
 * Loading through the public header: every way to hand over the same bytes gives the same model;
 * what it tells of itself; progress and cancelling; estimates; text and tokens; memory running out
 * at every allocation; and that contexts, models and their tools live and end in any order.
 */
#include "support/fail_alloc.h"
#include "support/fake_device.h"
#include "support/micro_model.h"
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH = 128
};
static char folder[64], gguf[PATH];

static const micro_options with_tokenizer = {.tokenizer = true};

static void setup(void)
{
    ck_assert(micro_folder_make(folder));
    ck_assert(micro_model_write(folder, &with_tokenizer));
    snprintf(gguf, sizeof gguf, "%s/model.gguf", folder);
    samba_context *context = rig_context(&(rig_options){.n_threads = 1});
    CK_OK(samba_convert(context, folder, gguf, NULL, NULL, RIG_ERROR));
    samba_context_free(context);
}

static void teardown(void)
{
    micro_folder_remove(folder);
}

static samba_context *make_context(void)
{
    return rig_context(&(rig_options){.n_threads = 1});
}

static samba_model_info info_of(const samba_model *model)
{
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    return info;
}

/* ---- the same model, however it comes ---- */

static void logits_of(samba_model *model, float *logits, uint32_t n)
{
    const samba_token tokens[] = {5, 9, 200, 17, 3, 3, 30, 1, 0, 7};
    samba_session *session = rig_session(model, SAMBA_DTYPE_F32, 0);
    rig_eval(session, tokens, sizeof tokens / sizeof *tokens, 0);
    memcpy(logits, rig_logits(session, SAMBA_ROW_LAST), n * sizeof *logits);
    samba_session_free(session);
}

static void check_same(samba_model *a, samba_model *b)
{
    float x[MICRO_TOKENIZER_VOCAB], y[MICRO_TOKENIZER_VOCAB];
    samba_model_info i = info_of(a), j = info_of(b);
    ck_assert_int_eq(memcmp(i.fingerprint, j.fingerprint, 16), 0);
    ck_assert_str_eq(i.weight_types, j.weight_types);
    ck_assert_uint_eq(i.n_parameters, j.n_parameters);
    ck_assert_int_eq(i.bos_token, j.bos_token);
    logits_of(a, x, i.n_vocab);
    logits_of(b, y, j.n_vocab);
    ck_assert_int_eq(memcmp(x, y, sizeof x), 0);
}

typedef struct bytes {
    const char *data;
    size_t size;
    uint64_t calls, fail_at;
} bytes;

static int32_t read_bytes(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    bytes *b = user_data;
    ck_assert(offset <= b->size && size <= b->size - offset);
    if (++b->calls == b->fail_at)
        return 1;
    memcpy(buffer, b->data + offset, size);
    return 0;
}

START_TEST(test_all_ways)
{
    char safetensors[PATH], path[PATH];
    size_t n_gguf, n_tensors, n_config, n_tokenizer;
    samba_context *context = make_context();
    samba_model *from_folder = rig_load(context, folder, &(rig_options){0});
    samba_model *model = NULL;

    model = rig_load(context, gguf, &(rig_options){0});
    check_same(from_folder, model);
    ck_assert_str_eq(info_of(model).family, "samba");
    samba_model_release(model);

    char *data = rig_file(gguf, &n_gguf);
    CK_OK(samba_model_load_memory(context, data, n_gguf, NULL, &model, RIG_ERROR));
    check_same(from_folder, model);
    samba_model_release(model);

    bytes b = {.data = data, .size = n_gguf};
    samba_reader reader = {
        .struct_size = sizeof reader, .size = n_gguf, .read_at = read_bytes, .user_data = &b};
    CK_OK(samba_model_load_reader(context, &reader, NULL, &model, RIG_ERROR));
    check_same(from_folder, model);
    samba_model_release(model);
    /* a reader that fails, at any of its calls */
    const uint64_t calls = b.calls;
    for (uint64_t i = 1; i <= calls; i++) {
        b = (bytes){.data = data, .size = n_gguf, .fail_at = i};
        CK_FAILS(SAMBA_ERROR_IO,
                 samba_model_load_reader(context, &reader, NULL, &model, RIG_ERROR));
    }
    free(data);

    /* one safetensors file: config beside it, and given as text */
    snprintf(safetensors, sizeof safetensors, "%s/model.safetensors", folder);
    model = rig_load(context, safetensors, &(rig_options){0});
    check_same(from_folder, model);
    samba_model_release(model);
    data = rig_file(safetensors, &n_tensors);
    snprintf(path, sizeof path, "%s/config.json", folder);
    char *config = rig_file(path, &n_config);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    char *tokenizer = rig_file(path, &n_tokenizer);
    samba_model_options options = {.struct_size = sizeof options,
                                   .config_json = config,
                                   .config_json_size = SIZE_MAX,
                                   .tokenizer_json = tokenizer,
                                   .tokenizer_json_size = n_tokenizer};
    CK_OK(samba_model_load_memory(context, data, n_tensors, &options, &model, RIG_ERROR));
    check_same(from_folder, model);
    samba_model_release(model);
    CK_FAILS(SAMBA_ERROR_NOT_FOUND,
             samba_model_load_memory(context, data, n_tensors, NULL, &model, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "config.json"));
    free(data);
    free(config);
    free(tokenizer);
    samba_model_release(from_folder);
    samba_context_free(context);
}
END_TEST

/* Converted while loading, or beforehand: the same. */
START_TEST(test_weight_dtype)
{
    static const samba_dtype dtypes[] = {SAMBA_DTYPE_BF16, SAMBA_DTYPE_F16, SAMBA_DTYPE_Q8_0};
    char other[PATH];
    samba_context *context = make_context();
    snprintf(other, sizeof other, "%s/other.gguf", folder);
    for (int i = 0; i < 3; i++) {
        const samba_convert_options options = {.struct_size = sizeof options,
                                               .weight_dtype = dtypes[i]};
        samba_convert_report report = {.struct_size = sizeof report};
        CK_OK(samba_convert(context, folder, other, &options, &report, RIG_ERROR));
        samba_model *a = rig_load(context, other, &(rig_options){0});
        samba_model *b = rig_load(context, folder, &(rig_options){.weight_dtype = dtypes[i]});
        check_same(a, b);
        char text[64];
        snprintf(text, sizeof text, "%s ", samba_dtype_name(dtypes[i]));
        ck_assert_msg(strstr(info_of(a).weight_types, text) != NULL, "%s", info_of(a).weight_types);
        samba_model_release(a);
        samba_model_release(b);
    }
    samba_context_free(context);
}
END_TEST

/* ---- what a model tells ---- */

START_TEST(test_info)
{
    samba_context *context = make_context();
    samba_model *model = rig_load(context, folder, &(rig_options){0});
    samba_model_info info = info_of(model);
    ck_assert_str_eq(info.family, "fla_samba");
    ck_assert_str_eq(info.name, "");
    ck_assert_str_eq(info.backend, "cpu");
    ck_assert_ptr_nonnull(info.tier);
    ck_assert_ptr_null(info.chat_template);
    ck_assert_uint_eq(info.n_vocab, MICRO_TOKENIZER_VOCAB);
    ck_assert_uint_eq(info.d_model, 16);
    ck_assert_uint_eq(info.n_blocks, 2);
    ck_assert_uint_eq(info.n_sublayers, 4);
    ck_assert_int_eq(info.has_tokenizer, 1);
    ck_assert_int_eq(info.bos_token, MICRO_BOS);
    ck_assert_int_eq(info.eos_token, MICRO_EOS);
    ck_assert_int_eq(info.invariant, 1);
    ck_assert_str_eq(info.weight_types, "f32 26");
    /* counted by hand: embedding and head, Mamba, attention, two MLPs, norms */
    const uint64_t mamba = 64 * 16 + 32 * 4 + 32 + 34 * 32 + 32 * 2 + 32 + 32 * 16 + 32 + 16 * 32;
    const uint64_t attention = 2 * 16 * 16 + 2 * 8 * 16, mlp = 3 * 256 * 16;
    ck_assert_uint_eq(info.n_parameters,
                      2 * MICRO_TOKENIZER_VOCAB * 16 + mamba + attention + 2 * mlp + 5 * 16);
    ck_assert_uint_ge(info.weight_bytes, 4 * (info.n_parameters - MICRO_TOKENIZER_VOCAB * 16));

    samba_sublayer_info s = {.struct_size = sizeof s};
    CK_OK(samba_model_get_sublayer(model, 0, &s, RIG_ERROR));
    ck_assert_str_eq(s.kind, "mamba");
    ck_assert_str_eq(s.norm, "rms");
    ck_assert_uint_eq(s.d_inner, 32);
    ck_assert_uint_eq(s.d_state, 16);
    ck_assert_uint_eq(s.d_conv, 4);
    ck_assert_uint_ge(s.slab_bytes, 4 * 32 * (16 + 3));
    CK_OK(samba_model_get_sublayer(model, 2, &s, RIG_ERROR));
    ck_assert_str_eq(s.kind, "attention");
    ck_assert_uint_eq(s.block, 1);
    ck_assert_uint_eq(s.n_heads, 2);
    ck_assert_uint_eq(s.n_kv_heads, 1);
    ck_assert_uint_eq(s.head_dim, 8);
    ck_assert_uint_eq(s.window, 8);
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_model_get_sublayer(model, 4, &s, RIG_ERROR));
    /* a host of an older header gets as much as it knows of */
    struct {
        size_t struct_size;
        const char *family;
        const char *name;
        unsigned char beyond[8];
    } old = {.struct_size = offsetof(samba_model_info, backend),
             .beyond = {1, 2, 3, 4, 5, 6, 7, 8}};
    CK_OK(samba_model_get_info(model, (samba_model_info *)(void *)&old, RIG_ERROR));
    ck_assert_str_eq(old.family, "fla_samba");
    ck_assert_int_eq(old.beyond[0], 1);
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

START_TEST(test_arguments)
{
    samba_context *context = make_context();
    samba_model *model = NULL;
    samba_model_options o = {.struct_size = 4};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_model_load(NULL, folder, NULL, &model, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_model_load(context, NULL, NULL, &model, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_model_load(context, folder, NULL, NULL, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_model_load(context, folder, &o, &model, RIG_ERROR));
    o = (samba_model_options){.struct_size = sizeof o, .weight_dtype = 99};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_model_load(context, folder, &o, &model, RIG_ERROR));
    o = (samba_model_options){.struct_size = sizeof o, .rope_table = -1};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_model_load(context, folder, &o, &model, RIG_ERROR));
    o = (samba_model_options){.struct_size = sizeof o, .backend = "abacus"};
    CK_FAILS(SAMBA_ERROR_NOT_FOUND, samba_model_load(context, folder, &o, &model, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "abacus"));
    CK_FAILS(SAMBA_ERROR_IO, samba_model_load(context, "/nowhere/at/all", NULL, &model, RIG_ERROR));
    ck_assert_ptr_null(model);
    samba_model_release(NULL);
    samba_context_free(context);
}
END_TEST

/* ---- progress and cancelling ---- */

typedef struct watch {
    uint64_t calls, stop_at, done, total;
    samba_cancel *cancel; /* requested instead of stopping */
} watch;

static int32_t on_progress(void *user_data, uint64_t done, uint64_t total)
{
    watch *w = user_data;
    ck_assert(w->done <= done && done <= total);
    w->done = done;
    w->total = total;
    if (++w->calls != w->stop_at)
        return SAMBA_CONTINUE;
    if (!w->cancel)
        return SAMBA_STOP;
    samba_cancel_request(w->cancel);
    return SAMBA_CONTINUE;
}

START_TEST(test_progress)
{
    samba_context *context = make_context();
    samba_cancel *cancel = NULL;
    samba_model *model = NULL;
    watch w = {0};
    CK_OK(samba_cancel_create(context, &cancel, RIG_ERROR));
    const samba_model_options o = {.struct_size = sizeof o,
                                   .progress = on_progress,
                                   .progress_user_data = &w,
                                   .cancel = cancel};
    CK_OK(samba_model_load(context, folder, &o, &model, RIG_ERROR));
    samba_model_release(model);
    model = NULL;
    const uint64_t calls = w.calls;
    ck_assert_uint_eq(w.done, w.total);
    ck_assert_uint_gt(calls, 20);
    for (uint64_t i = 1; i <= calls; i++) {
        w = (watch){.stop_at = i};
        CK_FAILS(SAMBA_ERROR_CANCELLED, samba_model_load(context, folder, &o, &model, RIG_ERROR));
        ck_assert_uint_eq(w.calls, i);
        w = (watch){.stop_at = i, .cancel = cancel};
        if (i < calls)
            CK_FAILS(SAMBA_ERROR_CANCELLED,
                     samba_model_load(context, folder, &o, &model, RIG_ERROR));
        ck_assert_ptr_null(model);
        samba_cancel_reset(cancel);
    }
    w = (watch){0};
    CK_OK(samba_model_load(context, folder, &o, &model, RIG_ERROR));
    samba_model_release(model);
    samba_cancel_request(cancel);
    CK_FAILS(SAMBA_ERROR_CANCELLED, samba_model_load(context, folder, &o, &model, RIG_ERROR));
    samba_cancel_free(cancel);
    samba_context_free(context);
}
END_TEST

/* ---- estimates ---- */

START_TEST(test_estimate)
{
    static const char *const names[] = {"ms_samba", "phi4flash", "ms_gla", "ms_llama_full"};
    enum {
        ROWS = 40,
        TOKENS = 400
    };
    char path[512];
    samba_context *context = make_context();
    const samba_session_options so = {.struct_size = sizeof so, .rows_per_pass = ROWS};
    samba_estimate e = {.struct_size = sizeof e};
    snprintf(path, sizeof path, GOLDEN_CASES "/%s", names[_i]);
    CK_OK(samba_model_estimate(context, path, NULL, &so, &e, RIG_ERROR));
    samba_model *model = rig_load(context, path, &(rig_options){0});
    samba_model_info info = info_of(model);
    ck_assert_uint_ge(e.load_peak_bytes, e.weight_bytes);
    ck_assert_msg(e.weight_bytes * 10 >= info.weight_bytes * 9 &&
                      e.weight_bytes * 9 <= info.weight_bytes * 10 + 1000000,
                  "%llu, in truth %llu", (unsigned long long)e.weight_bytes,
                  (unsigned long long)info.weight_bytes);
    ck_assert_int_eq(e.state_bytes_per_token > 0, _i == 1 || _i == 3);
    ck_assert_uint_eq(e.history_bytes_per_token, sizeof(samba_token));

    /* a session in the course of 400 tokens never holds more */
    samba_session *session = rig_session(model, 0, ROWS);
    samba_session_stats stats = {.struct_size = sizeof stats};
    samba_token tokens[7] = {1, 2, 3, 4, 5, 6, 7};
    while (samba_session_position(session) < TOKENS) {
        rig_eval(session, tokens, 7, 0);
        CK_OK(samba_session_get_stats(session, &stats, RIG_ERROR));
        /* full layers: per token, in whole pages of 64 */
        uint64_t grown = e.state_bytes_per_token * (stats.position + 64);
        ck_assert_msg(stats.state_bytes <= e.state_bytes + grown, "at %llu: %llu of %llu + %llu",
                      (unsigned long long)stats.position, (unsigned long long)stats.state_bytes,
                      (unsigned long long)e.state_bytes, (unsigned long long)grown);
    }
    samba_session_free(session);
    samba_model_release(model);
    const samba_session_options bad = {.struct_size = sizeof bad, .kv_dtype = 55};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_model_estimate(context, path, NULL, &bad, &e, RIG_ERROR));
    samba_context_free(context);
}
END_TEST

/* ---- text and tokens ---- */

START_TEST(test_tokens)
{
    samba_context *context = make_context();
    samba_model *model = rig_load(context, gguf, &(rig_options){0});
    const char *text = "the end <|eos|> \xc3\xa9";
    samba_token tokens[64], special;
    size_t n, again, size;
    char back[128];
    CK_OK(samba_tokenize(model, text, SIZE_MAX, NULL, NULL, 0, &n, RIG_ERROR));
    ck_assert_uint_gt(n, 3);
    CK_OK(samba_tokenize(model, text, strlen(text), NULL, tokens, n, &again, RIG_ERROR));
    ck_assert_uint_eq(n, again);
    CK_FAILS(SAMBA_ERROR_LIMIT,
             samba_tokenize(model, text, SIZE_MAX, NULL, tokens, n - 1, &again, RIG_ERROR));
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(samba_token_is_special(model, tokens[i]), 0);
    CK_OK(samba_detokenize(model, tokens, n, NULL, NULL, 0, &size, RIG_ERROR));
    ck_assert_uint_eq(size, strlen(text));
    CK_OK(samba_detokenize(model, tokens, n, NULL, back, sizeof back, &size, RIG_ERROR));
    ck_assert_int_eq(memcmp(back, text, size), 0);
    CK_FAILS(SAMBA_ERROR_LIMIT,
             samba_detokenize(model, tokens, n, NULL, back, size - 1, &size, RIG_ERROR));

    /* special tokens only on request, and left out on request */
    const samba_tokenize_options parse = {.struct_size = sizeof parse, .parse_special = SAMBA_YES};
    CK_OK(samba_tokenize(model, text, SIZE_MAX, &parse, tokens, 64, &n, RIG_ERROR));
    CK_OK(samba_token_find(model, "<|eos|>", SIZE_MAX, &special, RIG_ERROR));
    ck_assert_int_eq(special, MICRO_EOS);
    ck_assert_int_eq(samba_token_is_special(model, special), 1);
    ck_assert_int_eq(samba_token_is_special(model, -1), 0);
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += tokens[i] == special;
    ck_assert_uint_eq(found, 1);
    const samba_detokenize_options skip = {.struct_size = sizeof skip, .skip_special = SAMBA_YES};
    CK_OK(samba_detokenize(model, tokens, n, &skip, back, sizeof back, &size, RIG_ERROR));
    ck_assert_uint_eq(size, strlen(text) - 7);
    CK_FAILS(SAMBA_ERROR_NOT_FOUND,
             samba_token_find(model, "no such entry", SIZE_MAX, &special, RIG_ERROR));
    tokens[0] = MICRO_TOKENIZER_VOCAB;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_detokenize(model, tokens, 1, NULL, back, sizeof back, &size, RIG_ERROR));
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

/* Whole characters only; together they are the text. */
START_TEST(test_detokenizer)
{
    samba_context *context = make_context();
    samba_model *model = rig_load(context, gguf, &(rig_options){0});
    const char *text = "a \xe2\x82\xac and \xf0\x9f\x99\x82, then \xe2\x82"; /* cut at the end */
    samba_detokenizer *d = NULL;
    samba_token tokens[64];
    size_t n, at = 0, size;
    const char *part;
    char all[128];
    CK_OK(samba_tokenize(model, text, SIZE_MAX, NULL, tokens, 64, &n, RIG_ERROR));
    CK_OK(samba_detokenizer_create(model, NULL, &d, RIG_ERROR));
    samba_model_release(model); /* the detokenizer keeps it */
    samba_context_free(context);
    for (int round = 0; round < 2; round++) {
        at = 0;
        for (size_t i = 0; i < n; i++) {
            CK_OK(samba_detokenizer_push(d, tokens[i], &part, &size, RIG_ERROR));
            if (size)
                ck_assert_int_ne((unsigned char)part[0] & 0xc0, 0x80);
            memcpy(all + at, part, size);
            at += size;
        }
        ck_assert_uint_eq(at, strlen(text) - 2);
        CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
                 samba_detokenizer_push(d, -1, &part, &size, RIG_ERROR));
        CK_OK(samba_detokenizer_flush(d, &part, &size, RIG_ERROR));
        ck_assert_uint_eq(size, 2);
        memcpy(all + at, part, size);
        ck_assert_int_eq(memcmp(all, text, at + size), 0);
    }
    samba_detokenizer_free(d);
    samba_detokenizer_free(NULL);
}
END_TEST

START_TEST(test_no_tokenizer)
{
    samba_context *context = make_context();
    samba_model *model = rig_load(context, GOLDEN_CASES "/ms_mamba", &(rig_options){0});
    samba_detokenizer *d = NULL;
    samba_token token;
    size_t n;
    ck_assert_int_eq(info_of(model).has_tokenizer, 0);
    CK_FAILS(SAMBA_ERROR_UNSUPPORTED, samba_tokenize(model, "x", 1, NULL, NULL, 0, &n, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_UNSUPPORTED,
             samba_detokenize(model, NULL, 0, NULL, NULL, 0, &n, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_UNSUPPORTED, samba_token_find(model, "x", 1, &token, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_UNSUPPORTED, samba_detokenizer_create(model, NULL, &d, RIG_ERROR));
    ck_assert_int_eq(samba_token_is_special(model, 1), 0);
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

/* ---- lives ---- */

/* The caller's context goes first; model and cancel object still work; all of it ends. */
START_TEST(test_order)
{
    fake_counts counts;
    samba_cancel *cancel = NULL;
    fake_reset_counts();
    samba_context *context = rig_context(&(rig_options){.backend = &fake_vtbl, .n_threads = 1});
    samba_model *a = rig_load(context, folder, &(rig_options){.backend = &fake_vtbl});
    samba_model *b = rig_load(context, gguf, &(rig_options){.backend = &fake_vtbl});
    CK_OK(samba_cancel_create(context, &cancel, RIG_ERROR));
    fake_get_counts(&counts);
    ck_assert_int_eq(counts.devices, 1); /* one device for both */
    samba_context_free(context);
    ck_assert_ptr_eq(samba_model_retain(a), a);
    check_same(a, b);
    samba_model_release(a);
    ck_assert_str_eq(info_of(a).backend, "fake");
    samba_model_release(a);
    samba_model_release(b);
    fake_get_counts(&counts);
    ck_assert_int_eq(counts.weights, 0);
    ck_assert_int_eq(counts.devices, 1);
    samba_cancel_request(cancel);
    samba_cancel_free(cancel);
    fake_get_counts(&counts);
    ck_assert_int_eq(counts.devices, 0);
    ck_assert_msg(counts.violations == 0, "%s", counts.first_violation);
}
END_TEST

/* ---- memory ---- */

static samba_status load_and_leave(void *arg)
{
    samba_error *error = NULL;
    samba_context *context = NULL;
    samba_model *model = NULL;
    const samba_context_options co = {
        .struct_size = sizeof co, .allocator = fail_alloc_allocator(), .n_threads = 1};
    const samba_model_options mo = {.struct_size = sizeof mo, .weight_dtype = SAMBA_DTYPE_BF16};
    samba_status status = samba_context_create(&co, &context, &error);
    if (status == SAMBA_OK)
        status = samba_model_load(context, arg, &mo, &model, &error);
    samba_model_release(model);
    samba_context_free(context);
    samba_error_free(error);
    return status;
}

/* From a folder with a tokenizer and from a file without one. */
START_TEST(test_memory)
{
    char path[PATH], bare[64];
    samba_context *context = make_context();
    ck_assert(micro_folder_make(bare));
    ck_assert(micro_model_write(bare, NULL));
    snprintf(path, sizeof path, "%s/bare.gguf", folder);
    CK_OK(samba_convert(context, bare, path, NULL, NULL, RIG_ERROR));
    samba_context_free(context);
    micro_folder_remove(bare);
    ck_assert_uint_gt(fail_alloc_every(load_and_leave, path, 1), 50);
    ck_assert_uint_gt(fail_alloc_every(load_and_leave, folder, 1), 50);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("run/model");
    TCase *t = tcase_create("model");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_all_ways);
    tcase_add_test(t, test_weight_dtype);
    tcase_add_test(t, test_info);
    tcase_add_test(t, test_arguments);
    tcase_add_test(t, test_progress);
    tcase_add_loop_test(t, test_estimate, 0, 4);
    tcase_add_test(t, test_tokens);
    tcase_add_test(t, test_detokenizer);
    tcase_add_test(t, test_no_tokenizer);
    tcase_add_test(t, test_order);
    tcase_add_test(t, test_memory);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, suite());
}
