/* Images sorted by their tokens, within a budget; see prefix_index.h. */
#include "state/prefix_index.h"

#include <string.h>

/* ---------------------------------------------------------------- entries */

samba__prefix_entry *samba__prefix_entry_create(samba__image *image)
{
    samba__prefix_entry *e = samba__calloc(image->alloc, 1, sizeof *e);
    if (e)
        e->image = image;
    return e;
}

void samba__prefix_entries_free(samba__prefix_entry *list)
{
    while (list) {
        samba__prefix_entry *e = list;
        const samba_allocator *a = e->image->alloc;
        list = e->newer;
        samba__image_release(e->image);
        samba__free(a, e);
    }
}

uint64_t samba__prefix_image_bytes(const samba__image *image)
{
    return samba__state_bytes(image->state) + samba__output_bytes(image->logits) +
           samba__history_bytes(&image->history);
}

samba__prefix_key samba__prefix_key_of(const samba__image *image)
{
    return (samba__prefix_key){.kv_dtype = image->layout->kv_dtype,
                               .tokens = samba__history_tokens(&image->history),
                               .n = image->history.n};
}

static samba__prefix_key key_of(const samba__prefix_entry *e)
{
    return samba__prefix_key_of(e->image);
}

/* ---------------------------------------------------------------- counting */

static size_t n_objects(const samba__image *image)
{
    size_t n = image->state->n_slab_slots + (size_t)2;
    for (uint32_t i = 0; i < image->state->n_page_slots; i++)
        n += image->state->lists[i].n;
    return n;
}

static void count_one(samba__prefix_index *index, const void *object, uint64_t bytes, bool in)
{
    if (!object)
        return;
    if (in && samba__tally_take(&index->tally, object))
        index->bytes += bytes;
    else if (!in && samba__tally_drop(&index->tally, object))
        index->bytes -= bytes;
}

/* Everything that an image holds comes in, or goes out. */
static void count(samba__prefix_index *index, const samba__image *image, bool in)
{
    const samba__state *s = image->state;
    for (uint32_t i = 0; i < s->n_slab_slots; i++)
        count_one(index, s->slabs[i], s->slabs[i] ? s->slabs[i]->bytes : 0, in);
    for (uint32_t i = 0; i < s->n_page_slots; i++)
        for (size_t k = 0; k < s->lists[i].n; k++)
            count_one(index, s->lists[i].cells[k], s->lists[i].cells[k]->bytes, in);
    count_one(index, image->logits, samba__output_bytes(image->logits), in);
    count_one(index, image->history.buffer, samba__history_bytes(&image->history), in);
}

/* ---------------------------------------------------------------- order */

static size_t common(const samba__prefix_key *a, const samba__prefix_key *b)
{
    enum {
        STRIDE = 64
    };
    size_t n = a->n < b->n ? a->n : b->n, i = 0;
    if (a->kv_dtype != b->kv_dtype)
        return 0;
    while (n - i >= STRIDE && memcmp(a->tokens + i, b->tokens + i, STRIDE * sizeof *a->tokens) == 0)
        i += STRIDE;
    while (i < n && a->tokens[i] == b->tokens[i])
        i++;
    return i;
}

