/*
 * Normalisers: Unicode forms, lower case, stripping, prepending, replacing. They see valid UTF-8
 * only. The canonical ordering is done here, not by utf8proc_decompose, whose sort is quadratic in
 * the number of combining marks in a row.
 */
#include "token/impl.h"

#include <string.h>
#include <utf8proc.h>

/* Far more than one character decomposes to. */
enum {
    DECOMPOSED_MAX = 64,
    INSERTION_MAX = 24
};

static bool cps_reserve(samba__work *w, size_t n)
{
    void *p = w->cps;
    if (!samba__grow(w->alloc, &p, &w->cps_capacity, n, sizeof *w->cps))
        return false;
    w->cps = p;
    return true;
}

static unsigned combining_class(int32_t cp)
{
    return (unsigned)utf8proc_get_property(cp)->combining_class;
}

static bool decompose(samba__work *w, const char *s, size_t size, bool compat)
{
    const utf8proc_option_t options =
        UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    uint32_t cp;
    w->n_cps = 0;
    for (size_t i = 0; i < size;) {
        i += samba__utf8_decode(s + i, size - i, &cp);
        if (!cps_reserve(w, w->n_cps + DECOMPOSED_MAX))
            return false;
        int boundary = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, w->cps + w->n_cps,
                                                     DECOMPOSED_MAX, options, &boundary);
        if (n < 0 || n > DECOMPOSED_MAX) { /* does not happen */
            w->cps[w->n_cps] = (int32_t)cp;
            n = 1;
        }
        w->n_cps += (size_t)n;
    }
    return true;
}

static void insertion_sort(int32_t *cps, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int32_t cp = cps[i];
        unsigned ccc = combining_class(cp);
        size_t k = i;
        for (; k > 0 && combining_class(cps[k - 1]) > ccc; k--)
            cps[k] = cps[k - 1];
        cps[k] = cp;
    }
}

static void counting_sort(int32_t *cps, size_t n, int32_t *spare)
{
    size_t starts[257] = {0};
    for (size_t i = 0; i < n; i++)
        starts[combining_class(cps[i]) + 1]++;
    for (size_t c = 0; c < 256; c++)
        starts[c + 1] += starts[c];
    for (size_t i = 0; i < n; i++)
        spare[starts[combining_class(cps[i])]++] = cps[i];
    memcpy(cps, spare, n * sizeof *cps);
}

/* Canonical ordering: combining marks in a row, stably by class. */
static bool reorder(samba__work *w)
{
    for (size_t i = 0; i < w->n_cps;) {
        size_t end = i;
        while (end < w->n_cps && combining_class(w->cps[end]) != 0)
            end++;
        if (end - i > INSERTION_MAX) {
            if (!cps_reserve(w, w->n_cps + (end - i)))
                return false;
            counting_sort(w->cps + i, end - i, w->cps + w->n_cps);
        } else {
            insertion_sort(w->cps + i, end - i);
        }
        i = end + 1;
    }
    return true;
}

static bool unicode_segment(const samba__step *step, samba__work *w, const char *s, size_t size,
                            samba__buffer *out)
{
    if (!decompose(w, s, size, step->compat) || !reorder(w))
        return false;
    if (step->compose && w->n_cps)
        w->n_cps = (size_t)utf8proc_normalize_utf32(w->cps, (utf8proc_ssize_t)w->n_cps,
                                                    UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (size_t i = 0; i < w->n_cps; i++) {
        char bytes[4];
        size_t n = samba__utf8_encode((uint32_t)w->cps[i], bytes);
        if (!samba__buffer_add(out, w->alloc, bytes, n))
            return false;
    }
    return true;
}

static size_t ascii_run(const char *s, size_t at, size_t size, bool ascii)
{
    while (at < size && ((unsigned char)s[at] < 0x80) == ascii)
        at++;
    return at;
}

/* ASCII stays as it is, but for the character that following marks combine with. */
static bool unicode(const samba__step *step, samba__work *w, samba__text in, samba__buffer *out)
{
    for (size_t i = 0; i < in.size;) {
        size_t from = ascii_run(in.data, i, in.size, true);
        size_t to = ascii_run(in.data, from, in.size, false);
        if (from > i && to > from)
            from--;
        if (!samba__buffer_add(out, w->alloc, in.data + i, from - i) ||
            !unicode_segment(step, w, in.data + from, to - from, out))
            return false;
        i = to;
    }
    return true;
}

static bool lowercase(samba__work *w, samba__text in, samba__buffer *out)
{
    for (size_t i = 0; i < in.size;) {
        uint32_t cp;
        char bytes[8];
        i += samba__utf8_decode(in.data + i, in.size - i, &cp);
        size_t n = samba__utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), bytes);
        if (cp == 0x130) { /* the one character whose lower case is two */
            memcpy(bytes, "i\xcc\x87", 3);
            n = 3;
        }
        if (!samba__buffer_add(out, w->alloc, bytes, n))
            return false;
    }
    return true;
}

