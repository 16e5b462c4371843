/*
 * What a prefix cache spills: found again by the same cache, by a later one, and by none that it is
 * not for; damaged, cut, exchanged and vanished files; budgets, folders that cannot be written,
 * threads, failing allocations. Whatever happens to files, a session that has read through the
 * cache stands where one stands that has read everything, bit for bit.
 */
#include "base/folder.h"
#include "samba.h"
#include "support/fail_alloc.h"
#include "support/micro_model.h"
#include "support/suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

enum {
    VOCAB = 32,
    PROMPTS = 5,
    LENGTH = 30,
    PATH = 256,
    THREADS = 3
};

static char model_folder[64], other_folder[64], spill_folder[64];
static samba_context *context;
static samba_model *model;
static samba_token prompts[PROMPTS][LENGTH + 1];
static float logits[PROMPTS][2][VOCAB]; /* after LENGTH tokens, and one more */

/* ---------------------------------------------------------------- rig */

static samba_session *new_session(samba_model *m)
{
    samba_session *s = NULL;
    ck_assert_int_eq(samba_session_create(m, NULL, &s, NULL), SAMBA_OK);
    return s;
}

static bool stands_at(const samba_session *s, const float expected[VOCAB])
{
    const float *row = NULL;
    return samba_session_logits(s, SAMBA_ROW_LAST, &row, NULL, NULL) == SAMBA_OK &&
           memcmp(row, expected, VOCAB * sizeof *row) == 0;
}

static void read_plainly(samba_model *m)
{
    samba_session *s = new_session(m);
    unsigned random = 17;
    for (int p = 0; p < PROMPTS; p++) {
        const float *row = NULL;
        for (int i = 0; i <= LENGTH; i++)
            prompts[p][i] = (samba_token)((random = random * 1103515245u + 12345u) >> 16) % VOCAB;
        prompts[p][0] = p; /* no prefix in common */
        ck_assert_int_eq(samba_session_reset(s, NULL), SAMBA_OK);
        for (int k = 0; k < 2; k++) {
            ck_assert_int_eq(
                samba_session_eval(s, prompts[p] + (k ? LENGTH : 0), k ? 1 : LENGTH, NULL, NULL),
                SAMBA_OK);
            ck_assert_int_eq(samba_session_logits(s, SAMBA_ROW_LAST, &row, NULL, NULL), SAMBA_OK);
            memcpy(logits[p][k], row, sizeof logits[p][k]);
        }
    }
    samba_session_free(s);
}

