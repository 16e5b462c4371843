/* Peak loops of AVX2 and FMA: 12 chains fill the latency of two pipes and leave registers for the
 * operands. */
#include "samba-lm-peak-x86.h"

#include <immintrin.h>

enum {
    CHAINS = 12,
    REPEAT = 8
};

uint64_t lm_peak_fma_ymm(uint64_t rounds)
{
    __m256 acc[CHAINS], a = _mm256_set1_ps(0x1p-10f), b = _mm256_set1_ps(0x1p-11f);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (; done < rounds; done += CHAINS * REPEAT) {
        lm_peak_hide_ymm(a);
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++)
                acc[i] = _mm256_fmadd_ps(a, b, acc[i]);
    }
    for (int i = 0; i < CHAINS; i++)
        lm_peak_hide_ymm(acc[i]);
    return done;
}

/* u8 * s8 as AVX2 has it: pairs to 16 bits, pairs to 32 bits, sum. */
uint64_t lm_peak_maddubs_ymm(uint64_t rounds)
{
    __m256i acc[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);
    const __m256i ones = _mm256_set1_epi16(1);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm256_set1_epi32(i);
    for (; done < rounds; done += CHAINS * REPEAT) {
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++) {
                __m256i p; /* as text: the compiler would see that the products are the same */
                __asm__ volatile("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\t"
                                 "vpaddd %1, %0, %0"
                                 : "+x"(acc[i]), "=&x"(p)
                                 : "x"(a), "x"(b), "x"(ones));
            }
    }
    for (int i = 0; i < CHAINS; i++)
        lm_peak_hide_ymm(acc[i]);
    return done;
}

uint64_t lm_peak_read_ymm(const void *at, size_t bytes, size_t n_streams, size_t ahead)
{
    __m256i sum[4] = {_mm256_setzero_si256()};
    for (int i = 1; i < 4; i++)
        sum[i] = sum[0];
    for (size_t o = 0; o < bytes; o += 256)
        for (size_t s = 0; s < n_streams; s++) {
            const char *p = (const char *)at + s * bytes + o;
            for (size_t i = 0; i < 4; i++) {
                const __m256i *v = (const __m256i *)(const void *)(p + 64 * i);
                if (ahead)
                    _mm_prefetch(p + 64 * i + ahead, _MM_HINT_T0);
                sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256(v));
                sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256(v + 1));
            }
        }
    sum[0] = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    return (uint64_t)_mm256_extract_epi64(sum[0], 0);
}
