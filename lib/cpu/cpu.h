/*
 * Inside of the CPU backend: device, weights, state tables and pass, and the helpers that the
 * mixers share. A mixer is one file with a samba__cpu_kind: how its weights are built and how it
 * runs. Mixers divide work over threads by rows, panels, heads and channels only, never the sum
 * behind one output, and see kernels only through the device's table.
 */
#ifndef SAMBA_CPU_CPU_H
#define SAMBA_CPU_CPU_H

#include "base/alloc.h"
#include "base/error.h"
#include "base/pool.h"
#include "cpu/kernels.h"
#include "samba/backend.h"
#include <uv.h>

extern const samba_backend_vtbl samba__cpu_backend;

/* ---------------------------------------------------------------- state tables (state.c) */

/* One array of a slab. Canonical: [heads][channels][inner], or [heads][inner][channels] when
 * inner_first. In memory: [heads][inner][pad16(channels)], or, grouped, per head
 * [channels/16][inner][16]. */
typedef struct samba__cpu_section {
    size_t heads, channels, inner;
    bool inner_first, grouped;
    size_t offset; /* floats from the start of the slab */
} samba__cpu_section;

enum {
    SAMBA__CPU_SECTIONS = 3
};
typedef struct samba__cpu_slab_layout {
    size_t n_sections; /* 0: no slab */
    samba__cpu_section sections[SAMBA__CPU_SECTIONS];
    size_t floats; /* in memory */
} samba__cpu_slab_layout;

/* A slab (dtype 0) or a page. data NULL: free, `next` is the next free number or UINT32_MAX. */
typedef struct samba__cpu_entry {
    void *data;
    samba_dtype dtype;
    uint32_t next;
    samba__kv_shape shape;         /* of a page */
    samba__cpu_slab_layout layout; /* of a slab */
} samba__cpu_entry;

typedef struct samba__cpu_table {
    samba__cpu_entry *entries;
    size_t n, capacity;
    uint32_t free; /* first free number, UINT32_MAX: none */
} samba__cpu_table;

/* Adds a section at the end of the layout. */
void samba__cpu_slab_section(samba__cpu_slab_layout *layout, samba__cpu_section section);

/* ---------------------------------------------------------------- device (device.c) */

/* Largest needs of anything prepared so far: what begin reserves for. Never shrinks. */
typedef struct samba__cpu_needs {
    size_t d_model, memory, rope_half, n_vocab; /* floats per row */
    size_t head_row_bytes, thread_bytes;
} samba__cpu_needs;

/* Memory kept from pass to pass. */
typedef struct samba__cpu_buffer {
    char *data;
    size_t size;
} samba__cpu_buffer;

/* What a rotary table is made of; equal keys give equal tables. */
typedef struct samba__cpu_rope_key {
    uint32_t dims;
    samba_rope_table table;
    float base, condense;
} samba__cpu_rope_key;

struct samba_backend_pass {
    samba_backend_device *device;
    samba_backend_batch batch;
    bool active, embedded, narrowed;
    size_t n_rows; /* rows of x: batch.n_rows, after NARROW batch.n_out */
    size_t d_model, ldx;
    float *x;                 /* [n_rows][ldx]: the residual stream */
    float *memory;            /* [n_rows][ldm]: published for GMUs */
    size_t memory_width, ldm; /* width 0: nothing published yet */
    float *hidden;            /* [n_out][ldx] */
    float *logprobs;          /* [n_out] */
    bool has_hidden, has_logprobs;
    size_t usual_logits;             /* bytes reserved for one row per sequence */
    size_t n_logits, n_vocab, ldv;   /* rows of device->logits; n_vocab 0: none */
    uint32_t *first_row, *first_out; /* [n_seqs] */
    uint32_t *out_row;               /* [n_out]: its row in the batch */
    samba__cpu_rope_key rope;        /* of the table below; dims 0: none yet */
    float *cos, *sin;                /* [batch.n_rows][ld_rope] */
    size_t ld_rope;
    float **slab_in;      /* [n_seqs]: NULL is zero */
    float **slab_out;     /* sets of all sequences one after another */
    size_t *first_set;    /* [n_seqs]: index of a sequence's first set */
    void **pages;         /* of the current page slot, all sequences */
    size_t *first_page;   /* [n_seqs]: index of a sequence's first page */
    uint64_t *page_base;  /* [n_seqs]: number of that page in its sequence */
    uint64_t *first_key;  /* [n_seqs]: oldest position that holds keys */
    char *thread_scratch; /* [n_threads][thread_bytes] */
    size_t thread_bytes;
    char *arena; /* buffers of one sublayer */
    size_t arena_bytes;
};

