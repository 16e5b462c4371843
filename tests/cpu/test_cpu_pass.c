/*
 * The CPU backend through its vtable, on a model with every sublayer kind: schedule invariance bit
 * by bit, outputs of every mode, moving state between devices, errors, failing allocations.
 */
#include "support/fail_alloc.h"
#include "support/suite.h"
#include "tiny.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    PROMPT = 150
};

static samba_token tokens[3][PROMPT];
static uint64_t seed = 12345;

static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static void make_tokens(void)
{
    seed = 12345;
    for (size_t s = 0; s < 3; s++)
        for (size_t i = 0; i < PROMPT; i++)
            tokens[s][i] = (samba_token)below(TINY_VOCAB);
}

static void ok(samba_status status, samba_error *error)
{
    ck_assert_msg(status == SAMBA_OK, "%s", error ? samba_error_message(error) : "no message");
}

static void open_tiny(tiny *t, samba_dtype dtype, int32_t n_threads, int tier)
{
    samba_error *error = NULL;
    ok(tiny_open(t, &(tiny_options){.dtype = dtype, .n_threads = n_threads, .tier = tier}, &error),
       error);
}

static bool has_tier(int tier)
{
    samba__kernels k;
    make_tokens();
    return samba__kernels_select(tier, &k);
}

static void pass(tiny *t, tiny_run *run)
{
    samba_error *error = NULL;
    ok(tiny_pass(t, run, &error), error);
}

/* Logits of every row and the state after, in one pass per sequence, 1 thread: what all else must
 * equal. */
typedef struct truth {
    float logits[3][PROMPT * TINY_VOCAB];
    char *packed[3];
    size_t size[3];
} truth;

static truth *truth_new(samba_dtype weights, samba_dtype kv, int tier)
{
    truth *w = malloc(sizeof *w);
    tiny t;
    open_tiny(&t, weights, 1, tier);
    for (size_t s = 0; s < 3; s++) {
        tiny_session session = {.kv_dtype = kv};
        tiny_run run = {.n_items = 1, .logits = w->logits[s]};
        run.items[0] = (tiny_item){&session, tokens[s], PROMPT, PROMPT, false, 0};
        pass(&t, &run);
        w->packed[s] = tiny_pack(&t, &session, &w->size[s]);
        tiny_session_free(&t, &session);
    }
    tiny_close(&t);
    for (size_t i = 0; i < PROMPT * TINY_VOCAB; i++)
        ck_assert(isfinite(w->logits[0][i]));
    return w;
}

static void truth_free(truth *w)
{
    for (size_t s = 0; s < 3; s++)
        free(w->packed[s]);
    free(w);
}

/* Adds a random next piece of sequence s to the run, unless it is at its end. */
static void add_piece(tiny_run *run, tiny_session *session, size_t s)
{
    uint32_t at = (uint32_t)session->position, n = 1 + below(below(3) ? 6 : 70);
    if (at == PROMPT)
        return;
    n = n < PROMPT - at ? n : PROMPT - at;
    tiny_item item = {session, tokens[s] + at, n, below(n + 1), below(3) == 0, 0};
    item.keep = 1 + below(n);
    run->items[run->n_items++] = item;
}

/* The outputs of each item are rows of the truth, counted from the position before the pass. */
static void check_rows(const tiny_run *run, const uint64_t *before, const size_t *which,
                       const truth *w)
{
    const float *got = run->logits;
    for (uint32_t i = 0; i < run->n_items; i++) {
        const tiny_item *item = &run->items[i];
        size_t first = (size_t)before[i] + item->n_rows - item->n_out;
        for (size_t r = 0; r < item->n_out; r++, got += TINY_VOCAB)
            ck_assert_msg(memcmp(got, w->logits[which[i]] + (first + r) * TINY_VOCAB,
                                 TINY_VOCAB * sizeof *got) == 0,
                          "sequence %zu position %zu differs", which[i], first + r);
    }
}

