/* What AVX-512 BF16 replaces in the kernel table: bf16 weights, with bf16 dot products. */
#include "cpu/avx512/avx512.h"

void samba__kernels_avx512_bf16(samba__kernels *kernels)
{
    kernels->name = "avx512-bf16";
    samba__avx512_bf16_linear(&kernels->linear[SAMBA_DTYPE_BF16]);
}
