/* The CPU device: opening, preparing weights through the table of kinds, and the vtable itself. */
#include "base/cpu.h"
#include "cpu/cpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const samba__cpu_kind *const kinds[] = {
    &samba__cpu_mamba, &samba__cpu_attention, &samba__cpu_diff_attention, &samba__cpu_gmu,
    &samba__cpu_gla,   &samba__cpu_retention, &samba__cpu_swiglu,
};

samba_status samba__cpu_fail(const samba_backend_device *device, samba_error **error,
                             samba_status status, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return device->host->fail(device->host->host_data, error, status, message);
}

samba_status samba__cpu_fail_oom(const samba_backend_device *device, samba_error **error)
{
    return samba__cpu_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "out of memory");
}

/* ---------------------------------------------------------------- device */

static void device_close(samba_backend_device *device)
{
    if (!device)
        return;
    const samba_allocator a = device->alloc;
    samba__pool_free(device->pool);
    samba__cpu_tables_free(device);
    samba__free(&a, device->workspace.data);
    samba__free(&a, device->logits.data);
    uv_mutex_destroy(&device->lock);
    samba__free(&a, device);
}

static samba_status device_open(const samba_backend_open_params *params,
                                samba_backend_device **device, samba_error **error)
{
    const samba_backend_host *host = params->host;
    samba_backend_device blank = {.host = host};
    samba__kernels kernels;
    if (params->device_index != 0)
        return samba__cpu_fail(&blank, error, SAMBA_ERROR_NOT_FOUND,
                               "there is one cpu device, number 0, not %d",
                               (int)params->device_index);
    if (params->n_threads < 1)
        return samba__cpu_fail(&blank, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "a device with %d threads", (int)params->n_threads);
    if (!samba__kernels_select(params->cpu_tier, &kernels))
        return samba__cpu_fail(&blank, error, SAMBA_ERROR_UNSUPPORTED,
                               "this build or this processor has no cpu tier %d",
                               (int)params->cpu_tier);
    samba_backend_device *d = samba__calloc(&host->allocator, 1, sizeof *d);
    if (!d)
        return samba__cpu_fail_oom(&blank, error);
    d->host = host;
    d->alloc = host->allocator;
    d->kernels = kernels;
    d->profile.on = params->profile != 0;
    if (uv_mutex_init(&d->lock)) {
        samba__free(&host->allocator, d);
        return samba__cpu_fail(&blank, error, SAMBA_ERROR_BACKEND, "cannot create a mutex");
    }
    samba_status status =
        samba__pool_create(&d->alloc,
                           &(samba__pool_options){.n_threads = (uint32_t)params->n_threads,
                                                  .host = params->thread_pool},
                           &d->pool, error);
    if (status != SAMBA_OK) {
        device_close(d);
        return status;
    }
    *device = d;
    return SAMBA_OK;
}

static samba_status device_describe(samba_backend_device *device, samba_backend_info *info,
                                    samba_error **error)
{
    samba_backend_info all = {.struct_size = info->struct_size,
                              .flags = SAMBA_BACKEND_INVARIANT | SAMBA_BACKEND_READS_ROWS,
                              .page_positions = SAMBA__PAGE,
                              .device_name = device->kernels.name};
    (void)error;
    memcpy(info, &all, info->struct_size < sizeof all ? info->struct_size : sizeof all);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- weights */

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What passes have to reserve from now on. */
static void add_needs(samba_backend_device *device, const samba__cpu_needs *n)
{
    uv_mutex_lock(&device->lock);
    samba__cpu_needs *d = &device->needs;
    d->d_model = max_size(d->d_model, n->d_model);
    d->memory = max_size(d->memory, n->memory);
    d->rope_half = max_size(d->rope_half, n->rope_half);
    d->n_vocab = max_size(d->n_vocab, n->n_vocab);
    d->head_row_bytes = max_size(d->head_row_bytes, n->head_row_bytes);
    d->thread_bytes = max_size(d->thread_bytes, n->thread_bytes);
    uv_mutex_unlock(&device->lock);
}

static void build_kind(samba__cpu_builder *b, samba_backend_weights *w, const void *arg)
{
    const samba__cpu_kind *kind = arg;
    kind->build(b, w);
    w->kind = kind;
}

/* Completes the footprint; row_bytes holds the mixer's own buffers so far. */
static void finish_footprint(const samba_backend_device *device, samba_backend_weights *w)
{
    samba_backend_footprint *f = &w->footprint;
    f->struct_size = sizeof *f;
    f->slab_bytes = w->slab.floats * sizeof(float);
    for (size_t t = 0; w->owns_pages && t < SAMBA__N_DTYPES; t++)
        if (device->kernels.kv[t].attend)
            f->page_bytes[t] = device->kernels.kv[t].page_bytes(w->kv);
    /* Residual stream, hidden output, memory, rotary table. */
    f->row_bytes += (2 * w->needs.d_model + w->needs.memory + 2 * w->needs.rope_half +
                     (w->reads_memory ? samba__cpu_ld(w->reads_memory) : 0)) *
                    sizeof(float);
}

static samba_status build_sublayer(samba_backend_device *device,
                                   const samba_backend_sublayer *sublayer, bool measuring,
                                   samba_backend_weights **weights, samba_error **error)
{
    samba__cpu_builder b = {
        .device = device, .desc = sublayer, .measuring = measuring, .error = error};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i]->kind == sublayer->kind) {
            SAMBA__TRY(samba__cpu_build(&b, build_kind, kinds[i], kinds[i]->size, weights));
            finish_footprint(device, *weights);
            return SAMBA_OK;
        }
    return samba__cpu_fail(device, error, SAMBA_ERROR_UNSUPPORTED,
                           "the cpu backend has no sublayer kind %d", (int)sublayer->kind);
}

