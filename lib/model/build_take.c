/* Building a plan: finding tensors and making weights of them; see build.h. */
#include "model/build.h"
#include "model/roles.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_MAX_BYTES = 192,
    SHAPE_TEXT = 4 * 24
};

static samba_status fail_missing(const samba__build *b, const char *name, samba_error **error)
{
    const samba__where where = {
        .file = b->checkpoint->path, .tensor = name, .offset = SAMBA_NO_OFFSET};
    return samba__fail_at(b->alloc, error, SAMBA_ERROR_MISMATCH, &where, "tensor %s is missing",
                          name);
}

/* prefix + name; a name too long for the buffer is cut and then found nowhere. */
static void full_name(const samba__build *b, const char *name, char *out)
{
    snprintf(out, NAME_MAX_BYTES, "%s%s", b->prefix, name);
}

static const samba__file_tensor *find(const samba__build *b, const char *name)
{
    char full[NAME_MAX_BYTES];
    full_name(b, name, full);
    return samba__checkpoint_find(b->checkpoint, full);
}

bool samba__build_has(const samba__build *b, const char *name)
{
    return find(b, name) != NULL;
}

samba_status samba__build_need(const samba__build *b, const char *name,
                               const samba__file_tensor **tensor, samba_error **error)
{
    char full[NAME_MAX_BYTES];
    *tensor = find(b, name);
    if (*tensor)
        return SAMBA_OK;
    full_name(b, name, full);
    return fail_missing(b, full, error);
}

static void mark(samba__build *b, const samba__file_tensor *tensor)
{
    b->used[tensor - b->checkpoint->tensors] = true;
}

/* "[3][4]" */
static const char *shape_text(const uint64_t *shape, uint32_t n_dims, char *text)
{
    size_t at = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < n_dims && i < 4; i++)
        at += (size_t)snprintf(text + at, SHAPE_TEXT - at, "[%" PRIu64 "]", shape[i]);
    return n_dims ? text : "a scalar";
}

static samba_status fail_shape(const samba__build *b, const samba__file_tensor *t,
                               const char *expected, samba_error **error)
{
    const samba__where where = {.file = samba__source_name(b->checkpoint->sources[t->file]),
                                .tensor = t->name,
                                .offset = SAMBA_NO_OFFSET};
    char text[SHAPE_TEXT];
    return samba__fail_at(b->alloc, error, SAMBA_ERROR_MISMATCH, &where,
                          "tensor %s is %s, %s says %s", t->name,
                          shape_text(t->shape, t->n_dims, text), b->sizes, expected);
}

samba_status samba__build_dim(const samba__build *b, const char *name, int32_t i, uint32_t *size,
                              samba_error **error)
{
    const samba__file_tensor *t;
    SAMBA__TRY(samba__build_need(b, name, &t, error));
    int32_t at = i < 0 ? (int32_t)t->n_dims + i : i;
    if (t->n_dims < 2 || at < 0 || at >= (int32_t)t->n_dims || t->shape[at] > UINT32_MAX)
        return fail_shape(b, t, "a matrix of 32-bit size", error);
    *size = (uint32_t)t->shape[at];
    return SAMBA_OK;
}

/* ---- weights ---- */

/* What a weight is to be, gathered from role or by hand. */
typedef struct wanted {
    const char *canonical;
    samba__weight_class wclass;
    samba__transform transform;
    uint64_t rows, cols; /* vector: rows 1 */
    bool vector, conv;
    const samba__rows *part; /* NULL: the whole tensor */
} wanted;

static samba_status check_dtype(const samba__build *b, const samba__file_tensor *t,
                                const wanted *want, samba_error **error)
{
    const samba__where where = {.file = samba__source_name(b->checkpoint->sources[t->file]),
                                .tensor = t->name,
                                .offset = SAMBA_NO_OFFSET};
    const samba__dtype_info *info = samba__dtype_info_of(t->dtype);
    if (!info)
        return samba__fail_at(b->alloc, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "tensor %s has type %s, which this library does not read", t->name,
                              t->dtype_name);
    if (info->block > 1 && (want->vector || want->cols % info->block))
        return samba__fail_at(b->alloc, error, SAMBA_ERROR_MISMATCH, &where,
                              "tensor %s has type %s in rows that are no multiple of %u", t->name,
                              info->name, info->block);
    return SAMBA_OK;
}

