/* Slabs and pages as reference-counted objects; see cell.h. */
#include "state/cell.h"

samba_status samba__cell_create(samba__device *device, const samba__cell_kind *kind,
                                samba__cell **cell, samba_error **error)
{
    const samba_backend_vtbl *v = device->vtbl;
    samba_status status;
    samba__cell *c = samba__alloc(device->alloc, sizeof *c);
    if (!c)
        return samba__fail_oom(error);
    *c = (samba__cell){.is_page = kind->kv_dtype != 0, .bytes = kind->bytes, .device = device};
    samba__refs_init(&c->refs);
    atomic_init(&c->claimed, 0);
    status = c->is_page
                 ? v->page_alloc(device->handle, kind->weights, kind->kv_dtype, &c->id, error)
                 : v->slab_alloc(device->handle, kind->weights, &c->id, error);
    if (status != SAMBA_OK) {
        samba__free(device->alloc, c);
        return status;
    }
    *cell = c;
    return SAMBA_OK;
}

samba__cell *samba__cell_retain(samba__cell *cell)
{
    samba__refs_take(&cell->refs);
    return cell;
}

void samba__cell_release(samba__cell *cell)
{
    if (!cell || !samba__refs_drop(&cell->refs))
        return;
    samba__device *device = cell->device;
    if (cell->is_page)
        device->vtbl->page_free(device->handle, cell->id);
    else
        device->vtbl->slab_free(device->handle, cell->id);
    samba__free(device->alloc, cell);
}

bool samba__cell_claim(samba__cell *page, uint32_t end, uint32_t to)
{
    if (samba__refs_unique(&page->refs)) {
        samba__cell_settle(page, to);
        return true;
    }
    return atomic_compare_exchange_strong_explicit(&page->claimed, &end, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

bool samba__cell_stack_room(samba__cell_stack *stack, const samba_allocator *a, size_t capacity)
{
    void *cells = stack->cells;
    if (!samba__grow(a, &cells, &stack->capacity, capacity, sizeof *stack->cells))
        return false;
    stack->cells = cells;
    return true;
}

samba_status samba__cell_stack_fill(samba__cell_stack *stack, samba__device *device,
                                    const samba__cell_kind *kind, size_t n, size_t capacity,
                                    samba_error **error)
{
    if (!samba__cell_stack_room(stack, device->alloc, capacity))
        return samba__fail_oom(error);
    for (; stack->n < n; stack->n++)
        SAMBA__TRY(samba__cell_create(device, kind, &stack->cells[stack->n], error));
    return SAMBA_OK;
}

void samba__cell_stack_give(samba__cell_stack *stack, samba__cell *cell)
{
    if (cell && stack->n < stack->capacity && samba__refs_unique(&cell->refs))
        stack->cells[stack->n++] = cell;
    else
        samba__cell_release(cell);
}

void samba__cell_stack_trim(samba__cell_stack *stack, size_t n)
{
    while (stack->n > n)
        samba__cell_release(stack->cells[--stack->n]);
}

void samba__cell_stack_free(samba__cell_stack *stack, const samba_allocator *a)
{
    samba__cell_stack_trim(stack, 0);
    samba__free(a, stack->cells);
    *stack = (samba__cell_stack){0};
}
