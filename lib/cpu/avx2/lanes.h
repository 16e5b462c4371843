/*
 * Registers of 8 floats where 16 lanes are two of them: loads and stores of the first few lanes,
 * and sums over lanes in one fixed order.
 */
#ifndef SAMBA_CPU_AVX2_LANES_H
#define SAMBA_CPU_AVX2_LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SAMBA__V8_INLINE static inline __attribute__((always_inline))

/* All bits set in the first n lanes; n above 8 counts as 8. */
SAMBA__V8_INLINE __m256i samba__v8_mask(size_t n)
{
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones + 8 - (n < 8 ? n : 8)));
}

/* Lanes of [at, at + 8) below `end`. */
SAMBA__V8_INLINE size_t samba__v8_left(size_t at, size_t end)
{
    return at < end ? end - at : 0;
}

/* The first n lanes from p, zeros after them; nothing else is read. */
SAMBA__V8_INLINE __m256 samba__v8_load(const float *p, size_t n)
{
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, samba__v8_mask(n));
}

SAMBA__V8_INLINE void samba__v8_store(float *p, __m256 x, size_t n)
{
    if (n >= 8)
        _mm256_storeu_ps(p, x);
    else
        _mm256_maskstore_ps(p, samba__v8_mask(n), x);
}

/* Lane l += lane l + 4, + 2, + 1. */
SAMBA__V8_INLINE float samba__v8_sum(__m256 x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

SAMBA__V8_INLINE float samba__v8_top(__m256 x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

#endif
