/* See tiny.h. */
#include "tiny.h"
#include "tensor/dtype.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- weights */

static uint64_t state;

static float value(float scale)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((float)(state >> 40) * 0x1p-23f - 1.0f) * scale;
}

/* Weights live in one static area: tests read them, nobody frees them. */
static _Alignas(64) char area[1 << 20];
static size_t used;

static samba_backend_tensor tensor(samba_dtype dtype, uint64_t rows, uint64_t cols, float scale,
                                   float shift)
{
    static float plain[256 * 128];
    uint64_t bytes = 0;
    (void)samba__dtype_bytes(dtype, rows * cols, &bytes);
    for (size_t i = 0; i < rows * cols; i++)
        plain[i] = value(scale) + shift;
    char *to = area + used;
    used += (bytes + 63) & ~(size_t)63;
    samba__dtype_info_of(dtype)->from_f32(plain, to, rows * cols);
    return (samba_backend_tensor){.data = to, .dtype = dtype, .rows = rows, .cols = cols};
}

static samba_backend_tensor matrix(samba_dtype dtype, uint64_t rows, uint64_t cols)
{
    if (cols % samba__dtype_info_of(dtype)->block)
        dtype = SAMBA_DTYPE_BF16; /* as models are loaded */
    return tensor(dtype, rows, cols, cols > 16 ? 0.25f : 0.5f, 0.0f);
}

static samba_backend_tensor vector(uint64_t n, float scale, float shift)
{
    return tensor(SAMBA_DTYPE_F32, 1, n, scale, shift);
}

static samba_backend_sublayer common(samba_sublayer_kind kind, samba_norm_kind norm)
{
    samba_backend_sublayer d = {.struct_size = sizeof d, .kind = kind, .norm = norm};
    d.norm_eps = 1e-5f;
    d.d_model = TINY_WIDTH;
    d.tensors[SAMBA_W_NORM] = vector(TINY_WIDTH, 0.5f, 1.0f);
    if (norm == SAMBA_NORM_LAYER)
        d.tensors[SAMBA_W_NORM_BIAS] = vector(TINY_WIDTH, 0.5f, 0.0f);
    return d;
}

static samba_backend_sublayer mamba(samba_dtype dtype)
{
    samba_backend_sublayer d = common(SAMBA_SUBLAYER_MAMBA, SAMBA_NORM_RMS);
    uint64_t e = d.d_inner = TINY_MEMORY, n = d.d_state = 8, r = d.dt_rank = 3;
    d.d_conv = 4;
    d.flags = SAMBA_SUBLAYER_PUBLISH_MEMORY;
    d.tensors[SAMBA_W_IN] = matrix(dtype, 2 * e, TINY_WIDTH);
    d.tensors[SAMBA_W_IN_BIAS] = vector(2 * e, 0.3f, 0.0f);
    d.tensors[SAMBA_W_CONV] = tensor(SAMBA_DTYPE_F32, e, 4, 0.6f, 0.0f);
    d.tensors[SAMBA_W_CONV_BIAS] = vector(e, 0.3f, 0.0f);
    d.tensors[SAMBA_W_X_PROJ] = matrix(dtype, r + 2 * n, e);
    d.tensors[SAMBA_W_DT_PROJ] = tensor(SAMBA_DTYPE_F32, e, r, 0.5f, 0.0f);
    d.tensors[SAMBA_W_DT_BIAS] = vector(e, 1.0f, -2.0f);
    d.tensors[SAMBA_W_A] = tensor(SAMBA_DTYPE_F32, e, n, 1.9f, -2.0f);
    d.tensors[SAMBA_W_D] = vector(e, 1.0f, 0.0f);
    d.tensors[SAMBA_W_OUT] = matrix(dtype, TINY_WIDTH, e);
    return d;
}

