/* What a snapshot consists of, and packing it out of cells; see content.h. */
#include "state/content.h"

#include <string.h>

/* ---------------------------------------------------------------- making */

static samba__section plain_section(samba_section_kind kind, int32_t type, uint64_t n,
                                    const void *data)
{
    samba__section s = {
        .kind = kind, .sublayer = -1, .type = type, .n_dims = 1, .dims = {n}, .data = data};
    samba__section_bytes(&s, type, &s.bytes); /* they are in memory, so they can be counted */
    return s;
}

static size_t list_plain(const samba__content_parts *parts, samba__section to[3])
{
    const samba__image *m = parts->image;
    size_t n = 0;
    if (m->history.n)
        to[n++] = plain_section(SAMBA_SECTION_TOKENS, SAMBA__TYPE_I32, m->history.n,
                                samba__history_tokens(&m->history));
    if (parts->metadata_size)
        to[n++] = plain_section(SAMBA_SECTION_METADATA, SAMBA__TYPE_U8, parts->metadata_size,
                                parts->metadata);
    if (m->logits)
        to[n++] =
            plain_section(SAMBA_SECTION_LOGITS, SAMBA_DTYPE_F32, parts->n_vocab, m->logits->logits);
    return n;
}

samba_status samba__content_of_image(const samba_allocator *a, const samba__content_parts *parts,
                                     samba__content *content, samba_error **error)
{
    samba__image *m = parts->image;
    const samba__span span = {m->state->first_position, m->state->position};
    samba__section plain[3];
    const size_t n_plain = list_plain(parts, plain);
    const size_t n_state = samba__layout_sections(m->layout, span, NULL, 0);
    samba__section *sections = samba__alloc_array(a, n_plain + n_state, sizeof *sections);
    if (!sections)
        return samba__fail_oom(error);
    for (size_t i = 0; i < n_plain; i++)
        sections[i] = plain[i];
    samba__layout_sections(m->layout, span, sections + n_plain, n_state);
    *content = (samba__content){.alloc = a,
                                .image = samba__image_retain(m),
                                .id = *parts->id,
                                .name = parts->name,
                                .span = span,
                                .n_tokens = m->history.n,
                                .n_vocab = parts->n_vocab,
                                .kv_dtype = m->layout->kv_dtype,
                                .mode = SAMBA_SNAPSHOT_FULL,
                                .sections = sections,
                                .n_sections = n_plain + n_state};
    return SAMBA_OK;
}

void samba__content_free(samba__content *content)
{
    if (!content->alloc)
        return;
    samba__image_release(content->image);
    samba__free(content->alloc, content->sections);
    samba__free(content->alloc, content->bytes);
    samba__free(content->alloc, content->owned_name);
    *content = (samba__content){0};
}

/* ---------------------------------------------------------------- reading */

const samba__section *samba__content_find(const samba__content *content, samba_section_kind kind)
{
    for (size_t i = 0; i < content->n_sections && content->sections[i].sublayer < 0; i++)
        if (content->sections[i].kind == kind)
            return &content->sections[i];
    return NULL;
}

uint64_t samba__content_raw_bytes(const samba__content *content)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < content->n_sections; i++)
        bytes += content->sections[i].bytes;
    return bytes;
}

/* Rows that lie in one page. */
typedef struct stretch {
    const samba__cell *page;
    uint32_t slot, n;
} stretch;

static stretch stretch_at(const samba__image *m, const samba__section *s, uint64_t row, uint64_t n)
{
    const uint64_t per_page = m->layout->page_positions;
    const uint64_t position = m->state->position - s->dims[0] + row;
    const samba__page_list *list = &m->state->lists[s->slot];
    const uint64_t slot = position % per_page, left = per_page - slot;
    return (stretch){list->cells[position / per_page - list->first], (uint32_t)slot,
                     (uint32_t)(n < left ? n : left)};
}

samba_status samba__content_rows(const samba__content *content, const samba__section *section,
                                 samba__rows_range rows, uint8_t *to, samba_error **error)
{
    const size_t row_bytes = samba__section_row(section, section->type);
    if (section->data) {
        memcpy(to, section->data + rows.first * row_bytes, (size_t)rows.n * row_bytes);
        return SAMBA_OK;
    }
    const samba__image *m = content->image;
    const samba__device *d = m->layout->device;
    while (rows.n) {
        const stretch part = stretch_at(m, section, rows.first, rows.n);
        const size_t size = part.n * row_bytes;
        SAMBA__TRY(
            d->vtbl->page_pack(d->handle, part.page->id, part.slot, part.n, to, size, error));
        to += size;
        rows.first += part.n;
        rows.n -= part.n;
    }
    return SAMBA_OK;
}

uint64_t samba__content_slab_bytes(const samba__content *content, size_t index, size_t *n_parts)
{
    const samba__section *s = &content->sections[index];
    uint64_t bytes = s->bytes;
    size_t n = 1;
    while (index + n < content->n_sections && s[n].sublayer == s->sublayer &&
           s[n].kind != SAMBA_SECTION_KV)
        bytes += s[n++].bytes;
    *n_parts = n;
    return bytes;
}

samba_status samba__content_slab(const samba__content *content, const samba__section *section,
                                 uint8_t *to, uint64_t size, samba_error **error)
{
    if (section->data) { /* the parts of a slab lie one after the other */
        memcpy(to, section->data, (size_t)size);
        return SAMBA_OK;
    }
    const samba__image *m = content->image;
    const samba__device *d = m->layout->device;
    return d->vtbl->slab_pack(d->handle, m->state->slabs[section->slot]->id, to, (size_t)size,
                              error);
}
