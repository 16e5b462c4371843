/*
 * Splitting pieces: by regex, literal or character class with the five behaviours of Hugging Face's
 * pre-tokenizers, and the maps that byte-level and metaspace tokenizers put between. A piece of
 * invalid UTF-8 goes through every splitter whole.
 */
#include "token/impl.h"

#include <string.h>

static bool add_span(samba__work *w, size_t begin, size_t end, bool match)
{
    void *p = w->spans;
    if (!samba__grow(w->alloc, &p, &w->spans_capacity, w->n_spans + 1, sizeof *w->spans))
        return false;
    w->spans = p;
    w->spans[w->n_spans++] = (samba__span){begin, end, match};
    return true;
}

/* What lies between *done and the match, then the match. */
static bool add_match(samba__work *w, size_t *done, size_t begin, size_t end)
{
    bool ok = (*done == begin || add_span(w, *done, begin, false)) && add_span(w, begin, end, true);
    *done = end;
    return ok;
}

/* Empty matches count, but not directly behind another match. */
static samba_status regex_spans(const samba__step *step, samba__text text, samba__work *w,
                                size_t *done, samba_error **error)
{
    size_t from = 0, last_end = SIZE_MAX;
    samba__match m;
    SAMBA__TRY(samba__work_searcher(w, error));
    while (from <= text.size) {
        uint32_t cp;
        SAMBA__TRY(samba__regex_find(step->regex, w->searcher, text, from, &m, error));
        if (!m.found)
            break;
        if (m.begin == m.end && m.begin == last_end) {
            size_t n = samba__utf8_decode(text.data + from, text.size - from, &cp);
            from += n ? n : 1;
            continue;
        }
        from = last_end = m.end;
        if (!add_match(w, done, m.begin, m.end))
            return samba__fail_oom(error);
    }
    return SAMBA_OK;
}

static bool literal_spans(const samba__step *step, samba__text text, samba__work *w, size_t *done)
{
    while (*done < text.size) {
        const char *at =
            memmem(text.data + *done, text.size - *done, step->pattern.data, step->pattern.size);
        if (!at)
            break;
        size_t begin = (size_t)(at - text.data);
        if (!add_match(w, done, begin, begin + step->pattern.size))
            return false;
    }
    return true;
}

static bool class_spans(const samba__step *step, samba__text text, samba__work *w, size_t *done)
{
    bool (*is)(uint32_t) = step->kind == SAMBA__SPLIT_DIGITS        ? samba__is_numeric
                           : step->kind == SAMBA__SPLIT_PUNCTUATION ? samba__is_punctuation
                                                                    : samba__is_space;
    for (size_t i = 0, n; i < text.size; i += n) {
        uint32_t cp;
        n = samba__utf8_decode(text.data + i, text.size - i, &cp);
        if (is(cp) && !add_match(w, done, i, i + n))
            return false;
    }
    return true;
}

samba_status samba__find_spans(const samba__step *step, samba__text text, samba__work *w,
                               samba_error **error)
{
    size_t done = 0;
    bool ok = true;
    w->n_spans = 0;
    if (step->regex)
        SAMBA__TRY(regex_spans(step, text, w, &done, error));
    else if (step->pattern.size)
        ok = literal_spans(step, text, w, &done);
    else
        ok = class_spans(step, text, w, &done);
    if (!ok || (done != text.size && !add_span(w, done, text.size, false)))
        return samba__fail_oom(error);
    for (size_t i = 0; step->invert && i < w->n_spans; i++)
        w->spans[i].match = !w->spans[i].match;
    return SAMBA_OK;
}

/* Joins spans that belong together; afterwards `match` means: leave out. */
static void merge_forward(samba__work *w, samba__behavior behavior)
{
    bool previous = false;
    size_t n = 0;
    for (size_t i = 0; i < w->n_spans; i++) {
        samba__span s = w->spans[i];
        bool join = behavior == SAMBA__CONTIGUOUS ? s.match == previous : s.match && !previous;
        previous = s.match;
        if (join && n)
            w->spans[n - 1].end = s.end;
        else
            w->spans[n++] = (samba__span){s.begin, s.end, false};
    }
    w->n_spans = n;
}

static void merge_with_next(samba__work *w)
{
    bool previous = false;
    size_t n = w->n_spans, to = n;
    for (size_t i = n; i-- > 0;) {
        samba__span s = w->spans[i];
        bool join = s.match && !previous;
        previous = s.match;
        if (join && to < n)
            w->spans[to].begin = s.begin;
        else
            w->spans[--to] = (samba__span){s.begin, s.end, false};
    }
    w->n_spans = n - to;
    memmove(w->spans, w->spans + to, w->n_spans * sizeof *w->spans);
}

static void apply_behavior(samba__work *w, samba__behavior behavior)
{
    if (behavior == SAMBA__MERGED_WITH_NEXT)
        merge_with_next(w);
    else if (behavior == SAMBA__CONTIGUOUS || behavior == SAMBA__MERGED_WITH_PREVIOUS)
        merge_forward(w, behavior);
    else
        for (size_t i = 0; behavior == SAMBA__ISOLATED && i < w->n_spans; i++)
            w->spans[i].match = false;
}

