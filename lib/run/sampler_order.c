/*
 * Ordered selection among candidates with binary heaps: linear to set up, logarithmic per candidate
 * taken, without a bad case that chosen logits could provoke. Orders are total (ids differ), so the
 * outcome does not depend on how the array was arranged before.
 */
#include "run/sampler_chain.h"

static bool better(samba_candidate a, samba_candidate b)
{
    return a.logit > b.logit || (a.logit >= b.logit && a.token < b.token);
}

/* Strictly before in the order. */
static bool before(const samba__order *order, samba_candidate a, samba_candidate b)
{
    if (order->typical) {
        double x = samba__order_position(order, a), y = samba__order_position(order, b);
        if (x < y || x > y)
            return x < y;
    }
    return better(a, b);
}

/* Sinks c[at] until no child comes before it; `flip` makes it a heap of the last instead. */
static void sift(const samba__order *order, samba_candidate *c, size_t n, size_t at, bool flip)
{
    samba_candidate moved = c[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(order, c[child + 1], c[child]) != flip)
            child++;
        if (flip ? !before(order, moved, c[child]) : !before(order, c[child], moved))
            break;
        c[at] = c[child];
    }
    c[at] = moved;
}

static void heap(const samba__order *order, samba_candidate *c, size_t n, bool flip)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(order, c, n, i, flip);
}

void samba__order_heap(const samba__order *order, samba_candidate *c, size_t n)
{
    heap(order, c, n, false);
}

samba_candidate samba__order_pop(const samba__order *order, samba_candidate *c, size_t n)
{
    samba_candidate first = c[0];
    c[0] = c[n - 1];
    c[n - 1] = first;
    sift(order, c, n - 1, 0, false);
    return first;
}

void samba__order_select(const samba__order *order, samba_candidate *c, size_t n, size_t m)
{
    if (m == 0 || m >= n)
        return;
    /* c[0..m) holds the first so far, the last of them on top. */
    heap(order, c, m, true);
    for (size_t i = m; i < n; i++) {
        if (!before(order, c[i], c[0]))
            continue;
        samba_candidate out = c[0];
        c[0] = c[i];
        c[i] = out;
        sift(order, c, m, 0, true);
    }
}
