/* What the files of avx512/ give to table.c, one file per kernel family. */
#ifndef SAMBA_CPU_AVX512_AVX512_H
#define SAMBA_CPU_AVX512_AVX512_H

#include "cpu/kernels.h"

#define SAMBA__INLINE static inline __attribute__((always_inline))

void samba__avx512_linear_float(samba__linear_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__avx512_bf16_linear(samba__linear_kernels *kernels);
void samba__avx512_linear_q8_0(samba__linear_kernels *kernels);
void samba__avx512_linear_q4_0(samba__linear_kernels *kernels);
void samba__avx512_linear_q4_k(samba__linear_kernels *kernels);
void samba__avx512_linear_q6_k(samba__linear_kernels *kernels);
/* These replace the product alone. */
void samba__avx512_vnni_linear_q8_0(samba__linear_kernels *kernels);
void samba__avx512_vnni_linear_q4_0(samba__linear_kernels *kernels);
void samba__avx512_vnni_linear_q4_k(samba__linear_kernels *kernels);
void samba__avx512_vnni_linear_q6_k(samba__linear_kernels *kernels);
void samba__avx512_kv_table(samba__kv_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__avx512_conv(const samba__conv_args *args);
void samba__avx512_scan(const samba__scan_args *args);
void samba__avx512_silu_mul(const samba__gate_args *args);
void samba__avx512_rms_norm(const samba__norm_args *args);
void samba__avx512_layer_norm(const samba__norm_args *args);
void samba__avx512_diff(const samba__diff_args *args);
void samba__avx512_gated_norm(const samba__gated_norm_args *args);
void samba__avx512_rope_table(const samba__rope_table_args *args);
void samba__avx512_rope(const samba__rope_args *args);
void samba__avx512_gla(const samba__gla_args *args);
void samba__avx512_gla_decay(const samba__gate_args *args);
void samba__avx512_log_probs(const float *logits, size_t n, const int32_t *targets,
                             size_t n_targets, float *logprobs);

#endif
