/*
 * The kernels of the CPU backend: one table of function pointers, filled once per device with the
 * plain C of ref/ and overlaid by what an instruction-set tier offers (dispatch.c). Mixers see this
 * table only. Kernels know formats and shapes, never layers, threads, slabs or allocation.
 *
 * Rules for every kernel
 *  - Leading dimensions (ld...) count floats. Buffers of activations start at 64-byte boundaries
 * and have an ld that is a multiple of 16; a pointer into the middle of a row may have any
 * alignment of float. Input and output never overlap unless the comment allows it.
 *  - "Channels" are worked in groups of SAMBA__LANES. Arrays said to be padded have their channel
 *    count rounded up to 16; padding may hold anything, may be read and written, and never reaches
 *    a result. Where padding is not mentioned nothing outside the stated shape is written.
 *  - The law: an element's bits depend on its own inputs only. The order of additions is fixed and
 *    independent of n_rows, of ranges, and of how calls were cut. Sums over channels ("tree") use
 * 16 lanes, element i in lane i % 16 in order of i, then lane l += lane l + 8, + 4, + 2, + 1. A
 * tier may choose another fixed order, as bits are promised within one tier only.
 *  - A state_in of NULL is the zero state, with the same bits as a state of zeros.
 *  - Unknown bytes (fresh pages, slabs, padding) are never multiplied: 0 * NaN is NaN.
 */
#ifndef SAMBA_CPU_KERNELS_H
#define SAMBA_CPU_KERNELS_H

#include "samba.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SAMBA__LANES = 16,
    SAMBA__PAGE = 64,        /* positions per page; also the key block of the online softmax */
    SAMBA__N_DTYPES = 8,     /* tables are indexed by samba_dtype */
    SAMBA__ATTEND_ROWS = 64, /* most query rows of one attend call */
    SAMBA__ALIGN = 64
};

static inline size_t samba__pad16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* ---------------------------------------------------------------- linear: y = x W^T (+ bias) */

/* W [rows][cols] is held in panels of 16 output rows; panel p holds rows 16p .. 16p + 15 and takes
 * panel_bytes(cols) bytes, panels one after another. Every layout must read as weight 0 where all
 * bytes are 0: the caller zeroes partly filled panels before the first pack. */
typedef struct samba__pack_args {
    const void *src; /* file layout, row-major [rows][cols], blocks along cols; any alignment */
    size_t rows, cols;
    void *packed;     /* of the whole matrix */
    size_t first_row; /* where src row 0 goes: several tensors may be fused by rows */
} samba__pack_args;

typedef struct samba__prepare_args {
    const float *x; /* [n_rows][ldx], cols used */
    size_t ldx, n_rows, cols;
    void *to; /* [n_rows][row_bytes(cols)], 64-byte aligned */
} samba__prepare_args;

typedef struct samba__linear_args {
    const void *packed;            /* panels of W [rows][cols] */
    size_t rows, cols;             /* rows: y columns from here on are not written */
    size_t panel_begin, panel_end; /* the part to compute */
    const void *x;                 /* prepared rows [n_rows][row_bytes(cols)] */
    size_t n_rows;
    const float *bias; /* [rows] or NULL */
    float *y;          /* [n_rows][ldy]: column j is W's row j */
    size_t ldy;
    bool accumulate; /* y += ..., else y = ... */
} samba__linear_args;

/* Each output: acc = bias or 0; acc += x_k * w_k for k in one fixed order, one chain (block
 * formats: exact int32 sum per block, then one fp32 step per block); then y = acc, or y = y + acc.
 */
typedef struct samba__linear_kernels {
    size_t (*panel_bytes)(size_t cols); /* a multiple of 64 */
    void (*pack)(const samba__pack_args *args);
    size_t (*row_bytes)(size_t cols); /* of a prepared row; a multiple of 64 */
    void (*prepare_rows)(const samba__prepare_args *args);
    void (*run)(const samba__linear_args *args);
    /* Row `row` of W as f32 [cols]. */
    void (*gather)(const void *packed, size_t cols, size_t row, float *to);
} samba__linear_kernels;

