/*
 * What of a stream can be delivered: a token waits while its text might belong to a stop string.
 * Tokens are never split over events; when a string is complete, the token in which it begins is
 * cut there, and dropped if nothing is left of it.
 */
#include "run/stream.h"

#include <string.h>

void samba__stream_entry_free(samba__stream_entry *entry)
{
    if (!entry)
        return;
    samba__image_release(entry->image);
    samba__free(entry->alloc, entry->text);
    samba__free(entry->alloc, entry);
}

void samba__stream_queue_push(samba__stream_queue *queue, samba__stream_entry *entry)
{
    entry->next = NULL;
    if (queue->last)
        queue->last->next = entry;
    else
        queue->first = entry;
    queue->last = entry;
    queue->n++;
}

samba__stream_entry *samba__stream_queue_pop(samba__stream_queue *queue)
{
    samba__stream_entry *entry = queue->first;
    if (!entry)
        return NULL;
    queue->first = entry->next;
    if (!queue->first)
        queue->last = NULL;
    queue->n--;
    return entry;
}

void samba__stream_queue_clear(samba__stream_queue *queue)
{
    samba__stream_entry *entry;
    while ((entry = samba__stream_queue_pop(queue)))
        samba__stream_entry_free(entry);
}

/* The whole characters that the entry's token completes. */
static samba_status add_text(samba_stream *st, samba__stream_entry *e, samba_error **error)
{
    const samba__tokenizer *t = st->model->tokenizer;
    bool special = t && samba__tokenizer_is_special(t, e->token);
    samba__text piece = {.data = ""};
    if (t && !(special && st->skip_special))
        samba__tokenizer_piece(t, e->token, st->at.begins_text, &piece);
    void *text = e->text;
    if (!samba__grow(st->alloc, &text, &e->text_capacity, piece.size + sizeof st->at.hold.bytes, 1))
        return samba__fail_oom(error);
    e->text = text;
    e->text_size = samba__utf8_push(&st->at.hold, piece.data, piece.size, e->text);
    if (t && !special)
        st->at.begins_text = false;
    st->at.n_tokens++;
    e->place = st->at;
    e->text_begin = st->text_bytes;
    st->text_bytes += e->text_size;
    e->text_end = st->text_bytes;
    return SAMBA_OK;
}

/* Moves entries whose text ends at or before `settled` on. */
static void release(samba__stream_queue *held, uint64_t settled, samba__stream_queue *out)
{
    while (held->first && held->first->text_end <= settled)
        samba__stream_queue_push(out, samba__stream_queue_pop(held));
}

/* The text ends at `at`, where a stop string begins. */
static void cut(samba_stream *st, uint64_t at, samba__stream_queue *out)
{
    release(&st->held, at, out);
    samba__stream_entry *e = st->held.first;
    if (e && e->text_begin < at) {
        e->text_size = (size_t)(at - e->text_begin);
        e->text_end = at;
        e->place.hold.n = 0;
        release(&st->held, at, out);
    }
    samba__stream_queue_clear(&st->held);
}

samba_status samba__stream_settle(samba_stream *st, samba__stream_entry *e,
                                  samba__stream_queue *out, int32_t *stop_string,
                                  samba_error **error)
{
    size_t end = 0;
    *stop_string = -1;
    SAMBA__TRY(add_text(st, e, error));
    samba__stream_queue_push(&st->held, e);
    int32_t found = samba__stop_strings_push(&st->stops, e->text, e->text_size, &end);
    if (found < 0) {
        release(&st->held, st->text_bytes - samba__stop_strings_held(&st->stops), out);
        return SAMBA_OK;
    }
    *stop_string = found;
    cut(st, e->text_begin + end - st->stops.items[found].size, out);
    return SAMBA_OK;
}
