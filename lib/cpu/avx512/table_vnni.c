/* What AVX-512 VNNI replaces in the kernel table: block formats, with int8 dot products. */
#include "cpu/avx512/avx512.h"

void samba__kernels_avx512_vnni(samba__kernels *kernels)
{
    kernels->name = "avx512-vnni";
    samba__avx512_vnni_linear_q8_0(&kernels->linear[SAMBA_DTYPE_Q8_0]);
}
