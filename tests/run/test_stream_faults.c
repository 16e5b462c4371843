/*
 * Streams when memory is out: with the n-th allocation failing, for every n, once or from then on,
 * a stream either starts and ends exactly once or does not start; its session stands at the last
 * delivered token, nothing is left behind, and the next stream runs.
 */
#include "support/suite.h"
#include "toy_backend.h"

#include <string.h>

enum {
    TOKENS = 12,
    PROMPT = 9,
    TRIES = 4000
};

typedef struct scene {
    toy *t;
    samba_token prompt[PROMPT], expected[TOKENS];
    size_t n;
} scene;

static int32_t note(void *user_data, const samba_token_event *event)
{
    scene *c = user_data;
    c->expected[c->n++] = event->token;
    return SAMBA_CONTINUE;
}

static void set_up(scene *c)
{
    uint64_t random = 8;
    const samba_generate_options o = {
        .struct_size = sizeof o, .max_tokens = TOKENS, .ignore_eos = SAMBA_YES};
    *c = (scene){.t = toy_create(true)};
    samba_session *s = toy_session(c->t, NULL);
    for (int i = 0; i < PROMPT; i++)
        c->prompt[i] = toy_token(&random);
    ck_assert_int_eq(samba_session_eval(s, c->prompt, PROMPT, NULL, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_session_generate(s, NULL, &o, note, c, NULL, NULL), SAMBA_OK);
    samba_session_free(s);
}

/* Everything a stream does. Returns whether memory was enough; *taken tokens came out right. */
static bool run_stream(scene *c, samba_session *s, size_t *taken, int *wrong)
{
    const char *const stops[] = {"x", "yz"};
    const samba_stream_options o = {.struct_size = sizeof o,
                                    .prompt = c->prompt,
                                    .n_prompt = PROMPT,
                                    .max_tokens = TOKENS,
                                    .ignore_eos = SAMBA_YES,
                                    .queue_depth = 2,
                                    .top_logprobs = 2,
                                    .stop_strings = stops,
                                    .n_stop_strings = 2};
    samba_stream *stream = NULL;
    samba_stream_event e = {.struct_size = sizeof e};
    *taken = 0;
    if (samba_stream_start(s, NULL, &o, &stream, NULL) != SAMBA_OK)
        return false;
    do {
        *wrong += samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, NULL) != SAMBA_OK;
        if (e.kind == SAMBA_STREAM_TOKEN)
            *wrong += e.token != c->expected[(*taken)++];
        if (*taken == 5 && samba_stream_suspend(stream, NULL, NULL) == SAMBA_OK)
            while (samba_stream_resume(stream, NULL) == SAMBA_ERROR_OUT_OF_MEMORY)
                __atomic_store_n(&c->t->memory.fail_in, -1, __ATOMIC_RELAXED);
    } while (e.kind == SAMBA_STREAM_TOKEN);
    *wrong += e.kind != SAMBA_STREAM_DONE;
    *wrong += samba_stream_try_next(stream, &e, NULL) != SAMBA_ERROR_STATE;
    samba_stream_close(stream);
    if (e.reason == SAMBA_STOP_ERROR)
        *wrong += e.status != SAMBA_ERROR_OUT_OF_MEMORY;
    return e.reason == SAMBA_STOP_LENGTH;
}

static void check_session(const scene *c, const samba_session *s, size_t taken)
{
    toy_shadow shadow;
    if (!taken)
        return; /* before or behind the prompt */
    toy_shadow_init(&shadow, true);
    toy_shadow_feed_all(&shadow, c->prompt, PROMPT);
    toy_shadow_feed_all(&shadow, c->expected, taken);
    toy_check_session(s, &shadow, true);
    toy_shadow_free(&shadow);
}

START_TEST(every_allocation)
{
    scene c;
    int64_t n = 1;
    bool whole = false;
    set_up(&c);
    for (; n < TRIES && !whole; n++) {
        samba_session *s = toy_session(c.t, NULL);
        size_t taken;
        int wrong = 0;
        c.t->memory.lasting = _i != 0;
        __atomic_store_n(&c.t->memory.fail_in, n, __ATOMIC_SEQ_CST);
        whole = run_stream(&c, s, &taken, &wrong);
        whole = __atomic_exchange_n(&c.t->memory.fail_in, -1, __ATOMIC_SEQ_CST) > 0 && whole;
        ck_assert_msg(!wrong, "allocation %lld", (long long)n);
        check_session(&c, s, taken);
        samba_session_free(s);
    }
    ck_assert_int_lt(n, TRIES);
    ck_assert_int_gt(n, 100);
    toy_free(c.t);
}
END_TEST

/* The n-th call of the backend fails: the stream ends with it, and says so once. */
START_TEST(every_backend_call)
{
    scene c;
    bool whole = false;
    int64_t n = 0;
    set_up(&c);
    for (; n < TRIES && !whole; n++) {
        samba_session *s = toy_session(c.t, NULL);
        samba_stream *stream = NULL;
        samba_stream_event e = {.struct_size = sizeof e};
        const samba_stream_options o = {.struct_size = sizeof o,
                                        .prompt = c.prompt,
                                        .n_prompt = PROMPT,
                                        .max_tokens = TOKENS,
                                        .ignore_eos = SAMBA_YES};
        size_t taken = 0;
        toy_device_of(c.t)->fail_in = n;
        ck_assert_int_eq(samba_stream_start(s, NULL, &o, &stream, NULL), SAMBA_OK);
        do {
            ck_assert_int_eq(samba_stream_next(stream, SAMBA_WAIT_FOREVER, &e, NULL), SAMBA_OK);
            if (e.kind == SAMBA_STREAM_TOKEN)
                ck_assert_int_eq(e.token, c.expected[taken++]);
        } while (e.kind != SAMBA_STREAM_DONE);
        whole = e.reason == SAMBA_STOP_LENGTH;
        if (!whole) {
            ck_assert_int_eq(e.reason, SAMBA_STOP_ERROR);
            ck_assert_int_eq(e.status, SAMBA_ERROR_BACKEND);
            ck_assert_str_eq(e.message, "the toy was told to");
        }
        samba_stream_close(stream);
        toy_device_of(c.t)->fail_in = -1;
        check_session(&c, s, taken);
        samba_session_free(s);
    }
    ck_assert_int_gt(n, 100);
    ck_assert(whole);
    toy_free(c.t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream_faults");
    TCase *tcase = tcase_create("faults");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, every_allocation, 0, 2);
    tcase_add_test(tcase, every_backend_call);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
