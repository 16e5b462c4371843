/*
 * Added tokens: found in the text before anything else looks at it. At every position the longest
 * one counts, then the search goes on behind it, also when it is turned down (not a whole word, or
 * special and not asked for): a shorter one inside is not tried. Whitespace taken by lstrip and
 * rstrip does not move the search.
 */
#include "token/impl.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const samba__added *x = a, *y = b;
    size_t n = x->content.size < y->content.size ? x->content.size : y->content.size;
    int c = memcmp(x->content.data, y->content.data, n);
    if (c)
        return c;
    if (x->content.size != y->content.size)
        return x->content.size < y->content.size ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static bool same_content(const samba__added *a, const samba__added *b)
{
    return a->content.size == b->content.size &&
           memcmp(a->content.data, b->content.data, a->content.size) == 0;
}

void samba__added_prepare(samba__added_set *set)
{
    size_t n = 0;
    if (set->n)
        qsort(set->items, set->n, sizeof *set->items, compare);
    for (size_t i = 0; i < set->n; i++)
        if (n == 0 || !same_content(&set->items[n - 1], &set->items[i]))
            set->items[n++] = set->items[i];
    set->n = n;
    size_t at = 0;
    for (uint32_t b = 0; b < 257; b++) {
        while (at < n && (unsigned char)set->items[at].content.data[0] < b)
            at++;
        set->first[b] = (uint32_t)at;
    }
}

/* The first item of [lo, hi) whose byte at `depth` is at least c. */
static size_t lower_bound(const samba__added_set *set, size_t lo, size_t hi, size_t depth, int c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)set->items[mid].content.data[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest item that stands at text[at], or NULL. */
static const samba__added *longest_at(const samba__added_set *set, samba__text text, size_t at)
{
    const unsigned char *s = (const unsigned char *)text.data + at;
    size_t lo = set->first[s[0]], hi = set->first[s[0] + 1], left = text.size - at;
    const samba__added *best = NULL;
    for (size_t depth = 1; lo < hi; depth++) {
        if (set->items[lo].content.size == depth)
            best = &set->items[lo++];
        if (depth == left)
            break;
        lo = lower_bound(set, lo, hi, depth, s[depth]);
        hi = lower_bound(set, lo, hi, depth, s[depth] + 1);
    }
    return best;
}

/* The character that ends at text[end]; false if there is none. */
static bool char_before(samba__text text, size_t end, uint32_t *cp, size_t *begin)
{
    for (size_t n = 1; n <= 4 && n <= end; n++) {
        if (samba__utf8_decode(text.data + end - n, n, cp) == n) {
            *begin = end - n;
            return true;
        }
    }
    return false;
}

static bool is_whole_word(samba__text text, size_t begin, size_t end)
{
    uint32_t cp;
    size_t at;
    if (char_before(text, begin, &cp, &at) && samba__is_word(cp))
        return false;
    return samba__utf8_decode(text.data + end, text.size - end, &cp) == 0 || !samba__is_word(cp);
}

/* Not before `stop`. */
static size_t spaces_before(samba__text text, size_t end, size_t stop)
{
    uint32_t cp;
    size_t at;
    while (end > stop && char_before(text, end, &cp, &at) && samba__is_space(cp))
        end = at;
    return end < stop ? stop : end;
}

typedef struct splitter {
    samba__work *w;
    const samba__piece *piece;
    size_t done;         /* in the piece's text */
    size_t run, run_end; /* whitespace seen last: asked again by every token inside it */
} splitter;

static size_t spaces_after(splitter *s, samba__text text, size_t at)
{
    uint32_t cp;
    size_t n;
    if (at >= s->run && at < s->run_end)
        return s->run_end;
    s->run = at;
    while ((n = samba__utf8_decode(text.data + at, text.size - at, &cp)) && samba__is_space(cp))
        at += n;
    s->run_end = at;
    return at;
}

static bool add(splitter *s, size_t begin, size_t end, samba_token token)
{
    uint32_t flags = begin == 0 ? s->piece->flags : 0;
    return samba__pieces_add(&s->w->next, s->w->alloc,
                             (samba__piece){s->piece->begin + begin, s->piece->begin + end, token,
                                            token < 0 ? flags : 0});
}

static bool split_piece(const samba__added_set *set, bool parse_special, splitter *s)
{
    samba__text text = samba__piece_text(s->w, s->piece);
    size_t at = 0;
    while (at < text.size) {
        unsigned char b = (unsigned char)text.data[at];
        const samba__added *found =
            set->first[b] == set->first[b + 1] ? NULL : longest_at(set, text, at);
        if (!found) {
            at++;
            continue;
        }
        size_t begin = at, end = at + found->content.size;
        at = end;
        if (found->special && !parse_special)
            continue;
        if (found->single_word && !is_whole_word(text, begin, end))
            continue;
        if (found->lstrip)
            begin = spaces_before(text, begin, s->done);
        if (found->rstrip)
            end = spaces_after(s, text, end);
        if (s->done < begin && !add(s, s->done, begin, -1))
            return false;
        if (!add(s, begin, end, found->id))
            return false;
        s->done = end;
    }
    return s->done >= text.size || add(s, s->done, text.size, -1);
}

samba_status samba__added_split(const samba__added_set *set, bool parse_special, samba__work *w,
                                samba_error **error)
{
    if (set->n == 0)
        return SAMBA_OK;
    w->next.n = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        samba__piece piece = w->pieces.at[i];
        splitter s = {.w = w, .piece = &piece};
        bool whole = piece.token >= 0 || piece.flags & SAMBA__PIECE_RAW;
        if (!(whole ? samba__pieces_add(&w->next, w->alloc, piece)
                    : split_piece(set, parse_special, &s)))
            return samba__fail_oom(error);
    }
    samba__pieces swap = w->pieces;
    w->pieces = w->next;
    w->next = swap;
    return SAMBA_OK;
}
