/* Life of a session, and what can be read from it; see session.h. */
#include "run/session.h"
#include "run/batch.h"
#include "run/rewind.h"
#include "run/stream.h"
#include "tensor/dtype.h"

#include <string.h>

/* ---------------------------------------------------------------- life */

static samba_status check_kv_dtype(const samba_model *m, samba_dtype dtype, samba_error **error)
{
    const samba__dtype_info *info = samba__dtype_info_of(dtype);
    const size_t n_known = sizeof m->sublayers->footprint.page_bytes / sizeof(uint64_t);
    if (!info || (size_t)dtype >= n_known)
        return samba__fail(m->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "kv_dtype is %d, which is no element type", dtype);
    for (uint32_t i = 0; i < m->n_page_slots; i++)
        if (!m->sublayers[m->page_slots[i].sublayer].footprint.page_bytes[dtype])
            return samba__fail(m->alloc, error, SAMBA_ERROR_UNSUPPORTED,
                               "backend %s cannot keep keys and values of sublayer %u as %s",
                               m->device->vtbl->name, m->page_slots[i].sublayer, info->name);
    return SAMBA_OK;
}

static samba_status create_layout(const samba_model *m, samba_dtype kv_dtype,
                                  uint32_t rows_per_pass, samba__layout **layout,
                                  samba_error **error)
{
    samba__layout *l = NULL;
    SAMBA__TRY(check_kv_dtype(m, kv_dtype, error));
    SAMBA__TRY(samba__layout_create(m->device, m->n_slab_slots, m->n_page_slots, &l, error));
    l->kv_dtype = kv_dtype;
    l->rows_per_pass = rows_per_pass;
    for (uint32_t i = 0; i < m->n_slab_slots; i++) {
        const samba__model_sublayer *s = &m->sublayers[m->slab_slots[i]];
        l->slabs[i] = (samba__cell_kind){.weights = s->weights, .bytes = s->footprint.slab_bytes};
        l->shapes[i] = s->slab_shape;
    }
    for (uint32_t i = 0; i < m->n_page_slots; i++) {
        const samba__model_sublayer *s = &m->sublayers[m->page_slots[i].sublayer];
        l->pages[i].kind = (samba__cell_kind){.weights = s->weights,
                                              .bytes = s->footprint.page_bytes[kv_dtype],
                                              .kv_dtype = kv_dtype};
        l->pages[i].window = m->page_slots[i].window;
        l->pages[i].sublayer = m->page_slots[i].sublayer;
        l->pages[i].n_kv_heads = s->n_kv_heads;
        l->pages[i].head_dim = s->head_dim;
    }
    *layout = l;
    return SAMBA_OK;
}

/* A session without state and history. */
static samba_status create_empty(samba_model *model, samba_session **session, samba_error **error)
{
    const samba_allocator *a = model->alloc;
    samba_session *s = samba__calloc(a, 1, sizeof *s);
    samba__session_scratch *scratch = samba__calloc(a, 1, sizeof *scratch);
    if (!s || !scratch) {
        samba__free(a, s);
        samba__free(a, scratch);
        return samba__fail_oom(error);
    }
    samba__sampler_scratch_init(&scratch->draw, a);
    s->alloc = a;
    s->scratch = scratch;
    s->model = samba__model_retain(model);
    *session = s;
    return SAMBA_OK;
}

static size_t history_cap(uint64_t max_history)
{
    if (max_history == SAMBA_HISTORY_NONE)
        return 0;
    return max_history && max_history < SIZE_MAX ? (size_t)max_history : SIZE_MAX;
}

