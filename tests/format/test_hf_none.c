/* Builds without JSON: safetensors and folders are refused with a clear message, GGUF opens. */
#include "format/util.h"
#include "support/suite.h"

#include <check.h>
#include <string.h>

START_TEST(refuses_what_needs_json)
{
    char folder[256];
    samba__checkpoint *c = NULL;
    samba_error *e = NULL;
    blob b = sample_safetensors();
    expect_refused(&b, SAMBA_ERROR_UNSUPPORTED, "this build reads GGUF files only");
    blob_free(&b);
    temp_folder(folder, "hf-none");
    ck_assert_int_eq(samba__checkpoint_open_path(samba__alloc_default(), folder, NULL, &c, &e),
                     SAMBA_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(samba_error_message(e), "this build reads GGUF files only"));
    samba_error_free(e);
    remove_folder(folder);
}
END_TEST

START_TEST(opens_gguf)
{
    samba__checkpoint *c = NULL;
    blob b = sample_gguf(3);
    ck_assert_int_eq(open_bytes(samba__alloc_default(), b.data, b.size, &c, NULL), SAMBA_OK);
    ck_assert(walk(c));
    samba__checkpoint_close(c);
    blob_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("format/hf_none");
    TCase *t = tcase_create("hf_none");
    tcase_add_test(t, refuses_what_needs_json);
    tcase_add_test(t, opens_gguf);
    suite_add_tcase(s, t);
    return run_suite(s);
}
