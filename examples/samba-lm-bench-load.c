/*
 * Loading, as a measurement and for the runs to come. A random model is written to a file first if
 * loading is to be measured, else it is read straight from its stream. Memory is counted by hooks,
 * in a context of its own: the runs use the library's own allocator.
 */
#include "samba-lm-bench.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- counted memory */

typedef struct meter {
    atomic_size_t now, most;
} meter;

static void *counted_alloc(void *user_data, size_t size, size_t align)
{
    meter *m = user_data;
    align = align < sizeof(void *) ? sizeof(void *) : align;
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    size_t now = p ? atomic_fetch_add(&m->now, size) + size : 0, most = atomic_load(&m->most);
    while (now > most && !atomic_compare_exchange_weak(&m->most, &most, now))
        continue;
    return p;
}

static void counted_free(void *user_data, void *ptr, size_t size, size_t align)
{
    meter *m = user_data;
    (void)align;
    if (ptr)
        atomic_fetch_sub(&m->now, size);
    free(ptr);
}

static samba_status load_counted(const lm_bench *b, const char *path, lm_bench_results *r,
                                 samba_error **error)
{
    meter m = {0};
    samba_allocator hooks = {sizeof hooks, counted_alloc, counted_free, &m};
    samba_context *context = NULL;
    samba_model *model = NULL;
    const samba_context_options options = {.struct_size = sizeof options,
                                           .allocator = &hooks,
                                           .n_threads = (int32_t)b->args->common.threads,
                                           .cpu_tier = b->args->common.cpu};
    samba_status status = samba_context_create(&options, &context, error);
    if (status == SAMBA_OK)
        status = samba_model_load(context, path, NULL, &model, error);
    r->load_peak_bytes = atomic_load(&m.most);
    r->load_kept_bytes = atomic_load(&m.now);
    samba_model_release(model);
    samba_context_free(context);
    return status;
}

/* ---- measuring */

static uint64_t size_of(const char *path)
{
    FILE *f = fopen(path, "rb");
    long long size = f && fseeko(f, 0, SEEK_END) == 0 ? (long long)ftello(f) : 0;
    if (f)
        fclose(f);
    return size > 0 ? (uint64_t)size : 0;
}

static int measure(lm_bench *b, const char *path)
{
    enum {
        LOADS = 3
    };
    samba_error *error = NULL;
    samba_status status = load_counted(b, path, &b->results, &error);
    lm_bench_row *row = lm_bench_add_row(&b->results, LM_BENCH_LOAD, "warm cache");
    row->cost.bytes = (double)size_of(path);
    for (int i = 0; i < (b->args->quick ? 1 : LOADS) && status == SAMBA_OK; i++) {
        samba_model *model = NULL;
        double began = lm_seconds();
        status = samba_model_load(b->host.context, path, NULL, &model, &error);
        lm_bench_add_time(row, lm_seconds() - began, 1);
        samba_model_release(model);
    }
    b->results.file_bytes = size_of(path);
    b->results.load = status == SAMBA_OK;
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

/* ---- the model of the runs */

static lm_random_model *random_model(const lm_bench_args *a)
{
    return lm_random_model_create(lm_shape_find(a->shape), a->type, a->seed);
}

int lm_bench_load_plain(lm_bench *b)
{
    samba_error *error = NULL;
    if (!b->args->shape)
        return lm_host_load(&b->host, b->args->model);
    lm_random_model *random = random_model(b->args);
    const samba_reader reader = lm_random_model_reader(random);
    samba_status status =
        samba_model_load_reader(b->host.context, &reader, NULL, &b->host.model, &error);
    lm_random_model_free(random);
    return status == SAMBA_OK ? LM_OK : lm_report(error);
}

/* A random model's file, which is there for as long as it is measured. */
static int load_file(lm_bench *b)
{
    char path[1024];
    const lm_bench_args *a = b->args;
    lm_random_model *random = random_model(a);
    int rc = LM_OK;
    snprintf(path, sizeof path, "%s/samba-lm-bench-%ld.gguf", a->folder, (long)getpid());
    if (!lm_random_model_write(random, path))
        rc = lm_complain("cannot write: %s (%s)", strerror(errno), path);
    rc = rc == LM_OK ? measure(b, path) : rc;
    rc = rc == LM_OK ? lm_host_load(&b->host, path) : rc;
    remove(path);
    lm_random_model_free(random);
    return rc;
}

int lm_bench_load(lm_bench *b)
{
    int rc = LM_OK;
    if (!(b->args->parts & LM_BENCH_LOAD))
        return lm_bench_load_plain(b);
    if (b->args->shape)
        return load_file(b);
    rc = measure(b, b->args->model);
    return rc == LM_OK ? lm_bench_load_plain(b) : rc;
}
