/*
 * Prefix caches on the toy backend, whose plain form says what every session must hold: prompts of
 * random families under budgets that force entries out, with each report checked against a search
 * by hand, and the bytes against a recount of all that the entries hold; sessions with short
 * histories and other types of keys and values; every n-th allocation failing.
 */
#include "run/prefix_cache.h"
#include "support/suite.h"
#include "toy_backend.h"

#include <stdlib.h>
#include <string.h>

enum {
    LONGEST = 90,
    FAMILIES = 6,
    PROMPTS = 700,
    OBJECTS = 1 << 16
};

typedef struct prompt {
    samba_token tokens[LONGEST];
    size_t n;
} prompt;

typedef struct world {
    toy *t;
    samba_prefix_cache *cache;
    samba_session *session;
    uint64_t random;
    prompt families[FAMILIES], last;
} world;

static size_t below(world *w, size_t n)
{
    return (size_t)(toy_random(&w->random) % n);
}

static void make_cache(world *w, uint64_t max_bytes, uint32_t interval)
{
    const samba_prefix_cache_options o = {
        .struct_size = sizeof o, .max_bytes = max_bytes, .interval = interval};
    ck_assert_int_eq(samba_prefix_cache_create(&w->t->model, &o, &w->cache, NULL), SAMBA_OK);
}

static void open_world(world *w, bool full, uint64_t max_bytes, uint32_t interval)
{
    const samba_session_options o = {.struct_size = sizeof o, .rows_per_pass = 7};
    *w = (world){.t = toy_create(full), .random = 11};
    w->session = toy_session(w->t, &o);
    make_cache(w, max_bytes, interval);
    for (int i = 0; i < FAMILIES; i++)
        for (w->families[i].n = 0; w->families[i].n < LONGEST; w->families[i].n++)
            w->families[i].tokens[w->families[i].n] = toy_token(&w->random);
}

static void close_world(world *w)
{
    samba_prefix_cache_free(w->cache);
    samba_session_free(w->session);
    toy_free(w->t);
}

/* ---------------------------------------------------------------- what must hold */

typedef struct object {
    const void *at;
    uint64_t bytes;
} object;

static int by_address(const void *a, const void *b)
{
    const object *x = a, *y = b;
    return ((uintptr_t)x->at > (uintptr_t)y->at) - ((uintptr_t)x->at < (uintptr_t)y->at);
}

static void add(object *objects, size_t *n, const void *at, uint64_t bytes)
{
    if (at)
        objects[(*n)++ % OBJECTS] = (object){at, bytes};
}

static void recount(const samba__prefix_index *x)
{
    static object objects[OBJECTS];
    size_t n = 0, n_different = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < x->n; i++) {
        const samba__image *m = x->entries[i]->image;
        for (uint32_t k = 0; k < m->state->n_slab_slots; k++)
            add(objects, &n, m->state->slabs[k], TOY_SLAB_BYTES);
        for (uint32_t k = 0; k < m->state->n_page_slots; k++)
            for (size_t p = 0; p < m->state->lists[k].n; p++)
                add(objects, &n, m->state->lists[k].cells[p], TOY_PAGE_BYTES);
        add(objects, &n, m->logits, samba__output_bytes(m->logits));
        add(objects, &n, m->history.buffer, samba__history_bytes(&m->history));
    }
    ck_assert_uint_le(n, OBJECTS);
    qsort(objects, n, sizeof *objects, by_address);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || objects[i].at != objects[i - 1].at) {
            bytes += objects[i].bytes;
            n_different++;
        }
    ck_assert_uint_eq(bytes, x->bytes);
    ck_assert_uint_eq(n_different, x->tally.n);
    ck_assert_uint_le(bytes, x->max_bytes);
}

static size_t in_common(const samba_token *a, size_t n_a, const samba_token *b, size_t n_b)
{
    size_t i = 0;
    while (i < n_a && i < n_b && a[i] == b[i])
        i++;
    return i;
}

