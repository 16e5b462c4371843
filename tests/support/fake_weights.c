/*
 * Weights of the fake backend: every shape is checked against what backend.h says of its role, and
 * everything is widened to float once, into one closed region per sublayer.
 */
#include "fake_internal.h"

#include <stdio.h>
#include <string.h>

typedef struct shape {
    int role;
    uint64_t rows, cols;
    bool required, matrix; /* not a matrix: must be F32 */
} shape;

static const shape *find_shape(const shape *shapes, size_t n, int role)
{
    for (size_t i = 0; i < n; i++)
        if (shapes[i].role == role)
            return &shapes[i];
    return NULL;
}

static size_t mamba_shapes(const samba_backend_sublayer *s, shape *to)
{
    uint64_t e = s->d_inner, n = s->d_state, r = s->dt_rank, d = s->d_model;
    const shape list[] = {
        {SAMBA_W_IN, 2 * e, d, true, true},
        {SAMBA_W_IN_BIAS, 1, 2 * e, false, false},
        {SAMBA_W_CONV, e, s->d_conv, true, false},
        {SAMBA_W_CONV_BIAS, 1, e, false, false},
        {SAMBA_W_X_PROJ, r + 2 * n, e, true, true},
        {SAMBA_W_DT_PROJ, e, r, true, false},
        {SAMBA_W_DT_BIAS, 1, e, false, false},
        {SAMBA_W_A, e, n, true, false},
        {SAMBA_W_D, 1, e, false, false},
        {SAMBA_W_OUT, d, e, true, true},
        {SAMBA_W_OUT_BIAS, 1, d, false, false},
    };
    memcpy(to, list, sizeof list);
    return sizeof list / sizeof list[0];
}

static size_t attention_shapes(const samba_backend_sublayer *s, shape *to)
{
    uint64_t h = (uint64_t)s->n_heads * s->head_dim, g = (uint64_t)s->n_kv_heads * s->head_dim;
    uint64_t d = s->d_model;
    bool diff = s->kind == SAMBA_SUBLAYER_DIFF_ATTENTION;
    bool own = !(s->flags & SAMBA_SUBLAYER_CROSS), conv = s->d_conv != 0;
    const shape list[] = {
        {SAMBA_W_Q, h, d, true, true},
        {SAMBA_W_Q_BIAS, 1, h, false, false},
        {SAMBA_W_OUT, d, h, true, true},
        {SAMBA_W_OUT_BIAS, 1, d, false, false},
        {diff ? SAMBA_W_SUBNORM : -1, 1, 2 * (uint64_t)s->head_dim, true, false},
        {own ? SAMBA_W_K : -1, g, d, true, true},
        {own ? SAMBA_W_K_BIAS : -1, 1, g, false, false},
        {own ? SAMBA_W_V : -1, g, d, true, true},
        {own ? SAMBA_W_V_BIAS : -1, 1, g, false, false},
        {conv ? SAMBA_W_Q_CONV : -1, h, s->d_conv, true, false},
        {conv ? SAMBA_W_K_CONV : -1, g, s->d_conv, true, false},
        {conv ? SAMBA_W_V_CONV : -1, g, s->d_conv, true, false},
    };
    memcpy(to, list, sizeof list);
    return sizeof list / sizeof list[0];
}

static size_t linear_attention_shapes(const samba_backend_sublayer *s, shape *to)
{
    uint64_t k = (uint64_t)s->n_heads * s->key_dim, v = (uint64_t)s->n_heads * s->value_dim;
    uint64_t d = s->d_model;
    bool gla = s->kind == SAMBA_SUBLAYER_GLA;
    const shape list[] = {
        {SAMBA_W_Q, k, d, true, true},
        {SAMBA_W_K, k, d, true, true},
        {SAMBA_W_V, v, d, true, true},
        {SAMBA_W_GATE, v, d, true, true},
        {SAMBA_W_SUBNORM, 1, s->value_dim, true, false},
        {SAMBA_W_OUT, d, v, true, true},
        {gla ? SAMBA_W_GK_A : -1, s->gate_rank, d, true, true},
        {gla ? SAMBA_W_GK_B : -1, k, s->gate_rank, true, false},
        {gla ? SAMBA_W_GK_BIAS : -1, 1, k, false, false},
    };
    memcpy(to, list, sizeof list);
    return sizeof list / sizeof list[0];
}

