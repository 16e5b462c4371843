/*
 * The plan: what a checkpoint is, in one form for all families. A family adapter reads config and
 * tensor names and describes every sublayer and where each of its weights lies in the files; no
 * data is read except a few scalars. After that nothing asks which family it was: loading,
 * conversion and memory estimates walk the same list.
 *
 * Canonical tensors. Each weight has a canonical name ("blk.7.attn_q.weight"; blk counts
 * sublayers), shape and f32-or-matrix class. That is what GGUF files of ours hold, tensor by
 * tensor, and what the fingerprint is hashed over, so that it is the same for every container.
 */
#ifndef SAMBA_MODEL_PLAN_H
#define SAMBA_MODEL_PLAN_H

#include "format/checkpoint.h"
#include "samba/backend.h"

/* What becomes of a weight in quantised files and in memory. */
typedef int32_t samba__weight_class;
enum {
    SAMBA__CLASS_F32 = 1,    /* always f32: norms, conv, A, D, dt_proj, biases */
    SAMBA__CLASS_MATRIX = 2, /* any dtype */
    SAMBA__CLASS_FINE = 3,   /* matrix, at least Q8_0 (x_proj) */
    SAMBA__CLASS_HEAD = 4    /* matrix that makes the logits, at least Q6_K */
};

typedef int32_t samba__transform;
enum {
    SAMBA__AS_IS = 0,
    SAMBA__NEG_EXP = 1 /* A = -exp(A_log) */
};

/*
 * Rows of a file tensor that make up a weight: n_runs runs of `run` rows each, run i starting at
 * row first + i*stride. (lit_gpt packs q, k, v per kv group; phi4flash in three parts.) The file
 * tensor is taken as [rows][cols] with cols = its last dimension, or for conv weights [E][1][k] as
 * [E][k]; the rows of a one-dimensional file tensor are its elements.
 */
typedef struct samba__weight {
    const char *name; /* canonical */
    const samba__file_tensor *tensor;
    samba__weight_class wclass;
    samba__transform transform;
    uint64_t rows, cols; /* of the weight; a vector: rows 1 */
    uint64_t first, run, stride, n_runs;
    bool vector; /* GGUF and fingerprint: one dimension */
} samba__weight;

typedef struct samba__plan_sublayer {
    samba_backend_sublayer desc; /* tensors[]: rows, cols, dtype as it will be in memory; no data */
    samba__weight *weights[SAMBA_W_COUNT]; /* NULL: absent */
    uint32_t block;
    int32_t slab_slot; /* -1: no recurrent state */
    int32_t page_slot; /* -1: no keys and values; cross layers name the slot they read */
} samba__plan_sublayer;

typedef struct samba__plan {
    const samba_allocator *alloc;
    samba__arena arena; /* owns everything below */
    const char *family;
    const char *name;          /* "" if unknown */
    const char *chat_template; /* NULL: none */
    uint32_t n_vocab, d_model, n_blocks, n_sublayers;
    uint32_t n_slab_slots, n_page_slots;
    uint32_t narrow_at;      /* index of the last sublayer that writes state */
    uint32_t context_length; /* trained for, for information; 0: unknown */
    samba_token bos, eos;    /* -1: none */
    samba__plan_sublayer *sublayers;
    samba__weight *embed;
    samba__weight *head;                         /* NULL: tied to embed */
    samba__weight *final_norm, *final_norm_bias; /* bias NULL: none */
    samba_norm_kind final_norm_kind;
    float final_norm_eps;
    samba__weight **weights; /* [n_weights]: embedding, sublayers in order, final norm, head */
    size_t n_weights;
} samba__plan;

typedef struct samba__plan_options {
    samba_rope_table rope_table; /* 0: the family's */
    samba_dtype weight_dtype;    /* 0: as in the file */
} samba__plan_options;

/* Picks the family by config keys or GGUF architecture and runs its adapter. The checkpoint must
 * outlive the plan. Errors: UNSUPPORTED names what is not known; MISMATCH names tensor and both
 * shapes; extra tensors that no sublayer uses are refused by name, but for known dummies. */
samba_status samba__plan_create(const samba__checkpoint *checkpoint,
                                const samba__plan_options *options, samba__plan **plan,
                                samba_error **error);
void samba__plan_free(samba__plan *plan); /* accepts NULL */

/* The dtype a weight has in memory or in a written file, for a wanted matrix dtype (0: as stored):
 * CLASS_F32 -> F32; where fewer bits are wanted, CLASS_FINE -> Q8_0 and CLASS_HEAD -> Q6_K (Q8_0
 * where its rows are no multiple of a Q6_K block); rows that are no multiple of a block format's
 * block -> BF16, *kept = true. */
samba_dtype samba__weight_dtype(const samba__weight *w, samba_dtype wanted, bool *kept);

/* Reads the weight, converted to `dtype`, row-major [rows][cols], into `to` (exact size by
 * samba__dtype_bytes). `scratch` is grown as needed and belongs to the caller. */
typedef struct samba__scratch {
    const samba_allocator *alloc;
    void *data;
    size_t capacity;
} samba__scratch;
typedef struct samba__row_range {
    uint64_t first, n;
} samba__row_range;
samba_status samba__weight_read(const samba__checkpoint *checkpoint, const samba__weight *w,
                                samba_dtype dtype, void *to, samba__scratch *scratch,
                                samba_error **error);
void samba__scratch_free(samba__scratch *scratch);
/* The same for rows [first, first + n) of the weight. Any number of threads at once, each with a
 * scratch of its own, where samba__checkpoint_parallel of the tensor says so. */
samba_status samba__weight_read_rows(const samba__checkpoint *checkpoint, const samba__weight *w,
                                     samba_dtype dtype, samba__row_range rows, void *to,
                                     samba__scratch *scratch, samba_error **error);
/* Those rows where they lie in memory already, if they are there as `dtype` in one piece; or NULL.
 */
const void *samba__weight_view_rows(const samba__checkpoint *checkpoint, const samba__weight *w,
                                    samba_dtype dtype, samba__row_range rows);

#endif
