/*
 * Block formats in whole models: a small Samba whose rows are multiples of 256, quantised while
 * loading, beforehand, and from another quantised file; that what the plan keeps finer is finer;
 * and that kernels which multiply integers give the logits of the numbers that the file holds.
 */
#include "support/micro_model.h"
#include "support/rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    PATH = 128,
    N_VOCAB = 64,
    N_TOKENS = 40
};
static char folder[64];
static samba_context *context;

/* Two kinds of end: with an own head, and with one table for both. */
static const micro_options options_of[2] = {
    {.d_model = 256, .n_vocab = N_VOCAB},
    {.d_model = 256, .n_vocab = N_VOCAB, .tied = true, .seed = 2},
};

/* weight_types of the two: in_proj, out_proj, q, k, v, o, 2 * (gate, up, down) and the embedding
 * are as asked; x_proj is finer, and what makes the logits. How far from the model that was
 * quantised the logits may be. */
static const struct {
    samba_dtype dtype;
    const char *types[2];
    double far;
} formats[] = {
    {SAMBA_DTYPE_Q8_0, {"q8_0 15, f32 11", "q8_0 14, f32 11"}, 0.03},
    {SAMBA_DTYPE_Q6_K, {"q6_k 14, q8_0 1, f32 11", "q6_k 13, q8_0 1, f32 11"}, 0.06},
    {SAMBA_DTYPE_Q4_K, {"q6_k 1, q4_k 13, q8_0 1, f32 11", "q6_k 1, q4_k 12, q8_0 1, f32 11"}, 0.2},
    {SAMBA_DTYPE_Q4_0, {"q6_k 1, q4_0 13, q8_0 1, f32 11", "q6_k 1, q4_0 12, q8_0 1, f32 11"}, 0.2},
};
enum {
    N_FORMATS = sizeof formats / sizeof *formats
};

static void setup(void)
{
    ck_assert(micro_folder_make(folder));
    context = rig_context(&(rig_options){.n_threads = 1});
}

static void teardown(void)
{
    samba_context_free(context);
    micro_folder_remove(folder);
}

/* folder/name.gguf, from `in`. */
static samba_convert_report convert(const char *in, const char *name, samba_dtype dtype,
                                    char path[PATH])
{
    const samba_convert_options o = {.struct_size = sizeof o, .weight_dtype = dtype};
    samba_convert_report report = {.struct_size = sizeof report};
    snprintf(path, PATH, "%s/%s.gguf", folder, name);
    CK_OK(samba_convert(context, in, path, &o, &report, RIG_ERROR));
    return report;
}

static samba_model *load(const char *path, samba_dtype dtype)
{
    return rig_load(context, path, &(rig_options){.weight_dtype = dtype});
}

static samba_model_info info_of(const samba_model *model)
{
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    return info;
}

/* Of all rows, one after another. */
static void logits_of(samba_model *model, float *logits)
{
    samba_token tokens[N_TOKENS];
    samba_session *session = rig_session(model, SAMBA_DTYPE_F32, 0);
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (samba_token)(i * 37 % N_VOCAB);
    rig_eval(session, tokens, N_TOKENS, SAMBA_OUTPUT_ALL);
    for (size_t i = 0; i < N_TOKENS; i++)
        memcpy(logits + i * N_VOCAB, rig_logits(session, i), N_VOCAB * sizeof *logits);
    samba_session_free(session);
}

/* The size (root of the sum of squares) of two models' difference over that of the logits. */
static double distance(samba_model *a, samba_model *b)
{
    static float x[N_TOKENS * N_VOCAB], y[N_TOKENS * N_VOCAB];
    double difference = 0, size = 0;
    logits_of(a, x);
    logits_of(b, y);
    for (size_t i = 0; i < N_TOKENS * N_VOCAB; i++) {
        double d = (double)x[i] - (double)y[i];
        difference += d * d;
        size += (double)x[i] * (double)x[i];
    }
    return sqrt(difference / size);
}