static size_t plain_shapes(const samba_backend_sublayer *s, shape *to)
{
    uint64_t e = s->d_inner, d = s->d_model;
    bool mlp = s->kind == SAMBA_SUBLAYER_SWIGLU;
    const shape list[] = {
        {mlp ? SAMBA_W_GATE : SAMBA_W_IN, e, d, true, true},
        {mlp ? SAMBA_W_GATE_BIAS : -1, 1, e, false, false},
        {mlp ? SAMBA_W_UP : -1, e, d, true, true},
        {mlp ? SAMBA_W_UP_BIAS : -1, 1, e, false, false},
        {SAMBA_W_OUT, d, e, true, true},
        {SAMBA_W_OUT_BIAS, 1, d, false, false},
    };
    memcpy(to, list, sizeof list);
    return sizeof list / sizeof list[0];
}

static size_t shapes_of(const samba_backend_sublayer *s, shape *to)
{
    size_t n = 0;
    switch (s->kind) {
    case SAMBA_SUBLAYER_MAMBA:
        n = mamba_shapes(s, to);
        break;
    case SAMBA_SUBLAYER_ATTENTION:
    case SAMBA_SUBLAYER_DIFF_ATTENTION:
        n = attention_shapes(s, to);
        break;
    case SAMBA_SUBLAYER_GLA:
    case SAMBA_SUBLAYER_RETENTION:
        n = linear_attention_shapes(s, to);
        break;
    case SAMBA_SUBLAYER_GMU:
    case SAMBA_SUBLAYER_SWIGLU:
        n = plain_shapes(s, to);
        break;
    default:
        return 0;
    }
    to[n++] = (shape){SAMBA_W_NORM, 1, s->d_model, true, false};
    if (s->norm == SAMBA_NORM_LAYER)
        to[n++] = (shape){SAMBA_W_NORM_BIAS, 1, s->d_model, false, false};
    return n;
}

/* Whether the library described this sublayer as backend.h promises. */
static bool check_shapes(const samba_backend_sublayer *s, bool with_data)
{
    shape shapes[16];
    size_t n = shapes_of(s, shapes);
    if (!n || s->struct_size < sizeof *s ||
        (s->norm != SAMBA_NORM_RMS && s->norm != SAMBA_NORM_LAYER)) {
        fake_violation("sublayer of kind %d, norm %d, size %zu", s->kind, s->norm, s->struct_size);
        return false;
    }
    for (int role = 0; role < SAMBA_W_COUNT; role++) {
        const samba_backend_tensor *t = &s->tensors[role];
        const shape *want = find_shape(shapes, n, role);
        bool present = t->rows != 0;
        if (!present && !t->data && !(want && want->required))
            continue;
        bool dtype_fits = want && (want->matrix ? fake_dtype_bytes(t->dtype, 32) != 0
                                                : t->dtype == SAMBA_DTYPE_F32);
        if (!want || !dtype_fits || t->rows != want->rows || t->cols != want->cols ||
            (with_data && !t->data)) {
            fake_violation("kind %d, weight role %d: dtype %d [%llu][%llu] data %d, expected "
                           "[%llu][%llu]",
                           s->kind, role, t->dtype, (unsigned long long)t->rows,
                           (unsigned long long)t->cols, t->data != NULL,
                           want ? (unsigned long long)want->rows : 0,
                           want ? (unsigned long long)want->cols : 0);
            return false;
        }
    }
    return true;
}

static uint32_t slab_floats(const samba_backend_sublayer *s)
{
    uint32_t taps = s->d_conv ? s->d_conv - 1 : 0;
    switch (s->kind) {
    case SAMBA_SUBLAYER_MAMBA:
        return s->d_inner * (taps + s->d_state);
    case SAMBA_SUBLAYER_ATTENTION:
        return (s->n_heads + 2 * s->n_kv_heads) * s->head_dim * taps;
    case SAMBA_SUBLAYER_GLA:
    case SAMBA_SUBLAYER_RETENTION:
        return s->n_heads * s->key_dim * s->value_dim;
    default:
        return 0;
    }
}

