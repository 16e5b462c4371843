/*
 * Loading on several threads: however many there are and wherever the bytes come from, the model is
 * the same; a reader is called where its manual says; progress is told by the loading thread alone;
 * every failing read ends the load, with nothing left behind; and nothing big is held on the side.
 * The model is large enough for many chunks and turns (lib/cpu/fill.c).
 */
#include "support/micro_model.h"
#include "support/rig.h"
#include "support/slow_build.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const samba_backend_vtbl samba__cpu_backend;

enum {
    VOCAB = 9000,
    HOST_THREADS = 5,
    /* Which reads fail: each of the first and last EDGE, and every STRIDE-th between. */
    EDGE = SLOW_BUILD ? 3 : 8,
    STRIDE = SLOW_BUILD ? 97 : 17,
    LOOKS = SLOW_BUILD ? 3 : 10
};
static char folder[64], gguf[128];
static char *data; /* of gguf */
static size_t data_size;

static void setup(void)
{
    const micro_options o = {.d_model = 512, .n_vocab = VOCAB, .tied = false};
    ck_assert(micro_folder_make(folder));
    ck_assert(micro_model_write(folder, &o));
    snprintf(gguf, sizeof gguf, "%s/model.gguf", folder);
    samba_context *context = rig_context(&(rig_options){.n_threads = 1});
    CK_OK(samba_convert(context, folder, gguf, NULL, NULL, RIG_ERROR));
    samba_context_free(context);
    data = rig_file(gguf, &data_size);
}

static void teardown(void)
{
    free(data);
    micro_folder_remove(folder);
}

/* ---- a host with threads, more than there are processors ---- */

typedef void (*task_fn)(void *arg, uint32_t index, uint32_t n);

typedef struct call {
    task_fn task;
    void *arg;
    uint32_t index, n;
} call;

static void *run_call(void *arg)
{
    const call *c = arg;
    c->task(c->arg, c->index, c->n);
    return NULL;
}

