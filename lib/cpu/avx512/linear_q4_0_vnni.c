/* Products with Q4_0 weights by vpdpbusd; the layout is linear_q4_0.h's. */
#include "cpu/avx512/linear_q4_0.h"

#include "cpu/avx512/linear_int8_vnni.h"

#include "cpu/avx512/linear_int8_run.h"

void samba__avx512_vnni_linear_q4_0(samba__linear_kernels *kernels)
{
    kernels->run = samba__int8_run;
}
