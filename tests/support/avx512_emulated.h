/*
 * AVX-512 by AVX2, so that the AVX-512 tiers are tested on machines that have no AVX-512. Included
 * ahead of every file of those tiers by the build option avx512=emulated. SIMDe gives most of the
 * intrinsics; what its 0.7.4 lacks is here, an element at a time, in terms of Intel's descriptions.
 * For results, not for speed.
 */
#ifndef TESTS_SUPPORT_AVX512_EMULATED_H
#define TESTS_SUPPORT_AVX512_EMULATED_H

#define SIMDE_NO_INLINE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <math.h>
#include <string.h>

#define EMULATED static __attribute__((noinline, unused))

typedef int8_t emulated_i8 __attribute__((vector_size(16)));
typedef int16_t emulated_i16 __attribute__((vector_size(32)));
typedef int32_t emulated_i32 __attribute__((vector_size(64)));
typedef uint8_t emulated_u8 __attribute__((vector_size(16)));
typedef uint16_t emulated_u16 __attribute__((vector_size(32)));
typedef uint32_t emulated_u32 __attribute__((vector_size(64)));

/* Loads and stores touch no element whose bit is clear; it is zero, or what `or_else` has. */
#define EMULATED_LOAD(name, type, elem, n, mask_type)                                              \
    EMULATED type name(mask_type m, const void *from)                                              \
    {                                                                                              \
        elem to[n] = {0};                                                                          \
        type v;                                                                                    \
        for (int i = 0; i < (n); i++)                                                              \
            if (m >> i & 1)                                                                        \
                memcpy(to + i, (const elem *)from + i, sizeof(elem));                              \
        memcpy(&v, to, sizeof v);                                                                  \
        return v;                                                                                  \
    }

#define EMULATED_STORE(name, type, elem, n, mask_type)                                             \
    EMULATED void name(void *to, mask_type m, type v)                                              \
    {                                                                                              \
        elem from[n];                                                                              \
        memcpy(from, &v, sizeof v);                                                                \
        for (int i = 0; i < (n); i++)                                                              \
            if (m >> i & 1)                                                                        \
                memcpy((elem *)to + i, from + i, sizeof(elem));                                    \
    }

EMULATED_LOAD(emulated_load_ps, __m512, float, 16, __mmask16)
EMULATED_LOAD(emulated_load_epi32, __m512i, int32_t, 16, __mmask16)
EMULATED_LOAD(emulated_load_epi16, __m512i, int16_t, 32, __mmask32)
EMULATED_LOAD(emulated_load_half_ps, __m256, float, 8, __mmask8)
EMULATED_LOAD(emulated_load_half_epi16, __m256i, int16_t, 16, __mmask16)
EMULATED_LOAD(emulated_load_quarter_epi8, __m128i, int8_t, 16, __mmask16)
EMULATED_STORE(emulated_store_ps, __m512, float, 16, __mmask16)
EMULATED_STORE(emulated_store_epi32, __m512i, int32_t, 16, __mmask16)
EMULATED_STORE(emulated_store_half_ps, __m256, float, 8, __mmask8)
EMULATED_STORE(emulated_store_half_epi16, __m256i, int16_t, 16, __mmask16)
EMULATED_STORE(emulated_store_quarter_epi8, __m128i, int8_t, 16, __mmask16)
#undef EMULATED_LOAD
#undef EMULATED_STORE

EMULATED __m512 emulated_load_over_ps(__m512 or_else, __mmask16 m, const void *from)
{
    return simde_mm512_mask_mov_ps(or_else, m, emulated_load_ps(m, from));
}

/* Halves of 512 bits, where AVX2 does the work. */
EMULATED __m256i emulated_half(__m512i v, int i)
{
    __m256i half;
    memcpy(&half, (const char *)&v + 32 * i, sizeof half);
    return half;
}

EMULATED __m256 emulated_half_ps(__m512 v, int i)
{
    __m256 half;
    memcpy(&half, (const char *)&v + 32 * i, sizeof half);
    return half;
}

EMULATED __m512i emulated_join(__m256i low, __m256i high)
{
    __m512i v;
    memcpy(&v, &low, sizeof low);
    memcpy((char *)&v + 32, &high, sizeof high);
    return v;
}

EMULATED __m512 emulated_join_ps(__m256 low, __m256 high)
{
    __m512 v;
    memcpy(&v, &low, sizeof low);
    memcpy((char *)&v + 32, &high, sizeof high);
    return v;
}

