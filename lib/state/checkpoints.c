/* Images of earlier positions, their charge, and which to drop; see checkpoints.h. */
#include "state/checkpoints.h"

static uint64_t position_of(const samba__checkpoints *c, uint32_t i)
{
    return samba__image_position(c->list[i].image);
}

/* ---------------------------------------------------------------- what only one holds */

/* Who comes after a checkpoint: the next one, or the sequence. */
typedef struct successor {
    const samba__state *state;
    const samba__history *history;
    const samba__output *output;
    uint32_t n_rows; /* that it will have moved on */
} successor;

/* Pages of one slot. Both lists end where their positions do and full pages are never replaced, so
 * the ones apart are those before the successor's first, and a last one that was written on. */
static uint64_t pages_apart(const samba__image *m, uint32_t slot, const successor *next)
{
    const samba__page_list *list = &m->state->lists[slot], *other = &next->state->lists[slot];
    const samba__layout *l = m->layout;
    uint64_t first =
        samba__state_first_page(next->state, l, slot, next->state->position + next->n_rows);
    uint64_t n = first > list->first ? first - list->first : 0, last;
    if (!list->n)
        return 0;
    if (n >= list->n)
        return list->n;
    last = list->first + list->n - 1;
    bool partial = m->state->position % l->page_positions != 0;
    bool copied = next->n_rows && m->state->position == next->state->position;
    bool same = last - other->first < other->n &&
                other->cells[last - other->first] == list->cells[list->n - 1];
    return n + (partial && (copied || !same));
}

static uint64_t table_bytes(const samba__state *s)
{
    uint64_t bytes = s->n_slab_slots * sizeof *s->slabs;
    for (uint32_t i = 0; i < s->n_page_slots; i++)
        bytes += s->lists[i].capacity * sizeof *s->lists[i].cells;
    return bytes;
}

static uint64_t bytes_apart(const samba__image *m, const successor *next)
{
    const samba__state *s = m->state;
    uint64_t bytes = 0;
    if (m->logits != next->output || next->n_rows)
        bytes += samba__output_bytes(m->logits);
    if (m->history.buffer != next->history->buffer)
        bytes += samba__history_bytes(&m->history);
    if (s != next->state || next->n_rows)
        bytes += table_bytes(s);
    for (uint32_t i = 0; i < s->n_slab_slots; i++)
        if (s->slabs[i] && (next->n_rows || s->slabs[i] != next->state->slabs[i]))
            bytes += s->slabs[i]->bytes;
    for (uint32_t i = 0; i < s->n_page_slots; i++)
        bytes += pages_apart(m, i, next) * m->layout->pages[i].kind.bytes;
    return bytes;
}

/* Bytes of checkpoint i that j, which comes after it, does not hold; j == n: the sequence. */
static uint64_t charge(const samba__checkpoints *c, uint32_t i, uint32_t j, const samba__present *p)
{
    if (j == c->n)
        return bytes_apart(c->list[i].image,
                           &(successor){p->state, p->history, p->output, p->n_rows});
    const samba__image *next = c->list[j].image;
    return bytes_apart(c->list[i].image,
                       &(successor){next->state, &next->history, next->logits, 0});
}

static uint64_t charge_next(const samba__checkpoints *c, uint32_t i, const samba__present *p)
{
    return i + 1 < c->n ? c->list[i].bytes : charge(c, i, c->n, p);
}

uint64_t samba__checkpoints_bytes(const samba__checkpoints *c, const samba__present *present)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < c->n; i++)
        bytes += charge_next(c, i, present);
    return bytes;
}

/* ---------------------------------------------------------------- dropping */

static void recount(samba__checkpoints *c, uint32_t i)
{
    if (i + 1 < c->n)
        c->list[i].bytes = charge(c, i, i + 1, NULL);
}

static void drop(samba__checkpoints *c, uint32_t i)
{
    samba__image_release(c->list[i].image);
    c->n--;
    for (uint32_t k = i; k < c->n; k++)
        c->list[k] = c->list[k + 1];
    if (i)
        recount(c, i - 1);
}

/* How much worse rewinding gets without it: the gap that it leaves, in relation to how far back the
 * gap lies. Equal for all where distances from the end grow by a constant factor. */
static double harm(const samba__checkpoints *c, uint32_t i, const samba__present *p)
{
    uint64_t end = p->state->position + p->n_rows;
    uint64_t before = i ? position_of(c, i - 1) : p->state->first_position;
    uint64_t after = i + 1 < c->n ? position_of(c, i + 1) : end;
    return (double)(after - before) / (double)(end - position_of(c, i) + 1);
}

