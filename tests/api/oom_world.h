/*
 * What the tests of failing allocations share. A world is the objects of one run: some exist before
 * anything fails, others are made by the steps under test. A step is one call of the library (or a
 * few that end together); it is called again, on the same world, after it has failed, and then goes
 * on from where the failure left the objects. What it finds out goes into the world's record, which
 * must come out the same in every run, however often something failed on the way.
 *
 * Steps run while allocations fail: they may not allocate, nor use assertions. A violation that
 * only a step can see is noted with world_blame.
 */
#ifndef TESTS_API_OOM_WORLD_H
#define TESTS_API_OOM_WORLD_H

#include "samba.h"
#include <stdbool.h>

enum {
    WORLD_PROMPT = 10,     /* tokens that sessions have read before the first step */
    WORLD_VOCAB = 272,     /* of the model: tests/support/micro_model.h, with tokenizer */
    WORLD_RECORD = 1 << 16 /* bytes */
};

/* Files written once for all runs. */
typedef struct world_files {
    char folder[64];        /* with tokenizer.json */
    char plain[64];         /* without */
    char gguf[96], out[96]; /* of the first; what conversion is to write */
    void *gguf_bytes;       /* [gguf_size] */
    void *safetensors;      /* [safetensors_size], of the second */
    char *config;           /* of the second, terminated */
    size_t gguf_size, safetensors_size;
} world_files;

typedef struct world {
    const world_files *files;
    int32_t n_threads;
    int step; /* steps that have ended well */

    /* There before the first step, as far as the scenario asks for them. */
    samba_context *context;
    samba_model *model;
    samba_session *session, *second, *witness; /* at WORLD_PROMPT, each with tokens of its own */

    /* Made by steps. */
    samba_context *made_context;
    samba_cancel *cancel;
    samba_model *loaded;
    samba_session *made;
    samba_sampler *sampler;
    samba_detokenizer *detokenizer;
    int stages_freed; /* user data of sampler callbacks given back */

    uint64_t base[3];   /* positions of session, second, made when the step began first */
    uint64_t generated; /* tokens delivered by the step so far */
    const char *blame;  /* the first violation, or NULL */
    size_t n_record;
    unsigned char record[WORLD_RECORD];
} world;

enum {
    NEEDS_CONTEXT = 1,
    NEEDS_MODEL = 2 | NEEDS_CONTEXT,
    NEEDS_SESSIONS = 4 | NEEDS_MODEL,
};

typedef samba_status (*world_step)(world *w, samba_error **error);
enum {
    WORLD_MAX_STEPS = 16
};
typedef struct scenario {
    const char *name;
    unsigned needs;
    int32_t n_threads;
    world_step steps[WORLD_MAX_STEPS]; /* NULL ends them */
} scenario;

extern const scenario world_scenarios[];
extern const size_t world_n_scenarios;

void world_put(world *w, const void *data, size_t size);
void world_blame(world *w, const char *what);
/* The logits of the session's last row go into the record. */
void world_put_logits(world *w, const samba_session *session);
/* The i-th token of the text that session number `which` reads. */
samba_token world_token(int which, uint64_t position);

#endif
