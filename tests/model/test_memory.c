/*
 * Memory running out at every allocation, while plans are made and while checkpoints are converted:
 * an error, and nothing left behind. For GGUF files every malloc of the process counts; for folders
 * those of the library's own, for jansson's parser does not survive a failing malloc.
 */
#include "model/convert.h"
#include "model/fingerprint.h"
#include "model/vocab.h"
#include "model_util.h"
#include "support/fail_alloc.h"
#include "support/micro_model.h"
#include "support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- an allocator whose n-th allocation fails, alone or with all that follow ---- */

typedef struct failing {
    size_t n, at;
    bool lasting;
    long live;
} failing;

static void *failing_alloc(void *user_data, size_t size, size_t align)
{
    failing *f = user_data;
    size_t now = ++f->n;
    if (f->at && (f->lasting ? now >= f->at : now == f->at))
        return NULL;
    f->live++;
    return aligned_alloc(align, size);
}

static void failing_free(void *user_data, void *ptr, size_t size, size_t align)
{
    failing *f = user_data;
    (void)size;
    (void)align;
    f->live--;
    free(ptr);
}

static failing state;
static const samba_allocator failing_hooks = {sizeof(samba_allocator), failing_alloc, failing_free,
                                              &state};
/* What the scenarios use. */
static const samba_allocator *hooks;

/* The scenario with the n-th of the library's allocations failing, for every n. */
static size_t every(samba_status (*scenario)(void *arg), void *arg)
{
    hooks = &failing_hooks;
    state = (failing){0};
    ck_assert_int_eq(scenario(arg), SAMBA_OK);
    ck_assert_int_eq(state.live, 0);
    const size_t total = state.n;
    size_t fine = 0;
    for (size_t at = 1; at <= total; at++)
        for (int lasting = 0; lasting < 2; lasting++) {
            state = (failing){.at = at, .lasting = lasting != 0};
            samba_status status = scenario(arg);
            /* PCRE2 does without its compiled code. */
            ck_assert_msg(status == SAMBA_ERROR_OUT_OF_MEMORY || status == SAMBA_OK,
                          "allocation %zu failing: %s", at, samba_status_string(status));
            fine += status == SAMBA_OK;
            ck_assert_msg(state.live == 0, "allocation %zu failing leaves %ld blocks", at,
                          state.live);
        }
    ck_assert_uint_lt(fine * 10, total);
    return total;
}

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
    ck_assert_uint_gt(every(make_plan, path), 10);
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
    ck_assert_uint_gt(every(convert, &p), 10);
    micro_folder_remove(p.in);

    /* GGUF to GGUF, without the text of tokenizer.json. */
    ck_assert(micro_folder_make(folder));
    memcpy(p.in, folder, sizeof folder);
    const micro_options bare = {.n_blocks = 1};
    ck_assert(micro_model_write(p.in, &bare));
    snprintf(p.out, sizeof p.out, "%s/in.gguf", q.in);
    hooks = samba__alloc_default();
    ck_assert_int_eq(convert(&p), SAMBA_OK);
    micro_folder_remove(p.in);
    snprintf(p.in, sizeof p.in, "%s/in.gguf", q.in);
    snprintf(p.out, sizeof p.out, "%s/out.gguf", q.in);
    hooks = fail_alloc_allocator();
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
