/*
 * Streams for a long time on the toy backend: random arrivals, cancels, closes, suspensions, slow
 * readers, blocking calls beside them and failing allocations. Every token is the right one, every
 * session stands where it was left, and in the end nothing remains: no block of memory, no slab or
 * page, no thread, no file, and the process is as large as it was. --full: 20 minutes.
 */
#include "support/slow_build.h"
#include "support/suite.h"
#include "toy_backend.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SLOTS = 24,
    KINDS = 12,
    LONGEST = 80
};
static double seconds = 8;

typedef struct reference {
    samba_token prompt[48], tokens[LONGEST];
    size_t n_prompt, n;
} reference;

typedef struct slot {
    const reference *r;
    samba_session *session;
    samba_stream *stream;
    size_t taken;
    bool slow;
} slot;

typedef struct soak {
    toy *t;
    samba_sampler *sampler;
    reference kinds[KINDS];
    slot slots[SLOTS];
    uint64_t random;
    uint64_t n_started, n_ended, n_failed, n_tokens;
} soak;

static int32_t note(void *user_data, const samba_token_event *event)
{
    reference *r = user_data;
    r->tokens[r->n++] = event->token;
    return SAMBA_CONTINUE;
}

static uint64_t below(soak *s, uint64_t n)
{
    return toy_random(&s->random) % n;
}