static void set_up(void)
{
    const samba_context_options o = {
        .struct_size = sizeof o, .n_threads = 1, .allocator = fail_alloc_allocator()};
    const micro_options other = {.seed = 2};
    ck_assert(micro_folder_make(model_folder) && micro_model_write(model_folder, NULL));
    ck_assert(micro_folder_make(other_folder) && micro_model_write(other_folder, &other));
    ck_assert(micro_folder_make(spill_folder));
    ck_assert_int_eq(samba_context_create(&o, &context, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_model_load(context, model_folder, NULL, &model, NULL), SAMBA_OK);
    read_plainly(model);
}

static void tear_down(void)
{
    samba_model_release(model);
    samba_context_free(context);
    micro_folder_remove(model_folder);
    micro_folder_remove(other_folder);
    micro_folder_remove(spill_folder);
}

static samba_prefix_cache *new_cache(samba_model *m, uint64_t max_bytes, uint64_t max_spill_bytes)
{
    const samba_prefix_cache_options o = {.struct_size = sizeof o,
                                          .max_bytes = max_bytes,
                                          .interval = SAMBA_PREFIX_INTERVAL_NONE,
                                          .spill_directory = spill_folder,
                                          .max_spill_bytes = max_spill_bytes};
    samba_prefix_cache *c = NULL;
    ck_assert_int_eq(samba_prefix_cache_create(m, &o, &c, NULL), SAMBA_OK);
    return c;
}

static samba_prefix_cache_stats stats_of(samba_prefix_cache *c)
{
    samba_prefix_cache_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(samba_prefix_cache_get_stats(c, &stats, NULL), SAMBA_OK);
    return stats;
}

/* A prompt through the cache, and one token more: as read plainly. */
static samba_prefix_report eval(samba_prefix_cache *c, samba_session *s, int p)
{
    samba_prefix_report r = {.struct_size = sizeof r};
    ck_assert_int_eq(samba_prefix_cache_eval(c, s, prompts[p], LENGTH, NULL, &r, NULL), SAMBA_OK);
    ck_assert(stands_at(s, logits[p][0]));
    ck_assert_int_eq(samba_session_eval(s, prompts[p] + LENGTH, 1, NULL, NULL), SAMBA_OK);
    ck_assert(stands_at(s, logits[p][1]));
    ck_assert_uint_eq(samba_session_position(s), LENGTH + 1);
    return r;
}

typedef struct folder_sum {
    size_t n;
    uint64_t bytes;
    char name[PATH]; /* of one */
} folder_sum;

static bool sum_up(void *arg, const samba__folder_file *file)
{
    folder_sum *sum = arg;
    sum->n++;
    sum->bytes += file->size;
    snprintf(sum->name, sizeof sum->name, "%s", file->name);
    return true;
}

static folder_sum folder_now(void)
{
    folder_sum sum = {0};
    ck_assert_int_eq(samba__folder_list(fail_alloc_allocator(), spill_folder, sum_up, &sum, NULL),
                     SAMBA_OK);
    return sum;
}

static void path_in(const char *name, char path[PATH + 64])
{
    snprintf(path, PATH + 64, "%s/%s", spill_folder, name);
}

static size_t load(const char *name, unsigned char *bytes, size_t capacity)
{
    char path[PATH + 64];
    path_in(name, path);
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(bytes, 1, capacity, f);
    fclose(f);
    ck_assert_uint_lt(n, capacity);
    return n;
}

static void save(const char *name, const unsigned char *bytes, size_t n)
{
    char path[PATH + 64];
    path_in(name, path);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void empty_folder(void)
{
    for (folder_sum sum = folder_now(); sum.n; sum = folder_now()) {
        char path[PATH + 64];
        path_in(sum.name, path);
        ck_assert(samba__file_remove(path));
    }
}

/* Bytes of one entry. */
static uint64_t entry_bytes(samba_session *s)
{
    samba_prefix_cache *c = new_cache(model, 0, 0);
    eval(c, s, 0);
    uint64_t bytes = stats_of(c).bytes;
    samba_prefix_cache_free(c);
    return bytes;
}

/* A folder with the file of prompt 0 alone. */
static folder_sum one_file(samba_session *s)
{
    samba_prefix_cache *c = new_cache(model, 0, 0);
    empty_folder();
    eval(c, s, 0);
    ck_assert_int_eq(samba_prefix_cache_flush(c, NULL), SAMBA_OK);
    samba_prefix_cache_free(c);
    folder_sum sum = folder_now();
    ck_assert_uint_eq(sum.n, 1);
    return sum;
}

/* ---------------------------------------------------------------- tests */

START_TEST(found_again)
{
    samba_session *s = new_session(model);
    uint64_t one = entry_bytes(s);
    samba_prefix_cache *c = new_cache(model, one + one / 2, 0);
    for (int p = 0; p < PROMPTS; p++)
        ck_assert(!eval(c, s, p).from_file);
    samba_prefix_cache_stats stats = stats_of(c);
    ck_assert(stats.n_entries == 1 && stats.n_files == PROMPTS - 1 && stats.n_evicted == 4);
    folder_sum sum = folder_now();
    ck_assert(sum.n == PROMPTS - 1 && sum.bytes == stats.file_bytes);
    for (int round = 0; round < 3; round++)
        for (int p = 0; p < PROMPTS; p++) {
            samba_prefix_report r = eval(c, s, p);
            ck_assert(r.restored == LENGTH && r.replayed == 0 && r.reason == SAMBA_PREFIX_WHOLE);
            ck_assert_int_eq(r.from_file, 1);
        }
    stats = stats_of(c);
    ck_assert_uint_eq(stats.n_written, PROMPTS); /* each once, however often it went out */
    ck_assert(stats.n_file_hits == 3 * PROMPTS && stats.n_file_failures == 0);
    samba_prefix_cache_free(c);
    samba_session_free(s);
}
END_TEST

/* By another load of the same model, as in a later process; and by no other model. */
START_TEST(later)
{
    samba_session *s = new_session(model);
    samba_model *again = NULL, *other = NULL;
    one_file(s);
    ck_assert_int_eq(samba_model_load(context, model_folder, NULL, &again, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_model_load(context, other_folder, NULL, &other, NULL), SAMBA_OK);
    samba_prefix_cache *c = new_cache(again, 0, 0);
    samba_session *t = new_session(again);
    ck_assert_uint_eq(stats_of(c).n_files, 1);
    ck_assert_int_eq(eval(c, t, 0).from_file, 1);
    ck_assert_int_eq(eval(c, t, 0).from_file, 0); /* in memory now */
    samba_prefix_cache_free(c);
    samba_session_free(t);
    c = new_cache(other, 0, 1); /* not ours, so not deleted either */
    ck_assert_uint_eq(stats_of(c).n_files, 0);
    samba_prefix_cache_free(c);
    ck_assert_uint_eq(folder_now().n, 1);
    c = new_cache(model, 0, 1); /* ours, and too much */
    ck_assert_uint_eq(stats_of(c).n_files, 0);
    samba_prefix_cache_free(c);
    ck_assert_uint_eq(folder_now().n, 0);
    samba_model_release(again);
    samba_model_release(other);
    samba_session_free(s);
}
END_TEST

/* A prompt through a stream, and one token more. */
static samba_prefix_report stream(samba_prefix_cache *c, samba_session *s, int p)
{
    const samba_stream_options o = {.struct_size = sizeof o,
                                    .prompt = prompts[p],
                                    .n_prompt = LENGTH,
                                    .max_tokens = 1,
                                    .ignore_eos = SAMBA_YES,
                                    .prefix_cache = c};
    samba_prefix_report r = {.struct_size = sizeof r};
    samba_stream_event e = {.struct_size = sizeof e};
    samba_stream *st = NULL;
    ck_assert_int_eq(samba_session_reset(s, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_stream_start(s, NULL, &o, &st, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_stream_next(st, SAMBA_WAIT_FOREVER, &e, NULL), SAMBA_OK);
    ck_assert_int_eq(e.kind, SAMBA_STREAM_TOKEN);
    ck_assert_int_eq(samba_stream_get_prefix_report(st, &r, NULL), SAMBA_OK);
    samba_stream_close(st);
    ck_assert_uint_eq(samba_session_position(s), LENGTH + 1);
    ck_assert_int_eq(samba_session_rewind(s, LENGTH, NULL, NULL, NULL), SAMBA_OK);
    ck_assert(stands_at(s, logits[p][0]));
    ck_assert_int_eq(samba_session_eval(s, prompts[p] + LENGTH, 1, NULL, NULL), SAMBA_OK);
    ck_assert(stands_at(s, logits[p][1]));
    return r;
}

/* What a stream displaces is written by the next start, and nothing of it is lost at the end. */
START_TEST(streams)
{
    samba_session *s = new_session(model);
    uint64_t one = entry_bytes(s);
    samba_prefix_cache *c = new_cache(model, one + one / 2, 0);
    for (int p = 0; p < PROMPTS; p++) {
        ck_assert(!stream(c, s, p).from_file);
        ck_assert_uint_eq(folder_now().n, p ? (size_t)p - 1 : 0);
    }
    samba_prefix_report r = stream(c, s, 2);
    ck_assert(r.restored == LENGTH && r.from_file && r.reason == SAMBA_PREFIX_WHOLE);
    ck_assert_uint_eq(folder_now().n, PROMPTS); /* its entry displaces the last one at once */
    ck_assert(!stream(c, s, 2).from_file);
    samba_prefix_cache_free(c);
    empty_folder();
    c = new_cache(model, one + one / 2, 0);
    stream(c, s, 0);
    stream(c, s, 1);
    ck_assert_uint_eq(folder_now().n, 0);
    samba_prefix_cache_free(c);
    ck_assert_uint_eq(folder_now().n, 1);
    samba_session_free(s);
}
END_TEST

/* A longer file than what is in memory, one that is only a beginning, one without logits. */
START_TEST(longest)
{
    const samba_eval_options none = {.struct_size = sizeof none, .outputs = SAMBA_OUTPUT_NONE};
    samba_session *s = new_session(model);
    samba_prefix_cache *c = new_cache(model, 0, 0);
    samba_prefix_report r = {.struct_size = sizeof r};
    for (size_t n = 10; n <= 20; n += 10) {
        ck_assert_int_eq(samba_prefix_cache_eval(c, s, prompts[0], n, NULL, NULL, NULL), SAMBA_OK);
        ck_assert_int_eq(samba_prefix_cache_flush(c, NULL), SAMBA_OK);
        samba_prefix_cache_clear(c);
    }
    ck_assert_int_eq(samba_prefix_cache_eval(c, s, prompts[0], 5, NULL, NULL, NULL), SAMBA_OK);
    r = eval(c, s, 0);
    ck_assert(r.restored == 20 && r.from_file && r.reason == SAMBA_PREFIX_NEW);
    samba_prefix_cache_clear(c);
    empty_folder();
    ck_assert_int_eq(samba_session_reset(s, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_session_eval(s, prompts[0], LENGTH, &none, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_put(c, s, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_flush(c, NULL), SAMBA_OK);
    samba_prefix_cache_free(c);
    c = new_cache(model, 0, 0);
    ck_assert_uint_eq(stats_of(c).n_files, 1);
    r = eval(c, s, 0);
    ck_assert(r.restored == 0 && !r.from_file);
    samba_prefix_cache_free(c);
    samba_session_free(s);
}
END_TEST

/* Of three files the least recently used goes. */
START_TEST(budget)
{
    samba_session *s = new_session(model);
    uint64_t file = one_file(s).bytes;
    samba_prefix_cache *c = new_cache(model, entry_bytes(s), 3 * file + file / 2);
    for (int p = 0; p < 4; p++)
        eval(c, s, p);                            /* files 0, 1, 2 */
    ck_assert_int_eq(eval(c, s, 0).from_file, 1); /* and 3 instead of 1 */
    samba_prefix_cache_stats stats = stats_of(c);
    folder_sum sum = folder_now();
    ck_assert(stats.n_files == 3 && sum.n == 3 && sum.bytes == stats.file_bytes);
    ck_assert_uint_le(sum.bytes, 3 * file + file / 2);
    ck_assert_int_eq(eval(c, s, 1).from_file, 0);
    ck_assert_int_eq(eval(c, s, 3).from_file, 1);
    samba_prefix_cache_free(c);
    samba_session_free(s);
}
END_TEST

/* Cut anywhere, a byte changed anywhere: not found, or found and refused; left where it is. */
START_TEST(damage)
{
    static unsigned char bytes[1 << 20], bad[1 << 20];
    samba_session *s = new_session(model);
    folder_sum sum = one_file(s);
    size_t n = load(sum.name, bytes, sizeof bytes), unseen = 0, refused = 0, step = n / 150 + 1;
    for (size_t i = 0; i < 2 * n; i += step) {
        size_t cut = i < n ? i : n;
        memcpy(bad, bytes, n);
        if (i >= n)
            bad[i - n] ^= (unsigned char)(1 << i % 8);
        save(sum.name, bad, cut);
        samba_prefix_cache *c = new_cache(model, 0, 0);
        bool seen = stats_of(c).n_files == 1;
        samba_prefix_report r = eval(c, s, 0);
        ck_assert(r.restored == 0 && !r.from_file);
        ck_assert_int_eq(r.reason, seen ? SAMBA_PREFIX_FILE_FAILED : SAMBA_PREFIX_NEW);
        ck_assert_uint_eq(stats_of(c).n_file_failures, seen);
        unseen += !seen;
        refused += seen;
        samba_prefix_cache_free(c);
        ck_assert_uint_eq(folder_now().n, 1);
    }
    ck_assert(unseen > 10 && refused > 10);
    samba_session_free(s);
}
END_TEST

/* Names are not believed: neither at first nor later. */
START_TEST(exchanged)
{
    static unsigned char bytes[1 << 20];
    samba_session *s = new_session(model);
    folder_sum first = one_file(s);
    samba_prefix_cache *c = new_cache(model, 0, 0);
    ck_assert_int_eq(samba_prefix_cache_eval(c, s, prompts[1], LENGTH, NULL, NULL, NULL), SAMBA_OK);
    size_t n = load(first.name, bytes, sizeof bytes);
    empty_folder();
    ck_assert_int_eq(samba_prefix_cache_flush(c, NULL), SAMBA_OK);
    samba_prefix_cache_free(c);
    folder_sum second = folder_now();
    ck_assert_str_ne(first.name, second.name);
    save(second.name, bytes, n); /* prompt 0 under the name of prompt 1 */
    c = new_cache(model, 0, 0);
    ck_assert_uint_eq(stats_of(c).n_files, 0);
    samba_prefix_cache_free(c);
    empty_folder();
    one_file(s);
    c = new_cache(model, 0, 0);
    samba_prefix_cache *other = new_cache(model, 0, 0);
    char path[PATH + 64];
    path_in(first.name, path);
    ck_assert_int_eq(samba_prefix_cache_eval(other, s, prompts[1], LENGTH, NULL, NULL, NULL),
                     SAMBA_OK);
    ck_assert(samba__file_remove(path));
    ck_assert_int_eq(samba_prefix_cache_flush(other, NULL), SAMBA_OK);
    n = load(second.name, bytes, sizeof bytes);
    save(first.name, bytes, n); /* prompt 1 under the name of prompt 0, behind our back */
    ck_assert_int_eq(eval(c, s, 0).reason, SAMBA_PREFIX_FILE_FAILED);
    ck_assert_int_eq(eval(c, s, 0).reason, SAMBA_PREFIX_WHOLE); /* from memory; not asked again */
    samba_prefix_cache_free(c);
    samba_prefix_cache_free(other);
    samba_session_free(s);
}
END_TEST

/* The same tokens read by another model, under the name of ours; and by ours with another type. */
START_TEST(not_for_us)
{
    static unsigned char bytes[1 << 20];
    const samba_session_options f32 = {.struct_size = sizeof f32, .kv_dtype = SAMBA_DTYPE_F32};
    samba_session *s = new_session(model), *t = NULL;
    samba_model *other = NULL;
    folder_sum ours = one_file(s);
    samba_prefix_cache *c = new_cache(model, 0, 0);
    samba_prefix_report r = {.struct_size = sizeof r};
    ck_assert_int_eq(samba_session_create(model, &f32, &t, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_eval(c, t, prompts[0], LENGTH, NULL, &r, NULL), SAMBA_OK);
    ck_assert(r.restored == 0 && !r.from_file && stats_of(c).n_file_failures == 0);
    samba_session_free(t);
    empty_folder();
    ck_assert_int_eq(samba_model_load(context, other_folder, NULL, &other, NULL), SAMBA_OK);
    samba_prefix_cache *d = new_cache(other, 0, 0);
    t = new_session(other);
    ck_assert_int_eq(samba_prefix_cache_eval(d, t, prompts[0], LENGTH, NULL, NULL, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_flush(d, NULL), SAMBA_OK);
    size_t n = load(folder_now().name, bytes, sizeof bytes);
    save(ours.name, bytes, n);
    r = eval(c, s, 0);
    ck_assert(r.reason == SAMBA_PREFIX_FILE_FAILED && r.restored == 0);
    samba_prefix_cache_free(c);
    samba_prefix_cache_free(d);
    samba_session_free(s);
    samba_session_free(t);
    samba_model_release(other);
}
END_TEST

/* Things in the folder that are no files of ours, and a folder that goes away. */
START_TEST(folders)
{
    samba_session *s = new_session(model);
    char path[PATH + 64], moved[80];
    samba_prefix_cache_options o = {.struct_size = sizeof o, .spill_directory = "/no/such/folder"};
    samba_prefix_cache *c = NULL, *none = NULL;
    uint64_t one = entry_bytes(s);
    ck_assert_int_eq(samba_prefix_cache_create(model, &o, &c, NULL), SAMBA_ERROR_NOT_FOUND);
    o.spill_directory = NULL;
    ck_assert_int_eq(samba_prefix_cache_create(model, &o, &none, NULL), SAMBA_OK);
    ck_assert_int_eq(samba_prefix_cache_flush(none, NULL), SAMBA_ERROR_STATE);
    samba_prefix_cache_free(none);
    save("prefix-of-something", (const unsigned char *)"hello", 5);
    save("notes.txt", (const unsigned char *)"hello", 5);
    path_in("prefix-folder", path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    c = new_cache(model, one, 1000);
    ck_assert_uint_eq(stats_of(c).n_files, 0);
    rmdir(path);
    ck_assert_uint_eq(folder_now().n, 2);
    eval(c, s, 0);
    snprintf(moved, sizeof moved, "%s-gone", spill_folder);
    ck_assert_int_eq(rename(spill_folder, moved), 0);
    ck_assert_int_eq(eval(c, s, 1).reason, SAMBA_PREFIX_NEW); /* 0 goes out, but not to a file */
    ck_assert_int_eq(eval(c, s, 0).reason, SAMBA_PREFIX_NEW);
    ck_assert(stats_of(c).n_file_failures == 2 && stats_of(c).n_files == 0);
    ck_assert_int_eq(samba_prefix_cache_flush(c, NULL), SAMBA_ERROR_IO);
    ck_assert_int_eq(rename(moved, spill_folder), 0);
    samba_prefix_cache_free(c);
    samba_session_free(s);
}
END_TEST

/* ---------------------------------------------------------------- threads and memory */

typedef struct worker {
    uv_thread_t thread;
    samba_prefix_cache *cache;
    samba_session *session;
    unsigned random;
    bool failed;
} worker;

static void work(void *arg)
{
    worker *w = arg;
    for (int round = 0; round < 40; round++) {
        int p = (int)((w->random = w->random * 1103515245u + 12345u) >> 16) % PROMPTS;
        w->failed |= samba_prefix_cache_eval(w->cache, w->session, prompts[p], LENGTH, NULL, NULL,
                                             NULL) != SAMBA_OK;
        w->failed |= !stands_at(w->session, logits[p][0]);
        w->failed |= samba_session_eval(w->session, prompts[p] + LENGTH, 1, NULL, NULL) != SAMBA_OK;
        w->failed |= !stands_at(w->session, logits[p][1]);
    }
}

/* One folder under two caches, with budgets that keep writing and deleting. */
START_TEST(threads)
{
    samba_session *s = new_session(model);
    uint64_t file = one_file(s).bytes, one = entry_bytes(s);
    samba_prefix_cache *c = new_cache(model, one, 2 * file + file / 2);
    samba_prefix_cache *d = new_cache(model, one, 3 * file + file / 2);
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] =
            (worker){.cache = i == 2 ? d : c, .session = new_session(model), .random = (unsigned)i};
        ck_assert_int_eq(uv_thread_create(&workers[i].thread, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&workers[i].thread);
        ck_assert(!workers[i].failed);
        samba_session_free(workers[i].session);
    }
    ck_assert(stats_of(c).n_file_hits > 0 && stats_of(c).n_written > 0);
    samba_prefix_cache_free(c);
    samba_prefix_cache_free(d);
    samba_session_free(s);
}
END_TEST

/* Finds one in a file, pushes another out into one, writes the rest. */
static samba_status with_files(void *arg)
{
    const samba_prefix_cache_options o = {.struct_size = sizeof o,
                                          .max_bytes = *(uint64_t *)arg,
                                          .interval = SAMBA_PREFIX_INTERVAL_NONE,
                                          .spill_directory = spill_folder};
    samba_prefix_cache *c = NULL;
    samba_session *s = NULL;
    samba_status status = samba_session_create(model, NULL, &s, NULL);
    if (status == SAMBA_OK)
        status = samba_prefix_cache_create(model, &o, &c, NULL);
    for (int p = 0; p < 2 && status == SAMBA_OK; p++)
        status = samba_prefix_cache_eval(c, s, prompts[p], LENGTH, NULL, NULL, NULL);
    if (status == SAMBA_OK && !stands_at(s, logits[1][0]))
        status = SAMBA_ERROR_INTERNAL;
    if (status == SAMBA_OK)
        status = samba_prefix_cache_flush(c, NULL);
    samba_prefix_cache_free(c);
    samba_session_free(s);
    return status;
}

START_TEST(no_memory)
{
    samba_session *s = new_session(model);
    uint64_t one = entry_bytes(s);
    one_file(s);
    samba_session_free(s);
    ck_assert_uint_gt(fail_alloc_every(with_files, &one, 1), 50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prefix_spill");
    TCase *tcase = tcase_create("files");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, found_again);
    tcase_add_test(tcase, later);
    tcase_add_test(tcase, streams);
    tcase_add_test(tcase, longest);
    tcase_add_test(tcase, budget);
    tcase_add_test(tcase, damage);
    tcase_add_test(tcase, exchanged);
    tcase_add_test(tcase, not_for_us);
    tcase_add_test(tcase, folders);
    tcase_add_test(tcase, threads);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
