/*
 * Building weights objects: checks every tensor against the shape that the descriptor implies,
 * counts bytes, then packs. See samba__cpu_builder in cpu.h for the two runs.
 */
#include "base/fmath.h"
#include "cpu/cpu.h"
#include "tensor/dtype.h"

#include <string.h>

/* Bound on every dimension of a tensor, so that products of a few fit 64 bits. */
#define DIM_MAX ((uint64_t)1 << 26)

enum {
    TABLE_BYTES = 1 << 16 /* read at a time */
};

static const char *const role_names[SAMBA_W_COUNT] = {
    "norm",    "norm bias", "in",     "in bias", "conv",     "conv bias", "x_proj", "dt_proj",
    "dt bias", "A",         "D",      "out",     "out bias", "q",         "q bias", "k",
    "k bias",  "v",         "v bias", "q conv",  "k conv",   "v conv",    "gate",   "gate bias",
    "up",      "up bias",   "gk_a",   "gk_b",    "gk bias",  "subnorm",
};

static const char *role_name(int role)
{
    return role_names[role] ? role_names[role] : "unnamed";
}

static void keep(samba__cpu_builder *b, samba_status status)
{
    if (b->status == SAMBA_OK)
        b->status = status;
}

void *samba__cpu_build_bytes(samba__cpu_builder *b, size_t size)
{
    size_t at = b->used, next;
    if (b->status != SAMBA_OK)
        return NULL;
    if (size > SIZE_MAX - 63 || !samba__add_size(at, (size + 63) & ~(size_t)63, &next)) {
        keep(b, samba__cpu_fail(b->device, b->error, SAMBA_ERROR_LIMIT,
                                "weights of a sublayer are too large"));
        return NULL;
    }
    b->used = next;
    return b->block ? b->block + at : NULL;
}

bool samba__cpu_build_check(samba__cpu_builder *b, bool ok, const char *what, uint64_t value)
{
    if (b->status == SAMBA_OK && !ok)
        keep(b, samba__cpu_fail(b->device, b->error, SAMBA_ERROR_UNSUPPORTED,
                                "the cpu backend cannot run %s = %llu", what,
                                (unsigned long long)value));
    return b->status == SAMBA_OK;
}

bool samba__cpu_build_has(const samba__cpu_builder *b, int role)
{
    const samba_backend_tensor *t = &b->desc->tensors[role];
    return b->measuring ? t->rows != 0 : t->data != NULL;
}

/* The tensor has exactly this shape, and a type that can be used (f32, or any matrix type). */
static bool check_tensor(samba__cpu_builder *b, const samba_backend_tensor *t, const char *name,
                         uint64_t rows, uint64_t cols, bool matrix)
{
    samba_backend_device *d = b->device;
    if (b->status != SAMBA_OK)
        return false;
    if (!b->measuring && !t->data)
        keep(b, samba__cpu_fail(d, b->error, SAMBA_ERROR_MISMATCH, "weight '%s' is missing", name));
    else if (t->rows != rows || t->cols != cols)
        keep(b, samba__cpu_fail(d, b->error, SAMBA_ERROR_MISMATCH,
                                "weight '%s' is %llu x %llu, the sublayer needs %llu x %llu", name,
                                (unsigned long long)t->rows, (unsigned long long)t->cols,
                                (unsigned long long)rows, (unsigned long long)cols));
    else if (rows == 0 || cols == 0 || rows > DIM_MAX || cols > DIM_MAX)
        keep(b, samba__cpu_fail(d, b->error, SAMBA_ERROR_LIMIT,
                                "weight '%s' is %llu x %llu, limits are 1 and %llu", name,
                                (unsigned long long)rows, (unsigned long long)cols,
                                (unsigned long long)DIM_MAX));
    else if (!matrix && t->dtype != SAMBA_DTYPE_F32)
        keep(b, samba__cpu_fail(d, b->error, SAMBA_ERROR_MISMATCH,
                                "weight '%s' has type %d, must be f32 (%d)", name, (int)t->dtype,
                                SAMBA_DTYPE_F32));
    else if (matrix &&
             (t->dtype <= 0 || t->dtype >= SAMBA__N_DTYPES || !d->kernels.linear[t->dtype].run))
        keep(b, samba__cpu_fail(d, b->error, SAMBA_ERROR_UNSUPPORTED,
                                "weight '%s' has type %d, which the cpu backend cannot multiply",
                                name, (int)t->dtype));
    else if (matrix && cols % samba__dtype_info_of(t->dtype)->block)
        keep(b, samba__cpu_fail(d, b->error, SAMBA_ERROR_MISMATCH,
                                "weight '%s' is %s with %llu columns, must be a multiple of %u",
                                name, samba_dtype_name(t->dtype), (unsigned long long)cols,
                                (unsigned)samba__dtype_info_of(t->dtype)->block));
    return b->status == SAMBA_OK;
}

