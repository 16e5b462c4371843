/*
 * Streams of the bundled model through the public header: the text is that of blocking generation,
 * stop strings are cut wherever they fall, delivery on a libuv loop, deadlines, handles freed in
 * any order, a child process.
 */
#include "support/rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

enum {
    TOKENS = 96,
    TEXT = 4096
};
static const char prompt[] = "It was a dark night, and";

static samba_context *context;
static samba_model *model;
static samba_sampler *sampler;
/* What blocking generation gives. */
static struct {
    samba_token tokens[TOKENS];
    size_t ends[TOKENS], n; /* ends: of the text with each token */
    char text[TEXT];
    size_t size;
} want;

static int32_t note(void *user_data, const samba_token_event *event)
{
    (void)user_data;
    memcpy(want.text + want.size, event->text, event->text_size);
    want.size += event->text_size;
    if (event->token >= 0) {
        want.tokens[want.n] = event->token;
        want.ends[want.n++] = want.size;
    }
    return SAMBA_CONTINUE;
}

static void set_up(void)
{
    const rig_options options = {0};
    const samba_generate_options o = {
        .struct_size = sizeof o, .max_tokens = TOKENS, .ignore_eos = SAMBA_YES};
    context = rig_context(&options);
    model = rig_load(context, BUNDLED_MODEL, &options);
    CK_OK(samba_sampler_create(context, &sampler, RIG_ERROR));
    CK_OK(samba_sampler_add_seed(sampler, 4, RIG_ERROR));
    samba_session *s = rig_session(model, 0, 0);
    CK_OK(samba_session_feed_text(s, prompt, SIZE_MAX, NULL, RIG_ERROR));
    want.n = want.size = 0;
    CK_OK(samba_session_generate(s, sampler, &o, note, NULL, NULL, RIG_ERROR));
    ck_assert_uint_eq(want.n, TOKENS);
    samba_session_free(s);
}

static void tear_down(void)
{
    samba_sampler_free(sampler);
    samba_model_release(model);
    samba_context_free(context);
}

static samba_stream_options stream_options(void)
{
    return (samba_stream_options){.struct_size = sizeof(samba_stream_options),
                                  .text = prompt,
                                  .text_size = SIZE_MAX,
                                  .max_tokens = TOKENS,
                                  .ignore_eos = SAMBA_YES};
}

/* Ends of the first stop string that is complete, the longest of several. */
static size_t expected_size(const char *const *stops, size_t n, int32_t *index)
{
    for (size_t end = 1; end <= want.size; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n; i++) {
            size_t size = strlen(stops[i]);
            if (size <= end && size > longest &&
                memcmp(want.text + end - size, stops[i], size) == 0) {
                longest = size;
                *index = (int32_t)i;
            }
        }
        if (longest)
            return end - longest;
    }
    *index = -1;
    return want.size;
}

static void check_stops(const char *const *stops, size_t n_stops)
{
    samba_session *s = rig_session(model, 0, 0);
    samba_stream_options o = stream_options();
    samba_stream *stream = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    char text[TEXT];
    size_t size = 0, n = 0;
    int32_t index = -1;
    size_t expected = expected_size(stops, n_stops, &index);
    o.stop_strings = stops;
    o.n_stop_strings = n_stops;
    CK_OK(samba_stream_start(s, sampler, &o, &stream, RIG_ERROR));
    do {
        CK_OK(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, RIG_ERROR));
        memcpy(text + size, e.text, e.text_size);
        size += e.text_size;
        ck_assert(size <= expected && memcmp(text, want.text, size) == 0);
        if (e.kind == SAMBA_STREAM_TOKEN)
            ck_assert_int_eq(e.token, want.tokens[n++]);
    } while (e.kind != SAMBA_STREAM_DONE);
    ck_assert_uint_eq(size, expected);
    ck_assert_int_eq(e.reason, index < 0 ? SAMBA_STOP_LENGTH : SAMBA_STOP_STRING);
    ck_assert_int_eq(e.stop_string, index);
    /* The tokens delivered are those that the text delivered needs. */
    ck_assert_uint_ge(n ? want.ends[n - 1] : 0, expected);
    if (n > 1)
        ck_assert_uint_le(want.ends[n - 2], expected);
    const samba_token *tokens = NULL;
    uint64_t first;
    size_t n_tokens;
    CK_OK(samba_session_tokens(s, &tokens, &first, &n_tokens, RIG_ERROR));
    ck_assert_uint_ge(n_tokens, n);
    ck_assert(memcmp(tokens + n_tokens - n, want.tokens, n * sizeof *tokens) == 0);
    samba_stream_close(stream);
    samba_session_free(s);
}

