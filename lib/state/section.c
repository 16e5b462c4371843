/* Kinds of sections, their sizes, and which of them a state has; see section.h. */
#include "state/section.h"
#include "tensor/dtype.h"

#include <stdio.h>

static const char *const kind_names[] = {
    [SAMBA_SECTION_TOKENS] = "tokens", [SAMBA_SECTION_METADATA] = "metadata",
    [SAMBA_SECTION_LOGITS] = "logits", [SAMBA_SECTION_CONV] = "conv",
    [SAMBA_SECTION_SSM] = "ssm",       [SAMBA_SECTION_QKV_CONV] = "qkv_conv",
    [SAMBA_SECTION_MATRIX] = "matrix", [SAMBA_SECTION_KV] = "kv",
};

const char *samba__section_kind_name(samba_section_kind kind)
{
    if (kind <= 0 || (size_t)kind >= sizeof kind_names / sizeof *kind_names)
        return NULL;
    return kind_names[kind];
}

void samba__section_text(const samba__section *section, char text[SAMBA__SECTION_TEXT])
{
    const char *name = samba__section_kind_name(section->kind);
    if (section->sublayer < 0)
        snprintf(text, SAMBA__SECTION_TEXT, "%s", name ? name : "unknown");
    else
        snprintf(text, SAMBA__SECTION_TEXT, "%s of sublayer %d", name ? name : "unknown",
                 (int)section->sublayer);
}

const char *samba__type_name(int32_t type)
{
    if (type == SAMBA__TYPE_I32)
        return "i32";
    return type == SAMBA__TYPE_U8 ? "u8" : samba_dtype_name(type);
}

size_t samba__type_unit(int32_t type, uint32_t *elements)
{
    const samba__dtype_info *info = samba__dtype_info_of(type);
    *elements = 1;
    if (type == SAMBA__TYPE_I32)
        return sizeof(samba_token);
    if (type == SAMBA__TYPE_U8)
        return 1;
    if (!info || type > SAMBA_DTYPE_Q8_0)
        return 0;
    *elements = info->block;
    return info->block_bytes;
}

bool samba__section_bytes(const samba__section *section, int32_t type, uint64_t *bytes)
{
    uint32_t elements;
    uint64_t n = 1;
    const size_t unit = samba__type_unit(type, &elements);
    if (!unit || !section->n_dims || section->n_dims > SAMBA__SECTION_DIMS ||
        section->dims[section->n_dims - 1] % elements)
        return false;
    for (uint32_t i = 0; i < section->n_dims; i++)
        if (__builtin_mul_overflow(n, section->dims[i], &n))
            return false;
    return !__builtin_mul_overflow(n / elements, unit, bytes) && *bytes <= INT64_MAX;
}

size_t samba__section_row(const samba__section *section, int32_t type)
{
    uint32_t elements;
    uint64_t bytes = 0;
    if (section->kind != SAMBA_SECTION_KV)
        return samba__type_unit(type, &elements);
    samba__section row = *section;
    row.dims[0] = 1;
    return samba__section_bytes(&row, type, &bytes) ? (size_t)bytes : 0;
}

int samba__section_compare(const samba__section *a, const samba__section *b)
{
    if (a->sublayer != b->sublayer)
        return a->sublayer < b->sublayer ? -1 : 1;
    return a->kind < b->kind ? -1 : a->kind > b->kind;
}

uint64_t samba__layout_rows(const samba__layout *layout, uint32_t slot, samba__span span)
{
    const uint32_t window = layout->pages[slot].window;
    const uint64_t fed = span.position - span.first;
    return window && fed > window - 1 ? window - 1 : fed;
}

static samba__section part_section(const samba__layout *layout, uint32_t slot, uint32_t part,
                                   uint64_t at)
{
    const samba__slab_shape *shape = &layout->shapes[slot];
    samba__section s = {.kind = shape->parts[part].kind,
                        .sublayer = (int32_t)shape->sublayer,
                        .type = SAMBA_DTYPE_F32,
                        .n_dims = shape->parts[part].n_dims,
                        .slot = slot,
                        .at = at};
    for (uint32_t i = 0; i < s.n_dims; i++)
        s.dims[i] = shape->parts[part].dims[i];
    samba__section_bytes(&s, s.type, &s.bytes); /* slabs of this size exist */
    return s;
}

static samba__section kv_section(const samba__layout *layout, uint32_t slot, samba__span span)
{
    const samba__page_layout *p = &layout->pages[slot];
    samba__section s = {
        .kind = SAMBA_SECTION_KV,
        .sublayer = (int32_t)p->sublayer,
        .type = layout->kv_dtype,
        .n_dims = 4,
        .dims = {samba__layout_rows(layout, slot, span), 2, p->n_kv_heads, p->head_dim},
        .slot = slot};
    samba__section_bytes(&s, s.type, &s.bytes);
    return s;
}

size_t samba__layout_sections(const samba__layout *layout, samba__span span,
                              samba__section *sections, size_t capacity)
{
    size_t n = 0;
    uint32_t slab = 0, page = 0;
    if (span.position == span.first)
        return 0;
    /* Slots are numbered in the order of their sublayers; a sublayer's slab stands before its keys
     * and values. */
    while (slab < layout->n_slab_slots || page < layout->n_page_slots) {
        const bool next_is_slab = page == layout->n_page_slots ||
                                  (slab < layout->n_slab_slots &&
                                   layout->shapes[slab].sublayer <= layout->pages[page].sublayer);
        const uint32_t parts = next_is_slab ? layout->shapes[slab].n_parts : 1;
        uint64_t at = 0;
        for (uint32_t i = 0; i < parts; i++) {
            const samba__section s =
                next_is_slab ? part_section(layout, slab, i, at) : kv_section(layout, page, span);
            at += s.bytes;
            if (n < capacity)
                sections[n] = s;
            n++;
        }
        if (next_is_slab)
            slab++;
        else
            page++;
    }
    return n;
}