static int32_t run_tasks(void *user_data, task_fn task, void *arg, uint32_t n)
{
    pthread_t threads[HOST_THREADS];
    call calls[HOST_THREADS];
    (void)user_data;
    for (uint32_t i = 1; i < n; i++) {
        calls[i] = (call){task, arg, i, n};
        pthread_create(&threads[i], NULL, run_call, &calls[i]);
    }
    task(arg, 0, n);
    for (uint32_t i = 1; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static const samba_thread_pool host_pool = {
    .struct_size = sizeof host_pool, .n_threads = HOST_THREADS, .run = run_tasks};

/* ---- the allocator's books ---- */

typedef struct books {
    _Atomic size_t live, most;
} books;

static void *count_alloc(void *user_data, size_t size, size_t align)
{
    books *b = user_data;
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    size_t live = atomic_fetch_add(&b->live, size) + size, most = atomic_load(&b->most);
    while (live > most && !atomic_compare_exchange_weak(&b->most, &most, live)) {
    }
    return p;
}

static void count_free(void *user_data, void *ptr, size_t size, size_t align)
{
    (void)align;
    atomic_fetch_sub(&((books *)user_data)->live, size);
    free(ptr);
}

/* threads 0: the host's. */
static samba_context *make_context(int32_t threads, const samba_allocator *allocator)
{
    samba_context *context = NULL;
    samba_context_options o = {
        .struct_size = sizeof o, .allocator = allocator, .n_threads = threads};
    if (threads == 0)
        o.thread_pool = &host_pool;
    CK_OK(samba_context_create(&o, &context, RIG_ERROR));
    return context;
}

/* ---- alike ---- */

typedef struct seen {
    uint8_t fingerprint[16];
    float logits[VOCAB];
} seen;

static void look(samba_model *model, seen *to)
{
    static const samba_token tokens[] = {5, VOCAB - 1, 200, 17, 3};
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(model, &info, RIG_ERROR));
    samba_session *session = rig_session(model, SAMBA_DTYPE_F32, 0);
    rig_eval(session, tokens, sizeof tokens / sizeof *tokens, 0);
    memcpy(to->logits, rig_logits(session, SAMBA_ROW_LAST), sizeof to->logits);
    memcpy(to->fingerprint, info.fingerprint, sizeof to->fingerprint);
    samba_session_free(session);
}

static void check_same(samba_model *model, const seen *want)
{
    seen *s = malloc(sizeof *s);
    look(model, s);
    ck_assert_int_eq(memcmp(s, want, sizeof *s), 0);
    free(s);
    samba_model_release(model);
}

typedef struct bytes {
    pthread_t loader;
    bool one_thread;
    uint64_t fail_at; /* 0: never */
    atomic_uint_fast64_t calls;
    atomic_uint inside, most_inside, elsewhere;
} bytes;

static int32_t read_bytes(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    bytes *b = user_data;
    unsigned inside = atomic_fetch_add(&b->inside, 1) + 1, most = atomic_load(&b->most_inside);
    while (inside > most && !atomic_compare_exchange_weak(&b->most_inside, &most, inside)) {
    }
    if (!pthread_equal(b->loader, pthread_self()))
        atomic_fetch_add(&b->elsewhere, 1);
    bool fails = atomic_fetch_add(&b->calls, 1) + 1 == b->fail_at;
    if (!fails)
        memcpy(buffer, data + offset, size);
    atomic_fetch_sub(&b->inside, 1);
    return fails ? 1 : 0;
}

static samba_reader reader_of(bytes *b, bool parallel)
{
    *b = (bytes){.loader = pthread_self()};
    return (samba_reader){.struct_size = sizeof(samba_reader),
                          .size = data_size,
                          .read_at = read_bytes,
                          .user_data = b,
                          .parallel = parallel ? SAMBA_YES : SAMBA_NO};
}

START_TEST(every_way_gives_the_same)
{
    static const int32_t threads[] = {1, 2, 3, 0};
    static const samba_dtype types[] = {0, SAMBA_DTYPE_Q8_0, SAMBA_DTYPE_BF16};
    const samba_model_options o = {.struct_size = sizeof o, .weight_dtype = types[_i]};
    seen *want = malloc(sizeof *want);
    bytes b;
    const size_t first = SLOW_BUILD ? 3 : 0; /* the most threads at least */
    for (size_t i = first; i < sizeof threads / sizeof *threads; i++) {
        samba_context *context = make_context(threads[i], NULL);
        samba_model *model = NULL;
        CK_OK(samba_model_load(context, gguf, &o, &model, RIG_ERROR));
        if (i == first)
            look(model, want);
        check_same(model, want);
        CK_OK(samba_model_load(context, folder, &o, &model, RIG_ERROR));
        check_same(model, want);
        samba_model_options mapped = o;
        mapped.mmap = SAMBA_YES;
        CK_OK(samba_model_load(context, gguf, &mapped, &model, RIG_ERROR));
        check_same(model, want);
        mapped.mmap = 3;
        CK_FAILS(SAMBA_ERROR_INVALID_ARGUMENT,
                 samba_model_load(context, gguf, &mapped, &model, RIG_ERROR));
        CK_OK(samba_model_load_memory(context, data, data_size, &o, &model, RIG_ERROR));
        check_same(model, want);
        for (int parallel = 0; parallel < 2; parallel++) {
            const samba_reader r = reader_of(&b, parallel);
            CK_OK(samba_model_load_reader(context, &r, &o, &model, RIG_ERROR));
            check_same(model, want);
            if (!parallel || threads[i] == 1)
                ck_assert(atomic_load(&b.elsewhere) == 0 && atomic_load(&b.most_inside) == 1);
        }
        samba_context_free(context);
    }
    free(want);
}
END_TEST

/* ---- failing reads ---- */

START_TEST(a_failing_read_ends_it)
{
    books k = {0};
    const samba_allocator a = {sizeof a, count_alloc, count_free, &k};
    samba_context *context = make_context(_i ? 0 : 2, &a);
    const size_t live = atomic_load(&k.live);
    samba_model *model = NULL;
    bytes b;
    samba_reader r = reader_of(&b, true);
    CK_OK(samba_model_load_reader(context, &r, NULL, &model, RIG_ERROR));
    samba_model_release(model);
    model = NULL;
    const uint64_t calls = atomic_load(&b.calls);
    ck_assert_uint_gt(calls, 150);
    const size_t after = atomic_load(&k.live); /* a device stays, and what it has grown */
    ck_assert(after >= live);
    for (uint64_t i = 1; i <= calls; i += i < EDGE || i + EDGE > calls ? 1 : STRIDE) {
        r = reader_of(&b, true);
        b.fail_at = i;
        CK_FAILS(SAMBA_ERROR_IO, samba_model_load_reader(context, &r, NULL, &model, RIG_ERROR));
        ck_assert_ptr_null(model);
        ck_assert_uint_eq(atomic_load(&k.live), after);
    }
    samba_context_free(context);
    ck_assert_uint_eq(atomic_load(&k.live), 0);
}
END_TEST

/* ---- progress ---- */

typedef struct watch {
    pthread_t loader;
    uint64_t calls, stop_at, done, total, steps;
} watch;

static int32_t on_progress(void *user_data, uint64_t done, uint64_t total)
{
    watch *w = user_data;
    ck_assert(pthread_equal(w->loader, pthread_self()));
    ck_assert(w->done <= done && done <= total);
    w->steps += done > w->done;
    w->done = done;
    w->total = total;
    return ++w->calls == w->stop_at ? SAMBA_STOP : SAMBA_CONTINUE;
}

START_TEST(progress_is_told_by_the_loader)
{
    samba_context *context = make_context(_i, NULL);
    watch w = {.loader = pthread_self()};
    samba_model *model = NULL;
    const samba_model_options o = {
        .struct_size = sizeof o, .progress = on_progress, .progress_user_data = &w};
    CK_OK(samba_model_load(context, gguf, &o, &model, RIG_ERROR));
    samba_model_release(model);
    model = NULL;
    ck_assert_uint_eq(w.done, w.total);
    ck_assert_uint_ge(w.steps, 7); /* groups, and the embedding and head in between */
    const uint64_t calls = w.calls;
    for (uint64_t i = 1; i <= calls; i += 3) {
        w = (watch){.loader = pthread_self(), .stop_at = i};
        CK_FAILS(SAMBA_ERROR_CANCELLED, samba_model_load(context, gguf, &o, &model, RIG_ERROR));
        ck_assert_ptr_null(model);
        ck_assert_uint_eq(w.calls, i);
    }
    samba_context_free(context);
}
END_TEST

/* ---- memory ---- */

START_TEST(little_is_held_on_the_side)
{
    static const samba_dtype types[] = {0, SAMBA_DTYPE_BF16};
    books k = {0};
    const samba_allocator a = {sizeof a, count_alloc, count_free, &k};
    samba_context *context = make_context(_i % 2 ? 2 : 1, &a);
    const samba_model_options o = {.struct_size = sizeof o, .weight_dtype = types[_i / 2]};
    samba_estimate e = {.struct_size = sizeof e};
    samba_model *model = NULL;
    CK_OK(samba_model_estimate(context, gguf, &o, NULL, &e, RIG_ERROR));
    CK_OK(samba_model_load(context, gguf, &o, &model, RIG_ERROR));
    size_t kept = atomic_load(&k.live), most = atomic_load(&k.most);
    ck_assert_uint_gt(kept, data_size / 2 - data_size / 20);
    ck_assert_msg(most - kept < (size_t)3 << 20, "%zu bytes more while loading", most - kept);
    ck_assert_uint_le(most, e.load_peak_bytes + (1 << 20));
    samba_model_release(model);
    samba_context_free(context);
}
END_TEST

/* ---- beside a running session, and each other ---- */

typedef struct other {
    samba_context *context;
    const seen *want;
    bool failed;
} other;

static void *load_some(void *arg)
{
    other *t = arg;
    for (int i = 0; i < 3; i++) {
        samba_model *model = NULL;
        samba_model_info info = {.struct_size = sizeof info};
        if (samba_model_load(t->context, gguf, NULL, &model, NULL) != SAMBA_OK ||
            samba_model_get_info(model, &info, NULL) != SAMBA_OK ||
            memcmp(info.fingerprint, t->want->fingerprint, sizeof info.fingerprint) != 0)
            t->failed = true;
        samba_model_release(model);
    }
    return NULL;
}

START_TEST(loads_and_passes_side_by_side)
{
    samba_context *context = make_context(_i, NULL);
    samba_model *model = NULL;
    seen *want = malloc(sizeof *want);
    CK_OK(samba_model_load(context, gguf, NULL, &model, RIG_ERROR));
    look(model, want);
    other others[2] = {{context, want, false}, {context, want, false}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load_some, &others[i]), 0);
    for (int i = 0; i < LOOKS; i++)
        check_same(samba_model_retain(model), want);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(!others[i].failed);
    }
    samba_model_release(model);
    samba_context_free(context);
    free(want);
}
END_TEST

