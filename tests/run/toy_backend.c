/* The toy backend's vtable; see toy_backend.h. */
#include "toy_backend.h"
#include "toy_hash.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef fail /* Check's macro, in the way of the host's function */

enum {
    SLOTS = 4096,
    OPS = 16,
    ROWS = 512 /* most of a pass */
};
static const uint64_t POISON = 0xdeadbeefdeadbeefu;

typedef struct toy_slab {
    bool alive;
    uint64_t value;
} toy_slab;

typedef struct toy_page {
    bool alive;
    uint64_t values[TOY_PAGE];
} toy_page;

struct samba_backend_weights {
    uint32_t index; /* sublayer */
    uint32_t window;
};

typedef enum op_kind {
    OP_EMBED,
    OP_SUBLAYER,
    OP_TAP,
    OP_HEAD
} op_kind;

typedef struct op {
    op_kind kind;
    const samba_backend_weights *weights;
    samba_backend_run run;
} op;

struct samba_backend_pass {
    samba_backend_device *device;
    samba_backend_batch batch;
    samba_backend_head_run head;
    op ops[OPS];
    uint32_t n_ops;
    bool submitted, done, tapped;
    uint64_t h[ROWS];
    uint64_t hidden[ROWS]; /* of output rows */
    bool is_out[ROWS];
};

struct samba_backend_device {
    toy_device public;
    uv_mutex_t lock; /* tables, noise, violations */
    const samba_backend_host *host;
    struct samba_backend_weights weights[TOY_SUBLAYERS];
    toy_slab slabs[SLOTS];
    toy_page pages[SLOTS];
    uint16_t slab_users[SLOTS], page_users[SLOTS]; /* how often the running pass names each */
    samba_backend_pass pass, *running;
    uint64_t noise;
};

static float log_prob(const float *logits, samba_token token)
{
    double sum = 0;
    for (uint32_t v = 0; v < TOY_VOCAB; v++)
        sum += exp((double)logits[v]);
    return (float)((double)logits[token] - log(sum));
}

/* ---------------------------------------------------------------- device */

static void breach(samba_backend_device *d, const char *text, uint64_t a, uint64_t b)
{
    d->public.violations++;
    snprintf(d->public.violation, sizeof d->public.violation, "%s (%llu, %llu)", text,
             (unsigned long long)a, (unsigned long long)b);
}

static uint64_t noise(samba_backend_device *d)
{
    return toy_random(&d->noise) | POISON;
}

/* Called by everything that can fail. */
static samba_status maybe_fail(samba_backend_device *d, samba_error **error)
{
    __atomic_fetch_add(&d->public.n_calls, 1, __ATOMIC_RELAXED);
    if (d->public.fail_in < 0 || d->public.fail_in-- > 0)
        return SAMBA_OK;
    return d->host->fail(d->host->host_data, error, SAMBA_ERROR_BACKEND, "the toy was told to");
}

static samba_status toy_open(const samba_backend_open_params *params, samba_backend_device **device,
                             samba_error **error)
{
    (void)error;
    samba_backend_device *d = calloc(1, sizeof *d);
    d->host = params->host;
    uv_mutex_init(&d->lock);
    d->public.fail_in = d->public.cancel_in = -1;
    *device = d;
    return SAMBA_OK;
}

static void toy_close(samba_backend_device *device)
{
    uv_mutex_destroy(&device->lock);
    free(device);
}

static samba_status toy_describe(samba_backend_device *device, samba_backend_info *info,
                                 samba_error **error)
{
    (void)device;
    (void)error;
    info->flags = SAMBA_BACKEND_INVARIANT;
    info->page_positions = TOY_PAGE;
    info->device_name = "toy";
    return SAMBA_OK;
}

/* The model is built by hand: weights need no preparing. */
static samba_status unused(samba_backend_device *d, samba_error **error)
{
    return d->host->fail(d->host->host_data, error, SAMBA_ERROR_UNSUPPORTED, "not in the toy");
}

static samba_status toy_measure(samba_backend_device *d, const samba_backend_sublayer *sublayer,
                                samba_backend_footprint *footprint, samba_error **error)
{
    (void)sublayer;
    (void)footprint;
    return unused(d, error);
}