/* Three sequences to their end, in random pieces, orders and batches. */
static void random_schedule(tiny *t, samba_dtype kv, const truth *w)
{
    static float logits[3 * PROMPT * TINY_VOCAB];
    tiny_session sessions[3] = {{.kv_dtype = kv}, {.kv_dtype = kv}, {.kv_dtype = kv}};
    bool more = true;
    while (more) {
        tiny_run run = {.logits = logits, .wide = below(3) == 0};
        uint64_t before[3];
        size_t which[3], start = below(3);
        for (size_t k = 0; k < 3; k++) {
            size_t s = (start + k) % 3;
            if (below(4) == 0)
                continue;
            before[run.n_items] = sessions[s].position;
            which[run.n_items] = s;
            add_piece(&run, &sessions[s], s);
        }
        more = false;
        for (size_t s = 0; s < 3; s++)
            more |= sessions[s].position < PROMPT;
        if (run.n_items == 0)
            continue;
        pass(t, &run);
        check_rows(&run, before, which, w);
        more = true;
    }
    for (size_t s = 0; s < 3; s++) {
        size_t size;
        char *packed = tiny_pack(t, &sessions[s], &size);
        ck_assert_uint_eq(size, w->size[s]);
        ck_assert_msg(memcmp(packed, w->packed[s], size) == 0, "state of sequence %zu differs", s);
        free(packed);
        tiny_session_free(t, &sessions[s]);
    }
}

/* Pages hold a NaN in every slot not written, and slabs NaN throughout: see tiny_options. */
START_TEST(schedules)
{
    static const struct {
        samba_dtype weights, kv;
    } kinds[] = {{SAMBA_DTYPE_F32, SAMBA_DTYPE_F16},
                 {SAMBA_DTYPE_BF16, SAMBA_DTYPE_F32},
                 {SAMBA_DTYPE_Q8_0, SAMBA_DTYPE_Q8_0},
                 {SAMBA_DTYPE_Q4_0, SAMBA_DTYPE_F16},
                 {SAMBA_DTYPE_F16, SAMBA_DTYPE_BF16}};
    static const int32_t threads[] = {1, 2, 5};
    if (!has_tier(_i))
        return;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        truth *w = truth_new(kinds[k].weights, kinds[k].kv, _i);
        for (size_t n = 0; n < 3; n++) {
            tiny t;
            open_tiny(&t, kinds[k].weights, threads[n], _i);
            for (int i = 0; i < 3; i++)
                random_schedule(&t, kinds[k].kv, w);
            tiny_close(&t);
        }
        truth_free(w);
    }
}
END_TEST

/* One session's first n rows, all as outputs. */
static tiny_run one_run(tiny_session *session, uint32_t n, uint32_t n_out, float *logits)
{
    tiny_run run = {.n_items = 1, .logits = logits};
    run.items[0] = (tiny_item){session, tokens[0] + session->position, n, n_out, false, 0};
    return run;
}

