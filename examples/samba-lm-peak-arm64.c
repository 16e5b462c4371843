/* The list of aarch64 loops; those of plain NEON are here, the rest is built for its extension. */
#include "samba-lm-peak.h"

#include <arm_neon.h>
#include <sys/auxv.h>

#define HIDE(x) __asm__ volatile("" : "+w"(x))

enum {
    CHAINS = 24, /* latency 4 on four pipes, and room for the operands */
    REPEAT = 8
};

uint64_t lm_peak_sdot(uint64_t rounds); /* samba-lm-peak-dotprod.c */

static uint64_t fmla(uint64_t rounds)
{
    float32x4_t acc[CHAINS], a = vdupq_n_f32(0x1p-10f), b = vdupq_n_f32(0x1p-11f);
    uint64_t done = 0;
    for (int i = 0; i < CHAINS; i++)
        acc[i] = vdupq_n_f32((float)i);
    for (; done < rounds; done += CHAINS * REPEAT) {
        HIDE(a);
#pragma GCC unroll 8
        for (int r = 0; r < REPEAT; r++)
#pragma GCC unroll 24
            for (int i = 0; i < CHAINS; i++)
                acc[i] = vfmaq_f32(acc[i], a, b);
    }
    for (int i = 0; i < CHAINS; i++)
        HIDE(acc[i]);
    return done;
}

static int has_neon(void)
{
    return 1;
}

static int has_dotprod(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

const lm_peak_loop lm_peak_loops[] = {
    {"fmla 4s", LM_PEAK_F32, "neon", 8, 1, fmla, has_neon},
    {"sdot 4s", LM_PEAK_INT8, "neon-dotprod", 32, 1, lm_peak_sdot, has_dotprod},
};
const size_t lm_peak_n_loops = sizeof lm_peak_loops / sizeof *lm_peak_loops;

static uint64_t read_lines(const void *at, size_t bytes, size_t n_streams, size_t ahead)
{
    uint64x2_t sum[4];
    for (int i = 0; i < 4; i++)
        sum[i] = vdupq_n_u64(0);
    for (size_t o = 0; o < bytes; o += 256)
        for (size_t s = 0; s < n_streams; s++) {
            const char *p = (const char *)at + s * bytes + o;
            for (size_t i = 0; i < 256; i += 64) {
                if (ahead)
                    __builtin_prefetch(p + i + ahead);
                for (size_t k = 0; k < 4; k++)
                    sum[k] = veorq_u64(sum[k],
                                       vld1q_u64((const uint64_t *)(const void *)(p + i) + 2 * k));
            }
        }
    return vgetq_lane_u64(veorq_u64(veorq_u64(sum[0], sum[1]), veorq_u64(sum[2], sum[3])), 0);
}

lm_peak_read_fn lm_peak_reader(void)
{
    return read_lines;
}

void lm_peak_add_chain(uint64_t n)
{
    uint64_t x = 0;
    for (uint64_t i = 0; i < n; i += 64)
        __asm__ volatile(".rept 64\n\tadd %0, %0, %1\n\t.endr" : "+r"(x) : "r"(n));
}