static bool in_order(const samba__image *a, const samba__image *b)
{
    const samba_token *x = samba__history_tokens(&a->history);
    const samba_token *y = samba__history_tokens(&b->history);
    size_t n = in_common(x, a->history.n, y, b->history.n);
    if (a->layout->kv_dtype != b->layout->kv_dtype)
        return a->layout->kv_dtype < b->layout->kv_dtype;
    return n < b->history.n && (n == a->history.n || x[n] < y[n]);
}

/* Sorted, complete, linked both ways by use, and counted right. (Each assertion is a write to a
 * file, so there are few.) */
static void check_index(const samba__prefix_index *x)
{
    size_t up = 0, down = 0, n_right = 0;
    for (size_t i = 0; i < x->n; i++) {
        const samba__image *m = x->entries[i]->image;
        n_right += m->history.n == samba__image_position(m) &&
                   (i == 0 || in_order(x->entries[i - 1]->image, m));
    }
    for (const samba__prefix_entry *e = x->oldest; e; e = e->newer)
        up++;
    for (const samba__prefix_entry *e = x->newest; e; e = e->older)
        down++;
    ck_assert(n_right == x->n && up == x->n && down == x->n);
    recount(x);
}

/* What the report must say, by looking at every entry. */
static samba_prefix_report expected(const world *w, samba_dtype kv, const prompt *p, bool logits)
{
    const samba__prefix_index *x = &w->cache->index;
    samba_prefix_report r = {.reason = SAMBA_PREFIX_NEW};
    bool no_logits = false;
    size_t others = 0;
    for (size_t i = 0; i < x->n; i++) {
        const samba__image *m = x->entries[i]->image;
        size_t n = in_common(p->tokens, p->n, samba__history_tokens(&m->history), m->history.n);
        if (m->layout->kv_dtype != kv) {
            others = n > others ? n : others;
            continue;
        }
        r.matched = n > r.matched ? n : r.matched;
        if (n == p->n && n == m->history.n && logits && !m->logits)
            no_logits = true;
        else if (n == m->history.n && n > r.restored)
            r.restored = n;
    }
    r.replayed = p->n - r.restored;
    if (r.replayed == 0)
        r.reason = SAMBA_PREFIX_WHOLE;
    else if (no_logits)
        r.reason = SAMBA_PREFIX_NO_LOGITS;
    else if (r.restored < r.matched)
        r.reason = SAMBA_PREFIX_NOT_STORED;
    else if (others > r.matched)
        r.reason = SAMBA_PREFIX_OTHER_KV_DTYPE;
    return r;
}

static void shadow_of(const prompt *p, bool full, toy_shadow *shadow)
{
    toy_shadow_init(shadow, full);
    toy_shadow_feed_all(shadow, p->tokens, p->n);
}

/* One eval: the session, the report, the work done and the cache are as they must be. */
static samba_prefix_report eval(world *w, samba_session *s, const prompt *p, samba_outputs outputs)
{
    samba_dtype kv = s->sequence.layout->kv_dtype;
    const samba_eval_options o = {.struct_size = sizeof o, .outputs = outputs};
    samba_prefix_report r = {.struct_size = sizeof r};
    samba_prefix_report want = expected(w, kv, p, outputs != SAMBA_OUTPUT_NONE);
    int64_t rows = toy_device_of(w->t)->n_rows;
    toy_shadow shadow;
    ck_assert_int_eq(samba_prefix_cache_eval(w->cache, s, p->tokens, p->n, &o, &r, NULL), SAMBA_OK);
    ck_assert_uint_eq(r.matched, want.matched);
    ck_assert_uint_eq(r.restored, want.restored);
    ck_assert_uint_eq(r.replayed, want.replayed);
    ck_assert_int_eq(r.reason, want.reason);
    ck_assert(r.exact && !r.from_file);
    ck_assert_int_eq(toy_device_of(w->t)->n_rows - rows, (int64_t)r.replayed);
    shadow_of(p, w->t->model.n_page_slots == 3, &shadow);
    toy_check_session(s, &shadow, outputs != SAMBA_OUTPUT_NONE);
    toy_shadow_free(&shadow);
    check_index(&w->cache->index);
    return r;
}