START_TEST(stop_strings)
{
    rig_random random = {(uint64_t)_i};
    check_stops(NULL, 0);
    for (int round = 0; round < 12; round++) {
        char copies[3][40];
        const char *stops[3];
        size_t n = 1 + rig_below(&random, 3);
        for (size_t i = 0; i < n; i++) {
            size_t size = 1 + rig_below(&random, 12);
            memcpy(copies[i], want.text + rig_below(&random, (uint32_t)(want.size - size)), size);
            copies[i][size] = 0;
            if (rig_below(&random, 3) == 0) /* one that almost comes */
                copies[i][size - 1] = '\x01';
            stops[i] = copies[i];
        }
        check_stops(stops, n);
    }
}
END_TEST

START_TEST(bad_options)
{
    samba_session *s = rig_session(model, 0, 0);
    samba_stream *stream = NULL;
    const char *empty[] = {"a", ""};
    samba_stream_options o = {.struct_size = sizeof o};
    CK_FAILS(SAMBA_ERROR_STATE, samba_stream_start(s, NULL, &o, &stream, RIG_ERROR));
    o = stream_options();
    o.stop_strings = empty;
    o.n_stop_strings = 2;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_stream_start(s, NULL, &o, &stream, RIG_ERROR));
    o = stream_options();
    o.priority = 101;
    CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT, samba_stream_start(s, NULL, &o, &stream, RIG_ERROR));
    const samba_stream_limits limits = {.struct_size = sizeof limits, .max_state_bytes = 1000};
    CK_OK(samba_model_set_stream_limits(model, &limits, RIG_ERROR));
    o = stream_options();
    CK_FAILS(SAMBA_ERROR_LIMIT, samba_stream_start(s, NULL, &o, &stream, RIG_ERROR));
    CK_OK(samba_model_set_stream_limits(model, NULL, RIG_ERROR));
    CK_OK(samba_session_feed_text(s, prompt, SIZE_MAX, NULL, RIG_ERROR));
    samba_session_free(s);
}
END_TEST

START_TEST(deadline)
{
    samba_session *s = rig_session(model, 0, 0);
    samba_stream_options o = stream_options();
    samba_stream *stream = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    size_t n = 0;
    double start = rig_now();
    o.max_tokens = SAMBA_TOKENS_UNLIMITED;
    o.deadline_ms = 150;
    o.queue_depth = 4;
    CK_OK(samba_stream_start(s, sampler, &o, &stream, RIG_ERROR));
    if (_i) /* a reader that sleeps: the deadline comes all the same */
        usleep(300000);
    do {
        CK_OK(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, RIG_ERROR));
        if (e.kind == SAMBA_STREAM_TOKEN && n < TOKENS)
            ck_assert_int_eq(e.token, want.tokens[n]);
        n += e.kind == SAMBA_STREAM_TOKEN;
    } while (e.kind != SAMBA_STREAM_DONE);
    ck_assert_int_eq(e.reason, SAMBA_STOP_DEADLINE);
    ck_assert_uint_eq(e.n_tokens, n);
    ck_assert(rig_now() - start >= 149);
    if (_i)
        ck_assert_uint_le(n, 4);
    samba_stream_close(stream);
    samba_session_free(s);
}
END_TEST

