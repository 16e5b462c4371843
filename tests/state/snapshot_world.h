/* A golden model with a session of it, for the tests of snapshot files. */
#ifndef TESTS_STATE_SNAPSHOT_WORLD_H
#define TESTS_STATE_SNAPSHOT_WORLD_H

#include "support/golden_case.h"
#include "support/rig.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_MORE = 9 /* tokens fed after a restore */
};

typedef struct world {
    samba_context *context;
    samba_model *model;
    golden_case *c;
    size_t n_vocab;
} world;

static inline world open_world(const char *name, samba_cpu_tier tier)
{
    world w = {.c = golden_open(GOLDEN_CASES, name)};
    const rig_options o = {.n_threads = 2,
                           .cpu_tier = tier,
                           .rope_table = strcmp(w.c->rope, "bf16") == 0   ? SAMBA_ROPE_TABLE_BF16
                                         : strcmp(w.c->rope, "fp32") == 0 ? SAMBA_ROPE_TABLE_F32
                                                                          : 0};
    w.context = rig_context(&o);
    w.model = rig_load(w.context, w.c->folder, &o);
    samba_model_info info = {.struct_size = sizeof info};
    CK_OK(samba_model_get_info(w.model, &info, RIG_ERROR));
    w.n_vocab = info.n_vocab;
    return w;
}

static inline void close_world(world *w)
{
    samba_model_release(w->model);
    samba_context_free(w->context);
    golden_close(w->c);
}

static inline const samba_token *token_at(const world *w, size_t i)
{
    return &w->c->tokens[i % (w->c->n_tokens - N_MORE)];
}

/* The session after the next N_MORE tokens; n_vocab logits of each. */
static inline float *go_on(const world *w, samba_session *s)
{
    float *all = malloc(N_MORE * w->n_vocab * sizeof *all);
    memcpy(all, rig_logits(s, SAMBA_ROW_LAST), w->n_vocab * sizeof *all);
    for (size_t i = 1; i < N_MORE; i++) {
        rig_eval(s, token_at(w, 3 * i), 1, 0);
        memcpy(all + i * w->n_vocab, rig_logits(s, SAMBA_ROW_LAST), w->n_vocab * sizeof *all);
    }
    return all;
}

static inline samba_session *session_at(const world *w, samba_dtype kv, size_t n)
{
    samba_session *s = rig_session(w->model, kv, 0);
    for (size_t at = 0; at < n; at += w->c->n_tokens - N_MORE) {
        const size_t most = w->c->n_tokens - N_MORE, left = n - at;
        rig_eval(s, w->c->tokens, left < most ? left : most, 0);
    }
    return s;
}

#endif
