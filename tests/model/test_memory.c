/*
 * Memory running out at every allocation, while plans are made and while checkpoints are converted:
 * an error, and nothing left behind. Every malloc of the process counts, PCRE2's and libuv's too.
 */
#include "model/convert.h"
#include "model/fingerprint.h"
#include "model/vocab.h"
#include "model_util.h"
#include "support/fail_alloc.h"
#include "support/micro_model.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>

/* What the scenarios use. */
static const samba_allocator *hooks;

/* ---- scenarios ---- */

/* Opening, plan, tokenizer, and one hash. */
static samba_status make_plan(void *arg)
{
    samba__checkpoint *k = NULL;
    samba__plan *p = NULL;
    samba__tokenizer *t = NULL;
    samba__fingerprint f = {0};
    samba_error *error = NULL;
    samba_status status = samba__checkpoint_open_path(hooks, arg, NULL, &k, &error);
    if (status == SAMBA_OK)
        status = samba__plan_create(k, NULL, &p, &error);
    if (status == SAMBA_OK)
        status = samba__vocab_load(k, p, &t, &error);
    if (status == SAMBA_OK)
        status = samba__fingerprint_begin(&f, p, &error);
    samba__fingerprint_free(&f);
    samba__tokenizer_free(t);
    samba__plan_free(p);
    samba__checkpoint_close(k);
    samba_error_free(error);
    return status;
}

START_TEST(test_plan)
{
    static const char *const names[] = {"ms_samba_scattn", "phi4flash", "fla_samba", "mamba_ssm"};
    char path[512];
    snprintf(path, sizeof path, GOLDEN "/%s", names[_i]);
    hooks = fail_alloc_allocator();
    ck_assert_uint_gt(fail_alloc_every(make_plan, path, 1), 10);
}
END_TEST

typedef struct paths {
    char in[96], out[96];
} paths;

static samba_status convert(void *arg)
{
    const paths *p = arg;
    const samba__convert_params params = {.alloc = hooks,
                                          .in_path = p->in,
                                          .out_path = p->out,
                                          .plan = {.weight_dtype = SAMBA_DTYPE_BF16}};
    samba_convert_report report;
    samba_error *error = NULL;
    samba_status status = samba__convert(&params, &report, &error);
    samba_error_free(error);
    return status;
}

START_TEST(test_convert)
{
    paths p, q;
    char folder[64];
    const micro_options options = {.tokenizer = true};
    ck_assert(micro_folder_make(folder));
    memcpy(p.in, folder, sizeof folder);
    ck_assert(micro_folder_make(folder));
    memcpy(q.in, folder, sizeof folder);
    snprintf(p.out, sizeof p.out, "%s/out.gguf", p.in);
    ck_assert(micro_model_write(p.in, &options));
    hooks = fail_alloc_allocator();
    ck_assert_uint_gt(fail_alloc_every(convert, &p, 1), 10);
    ck_assert_uint_gt(fail_alloc_every(make_plan, p.in, 1), 10);
    micro_folder_remove(p.in);

    /* GGUF to GGUF, without the text of tokenizer.json. */
    ck_assert(micro_folder_make(folder));
    memcpy(p.in, folder, sizeof folder);
    const micro_options bare = {.n_blocks = 1};
    ck_assert(micro_model_write(p.in, &bare));
    snprintf(p.out, sizeof p.out, "%s/in.gguf", q.in);
    ck_assert_int_eq(convert(&p), SAMBA_OK);
    micro_folder_remove(p.in);
    snprintf(p.in, sizeof p.in, "%s/in.gguf", q.in);
    snprintf(p.out, sizeof p.out, "%s/out.gguf", q.in);
    ck_assert_uint_gt(fail_alloc_every(convert, &p, 1), 10);
    ck_assert_uint_gt(fail_alloc_every(make_plan, p.out, 1), 10);
    micro_folder_remove(q.in);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model/memory");
    TCase *t = tcase_create("memory");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_plan, 0, 4);
    tcase_add_test(t, test_convert);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
