/*
 * The model that comes with the library (8-bit): it still reads as well as it did before it was
 * quantised, and finds all ten pass keys at the length it was trained on.
 */
#include "support/reading.h"
#include "support/rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static samba_context *context;
static samba_model *model;

static void set_up(void)
{
    rig_options options = {0};
    context = rig_context(&options);
    model = rig_load(context, BUNDLED_MODEL, &options);
}

static void tear_down(void)
{
    samba_model_release(model);
    samba_context_free(context);
}

/* See test_samba13m.c for how the parts are cut. */
START_TEST(likelihood)
{
    size_t size = 0, n = 0, parts = sizeof reading_expected_nll / sizeof *reading_expected_nll;
    char *text = rig_file(VAL_HEAD, &size);
    samba_token *tokens = reading_tokens(model, text, size, &n);
    ck_assert_uint_eq(n, 65535);
    samba_session *s = rig_session(model, 0, 0);
    double want = 0, start = rig_now();
    rig_eval(s, tokens, 1, 0);
    double nll = reading_nll(s, tokens + 1, n - 1);
    for (size_t k = 0; k < parts; k++)
        want += reading_expected_nll[k] / (double)parts;
    printf("%zu tokens: nll %.5f, in full precision %.5f (%.1f s)\n", n - 1, nll, want,
           (rig_now() - start) * 1e-3);
    ck_assert_msg(fabs(nll - want) <= 0.005, "nll %.6f, expected %.6f", nll, want);
    samba_session_free(s);
    free(tokens);
    free(text);
}
END_TEST

START_TEST(pass_keys)
{
    rig_random random = {20240607};
    int n = 10, right = 0;
    for (int i = 0; i < n; i++) {
        char key[16], expected[24];
        snprintf(key, sizeof key, "%05u", 10000 + rig_below(&random, 90000));
        snprintf(expected, sizeof expected, "%s.\n", key);
        char *prompt = reading_passkey(model, 16384, (i + 0.5) / n, key);
        right += reading_answers(model, prompt, expected);
        free(prompt);
    }
    printf("%d of %d pass keys found in 16,384 tokens\n", right, n);
    ck_assert_int_eq(right, n);
}
END_TEST

/* The file says what it is. */
START_TEST(information)
{
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    ck_assert_str_eq(info.family, "samba");
    ck_assert_uint_eq(info.n_vocab, 8192);
    ck_assert_uint_eq(info.d_model, 256);
    ck_assert_uint_eq(info.n_blocks, 12);
    ck_assert_uint_eq(info.n_sublayers, 24);
    ck_assert_int_eq(info.has_tokenizer, 1);
    ck_assert_int_eq(info.invariant, 1);
    ck_assert_uint_gt(info.n_parameters, 13000000);
    ck_assert_uint_lt(info.n_parameters, 14000000);
    ck_assert_ptr_nonnull(strstr(info.weight_types, "q8_0"));
}
END_TEST

int main(int argc, char **argv)
{
    if (access(BUNDLED_MODEL, R_OK) != 0) {
        printf("%s is not here: skipped\n", BUNDLED_MODEL);
        return 77;
    }
    Suite *suite = suite_create("bundled");
    TCase *tcase = tcase_create("8-bit");
    tcase_set_timeout(tcase, 1200);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, information);
    tcase_add_test(tcase, likelihood);
    tcase_add_test(tcase, pass_keys);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
