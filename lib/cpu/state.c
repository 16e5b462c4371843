/*
 * Slabs and pages: two growing tables of entries under one lock, with freed numbers reused. An
 * entry keeps its own geometry, so pack and unpack need no weights. Memory is not zeroed: passes
 * name the zero state, and never read unwritten slots.
 */
#include "cpu/cpu.h"

#include <string.h>

/* ---------------------------------------------------------------- tables */

static samba_status table_add(samba_backend_device *d, samba__cpu_table *t,
                              const samba__cpu_entry *entry, uint32_t *number, samba_error **error)
{
    uv_mutex_lock(&d->lock);
    if (t->n == 0)
        t->free = UINT32_MAX;
    bool ok = t->free != UINT32_MAX;
    if (!ok && t->n < UINT32_MAX - 1) {
        void *entries = t->entries;
        ok = samba__grow(&d->alloc, &entries, &t->capacity, t->n + 1, sizeof *t->entries);
        t->entries = entries;
    }
    if (ok) {
        uint32_t i = t->free;
        if (i == UINT32_MAX)
            i = (uint32_t)t->n++;
        else
            t->free = t->entries[i].next;
        t->entries[i] = *entry;
        *number = i;
    }
    uv_mutex_unlock(&d->lock);
    return ok ? SAMBA_OK : samba__cpu_fail_oom(d, error);
}

static void table_remove(samba_backend_device *d, samba__cpu_table *t, uint32_t number)
{
    void *data = NULL;
    uv_mutex_lock(&d->lock);
    if (number < t->n && t->entries[number].data) {
        data = t->entries[number].data;
        t->entries[number].data = NULL;
        t->entries[number].next = t->free;
        t->free = number;
    }
    uv_mutex_unlock(&d->lock);
    samba__free(&d->alloc, data);
}

/* A copy of the entry; false if there is none of that number. */
static bool table_get(samba_backend_device *d, const samba__cpu_table *t, uint32_t number,
                      samba__cpu_entry *entry)
{
    uv_mutex_lock(&d->lock);
    bool ok = number < t->n && t->entries[number].data;
    if (ok)
        *entry = t->entries[number];
    uv_mutex_unlock(&d->lock);
    return ok;
}

static samba_status fail_number(const samba_backend_device *d, const char *what, uint32_t number,
                                samba_error **error)
{
    return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT, "there is no %s %u", what,
                           number);
}

static void free_table(samba_backend_device *d, samba__cpu_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        samba__free(&d->alloc, t->entries[i].data);
    samba__free(&d->alloc, t->entries);
}

void samba__cpu_tables_free(samba_backend_device *device)
{
    free_table(device, &device->slabs);
    free_table(device, &device->pages);
}

/* ---------------------------------------------------------------- slabs */

void samba__cpu_slab_section(samba__cpu_slab_layout *layout, samba__cpu_section section)
{
    section.offset = layout->floats;
    layout->sections[layout->n_sections++] = section;
    layout->floats += section.heads * section.inner * samba__pad16(section.channels);
}

samba_status samba__cpu_slab_alloc(samba_backend_device *device, const samba_backend_weights *w,
                                   uint32_t *slab, samba_error **error)
{
    if (!w->slab.n_sections)
        return samba__cpu_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "this sublayer has no recurrent state");
    samba__cpu_entry entry = {.layout = w->slab, .next = UINT32_MAX};
    entry.data = samba__alloc_aligned(&device->alloc, w->slab.floats * sizeof(float), SAMBA__ALIGN);
    if (!entry.data)
        return samba__cpu_fail_oom(device, error);
    samba_status status = table_add(device, &device->slabs, &entry, slab, error);
    if (status != SAMBA_OK)
        samba__free(&device->alloc, entry.data);
    return status;
}

void samba__cpu_slab_free(samba_backend_device *device, uint32_t slab)
{
    table_remove(device, &device->slabs, slab);
}

static size_t canonical_bytes(const samba__cpu_slab_layout *layout)
{
    size_t n = 0;
    for (size_t i = 0; i < layout->n_sections; i++)
        n += layout->sections[i].heads * layout->sections[i].channels * layout->sections[i].inner;
    return n * sizeof(float);
}

/* One head of a section; canonical bytes have any alignment. */
typedef struct plane {
    const samba__cpu_section *section;
    float *slab;
    char *canonical;
    bool to_slab;
} plane;