/* What thread 0 is doing, for profiles. */
typedef int32_t samba__cpu_phase;
enum {
    SAMBA__CPU_PHASE_OTHER,
    SAMBA__CPU_PHASE_WAIT,
    SAMBA__CPU_PHASE_EMBED,
    SAMBA__CPU_PHASE_NORM,
    SAMBA__CPU_PHASE_PREPARE,
    SAMBA__CPU_PHASE_CONV,
    SAMBA__CPU_PHASE_SCAN,
    SAMBA__CPU_PHASE_ROPE,
    SAMBA__CPU_PHASE_STORE,
    SAMBA__CPU_PHASE_ATTENTION,
    SAMBA__CPU_PHASE_DIFF,
    SAMBA__CPU_PHASE_GLA,
    SAMBA__CPU_PHASE_GATE,
    SAMBA__CPU_PHASE_COMPACT,
    SAMBA__CPU_PHASE_HEAD,
    SAMBA__CPU_PHASE_SCORE,
    SAMBA__CPU_PHASE_LINEAR, /* + dtype of the weights */
    SAMBA__CPU_PHASES = SAMBA__CPU_PHASE_LINEAR + SAMBA__N_DTYPES
};

typedef struct samba__cpu_phase_sum {
    uint64_t calls, ns;
} samba__cpu_phase_sum;

typedef struct samba__cpu_profile {
    bool on;
    uint64_t last; /* when the last phase ended */
    samba__cpu_phase_sum phases[SAMBA__CPU_PHASES];
} samba__cpu_profile;

struct samba_backend_device {
    const samba_backend_host *host;
    samba_allocator alloc;
    samba__kernels kernels;
    samba__pool *pool;
    uv_mutex_t lock; /* tables and needs */
    samba__cpu_table slabs, pages;
    samba__cpu_needs needs;
    samba__cpu_buffer workspace, logits;
    samba__cpu_profile profile;
    samba_backend_pass pass; /* one at a time */
};

/* Makes an error through the host. */
samba_status samba__cpu_fail(const samba_backend_device *device, samba_error **error,
                             samba_status status, const char *format, ...) SAMBA__PRINTF(4, 5);
samba_status samba__cpu_fail_oom(const samba_backend_device *device, samba_error **error);

/* ---------------------------------------------------------------- weights (weights.c) */

typedef struct samba__cpu_norm {
    void (*run)(const samba__norm_args *args);
    float eps;
    const float *weight, *bias;
} samba__cpu_norm;

/* One matrix of a linear layer: columns [column, column + rows) of its output. */
typedef struct samba__cpu_part {
    const samba__linear_kernels *kernels;
    const void *packed;
    const float *bias; /* NULL: none */
    size_t rows, column;
    size_t format; /* bytes per row of the prepared formats ahead of this part's */
} samba__cpu_part;

/*
 * Floats from row to row of a buffer with n columns: an odd number of cache lines. Kernels walk
 * down the rows a line or a few wide; at the usual widths, multiples of a large power of two, all
 * rows would fall into the same few sets of the cache.
 */
static inline size_t samba__cpu_ld(size_t n)
{
    return samba__pad16(n) | 16;
}

/* Matrices that read the same rows, with outputs side by side at multiples of 16. */
enum {
    SAMBA__CPU_PARTS = 5
};
typedef struct samba__cpu_linear {
    size_t cols, n_parts, width; /* width: columns of the output, a multiple of 16 */
    size_t ld;                   /* of the output: samba__cpu_ld(width) */
    size_t row_bytes;            /* of a prepared row in all formats */
    samba__cpu_part parts[SAMBA__CPU_PARTS];
} samba__cpu_linear;

/* Rotary embedding of a sublayer. */
typedef struct samba__cpu_rope {
    samba__cpu_rope_key key; /* dims 0: none */
    const float *theta;      /* [dims / 2] */
} samba__cpu_rope;

typedef struct samba__cpu_kind samba__cpu_kind;

