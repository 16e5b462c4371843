/* What AVX-512 VNNI replaces in the kernel table: block formats, with int8 dot products. */
#include "cpu/avx512/avx512.h"

void samba__kernels_avx512_vnni(samba__kernels *kernels)
{
    kernels->name = "avx512-vnni";
    samba__avx512_vnni_linear_q8_0(&kernels->linear[SAMBA_DTYPE_Q8_0]);
    samba__avx512_vnni_linear_q4_0(&kernels->linear[SAMBA_DTYPE_Q4_0]);
    samba__avx512_vnni_linear_q4_k(&kernels->linear[SAMBA_DTYPE_Q4_K]);
    samba__avx512_vnni_linear_q6_k(&kernels->linear[SAMBA_DTYPE_Q6_K]);
}
