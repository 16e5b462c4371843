/* Products with Q6_K weights by vpdpbusd; the layout is linear_q6_k.h's. */
#include "cpu/avx512/linear_q6_k.h"

#include "cpu/avx512/linear_int8_vnni.h"

#include "cpu/avx512/linear_int8_run.h"

void samba__avx512_vnni_linear_q6_k(samba__linear_kernels *kernels)
{
    kernels->run = samba__int8_run;
}
