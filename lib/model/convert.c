/* Conversion to GGUF; see convert.h. The output appears under its name only when complete. */
#include "model/convert.h"
#include "model/gguf_plan.h"
#include "model/vocab.h"
#include "tensor/dtype.h"

#include <string.h>

typedef struct conversion {
    const samba__convert_params *params;
    samba__checkpoint *checkpoint;
    samba__plan *plan;
    samba__tokenizer *tokenizer;
    samba__gguf_writer *writer;
    samba__scratch scratch;
    void *buffer; /* one tensor */
    size_t capacity;
    uint64_t done, total; /* bytes of tensors */
    samba_convert_report report;
} conversion;

static samba_dtype dtype_of(const conversion *c, const samba__weight *w, bool *kept)
{
    return samba__weight_dtype(w, c->params->plan.weight_dtype, kept);
}

/* general.file_type, by the type that most matrix elements have. */
static uint32_t file_type(const conversion *c)
{
    static const uint32_t numbers[] = {
        [SAMBA_DTYPE_F32] = 0,  [SAMBA_DTYPE_F16] = 1,  [SAMBA_DTYPE_BF16] = 32,
        [SAMBA_DTYPE_Q8_0] = 7, [SAMBA_DTYPE_Q4_0] = 2, [SAMBA_DTYPE_Q4_K] = 14,
        [SAMBA_DTYPE_Q6_K] = 18};
    enum {
        N = sizeof numbers / sizeof *numbers
    };
    uint64_t elements[N] = {0};
    samba_dtype best = SAMBA_DTYPE_F32;
    bool kept;
    for (size_t i = 0; i < c->plan->n_weights; i++) {
        const samba__weight *w = c->plan->weights[i];
        samba_dtype d = dtype_of(c, w, &kept);
        if (w->wclass != SAMBA__CLASS_F32 && d < N)
            elements[d] += w->rows * w->cols;
    }
    for (samba_dtype d = 1; d < N; d++)
        if (elements[d] > elements[best])
            best = d;
    return numbers[best];
}

/* The last part of the input's path, where nothing else is known. */
static const char *name_of(const conversion *c)
{
    const char *given = c->params->name, *slash = strrchr(c->params->in_path, '/');
    if (given && *given)
        return given;
    if (*c->plan->name)
        return c->plan->name;
    return slash && slash[1] ? slash + 1 : c->params->in_path;
}

static samba_status add_tensor(conversion *c, const samba__weight *w, samba_error **error)
{
    const uint64_t shape[2] = {w->vector ? w->cols : w->rows, w->cols};
    uint64_t bytes;
    bool kept;
    samba_dtype dtype = dtype_of(c, w, &kept);
    if (!samba__dtype_bytes(dtype, w->rows * w->cols, &bytes) || bytes > SIZE_MAX)
        return samba__fail(c->params->alloc, error, SAMBA_ERROR_LIMIT, "tensor %s is too large",
                           w->tensor->name);
    c->total += bytes;
    c->report.n_tensors++;
    c->report.n_kept += kept;
    return samba__gguf_add_tensor(c->writer, w->name, dtype, shape, w->vector ? 1 : 2, error);
}

static samba_status show_progress(conversion *c, samba_error **error)
{
    const samba__convert_params *p = c->params;
    if (p->progress && p->progress(p->progress_user_data, c->done, c->total) != SAMBA_CONTINUE)
        return samba__fail(p->alloc, error, SAMBA_ERROR_CANCELLED, "conversion was cancelled");
    return SAMBA_OK;
}

static samba_status write_tensor(conversion *c, const samba__weight *w, samba_error **error)
{
    uint64_t bytes = 0;
    bool kept;
    samba_dtype dtype = dtype_of(c, w, &kept);
    SAMBA__TRY(show_progress(c, error));
    samba__dtype_bytes(dtype, w->rows * w->cols, &bytes); /* checked by add_tensor */
    if (!samba__grow(c->params->alloc, &c->buffer, &c->capacity, (size_t)bytes, 1))
        return samba__fail_oom(error);
    SAMBA__TRY(samba__weight_read(c->checkpoint, w, dtype, c->buffer, &c->scratch, error));
    SAMBA__TRY(samba__gguf_write_data(c->writer, c->buffer, (size_t)bytes, error));
    c->done += bytes;
    return SAMBA_OK;
}

static samba_status write_all(conversion *c, samba_error **error)
{
    const samba__convert_params *p = c->params;
    SAMBA__TRY(samba__gguf_writer_open(p->alloc, p->out_path, &c->writer, error));
    SAMBA__TRY(samba__gguf_plan_write(c->writer, c->plan, name_of(c), file_type(c), error));
    SAMBA__TRY(samba__vocab_write(c->writer, c->checkpoint, c->plan, c->tokenizer, error));
    for (size_t i = 0; i < c->plan->n_weights; i++)
        SAMBA__TRY(add_tensor(c, c->plan->weights[i], error));
    SAMBA__TRY(samba__gguf_begin_data(c->writer, error));
    for (size_t i = 0; i < c->plan->n_weights; i++)
        SAMBA__TRY(write_tensor(c, c->plan->weights[i], error));
    SAMBA__TRY(show_progress(c, error));
    samba__gguf_writer *w = c->writer;
    c->writer = NULL; /* commit ends it, also when it fails */
    return samba__gguf_writer_commit(w, &c->report.file_bytes, error);
}

samba_status samba__convert(const samba__convert_params *params, samba_convert_report *report,
                            samba_error **error)
{
    conversion c = {.params = params, .scratch = {.alloc = params->alloc}};
    samba_status status;
    SAMBA__TRY_GOTO(
        samba__checkpoint_open_path(params->alloc, params->in_path, NULL, &c.checkpoint, error));
    SAMBA__TRY_GOTO(samba__plan_create(c.checkpoint, &params->plan, &c.plan, error));
    SAMBA__TRY_GOTO(samba__vocab_load(c.checkpoint, c.plan, &c.tokenizer, error));
    SAMBA__TRY_GOTO(write_all(&c, error));
    *report = c.report;
fail:
    samba__gguf_writer_abort(c.writer);
    samba__free(params->alloc, c.buffer);
    samba__scratch_free(&c.scratch);
    samba__tokenizer_free(c.tokenizer);
    samba__plan_free(c.plan);
    samba__checkpoint_close(c.checkpoint);
    return status;
}
