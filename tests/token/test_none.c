/* A build without tokenizers says so. */
#include "support/suite.h"
#include "vectors.h"

START_TEST(creation_is_refused)
{
    const samba_allocator *a = samba__alloc_default();
    samba__tokenizer *t = NULL;
    samba_error *error = NULL;
    ck_assert_int_eq(samba__tokenizer_from_json(a, "{}", 2, &t, &error), SAMBA_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(samba_error_message(error), "tokenizer=disabled"));
    samba_error_free(error);
    error = NULL;
    samba__vocab v = {.model = {"gpt2", 4}};
    ck_assert_int_eq(samba__tokenizer_from_vocab(a, &v, &t, &error), SAMBA_ERROR_UNSUPPORTED);
    samba_error_free(error);
    ck_assert_ptr_null(t);
    samba__tokenizer_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token/none");
    TCase *tc = tcase_create("none");
    tcase_add_test(tc, creation_is_refused);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