samba_status samba__session_create(samba_model *model, const samba_session_options *options,
                                   samba_session **session, samba_error **error)
{
    samba_dtype kv_dtype = options->kv_dtype ? options->kv_dtype : SAMBA_DTYPE_F16;
    uint32_t rows = options->rows_per_pass ? options->rows_per_pass : SAMBA__ROWS_PER_PASS;
    samba__layout *layout = NULL;
    samba_session *s = NULL;
    if (options->first_position >= SAMBA__POSITION_END)
        return samba__fail(model->alloc, error, SAMBA_ERROR_LIMIT,
                           "first_position is %llu, positions end before 2^40",
                           (unsigned long long)options->first_position);
    SAMBA__TRY(create_layout(model, kv_dtype, rows, &layout, error));
    samba_status status = create_empty(model, &s, error);
    if (status == SAMBA_OK)
        status = samba__sequence_init(&s->sequence, layout, options->first_position, error);
    samba__layout_release(layout);
    if (status != SAMBA_OK) {
        samba__session_free(s);
        return status;
    }
    samba__history_init(&s->history, s->alloc, history_cap(options->max_history));
    s->rows_per_pass = rows;
    s->max_state_bytes = options->max_state_bytes;
    samba__session_init_checkpoints(s, options);
    *session = s;
    return SAMBA_OK;
}

static void scratch_free(samba__session_scratch *scratch, const samba_allocator *a)
{
    samba__sampler_scratch_free(&scratch->draw);
    samba__free(a, scratch->image);
    samba__free(a, scratch->ids.ids);
    samba__free(a, scratch->text);
    samba__free(a, scratch->requests);
    samba__free(a, scratch->parts);
    samba__free(a, scratch->seqs);
    samba__free(a, scratch->tokens);
    samba__free(a, scratch);
}

void samba__session_free(samba_session *session)
{
    if (!session)
        return;
    samba_model *model = session->model;
    samba__stream_forget(session);
    samba__checkpoints_clear(&session->checkpoints);
    samba__sequence_free(&session->sequence);
    samba__history_free(&session->history);
    samba__output_release(session->rows.output);
    samba__output_release(session->proposed.output);
    samba__output_release(session->spare_output);
    scratch_free(session->scratch, session->alloc);
    samba__free(session->alloc, session);
    samba__model_release(model);
}

static samba_status check_no_proposal(const samba_session *session, samba_error **error)
{
    if (!session->n_proposed)
        return SAMBA_OK;
    return samba__fail(session->alloc, error, SAMBA_ERROR_STATE,
                       "a proposal of %u tokens waits for samba_session_keep", session->n_proposed);
}

samba_status samba__session_check_free(const samba_session *session, samba_error **error)
{
    if (!samba__session_stream(session))
        return SAMBA_OK;
    return samba__fail(session->alloc, error, SAMBA_ERROR_BUSY, "a stream runs on the session");
}

samba_status samba__session_hold(const samba_session *session, samba__scheduler **held,
                                 samba_error **error)
{
    samba__scheduler *s = samba__model_scheduler(session->model);
    *held = NULL;
    if (!samba__session_stream(session))
        return SAMBA_OK;
    SAMBA__TRY(samba__scheduler_check(s, error));
    uv_mutex_lock(&s->lock);
    *held = s;
    return SAMBA_OK;
}

void samba__session_let_go(samba__scheduler *held)
{
    if (held)
        uv_mutex_unlock(&held->lock);
}

uint64_t samba__session_where(const samba_session *session)
{
    samba__scheduler *held = NULL;
    (void)samba__session_hold(session, &held, NULL);
    uint64_t position = samba__session_position(session);
    samba__session_let_go(held);
    return position;
}

static samba_status check_unused(const samba_session *session, samba_error **error)
{
    SAMBA__TRY(samba__session_check_free(session, error));
    if (!session->user)
        return SAMBA_OK;
    return samba__fail(session->alloc, error, SAMBA_ERROR_BUSY,
                       "another call is working on the session");
}

samba_status samba__session_check_idle(const samba_session *session, samba_error **error)
{
    SAMBA__TRY(check_unused(session, error));
    return check_no_proposal(session, error);
}

static samba_status clone_held(const samba_session *session, samba_session **clone,
                               samba_error **error)
{
    samba_session *c = NULL;
    SAMBA__TRY(check_no_proposal(session, error));
    SAMBA__TRY(create_empty(session->model, &c, error));
    samba_status status = samba__sequence_init_shared(&c->sequence, &session->sequence, error);
    if (status != SAMBA_OK) {
        samba__session_free(c);
        return status;
    }
    samba__history_init_shared(&c->history, &session->history);
    c->rows = session->rows;
    samba__output_retain(c->rows.output);
    c->rows_per_pass = session->rows_per_pass;
    c->max_state_bytes = session->max_state_bytes;
    samba__checkpoints_share(&c->checkpoints, &session->checkpoints);
    *clone = c;
    return SAMBA_OK;
}

