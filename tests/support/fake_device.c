/*
 * The fake backend's device and its table of functions; and the count of what is alive and what
 * broke the contract, kept for the whole process because tests ask after everything is gone.
 */
#include "fake_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t counts_lock = PTHREAD_MUTEX_INITIALIZER;
static fake_counts all_counts;

void fake_get_counts(fake_counts *counts)
{
    pthread_mutex_lock(&counts_lock);
    *counts = all_counts;
    pthread_mutex_unlock(&counts_lock);
}

void fake_reset_counts(void)
{
    pthread_mutex_lock(&counts_lock);
    memset(&all_counts, 0, sizeof all_counts);
    pthread_mutex_unlock(&counts_lock);
}

void fake_count(int64_t devices, int64_t weights, int64_t slabs, int64_t pages, int64_t passes)
{
    pthread_mutex_lock(&counts_lock);
    all_counts.devices += devices;
    all_counts.weights += weights;
    all_counts.slabs += slabs;
    all_counts.pages += pages;
    all_counts.passes += passes;
    pthread_mutex_unlock(&counts_lock);
}

void fake_count_run(uint64_t rows)
{
    pthread_mutex_lock(&counts_lock);
    all_counts.passes_run++;
    all_counts.rows_run += rows;
    pthread_mutex_unlock(&counts_lock);
}

void fake_violation(const char *format, ...)
{
    pthread_mutex_lock(&counts_lock);
    if (all_counts.violations++ == 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(all_counts.first_violation, sizeof all_counts.first_violation, format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&counts_lock);
}

samba_status fake_fail(samba_backend_device *device, samba_error **error, samba_status status,
                       const char *format, ...)
{
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return device->host->fail(device->host->host_data, error, status, message);
}

/* The size stands in front, for the hook that wants it back. */
void *fake_host_alloc(const samba_backend_host *host, size_t size)
{
    size_t whole = size + 16;
    unsigned char *p = host->allocator.alloc(host->allocator.user_data, whole, 16);
    if (!p)
        return NULL;
    memset(p, 0, whole);
    memcpy(p, &whole, sizeof whole);
    return p + 16;
}

void fake_host_free(const samba_backend_host *host, void *ptr)
{
    if (!ptr)
        return;
    unsigned char *p = (unsigned char *)ptr - 16;
    size_t whole;
    memcpy(&whole, p, sizeof whole);
    host->allocator.free(host->allocator.user_data, p, whole, 16);
}

static samba_status fake_open(const samba_backend_open_params *params,
                              samba_backend_device **device, samba_error **error)
{
    if (params->struct_size < sizeof *params || params->n_threads < 1)
        fake_violation("open: struct_size %zu, n_threads %d", params->struct_size,
                       params->n_threads);
    if (params->device_index != 0)
        return params->host->fail(params->host->host_data, error, SAMBA_ERROR_NOT_FOUND,
                                  "the fake backend has one device, number 0");
    samba_backend_device *d = fake_host_alloc(params->host, sizeof *d);
    if (!d)
        return params->host->fail(params->host->host_data, error, SAMBA_ERROR_OUT_OF_MEMORY,
                                  "no memory for the fake device");
    d->host = params->host;
    pthread_mutex_init(&d->lock, NULL);
    *device = d;
    fake_count(1, 0, 0, 0, 0);
    return SAMBA_OK;
}

static void fake_close(samba_backend_device *device)
{
    if (device->running)
        fake_violation("closed while a pass runs");
    if (device->n_weights)
        fake_violation("closed with %u weights alive", device->n_weights);
    fake_tables_free(device);
    pthread_mutex_destroy(&device->lock);
    fake_host_free(device->host, device);
    fake_count(-1, 0, 0, 0, 0);
}

static samba_status fake_describe(samba_backend_device *device, samba_backend_info *info,
                                  samba_error **error)
{
    if (info->struct_size < sizeof *info)
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "info: struct_size %zu",
                         info->struct_size);
    info->flags = SAMBA_BACKEND_INVARIANT;
    info->page_positions = FAKE_PAGE_POSITIONS;
    info->device_name = "fake-double";
    return SAMBA_OK;
}

const samba_backend_vtbl fake_vtbl = {
    .struct_size = sizeof(samba_backend_vtbl),
    .abi = SAMBA_BACKEND_ABI,
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .describe = fake_describe,
    .measure = fake_measure,
    .prepare_sublayer = fake_prepare_sublayer,
    .prepare_embed = fake_prepare_embed,
    .prepare_head = fake_prepare_head,
    .footprint = fake_footprint,
    .release = fake_release,
    .slab_alloc = fake_slab_alloc,
    .slab_free = fake_slab_free,
    .slab_pack = fake_slab_pack,
    .slab_unpack = fake_slab_unpack,
    .page_alloc = fake_page_alloc,
    .page_free = fake_page_free,
    .page_copy = fake_page_copy,
    .page_pack = fake_page_pack,
    .page_unpack = fake_page_unpack,
    .begin = fake_begin,
    .embed = fake_embed,
    .sublayer = fake_sublayer,
    .tap = fake_tap,
    .head = fake_head,
    .submit = fake_submit,
    .wait = fake_wait,
    .read = fake_read,
    .end = fake_end,
};
