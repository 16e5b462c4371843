/*
 * The golden cases through the whole library: logits of every position, the residual stream after
 * every block, the recurrent state and the greedy continuation, against what the official code
 * gave. On the CPU's every tier and on the fake backend, each seen through the spy.
 */
#include "backend/device.h"
#include "support/fake_device.h"
#include "support/golden_case.h"
#include "support/rig.h"
#include "support/spy_device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double tolerance = 2e-5;

/* ---------------------------------------------------------------- backends */

typedef struct target {
    const char *name;
    samba_cpu_tier tier; /* 0 with fake */
} target;
static const target targets[] = {
    {"fake", 0},
    {"reference", SAMBA_CPU_REFERENCE},
    {"avx2", SAMBA_CPU_AVX2},
    {"avx512", SAMBA_CPU_AVX512},
    {"avx512-vnni", SAMBA_CPU_AVX512_VNNI},
    {"avx512-bf16", SAMBA_CPU_AVX512_BF16},
    {"neon", SAMBA_CPU_NEON},
    {"neon-dotprod", SAMBA_CPU_NEON_DOTPROD},
};
enum {
    N_TARGETS = sizeof targets / sizeof targets[0]
};

static bool target_is_here(const target *t)
{
    if (t->tier == 0)
        return true;
    samba_context *context = NULL;
    samba_model *model = NULL;
    samba_context_options options = {.struct_size = sizeof options, .cpu_tier = t->tier};
    CK_OK(samba_context_create(&options, &context, RIG_ERROR));
    samba_status status = samba_model_load(context, GOLDEN_CASES "/mamba_hf", NULL, &model, NULL);
    ck_assert(status == SAMBA_OK || status == SAMBA_ERROR_UNSUPPORTED);
    bool here = status == SAMBA_OK;
    samba_model_release(model);
    samba_context_free(context);
    return here;
}

static samba_rope_table rope_of(const golden_case *c)
{
    return strcmp(c->rope, "bf16") == 0   ? SAMBA_ROPE_TABLE_BF16
           : strcmp(c->rope, "fp32") == 0 ? SAMBA_ROPE_TABLE_F32
                                          : 0;
}

static rig_options options_of(const golden_case *c, const target *t)
{
    const samba_backend_vtbl *real = t->tier ? samba__registry_find("cpu") : &fake_vtbl;
    ck_assert_ptr_nonnull(real);
    return (rig_options){.backend = spy_watch(real),
                         .n_threads = 2,
                         .cpu_tier = t->tier,
                         .weight_dtype = SAMBA_DTYPE_F32,
                         .rope_table = rope_of(c)};
}

/* ---------------------------------------------------------------- one case */

typedef struct worst {
    double error;
    char tensor[64];
} worst;

static void compare(worst *w, const golden_case *c, const char *name, const float *got, size_t n)
{
    const golden_tensor *t = golden_find(c, name);
    ck_assert_msg(t != NULL, "%s: no tensor %s", c->name, name);
    ck_assert_msg(t->n == n, "%s: %s has %zu values, expected %llu", c->name, name, n,
                  (unsigned long long)t->n);
    double error = golden_error(got, t->data, n);
    ck_assert_msg(error <= tolerance, "%s: %s is off by %.3g of its largest value", c->name, name,
                  error);
    if (error > w->error) {
        w->error = error;
        snprintf(w->tensor, sizeof w->tensor, "%s", name);
    }
}

static void check_logits(worst *w, const golden_case *c, samba_session *s, size_t n_vocab)
{
    float *all = malloc(c->n_tokens * n_vocab * sizeof *all);
    rig_eval(s, c->tokens, c->n_tokens, SAMBA_OUTPUT_ALL);
    ck_assert_uint_eq(samba_session_n_rows(s), c->n_tokens);
    for (size_t i = 0; i < c->n_tokens; i++)
        memcpy(all + i * n_vocab, rig_logits(s, i), n_vocab * sizeof *all);
    compare(w, c, "logits", all, c->n_tokens * n_vocab);
    free(all);
}

