/* See model_util.h. */
#include "model_util.h"
#include "model/fingerprint.h"
#include "model/roles.h"
#include "tensor/dtype.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

samba__checkpoint *util_open(const char *path)
{
    samba__checkpoint *k = NULL;
    samba_error *error = NULL;
    if (samba__checkpoint_open_path(samba__alloc_default(), path, NULL, &k, &error) != SAMBA_OK)
        ck_abort_msg("%s: %s", path, samba_error_message(error));
    return k;
}

samba__checkpoint *util_open_case(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "/%s", name);
    return util_open(path);
}

samba__plan *util_plan(const samba__checkpoint *checkpoint, const samba__plan_options *options)
{
    samba__plan *p = NULL;
    samba_error *error = NULL;
    if (samba__plan_create(checkpoint, options, &p, &error) != SAMBA_OK)
        ck_abort_msg("%s: %s", checkpoint->path, samba_error_message(error));
    ck_assert_ptr_null(error);
    return p;
}

/* ---- describing ---- */

typedef struct line {
    char *text;
    size_t size, at;
} line;

SAMBA__PRINTF(2, 3) static void put(line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->at, l->size - l->at, format, args);
    va_end(args);
    ck_assert(n >= 0 && (size_t)n < l->size - l->at);
    l->at += (size_t)n;
}

static void put_rope(line *l, const samba_backend_sublayer *d)
{
    if (d->rope_dims)
        put(l, " rope%u %s %.6g/%.6g", d->rope_dims,
            d->rope_table == SAMBA_ROPE_TABLE_BF16 ? "bf16" : "f32", (double)d->rope_base,
            (double)d->rope_condense);
}

static void put_sublayer(line *l, const samba__plan_sublayer *s)
{
    const samba_backend_sublayer *d = &s->desc;
    put(l, "%s", samba__kind_name(d->kind));
    if (d->kind == SAMBA_SUBLAYER_ATTENTION || d->kind == SAMBA_SUBLAYER_DIFF_ATTENTION)
        put(l, " h%u/%ux%u w%u", d->n_heads, d->n_kv_heads, d->head_dim, d->window);
    if (d->kind == SAMBA_SUBLAYER_GLA || d->kind == SAMBA_SUBLAYER_RETENTION)
        put(l, " h%u k%u v%u", d->n_heads, d->key_dim, d->value_dim);
    if (d->gate_rank)
        put(l, " rank%u", d->gate_rank);
    if (d->d_inner)
        put(l, " e%u", d->d_inner);
    if (d->d_state)
        put(l, " n%u", d->d_state);
    put_rope(l, d);
    if (d->d_conv)
        put(l, " k%u", d->d_conv);
    if (d->dt_rank)
        put(l, " r%u", d->dt_rank);
    if (s->weights[SAMBA_W_IN_BIAS])
        put(l, " inb");
    if (s->weights[SAMBA_W_CONV_BIAS])
        put(l, " convb");
    if (s->weights[SAMBA_W_OUT_BIAS] && d->kind == SAMBA_SUBLAYER_MAMBA)
        put(l, " outb");
    if (d->kind == SAMBA_SUBLAYER_DIFF_ATTENTION)
        put(l, " lambda %.6g %.6g", (double)d->lambda, (double)d->lambda_init);
    if (d->flags)
        put(l, d->kind == SAMBA_SUBLAYER_MAMBA ? " publish" : " cross");
    if (s->weights[SAMBA_W_Q_BIAS])
        put(l, " qb");
    if (s->weights[SAMBA_W_OUT_BIAS] && d->n_heads)
        put(l, " ob");
    if (s->weights[SAMBA_W_GATE_BIAS])
        put(l, " b");
}

void util_describe(const samba__plan *plan, char *text, size_t size)
{
    line l = {text, size, 0};
    put(&l, "%s %ux%u %s %s %.6g:", plan->family, plan->n_vocab, plan->d_model,
        plan->head ? "untied" : "tied", samba__norm_name(plan->final_norm_kind),
        (double)plan->final_norm_eps);
    for (uint32_t i = 0; i < plan->n_sublayers; i++) {
        const samba__plan_sublayer *s = &plan->sublayers[i];
        put(&l, i == 0 ? " " : s->block == s[-1].block ? "; " : " | ");
        put_sublayer(&l, s);
        ck_assert_int_eq(s->desc.norm, plan->final_norm_kind);
        ck_assert_float_eq(s->desc.norm_eps, plan->final_norm_eps);
    }
}

/* ---- weights ---- */

void *util_read(const samba__checkpoint *checkpoint, const samba__weight *w, samba_dtype dtype,
                size_t *bytes)
{
    samba__scratch scratch = {.alloc = samba__alloc_default()};
    samba_error *error = NULL;
    uint64_t n = 0;
    ck_assert(samba__dtype_bytes(dtype, w->rows * w->cols, &n));
    void *data = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(data);
    if (samba__weight_read(checkpoint, w, dtype, data, &scratch, &error) != SAMBA_OK)
        ck_abort_msg("%s: %s", w->name, samba_error_message(error));
    samba__scratch_free(&scratch);
    *bytes = n;
    return data;
}

void util_fingerprint(const samba__checkpoint *checkpoint, const samba__plan *plan,
                      samba_dtype wanted, uint8_t out[16])
{
    samba__fingerprint f;
    ck_assert_int_eq(samba__fingerprint_begin(&f, plan, NULL), SAMBA_OK);
    for (size_t i = 0; i < plan->n_weights; i++) {
        bool kept;
        size_t bytes;
        const samba__weight *w = plan->weights[i];
        samba_dtype dtype = samba__weight_dtype(w, wanted, &kept);
        void *data = util_read(checkpoint, w, dtype, &bytes);
        samba__fingerprint_add(&f, w, dtype, data, bytes);
        free(data);
    }
    samba__model_id id;
    ck_assert_int_eq(samba__fingerprint_end(&f, plan, checkpoint, &id, NULL), SAMBA_OK);
    memcpy(out, id.all, sizeof id.all);
    samba__fingerprint_free(&f);
}

void util_refused(const samba__checkpoint *checkpoint, samba_status status, const char *part)
{
    samba__plan *p = NULL;
    samba_error *error = NULL;
    samba_status got = samba__plan_create(checkpoint, NULL, &p, &error);
    if (got != status || p)
        ck_abort_msg("%s: wanted \"%s\" about \"%s\", got \"%s\": %s", checkpoint->path,
                     samba_status_string(status), part, samba_status_string(got),
                     samba_error_message(error));
    if (!strstr(samba_error_message(error), part))
        ck_abort_msg("%s: no \"%s\" in: %s", checkpoint->path, part, samba_error_message(error));
    samba_error_free(error);
}

uint64_t util_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

char *util_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *text = malloc((size_t)n + 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_eq(fread(text, 1, (size_t)n, f), (size_t)n);
    text[n] = 0;
    fclose(f);
    *size = (size_t)n;
    return text;
}
