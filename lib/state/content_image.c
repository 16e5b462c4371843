/*
 * Content into cells: checks that the sections are those of the layout, then fills new slabs and
 * pages of its device. Slots of pages before the first visible row stay as they come.
 */
#include "state/content.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- checks */

enum {
    SHAPE_TEXT = 128
};

static void shape_text(const samba__section *s, char text[SHAPE_TEXT])
{
    size_t at = (size_t)snprintf(text, SHAPE_TEXT, "%s [", samba__type_name(s->type));
    for (uint32_t i = 0; i < s->n_dims; i++)
        at += (size_t)snprintf(text + at, SHAPE_TEXT - at, "%s%llu", i ? "][" : "",
                               (unsigned long long)s->dims[i]);
    snprintf(text + at, SHAPE_TEXT - at, "]");
}

static samba_status fail_missing(const samba_allocator *a, const samba__section *s,
                                 const char *where, const char *other, samba_error **error)
{
    char name[SAMBA__SECTION_TEXT];
    samba__section_text(s, name);
    return samba__fail(a, error, SAMBA_ERROR_MISMATCH, "%s has %s, %s does not", where, name,
                       other);
}

static samba_status check_section(const samba_allocator *a, const samba__section *have,
                                  const samba__section *want, samba_error **error)
{
    char name[SAMBA__SECTION_TEXT], ours[SHAPE_TEXT], theirs[SHAPE_TEXT];
    const int order = samba__section_compare(have, want);
    if (order < 0)
        return fail_missing(a, have, "the snapshot", "the model", error);
    if (order > 0)
        return fail_missing(a, want, "the model", "the snapshot", error);
    if (have->type == want->type && have->n_dims == want->n_dims &&
        memcmp(have->dims, want->dims, sizeof have->dims) == 0)
        return SAMBA_OK;
    samba__section_text(have, name);
    shape_text(have, theirs);
    shape_text(want, ours);
    return samba__fail(a, error, SAMBA_ERROR_MISMATCH, "%s is %s in the snapshot, in the model %s",
                       name, theirs, ours);
}