/* Channels [channel, channel + n) of all inner indices, at most 16: they lie side by side. */
static float *lanes_at(const plane *p, size_t channel, size_t *stride)
{
    const samba__cpu_section *s = p->section;
    *stride = s->grouped ? 16 : samba__pad16(s->channels);
    return p->slab + (s->grouped ? channel * s->inner : channel);
}

/* [inner][channels] in the file: runs of channels. */
static void copy_runs(const plane *p, size_t channel, size_t n)
{
    const samba__cpu_section *s = p->section;
    size_t stride;
    float *lanes = lanes_at(p, channel, &stride);
    char *run = p->canonical + channel * sizeof *lanes;
    for (size_t i = 0; i < s->inner; i++, lanes += stride, run += s->channels * sizeof *lanes)
        memcpy(p->to_slab ? (void *)lanes : run, p->to_slab ? run : (void *)lanes,
               n * sizeof *lanes);
}

/* [channels][inner] in the file: transposed; n is known to the compiler where it is 16. */
static inline void transpose(const plane *p, size_t channel, size_t n)
{
    const samba__cpu_section *s = p->section;
    size_t stride;
    float *lanes = lanes_at(p, channel, &stride);
    char *row = p->canonical + channel * s->inner * sizeof *lanes;
    for (size_t i = 0; i < s->inner; i++, lanes += stride, row += sizeof *lanes) {
        char *at = row;
        for (size_t k = 0; k < n; k++, at += s->inner * sizeof *lanes)
            memcpy(p->to_slab ? (void *)(lanes + k) : at, p->to_slab ? at : (void *)(lanes + k),
                   sizeof *lanes);
    }
}

static void copy_plane(const plane *p)
{
    const samba__cpu_section *s = p->section;
    if (s->inner_first && !s->grouped) {
        copy_runs(p, 0, s->channels);
        return;
    }
    for (size_t c = 0; c < s->channels; c += 16) {
        const size_t n = s->channels - c < 16 ? s->channels - c : 16;
        if (s->inner_first)
            copy_runs(p, c, n);
        else if (n == 16)
            transpose(p, c, 16);
        else
            transpose(p, c, n);
    }
}

static void copy_section(const samba__cpu_section *s, float *slab, char *canonical, bool to_slab)
{
    const size_t in_slab = s->inner * samba__pad16(s->channels);
    const size_t in_file = s->inner * s->channels * sizeof *slab;
    for (size_t h = 0; h < s->heads; h++) {
        const plane p = {s, slab + s->offset + h * in_slab, canonical + h * in_file, to_slab};
        copy_plane(&p);
    }
}

static samba_status copy_slab(samba_backend_device *device, uint32_t slab, char *canonical,
                              size_t size, bool to_slab, samba_error **error)
{
    samba__cpu_entry e;
    if (!table_get(device, &device->slabs, slab, &e))
        return fail_number(device, "slab", slab, error);
    if (size != canonical_bytes(&e.layout))
        return samba__cpu_fail(device, error, SAMBA_ERROR_MISMATCH,
                               "a slab of %zu bytes, %zu bytes given", canonical_bytes(&e.layout),
                               size);
    for (size_t i = 0; i < e.layout.n_sections; i++) {
        const samba__cpu_section *s = &e.layout.sections[i];
        copy_section(s, e.data, canonical, to_slab);
        canonical += s->heads * s->channels * s->inner * sizeof(float);
    }
    return SAMBA_OK;
}

samba_status samba__cpu_slab_pack(samba_backend_device *device, uint32_t slab, void *canonical,
                                  size_t size, samba_error **error)
{
    return copy_slab(device, slab, canonical, size, false, error);
}

samba_status samba__cpu_slab_unpack(samba_backend_device *device, uint32_t slab,
                                    const void *canonical, size_t size, samba_error **error)
{
    return copy_slab(device, slab, (char *)(uintptr_t)canonical, size, true, error);
}

/* ---------------------------------------------------------------- pages */

static const samba__kv_kernels *kv_of(const samba_backend_device *device, samba_dtype dtype)
{
    if (dtype <= 0 || dtype >= SAMBA__N_DTYPES || !device->kernels.kv[dtype].attend)
        return NULL;
    return &device->kernels.kv[dtype];
}

