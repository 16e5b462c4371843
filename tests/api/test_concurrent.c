/*
 * Everything that the header lets several threads do at once: sessions of one model evaluating,
 * cloning and sampling with one shared sampler, text going to and fro, models loaded and freed,
 * calls cancelled from outside. Every thread must come to the bits that it comes to alone.
 */
#include "support/micro_model.h"
#include "support/rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    N_WORKERS = 8,
    N_CONTEXTS = 2,
    ROUNDS = 3,
    PROMPT = 150,
    RESULT = 1 << 16,
    CANCELS = 40 /* a worker puts up with; then it wants to get on */
};

/* What all workers share; made anew for each phase. */
typedef struct shared {
    char folder[64], gguf[96];
    samba_context *contexts[N_CONTEXTS]; /* one with a pool of two threads, one without */
    samba_model *models[N_CONTEXTS];
    samba_sampler *sampler;
} shared;

typedef struct worker {
    const shared *s;
    int number;
    samba_cancel *cancel; /* requested by others at any time */
    pthread_t thread;
    size_t n_result, n_cancelled;
    const char *failed; /* the first call that failed, or NULL */
    samba_status status;
    unsigned char result[RESULT];
} worker;

static worker alone[N_WORKERS], together[N_WORKERS];
static atomic_int n_working;

static void put(worker *w, const void *data, size_t size)
{
    if (size > RESULT - w->n_result)
        w->failed = w->failed ? w->failed : "room for results";
    else if (size)
        memcpy(w->result + w->n_result, data, size);
    w->n_result += w->failed ? 0 : size;
}

/* Assertions are for the main thread: workers note what failed. */
static bool good(worker *w, const char *what, samba_status status)
{
    if (status != SAMBA_OK && !w->failed) {
        w->failed = what;
        w->status = status;
    }
    return status == SAMBA_OK;
}

static void put_logits(worker *w, const samba_session *s)
{
    const float *logits = NULL;
    size_t n = 0;
    if (good(w, "logits", samba_session_logits(s, SAMBA_ROW_LAST, &logits, &n, NULL)))
        put(w, logits, n * sizeof *logits);
}

/* ---------------------------------------------------------------- what a worker does */

static samba_token token_at(int worker_number, uint64_t position)
{
    return (samba_token)((position * 31 + (uint64_t)worker_number * 57 + position / 11) % 256);
}

static const samba_cancel *cancel_of(const worker *w)
{
    return w->n_cancelled < CANCELS ? w->cancel : NULL;
}

/* True if the call was cancelled and is to be made again. */
static bool cancelled(worker *w, samba_status status)
{
    if (status != SAMBA_ERROR_CANCELLED)
        return false;
    w->n_cancelled++;
    samba_cancel_reset(w->cancel);
    return true;
}

/* Reads up to position `end`, however often it is cancelled on the way. */
static void read_to(worker *w, samba_session *s, uint64_t end)
{
    samba_eval_options o = {.struct_size = sizeof o};
    samba_token tokens[PROMPT * 2];
    for (uint64_t at; (at = samba_session_position(s)) < end;) {
        for (uint64_t i = at; i < end; i++)
            tokens[i - at] = token_at(w->number, i);
        o.cancel = cancel_of(w);
        samba_status status = samba_session_eval(s, tokens, (size_t)(end - at), &o, NULL);
        if (!cancelled(w, status) && !good(w, "eval", status))
            return;
    }
}

static int32_t on_token(void *user_data, const samba_token_event *event)
{
    worker *w = user_data;
    if (event->token < 0)
        return SAMBA_CONTINUE;
    put(w, &event->token, sizeof event->token);
    put(w, &event->logprob, sizeof event->logprob);
    return SAMBA_CONTINUE;
}

