/* Peak loop of AVX-512 BF16. */
#include "samba-lm-peak-x86.h"

#include <immintrin.h>

enum {
    CHAINS = 24,
    REPEAT = 8
};

uint64_t lm_peak_dpbf16_zmm(uint64_t rounds)
{
    __m512 acc[CHAINS], f = _mm512_set1_ps(0x1p-10f);
    __m512bh a, b = _mm512_cvtne2ps_pbh(f, f);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (; done < rounds; done += CHAINS * REPEAT) {
        lm_peak_hide_zmm(f);
        a = b;
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 24
            for (int i = 0; i < CHAINS; i++)
                acc[i] = _mm512_dpbf16_ps(acc[i], a, b);
    }
    for (int i = 0; i < CHAINS; i++)
        lm_peak_hide_zmm(acc[i]);
    return done;
}
