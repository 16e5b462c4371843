/*
 * Pages of keys and values in f32, f16, bf16 and q8_0, shared by those who write and those who read
 * them. Keys lie in quarters of 16 positions, K [G][4][c][16], so that the scores of a quarter are
 * 4 registers fed by q taken by lane, with no horizontal sums; values lie as V [G][64][c]. q8_0
 * pages hold int8 in the same places, then the f16 scales, K [G][c / 32][64] and V [G][64][c / 32].
 * Sizes are ref/'s: pages and rows have the same.
 */
#ifndef SAMBA_CPU_NEON_PAGES_H
#define SAMBA_CPU_NEON_PAGES_H

#include "cpu/kernels.h"
#include "cpu/neon/math.h"

enum {
    PAGE = SAMBA__PAGE,
    BLOCK = 32 /* channels of one q8_0 scale */
};
enum {
    SAMBA__KIND_F32,
    SAMBA__KIND_F16,
    SAMBA__KIND_BF16,
    SAMBA__KIND_Q8_0
};

static inline size_t samba__elem_bytes(int kind)
{
    return kind == SAMBA__KIND_F32 ? 4 : kind == SAMBA__KIND_Q8_0 ? 1 : 2;
}

/* 16 elements as they are stored; integers of q8_0 before their scale. */
static inline __attribute__((always_inline)) samba__v16 samba__load_16(int kind, const uint8_t *p)
{
    samba__v16 v;
    if (kind == SAMBA__KIND_F32) {
        for (size_t i = 0; i < 4; i++)
            v.q[i] = vreinterpretq_f32_u8(vld1q_u8(p + 16 * i));
    } else if (kind == SAMBA__KIND_Q8_0) {
        int8x16_t b = vreinterpretq_s8_u8(vld1q_u8(p));
        int16x8_t h[2] = {vmovl_s8(vget_low_s8(b)), vmovl_high_s8(b)};
        for (size_t i = 0; i < 2; i++) {
            v.q[2 * i] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(h[i])));
            v.q[2 * i + 1] = vcvtq_f32_s32(vmovl_high_s16(h[i]));
        }
    } else {
        for (size_t i = 0; i < 2; i++) {
            uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(p + 16 * i));
            if (kind == SAMBA__KIND_F16) {
                v.q[2 * i] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
                v.q[2 * i + 1] = vcvt_high_f32_f16(vreinterpretq_f16_u16(h));
            } else {
                v.q[2 * i] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
                v.q[2 * i + 1] = vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
            }
        }
    }
    return v;
}

/* Where one head is in a page. */
typedef struct samba__layout {
    uint8_t *k, *v;
    uint8_t *k_scale, *v_scale; /* q8_0 */
} samba__layout;

static inline __attribute__((always_inline)) samba__layout
samba__layout_of(int kind, samba__kv_shape s, const void *page, size_t head)
{
    uint8_t *base = (uint8_t *)(uintptr_t)page;
    size_t es = samba__elem_bytes(kind), all = s.n_heads * PAGE * s.head_dim;
    size_t one = PAGE * s.head_dim, scales = one / BLOCK * 2;
    return (samba__layout){base + head * one * es, base + (all + head * one) * es,
                           base + 2 * all + head * scales,
                           base + 2 * all + (s.n_heads + head) * scales};
}

#endif
