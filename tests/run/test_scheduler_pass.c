/*
 * Which rows a shared pass takes when more is wanted than it holds. White box: a scheduler without
 * a thread, whose guests are put into its list as samba__scheduler_share() would.
 */
#include "run/scheduler_pass.h"
#include "run/stream.h"
#include "support/suite.h"
#include "toy_backend.h"

enum {
    MOST = SAMBA__SHARED_ROWS / 2, /* tokens in a pass that are a request of their own */
    GUESTS = MOST + 44
};

static samba_token token;

typedef struct visitor {
    samba__request request;
    samba__guest guest;
} visitor;

static void arrive(samba__scheduler *s, samba_session *session, visitor *v)
{
    *v = (visitor){.request = {.session = session, .tokens = &token, .n_tokens = 1}};
    v->guest = (samba__guest){.requests = &v->request, .n = 1, .next = s->arrived};
    s->arrived = &v->guest;
}

/* The pass at hand consists of these n visitors' rows, in this order, and is done. */
static void check_pass(samba__scheduler *s, visitor *const *want, size_t n)
{
    samba__scheduler_gather(s);
    samba__scheduler_compose(s);
    ck_assert_uint_eq(s->pass.n_parts, n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_eq(s->pass.parts[i].request, &want[i]->request);
        want[i]->request.done = want[i]->request.n_tokens;
    }
    ck_assert(samba__scheduler_release_guests(s, false));
    for (size_t i = 0; i < n; i++)
        ck_assert(want[i]->guest.released);
}

/* Guests are served in the order in which they came, however many come after them. */
START_TEST(guests_are_served_in_order)
{
    static visitor visitors[GUESTS + MOST], *order[GUESTS + MOST];
    toy *t = toy_create(false);
    samba_session *session = toy_session(t, NULL);
    samba__scheduler *s = NULL;
    ck_assert_int_eq(samba__scheduler_of(&t->model, &s, NULL), SAMBA_OK);
    for (size_t i = 0; i < GUESTS + MOST; i++)
        order[i] = &visitors[i];
    for (size_t i = 0; i < GUESTS; i++)
        arrive(s, session, &visitors[i]);
    check_pass(s, order, MOST);
    for (size_t i = GUESTS; i < GUESTS + MOST; i++)
        arrive(s, session, &visitors[i]);
    check_pass(s, order + MOST, MOST);
    check_pass(s, order + 2 * MOST, GUESTS - MOST);
    ck_assert_ptr_null(s->guests);
    samba_session_free(session);
    toy_free(t);
}
END_TEST

/* A proposal is taken whole, the oldest first, and hidden states are tapped where the oldest guest
 * who asks for any wants them. */
START_TEST(the_oldest_guest_goes_first)
{
    static const samba_token tokens[MOST];
    static visitor v[4];
    toy *t = toy_create(false);
    samba_session *session = toy_session(t, NULL);
    samba__scheduler *s = NULL;
    ck_assert_int_eq(samba__scheduler_of(&t->model, &s, NULL), SAMBA_OK);
    for (size_t i = 0; i < 4; i++)
        arrive(s, session, &v[i]);
    for (size_t i = 0; i < 3; i++) {
        v[i].request.tokens = tokens;
        v[i].request.n_tokens = MOST;
        v[i].request.speculative = true;
    }
    v[0].request.hidden = 1;
    v[1].request.hidden = 2;
    check_pass(s, (visitor *[]){&v[3], &v[0]}, 2); /* no room for the third */
    ck_assert_int_eq(s->pass.hidden, 1);
    check_pass(s, (visitor *[]){&v[1], &v[2]}, 2);
    ck_assert_int_eq(s->pass.hidden, 2);
    samba_session_free(session);
    toy_free(t);
}
END_TEST

/* However many streams run, a guest's single token gets its row; without guests the rows are
 * theirs. */
START_TEST(streams_leave_rows_to_guests)
{
    static samba_stream streams[MOST + 1];
    static visitor v;
    toy *t = toy_create(false);
    samba_session *session = toy_session(t, NULL);
    samba__scheduler *s = NULL;
    ck_assert_int_eq(samba__scheduler_of(&t->model, &s, NULL), SAMBA_OK);
    for (size_t i = 0; i <= MOST; i++) {
        streams[i].runner = session;
        streams[i].admitted = true;
        streams[i].phase = SAMBA__STREAM_PROMPT;
        streams[i].request = (samba__request){.session = session, .tokens = &token, .n_tokens = 1};
        streams[i].next = i < MOST ? &streams[i + 1] : NULL;
    }
    s->first = streams;
    samba__scheduler_gather(s);
    samba__scheduler_compose(s);
    ck_assert_uint_eq(s->pass.n_parts, MOST);
    arrive(s, session, &v);
    samba__scheduler_gather(s);
    samba__scheduler_compose(s);
    ck_assert_uint_lt(s->n_ready, MOST);
    ck_assert_uint_eq(s->pass.n_parts, s->n_ready + 1);
    ck_assert_ptr_eq(s->pass.parts[s->n_ready].request, &v.request);
    samba__scheduler_release_guests(s, true);
    s->first = NULL;
    samba_session_free(session);
    toy_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler_pass");
    TCase *tcase = tcase_create("scheduler_pass");
    tcase_add_test(tcase, guests_are_served_in_order);
    tcase_add_test(tcase, the_oldest_guest_goes_first);
    tcase_add_test(tcase, streams_leave_rows_to_guests);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
