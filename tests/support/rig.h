/*
 * What tests of the whole library share: calls that must succeed or must fail in a certain way, and
 * the making of contexts, models and sessions.
 */
#ifndef SAMBA_TESTS_RIG_H
#define SAMBA_TESTS_RIG_H

#include "samba.h"
#include "samba/backend.h"
#include <check.h>

/* The error slot to hand to a call inside CK_OK or CK_FAILS; one per thread. */
#define RIG_ERROR (rig_error())
samba_error **rig_error(void);

/* The call must succeed and leave no error. */
#define CK_OK(call) rig_check_ok((call), #call, __FILE__, __LINE__)
void rig_check_ok(samba_status status, const char *what, const char *file, int line);

/* The call must fail with `status` and a one-line message. */
#define CK_FAILS(status, call) rig_check_fails((status), (call), #call, __FILE__, __LINE__)
void rig_check_fails(samba_status wanted, samba_status status, const char *what, const char *file,
                     int line);
/* Message of the last CK_FAILS. */
const char *rig_message(void);

typedef struct rig_options {
    const samba_backend_vtbl *backend; /* NULL: "cpu" */
    int32_t n_threads;
    samba_cpu_tier cpu_tier;
    samba_dtype weight_dtype;
    samba_rope_table rope_table;
    const samba_allocator *allocator;
} rig_options;
samba_context *rig_context(const rig_options *options);
samba_model *rig_load(samba_context *context, const char *path, const rig_options *options);
samba_session *rig_session(samba_model *model, samba_dtype kv_dtype, uint32_t rows_per_pass);

/* Feeds; must succeed. outputs 0: default. */
void rig_eval(samba_session *session, const samba_token *tokens, size_t n, samba_outputs outputs);
const float *rig_logits(const samba_session *session, size_t row);
const float *rig_hidden(const samba_session *session, size_t row);

/* A generator for schedules; prints nothing. */
typedef struct rig_random {
    uint64_t state;
} rig_random;
uint32_t rig_below(rig_random *r, uint32_t n); /* 0 .. n-1 */

/* Whether --full was given, once the arguments are read; and the runner that all test programs end
 * with, which reads them too. */
void rig_arguments(int argc, char **argv);
int rig_main(int argc, char **argv, Suite *suite);
extern int rig_full;
/* The bytes of a file and a zero after them; caller frees. */
char *rig_file(const char *path, size_t *size);
/* Milliseconds since some point. */
double rig_now(void);

#endif