/* Each handle is freed while the others still need what it stands for. */
START_TEST(any_order)
{
    const rig_options options = {0};
    samba_context *c = rig_context(&options);
    samba_model *m = rig_load(c, BUNDLED_MODEL, &options);
    samba_session *s = rig_session(m, 0, 0);
    samba_sampler *own = NULL;
    samba_stream_options o = stream_options();
    samba_stream *stream = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    size_t n = 0;
    CK_OK(samba_sampler_create(c, &own, RIG_ERROR));
    CK_OK(samba_sampler_add_seed(own, 4, RIG_ERROR));
    CK_OK(samba_stream_start(s, own, &o, &stream, RIG_ERROR));
    samba_context_free(c);
    samba_model_release(m);
    samba_sampler_free(own);
    if (_i == 0)
        samba_session_free(s);
    do {
        CK_OK(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, RIG_ERROR));
        if (e.kind == SAMBA_STREAM_TOKEN)
            ck_assert_int_eq(e.token, want.tokens[n++]);
        if (_i == 1 && n == 3) {
            samba_session_free(s);
            s = NULL;
        }
        if (_i == 2 && n == 3)
            break;
    } while (e.kind != SAMBA_STREAM_DONE);
    samba_stream_close(stream);
    if (_i == 2)
        samba_session_free(s);
}
END_TEST

/* ---------------------------------------------------------------- a libuv loop */

typedef struct listener {
    samba_session *session;
    samba_stream *stream;
    uv_thread_t thread;
    size_t n, close_at;
    int n_done;
} listener;

static void on_event(void *user_data, samba_stream *stream, const samba_stream_event *e)
{
    listener *l = user_data;
    uv_thread_t self = uv_thread_self();
    ck_assert(uv_thread_equal(&self, &l->thread));
    ck_assert_ptr_eq(stream, l->stream);
    if (e->kind == SAMBA_STREAM_TOKEN)
        ck_assert_int_eq(e->token, want.tokens[l->n++]);
    else
        l->n_done++;
    if (l->n == l->close_at || l->n_done) {
        samba_stream_close(stream);
        l->stream = NULL;
    }
}

START_TEST(on_a_loop)
{
    listener listeners[8];
    uv_loop_t loop;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < 8; i++) {
        listener *l = &listeners[i];
        samba_stream_options o = stream_options();
        *l = (listener){.session = rig_session(model, 0, 0),
                        .thread = uv_thread_self(),
                        .close_at = i % 2 ? 7 * i : TOKENS + 1};
        o.user_data = l;
        CK_OK(
            samba_stream_start_uv(l->session, sampler, &o, &loop, on_event, &l->stream, RIG_ERROR));
    }
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0); /* until all are closed */
    for (size_t i = 0; i < 8; i++) {
        ck_assert_uint_eq(listeners[i].n, i % 2 ? 7 * i : TOKENS);
        ck_assert_int_eq(listeners[i].n_done, i % 2 == 0);
        samba_session_free(listeners[i].session);
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* no handle is left */
}
END_TEST

/* ---------------------------------------------------------------- a child process */

static int child(samba_session *s, samba_stream *stream)
{
    samba_stream_options o = stream_options();
    samba_stream_event e = {.struct_size = sizeof e};
    samba_stream *other = NULL;
    samba_session *clone = NULL;
    samba_token token = 1;
    alarm(20);
    int wrong = samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, NULL) != SAMBA_ERROR_STATE;
    wrong += samba_stream_start(s, NULL, &o, &other, NULL) != SAMBA_ERROR_STATE;
    wrong += samba_session_eval(s, &token, 1, NULL, NULL) != SAMBA_ERROR_STATE;
    wrong += samba_session_clone(s, &clone, NULL) != SAMBA_ERROR_STATE;
    samba_stream_cancel(stream);
    samba_stream_close(stream);
    return wrong;
}