/* All of a tensor of one row, to `to`. */
static void read_vector(samba__cpu_builder *b, const samba_backend_tensor *t, float *to, size_t n)
{
    const void *data = to;
    keep(b, samba__cpu_read_rows(t, 0, 1, to, &data, b->error));
    if (b->status == SAMBA_OK && data != to)
        memcpy(to, data, n * sizeof *to);
}

static const float *vector(samba__cpu_builder *b, const samba_backend_tensor *t, const char *name,
                           size_t n)
{
    if (!check_tensor(b, t, name, 1, n, false))
        return NULL;
    float *to = samba__cpu_build_bytes(b, samba__pad16(n) * sizeof *to);
    if (to) {
        read_vector(b, t, to, n);
        memset(to + n, 0, (samba__pad16(n) - n) * sizeof *to);
    }
    return to;
}

const float *samba__cpu_build_vector(samba__cpu_builder *b, int role, size_t n, int need)
{
    if (need == SAMBA__CPU_OPTIONAL && !samba__cpu_build_has(b, role))
        return NULL;
    return vector(b, &b->desc->tensors[role], role_name(role), n);
}

const float *samba__cpu_build_floats(samba__cpu_builder *b, const samba_backend_tensor *tensor,
                                     const char *name, size_t n)
{
    return vector(b, tensor, name, n);
}

/* Row i of the tensor becomes column i. */
typedef struct table {
    float *to;
    size_t rows, cols; /* of the tensor; rows padded */
    bool grouped;
} table;

static void put_row(const table *t, size_t i, const char *row)
{
    for (size_t j = 0; j < t->cols; j++) {
        size_t at = t->grouped ? (i / 16 * t->cols + j) * 16 + i % 16 : j * t->rows + i;
        memcpy(t->to + at, row + j * sizeof(float), sizeof(float));
    }
}

static void read_table(samba__cpu_builder *b, const samba_backend_tensor *t, const table *to)
{
    const size_t row = to->cols * sizeof(float);
    size_t step = TABLE_BYTES / row ? TABLE_BYTES / row : 1;
    step = step < t->rows ? step : (size_t)t->rows;
    char *buffer = samba__alloc_array(&b->device->alloc, step, row);
    if (!buffer)
        keep(b, samba__cpu_fail_oom(b->device, b->error));
    for (size_t i = 0; i < t->rows && b->status == SAMBA_OK; i += step) {
        size_t n = t->rows - i < step ? (size_t)t->rows - i : step;
        const void *data;
        keep(b, samba__cpu_read_rows(t, i, n, buffer, &data, b->error));
        for (size_t k = 0; k < n && b->status == SAMBA_OK; k++)
            put_row(to, i + k, (const char *)data + k * row);
    }
    samba__free(&b->device->alloc, buffer);
}

const float *samba__cpu_build_table(samba__cpu_builder *b, int role, size_t rows, size_t cols,
                                    bool grouped)
{
    const samba_backend_tensor *t = &b->desc->tensors[role];
    if (!check_tensor(b, t, role_name(role), rows, cols, false))
        return NULL;
    size_t padded = samba__pad16(rows), size = padded * cols * sizeof(float);
    float *to = samba__cpu_build_bytes(b, size);
    if (!to)
        return NULL;
    memset(to, 0, size);
    read_table(b, t, &(table){.to = to, .rows = padded, .cols = cols, .grouped = grouped});
    return to;
}

