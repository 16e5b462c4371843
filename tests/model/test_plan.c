/*
 * Plans of all golden cases against data/plans.txt, which the numpy reference implementation wrote;
 * state slots and narrowing; and every way a tensor can be wrong.
 */
#include "model/roles.h"
#include "model_util.h"
#include "support/suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE = 4096
};

START_TEST(test_golden_plans)
{
    size_t size, n = 0;
    char *expected = util_file(TEST_ROOT "/tests/model/data/plans.txt", &size), *rest = expected;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n++) {
        char text[LINE], *colon = strchr(line, ':');
        ck_assert_ptr_nonnull(colon);
        *colon = 0;
        ck_assert_str_eq(line, golden_names[n]);
        samba__checkpoint *k = util_open_case(line);
        samba__plan *p = util_plan(k, NULL);
        util_describe(p, text, sizeof text);
        ck_assert_str_eq(text, colon + 2);
        samba__plan_free(p);
        samba__checkpoint_close(k);
    }
    ck_assert_uint_eq(n, golden_n_runnable);
    free(expected);
}
END_TEST

/* Slots are numbered in order and narrow_at is the last writer, counted here from the description
 * of the kinds alone. */
static void check_slots(const samba__plan *p)
{
    int32_t slab = 0, page = 0;
    uint32_t last = 0, blocks = 0;
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        const samba__plan_sublayer *s = &p->sublayers[i];
        const char *kind = samba__kind_name(s->desc.kind);
        bool conv_attention = strcmp(kind, "attention") == 0 && s->desc.d_conv;
        bool recurrent = strcmp(kind, "mamba") == 0 || strcmp(kind, "gla") == 0 ||
                         strcmp(kind, "retention") == 0 || conv_attention;
        bool attends = strcmp(kind, "attention") == 0 || strcmp(kind, "diff_attention") == 0;
        bool cross = attends && s->desc.flags;
        ck_assert_int_eq(s->slab_slot, recurrent ? slab++ : -1);
        if (cross)
            ck_assert_int_eq(s->page_slot, (int32_t)p->n_page_slots - 1);
        else
            ck_assert_int_eq(s->page_slot, attends ? page++ : -1);
        if (recurrent || (attends && !cross))
            last = i;
        if (s->block + 1 > blocks)
            blocks = s->block + 1;
    }
    ck_assert_int_eq(slab, (int32_t)p->n_slab_slots);
    ck_assert_int_eq(page, (int32_t)p->n_page_slots);
    ck_assert_uint_eq(last, p->narrow_at);
    ck_assert_uint_eq(blocks, p->n_blocks);
}

/* Every weight's shape in the plan is what the contract's table says; sizes recomputed here. */
static void check_weights(const samba__plan *p)
{
    size_t n = 2u + (p->final_norm_bias ? 1 : 0) + (p->head ? 1 : 0);
    ck_assert_str_eq(p->weights[0]->name, "token_embd.weight");
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        const samba__plan_sublayer *s = &p->sublayers[i];
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blk.%u.", i);
        for (uint32_t r = 0; r < SAMBA_W_COUNT; r++) {
            const samba__weight *w = s->weights[r];
            const samba_backend_tensor *t = &s->desc.tensors[r];
            ck_assert_uint_eq(t->rows, w ? w->rows : 0);
            ck_assert_ptr_null(t->data);
            if (!w)
                continue;
            n++;
            ck_assert_int_eq(strncmp(w->name, prefix, strlen(prefix)), 0);
            ck_assert_uint_eq(w->run * w->n_runs, w->vector ? w->cols : w->rows);
            ck_assert_uint_eq(t->cols, w->cols);
        }
    }
    ck_assert_uint_eq(n, p->n_weights);
}

START_TEST(test_slots)
{
    samba__checkpoint *k = util_open_case(golden_names[_i]);
    samba__plan *p = util_plan(k, NULL);
    check_slots(p);
    check_weights(p);
    samba__plan_free(p);
    samba__checkpoint_close(k);
}
END_TEST