EMULATED __m512 emulated_cvtepi32_ps(__m512i v)
{
    return emulated_join_ps(_mm256_cvtepi32_ps(emulated_half(v, 0)),
                            _mm256_cvtepi32_ps(emulated_half(v, 1)));
}

EMULATED __m512i emulated_cvtps_epi32(__m512 v)
{
    return emulated_join(_mm256_cvtps_epi32(emulated_half_ps(v, 0)),
                         _mm256_cvtps_epi32(emulated_half_ps(v, 1)));
}

EMULATED __m512i emulated_cvttps_epi32(__m512 v)
{
    return emulated_join(_mm256_cvttps_epi32(emulated_half_ps(v, 0)),
                         _mm256_cvttps_epi32(emulated_half_ps(v, 1)));
}

EMULATED __m512 emulated_cvtph_ps(__m256i v)
{
    return emulated_join_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                            _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}

#define emulated_cvtps_ph(v, how)                                                                  \
    _mm256_set_m128i(_mm256_cvtps_ph(emulated_half_ps(v, 1), (how)&7),                             \
                     _mm256_cvtps_ph(emulated_half_ps(v, 0), (how)&7))

EMULATED __m512i emulated_madd_epi16(__m512i a, __m512i b)
{
    return emulated_join(_mm256_madd_epi16(emulated_half(a, 0), emulated_half(b, 0)),
                         _mm256_madd_epi16(emulated_half(a, 1), emulated_half(b, 1)));
}

EMULATED __m512d emulated_cvtps_pd(__m256 v)
{
    double to[8];
    __m512d d;
    for (int i = 0; i < 8; i++)
        to[i] = v[i];
    memcpy(&d, to, sizeof d);
    return d;
}

EMULATED __m256 emulated_cvtpd_ps(__m512d v)
{
    __m256 f;
    for (int i = 0; i < 8; i++)
        f[i] = (float)v[i];
    return f;
}

/* To nearest, ties to even; what an int64 cannot hold is its least value. */
EMULATED __m512i emulated_cvtpd_epi64(__m512d v)
{
    int64_t to[8];
    __m512i r;
    for (int i = 0; i < 8; i++)
        to[i] = fabs(v[i]) < 0x1p63 ? (int64_t)nearbyint(v[i]) : INT64_MIN;
    memcpy(&r, to, sizeof r);
    return r;
}

EMULATED __m512i emulated_cvtepi8_epi32(__m128i v)
{
    return (__m512i) __builtin_convertvector((emulated_i8)v, emulated_i32);
}

EMULATED __m512i emulated_cvtepu8_epi32(__m128i v)
{
    return (__m512i) __builtin_convertvector((emulated_u8)v, emulated_u32);
}

EMULATED __m512i emulated_cvtepu16_epi32(__m256i v)
{
    return (__m512i) __builtin_convertvector((emulated_u16)v, emulated_u32);
}

EMULATED __m256i emulated_cvtepi32_epi16(__m512i v)
{
    return (__m256i) __builtin_convertvector((emulated_i32)v, emulated_i16);
}

EMULATED __m128i emulated_cvtepi32_epi8(__m512i v)
{
    return (__m128i) __builtin_convertvector((emulated_i32)v, emulated_i8);
}

EMULATED __m512i emulated_srai_epi32(__m512i v, unsigned by)
{
    return (__m512i)((emulated_i32)v >> (int)(by > 31 ? 31 : by));
}

EMULATED __m512i emulated_shuffle_epi32(__m512i v, int how)
{
    emulated_i32 from = (emulated_i32)v, to;
    for (int i = 0; i < 16; i++)
        to[i] = from[i / 4 * 4 + (how >> (i % 4 * 2) & 3)];
    return (__m512i)to;
}

EMULATED __m512 emulated_shuffle_f32x4(__m512 a, __m512 b, int how)
{
    float from[32], to[16];
    __m512 v;
    memcpy(from, &a, sizeof a);
    memcpy(from + 16, &b, sizeof b);
    for (int i = 0; i < 4; i++)
        memcpy(to + 4 * i, from + i / 2 * 16 + 4 * (how >> 2 * i & 3), 4 * sizeof(float));
    memcpy(&v, to, sizeof v);
    return v;
}

/* x less the nearest whole number by the mode `how`; nothing is left of infinities. */
EMULATED __m512 emulated_reduce_ps(__m512 v, int how)
{
    for (int i = 0; i < 16; i++) {
        float whole = (how & 7) == _MM_FROUND_TO_NEG_INF ? floorf(v[i]) : nearbyintf(v[i]);
        v[i] = isinf(v[i]) ? 0 : v[i] - whole;
    }
    return v;
}

