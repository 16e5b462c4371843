/* What the files of avx512/ give to table.c, one file per kernel family. */
#ifndef SAMBA_CPU_AVX512_AVX512_H
#define SAMBA_CPU_AVX512_AVX512_H

#include "cpu/kernels.h"

void samba__avx512_linear_f32(samba__linear_kernels *kernels);
void samba__avx512_vnni_linear_q8_0(samba__linear_kernels *kernels);
void samba__avx512_kv_table(samba__kv_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__avx512_conv(const samba__conv_args *args);
void samba__avx512_scan(const samba__scan_args *args);
void samba__avx512_silu_mul(const samba__gate_args *args);

#endif