/* `n` tokens, however often it is cancelled on the way. */
static void generate(worker *w, samba_session *s, uint64_t n)
{
    samba_generate_options o = {
        .struct_size = sizeof o, .ignore_eos = SAMBA_YES, .branch = (uint64_t)w->number};
    for (uint64_t end = samba_session_position(s) + n, at;
         (at = samba_session_position(s)) < end;) {
        o.max_tokens = end - at;
        o.cancel = cancel_of(w);
        samba_status status = samba_session_generate(s, w->s->sampler, &o, on_token, w, NULL, NULL);
        if (!cancelled(w, status) && !good(w, "generate", status))
            return;
    }
}

static void use_text(worker *w, const samba_model *model)
{
    char text[128], back[256];
    samba_token tokens[128];
    size_t n = 0, size = 0;
    int length = snprintf(text, sizeof text, "the hen %d and \xc3\xa9 in the ring\n", w->number);
    if (!good(w, "tokenize",
              samba_tokenize(model, text, (size_t)length, NULL, tokens, 128, &n, NULL)) ||
        !good(w, "detokenize",
              samba_detokenize(model, tokens, n, NULL, back, sizeof back, &size, NULL)))
        return;
    put(w, tokens, n * sizeof *tokens);
    put(w, back, size);
    if (size != (size_t)length || memcmp(back, text, size) != 0)
        w->failed = "text that comes back";
}

/* A model of its own in a shared context, which ends with its last session. */
static void use_own_model(worker *w)
{
    samba_model_options o = {.struct_size = sizeof o};
    samba_context *context = w->s->contexts[w->number % N_CONTEXTS];
    samba_model *model = NULL;
    samba_session *session = NULL;
    samba_status status;
    do {
        o.cancel = cancel_of(w);
        status =
            samba_model_load(context, w->number % 3 ? w->s->gguf : w->s->folder, &o, &model, NULL);
    } while (cancelled(w, status));
    if (!good(w, "load", status))
        return;
    if (good(w, "session", samba_session_create(model, NULL, &session, NULL))) {
        samba_model_release(model);
        read_to(w, session, 20);
        put_logits(w, session);
        samba_session_free(session);
    } else {
        samba_model_release(model);
    }
}

/* Three sessions in one batch with what other threads do meanwhile. */
static void use_batch(worker *w, samba_session *a, samba_session *b)
{
    samba_token tokens[2][9];
    samba_eval_item items[2] = {{.session = a, .tokens = tokens[0], .n_tokens = 9},
                                {.session = b, .tokens = tokens[1], .n_tokens = 1}};
    for (uint64_t i = 0; i < 9; i++)
        tokens[0][i] = tokens[1][i] = token_at(w->number, i);
    if (good(w, "batch", samba_eval_batch(items, 2, sizeof *items, NULL, NULL))) {
        put_logits(w, a);
        put_logits(w, b);
    }
}

/* Draws from logits of its own, by the sampler's working memory. */
static void draw(worker *w, const samba_session *s)
{
    const float *logits = NULL;
    size_t n = 0;
    if (!good(w, "logits", samba_session_logits(s, SAMBA_ROW_LAST, &logits, &n, NULL)))
        return;
    for (uint64_t i = 0; i < 40; i++) {
        const samba_token history[] = {(samba_token)i, 7};
        const samba_sampler_state state = {
            .struct_size = sizeof state, .history = history, .n_history = 2, .position = i};
        samba_token token = -1;
        float logprob = 0;
        if (!good(w, "draw",
                  samba_sampler_draw(w->s->sampler, &state, logits, n, &token, &logprob, NULL)))
            return;
        put(w, &token, sizeof token);
        put(w, &logprob, sizeof logprob);
    }
}

