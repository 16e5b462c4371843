/* Peak loop of AVX-512 VNNI: latency 5 on two pipes asks for 10 chains. */
#include "samba-lm-peak-x86.h"

#include <immintrin.h>

enum {
    CHAINS = 20,
    REPEAT = 8
};

uint64_t lm_peak_dpbusd_zmm(uint64_t rounds)
{
    __m512i acc[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_epi32(i);
    for (; done < rounds; done += CHAINS * REPEAT) {
        lm_peak_hide_zmm(a);
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 20
            for (int i = 0; i < CHAINS; i++)
                acc[i] = _mm512_dpbusd_epi32(acc[i], a, b);
    }
    for (int i = 0; i < CHAINS; i++)
        lm_peak_hide_zmm(acc[i]);
    return done;
}
