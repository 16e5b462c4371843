/* A sequence on the move: spares, reserve, commit and discard; see sequence.h. */
#include "state/sequence.h"

#include <string.h>

/* A slot's state and its spares together hold this many slabs between steps. */
enum {
    SLABS_KEPT = 2
};

static samba_status init(samba__sequence *seq, samba__layout *layout, samba_error **error)
{
    const samba_allocator *a = layout->device->alloc;
    *seq = (samba__sequence){.layout = samba__layout_retain(layout)};
    seq->slab_spares = samba__calloc(a, layout->n_slab_slots, sizeof *seq->slab_spares);
    seq->pages = samba__calloc(a, layout->n_page_slots, sizeof *seq->pages);
    seq->page_tables = samba__calloc(a, layout->n_page_slots, sizeof *seq->page_tables);
    if (seq->slab_spares && seq->pages && seq->page_tables)
        return SAMBA_OK;
    samba__sequence_free(seq);
    return samba__fail_oom(error);
}

samba_status samba__sequence_init(samba__sequence *seq, samba__layout *layout,
                                  uint64_t first_position, samba_error **error)
{
    SAMBA__TRY(init(seq, layout, error));
    samba_status status = samba__state_create(layout, first_position, &seq->state, error);
    if (status != SAMBA_OK)
        samba__sequence_free(seq);
    return status;
}

samba_status samba__sequence_init_shared(samba__sequence *seq, const samba__sequence *from,
                                         samba_error **error)
{
    SAMBA__TRY(init(seq, from->layout, error));
    seq->state = samba__state_retain(from->state);
    return SAMBA_OK;
}

void samba__sequence_free(samba__sequence *seq)
{
    samba__layout *l = seq->layout;
    if (!l)
        return;
    const samba_allocator *a = l->device->alloc;
    for (uint32_t i = 0; seq->slab_spares && i < l->n_slab_slots; i++)
        samba__cell_stack_free(&seq->slab_spares[i], a);
    for (uint32_t i = 0; seq->pages && i < l->n_page_slots; i++)
        samba__cell_stack_free(&seq->pages[i].spares, a);
    samba__state_release(seq->state);
    samba__state_release(seq->spare_state);
    samba__free(a, seq->slab_spares);
    samba__free(a, seq->pages);
    samba__free(a, seq->slab_ids);
    samba__free(a, seq->page_ids);
    samba__free(a, seq->page_tables);
    *seq = (samba__sequence){0};
    samba__layout_release(l);
}

/* ---------------------------------------------------------------- limits */

static void trim_slabs(samba__sequence *seq, uint32_t slot)
{
    samba__cell_stack_trim(&seq->slab_spares[slot], SLABS_KEPT - (seq->state->slabs[slot] != NULL));
}

static void trim_pages(samba__sequence *seq, uint32_t slot)
{
    uint64_t limit = samba__layout_page_limit(seq->layout, slot);
    size_t n = seq->state->lists[slot].n;
    if (seq->layout->pages[slot].window)
        limit = n < limit ? limit - n : 0;
    samba__cell_stack_trim(&seq->pages[slot].spares, (size_t)limit);
}

static void trim(samba__sequence *seq)
{
    for (uint32_t i = 0; i < seq->layout->n_slab_slots; i++)
        trim_slabs(seq, i);
    for (uint32_t i = 0; i < seq->layout->n_page_slots; i++)
        trim_pages(seq, i);
    seq->n_rows = seq->n_sets = 0;
}

/* All pages of a list become spares; those that find no room are freed. */
static void give_pages(samba__cell_stack *spares, samba__page_list *list, const samba_allocator *a)
{
    (void)samba__cell_stack_room(spares, a, spares->n + list->n);
    while (list->n)
        samba__cell_stack_give(spares, list->cells[--list->n]);
}

static void empty(samba__sequence *seq)
{
    samba__state *s = seq->state;
    for (uint32_t i = 0; i < s->n_slab_slots; i++) {
        samba__cell_stack_give(&seq->slab_spares[i], s->slabs[i]);
        s->slabs[i] = NULL;
    }
    for (uint32_t i = 0; i < s->n_page_slots; i++) {
        give_pages(&seq->pages[i].spares, &s->lists[i], s->alloc);
        s->lists[i].first = s->first_position / seq->layout->page_positions;
    }
    s->position = s->first_position;
}

samba_status samba__sequence_reset(samba__sequence *seq, samba_error **error)
{
    samba__state *fresh = NULL;
    if (samba__refs_unique(&seq->state->refs)) {
        empty(seq);
    } else {
        SAMBA__TRY(samba__state_create(seq->layout, seq->state->first_position, &fresh, error));
        samba__state_release(seq->state);
        seq->state = fresh;
    }
    trim(seq);
    return SAMBA_OK;
}