static samba_status toy_prepare_sublayer(samba_backend_device *d,
                                         const samba_backend_sublayer *sublayer,
                                         samba_backend_weights **weights, samba_error **error)
{
    (void)sublayer;
    (void)weights;
    return unused(d, error);
}

static samba_status toy_prepare_embed(samba_backend_device *d, const samba_backend_tensor *table,
                                      samba_backend_weights **weights, samba_error **error)
{
    (void)table;
    (void)weights;
    return unused(d, error);
}

static samba_status toy_prepare_head(samba_backend_device *d, const samba_backend_head *head,
                                     samba_backend_weights **weights, samba_error **error)
{
    (void)head;
    (void)weights;
    return unused(d, error);
}

static void toy_footprint(const samba_backend_weights *weights, samba_backend_footprint *footprint)
{
    (void)weights;
    (void)footprint;
}

static void toy_release(samba_backend_device *d, samba_backend_weights *weights)
{
    (void)d;
    (void)weights;
}

/* ---------------------------------------------------------------- slabs and pages */

static samba_status out_of_slots(samba_backend_device *d, samba_error **error)
{
    return d->host->fail(d->host->host_data, error, SAMBA_ERROR_OUT_OF_MEMORY, "");
}

static samba_status slab_alloc(samba_backend_device *d, const samba_backend_weights *weights,
                               uint32_t *slab, samba_error **error)
{
    (void)weights;
    SAMBA__TRY(maybe_fail(d, error));
    for (uint32_t i = 0; i < SLOTS; i++)
        if (!d->slabs[i].alive) {
            d->slabs[i] = (toy_slab){.alive = true, .value = noise(d)};
            d->public.n_slabs++;
            *slab = i;
            return SAMBA_OK;
        }
    return out_of_slots(d, error);
}

static void slab_free(samba_backend_device *d, uint32_t slab)
{
    if (slab >= SLOTS || !d->slabs[slab].alive || d->slab_users[slab]) {
        breach(d, "slab freed twice or in a pass", slab, 0);
        return;
    }
    d->slabs[slab].alive = false;
    d->public.n_slabs--;
}

static samba_status page_alloc(samba_backend_device *d, const samba_backend_weights *weights,
                               samba_dtype kv_dtype, uint32_t *page, samba_error **error)
{
    (void)weights;
    SAMBA__TRY(maybe_fail(d, error));
    if (kv_dtype != SAMBA_DTYPE_F16 && kv_dtype != SAMBA_DTYPE_F32)
        breach(d, "page of another type", (uint64_t)kv_dtype, 0);
    for (uint32_t i = 0; i < SLOTS; i++)
        if (!d->pages[i].alive) {
            d->pages[i].alive = true;
            for (int k = 0; k < TOY_PAGE; k++)
                d->pages[i].values[k] = noise(d);
            d->public.n_pages++;
            *page = i;
            return SAMBA_OK;
        }
    return out_of_slots(d, error);
}

static void page_free(samba_backend_device *d, uint32_t page)
{
    if (page >= SLOTS || !d->pages[page].alive || d->page_users[page]) {
        breach(d, "page freed twice or in a pass", page, 0);
        return;
    }
    d->pages[page].alive = false;
    d->public.n_pages--;
}

static samba_status page_copy(samba_backend_device *d, uint32_t to, uint32_t from,
                              samba_error **error)
{
    SAMBA__TRY(maybe_fail(d, error));
    if (to >= SLOTS || from >= SLOTS || to == from || !d->pages[to].alive ||
        !d->pages[from].alive || d->page_users[to] || d->page_users[from])
        breach(d, "page copied to or from nowhere, or in a pass", to, from);
    else
        d->pages[to] = d->pages[from];
    return SAMBA_OK;
}

static samba_status toy_pack(samba_backend_device *d, uint32_t slab, void *canonical, size_t size,
                             samba_error **error)
{
    (void)slab;
    (void)canonical;
    (void)size;
    return unused(d, error);
}

static samba_status toy_unpack(samba_backend_device *d, uint32_t slab, const void *canonical,
                               size_t size, samba_error **error)
{
    (void)slab;
    (void)canonical;
    (void)size;
    return unused(d, error);
}

