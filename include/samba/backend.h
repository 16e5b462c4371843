/*
 * The contract between libsamba and a compute backend (CPU, GPU, ...). Hosts that only use the
 * library never need this header. A backend fills one samba_backend_vtbl and is registered through
 * samba_context_options.backends, or inside the library through its registry row.
 *
 * Shape of the work. The library turns a checkpoint into a plan: a list of sublayers, each
 * `x += mixer(norm(x))` on the residual stream x [rows][d_model]. A backend prepares every sublayer
 * once (weights in file layout in, its own layout out) and then runs passes. A pass evaluates a
 * ragged batch: rows of several sequences, each sequence a run of consecutive positions.
 *
 *     begin(batch) -> embed -> sublayer * n -> [tap] -> head -> submit -> wait -> read ... -> end
 *
 * Everything between begin and submit may be deferred until wait. The library may call end at any
 * time after begin instead of going on; then state_out slabs and the rows written to pages are
 * garbage that nobody reads. begin must reserve what the pass needs: later steps do not run out of
 * memory. Between begin and end of one pass no other pass of that device is begun.
 *
 * State lives in slabs (recurrent state) and pages (keys and values) that the backend owns and the
 * library names by number. A slab or page named in a pass is not freed or written by anyone else
 * before `end`. Arguments never point to state. Pointers in arguments are host memory, borrowed for
 * the call.
 *
 * The law (flag INVARIANT): each output element depends on the model and on the tokens of its own
 * sequence only, bit for bit: not on how positions were split over passes, on other sequences in a
 * batch, or on threads. Keys and values are read back only from pages, after rounding to kv_dtype,
 * the rows of the pass itself included. A slot outside the window or not yet written is skipped,
 * never multiplied by zero: pages and state_out slabs may hold anything (NaN included) on entry.
 *
 * Threads: a device's pass functions are called by one thread at a time; alloc, free, copy, pack
 * and unpack of state, and prepare and release, by any thread at any time (they must lock or be
 * lock-free). Written or freed is never a slab or page that a running pass uses; packing or copying
 * one that a running pass only reads may happen at any time, as shared state is never written: a
 * snapshot is saved while its session goes on.
 *
 * Errors: made with host->fail only. The structs and the vtable are size-first and append-only.
 */
#ifndef SAMBA_BACKEND_H
#define SAMBA_BACKEND_H

#include "../samba.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SAMBA_BACKEND_ABI 1u

typedef struct samba_backend_device samba_backend_device;
typedef struct samba_backend_weights samba_backend_weights;
typedef struct samba_backend_pass samba_backend_pass;

/* ---------------------------------------------------------------- host services */

/* What the library offers a backend. Valid until close returns; usable on any thread. */
typedef struct samba_backend_host {
    size_t struct_size;
    samba_allocator allocator; /* all host memory of the backend goes through it */
    /* Makes *error (may be NULL) and returns `status`. `message` is copied. */
    samba_status (*fail)(void *host_data, samba_error **error, samba_status status,
                         const char *message);
    void (*log)(void *host_data, samba_log_level level, const char *message);
    void *host_data;
} samba_backend_host;

typedef struct samba_backend_open_params {
    size_t struct_size;
    const samba_backend_host *host; /* valid until close */
    int32_t device_index;
    int32_t n_threads;       /* >= 1; for backends that compute on the host */
    samba_cpu_tier cpu_tier; /* 0: best */
    int32_t profile;         /* 1: count where passes spend time */
    /* The host's threads, n_threads of them; NULL: the backend starts its own. Valid until close.
     */
    const samba_thread_pool *thread_pool;
} samba_backend_open_params;

#define SAMBA_BACKEND_INVARIANT 1u
/* Tensors may come as SAMBA_TENSOR_ROWS. Without this flag they are whole, in host memory. */
#define SAMBA_BACKEND_READS_ROWS 2u

typedef struct samba_backend_info {
    size_t struct_size;
    uint32_t flags;
    uint32_t page_positions; /* positions per page, a power of two */
    const char *device_name; /* e.g. "avx512-vnni"; valid until close */
} samba_backend_info;

/* ---------------------------------------------------------------- weights */

