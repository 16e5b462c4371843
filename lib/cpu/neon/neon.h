/* What the files of neon/ give to the tables, one file per kernel family. */
#ifndef SAMBA_CPU_NEON_NEON_H
#define SAMBA_CPU_NEON_NEON_H

#include "cpu/kernels.h"

void samba__neon_linear_float(samba__linear_kernels *table);        /* [SAMBA__N_DTYPES] */
void samba__neon_linear_int8(samba__linear_kernels *table);         /* [SAMBA__N_DTYPES] */
void samba__neon_linear_int8_dotprod(samba__linear_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__neon_kv_pages(samba__kv_kernels *table);                /* [SAMBA__N_DTYPES] */
void samba__neon_attention(samba__kv_kernels *table);               /* [SAMBA__N_DTYPES] */
void samba__neon_rms_norm(const samba__norm_args *args);
void samba__neon_layer_norm(const samba__norm_args *args);
void samba__neon_diff(const samba__diff_args *args);
void samba__neon_gated_norm(const samba__gated_norm_args *args);
void samba__neon_conv(const samba__conv_args *args);
void samba__neon_scan(const samba__scan_args *args);
void samba__neon_rope(const samba__rope_args *args);
void samba__neon_gla(const samba__gla_args *args);
void samba__neon_silu_mul(const samba__gate_args *args);
void samba__neon_gla_decay(const samba__gate_args *args);
void samba__neon_log_probs(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                           float *logprobs);

#endif
