/*
 * The table of element types. A new block format is one file with its codec and one row here.
 * Encoded data is little-endian.
 */
#include "tensor/dtype.h"
#include "base/bytes.h"
#include "base/half.h"

static void f32_to_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i++)
        dst[i] = samba__f32_from_bits(samba__load_u32(s + 4 * i));
}

static void f32_from_f32(const float *src, void *dst, size_t n)
{
    uint8_t *d = dst;
    for (size_t i = 0; i < n; i++)
        samba__store_u32(d + 4 * i, samba__f32_bits(src[i]));
}

/* The 16-bit types differ in one conversion each way. */
static inline __attribute__((always_inline)) void widen(const uint8_t *src, float *dst, size_t n,
                                                        float (*one)(uint16_t))
{
    for (size_t i = 0; i < n; i++)
        dst[i] = one(samba__load_u16(src + 2 * i));
}

static inline __attribute__((always_inline)) void narrow(const float *src, uint8_t *dst, size_t n,
                                                         uint16_t (*one)(float))
{
    for (size_t i = 0; i < n; i++)
        samba__store_u16(dst + 2 * i, one(src[i]));
}

static void f16_to_f32(const void *src, float *dst, size_t n)
{
    widen(src, dst, n, samba__f16_to_f32);
}

static void f16_from_f32(const float *src, void *dst, size_t n)
{
    narrow(src, dst, n, samba__f32_to_f16);
}

static void bf16_to_f32(const void *src, float *dst, size_t n)
{
    widen(src, dst, n, samba__bf16_to_f32);
}

static void bf16_from_f32(const float *src, void *dst, size_t n)
{
    narrow(src, dst, n, samba__f32_to_bf16);
}

static const samba__dtype_info table[] = {
    {"f32", SAMBA_DTYPE_F32, 1, 4, 0, f32_to_f32, f32_from_f32},
    {"f16", SAMBA_DTYPE_F16, 1, 2, 1, f16_to_f32, f16_from_f32},
    {"bf16", SAMBA_DTYPE_BF16, 1, 2, 30, bf16_to_f32, bf16_from_f32},
    {"q8_0", SAMBA_DTYPE_Q8_0, SAMBA__Q8_0_BLOCK, SAMBA__Q8_0_BYTES, 8, samba__q8_0_to_f32,
     samba__q8_0_from_f32},
    {"q4_0", SAMBA_DTYPE_Q4_0, SAMBA__Q4_0_BLOCK, SAMBA__Q4_0_BYTES, 2, samba__q4_0_to_f32,
     samba__q4_0_from_f32},
    {"q4_k", SAMBA_DTYPE_Q4_K, SAMBA__Q4_K_BLOCK, SAMBA__Q4_K_BYTES, 12, samba__q4_k_to_f32,
     samba__q4_k_from_f32},
    {"q6_k", SAMBA_DTYPE_Q6_K, SAMBA__Q6_K_BLOCK, SAMBA__Q6_K_BYTES, 14, samba__q6_k_to_f32,
     samba__q6_k_from_f32},
};
enum {
    N_TYPES = sizeof table / sizeof *table
};

const samba__dtype_info *samba__dtype_info_of(samba_dtype dtype)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (table[i].dtype == dtype)
            return &table[i];
    return NULL;
}

const samba__dtype_info *samba__dtype_info_of_gguf(uint32_t gguf_type)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (table[i].gguf_type == gguf_type)
            return &table[i];
    return NULL;
}

bool samba__dtype_bytes(samba_dtype dtype, uint64_t n, uint64_t *bytes)
{
    const samba__dtype_info *info = samba__dtype_info_of(dtype);
    return info && n % info->block == 0 &&
           !__builtin_mul_overflow(n / info->block, (uint64_t)info->block_bytes, bytes);
}

const char *samba_dtype_name(samba_dtype dtype)
{
    const samba__dtype_info *info = samba__dtype_info_of(dtype);
    return info ? info->name : NULL;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) { /* b is of the table: lower case */
        char c = *a >= 'A' && *a <= 'Z' ? (char)(*a - 'A' + 'a') : *a;
        if (c != *b)
            return false;
    }
    return *a == *b;
}

samba_dtype samba_dtype_from_name(const char *name)
{
    for (size_t i = 0; name && i < N_TYPES; i++)
        if (same_name(name, table[i].name))
            return table[i].dtype;
    return 0;
}