samba_status samba__session_clone(const samba_session *session, samba_session **clone,
                                  samba_error **error)
{
    samba__scheduler *held;
    SAMBA__TRY(samba__session_hold(session, &held, error));
    samba_status status = clone_held(session, clone, error);
    samba__session_let_go(held);
    return status;
}

samba_status samba__session_image(const samba_session *session, samba__image **image,
                                  samba_error **error)
{
    const samba__rows *rows = &session->rows;
    samba__scheduler *held;
    SAMBA__TRY(check_no_proposal(session, error));
    SAMBA__TRY(samba__session_hold(session, &held, error));
    const samba__image_parts parts = {.layout = session->sequence.layout,
                                      .state = session->sequence.state,
                                      .history = &session->history,
                                      .output = rows->output,
                                      .row = rows->n ? rows->first + rows->n - 1 : 0,
                                      .spare = &session->scratch->image};
    samba_status status = samba__image_create(&parts, image, error);
    samba__session_let_go(held);
    return status;
}

void samba__session_recycle(samba_session *session, samba__image *image)
{
    samba__state *state;
    samba__output *logits;
    if (!image || session->scratch->image || !samba__refs_unique(&image->refs)) {
        samba__image_release(image);
        return;
    }
    samba__image_empty(image, &state, &logits);
    samba__output_recycle(logits, &session->spare_output);
    samba__sequence_recycle(&session->sequence, state);
    session->scratch->image = image;
}

void samba__session_place(samba_session *session, const samba__image *image)
{
    samba__sequence_restore(&session->sequence, image->state);
    samba__history_restore(&session->history, &image->history);
    samba__session_set_rows(session, samba__output_retain(image->logits), 0, image->logits != NULL);
}

void samba__session_install(samba_session *session, samba__image *image)
{
    samba__checkpoints_clear(&session->checkpoints);
    samba__session_place(session, image);
    samba__session_begin_checkpoints(session, image);
}