/*
 * Rows of a weight that are still in the file, so that a large one need never be in memory whole.
 * Valid until prepare returns. The backend reads all rows of every such tensor before it returns
 * OK, each row once, in order: a call of `read` begins at the row where the one begun before it
 * ended. With `parallel` 1, calls may overlap, on any threads, and one may wait inside for those
 * begun before it; else they are made on the thread that called prepare. After a failure nothing
 * more is read, and prepare passes the failure on.
 */
typedef struct samba_backend_rows samba_backend_rows;
struct samba_backend_rows {
    size_t struct_size;
    int32_t parallel;
    /* Rows [first_row, first_row + n_rows) in file layout: *data is `buffer`, filled, or memory
     * that is valid until prepare returns. Any alignment. */
    samba_status (*read)(const samba_backend_rows *rows, uint64_t first_row, uint64_t n_rows,
                         void *buffer, const void **data, samba_error **error);
    /* To be called on the thread that called prepare, between reads, at least every 64 MB: shows
     * progress, and fails when loading is cancelled. The host's code runs inside: hold no lock. */
    samba_status (*pause)(const samba_backend_rows *rows, samba_error **error);
};

/* A weight in file layout: row-major [rows][cols], blocks along cols. data NULL: absent, or in
 * `measure` unknown. A vector has rows 1. */
#define SAMBA_TENSOR_ROWS 1u /* data points to a samba_backend_rows */
typedef struct samba_backend_tensor {
    const void *data;
    samba_dtype dtype; /* matrices: any; vectors and the small tables marked f32: F32 */
    uint32_t flags;
    uint64_t rows, cols;
} samba_backend_tensor;

typedef int32_t samba_sublayer_kind;
#define SAMBA_SUBLAYER_MAMBA 1
#define SAMBA_SUBLAYER_ATTENTION 2
#define SAMBA_SUBLAYER_DIFF_ATTENTION 3
#define SAMBA_SUBLAYER_GMU 4
#define SAMBA_SUBLAYER_GLA 5
#define SAMBA_SUBLAYER_RETENTION 6
#define SAMBA_SUBLAYER_SWIGLU 7

typedef int32_t samba_norm_kind;
#define SAMBA_NORM_RMS 1   /* x / sqrt(mean(x^2) + eps) * w */
#define SAMBA_NORM_LAYER 2 /* (x - mean) / sqrt(var + eps) * w + b */

/*
 * Weight roles; E = d_inner, N = d_state, R = dt_rank, H/G = n_heads/n_kv_heads, c = head_dim,
 * K/V = key_dim/value_dim per head. A bias that is absent is zero.
 */
enum {
    SAMBA_W_NORM,      /* f32 [d_model] */
    SAMBA_W_NORM_BIAS, /* f32 [d_model], LAYER only */
    SAMBA_W_IN,        /* Mamba [2E][d_model], rows x|z; GMU [E][d_model] */
    SAMBA_W_IN_BIAS,   /* f32 [2E] */
    SAMBA_W_CONV,      /* f32 [E][d_conv], the newest input meets the last tap */
    SAMBA_W_CONV_BIAS, /* f32 [E] */
    SAMBA_W_X_PROJ,    /* [R+2N][E], rows dt|B|C */
    SAMBA_W_DT_PROJ,   /* f32 [E][R] */
    SAMBA_W_DT_BIAS,   /* f32 [E] */
    SAMBA_W_A,         /* f32 [E][N], = -exp(A_log) */
    SAMBA_W_D,         /* f32 [E] */
    SAMBA_W_OUT,       /* [d_model][E | H*c | heads*V | d_inner] */
    SAMBA_W_OUT_BIAS,  /* f32 [d_model] */
    SAMBA_W_Q,         /* [H*c][d_model]; GLA, retention [H*K][d_model] */
    SAMBA_W_Q_BIAS,
    SAMBA_W_K, /* [G*c][d_model]; absent in cross layers */
    SAMBA_W_K_BIAS,
    SAMBA_W_V, /* [G*c][d_model]; GLA, retention [H*V][d_model] */
    SAMBA_W_V_BIAS,
    SAMBA_W_Q_CONV, /* f32 [H*c][d_conv], no bias, followed by silu, before RoPE */
    SAMBA_W_K_CONV, /* f32 [G*c][d_conv] */
    SAMBA_W_V_CONV, /* f32 [G*c][d_conv] */
    SAMBA_W_GATE,   /* SwiGLU [d_inner][d_model]; GLA, retention [H*V][d_model] */
    SAMBA_W_GATE_BIAS,
    SAMBA_W_UP, /* SwiGLU [d_inner][d_model] */
    SAMBA_W_UP_BIAS,
    SAMBA_W_GK_A,      /* GLA [rank][d_model] */
    SAMBA_W_GK_B,      /* GLA f32 [H*K][rank] */
    SAMBA_W_GK_BIAS,   /* f32 [H*K] */
    SAMBA_W_SUBNORM,   /* f32: diff. attention [2c]; GLA, retention [V] */
    SAMBA_W_COUNT = 40 /* room for roles to come; unused ones have data NULL and rows 0 */
};