static void copy_footprint(const samba_backend_weights *weights, samba_backend_footprint *footprint)
{
    size_t size = footprint->struct_size;
    memcpy(footprint, &weights->footprint, size < sizeof *footprint ? size : sizeof *footprint);
    footprint->struct_size = size;
}

static samba_status measure(samba_backend_device *device, const samba_backend_sublayer *sublayer,
                            samba_backend_footprint *footprint, samba_error **error)
{
    samba_backend_weights *w;
    SAMBA__TRY(build_sublayer(device, sublayer, true, &w, error));
    copy_footprint(w, footprint);
    samba__cpu_weights_free(device, w);
    return SAMBA_OK;
}

static samba_status prepare_sublayer(samba_backend_device *device,
                                     const samba_backend_sublayer *sublayer,
                                     samba_backend_weights **weights, samba_error **error)
{
    SAMBA__TRY(build_sublayer(device, sublayer, false, weights, error));
    add_needs(device, &(*weights)->needs);
    return SAMBA_OK;
}

static samba_status prepare_embed(samba_backend_device *device, const samba_backend_tensor *table,
                                  samba_backend_weights **weights, samba_error **error)
{
    SAMBA__TRY(samba__cpu_prepare_embed(device, table, weights, error));
    finish_footprint(device, *weights);
    add_needs(device, &(*weights)->needs);
    return SAMBA_OK;
}

static samba_status prepare_head(samba_backend_device *device, const samba_backend_head *head,
                                 samba_backend_weights **weights, samba_error **error)
{
    SAMBA__TRY(samba__cpu_prepare_head(device, head, weights, error));
    finish_footprint(device, *weights);
    add_needs(device, &(*weights)->needs);
    return SAMBA_OK;
}

static void release(samba_backend_device *device, samba_backend_weights *weights)
{
    samba__cpu_weights_free(device, weights);
}

/* Under the pass lock, as every pass function. */
static size_t profile(samba_backend_device *device, samba_profile_entry *entries, size_t capacity,
                      int32_t reset)
{
    size_t n = samba__cpu_profile_read(device, entries, capacity);
    if (reset)
        samba__cpu_profile_reset(device);
    return n;
}

static void log_probs(samba_backend_device *device, const samba_backend_scores *scores)
{
    const uint64_t saved = samba__float_enter();
    device->kernels.log_probs(scores->logits, scores->n_vocab, scores->targets, scores->n_targets,
                              scores->logprobs);
    samba__float_leave(saved);
}

/* Work is done when a step returns: nothing is left to submit or wait for. */
static samba_status nothing_pending(samba_backend_pass *pass, samba_error **error)
{
    (void)pass;
    (void)error;
    return SAMBA_OK;
}

const samba_backend_vtbl samba__cpu_backend = {
    .struct_size = sizeof(samba_backend_vtbl),
    .abi = SAMBA_BACKEND_ABI,
    .name = "cpu",
    .open = device_open,
    .close = device_close,
    .describe = device_describe,
    .measure = measure,
    .prepare_sublayer = prepare_sublayer,
    .prepare_embed = prepare_embed,
    .prepare_head = prepare_head,
    .footprint = copy_footprint,
    .release = release,
    .slab_alloc = samba__cpu_slab_alloc,
    .slab_free = samba__cpu_slab_free,
    .slab_pack = samba__cpu_slab_pack,
    .slab_unpack = samba__cpu_slab_unpack,
    .page_alloc = samba__cpu_page_alloc,
    .page_free = samba__cpu_page_free,
    .page_copy = samba__cpu_page_copy,
    .page_pack = samba__cpu_page_pack,
    .page_unpack = samba__cpu_page_unpack,
    .begin = samba__cpu_begin,
    .embed = samba__cpu_embed,
    .sublayer = samba__cpu_sublayer,
    .tap = samba__cpu_tap,
    .head = samba__cpu_head,
    .submit = nothing_pending,
    .wait = nothing_pending,
    .read = samba__cpu_read,
    .end = samba__cpu_end,
    .profile = profile,
    .log_probs = log_probs,
};
