/*
 * Builds without tokenizer and JSON: GGUF files load, with or without a tokenizer inside, and
 * folders are refused.
 */
#include "model/vocab.h"
#include "model_util.h"
#include "support/micro_model.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

enum {
    D = 8,
    E = 16,
    N = 4,
    K = 4,
    R = 1,
    V = 10
};

typedef struct tensor {
    const char *name;
    uint64_t rows, cols; /* cols 0: a vector */
} tensor;

static const tensor tensors[] = {
    {"token_embd.weight", V, D},
    {"output_norm.weight", D, 0},
    {"blk.0.attn_norm.weight", D, 0},
    {"blk.0.ssm_in.weight", 2 * E, D},
    {"blk.0.ssm_conv1d.weight", E, K},
    {"blk.0.ssm_conv1d.bias", E, 0},
    {"blk.0.ssm_x.weight", R + 2 * N, E},
    {"blk.0.ssm_dt.weight", E, R},
    {"blk.0.ssm_dt.bias", E, 0},
    {"blk.0.ssm_a", E, N},
    {"blk.0.ssm_d", E, 0},
    {"blk.0.ssm_out.weight", D, E},
};

static void write_file(const char *path, bool tokenizer)
{
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"mamba.block_count", 1},     {"mamba.embedding_length", D},
                {"mamba.ssm.conv_kernel", K}, {"mamba.ssm.inner_size", E},
                {"mamba.ssm.state_size", N},  {"mamba.ssm.time_step_rank", R}};
    const float zeros[2 * E * D] = {0};
    const samba__string words[] = {{"a", 1}, {"b", 1}};
    samba__gguf_writer *w = NULL;
    ck_assert_int_eq(samba__gguf_writer_open(samba__alloc_default(), path, &w, NULL), 0);
    ck_assert_int_eq(samba__gguf_set_string(w, "general.architecture", "mamba", 5, NULL), 0);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ck_assert_int_eq(samba__gguf_set_u32(w, keys[i].key, keys[i].value, NULL), 0);
    if (tokenizer)
        ck_assert_int_eq(samba__gguf_set_string_array(w, "tokenizer.ggml.tokens", words, 2, NULL),
                         0);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const uint64_t shape[2] = {tensors[i].rows, tensors[i].cols};
        ck_assert_int_eq(samba__gguf_add_tensor(w, tensors[i].name, SAMBA_DTYPE_F32, shape,
                                                tensors[i].cols ? 2 : 1, NULL),
                         0);
    }
    ck_assert_int_eq(samba__gguf_begin_data(w, NULL), 0);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        ck_assert_int_eq(
            samba__gguf_write_data(
                w, zeros, tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1) * 4, NULL),
            0);
    ck_assert_int_eq(samba__gguf_writer_commit(w, NULL, NULL), 0);
}

START_TEST(test_gguf)
{
    char folder[64], path[96], text[512];
    samba__tokenizer *t = (samba__tokenizer *)(uintptr_t)1;
    ck_assert(micro_folder_make(folder));
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    write_file(path, _i != 0);
    samba__checkpoint *k = util_open(path);
    samba__plan *p = util_plan(k, NULL);
    util_describe(p, text, sizeof text);
    ck_assert_str_eq(text, "mamba 10x8 tied rms 1e-05: mamba e16 n4 k4 r1 convb");
    ck_assert_int_eq(samba__vocab_load(k, p, &t, NULL), SAMBA_OK);
    ck_assert_ptr_null(t);
    samba__plan_free(p);
    samba__checkpoint_close(k);
    micro_folder_remove(folder);
}
END_TEST

START_TEST(test_folder)
{
    char folder[64];
    samba__checkpoint *k = NULL;
    ck_assert(micro_folder_make(folder));
    ck_assert(micro_model_write(folder, NULL));
    ck_assert_int_eq(samba__checkpoint_open_path(samba__alloc_default(), folder, NULL, &k, NULL),
                     SAMBA_ERROR_UNSUPPORTED);
    micro_folder_remove(folder);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model/none");
    TCase *t = tcase_create("none");
    tcase_add_loop_test(t, test_gguf, 0, 2);
    tcase_add_test(t, test_folder);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