/* Begins like a family, or like the last prompt, and goes on by itself. */
static void make_prompt(world *w, prompt *p)
{
    const prompt *from = below(w, 3) ? &w->families[below(w, FAMILIES)] : &w->last;
    size_t tail = below(w, 4) ? below(w, 14) : 0;
    p->n = below(w, 2) ? from->n : below(w, from->n + 1);
    p->n = p->n > LONGEST - tail ? LONGEST - tail : p->n;
    memcpy(p->tokens, from->tokens, p->n * sizeof *p->tokens);
    while (tail--)
        p->tokens[p->n++] = toy_token(&w->random);
    if (!p->n)
        p->tokens[p->n++] = toy_token(&w->random);
    w->last = *p;
}

/* ---------------------------------------------------------------- tests */

/* Session i of those that differ in what they keep and how they read. */
static samba_session *make_session(world *w, int i)
{
    const samba_session_options o = {.struct_size = sizeof o,
                                     .rows_per_pass = (uint32_t)(3 + 4 * i),
                                     .kv_dtype = i == 3 ? SAMBA_DTYPE_F32 : 0,
                                     .max_history = i == 1   ? 5
                                                    : i == 2 ? SAMBA_HISTORY_NONE
                                                             : 0};
    return toy_session(w->t, &o);
}

/* Goes on for some tokens, and sometimes stores where that leads. */
static void go_on(world *w, samba_session *s, const prompt *p)
{
    const samba_eval_options o = {.struct_size = sizeof o,
                                  .outputs = below(w, 3) ? 0 : SAMBA_OUTPUT_NONE};
    samba_token tokens[10];
    size_t n = 1 + below(w, 10);
    bool whole = s->history.max == SIZE_MAX;
    for (size_t i = 0; i < n; i++)
        tokens[i] = toy_token(&w->random);
    ck_assert_int_eq(samba_session_eval(s, tokens, n, &o, NULL), SAMBA_OK);
    if (below(w, 2))
        return;
    samba_status status = samba_prefix_cache_put(w->cache, s, NULL);
    ck_assert(status == (whole ? SAMBA_OK : SAMBA_ERROR_STATE) || status == SAMBA_ERROR_LIMIT);
    if (status == SAMBA_OK && p->n + n <= LONGEST) {
        memcpy(w->last.tokens, p->tokens, p->n * sizeof *tokens);
        memcpy(w->last.tokens + p->n, tokens, n * sizeof *tokens);
        w->last.n = p->n + n;
    }
    check_index(&w->cache->index);
}

START_TEST(families)
{
    static const struct {
        uint64_t max_bytes;
        uint32_t interval;
        bool full, evicts;
    } kinds[] = {
        {0, 8, false, true},     {12000, 8, false, true},
        {40000, 16, true, true}, {500000, SAMBA_PREFIX_INTERVAL_NONE, true, true},
        {1500, 4, false, true},  {200, 4, true, false}, /* nothing fits */
    };
    world w;
    samba_session *sessions[4];
    samba_prefix_cache_stats stats = {.struct_size = sizeof stats};
    size_t counts[6] = {0};
    open_world(&w, kinds[_i].full, kinds[_i].max_bytes, kinds[_i].interval);
    for (int i = 0; i < 4; i++)
        sessions[i] = make_session(&w, i);
    for (int i = 0; i < PROMPTS; i++) {
        prompt p;
        samba_session *s = sessions[below(&w, 4)];
        make_prompt(&w, &p);
        samba_prefix_report r = eval(&w, s, &p, below(&w, 5) ? 0 : SAMBA_OUTPUT_NONE);
        counts[r.reason]++;
        if (below(&w, 3) == 0)
            go_on(&w, s, &p);
        if (below(&w, 200) == 0)
            samba_prefix_cache_clear(w.cache);
    }
    ck_assert_int_eq(samba_prefix_cache_get_stats(w.cache, &stats, NULL), SAMBA_OK);
    ck_assert_uint_eq(stats.n_hits + stats.n_misses, PROMPTS);
    for (int reason = 1; _i == 3 && reason <= 5; reason++)
        ck_assert(counts[reason] || reason == SAMBA_PREFIX_NO_LOGITS);
    ck_assert(_i != 5 || (stats.n_entries == 0 && stats.n_hits == 0 && stats.n_stored == 0));
    ck_assert(kinds[_i].evicts == (stats.n_evicted > 100));
    ck_assert(_i == 5 || stats.n_hits > PROMPTS / 8);
    for (int i = 0; i < 4; i++)
        samba_session_free(sessions[i]);
    close_world(&w);
}
END_TEST