/* `state` is the content's first state section, of n. */
static samba_status check_sections(const samba_allocator *a, const samba__section *state, size_t n,
                                   const samba__section *want, size_t n_want, samba_error **error)
{
    for (size_t i = 0; i < n && i < n_want; i++)
        SAMBA__TRY(check_section(a, &state[i], &want[i], error));
    if (n > n_want)
        return fail_missing(a, &state[n_want], "the snapshot", "the model", error);
    if (n < n_want)
        return fail_missing(a, &want[n], "the model", "the snapshot", error);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- cells */

typedef struct builder {
    const samba__content *content;
    samba__layout *layout;
    samba__state *state; /* being filled */
    uint8_t *buffer;     /* for what is not in memory in one piece; NULL: nothing is */
} builder;

static samba_status fill_slab(const builder *b, size_t index, const samba__section *want,
                              size_t *n_parts, samba_error **error)
{
    const samba__section *s = &b->content->sections[index];
    const samba__device *d = b->layout->device;
    const uint64_t size = samba__content_slab_bytes(b->content, index, n_parts);
    samba__cell **slab = &b->state->slabs[want->slot];
    const uint8_t *data = s->data;
    SAMBA__TRY(samba__cell_create(b->layout->device, &b->layout->slabs[want->slot], slab, error));
    if (!data) {
        SAMBA__TRY(samba__content_slab(b->content, s, b->buffer, size, error));
        data = b->buffer;
    }
    return d->vtbl->slab_unpack(d->handle, (*slab)->id, data, (size_t)size, error);
}

static samba_status fill_page(const builder *b, const samba__section *s, const samba__section *want,
                              samba__page_list *list, samba_error **error)
{
    const samba__device *d = b->layout->device;
    const uint64_t per_page = b->layout->page_positions, end = b->state->position;
    const uint64_t page = list->first + list->n, begin = end - want->dims[0];
    const uint64_t from = page * per_page > begin ? page * per_page : begin;
    const uint64_t to = (page + 1) * per_page < end ? (page + 1) * per_page : end;
    const size_t row_bytes = samba__section_row(want, want->type);
    samba__cell *cell = NULL;
    SAMBA__TRY(
        samba__cell_create(b->layout->device, &b->layout->pages[want->slot].kind, &cell, error));
    list->cells[list->n++] = cell;
    if (to <= from)
        return SAMBA_OK;
    const samba__rows_range rows = {from - begin, to - from};
    const size_t size = (size_t)rows.n * row_bytes;
    const uint8_t *data = s->data ? s->data + rows.first * row_bytes : b->buffer;
    if (!s->data)
        SAMBA__TRY(samba__content_rows(b->content, s, rows, b->buffer, error));
    return d->vtbl->page_unpack(d->handle, cell->id, (uint32_t)(from % per_page), (uint32_t)rows.n,
                                data, size, error);
}

static samba_status fill_pages(const builder *b, const samba__section *s,
                               const samba__section *want, samba_error **error)
{
    samba__page_list *list = &b->state->lists[want->slot];
    const uint64_t end = samba__layout_n_pages(b->layout, b->state->position);
    list->first = samba__state_first_page(b->state, b->layout, want->slot, b->state->position);
    const uint64_t n = end > list->first ? end - list->first : 0;
    if (n > SIZE_MAX / sizeof(samba__cell *) ||
        !samba__page_list_reserve(list, b->state->alloc, (size_t)n))
        return samba__fail_oom(error);
    while (list->n < n)
        SAMBA__TRY(fill_page(b, s, want, list, error));
    return SAMBA_OK;
}

/* Enough for the largest slab and for the rows of one page. */
static samba_status make_buffer(builder *b, const samba__section *want, size_t n_want,
                                samba_error **error)
{
    uint64_t most = 0;
    if (!b->content->image)
        return SAMBA_OK;
    for (size_t i = 0; i < n_want; i++) {
        const uint64_t size =
            want[i].kind == SAMBA_SECTION_KV
                ? (uint64_t)b->layout->page_positions * samba__section_row(&want[i], want[i].type)
                : want[i].at + want[i].bytes;
        most = size > most ? size : most;
    }
    b->buffer = samba__alloc(b->state->alloc, (size_t)most);
    return b->buffer ? SAMBA_OK : samba__fail_oom(error);
}

static samba_status fill_state(builder *b, size_t first, const samba__section *want, size_t n,
                               samba_error **error)
{
    samba_status status = make_buffer(b, want, n, error);
    b->state->position = b->content->span.position;
    for (size_t i = 0, parts = 1; status == SAMBA_OK && i < n; i += parts, parts = 1) {
        if (want[i].kind == SAMBA_SECTION_KV)
            status = fill_pages(b, &b->content->sections[first + i], &want[i], error);
        else
            status = fill_slab(b, first + i, &want[i], &parts, error);
    }
    samba__free(b->state->alloc, b->buffer);
    return status;
}

static samba_status build_state(const samba__content *content, samba__layout *layout,
                                samba__state **state, samba_error **error)
{
    const samba_allocator *a = layout->device->alloc;
    const size_t n = samba__layout_sections(layout, content->span, NULL, 0);
    builder b = {.content = content, .layout = layout};
    samba__section *want = samba__alloc_array(a, n, sizeof *want);
    samba_status status;
    size_t first = 0;
    if (!want)
        return samba__fail_oom(error);
    samba__layout_sections(layout, content->span, want, n);
    while (first < content->n_sections && content->sections[first].sublayer < 0)
        first++;
    SAMBA__TRY_GOTO(
        check_sections(a, content->sections + first, content->n_sections - first, want, n, error));
    SAMBA__TRY_GOTO(samba__state_create(layout, content->span.first, &b.state, error));
    SAMBA__TRY_GOTO(fill_state(&b, first, want, n, error));
    *state = b.state;
    b.state = NULL;
fail:
    samba__state_release(b.state);
    samba__free(a, want);
    return status;
}

/* ---------------------------------------------------------------- the image */

static samba_status build_logits(const samba__content *content, const samba_allocator *a,
                                 samba__output **output, samba_error **error)
{
    const samba__section *s = samba__content_find(content, SAMBA_SECTION_LOGITS);
    const samba__output_shape shape = {.n_rows = 1, .n_vocab = content->n_vocab};
    samba__output *spare = NULL;
    if (!s)
        return SAMBA_OK;
    SAMBA__TRY(samba__output_create(a, &shape, &spare, output, error));
    memcpy((*output)->logits, s->data, (size_t)s->bytes);
    return SAMBA_OK;
}

static samba_status build_history(const samba__content *content, samba__history *history,
                                  samba_error **error)
{
    const samba__section *s = samba__content_find(content, SAMBA_SECTION_TOKENS);
    if (!s)
        return SAMBA_OK;
    const samba_token *tokens = (const samba_token *)(const void *)s->data;
    SAMBA__TRY(samba__history_stage(history, tokens, (size_t)s->dims[0], error));
    samba__history_commit(history, (size_t)s->dims[0]);
    return SAMBA_OK;
}

samba_status samba__content_image(const samba__content *content, samba__layout *layout,
                                  samba__image **image, samba_error **error)
{
    const samba_allocator *a = layout->device->alloc;
    samba__state *state = NULL;
    samba__output *logits = NULL;
    samba__history history;
    samba_status status;
    samba__history_init(&history, a, SIZE_MAX);
    SAMBA__TRY_GOTO(build_history(content, &history, error));
    SAMBA__TRY_GOTO(build_logits(content, a, &logits, error));
    SAMBA__TRY_GOTO(build_state(content, layout, &state, error));
    const samba__image_parts parts = {
        .layout = layout, .state = state, .history = &history, .output = logits};
    SAMBA__TRY_GOTO(samba__image_create(&parts, image, error));
fail:
    samba__state_release(state);
    samba__output_release(logits);
    samba__history_free(&history);
    return status;
}