static void check_hidden(worst *w, const golden_case *c, samba_session *s, size_t d_model,
                         int32_t which)
{
    char name[32] = "final_norm";
    float *all = malloc(c->n_tokens * d_model * sizeof *all);
    if (which >= 1)
        snprintf(name, sizeof name, "hidden.%d", which - 1);
    CK_OK(samba_session_reset(s, RIG_ERROR));
    CK_OK(samba_session_eval(s, c->tokens, c->n_tokens,
                             &(samba_eval_options){.struct_size = sizeof(samba_eval_options),
                                                   .outputs = SAMBA_OUTPUT_ALL,
                                                   .hidden = which},
                             RIG_ERROR));
    for (size_t i = 0; i < c->n_tokens; i++)
        memcpy(all + i * d_model, rig_hidden(s, i), d_model * sizeof *all);
    compare(w, c, name, all, c->n_tokens * d_model);
    free(all);
}

/* The golden's conv holds k columns, the slab the last k-1 of them. */
static void check_conv(worst *w, const golden_case *c, const char *name, const float *got)
{
    const golden_tensor *t = golden_find(c, name);
    ck_assert_ptr_nonnull(t);
    uint64_t k = t->shape[1];
    float *want = malloc(t->n * sizeof *want);
    for (uint64_t e = 0; e < t->shape[0]; e++)
        memcpy(want + e * (k - 1), t->data + e * k + 1, (k - 1) * sizeof *want);
    double error = golden_error(got, want, t->shape[0] * (k - 1));
    ck_assert_msg(error <= tolerance, "%s: %s is off by %.3g", c->name, name, error);
    if (error > w->error) {
        w->error = error;
        snprintf(w->tensor, sizeof w->tensor, "%s", name);
    }
    free(want);
}

static void check_states(worst *w, const golden_case *c, samba_model *model)
{
    const spy_seen *seen = spy_look();
    size_t n_checked = 0, n_expected = 0;
    char name[64];
    for (size_t i = 0; i < c->n_tensors; i++)
        n_expected += strncmp(c->tensors[i].name, "state.", 6) == 0;
    for (uint32_t i = 0; i < seen->n_sublayers; i++) {
        const spy_state *s = &seen->sublayers[i];
        samba_sublayer_info info = {.struct_size = sizeof info};
        CK_OK(samba_model_get_sublayer(model, i, &info, RIG_ERROR));
        if (s->kind == SAMBA_SUBLAYER_MAMBA) {
            snprintf(name, sizeof name, "state.%u.conv", info.block);
            check_conv(w, c, name, s->slab);
            snprintf(name, sizeof name, "state.%u.ssm", info.block);
            compare(w, c, name, s->slab + s->n_conv, s->n - s->n_conv);
            n_checked += 2;
        } else if (s->kind == SAMBA_SUBLAYER_GLA || s->kind == SAMBA_SUBLAYER_RETENTION) {
            snprintf(name, sizeof name, "state.%u.%s", info.block,
                     s->kind == SAMBA_SUBLAYER_GLA ? "gla" : "ret");
            compare(w, c, name, s->slab, s->n);
            n_checked++;
        }
    }
    ck_assert_uint_eq(n_checked, n_expected);
    if (golden_find(c, "gmu_memory"))
        compare(w, c, "gmu_memory", seen->memory, seen->memory_rows * seen->memory_width);
}

static void check_greedy(const golden_case *c, samba_session *s)
{
    for (size_t i = 0; i < c->n_greedy; i++) {
        samba_token token = -1;
        CK_OK(samba_session_sample(s, NULL, 0, &token, NULL, RIG_ERROR));
        ck_assert_msg(token == c->greedy[i], "%s: greedy token %zu is %d, expected %d", c->name, i,
                      token, c->greedy[i]);
        rig_eval(s, &token, 1, 0);
    }
}

static void run_case(const golden_case *c, const target *t)
{
    rig_options options = options_of(c, t);
    samba_context *context = rig_context(&options);
    samba_model *model = rig_load(context, c->folder, &options);
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    worst w = {0};

    samba_session *s = rig_session(model, SAMBA_DTYPE_F32, 0);
    check_logits(&w, c, s, info.n_vocab);
    check_states(&w, c, model);
    check_greedy(c, s);
    for (uint32_t b = 1; b <= info.n_blocks; b++)
        check_hidden(&w, c, s, info.d_model, (int32_t)b);
    check_hidden(&w, c, s, info.d_model, SAMBA_HIDDEN_FINAL);
    printf("%-12s %-24s worst %.2e of max (%s)\n", t->name, c->name, w.error, w.tensor);

    samba_session_free(s);
    samba_model_release(model);
    samba_context_free(context);
    spy_watch(NULL);
}

