/*
 * Rewinding; see rewind.h. A plan comes first and says what will be replayed; then the session is
 * put where the nearest image is and reads on from there by ordinary passes. Until those are done
 * its present is held aside, checkpoints included: putting it back takes references only, so a
 * replay that fails or is cancelled leaves no trace.
 */
#include "run/rewind.h"
#include "run/batch.h"

typedef struct rewind_plan {
    uint64_t position, from;
    const samba__image *image;     /* to restore; NULL: nothing fed yet, or `stays` */
    bool stays;                    /* the session stands there already */
    const samba__history *history; /* that keeps the tokens from `from` on */
    uint64_t history_end;
} rewind_plan;

static samba_status check_position(const samba_session *s, uint64_t position, samba_error **error)
{
    const samba__state *state = s->sequence.state;
    if (position > state->position)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "position is %llu, the session stands at %llu",
                           (unsigned long long)position, (unsigned long long)state->position);
    if (position < state->first_position)
        return samba__fail(s->alloc, error, SAMBA_ERROR_INVALID_ARGUMENT,
                           "position is %llu, the session begins at %llu",
                           (unsigned long long)position, (unsigned long long)state->first_position);
    return SAMBA_OK;
}

/* The nearest image at or before the position. One without logits serves positions beyond it only:
 * those of its own would be missing. */
static void choose_image(const samba_session *s, rewind_plan *plan)
{
    const samba__checkpoints *c = &s->checkpoints;
    uint32_t i = samba__checkpoints_find(c, plan->position);
    if (i < c->n && samba__image_position(c->list[i].image) == plan->position &&
        !c->list[i].image->logits)
        i = i ? i - 1 : c->n;
    plan->image = i < c->n ? c->list[i].image : NULL;
    plan->from =
        plan->image ? samba__image_position(plan->image) : s->sequence.state->first_position;
}

/* Capped histories drop their oldest tokens: the first to stand at or after the position keeps the
 * most of what comes before it. */
static void choose_history(const samba_session *s, rewind_plan *plan)
{
    const samba__checkpoints *c = &s->checkpoints;
    plan->history = &s->history;
    plan->history_end = samba__session_position(s);
    for (uint32_t i = c->n; i-- > 0;) {
        uint64_t end = samba__image_position(c->list[i].image);
        if (end < plan->position)
            break;
        plan->history = &c->list[i].image->history;
        plan->history_end = end;
    }
}

static samba_status make_plan(const samba_session *s, uint64_t position, rewind_plan *plan,
                              samba_error **error)
{
    *plan = (rewind_plan){.position = position, .from = position};
    SAMBA__TRY(check_position(s, position, error));
    plan->stays = position == samba__session_position(s) &&
                  (s->rows.n || position == s->sequence.state->first_position);
    if (plan->stays || position == s->sequence.state->first_position)
        return SAMBA_OK;
    choose_image(s, plan);
    choose_history(s, plan);
    if (plan->from == position || plan->history_end - plan->history->n <= plan->from)
        return SAMBA_OK;
    return samba__fail(s->alloc, error, SAMBA_ERROR_STATE,
                       "the nearest checkpoint is at position %llu, and tokens are kept from %llu "
                       "on only",
                       (unsigned long long)plan->from,
                       (unsigned long long)(plan->history_end - plan->history->n));
}

static samba_status check_replay(const samba_session *s, const rewind_plan *plan,
                                 uint64_t max_replay, samba_error **error)
{
    uint64_t n = plan->position - plan->from;
    uint64_t most = max_replay == SAMBA_REPLAY_NONE ? 0 : max_replay ? max_replay : UINT64_MAX;
    if (n <= most)
        return SAMBA_OK;
    return samba__fail(s->alloc, error, SAMBA_ERROR_LIMIT,
                       "%llu tokens from position %llu on would be evaluated again, max_replay "
                       "allows %llu",
                       (unsigned long long)n, (unsigned long long)plan->from,
                       (unsigned long long)most);
}

