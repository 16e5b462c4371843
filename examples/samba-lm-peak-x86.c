/* The list of x86 loops, and which of them the machine has. */
#include "samba-lm-peak-x86.h"
#include "samba-lm-peak.h"

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

static int has_vnni(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

static int has_bf16(void)
{
    return has_vnni() && __builtin_cpu_supports("avx512bf16");
}

const lm_peak_loop lm_peak_loops[] = {
    {"fma ymm", LM_PEAK_F32, "avx2", 16, 1, lm_peak_fma_ymm, has_avx2},
    {"fma zmm", LM_PEAK_F32, "avx512", 32, 1, lm_peak_fma_zmm, has_avx512},
    {"vdpbf16ps zmm", LM_PEAK_BF16, "avx512-bf16", 64, 1, lm_peak_dpbf16_zmm, has_bf16},
    {"vpmaddubsw+vpmaddwd+vpaddd ymm", LM_PEAK_INT8, "avx2", 64, 3, lm_peak_maddubs_ymm, has_avx2},
    {"vpdpbusd zmm", LM_PEAK_INT8, "avx512-vnni", 128, 1, lm_peak_dpbusd_zmm, has_vnni},
};
const size_t lm_peak_n_loops = sizeof lm_peak_loops / sizeof *lm_peak_loops;

static uint64_t read_words(const void *at, size_t bytes, size_t n_streams, size_t ahead)
{
    const uint64_t *p = at;
    uint64_t sum = 0;
    (void)ahead;
    for (size_t i = 0; i < bytes * n_streams / sizeof *p; i++)
        sum += p[i];
    return sum;
}

lm_peak_read_fn lm_peak_reader(void)
{
    return has_avx512() ? lm_peak_read_zmm : has_avx2() ? lm_peak_read_ymm : read_words;
}

void lm_peak_add_chain(uint64_t n)
{
    uint64_t x = 0;
    for (uint64_t i = 0; i < n; i += 64)
        __asm__ volatile(".rept 64\n\taddq %1, %0\n\t.endr" : "+r"(x) : "r"(n));
}