/* Flags of a sublayer. */
/* Diff. attention without K, V of its own: reads the pages of another sublayer's page slot. */
#define SAMBA_SUBLAYER_CROSS 1u
/* Mamba: keep y = scan output with the D term, before the gate, for the GMUs of this pass. */
#define SAMBA_SUBLAYER_PUBLISH_MEMORY 2u

/* One sublayer, x += mixer(norm(x)). Fields that a kind does not use are 0. The formulas: Mamba,
 * arXiv 2312.00752; Samba 2406.07522; differential attention 2410.05258; GMU (SambaY) 2507.06607;
 * GLA 2312.06635; retention 2307.08621. */
typedef struct samba_backend_sublayer {
    size_t struct_size;
    samba_sublayer_kind kind;
    uint32_t flags;
    samba_norm_kind norm;
    float norm_eps;
    uint32_t d_model;
    uint32_t d_inner;                  /* Mamba, GMU: E; SwiGLU: MLP width */
    uint32_t d_state, d_conv, dt_rank; /* Mamba; d_conv also for short conv in attention (else 0) */
    uint32_t n_heads, n_kv_heads, head_dim; /* attention kinds; GLA, retention: n_heads */
    uint32_t window;                        /* keys seen, own included; 0 = all earlier ones */
    uint32_t key_dim, value_dim, gate_rank; /* GLA, retention, per head */
    /* RoPE, half-split, on the first rope_dims of every head of q and k (0 = none). With
     * e = (float)(2t)/rope_dims, theta = 1.0f/(float)pow(base, e), angle = ((float)pos/condense) *
     * theta in f32; cos and sin of it rounded to f32 and then to bf16 if the table says so. */
    uint32_t rope_dims;
    samba_rope_table rope_table;
    float rope_base, rope_condense;
    float lambda, lambda_init; /* diff. attention: A1 - lambda*A2; output times 1 - lambda_init */
    float subnorm_eps;
    samba_backend_tensor tensors[SAMBA_W_COUNT];
} samba_backend_sublayer;

/* Final norm and output projection. */
typedef struct samba_backend_head {
    size_t struct_size;
    samba_norm_kind norm;
    float norm_eps;
    samba_backend_tensor norm_weight, norm_bias; /* f32 [d_model] */
    samba_backend_tensor table;                  /* [n_vocab][d_model]; data NULL when tied */
    const samba_backend_weights *tied; /* the embedding's, which outlive the head; or NULL */
} samba_backend_head;

typedef struct samba_backend_footprint {
    size_t struct_size;
    uint64_t weight_bytes;  /* held after prepare */
    uint64_t slab_bytes;    /* of one slab of this sublayer; 0: it has none */
    uint64_t page_bytes[8]; /* of one page, indexed by kv dtype; 0: none, or dtype not supported */
    uint64_t row_bytes;     /* activations per row of a pass that this sublayer needs */
} samba_backend_footprint;

/* ---------------------------------------------------------------- passes */

#define SAMBA_SLAB_ZERO UINT32_MAX /* slab_in: start from the zero state */

/* The pages of one sequence for one page slot, those from the oldest visible position on. */
typedef struct samba_backend_pages {
    uint64_t first; /* number (position / page_positions) of pages[0] */
    const uint32_t *pages;
    uint32_t n_pages; /* reach to the end of this pass's rows */
    /* Positions of pages[0] that come before the sequence's first one and hold nothing; less than
     * page_positions. Queries see none of them, whatever the window. */
    uint32_t n_before;
} samba_backend_pages;

