/* Shared by tests of the whole library: see rig.h. */
#include "rig.h"
#include "support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Thread_local samba_error *slot;
static _Thread_local char message[1024];
int rig_full;

samba_error **rig_error(void)
{
    samba_error_free(slot);
    slot = NULL;
    return &slot;
}

void rig_check_ok(samba_status status, const char *what, const char *file, int line)
{
    if (status != SAMBA_OK)
        ck_abort_msg("%s:%d: %s: %s: %s", file, line, what, samba_status_string(status),
                     slot ? samba_error_message(slot) : "(no error object)");
    if (slot)
        ck_abort_msg("%s:%d: %s: succeeded and left an error", file, line, what);
}

void rig_check_fails(samba_status wanted, samba_status status, const char *what, const char *file,
                     int line)
{
    if (status != wanted)
        ck_abort_msg("%s:%d: %s: got \"%s\" (%s), wanted \"%s\"", file, line, what,
                     samba_status_string(status), slot ? samba_error_message(slot) : "",
                     samba_status_string(wanted));
    if (!slot || samba_error_status(slot) != wanted)
        ck_abort_msg("%s:%d: %s: no error object, or another status in it", file, line, what);
    const char *text = samba_error_message(slot);
    if (!text || !text[0] || strchr(text, '\n'))
        ck_abort_msg("%s:%d: %s: bad message", file, line, what);
    snprintf(message, sizeof message, "%s", text);
    samba_error_free(slot);
    slot = NULL;
}

const char *rig_message(void)
{
    return message;
}

samba_context *rig_context(const rig_options *options)
{
    const samba_backend_vtbl *backends[1] = {options->backend};
    samba_context *context = NULL;
    CK_OK(
        samba_context_create(&(samba_context_options){.struct_size = sizeof(samba_context_options),
                                                      .allocator = options->allocator,
                                                      .n_threads = options->n_threads,
                                                      .cpu_tier = options->cpu_tier,
                                                      .backends = backends,
                                                      .n_backends = options->backend ? 1 : 0},
                             &context, RIG_ERROR));
    ck_assert_ptr_nonnull(context);
    return context;
}

samba_model *rig_load(samba_context *context, const char *path, const rig_options *options)
{
    samba_model *model = NULL;
    CK_OK(samba_model_load(
        context, path,
        &(samba_model_options){.struct_size = sizeof(samba_model_options),
                               .weight_dtype = options->weight_dtype,
                               .rope_table = options->rope_table,
                               .backend = options->backend ? options->backend->name : NULL},
        &model, RIG_ERROR));
    ck_assert_ptr_nonnull(model);
    return model;
}

samba_session *rig_session(samba_model *model, samba_dtype kv_dtype, uint32_t rows_per_pass)
{
    samba_session *session = NULL;
    CK_OK(
        samba_session_create(model,
                             &(samba_session_options){.struct_size = sizeof(samba_session_options),
                                                      .kv_dtype = kv_dtype,
                                                      .rows_per_pass = rows_per_pass},
                             &session, RIG_ERROR));
    ck_assert_ptr_nonnull(session);
    return session;
}

void rig_eval(samba_session *session, const samba_token *tokens, size_t n, samba_outputs outputs)
{
    CK_OK(samba_session_eval(
        session, tokens, n,
        &(samba_eval_options){.struct_size = sizeof(samba_eval_options), .outputs = outputs},
        RIG_ERROR));
}

const float *rig_logits(const samba_session *session, size_t row)
{
    const float *logits = NULL;
    size_t n = 0;
    CK_OK(samba_session_logits(session, row, &logits, &n, RIG_ERROR));
    ck_assert_ptr_nonnull(logits);
    return logits;
}

const float *rig_hidden(const samba_session *session, size_t row)
{
    const float *hidden = NULL;
    size_t n = 0;
    CK_OK(samba_session_hidden(session, row, &hidden, &n, RIG_ERROR));
    ck_assert_ptr_nonnull(hidden);
    return hidden;
}

/* splitmix64 */
uint32_t rig_below(rig_random *r, uint32_t n)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (uint32_t)((z >> 32) * n >> 32);
}

double rig_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void rig_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        rig_full |= strcmp(argv[i], "--full") == 0;
}

int rig_main(int argc, char **argv, Suite *suite)
{
    rig_arguments(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return run_suite(suite);
}

char *rig_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*size + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(fread(data, 1, *size, f), *size);
    data[*size] = '\0';
    fclose(f);
    return data;
}
