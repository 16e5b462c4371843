/* Writing pages of keys and values, and moving rows between them and the canonical layout. */
#include "cpu/neon/neon.h"
#include "cpu/neon/pages.h"
#include "tensor/blocks.h"

#include <string.h>

/* Nearest even; NaN stays NaN. */
static inline uint16x4_t to_bf16(float32x4_t x)
{
    uint32x4_t u = vreinterpretq_u32_f32(x);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t r = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    r = vbslq_u32(vceqq_f32(x, x), r, vorrq_u32(u, vdupq_n_u32(0x400000)));
    return vshrn_n_u32(r, 16);
}

/* 16 elements of a float kind, rounded. */
static inline __attribute__((always_inline)) void round_16(int kind, uint8_t *p, samba__v16 v)
{
    for (size_t i = 0; i < 4; i++) {
        if (kind == SAMBA__KIND_F32)
            vst1q_u8(p + 16 * i, vreinterpretq_u8_f32(v.q[i]));
        else if (kind == SAMBA__KIND_F16)
            vst1_u8(p + 8 * i, vreinterpret_u8_f16(vcvt_f16_f32(v.q[i])));
        else
            vst1_u8(p + 8 * i, vreinterpret_u8_u16(to_bf16(v.q[i])));
    }
}

/* Where channel i of a slot's key is. */
static inline size_t key_offset(samba__kv_shape s, size_t slot, size_t i)
{
    return (slot / 16 * s.head_dim + i) * 16 + slot % 16;
}

static inline void copy_elem(size_t bytes, uint8_t *to, const uint8_t *from)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = from[i];
}

/* One K or V row of a float kind between page and canonical row, in one direction or the other. */
static inline __attribute__((always_inline)) void move_row(int kind, samba__kv_shape s,
                                                           samba__layout l, size_t slot, bool key,
                                                           uint8_t *row, bool to_page)
{
    size_t c = s.head_dim, es = samba__elem_bytes(kind);
    for (size_t i = 0; i < c; i++) {
        uint8_t *at = key ? l.k + key_offset(s, slot, i) * es : l.v + (slot * c + i) * es;
        copy_elem(es, to_page ? at : row + i * es, to_page ? row + i * es : at);
    }
}

/* The same for one block of q8_0. */
static void move_block(samba__kv_shape s, samba__layout l, size_t slot, bool key, size_t b,
                       uint8_t *block, bool to_page)
{
    size_t c = s.head_dim, first = b * BLOCK;
    uint8_t *scale =
        key ? l.k_scale + (b * PAGE + slot) * 2 : l.v_scale + (slot * (c / BLOCK) + b) * 2;
    copy_elem(2, to_page ? scale : block, to_page ? block : scale);
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t *at = key ? l.k + key_offset(s, slot, first + i) : l.v + slot * c + first + i;
        copy_elem(1, to_page ? at : block + 2 + i, to_page ? block + 2 + i : at);
    }
}

/* Rounds one K or V row into the page. */
static inline __attribute__((always_inline)) void
store_row(int kind, samba__kv_shape s, samba__layout l, size_t slot, bool key, const float *x)
{
    size_t c = s.head_dim, es = samba__elem_bytes(kind);
    if (kind == SAMBA__KIND_Q8_0) {
        for (size_t b = 0; b < c / BLOCK; b++) {
            uint8_t block[SAMBA__Q8_0_BYTES];
            samba__q8_0_from_f32(x + b * BLOCK, block, BLOCK);
            move_block(s, l, slot, key, b, block, true);
        }
        return;
    }
    for (size_t i = 0; i < c; i += 16) {
        uint8_t rounded[64];
        size_t n = c - i < 16 ? c - i : 16;
        round_16(kind, rounded, samba__v16_load_left(x + i, n));
        for (size_t j = 0; key && j < n; j++)
            copy_elem(es, l.k + key_offset(s, slot, i + j) * es, rounded + j * es);
        if (!key)
            memcpy(l.v + (slot * c + i) * es, rounded, n * es);
    }
}

static inline __attribute__((always_inline)) void store_any(int kind, const samba__kv_store_args *a)
{
    size_t c = a->shape.head_dim;
    for (size_t r = 0; r < a->n_rows; r++)
        for (size_t h = a->head_begin; h < a->head_end; h++) {
            samba__layout l = samba__layout_of(kind, a->shape, a->page, h);
            store_row(kind, a->shape, l, a->slot + r, true, a->k + r * a->ldk + h * c);
            store_row(kind, a->shape, l, a->slot + r, false, a->v + r * a->ldv + h * c);
        }
}

/* Canonical rows <-> page. */
static inline __attribute__((always_inline)) void move_rows(int kind, const samba__kv_rows_args *a,
                                                            bool to_page)
{
    size_t blocks = a->shape.head_dim / BLOCK;
    uint8_t *row = a->canonical;
    for (size_t r = 0; r < a->n_rows; r++)
        for (size_t i = 0; i < 2 * a->shape.n_heads; i++) {
            bool key = i < a->shape.n_heads;
            samba__layout l =
                samba__layout_of(kind, a->shape, a->page, key ? i : i - a->shape.n_heads);
            if (kind != SAMBA__KIND_Q8_0) {
                move_row(kind, a->shape, l, a->slot + r, key, row, to_page);
                row += a->shape.head_dim * samba__elem_bytes(kind);
                continue;
            }
            for (size_t b = 0; b < blocks; b++, row += SAMBA__Q8_0_BYTES)
                move_block(a->shape, l, a->slot + r, key, b, row, to_page);
        }
}

/* One set of functions per element kind. */
#define KIND_FUNCTIONS(name, kind)                                                                 \
    static void store_##name(const samba__kv_store_args *a)                                        \
    {                                                                                              \
        store_any(kind, a);                                                                        \
    }                                                                                              \
    static void pack_##name(const samba__kv_rows_args *a)                                          \
    {                                                                                              \
        move_rows(kind, a, false);                                                                 \
    }                                                                                              \
    static void unpack_##name(const samba__kv_rows_args *a)                                        \
    {                                                                                              \
        move_rows(kind, a, true);                                                                  \
    }                                                                                              \
    static void set_##name(samba__kv_kernels *k)                                                   \
    {                                                                                              \
        k->store = store_##name;                                                                   \
        k->pack = pack_##name;                                                                     \
        k->unpack = unpack_##name;                                                                 \
    }
KIND_FUNCTIONS(f32, SAMBA__KIND_F32)
KIND_FUNCTIONS(f16, SAMBA__KIND_F16)
KIND_FUNCTIONS(bf16, SAMBA__KIND_BF16)
KIND_FUNCTIONS(q8_0, SAMBA__KIND_Q8_0)

void samba__neon_kv_pages(samba__kv_kernels *table)
{
    set_f32(&table[SAMBA_DTYPE_F32]);
    set_f16(&table[SAMBA_DTYPE_F16]);
    set_bf16(&table[SAMBA_DTYPE_BF16]);
    set_q8_0(&table[SAMBA_DTYPE_Q8_0]);
}