static void work_once(worker *w, samba_model *model)
{
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 16};
    samba_session *s = NULL, *fork = NULL;
    samba_logprob top[5];
    if (!good(w, "session", samba_session_create(model, &o, &s, NULL)))
        return;
    read_to(w, s, PROMPT);
    put_logits(w, s);
    if (!w->failed && good(w, "clone", samba_session_clone(s, &fork, NULL))) {
        generate(w, s, 12);
        read_to(w, fork, PROMPT + 70);
        use_batch(w, s, fork);
        draw(w, s);
        if (good(w, "top", samba_session_top_logprobs(fork, SAMBA_ROW_LAST, 5, top, NULL)))
            put(w, top, sizeof top);
    }
    samba_session_free(s);
    use_text(w, model);
    if (fork && !w->failed) {
        generate(w, fork, 5);
        put_logits(w, fork);
    }
    samba_session_free(fork);
    use_own_model(w);
}

static void *work(void *arg)
{
    worker *w = arg;
    samba_model *model = samba_model_retain(w->s->models[w->number % N_CONTEXTS]);
    for (int round = 0; round < ROUNDS && !w->failed; round++)
        work_once(w, model);
    samba_model_release(model);
    atomic_fetch_sub(&n_working, 1);
    return NULL;
}

/* ---------------------------------------------------------------- phases */

static void add_stages(samba_sampler *sampler)
{
    const samba_penalties p = {.struct_size = sizeof p, .repeat = 1.1f, .last_n = 32};
    const samba_token tokens[] = {3, 9};
    const float biases[] = {1, -2};
    CK_OK(samba_sampler_add_penalties(sampler, &p, RIG_ERROR));
    CK_OK(samba_sampler_add_logit_bias(sampler, tokens, biases, 2, RIG_ERROR));
    CK_OK(samba_sampler_add_top_k(sampler, 40, RIG_ERROR));
    CK_OK(samba_sampler_add_top_p(sampler, 0.95f, RIG_ERROR));
    CK_OK(samba_sampler_add_temperature(sampler, 0.9f, RIG_ERROR));
    CK_OK(samba_sampler_add_seed(sampler, 11, RIG_ERROR));
}

static void make_files(shared *s)
{
    const micro_options o = {.tokenizer = true, .n_blocks = 3};
    samba_context *c = rig_context(&(rig_options){.n_threads = 1});
    ck_assert(micro_folder_make(s->folder) && micro_model_write(s->folder, &o));
    snprintf(s->gguf, sizeof s->gguf, "%s/model.gguf", s->folder);
    CK_OK(samba_convert(c, s->folder, s->gguf, NULL, NULL, RIG_ERROR));
    samba_context_free(c);
}

static void open_all(shared *s)
{
    for (int i = 0; i < N_CONTEXTS; i++) {
        const rig_options o = {.n_threads = 2 - i};
        s->contexts[i] = rig_context(&o);
        s->models[i] = rig_load(s->contexts[i], s->gguf, &o);
    }
    CK_OK(samba_sampler_create(s->contexts[0], &s->sampler, RIG_ERROR));
    add_stages(s->sampler);
}

static void close_all(shared *s)
{
    samba_sampler_free(s->sampler);
    for (int i = 0; i < N_CONTEXTS; i++) {
        samba_model_release(s->models[i]);
        samba_context_free(s->contexts[i]);
    }
}

