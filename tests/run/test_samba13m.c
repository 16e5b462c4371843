/*
 * The trained model in full precision, against the numbers that came with it: logits, likelihood of
 * a book (and what block formats lose of it), greedy continuations, pass keys. Skipped where the
 * model's folder is not.
 * `--full`: the whole 65,536 tokens.
 */
#include "support/golden_case.h"
#include "support/reading.h"
#include "support/rig.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static samba_context *context;
static samba_model *model;

static void set_up(void)
{
    rig_options options = {.weight_dtype = SAMBA_DTYPE_F32};
    context = rig_context(&options);
    model = rig_load(context, SAMBA13M, &options);
}

static void tear_down(void)
{
    samba_model_release(model);
    samba_context_free(context);
}

START_TEST(logits)
{
    golden_tensor *tensors = NULL, *want = NULL, *positions = NULL, *text = NULL;
    size_t n = golden_read_safetensors(SAMBA13M "/logits_fp32.safetensors", &tensors);
    for (size_t i = 0; i < n; i++) {
        want = strcmp(tensors[i].name, "logits") == 0 ? &tensors[i] : want;
        positions = strcmp(tensors[i].name, "positions") == 0 ? &tensors[i] : positions;
        text = strcmp(tensors[i].name, "tokens") == 0 ? &tensors[i] : text;
    }
    ck_assert(want && positions && text);
    samba_token *tokens = malloc(text->n * sizeof *tokens);
    for (uint64_t i = 0; i < text->n; i++)
        tokens[i] = (samba_token)text->data[i];
    samba_session *s = rig_session(model, SAMBA_DTYPE_F32, 0);
    uint64_t n_vocab = want->shape[1], at = 0;
    float *got = malloc(want->n * sizeof *got);
    for (uint64_t k = 0; k < positions->n; k++) {
        uint64_t end = (uint64_t)positions->data[k] + 1;
        ck_assert_uint_ge(end, at);
        rig_eval(s, tokens + at, end - at, 0);
        memcpy(got + k * n_vocab, rig_logits(s, SAMBA_ROW_LAST), n_vocab * sizeof *got);
        at = end;
    }
    double error = golden_error(got, want->data, want->n);
    printf("logits at %llu positions: worst %.2e of max\n", (unsigned long long)positions->n,
           error);
    ck_assert_msg(error <= 1e-5, "logits are off by %.3g of the largest", error);
    samba_session_free(s);
    free(got);
    free(tokens);
    golden_free_tensors(tensors, n);
}
END_TEST

/*
 * Part k of the expected numbers is the mean over targets 1 + 4096 k and on, of tokens that were
 * cut from a longer text: tokenised anew, two of them (in parts 12 and 15) join with their
 * neighbours.
 */
START_TEST(likelihood)
{
    enum {
        PART = 4096
    };
    size_t size = 0, n = 0;
    char *text = rig_file(SAMBA13M "/val_head.txt", &size);
    samba_token *tokens = reading_tokens(model, text, size, &n);
    ck_assert_uint_eq(n, 65535);
    samba_session *s = rig_session(model, SAMBA_DTYPE_F32, 0);
    rig_eval(s, tokens, 1, 0);
    size_t at = 1;
    for (size_t k = 0; k < (rig_full ? 16 : 3); k++) {
        size_t part = k == 12 || k == 15 ? PART - 1 : PART;
        double nll = reading_nll(s, tokens + at, part);
        double allowed = part < PART ? 5e-3 : 1e-3;
        printf("part %zu: nll %.6f, expected %.6f\n", k, nll, reading_expected_nll[k]);
        ck_assert_msg(fabs(nll - reading_expected_nll[k]) <= allowed,
                      "part %zu: nll %.6f, expected %.6f", k, nll, reading_expected_nll[k]);
        at += part;
    }
    samba_session_free(s);
    free(tokens);
    free(text);
}
END_TEST