START_TEST(head_modes)
{
    static float all[PROMPT * TINY_VOCAB], some[PROMPT * TINY_VOCAB], logprobs[PROMPT];
    static float hidden[2][PROMPT * TINY_WIDTH];
    samba_token targets[PROMPT];
    tiny t;
    if (!has_tier(_i))
        return;
    open_tiny(&t, SAMBA_DTYPE_F32, 2, _i);
    for (size_t i = 0; i < PROMPT; i++)
        targets[i] = i % 7 == 3 ? -1 : (samba_token)below(TINY_VOCAB);
    tiny_session s = {.kv_dtype = SAMBA_DTYPE_F32};
    tiny_run run = one_run(&s, PROMPT, PROMPT, all);
    run.keep_hidden = true;
    run.hidden = hidden[0];
    pass(&t, &run);
    tiny_session_free(&t, &s);
    run = one_run(&s, PROMPT, PROMPT, some);
    run.mode = SAMBA_HEAD_TARGETS;
    run.targets = targets;
    run.logprobs = logprobs;
    run.keep_hidden = true;
    run.hidden = hidden[1];
    pass(&t, &run);
    tiny_session_free(&t, &s);
    ck_assert_mem_eq(hidden[0], hidden[1], sizeof hidden[0]);
    size_t row = 0;
    for (size_t i = 0; i < PROMPT; i++) {
        const float *x = all + i * TINY_VOCAB;
        double sum = 0;
        for (size_t j = 0; j < TINY_VOCAB; j++)
            sum += exp((double)x[j]);
        if (targets[i] < 0) {
            ck_assert_mem_eq(some + row++ * TINY_VOCAB, x, TINY_VOCAB * sizeof *x);
            ck_assert(logprobs[i] <= 0 && logprobs[i] >= 0);
        } else {
            ck_assert_double_eq_tol((double)logprobs[i], (double)x[targets[i]] - log(sum), 1e-5);
        }
    }
    memset(hidden[1], 0, sizeof hidden[1]);
    run = one_run(&s, PROMPT, PROMPT, NULL);
    run.mode = SAMBA_HEAD_NORM;
    run.hidden = hidden[1];
    pass(&t, &run);
    tiny_session_free(&t, &s);
    ck_assert_mem_eq(hidden[0], hidden[1], sizeof hidden[0]);
    tiny_close(&t);
}
END_TEST

/* Taps before and after NARROW, and the memory, for the output rows. */
START_TEST(taps_and_memory)
{
    static float wide[2][PROMPT * TINY_WIDTH], narrow[20 * TINY_WIDTH];
    static float memory[2][PROMPT * TINY_MEMORY];
    tiny t;
    if (!has_tier(_i))
        return;
    open_tiny(&t, SAMBA_DTYPE_F32, 2, _i);
    tiny_session s = {.kv_dtype = SAMBA_DTYPE_F16};
    for (int32_t at = 2; at <= 8; at += 6) {
        tiny_run run = one_run(&s, PROMPT, PROMPT, NULL);
        run.tap = at;
        run.wide = true;
        run.hidden = wide[0];
        run.memory = memory[0];
        pass(&t, &run);
        tiny_session_free(&t, &s);
        run = one_run(&s, PROMPT, 20, NULL);
        run.tap = at;
        run.hidden = narrow;
        run.memory = memory[1];
        pass(&t, &run);
        tiny_session_free(&t, &s);
        ck_assert_mem_eq(narrow, wide[0] + (PROMPT - 20) * TINY_WIDTH, sizeof narrow);
        ck_assert_mem_eq(memory[1], memory[0] + (PROMPT - 20) * TINY_MEMORY,
                         20 * TINY_MEMORY * sizeof(float));
    }
    tiny_close(&t);
}
END_TEST

/* NARROW at any sublayer, over two passes and two sequences, gives rows of the wide run. */
START_TEST(narrow_anywhere)
{
    static float wide[2][60 * TINY_VOCAB], narrow[60 * TINY_VOCAB];
    static const uint32_t outs[2][2] = {{7, 0}, {1, 12}};
    tiny t;
    if (!has_tier(_i))
        return;
    open_tiny(&t, SAMBA_DTYPE_F32, 3, _i);
    for (int32_t cut = 1; cut <= TINY_SUBLAYERS; cut++) {
        tiny_session s[4] = {{0}}; /* wide, narrow */
        for (size_t i = 0; i < 4; i++)
            s[i].kv_dtype = SAMBA_DTYPE_F16;
        for (size_t pass_no = 0; pass_no < 2; pass_no++) {
            for (size_t i = 0; i < 2; i++) {
                tiny_run run = {.n_items = 1, .wide = true, .cut = cut, .logits = wide[i]};
                run.items[0] =
                    (tiny_item){&s[i], tokens[i] + s[i].position, 30, 30, pass_no == 1, 30};
                pass(&t, &run);
            }
            tiny_run run = {.n_items = 2, .cut = cut, .logits = narrow};
            for (size_t i = 0; i < 2; i++)
                run.items[i] = (tiny_item){
                    &s[2 + i], tokens[i] + s[2 + i].position, 30, outs[pass_no][i], false, 0};
            pass(&t, &run);
            const float *got = narrow;
            for (size_t i = 0; i < 2; i++) {
                size_t n = outs[pass_no][i];
                ck_assert_msg(
                    memcmp(got, wide[i] + (30 - n) * TINY_VOCAB, n * TINY_VOCAB * sizeof *got) == 0,
                    "NARROW at sublayer %d, pass %zu, sequence %zu", cut - 1, pass_no, i);
                got += n * TINY_VOCAB;
            }
        }
        for (size_t i = 0; i < 4; i++)
            tiny_session_free(&t, &s[i]);
    }
    tiny_close(&t);
}
END_TEST

