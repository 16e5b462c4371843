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

static bool is_narrow(samba_dtype dtype)
{
    return dtype == SAMBA_DTYPE_Q4_0 || dtype == SAMBA_DTYPE_Q4_K;
}

/* What is written for a wanted type: the weights that cost most when they are coarse get more. */
static samba_dtype fine_enough(const samba__weight *w, samba_dtype wanted)
{
    if (w->wclass == SAMBA__CLASS_FINE && (is_narrow(wanted) || wanted == SAMBA_DTYPE_Q6_K))
        return SAMBA_DTYPE_Q8_0;
    if (w->wclass == SAMBA__CLASS_HEAD && is_narrow(wanted))
        return w->cols % SAMBA__Q6_K_BLOCK ? SAMBA_DTYPE_Q8_0 : SAMBA_DTYPE_Q6_K;
    return wanted;
}

samba_dtype samba__weight_dtype(const samba__weight *w, samba_dtype wanted, bool *kept)
{
    samba_dtype dtype = wanted ? fine_enough(w, wanted) : w->tensor->dtype;
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

static bool converts_nothing(const gather *g)
{
    return g->from == g->to && g->weight->transform == SAMBA__AS_IS;
}

static samba_status read_run(const gather *g, uint64_t first, uint64_t n, unsigned char *to,
                             samba_error **error)
{
    if (converts_nothing(g))
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

/* Where unit `at` of a weight lies; units are file rows. */
typedef struct place {
    uint64_t file_row, left; /* units from here to the end of its run */
} place;

static place place_of(const samba__weight *w, uint64_t at)
{
    uint64_t run = at / w->run, in_run = at % w->run;
    return (place){w->first + run * w->stride + in_run, w->run - in_run};
}

/* A vector is one row, of file rows with one element. */
static uint64_t units_per_row(const samba__weight *w)
{
    return w->vector ? w->cols : 1;
}

const void *samba__weight_view_rows(const samba__checkpoint *checkpoint, const samba__weight *w,
                                    samba_dtype dtype, samba__row_range rows)
{
    const samba__dtype_info *info = samba__dtype_info_of(dtype);
    uint64_t unit = w->vector ? 1 : w->cols, per_row = units_per_row(w), n = rows.n * per_row;
    place p = place_of(w, rows.first * per_row);
    if (!info || w->tensor->dtype != dtype || w->transform != SAMBA__AS_IS || n > p.left)
        return NULL;
    return samba__checkpoint_view(checkpoint, w->tensor, bytes_of(info, p.file_row * unit),
                                  bytes_of(info, n * unit));
}

samba_status samba__weight_read_rows(const samba__checkpoint *checkpoint, const samba__weight *w,
                                     samba_dtype dtype, samba__row_range rows, void *to,
                                     samba__scratch *scratch, samba_error **error)
{
    gather g = {.checkpoint = checkpoint,
                .weight = w,
                .from = samba__dtype_info_of(w->tensor->dtype),
                .to = samba__dtype_info_of(dtype)};
    uint64_t unit = w->vector ? 1 : w->cols, per_row = units_per_row(w);
    unsigned char *out = to;
    if (!g.from || !g.to)
        return samba__fail(scratch->alloc, error, SAMBA_ERROR_INTERNAL, "no codec for tensor %s",
                           w->tensor->name);
    SAMBA__INVARIANT(rows.first <= w->rows && rows.n <= w->rows - rows.first);
    if (!converts_nothing(&g)) {
        if (!samba__grow(scratch->alloc, &scratch->data, &scratch->capacity,
                         PIECE * (sizeof(float) + sizeof(float)), 1))
            return samba__fail_oom(error);
        g.wide = scratch->data;
        g.raw = (unsigned char *)scratch->data + PIECE * sizeof(float);
    }
    uint64_t at = rows.first * per_row, end = at + rows.n * per_row;
    while (at < end) {
        place p = place_of(w, at);
        uint64_t n = p.left < end - at ? p.left : end - at;
        SAMBA__TRY(read_run(&g, p.file_row * unit, n * unit, out, error));
        out += bytes_of(g.to, n * unit);
        at += n;
    }
    return SAMBA_OK;
}

samba_status samba__weight_read(const samba__checkpoint *checkpoint, const samba__weight *w,
                                samba_dtype dtype, void *to, samba__scratch *scratch,
                                samba_error **error)
{
    return samba__weight_read_rows(checkpoint, w, dtype, (samba__row_range){0, w->rows}, to,
                                   scratch, error);
}
