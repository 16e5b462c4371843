/*
 * What the files of the fake backend share. Device memory (weights, slabs, pages, activations) lies
 * in regions that are PROT_NONE unless opened; bookkeeping lies in the host's allocator.
 */
#ifndef SAMBA_TESTS_FAKE_INTERNAL_H
#define SAMBA_TESTS_FAKE_INTERNAL_H

#include "fake_device.h"
#include <pthread.h>
#include <stdbool.h>

#if defined(__GNUC__)
#define FAKE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define FAKE_PRINTF(f, a)
#endif

enum {
    FAKE_PAGE_POSITIONS = 16
};
/* Ids are never used twice and tell slabs from pages, so that stale and swapped ids show. */
enum {
    FAKE_FIRST_SLAB = 1000,
    FAKE_FIRST_PAGE = 100000000
};
/* Kinds of weights besides the sublayers'. */
enum {
    FAKE_EMBED = 100,
    FAKE_HEAD = 101
};

typedef struct fake_region {
    void *base;
    size_t size;
    uint32_t opened;
} fake_region;

typedef struct fake_slab {
    fake_region region; /* float [n_floats] */
    uint32_t n_floats;
    samba_sublayer_kind kind;
    uint32_t users; /* times named in the running pass */
} fake_slab;

typedef struct fake_page {
    fake_region region; /* [FAKE_PAGE_POSITIONS][row_bytes] */
    uint32_t row_bytes;
    samba_dtype dtype;
    uint32_t users;
    bool written; /* by the running pass */
} fake_page;

typedef struct fake_table {
    void **items; /* NULL: freed */
    uint32_t n, capacity;
} fake_table;

struct samba_backend_device {
    const samba_backend_host *host;
    pthread_mutex_t lock; /* tables, counts, regions */
    fake_table slabs, pages;
    uint32_t n_weights;
    samba_backend_pass *running;
    /* Largest needs of anything prepared so far, so that begin can reserve for all. */
    uint64_t max_vocab, max_d_model, max_memory, max_scratch;
};

struct samba_backend_weights {
    samba_backend_device *device;
    int32_t kind;
    samba_backend_sublayer desc; /* tensors[].data are not used */
    samba_backend_head head;
    const samba_backend_weights *tied;
    fake_region region;            /* everything as float */
    float *tensors[SAMBA_W_COUNT]; /* into region; NULL: absent. Embed: [0]; head: [0] table, [1]
                                      norm, [2] norm bias */
    uint64_t rows, cols;           /* of embed and head tables */
    samba_backend_footprint footprint;
    uint32_t slab_floats;
    uint32_t kv_width; /* G * c */
    uint32_t users;    /* times named in the running pass, and heads tied to it */
};

typedef struct fake_row {
    uint32_t seq, index; /* index within the sequence's rows */
    uint64_t position;
    bool out;
} fake_row;

typedef enum fake_op {
    FAKE_OP_EMBED,
    FAKE_OP_SUBLAYER,
    FAKE_OP_TAP,
    FAKE_OP_HEAD
} fake_op;

typedef struct fake_command {
    fake_op op;
    samba_backend_weights *weights;
    samba_backend_run run;
    samba_backend_head_run head;
} fake_command;

struct samba_backend_pass {
    samba_backend_device *device;
    samba_backend_batch batch;
    fake_command *commands;
    uint32_t n_commands, capacity;
    int32_t state; /* 0 recording, 1 submitted, 2 done */
    bool narrowed; /* while recording, then while running */
    bool published, tapped, headed;
    fake_region arena; /* all activations and outputs */
    /* Into the arena: */
    fake_row *rows; /* [n_live] */
    uint32_t n_live, d_model, memory_width, n_logits, n_vocab;
    double *x, *memory, *scratch;
    float *hidden, *logits, *logprobs, *memory_out;
    bool have_hidden, have_logits, have_logprobs, have_memory;
};

/* fake_device.c */
samba_status fake_fail(samba_backend_device *device, samba_error **error, samba_status status,
                       const char *format, ...) FAKE_PRINTF(4, 5);
void fake_violation(const char *format, ...) FAKE_PRINTF(1, 2);
void *fake_host_alloc(const samba_backend_host *host, size_t size); /* zeroed */
void fake_host_free(const samba_backend_host *host, void *ptr);
void fake_count(int64_t devices, int64_t weights, int64_t slabs, int64_t pages, int64_t passes);
void fake_count_run(uint64_t rows);

/* fake_memory.c */
bool fake_region_create(fake_region *region, size_t size);
void fake_region_destroy(fake_region *region);
void *fake_region_open(fake_region *region); /* counted; from any thread */
void fake_region_close(fake_region *region);
fake_slab *fake_find_slab(samba_backend_device *device, uint32_t id); /* NULL and a violation */
fake_page *fake_find_page(samba_backend_device *device, uint32_t id);
void fake_poison(float *to, size_t n);
void fake_tables_free(samba_backend_device *device);
samba_status fake_slab_alloc(samba_backend_device *device, const samba_backend_weights *weights,
                             uint32_t *slab, samba_error **error);
