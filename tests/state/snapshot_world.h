/*
 * A model with sessions of it, for the tests of snapshot files: a golden case, or the one in
 * golden/wide. That one alone has heads of a multiple of 32 (one, 32 wide; a window of 24), as Q8_0
 * needs. It is kept, not made anew: golden snapshots name its weights.
 */
#ifndef TESTS_STATE_SNAPSHOT_WORLD_H
#define TESTS_STATE_SNAPSHOT_WORLD_H

#include "support/golden_case.h"
#include "support/rig.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_MORE = 9, /* tokens fed after a restore */
    WIDE_TOKENS = 60
};
#define WIDE "wide"

/* What the largest logit may differ by, relative, on another instruction set: some round the other
 * side of a product with WIDE's bf16 weights to bf16 too. */
static inline double other_tier_error(const char *model)
{
    return strcmp(model, WIDE) == 0 ? 1e-2 : 2e-4;
}

typedef struct world {
    samba_context *context;
    samba_model *model;
    golden_case *c; /* NULL: WIDE */
    samba_token wide[WIDE_TOKENS];
    size_t n_vocab;
} world;

static inline void open_model(world *w, const char *folder, rig_options o)
{
    samba_model_info info = {.struct_size = sizeof info};
    w->context = rig_context(&o);
    w->model = rig_load(w->context, folder, &o);
    CK_OK(samba_model_get_info(w->model, &info, RIG_ERROR));
    w->n_vocab = info.n_vocab;
}

static inline world open_world_with(const char *name, rig_options o)
{
    world w = {0};
    if (strcmp(name, WIDE) == 0) {
        for (uint32_t i = 0; i < WIDE_TOKENS; i++)
            w.wide[i] = (samba_token)((i * i * 13 + 5 * i + 3) % 31);
        open_model(&w, SNAPSHOT_GOLDEN "/" WIDE, o);
        return w;
    }
    w.c = golden_open(GOLDEN_CASES, name);
    o.rope_table = strcmp(w.c->rope, "bf16") == 0   ? SAMBA_ROPE_TABLE_BF16
                   : strcmp(w.c->rope, "fp32") == 0 ? SAMBA_ROPE_TABLE_F32
                                                    : 0;
    open_model(&w, w.c->folder, o);
    return w;
}

static inline world open_world(const char *name, samba_cpu_tier tier)
{
    return open_world_with(name, (rig_options){.n_threads = 2, .cpu_tier = tier});
}

static inline void close_world(world *w)
{
    samba_model_release(w->model);
    samba_context_free(w->context);
    golden_close(w->c);
}

static inline const samba_token *tokens_of(const world *w)
{
    return w->c ? w->c->tokens : w->wide;
}

/* Of those, how many sessions are fed at most in one go; N_MORE are left. */
static inline size_t prompt_length(const world *w)
{
    return (w->c ? w->c->n_tokens : WIDE_TOKENS) - N_MORE;
}

static inline const samba_token *token_at(const world *w, size_t i)
{
    return &tokens_of(w)[i % prompt_length(w)];
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
    const size_t most = prompt_length(w);
    for (size_t at = 0; at < n; at += most)
        rig_eval(s, tokens_of(w), n - at < most ? n - at : most, 0);
    return s;
}

#endif
