/*
 * Conversion to GGUF and back: every golden case keeps its plan, its bytes and its fingerprint;
 * what the fingerprint must notice; quantised files; tokenizers; cancelling; files of other tools.
 */
#include "model/convert.h"
#include "model/gguf_plan.h"
#include "model/roles.h"
#include "model/vocab.h"
#include "model_util.h"
#include "support/micro_model.h"
#include "support/suite.h"
#include "tensor/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TEXT = 4096
};
static char folder[64], out_path[96];

static void setup(void)
{
    ck_assert(micro_folder_make(folder));
    snprintf(out_path, sizeof out_path, "%s/out.gguf", folder);
}

static void teardown(void)
{
    micro_folder_remove(folder);
}

static samba_convert_report convert(const char *in, samba_dtype dtype)
{
    const samba__convert_params params = {.alloc = samba__alloc_default(),
                                          .in_path = in,
                                          .out_path = out_path,
                                          .plan = {.weight_dtype = dtype}};
    samba_convert_report report = {0};
    samba_error *error = NULL;
    if (samba__convert(&params, &report, &error) != SAMBA_OK)
        ck_abort_msg("%s: %s", in, samba_error_message(error));
    return report;
}

static samba_convert_report convert_case(const char *name, samba_dtype dtype)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "/%s", name);
    return convert(path, dtype);
}

/* Every parameter bit for bit, every slot, every weight's bytes. */
static void check_same(const samba__checkpoint *ka, const samba__plan *a,
                       const samba__checkpoint *kb, const samba__plan *b, samba_dtype wanted)
{
    ck_assert_uint_eq(a->n_sublayers, b->n_sublayers);
    ck_assert_uint_eq(a->n_weights, b->n_weights);
    ck_assert_uint_eq(a->narrow_at, b->narrow_at);
    ck_assert_uint_eq(a->n_blocks, b->n_blocks);
    ck_assert_int_eq(a->bos, b->bos);
    ck_assert_int_eq(a->eos, b->eos);
    ck_assert_uint_eq(a->context_length, b->context_length);
    for (uint32_t i = 0; i < a->n_sublayers; i++) {
        const samba__plan_sublayer *x = &a->sublayers[i], *y = &b->sublayers[i];
        ck_assert_int_eq(memcmp(&x->desc, &y->desc, offsetof(samba_backend_sublayer, tensors)), 0);
        ck_assert_int_eq(x->slab_slot, y->slab_slot);
        ck_assert_int_eq(x->page_slot, y->page_slot);
        ck_assert_uint_eq(x->block, y->block);
    }
    for (size_t i = 0; i < a->n_weights; i++) {
        const samba__weight *x = a->weights[i], *y = b->weights[i];
        size_t n, m;
        bool kept;
        samba_dtype dtype = samba__weight_dtype(x, wanted, &kept);
        ck_assert_str_eq(x->name, y->name);
        ck_assert_int_eq(dtype, samba__weight_dtype(y, 0, &kept));
        void *p = util_read(ka, x, dtype, &n), *q = util_read(kb, y, dtype, &m);
        ck_assert_uint_eq(n, m);
        ck_assert_msg(memcmp(p, q, n) == 0, "%s", x->name);
        free(p);
        free(q);
    }
}

static void round_trip(const char *path, samba_dtype dtype)
{
    char before[TEXT], after[TEXT];
    uint8_t x[16], y[16];
    samba__checkpoint *ka = util_open(path);
    samba__plan *a = util_plan(ka, NULL);
    samba_convert_report report = convert(path, dtype);
    ck_assert_uint_eq(report.n_tensors, a->n_weights);
    samba__checkpoint *kb = util_open(out_path);
    samba__plan *b = util_plan(kb, NULL);
    util_describe(a, before, sizeof before);
    util_describe(b, after, sizeof after);
    ck_assert_str_eq(strchr(before, ' '), strchr(after, ' ')); /* the family differs */
    check_same(ka, a, kb, b, dtype);
    util_fingerprint(ka, a, dtype, x);
    util_fingerprint(kb, b, 0, y);
    ck_assert_int_eq(memcmp(x, y, 16), 0);
    samba__plan_free(a);
    samba__plan_free(b);
    samba__checkpoint_close(ka);
    samba__checkpoint_close(kb);
}

