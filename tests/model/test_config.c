/*
 * Configs that must be refused, by name; what a few keys mean; and 20,000 damaged configs, which
 * may give an error or a plan, but nothing worse.
 */
#include "model/roles.h"
#include "model_util.h"
#include "support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A golden case with `from` in its config replaced by `to`. */
typedef struct edit {
    const char *name, *from, *to;
    samba_status status;
    const char *part; /* of the message */
} edit;

static char *edited(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "no %s in config", from);
    size_t before = (size_t)(at - text), n = strlen(text) + strlen(to) + 1;
    char *out = malloc(n);
    ck_assert_ptr_nonnull(out);
    snprintf(out, n, "%.*s%s%s", (int)before, text, to, at + strlen(from));
    return out;
}

static samba__checkpoint with_config(const samba__checkpoint *k, char *text)
{
    samba__checkpoint view = *k;
    view.config_json = text;
    view.config_json_size = strlen(text);
    return view;
}

#define NO SAMBA_ERROR_UNSUPPORTED
#define BAD SAMBA_ERROR_MISMATCH
static const edit edits[] = {
    {"ms_samba", "\"parallel_residual\": false", "\"parallel_residual\": true", NO,
     "parallel_residual"},
    {"ms_samba", "\"shared_attention_norm\": false", "\"shared_attention_norm\": true", NO,
     "shared_attention_norm"},
    {"ms_samba", "\"use_mega\": false", "\"use_mega\": true", NO, "use_mega"},
    {"ms_samba", "\"LLaMAMLP\"", "\"GptNeoxMLP\"", NO, "GptNeoxMLP"},
    {"ms_samba", "\"FusedRMSNorm\"", "\"BatchNorm\"", NO, "BatchNorm"},
    {"ms_samba", "\"n_layer\": 4", "\"n_layer\": 4000000", BAD, "4000000"},
    {"ms_samba", "\"n_layer\": 4", "\"n_layer\": 0", BAD, "n_layer is 0"},
    {"ms_samba", "\"n_layer\": 4", "\"n_layer\": \"four\"", BAD, "n_layer is not an integer"},
    {"ms_samba", "\"n_layer\": 4", "\"n_layer\": 3", BAD, "transformer.h.3."},
    {"ms_samba", "\"n_layer\": 4", "\"n_layer\": 5", BAD, "transformer.h.4."},
    {"ms_samba", "\"n_head\": 4", "\"n_head\": 5", BAD, "multiple of n_head 5"},
    {"ms_samba", "\"n_query_groups\": 4", "\"n_query_groups\": 3", BAD, "n_query_groups 3"},
    {"ms_samba", "\"n_query_groups\": 4", "\"n_query_groups\": 2", BAD,
     "attn.attn.weight is [144][48], config says [96][48]"},
    {"ms_samba", "\"padded_vocab_size\": 112", "\"padded_vocab_size\": 100", BAD,
     "is [112][48], config says [100][48]"},
    {"ms_samba", "\"intermediate_size\": 96", "\"intermediate_size\": 97", BAD,
     "is [96][48], config says [97][48]"},
    {"ms_samba", "\"rotary_percentage\": 1.0", "\"rotary_percentage\": 1.5", BAD, "1.5"},
    {"ms_samba", "\"rotary_percentage\": 1.0", "\"rotary_percentage\": 0.42", NO,
     "5 rotary dimensions"},
    {"ms_samba", "\"condense_ratio\": 1", "\"condense_ratio\": 0", NO, "rope_condense"},
    {"ms_samba", "\"norm_eps\": 1e-05", "\"norm_eps\": -1", NO, "norm_eps"},
    {"ms_samba", "\"local_window\": 16", "\"local_window\": 0", NO, "local_window"},
    {"ms_samba", "\"attn_layer_pos\": null", "\"attn_layer_pos\": \"1, 3\"", BAD, "attn_layer_pos"},
    {"ms_samba", "\"attn_layer_pos\": null", "\"attn_layer_pos\": \"[1, 3\"", BAD,
     "attn_layer_pos"},
    {"ms_samba", "\"attn_layer_pos\": null", "\"attn_layer_pos\": \"[1 3]\"", BAD,
     "attn_layer_pos"},
    {"ms_samba", "\"org\"", "\"model_type\": \"gpt2\", \"org\"", NO, "gpt2"},
    {"ms_samba", "\"org\"", "\"quantization_config\": {\"bits\": 4}, \"org\"", NO,
     "quantization_config"},
    {"ms_samba", "\"n_embd\": 48", "\"n_embd\": 96", BAD, "config says"},
    {"ms_gla", "\"gla_num_heads\": 3", "\"gla_num_heads\": null", NO, "no GLA head"},
    {"ms_retnet", "\"n_head\": 4", "\"n_head\": 1", BAD, ""},
    {"fla_samba", "\"attnres_block_size\": null", "\"attnres_block_size\": 4", NO,
     "attnres_block_size"},
    {"fla_samba", "\"state_size\": 16", "\"state_size\": 8", BAD, "[34][64], config says [18][64]"},
    {"fla_samba", "\"hidden_ratio\": 4", "\"hidden_ratio\": 40", BAD, "mlp.gate_proj"},
    {"fla_samba", "\"hidden_act\": \"swish\"", "\"hidden_act\": \"gelu\"", NO, "gelu"},
    {"fla_samba", "\"qkv_bias\": false", "\"qkv_bias\": true", BAD, "q_proj.bias is missing"},
    {"fla_samba", "\"layers\": [", "\"layers\": 1, \"x\": [", BAD, "list of layers"},
    {"fla_samba", "\"layers\": [", "\"layers\": [2, -3, ", BAD, "attn.layers[1]"},
    {"fla_samba", "\"num_heads\": 4", "\"num_heads\": 3", BAD, "num_heads 3"},
    {"fla_samba", "\"eos_token_id\": 2", "\"eos_token_id\": 100", BAD, "eos_token_id is 100"},
    {"fla_samba", "\"model_type\": \"samba\"", "\"model_type\": \"mamba2\"", NO, "mamba2"},
    {"fla_samba", "\"model_type\": \"samba\"", "\"model_type\": null", NO, "no model_type"},
    {"fla_samba", "\"num_kv_heads\": 2", "\"num_kv_heads\": 3", NO, "3 key/value heads"},
    {"mamba_hf", "\"use_bias\": false", "\"use_bias\": true", BAD, "in_proj.bias is missing"},
    {"mamba_hf_ncb_e3", "\"use_conv_bias\": false", "\"use_conv_bias\": true", BAD,
     "conv1d.bias is missing"},
    {"mamba_hf_bias_ds8", "\"use_bias\": true", "\"use_bias\": false", BAD, "has no place"},
    {"mamba_hf", "\"rms_norm\": true", "\"rms_norm\": false", BAD, "norm.bias is missing"},
    {"mamba_ssm", "\"ssm_cfg\": {}", "\"ssm_cfg\": {\"layer\": \"Mamba2\"}", NO, "Mamba2"},
    {"mamba_ssm", "\"ssm_cfg\": {}", "\"ssm_cfg\": {\"ngroups\": 1}", NO, "ngroups"},
    {"mamba_ssm", "\"attn_layer_idx\": []", "\"attn_layer_idx\": [1]", NO, "attn_layer_idx"},
    {"mamba_ssm", "\"d_intermediate\": 0", "\"d_intermediate\": 64", NO, "d_intermediate"},
    {"mamba_ssm", "\"pad_vocab_size_multiple\": 8", "\"pad_vocab_size_multiple\": 16", BAD,
     "[112][48]"},
    {"mamba_ssm", "\"tie_embeddings\": true", "\"tie_embeddings\": 1", BAD, "tie_embeddings"},
    {"phi4flash", "\"num_hidden_layers\": 8", "\"num_hidden_layers\": 6", NO, "multiple of 4"},
    {"phi4flash", "\"mb_per_layer\": 2", "\"mb_per_layer\": 3", NO, "mb_per_layer 3"},
    {"phi4flash", "\"lm_head_bias\": false", "\"lm_head_bias\": true", NO, "lm_head_bias"},
    {"phi4flash", "\"mlp_bias\": false", "\"mlp_bias\": true", BAD, "fc1.bias is missing"},
    {"phi4flash", "\"sliding_window\": 16", "\"sliding_window\": [16, 16]", BAD, "2 entries"},
    {"phi4flash", "\"sliding_window\": 16", "\"sliding_window\": -1", BAD, "sliding_window"},
    {"phi4flash", "\"num_key_value_heads\": 4", "\"num_key_value_heads\": 3", NO, "3 key/value"},
};