typedef struct samba_backend_seq {
    uint64_t position; /* of its first row */
    uint32_t n_rows;   /* >= 1; rows of sequences follow each other in the batch */
    uint32_t n_out;    /* its last n_out rows produce outputs, 0 .. n_rows */
    samba_dtype kv_dtype;
    /* 1: slab_out gets the state after the last row. n_rows: one set per row, after each row. */
    uint32_t n_slab_sets;
    const uint32_t *slab_in;          /* [n_slab_slots] */
    const uint32_t *slab_out;         /* [n_slab_sets][n_slab_slots], all different from slab_in */
    const samba_backend_pages *pages; /* [n_page_slots] */
} samba_backend_seq;

typedef struct samba_backend_batch {
    size_t struct_size;
    uint32_t n_seqs;
    uint32_t n_rows; /* sum over seqs */
    uint32_t n_out;  /* sum over seqs */
    uint32_t n_slab_slots, n_page_slots;
    const samba_backend_seq *seqs; /* [n_seqs], valid until end */
    const samba_token *tokens;     /* [n_rows], valid until end */
    uint64_t max_row_bytes;        /* the largest row_bytes of the sublayers to come */
} samba_backend_batch;

/*
 * NARROW: the last sublayer that writes state. It updates its state and pages from all rows, and
 * from then on the residual stream (and the GMU memory) holds the n_out output rows only; with
 * n_out 0 the rest of the pass does nothing.
 */
#define SAMBA_RUN_NARROW 1u

typedef struct samba_backend_run {
    size_t struct_size;
    uint32_t flags;
    int32_t slab_slot; /* -1: none */
    int32_t page_slot; /* -1: none */
} samba_backend_run;

typedef int32_t samba_head_mode;
#define SAMBA_HEAD_LOGITS 1 /* output LOGITS [n_out][n_vocab] */
/* Output LOGPROBS [n_out]: log-softmax at targets[i]. A row with target -1 gives 0 there, and its
 * logits as output LOGITS: the k-th such row is row k of LOGITS. */
#define SAMBA_HEAD_TARGETS 2
#define SAMBA_HEAD_NORM 3 /* only what SAMBA_OUT_HIDDEN of the head needs */

typedef struct samba_backend_head_run {
    size_t struct_size;
    samba_head_mode mode;
    int32_t keep_hidden;        /* 1: output HIDDEN = final-norm rows [n_out][d_model] */
    const samba_token *targets; /* TARGETS: [n_out], valid until end */
} samba_backend_head_run;

typedef int32_t samba_pass_output;
#define SAMBA_OUT_LOGITS 1
#define SAMBA_OUT_LOGPROBS 2
#define SAMBA_OUT_HIDDEN 3
#define SAMBA_OUT_MEMORY 4 /* the published GMU memory [rows][d_inner]; for tests and tools */

/* logprobs[i] = log softmax(logits)[targets[i]], for log_probs. */
typedef struct samba_backend_scores {
    size_t struct_size;
    const float *logits;        /* [n_vocab] */
    const samba_token *targets; /* [n_targets], each in 0 .. n_vocab-1 */
    size_t n_vocab, n_targets;
    float *logprobs; /* [n_targets] */
} samba_backend_scores;

/* ---------------------------------------------------------------- the table */