/* Half of the workers are cancelled now and then, as long as any is at work. */
static void *disturb(void *arg)
{
    worker *workers = arg;
    const struct timespec pause = {0, 700000};
    for (int i = 0; atomic_load(&n_working) > 0; i++) {
        if (workers[i % N_WORKERS].cancel)
            samba_cancel_request(workers[i % N_WORKERS].cancel);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void begin(shared *s, worker *workers, bool cancelling)
{
    open_all(s);
    for (int i = 0; i < N_WORKERS; i++) {
        workers[i].s = s;
        workers[i].number = i;
        if (cancelling && i % 2)
            CK_OK(samba_cancel_create(s->contexts[i % N_CONTEXTS], &workers[i].cancel, RIG_ERROR));
        samba_cancel_request(workers[i].cancel);
    }
    atomic_store(&n_working, N_WORKERS);
}

static void check_worker(const worker *w)
{
    ck_assert_msg(!w->failed, "worker %d: %s: %s", w->number, w->failed,
                  samba_status_string(w->status));
    ck_assert_uint_gt(w->n_result, 0);
}

START_TEST(same_bits_with_all_at_once)
{
    static shared s;
    pthread_t disturber;
    size_t n_cancelled = 0;
    make_files(&s);
    begin(&s, alone, false);
    for (int i = 0; i < N_WORKERS; i++) {
        work(&alone[i]);
        check_worker(&alone[i]);
    }
    close_all(&s);

    begin(&s, together, true); /* a fresh sampler too: first used by many */
    for (int i = 0; i < N_WORKERS; i++)
        ck_assert_int_eq(pthread_create(&together[i].thread, NULL, work, &together[i]), 0);
    ck_assert_int_eq(pthread_create(&disturber, NULL, disturb, together), 0);
    for (int i = 0; i < N_WORKERS; i++)
        pthread_join(together[i].thread, NULL);
    pthread_join(disturber, NULL);
    for (int i = 0; i < N_WORKERS; i++) {
        check_worker(&together[i]);
        ck_assert_msg(together[i].n_result == alone[i].n_result &&
                          memcmp(together[i].result, alone[i].result, alone[i].n_result) == 0,
                      "worker %d comes to other bits in company", i);
        n_cancelled += together[i].n_cancelled;
        samba_cancel_free(together[i].cancel);
    }
    printf("%d workers, %zu bytes of results each, %zu calls cancelled\n", (int)N_WORKERS,
           alone[0].n_result, n_cancelled);
    ck_assert_uint_gt(n_cancelled, 0);
    close_all(&s);
    micro_folder_remove(s.folder);
}
END_TEST

/* ---------------------------------------------------------------- ends */

typedef struct ending {
    samba_context *context;
    samba_model *model;
    samba_session *session;
    pthread_t thread;
    samba_status status;
} ending;

/* Whoever is last frees model and context. */
static void *end_something(void *arg)
{
    ending *e = arg;
    const samba_token token = 5;
    samba_session *clone = NULL;
    e->status = samba_session_clone(e->session, &clone, NULL);
    samba_context_free(e->context);
    samba_model_release(e->model);
    samba_session_free(e->session);
    if (e->status == SAMBA_OK)
        e->status = samba_session_eval(clone, &token, 1, NULL, NULL);
    samba_session_free(clone);
    return NULL;
}

START_TEST(last_owner_on_any_thread)
{
    static shared s;
    make_files(&s);
    for (int round = 0; round < 20; round++) {
        ending ends[N_WORKERS] = {0};
        const rig_options o = {.n_threads = 2};
        samba_context *context = rig_context(&o);
        samba_model *model = rig_load(context, s.gguf, &o);
        samba_session *first = rig_session(model, 0, 0);
        const samba_token tokens[] = {1, 2, 3};
        rig_eval(first, tokens, 3, 0);
        for (int i = 0; i < N_WORKERS; i++) {
            ends[i].context = i == 0 ? context : NULL;
            ends[i].model = i == 1 ? model : samba_model_retain(model);
            CK_OK(samba_session_clone(first, &ends[i].session, RIG_ERROR));
        }
        samba_session_free(first);
        for (int i = 0; i < N_WORKERS; i++)
            ck_assert_int_eq(pthread_create(&ends[i].thread, NULL, end_something, &ends[i]), 0);
        for (int i = 0; i < N_WORKERS; i++)
            pthread_join(ends[i].thread, NULL);
        for (int i = 0; i < N_WORKERS; i++)
            ck_assert_int_eq(ends[i].status, SAMBA_OK);
    }
    micro_folder_remove(s.folder);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("concurrent");
    TCase *c = tcase_create("concurrent");
    tcase_set_timeout(c, 600);
    tcase_add_test(c, same_bits_with_all_at_once);
    tcase_add_test(c, last_owner_on_any_thread);
    suite_add_tcase(suite, c);
    return rig_main(argc, argv, suite);
}
