/* What NEON's int8 dot products replace in the kernel table: block formats. */
#include "cpu/neon/neon.h"

void samba__kernels_neon_dotprod(samba__kernels *kernels)
{
    kernels->name = "neon-dotprod";
    samba__neon_linear_int8_dotprod(kernels->linear);
}