void fake_slab_free(samba_backend_device *device, uint32_t slab);
samba_status fake_slab_pack(samba_backend_device *device, uint32_t slab, void *canonical,
                            size_t size, samba_error **error);
samba_status fake_slab_unpack(samba_backend_device *device, uint32_t slab, const void *canonical,
                              size_t size, samba_error **error);
samba_status fake_page_alloc(samba_backend_device *device, const samba_backend_weights *weights,
                             samba_dtype kv_dtype, uint32_t *page, samba_error **error);
void fake_page_free(samba_backend_device *device, uint32_t page);
samba_status fake_page_copy(samba_backend_device *device, uint32_t to, uint32_t from,
                            samba_error **error);
samba_status fake_page_pack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                            uint32_t n_rows, void *canonical, size_t size, samba_error **error);
samba_status fake_page_unpack(samba_backend_device *device, uint32_t page, uint32_t first_row,
                              uint32_t n_rows, const void *canonical, size_t size,
                              samba_error **error);

/* fake_weights.c */
samba_status fake_measure(samba_backend_device *device, const samba_backend_sublayer *sublayer,
                          samba_backend_footprint *footprint, samba_error **error);
samba_status fake_prepare_sublayer(samba_backend_device *device,
                                   const samba_backend_sublayer *sublayer,
                                   samba_backend_weights **weights, samba_error **error);
samba_status fake_prepare_embed(samba_backend_device *device, const samba_backend_tensor *table,
                                samba_backend_weights **weights, samba_error **error);
samba_status fake_prepare_head(samba_backend_device *device, const samba_backend_head *head,
                               samba_backend_weights **weights, samba_error **error);
void fake_footprint(const samba_backend_weights *weights, samba_backend_footprint *footprint);
void fake_release(samba_backend_device *device, samba_backend_weights *weights);

/* fake_pass.c */
samba_status fake_begin(samba_backend_device *device, const samba_backend_batch *batch,
                        samba_backend_pass **pass, samba_error **error);
samba_status fake_embed(samba_backend_pass *pass, const samba_backend_weights *weights,
                        samba_error **error);
samba_status fake_sublayer(samba_backend_pass *pass, const samba_backend_weights *weights,
                           const samba_backend_run *run, samba_error **error);
samba_status fake_tap(samba_backend_pass *pass, samba_error **error);
samba_status fake_head(samba_backend_pass *pass, const samba_backend_weights *weights,
                       const samba_backend_head_run *run, samba_error **error);
samba_status fake_submit(samba_backend_pass *pass, samba_error **error);
samba_status fake_wait(samba_backend_pass *pass, samba_error **error);
samba_status fake_read(samba_backend_pass *pass, samba_pass_output output, uint32_t first_row,
                       uint32_t n_rows, float *to, samba_error **error);
void fake_end(samba_backend_pass *pass);

/* fake_run.c: the whole pass; the arena is open. */
void fake_run(samba_backend_pass *pass);

/* fake_mixers.c: one row at a time, in order. */
typedef struct fake_mix {
    samba_backend_pass *pass;
    const samba_backend_weights *w;
    const samba_backend_seq *seq;
    const samba_backend_pages *pages; /* of the sublayer's page slot, or NULL */
    uint64_t position;
    float *state;     /* of the sublayer, updated in place; NULL: none */
    double *memory;   /* Mamba that publishes: out; GMU: in */
    const double *in; /* [d_model] after the norm */
    double *out;      /* [d_model] */
    double *scratch;
} fake_mix;
void fake_mixer(const fake_mix *m);
uint64_t fake_mixer_scratch(const samba_backend_sublayer *s); /* doubles */

/* fake_math.c */
float fake_round_f16(double x);
float fake_round_bf16(float x);
uint64_t fake_dtype_bytes(samba_dtype dtype, uint64_t n); /* 0: n is no multiple of a block */
void fake_decode(samba_dtype dtype, const void *from, uint64_t n, float *to);
void fake_encode(samba_dtype dtype, const double *from, uint64_t n, void *to);
double fake_silu(double x);
double fake_softplus(double x);
/* y[rows] = W[rows][cols] x + b (b may be NULL) */
void fake_linear(const float *w, const float *b, uint64_t rows, uint64_t cols, const double *x,
                 double *y);
void fake_norm(samba_norm_kind kind, float eps, const float *w, const float *b, uint64_t n,
               const double *x, double *y);
void fake_rope(const samba_backend_sublayer *s, uint64_t position, uint64_t n_heads, uint64_t width,
               double *x);

#endif
