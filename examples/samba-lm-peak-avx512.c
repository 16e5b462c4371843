/* Peak loops of AVX-512. */
#include "samba-lm-peak-x86.h"

#include <immintrin.h>

enum {
    CHAINS = 16,
    REPEAT = 8
};

uint64_t lm_peak_fma_zmm(uint64_t rounds)
{
    __m512 acc[CHAINS], a = _mm512_set1_ps(0x1p-10f), b = _mm512_set1_ps(0x1p-11f);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (; done < rounds; done += CHAINS * REPEAT) {
        lm_peak_hide_zmm(a);
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 16
            for (int i = 0; i < CHAINS; i++)
                acc[i] = _mm512_fmadd_ps(a, b, acc[i]);
    }
    for (int i = 0; i < CHAINS; i++)
        lm_peak_hide_zmm(acc[i]);
    return done;
}

uint64_t lm_peak_read_zmm(const void *at, size_t bytes, size_t n_streams, size_t ahead)
{
    __m512i sum[4];
    for (int i = 0; i < 4; i++)
        sum[i] = _mm512_setzero_si512();
    for (size_t o = 0; o < bytes; o += 256)
        for (size_t s = 0; s < n_streams; s++) {
            const char *p = (const char *)at + s * bytes + o;
            for (size_t i = 0; i < 4; i++) {
                if (ahead)
                    _mm_prefetch(p + 64 * i + ahead, _MM_HINT_T0);
                sum[i] = _mm512_xor_si512(sum[i], _mm512_load_si512(p + 64 * i));
            }
        }
    sum[0] = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
    return (uint64_t)_mm512_reduce_add_epi64(sum[0]);
}