START_TEST(forked)
{
    samba_session *s = rig_session(model, 0, 0);
    samba_stream_options o = stream_options();
    samba_stream *stream = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    int status = 0;
    CK_OK(samba_stream_start(s, sampler, &o, &stream, RIG_ERROR));
    CK_OK(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, RIG_ERROR));
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(s, stream));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    CK_OK(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, RIG_ERROR));
    ck_assert_int_eq(e.token, want.tokens[1]);
    samba_stream_close(stream);
    samba_session_free(s);
}
END_TEST

/* One computation of log-probabilities: what a token's event says, its entry among the best, the
 * session's answers and a score of the text, beside the stream and after it, agree in every bit. */
START_TEST(logprobs)
{
    enum {
        TOP = 20
    };
    samba_stream_options o = stream_options();
    samba_session *s = rig_session(model, 0, 0), *plain = rig_session(model, 0, 0), *clone = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    samba_stream *stream = NULL;
    samba_logprob top[TOP];
    samba_token tokens[TOKENS];
    float reported[TOKENS], scores[TOKENS], beside[TOKENS], one;
    size_t n_seen = 0;
    o.top_logprobs = TOP;
    CK_OK(samba_session_feed_text(plain, prompt, SIZE_MAX, NULL, RIG_ERROR));
    CK_OK(samba_session_clone(plain, &clone, RIG_ERROR));
    CK_OK(samba_stream_start(s, sampler, &o, &stream, RIG_ERROR));
    for (size_t i = 0; i < TOKENS; i++) {
        CK_OK(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, RIG_ERROR));
        tokens[i] = e.token;
        reported[i] = e.logprob;
        CK_OK(samba_session_top_logprobs(plain, SAMBA_ROW_LAST, TOP, top, RIG_ERROR));
        for (size_t k = 0; k < TOP; k++) {
            ck_assert_int_eq(e.top[k].token, top[k].token);
            ck_assert(memcmp(&e.top[k].logprob, &top[k].logprob, sizeof(float)) == 0);
            CK_OK(samba_session_logprob(plain, SAMBA_ROW_LAST, top[k].token, &one, RIG_ERROR));
            ck_assert(memcmp(&top[k].logprob, &one, sizeof one) == 0);
            if (top[k].token != e.token)
                continue;
            ck_assert(memcmp(&top[k].logprob, &e.logprob, sizeof e.logprob) == 0);
            n_seen++;
        }
        rig_eval(plain, &e.token, 1, 0);
        if (i == 0) /* while it runs */
            CK_OK(samba_session_score(clone, want.tokens, TOKENS, NULL, beside, RIG_ERROR));
    }
    ck_assert_uint_gt(n_seen, TOKENS / 4);
    samba_stream_close(stream);
    samba_session_free(clone);
    CK_OK(samba_session_reset(plain, RIG_ERROR));
    CK_OK(samba_session_feed_text(plain, prompt, SIZE_MAX, NULL, RIG_ERROR));
    CK_OK(samba_session_score(plain, tokens, TOKENS, NULL, scores, RIG_ERROR));
    ck_assert(memcmp(scores, reported, sizeof scores) == 0);
    ck_assert(memcmp(tokens, want.tokens, sizeof tokens) == 0);
    ck_assert(memcmp(scores, beside, sizeof scores) == 0);
    samba_session_free(plain);
    samba_session_free(s);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("stream_text");
    TCase *tcase = tcase_create("bundled");
    tcase_add_unchecked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, stop_strings, 0, 4);
    tcase_add_test(tcase, bad_options);
    tcase_add_loop_test(tcase, deadline, 0, 2);
    tcase_add_loop_test(tcase, any_order, 0, 3);
    tcase_add_test(tcase, on_a_loop);
    tcase_add_test(tcase, forked);
    tcase_add_test(tcase, logprobs);
    suite_add_tcase(suite, tcase);
    return rig_main(argc, argv, suite);
}