/* State packed on one device goes on, bit by bit, on another with other threads. */
START_TEST(moving)
{
    static float all[PROMPT * TINY_VOCAB], rest[PROMPT * TINY_VOCAB];
    if (!has_tier(_i))
        return;
    for (samba_dtype kv = SAMBA_DTYPE_F32; kv <= SAMBA_DTYPE_Q8_0; kv++) {
        tiny a, b;
        samba_error *error = NULL;
        size_t size, again;
        open_tiny(&a, SAMBA_DTYPE_F32, 1, _i);
        open_tiny(&b, SAMBA_DTYPE_F32, 3, _i);
        tiny_session s = {.kv_dtype = kv}, moved;
        tiny_run run = one_run(&s, 101, 0, NULL);
        pass(&a, &run);
        char *packed = tiny_pack(&a, &s, &size);
        ok(tiny_unpack(&b, &moved, packed, 101, kv, &error), error);
        char *repacked = tiny_pack(&b, &moved, &again);
        ck_assert_uint_eq(size, again);
        ck_assert_mem_eq(packed, repacked, size);
        run = one_run(&s, PROMPT - 101, PROMPT - 101, all);
        pass(&a, &run);
        run = one_run(&moved, PROMPT - 101, PROMPT - 101, rest);
        pass(&b, &run);
        ck_assert_mem_eq(all, rest, (PROMPT - 101) * TINY_VOCAB * sizeof(float));
        /* A copy of a page is the same page. */
        uint32_t copy;
        ok(b.v->page_alloc(b.device, b.sublayers[2].weights, kv, &copy, &error), error);
        ok(b.v->page_copy(b.device, copy, moved.pages[0][0], &error), error);
        b.v->page_free(b.device, moved.pages[0][0]);
        moved.pages[0][0] = copy;
        char *x = tiny_pack(&a, &s, &size), *y = tiny_pack(&b, &moved, &again);
        ck_assert_mem_eq(x, y, size);
        char *all_of_it[] = {packed, repacked, x, y};
        for (size_t i = 0; i < 4; i++)
            free(all_of_it[i]);
        tiny_session_free(&a, &s);
        tiny_session_free(&b, &moved);
        tiny_close(&a);
        tiny_close(&b);
    }
}
END_TEST

/* ---------------------------------------------------------------- errors */

/* The call fails so, and says something. */
static void fails(samba_status status, samba_status wanted, samba_error **error, const char *word)
{
    ck_assert_int_eq(status, wanted);
    ck_assert_ptr_nonnull(*error);
    ck_assert_msg(strstr(samba_error_message(*error), word) != NULL, "'%s' is not in '%s'", word,
                  samba_error_message(*error));
    samba_error_free(*error);
    *error = NULL;
}