START_TEST(test_round_trip)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "/%s", golden_names[_i]);
    round_trip(path, 0);
    round_trip(path, _i % 3 == 0   ? SAMBA_DTYPE_F16
                     : _i % 3 == 1 ? SAMBA_DTYPE_BF16
                                   : SAMBA_DTYPE_Q8_0);
}
END_TEST

/* GGUF -> GGUF changes nothing, and the result is the same file. */
START_TEST(test_again)
{
    char again[128], *first, *second;
    size_t n, m;
    convert_case("phi4flash", SAMBA_DTYPE_Q8_0);
    first = util_file(out_path, &n);
    snprintf(again, sizeof again, "%s/again.gguf", folder);
    ck_assert_int_eq(rename(out_path, again), 0);
    convert(again, 0);
    second = util_file(out_path, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_int_eq(memcmp(first, second, n), 0);
    free(first);
    free(second);
}
END_TEST

/* d_model 48: no multiple of 32, so matrices over it stay bf16 and are counted; those over 96
 * don't.
 */
START_TEST(test_kept)
{
    samba_convert_report r = convert_case("ms_samba", SAMBA_DTYPE_Q8_0);
    size_t kept = 0, quantised = 0;
    samba__checkpoint *k = util_open(out_path);
    samba__plan *p = util_plan(k, NULL);
    for (size_t i = 0; i < p->n_weights; i++) {
        const samba__weight *w = p->weights[i];
        if (w->wclass == SAMBA__CLASS_F32)
            ck_assert_int_eq(w->tensor->dtype, SAMBA_DTYPE_F32);
        else
            ck_assert_int_eq(w->tensor->dtype, w->cols % 32 ? SAMBA_DTYPE_BF16 : SAMBA_DTYPE_Q8_0);
        kept += w->tensor->dtype == SAMBA_DTYPE_BF16;
        quantised += w->tensor->dtype == SAMBA_DTYPE_Q8_0;
    }
    ck_assert_uint_eq(kept, r.n_kept);
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_gt(quantised, 0);
    size_t size;
    free(util_file(out_path, &size));
    ck_assert_uint_eq(size, r.file_bytes);
    samba__plan_free(p);
    samba__checkpoint_close(k);
}
END_TEST

/* Narrower types: x_proj (rows of 96) is 8-bit, and what does not fit a block stays bf16. That wide
 * models get what they should is tested with tests/run/test_formats.c. */
START_TEST(test_kept_narrow)
{
    const samba_dtype wanted[] = {SAMBA_DTYPE_Q4_0, SAMBA_DTYPE_Q4_K, SAMBA_DTYPE_Q6_K};
    samba_convert_report r = convert_case("ms_samba", wanted[_i]);
    size_t kept = 0, fine = 0;
    samba__checkpoint *k = util_open(out_path);
    samba__plan *p = util_plan(k, NULL);
    for (size_t i = 0; i < p->n_weights; i++) {
        const samba__weight *w = p->weights[i];
        const bool fits = w->cols % samba__dtype_info_of(wanted[_i])->block == 0;
        samba_dtype want = fits ? wanted[_i] : SAMBA_DTYPE_BF16;
        if (w->wclass == SAMBA__CLASS_F32)
            want = SAMBA_DTYPE_F32;
        else if (w->wclass == SAMBA__CLASS_FINE)
            want = SAMBA_DTYPE_Q8_0;
        ck_assert_msg(w->tensor->dtype == want, "%s is %s, not %s", w->name,
                      samba_dtype_name(w->tensor->dtype), samba_dtype_name(want));
        kept += want == SAMBA_DTYPE_BF16;
        fine += want == SAMBA_DTYPE_Q8_0;
    }
    ck_assert_uint_eq(kept, r.n_kept);
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_gt(fine, 0);
    samba__plan_free(p);
    samba__checkpoint_close(k);
}
END_TEST

/* ---- fingerprint ---- */

static void fingerprint_of(const samba__checkpoint *k, const samba__plan_options *options,
                           uint8_t out[16])
{
    samba__plan *p = util_plan(k, options);
    util_fingerprint(k, p, options ? options->weight_dtype : 0, out);
    samba__plan_free(p);
}

START_TEST(test_fingerprint)
{
    const samba__plan_options table = {.rope_table = SAMBA_ROPE_TABLE_F32};
    const samba__plan_options types = {.weight_dtype = SAMBA_DTYPE_BF16};
    uint8_t base[16], other[16];
    samba__checkpoint *k = util_open_case("ms_samba"), view;
    fingerprint_of(k, NULL, base);
    fingerprint_of(k, NULL, other);
    ck_assert_int_eq(memcmp(base, other, 16), 0);
    fingerprint_of(k, &table, other);
    ck_assert_int_ne(memcmp(base, other, 16), 0);
    fingerprint_of(k, &types, other);
    ck_assert_int_ne(memcmp(base, other, 16), 0);
    /* a window, and nothing else, changed in the config */
    view = *k;
    view.config_json = strdup(k->config_json);
    char *window = strstr(view.config_json, "\"local_window\": 16");
    ck_assert_ptr_nonnull(window);
    memcpy(window, "\"local_window\": 17", 18);
    fingerprint_of(&view, NULL, other);
    ck_assert_int_ne(memcmp(base, other, 16), 0);
    free(view.config_json);
    /* a tokenizer */
    view = *k;
    view.tokenizer_json = (char *)(uintptr_t) "{}";
    view.tokenizer_json_size = 2;
    fingerprint_of(&view, NULL, other);
    ck_assert_int_ne(memcmp(base, other, 16), 0);
    samba__checkpoint_close(k);
    /* the same weights under other names, and the f32 table by case */
    k = util_open_case("ms_samba_ropefp32");
    fingerprint_of(k, NULL, other);
    ck_assert_int_eq(memcmp(base, other, 16), 0);
    samba__checkpoint_close(k);
    uint8_t hf[16], native[16];
    k = util_open_case("mamba_hf");
    fingerprint_of(k, NULL, hf);
    samba__checkpoint_close(k);
    k = util_open_case("mamba_ssm");
    fingerprint_of(k, NULL, native);
    samba__checkpoint_close(k);
    ck_assert_int_eq(memcmp(hf, native, 16), 0);
}
END_TEST

/* One bit anywhere in the weights. */
START_TEST(test_fingerprint_bits)
{
    uint8_t base[16], other[16];
    uint64_t seed = 1;
    convert_case("ms_mamba", 0);
    samba__checkpoint *k = util_open(out_path);
    fingerprint_of(k, NULL, base);
    for (size_t i = 0; i < k->n_tensors; i++) {
        uint64_t at = k->tensors[i].offset + util_random(&seed) % k->tensors[i].bytes;
        FILE *f = fopen(out_path, "r+b");
        ck_assert_ptr_nonnull(f);
        fseek(f, (long)at, SEEK_SET);
        int byte = fgetc(f);
        fseek(f, (long)at, SEEK_SET);
        fputc(byte ^ 1, f);
        fclose(f);
        fingerprint_of(k, NULL, other);
        ck_assert_msg(memcmp(base, other, 16) != 0, "%s", k->tensors[i].name);
        memcpy(base, other, 16);
    }
    samba__checkpoint_close(k);
}
END_TEST

/* The value must never change: snapshots name models by it. */
START_TEST(test_fingerprint_stays)
{
    static const char *const expected = "61a08d4493995363eaa07c485416f1a7";
    uint8_t got[16];
    char text[33];
    samba__checkpoint *k = util_open_case("ms_samba");
    fingerprint_of(k, NULL, got);
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", got[i]);
    ck_assert_str_eq(text, expected);
    samba__checkpoint_close(k);
}
END_TEST

/* ---- tokenizer ---- */

START_TEST(test_tokenizer)
{
    char model[64];
    const micro_options options = {.tokenizer = true};
    samba__tokenizer *from_folder = NULL, *from_gguf = NULL;
    samba__token_list a = {0}, b = {0};
    ck_assert(micro_folder_make(model));
    ck_assert(micro_model_write(model, &options));
    round_trip(model, 0);
    samba__checkpoint *ka = util_open(model), *kb = util_open(out_path);
    samba__plan *pa = util_plan(ka, NULL), *pb = util_plan(kb, NULL);
    ck_assert_int_eq(samba__vocab_load(ka, pa, &from_folder, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__vocab_load(kb, pb, &from_gguf, NULL), SAMBA_OK);
    ck_assert(from_folder && from_gguf);
    ck_assert_int_eq(pb->bos, MICRO_BOS);
    ck_assert_int_eq(pb->eos, MICRO_EOS);
    samba__string json;
    ck_assert(
        samba__gguf_get_string(samba__gguf_find(kb->gguf, "tokenizer.huggingface.json"), &json));
    ck_assert_uint_eq(json.size, ka->tokenizer_json_size);
    ck_assert_int_eq(memcmp(json.data, ka->tokenizer_json, json.size), 0);
    ck_assert_uint_eq(samba__gguf_array_size(samba__gguf_find(kb->gguf, "tokenizer.ggml.tokens")),
                      MICRO_TOKENIZER_VOCAB);
    const char *text = "the other one and then a \xc3\xa9 <|eos|>";
    const samba__encode_flags flags = {.parse_special = true};
    ck_assert_int_eq(samba__tokenizer_encode(from_folder, text, strlen(text), flags, &a, NULL), 0);
    ck_assert_int_eq(samba__tokenizer_encode(from_gguf, text, strlen(text), flags, &b, NULL), 0);
    ck_assert_uint_eq(a.n, b.n);
    ck_assert_int_eq(memcmp(a.ids, b.ids, a.n * sizeof *a.ids), 0);
    samba__free(samba__alloc_default(), a.ids);
    samba__free(samba__alloc_default(), b.ids);
    samba__tokenizer_free(from_folder);
    samba__tokenizer_free(from_gguf);
    samba__plan_free(pa);
    samba__plan_free(pb);
    samba__checkpoint_close(ka);
    samba__checkpoint_close(kb);
    micro_folder_remove(model);
}
END_TEST

START_TEST(test_tokenizer_config)
{
    char model[64];
    const micro_options options = {.tokenizer = true};
    samba__tokenizer *t = NULL;
    char config[] = "{\"bos_token\": {\"content\": \"<|eos|>\"}, \"eos_token\": \"<|bos|>\", "
                    "\"chat_template\": [{\"name\": \"tool\", \"template\": \"no\"}, "
                    "{\"name\": \"default\", \"template\": \"{{ yes }}\"}]}";
    ck_assert(micro_folder_make(model));
    ck_assert(micro_model_write(model, &options));
    samba__checkpoint *k = util_open(model), view = *k;
    view.tokenizer_config_json = config;
    view.tokenizer_config_json_size = strlen(config);
    samba__plan *p = util_plan(&view, NULL);
    p->bos = -1; /* as if the config said nothing of it; eos stays the config's */
    ck_assert_int_eq(samba__vocab_load(&view, p, &t, NULL), SAMBA_OK);
    ck_assert_int_eq(p->bos, MICRO_EOS);
    ck_assert_int_eq(p->eos, MICRO_EOS);
    ck_assert_str_eq(p->chat_template, "{{ yes }}");
    samba__tokenizer_free(t);
    t = NULL;
    p->n_vocab = MICRO_TOKENIZER_VOCAB - 1;
    samba_error *error = NULL;
    ck_assert_int_eq(samba__vocab_load(&view, p, &t, &error), SAMBA_ERROR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(samba_error_message(error), "272 ids, the model 271"));
    ck_assert_ptr_null(t);
    samba_error_free(error);
    samba__plan_free(p);
    samba__checkpoint_close(k);
    micro_folder_remove(model);
}
END_TEST

/* ---- cancelling ---- */

typedef struct watch {
    uint64_t calls, stop_at, done, total;
} watch;

static int32_t on_progress(void *user_data, uint64_t done, uint64_t total)
{
    watch *w = user_data;
    ck_assert_uint_le(w->done, done);
    ck_assert_uint_le(done, total);
    w->done = done;
    w->total = total;
    return ++w->calls == w->stop_at ? SAMBA_STOP : SAMBA_CONTINUE;
}

START_TEST(test_cancel)
{
    watch w = {0};
    samba_convert_report report;
    const samba__convert_params params = {.alloc = samba__alloc_default(),
                                          .in_path = GOLDEN "/ms_gla",
                                          .out_path = out_path,
                                          .progress = on_progress,
                                          .progress_user_data = &w};
    ck_assert_int_eq(samba__convert(&params, &report, NULL), SAMBA_OK);
    ck_assert_uint_eq(w.done, w.total);
    ck_assert_int_eq(unlink(out_path), 0);
    const uint64_t calls = w.calls;
    for (uint64_t stop = 1; stop <= calls; stop++) {
        w = (watch){.stop_at = stop};
        ck_assert_int_eq(samba__convert(&params, &report, NULL), SAMBA_ERROR_CANCELLED);
        ck_assert_int_ne(access(out_path, F_OK), 0);
    }
    ck_assert_int_eq(rmdir(folder), 0); /* no temporary file is left either */
}
END_TEST

/* ---- files of other tools ---- */

/* A Mamba checkpoint as their converters lay it out, written from the plan's weights. */
static void write_foreign(const samba__checkpoint *k, const samba__plan *p, const char *key,
                          uint32_t value)
{
    const samba_backend_sublayer *d = &p->sublayers[0].desc;
    const struct {
        const char *key;
        uint32_t value;
    } rows[] = {{"mamba.block_count", p->n_sublayers}, {"mamba.embedding_length", p->d_model},
                {"mamba.ssm.conv_kernel", d->d_conv},  {"mamba.ssm.inner_size", d->d_inner},
                {"mamba.ssm.state_size", d->d_state},  {"mamba.ssm.time_step_rank", d->dt_rank},
                {"mamba.context_length", 1048576},     {"mamba.feed_forward_length", 0},
                {"mamba.attention.head_count", 0}};
    samba__gguf_writer *w = NULL;
    ck_assert_int_eq(samba__gguf_writer_open(samba__alloc_default(), out_path, &w, NULL), 0);
    ck_assert_int_eq(samba__gguf_set_string(w, "general.architecture", "mamba", 5, NULL), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_int_eq(
            samba__gguf_set_u32(w, rows[i].key,
                                key && strcmp(key, rows[i].key) == 0 ? value : rows[i].value, NULL),
            0);
    ck_assert_int_eq(samba__gguf_set_f32(w, "mamba.attention.layer_norm_rms_epsilon", 1e-5f, NULL),
                     0);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->n_weights; i++) {
            const samba__weight *x = p->weights[i];
            const uint64_t shape[2] = {x->vector ? x->cols : x->rows, x->cols};
            size_t bytes;
            void *data = util_read(k, x, SAMBA_DTYPE_F32, &bytes);
            if (pass == 0)
                ck_assert_int_eq(samba__gguf_add_tensor(w, x->name, SAMBA_DTYPE_F32, shape,
                                                        x->vector ? 1 : 2, NULL),
                                 0);
            else
                ck_assert_int_eq(samba__gguf_write_data(w, data, bytes, NULL), 0);
            free(data);
        }
        if (pass == 0)
            ck_assert_int_eq(samba__gguf_begin_data(w, NULL), 0);
    }
    ck_assert_int_eq(samba__gguf_writer_commit(w, NULL, NULL), 0);
}

START_TEST(test_foreign_mamba)
{
    uint8_t hf[16], foreign[16];
    samba__checkpoint *ka = util_open_case("mamba_hf");
    samba__plan *a = util_plan(ka, NULL);
    write_foreign(ka, a, NULL, 0);
    samba__checkpoint *kb = util_open(out_path);
    samba__plan *b = util_plan(kb, NULL);
    ck_assert_str_eq(b->family, "mamba");
    ck_assert_uint_eq(b->context_length, 1048576);
    util_fingerprint(ka, a, 0, hf);
    util_fingerprint(kb, b, 0, foreign);
    ck_assert_int_eq(memcmp(hf, foreign, 16), 0);
    samba__plan_free(b);
    samba__checkpoint_close(kb);
    write_foreign(ka, a, "mamba.ssm.state_size", 17);
    kb = util_open(out_path);
    util_refused(kb, SAMBA_ERROR_MISMATCH, "metadata says");
    samba__checkpoint_close(kb);
    write_foreign(ka, a, "mamba.block_count", 400000);
    kb = util_open(out_path);
    util_refused(kb, SAMBA_ERROR_MISMATCH, "400000");
    samba__checkpoint_close(kb);
    samba__plan_free(a);
    samba__checkpoint_close(ka);
}
END_TEST

/* Plans in metadata are not believed: each number of ours in turn becomes another. */
START_TEST(test_damaged_plan)
{
    size_t size, refused = 0, fine = 0;
    uint64_t seed = 77;
    convert_case("phi4flash", 0);
    char *file = util_file(out_path, &size), *copy = malloc(size);
    ck_assert_ptr_nonnull(copy);
    samba__checkpoint *k = util_open(out_path);
    size_t header = size;
    for (size_t i = 0; i < k->n_tensors; i++)
        header = k->tensors[i].offset < header ? k->tensors[i].offset : header;
    samba__checkpoint_close(k);
    for (int i = 0; i < 4000; i++) {
        samba__source *source = NULL;
        samba__plan *p = NULL;
        samba_error *error = NULL;
        memcpy(copy, file, size);
        for (uint64_t n = 0; n <= util_random(&seed) % 2; n++)
            copy[util_random(&seed) % header] = (char)util_random(&seed);
        ck_assert_int_eq(
            samba__source_open_memory(samba__alloc_default(), copy, size, "damaged", &source, NULL),
            0);
        samba_status status =
            samba__checkpoint_open_source(samba__alloc_default(), source, NULL, &k, &error);
        if (status == SAMBA_OK) {
            status = samba__plan_create(k, NULL, &p, &error);
            refused += status != SAMBA_OK;
            fine += status == SAMBA_OK;
            ck_assert_int_ne(status, SAMBA_ERROR_INTERNAL);
            samba__plan_free(p);
            samba__checkpoint_close(k);
        }
        ck_assert_int_eq(samba_error_status(error), status);
        samba_error_free(error);
    }
    ck_assert_uint_gt(refused, 500);
    ck_assert_uint_gt(fine, 100);
    free(file);
    free(copy);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model/convert");
    TCase *t = tcase_create("convert");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_round_trip, 0, (int)golden_n_runnable);
    tcase_add_test(t, test_again);
    tcase_add_test(t, test_kept);
    tcase_add_loop_test(t, test_kept_narrow, 0, 3);
    tcase_add_test(t, test_fingerprint);
    tcase_add_test(t, test_fingerprint_bits);
    tcase_add_test(t, test_fingerprint_stays);
    tcase_add_test(t, test_tokenizer);
    tcase_add_test(t, test_tokenizer_config);
    tcase_add_test(t, test_cancel);
    tcase_add_test(t, test_foreign_mamba);
    tcase_add_test(t, test_damaged_plan);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