samba_status samba__session_reset(samba_session *session, samba_error **error)
{
    SAMBA__TRY(check_unused(session, error));
    SAMBA__TRY(samba__sequence_reset(&session->sequence, error));
    samba__checkpoints_clear(&session->checkpoints);
    samba__history_reset(&session->history);
    samba__session_drop_proposal(session);
    samba__session_set_rows(session, NULL, 0, 0);
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- rows */

void samba__session_set_rows(samba_session *session, samba__output *output, size_t first, size_t n)
{
    samba__output_recycle(session->rows.output, &session->spare_output);
    session->rows = (samba__rows){.output = output, .first = first, .n = n};
}

uint64_t samba__session_output_bytes(const samba_session *session)
{
    return samba__output_bytes(session->rows.output) +
           samba__output_bytes(session->proposed.output) +
           samba__output_bytes(session->spare_output);
}

const samba__rows *samba__session_rows(const samba_session *session)
{
    return session->n_proposed ? &session->proposed : &session->rows;
}

static samba_status find_row(const samba_session *session, size_t row, size_t *index,
                             samba_error **error)
{
    const samba__rows *rows = samba__session_rows(session);
    if (!rows->n)
        return samba__fail(session->alloc, error, SAMBA_ERROR_STATE,
                           "the session holds no output rows at position %llu",
                           (unsigned long long)samba__session_position(session));
    if (row != SAMBA_ROW_LAST && row >= rows->n)
        return samba__fail(session->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "row is %zu, the session holds %zu output rows", row, rows->n);
    *index = rows->first + (row == SAMBA_ROW_LAST ? rows->n - 1 : row);
    return SAMBA_OK;
}

samba_status samba__session_logits(const samba_session *session, size_t row, const float **logits,
                                   samba_error **error)
{
    const samba__output *o = samba__session_rows(session)->output;
    size_t index = 0;
    SAMBA__TRY(find_row(session, row, &index, error));
    *logits = o->logits + index * o->shape.n_vocab;
    return SAMBA_OK;
}

samba_status samba__session_hidden(const samba_session *session, size_t row, const float **hidden,
                                   samba_error **error)
{
    const samba__output *o = samba__session_rows(session)->output;
    size_t index = 0;
    SAMBA__TRY(find_row(session, row, &index, error));
    if (!o->hidden)
        return samba__fail(session->alloc, error, SAMBA_ERROR_STATE,
                           "the last eval did not ask for hidden states");
    *hidden = o->hidden + index * o->shape.d_hidden;
    return SAMBA_OK;
}

/* The device's own, where it has one: then a token scored here has the bits it has in a pass. */
void samba__session_log_probs(const samba_session *session, const float *logits,
                              const samba_token *tokens, size_t n, float *logprobs)
{
    const samba_model *m = session->model;
    const samba_backend_scores scores = {.struct_size = sizeof scores,
                                         .logits = logits,
                                         .n_vocab = m->n_vocab,
                                         .targets = tokens,
                                         .n_targets = n,
                                         .logprobs = logprobs};
    if (!samba__device_log_probs(m->device, &scores))
        samba__token_logprobs(logits, m->n_vocab, tokens, n, logprobs);
}

samba_status samba__session_top(const samba_session *session, const float *logits, size_t n,
                                samba_logprob *top, samba_error **error)
{
    enum {
        TOGETHER = 64
    };
    samba_token tokens[TOGETHER];
    float logprobs[TOGETHER];
    SAMBA__TRY(
        samba__top_tokens(logits, session->model->n_vocab, n, top, &session->scratch->draw, error));
    for (size_t first = 0; first < n; first += TOGETHER) {
        size_t end = n - first < TOGETHER ? n : first + TOGETHER;
        for (size_t i = first; i < end; i++)
            tokens[i - first] = top[i].token;
        samba__session_log_probs(session, logits, tokens, end - first, logprobs);
        for (size_t i = first; i < end; i++)
            top[i].logprob = logprobs[i - first];
    }
    return SAMBA_OK;
}

samba_status samba__session_sample(const samba_session *session, samba_sampler *sampler,
                                   const samba__draw *draw, samba_token *token, float *logprob,
                                   samba_error **error)
{
    const float *logits = NULL;
    SAMBA__TRY(check_no_proposal(session, error));
    SAMBA__TRY(samba__session_logits(session, SAMBA_ROW_LAST, &logits, error));
    const samba_sampler_state state = {.struct_size = sizeof state,
                                       .history = samba__history_tokens(&session->history),
                                       .n_history = session->history.n,
                                       .position = samba__session_position(session),
                                       .branch = draw->branch,
                                       .user_data = draw->user_data};
    samba_token drawn;
    SAMBA__TRY(samba__sampler_draw(sampler, &state, logits, session->model->n_vocab,
                                   &session->scratch->draw, &drawn, NULL, error));
    if (logprob)
        samba__session_log_probs(session, logits, &drawn, 1, logprob);
    *token = drawn;
    return SAMBA_OK;
}

/* ---------------------------------------------------------------- figures */

void samba__session_get_stats(const samba_session *session, samba_session_stats *stats)
{
    *stats = (samba_session_stats){
        .struct_size = sizeof *stats,
        .position = samba__session_position(session),
        .state_bytes =
            samba__sequence_bytes(&session->sequence) + samba__session_output_bytes(session),
        .history_bytes = samba__history_bytes(&session->history),
        .n_passes = session->stats.n_passes,
        .prefill_tokens = session->stats.prefill_tokens,
        .prefill_seconds = session->stats.prefill_seconds,
        .decode_tokens = session->stats.decode_tokens,
        .decode_seconds = session->stats.decode_seconds,
        .n_checkpoints = session->checkpoints.n,
        .checkpoint_bytes = samba__session_checkpoint_bytes(session),
    };
}