START_TEST(test_options)
{
    samba__checkpoint *k = util_open_case("ms_samba");
    const samba__plan_options options = {.rope_table = SAMBA_ROPE_TABLE_F32,
                                         .weight_dtype = SAMBA_DTYPE_Q8_0};
    samba__plan *p = util_plan(k, &options);
    const samba_backend_sublayer *mamba = &p->sublayers[0].desc, *attn = &p->sublayers[2].desc;
    ck_assert_int_eq(attn->rope_table, SAMBA_ROPE_TABLE_F32);
    /* d_model 48 is no multiple of 32, 96 is */
    ck_assert_int_eq(mamba->tensors[SAMBA_W_IN].dtype, SAMBA_DTYPE_BF16);
    ck_assert_int_eq(mamba->tensors[SAMBA_W_OUT].dtype, SAMBA_DTYPE_Q8_0);
    ck_assert_int_eq(mamba->tensors[SAMBA_W_X_PROJ].dtype, SAMBA_DTYPE_Q8_0);
    ck_assert_int_eq(mamba->tensors[SAMBA_W_A].dtype, SAMBA_DTYPE_F32);
    ck_assert_int_eq(mamba->tensors[SAMBA_W_DT_PROJ].dtype, SAMBA_DTYPE_F32);
    ck_assert_int_eq(mamba->tensors[SAMBA_W_CONV].dtype, SAMBA_DTYPE_F32);
    samba__plan_free(p);
    samba__checkpoint_close(k);

    /* Retention's table is not the attention's, and the option leaves it alone. */
    k = util_open_case("ms_retnet");
    const samba__plan_options bf16 = {.rope_table = SAMBA_ROPE_TABLE_BF16};
    p = util_plan(k, &bf16);
    ck_assert_int_eq(p->sublayers[0].desc.rope_table, SAMBA_ROPE_TABLE_F32);
    ck_assert_int_eq(p->sublayers[2].desc.rope_table, SAMBA_ROPE_TABLE_BF16);
    samba__plan_free(p);
    const samba__plan_options wrong = {.rope_table = 3}, type = {.weight_dtype = 77};
    ck_assert_int_eq(samba__plan_create(k, &wrong, &p, NULL), SAMBA_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(samba__plan_create(k, &type, &p, NULL), SAMBA_ERROR_INVALID_ARGUMENT);
    samba__checkpoint_close(k);
}
END_TEST

/* ---- wrong tensors: a changed copy of the directory of a good file ---- */

typedef struct changed {
    samba__checkpoint view;
    samba__file_tensor *tensors; /* room for one more */
} changed;

static changed change(const samba__checkpoint *k)
{
    changed c = {.view = *k, .tensors = calloc(k->n_tensors + 1, sizeof *c.tensors)};
    ck_assert_ptr_nonnull(c.tensors);
    memcpy(c.tensors, k->tensors, k->n_tensors * sizeof *c.tensors);
    c.view.tensors = c.tensors;
    return c;
}

/* The plan of the changed directory must fail, about tensor `name` (NULL: any). */
static void must_fail(const changed *c, samba_status status, const char *name, const char *part)
{
    samba_error *error = NULL;
    samba__plan *p = NULL;
    samba_status got = samba__plan_create(&c->view, NULL, &p, &error);
    if (got != status || p)
        ck_abort_msg("%s, %s: wanted %s, got %s: %s", c->view.path, name,
                     samba_status_string(status), samba_status_string(got),
                     samba_error_message(error));
    ck_assert_ptr_nonnull(samba_error_file(error));
    if (name)
        ck_assert_str_eq(samba_error_tensor(error), name);
    ck_assert_msg(strstr(samba_error_message(error), part) != NULL, "%s",
                  samba_error_message(error));
    samba_error_free(error);
}

/* In a tied model a head is not needed. The native and the HF name of Mamba's embedding stand for
 * each other, so the message names the other one. */
START_TEST(test_missing)
{
    samba__checkpoint *k = util_open_case(golden_names[_i]);
    samba__plan *whole = util_plan(k, NULL);
    for (size_t i = 0; i < k->n_tensors; i++) {
        const char *name = k->tensors[i].name;
        changed c = change(k);
        memmove(&c.tensors[i], &c.tensors[i + 1], (k->n_tensors - 1 - i) * sizeof *c.tensors);
        c.view.n_tensors--;
        if (strcmp(name, "lm_head.weight") != 0 || whole->head)
            must_fail(&c, SAMBA_ERROR_MISMATCH,
                      strstr(name, "embeddings") && strstr(golden_names[_i], "mamba") ? NULL : name,
                      "is missing");
        else
            samba__plan_free(util_plan(&c.view, NULL));
        free(c.tensors);
    }
    samba__plan_free(whole);
    samba__checkpoint_close(k);
}
END_TEST

/* One more along each dimension: both shapes are told. Sizes that are read off a tensor show at
 * another one of the same sublayer. */
START_TEST(test_mis_shaped)
{
    samba__checkpoint *k = util_open_case(golden_names[_i]);
    size_t named = 0, all = 0;
    for (size_t i = 0; i < k->n_tensors; i++) {
        for (uint32_t dim = 0; dim < k->tensors[i].n_dims; dim++) {
            samba_error *error = NULL;
            samba__plan *p = NULL;
            changed c = change(k);
            c.tensors[i].shape[dim]++;
            ck_assert_int_eq(samba__plan_create(&c.view, NULL, &p, &error), SAMBA_ERROR_MISMATCH);
            ck_assert_ptr_nonnull(samba_error_tensor(error));
            ck_assert_ptr_nonnull(samba_error_file(error));
            all++;
            named += strcmp(samba_error_tensor(error), k->tensors[i].name) == 0;
            const char *is = strstr(samba_error_message(error), " is [");
            ck_assert_msg(is && strstr(is, " says ["), "%s", samba_error_message(error));
            samba_error_free(error);
            free(c.tensors);
        }
    }
    ck_assert_msg(named * 10 > all * 8, "%zu of %zu", named, all);
    samba__checkpoint_close(k);
}
END_TEST

START_TEST(test_extra_and_types)
{
    samba__checkpoint *k = util_open_case("ms_samba");
    changed c = change(k);
    samba__file_tensor *t = &c.tensors[k->n_tensors];
    *t = c.tensors[0];
    t->name = "zzz.extra.weight"; /* sorts last */
    c.view.n_tensors++;
    must_fail(&c, SAMBA_ERROR_MISMATCH, t->name, "zzz.extra.weight has no place");
    t->name = "zzz.rotary_emb.inv_freq";
    samba__plan_free(util_plan(&c.view, NULL));
    t->name = "zzz.rel_pos_bias._float_tensor";
    samba__plan_free(util_plan(&c.view, NULL));
    c.view.n_tensors--;
    for (size_t i = 0; i < k->n_tensors; i++) {
        samba__file_tensor good = c.tensors[i];
        c.tensors[i].dtype = 0;
        c.tensors[i].dtype_name = "I64";
        must_fail(&c, SAMBA_ERROR_UNSUPPORTED, good.name, "has type I64");
        c.tensors[i].dtype = SAMBA_DTYPE_Q8_0; /* rows of 48, and vectors */
        if (good.n_dims == 1 || good.shape[1] == 48)
            must_fail(&c, SAMBA_ERROR_MISMATCH, good.name, "no multiple of 32");
        c.tensors[i] = good;
    }
    free(c.tensors);
    samba__checkpoint_close(k);
}
END_TEST

START_TEST(test_s6mega_refused)
{
    samba__checkpoint *k = util_open_case(golden_names[golden_n_runnable + (size_t)_i]);
    util_refused(k, SAMBA_ERROR_UNSUPPORTED, "S6-Mega");
    samba__checkpoint_close(k);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model/plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_golden_plans);
    tcase_add_loop_test(t, test_slots, 0, (int)golden_n_runnable);
    tcase_add_test(t, test_options);
    tcase_add_loop_test(t, test_missing, 0, (int)golden_n_runnable);
    tcase_add_loop_test(t, test_mis_shaped, 0, (int)golden_n_runnable);
    tcase_add_test(t, test_extra_and_types);
    tcase_add_loop_test(t, test_s6mega_refused, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
