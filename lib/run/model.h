/*
 * A loaded model: plan, tokenizer, and every sublayer's weights as its device prepared them.
 * Immutable after loading.
 */
#ifndef SAMBA_RUN_MODEL_H
#define SAMBA_RUN_MODEL_H

#include "base/sync.h"
#include "model/fingerprint.h"
#include "model/plan.h"
#include "run/context.h"
#include "state/layout.h"
#include "token/tokenizer.h"

typedef struct samba__model_sublayer {
    samba_sublayer_kind kind;
    uint32_t block;
    bool ends_block; /* the last sublayer of its block: where hidden taps sit */
    bool owns_pages; /* writes K and V (false for cross layers) */
    int32_t slab_slot, page_slot;
    uint32_t window; /* of the pages' owner: 0 = all positions stay visible */
    uint32_t n_kv_heads, head_dim;
    samba__slab_shape slab_shape;
    samba_backend_weights *weights;
    samba_backend_footprint footprint;
} samba__model_sublayer;

/* One page slot: who owns it. A slot's pages may be dropped once no reader can see them. */
typedef struct samba__page_slot {
    uint32_t sublayer; /* owner */
    uint32_t window;   /* 0: never dropped */
} samba__page_slot;

struct samba_model {
    samba__refs refs;
    samba_context *context; /* retained */
    const samba_allocator *alloc;
    samba__device *device;
    samba__tokenizer *tokenizer; /* NULL: none */
    samba__arena arena;          /* strings and arrays below */
    const char *family, *name, *chat_template, *weight_types;
    uint32_t n_vocab, d_model, n_blocks, n_sublayers;
    uint32_t n_slab_slots, n_page_slots, narrow_at;
    samba__model_sublayer *sublayers; /* [n_sublayers] */
    samba_sublayer_info *infos;       /* [n_sublayers] for samba_model_get_sublayer */
    uint32_t *slab_slots;             /* [n_slab_slots]: sublayer that owns the slot */
    samba__page_slot *page_slots;     /* [n_page_slots] */
    samba_backend_weights *embed, *head;
    uint64_t max_row_bytes; /* over sublayers, for samba_backend_batch */
    uint64_t n_parameters, weight_bytes;
    samba_token bos, eos; /* -1: none */
    samba_dtype head_dtype;
    samba__model_id id;
    double load_seconds;
    _Atomic(struct samba__scheduler *) scheduler; /* NULL until the first stream */
};

enum {
    SAMBA__ROWS_PER_PASS = 256 /* of a session, by default */
};
/* What sessions with these options hold once their windows are full, the last row's logits
 * included: a measure for budgets. An attention without a window counts as `full_tokens` long. */
typedef struct samba__full_state {
    samba_dtype kv_dtype;
    uint32_t rows_per_pass, full_tokens;
} samba__full_state;
uint64_t samba__model_state_bytes(const samba_model *model, const samba__full_state *state);

typedef struct samba__load_input {
    const char *path;      /* this, ... */
    samba__source *source; /* ... or this (taken, also on failure) */
} samba__load_input;
samba_status samba__model_load(samba_context *context, const samba__load_input *input,
                               const samba_model_options *options, samba_model **model,
                               samba_error **error);
/* Bytes that a group of weights (NULL: none) takes in the staging buffer, as types `wanted` makes
 * them; LIMIT if that is too much for this machine. */
samba_status samba__stage_bytes(const samba__plan *plan, samba__weight *const *weights, size_t n,
                                samba_dtype wanted, size_t *bytes, samba_error **error);
void samba__model_info(const samba_model *model, samba_model_info *info);
samba_sublayer_info samba__sublayer_info(const samba__plan_sublayer *s,
                                         const samba_backend_footprint *footprint);
/* lib/model's conversion with the context's allocator and cancelling. */
samba_status samba__model_convert(samba_context *context, const char *in_path, const char *out_path,
                                  const samba_convert_options *options,
                                  samba_convert_report *report, samba_error **error);
samba_model *samba__model_retain(samba_model *model);
void samba__model_release(samba_model *model); /* accepts NULL */
samba_status samba__model_estimate(samba_context *context, const char *path,
                                   const samba_model_options *model_options,
                                   const samba_session_options *session_options,
                                   samba_estimate *estimate, samba_error **error);

#endif