/* The start of every weights object; a mixer's own struct begins with it. */
struct samba_backend_weights {
    const samba__cpu_kind *kind; /* NULL: embedding or head */
    void *block;                 /* all buffers of the object */
    samba_backend_footprint footprint;
    uint32_t flags;
    size_t d_model;
    samba__cpu_norm norm;
    samba__cpu_slab_layout slab;
    samba__kv_shape kv; /* of the pages read or written; n_heads 0: none */
    bool owns_pages, is_embed, is_head;
    size_t reads_memory; /* width of the published memory that a GMU needs; else 0 */
    samba__cpu_needs needs;
};

/* A matrix to be packed once all buffers are there: rows of a tensor, to one part or two. */
enum {
    SAMBA__CPU_FILLS = 8
};
typedef struct samba__cpu_fill {
    const samba_backend_tensor *tensor;
    const samba__linear_kernels *kernels;
    size_t cols, n_parts;
    struct {
        char *packed;
        size_t rows;
    } parts[2]; /* in order of the tensor's rows */
} samba__cpu_fill;

/*
 * Builds a weights object in two runs of the same code: block NULL checks shapes and counts bytes,
 * then the buffers are handed out and filled; matrices last, by all threads (fill.c). The first
 * failure sticks and the rest does nothing.
 */
typedef struct samba__cpu_builder {
    samba_backend_device *device;
    const samba_backend_sublayer *desc;
    bool measuring; /* shapes only: data may be NULL */
    char *block;
    size_t used;
    samba_status status;
    samba_error **error;
    samba__cpu_fill fills[SAMBA__CPU_FILLS];
    size_t n_fills;
} samba__cpu_builder;

enum {
    SAMBA__CPU_OPTIONAL = 0,
    SAMBA__CPU_REQUIRED = 1
};
#define SAMBA__CPU_NO_BIAS (-1)

/* 64-byte aligned bytes, or NULL while counting. */
void *samba__cpu_build_bytes(samba__cpu_builder *b, size_t size);
/* False, and a failure, unless ok. */
bool samba__cpu_build_check(samba__cpu_builder *b, bool ok, const char *what, uint64_t value);
bool samba__cpu_build_has(const samba__cpu_builder *b, int role);
/* f32 [n] of a role padded with zeros to pad16(n); NULL if absent (or counting). */
const float *samba__cpu_build_vector(samba__cpu_builder *b, int role, size_t n, int need);
/* f32 [rows][cols] of a role, transposed: [cols][pad16(rows)]; grouped: [rows/16][cols][16]. */
const float *samba__cpu_build_table(samba__cpu_builder *b, int role, size_t rows, size_t cols,
                                    bool grouped);
void samba__cpu_build_norm(samba__cpu_builder *b, samba_backend_weights *w);
void samba__cpu_build_linear(samba__cpu_linear *lin, size_t cols);
/* Adds a matrix [rows][cols] as the next part. */
void samba__cpu_build_part(samba__cpu_builder *b, samba__cpu_linear *lin, int role, int bias_role,
                           size_t rows);
/* Adds a matrix [2*rows][cols] as two parts of `rows`. */
void samba__cpu_build_halves(samba__cpu_builder *b, samba__cpu_linear *lin, int role, int bias_role,
                             size_t rows);
void samba__cpu_build_tensor(samba__cpu_builder *b, samba__cpu_linear *lin,
                             const samba_backend_tensor *tensor, const char *name);
/* Vector outside a sublayer's roles. */
const float *samba__cpu_build_floats(samba__cpu_builder *b, const samba_backend_tensor *tensor,
                                     const char *name, size_t n);
void samba__cpu_build_rope(samba__cpu_builder *b, samba__cpu_rope *rope, size_t head_dim,
                           samba_backend_weights *w);
/* Runs both runs of `build` on an object of `size` bytes; measuring: *w is for release only. */
typedef void (*samba__cpu_build_fn)(samba__cpu_builder *b, samba_backend_weights *w,
                                    const void *arg);
samba_status samba__cpu_build(samba__cpu_builder *b, samba__cpu_build_fn build, const void *arg,
                              size_t size, samba_backend_weights **w);
void samba__cpu_weights_free(const samba_backend_device *device, samba_backend_weights *w);

/* fill.c. Rows [first, first + n) of a tensor, wherever it is: *data is `buffer` or not. */
samba_status samba__cpu_read_rows(const samba_backend_tensor *tensor, uint64_t first, uint64_t n,
                                  void *buffer, const void **data, samba_error **error);
/* Packs the builder's fills. */
samba_status samba__cpu_fill_all(samba__cpu_builder *b);

/* ---------------------------------------------------------------- running */

