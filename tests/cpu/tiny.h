/*
 * A tiny random model with every sublayer kind, driven through the vtable alone: Mamba
 * (publishing), SwiGLU, attention with short convolution and rotary, windowed attention with
 * biases, GLA, retention, differential attention, then a GMU, a cross layer and an MLP that keep no
 * state. And sessions on it, with states replaced after each pass as the library does.
 */
#ifndef TESTS_CPU_TINY_H
#define TESTS_CPU_TINY_H

#include "cpu/cpu.h"
#include "samba/backend.h"

enum {
    TINY_WIDTH = 32,
    TINY_VOCAB = 53,
    TINY_MEMORY = 48,
    TINY_SUBLAYERS = 10,
    TINY_NARROW = 6, /* the last sublayer with state */
    TINY_SLABS = 4,
    TINY_PAGES = 3,
    TINY_MAX_PAGES = 8,
    TINY_MAX_SEQS = 4,
    TINY_MAX_ROWS = 256
};

typedef struct tiny_sublayer {
    samba_backend_sublayer desc;
    samba_backend_weights *weights;
    samba_backend_footprint footprint;
    int32_t slab_slot, page_slot;
    bool owns_pages;
} tiny_sublayer;

typedef struct tiny {
    const samba_backend_vtbl *v;
    samba_backend_host host;
    samba_backend_device *device;
    samba_backend_weights *embed, *head;
    tiny_sublayer sublayers[TINY_SUBLAYERS];
    uint64_t max_row_bytes;
} tiny;

typedef struct tiny_options {
    samba_dtype dtype; /* of the matrices */
    int32_t n_threads;
    samba_cpu_tier tier;
    const samba_allocator *allocator; /* NULL: one that fills memory with NaN */
} tiny_options;

/* Weights are the same for the same dtype. On failure nothing is left behind. */
samba_status tiny_open(tiny *t, const tiny_options *options, samba_error **error);
void tiny_close(tiny *t); /* accepts a failed or zeroed one */
/* The descriptors alone, for tests of prepare and measure. */
void tiny_describe(tiny *t, samba_dtype dtype);

typedef struct tiny_session {
    uint64_t position;
    samba_dtype kv_dtype;
    bool begun; /* slabs hold a state */
    uint32_t slabs[TINY_SLABS];
    uint32_t pages[TINY_PAGES][TINY_MAX_PAGES], n_pages;
} tiny_session;

/* What a session gets from one pass. */
typedef struct tiny_item {
    tiny_session *session;
    const samba_token *tokens;
    uint32_t n_rows, n_out;
    bool set_per_row; /* state after every row; goes on from that after `keep` rows */
    uint32_t keep;    /* with set_per_row: 1 .. n_rows */
} tiny_item;

typedef struct tiny_run {
    tiny_item items[TINY_MAX_SEQS];
    uint32_t n_items;
    bool wide;   /* without NARROW */
    int32_t cut; /* only the first so many sublayers, NARROW at the last; 0: all */
    int32_t tap; /* sublayer after which to tap; 0: none */
    bool keep_hidden;
    samba_head_mode mode;              /* 0: LOGITS */
    const samba_token *targets;        /* [outputs] */
    float *logits;                     /* [outputs][TINY_VOCAB] */
    float *logprobs, *hidden, *memory; /* NULL: not wanted */
} tiny_run;

/* One pass; commits on success, otherwise sessions stand where they stood. */
samba_status tiny_pass(tiny *t, tiny_run *run, samba_error **error);
void tiny_session_free(tiny *t, tiny_session *s);

/* Canonical bytes of everything that a session holds; caller frees with free(). */
char *tiny_pack(tiny *t, const tiny_session *s, size_t *size);
/* The reverse, into a session of zeros. */
samba_status tiny_unpack(tiny *t, tiny_session *s, const char *data, uint64_t position,
                         samba_dtype kv_dtype, samba_error **error);

#endif
