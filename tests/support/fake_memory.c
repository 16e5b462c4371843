/*
 * Device memory of the fake backend: regions that cannot be touched between calls, and the slab and
 * page tables over them. Anything not yet written is NaN.
 */
#include "fake_internal.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

static pthread_mutex_t region_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---------------------------------------------------------------- regions */

bool fake_region_create(fake_region *region, size_t size)
{
    memset(region, 0, sizeof *region);
    region->size = (size + 4095) / 4096 * 4096 + 4096; /* and a page that never opens */
    region->base = mmap(NULL, region->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region->base == MAP_FAILED)
        region->base = NULL;
    return region->base != NULL;
}

void fake_region_destroy(fake_region *region)
{
    if (region->base)
        munmap(region->base, region->size);
    region->base = NULL;
}

void *fake_region_open(fake_region *region)
{
    pthread_mutex_lock(&region_lock);
    if (region->opened++ == 0 &&
        mprotect(region->base, region->size - 4096, PROT_READ | PROT_WRITE) != 0)
        fake_violation("mprotect failed");
    pthread_mutex_unlock(&region_lock);
    return region->base;
}

void fake_region_close(fake_region *region)
{
    pthread_mutex_lock(&region_lock);
    if (--region->opened == 0 && mprotect(region->base, region->size - 4096, PROT_NONE) != 0)
        fake_violation("mprotect failed");
    pthread_mutex_unlock(&region_lock);
}

void fake_poison(float *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = NAN;
}

/* ---------------------------------------------------------------- tables */

/* Appends; ids are never used again. Called under the device's lock. */
static bool table_add(samba_backend_device *device, fake_table *table, void *item)
{
    if (table->n == table->capacity) {
        uint32_t capacity = table->capacity ? table->capacity * 2 : 64;
        void **items = fake_host_alloc(device->host, capacity * sizeof *items);
        if (!items)
            return false;
        if (table->items)
            memcpy(items, table->items, table->n * sizeof *items);
        fake_host_free(device->host, table->items);
        table->items = items;
        table->capacity = capacity;
    }
    table->items[table->n++] = item;
    return true;
}

static void *table_find(samba_backend_device *device, const fake_table *table, uint32_t first,
                        uint32_t id, const char *what)
{
    pthread_mutex_lock(&device->lock);
    bool known = id >= first && id - first < table->n;
    void *item = known ? table->items[id - first] : NULL;
    pthread_mutex_unlock(&device->lock);
    if (!item)
        fake_violation("%s %u is %s", what, id, known ? "freed" : "unknown");
    return item;
}

fake_slab *fake_find_slab(samba_backend_device *device, uint32_t id)
{
    return table_find(device, &device->slabs, FAKE_FIRST_SLAB, id, "slab");
}

fake_page *fake_find_page(samba_backend_device *device, uint32_t id)
{
    return table_find(device, &device->pages, FAKE_FIRST_PAGE, id, "page");
}

void fake_tables_free(samba_backend_device *device)
{
    fake_table *tables[2] = {&device->slabs, &device->pages};
    for (int t = 0; t < 2; t++) {
        for (uint32_t i = 0; i < tables[t]->n; i++)
            if (tables[t]->items[i])
                fake_violation("a %s was alive at close", t ? "page" : "slab");
        fake_host_free(device->host, tables[t]->items);
    }
}

/* ---------------------------------------------------------------- slabs */

samba_status fake_slab_alloc(samba_backend_device *device, const samba_backend_weights *weights,
                             uint32_t *slab, samba_error **error)
{
    if (!weights->slab_floats) {
        fake_violation("slab_alloc for a sublayer without state");
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "sublayer has no slab");
    }
    fake_slab *s = fake_host_alloc(device->host, sizeof *s);
    if (!s || !fake_region_create(&s->region, weights->slab_floats * sizeof(float))) {
        fake_host_free(device->host, s);
        return fake_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "no memory for a slab");
    }
    s->n_floats = weights->slab_floats;
    s->kind = weights->kind;
    fake_poison(fake_region_open(&s->region), s->n_floats);
    fake_region_close(&s->region);
    pthread_mutex_lock(&device->lock);
    bool added = table_add(device, &device->slabs, s);
    uint32_t id = FAKE_FIRST_SLAB + device->slabs.n - 1;
    pthread_mutex_unlock(&device->lock);
    if (!added) {
        fake_region_destroy(&s->region);
        fake_host_free(device->host, s);
        return fake_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "no memory for the slab table");
    }
    *slab = id;
    fake_count(0, 0, 1, 0, 0);
    return SAMBA_OK;
}

void fake_slab_free(samba_backend_device *device, uint32_t slab)
{
    fake_slab *s = fake_find_slab(device, slab);
    if (!s)
        return;
    pthread_mutex_lock(&device->lock);
    if (s->users)
        fake_violation("slab %u freed while a pass uses it", slab);
    device->slabs.items[slab - FAKE_FIRST_SLAB] = NULL;
    pthread_mutex_unlock(&device->lock);
    fake_region_destroy(&s->region);
    fake_host_free(device->host, s);
    fake_count(0, 0, -1, 0, 0);
}

static samba_status check_slab(samba_backend_device *device, uint32_t slab, size_t size,
                               fake_slab **found, samba_error **error)
{
    fake_slab *s = fake_find_slab(device, slab);
    if (!s)
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "unknown slab %u", slab);
    if (size != s->n_floats * sizeof(float))
        return fake_fail(device, error, SAMBA_ERROR_MISMATCH, "slab has %zu bytes, given are %zu",
                         s->n_floats * sizeof(float), size);
    *found = s;
    return SAMBA_OK;
}