START_TEST(wrong_weights)
{
    static const struct {
        size_t sublayer;
        int role;
        const char *name;
    } roles[] = {{0, SAMBA_W_X_PROJ, "'x_proj'"}, {0, SAMBA_W_A, "'A'"},
                 {2, SAMBA_W_K_CONV, "'k conv'"}, {3, SAMBA_W_V_BIAS, "'v bias'"},
                 {4, SAMBA_W_GK_B, "'gk_b'"},     {6, SAMBA_W_SUBNORM, "'subnorm'"},
                 {7, SAMBA_W_IN, "'in'"},         {9, SAMBA_W_NORM, "'norm'"}};
    tiny t;
    samba_error *error = NULL;
    samba_backend_weights *w = NULL;
    samba_backend_footprint f = {.struct_size = sizeof f};
    has_tier(1);
    open_tiny(&t, SAMBA_DTYPE_F32, 1, 1);
    for (size_t i = 0; i < 8; i++) {
        samba_backend_sublayer d = t.sublayers[roles[i].sublayer].desc;
        samba_backend_tensor *x = &d.tensors[roles[i].role];
        x->cols += 1;
        fails(t.v->prepare_sublayer(t.device, &d, &w, &error), SAMBA_ERROR_MISMATCH, &error,
              roles[i].name);
        fails(t.v->measure(t.device, &d, &f, &error), SAMBA_ERROR_MISMATCH, &error, roles[i].name);
        x->cols -= 1;
        x->rows = UINT64_MAX / 2;
        fails(t.v->prepare_sublayer(t.device, &d, &w, &error), SAMBA_ERROR_MISMATCH, &error,
              roles[i].name);
        ck_assert_ptr_null(w);
    }
    samba_backend_sublayer d = t.sublayers[0].desc;
    d.tensors[SAMBA_W_OUT].data = NULL;
    fails(t.v->prepare_sublayer(t.device, &d, &w, &error), SAMBA_ERROR_MISMATCH, &error, "missing");
    d = t.sublayers[0].desc;
    d.tensors[SAMBA_W_D].dtype = SAMBA_DTYPE_F16;
    fails(t.v->prepare_sublayer(t.device, &d, &w, &error), SAMBA_ERROR_MISMATCH, &error, "f32");
    d = t.sublayers[0].desc;
    d.tensors[SAMBA_W_IN].dtype = 77;
    fails(t.v->prepare_sublayer(t.device, &d, &w, &error), SAMBA_ERROR_UNSUPPORTED, &error, "77");
    d.kind = 99;
    fails(t.v->prepare_sublayer(t.device, &d, &w, &error), SAMBA_ERROR_UNSUPPORTED, &error, "99");
    d = t.sublayers[3].desc;
    d.n_heads = 3;
    fails(t.v->measure(t.device, &d, &f, &error), SAMBA_ERROR_UNSUPPORTED, &error, "n_kv_heads");
    tiny_close(&t);
}
END_TEST

START_TEST(footprints)
{
    tiny t;
    samba_error *error = NULL;
    has_tier(1);
    open_tiny(&t, SAMBA_DTYPE_F32, 1, 1);
    for (size_t i = 0; i < TINY_SUBLAYERS; i++) {
        const tiny_sublayer *s = &t.sublayers[i];
        samba_backend_footprint f = {.struct_size = sizeof f};
        samba_backend_sublayer d = s->desc;
        for (size_t r = 0; r < SAMBA_W_COUNT; r++)
            d.tensors[r].data = NULL;
        ok(t.v->measure(t.device, &d, &f, &error), error);
        ck_assert_mem_eq(&f, &s->footprint, sizeof f);
        ck_assert_int_eq(f.slab_bytes != 0, s->slab_slot >= 0);
        ck_assert_int_eq(f.page_bytes[SAMBA_DTYPE_F16] != 0, s->owns_pages);
        if (s->owns_pages)
            ck_assert_uint_eq(f.page_bytes[SAMBA_DTYPE_F16],
                              (uint64_t)2 * 64 * s->desc.n_kv_heads * s->desc.head_dim * 2);
        ck_assert_uint_gt(f.weight_bytes, (uint64_t)TINY_WIDTH * TINY_WIDTH * 4);
    }
    ck_assert_uint_eq(t.sublayers[0].footprint.slab_bytes, TINY_MEMORY * (3 + 8) * 4);
    samba_backend_sublayer d = t.sublayers[3].desc; /* heads of 24: no q8_0 pages */
    samba_backend_footprint f = {.struct_size = sizeof f};
    d.head_dim = 24;
    d.n_heads = 1;
    d.n_kv_heads = 1;
    d.tensors[SAMBA_W_Q].rows = d.tensors[SAMBA_W_K].rows = d.tensors[SAMBA_W_V].rows = 24;
    d.tensors[SAMBA_W_Q_BIAS].cols = d.tensors[SAMBA_W_K_BIAS].cols = 24;
    d.tensors[SAMBA_W_V_BIAS].cols = d.tensors[SAMBA_W_OUT].cols = 24;
    ok(t.v->measure(t.device, &d, &f, &error), error);
    ck_assert_uint_eq(f.page_bytes[SAMBA_DTYPE_Q8_0], 0);
    ck_assert_uint_ne(f.page_bytes[SAMBA_DTYPE_BF16], 0);
    tiny_close(&t);
}
END_TEST