static int compare(const samba__prefix_key *a, const samba__prefix_key *b)
{
    if (a->kv_dtype != b->kv_dtype)
        return a->kv_dtype < b->kv_dtype ? -1 : 1;
    size_t i = common(a, b);
    if (i < a->n && i < b->n)
        return a->tokens[i] < b->tokens[i] ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

/* How many entries do not come after the key. */
static size_t n_up_to(const samba__prefix_index *index, const samba__prefix_key *key)
{
    size_t low = 0, high = index->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const samba__prefix_key other = key_of(index->entries[middle]);
        if (compare(&other, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void samba__prefix_index_find(const samba__prefix_index *index, const samba__prefix_key *key,
                              bool needs_logits, samba__prefix_match *match)
{
    samba__prefix_key k = *key;
    size_t i = n_up_to(index, &k);
    *match = (samba__prefix_match){0};
    if (i < index->n) {
        const samba__prefix_key after = key_of(index->entries[i]);
        match->matched = common(&after, &k);
    }
    /* All prefixes of the key come before it. If the nearest before it is none, then they are no
     * longer than what it shares with the key: go on from there. */
    while (k.n && i) {
        samba__prefix_entry *e = index->entries[i - 1];
        const samba__prefix_key before = key_of(e);
        size_t shared = common(&before, &k);
        match->matched = shared > match->matched ? shared : match->matched;
        bool whole = shared == key->n && shared == before.n;
        if (shared && shared == before.n && (!whole || !needs_logits || e->image->logits)) {
            match->entry = e;
            return;
        }
        match->lacks_logits |= whole;
        k.n = whole ? shared - 1 : shared;
        i = n_up_to(index, &k);
    }
}

/* ---------------------------------------------------------------- use */

static void unlink_use(samba__prefix_index *index, samba__prefix_entry *e)
{
    *(e->older ? &e->older->newer : &index->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &index->newest) = e->older;
    e->older = e->newer = NULL;
}

static void link_newest(samba__prefix_index *index, samba__prefix_entry *e)
{
    e->older = index->newest;
    *(e->older ? &e->older->newer : &index->oldest) = e;
    index->newest = e;
}

void samba__prefix_index_touch(samba__prefix_index *index, samba__prefix_entry *entry)
{
    unlink_use(index, entry);
    link_newest(index, entry);
}

/* ---------------------------------------------------------------- in and out */

void samba__prefix_index_init(samba__prefix_index *index, const samba_allocator *a,
                              uint64_t max_bytes)
{
    *index = (samba__prefix_index){.alloc = a, .max_bytes = max_bytes};
    samba__tally_init(&index->tally, a);
}

void samba__prefix_index_free(samba__prefix_index *index)
{
    samba__prefix_entries_free(samba__prefix_index_clear(index));
    samba__free(index->alloc, index->entries);
    samba__tally_free(&index->tally);
    *index = (samba__prefix_index){0};
}

static void take_out(samba__prefix_index *index, samba__prefix_entry *e)
{
    const samba__prefix_key key = key_of(e);
    size_t i = n_up_to(index, &key) - 1;
    SAMBA__INVARIANT(index->entries[i] == e);
    memmove(index->entries + i, index->entries + i + 1,
            (index->n - i - 1) * sizeof(samba__prefix_entry *));
    index->n--;
    unlink_use(index, e);
    count(index, e->image, false);
}

static bool reserve(samba__prefix_index *index, const samba__image *image)
{
    void *p = index->entries;
    if (!samba__grow(index->alloc, &p, &index->capacity, index->n + 1,
                     sizeof(samba__prefix_entry *)))
        return false;
    index->entries = p;
    return samba__tally_reserve(&index->tally, n_objects(image));
}

static void insert_at(samba__prefix_index *index, size_t i, samba__prefix_entry *e)
{
    memmove(index->entries + i + 1, index->entries + i,
            (index->n - i) * sizeof(samba__prefix_entry *));
    index->entries[i] = e;
    index->n++;
    link_newest(index, e);
    count(index, e->image, true);
}

/* There is one of the same tokens: the better image of both stays, the other is the new entry's. */
static void keep_better(samba__prefix_index *index, samba__prefix_entry *old,
                        samba__prefix_entry *e)
{
    samba__image *image = old->image;
    samba__prefix_index_touch(index, old);
    if (image->logits || !e->image->logits)
        return;
    count(index, image, false);
    count(index, e->image, true);
    old->image = e->image;
    e->image = image;
}

static void trim(samba__prefix_index *index, samba__prefix_entry **out)
{
    while (index->bytes > index->max_bytes && index->oldest) {
        samba__prefix_entry *e = index->oldest;
        take_out(index, e);
        e->newer = *out;
        *out = e;
    }
}

samba__prefix_put samba__prefix_index_put(samba__prefix_index *index, samba__prefix_entry *entry,
                                          samba__prefix_entry **spare, samba__prefix_entry **out)
{
    const samba__prefix_key key = key_of(entry);
    *spare = entry;
    if (samba__prefix_image_bytes(entry->image) > index->max_bytes)
        return SAMBA__PREFIX_TOO_BIG;
    if (!reserve(index, entry->image))
        return SAMBA__PREFIX_NO_MEMORY;
    size_t i = n_up_to(index, &key);
    const samba__prefix_key before = i ? key_of(index->entries[i - 1]) : (samba__prefix_key){0};
    bool known = i && compare(&before, &key) == 0;
    if (known) {
        keep_better(index, index->entries[i - 1], entry);
    } else {
        insert_at(index, i, entry);
        *spare = NULL;
    }
    trim(index, out);
    return known ? SAMBA__PREFIX_KNOWN : SAMBA__PREFIX_ADDED;
}

samba__prefix_entry *samba__prefix_index_clear(samba__prefix_index *index)
{
    samba__prefix_entry *list = index->oldest;
    for (samba__prefix_entry *e = list; e; e = e->newer)
        count(index, e->image, false);
    index->n = 0;
    index->oldest = index->newest = NULL;
    return list;
}
