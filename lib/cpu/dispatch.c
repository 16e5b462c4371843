/*
 * Picks the kernel table of a device: the reference kernels, overlaid by the instruction-set tiers
 * that the build has and the machine can run. The only file of the backend that knows instruction
 * sets. The build defines SAMBA__BUILD_<processor family>, and SAMBA__BUILD_AVX512 where it has
 * those tiers; a tier's folder fills in what it has.
 */
#include "base/cpu.h"
#include "cpu/kernels.h"

#include <string.h>

typedef struct tier {
    samba_cpu_tier tier;
    const char *name;
    uint32_t needs; /* SAMBA__CPU_ features */
    void (*overlay)(samba__kernels *kernels);
} tier;

/* From plain to best; a tier is laid over those before it that need no other machine. */
static const tier tiers[] = {
    {SAMBA_CPU_REFERENCE, "reference", 0, NULL},
#if defined(SAMBA__BUILD_X86)
    {SAMBA_CPU_AVX2, "avx2", SAMBA__CPU_AVX2, samba__kernels_avx2},
#endif
#if defined(SAMBA__BUILD_AVX512)
    {SAMBA_CPU_AVX512, "avx512", SAMBA__CPU_AVX2 | SAMBA__CPU_AVX512, samba__kernels_avx512},
    {SAMBA_CPU_AVX512_VNNI, "avx512-vnni",
     SAMBA__CPU_AVX2 | SAMBA__CPU_AVX512 | SAMBA__CPU_AVX512_VNNI, samba__kernels_avx512_vnni},
    {SAMBA_CPU_AVX512_BF16, "avx512-bf16",
     SAMBA__CPU_AVX2 | SAMBA__CPU_AVX512 | SAMBA__CPU_AVX512_VNNI | SAMBA__CPU_AVX512_BF16,
     samba__kernels_avx512_bf16},
#endif
#if defined(SAMBA__BUILD_ARM64)
    {SAMBA_CPU_NEON, "neon", SAMBA__CPU_NEON, samba__kernels_neon},
    {SAMBA_CPU_NEON_DOTPROD, "neon-dotprod", SAMBA__CPU_NEON | SAMBA__CPU_DOTPROD,
     samba__kernels_neon_dotprod},
#endif
};

enum {
    N_TIERS = sizeof tiers / sizeof *tiers
};

/* A test build compiles the AVX-512 tiers to AVX2 (tests/support/avx512_emulated.h). */
static uint32_t features(void)
{
    uint32_t have = samba__cpu_features();
#if defined(SAMBA__EMULATED_AVX512)
    if (have & SAMBA__CPU_AVX2)
        have |= SAMBA__CPU_AVX512 | SAMBA__CPU_AVX512_VNNI | SAMBA__CPU_AVX512_BF16;
#endif
    return have;
}

bool samba__kernels_select(samba_cpu_tier want, samba__kernels *kernels)
{
    uint32_t have = features();
    size_t best = N_TIERS;
    for (size_t i = 0; i < N_TIERS; i++)
        if ((tiers[i].needs & ~have) == 0 && (want == 0 || tiers[i].tier == want))
            best = i;
    if (best == N_TIERS)
        return false;
    samba__kernels_reference(kernels);
    for (size_t i = 0; i <= best; i++)
        if (tiers[i].overlay && (tiers[i].needs & ~tiers[best].needs) == 0)
            tiers[i].overlay(kernels);
    kernels->name = tiers[best].name;
    return true;
}