static samba_backend_sublayer mlp(samba_dtype dtype, samba_norm_kind norm)
{
    samba_backend_sublayer d = common(SAMBA_SUBLAYER_SWIGLU, norm);
    uint64_t f = d.d_inner = 56;
    d.tensors[SAMBA_W_GATE] = matrix(dtype, f, TINY_WIDTH);
    d.tensors[SAMBA_W_UP] = matrix(dtype, f, TINY_WIDTH);
    d.tensors[SAMBA_W_UP_BIAS] = vector(f, 0.2f, 0.0f);
    d.tensors[SAMBA_W_OUT] = matrix(dtype, TINY_WIDTH, f);
    return d;
}

static void heads(samba_backend_sublayer *d, samba_dtype dtype, uint32_t h, uint32_t g, uint32_t c)
{
    d->n_heads = h;
    d->n_kv_heads = g;
    d->head_dim = c;
    d->tensors[SAMBA_W_Q] = matrix(dtype, (uint64_t)h * c, TINY_WIDTH);
    if (!(d->flags & SAMBA_SUBLAYER_CROSS)) {
        d->tensors[SAMBA_W_K] = matrix(dtype, (uint64_t)g * c, TINY_WIDTH);
        d->tensors[SAMBA_W_V] = matrix(dtype, (uint64_t)g * c, TINY_WIDTH);
    }
    d->tensors[SAMBA_W_OUT] = matrix(dtype, TINY_WIDTH, (uint64_t)h * c);
}

static samba_backend_sublayer attention(samba_dtype dtype, bool short_conv)
{
    samba_backend_sublayer d = common(SAMBA_SUBLAYER_ATTENTION, SAMBA_NORM_RMS);
    heads(&d, dtype, 4, 2, 32);
    d.rope_dims = short_conv ? 32 : 16;
    d.rope_table = short_conv ? SAMBA_ROPE_TABLE_BF16 : SAMBA_ROPE_TABLE_F32;
    d.rope_base = 10000.0f;
    d.rope_condense = 1.0f;
    d.window = short_conv ? 0 : 40;
    if (!short_conv) {
        d.tensors[SAMBA_W_Q_BIAS] = vector(128, 0.3f, 0.0f);
        d.tensors[SAMBA_W_K_BIAS] = vector(64, 0.3f, 0.0f);
        d.tensors[SAMBA_W_V_BIAS] = vector(64, 0.3f, 0.0f);
        d.tensors[SAMBA_W_OUT_BIAS] = vector(TINY_WIDTH, 0.3f, 0.0f);
        return d;
    }
    d.d_conv = 3;
    d.tensors[SAMBA_W_Q_CONV] = tensor(SAMBA_DTYPE_F32, 128, 3, 0.7f, 0.0f);
    d.tensors[SAMBA_W_K_CONV] = tensor(SAMBA_DTYPE_F32, 64, 3, 0.7f, 0.0f);
    d.tensors[SAMBA_W_V_CONV] = tensor(SAMBA_DTYPE_F32, 64, 3, 0.7f, 0.0f);
    return d;
}

static samba_backend_sublayer linear(samba_dtype dtype, samba_sublayer_kind kind)
{
    samba_backend_sublayer d = common(kind, SAMBA_NORM_RMS);
    uint64_t h = d.n_heads = 2, k = d.key_dim = 12, v = d.value_dim = 20;
    d.subnorm_eps = 1e-5f;
    d.tensors[SAMBA_W_Q] = matrix(dtype, h * k, TINY_WIDTH);
    d.tensors[SAMBA_W_K] = matrix(dtype, h * k, TINY_WIDTH);
    d.tensors[SAMBA_W_V] = matrix(dtype, h * v, TINY_WIDTH);
    d.tensors[SAMBA_W_GATE] = matrix(dtype, h * v, TINY_WIDTH);
    d.tensors[SAMBA_W_OUT] = matrix(dtype, TINY_WIDTH, h * v);
    d.tensors[SAMBA_W_SUBNORM] = vector(v, 0.5f, 1.0f);
    if (kind == SAMBA_SUBLAYER_GLA) {
        d.gate_rank = 5;
        d.tensors[SAMBA_W_GK_A] = matrix(dtype, 5, TINY_WIDTH);
        d.tensors[SAMBA_W_GK_B] = tensor(SAMBA_DTYPE_F32, h * k, 5, 0.5f, 0.0f);
        d.tensors[SAMBA_W_GK_BIAS] = vector(h * k, 0.5f, 0.0f);
        return d;
    }
    d.rope_dims = 12;
    d.rope_table = SAMBA_ROPE_TABLE_F32;
    d.rope_base = 10000.0f;
    d.rope_condense = 1.0f;
    return d;
}