START_TEST(test_refused)
{
    const edit *e = &edits[_i];
    samba__checkpoint *k = util_open_case(e->name);
    char *text = edited(k->config_json, e->from, e->to);
    samba__checkpoint view = with_config(k, text);
    util_refused(&view, e->status, e->part);
    free(text);
    samba__checkpoint_close(k);
}
END_TEST

static samba__plan *plan_with(samba__checkpoint *k, const char *from, const char *to, char **text)
{
    *text = edited(k->config_json, from, to);
    samba__checkpoint view = with_config(k, *text);
    return util_plan(&view, NULL);
}

/* What a key changes, and nothing else. */
START_TEST(test_meaning)
{
    char *text;
    samba__checkpoint *k = util_open_case("phi4flash");
    samba__plan *p =
        plan_with(k, "\"sliding_window\": 16",
                  "\"sliding_window\": [null, 5, null, 9, null, null, null, null]", &text);
    ck_assert_uint_eq(p->sublayers[2].desc.window, 5);
    ck_assert_uint_eq(p->sublayers[6].desc.window, 9);
    ck_assert_uint_eq(p->sublayers[10].desc.window, 0);
    samba__plan_free(p);
    free(text);
    p = plan_with(k, "\"mamba_dt_rank\": 3", "\"mamba_dt_rank\": \"auto\"", &text);
    ck_assert_uint_eq(p->sublayers[0].desc.dt_rank, 3);
    samba__plan_free(p);
    free(text);
    samba__checkpoint_close(k);
}
END_TEST

