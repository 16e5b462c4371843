/* Output rows that outlive their session; see logits.h. */
#include "run/logits.h"

struct samba_logits {
    samba__refs refs;
    samba_model *model; /* retained */
    samba__rows rows;   /* output retained */
};

samba_status samba__logits_hold(const samba_session *session, samba_logits **logits,
                                samba_error **error)
{
    const float *first = NULL;
    SAMBA__TRY(samba__session_logits(session, 0, &first, error));
    samba_logits *l = samba__calloc(session->alloc, 1, sizeof *l);
    if (!l)
        return samba__fail_oom(error);
    samba__refs_init(&l->refs);
    l->model = samba__model_retain(session->model);
    l->rows = *samba__session_rows(session);
    samba__output_retain(l->rows.output);
    *logits = l;
    return SAMBA_OK;
}

samba_logits *samba__logits_retain(samba_logits *logits)
{
    samba__refs_take(&logits->refs);
    return logits;
}

void samba__logits_release(samba_logits *logits)
{
    if (!logits || !samba__refs_drop(&logits->refs))
        return;
    samba_model *model = logits->model;
    samba__output_release(logits->rows.output);
    samba__free(model->alloc, logits);
    samba__model_release(model);
}

const float *samba__logits_data(const samba_logits *logits, size_t *n_rows, size_t *n_vocab)
{
    const samba__output *o = logits->rows.output;
    *n_rows = logits->rows.n;
    *n_vocab = o->shape.n_vocab;
    return o->logits + logits->rows.first * o->shape.n_vocab;
}