static samba_backend_sublayer differential(samba_dtype dtype, uint32_t flags)
{
    samba_backend_sublayer d = common(SAMBA_SUBLAYER_DIFF_ATTENTION, SAMBA_NORM_LAYER);
    d.flags = flags;
    heads(&d, dtype, 8, 4, 32);
    d.lambda = 0.4f;
    d.lambda_init = 0.3f;
    d.subnorm_eps = 1e-5f;
    d.tensors[SAMBA_W_Q_BIAS] = vector(256, 0.3f, 0.0f);
    d.tensors[SAMBA_W_SUBNORM] = vector(64, 0.5f, 1.0f);
    return d;
}

static samba_backend_sublayer gmu(samba_dtype dtype)
{
    samba_backend_sublayer d = common(SAMBA_SUBLAYER_GMU, SAMBA_NORM_LAYER);
    d.d_inner = TINY_MEMORY;
    d.tensors[SAMBA_W_IN] = matrix(dtype, TINY_MEMORY, TINY_WIDTH);
    d.tensors[SAMBA_W_OUT] = matrix(dtype, TINY_WIDTH, TINY_MEMORY);
    return d;
}

static void add(tiny *t, size_t at, samba_backend_sublayer d, int32_t slab, int32_t page, bool owns)
{
    t->sublayers[at] =
        (tiny_sublayer){.desc = d, .slab_slot = slab, .page_slot = page, .owns_pages = owns};
}

void tiny_describe(tiny *t, samba_dtype dtype)
{
    state = 0x9e3779b97f4a7c15u;
    used = 0;
    add(t, 0, mamba(dtype), 0, -1, false);
    add(t, 1, mlp(dtype, SAMBA_NORM_RMS), -1, -1, false);
    add(t, 2, attention(dtype, true), 1, 0, true);
    add(t, 3, attention(dtype, false), -1, 1, true);
    add(t, 4, linear(dtype, SAMBA_SUBLAYER_GLA), 2, -1, false);
    add(t, 5, linear(dtype, SAMBA_SUBLAYER_RETENTION), 3, -1, false);
    add(t, 6, differential(dtype, 0), -1, 2, true);
    add(t, 7, gmu(dtype), -1, -1, false);
    add(t, 8, differential(dtype, SAMBA_SUBLAYER_CROSS), -1, 2, false);
    add(t, 9, mlp(dtype, SAMBA_NORM_LAYER), -1, -1, false);
}

/* ---------------------------------------------------------------- device */

static void *poison_alloc(void *user_data, size_t size, size_t align)
{
    void *p = samba__alloc_default()->alloc(user_data, size, align);
    if (p)
        memset(p, 0xff, size);
    return p;
}

static void poison_free(void *user_data, void *ptr, size_t size, size_t align)
{
    memset(ptr, 0xff, size);
    samba__alloc_default()->free(user_data, ptr, size, align);
}

static samba_status host_fail(void *host_data, samba_error **error, samba_status status,
                              const char *message)
{
    const samba_backend_host *h = host_data;
    if (status == SAMBA_ERROR_OUT_OF_MEMORY)
        return samba__fail_oom(error);
    return samba__fail(&h->allocator, error, status, "%s", message);
}

