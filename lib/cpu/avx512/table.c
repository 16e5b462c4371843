/* What AVX-512 (F, BW, VL, DQ) replaces in the kernel table. */
#include "cpu/avx512/avx512.h"

void samba__kernels_avx512(samba__kernels *kernels)
{
    kernels->name = "avx512";
    samba__avx512_linear_f32(&kernels->linear[SAMBA_DTYPE_F32]);
    samba__avx512_kv_table(kernels->kv);
    kernels->conv = samba__avx512_conv;
    kernels->scan = samba__avx512_scan;
    kernels->silu_mul = samba__avx512_silu_mul;
}