static samba_status split_piece(const samba__step *step, samba__work *w, const samba__piece *piece,
                                samba_error **error)
{
    SAMBA__TRY(samba__find_spans(step, samba__piece_text(w, piece), w, error));
    apply_behavior(w, step->behavior);
    for (size_t i = 0; i < w->n_spans; i++) {
        const samba__span *s = &w->spans[i];
        if (s->match || s->begin == s->end)
            continue;
        samba__piece part = {piece->begin + s->begin, piece->begin + s->end, -1,
                             s->begin ? 0 : piece->flags};
        if (!samba__pieces_add(&w->next, w->alloc, part))
            return samba__fail_oom(error);
    }
    return SAMBA_OK;
}

static samba_status split(const samba__step *step, samba__work *w, samba_error **error)
{
    w->next.n = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        const samba__piece *p = &w->pieces.at[i];
        if (p->token < 0 && !(p->flags & SAMBA__PIECE_RAW))
            SAMBA__TRY(split_piece(step, w, p, error));
        else if (!samba__pieces_add(&w->next, w->alloc, *p))
            return samba__fail_oom(error);
    }
    samba__pieces swap = w->pieces;
    w->pieces = w->next;
    w->next = swap;
    return SAMBA_OK;
}

static bool map_bytes(samba__buffer *to, const samba_allocator *a, samba__text text)
{
    size_t need;
    void *p = to->data;
    if (!samba__mul_size(text.size, 2, &need) || !samba__add_size(need, to->n, &need) ||
        !samba__grow(a, &p, &to->capacity, need, 1))
        return false;
    to->data = p;
    for (size_t i = 0; i < text.size; i++)
        to->n += samba__utf8_encode(samba__byte_char((uint8_t)text.data[i]), to->data + to->n);
    return true;
}

static bool map_spaces(const samba__step *step, samba__buffer *to, const samba_allocator *a,
                       samba__text text)
{
    for (size_t i = 0, end; i < text.size; i = end + 1) {
        const char *space = memchr(text.data + i, ' ', text.size - i);
        end = space ? (size_t)(space - text.data) : text.size;
        if (!samba__buffer_add(to, a, text.data + i, end - i) ||
            (space && !samba__buffer_add(to, a, step->content.data, step->content.size)))
            return false;
    }
    return true;
}

static bool begins_with(samba__text text, samba__text start)
{
    return text.size >= start.size && memcmp(text.data, start.data, start.size) == 0;
}

static bool map_prefix(const samba__step *step, samba__buffer *to, const samba_allocator *a,
                       const samba__piece *piece, samba__text text)
{
    bool wanted = !(piece->flags & SAMBA__PIECE_JOINED) &&
                  (!step->first_only || piece->flags & SAMBA__PIECE_FIRST) &&
                  !begins_with(text, step->content);
    return (!wanted || samba__buffer_add(to, a, step->content.data, step->content.size)) &&
           samba__buffer_add(to, a, text.data, text.size);
}

/* One piece through a map, appended to *to. */
static bool map_piece(const samba__step *step, samba__work *w, samba__piece *p, samba__buffer *to)
{
    samba__text text = samba__piece_text(w, p);
    if (p->token >= 0)
        return true;
    if (step->kind == SAMBA__MAP_BYTES) {
        p->flags &= ~(uint32_t)SAMBA__PIECE_RAW; /* it is text now */
        return map_bytes(to, w->alloc, text);
    }
    if (p->flags & SAMBA__PIECE_RAW)
        return samba__buffer_add(to, w->alloc, text.data, text.size);
    return step->kind == SAMBA__MAP_SPACES ? map_spaces(step, to, w->alloc, text)
                                           : map_prefix(step, to, w->alloc, p, text);
}

static samba_status map(const samba__step *step, samba__work *w, samba_error **error)
{
    samba__buffer *to = &w->buffers[w->current ^ 1];
    to->n = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        samba__piece *p = &w->pieces.at[i];
        size_t begin = to->n;
        if (!map_piece(step, w, p, to))
            return samba__fail_oom(error);
        SAMBA__TRY(samba__work_check(w, to->n, error));
        p->begin = begin;
        p->end = to->n;
    }
    w->text = (samba__text){to->data, to->n};
    w->current ^= 1;
    return SAMBA_OK;
}

samba_status samba__split_pieces(const samba__steps *steps, samba__work *w, samba_error **error)
{
    for (size_t i = 0; i < steps->n; i++) {
        const samba__step *step = &steps->at[i];
        bool maps = step->kind == SAMBA__MAP_BYTES || step->kind == SAMBA__MAP_SPACES ||
                    step->kind == SAMBA__MAP_PREFIX;
        SAMBA__TRY(maps ? map(step, w, error) : split(step, w, error));
    }
    return SAMBA_OK;
}

samba_status samba__cut_invalid(samba__work *w, samba_error **error)
{
    w->next.n = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        samba__piece p = w->pieces.at[i], part = p;
        while (part.begin < p.end || p.token >= 0) {
            const char *s = w->text.data + part.begin;
            size_t left = p.end - part.begin,
                   n = p.token >= 0 ? left : samba__utf8_valid_run(s, left);
            bool raw = p.token < 0 && n == 0;
            part.end = part.begin + (raw ? samba__utf8_invalid_run(s, left) : n);
            part.flags = (part.begin == p.begin ? p.flags : SAMBA__PIECE_JOINED) |
                         (raw ? SAMBA__PIECE_RAW : 0);
            if (!samba__pieces_add(&w->next, w->alloc, part))
                return samba__fail_oom(error);
            if (p.token >= 0)
                break;
            part.begin = part.end;
        }
    }
    samba__pieces swap = w->pieces;
    w->pieces = w->next;
    w->next = swap;
    return SAMBA_OK;
}