static samba__text strip(const samba__step *step, samba__text in, uint32_t *flags)
{
    uint32_t cp;
    size_t n, end = in.size, begin = 0;
    while (step->left && begin < end &&
           (n = samba__utf8_decode(in.data + begin, end - begin, &cp)) && samba__is_space(cp))
        begin += n;
    if (begin)
        *flags &= ~(uint32_t)SAMBA__PIECE_FIRST;
    while (step->right && end > begin) {
        n = 1;
        while (((unsigned char)in.data[end - n] & 0xc0) == 0x80)
            n++;
        samba__utf8_decode(in.data + end - n, n, &cp);
        if (!samba__is_space(cp))
            break;
        end -= n;
    }
    return (samba__text){in.data + begin, end - begin};
}

static samba_status replace(const samba__step *step, samba__work *w, samba__text in,
                            samba__buffer *out, samba_error **error)
{
    SAMBA__TRY(samba__find_spans(step, in, w, error));
    for (size_t i = 0; i < w->n_spans; i++) {
        const samba__span *s = &w->spans[i];
        bool ok = s->match
                      ? samba__buffer_add(out, w->alloc, step->content.data, step->content.size)
                      : samba__buffer_add(out, w->alloc, in.data + s->begin, s->end - s->begin);
        if (!ok)
            return samba__fail_oom(error);
        SAMBA__TRY(samba__work_check(w, out->n, error));
    }
    return SAMBA_OK;
}

/* One step; the result is `in` or a part of it, or lies in *out. */
static samba_status apply(const samba__step *step, samba__work *w, samba__text *in, uint32_t *flags,
                          samba__buffer *out, samba_error **error)
{
    bool ok = true;
    out->n = 0;
    switch (step->kind) {
    case SAMBA__NORMALIZE_STRIP:
        *in = strip(step, *in, flags);
        return SAMBA_OK;
    case SAMBA__NORMALIZE_PREPEND:
        if (in->size == 0 || *flags & SAMBA__PIECE_JOINED)
            return SAMBA_OK;
        ok = samba__buffer_add(out, w->alloc, step->content.data, step->content.size) &&
             samba__buffer_add(out, w->alloc, in->data, in->size);
        break;
    case SAMBA__NORMALIZE_REPLACE:
        SAMBA__TRY(replace(step, w, *in, out, error));
        break;
    case SAMBA__NORMALIZE_LOWERCASE:
        ok = lowercase(w, *in, out);
        break;
    default:
        ok = unicode(step, w, *in, out);
    }
    *in = (samba__text){out->data, out->n};
    return ok ? samba__work_check(w, out->n, error) : samba__fail_oom(error);
}

samba_status samba__normalize(const samba__steps *steps, samba__work *w, samba__text text,
                              uint32_t *flags, samba__text *out, samba_error **error)
{
    for (size_t i = 0; i < steps->n; i++)
        SAMBA__TRY(apply(&steps->at[i], w, &text, flags, &w->scratch[i & 1], error));
    *out = text;
    return SAMBA_OK;
}

samba_status samba__normalize_pieces(const samba__steps *steps, samba__work *w, samba_error **error)
{
    samba__buffer *to = &w->buffers[w->current ^ 1];
    if (steps->n == 0)
        return SAMBA_OK;
    to->n = 0;
    for (size_t i = 0; i < w->pieces.n; i++) {
        samba__piece *p = &w->pieces.at[i];
        samba__text text = samba__piece_text(w, p);
        if (p->token < 0 && !(p->flags & SAMBA__PIECE_RAW))
            SAMBA__TRY(samba__normalize(steps, w, text, &p->flags, &text, error));
        p->begin = to->n;
        if (!samba__buffer_add(to, w->alloc, text.data, text.size))
            return samba__fail_oom(error);
        p->end = to->n;
    }
    w->text = (samba__text){to->data, to->n};
    w->current ^= 1;
    return SAMBA_OK;
}
