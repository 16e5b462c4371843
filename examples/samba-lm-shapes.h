/*
 * Models that need no file: shapes known by name, filled with random numbers. A shape becomes a
 * list of sublayers, and that a GGUF stream whose bytes are made where they are read.
 */
#ifndef SAMBA_LM_SHAPES_H
#define SAMBA_LM_SHAPES_H

#include "samba.h"

/* How the blocks are made up. */
typedef enum lm_layout {
    LM_LAYOUT_SAMBA, /* even: Mamba, MLP; odd: attention, MLP */
    LM_LAYOUT_MAMBA, /* Mamba only */
    LM_LAYOUT_LLAMA, /* attention, MLP */
    LM_LAYOUT_SAMBAY /* Phi-4-mini-flash */
} lm_layout;

typedef struct lm_shape {
    const char *name;
    lm_layout layout;
    uint32_t d_model, n_blocks, n_vocab;
    uint32_t n_heads, n_kv_heads, head_dim, window; /* window 0: full attention */
    uint32_t d_mlp;
    int tied; /* the head is the embedding */
} lm_shape;

extern const lm_shape lm_shapes[];
extern const size_t lm_n_shapes;
const lm_shape *lm_shape_find(const char *name); /* or NULL */

/* A sublayer in the words of our GGUF metadata (samba.plan.*). */
typedef struct lm_sublayer {
    const char *kind;
    uint32_t block;
    int32_t slab_slot, page_slot; /* -1: none */
    uint32_t flags, d_inner, d_state, d_conv, dt_rank;
    uint32_t heads, kv_heads, head_dim, window;
    uint32_t rope_dims, rope_table;
    float lambda, lambda_init;
} lm_sublayer;

/* Writes at most `most` sublayers; returns how many there are. */
size_t lm_shape_sublayers(const lm_shape *shape, lm_sublayer *sublayers, size_t most);

/* The stream. */
typedef struct lm_random_model lm_random_model;
/* Matrices of type `dtype`, seeded by `seed`; what the format keeps finer is finer. */
lm_random_model *lm_random_model_create(const lm_shape *shape, samba_dtype dtype, uint64_t seed);
void lm_random_model_free(lm_random_model *model);
/* A reader of it, valid while the model is; any thread. */
samba_reader lm_random_model_reader(const lm_random_model *model);
/* Writes the stream to a file. False, and errno, on failure. */
int lm_random_model_write(const lm_random_model *model, const char *path);

#endif
