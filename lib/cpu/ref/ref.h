/* What the files of ref/ give to table.c: the reference kernels, one file per family. */
#ifndef SAMBA_CPU_REF_REF_H
#define SAMBA_CPU_REF_REF_H

#include "cpu/kernels.h"

void samba__ref_linear_table(samba__linear_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__ref_linear_blocks(samba__linear_kernels *table); /* the block formats */
void samba__ref_kv_table(samba__kv_kernels *table); /* [SAMBA__N_DTYPES] */
void samba__ref_rms_norm(const samba__norm_args *args);
void samba__ref_layer_norm(const samba__norm_args *args);
void samba__ref_conv(const samba__conv_args *args);
void samba__ref_scan(const samba__scan_args *args);
void samba__ref_rope_table(const samba__rope_table_args *args);
void samba__ref_rope(const samba__rope_args *args);
void samba__ref_diff(const samba__diff_args *args);
void samba__ref_gla(const samba__gla_args *args);
void samba__ref_gated_norm(const samba__gated_norm_args *args);
void samba__ref_silu_mul(const samba__gate_args *args);
void samba__ref_gla_decay(const samba__gate_args *args);
void samba__ref_log_probs(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                          float *logprobs);

#endif
