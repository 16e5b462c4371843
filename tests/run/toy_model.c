/* A model on the toy backend, put together by hand, and memory that fails on demand. */
#include "toy_backend.h"

#include <check.h>
#include <stdlib.h>

static void *memory_alloc(void *user_data, size_t size, size_t align)
{
    toy_memory *m = user_data;
    int64_t in = __atomic_load_n(&m->fail_in, __ATOMIC_RELAXED);
    if (in == 0 || (in > 0 && __atomic_sub_fetch(&m->fail_in, 1, __ATOMIC_RELAXED) == 0)) {
        __atomic_store_n(&m->fail_in, m->lasting ? 0 : -1, __ATOMIC_RELAXED);
        return NULL;
    }
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    __atomic_fetch_add(&m->live, p != NULL, __ATOMIC_RELAXED);
    __atomic_fetch_add(&m->n_allocs, 1, __ATOMIC_RELAXED);
    return p;
}

static void memory_free(void *user_data, void *ptr, size_t size, size_t align)
{
    toy_memory *m = user_data;
    (void)size;
    (void)align;
    __atomic_fetch_sub(&m->live, 1, __ATOMIC_RELAXED);
    free(ptr);
}

static void add_sublayer(toy *t, uint32_t i, uint32_t block, int32_t slab, int32_t page,
                         uint32_t window)
{
    samba__model_sublayer *s = &t->sublayers[i];
    *s = (samba__model_sublayer){.block = block,
                                 .ends_block = i == 1 || i == 3 || i == 4 || i == 6,
                                 .slab_slot = slab,
                                 .page_slot = page,
                                 .owns_pages = page >= 0 && i != 5,
                                 .window = window,
                                 .weights = toy_weights(t->model.device->handle, i, window)};
    s->footprint.slab_bytes = slab >= 0 ? TOY_SLAB_BYTES : 0;
    if (slab >= 0)
        t->slab_slots[slab] = i;
    if (s->owns_pages) {
        s->footprint.page_bytes[SAMBA_DTYPE_F16] = TOY_PAGE_BYTES;
        s->footprint.page_bytes[SAMBA_DTYPE_F32] = TOY_PAGE_BYTES; /* a hash has no type */
        t->page_slots[page] = (samba__page_slot){.sublayer = i, .window = window};
    }
}

toy *toy_create(bool full)
{
    toy *t = calloc(1, sizeof *t);
    t->memory.hooks =
        (samba_allocator){sizeof(samba_allocator), memory_alloc, memory_free, &t->memory};
    t->memory.fail_in = -1;
    const samba_backend_vtbl *backends[] = {&toy_vtbl};
    const samba_context_options options = {.struct_size = sizeof options,
                                           .allocator = &t->memory.hooks,
                                           .n_threads = 1,
                                           .backends = backends,
                                           .n_backends = 1};
    ck_assert_int_eq(samba_context_create(&options, &t->context, NULL), SAMBA_OK);
    samba_model *m = &t->model;
    ck_assert_int_eq(samba__context_device(t->context, "toy", 0, &m->device, NULL), SAMBA_OK);
    samba__refs_init(&m->refs);
    m->context = t->context;
    m->alloc = samba__context_alloc(t->context);
    m->n_vocab = TOY_VOCAB;
    m->d_model = TOY_D_MODEL;
    m->n_blocks = TOY_BLOCKS;
    m->n_sublayers = TOY_SUBLAYERS;
    m->n_slab_slots = 2;
    m->n_page_slots = full ? 3 : 2;
    m->narrow_at = full ? 4 : 3;
    m->sublayers = t->sublayers;
    m->slab_slots = t->slab_slots;
    m->page_slots = t->page_slots;
    m->bos = -1;
    m->eos = TOY_EOS;
    add_sublayer(t, 0, 0, 0, -1, 0);
    add_sublayer(t, 1, 0, -1, 0, TOY_WINDOW_A);
    add_sublayer(t, 2, 1, 1, -1, 0);
    add_sublayer(t, 3, 1, -1, 1, TOY_WINDOW_B);
    add_sublayer(t, 4, 2, -1, full ? 2 : -1, 0);
    add_sublayer(t, 5, 3, -1, full ? 2 : -1, 0);
    add_sublayer(t, 6, 3, -1, -1, 0);
    return t;
}

void toy_check(const toy *t)
{
    const toy_device *d = toy_device_of(t);
    ck_assert_msg(d->violations == 0, "%lld violations, the last: %s", (long long)d->violations,
                  d->violation);
}

void toy_free(toy *t)
{
    toy_check(t);
    ck_assert_msg(samba__refs_unique(&t->model.refs), "the model is still held");
    ck_assert_int_eq(toy_device_of(t)->n_slabs, 0);
    ck_assert_int_eq(toy_device_of(t)->n_pages, 0);
    samba__scheduler_free(samba__model_scheduler(&t->model));
    samba_context_free(t->context);
    ck_assert_int_eq(t->memory.live, 0);
    free(t);
}

samba_session *toy_session(toy *t, const samba_session_options *options)
{
    samba_session *s = NULL;
    ck_assert_int_eq(samba_session_create(&t->model, options, &s, NULL), SAMBA_OK);
    return s;
}