static bool owns_pages(const samba_backend_sublayer *s)
{
    return (s->kind == SAMBA_SUBLAYER_ATTENTION || s->kind == SAMBA_SUBLAYER_DIFF_ATTENTION) &&
           !(s->flags & SAMBA_SUBLAYER_CROSS);
}

static uint64_t page_bytes(const samba_backend_sublayer *s, samba_dtype dtype)
{
    /* A block must not straddle heads. */
    uint64_t head = fake_dtype_bytes(dtype, s->head_dim);
    return head * s->n_kv_heads * 2 * FAKE_PAGE_POSITIONS;
}

static void fill_footprint(const samba_backend_sublayer *s, samba_backend_footprint *f)
{
    memset(f, 0, sizeof *f);
    f->struct_size = sizeof *f;
    for (int role = 0; role < SAMBA_W_COUNT; role++)
        f->weight_bytes += s->tensors[role].rows * s->tensors[role].cols * sizeof(float);
    f->slab_bytes = slab_floats(s) * sizeof(float);
    if (owns_pages(s))
        for (samba_dtype t = SAMBA_DTYPE_F32; t <= SAMBA_DTYPE_Q8_0; t++)
            f->page_bytes[t] = page_bytes(s, t);
    f->row_bytes = s->d_model * sizeof(double) + sizeof(fake_row);
    if (s->flags & SAMBA_SUBLAYER_PUBLISH_MEMORY)
        f->row_bytes += s->d_inner * sizeof(double);
}

samba_status fake_measure(samba_backend_device *device, const samba_backend_sublayer *sublayer,
                          samba_backend_footprint *footprint, samba_error **error)
{
    if (!check_shapes(sublayer, false))
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "bad sublayer");
    fill_footprint(sublayer, footprint);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- prepare */

static samba_status weights_create(samba_backend_device *device, int32_t kind, uint64_t n_floats,
                                   samba_backend_weights **weights, samba_error **error)
{
    samba_backend_weights *w = fake_host_alloc(device->host, sizeof *w);
    if (!w || !fake_region_create(&w->region, n_floats * sizeof(float))) {
        fake_host_free(device->host, w);
        return fake_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "no memory for weights");
    }
    w->device = device;
    w->kind = kind;
    w->footprint.struct_size = sizeof w->footprint;
    w->footprint.weight_bytes = n_floats * sizeof(float);
    pthread_mutex_lock(&device->lock);
    device->n_weights++;
    pthread_mutex_unlock(&device->lock);
    fake_count(0, 1, 0, 0, 0);
    *weights = w;
    return SAMBA_OK;
}

static void raise_to(uint64_t *max, uint64_t value)
{
    *max = value > *max ? value : *max;
}

samba_status fake_prepare_sublayer(samba_backend_device *device,
                                   const samba_backend_sublayer *sublayer,
                                   samba_backend_weights **weights, samba_error **error)
{
    if (!check_shapes(sublayer, true))
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "bad sublayer");
    samba_backend_footprint footprint;
    fill_footprint(sublayer, &footprint);
    samba_backend_weights *w = NULL;
    samba_status status =
        weights_create(device, sublayer->kind, footprint.weight_bytes / 4, &w, error);
    if (status != SAMBA_OK)
        return status;
    w->desc = *sublayer;
    w->footprint = footprint;
    w->slab_floats = slab_floats(sublayer);
    w->kv_width = sublayer->n_kv_heads * sublayer->head_dim;
    float *to = fake_region_open(&w->region);
    for (int role = 0; role < SAMBA_W_COUNT; role++) {
        const samba_backend_tensor *t = &sublayer->tensors[role];
        w->desc.tensors[role].data = NULL;
        if (!t->rows)
            continue;
        fake_decode(t->dtype, t->data, t->rows * t->cols, to);
        w->tensors[role] = to;
        to += t->rows * t->cols;
    }
    fake_region_close(&w->region);
    pthread_mutex_lock(&device->lock);
    raise_to(&device->max_d_model, sublayer->d_model);
    raise_to(&device->max_scratch, fake_mixer_scratch(sublayer));
    if (sublayer->flags & SAMBA_SUBLAYER_PUBLISH_MEMORY)
        raise_to(&device->max_memory, sublayer->d_inner);
    pthread_mutex_unlock(&device->lock);
    *weights = w;
    return SAMBA_OK;
}