START_TEST(wrong_calls)
{
    static float logits[PROMPT * TINY_VOCAB], first[TINY_VOCAB];
    tiny t;
    samba_error *error = NULL;
    has_tier(1);
    open_tiny(&t, SAMBA_DTYPE_F32, 2, 1);
    tiny_session s = {.kv_dtype = SAMBA_DTYPE_F32};
    samba_token bad[3] = {1, TINY_VOCAB, 2};
    tiny_run run = one_run(&s, 3, 1, logits);
    run.items[0].tokens = bad;
    fails(tiny_pass(&t, &run, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "token 53");
    run.items[0].tokens = tokens[0];
    samba_token target = TINY_VOCAB;
    run.mode = SAMBA_HEAD_TARGETS;
    run.targets = &target;
    fails(tiny_pass(&t, &run, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "target 53");
    run = one_run(&s, 3, 1, first);
    pass(&t, &run);
    /* Slabs and pages that are not there, or of another sublayer: nothing changes. */
    tiny_session broken = s;
    broken.slabs[0] = 9999;
    run = one_run(&broken, 1, 1, logits);
    fails(tiny_pass(&t, &run, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "slab 9999");
    broken = s;
    broken.slabs[0] = s.slabs[1];
    fails(tiny_pass(&t, &run, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "slab");
    broken = s;
    broken.pages[0][0] = s.pages[2][0];
    fails(tiny_pass(&t, &run, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "page");
    broken = s;
    broken.kv_dtype = SAMBA_DTYPE_F16;
    fails(tiny_pass(&t, &run, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "page");
    char bytes[64];
    fails(t.v->slab_pack(t.device, s.slabs[0], bytes, 64, &error), SAMBA_ERROR_MISMATCH, &error,
          "64");
    fails(t.v->page_pack(t.device, s.pages[0][0], 0, 1, bytes, 64, &error), SAMBA_ERROR_MISMATCH,
          &error, "64");
    fails(t.v->page_pack(t.device, s.pages[0][0], 60, 5, bytes, 64, &error),
          SAMBA_ERROR_INVALID_ARGUMENT, &error, "60");
    fails(t.v->page_copy(t.device, s.pages[0][0], s.pages[2][0], &error), SAMBA_ERROR_MISMATCH,
          &error, "shapes");
    uint32_t n;
    fails(t.v->slab_alloc(t.device, t.sublayers[1].weights, &n, &error),
          SAMBA_ERROR_INVALID_ARGUMENT, &error, "state");
    fails(t.v->page_alloc(t.device, t.sublayers[2].weights, 50, &n, &error),
          SAMBA_ERROR_UNSUPPORTED, &error, "50");
    /* And all is as it was. */
    tiny_session_free(&t, &s);
    run = one_run(&s, 3, 1, logits);
    pass(&t, &run);
    ck_assert_mem_eq(first, logits, sizeof first);
    tiny_session_free(&t, &s);
    tiny_close(&t);
}
END_TEST

START_TEST(wrong_device)
{
    tiny t;
    samba_error *error = NULL;
    tiny_options o = {.dtype = SAMBA_DTYPE_F32, .n_threads = 1, .tier = 1000};
    fails(tiny_open(&t, &o, &error), SAMBA_ERROR_UNSUPPORTED, &error, "1000");
    o = (tiny_options){.dtype = SAMBA_DTYPE_F32, .n_threads = 0, .tier = 1};
    fails(tiny_open(&t, &o, &error), SAMBA_ERROR_INVALID_ARGUMENT, &error, "0 threads");
}
END_TEST

/* ---------------------------------------------------------------- memory */

static samba_status two_passes(tiny *t, samba_error **error)
{
    static float logits[8 * TINY_VOCAB];
    tiny_session a = {.kv_dtype = SAMBA_DTYPE_F16}, b = {.kv_dtype = SAMBA_DTYPE_F32};
    tiny_run run = {.n_items = 2, .logits = logits};
    run.items[0] = (tiny_item){&a, tokens[0], 5, 5, true, 3};
    run.items[1] = (tiny_item){&b, tokens[1], 4, 1, false, 0};
    samba_status status = tiny_pass(t, &run, error);
    if (status == SAMBA_OK)
        status = tiny_pass(t, &run, error);
    tiny_session_free(t, &a);
    tiny_session_free(t, &b);
    return status;
}

/* From opening to closing; every failure is an error and leaves nothing behind. */
static samba_status whole_life(void *arg)
{
    tiny t;
    samba_error *error = NULL;
    tiny_options o = {.dtype = SAMBA_DTYPE_F32, .n_threads = *(int32_t *)arg, .tier = 1};
    o.allocator = fail_alloc_allocator();
    samba_status status = tiny_open(&t, &o, &error);
    if (status == SAMBA_OK) {
        status = two_passes(&t, &error);
        tiny_close(&t);
    }
    samba_error_free(error);
    return status;
}

START_TEST(failing_allocations)
{
    int32_t n_threads = _i;
    has_tier(1);
    ck_assert_uint_gt(fail_alloc_every(whole_life, &n_threads, 1), 60);
}
END_TEST

/* After a first pass of a size, passes of that size allocate slabs and pages, nothing else. */
START_TEST(steady)
{
    tiny t;
    samba_error *error = NULL;
    has_tier(1);
    tiny_options o = {.dtype = SAMBA_DTYPE_F32, .n_threads = 2, .tier = 1};
    o.allocator = fail_alloc_allocator();
    ok(tiny_open(&t, &o, &error), error);
    tiny_session s = {.kv_dtype = SAMBA_DTYPE_F16};
    static float logits[TINY_VOCAB];
    tiny_run run = one_run(&s, 10, 1, logits);
    pass(&t, &run);
    run.items[0].tokens += 10;
    fail_alloc_begin(0, false);
    samba_status status = tiny_pass(&t, &run, &error);
    size_t n = fail_alloc_end();
    ok(status, error);
    ck_assert_uint_eq(n, TINY_SLABS);
    tiny_session_free(&t, &s);
    tiny_close(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/pass");
    TCase *tiers = tcase_create("tiers"), *once = tcase_create("once");
    tcase_set_timeout(tiers, 240);
    tcase_set_timeout(once, 240);
    tcase_add_loop_test(tiers, schedules, 1, SAMBA_CPU_NEON_DOTPROD + 1);
    tcase_add_loop_test(tiers, head_modes, 1, SAMBA_CPU_NEON_DOTPROD + 1);
    tcase_add_loop_test(tiers, taps_and_memory, 1, SAMBA_CPU_NEON_DOTPROD + 1);
    tcase_add_loop_test(tiers, narrow_anywhere, 1, SAMBA_CPU_NEON_DOTPROD + 1);
    tcase_add_loop_test(tiers, moving, 1, SAMBA_CPU_NEON_DOTPROD + 1);
    tcase_add_test(once, wrong_weights);
    tcase_add_test(once, footprints);
    tcase_add_test(once, wrong_calls);
    tcase_add_test(once, wrong_device);
    tcase_add_loop_test(once, failing_allocations, 1, 3);
    tcase_add_test(once, steady);
    suite_add_tcase(suite, tiers);
    suite_add_tcase(suite, once);
    return run_suite(suite);
}