/* ---------------------------------------------------------------- there and back */

/* Where the session stood, held by references. */
typedef struct past {
    samba__state *state;
    samba__history history;
    samba__rows rows;
    samba__checkpoints checkpoints;
} past;

static void hold(const samba_session *s, past *p)
{
    *p = (past){.state = samba__state_retain(s->sequence.state), .rows = s->rows};
    samba__output_retain(p->rows.output);
    samba__history_init_shared(&p->history, &s->history);
    samba__checkpoints_share(&p->checkpoints, &s->checkpoints);
}

static void let_go(past *p)
{
    samba__state_release(p->state);
    samba__history_free(&p->history);
    samba__output_release(p->rows.output);
    samba__checkpoints_clear(&p->checkpoints);
}

static void put_back(samba_session *s, past *p)
{
    samba__sequence_restore(&s->sequence, p->state);
    samba__history_restore(&s->history, &p->history);
    samba__session_set_rows(s, samba__output_retain(p->rows.output), p->rows.first, p->rows.n);
    samba__checkpoints_clear(&s->checkpoints);
    samba__checkpoints_share(&s->checkpoints, &p->checkpoints);
}

/* To where the replay begins. */
static samba_status go_back(samba_session *s, const rewind_plan *plan, samba_error **error)
{
    samba__state *fresh = NULL;
    if (plan->image) {
        samba__session_place(s, plan->image);
    } else {
        SAMBA__TRY(samba__state_create(s->sequence.layout, plan->from, &fresh, error));
        samba__sequence_restore(&s->sequence, fresh);
        samba__state_release(fresh);
        samba__history_reset(&s->history);
        samba__session_set_rows(s, NULL, 0, 0);
    }
    samba__checkpoints_cut(&s->checkpoints, plan->from);
    return SAMBA_OK;
}

static samba_status replay(samba_session *s, const rewind_plan *plan, const samba_cancel *cancel,
                           samba_error **error)
{
    uint64_t kept_from = plan->history_end - (plan->history ? plan->history->n : 0);
    if (plan->position == plan->from)
        return SAMBA_OK;
    samba__request request = {.session = s,
                              .tokens =
                                  samba__history_tokens(plan->history) + (plan->from - kept_from),
                              .n_tokens = (size_t)(plan->position - plan->from),
                              .outputs = SAMBA_OUTPUT_LAST};
    return samba__request_run(&request, cancel, error);
}

/* `then` holds what the plan points to alive. */
static samba_status travel(samba_session *s, rewind_plan *plan, past *then,
                           const samba_cancel *cancel, samba_error **error)
{
    if (plan->history == &s->history)
        plan->history = &then->history;
    SAMBA__TRY(go_back(s, plan, error));
    samba_status status = replay(s, plan, cancel, error);
    if (status != SAMBA_OK)
        put_back(s, then);
    else
        samba__session_fit_checkpoints(s, 0);
    return status;
}

samba_status samba__session_rewind(samba_session *session, uint64_t position,
                                   const samba_rewind_options *options, samba_rewind_report *report,
                                   samba_error **error)
{
    rewind_plan plan;
    past then;
    SAMBA__TRY(samba__session_check_idle(session, error));
    SAMBA__TRY(make_plan(session, position, &plan, error));
    SAMBA__TRY(check_replay(session, &plan, options->max_replay, error));
    const uint64_t n = plan.position - plan.from;
    *report = (samba_rewind_report){
        .struct_size = sizeof *report,
        .position = position,
        .restored_at = plan.from,
        .replayed = n,
        .exact = !n || (session->model->device->info.flags & SAMBA_BACKEND_INVARIANT) != 0};
    if (plan.stays || options->dry_run == SAMBA_YES)
        return SAMBA_OK;
    hold(session, &then);
    samba_status status = travel(session, &plan, &then, options->cancel, error);
    let_go(&then);
    return status;
}