struct samba__cpu_kind {
    samba_sublayer_kind kind;
    const char *name;
    size_t size; /* of the weights object */
    void (*build)(samba__cpu_builder *b, samba_backend_weights *w);
    /* narrow: write x and memory for output rows only; x must be compacted by the mixer (after the
     * norm has read it), the rest is done by the caller. Kinds without state never see it. */
    void (*run)(samba_backend_pass *pass, const samba_backend_weights *w, bool narrow);
};

extern const samba__cpu_kind samba__cpu_mamba, samba__cpu_attention, samba__cpu_diff_attention,
    samba__cpu_gmu, samba__cpu_gla, samba__cpu_retention, samba__cpu_swiglu;

/* Buffers of one sublayer, each [n_rows][row bytes]; base NULL counts. */
typedef struct samba__cpu_arena {
    char *base;
    size_t used, n_rows;
} samba__cpu_arena;

static inline void *samba__cpu_take(samba__cpu_arena *arena, size_t row_bytes)
{
    void *p = arena->base ? arena->base + arena->used : NULL;
    arena->used += arena->n_rows * ((row_bytes + 63) & ~(size_t)63);
    return p;
}

static inline float *samba__cpu_take_floats(samba__cpu_arena *arena, size_t n)
{
    return samba__cpu_take(arena, n * sizeof(float));
}

static inline samba__cpu_arena samba__cpu_arena_of(const samba_backend_pass *pass)
{
    return (samba__cpu_arena){.base = pass->arena, .n_rows = pass->batch.n_rows};
}

/* Which share of how many of a step's work (see base/pool.h). Whichever thread does it, "a
 * thread's" in what follows is a share's. */
typedef struct samba__cpu_thread {
    uint32_t index, n;
} samba__cpu_thread;

/* profile.c */
void samba__cpu_profile_begin(samba_backend_device *device);
void samba__cpu_profile_lap(samba_backend_device *device, samba__cpu_phase phase);
size_t samba__cpu_profile_read(samba_backend_device *device, samba_profile_entry *entries,
                               size_t capacity);
void samba__cpu_profile_reset(samba_backend_device *device);

/* A phase of the pass ends here. Share 0 stands for all. */
static inline void samba__cpu_lap(const samba_backend_pass *pass, samba__cpu_thread thread,
                                  samba__cpu_phase phase)
{
    if (thread.index == 0 && pass->device->profile.on)
        samba__cpu_profile_lap(pass->device, phase);
}

/* The work of a sublayer, cut into steps: no share of a step begins before all of the step before
 * it are done. Pool phases, and the profile's clock between them (pass.c). */
typedef struct samba__cpu_steps {
    void (*work)(const void *run, uint32_t step, samba__cpu_thread thread);
    const void *run;
    uint32_t n;
    uint64_t serial; /* bit i: step i is done as one share, without the cost of meeting */
} samba__cpu_steps;
void samba__cpu_run(samba_backend_pass *pass, const samba__cpu_steps *steps);

/* Prepared input rows of a linear layer: every format [capacity][its row bytes]. */
typedef struct samba__cpu_prepared {
    char *data;
    size_t capacity;
} samba__cpu_prepared;

/* linear.c */
samba__cpu_prepared samba__cpu_take_prepared(samba__cpu_arena *arena, const samba__cpu_linear *lin);
/* Prepares rows [to, to + n) from x [n][ldx]. */
void samba__cpu_linear_prepare(const samba__cpu_linear *lin, samba__cpu_prepared prepared,
                               size_t to, size_t n, const float *x, size_t ldx);
/* A thread's share of the panels of parts [begin, end). */
typedef struct samba__cpu_linear_run {
    samba__cpu_prepared x;
    size_t n_rows;
    float *y; /* [n_rows][ldy] of the whole layer */
    size_t ldy;
    size_t part_begin, part_end;
    bool accumulate;
} samba__cpu_linear_run;
void samba__cpu_linear_run_share(const samba_backend_pass *pass, const samba__cpu_linear *lin,
                                 const samba__cpu_linear_run *run, samba__cpu_thread thread);
/* The end of a mixer, x += lin(input), in two steps: a share of the input rows is prepared, then a
 * share of the panels run. row_map NULL: input rows 0 .. n_rows; else input row of each x row. */