static samba_status toy_page_pack(samba_backend_device *d, uint32_t page, uint32_t first_row,
                                  uint32_t n_rows, void *canonical, size_t size,
                                  samba_error **error)
{
    (void)first_row;
    (void)n_rows;
    return toy_pack(d, page, canonical, size, error);
}

static samba_status toy_page_unpack(samba_backend_device *d, uint32_t page, uint32_t first_row,
                                    uint32_t n_rows, const void *canonical, size_t size,
                                    samba_error **error)
{
    (void)first_row;
    (void)n_rows;
    return toy_unpack(d, page, canonical, size, error);
}

/* ---------------------------------------------------------------- checks of a batch */

static uint64_t *cell_at(samba_backend_device *d, const samba_backend_pages *pages, uint64_t at)
{
    static uint64_t nowhere;
    uint64_t number = at / TOY_PAGE;
    if (number < pages->first || number - pages->first >= pages->n_pages) {
        breach(d, "position outside the page table", at, pages->first);
        return &nowhere;
    }
    return &d->pages[pages->pages[number - pages->first]].values[at % TOY_PAGE];
}

static void count_users(samba_backend_device *d, const samba_backend_batch *b)
{
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        const samba_backend_seq *s = &b->seqs[i];
        for (uint32_t j = 0; j < b->n_page_slots; j++)
            for (uint32_t k = 0; k < s->pages[j].n_pages; k++)
                d->page_users[s->pages[j].pages[k] % SLOTS]++;
        for (uint32_t k = 0; k < b->n_slab_slots; k++)
            if (s->slab_in[k] != SAMBA_SLAB_ZERO)
                d->slab_users[s->slab_in[k] % SLOTS]++;
        for (uint32_t k = 0; k < b->n_slab_slots * s->n_slab_sets; k++)
            d->slab_users[s->slab_out[k] % SLOTS]++;
    }
}

/* A page that one sequence writes may stand in no other table of the batch. */
static void check_page(samba_backend_device *d, const samba_backend_seq *s,
                       const samba_backend_pages *pages, uint32_t index)
{
    uint32_t id = pages->pages[index];
    uint64_t number = pages->first + index;
    if (id >= SLOTS || !d->pages[id].alive) {
        breach(d, "dead page in a table", id, index);
        return;
    }
    if ((number + 1) * TOY_PAGE <= s->position)
        return;
    if (d->page_users[id] != 1)
        breach(d, "written page is shared", id, d->page_users[id]);
    for (uint64_t at = number * TOY_PAGE; at < (number + 1) * TOY_PAGE; at++)
        if (at >= s->position)
            *cell_at(d, pages, at) = noise(d);
}

static void check_slab_out(samba_backend_device *d, uint32_t id)
{
    if (id >= SLOTS || !d->slabs[id].alive || d->slab_users[id] != 1)
        breach(d, "written slab is dead or shared", id, id < SLOTS ? d->slab_users[id] : 0);
    else
        d->slabs[id].value = noise(d);
}

static void check_seq(samba_backend_device *d, const samba_backend_batch *b, uint32_t seq)
{
    const samba_backend_seq *s = &b->seqs[seq];
    if (!s->n_rows || s->n_out > s->n_rows)
        breach(d, "rows of a sequence", s->n_rows, s->n_out);
    if (s->n_slab_sets != 1 && s->n_slab_sets != s->n_rows)
        breach(d, "slab sets", s->n_slab_sets, s->n_rows);
    for (uint32_t k = 0; k < b->n_slab_slots; k++)
        if (s->slab_in[k] != SAMBA_SLAB_ZERO &&
            (s->slab_in[k] >= SLOTS || !d->slabs[s->slab_in[k]].alive))
            breach(d, "dead slab read", s->slab_in[k], k);
    for (uint32_t k = 0; k < b->n_slab_slots * s->n_slab_sets; k++)
        check_slab_out(d, s->slab_out[k]);
    for (uint32_t j = 0; j < b->n_page_slots; j++)
        for (uint32_t k = 0; k < s->pages[j].n_pages; k++)
            check_page(d, s, &s->pages[j], k);
}