void samba__sequence_restore(samba__sequence *seq, samba__state *state)
{
    samba__state_retain(state);
    if (samba__refs_unique(&seq->state->refs))
        empty(seq);
    samba__state_release(seq->state);
    seq->state = state;
    trim(seq);
}

void samba__sequence_recycle(samba__sequence *seq, samba__state *state)
{
    if (seq->spare_state || !samba__refs_unique(&state->refs)) {
        samba__state_release(state);
        return;
    }
    for (uint32_t i = 0; i < state->n_slab_slots; i++) {
        samba__cell_stack_give(&seq->slab_spares[i], state->slabs[i]);
        state->slabs[i] = NULL;
        trim_slabs(seq, i);
    }
    for (uint32_t i = 0; i < state->n_page_slots; i++) {
        samba__page_list *list = &state->lists[i];
        while (list->n)
            samba__cell_stack_give(&seq->pages[i].spares, list->cells[--list->n]);
        trim_pages(seq, i);
    }
    seq->spare_state = state;
}

/* ---------------------------------------------------------------- reserve */

/* Rows of the last page; 0: it is full, or there is none. */
static uint32_t tail_rows(const samba__sequence *seq, uint32_t slot)
{
    uint64_t rows = seq->state->position % seq->layout->page_positions;
    return seq->state->lists[slot].n ? (uint32_t)rows : 0;
}

/* Says how far the last page is good, if it is ours to say. */
static void settle_tail(samba__sequence *seq, uint32_t slot)
{
    const samba__page_list *list = &seq->state->lists[slot];
    uint32_t rows = tail_rows(seq, slot);
    if (seq->pages[slot].claims_tail && rows)
        samba__cell_settle(list->cells[list->n - 1], rows);
    seq->pages[slot].claims_tail = false;
}

/* What the step appends to one page list, and whether it may write its last page. */
static void plan_pages(samba__sequence *seq, uint32_t slot, uint32_t n_rows)
{
    const samba__state *s = seq->state;
    const samba__page_list *list = &s->lists[slot];
    samba__page_hold *hold = &seq->pages[slot];
    uint32_t rows = tail_rows(seq, slot), left = seq->layout->page_positions - rows;
    uint64_t end = samba__layout_n_pages(seq->layout, s->position + n_rows);
    hold->n_new = (size_t)(end - (list->first + list->n));
    hold->claims_tail = rows && samba__cell_claim(list->cells[list->n - 1], rows,
                                                  rows + (n_rows < left ? n_rows : left));
    hold->copies_tail = rows && !hold->claims_tail;
}

/* Spares that the step takes; or, once pages have dropped out of the window, those that the largest
 * step so far would take at its worst alignment. */
static size_t pages_wanted(const samba__sequence *seq, uint32_t slot, uint32_t n_rows)
{
    const samba__layout *l = seq->layout;
    const samba__page_hold *hold = &seq->pages[slot];
    size_t wanted = hold->n_new + hold->copies_tail, n = seq->state->lists[slot].n;
    uint32_t window = l->pages[slot].window;
    const samba__state *s = seq->state;
    if (!window || samba__state_first_page(s, l, slot, s->position + n_rows) ==
                       s->first_position / l->page_positions)
        return wanted;
    uint64_t rows = n_rows > seq->most_rows ? n_rows : seq->most_rows;
    uint64_t most = samba__layout_n_pages(l, (uint64_t)window + rows - 2) + 1;
    return most > n + wanted ? (size_t)most - n : wanted;
}

/* Bytes held once the step has its cells. */
static uint64_t bytes_wanted(const samba__sequence *seq, const samba__step *step)
{
    const samba__layout *l = seq->layout;
    uint64_t bytes = samba__state_bytes(seq->state);
    for (uint32_t i = 0; i < l->n_slab_slots; i++) {
        size_t have = seq->slab_spares[i].n;
        bytes += (have > step->n_sets ? have : step->n_sets) * l->slabs[i].bytes;
    }
    for (uint32_t i = 0; i < l->n_page_slots; i++) {
        size_t have = seq->pages[i].spares.n, wanted = pages_wanted(seq, i, step->n_rows);
        bytes += (have > wanted ? have : wanted) * l->pages[i].kind.bytes;
    }
    return bytes;
}

static samba_status check_position(const samba__sequence *seq, const samba__step *step,
                                   samba_error **error)
{
    if (step->n_rows <= SAMBA__POSITION_END - seq->state->position)
        return SAMBA_OK;
    return samba__fail(seq->layout->device->alloc, error, SAMBA_ERROR_LIMIT,
                       "%u tokens at position %llu: positions end before 2^40", step->n_rows,
                       (unsigned long long)seq->state->position);
}