typedef struct samba__cpu_output {
    const samba__cpu_linear *lin;
    samba__cpu_prepared prepared;
    const float *input;
    size_t ld;
    const uint32_t *row_map;
    size_t n_rows;
} samba__cpu_output;
void samba__cpu_output_prepare(samba_backend_pass *pass, const samba__cpu_output *out,
                               samba__cpu_thread thread);
void samba__cpu_output_run(samba_backend_pass *pass, const samba__cpu_output *out,
                           samba__cpu_thread thread);

/* norm.c: norm and preparation of a thread's share of residual rows. row_map NULL: rows 0 ..
 * n_rows; else the residual row of each prepared row. */
typedef struct samba__cpu_input {
    const samba__cpu_norm *norm;
    const samba__cpu_linear *lin;
    samba__cpu_prepared prepared;
    const uint32_t *row_map;
    size_t n_rows;
} samba__cpu_input;
void samba__cpu_input_share(samba_backend_pass *pass, const samba__cpu_input *in,
                            samba__cpu_thread thread);

/* pass.c: a thread's own scratch of pass->thread_bytes; contents last until the step ends. */
void *samba__cpu_thread_scratch(const samba_backend_pass *pass, samba__cpu_thread thread);
/* Keeps the output rows of a [n][ld] array, in place. */
void samba__cpu_compact(const samba_backend_pass *pass, float *rows, size_t ld);
/* The same for the residual stream, in a step that reads it no more: share 0 does it if the run
 * narrows. */
void samba__cpu_compact_share(samba_backend_pass *pass, bool narrow, samba__cpu_thread thread);
/* A thread's rows of the rotary table, unless the pass holds it already. */
bool samba__cpu_rope_ready(const samba_backend_pass *pass, const samba__cpu_rope *rope);
void samba__cpu_rope_share(samba_backend_pass *pass, const samba__cpu_rope *rope,
                           samba__cpu_thread thread);

/* How the recurrent kernels walk a sequence: one call, or one per row where every row has its own
 * slab. */
typedef struct samba__cpu_step {
    size_t row, n_rows;    /* in the batch */
    const float *state_in; /* slabs; NULL is the zero state */
    float *state_out;
} samba__cpu_step;
/* A section of state_in: NULL stays NULL. */
static inline const float *samba__cpu_state_at(const float *state, size_t offset)
{
    return state ? state + offset : NULL;
}
size_t samba__cpu_n_steps(const samba_backend_pass *pass, size_t seq);
samba__cpu_step samba__cpu_step_of(const samba_backend_pass *pass, size_t seq, size_t step);

/* state.c: names to pointers, for one sublayer of a pass; checks what it is given. */
samba_status samba__cpu_resolve_slabs(samba_backend_pass *pass, const samba_backend_weights *w,
                                      int32_t slot, samba_error **error);
samba_status samba__cpu_resolve_pages(samba_backend_pass *pass, const samba_backend_weights *w,
                                      int32_t slot, samba_error **error);
void samba__cpu_tables_free(samba_backend_device *device);

/* gated.c: SwiGLU and GMU. A kind's own build sets width and adds the parts of `in`. */
typedef struct samba__cpu_gated {
    samba_backend_weights base; /* reads_memory: the second factor is the pass's memory */
    size_t width;
    samba__cpu_linear in, out;
} samba__cpu_gated;
void samba__cpu_build_gated(samba__cpu_builder *b, samba__cpu_gated *w);
void samba__cpu_run_gated(samba_backend_pass *pass, const samba_backend_weights *base, bool narrow);

/* keys.c: keys and values of the softmax attentions. */
/* Norm of the residual rows and, in the next step, q | k | v = lin(rows). */
typedef struct samba__cpu_projection {
    const samba__cpu_norm *norm;
    const samba__cpu_linear *lin; /* part 0 is q */
    const samba__cpu_rope *rope; /* its table is to be made meanwhile; NULL: none, or it is there */
    samba__cpu_prepared rows, q_rows;
    float *qkv;     /* [rows][lin->ld] */
    bool narrow;    /* x is compacted on the way */
    bool q_compact; /* q of the output rows only, row i of qkv for output i; uses q_rows */
} samba__cpu_projection;
void samba__cpu_normed_share(samba_backend_pass *pass, const samba__cpu_projection *projection,
                             samba__cpu_thread thread);
void samba__cpu_project_share(samba_backend_pass *pass, const samba__cpu_projection *projection,
                              samba__cpu_thread thread);
