/*
 * What the linear kernels of block formats share, whatever multiplies the integers: packed panels,
 * quantised activations, and a driver that hands pieces of 256 columns of a panel, unpacked to
 * int8, to the product of a tier. A panel keeps the file's bytes per weight.
 *
 * Quants of 32 columns lie as [32 / group][16 rows][group]: a register holds one group of a few
 * rows. `group` is the tier's: 4 for sdot, 2 for smull.
 */
#ifndef SAMBA_CPU_NEON_BLOCKS_H
#define SAMBA_CPU_NEON_BLOCKS_H

#include "cpu/kernels.h"

enum {
    SAMBA__NEON_STEP = 32,        /* columns of one block of activations */
    SAMBA__NEON_STEP_BYTES = 512, /* unpacked quants of one step and panel */
    SAMBA__NEON_PIECE = 256,      /* columns */
    SAMBA__NEON_CHUNK = 64        /* rows that share an unpacked piece */
};

/* What a step of the weights has beside its integers. */
typedef enum samba__neon_layout {
    SAMBA__ONE_SCALE,
    SAMBA__TWO_SCALES, /* of the first and the last 16 columns */
    SAMBA__SCALE_AND_MIN
} samba__neon_layout;

/* Weights of up to 256 columns and 16 rows: scale * q, or scale * q - min. */
typedef struct samba__neon_piece {
    size_t n_steps;
    const int8_t *q; /* [n_steps], `stride` bytes apart, [32 / group][16][group] */
    size_t stride;
    float scale[2 * SAMBA__NEON_PIECE / SAMBA__NEON_STEP][16]; /* [n_steps], or twice that */
    float min[SAMBA__NEON_PIECE / SAMBA__NEON_STEP][16];       /* [n_steps] where there are any */
    int8_t own[SAMBA__NEON_PIECE * 16];                        /* room for unpacked quants */
} samba__neon_piece;

/* Prepared rows, from the column where a piece begins. */
typedef struct samba__neon_rows {
    const int8_t *q;
    const float *scale, *sum; /* per step; sum: scale * sum of q */
    size_t stride;            /* bytes from row to row */
    size_t n;
} samba__neon_rows;

/* acc[n][16] += x . piece */
typedef void (*samba__neon_product)(const samba__neon_piece *piece, const samba__neon_rows *x,
                                    float (*acc)[16]);

typedef struct samba__neon_format {
    size_t block, file_bytes; /* columns and bytes of a block in files */
    size_t packed_bytes;      /* of a block of 16 rows */
    void (*pack)(const uint8_t *from, uint8_t *to, size_t lane, size_t group);
    void (*unpack)(const uint8_t *from, size_t n_steps, samba__neon_piece *to);
    samba__neon_layout layout;
} samba__neon_format;

extern const samba__neon_format samba__neon_q8_0, samba__neon_q4_0, samba__neon_q4_k,
    samba__neon_q6_k;

size_t samba__neon_blocks_panel_bytes(const samba__neon_format *f, size_t cols);
void samba__neon_blocks_pack(const samba__neon_format *f, size_t group,
                             const samba__pack_args *args);
void samba__neon_blocks_gather(const samba__neon_format *f, size_t group, const void *packed,
                               size_t cols, size_t row, float *to);
size_t samba__neon_blocks_row_bytes(size_t cols);
void samba__neon_blocks_prepare(const samba__prepare_args *args);
void samba__neon_blocks_run(const samba__neon_format *f, samba__neon_product product,
                            const samba__linear_args *args);

/* The table has plain function pointers: binds a format and a product, and defines the function
 * that sets them. */
#define SAMBA__NEON_BIND(name, group, product)                                                     \
    static size_t panel_bytes_##name(size_t cols)                                                  \
    {                                                                                              \
        return samba__neon_blocks_panel_bytes(&samba__neon_##name, cols);                          \
    }                                                                                              \
    static void pack_##name(const samba__pack_args *args)                                          \
    {                                                                                              \
        samba__neon_blocks_pack(&samba__neon_##name, group, args);                                 \
    }                                                                                              \
    static void gather_##name(const void *packed, size_t cols, size_t row, float *to)              \
    {                                                                                              \
        samba__neon_blocks_gather(&samba__neon_##name, group, packed, cols, row, to);              \
    }                                                                                              \
    static void run_##name(const samba__linear_args *args)                                         \
    {                                                                                              \
        samba__neon_blocks_run(&samba__neon_##name, product, args);                                \
    }                                                                                              \
    static const samba__linear_kernels kernels_##name = {                                          \
        panel_bytes_##name,         pack_##name, samba__neon_blocks_row_bytes,                     \
        samba__neon_blocks_prepare, run_##name,  gather_##name}

#endif
