/*
 * The block formats as integers: what their codecs and the linear kernels share. A block is groups
 * of equal size; element i of group g is scale[g] * q - min[g]. No format has more than 256
 * elements a block, 16 groups, or minima in groups of less than 32.
 */
#ifndef SAMBA_TENSOR_BLOCKS_H
#define SAMBA_TENSOR_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

enum {
    SAMBA__BLOCK_MAX = 256,
    SAMBA__GROUPS_MAX = 16
};

typedef struct samba__block {
    int8_t q[SAMBA__BLOCK_MAX];
    float scale[SAMBA__GROUPS_MAX];
    float min[SAMBA__GROUPS_MAX]; /* set by formats with minima only */
} samba__block;

/* Elements per block, per group, and bytes per block. */
enum {
    SAMBA__Q8_0_BLOCK = 32,
    SAMBA__Q8_0_BYTES = 34,
    SAMBA__Q4_0_BLOCK = 32,
    SAMBA__Q4_0_BYTES = 18,
    SAMBA__Q4_K_BLOCK = 256,
    SAMBA__Q4_K_GROUP = 32,
    SAMBA__Q4_K_BYTES = 144,
    SAMBA__Q6_K_BLOCK = 256,
    SAMBA__Q6_K_GROUP = 16,
    SAMBA__Q6_K_BYTES = 210
};

/* One encoded block (any alignment) as integers. */
void samba__q8_0_expand(const uint8_t *from, samba__block *to);
void samba__q4_0_expand(const uint8_t *from, samba__block *to);
void samba__q4_k_expand(const uint8_t *from, samba__block *to);
void samba__q6_k_expand(const uint8_t *from, samba__block *to);

/* The codecs for n elements, a multiple of the block; the encoded side needs no alignment. Whatever
 * goes in, finite numbers come out: NaN counts as 0, infinity as the largest float, and a scale
 * beyond f16 is held at its largest value. */
void samba__q8_0_to_f32(const void *src, float *dst, size_t n);
void samba__q8_0_from_f32(const float *src, void *dst, size_t n);
void samba__q4_0_to_f32(const void *src, float *dst, size_t n);
void samba__q4_0_from_f32(const float *src, void *dst, size_t n);
void samba__q4_k_to_f32(const void *src, float *dst, size_t n);
void samba__q4_k_from_f32(const float *src, void *dst, size_t n);
void samba__q6_k_to_f32(const void *src, float *dst, size_t n);
void samba__q6_k_from_f32(const float *src, void *dst, size_t n);

/* The largest f16. */
#define SAMBA__F16_MAX 65504.0f

/* To the nearest integer, ties away from zero, within [low, high]. */
static inline int samba__round_within(float x, int low, int high)
{
    x = x > (float)high ? (float)high : x;
    x = x < (float)low ? (float)low : x;
    int q = (int)x;
    float rest = x - (float)q; /* exact */
    return q + (rest >= 0.5f) - (rest <= -0.5f);
}

#endif