samba_status samba__cpu_page_alloc(samba_backend_device *device, const samba_backend_weights *w,
                                   samba_dtype dtype, uint32_t *page, samba_error **error)
{
    const samba__kv_kernels *k = kv_of(device, dtype);
    size_t size = k && w->owns_pages ? k->page_bytes(w->kv) : 0;
    if (size == 0)
        return samba__cpu_fail(device, error, SAMBA_ERROR_UNSUPPORTED,
                               "no pages of type %d for heads of width %zu", (int)dtype,
                               w->kv.head_dim);
    samba__cpu_entry entry = {.dtype = dtype, .shape = w->kv, .next = UINT32_MAX};
    entry.data = samba__alloc_aligned(&device->alloc, size, SAMBA__ALIGN);
    if (!entry.data)
        return samba__cpu_fail_oom(device, error);
    samba_status status = table_add(device, &device->pages, &entry, page, error);
    if (status != SAMBA_OK)
        samba__free(&device->alloc, entry.data);
    return status;
}

void samba__cpu_page_free(samba_backend_device *device, uint32_t page)
{
    table_remove(device, &device->pages, page);
}

static bool same_page(const samba__cpu_entry *a, const samba__cpu_entry *b)
{
    return a->dtype == b->dtype && a->shape.n_heads == b->shape.n_heads &&
           a->shape.head_dim == b->shape.head_dim;
}

samba_status samba__cpu_page_copy(samba_backend_device *device, uint32_t to, uint32_t from,
                                  samba_error **error)
{
    samba__cpu_entry a, b;
    if (!table_get(device, &device->pages, to, &a))
        return fail_number(device, "page", to, error);
    if (!table_get(device, &device->pages, from, &b))
        return fail_number(device, "page", from, error);
    if (!same_page(&a, &b))
        return samba__cpu_fail(device, error, SAMBA_ERROR_MISMATCH,
                               "pages %u and %u have different shapes", to, from);
    if (to != from)
        memcpy(a.data, b.data, device->kernels.kv[a.dtype].page_bytes(a.shape));
    return SAMBA_OK;
}

/* Checks rows and size; the page's kernels and the arguments for them. */
static samba_status page_rows(samba_backend_device *device, uint32_t page, size_t size,
                              samba__kv_rows_args *args, const samba__kv_kernels **kernels,
                              samba_error **error)
{
    samba__cpu_entry e;
    if (!table_get(device, &device->pages, page, &e))
        return fail_number(device, "page", page, error);
    if (args->slot > SAMBA__PAGE || args->n_rows > SAMBA__PAGE - args->slot)
        return samba__cpu_fail(device, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "rows %zu + %zu of a page of %d", args->slot, args->n_rows,
                               SAMBA__PAGE);
    *kernels = &device->kernels.kv[e.dtype];
    size_t want = args->n_rows * (*kernels)->row_bytes(e.shape);
    if (size != want)
        return samba__cpu_fail(device, error, SAMBA_ERROR_MISMATCH,
                               "page rows of %zu bytes, %zu bytes given", want, size);
    args->shape = e.shape;
    args->page = e.data;
    return SAMBA_OK;
}

samba_status samba__cpu_page_pack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                                  uint32_t n_rows, void *canonical, size_t size,
                                  samba_error **error)
{
    samba__kv_rows_args args = {.slot = first_row, .n_rows = n_rows, .canonical = canonical};
    const samba__kv_kernels *k = NULL;
    SAMBA__TRY(page_rows(device, page, size, &args, &k, error));
    k->pack(&args);
    return SAMBA_OK;
}