/* attn as a list of specifications: the first that names a layer counts. */
START_TEST(test_attn_list)
{
    samba__checkpoint *k = util_open_case("fla_samba");
    const char *object = strstr(k->config_json, "\"attn\": {"), *end = strchr(object, '}');
    char old[512], new[1024], *text;
    snprintf(old, sizeof old, "%.*s", (int)(end + 1 - object), object);
    snprintf(new, sizeof new,
             "\"attn\": [{\"layers\": [3], \"num_heads\": 4, \"num_kv_heads\": 2, "
             "\"rope_theta\": 500.0}, %s]",
             old + strlen("\"attn\": "));
    samba__plan *p = plan_with(k, old, new, &text);
    ck_assert_uint_eq(p->sublayers[2].desc.window, 16);
    ck_assert_uint_eq(p->sublayers[6].desc.window, 0);
    ck_assert_float_eq(p->sublayers[6].desc.rope_base, 500.0f);
    samba__plan_free(p);
    free(text);
    /* Overruled by generation_config.json. */
    samba__checkpoint view = *k;
    char generation[] = "{\"eos_token_id\": [7, 8], \"bos_token_id\": null}";
    view.generation_config_json = generation;
    view.generation_config_json_size = strlen(generation);
    p = util_plan(&view, NULL);
    ck_assert_int_eq(p->eos, 7);
    ck_assert_int_eq(p->bos, 1);
    samba__plan_free(p);
    samba__checkpoint_close(k);
}
END_TEST

/* ---- damage ---- */

static const char *const shrapnel[] = {
    "0",    "-1",       "1e308",    "4294967296", "99999999999999999999",
    "null", "true",     "\"\"",     "[]",         "{}",
    "[1]",  "0.5",      "16777216", "-0.0",       "2",
    "3",    "\"auto\"",
};

/* Puts a value in the place of another, or damages bytes. */
static void damage(char *text, size_t room, uint64_t *seed)
{
    size_t n = strlen(text);
    uint64_t r = util_random(seed);
    if (n == 0)
        return;
    if (r % 4 == 0) {
        for (uint64_t i = 0; i < 1 + (r >> 8) % 3; i++)
            text[util_random(seed) % n] = (char)(32 + util_random(seed) % 95);
        return;
    }
    if (r % 64 == 1) {
        text[util_random(seed) % n] = 0;
        return;
    }
    /* after a colon, up to the next comma */
    char *colon = strchr(text + util_random(seed) % n, ':');
    char *comma = colon ? strpbrk(colon, ",}") : NULL;
    const char *with = shrapnel[util_random(seed) % (sizeof shrapnel / sizeof *shrapnel)];
    if (!comma || n + strlen(with) + 2 > room)
        return;
    memmove(colon + 2 + strlen(with), comma, strlen(comma) + 1);
    memcpy(colon + 2, with, strlen(with));
    colon[1] = ' ';
}

START_TEST(test_damaged)
{
    static const char *const names[] = {
        "ms_samba", "ms_gla",    "ms_retnet",        "fla_samba", "mamba_ssm",
        "mamba_hf", "phi4flash", "ms_mamba_swa_mlp", "ms_mamba",  "ms_samba_scattn"};
    enum {
        N = 2000,
        ROOM = 8192
    };
    samba__checkpoint *k = util_open_case(names[_i]);
    uint64_t seed = (uint64_t)_i + 1;
    size_t refused = 0;
    for (int i = 0; i < N; i++) {
        char text[ROOM];
        samba_error *error = NULL;
        samba__plan *p = NULL;
        ck_assert_uint_lt(k->config_json_size, ROOM / 2);
        memcpy(text, k->config_json, k->config_json_size + 1);
        for (uint64_t m = 0; m <= util_random(&seed) % 3; m++)
            damage(text, sizeof text, &seed);
        samba__checkpoint view = with_config(k, text);
        samba_status status = samba__plan_create(&view, NULL, &p, &error);
        ck_assert_int_eq(status == SAMBA_OK, p != NULL);
        ck_assert_int_eq(samba_error_status(error), status);
        ck_assert_int_ne(status, SAMBA_ERROR_INTERNAL);
        ck_assert_int_ne(status, SAMBA_ERROR_OUT_OF_MEMORY);
        refused += status != SAMBA_OK;
        samba_error_free(error);
        samba__plan_free(p);
    }
    /* The damage must bite, and must not all be caught by the JSON parser. */
    ck_assert_uint_gt(refused, N / 4);
    ck_assert_uint_lt(refused, N);
    samba__checkpoint_close(k);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model/config");
    TCase *t = tcase_create("config");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_refused, 0, (int)(sizeof edits / sizeof *edits));
    tcase_add_test(t, test_meaning);
    tcase_add_test(t, test_attn_list);
    tcase_add_loop_test(t, test_damaged, 0, 10);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