static void set_up(soak *s, bool full)
{
    *s = (soak){.t = toy_create(full), .random = full};
    ck_assert_int_eq(samba_sampler_create(s->t->context, &s->sampler, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_sampler_add_temperature(s->sampler, 1.2f, NULL), SAMBA_OK);
    for (uint64_t k = 0; k < KINDS; k++) {
        reference *r = &s->kinds[k];
        samba_session *session = toy_session(s->t, NULL);
        const samba_generate_options o = {.struct_size = sizeof o,
                                          .max_tokens = 1 + below(s, LONGEST),
                                          .ignore_eos = SAMBA_YES,
                                          .branch = k};
        r->n_prompt = 1 + below(s, 48);
        for (size_t i = 0; i < r->n_prompt; i++)
            r->prompt[i] = toy_token(&s->random);
        ck_assert_int_eq(samba_session_eval(session, r->prompt, r->n_prompt, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(samba_session_generate(session, s->sampler, &o, note, r, NULL, NULL),
                         SAMBA_OK);
        samba_session_free(session);
    }
}

static void arm(soak *s, int64_t in)
{
    __atomic_store_n(&s->t->memory.fail_in, in, __ATOMIC_RELAXED);
}

static void start(soak *s, slot *p)
{
    uint64_t k = below(s, KINDS);
    const reference *r = &s->kinds[k];
    const samba_stream_options o = {.struct_size = sizeof o,
                                    .prompt = r->prompt,
                                    .n_prompt = r->n_prompt,
                                    .max_tokens = r->n,
                                    .ignore_eos = SAMBA_YES,
                                    .branch = k,
                                    .priority = 1 + (int32_t)below(s, 100),
                                    .queue_depth = 1 + (uint32_t)below(s, 6)};
    *p = (slot){.r = r, .slow = below(s, 4) == 0};
    if (samba_session_create(&s->t->model, NULL, &p->session, NULL) != SAMBA_OK)
        return;
    samba_status status = samba_stream_start(p->session, s->sampler, &o, &p->stream, NULL);
    if (status == SAMBA_OK) {
        s->n_started++;
        return;
    }
    ck_assert_int_eq(status, SAMBA_ERROR_OUT_OF_MEMORY);
    samba_session_free(p->session);
    p->session = NULL;
}

/* The stream is over: its session stands at the last token taken. */
static void end(soak *s, slot *p)
{
    samba_stream_close(p->stream);
    uint64_t at = samba_session_position(p->session);
    if (p->taken)
        ck_assert_uint_eq(at, p->r->n_prompt + p->taken);
    if (below(s, 8) == 0 && p->taken) {
        toy_shadow shadow;
        toy_shadow_init(&shadow, s->t->model.n_page_slots == 3);
        toy_shadow_feed_all(&shadow, p->r->prompt, p->r->n_prompt);
        toy_shadow_feed_all(&shadow, p->r->tokens, p->taken);
        toy_check_session(p->session, &shadow, true);
        toy_shadow_free(&shadow);
    }
    samba_session_free(p->session);
    *p = (slot){0};
    s->n_ended++;
}

static void take(soak *s, slot *p)
{
    samba_stream_event e = {.struct_size = sizeof e};
    if (p->slow && below(s, 16))
        return;
    ck_assert_int_eq(samba_stream_try_next(p->stream, &e, NULL), SAMBA_OK);
    if (e.kind == SAMBA_STREAM_TOKEN) {
        ck_assert_int_eq(e.token, p->r->tokens[p->taken++]);
        s->n_tokens++;
    }
    if (e.kind != SAMBA_STREAM_DONE)
        return;
    if (e.reason == SAMBA_STOP_ERROR)
        ck_assert_int_eq(e.status, SAMBA_ERROR_OUT_OF_MEMORY);
    s->n_failed += e.reason == SAMBA_STOP_ERROR;
    end(s, p);
}

static void suspend(slot *p)
{
    samba_snapshot *snapshot = NULL;
    samba_status status = samba_stream_suspend(p->stream, &snapshot, NULL);
    samba_snapshot_release(snapshot);
    if (status == SAMBA_OK && samba_stream_resume(p->stream, NULL) != SAMBA_OK)
        samba_stream_cancel(p->stream);
}

static void evaluate(soak *s)
{
    samba_session *session = NULL;
    samba_token tokens[30];
    for (size_t i = 0; i < 30; i++)
        tokens[i] = toy_token(&s->random);
    if (samba_session_create(&s->t->model, NULL, &session, NULL) == SAMBA_OK)
        (void)samba_session_eval(session, tokens, 1 + below(s, 30), NULL, NULL);
    samba_session_free(session);
}

static void act(soak *s)
{
    slot *p = &s->slots[below(s, SLOTS)];
    uint64_t what = below(s, 1000);
    if (what == 0)
        arm(s, 1 + (int64_t)below(s, 200));
    else if (what < 5)
        evaluate(s);
    else if (!p->stream)
        start(s, p);
    else if (what < 15)
        samba_stream_cancel(p->stream);
    else if (what < 20)
        end(s, p);
    else if (what < 40)
        suspend(p);
    else
        take(s, p);
}

static long entries(const char *path)
{
    long n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* Without what is mapped of files, of which the system shows more or less as it likes. */
static long resident_kb(void)
{
    long all = 0, resident = 0, of_files = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld %ld", &all, &resident, &of_files) != 3)
        resident = of_files = 0;
    if (f)
        fclose(f);
    return (resident - of_files) * (sysconf(_SC_PAGESIZE) / 1024);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* A sanitizer starts its own thread with the first one. */
static void warm_up(void)
{
    uv_thread_t thread;
    ck_assert_int_eq(uv_thread_create(&thread, nothing, NULL), 0);
    uv_thread_join(&thread);
}

START_TEST(for_a_while)
{
    warm_up();
    static soak s;
    long threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
    long most[2] = {0}; /* resident in the first and the second half: it goes up and down */
    double began = (double)uv_hrtime() * 1e-9, now = began;
    set_up(&s, _i != 0);
    while (now < began + seconds / 2) {
        for (int i = 0; i < 1000; i++)
            act(&s);
        now = (double)uv_hrtime() * 1e-9;
        long *half = &most[now > began + seconds / 4], memory = resident_kb();
        *half = memory > *half ? memory : *half;
    }
    arm(&s, -1);
    for (int i = 0; i < SLOTS; i++)
        if (s.slots[i].stream)
            end(&s, &s.slots[i]);
    samba_sampler_free(s.sampler);
    toy_free(s.t);
    printf("%.0f s: %llu streams started, %llu ended by failing memory, %llu tokens taken; "
           "threads %ld -> %ld, files %ld -> %ld, most resident %ld, then %ld kB\n",
           now - began, (unsigned long long)s.n_started, (unsigned long long)s.n_failed,
           (unsigned long long)s.n_tokens, threads, entries("/proc/self/task"), files,
           entries("/proc/self/fd"), most[0], most[1]);
    ck_assert_uint_eq(s.n_started, s.n_ended);
    ck_assert_int_eq(entries("/proc/self/task"), threads);
    ck_assert_int_eq(entries("/proc/self/fd"), files);
    if (!SLOW_BUILD) /* a sanitizer keeps what is freed */
        ck_assert_int_le(most[1], most[0] + most[0] / 10 + 2048);
    ck_assert_uint_gt(s.n_failed, 0);
}
END_TEST

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0)
            seconds = 1200;
        if (strcmp(argv[i], "--short") == 0)
            seconds = 2;
    }
    Suite *suite = suite_create("stream_soak");
    TCase *tcase = tcase_create("soak");
    tcase_set_timeout(tcase, 2 * seconds + 60);
    tcase_add_loop_test(tcase, for_a_while, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