samba_status samba__cpu_page_unpack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                                    uint32_t n_rows, const void *canonical, size_t size,
                                    samba_error **error)
{
    samba__kv_rows_args args = {
        .slot = first_row, .n_rows = n_rows, .canonical = (void *)(uintptr_t)canonical};
    const samba__kv_kernels *k = NULL;
    SAMBA__TRY(page_rows(device, page, size, &args, &k, error));
    if (n_rows == SAMBA__PAGE)
        samba__alloc_touch(args.page, k->page_bytes(args.shape));
    k->unpack(&args);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- names to pointers */

static bool same_layout(const samba__cpu_slab_layout *a, const samba__cpu_slab_layout *b)
{
    if (a->n_sections != b->n_sections || a->floats != b->floats)
        return false;
    for (size_t i = 0; i < a->n_sections; i++) {
        const samba__cpu_section *s = &a->sections[i], *t = &b->sections[i];
        if (s->heads != t->heads || s->channels != t->channels || s->inner != t->inner ||
            s->inner_first != t->inner_first || s->grouped != t->grouped)
            return false;
    }
    return true;
}

/* Under the lock: the memory of a slab of this layout, or NULL. */
static float *slab_data(const samba_backend_device *d, const samba__cpu_slab_layout *layout,
                        uint32_t slab)
{
    const samba__cpu_table *t = &d->slabs;
    if (slab >= t->n || !t->entries[slab].data || !same_layout(&t->entries[slab].layout, layout))
        return NULL;
    return t->entries[slab].data;
}

samba_status samba__cpu_resolve_slabs(samba_backend_pass *pass, const samba_backend_weights *w,
                                      int32_t slot, samba_error **error)
{
    samba_backend_device *d = pass->device;
    uint32_t n_slots = pass->batch.n_slab_slots, bad = SAMBA_SLAB_ZERO;
    if (slot < 0 || (uint32_t)slot >= n_slots)
        return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "slab slot %d of a batch with %u", (int)slot, n_slots);
    uv_mutex_lock(&d->lock);
    bool ok = true;
    for (size_t i = 0; ok && i < pass->batch.n_seqs; i++) {
        const samba_backend_seq *s = &pass->batch.seqs[i];
        bad = s->slab_in[slot];
        pass->slab_in[i] = bad == SAMBA_SLAB_ZERO ? NULL : slab_data(d, &w->slab, bad);
        ok = bad == SAMBA_SLAB_ZERO || pass->slab_in[i];
        for (size_t j = 0; ok && j < s->n_slab_sets; j++) {
            bad = s->slab_out[j * n_slots + (uint32_t)slot];
            float *out = slab_data(d, &w->slab, bad);
            pass->slab_out[pass->first_set[i] + j] = out;
            ok = out && out != pass->slab_in[i];
        }
    }
    uv_mutex_unlock(&d->lock);
    if (ok)
        return SAMBA_OK;
    return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "slab %u is none of this sublayer's, or is both input and output", bad);
}

/* Under the lock: pages of sequence i; false and *bad if one does not fit. */
static bool resolve_pages_of(samba_backend_pass *pass, const samba_backend_weights *w, size_t i,
                             const samba_backend_pages *p, uint32_t *bad)
{
    const samba__cpu_table *t = &pass->device->pages;
    samba__cpu_entry want = {.dtype = pass->batch.seqs[i].kv_dtype, .shape = w->kv};
    for (size_t j = 0; j < p->n_pages; j++) {
        *bad = p->pages[j];
        if (*bad >= t->n || !t->entries[*bad].data || !same_page(&t->entries[*bad], &want))
            return false;
        pass->pages[pass->first_page[i] + j] = t->entries[*bad].data;
    }
    return true;
}

samba_status samba__cpu_resolve_pages(samba_backend_pass *pass, const samba_backend_weights *w,
                                      int32_t slot, samba_error **error)
{
    samba_backend_device *d = pass->device;
    size_t n = 0;
    uint32_t bad = 0;
    if (slot < 0 || (uint32_t)slot >= pass->batch.n_page_slots)
        return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT,
                               "page slot %d of a batch with %u", (int)slot,
                               pass->batch.n_page_slots);
    for (size_t i = 0; i < pass->batch.n_seqs; i++) {
        const samba_backend_seq *s = &pass->batch.seqs[i];
        const samba_backend_pages *p = &s->pages[slot];
        uint64_t end = s->position + s->n_rows; /* first position after the pass */
        if (p->first > s->position / SAMBA__PAGE || p->n_before >= SAMBA__PAGE ||
            p->n_before + p->first * SAMBA__PAGE > s->position ||
            p->n_pages <= (end - 1) / SAMBA__PAGE - p->first)
            return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT,
                                   "sequence %zu has pages %llu + %u, needs up to position %llu", i,
                                   (unsigned long long)p->first, p->n_pages,
                                   (unsigned long long)(end - 1));
        pass->first_page[i] = n;
        pass->page_base[i] = p->first;
        pass->first_key[i] = p->first * SAMBA__PAGE + p->n_before;
        n += p->n_pages;
    }
    uv_mutex_lock(&d->lock);
    bool ok = true;
    for (size_t i = 0; ok && i < pass->batch.n_seqs; i++)
        ok = resolve_pages_of(pass, w, i, &pass->batch.seqs[i].pages[slot], &bad);
    uv_mutex_unlock(&d->lock);
    if (ok)
        return SAMBA_OK;
    return samba__cpu_fail(d, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "page %u is none of this sublayer's", bad);
}