typedef struct samba_backend_vtbl {
    size_t struct_size;
    uint32_t abi; /* SAMBA_BACKEND_ABI */
    uint32_t reserved;
    const char *name; /* "cpu", "cuda", ...; static */

    /* device */
    samba_status (*open)(const samba_backend_open_params *params, samba_backend_device **device,
                         samba_error **error);
    void (*close)(samba_backend_device *device); /* all weights, slabs and pages are freed before */
    samba_status (*describe)(samba_backend_device *device, samba_backend_info *info,
                             samba_error **error);

    /* weights. measure: as prepare_sublayer would, from shapes alone. */
    samba_status (*measure)(samba_backend_device *device, const samba_backend_sublayer *sublayer,
                            samba_backend_footprint *footprint, samba_error **error);
    samba_status (*prepare_sublayer)(samba_backend_device *device,
                                     const samba_backend_sublayer *sublayer,
                                     samba_backend_weights **weights, samba_error **error);
    samba_status (*prepare_embed)(samba_backend_device *device, const samba_backend_tensor *table,
                                  samba_backend_weights **weights, samba_error **error);
    samba_status (*prepare_head)(samba_backend_device *device, const samba_backend_head *head,
                                 samba_backend_weights **weights, samba_error **error);
    void (*footprint)(const samba_backend_weights *weights, samba_backend_footprint *footprint);
    void (*release)(samba_backend_device *device, samba_backend_weights *weights);

    /*
     * state. Canonical layouts, little-endian, for pack and unpack:
     *   slab of MAMBA      f32 conv [E][d_conv-1], oldest input first; f32 ssm [E][N]
     *   slab of ATTENTION  f32 [H*c][d_conv-1] of q, then [G*c][d_conv-1] of k, of v
     *   slab of GLA, RETENTION  f32 [n_heads][key_dim][value_dim]
     *   page row           k [G][c], then v [G][c], in kv_dtype (Q8_0: blocks along c)
     * Sizes are exact, or the call fails with MISMATCH.
     */
    samba_status (*slab_alloc)(samba_backend_device *device, const samba_backend_weights *weights,
                               uint32_t *slab, samba_error **error);
    void (*slab_free)(samba_backend_device *device, uint32_t slab);
    samba_status (*slab_pack)(samba_backend_device *device, uint32_t slab, void *canonical,
                              size_t size, samba_error **error);
    samba_status (*slab_unpack)(samba_backend_device *device, uint32_t slab, const void *canonical,
                                size_t size, samba_error **error);
    samba_status (*page_alloc)(samba_backend_device *device, const samba_backend_weights *weights,
                               samba_dtype kv_dtype, uint32_t *page, samba_error **error);
    void (*page_free)(samba_backend_device *device, uint32_t page);
    samba_status (*page_copy)(samba_backend_device *device, uint32_t to, uint32_t from,
                              samba_error **error);
    samba_status (*page_pack)(samba_backend_device *device, uint32_t page, uint32_t first_row,
                              uint32_t n_rows, void *canonical, size_t size, samba_error **error);
    samba_status (*page_unpack)(samba_backend_device *device, uint32_t page, uint32_t first_row,
                                uint32_t n_rows, const void *canonical, size_t size,
                                samba_error **error);

    /* pass */
    samba_status (*begin)(samba_backend_device *device, const samba_backend_batch *batch,
                          samba_backend_pass **pass, samba_error **error);
    samba_status (*embed)(samba_backend_pass *pass, const samba_backend_weights *weights,
                          samba_error **error);
    samba_status (*sublayer)(samba_backend_pass *pass, const samba_backend_weights *weights,
                             const samba_backend_run *run, samba_error **error);
    /* Output HIDDEN = the residual stream of the output rows as it is here. At most once a pass. */
    samba_status (*tap)(samba_backend_pass *pass, samba_error **error);
    samba_status (*head)(samba_backend_pass *pass, const samba_backend_weights *weights,
                         const samba_backend_head_run *run, samba_error **error);
    samba_status (*submit)(samba_backend_pass *pass, samba_error **error);
    samba_status (*wait)(samba_backend_pass *pass, samba_error **error);
    /* After wait: rows [first_row, first_row + n_rows) of an output, as f32. */
    samba_status (*read)(samba_backend_pass *pass, samba_pass_output output, uint32_t first_row,
                         uint32_t n_rows, float *to, samba_error **error);
    void (*end)(samba_backend_pass *pass); /* accepts NULL */

    /* Optional, NULL or past struct_size: no profile. Writes at most `capacity` entries, returns how
     * many there are; `reset`: counts anew from here. Between passes. */
    size_t (*profile)(samba_backend_device *device, samba_profile_entry *entries, size_t capacity,
                      int32_t reset);
    /* Optional, as above. Scores a row of logits in host memory, with the bits that TARGETS gives
     * for it. Any thread, any time. */
    void (*log_probs)(samba_backend_device *device, const samba_backend_scores *scores);
} samba_backend_vtbl;

#ifdef __cplusplus
}
#endif
#endif /* SAMBA_BACKEND_H */