static void take(prompt *p, const prompt *from, size_t n)
{
    *p = *from;
    p->n = n;
}

/* A prompt leaves its end, the interval's positions, and where it left what was there. */
START_TEST(positions)
{
    world w;
    prompt p;
    open_world(&w, true, 0, 8);
    take(&p, &w.families[0], 20);
    samba_prefix_report r = eval(&w, w.session, &p, 0);
    ck_assert(r.stored == 3 && r.restored == 0 && r.reason == SAMBA_PREFIX_NEW); /* 8, 16, 20 */
    memcpy(p.tokens + 13, w.families[1].tokens, 30 * sizeof *p.tokens);
    p.n = 43;
    r = eval(&w, w.session, &p, 0);
    ck_assert(r.matched == 13 && r.restored == 8 && r.reason == SAMBA_PREFIX_NOT_STORED);
    ck_assert_uint_eq(r.stored, 6); /* 13, 16, 24, 32, 40, 43 */
    memcpy(p.tokens + 13, w.families[2].tokens, 30 * sizeof *p.tokens);
    r = eval(&w, w.session, &p, 0);
    ck_assert(r.matched == 13 && r.restored == 13 && r.reason == SAMBA_PREFIX_NEW);
    r = eval(&w, w.session, &p, 0);
    ck_assert(r.restored == 43 && r.replayed == 0 && r.reason == SAMBA_PREFIX_WHOLE);
    close_world(&w);
}
END_TEST

/* A position stored without logits does not end a prompt that needs them; it gives way to one with
 * them, and not the other way round. */
