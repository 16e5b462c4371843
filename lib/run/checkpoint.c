/*
 * When a session takes checkpoints: at the end of a pass, if the last one lies far enough back, and
 * where the host pins one. They are an offer that memory may refuse, never a reason to fail; only a
 * pin that cannot be had is an error.
 */
#include "run/rewind.h"

enum {
    INTERVAL = 64
};

void samba__session_init_checkpoints(samba_session *session, const samba_session_options *options)
{
    const samba__layout *l = session->sequence.layout;
    /* Checkpoints share the pages of an attention without a window, and copy the last one. */
    const samba__full_state full = {.kv_dtype = l->kv_dtype, .rows_per_pass = l->rows_per_pass};
    samba__checkpoints *c = &session->checkpoints;
    uint64_t budget = options->checkpoint_bytes;
    c->interval = options->checkpoint_interval ? options->checkpoint_interval : INTERVAL;
    if (budget == SAMBA_CHECKPOINTS_NONE)
        c->budget = 0;
    else
        c->budget = budget ? budget : samba__model_state_bytes(session->model, &full);
}

static samba__present present(const samba_session *s, uint32_t n_rows)
{
    return (samba__present){.layout = s->sequence.layout,
                            .state = s->sequence.state,
                            .history = &s->history,
                            .output = s->rows.output,
                            .n_rows = n_rows};
}

void samba__session_fit_checkpoints(samba_session *session, uint32_t n_rows)
{
    const samba__present now = present(session, n_rows);
    samba__checkpoints_follow(&session->checkpoints, &now);
    samba__checkpoints_fit(&session->checkpoints, &now);
}

samba__output *samba__session_checkpoint_row(samba_session *session, uint32_t n_rows)
{
    const samba__present now = present(session, n_rows);
    const samba__output_shape shape = {.n_rows = 1, .n_vocab = session->model->n_vocab};
    samba__output *spare = NULL, *row = NULL;
    if (!samba__checkpoints_due(&session->checkpoints, &now, now.state->position + n_rows))
        return NULL;
    samba_status status = samba__output_create(session->alloc, &shape, &spare, &row, NULL);
    return status == SAMBA_OK ? row : NULL;
}

/* An image of the present position; `row` as in samba__session_after_step. */
static samba_status take_image(const samba_session *s, samba__output *row, samba__image **image,
                               samba_error **error)
{
    const samba__image_parts parts = {.layout = s->sequence.layout,
                                      .state = s->sequence.state,
                                      .history = &s->history,
                                      .output = row};
    return row ? samba__image_create(&parts, image, error) : samba__session_image(s, image, error);
}

/* The session has moved on; `image` is of its present position, or NULL: to be made if one is due.
 */
static void moved_on(samba_session *session, samba__output *row, samba__image *image)
{
    samba__checkpoints *c = &session->checkpoints;
    const samba__present now = present(session, 0);
    samba__checkpoints_follow(c, &now);
    if (samba__checkpoints_due(c, &now, now.state->position)) {
        if (image)
            samba__image_retain(image);
        else if (take_image(session, row, &image, NULL) != SAMBA_OK)
            image = NULL;
        if (image && !samba__checkpoints_add(c, &now, image, false))
            samba__image_release(image);
    }
    samba__checkpoints_fit(c, &now);
}

void samba__session_after_step(samba_session *session, samba__output *row)
{
    moved_on(session, row, NULL);
    samba__output_release(row);
}

void samba__session_follow(samba_session *session, samba__image *image)
{
    samba__session_place(session, image);
    moved_on(session, NULL, image);
}

void samba__session_begin_checkpoints(samba_session *session, samba__image *image)
{
    samba__checkpoints *c = &session->checkpoints;
    const samba__present now = present(session, 0);
    if (c->budget && samba__checkpoints_add(c, &now, image, false))
        samba__image_retain(image);
    samba__checkpoints_fit(c, &now);
}

uint64_t samba__session_checkpoint_bytes(const samba_session *session)
{
    const samba__present now = present(session, 0);
    return samba__checkpoints_bytes(&session->checkpoints, &now);
}

/* ---------------------------------------------------------------- pins */

samba_status samba__session_pin(samba_session *session, samba_error **error)
{
    samba__checkpoints *c = &session->checkpoints;
    const samba__present now = present(session, 0);
    samba__image *image = NULL;
    SAMBA__TRY(samba__session_check_idle(session, error));
    SAMBA__TRY(samba__session_image(session, &image, error));
    uint32_t last = samba__checkpoints_find(c, now.state->position);
    if (!image->logits && last < c->n &&
        samba__image_position(c->list[last].image) == now.state->position) {
        samba__image_release(image);
        c->list[last].pinned = true;
        return SAMBA_OK;
    }
    if (!samba__checkpoints_add(c, &now, image, true)) {
        samba__image_release(image);
        return samba__fail(session->alloc, error, SAMBA_ERROR_LIMIT,
                           "%u checkpoints are pinned, at most %d are possible", c->n,
                           SAMBA__CHECKPOINTS_MOST);
    }
    samba__checkpoints_fit(c, &now);
    return SAMBA_OK;
}

samba_status samba__session_unpin(samba_session *session, uint64_t position, samba_error **error)
{
    samba__checkpoints *c = &session->checkpoints;
    const samba__present now = present(session, 0);
    SAMBA__TRY(samba__session_check_idle(session, error));
    uint32_t i = samba__checkpoints_find(c, position);
    if (i == c->n || !c->list[i].pinned || samba__image_position(c->list[i].image) != position)
        return samba__fail(session->alloc, error, SAMBA_ERROR_NOT_FOUND,
                           "no checkpoint is pinned at position %llu",
                           (unsigned long long)position);
    c->list[i].pinned = false;
    samba__checkpoints_fit(c, &now);
    return SAMBA_OK;
}