/* ---------------------------------------------------------------- norms */

typedef struct samba__norm_args {
    const float *x; /* [n_rows][ldx], n used */
    size_t ldx;
    float *y; /* [n_rows][ldy]; may be x */
    size_t ldy, n_rows, n;
    const float *weight; /* [n] */
    const float *bias;   /* [n]; layer norm only, may be NULL */
    float eps;
} samba__norm_args;

/* ---------------------------------------------------------------- causal conv + silu */

/* y_t = silu(bias + w[0]*x_{t-taps+1} + ... + w[taps-1]*x_t), in that order. */
typedef struct samba__conv_args {
    const float *x; /* [n_rows][ldx], padded channels */
    size_t ldx;
    float *y; /* [n_rows][ldy], padded channels */
    size_t ldy, n_rows;
    size_t begin, end;     /* channels to do, multiples of 16 */
    size_t channels;       /* padded count: stride of weight and state rows */
    size_t taps;           /* >= 1 */
    const float *weight;   /* [taps][channels], padded with anything */
    const float *bias;     /* [channels] or NULL */
    const float *state_in; /* [taps-1][channels], oldest input first, or NULL */
    float *state_out;      /* [taps-1][channels]: the last taps-1 raw inputs; not state_in */
} samba__conv_args;

/* ---------------------------------------------------------------- selective scan */

/*
 * For every row t and channel e:  dt = softplus(dt_raw + dt_bias);
 *   h[n] = exp(dt * A[n]) * h[n] + (dt * x) * B[n];   y = sum_n h[n] * C[n] (n = 0, 1, ...) + D *
 * x; memory = y;   out = y * silu(z)
 */
typedef struct samba__scan_args {
    size_t n_rows, n_state;
    size_t begin, end; /* channels to do, multiples of 16 */
    const float *x;    /* [n_rows][ldx], padded; after conv and silu */
    size_t ldx;
    const float *z; /* [n_rows][ldz], padded */
    size_t ldz;
    const float *dt; /* [n_rows][lddt], padded; before bias and softplus */
    size_t lddt;
    const float *b, *c; /* [n_rows][ldbc], n_state used; any alignment */
    size_t ldbc;
    const float *a;        /* [channels/16][n_state][16], negative */
    const float *d;        /* [channels] */
    const float *dt_bias;  /* [channels] */
    const float *state_in; /* [channels/16][n_state][16] or NULL */
    float *state_out;      /* the same shape; not state_in */
    float *y;              /* [n_rows][ldy], padded; may be z, dt or x (same ld) */
    size_t ldy;
    float *memory; /* [n_rows][ldm], padded, or NULL; the output before the gate */
    size_t ldm;
} samba__scan_args;

/* ---------------------------------------------------------------- rotary embedding */

/* cos/sin rows of consecutive positions: angle = ((float)pos / condense) * theta in f32; cos and
 * sin of that number, rounded to f32, then to bf16 if asked. */
typedef struct samba__rope_table_args {
    const float *theta; /* [half] */
    size_t half;        /* rotary width / 2 */
    uint64_t position;  /* of row 0 */
    size_t n_rows;
    float condense;
    bool bf16;
    float *cos, *sin; /* [n_rows][ld] */
    size_t ld;
} samba__rope_table_args;

/* In place: a' = a*cos - b*sin, b' = b*cos + a*sin for pairs (t, t + half) of every head. */
typedef struct samba__rope_args {
    float *x; /* [n_rows][ldx], heads at multiples of head_dim */
    size_t ldx, n_rows, n_heads, head_dim, half;
    const float *cos, *sin; /* [n_rows][ld] */
    size_t ld;
} samba__rope_args;

/* ---------------------------------------------------------------- keys, values, attention */

