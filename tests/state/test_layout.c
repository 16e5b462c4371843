/*
 * Which pages a window needs, against asking every position; canonical sizes; recycled outputs.
 */
#include "state/layout.h"
#include "state/output.h"
#include "support/fail_alloc.h"
#include "support/suite.h"

static samba__device device;

static samba__layout *make(uint32_t window, uint32_t page, uint32_t rows)
{
    samba__layout *l = NULL;
    device.alloc = fail_alloc_allocator();
    device.info.page_positions = page;
    ck_assert_int_eq(samba__layout_create(&device, 0, 1, &l, NULL), SAMBA_OK);
    l->pages[0].window = window;
    l->rows_per_pass = rows;
    return l;
}

/* The oldest key that a query at p sees: j with p - w < j <= p. */
static uint64_t oldest_visible(uint64_t p, uint32_t window)
{
    uint64_t j = p;
    while (j > 0 && (!window || p < j - 1 + window))
        j--;
    return j;
}

START_TEST(pages_of_a_window)
{
    for (uint32_t page = 1; page <= 16; page *= 4)
        for (uint32_t window = 0; window < 40; window++)
            for (uint32_t rows = 1; rows < 30; rows += 4) {
                samba__layout *l = make(window, page, rows);
                uint64_t most = 0, limit = samba__layout_page_limit(l, 0);
                for (uint64_t p = 0; p < 150; p++) {
                    uint64_t first = samba__layout_first_page(l, 0, p);
                    uint64_t end = samba__layout_n_pages(l, p + rows);
                    if (first != oldest_visible(p, window) / page ||
                        end != (p + rows - 1) / page + 1)
                        ck_abort_msg("pages %u to %u at %u, window %u, %u rows", (unsigned)first,
                                     (unsigned)end, (unsigned)p, window, rows);
                    most = end - first > most ? end - first : most;
                }
                if (window) {
                    ck_assert_uint_eq(limit, (window - 1 + rows + page - 1) / page + 1);
                    ck_assert_uint_le(most, limit);
                    ck_assert_uint_le(limit, most + 1); /* no slack to speak of */
                }
                samba__layout_release(l);
            }
    samba__layout *l = make(UINT32_MAX, 64, UINT32_MAX);
    ck_assert_uint_eq(samba__layout_first_page(l, 0, UINT64_MAX - 1),
                      (UINT64_MAX - UINT32_MAX) / 64);
    ck_assert_uint_eq(samba__layout_page_limit(l, 0), ((uint64_t)UINT32_MAX * 2 + 62) / 64 + 1);
    samba__layout_release(l);
}
END_TEST

START_TEST(canonical_sizes)
{
    uint64_t bytes = 99;
    samba_backend_sublayer s = {
        .kind = SAMBA_SUBLAYER_MAMBA, .d_inner = 96, .d_state = 16, .d_conv = 4};
    ck_assert(samba__canonical_slab_bytes(&s, &bytes));
    ck_assert_uint_eq(bytes, 4 * 96 * (3 + 16));
    ck_assert(samba__canonical_row_bytes(&s, SAMBA_DTYPE_F16, &bytes));
    ck_assert_uint_eq(bytes, 0);
    s = (samba_backend_sublayer){.kind = SAMBA_SUBLAYER_ATTENTION,
                                 .n_heads = 4,
                                 .n_kv_heads = 2,
                                 .head_dim = 32,
                                 .d_conv = 4};
    ck_assert(samba__canonical_slab_bytes(&s, &bytes));
    ck_assert_uint_eq(bytes, 4 * (4 + 2 + 2) * 32 * 3);
    s.d_conv = 0;
    ck_assert(samba__canonical_slab_bytes(&s, &bytes));
    ck_assert_uint_eq(bytes, 0);
    ck_assert(samba__canonical_row_bytes(&s, SAMBA_DTYPE_F32, &bytes));
    ck_assert_uint_eq(bytes, 2 * 2 * 32 * 4);
    ck_assert(samba__canonical_row_bytes(&s, SAMBA_DTYPE_Q8_0, &bytes));
    ck_assert_uint_eq(bytes, 2 * 2 * 34);
    s.head_dim = 20; /* no multiple of a block */
    ck_assert(!samba__canonical_row_bytes(&s, SAMBA_DTYPE_Q8_0, &bytes));
    s.kind = SAMBA_SUBLAYER_DIFF_ATTENTION;
    s.flags = SAMBA_SUBLAYER_CROSS;
    ck_assert(samba__canonical_row_bytes(&s, SAMBA_DTYPE_F16, &bytes));
    ck_assert_uint_eq(bytes, 0);
    s = (samba_backend_sublayer){
        .kind = SAMBA_SUBLAYER_RETENTION, .n_heads = 3, .key_dim = 8, .value_dim = 16};
    ck_assert(samba__canonical_slab_bytes(&s, &bytes));
    ck_assert_uint_eq(bytes, 4 * 3 * 8 * 16);
    s.n_heads = s.key_dim = s.value_dim = UINT32_MAX;
    ck_assert(!samba__canonical_slab_bytes(&s, &bytes));
}
END_TEST

START_TEST(recycled_outputs)
{
    const samba_allocator *a = fail_alloc_allocator();
    samba__output_shape shape = {.n_rows = 1, .n_vocab = 10, .d_hidden = 2};
    samba__output *spare = NULL, *first = NULL, *second = NULL, *huge = NULL;
    long live = fail_alloc_live();
    ck_assert_int_eq(samba__output_create(a, &shape, &spare, &first, NULL), SAMBA_OK);
    ck_assert_ptr_eq(first->hidden, first->logits + 10);
    samba__output_recycle(samba__output_retain(first), &spare); /* shared: not taken */
    ck_assert_ptr_null(spare);
    samba__output_recycle(first, &spare);
    ck_assert_ptr_eq(spare, first);
    shape.d_hidden = 0;
    ck_assert_int_eq(samba__output_create(a, &shape, &spare, &second, NULL), SAMBA_OK);
    ck_assert_ptr_eq(second, first);
    ck_assert_ptr_null(second->hidden);
    ck_assert_ptr_null(spare);
    samba__output_recycle(second, &spare);
    shape.n_rows = 100; /* larger than the spare, and not worth keeping */
    ck_assert_int_eq(samba__output_create(a, &shape, &spare, &huge, NULL), SAMBA_OK);
    ck_assert_uint_eq(samba__output_bytes(huge), 4000);
    samba__output_recycle(huge, &spare);
    ck_assert_ptr_eq(spare, first);
    shape.n_rows = SIZE_MAX / 8;
    ck_assert_int_eq(samba__output_create(a, &shape, &spare, &huge, NULL), SAMBA_ERROR_LIMIT);
    samba__output_release(spare);
    ck_assert_int_eq(fail_alloc_live(), live);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layout");
    TCase *tcase = tcase_create("layout");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, pages_of_a_window);
    tcase_add_test(tcase, canonical_sizes);
    tcase_add_test(tcase, recycled_outputs);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
