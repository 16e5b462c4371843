/*
 * Byte pair encoding: repeatedly joins the neighbouring symbols whose merge has the lowest rank,
 * the leftmost first. Short words scan for it; long ones keep a heap, so that one word of a million
 * characters costs n log n. Before that a word is cut where no merge can ever reach across, which
 * for sentencepiece vocabularies turns a whole text into words.
 */
#include "token/impl.h"

#include <string.h>

enum {
    SHORT_WORD = 32
};

typedef struct entry {
    uint64_t key; /* rank << 32 | position: the lower one goes first */
    samba_token id;
} entry;

typedef struct place {
    uint32_t prev, next; /* NONE at the ends */
} place;

#define NONE UINT32_MAX

typedef struct heap {
    const samba__merges *merges;
    const uint8_t *flags;
    samba_token *ids; /* -1: merged into the one before */
    place *links;
    entry *entries;
    size_t n;
} heap;

static const samba__merge *find(const samba__merges *merges, const uint8_t *flags, samba_token left,
                                samba_token right)
{
    const samba__merge *m = samba__merges_get(merges, left, right);
    return m && flags && flags[m->id] & SAMBA__TOKEN_SPECIAL ? NULL : m;
}

static void merge_short(const samba__merges *merges, const uint8_t *flags, samba__symbols *s)
{
    const samba__merge *pairs[SHORT_WORD];
    samba_token *ids = s->ids;
    for (size_t i = 0; i + 1 < s->n; i++)
        pairs[i] = find(merges, flags, ids[i], ids[i + 1]);
    while (s->n > 1) {
        const samba__merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < s->n; i++) {
            if (pairs[i] && (!best || pairs[i]->rank < best->rank)) {
                best = pairs[i];
                at = i;
            }
        }
        if (!best)
            break;
        ids[at] = best->id;
        s->n--;
        memmove(ids + at + 1, ids + at + 2, (s->n - at - 1) * sizeof *ids);
        memmove(pairs + at, pairs + at + 1, (s->n - 1 - at) * sizeof *pairs);
        if (at + 1 < s->n)
            pairs[at] = find(merges, flags, ids[at], ids[at + 1]);
        if (at > 0)
            pairs[at - 1] = find(merges, flags, ids[at - 1], ids[at]);
    }
}

static void sift_down(heap *h, size_t at)
{
    entry e = h->entries[at];
    for (;;) {
        size_t first = 4 * at + 1, best = at;
        uint64_t key = e.key;
        for (size_t c = first; c < first + 4 && c < h->n; c++) {
            if (h->entries[c].key < key) {
                key = h->entries[c].key;
                best = c;
            }
        }
        if (best == at)
            break;
        h->entries[at] = h->entries[best];
        at = best;
    }
    h->entries[at] = e;
}