static uint64_t bytes_freed(const samba__checkpoints *c, uint32_t i, const samba__present *p)
{
    uint64_t now = charge_next(c, i, p), then = 0;
    if (i) {
        now += charge_next(c, i - 1, p);
        then = charge(c, i - 1, i + 1, p);
    }
    return now > then ? now - then : 0;
}

/* The one whose dropping harms least: for every byte that it frees, if `by_bytes`. False: all are
 * pinned. */
static bool drop_worst(samba__checkpoints *c, const samba__present *p, bool by_bytes)
{
    double least = 0;
    uint32_t worst = c->n;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->list[i].pinned)
            continue;
        double h = harm(c, i, p);
        if (by_bytes)
            h /= (double)bytes_freed(c, i, p) + 1;
        if (worst == c->n || h < least) {
            worst = i;
            least = h;
        }
    }
    if (worst == c->n)
        return false;
    drop(c, worst);
    return true;
}

void samba__checkpoints_fit(samba__checkpoints *c, const samba__present *present)
{
    while (samba__checkpoints_bytes(c, present) > c->budget && drop_worst(c, present, true))
        ;
}

void samba__checkpoints_cut(samba__checkpoints *c, uint64_t position)
{
    while (c->n && position_of(c, c->n - 1) > position)
        drop(c, c->n - 1);
}

void samba__checkpoints_clear(samba__checkpoints *c)
{
    while (c->n)
        samba__image_release(c->list[--c->n].image);
}

/* ---------------------------------------------------------------- taking */

void samba__checkpoints_share(samba__checkpoints *c, const samba__checkpoints *from)
{
    c->budget = from->budget;
    c->interval = from->interval;
    for (; c->n < from->n; c->n++) {
        c->list[c->n] = from->list[c->n];
        samba__image_retain(c->list[c->n].image);
    }
}

/* What a checkpoint costs as soon as the sequence has moved on. */
static uint64_t least_bytes(const samba__layout *layout)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layout->n_slab_slots; i++)
        bytes += layout->slabs[i].bytes;
    return bytes;
}

bool samba__checkpoints_due(const samba__checkpoints *c, const samba__present *present,
                            uint64_t position)
{
    uint64_t last = c->n ? position_of(c, c->n - 1) : present->state->first_position;
    return c->budget && position - last >= c->interval && least_bytes(present->layout) <= c->budget;
}

bool samba__checkpoints_add(samba__checkpoints *c, const samba__present *present,
                            samba__image *image, bool pinned)
{
    if (c->n && position_of(c, c->n - 1) == samba__image_position(image)) {
        pinned |= c->list[c->n - 1].pinned;
        drop(c, c->n - 1);
    }
    if (c->n == SAMBA__CHECKPOINTS_MOST && !drop_worst(c, present, false))
        return false;
    c->list[c->n++] = (samba__checkpoint_entry){.image = image, .pinned = pinned};
    if (c->n > 1)
        recount(c, c->n - 2);
    return true;
}

/* The same image with its tokens in the present buffer; NULL: not there, or no memory. */
static samba__image *with_history(const samba__image *m, const samba__present *p)
{
    uint64_t first = p->state->position - p->history->n;
    uint64_t own_first = samba__image_position(m) - m->history.n;
    samba__image *image = NULL;
    samba__history view;
    if (own_first < first)
        return NULL;
    samba__history_init_within(&view, p->history, (size_t)(own_first - first), m->history.n);
    const samba__image_parts parts = {
        .layout = m->layout, .state = m->state, .history = &view, .output = m->logits};
    samba_status status = samba__image_create(&parts, &image, NULL);
    samba__history_free(&view);
    return status == SAMBA_OK ? image : NULL;
}

void samba__checkpoints_follow(samba__checkpoints *c, const samba__present *present)
{
    if (!c->n || !present->history->buffer ||
        c->list[c->n - 1].image->history.buffer == present->history->buffer)
        return;
    for (uint32_t i = c->n; i-- > 0;) {
        samba__image *image = with_history(c->list[i].image, present);
        if (!image)
            break;
        samba__image_release(c->list[i].image);
        c->list[i].image = image;
    }
    for (uint32_t i = 0; i < c->n; i++)
        recount(c, i);
}

uint32_t samba__checkpoints_find(const samba__checkpoints *c, uint64_t position)
{
    for (uint32_t i = c->n; i-- > 0;)
        if (position_of(c, i) <= position)
            return i;
    return c->n;
}
