/* The state of a sequence at one position; see state.h. */
#include "state/state.h"

#include <string.h>

samba_status samba__state_create(const samba__layout *layout, uint64_t first_position,
                                 samba__state **state, samba_error **error)
{
    const samba_allocator *a = layout->device->alloc;
    samba__state *s = samba__calloc(a, 1, sizeof *s);
    if (!s)
        return samba__fail_oom(error);
    samba__refs_init(&s->refs);
    s->alloc = a;
    s->slabs = samba__calloc(a, layout->n_slab_slots, sizeof(samba__cell *));
    s->lists = samba__calloc(a, layout->n_page_slots, sizeof *s->lists);
    if (!s->slabs || !s->lists) {
        samba__state_release(s);
        return samba__fail_oom(error);
    }
    s->n_slab_slots = layout->n_slab_slots;
    s->n_page_slots = layout->n_page_slots;
    s->first_position = s->position = first_position;
    for (uint32_t i = 0; i < s->n_page_slots; i++)
        s->lists[i].first = first_position / layout->page_positions;
    *state = s;
    return SAMBA_OK;
}

uint64_t samba__state_first_page(const samba__state *state, const samba__layout *layout,
                                 uint32_t slot, uint64_t position)
{
    uint64_t seen = samba__layout_first_page(layout, slot, position);
    uint64_t first = state->first_position / layout->page_positions;
    return seen > first ? seen : first;
}

samba__state *samba__state_retain(samba__state *state)
{
    samba__refs_take(&state->refs);
    return state;
}

void samba__state_release(samba__state *state)
{
    if (!state || !samba__refs_drop(&state->refs))
        return;
    for (uint32_t i = 0; i < state->n_slab_slots; i++)
        samba__cell_release(state->slabs[i]);
    for (uint32_t i = 0; i < state->n_page_slots; i++) {
        samba__page_list *list = &state->lists[i];
        for (size_t k = 0; k < list->n; k++)
            samba__cell_release(list->cells[k]);
        samba__free(state->alloc, list->cells);
    }
    samba__free(state->alloc, state->slabs);
    samba__free(state->alloc, state->lists);
    samba__free(state->alloc, state);
}

static bool copy_list(const samba__page_list *from, samba__page_list *to, const samba_allocator *a)
{
    if (!samba__page_list_reserve(to, a, from->n))
        return false;
    for (; to->n < from->n; to->n++)
        to->cells[to->n] = samba__cell_retain(from->cells[to->n]);
    to->first = from->first;
    return true;
}

samba_status samba__state_unshare(const samba__layout *layout, samba__state **state,
                                  samba__state **spare, samba_error **error)
{
    samba__state *from = *state, *to = *spare;
    if (samba__refs_unique(&from->refs))
        return SAMBA_OK;
    *spare = NULL;
    if (!to)
        SAMBA__TRY(samba__state_create(layout, from->first_position, &to, error));
    to->first_position = from->first_position;
    for (uint32_t i = 0; i < to->n_page_slots; i++) {
        if (!copy_list(&from->lists[i], &to->lists[i], to->alloc)) {
            samba__state_release(to);
            return samba__fail_oom(error);
        }
    }
    for (uint32_t i = 0; i < to->n_slab_slots; i++)
        to->slabs[i] = from->slabs[i] ? samba__cell_retain(from->slabs[i]) : NULL;
    to->position = from->position;
    *state = to;
    samba__state_release(from);
    return SAMBA_OK;
}

uint64_t samba__state_bytes(const samba__state *state)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < state->n_slab_slots; i++)
        bytes += state->slabs[i] ? state->slabs[i]->bytes : 0;
    for (uint32_t i = 0; i < state->n_page_slots; i++) {
        const samba__page_list *list = &state->lists[i];
        bytes += list->n ? list->n * list->cells[0]->bytes : 0;
    }
    return bytes;
}

bool samba__page_list_reserve(samba__page_list *list, const samba_allocator *a, size_t extra)
{
    void *cells = list->cells;
    size_t need;
    if (!samba__add_size(list->n, extra, &need) ||
        !samba__grow(a, &cells, &list->capacity, need, sizeof *list->cells))
        return false;
    list->cells = cells;
    return true;
}