/* ---------------------------------------------------------------- pass */

static samba_status begin_pass(samba_backend_device *d, const samba_backend_batch *batch,
                               samba_backend_pass **pass, samba_error **error)
{
    uint32_t n_rows = 0, n_out = 0;
    SAMBA__TRY(maybe_fail(d, error));
    if (d->running)
        breach(d, "two passes at once", 0, 0);
    if (batch->n_rows > ROWS)
        return out_of_slots(d, error);
    samba_backend_pass *p = &d->pass;
    p->device = d;
    p->batch = *batch;
    p->n_ops = 0;
    p->submitted = p->done = p->tapped = false;
    count_users(d, batch);
    for (uint32_t i = 0; i < batch->n_seqs; i++) {
        const samba_backend_seq *s = &batch->seqs[i];
        check_seq(d, batch, i);
        for (uint32_t k = 0; k < s->n_rows; k++)
            p->is_out[n_rows + k] = k + s->n_out >= s->n_rows;
        n_rows += s->n_rows;
        n_out += s->n_out;
    }
    if (n_rows != batch->n_rows || n_out != batch->n_out || !batch->n_seqs)
        breach(d, "sums of the batch", n_rows, n_out);
    d->running = p;
    d->public.n_passes++;
    d->public.n_rows += n_rows;
    d->public.max_rows = n_rows > d->public.max_rows ? n_rows : d->public.max_rows;
    *pass = p;
    return SAMBA_OK;
}

static op *push(samba_backend_pass *p, op_kind kind)
{
    op *o = &p->ops[p->n_ops < OPS - 1 ? p->n_ops++ : OPS - 1];
    if (p->submitted)
        breach(p->device, "call after submit", kind, 0);
    o->kind = kind;
    return o;
}

static samba_status toy_embed(samba_backend_pass *p, const samba_backend_weights *weights,
                              samba_error **error)
{
    (void)weights;
    SAMBA__TRY(maybe_fail(p->device, error));
    push(p, OP_EMBED);
    return SAMBA_OK;
}

static samba_status toy_sublayer(samba_backend_pass *p, const samba_backend_weights *weights,
                                 const samba_backend_run *run, samba_error **error)
{
    toy_device *t = &p->device->public;
    SAMBA__TRY(maybe_fail(p->device, error));
    if (samba__cancelled(t->cancel))
        breach(p->device, "a sublayer after the cancel", weights->index, 0);
    if (t->cancel_in >= 0 && t->cancel_in-- == 0)
        samba_cancel_request(t->cancel);
    op *o = push(p, OP_SUBLAYER);
    o->weights = weights;
    o->run = *run;
    return SAMBA_OK;
}

static samba_status toy_tap(samba_backend_pass *p, samba_error **error)
{
    SAMBA__TRY(maybe_fail(p->device, error));
    if (p->tapped)
        breach(p->device, "two taps", 0, 0);
    p->tapped = true;
    push(p, OP_TAP);
    return SAMBA_OK;
}

static samba_status toy_head(samba_backend_pass *p, const samba_backend_weights *weights,
                             const samba_backend_head_run *run, samba_error **error)
{
    (void)weights;
    SAMBA__TRY(maybe_fail(p->device, error));
    if (p->tapped && run->keep_hidden)
        breach(p->device, "tap and hidden of the head", 0, 0);
    p->head = *run;
    push(p, OP_HEAD);
    return SAMBA_OK;
}

static samba_status toy_submit(samba_backend_pass *p, samba_error **error)
{
    SAMBA__TRY(maybe_fail(p->device, error));
    p->submitted = true;
    return SAMBA_OK;
}

/* One sequence's rows through a slab. */
static void run_slab(samba_backend_pass *p, const samba_backend_seq *s, uint64_t *h, int32_t slot)
{
    samba_backend_device *d = p->device;
    uint32_t in = s->slab_in[slot], n_slots = p->batch.n_slab_slots;
    uint64_t value = in == SAMBA_SLAB_ZERO ? 0 : d->slabs[in].value;
    for (uint32_t i = 0; i < s->n_rows; i++) {
        value = slab_next(value, h[i]);
        h[i] = mix(h[i], value);
        if (s->n_slab_sets == s->n_rows || i + 1 == s->n_rows) {
            uint32_t set = s->n_slab_sets == 1 ? 0 : i;
            d->slabs[s->slab_out[set * n_slots + (uint32_t)slot]].value = value;
        }
    }
}