/* A page holds SAMBA__PAGE positions of K and V of all kv heads in one dtype; slot = position % 64.
 * The layout inside is the tier's own and is known to the functions of this sub-table only. Threads
 * may store different slots or heads of one page at the same time. */
typedef struct samba__kv_shape {
    size_t n_heads;  /* G */
    size_t head_dim; /* c; q8_0 needs a multiple of 32 */
} samba__kv_shape;

typedef struct samba__kv_store_args {
    samba__kv_shape shape;
    void *page;
    size_t slot, n_rows;         /* slot + n_rows <= 64 */
    size_t head_begin, head_end; /* kv heads to do */
    const float *k, *v;          /* [n_rows][ldk], [n_rows][ldv], heads at multiples of head_dim */
    size_t ldk, ldv;
} samba__kv_store_args;

/* Canonical rows: k [G][c], then v [G][c], little-endian, in the page's dtype (blocks along c). */
typedef struct samba__kv_rows_args {
    samba__kv_shape shape;
    void *page; /* not written by pack */
    size_t slot, n_rows;
    void *canonical; /* not written by unpack; any alignment */
} samba__kv_rows_args;

/*
 * All query heads that read one kv head (of a group, or the even or odd ones of a pair group), for
 * consecutive rows of one sequence. Row r stands at `position` + r and sees keys from
 * max(first_key, position + r - window + 1) to position + r (window 0: from first_key).
 *
 * Per query: s_j = (q . k_j) * scale. Pages in order of position; in each one m' = max(m, max s_j
 * over the visible j), acc and sum are scaled by exp(m - m'), then p_j = exp(s_j - m') and sum +=
 * p_j, acc += p_j * v_j in order of j. y = acc / sum. Slots outside are not read into any product.
 * The value of position j is n_value_heads consecutive kv heads side by side.
 */
typedef struct samba__attend_args {
    samba__kv_shape shape;
    const void *const *pages; /* page i holds positions first_page*64 + 64i ... */
    uint64_t first_page;      /* number of pages[0] */
    uint64_t first_key;       /* oldest position that may be read */
    uint64_t position;        /* of row 0 */
    uint64_t window;
    size_t n_rows;  /* 1 .. SAMBA__ATTEND_ROWS */
    size_t n_heads; /* query heads */
    size_t key_head, value_head, n_value_heads;
    float scale;
    const float *q; /* q + r*ldq + h*q_stride: head_dim floats */
    size_t ldq, q_stride;
    float *y; /* y + r*ldy + h*y_stride: n_value_heads*head_dim floats; not q */
    size_t ldy, y_stride;
    void *scratch; /* scratch_bytes(), 64-byte aligned */
} samba__attend_args;

typedef struct samba__kv_kernels {
    size_t (*page_bytes)(samba__kv_shape shape); /* 0: this shape is not supported */
    size_t (*row_bytes)(samba__kv_shape shape);  /* of a canonical row */
    void (*store)(const samba__kv_store_args *args);
    void (*pack)(const samba__kv_rows_args *args);
    void (*unpack)(const samba__kv_rows_args *args);
    /* What attend needs for any n_rows. */
    size_t (*scratch_bytes)(samba__kv_shape shape, size_t n_heads, size_t n_value_heads);
    void (*attend)(const samba__attend_args *args);
} samba__kv_kernels;

/* y = RMSNorm(a1 - lambda*a2; weight, eps) * out_scale, per row and pair. */
typedef struct samba__diff_args {
    const float *a1, *a2; /* [n_rows][ld], pairs at multiples of n */
    size_t ld;
    float *y; /* [n_rows][ldy], pairs at multiples of n; may be a1 (same ld) */
    size_t ldy, n_rows, n_pairs, n;
    float lambda, eps, out_scale;
    const float *weight; /* [n] */
} samba__diff_args;

/* ---------------------------------------------------------------- linear attention */