/* ---- a backend that leaves rows unread ---- */

static samba_status lazy_prepare(samba_backend_device *device, const samba_backend_sublayer *s,
                                 samba_backend_weights **weights, samba_error **error)
{
    static const float zeros[4096];
    samba_backend_sublayer mine = *s;
    mine.tensors[SAMBA_W_NORM].data = zeros;
    mine.tensors[SAMBA_W_NORM].flags = 0;
    return samba__cpu_backend.prepare_sublayer(device, &mine, weights, error);
}

START_TEST(rows_left_unread_are_noticed)
{
    samba_backend_vtbl lazy = samba__cpu_backend;
    lazy.name = "lazy";
    lazy.prepare_sublayer = lazy_prepare;
    const samba_backend_vtbl *const backends[] = {&lazy};
    const samba_context_options c = {
        .struct_size = sizeof c, .n_threads = 2, .backends = backends, .n_backends = 1};
    const samba_model_options o = {.struct_size = sizeof o, .backend = "lazy"};
    samba_context *context = NULL;
    samba_model *model = NULL;
    CK_OK(samba_context_create(&c, &context, RIG_ERROR));
    CK_FAILS(SAMBA_ERROR_BACKEND, samba_model_load(context, gguf, &o, &model, RIG_ERROR));
    ck_assert_ptr_nonnull(strstr(rig_message(), "lazy has read 0 of 1 rows"));
    samba_context_free(context);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("run/load");
    TCase *t = tcase_create("load");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, setup, teardown);
    /* A load takes a sanitizer seconds: each case once there, with the threads that suit it. */
    tcase_add_loop_test(t, every_way_gives_the_same, SLOW_BUILD ? 2 : 0, 3);
    tcase_add_loop_test(t, a_failing_read_ends_it, 0, SLOW_BUILD ? 1 : 2);
    tcase_add_loop_test(t, progress_is_told_by_the_loader, SLOW_BUILD ? 2 : 0, 3);
    tcase_add_loop_test(t, little_is_held_on_the_side, SLOW_BUILD ? 3 : 0, 4);
    tcase_add_loop_test(t, loads_and_passes_side_by_side, 0, SLOW_BUILD ? 1 : 3);
    tcase_add_test(t, rows_left_unread_are_noticed);
    suite_add_tcase(suite, t);
    return rig_main(argc, argv, suite);
}
