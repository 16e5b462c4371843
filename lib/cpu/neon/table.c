/* What NEON replaces in the kernel table. */
#include "cpu/kernels.h"

void samba__kernels_neon(samba__kernels *kernels)
{
    kernels->name = "neon";
}