START_TEST(every_case)
{
    const target *t = &targets[_i];
    if (!target_is_here(t)) {
        printf("%-12s not on this machine or in this build\n", t->name);
        return;
    }
    fake_reset_counts();
    for (size_t i = 0; i < golden_n_runnable; i++) {
        golden_case *c = golden_open(GOLDEN_CASES, golden_names[i]);
        run_case(c, t);
        golden_close(c);
    }
    fake_counts counts;
    fake_get_counts(&counts);
    ck_assert_msg(counts.violations == 0, "%s", counts.first_violation);
    ck_assert_int_eq(counts.devices + counts.weights + counts.slabs + counts.pages + counts.passes,
                     0);
    ck_assert(t->tier != 0 || counts.passes_run > 0);
}
END_TEST

/* The families' own RoPE tables are the ones of the official code. */
START_TEST(rope_table_by_default)
{
    static const char *const cases[] = {"ms_samba", "fla_samba", "ms_retnet"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        golden_case *c = golden_open(GOLDEN_CASES, cases[i]);
        rig_options options = {.weight_dtype = SAMBA_DTYPE_F32};
        samba_context *context = rig_context(&options);
        samba_model *by_default = rig_load(context, c->folder, &options);
        options.rope_table = rope_of(c);
        samba_model *by_name = rig_load(context, c->folder, &options);
        options.rope_table = options.rope_table == SAMBA_ROPE_TABLE_BF16 ? SAMBA_ROPE_TABLE_F32
                                                                         : SAMBA_ROPE_TABLE_BF16;
        samba_model *other = rig_load(context, c->folder, &options);
        samba_model *models[3] = {by_default, by_name, other};
        samba_model_info info = {.struct_size = sizeof info};
        CK_OK(samba_model_get_info(by_name, &info, RIG_ERROR));
        samba_session *s[3];
        for (int k = 0; k < 3; k++) {
            s[k] = rig_session(models[k], SAMBA_DTYPE_F32, 0);
            rig_eval(s[k], c->tokens, c->n_tokens, 0);
        }
        size_t size = info.n_vocab * sizeof(float);
        ck_assert_mem_eq(rig_logits(s[0], 0), rig_logits(s[1], 0), size);
        ck_assert(memcmp(rig_logits(s[0], 0), rig_logits(s[2], 0), size) != 0);
        for (int k = 0; k < 3; k++) {
            samba_session_free(s[k]);
            samba_model_release(models[k]);
        }
        samba_context_free(context);
        golden_close(c);
    }
}
END_TEST

START_TEST(s6mega_is_refused_by_name)
{
    samba_context *context = rig_context(&(rig_options){0});
    for (size_t i = golden_n_runnable; i < golden_n; i++) {
        char path[512];
        samba_model *model = NULL;
        snprintf(path, sizeof path, "%s/%s", GOLDEN_CASES, golden_names[i]);
        CK_FAILS(SAMBA_ERROR_UNSUPPORTED, samba_model_load(context, path, NULL, &model, RIG_ERROR));
        ck_assert_ptr_null(model);
        char text[1024];
        snprintf(text, sizeof text, "%s", rig_message());
        for (char *p = text; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        ck_assert_msg(strstr(text, "mega") != NULL, "the message does not say what: %s", text);
    }
    samba_context_free(context);
}
END_TEST

/* --no-fake leaves out the fake backend: where this program is emulated, it is the slowest. */
int main(int argc, char **argv)
{
    int first = 0;
    for (int i = 1; i < argc; i++)
        first |= strcmp(argv[i], "--no-fake") == 0;
    Suite *suite = suite_create("golden");
    TCase *tcase = tcase_create("cases");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, every_case, first, N_TARGETS);
    tcase_add_test(tcase, rope_table_by_default);
    tcase_add_test(tcase, s6mega_is_refused_by_name);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
