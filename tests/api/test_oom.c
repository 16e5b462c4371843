/*
 * Memory running out, at every allocation of every kind of call, once and for good: the call says
 * so (or did without), the objects from before stand where they stood, the call made again then
 * succeeds, and the bits of all results are those of a run without failure; nothing is left over.
 * The calls are in oom_steps.c.
 */
#include "oom_world.h"
#include "support/fail_alloc.h"
#include "support/micro_model.h"
#include "support/rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static world_files files;
static world now, reference;
static unsigned entries; /* of the folders, before anything ran */

/* ---------------------------------------------------------------- files */

static unsigned count_entries(void)
{
    const char *const folders[] = {files.folder, files.plain};
    unsigned n = 0;
    for (int i = 0; i < 2; i++) {
        DIR *d = opendir(folders[i]);
        ck_assert_ptr_nonnull(d);
        while (readdir(d))
            n++;
        closedir(d);
    }
    return n;
}

static void make_files(void)
{
    const micro_options with = {.tokenizer = true},
                        without = {.n_vocab = WORLD_VOCAB, .seed = 2, .bf16 = true};
    char path[128];
    size_t size;
    samba_context *c = rig_context(&(rig_options){.n_threads = 1});
    ck_assert(micro_folder_make(files.folder) && micro_folder_make(files.plain));
    ck_assert(micro_model_write(files.folder, &with) && micro_model_write(files.plain, &without));
    snprintf(files.gguf, sizeof files.gguf, "%s/model.gguf", files.plain);
    snprintf(files.out, sizeof files.out, "%s/out.gguf", files.plain);
    CK_OK(samba_convert(c, files.folder, files.gguf, NULL, NULL, RIG_ERROR));
    samba_context_free(c);
    files.gguf_bytes = rig_file(files.gguf, &files.gguf_size);
    snprintf(path, sizeof path, "%s/model.safetensors", files.plain);
    files.safetensors = rig_file(path, &files.safetensors_size);
    snprintf(path, sizeof path, "%s/config.json", files.plain);
    files.config = rig_file(path, &size);
    entries = count_entries();
}

static void remove_files(void)
{
    micro_folder_remove(files.folder);
    micro_folder_remove(files.plain);
    free(files.gguf_bytes);
    free(files.safetensors);
    free(files.config);
}

/* ---------------------------------------------------------------- worlds */

static void world_make(world *w, const scenario *s)
{
    samba_session **const sessions[] = {&w->session, &w->second, &w->witness};
    samba_token prompt[WORLD_PROMPT];
    memset(w, 0, sizeof *w);
    w->files = &files;
    const rig_options o = {.n_threads = s->n_threads, .allocator = fail_alloc_allocator()};
    if (s->needs & NEEDS_CONTEXT)
        w->context = rig_context(&o);
    if ((s->needs & NEEDS_MODEL) == NEEDS_MODEL)
        w->model = rig_load(w->context, files.gguf, &o);
    for (int i = 0; i < 3 && (s->needs & NEEDS_SESSIONS) == NEEDS_SESSIONS; i++) {
        *sessions[i] = rig_session(w->model, 0, 0);
        for (uint64_t k = 0; k < WORLD_PROMPT; k++)
            prompt[k] = world_token(i, k);
        rig_eval(*sessions[i], prompt, WORLD_PROMPT, 0);
    }
}

static void put_reading(world *w, samba_session *s)
{
    static const samba_token tokens[] = {7, 65, 3};
    uint64_t position = samba_session_position(s);
    world_put(w, &position, sizeof position);
    rig_eval(s, tokens, 3, 0);
    world_put_logits(w, s);
}

/* What all objects are now good for goes into the record. */
static void world_try_out(world *w)
{
    samba_session *const sessions[] = {w->session, w->second, w->witness, w->made};
    for (int i = 0; i < 4; i++)
        if (sessions[i])
            put_reading(w, sessions[i]);
    if (w->loaded) {
        samba_model_info info = {.struct_size = sizeof info};
        samba_session *s = rig_session(w->loaded, 0, 0);
        CK_OK(samba_model_get_info(w->loaded, &info, RIG_ERROR));
        world_put(w, info.fingerprint, sizeof info.fingerprint);
        world_put(w, info.weight_types, strlen(info.weight_types));
        world_put(w, &info.has_tokenizer, sizeof info.has_tokenizer);
        put_reading(w, s);
        samba_session_free(s);
    }
    if (w->made_context) {
        samba_model *m = rig_load(w->made_context, files.gguf, &(rig_options){0});
        samba_session *s = rig_session(m, 0, 0);
        put_reading(w, s);
        samba_session_free(s);
        samba_model_release(m);
    }
    rig_error(); /* frees the last one */
}

static void world_free(world *w)
{
    samba_detokenizer_free(w->detokenizer);
    samba_sampler_free(w->sampler);
    samba_session_free(w->session);
    samba_session_free(w->second);
    samba_session_free(w->witness);
    samba_session_free(w->made);
    samba_model_release(w->loaded);
    samba_model_release(w->model);
    samba_context_free(w->context);
    samba_cancel_free(w->cancel);
    samba_context_free(w->made_context);
}

/* ---------------------------------------------------------------- one run */

/* Where a session stands, to be compared after a failure. */
typedef struct standing {
    uint64_t position;
    size_t n_rows;
    float logits[WORLD_VOCAB];
} standing;

static void look(const samba_session *s, standing *st)
{
    const float *logits = NULL;
    size_t n = 0;
    st->position = s ? samba_session_position(s) : 0;
    st->n_rows = s ? samba_session_n_rows(s) : 0;
    if (st->n_rows && samba_session_logits(s, SAMBA_ROW_LAST, &logits, &n, NULL) == SAMBA_OK)
        memcpy(st->logits, logits, n * sizeof *logits);
}