/* Quantised while loading: what is lost in nats per token. */
START_TEST(block_formats)
{
    static const struct {
        samba_dtype dtype;
        double allowed;
    } formats[] = {{SAMBA_DTYPE_Q8_0, 0.005},
                   {SAMBA_DTYPE_Q6_K, 0.01},
                   {SAMBA_DTYPE_Q4_K, 0.05},
                   {SAMBA_DTYPE_Q4_0, 0.08}};
    const size_t parts = rig_full ? 12 : 2; /* those before the first that joins */
    size_t size = 0, n = 0;
    char *text = rig_file(SAMBA13M "/val_head.txt", &size);
    samba_token *tokens = reading_tokens(model, text, size, &n);
    samba_model *small =
        rig_load(context, SAMBA13M, &(rig_options){.weight_dtype = formats[_i].dtype});
    samba_session *s = rig_session(small, SAMBA_DTYPE_F32, 0);
    double want = 0;
    for (size_t k = 0; k < parts; k++)
        want += reading_expected_nll[k] / (double)parts;
    rig_eval(s, tokens, 1, 0);
    double lost = reading_nll(s, tokens + 1, parts * 4096) - want;
    printf("%s: nll %+.5f\n", samba_dtype_name(formats[_i].dtype), lost);
    ck_assert_double_lt(fabs(lost), formats[_i].allowed);
    samba_session_free(s);
    samba_model_release(small);
    free(tokens);
    free(text);
}
END_TEST

START_TEST(greedy)
{
    json_t *root = json_load_file(SAMBA13M "/expected.json", 0, NULL), *entry;
    json_t *list = json_object_get(root, "greedy");
    size_t index;
    ck_assert_uint_eq(json_array_size(list), 3);
    json_array_foreach(list, index, entry)
    {
        const char *prompt = json_string_value(json_object_get(entry, "prompt"));
        json_t *ids = json_object_get(entry, "ids");
        const char *whole = json_string_value(json_object_get(entry, "text"));
        size_t n_prompt = 0, n = json_array_size(ids);
        samba_token *tokens = reading_tokens(model, prompt, SIZE_MAX, &n_prompt);
        samba_session *s = rig_session(model, SAMBA_DTYPE_F32, 0);
        for (size_t i = 0; i < n_prompt; i++)
            ck_assert_int_eq(tokens[i], (int)json_integer_value(json_array_get(ids, i)));
        rig_eval(s, tokens, n_prompt, 0);
        for (size_t i = n_prompt; i < n; i++) {
            samba_token t = -1;
            CK_OK(samba_session_sample(s, NULL, 0, &t, NULL, RIG_ERROR));
            ck_assert_int_eq(t, (int)json_integer_value(json_array_get(ids, i)));
            rig_eval(s, &t, 1, 0);
        }
        const samba_token *fed = NULL;
        uint64_t first = 0;
        size_t n_fed = 0, text_size = 0;
        char text[4096];
        CK_OK(samba_session_tokens(s, &fed, &first, &n_fed, RIG_ERROR));
        CK_OK(samba_detokenize(model, fed, n_fed, NULL, text, sizeof text, &text_size, RIG_ERROR));
        ck_assert_uint_eq(text_size, strlen(whole));
        ck_assert_mem_eq(text, whole, text_size);
        samba_session_free(s);
        free(tokens);
    }
    json_decref(root);
}
END_TEST

START_TEST(pass_keys)
{
    json_t *root = json_load_file(SAMBA13M "/passkey_prompts.json", 0, NULL), *entry;
    size_t index;
    ck_assert_uint_ge(json_array_size(json_object_get(root, "examples")), 4);
    json_array_foreach(json_object_get(root, "examples"), index, entry)
    {
        const char *prompt = json_string_value(json_object_get(entry, "prompt"));
        size_t n = 0;
        free(reading_tokens(model, prompt, SIZE_MAX, &n));
        ck_assert_uint_eq(n, (size_t)json_integer_value(json_object_get(entry, "tokens")));
        ck_assert_msg(
            reading_answers(model, prompt, json_string_value(json_object_get(entry, "generated"))),
            "pass-key example %zu is answered otherwise", index);
    }
    json_decref(root);
}
END_TEST

int main(int argc, char **argv)
{
    if (access(SAMBA13M "/model.safetensors", R_OK) != 0) {
        printf("%s is not here: skipped\n", SAMBA13M);
        return 77;
    }
    Suite *suite = suite_create("samba13m");
    TCase *tcase = tcase_create("full precision");
    tcase_set_timeout(tcase, 1200);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, logits);
    tcase_add_test(tcase, likelihood);
    tcase_add_loop_test(tcase, block_formats, 0, 4);
    tcase_add_test(tcase, greedy);
    tcase_add_test(tcase, pass_keys);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