void samba__cpu_build_norm(samba__cpu_builder *b, samba_backend_weights *w)
{
    const samba_backend_sublayer *d = b->desc;
    bool layer = d->norm == SAMBA_NORM_LAYER;
    samba__cpu_build_check(b, layer || d->norm == SAMBA_NORM_RMS, "norm kind", (uint64_t)d->norm);
    w->d_model = d->d_model;
    w->flags = d->flags;
    w->needs.d_model = samba__cpu_ld(d->d_model);
    w->norm.run = layer ? b->device->kernels.layer_norm : b->device->kernels.rms_norm;
    w->norm.eps = d->norm_eps;
    w->norm.weight = samba__cpu_build_vector(b, SAMBA_W_NORM, d->d_model, SAMBA__CPU_REQUIRED);
    w->norm.bias =
        layer ? samba__cpu_build_vector(b, SAMBA_W_NORM_BIAS, d->d_model, SAMBA__CPU_OPTIONAL)
              : NULL;
}

/* ---------------------------------------------------------------- matrices */

void samba__cpu_build_linear(samba__cpu_linear *lin, size_t cols)
{
    *lin = (samba__cpu_linear){.cols = cols};
}

/* Where prepared rows of a kernel's format lie; parts of one dtype share them. */
static size_t format_of(samba__cpu_linear *lin, const samba__linear_kernels *kernels)
{
    for (size_t i = 0; i < lin->n_parts; i++)
        if (lin->parts[i].kernels == kernels)
            return lin->parts[i].format;
    size_t at = lin->row_bytes;
    lin->row_bytes += kernels->row_bytes(lin->cols);
    return at;
}

/* The next `rows` rows of a checked tensor as the next part; a fill of the tensor's takes note. */
static samba__cpu_part *add_part(samba__cpu_builder *b, samba__cpu_linear *lin,
                                 samba__cpu_fill *fill, size_t rows)
{
    const samba__linear_kernels *k = fill->kernels;
    samba__cpu_part *part = &lin->parts[lin->n_parts];
    size_t panel = k->panel_bytes(lin->cols), size = samba__pad16(rows) / 16 * panel;
    *part = (samba__cpu_part){.kernels = k, .rows = rows, .column = lin->width};
    part->format = format_of(lin, k);
    char *packed = samba__cpu_build_bytes(b, size);
    part->packed = packed;
    if (packed) {
        memset(packed + rows / 16 * panel, 0, size - rows / 16 * panel);
        fill->parts[fill->n_parts].packed = packed;
        fill->parts[fill->n_parts++].rows = rows;
    }
    lin->n_parts++;
    lin->width += samba__pad16(rows);
    lin->ld = samba__cpu_ld(lin->width);
    return part;
}

/* A matrix to be packed at the end. */
static samba__cpu_fill *add_fill(samba__cpu_builder *b, const samba__cpu_linear *lin,
                                 const samba_backend_tensor *t)
{
    SAMBA__INVARIANT(b->n_fills < SAMBA__CPU_FILLS);
    samba__cpu_fill *fill = &b->fills[b->n_fills++];
    *fill = (samba__cpu_fill){
        .tensor = t, .kernels = &b->device->kernels.linear[t->dtype], .cols = lin->cols};
    return fill;
}

void samba__cpu_build_tensor(samba__cpu_builder *b, samba__cpu_linear *lin,
                             const samba_backend_tensor *tensor, const char *name)
{
    if (check_tensor(b, tensor, name, tensor->rows, lin->cols, true))
        add_part(b, lin, add_fill(b, lin, tensor), (size_t)tensor->rows);
}

void samba__cpu_build_part(samba__cpu_builder *b, samba__cpu_linear *lin, int role, int bias_role,
                           size_t rows)
{
    const samba_backend_tensor *t = &b->desc->tensors[role];
    if (!check_tensor(b, t, role_name(role), rows, lin->cols, true))
        return;
    samba__cpu_part *part = add_part(b, lin, add_fill(b, lin, t), rows);
    if (bias_role != SAMBA__CPU_NO_BIAS)
        part->bias = samba__cpu_build_vector(b, bias_role, rows, SAMBA__CPU_OPTIONAL);
}