static samba_status prepare(tiny *t, samba_dtype dtype, samba_error **error)
{
    samba_backend_tensor table = matrix(dtype, TINY_VOCAB, TINY_WIDTH);
    samba_backend_head head = {.struct_size = sizeof head, .norm = SAMBA_NORM_RMS};
    head.norm_eps = 1e-5f;
    head.norm_weight = vector(TINY_WIDTH, 0.5f, 1.0f);
    SAMBA__TRY(t->v->prepare_embed(t->device, &table, &t->embed, error));
    head.tied = t->embed;
    SAMBA__TRY(t->v->prepare_head(t->device, &head, &t->head, error));
    for (size_t i = 0; i < TINY_SUBLAYERS; i++) {
        tiny_sublayer *s = &t->sublayers[i];
        SAMBA__TRY(t->v->prepare_sublayer(t->device, &s->desc, &s->weights, error));
        s->footprint.struct_size = sizeof s->footprint;
        t->v->footprint(s->weights, &s->footprint);
        if (s->footprint.row_bytes > t->max_row_bytes)
            t->max_row_bytes = s->footprint.row_bytes;
    }
    return SAMBA_OK;
}

samba_status tiny_open(tiny *t, const tiny_options *options, samba_error **error)
{
    static const samba_allocator poison = {sizeof poison, poison_alloc, poison_free, NULL};
    *t = (tiny){.v = &samba__cpu_backend};
    t->host = (samba_backend_host){.struct_size = sizeof t->host,
                                   .allocator = options->allocator ? *options->allocator : poison,
                                   .fail = host_fail,
                                   .host_data = &t->host};
    samba_backend_open_params p = {.struct_size = sizeof p, .host = &t->host};
    p.n_threads = options->n_threads;
    p.cpu_tier = options->tier;
    SAMBA__TRY(t->v->open(&p, &t->device, error));
    tiny_describe(t, options->dtype);
    samba_status status = prepare(t, options->dtype, error);
    if (status != SAMBA_OK)
        tiny_close(t);
    return status;
}

void tiny_close(tiny *t)
{
    if (!t->device)
        return;
    for (size_t i = 0; i < TINY_SUBLAYERS; i++)
        t->v->release(t->device, t->sublayers[i].weights);
    t->v->release(t->device, t->head);
    t->v->release(t->device, t->embed);
    t->v->close(t->device);
    t->device = NULL;
}

/* ---------------------------------------------------------------- sessions */

static const tiny_sublayer *slab_owner(const tiny *t, int32_t slot)
{
    for (size_t i = 0; i < TINY_SUBLAYERS; i++)
        if (t->sublayers[i].slab_slot == slot)
            return &t->sublayers[i];
    return NULL;
}

static const tiny_sublayer *page_owner(const tiny *t, int32_t slot)
{
    for (size_t i = 0; i < TINY_SUBLAYERS; i++)
        if (t->sublayers[i].owns_pages && t->sublayers[i].page_slot == slot)
            return &t->sublayers[i];
    return NULL;
}

static void free_slabs(tiny *t, const uint32_t *slabs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        t->v->slab_free(t->device, slabs[i]);
}

/* [n_sets][TINY_SLABS] fresh slabs, or none of them. */
static samba_status new_slabs(tiny *t, uint32_t *slabs, size_t n_sets, samba_error **error)
{
    for (size_t i = 0; i < n_sets * TINY_SLABS; i++) {
        samba_status status = t->v->slab_alloc(
            t->device, slab_owner(t, (int32_t)(i % TINY_SLABS))->weights, &slabs[i], error);
        if (status != SAMBA_OK) {
            free_slabs(t, slabs, i);
            return status;
        }
    }
    return SAMBA_OK;
}

static void free_page_set(tiny *t, tiny_session *s, uint32_t at, size_t n)
{
    for (size_t p = 0; p < n; p++)
        t->v->page_free(t->device, s->pages[p][at]);
}

