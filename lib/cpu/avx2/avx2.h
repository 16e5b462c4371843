/* What the files of avx2/ give to table.c, one file per kernel family. */
#ifndef SAMBA_CPU_AVX2_AVX2_H
#define SAMBA_CPU_AVX2_AVX2_H

#include "cpu/kernels.h"

void samba__avx2_linear_float(samba__linear_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__avx2_linear_q8_0(samba__linear_kernels *kernels);
void samba__avx2_linear_q4_0(samba__linear_kernels *kernels);
void samba__avx2_linear_q4_k(samba__linear_kernels *kernels);
void samba__avx2_linear_q6_k(samba__linear_kernels *kernels);
void samba__avx2_kv_table(samba__kv_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__avx2_conv(const samba__conv_args *args);
void samba__avx2_scan(const samba__scan_args *args);
void samba__avx2_silu_mul(const samba__gate_args *args);
void samba__avx2_rms_norm(const samba__norm_args *args);
void samba__avx2_layer_norm(const samba__norm_args *args);
void samba__avx2_diff(const samba__diff_args *args);
void samba__avx2_gated_norm(const samba__gated_norm_args *args);
void samba__avx2_rope(const samba__rope_args *args);
void samba__avx2_gla(const samba__gla_args *args);
void samba__avx2_gla_decay(const samba__gate_args *args);
void samba__avx2_log_probs(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                           float *logprobs);

#endif
