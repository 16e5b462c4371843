/*
 * Pages of keys and values: kinds of elements and where things lie. Keys are transposed in quarters
 * of 16 positions, K [G][4][c][16], so that scores of 16 keys are one register fed by broadcasts of
 * q, with no horizontal sums, and quarters nobody sees are not touched. Values lie as V [G][64][c].
 * With q8_0 these are bytes, and f16 scales follow: [c/32][16] each quarter of keys, [c/32][64] the
 * values of each head. Both parts take as many bytes as the canonical rows.
 */
#ifndef SAMBA_CPU_AVX512_KV_H
#define SAMBA_CPU_AVX512_KV_H

#include "cpu/avx512/avx512.h"

#include <immintrin.h>

enum {
    SAMBA__KV_F32,
    SAMBA__KV_F16,
    SAMBA__KV_BF16,
    SAMBA__KV_Q8_0
};
enum {
    SAMBA__KV_QUARTER = 16, /* positions */
    SAMBA__KV_QUARTERS = SAMBA__PAGE / SAMBA__KV_QUARTER,
    SAMBA__KV_BLOCK = 32, /* q8_0: elements of a block, its canonical bytes */
    SAMBA__KV_BLOCK_BYTES = 34
};

SAMBA__INLINE size_t samba__kv_elem_bytes(int kind)
{
    return kind == SAMBA__KV_F32 ? 4 : kind == SAMBA__KV_Q8_0 ? 1 : 2;
}

/* Of n elements of a canonical row. */
SAMBA__INLINE size_t samba__kv_row_bytes(int kind, size_t n)
{
    return kind == SAMBA__KV_Q8_0 ? n / SAMBA__KV_BLOCK * SAMBA__KV_BLOCK_BYTES
                                  : n * samba__kv_elem_bytes(kind);
}

/* Where element i of a canonical row lies. */
SAMBA__INLINE size_t samba__kv_elem(int kind, size_t i)
{
    if (kind == SAMBA__KV_Q8_0)
        return i / SAMBA__KV_BLOCK * SAMBA__KV_BLOCK_BYTES + 2 + i % SAMBA__KV_BLOCK;
    return i * samba__kv_elem_bytes(kind);
}

SAMBA__INLINE size_t samba__kv_quarter_at(int kind, samba__kv_shape s, size_t head, size_t quarter)
{
    return (head * SAMBA__KV_QUARTERS + quarter) * 16 * samba__kv_row_bytes(kind, s.head_dim);
}

SAMBA__INLINE size_t samba__kv_value_at(int kind, samba__kv_shape s, size_t head, size_t slot)
{
    return (s.n_heads + head) * SAMBA__PAGE * samba__kv_row_bytes(kind, s.head_dim) +
           slot * s.head_dim * samba__kv_elem_bytes(kind);
}

/* q8_0: f16 scales of the block of channel i, after the bytes of a quarter or of a head's values */
SAMBA__INLINE size_t samba__kv_key_scales(size_t c, size_t i)
{
    return SAMBA__KV_QUARTER * (c + i / SAMBA__KV_BLOCK * 2);
}

SAMBA__INLINE size_t samba__kv_value_scales(size_t c, size_t i)
{
    return SAMBA__PAGE * (c + i / SAMBA__KV_BLOCK * 2);
}

SAMBA__INLINE __mmask16 samba__kv_mask(size_t n)
{
    return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

/* kv_pages.c */
void samba__avx512_kv_pages(samba__kv_kernels *table); /* [SAMBA__N_DTYPES]: store, pack, unpack */

#endif