static samba_status reach(tiny *t, tiny_session *s, uint64_t end, samba_error **error)
{
    for (; s->n_pages < (end + SAMBA__PAGE - 1) / SAMBA__PAGE; s->n_pages++)
        for (size_t p = 0; p < TINY_PAGES; p++) {
            samba_status status = t->v->page_alloc(t->device, page_owner(t, (int32_t)p)->weights,
                                                   s->kv_dtype, &s->pages[p][s->n_pages], error);
            if (status != SAMBA_OK) {
                free_page_set(t, s, s->n_pages, p);
                return status;
            }
        }
    return SAMBA_OK;
}

void tiny_session_free(tiny *t, tiny_session *s)
{
    if (s->begun)
        free_slabs(t, s->slabs, TINY_SLABS);
    for (uint32_t i = 0; i < s->n_pages; i++)
        free_page_set(t, s, i, TINY_PAGES);
    *s = (tiny_session){.kv_dtype = s->kv_dtype};
}

/* ---------------------------------------------------------------- passes */

/* The description of a batch and the memory behind it. */
typedef struct batch {
    samba_backend_batch b;
    samba_backend_seq seqs[TINY_MAX_SEQS];
    samba_backend_pages pages[TINY_MAX_SEQS][TINY_PAGES];
    uint32_t zero[TINY_SLABS];
    uint32_t out[TINY_MAX_SEQS][TINY_MAX_ROWS * TINY_SLABS];
    size_t n_sets[TINY_MAX_SEQS]; /* sets made */
    samba_token tokens[TINY_MAX_SEQS * TINY_MAX_ROWS];
} batch;

static samba_status add_item(tiny *t, batch *b, const tiny_item *item, samba_error **error)
{
    tiny_session *s = item->session;
    uint32_t i = b->b.n_seqs;
    uint32_t n_sets = item->set_per_row ? item->n_rows : 1;
    SAMBA__TRY(reach(t, s, s->position + item->n_rows, error));
    SAMBA__TRY(new_slabs(t, b->out[i], n_sets, error));
    b->n_sets[i] = n_sets;
    b->seqs[i] = (samba_backend_seq){.position = s->position, .n_rows = item->n_rows};
    b->seqs[i].n_out = item->n_out;
    b->seqs[i].kv_dtype = s->kv_dtype;
    b->seqs[i].n_slab_sets = n_sets;
    b->seqs[i].slab_in = s->begun ? s->slabs : b->zero;
    b->seqs[i].slab_out = b->out[i];
    b->seqs[i].pages = b->pages[i];
    for (size_t p = 0; p < TINY_PAGES; p++) {
        uint32_t first = 0;
        if (p == 1 && s->position >= 40) /* the window has passed these pages */
            first = (uint32_t)(s->position - 39) / SAMBA__PAGE;
        b->pages[i][p] = (samba_backend_pages){first, s->pages[p] + first, s->n_pages - first, 0};
    }
    memcpy(b->tokens + b->b.n_rows, item->tokens, item->n_rows * sizeof *item->tokens);
    b->b.n_rows += item->n_rows;
    b->b.n_out += item->n_out;
    b->b.n_seqs++;
    return SAMBA_OK;
}

static samba_status run_sublayers(tiny *t, samba_backend_pass *pass, const tiny_run *run,
                                  samba_error **error)
{
    SAMBA__TRY(t->v->embed(pass, t->embed, error));
    int32_t n = run->cut ? run->cut : TINY_SUBLAYERS, narrow = run->cut ? n - 1 : TINY_NARROW;
    for (int32_t i = 0; i < n; i++) {
        samba_backend_run r = {.struct_size = sizeof r};
        r.flags = i == narrow && !run->wide ? SAMBA_RUN_NARROW : 0;
        r.slab_slot = t->sublayers[i].slab_slot;
        r.page_slot = t->sublayers[i].page_slot;
        SAMBA__TRY(t->v->sublayer(pass, t->sublayers[i].weights, &r, error));
        if (run->tap && run->tap == i)
            SAMBA__TRY(t->v->tap(pass, error));
    }
    return SAMBA_OK;
}