static samba_status check_shape(const samba__build *b, const samba__file_tensor *t,
                                const wanted *want, samba_error **error)
{
    uint64_t expected[3] = {want->part ? want->part->total : want->rows, want->cols, 0};
    uint32_t n = 2;
    char text[SHAPE_TEXT];
    if (want->vector) {
        expected[0] = want->part ? want->part->total : want->cols;
        n = 1;
    } else if (want->conv && t->n_dims == 3) {
        expected[1] = 1;
        expected[2] = want->cols;
        n = 3;
    }
    if (t->n_dims == n && memcmp(t->shape, expected, n * sizeof *expected) == 0)
        return SAMBA_OK;
    return fail_shape(b, t, shape_text(expected, n, text), error);
}

/* Checks the tensor against what is wanted, marks it, and describes it; the name is left open. */
static samba_status describe(samba__build *b, const samba__file_tensor *t, const wanted *want,
                             samba__weight *w, samba_error **error)
{
    uint64_t n = want->vector ? want->cols : want->rows;
    SAMBA__TRY(check_shape(b, t, want, error));
    SAMBA__TRY(check_dtype(b, t, want, error));
    *w = (samba__weight){.tensor = t,
                         .wclass = want->wclass,
                         .transform = want->transform,
                         .rows = want->rows,
                         .cols = want->cols,
                         .run = n,
                         .stride = n,
                         .n_runs = 1,
                         .vector = want->vector};
    if (want->part) {
        w->first = want->part->first;
        w->run = want->part->run;
        w->stride = want->part->stride;
        w->n_runs = want->part->n_runs;
    }
    mark(b, t);
    return SAMBA_OK;
}

static samba_status make_weight(samba__build *b, const samba__file_tensor *t, const wanted *want,
                                samba__weight **weight, samba_error **error)
{
    samba__arena *arena = &b->plan->arena;
    samba__weight *w = samba__arena_alloc(arena, 1, sizeof *w);
    char *name = samba__arena_strndup(arena, want->canonical, strlen(want->canonical));
    if (!w || !name)
        return samba__fail_oom(error);
    SAMBA__TRY(describe(b, t, want, w, error));
    w->name = name;
    *weight = w;
    return SAMBA_OK;
}

samba_status samba__build_vector(samba__build *b, const char *name, uint64_t n,
                                 samba__weight *weight, samba_error **error)
{
    const wanted want = {.wclass = SAMBA__CLASS_F32, .rows = 1, .cols = n, .vector = true};
    const samba__file_tensor *t;
    SAMBA__TRY(samba__build_need(b, name, &t, error));
    SAMBA__TRY(describe(b, t, &want, weight, error));
    weight->name = t->name;
    return SAMBA_OK;
}

samba_status samba__build_take_rows(samba__build *b, samba__plan_sublayer *s, uint32_t role,
                                    const char *name, const samba__rows *rows, samba_error **error)
{
    const samba__role *r = samba__role_find(s->desc.kind, role);
    const samba__file_tensor *t;
    samba__weight *w = NULL;
    char canonical[NAME_MAX_BYTES];
    bool kept;
    if (!r)
        return samba__build_fail(b, error, SAMBA_ERROR_INTERNAL, "no role %u in sublayer kind %d",
                                 role, s->desc.kind);
    SAMBA__TRY(samba__build_need(b, name, &t, error));
    snprintf(canonical, sizeof canonical, "blk.%u.%s", (uint32_t)(s - b->plan->sublayers), r->name);
    wanted want = {.canonical = canonical,
                   .wclass = r->wclass,
                   .vector = samba__role_is_vector(r),
                   .conv = samba__role_is_conv(r),
                   .part = rows};
    /* Checkpoints hold log(-A) but for GGUF files, which hold A. */
    if (role == SAMBA_W_A && b->checkpoint->container != SAMBA__CONTAINER_GGUF)
        want.transform = SAMBA__NEG_EXP;
    samba__role_shape(r, &s->desc, &want.rows, &want.cols);
    SAMBA__TRY(make_weight(b, t, &want, &w, error));
    s->weights[role] = w;
    s->desc.tensors[role] =
        (samba_backend_tensor){.dtype = samba__weight_dtype(w, b->options->weight_dtype, &kept),
                               .rows = w->rows,
                               .cols = w->cols};
    return SAMBA_OK;
}

samba_status samba__build_take(samba__build *b, samba__plan_sublayer *s, uint32_t role,
                               const char *name, samba_error **error)
{
    return samba__build_take_rows(b, s, role, name, NULL, error);
}

samba_status samba__build_take_pair(samba__build *b, samba__plan_sublayer *s, uint32_t role,
                                    const char *name, bool bias, samba_error **error)
{
    char part[NAME_MAX_BYTES];
    snprintf(part, sizeof part, "%s.weight", name);
    SAMBA__TRY(samba__build_take(b, s, role, part, error));
    if (!bias)
        return SAMBA_OK;
    snprintf(part, sizeof part, "%s.bias", name);
    return samba__build_take(b, s, role + 1, part, error);
}