static void sift_up(heap *h, size_t at)
{
    entry e = h->entries[at];
    while (at > 0 && h->entries[(at - 1) / 4].key > e.key) {
        h->entries[at] = h->entries[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    h->entries[at] = e;
}

/* The merge of the symbol at `pos` with its neighbour, if there is one. */
static bool make_entry(const heap *h, uint32_t pos, entry *e)
{
    uint32_t next = h->links[pos].next;
    const samba__merge *m =
        next == NONE ? NULL : find(h->merges, h->flags, h->ids[pos], h->ids[next]);
    if (m)
        *e = (entry){(uint64_t)m->rank << 32 | pos, m->id};
    return m != NULL;
}

static void push(heap *h, uint32_t pos)
{
    if (pos != NONE && make_entry(h, pos, &h->entries[h->n]))
        sift_up(h, h->n++);
}

static void heap_fill(heap *h, uint32_t n)
{
    h->n = 0;
    for (uint32_t i = 0; i < n; i++)
        h->links[i] = (place){i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
    for (uint32_t i = 0; i + 1 < n; i++)
        h->n += make_entry(h, i, &h->entries[h->n]);
    for (size_t i = h->n / 4 + 1; i-- > 0;)
        if (i < h->n)
            sift_down(h, i);
}

static void heap_run(heap *h)
{
    while (h->n) {
        entry top = h->entries[0], now;
        uint32_t pos = (uint32_t)top.key;
        h->entries[0] = h->entries[--h->n];
        if (h->n)
            sift_down(h, 0);
        /* Symbols may have changed since; then the new pair has an entry of its own. */
        if (h->ids[pos] < 0 || !make_entry(h, pos, &now) || now.key != top.key || now.id != top.id)
            continue;
        uint32_t right = h->links[pos].next, after = h->links[right].next;
        h->ids[pos] = top.id;
        h->ids[right] = -1;
        h->links[pos].next = after;
        if (after != NONE)
            h->links[after].prev = pos;
        push(h, h->links[pos].prev);
        push(h, pos);
    }
}

/* Every merge takes one entry and gives at most two: 2 n are enough. */
static bool merge_long(const samba__merges *merges, const uint8_t *flags, const samba_allocator *a,
                       samba__symbols *s)
{
    size_t need;
    if (!samba__mul_size(s->n, sizeof(place) + 2 * sizeof(entry), &need) ||
        !samba__grow(a, &s->scratch, &s->scratch_capacity, need, 1))
        return false;
    entry *entries = s->scratch;
    heap h = {merges, flags, s->ids, (place *)(void *)(entries + 2 * s->n), entries, 0};
    heap_fill(&h, (uint32_t)s->n);
    heap_run(&h);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->ids[i] >= 0)
            s->ids[n++] = s->ids[i];
    s->n = n;
    return true;
}

bool samba__bpe_merge(const samba__merges *merges, const uint8_t *flags, const samba_allocator *a,
                      samba__symbols *symbols)
{
    if (symbols->n > SHORT_WORD)
        return merge_long(merges, flags, a, symbols);
    merge_short(merges, flags, symbols);
    return true;
}

/* ---- from text to symbols ---- */

typedef struct encoder {
    const samba__tokenizer *t;
    samba__work *w;
    samba__token_list *out;
    const uint8_t *flags; /* NULL: special tokens may be made */
    samba_error **error;
    bool unk_pending; /* an unknown token not put out yet: more may be fused into it */
} encoder;

static bool put_symbol(encoder *e, samba_token id)
{
    samba__symbols *s = &e->w->symbols;
    void *p = s->ids;
    if (!samba__grow(e->w->alloc, &p, &s->capacity, s->n + 1, sizeof *s->ids))
        return false;
    s->ids = p;
    s->ids[s->n++] = id;
    return true;
}

static bool put_id(encoder *e, samba_token id)
{
    void *p = e->out->ids;
    if (!samba__grow(e->w->alloc, &p, &e->out->capacity, e->out->n + 1, sizeof id))
        return false;
    e->out->ids = p;
    e->out->ids[e->out->n++] = id;
    return true;
}

/* Merges what has been collected and puts it out. */
static bool flush(encoder *e)
{
    samba__symbols *s = &e->w->symbols;
    if (s->n > 1 && !samba__bpe_merge(&e->t->merges, e->flags, e->w->alloc, s))
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (!put_id(e, s->ids[i]))
            return false;
    s->n = 0;
    return true;
}

static bool flush_unknown(encoder *e)
{
    bool pending = e->unk_pending;
    e->unk_pending = false;
    return !pending || put_symbol(e, e->t->unk);
}

/*
 * A character without a token: its bytes, if all of them have one; else the unknown token, which
 * waits until the next known character; else nothing.
 */
static samba_status unknown(encoder *e, const char *s, size_t n)
{
    const samba__tokenizer *t = e->t;
    bool bytes = t->byte_fallback, ok = true;
    for (size_t i = 0; i < n; i++)
        bytes = bytes && t->byte_ids[(unsigned char)s[i]] >= 0;
    if (bytes) {
        for (size_t i = 0; i < n; i++)
            ok = ok && put_symbol(e, t->byte_ids[(unsigned char)s[i]]);
    } else if (t->unk_missing) {
        return samba__fail(t->alloc, e->error, SAMBA_ERROR_FORMAT,
                           "the text has a character that the tokenizer has no token for, and its "
                           "unknown token is not in its vocabulary");
    } else if (t->unk >= 0) {
        ok = (e->unk_pending && t->fuse_unk) || flush_unknown(e);
        e->unk_pending = true;
    }
    return ok ? SAMBA_OK : samba__fail_oom(e->error);
}

static samba_status encode_chars(encoder *e, samba__text word)
{
    const samba__tokenizer *t = e->t;
    uint32_t cp, last = 0;
    for (size_t i = 0, n; i < word.size; i += n, last = cp) {
        const char *s = word.data + i;
        n = samba__utf8_decode(s, word.size - i, &cp);
        if (i && t->splits_words && !samba__joins(&t->merges, last, cp) && !flush(e))
            return samba__fail_oom(e->error);
        samba_token id =
            cp < SAMBA__SHORT_CPS ? t->short_ids[cp] : samba__tokenizer_model_id(t, s, n);
        if (id < 0)
            SAMBA__TRY(unknown(e, s, n));
        else if (!flush_unknown(e) || !put_symbol(e, id))
            return samba__fail_oom(e->error);
    }
    return SAMBA_OK;
}

samba_status samba__bpe_encode(const samba__tokenizer *t, samba__work *w, samba__text word,
                               bool raw, bool allow_special, samba__token_list *out,
                               samba_error **error)
{
    encoder e = {t, w, out, allow_special ? NULL : t->flags, error, false};
    if (word.size >= UINT32_MAX)
        return samba__fail(t->alloc, error, SAMBA_ERROR_LIMIT, "a word of %zu bytes", word.size);
    samba_token whole = t->ignore_merges ? samba__tokenizer_model_id(t, word.data, word.size) : -1;
    w->symbols.n = 0;
    if (whole >= 0 && (allow_special || !(t->flags[whole] & SAMBA__TOKEN_SPECIAL)))
        return put_id(&e, whole) ? SAMBA_OK : samba__fail_oom(error);
    if (raw) {
        for (size_t i = 0; i < word.size; i++)
            SAMBA__TRY(unknown(&e, word.data + i, 1));
    } else {
        SAMBA__TRY(encode_chars(&e, word));
    }
    return flush_unknown(&e) && flush(&e) ? SAMBA_OK : samba__fail_oom(error);
}
