/* Everything that a sequence is at one position; see image.h. */
#include "state/image.h"

#include <string.h>

/* One row without hidden states: the output itself if it is just that, else a copy. */
static samba_status hold_row(samba__output *from, size_t row, samba__output **to,
                             samba_error **error)
{
    const size_t n_vocab = from->shape.n_vocab;
    const samba__output_shape shape = {.n_rows = 1, .n_vocab = n_vocab};
    samba__output *spare = NULL;
    if (from->shape.n_rows == 1 && !from->hidden) {
        *to = samba__output_retain(from);
        return SAMBA_OK;
    }
    SAMBA__TRY(samba__output_create(from->alloc, &shape, &spare, to, error));
    memcpy((*to)->logits, from->logits + row * n_vocab, n_vocab * sizeof(float));
    return SAMBA_OK;
}

samba_status samba__image_create(const samba__image_parts *parts, samba__image **image,
                                 samba_error **error)
{
    const samba_allocator *a = parts->layout->device->alloc;
    samba__image *m = parts->spare ? *parts->spare : NULL;
    if (m)
        *parts->spare = NULL;
    else
        m = samba__calloc(a, 1, sizeof *m);
    if (!m)
        return samba__fail_oom(error);
    samba_status status =
        parts->output ? hold_row(parts->output, parts->row, &m->logits, error) : SAMBA_OK;
    if (status != SAMBA_OK) {
        samba__free(a, m);
        return status;
    }
    samba__refs_init(&m->refs);
    m->alloc = a;
    m->layout = samba__layout_retain(parts->layout);
    m->state = samba__state_retain(parts->state);
    samba__history_init_shared(&m->history, parts->history);
    *image = m;
    return SAMBA_OK;
}

samba__image *samba__image_retain(samba__image *image)
{
    samba__refs_take(&image->refs);
    return image;
}

void samba__image_empty(samba__image *image, samba__state **state, samba__output **logits)
{
    *state = image->state;
    *logits = image->logits;
    samba__history_free(&image->history);
    samba__layout_release(image->layout);
    *image = (samba__image){.alloc = image->alloc};
}

void samba__image_release(samba__image *image)
{
    if (!image || !samba__refs_drop(&image->refs))
        return;
    samba__output_release(image->logits);
    samba__history_free(&image->history);
    samba__state_release(image->state);
    samba__layout_release(image->layout);
    samba__free(image->alloc, image);
}