static samba_status check_limit(const samba__sequence *seq, const samba__step *step,
                                samba_error **error)
{
    uint64_t bytes = bytes_wanted(seq, step) + step->other_bytes;
    if (!step->max_bytes || bytes <= step->max_bytes)
        return SAMBA_OK;
    return samba__fail(seq->layout->device->alloc, error, SAMBA_ERROR_LIMIT,
                       "%u tokens at position %llu need %llu bytes of state, max_state_bytes is "
                       "%llu",
                       step->n_rows, (unsigned long long)seq->state->position,
                       (unsigned long long)bytes, (unsigned long long)step->max_bytes);
}

/* The stacks get room for what the step takes and for what its commit gives back. */
static samba_status fill_spares(samba__sequence *seq, const samba__step *step, samba_error **error)
{
    const samba__layout *l = seq->layout;
    uint32_t rows = step->n_rows > seq->most_rows ? step->n_rows : seq->most_rows;
    size_t page_room = 2 * (size_t)samba__layout_n_pages(l, rows) + 4;
    for (uint32_t i = 0; i < l->n_slab_slots; i++)
        SAMBA__TRY(samba__cell_stack_fill(&seq->slab_spares[i], l->device, &l->slabs[i],
                                          step->n_sets, step->n_sets + SLABS_KEPT, error));
    for (uint32_t i = 0; i < l->n_page_slots; i++)
        SAMBA__TRY(samba__cell_stack_fill(&seq->pages[i].spares, l->device, &l->pages[i].kind,
                                          pages_wanted(seq, i, step->n_rows), page_room, error));
    return SAMBA_OK;
}

static bool grow_ids(const samba_allocator *a, uint32_t **ids, size_t *capacity, size_t need)
{
    void *p = *ids;
    if (!samba__grow(a, &p, capacity, need, sizeof **ids))
        return false;
    *ids = p;
    return true;
}

/* Room in the state's lists, and for the tables of the pass. */
static bool reserve_tables(samba__sequence *seq, uint32_t n_sets)
{
    const samba_allocator *a = seq->layout->device->alloc;
    size_t n_pages = 0, n_slabs;
    for (uint32_t i = 0; i < seq->layout->n_page_slots; i++) {
        samba__page_list *list = &seq->state->lists[i];
        if (!samba__page_list_reserve(list, a, seq->pages[i].n_new))
            return false;
        n_pages += list->n + seq->pages[i].n_new;
    }
    return samba__mul_size((size_t)n_sets + 1, seq->layout->n_slab_slots, &n_slabs) &&
           grow_ids(a, &seq->slab_ids, &seq->slab_ids_capacity, n_slabs) &&
           grow_ids(a, &seq->page_ids, &seq->page_ids_capacity, n_pages);
}

samba_status samba__sequence_reserve(samba__sequence *seq, const samba__step *step,
                                     samba_error **error)
{
    samba_status status;
    SAMBA__TRY(check_position(seq, step, error));
    SAMBA__TRY(samba__state_unshare(seq->layout, &seq->state, &seq->spare_state, error));
    for (uint32_t i = 0; i < seq->layout->n_page_slots; i++)
        plan_pages(seq, i, step->n_rows);
    SAMBA__TRY_GOTO(check_limit(seq, step, error));
    SAMBA__TRY_GOTO(fill_spares(seq, step, error));
    if (!reserve_tables(seq, step->n_sets)) {
        status = samba__fail_oom(error);
        goto fail;
    }
    if (step->n_rows > seq->most_rows)
        seq->most_rows = step->n_rows;
    seq->n_rows = step->n_rows;
    seq->n_sets = step->n_sets;
    return SAMBA_OK;
fail:
    samba__sequence_discard(seq);
    return status;
}

/* The i-th spare page that the step uses; the copy of the last page comes first. */
static samba__cell *step_page(const samba__page_hold *hold, size_t i)
{
    return hold->spares.cells[hold->spares.n - 1 - i];
}

samba_status samba__sequence_copy_tails(samba__sequence *seq, samba_error **error)
{
    samba__device *device = seq->layout->device;
    for (uint32_t i = 0; i < seq->layout->n_page_slots; i++) {
        const samba__page_list *list = &seq->state->lists[i];
        if (seq->pages[i].copies_tail)
            SAMBA__TRY(device->vtbl->page_copy(device->handle, step_page(&seq->pages[i], 0)->id,
                                               list->cells[list->n - 1]->id, error));
    }
    return SAMBA_OK;
}

/* Writes the page numbers of one slot as the pass sees them; returns their number. */
static size_t describe_pages(const samba__page_hold *hold, const samba__page_list *list,
                             uint32_t *ids)
{
    size_t n = 0;
    for (; n < list->n; n++)
        ids[n] = list->cells[n]->id;
    if (hold->copies_tail)
        ids[n - 1] = step_page(hold, 0)->id;
    for (size_t i = 0; i < hold->n_new; i++)
        ids[n++] = step_page(hold, i + hold->copies_tail)->id;
    return n;
}