/*
 * One head over consecutive rows: S[k][v] = decay[k] * S[k][v] + key[k] * value[v]; then
 * o[v] = (sum_k q[k] * S[k][v], k = 0, 1, ...) * scale.
 */
typedef struct samba__gla_args {
    size_t n_rows, key_dim;
    size_t begin, end;  /* value channels to do: begin a multiple of 16, end too or value_dim */
    const float *q, *k; /* [n_rows][ldqk] */
    size_t ldqk;
    const float *v; /* [n_rows][ldv]; only begin .. end read */
    size_t ldv;
    const float *decay; /* [n_rows][ldd] per key channel; NULL: constant */
    size_t ldd;
    float constant; /* decay of every channel when decay is NULL */
    float scale;
    const float *state_in; /* [pad16(value_dim)/16][key_dim][16] or NULL */
    float *state_out;      /* the same shape; not state_in */
    float *o;              /* [n_rows][ldo]; only begin .. end written */
    size_t ldo;
} samba__gla_args;

/* y = RMSNorm(o; weight, eps) * silu(g), per row and head. */
typedef struct samba__gated_norm_args {
    const float *o, *g; /* [n_rows][ld...], heads at multiples of n */
    size_t ldo, ldg;
    float *y; /* [n_rows][ldy], heads at multiples of n; may be o (same ld) */
    size_t ldy, n_rows, n_heads, n;
    float eps;
    const float *weight; /* [n] */
} samba__gated_norm_args;

/* ---------------------------------------------------------------- elementwise, head */

typedef struct samba__gate_args {
    const float *a, *b; /* [n_rows][lda], [n_rows][ldb], columns begin .. end used */
    size_t lda, ldb;
    float *y; /* [n_rows][ldy]; may be a or b (same ld) */
    size_t ldy, n_rows;
    size_t begin, end; /* begin a multiple of 16 */
} samba__gate_args;

/* ---------------------------------------------------------------- the table */

typedef struct samba__kernels {
    const char *name; /* of the tier, e.g. "reference", "avx512-vnni" */
    samba__linear_kernels linear[SAMBA__N_DTYPES]; /* run NULL: no such weight dtype */
    samba__kv_kernels kv[SAMBA__N_DTYPES];         /* attend NULL: no such kv dtype */
    void (*rms_norm)(const samba__norm_args *args);
    void (*layer_norm)(const samba__norm_args *args);
    void (*conv)(const samba__conv_args *args);
    void (*scan)(const samba__scan_args *args);
    void (*rope_table)(const samba__rope_table_args *args);
    void (*rope)(const samba__rope_args *args);
    void (*diff)(const samba__diff_args *args);
    void (*gla)(const samba__gla_args *args);
    void (*gated_norm)(const samba__gated_norm_args *args);
    void (*silu_mul)(const samba__gate_args *args);  /* y = silu(a) * b: SwiGLU and GMU */
    void (*gla_decay)(const samba__gate_args *args); /* y = exp(log_sigmoid(a) / 16); b unused */
    /* log softmax(logits [n]) at targets [n_targets], with one normaliser, the same for any. */
    void (*log_probs)(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                      float *logprobs);
} samba__kernels;

/* ref/: fills every member. */
void samba__kernels_reference(samba__kernels *kernels);

/* An instruction-set folder replaces the members that it has; called only where cpuid allows it. */
void samba__kernels_avx2(samba__kernels *kernels);
void samba__kernels_avx512(samba__kernels *kernels);
void samba__kernels_avx512_vnni(samba__kernels *kernels);
void samba__kernels_avx512_bf16(samba__kernels *kernels);
void samba__kernels_neon(samba__kernels *kernels);
void samba__kernels_neon_dotprod(samba__kernels *kernels);

/* The table for a tier, or for the best one that build and machine have (tier 0). False: the build
 * or the machine lacks it. */
bool samba__kernels_select(samba_cpu_tier tier, samba__kernels *kernels);

#endif
