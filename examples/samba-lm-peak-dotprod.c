/* Peak loop of the dot product extension of aarch64. */
#include <arm_neon.h>
#include <stdint.h>

#define HIDE(x) __asm__ volatile("" : "+w"(x))

enum {
    CHAINS = 24,
    REPEAT = 8
};

uint64_t lm_peak_sdot(uint64_t rounds);

uint64_t lm_peak_sdot(uint64_t rounds)
{
    int32x4_t acc[CHAINS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = vdupq_n_s32(i);
    for (; done < rounds; done += CHAINS * REPEAT) {
        HIDE(a);
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 24
            for (int i = 0; i < CHAINS; i++)
                acc[i] = vdotq_s32(acc[i], a, b);
    }
    for (int i = 0; i < CHAINS; i++)
        HIDE(acc[i]);
    return done;
}
