/* Rows that a pass gave out; see output.h. */
#include "state/output.h"

/* Larger buffers (all logits of a long input) are not worth holding on to. */
enum {
    ROWS_RECYCLED = 8
};

static bool floats_needed(const samba__output_shape *shape, size_t *floats)
{
    size_t row;
    return samba__add_size(shape->n_vocab, shape->d_hidden, &row) &&
           samba__mul_size(shape->n_rows, row, floats) && *floats <= PTRDIFF_MAX / sizeof(float);
}

static samba__output *allocate(const samba_allocator *a, size_t floats)
{
    samba__output *o = samba__calloc(a, 1, sizeof *o);
    float *data = samba__alloc_aligned(a, floats * sizeof *data, 64);
    if (!o || !data) {
        samba__free(a, o);
        samba__free(a, data);
        return NULL;
    }
    *o = (samba__output){.alloc = a, .capacity = floats, .logits = data};
    samba__refs_init(&o->refs);
    return o;
}

samba_status samba__output_create(const samba_allocator *a, const samba__output_shape *shape,
                                  samba__output **spare, samba__output **output,
                                  samba_error **error)
{
    samba__output *o = *spare;
    size_t floats;
    if (!floats_needed(shape, &floats))
        return samba__fail(a, error, SAMBA_ERROR_LIMIT,
                           "%zu output rows of %zu values do not fit in memory of %zu bytes",
                           shape->n_rows, shape->n_vocab + shape->d_hidden, (size_t)PTRDIFF_MAX);
    if (o && o->capacity >= floats)
        *spare = NULL;
    else
        o = allocate(a, floats);
    if (!o)
        return samba__fail_oom(error);
    o->shape = *shape;
    o->hidden = shape->d_hidden ? o->logits + shape->n_rows * shape->n_vocab : NULL;
    *output = o;
    return SAMBA_OK;
}

samba__output *samba__output_retain(samba__output *output)
{
    if (output)
        samba__refs_take(&output->refs);
    return output;
}

void samba__output_release(samba__output *output)
{
    if (!output || !samba__refs_drop(&output->refs))
        return;
    samba__free(output->alloc, output->logits);
    samba__free(output->alloc, output);
}

void samba__output_recycle(samba__output *output, samba__output **spare)
{
    if (output && output != *spare && samba__refs_unique(&output->refs) &&
        output->capacity <= ROWS_RECYCLED * (output->shape.n_vocab + output->shape.d_hidden) &&
        (!*spare || (*spare)->capacity < output->capacity)) {
        samba__output_release(*spare);
        *spare = output;
    } else {
        samba__output_release(output);
    }
}

uint64_t samba__output_bytes(const samba__output *output)
{
    return output ? output->capacity * sizeof(float) : 0;
}
