/*
 * Reading weights: gathers and conversions against a reference that works element by element, with
 * random runs out of random tensors of every type; what the families pack, against index formulas
 * written out here; and errors in the file.
 */
#include "base/half.h"
#include "model_util.h"
#include "support/micro_model.h"
#include "support/suite.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Any element as f32; Q8_0 by its definition. */
static float element(const void *data, samba_dtype dtype, uint64_t i)
{
    const unsigned char *p = data;
    uint16_t h;
    float f;
    switch (dtype) {
    case SAMBA_DTYPE_F32:
        memcpy(&f, p + 4 * i, 4);
        return f;
    case SAMBA_DTYPE_F16:
        memcpy(&h, p + 2 * i, 2);
        return samba__f16_to_f32(h);
    case SAMBA_DTYPE_BF16:
        memcpy(&h, p + 2 * i, 2);
        return samba__bf16_to_f32(h);
    default:
        memcpy(&h, p + i / 32 * 34, 2);
        return samba__f16_to_f32(h) * (float)(int8_t)p[i / 32 * 34 + 2 + i % 32];
    }
}

/* A file tensor's bytes, whole. */
static void *whole(const samba__checkpoint *k, const samba__file_tensor *t)
{
    void *data = malloc(t->bytes + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(samba__checkpoint_read(k, t, 0, data, t->bytes, NULL), SAMBA_OK);
    return data;
}

/* Exact where the target holds the source's values, else what the target rounds them to. */
static void check_element(float got, float expected, samba_dtype dtype, float block_max)
{
    bool good;
    if (dtype == SAMBA_DTYPE_Q8_0)
        good = fabsf(got - expected) <= block_max / 127 * 0.57f; /* the scale is f16 */
    else if (dtype == SAMBA_DTYPE_F16)
        good = got == samba__f16_to_f32(samba__f32_to_f16(expected));
    else if (dtype == SAMBA_DTYPE_BF16)
        good = got == samba__bf16_to_f32(samba__f32_to_bf16(expected));
    else
        good = got == expected;
    if (!good)
        ck_abort_msg("%g, not %g", (double)got, (double)expected);
}

static const samba_dtype dtypes[] = {SAMBA_DTYPE_F32, SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16,
                                     SAMBA_DTYPE_Q8_0};

/* A checkpoint of one tensor [rows][cols], by way of GGUF, which knows all types. */
static samba__checkpoint *one_tensor(const char *path, samba_dtype dtype, uint64_t rows,
                                     uint64_t cols, uint64_t *seed)
{
    const uint64_t shape[2] = {rows, cols};
    uint64_t bytes = 0;
    samba__gguf_writer *w = NULL;
    ck_assert(samba__dtype_bytes(dtype, rows * cols, &bytes));
    float *values = malloc(rows * cols * sizeof *values);
    void *data = malloc(bytes);
    ck_assert(values && data);
    for (uint64_t i = 0; i < rows * cols; i++)
        values[i] = (float)(int64_t)util_random(seed) * 0x1p-61f;
    samba__dtype_info_of(dtype)->from_f32(values, data, rows * cols);
    ck_assert_int_eq(samba__gguf_writer_open(samba__alloc_default(), path, &w, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_add_tensor(w, "t", dtype, shape, 2, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_begin_data(w, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_write_data(w, data, bytes, NULL), SAMBA_OK);
    ck_assert_int_eq(samba__gguf_writer_commit(w, NULL, NULL), SAMBA_OK);
    free(values);
    free(data);
    return util_open(path);
}

/* Any range of rows is that part of the whole. */
static void check_ranges(const samba__checkpoint *k, const samba__weight *w, samba_dtype to,
                         const unsigned char *want)
{
    samba__scratch scratch = {.alloc = samba__alloc_default()};
    uint64_t row = 0;
    ck_assert(samba__dtype_bytes(to, w->cols, &row));
    unsigned char *got = malloc(w->rows * row);
    for (uint64_t first = 0; first < w->rows; first += 1 + first / 2)
        for (uint64_t n = 0; n <= w->rows - first; n += 1 + n) {
            const samba__row_range range = {first, n};
            memset(got, 0xee, w->rows * row);
            ck_assert_int_eq(samba__weight_read_rows(k, w, to, range, got, &scratch, NULL),
                             SAMBA_OK);
            ck_assert_int_eq(memcmp(got, want + first * row, n * row), 0);
            ck_assert(n == w->rows || got[n * row] == 0xee);
            ck_assert_ptr_null(samba__weight_view_rows(k, w, to, range)); /* in a file */
        }
    free(got);
    samba__scratch_free(&scratch);
}

static void check_gather(const samba__checkpoint *k, const samba__weight *w, samba_dtype to)
{
    size_t bytes;
    uint64_t row = w->vector ? 1 : w->cols, at = 0;
    unsigned char *source = whole(k, w->tensor), *got = util_read(k, w, to, &bytes);
    for (uint64_t run = 0; run < w->n_runs; run++)
        for (uint64_t r = 0; r < w->run; r++)
            for (uint64_t c = 0; c < row; c++, at++) {
                uint64_t from = (w->first + run * w->stride + r) * row + c;
                float expected = element(source, w->tensor->dtype, from);
                if (w->transform == SAMBA__NEG_EXP) {
                    float a = -(float)exp((double)expected), b = element(got, to, at);
                    if (!(fabsf(a - b) <= 2e-7f * fabsf(a)))
                        ck_abort_msg("%.9g, not %.9g", (double)b, (double)a);
                } else {
                    check_element(element(got, to, at), expected, to, 4.0f);
                }
            }
    ck_assert_uint_eq(at, w->rows * w->cols);
    check_ranges(k, w, to, got);
    free(source);
    free(got);
}

/* A loop test over source types. */
START_TEST(test_gather)
{
    enum {
        ROWS = 40,
        TRIES = 60
    };
    char folder[64], path[96];
    uint64_t seed = (uint64_t)_i + 10;
    ck_assert(micro_folder_make(folder));
    snprintf(path, sizeof path, "%s/t.gguf", folder);
    /* 2080 columns: runs larger than one piece of the conversion; a multiple of 32. */
    const uint64_t cols[] = {32, 96, 2080, 7};
    for (int c = 0; c < 4; c++) {
        if (cols[c] % samba__dtype_info_of(dtypes[_i])->block)
            continue;
        samba__checkpoint *k = one_tensor(path, dtypes[_i], ROWS, cols[c], &seed);
        for (int try = 0; try < TRIES; try++) {
            uint64_t run = 1 + util_random(&seed) % 6, n = 1 + util_random(&seed) % 5;
            uint64_t stride = run + util_random(&seed) % 3;
            uint64_t first = util_random(&seed) % (ROWS - ((n - 1) * stride + run) + 1);
            samba__weight w = {.name = "w",
                               .tensor = &k->tensors[0],
                               .wclass = SAMBA__CLASS_MATRIX,
                               .rows = run * n,
                               .cols = cols[c],
                               .first = first,
                               .run = run,
                               .stride = stride,
                               .n_runs = n};
            samba_dtype to = dtypes[util_random(&seed) % 4];
            bool kept;
            if (cols[c] % 32 && to == SAMBA_DTYPE_Q8_0) {
                ck_assert_int_eq(samba__weight_dtype(&w, to, &kept), SAMBA_DTYPE_BF16);
                ck_assert(kept);
                continue;
            }
            ck_assert_int_eq(samba__weight_dtype(&w, to, &kept), to);
            ck_assert(!kept);
            check_gather(k, &w, to);
            if (try % 8 == 0 && to == SAMBA_DTYPE_F32) {
                w.transform = SAMBA__NEG_EXP;
                check_gather(k, &w, to);
            }
        }
        samba__checkpoint_close(k);
    }
    micro_folder_remove(folder);
}
END_TEST

/* One row longer than a piece of the conversion; all 40 rows at once are several. */
START_TEST(test_whole)
{
    char folder[64], path[96];
    uint64_t seed = 3;
    ck_assert(micro_folder_make(folder));
    snprintf(path, sizeof path, "%s/t.gguf", folder);
    samba__checkpoint *k = one_tensor(path, SAMBA_DTYPE_BF16, 3, 50016, &seed);
    for (int i = 0; i < 4; i++) {
        const samba__weight w = {.name = "w",
                                 .tensor = &k->tensors[0],
                                 .rows = 3,
                                 .cols = 50016,
                                 .run = 3,
                                 .stride = 3,
                                 .n_runs = 1};
        check_gather(k, &w, dtypes[i]);
    }
    samba__checkpoint_close(k);
    micro_folder_remove(folder);
}
END_TEST

/* The file has become shorter since it was opened. */
START_TEST(test_shrunk)
{
    char folder[64], path[96], to[3 * 64 * 4];
    uint64_t seed = 5;
    samba_error *error = NULL;
    samba__scratch scratch = {.alloc = samba__alloc_default()};
    ck_assert(micro_folder_make(folder));
    snprintf(path, sizeof path, "%s/t.gguf", folder);
    samba__checkpoint *k = one_tensor(path, SAMBA_DTYPE_F32, 3, 64, &seed);
    ck_assert_int_eq(truncate(path, (off_t)(k->tensors[0].offset + 700)), 0);
    const samba__weight w = {.name = "w",
                             .tensor = &k->tensors[0],
                             .rows = 3,
                             .cols = 64,
                             .run = 3,
                             .stride = 3,
                             .n_runs = 1};
    ck_assert_int_eq(samba__weight_read(k, &w, SAMBA_DTYPE_F32, to, &scratch, &error),
                     SAMBA_ERROR_IO);
    ck_assert_ptr_nonnull(samba_error_file(error));
    samba_error_free(error);
    samba__scratch_free(&scratch);
    samba__checkpoint_close(k);
    micro_folder_remove(folder);
}
END_TEST

/* ---- what families pack ---- */

typedef struct packed {
    float *rows; /* the file's packed projection [n][cols] */
    uint64_t cols;
    float *q, *k, *v;
} packed;

static packed read_packed(const samba__checkpoint *k, const samba__plan_sublayer *s,
                          const char *tensor, bool bias)
{
    size_t bytes;
    const samba__file_tensor *t = samba__checkpoint_find(k, tensor);
    ck_assert_ptr_nonnull(t);
    int b = bias;
    return (packed){.rows = whole(k, t),
                    .cols = bias ? 1 : t->shape[1],
                    .q = util_read(k, s->weights[SAMBA_W_Q + b], SAMBA_DTYPE_F32, &bytes),
                    .k = util_read(k, s->weights[SAMBA_W_K + b], SAMBA_DTYPE_F32, &bytes),
                    .v = util_read(k, s->weights[SAMBA_W_V + b], SAMBA_DTYPE_F32, &bytes)};
}

static void free_packed(packed *p)
{
    free(p->rows);
    free(p->q);
    free(p->k);
    free(p->v);
}

static void same_row(const packed *p, const float *got, uint64_t to, uint64_t from)
{
    ck_assert_int_eq(memcmp(got + to * p->cols, p->rows + from * p->cols, p->cols * 4), 0);
}

/* lit_gpt: [group][q of its heads, k, v][head width]. */
static void check_lit_gpt(const char *name, uint32_t sublayer, const char *tensor, bool bias)
{
    samba__checkpoint *k = util_open_case(name);
    samba__plan *plan = util_plan(k, NULL);
    const samba__plan_sublayer *s = &plan->sublayers[sublayer];
    uint64_t heads = s->desc.n_heads, groups = s->desc.n_kv_heads, c = s->desc.head_dim;
    uint64_t m = heads / groups;
    packed p = read_packed(k, s, tensor, bias);
    for (uint64_t h = 0; h < heads; h++)
        for (uint64_t i = 0; i < c; i++)
            same_row(&p, p.q, h * c + i, (h / m * (m + 2) + h % m) * c + i);
    for (uint64_t g = 0; g < groups; g++)
        for (uint64_t i = 0; i < c; i++) {
            same_row(&p, p.k, g * c + i, (g * (m + 2) + m) * c + i);
            same_row(&p, p.v, g * c + i, (g * (m + 2) + m + 1) * c + i);
        }
    free_packed(&p);
    samba__plan_free(plan);
    samba__checkpoint_close(k);
}

START_TEST(test_lit_gpt_packing)
{
    const char *weight = "transformer.h.1.attn.attn.weight";
    check_lit_gpt("ms_samba", 2, weight, false);
    check_lit_gpt("ms_samba_gqa2", 2, weight, false);
    check_lit_gpt("ms_samba_mqa", 2, weight, false);
    check_lit_gpt("ms_llama_bias_ln_prope", 2, weight, false);
    check_lit_gpt("ms_llama_bias_ln_prope", 2, "transformer.h.1.attn.attn.bias", true);
}
END_TEST

/* phi4flash: all q, all k, all v; gate and up of the MLP in one. */
START_TEST(test_phi4flash_packing)
{
    samba__checkpoint *k = util_open_case("phi4flash");
    samba__plan *plan = util_plan(k, NULL);
    const samba__plan_sublayer *s = &plan->sublayers[2];
    uint64_t nq = s->desc.n_heads * s->desc.head_dim, nk = s->desc.n_kv_heads * s->desc.head_dim;
    for (int bias = 0; bias < 2; bias++) {
        packed p = read_packed(
            k, s, bias ? "model.layers.1.attn.Wqkv.bias" : "model.layers.1.attn.Wqkv.weight", bias);
        for (uint64_t i = 0; i < nq; i++)
            same_row(&p, p.q, i, i);
        for (uint64_t i = 0; i < nk; i++) {
            same_row(&p, p.k, i, nq + i);
            same_row(&p, p.v, i, nq + nk + i);
        }
        free_packed(&p);
    }
    size_t bytes;
    const samba__plan_sublayer *mlp = &plan->sublayers[1];
    unsigned char *file = whole(k, samba__checkpoint_find(k, "model.layers.0.mlp.fc1.weight"));
    void *gate = util_read(k, mlp->weights[SAMBA_W_GATE], SAMBA_DTYPE_F32, &bytes);
    ck_assert_int_eq(memcmp(gate, file, bytes), 0);
    void *up = util_read(k, mlp->weights[SAMBA_W_UP], SAMBA_DTYPE_F32, &bytes);
    ck_assert_int_eq(memcmp(up, file + bytes, bytes), 0);
    free(file);
    free(gate);
    free(up);
    samba__plan_free(plan);
    samba__checkpoint_close(k);
}
END_TEST

/* A = -exp(A_log), f32 whatever the file's type. */
START_TEST(test_a)
{
    static const char *const names[] = {"fla_samba", "fla_samba_bf16"};
    samba__checkpoint *k = util_open_case(names[_i]);
    samba__plan *plan = util_plan(k, NULL);
    const samba__weight *w = plan->sublayers[0].weights[SAMBA_W_A];
    ck_assert_int_eq(w->transform, SAMBA__NEG_EXP);
    bool kept;
    ck_assert_int_eq(samba__weight_dtype(w, SAMBA_DTYPE_Q8_0, &kept), SAMBA_DTYPE_F32);
    check_gather(k, w, SAMBA_DTYPE_F32);
    samba__plan_free(plan);
    samba__checkpoint_close(k);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("model/weights");
    TCase *t = tcase_create("weights");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, test_gather, 0, 4);
    tcase_add_test(t, test_whole);
    tcase_add_test(t, test_shrunk);
    tcase_add_test(t, test_lit_gpt_packing);
    tcase_add_test(t, test_phi4flash_packing);
    tcase_add_loop_test(t, test_a, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