/* The steps that are left; before each, where the sessions stand is noted. */
static samba_status run_steps(world *w, const scenario *s, standing before[4], samba_error **error)
{
    for (bool again = before == NULL; w->step < WORLD_MAX_STEPS && s->steps[w->step];
         again = false) {
        samba_session *const sessions[] = {w->session, w->second, w->made, w->witness};
        if (!again) {
            w->generated = 0;
            for (int i = 0; i < 3; i++)
                w->base[i] = sessions[i] ? samba_session_position(sessions[i]) : 0;
        }
        for (int i = 0; i < 4 && before; i++)
            look(sessions[i], &before[i]);
        samba_status status = s->steps[w->step](w, error);
        if (status != SAMBA_OK)
            return status;
        w->step++;
    }
    return SAMBA_OK;
}

/* Sessions that have not moved on are as they were, to the bit. */
static void check_standing(const world *w, const standing before[4], const char *where)
{
    const samba_session *const sessions[] = {w->session, w->second, w->made, w->witness};
    static standing after;
    for (int i = 0; i < 4; i++) {
        if (!sessions[i])
            continue;
        look(sessions[i], &after);
        ck_assert_msg(after.position >= before[i].position, "%s: session %d went back", where, i);
        if (after.position != before[i].position)
            continue;
        ck_assert_msg(after.n_rows == before[i].n_rows, "%s: session %d has %zu rows, had %zu",
                      where, i, after.n_rows, before[i].n_rows);
        ck_assert_msg(!after.n_rows ||
                          memcmp(after.logits, before[i].logits, sizeof after.logits) == 0,
                      "%s: session %d has other logits", where, i);
    }
}

static void check_error(samba_status status, const samba_error *error, const char *where)
{
    ck_assert_msg(error != NULL, "%s: %s without an error object", where,
                  samba_status_string(status));
    ck_assert_msg(samba_error_status(error) == status, "%s: status %s, in the error %s", where,
                  samba_status_string(status), samba_status_string(samba_error_status(error)));
    const char *message = samba_error_message(error);
    ck_assert_msg(message && message[0] && !strchr(message, '\n'), "%s: bad message", where);
    ck_assert_msg(status == SAMBA_ERROR_OUT_OF_MEMORY || status == SAMBA_ERROR_BACKEND,
                  "%s: %s (%s)", where, samba_status_string(status), message);
}

/* A run in which the n-th allocation fails (0: none); the number of allocations. */
static size_t run(world *w, const scenario *s, size_t n, bool lasting)
{
    static standing before[4];
    samba_error *error = NULL;
    char where[160];
    world_make(w, s);
    rig_error();
    fail_alloc_begin(n, lasting);
    samba_status status = run_steps(w, s, before, &error);
    size_t calls = fail_alloc_end();
    snprintf(where, sizeof where, "%s, step %d, allocation %zu failing %s", s->name, w->step, n,
             lasting ? "and all later ones" : "once");
    if (status != SAMBA_OK) {
        ck_assert_msg(fail_alloc_hit(), "%s: no allocation failed, but: %s: %s", where,
                      samba_status_string(status), samba_error_message(error));
        check_error(status, error, where);
        check_standing(w, before, where);
        samba_error_free(error);
        error = NULL;
        status = run_steps(w, s, NULL, &error);
    }
    ck_assert_msg(status == SAMBA_OK && !error, "%s: not to be repeated: %s", where,
                  error ? samba_error_message(error) : samba_status_string(status));
    ck_assert_msg(!w->blame, "%s: %s", where, w->blame);
    world_try_out(w);
    world_free(w);
    return calls;
}

static void check_run(const scenario *s, size_t n, bool lasting)
{
    long start = fail_alloc_live();
    run(&now, s, n, lasting);
    long left = fail_alloc_live() - start;
    ck_assert_msg(left == 0, "%s: allocation %zu failing %s leaves %ld blocks", s->name, n,
                  lasting ? "for good" : "once", left);
    ck_assert_msg(!now.sampler || now.stages_freed >= 2, "%s: stages are not freed", s->name);
    ck_assert_msg(now.n_record == reference.n_record &&
                      memcmp(now.record, reference.record, now.n_record) == 0,
                  "%s: allocation %zu failing %s changes results", s->name, n,
                  lasting ? "for good" : "once");
}

START_TEST(every_allocation_fails)
{
    const scenario *s = &world_scenarios[_i];
    double start = rig_now();
    make_files();
    run(&reference, s, 0, false);
    size_t n_calls = run(&reference, s, 0, false), runs = 0;
    ck_assert_uint_gt(n_calls, 0);
    ck_assert_uint_gt(reference.n_record, 0);
    for (int lasting = 0; lasting < 2; lasting++)
        for (size_t n = 1;; n++, runs++) {
            check_run(s, n, lasting);
            if (!fail_alloc_hit())
                break;
        }
    ck_assert_uint_ge(runs, 2 * n_calls);
    ck_assert_uint_eq(count_entries(), entries);
    printf("%s: %zu allocations, %.1f s\n", s->name, n_calls, (rig_now() - start) / 1e3);
    remove_files();
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("oom");
    TCase *c = tcase_create("oom");
    tcase_set_timeout(c, 900);
    tcase_add_loop_test(c, every_allocation_fails, 0, (int)world_n_scenarios);
    suite_add_tcase(suite, c);
    return rig_main(argc, argv, suite);
}