typedef struct samba__cpu_heads {
    const float *q; /* [query rows][ldq] */
    size_t ldq;
    bool q_compact;  /* query rows are output rows; else rows of the batch */
    size_t key_step; /* kv heads per task: 1, differential 2 */
    size_t n_value_heads;
    float scale;
    uint64_t window;
    size_t n_heads; /* query heads in all */
    float *y[2];    /* [output or batch rows][ldy]; key head i of a task writes y[i] */
    size_t ldy;
} samba__cpu_heads;
/* A thread's share of the rows to store: items are (block of rows, kv head). */
enum {
    SAMBA__CPU_STORE_ROWS = 16
};
typedef struct samba__cpu_store_task {
    size_t row, n_rows, head, n_heads;
} samba__cpu_store_task;
void samba__cpu_store_range(const samba_backend_pass *pass, size_t n_heads,
                            samba__cpu_thread thread, size_t *begin, size_t *end);
samba__cpu_store_task samba__cpu_next_store(const samba_backend_pass *pass, size_t n_heads,
                                            size_t *begin, size_t end);
/* Stores args->n_rows batch rows from `row` on, whatever sequences and pages they belong to. */
void samba__cpu_store(samba_backend_pass *pass, const samba_backend_weights *w,
                      const samba__kv_store_args *args, size_t row);
/* A thread's share of all queries. narrow: output rows only, y is compact. */
void samba__cpu_attend_share(samba_backend_pass *pass, const samba_backend_weights *w,
                             const samba__cpu_heads *heads, bool narrow, samba__cpu_thread thread);
size_t samba__cpu_attend_bytes(const samba_backend_device *device, const samba_backend_weights *w,
                               size_t n_heads, size_t n_value_heads);

/* The pass functions and state functions of the vtable. */
samba_status samba__cpu_slab_alloc(samba_backend_device *device, const samba_backend_weights *w,
                                   uint32_t *slab, samba_error **error);
void samba__cpu_slab_free(samba_backend_device *device, uint32_t slab);
samba_status samba__cpu_slab_pack(samba_backend_device *device, uint32_t slab, void *canonical,
                                  size_t size, samba_error **error);
samba_status samba__cpu_slab_unpack(samba_backend_device *device, uint32_t slab,
                                    const void *canonical, size_t size, samba_error **error);
samba_status samba__cpu_page_alloc(samba_backend_device *device, const samba_backend_weights *w,
                                   samba_dtype dtype, uint32_t *page, samba_error **error);
void samba__cpu_page_free(samba_backend_device *device, uint32_t page);
samba_status samba__cpu_page_copy(samba_backend_device *device, uint32_t to, uint32_t from,
                                  samba_error **error);
samba_status samba__cpu_page_pack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                                  uint32_t n_rows, void *canonical, size_t size,
                                  samba_error **error);
samba_status samba__cpu_page_unpack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                                    uint32_t n_rows, const void *canonical, size_t size,
                                    samba_error **error);

samba_status samba__cpu_begin(samba_backend_device *device, const samba_backend_batch *batch,
                              samba_backend_pass **pass, samba_error **error);
samba_status samba__cpu_sublayer(samba_backend_pass *pass, const samba_backend_weights *w,
                                 const samba_backend_run *run, samba_error **error);
samba_status samba__cpu_tap(samba_backend_pass *pass, samba_error **error);
samba_status samba__cpu_read(samba_backend_pass *pass, samba_pass_output output, uint32_t first_row,
                             uint32_t n_rows, float *to, samba_error **error);
void samba__cpu_end(samba_backend_pass *pass);
/* Makes room in a kept buffer; contents are lost. */
bool samba__cpu_reserve(samba_backend_device *device, samba__cpu_buffer *buffer, size_t size);

samba_status samba__cpu_prepare_embed(samba_backend_device *device,
                                      const samba_backend_tensor *table,
                                      samba_backend_weights **weights, samba_error **error);
samba_status samba__cpu_embed(samba_backend_pass *pass, const samba_backend_weights *w,
                              samba_error **error);
/* The table of an embedding, for tied heads; NULL if w is something else. */
const samba__cpu_linear *samba__cpu_embed_table(const samba_backend_weights *w);
samba_status samba__cpu_prepare_head(samba_backend_device *device, const samba_backend_head *head,
                                     samba_backend_weights **weights, samba_error **error);
samba_status samba__cpu_head(samba_backend_pass *pass, const samba_backend_weights *w,
                             const samba_backend_head_run *run, samba_error **error);

#endif