static uint32_t count_logits(const tiny_run *run, uint32_t n_out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; run->mode == SAMBA_HEAD_TARGETS && i < n_out; i++)
        n += run->targets[i] < 0;
    return run->mode == SAMBA_HEAD_TARGETS ? n : n_out;
}

static samba_status read_outputs(tiny *t, samba_backend_pass *pass, const tiny_run *run,
                                 const samba_backend_batch *b, samba_error **error)
{
    uint32_t n = b->n_out;
    if (run->logits)
        SAMBA__TRY(t->v->read(pass, SAMBA_OUT_LOGITS, 0, count_logits(run, n), run->logits, error));
    if (run->logprobs)
        SAMBA__TRY(t->v->read(pass, SAMBA_OUT_LOGPROBS, 0, n, run->logprobs, error));
    if (run->hidden)
        SAMBA__TRY(t->v->read(pass, SAMBA_OUT_HIDDEN, 0, n, run->hidden, error));
    if (run->memory)
        SAMBA__TRY(
            t->v->read(pass, SAMBA_OUT_MEMORY, 0, run->wide ? b->n_rows : n, run->memory, error));
    return SAMBA_OK;
}

static samba_status run_pass(tiny *t, const batch *b, const tiny_run *run, samba_error **error)
{
    samba_backend_pass *pass = NULL;
    samba_status status = t->v->begin(t->device, &b->b, &pass, error);
    if (status != SAMBA_OK)
        return status;
    SAMBA__TRY_GOTO(run_sublayers(t, pass, run, error));
    samba_backend_head_run head = {.struct_size = sizeof head, .mode = run->mode};
    head.mode = run->mode ? run->mode : SAMBA_HEAD_LOGITS;
    head.targets = run->targets;
    head.keep_hidden = run->keep_hidden;
    SAMBA__TRY_GOTO(t->v->head(pass, t->head, &head, error));
    SAMBA__TRY_GOTO(t->v->submit(pass, error));
    SAMBA__TRY_GOTO(t->v->wait(pass, error));
    SAMBA__TRY_GOTO(read_outputs(t, pass, run, &b->b, error));
fail:
    t->v->end(pass);
    return status;
}

/* The session goes on from the kept set; other slabs are freed. */
static void commit(tiny *t, batch *b, uint32_t i, const tiny_item *item)
{
    tiny_session *s = item->session;
    uint32_t keep = item->set_per_row ? item->keep : 1;
    uint32_t *kept = b->out[i] + (keep - 1) * TINY_SLABS;
    if (s->begun)
        free_slabs(t, s->slabs, TINY_SLABS);
    memcpy(s->slabs, kept, sizeof s->slabs);
    for (size_t k = 0; k < b->n_sets[i]; k++)
        if (k + 1 != keep)
            free_slabs(t, b->out[i] + k * TINY_SLABS, TINY_SLABS);
    s->begun = true;
    s->position += item->set_per_row ? keep : item->n_rows;
}

samba_status tiny_pass(tiny *t, tiny_run *run, samba_error **error)
{
    static batch b;
    samba_status status = SAMBA_OK;
    memset(&b, 0, sizeof b);
    memset(b.zero, 0xff, sizeof b.zero);
    b.b = (samba_backend_batch){.struct_size = sizeof b.b,
                                .n_slab_slots = TINY_SLABS,
                                .n_page_slots = TINY_PAGES,
                                .seqs = b.seqs,
                                .tokens = b.tokens,
                                .max_row_bytes = t->max_row_bytes};
    for (uint32_t i = 0; i < run->n_items && status == SAMBA_OK; i++)
        status = add_item(t, &b, &run->items[i], error);
    if (status == SAMBA_OK)
        status = run_pass(t, &b, run, error);
    for (uint32_t i = 0; i < b.b.n_seqs; i++) {
        if (status == SAMBA_OK)
            commit(t, &b, i, &run->items[i]);
        else
            free_slabs(t, b.out[i], b.n_sets[i] * TINY_SLABS);
    }
    return status;
}

