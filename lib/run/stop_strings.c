/* Matching stop strings; see stop_strings.h. */
#include "run/stop_strings.h"

#include <string.h>

/* Length of the match once `byte` has followed a match of `matched` < size bytes. */
static size_t follow(const samba__stop_string *s, size_t matched, char byte)
{
    while (matched && s->text[matched] != byte)
        matched = s->shift[matched - 1];
    return matched + (s->text[matched] == byte);
}

static samba_status add(samba__stop_strings *s, const samba_allocator *a, const char *text,
                        size_t index, samba_error **error)
{
    samba__stop_string *item = &s->items[index];
    size_t size = text ? strlen(text) : 0;
    if (!size || size > SAMBA__STOP_STRING_BYTES)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "stop_strings[%zu] has %zu bytes, 1 to %d are possible", index, size,
                           SAMBA__STOP_STRING_BYTES);
    item->text = samba__arena_strndup(&s->arena, text, size);
    item->shift = samba__arena_alloc(&s->arena, size, sizeof *item->shift);
    if (!item->text || !item->shift)
        return samba__fail_oom(error);
    item->size = size;
    for (size_t i = 1; i < size; i++)
        item->shift[i] = (uint32_t)follow(item, item->shift[i - 1], text[i]);
    return SAMBA_OK;
}

samba_status samba__stop_strings_init(samba__stop_strings *s, const samba_allocator *a,
                                      const char *const *strings, size_t n, samba_error **error)
{
    samba_status status = SAMBA_OK;
    *s = (samba__stop_strings){0};
    if (!n)
        return SAMBA_OK;
    if (n > SAMBA__STOP_STRINGS_MOST)
        return samba__fail(a, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "n_stop_strings is %zu, at most %d are possible", n,
                           SAMBA__STOP_STRINGS_MOST);
    samba__arena_init(&s->arena, a);
    s->items = samba__arena_alloc(&s->arena, n, sizeof *s->items);
    if (!s->items)
        return samba__fail_oom(error);
    for (s->n = 0; s->n < n && status == SAMBA_OK; s->n++)
        status = add(s, a, strings[s->n], s->n, error);
    if (status != SAMBA_OK)
        samba__stop_strings_free(s);
    return status;
}

void samba__stop_strings_free(samba__stop_strings *s)
{
    if (s->arena.alloc)
        samba__arena_free(&s->arena);
    *s = (samba__stop_strings){0};
}

void samba__stop_strings_reset(samba__stop_strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        s->items[i].matched = 0;
}

int32_t samba__stop_strings_push(samba__stop_strings *s, const char *bytes, size_t size,
                                 size_t *end)
{
    for (size_t k = 0; k < size; k++) {
        int32_t found = -1;
        for (size_t i = 0; i < s->n; i++) {
            samba__stop_string *item = &s->items[i];
            item->matched = follow(item, item->matched, bytes[k]);
            if (item->matched == item->size && (found < 0 || item->size > s->items[found].size))
                found = (int32_t)i;
        }
        *end = k + 1;
        if (found >= 0)
            return found;
    }
    return -1;
}

size_t samba__stop_strings_held(const samba__stop_strings *s)
{
    size_t held = 0;
    for (size_t i = 0; i < s->n; i++)
        held = s->items[i].matched > held ? s->items[i].matched : held;
    return held;
}
