/* What AVX2 (with FMA and F16C) replaces in the kernel table. */
#include "cpu/kernels.h"

void samba__kernels_avx2(samba__kernels *kernels)
{
    kernels->name = "avx2";
}