/* ---------------------------------------------------------------- packing */

static size_t slab_bytes(const samba_backend_sublayer *d)
{
    size_t n;
    if (d->kind == SAMBA_SUBLAYER_MAMBA)
        n = (size_t)d->d_inner * (d->d_conv - 1 + d->d_state);
    else if (d->kind == SAMBA_SUBLAYER_ATTENTION)
        n = (size_t)(d->n_heads + 2 * d->n_kv_heads) * d->head_dim * (d->d_conv - 1);
    else
        n = (size_t)d->n_heads * d->key_dim * d->value_dim;
    return n * sizeof(float);
}

static size_t row_bytes(const samba_backend_sublayer *d, samba_dtype dtype)
{
    uint64_t bytes = 0;
    (void)samba__dtype_bytes(dtype, 2 * (uint64_t)d->n_kv_heads * d->head_dim, &bytes);
    return bytes;
}

static size_t packed_bytes(const tiny *t, samba_dtype dtype, uint64_t position)
{
    size_t n = 0;
    for (int32_t i = 0; i < TINY_SLABS; i++)
        n += slab_bytes(&slab_owner(t, i)->desc);
    for (int32_t i = 0; i < TINY_PAGES; i++)
        n += row_bytes(&page_owner(t, i)->desc, dtype) * position;
    return n;
}

/* Rows of page `at` that positions below `position` have written. */
static uint32_t rows_in(uint64_t position, uint32_t at)
{
    uint64_t left = position - (uint64_t)at * SAMBA__PAGE;
    return left < SAMBA__PAGE ? (uint32_t)left : SAMBA__PAGE;
}

char *tiny_pack(tiny *t, const tiny_session *s, size_t *size)
{
    *size = packed_bytes(t, s->kv_dtype, s->position);
    char *data = malloc(*size), *at = data;
    for (int32_t i = 0; i < TINY_SLABS; i++) {
        size_t n = slab_bytes(&slab_owner(t, i)->desc);
        if (t->v->slab_pack(t->device, s->slabs[i], at, n, NULL) != SAMBA_OK)
            return NULL;
        at += n;
    }
    for (int32_t p = 0; p < TINY_PAGES; p++)
        for (uint32_t i = 0; i * (uint64_t)SAMBA__PAGE < s->position; i++) {
            uint32_t rows = rows_in(s->position, i);
            size_t n = rows * row_bytes(&page_owner(t, p)->desc, s->kv_dtype);
            if (t->v->page_pack(t->device, s->pages[p][i], 0, rows, at, n, NULL) != SAMBA_OK)
                return NULL;
            at += n;
        }
    return data;
}

samba_status tiny_unpack(tiny *t, tiny_session *s, const char *data, uint64_t position,
                         samba_dtype kv_dtype, samba_error **error)
{
    *s = (tiny_session){.kv_dtype = kv_dtype};
    SAMBA__TRY(new_slabs(t, s->slabs, 1, error));
    s->begun = true;
    SAMBA__TRY(reach(t, s, position, error));
    s->position = position;
    for (int32_t i = 0; i < TINY_SLABS; i++) {
        size_t n = slab_bytes(&slab_owner(t, i)->desc);
        SAMBA__TRY(t->v->slab_unpack(t->device, s->slabs[i], data, n, error));
        data += n;
    }
    for (int32_t p = 0; p < TINY_PAGES; p++)
        for (uint32_t i = 0; i * (uint64_t)SAMBA__PAGE < position; i++) {
            uint32_t rows = rows_in(position, i);
            size_t n = rows * row_bytes(&page_owner(t, p)->desc, kv_dtype);
            SAMBA__TRY(t->v->page_unpack(t->device, s->pages[p][i], 0, rows, data, n, error));
            data += n;
        }
    return SAMBA_OK;
}