samba_status samba__build_take_norm(samba__build *b, samba__plan_sublayer *s, const char *name,
                                    samba_error **error)
{
    return samba__build_take_pair(b, s, SAMBA_W_NORM, name, s->desc.norm == SAMBA_NORM_LAYER,
                                  error);
}

samba_status samba__build_mamba(samba__build *b, samba__plan_sublayer *s,
                                const samba__mamba_parts *parts, samba_error **error)
{
    static const struct {
        uint32_t role;
        const char *name;
    } rows[] = {{SAMBA_W_IN, "in_proj.weight"},
                {SAMBA_W_IN_BIAS, "in_proj.bias"},
                {SAMBA_W_CONV, "conv1d.weight"},
                {SAMBA_W_CONV_BIAS, "conv1d.bias"},
                {SAMBA_W_X_PROJ, "x_proj.weight"},
                {SAMBA_W_DT_PROJ, "dt_proj.weight"},
                {SAMBA_W_DT_BIAS, "dt_proj.bias"},
                {SAMBA_W_A, "A_log"},
                {SAMBA_W_D, "D"},
                {SAMBA_W_OUT, "out_proj.weight"},
                {SAMBA_W_OUT_BIAS, "out_proj.bias"}};
    samba_backend_sublayer *d = &s->desc;
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%sA_log", parts->name);
    if (!d->d_inner)
        SAMBA__TRY(samba__build_dim(b, name, 0, &d->d_inner, error));
    if (!d->d_state)
        SAMBA__TRY(samba__build_dim(b, name, 1, &d->d_state, error));
    snprintf(name, sizeof name, "%sconv1d.weight", parts->name);
    if (!d->d_conv)
        SAMBA__TRY(samba__build_dim(b, name, -1, &d->d_conv, error));
    snprintf(name, sizeof name, "%sdt_proj.weight", parts->name);
    if (!d->dt_rank)
        SAMBA__TRY(samba__build_dim(b, name, 1, &d->dt_rank, error));
    SAMBA__TRY(samba__build_shape(b, s, error));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((rows[i].role == SAMBA_W_IN_BIAS && !parts->in_bias) ||
            (rows[i].role == SAMBA_W_CONV_BIAS && !parts->conv_bias) ||
            (rows[i].role == SAMBA_W_OUT_BIAS && !parts->out_bias))
            continue;
        snprintf(name, sizeof name, "%s%s", parts->name, rows[i].name);
        SAMBA__TRY(samba__build_take(b, s, rows[i].role, name, error));
    }
    return SAMBA_OK;
}

/* ---- both ends ---- */

static samba_status take_end(samba__build *b, const char *name, const char *canonical,
                             samba__weight_class wclass, samba__weight **weight,
                             samba_error **error)
{
    const samba__file_tensor *t;
    bool vector = wclass == SAMBA__CLASS_F32;
    const wanted want = {.canonical = canonical,
                         .wclass = wclass,
                         .rows = vector ? 1 : b->plan->n_vocab,
                         .cols = b->plan->d_model,
                         .vector = vector};
    SAMBA__TRY(samba__build_need(b, name, &t, error));
    return make_weight(b, t, &want, weight, error);
}

samba_status samba__build_take_ends(samba__build *b, const samba__build_ends *ends,
                                    samba_error **error)
{
    samba__plan *p = b->plan;
    const samba__weight_class embed_class = ends->tied ? SAMBA__CLASS_HEAD : SAMBA__CLASS_MATRIX;
    char name[NAME_MAX_BYTES];
    b->prefix[0] = 0;
    SAMBA__TRY(take_end(b, ends->embed, "token_embd.weight", embed_class, &p->embed, error));
    snprintf(name, sizeof name, "%s.weight", ends->norm);
    SAMBA__TRY(take_end(b, name, "output_norm.weight", SAMBA__CLASS_F32, &p->final_norm, error));
    if (p->final_norm_kind == SAMBA_NORM_LAYER) {
        snprintf(name, sizeof name, "%s.bias", ends->norm);
        SAMBA__TRY(
            take_end(b, name, "output_norm.bias", SAMBA__CLASS_F32, &p->final_norm_bias, error));
    }
    if (!ends->tied)
        return take_end(b, ends->head, "output.weight", SAMBA__CLASS_HEAD, &p->head, error);
    const samba__file_tensor *head = find(b, ends->head);
    if (!head)
        return SAMBA_OK;
    samba__weight *same; /* only for its checks */
    return take_end(b, ends->head, "output.weight", SAMBA__CLASS_HEAD, &same, error);
}