START_TEST(quantised_anywhere_is_the_same)
{
    samba_dtype dtype = formats[_i / 2].dtype;
    char path[PATH];
    ck_assert(micro_model_write(folder, &options_of[_i % 2]));
    samba_convert_report report = convert(folder, "made", dtype, path);
    ck_assert_uint_eq(report.n_kept, 0);
    samba_model *made = load(path, 0), *loading = load(folder, dtype);
    samba_model_info a = info_of(made), b = info_of(loading);
    ck_assert_str_eq(a.weight_types, formats[_i / 2].types[_i % 2]);
    ck_assert_str_eq(b.weight_types, a.weight_types);
    ck_assert_mem_eq(a.fingerprint, b.fingerprint, sizeof a.fingerprint);
    ck_assert(distance(made, loading) == 0);
    samba_model_release(made);
    samba_model_release(loading);
}
END_TEST

/* The same numbers as f32 give nearly the same logits: activations rounded to int8 make an error of
 * 0.5 % of each product. The model that they came from gives less near ones. */
START_TEST(near_the_dequantised_model)
{
    char path[PATH], wide[PATH];
    ck_assert(micro_model_write(folder, &options_of[_i % 2]));
    convert(folder, "made", formats[_i / 2].dtype, path);
    convert(path, "wide", SAMBA_DTYPE_F32, wide);
    samba_model *quantised = load(path, 0), *numbers = load(wide, 0), *origin = load(folder, 0);
    double near = distance(numbers, quantised), far = distance(origin, quantised);
    ck_assert_double_lt(near, 0.02);
    ck_assert_double_lt(far, formats[_i / 2].far);
    samba_model_release(quantised);
    samba_model_release(numbers);
    samba_model_release(origin);
}
END_TEST

/* From one block format to another, and to the same: nothing changes that need not. */
START_TEST(quantised_again)
{
    char eight[PATH], four[PATH], again[PATH];
    ck_assert(micro_model_write(folder, &options_of[0]));
    convert(folder, "eight", SAMBA_DTYPE_Q8_0, eight);
    convert(eight, "four", SAMBA_DTYPE_Q4_K, four);
    convert(four, "again", SAMBA_DTYPE_Q4_K, again);
    samba_model *a = load(four, 0), *b = load(again, 0), *c = load(folder, SAMBA_DTYPE_Q4_K);
    samba_model_info i = info_of(a), j = info_of(b);
    ck_assert_mem_eq(i.fingerprint, j.fingerprint, sizeof i.fingerprint);
    ck_assert_str_eq(i.weight_types, info_of(c).weight_types);
    ck_assert_double_lt(distance(a, c), 0.5);
    samba_model_release(a);
    samba_model_release(b);
    samba_model_release(c);
}
END_TEST

/* The file is smaller by what the format promises, and memory is foretold. */
START_TEST(sizes)
{
    char path[PATH];
    ck_assert(micro_model_write(folder, &options_of[0]));
    samba_convert_report f32 = convert(folder, "f32", SAMBA_DTYPE_F32, path);
    samba_convert_report report = convert(folder, "made", formats[_i].dtype, path);
    const double bits[] = {8.5, 6.5625, 4.5, 4.5};
    ck_assert_double_lt((double)report.file_bytes, (double)f32.file_bytes * (bits[_i] / 32 + 0.05));
    samba_estimate estimate = {.struct_size = sizeof estimate};
    CK_OK(samba_model_estimate(context, path, NULL, NULL, &estimate, RIG_ERROR));
    samba_model *model = load(path, 0);
    double held = (double)info_of(model).weight_bytes;
    ck_assert_double_lt(fabs((double)estimate.weight_bytes - held), 0.1 * held);
    samba_model_release(model);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("run/formats");
    TCase *c = tcase_create("formats");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, quantised_anywhere_is_the_same, 0, 2 * N_FORMATS);
    tcase_add_loop_test(c, near_the_dequantised_model, 0, 2 * N_FORMATS);
    tcase_add_test(c, quantised_again);
    tcase_add_loop_test(c, sizes, 0, N_FORMATS);
    suite_add_tcase(suite, c);
    return rig_main(argc, argv, suite);
}