/* By halves, as compilers reduce. */
EMULATED float emulated_reduce_add_ps(__m512 v)
{
    float x[16];
    memcpy(x, &v, sizeof x);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] += x[i + half];
    return x[0];
}

/* Of the second operand where either is not a number, as vmaxps. */
EMULATED float emulated_reduce_max_ps(__m512 v)
{
    float x[16];
    memcpy(x, &v, sizeof x);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}

/* To nearest, ties to even; subnormal numbers become zeros, signs kept; a NaN is made quiet. */
EMULATED uint16_t emulated_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    if (magnitude < 0x00800000u)
        return (uint16_t)(bits >> 16 & 0x8000u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

EMULATED __m256i emulated_cvtneps_pbh(__m512 v)
{
    emulated_u16 to;
    for (int i = 0; i < 16; i++)
        to[i] = emulated_bf16(v[i]);
    return (__m256i)to;
}

/* Subnormal numbers count as zeros, going in and coming out; rounded after each product. */
EMULATED float emulated_flush(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

EMULATED float emulated_bf16_value(uint32_t half)
{
    float x;
    half <<= 16;
    memcpy(&x, &half, sizeof x);
    return emulated_flush(x);
}

EMULATED __m512 emulated_dpbf16_ps(__m512 acc, __m512 a, __m512 b)
{
    emulated_u32 x = (emulated_u32)a, y = (emulated_u32)b;
    for (int i = 0; i < 16; i++)
        for (int shift = 16; shift >= 0; shift -= 16) /* the second of a pair first */
            acc[i] = emulated_flush(fmaf(emulated_bf16_value(x[i] >> shift & 0xffffu),
                                         emulated_bf16_value(y[i] >> shift & 0xffffu),
                                         emulated_flush(acc[i])));
    return acc;
}

/* Under the names the kernels know. */
#define _mm512_maskz_loadu_ps emulated_load_ps
#define _mm512_maskz_loadu_epi32 emulated_load_epi32
#define _mm512_maskz_loadu_epi16 emulated_load_epi16
#define _mm512_mask_loadu_ps emulated_load_over_ps
#define _mm256_maskz_loadu_ps emulated_load_half_ps
#define _mm256_maskz_loadu_epi16 emulated_load_half_epi16
#define _mm_maskz_loadu_epi8 emulated_load_quarter_epi8
#define _mm512_mask_storeu_ps emulated_store_ps
#define _mm512_mask_storeu_epi32 emulated_store_epi32
#define _mm256_mask_storeu_ps emulated_store_half_ps
#define _mm256_mask_storeu_epi16 emulated_store_half_epi16
#define _mm_mask_storeu_epi8 emulated_store_quarter_epi8
#undef _mm512_extractf32x8_ps /* macros where gcc does not optimise */
#define _mm512_extractf32x8_ps emulated_half_ps
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#define _mm512_cvttps_epi32 emulated_cvttps_epi32
#define _mm512_cvtph_ps emulated_cvtph_ps
#define _mm512_cvtps_pd emulated_cvtps_pd
#define _mm512_cvtpd_ps emulated_cvtpd_ps
#define _mm512_cvtpd_epi64 emulated_cvtpd_epi64
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtepi32_epi16 emulated_cvtepi32_epi16
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated_srai_epi32
#define _mm512_reduce_add_ps emulated_reduce_add_ps
#define _mm512_reduce_max_ps emulated_reduce_max_ps
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph emulated_cvtps_ph
#undef _mm512_shuffle_epi32
#define _mm512_shuffle_epi32(v, how) emulated_shuffle_epi32(v, (int)(how))
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 emulated_shuffle_f32x4
#undef _mm512_shuffle_i64x2 /* the same movement */
#define _mm512_shuffle_i64x2(a, b, how)                                                            \
    ((__m512i)emulated_shuffle_f32x4((__m512)(a), (__m512)(b), how))
#undef _mm512_reduce_ps
#define _mm512_reduce_ps emulated_reduce_ps
#undef _mm512_madd_epi16 /* SIMDe 0.7.4 gives this name to its masked form */
#define _mm512_madd_epi16 emulated_madd_epi16
#undef _mm512_cvtneps_pbh
#define _mm512_cvtneps_pbh emulated_cvtneps_pbh
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps(acc, a, b) emulated_dpbf16_ps(acc, (__m512)(a), (__m512)(b))

#endif