static void read_pages(samba_backend_pass *p, const samba_backend_seq *s, uint32_t row, uint64_t *h,
                       const op *o)
{
    uint64_t at = s->position + row, window = o->weights->window;
    uint64_t first = window && at + 1 > window ? at + 1 - window : 0;
    for (uint64_t j = first; j <= at; j++)
        *h = mix(*h, *cell_at(p->device, &s->pages[o->run.page_slot], j));
}

static void run_sublayer(samba_backend_pass *p, const op *o)
{
    uint32_t row = 0, index = o->weights->index;
    for (uint32_t i = 0; i < p->batch.n_seqs; row += p->batch.seqs[i++].n_rows) {
        const samba_backend_seq *s = &p->batch.seqs[i];
        uint64_t *h = p->h + row;
        if (o->run.slab_slot >= 0)
            run_slab(p, s, h, o->run.slab_slot);
        for (uint32_t k = 0; k < s->n_rows && (index == 1 || index == 3 || index == 4); k++)
            if (o->run.page_slot >= 0)
                *cell_at(p->device, &s->pages[o->run.page_slot], s->position + k) =
                    stored(h[k], index);
        for (uint32_t k = 0; k < s->n_rows; k++) {
            if (o->run.page_slot >= 0)
                read_pages(p, s, k, &h[k], o);
            else if (o->run.slab_slot < 0)
                h[k] = mix(h[k], index);
        }
    }
    for (uint32_t i = 0; i < p->batch.n_rows && (o->run.flags & SAMBA_RUN_NARROW); i++)
        if (!p->is_out[i])
            p->h[i] = noise(p->device);
}

static void keep_rows(samba_backend_pass *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->batch.n_rows; i++)
        if (p->is_out[i])
            p->hidden[n++] = p->h[i];
}

static samba_status run_pass(samba_backend_pass *p, samba_error **error)
{
    SAMBA__TRY(maybe_fail(p->device, error));
    for (uint32_t i = 0; i < p->n_ops; i++) {
        const op *o = &p->ops[i];
        if (o->kind == OP_EMBED)
            for (uint32_t k = 0; k < p->batch.n_rows; k++)
                p->h[k] = embed_of(p->batch.tokens[k]);
        else if (o->kind == OP_SUBLAYER)
            run_sublayer(p, o);
        else if (o->kind == OP_TAP || p->head.keep_hidden)
            keep_rows(p);
    }
    p->done = true;
    return SAMBA_OK;
}

/* The row of the batch that is output row `out`; among those with target -1, if asked for. */
static uint32_t row_of_output(const samba_backend_pass *p, uint32_t out, bool untargeted)
{
    uint32_t k = 0, n = 0;
    for (uint32_t i = 0; i < p->batch.n_rows; i++) {
        if (!p->is_out[i])
            continue;
        if ((!untargeted || p->head.targets[k] == -1) && n++ == out)
            return i;
        k++;
    }
    breach(p->device, "no such output row", out, 0);
    return 0;
}

