/*
 * Reading one weight: gathers its runs of rows out of the file tensor, converted on the way. A run
 * is contiguous on both sides, so conversion works on flat pieces of bounded size, whatever the row
 * length; rows are multiples of every block involved (checked when the plan was made). What needs
 * no conversion is read straight to its place.
 */
#include "base/fmath.h"
#include "model/plan.h"
#include "tensor/dtype.h"

#include <string.h>

enum {
    PIECE = 1 << 15
}; /* elements converted at a time, a multiple of every block */

samba_dtype samba__weight_dtype(const samba__weight *w, samba_dtype wanted, bool *kept)
{
    samba_dtype dtype = wanted ? wanted : w->tensor->dtype;
    const samba__dtype_info *info = samba__dtype_info_of(dtype);
    *kept = false;
    if (w->wclass == SAMBA__CLASS_F32)
        return SAMBA_DTYPE_F32;
    if (info && w->cols % info->block == 0)
        return dtype;
    *kept = true;
    return SAMBA_DTYPE_BF16;
}

void samba__scratch_free(samba__scratch *scratch)
{
    samba__free(scratch->alloc, scratch->data);
    scratch->data = NULL;
    scratch->capacity = 0;
}

/* One run being converted. */
typedef struct gather {
    const samba__checkpoint *checkpoint;
    const samba__weight *weight;
    const samba__dtype_info *from, *to;
    unsigned char *raw; /* PIECE elements as stored */
    float *wide;        /* PIECE elements as f32 */
} gather;

static size_t bytes_of(const samba__dtype_info *info, uint64_t n)
{
    return (size_t)(n / info->block * info->block_bytes);
}

/* n elements from element `first` of the file tensor to `to`. */
static samba_status convert_piece(const gather *g, uint64_t first, size_t n, unsigned char *to,
                                  samba_error **error)
{
    SAMBA__TRY(samba__checkpoint_read(g->checkpoint, g->weight->tensor, bytes_of(g->from, first),
                                      g->raw, bytes_of(g->from, n), error));
    g->from->to_f32(g->raw, g->wide, n);
    if (g->weight->transform == SAMBA__NEG_EXP)
        for (size_t i = 0; i < n; i++)
            g->wide[i] = -samba__expf(g->wide[i]);
    g->to->from_f32(g->wide, to, n);
    return SAMBA_OK;
}

static samba_status read_run(const gather *g, uint64_t first, uint64_t n, unsigned char *to,
                             samba_error **error)
{
    if (g->from == g->to && g->weight->transform == SAMBA__AS_IS)
        return samba__checkpoint_read(g->checkpoint, g->weight->tensor, bytes_of(g->from, first),
                                      to, bytes_of(g->from, n), error);
    while (n) {
        size_t piece = n < PIECE ? (size_t)n : PIECE;
        SAMBA__TRY(convert_piece(g, first, piece, to, error));
        to += bytes_of(g->to, piece);
        first += piece;
        n -= piece;
    }
    return SAMBA_OK;
}

samba_status samba__weight_read(const samba__checkpoint *checkpoint, const samba__weight *w,
                                samba_dtype dtype, void *to, samba__scratch *scratch,
                                samba_error **error)
{
    gather g = {.checkpoint = checkpoint,
                .weight = w,
                .from = samba__dtype_info_of(w->tensor->dtype),
                .to = samba__dtype_info_of(dtype)};
    uint64_t row = w->vector ? 1 : w->cols;
    unsigned char *at = to;
    if (!g.from || !g.to)
        return samba__fail(scratch->alloc, error, SAMBA_ERROR_INTERNAL, "no codec for tensor %s",
                           w->tensor->name);
    if (!samba__grow(scratch->alloc, &scratch->data, &scratch->capacity,
                     PIECE * (sizeof(float) + sizeof(float)), 1))
        return samba__fail_oom(error);
    g.wide = scratch->data;
    g.raw = (unsigned char *)scratch->data + PIECE * sizeof(float);
    for (uint64_t i = 0; i < w->n_runs; i++) {
        SAMBA__TRY(read_run(&g, (w->first + i * w->stride) * row, w->run * row, at, error));
        at += bytes_of(g.to, w->run * row);
    }
    return SAMBA_OK;
}
