/*
 * Building a plan: what the family adapters share. An adapter describes one sublayer after the
 * other:
 *
 *     samba__build_sublayer(...)   a new one; the adapter fills in its parameters
 *     samba__build_shape(...)      checks them, gives out state slots
 *     samba__build_take(...)       finds a weight and checks its shape against the parameters
 *
 * Every tensor taken is marked, and what is left at the end is refused by name. Nothing is
 * allocated by a number from the config before the number of tensors in the file has confirmed it.
 */
#ifndef SAMBA_MODEL_BUILD_H
#define SAMBA_MODEL_BUILD_H

#include "model/plan.h"

typedef struct samba__build {
    const samba_allocator *alloc;
    const samba__checkpoint *checkpoint;
    const samba__plan_options *options;
    samba__plan *plan;
    bool *used; /* [checkpoint->n_tensors] */
    uint32_t capacity;
    const char *sizes; /* who states the sizes, for messages: "config" or "metadata" */
    char prefix[64];   /* put before the names given to find, has and take */
} samba__build;

/* Room for n_blocks * per_block sublayers. */
samba_status samba__build_begin(samba__build *b, uint64_t n_blocks, uint32_t per_block,
                                samba_error **error);
void samba__build_prefix(samba__build *b, const char *format, ...) SAMBA__PRINTF(2, 3);

/* The next sublayer, with kind, d_model, norm kind and eps of the plan's final norm. */
samba_status samba__build_sublayer(samba__build *b, samba_sublayer_kind kind, uint32_t block,
                                   samba__plan_sublayer **sublayer, samba_error **error);
/* Parameters are complete. A cross layer names the page slot that it reads beforehand. */
samba_status samba__build_shape(samba__build *b, samba__plan_sublayer *s, samba_error **error);

/* By prefix and name. find: NULL if there is none; need: MISMATCH names it. */
bool samba__build_has(const samba__build *b, const char *name);
samba_status samba__build_need(const samba__build *b, const char *name,
                               const samba__file_tensor **tensor, samba_error **error);
/* Dimension `i` (negative: from the last) of a tensor that must exist, as a size. */
samba_status samba__build_dim(const samba__build *b, const char *name, int32_t i, uint32_t *size,
                              samba_error **error);

/* The rows of a file tensor that make up a weight, as in samba__weight; `total` is what the tensor
 * must have. */
typedef struct samba__rows {
    uint64_t first, run, stride, n_runs, total;
} samba__rows;

/* Weight `role` of the sublayer is tensor `name`, whole or in part. */
samba_status samba__build_take(samba__build *b, samba__plan_sublayer *s, uint32_t role,
                               const char *name, samba_error **error);
samba_status samba__build_take_rows(samba__build *b, samba__plan_sublayer *s, uint32_t role,
                                    const char *name, const samba__rows *rows, samba_error **error);
/* Norm weight, and bias if the sublayer has a LayerNorm: name + ".weight", ".bias". */
samba_status samba__build_take_norm(samba__build *b, samba__plan_sublayer *s, const char *name,
                                    samba_error **error);
/* name + ".weight" as `role`, and if `bias`, name + ".bias" as role + 1. */
samba_status samba__build_take_pair(samba__build *b, samba__plan_sublayer *s, uint32_t role,
                                    const char *name, bool bias, samba_error **error);

/* A whole Mamba mixer under its usual names after `name` ("mixer."). Sizes left 0 in the parameters
 * are read off the tensors. */
typedef struct samba__mamba_parts {
    const char *name;
    bool in_bias, conv_bias, out_bias;
} samba__mamba_parts;
samba_status samba__build_mamba(samba__build *b, samba__plan_sublayer *s,
                                const samba__mamba_parts *parts, samba_error **error);

/* A vector that is read while the plan is made, and becomes no weight of it. */
samba_status samba__build_vector(samba__build *b, const char *name, uint64_t n,
                                 samba__weight *weight, samba_error **error);

/* Embedding, final norm (bias by the plan's kind) and head, by full names. n_vocab of the plan must
 * be known. A tied head that is in the file all the same is ignored. */
typedef struct samba__build_ends {
    const char *embed, *norm, *head; /* the norm's without ".weight" */
    bool tied;
} samba__build_ends;
samba_status samba__build_take_ends(samba__build *b, const samba__build_ends *ends,
                                    samba_error **error);

/* Everything is taken: completes the plan, refuses tensors left over. */
samba_status samba__build_finish(samba__build *b, samba_error **error);

/* Fails with the checkpoint's path. */
samba_status samba__build_fail(const samba__build *b, samba_error **error, samba_status status,
                               const char *format, ...) SAMBA__PRINTF(4, 5);

#endif