/* The two halves of a bias, each at a place of its own; read whole to the first. */
static void add_halves(samba__cpu_builder *b, int role, size_t rows, samba__cpu_part *parts[2])
{
    const samba_backend_tensor *t = &b->desc->tensors[role];
    if (!samba__cpu_build_has(b, role) || !check_tensor(b, t, role_name(role), 1, 2 * rows, false))
        return;
    float *both = samba__cpu_build_bytes(b, 2 * rows * sizeof *both);
    float *second = samba__cpu_build_bytes(b, rows * sizeof *second);
    if (!second)
        return;
    read_vector(b, t, both, 2 * rows);
    memcpy(second, both + rows, rows * sizeof *second);
    parts[0]->bias = both;
    parts[1]->bias = second;
}

void samba__cpu_build_halves(samba__cpu_builder *b, samba__cpu_linear *lin, int role, int bias_role,
                             size_t rows)
{
    const samba_backend_tensor *t = &b->desc->tensors[role];
    if (!check_tensor(b, t, role_name(role), 2 * rows, lin->cols, true))
        return;
    samba__cpu_fill *fill = add_fill(b, lin, t);
    samba__cpu_part *parts[2];
    for (size_t i = 0; i < 2; i++)
        parts[i] = add_part(b, lin, fill, rows);
    add_halves(b, bias_role, rows, parts);
}

void samba__cpu_build_rope(samba__cpu_builder *b, samba__cpu_rope *rope, size_t head_dim,
                           samba_backend_weights *w)
{
    const samba_backend_sublayer *d = b->desc;
    size_t half = d->rope_dims / 2;
    if (d->rope_dims == 0)
        return;
    if (!samba__cpu_build_check(b, d->rope_dims % 2 == 0 && d->rope_dims <= head_dim, "rope_dims",
                                d->rope_dims) ||
        !samba__cpu_build_check(b, d->rope_base > 0.0f && d->rope_condense > 0.0f,
                                "a rope base or condense ratio not above 0 with rope_dims",
                                d->rope_dims) ||
        !samba__cpu_build_check(
            b, d->rope_table == SAMBA_ROPE_TABLE_BF16 || d->rope_table == SAMBA_ROPE_TABLE_F32,
            "rope table", (uint64_t)d->rope_table))
        return;
    rope->key = (samba__cpu_rope_key){d->rope_dims, d->rope_table, d->rope_base, d->rope_condense};
    w->needs.rope_half = samba__pad16(half);
    float *theta = samba__cpu_build_bytes(b, half * sizeof *theta);
    for (size_t t = 0; theta && t < half; t++) {
        float e = (float)(2 * t) / (float)d->rope_dims;
        theta[t] = 1.0f / (float)samba__pow((double)d->rope_base, (double)e);
    }
    rope->theta = theta;
}

/* ---------------------------------------------------------------- both runs */

void samba__cpu_weights_free(const samba_backend_device *device, samba_backend_weights *w)
{
    if (!w)
        return;
    samba__free(&device->alloc, w->block);
    samba__free(&device->alloc, w);
}

samba_status samba__cpu_build(samba__cpu_builder *b, samba__cpu_build_fn build, const void *arg,
                              size_t size, samba_backend_weights **w)
{
    const samba_allocator *a = &b->device->alloc;
    samba_backend_weights *made = samba__calloc(a, 1, size);
    void *block = NULL;
    if (!made)
        return samba__cpu_fail_oom(b->device, b->error);
    build(b, made, arg);
    if (b->status == SAMBA_OK && !b->measuring) {
        block = samba__alloc_aligned(a, b->used, SAMBA__ALIGN);
        if (!block)
            b->status = samba__cpu_fail_oom(b->device, b->error);
    }
    if (b->status == SAMBA_OK && block) {
        memset(made, 0, size);
        b->block = block;
        b->used = 0;
        b->n_fills = 0;
        build(b, made, arg);
        if (b->status == SAMBA_OK)
            b->status = samba__cpu_fill_all(b);
    }
    made->block = block;
    made->footprint.weight_bytes = b->used + size;
    if (b->status != SAMBA_OK) {
        samba__cpu_weights_free(b->device, made);
        return b->status;
    }
    *w = made;
    return SAMBA_OK;
}
