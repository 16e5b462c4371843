/*
 * Contexts through the public header: what is refused, which backend is taken, and that a device
 * opens once however many threads ask for it first.
 */
#include "support/fail_alloc.h"
#include "support/fake_device.h"
#include "support/micro_model.h"
#include "support/rig.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static char folder[64];

static void setup(void)
{
    ck_assert(micro_folder_make(folder));
    ck_assert(micro_model_write(folder, NULL));
    fake_reset_counts();
}

static void teardown(void)
{
    micro_folder_remove(folder);
}

static samba_status create(const samba_context_options *o)
{
    samba_context *context = NULL;
    samba_status status = samba_context_create(o, &context, RIG_ERROR);
    ck_assert_int_eq(status == SAMBA_OK, context != NULL);
    samba_context_free(context);
    return status;
}

START_TEST(test_arguments)
{
    const samba_backend_vtbl *none[] = {NULL};
    samba_allocator bad = *fail_alloc_allocator();
    samba_context_options o = {.struct_size = sizeof o};
    CK_OK(create(NULL));
    CK_OK(create(&o));
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_context_create(&o, NULL, RIG_ERROR));
    o.n_threads = -1;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    o = (samba_context_options){.struct_size = sizeof o, .log_level = 9};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    o = (samba_context_options){.struct_size = sizeof o, .cpu_tier = 99};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    o = (samba_context_options){.struct_size = sizeof o, .n_backends = 1};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    o.backends = none;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    o = (samba_context_options){.struct_size = 8};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    bad.free = NULL;
    o = (samba_context_options){.struct_size = sizeof o, .allocator = &bad};
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, create(&o));
    samba_context_free(NULL);
    samba_cancel_free(NULL);
    samba_cancel_request(NULL);
}
END_TEST

/* ---- backends ---- */

/* Loading on this table must fail with BACKEND and a message that has `part`. */
static void table_refused(const samba_backend_vtbl *table, const char *part)
{
    samba_model *model = NULL;
    samba_context *context = rig_context(&(rig_options){.backend = table, .n_threads = 1});
    const samba_model_options o = {.struct_size = sizeof o, .backend = table->name};
    CK_FAILS(SAMBA_ERROR_BACKEND, samba_model_load(context, folder, &o, &model, RIG_ERROR));
    ck_assert_msg(strstr(rig_message(), part) != NULL, "%s", rig_message());
    ck_assert_ptr_null(model);
    samba_context_free(context);
}

static samba_backend_info described;
static samba_status describe(samba_backend_device *device, samba_backend_info *info,
                             samba_error **error)
{
    (void)device;
    (void)error;
    *info = described;
    return SAMBA_OK;
}

START_TEST(test_bad_tables)
{
    fake_counts counts;
    samba_backend_vtbl t = fake_vtbl;
    t.abi = SAMBA_BACKEND_ABI + 1;
    table_refused(&t, "ABI 2");
    t = fake_vtbl;
    t.struct_size = offsetof(samba_backend_vtbl, profile) - 8; /* what follows is optional */
    table_refused(&t, "bytes");
    t = fake_vtbl;
    t.end = NULL;
    table_refused(&t, "lacks function end");
    t = fake_vtbl;
    t.measure = NULL;
    table_refused(&t, "lacks function measure");
    t = fake_vtbl;
    t.describe = describe;
    described = (samba_backend_info){.struct_size = sizeof described, .device_name = "x"};
    table_refused(&t, "0 positions");
    described.page_positions = 48;
    table_refused(&t, "48 positions");
    described = (samba_backend_info){.struct_size = sizeof described, .page_positions = 16};
    table_refused(&t, "device name");
    fake_get_counts(&counts);
    ck_assert_int_eq(counts.devices, 0); /* those that were opened are closed again */
}
END_TEST

/* The host's backend comes before a built-in one of the same name; devices differ by index. */
START_TEST(test_choice)
{
    samba_backend_vtbl t = fake_vtbl;
    samba_model_info info = {.struct_size = sizeof info};
    t.name = "cpu";
    samba_context *context = rig_context(&(rig_options){.backend = &t, .n_threads = 1});
    samba_model *model = NULL;
    CK_OK(samba_model_load(context, folder, NULL, &model, RIG_ERROR));
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    ck_assert_str_eq(info.tier, "fake-double");
    samba_model_release(model);
    model = NULL;
    const samba_model_options second = {.struct_size = sizeof second, .device_index = 1};
    CK_FAILS(SAMBA_ERROR_NOT_FOUND, samba_model_load(context, folder, &second, &model, RIG_ERROR));
    CK_OK(samba_model_load(context, folder, NULL, &model, RIG_ERROR)); /* still works */
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

static void *load(void *context)
{
    samba_model *model = NULL;
    const samba_model_options o = {.struct_size = sizeof o, .backend = "fake"};
    samba_status status = samba_model_load(context, folder, &o, &model, NULL);
    return status == SAMBA_OK ? model : NULL;
}

START_TEST(test_threads)
{
    enum {
        N = 8
    };
    pthread_t threads[N];
    fake_counts counts;
    samba_context *context = rig_context(&(rig_options){.backend = &fake_vtbl, .n_threads = 1});
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load, context), 0);
    samba_model *models[N];
    for (int i = 0; i < N; i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_nonnull(result);
        models[i] = result;
    }
    fake_get_counts(&counts);
    ck_assert_int_eq(counts.devices, 1);
    samba_context_free(context);
    for (int i = 0; i < N; i++)
        samba_model_release(models[i]);
    fake_get_counts(&counts);
    ck_assert_int_eq(counts.devices, 0);
    ck_assert_int_eq(counts.weights, 0);
    ck_assert_msg(counts.violations == 0, "%s", counts.first_violation);
}
END_TEST

static samba_status context_and_cancel(void *arg)
{
    (void)arg;
    samba_context *context = NULL;
    samba_cancel *cancel = NULL;
    const samba_backend_vtbl *tables[] = {&fake_vtbl};
    const samba_context_options o = {.struct_size = sizeof o,
                                     .allocator = fail_alloc_allocator(),
                                     .backends = tables,
                                     .n_backends = 1,
                                     .n_threads = 1};
    samba_status status = samba_context_create(&o, &context, NULL);
    if (status == SAMBA_OK)
        status = samba_cancel_create(context, &cancel, NULL);
    samba_context_free(context);
    samba_cancel_free(cancel);
    return status;
}

START_TEST(test_memory)
{
    ck_assert_uint_ge(fail_alloc_every(context_and_cancel, NULL, 1), 3);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("run/context");
    TCase *t = tcase_create("context");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_arguments);
    tcase_add_test(t, test_bad_tables);
    tcase_add_test(t, test_choice);
    tcase_add_test(t, test_threads);
    tcase_add_test(t, test_memory);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, suite());
}