samba_status fake_prepare_embed(samba_backend_device *device, const samba_backend_tensor *table,
                                samba_backend_weights **weights, samba_error **error)
{
    samba_backend_weights *w = NULL;
    samba_status status = weights_create(device, FAKE_EMBED, table->rows * table->cols, &w, error);
    if (status != SAMBA_OK)
        return status;
    w->rows = table->rows;
    w->cols = table->cols;
    w->tensors[0] = fake_region_open(&w->region);
    fake_decode(table->dtype, table->data, w->rows * w->cols, w->tensors[0]);
    fake_region_close(&w->region);
    pthread_mutex_lock(&device->lock);
    raise_to(&device->max_d_model, w->cols);
    pthread_mutex_unlock(&device->lock);
    *weights = w;
    return SAMBA_OK;
}

samba_status fake_prepare_head(samba_backend_device *device, const samba_backend_head *head,
                               samba_backend_weights **weights, samba_error **error)
{
    const samba_backend_weights *tied = head->tied;
    uint64_t rows = tied ? tied->rows : head->table.rows;
    uint64_t cols = tied ? tied->cols : head->table.cols;
    if (head->struct_size < sizeof *head || (tied != NULL) == (head->table.data != NULL) ||
        head->norm_weight.cols != cols || !head->norm_weight.data ||
        head->norm_weight.dtype != SAMBA_DTYPE_F32 ||
        (head->norm_bias.data && head->norm_bias.cols != cols)) {
        fake_violation("head: table or norm is not as described");
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "bad head");
    }
    uint64_t n_table = tied ? 0 : rows * cols;
    samba_backend_weights *w = NULL;
    samba_status status = weights_create(device, FAKE_HEAD, n_table + 2 * cols, &w, error);
    if (status != SAMBA_OK)
        return status;
    w->rows = rows;
    w->cols = cols;
    w->head = *head;
    w->tied = tied;
    float *to = fake_region_open(&w->region);
    memcpy(to, head->norm_weight.data, cols * sizeof(float));
    w->tensors[1] = to;
    if (head->norm_bias.data) {
        memcpy(to + cols, head->norm_bias.data, cols * sizeof(float));
        w->tensors[2] = to + cols;
    }
    if (!tied) {
        w->tensors[0] = to + 2 * cols;
        fake_decode(head->table.dtype, head->table.data, n_table, w->tensors[0]);
    }
    fake_region_close(&w->region);
    pthread_mutex_lock(&device->lock);
    raise_to(&device->max_vocab, rows);
    if (tied)
        ((samba_backend_weights *)(uintptr_t)tied)->users++;
    pthread_mutex_unlock(&device->lock);
    *weights = w;
    return SAMBA_OK;
}

void fake_footprint(const samba_backend_weights *weights, samba_backend_footprint *footprint)
{
    *footprint = weights->footprint;
}

void fake_release(samba_backend_device *device, samba_backend_weights *weights)
{
    if (weights->device != device)
        fake_violation("weights released on a foreign device");
    pthread_mutex_lock(&device->lock);
    if (weights->users)
        fake_violation("weights of kind %d released while in use", weights->kind);
    if (weights->tied)
        ((samba_backend_weights *)(uintptr_t)weights->tied)->users--;
    device->n_weights--;
    pthread_mutex_unlock(&device->lock);
    fake_region_destroy(&weights->region);
    fake_host_free(device->host, weights);
    fake_count(0, -1, 0, 0, 0);
}
