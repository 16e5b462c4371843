/*
 * A host's first hour in little, short enough for valgrind: load, read, generate, clone, score,
 * free.
 */
#include "support/micro_model.h"
#include "support/rig.h"

#include <stdio.h>
#include <string.h>

static char folder[64];
static samba_context *context;
static samba_model *model;

static void set_up(void)
{
    const micro_options o = {.tokenizer = true, .bf16 = true};
    ck_assert(micro_folder_make(folder) && micro_model_write(folder, &o));
    context = rig_context(&(rig_options){.n_threads = 2});
    model = rig_load(context, folder, &(rig_options){0});
}

static void tear_down(void)
{
    samba_model_release(model);
    samba_context_free(context);
    micro_folder_remove(folder);
}

static int32_t collect(void *user_data, const samba_token_event *event)
{
    size_t *bytes = user_data;
    *bytes += event->text_size;
    ck_assert(event->text_size == 0 || event->text != NULL);
    return SAMBA_CONTINUE;
}

START_TEST(generates_text)
{
    samba_session *s = rig_session(model, 0, 0), *again = rig_session(model, 0, 3);
    samba_sampler *sampler = NULL;
    samba_generate_result results[2];
    size_t sizes[2] = {0, 0};
    const samba_generate_options o = {.struct_size = sizeof o, .max_tokens = 20};
    CK_OK(samba_sampler_create(context, &sampler, RIG_ERROR));
    CK_OK(samba_sampler_add_top_p(sampler, 0.9f, RIG_ERROR));
    CK_OK(samba_sampler_add_seed(sampler, 7, RIG_ERROR));
    samba_session *const sessions[] = {s, again};
    for (int i = 0; i < 2; i++) {
        memset(&results[i], 0, sizeof results[i]);
        results[i].struct_size = sizeof results[i];
        CK_OK(samba_session_feed_text(sessions[i], "The hen and the ring", SIZE_MAX, NULL,
                                      RIG_ERROR));
        CK_OK(samba_session_generate(sessions[i], sampler, &o, collect, &sizes[i], &results[i],
                                     RIG_ERROR));
    }
    ck_assert_mem_eq(&results[0], &results[1], sizeof results[0]);
    ck_assert_uint_eq(sizes[0], sizes[1]);
    samba_sampler_free(sampler);
    samba_session_free(s);
    samba_session_free(again);
}
END_TEST

START_TEST(clones_go_their_own_ways)
{
    static const samba_token tokens[] = {10, 20, 30, 40, 50, 60, 70, 80, 90, 100};
    samba_session *s = rig_session(model, 0, 4), *fork = NULL, *straight = rig_session(model, 0, 0);
    rig_eval(s, tokens, 9, 0);
    CK_OK(samba_session_clone(s, &fork, RIG_ERROR));
    rig_eval(s, tokens, 2, 0);
    rig_eval(fork, tokens + 9, 1, 0);
    rig_eval(straight, tokens, 10, 0);
    ck_assert_mem_eq(rig_logits(fork, SAMBA_ROW_LAST), rig_logits(straight, SAMBA_ROW_LAST),
                     MICRO_TOKENIZER_VOCAB * sizeof(float));
    samba_session_free(s);
    CK_OK(samba_session_reset(fork, RIG_ERROR));
    rig_eval(fork, tokens, 10, SAMBA_OUTPUT_ALL);
    ck_assert_mem_eq(rig_logits(fork, 9), rig_logits(straight, SAMBA_ROW_LAST),
                     MICRO_TOKENIZER_VOCAB * sizeof(float));
    samba_session_free(fork);
    samba_session_free(straight);
}
END_TEST

START_TEST(scores_and_proposes)
{
    static const samba_token tokens[] = {5, 6, 7, 8, 9, 10};
    const samba_eval_options o = {.struct_size = sizeof o, .speculative = SAMBA_YES};
    samba_session *s = rig_session(model, SAMBA_DTYPE_F32, 0);
    float logprobs[6];
    CK_OK(samba_session_score(s, tokens, 6, NULL, logprobs, RIG_ERROR));
    for (int i = 1; i < 6; i++)
        ck_assert_float_lt(logprobs[i], 0);
    CK_OK(samba_session_eval(s, tokens, 6, &o, RIG_ERROR));
    CK_OK(samba_session_keep(s, 2, RIG_ERROR));
    ck_assert_uint_eq(samba_session_position(s), 8);
    samba_session_free(s);
}
END_TEST

START_TEST(converts_and_loads_again)
{
    char path[96];
    samba_model *again = NULL;
    samba_model_info a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    CK_OK(samba_convert(context, folder, path, NULL, NULL, RIG_ERROR));
    CK_OK(samba_model_load(context, path, NULL, &again, RIG_ERROR));
    CK_OK(samba_model_get_info(model, &a, RIG_ERROR));
    CK_OK(samba_model_get_info(again, &b, RIG_ERROR));
    ck_assert_mem_eq(a.fingerprint, b.fingerprint, sizeof a.fingerprint);
    samba_model_release(again);
    CK_FAILS(SAMBA_ERROR_IO,
             samba_model_load(context, "/nowhere/model.gguf", NULL, &again, RIG_ERROR));
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("smoke");
    TCase *c = tcase_create("smoke");
    tcase_set_timeout(c, 300);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, generates_text);
    tcase_add_test(c, clones_go_their_own_ways);
    tcase_add_test(c, scores_and_proposes);
    tcase_add_test(c, converts_and_loads_again);
    suite_add_tcase(suite, c);
    return rig_main(argc, argv, suite);
}