START_TEST(no_logits)
{
    const samba_eval_options none = {.struct_size = sizeof none, .outputs = SAMBA_OUTPUT_NONE};
    world w;
    prompt p;
    open_world(&w, true, 0, 8);
    take(&p, &w.families[0], 20);
    ck_assert_int_eq(samba_session_eval(w.session, p.tokens, 20, &none, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_put(w.cache, w.session, NULL), SAMBA_OK);
    eval(&w, w.session, &p, SAMBA_OUTPUT_NONE);
    samba_prefix_report r = eval(&w, w.session, &p, 0);
    ck_assert(r.reason == SAMBA_PREFIX_NO_LOGITS && r.restored == 0 && r.matched == 20);
    ck_assert_uint_eq(r.stored, 2); /* 8, 16; 20 is there already, without */
    ck_assert(eval(&w, w.session, &p, 0).reason == SAMBA_PREFIX_WHOLE);
    samba_session *s = toy_session(w.t, NULL);
    ck_assert_int_eq(samba_session_eval(s, p.tokens, 20, &none, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_put(w.cache, s, NULL), SAMBA_OK);
    ck_assert(eval(&w, w.session, &p, 0).reason == SAMBA_PREFIX_WHOLE);
    samba_session_free(s);
    close_world(&w);
}
END_TEST

/* A second session starts from the images of a first that is gone, and writes none of its cells. */
START_TEST(sharing)
{
    world w;
    prompt p;
    open_world(&w, true, 0, 8);
    take(&p, &w.families[0], 40);
    eval(&w, w.session, &p, 0);
    samba_session_free(w.session);
    int64_t pages = toy_device_of(w.t)->n_pages, slabs = toy_device_of(w.t)->n_slabs;
    w.session = toy_session(w.t, NULL);
    for (int round = 0; round < 3; round++) {
        samba_token token = (samba_token)round;
        eval(&w, w.session, &p, 0);
        ck_assert_int_eq(samba_session_eval(w.session, &token, 1, NULL, NULL), SAMBA_OK);
    }
    eval(&w, w.session, &p, 0);
    ck_assert_int_le(toy_device_of(w.t)->n_pages, pages + 6);
    ck_assert_int_le(toy_device_of(w.t)->n_slabs, slabs + 4);
    close_world(&w);
}
END_TEST

/* Of three entries that fill the budget, the one not used goes for a fourth. */
START_TEST(least_recently_used)
{
    world w;
    prompt p[4];
    open_world(&w, false, 0, SAMBA_PREFIX_INTERVAL_NONE);
    for (int i = 0; i < 4; i++)
        take(&p[i], &w.families[i], 21);
    eval(&w, w.session, &p[0], 0);
    uint64_t one = w.cache->index.bytes;
    samba_prefix_cache_free(w.cache);
    make_cache(&w, 3 * one, SAMBA_PREFIX_INTERVAL_NONE);
    for (int i = 0; i < 3; i++)
        eval(&w, w.session, &p[i], 0);
    ck_assert_uint_eq(w.cache->index.n, 3);
    eval(&w, w.session, &p[0], 0); /* find uses */
    eval(&w, w.session, &p[3], 0);
    ck_assert_uint_eq(w.cache->index.n, 3);
    ck_assert_uint_eq(expected(&w, SAMBA_DTYPE_F16, &p[1], true).matched, 0);
    ck_assert_uint_eq(expected(&w, SAMBA_DTYPE_F16, &p[0], true).matched, 21);
    eval(&w, w.session, &p[2], 0);
    ck_assert_int_eq(samba_prefix_cache_put(w.cache, w.session, NULL),
                     SAMBA_OK); /* so is putting */
    eval(&w, w.session, &p[1], 0);
    ck_assert_uint_eq(expected(&w, SAMBA_DTYPE_F16, &p[0], true).matched, 0);
    close_world(&w);
}
END_TEST

START_TEST(refusals)
{
    world w, other;
    prompt p;
    const samba_session_options late = {.struct_size = sizeof late, .first_position = 3};
    samba_eval_options o = {.struct_size = sizeof o, .outputs = SAMBA_OUTPUT_ALL};
    samba_prefix_report r = {.struct_size = sizeof r, .matched = 77};
    open_world(&w, true, 600, 8);
    open_world(&other, true, 0, 8);
    take(&p, &w.families[0], 5);
    samba_session *s = toy_session(w.t, &late);
#define EVAL(session, n) samba_prefix_cache_eval(w.cache, session, p.tokens, n, &o, &r, NULL)
    ck_assert_int_eq(EVAL(w.session, 5), SAMBA_ERROR_INVALID_ARGUMENT);
    o = (samba_eval_options){.struct_size = sizeof o, .hidden = 1};
    ck_assert_int_eq(EVAL(w.session, 5), SAMBA_ERROR_INVALID_ARGUMENT);
    o = (samba_eval_options){.struct_size = sizeof o, .speculative = SAMBA_YES};
    ck_assert_int_eq(EVAL(w.session, 5), SAMBA_ERROR_INVALID_ARGUMENT);
    o = (samba_eval_options){.struct_size = sizeof o};
    ck_assert_int_eq(EVAL(NULL, 5), SAMBA_ERROR_INVALID_ARGUMENT);
    ck_assert_int_eq(EVAL(s, 5), SAMBA_ERROR_STATE);
    ck_assert_int_eq(EVAL(other.session, 5), SAMBA_ERROR_MISMATCH);
    ck_assert_int_eq(samba_prefix_cache_put(w.cache, w.session, NULL), SAMBA_ERROR_STATE);
    ck_assert_int_eq(samba_session_eval(w.session, p.tokens, 3, NULL, NULL), SAMBA_OK);
    p.tokens[4] = TOY_VOCAB;
    ck_assert_int_eq(EVAL(w.session, 5), SAMBA_ERROR_INVALID_ARGUMENT);
    ck_assert_uint_eq(samba_session_position(w.session), 3);
    ck_assert_int_eq(samba_prefix_cache_put(w.cache, w.session, NULL), SAMBA_ERROR_LIMIT);
    r.struct_size = 3;
    ck_assert_int_eq(EVAL(w.session, 3), SAMBA_ERROR_INVALID_ARGUMENT);
    ck_assert_uint_eq(r.matched, 77);
    r.struct_size = sizeof r;
    ck_assert_int_eq(EVAL(w.session, 0), SAMBA_OK); /* as new */
    ck_assert_uint_eq(samba_session_position(w.session), 0);
#undef EVAL
    ck_assert_str_eq(samba_prefix_reason_string(99), "unknown reason");
    samba_session_free(s);
    close_world(&w);
    close_world(&other);
}
END_TEST

/* A prompt with the n-th allocation failing: read to its end, stored or not; or refused, with the
 * session where it stood or after some of its tokens. */
static bool with_failure(int64_t n, bool lasting, bool cached)
{
    world w;
    prompt p, old;
    toy_shadow shadow;
    open_world(&w, true, 0, 8);
    take(&p, &w.families[0], 31);
    take(&old, &w.families[1], 3);
    if (cached) {
        take(&w.last, &w.families[0], 17);
        eval(&w, w.session, &w.last, 0);
    }
    eval(&w, w.session, &old, 0);
    w.t->memory.fail_in = n;
    w.t->memory.lasting = lasting;
    samba_status status =
        samba_prefix_cache_eval(w.cache, w.session, p.tokens, p.n, NULL, NULL, NULL);
    bool sprung = w.t->memory.fail_in <= 0;
    w.t->memory.fail_in = -1;
    ck_assert(status == SAMBA_OK || (sprung && status == SAMBA_ERROR_OUT_OF_MEMORY));
    uint64_t at = samba_session_position(w.session);
    ck_assert_int_eq(status == SAMBA_OK, at == p.n);
    p.n = (size_t)at;
    shadow_of(at == 3 ? &old : &p, true, &shadow);
    toy_check_session(w.session, &shadow, samba_session_n_rows(w.session) > 0);
    toy_shadow_free(&shadow);
    check_index(&w.cache->index);
    p.n = 31;
    eval(&w, w.session, &p, 0);
    w.t->memory.fail_in = n;
    status = samba_prefix_cache_put(w.cache, w.session, NULL);
    ck_assert(status == SAMBA_OK || w.t->memory.fail_in <= 0);
    w.t->memory.fail_in = -1;
    check_index(&w.cache->index);
    close_world(&w);
    return sprung;
}

START_TEST(no_memory)
{
    int64_t n = 1;
    while (n < 1000 && with_failure(n, _i & 1, _i & 2))
        n++;
    ck_assert_int_gt(n, 20);
    ck_assert_int_lt(n, 1000);
}
END_TEST

START_TEST(no_memory_to_create)
{
    toy *t = toy_create(false);
    samba_prefix_cache *cache = NULL;
    t->memory.fail_in = 1;
    ck_assert_int_eq(samba_prefix_cache_create(&t->model, NULL, &cache, NULL),
                     SAMBA_ERROR_OUT_OF_MEMORY);
    ck_assert_int_eq(samba_prefix_cache_create(&t->model, NULL, &cache, NULL), SAMBA_OK);
    samba_prefix_cache_free(cache);
    toy_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_cache");
    TCase *tcase = tcase_create("prompts");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, families, 0, 6);
    tcase_add_test(tcase, positions);
    tcase_add_test(tcase, no_logits);
    tcase_add_test(tcase, sharing);
    tcase_add_test(tcase, least_recently_used);
    tcase_add_test(tcase, refusals);
    tcase_add_loop_test(tcase, no_memory, 0, 4);
    tcase_add_test(tcase, no_memory_to_create);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