samba_status fake_slab_pack(samba_backend_device *device, uint32_t slab, void *canonical,
                            size_t size, samba_error **error)
{
    fake_slab *s = NULL;
    samba_status status = check_slab(device, slab, size, &s, error);
    if (status != SAMBA_OK)
        return status;
    memcpy(canonical, fake_region_open(&s->region), size);
    fake_region_close(&s->region);
    return SAMBA_OK;
}

samba_status fake_slab_unpack(samba_backend_device *device, uint32_t slab, const void *canonical,
                              size_t size, samba_error **error)
{
    fake_slab *s = NULL;
    samba_status status = check_slab(device, slab, size, &s, error);
    if (status != SAMBA_OK)
        return status;
    if (s->users)
        fake_violation("slab %u written while a pass uses it", slab);
    memcpy(fake_region_open(&s->region), canonical, size);
    fake_region_close(&s->region);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- pages */

samba_status fake_page_alloc(samba_backend_device *device, const samba_backend_weights *weights,
                             samba_dtype kv_dtype, uint32_t *page, samba_error **error)
{
    uint64_t bytes = kv_dtype > 0 && kv_dtype < 8 ? weights->footprint.page_bytes[kv_dtype] : 0;
    if (!bytes)
        return fake_fail(device, error, SAMBA_ERROR_UNSUPPORTED, "no pages of dtype %d here",
                         kv_dtype);
    if (weights->desc.flags & SAMBA_SUBLAYER_CROSS)
        fake_violation("page_alloc for a cross layer");
    fake_page *p = fake_host_alloc(device->host, sizeof *p);
    if (!p || !fake_region_create(&p->region, bytes)) {
        fake_host_free(device->host, p);
        return fake_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "no memory for a page");
    }
    p->row_bytes = (uint32_t)(bytes / FAKE_PAGE_POSITIONS);
    p->dtype = kv_dtype;
    memset(fake_region_open(&p->region), 0xff, bytes); /* NaN in every type but Q8_0's bytes */
    fake_region_close(&p->region);
    pthread_mutex_lock(&device->lock);
    bool added = table_add(device, &device->pages, p);
    uint32_t id = FAKE_FIRST_PAGE + device->pages.n - 1;
    pthread_mutex_unlock(&device->lock);
    if (!added) {
        fake_region_destroy(&p->region);
        fake_host_free(device->host, p);
        return fake_fail(device, error, SAMBA_ERROR_OUT_OF_MEMORY, "no memory for the page table");
    }
    *page = id;
    fake_count(0, 0, 0, 1, 0);
    return SAMBA_OK;
}

void fake_page_free(samba_backend_device *device, uint32_t page)
{
    fake_page *p = fake_find_page(device, page);
    if (!p)
        return;
    pthread_mutex_lock(&device->lock);
    if (p->users)
        fake_violation("page %u freed while a pass uses it", page);
    device->pages.items[page - FAKE_FIRST_PAGE] = NULL;
    pthread_mutex_unlock(&device->lock);
    fake_region_destroy(&p->region);
    fake_host_free(device->host, p);
    fake_count(0, 0, 0, -1, 0);
}

samba_status fake_page_copy(samba_backend_device *device, uint32_t to, uint32_t from,
                            samba_error **error)
{
    fake_page *t = fake_find_page(device, to), *f = fake_find_page(device, from);
    if (!t || !f)
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "unknown page");
    if (t->row_bytes != f->row_bytes || t->dtype != f->dtype)
        return fake_fail(device, error, SAMBA_ERROR_MISMATCH, "pages of different shapes");
    if (t->users)
        fake_violation("page %u written while a pass uses it", to);
    void *target = fake_region_open(&t->region);
    memcpy(target, fake_region_open(&f->region), (size_t)f->row_bytes * FAKE_PAGE_POSITIONS);
    fake_region_close(&f->region);
    fake_region_close(&t->region);
    return SAMBA_OK;
}

static samba_status check_page(samba_backend_device *device, uint32_t page, uint32_t first_row,
                               uint32_t n_rows, size_t size, fake_page **found, samba_error **error)
{
    fake_page *p = fake_find_page(device, page);
    if (!p)
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "unknown page %u", page);
    if (first_row > FAKE_PAGE_POSITIONS || n_rows > FAKE_PAGE_POSITIONS - first_row)
        return fake_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT, "rows %u+%u of a page of %d",
                         first_row, n_rows, FAKE_PAGE_POSITIONS);
    if (size != (size_t)n_rows * p->row_bytes)
        return fake_fail(device, error, SAMBA_ERROR_MISMATCH,
                         "%u page rows have %zu bytes, not %zu", n_rows,
                         (size_t)n_rows * p->row_bytes, size);
    *found = p;
    return SAMBA_OK;
}

samba_status fake_page_pack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                            uint32_t n_rows, void *canonical, size_t size, samba_error **error)
{
    fake_page *p = NULL;
    samba_status status = check_page(device, page, first_row, n_rows, size, &p, error);
    if (status != SAMBA_OK)
        return status;
    const uint8_t *base = fake_region_open(&p->region);
    memcpy(canonical, base + (size_t)first_row * p->row_bytes, size);
    fake_region_close(&p->region);
    return SAMBA_OK;
}

samba_status fake_page_unpack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                              uint32_t n_rows, const void *canonical, size_t size,
                              samba_error **error)
{
    fake_page *p = NULL;
    samba_status status = check_page(device, page, first_row, n_rows, size, &p, error);
    if (status != SAMBA_OK)
        return status;
    if (p->users)
        fake_violation("page %u written while a pass uses it", page);
    uint8_t *base = fake_region_open(&p->region);
    memcpy(base + (size_t)first_row * p->row_bytes, canonical, size);
    fake_region_close(&p->region);
    return SAMBA_OK;
}
