/*
 * Profiles: what samba_context_get_profile tells is where the time of evaluating went, and counting
 * changes nothing else.
 */
#include "support/fake_device.h"
#include "support/rig.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKENS = 64,
    ENTRIES = 64
};

static samba_context *context_with(int32_t profile, const samba_backend_vtbl *const *backends)
{
    samba_context *context = NULL;
    const samba_context_options o = {.struct_size = sizeof o,
                                     .n_threads = 2,
                                     .backends = backends,
                                     .n_backends = backends != NULL,
                                     .profile = profile};
    CK_OK(samba_context_create(&o, &context, RIG_ERROR));
    return context;
}

static samba_model *model_of(samba_context *context, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN_CASES "/%s", name);
    return rig_load(context, path, &(rig_options){.n_threads = 2});
}

static void feed(samba_session *s)
{
    samba_token tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = (samba_token)(i % 30);
    rig_eval(s, tokens, TOKENS, 0);
    for (int i = 0; i < 8; i++)
        rig_eval(s, tokens + i, 1, 0);
}

static size_t entries_of(samba_context *context, samba_profile_entry *entries)
{
    size_t n = ENTRIES + 1;
    CK_OK(samba_context_get_profile(context, entries, ENTRIES, sizeof *entries, &n, RIG_ERROR));
    ck_assert_uint_le(n, ENTRIES);
    return n;
}

static const samba_profile_entry *find(const samba_profile_entry *entries, size_t n,
                                       const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    ck_abort_msg("no entry %s", name);
    return NULL;
}

static double total(const samba_profile_entry *entries, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        ck_assert(entries[i].seconds >= 0);
        ck_assert_uint_gt(entries[i].calls, 0);
        sum += entries[i].seconds;
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(entries[i].name, entries[k].name);
    }
    return sum;
}