/* Slots of the list's first page that come before the sequence's first position. */
static uint32_t n_before(const samba__state *state, const samba__page_list *list, uint32_t per_page)
{
    return list->first == state->first_position / per_page
               ? (uint32_t)(state->first_position % per_page)
               : 0;
}

void samba__sequence_describe(samba__sequence *seq, samba_backend_seq *to)
{
    const samba__layout *l = seq->layout;
    uint32_t *slab_out = seq->slab_ids + l->n_slab_slots, *ids = seq->page_ids;
    for (uint32_t i = 0; i < l->n_slab_slots; i++) {
        const samba__cell *in = seq->state->slabs[i];
        seq->slab_ids[i] = in ? in->id : SAMBA_SLAB_ZERO;
        for (uint32_t set = 0; set < seq->n_sets; set++)
            slab_out[(size_t)set * l->n_slab_slots + i] = seq->slab_spares[i].cells[set]->id;
    }
    for (uint32_t i = 0; i < l->n_page_slots; i++) {
        const samba__page_list *list = &seq->state->lists[i];
        size_t n = describe_pages(&seq->pages[i], list, ids);
        seq->page_tables[i] =
            (samba_backend_pages){.first = list->first,
                                  .pages = ids,
                                  .n_pages = (uint32_t)n,
                                  .n_before = n_before(seq->state, list, l->page_positions)};
        ids += n;
    }
    *to = (samba_backend_seq){.position = seq->state->position,
                              .n_rows = seq->n_rows,
                              .kv_dtype = l->kv_dtype,
                              .n_slab_sets = seq->n_sets,
                              .slab_in = seq->slab_ids,
                              .slab_out = slab_out,
                              .pages = seq->page_tables};
}

/* ---------------------------------------------------------------- commit */

/* Takes the pages of the step into the list. */
static void append_pages(samba__page_hold *hold, samba__page_list *list)
{
    if (hold->copies_tail) {
        samba__cell_release(list->cells[list->n - 1]);
        list->cells[list->n - 1] = hold->spares.cells[--hold->spares.n];
    }
    for (; hold->n_new; hold->n_new--)
        list->cells[list->n++] = hold->spares.cells[--hold->spares.n];
}

/* Gives back the pages outside [first, end). */
static void cut_pages(samba__page_hold *hold, samba__page_list *list, uint64_t first, uint64_t end)
{
    size_t n_old = 0;
    while (list->n && list->first + list->n > end)
        samba__cell_stack_give(&hold->spares, list->cells[--list->n]);
    while (n_old < list->n && list->first + n_old < first)
        samba__cell_stack_give(&hold->spares, list->cells[n_old++]);
    list->n -= n_old;
    if (n_old)
        memmove(list->cells, list->cells + n_old, list->n * sizeof(samba__cell *));
    list->first = first;
}

static void swap_slab(samba__cell_stack *spares, samba__cell **slab, uint32_t set)
{
    samba__cell *old = *slab;
    *slab = spares->cells[set];
    spares->cells[set] = spares->cells[--spares->n];
    samba__cell_stack_give(spares, old);
}

void samba__sequence_commit(samba__sequence *seq, uint32_t n_kept)
{
    const samba__layout *l = seq->layout;
    samba__state *s = seq->state;
    s->position += n_kept;
    for (uint32_t i = 0; i < l->n_slab_slots; i++)
        swap_slab(&seq->slab_spares[i], &s->slabs[i], seq->n_sets > 1 ? n_kept - 1 : 0);
    for (uint32_t i = 0; i < l->n_page_slots; i++) {
        append_pages(&seq->pages[i], &s->lists[i]);
        cut_pages(&seq->pages[i], &s->lists[i], samba__state_first_page(s, l, i, s->position),
                  samba__layout_n_pages(l, s->position));
        seq->pages[i].claims_tail = true; /* a new last page is ours as well */
        settle_tail(seq, i);
    }
    trim(seq);
}

void samba__sequence_discard(samba__sequence *seq)
{
    for (uint32_t i = 0; i < seq->layout->n_page_slots; i++)
        settle_tail(seq, i);
    trim(seq);
}

uint64_t samba__sequence_bytes(const samba__sequence *seq)
{
    uint64_t bytes = samba__state_bytes(seq->state);
    for (uint32_t i = 0; i < seq->layout->n_slab_slots; i++)
        bytes += seq->slab_spares[i].n * seq->layout->slabs[i].bytes;
    for (uint32_t i = 0; i < seq->layout->n_page_slots; i++)
        bytes += seq->pages[i].spares.n * seq->layout->pages[i].kind.bytes;
    return bytes;
}