static samba_status read_rows(samba_backend_pass *p, samba_pass_output output, uint32_t first_row,
                              uint32_t n_rows, float *to, samba_error **error)
{
    bool scores = p->head.mode == SAMBA_HEAD_TARGETS;
    float logits[TOY_VOCAB];
    SAMBA__TRY(maybe_fail(p->device, error));
    if (!p->done || !n_rows)
        breach(p->device, "read too early, or nothing", first_row, n_rows);
    for (uint32_t i = first_row; i < first_row + n_rows; i++) {
        if (output == SAMBA_OUT_HIDDEN) {
            toy_hidden(p->hidden[i], to + (i - first_row) * TOY_D_MODEL);
        } else if (output == SAMBA_OUT_LOGITS) {
            toy_logits(p->h[row_of_output(p, i, scores)], to + (i - first_row) * TOY_VOCAB);
        } else {
            samba_token target = p->head.targets[i];
            toy_logits(p->h[row_of_output(p, i, false)], logits);
            to[i - first_row] = target < 0 ? 0 : log_prob(logits, target);
        }
    }
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- the table */

/* State is allocated, freed and copied by any thread while a pass runs on another. */
static samba_status unlock(samba_backend_device *d, samba_status status)
{
    uv_mutex_unlock(&d->lock);
    return status;
}

static samba_status toy_slab_alloc(samba_backend_device *d, const samba_backend_weights *weights,
                                   uint32_t *slab, samba_error **error)
{
    uv_mutex_lock(&d->lock);
    return unlock(d, slab_alloc(d, weights, slab, error));
}

static void toy_slab_free(samba_backend_device *d, uint32_t slab)
{
    uv_mutex_lock(&d->lock);
    slab_free(d, slab);
    uv_mutex_unlock(&d->lock);
}

static samba_status toy_page_alloc(samba_backend_device *d, const samba_backend_weights *weights,
                                   samba_dtype kv_dtype, uint32_t *page, samba_error **error)
{
    uv_mutex_lock(&d->lock);
    return unlock(d, page_alloc(d, weights, kv_dtype, page, error));
}

static void toy_page_free(samba_backend_device *d, uint32_t page)
{
    uv_mutex_lock(&d->lock);
    page_free(d, page);
    uv_mutex_unlock(&d->lock);
}

static samba_status toy_page_copy(samba_backend_device *d, uint32_t to, uint32_t from,
                                  samba_error **error)
{
    uv_mutex_lock(&d->lock);
    return unlock(d, page_copy(d, to, from, error));
}

static samba_status toy_begin(samba_backend_device *d, const samba_backend_batch *batch,
                              samba_backend_pass **pass, samba_error **error)
{
    uv_mutex_lock(&d->lock);
    return unlock(d, begin_pass(d, batch, pass, error));
}

static samba_status toy_wait(samba_backend_pass *p, samba_error **error)
{
    uv_mutex_lock(&p->device->lock);
    return unlock(p->device, run_pass(p, error));
}

static samba_status toy_read(samba_backend_pass *p, samba_pass_output output, uint32_t first_row,
                             uint32_t n_rows, float *to, samba_error **error)
{
    uv_mutex_lock(&p->device->lock);
    return unlock(p->device, read_rows(p, output, first_row, n_rows, to, error));
}

static void toy_end(samba_backend_pass *p)
{
    if (!p)
        return;
    samba_backend_device *d = p->device;
    uv_mutex_lock(&d->lock);
    d->running = NULL;
    memset(d->slab_users, 0, sizeof d->slab_users);
    memset(d->page_users, 0, sizeof d->page_users);
    uv_mutex_unlock(&d->lock);
}

const samba_backend_vtbl toy_vtbl = {
    .struct_size = sizeof toy_vtbl,
    .abi = SAMBA_BACKEND_ABI,
    .name = "toy",
    .open = toy_open,
    .close = toy_close,
    .describe = toy_describe,
    .measure = toy_measure,
    .prepare_sublayer = toy_prepare_sublayer,
    .prepare_embed = toy_prepare_embed,
    .prepare_head = toy_prepare_head,
    .footprint = toy_footprint,
    .release = toy_release,
    .slab_alloc = toy_slab_alloc,
    .slab_free = toy_slab_free,
    .slab_pack = toy_pack,
    .slab_unpack = toy_unpack,
    .page_alloc = toy_page_alloc,
    .page_free = toy_page_free,
    .page_copy = toy_page_copy,
    .page_pack = toy_page_pack,
    .page_unpack = toy_page_unpack,
    .begin = toy_begin,
    .embed = toy_embed,
    .sublayer = toy_sublayer,
    .tap = toy_tap,
    .head = toy_head,
    .submit = toy_submit,
    .wait = toy_wait,
    .read = toy_read,
    .end = toy_end,
};

samba_backend_weights *toy_weights(samba_backend_device *d, uint32_t index, uint32_t window)
{
    d->weights[index] = (samba_backend_weights){.index = index, .window = window};
    return &d->weights[index];
}

toy_device *toy_device_of(const toy *t)
{
    return &t->model.device->handle->public;
}