START_TEST(adds_up)
{
    samba_context *context = context_with(SAMBA_YES, NULL);
    samba_model *model = model_of(context, "ms_samba");
    samba_session *s = rig_session(model, 0, 16);
    samba_profile_entry first[ENTRIES], second[ENTRIES];
    ck_assert_uint_eq(entries_of(context, first), 0);
    double begin = rig_now();
    feed(s);
    double spent = (rig_now() - begin) * 1e-3;
    size_t n = entries_of(context, first), m;
    ck_assert(total(first, n) <= spent);
    ck_assert(total(first, n) > 0.2 * spent);
    find(first, n, "scan");
    find(first, n, "conv");
    find(first, n, "norm");
    find(first, n, "attention");
    find(first, n, "linear f32");
    find(first, n, "waiting for threads");
    ck_assert_uint_eq(find(first, n, "embedding")->calls, TOKENS / 16 + 8); /* one a pass */
    feed(s);
    m = entries_of(context, second);
    ck_assert_uint_eq(m, n);
    ck_assert_uint_gt(find(second, m, "scan")->calls, find(first, n, "scan")->calls);
    samba_context_reset_profile(context);
    ck_assert_uint_eq(entries_of(context, first), 0);
    samba_session_free(s);
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

START_TEST(changes_nothing)
{
    static const char *const names[] = {"ms_samba_scattn", "phi4flash", "ms_gla", "ms_retnet"};
    float *logits[2];
    size_t n_vocab = 0;
    for (int i = 0; i < 2; i++) {
        samba_context *context = context_with(i ? SAMBA_YES : SAMBA_NO, NULL);
        samba_model *model = model_of(context, names[_i]);
        samba_session *s = rig_session(model, 0, 0);
        samba_profile_entry entries[ENTRIES];
        const float *row = NULL;
        feed(s);
        ck_assert_int_eq(entries_of(context, entries) > 0, i);
        CK_OK(samba_session_logits(s, SAMBA_ROW_LAST, &row, &n_vocab, RIG_ERROR));
        logits[i] = malloc(n_vocab * sizeof *row);
        memcpy(logits[i], row, n_vocab * sizeof *row);
        samba_session_free(s);
        samba_model_release(model);
        samba_context_free(context);
    }
    ck_assert_int_eq(memcmp(logits[0], logits[1], n_vocab * sizeof(float)), 0);
    free(logits[0]);
    free(logits[1]);
}
END_TEST

/* Callers with less room, and with larger items. */
START_TEST(room)
{
    struct wide {
        samba_profile_entry entry;
        uint64_t more;
    } wide[ENTRIES];
    samba_context *context = context_with(SAMBA_YES, NULL);
    samba_model *model = model_of(context, "ms_samba");
    samba_session *s = rig_session(model, 0, 0);
    samba_profile_entry entries[ENTRIES], few[2] = {{NULL, 0, 0}, {NULL, 7, 0}};
    size_t n = 0, m = 0;
    feed(s);
    n = entries_of(context, entries);
    CK_OK(samba_context_get_profile(context, few, 1, sizeof *few, &m, RIG_ERROR));
    ck_assert_uint_eq(m, n);
    ck_assert_str_eq(few[0].name, entries[0].name);
    ck_assert_ptr_null(few[1].name);
    ck_assert_uint_eq(few[1].calls, 7);
    CK_OK(samba_context_get_profile(context, NULL, 0, 0, &m, RIG_ERROR));
    ck_assert_uint_eq(m, n);
    memset(wide, 0x55, sizeof wide);
    CK_OK(samba_context_get_profile(context, &wide[0].entry, ENTRIES, sizeof *wide, &m, RIG_ERROR));
    for (size_t i = 0; i < n; i++) {
        ck_assert_str_eq(wide[i].entry.name, entries[i].name);
        ck_assert_uint_eq(wide[i].more, 0x5555555555555555u);
    }
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_context_get_profile(context, few, 1, sizeof *few - 1, &m, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_context_get_profile(context, NULL, 1, sizeof *few, &m, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_context_get_profile(NULL, few, 1, sizeof *few, &m, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
             samba_context_get_profile(context, few, 1, sizeof *few, NULL, RIG_ERROR));
    samba_context_reset_profile(NULL);
    samba_session_free(s);
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

START_TEST(refused)
{
    samba_context *context = NULL;
    samba_context_options o = {.struct_size = sizeof o, .profile = 3};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_context_create(&o, &context, RIG_ERROR));
    o.profile = -1;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_context_create(&o, &context, RIG_ERROR));
    ck_assert_ptr_null(context);
}
END_TEST

/* A backend table that ends before `profile` is as good as one without a profile. */
START_TEST(older_backends)
{
    samba_backend_vtbl old = fake_vtbl;
    const samba_backend_vtbl *list[] = {&old};
    samba_profile_entry entries[ENTRIES];
    samba_error *error = NULL;
    samba_model *none = NULL;
    old.struct_size = offsetof(samba_backend_vtbl, profile);
    samba_context *context = context_with(SAMBA_YES, list);
    samba_model *model = rig_load(context, GOLDEN_CASES "/ms_samba",
                                  &(rig_options){.backend = &old, .n_threads = 2});
    samba_session *s = rig_session(model, 0, 0);
    feed(s);
    ck_assert_uint_eq(entries_of(context, entries), 0);
    samba_session_free(s);
    samba_model_release(model);
    samba_context_free(context);
    old.struct_size--;
    context = context_with(SAMBA_YES, list);
    const samba_model_options o = {.struct_size = sizeof o, .backend = old.name};
    ck_assert_int_eq(samba_model_load(context, GOLDEN_CASES "/ms_samba", &o, &none, &error),
                     SAMBA_ERROR_BACKEND);
    samba_error_free(error);
    samba_context_free(context);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("profile");
    TCase *tcase = tcase_create("contexts");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, adds_up);
    tcase_add_loop_test(tcase, changes_nothing, 0, 4);
    tcase_add_test(tcase, room);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, older_backends);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
