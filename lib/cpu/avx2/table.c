/* What AVX2 (with FMA and F16C) replaces in the kernel table. */
#include "cpu/avx2/avx2.h"

void samba__kernels_avx2(samba__kernels *kernels)
{
    kernels->name = "avx2";
    samba__avx2_linear_float(kernels->linear);
    samba__avx2_linear_q8_0(&kernels->linear[SAMBA_DTYPE_Q8_0]);
    samba__avx2_linear_q4_0(&kernels->linear[SAMBA_DTYPE_Q4_0]);
    samba__avx2_linear_q4_k(&kernels->linear[SAMBA_DTYPE_Q4_K]);
    samba__avx2_linear_q6_k(&kernels->linear[SAMBA_DTYPE_Q6_K]);
    samba__avx2_kv_table(kernels->kv);
    kernels->conv = samba__avx2_conv;
    kernels->scan = samba__avx2_scan;
    kernels->silu_mul = samba__avx2_silu_mul;
    kernels->rms_norm = samba__avx2_rms_norm;
    kernels->layer_norm = samba__avx2_layer_norm;
    kernels->diff = samba__avx2_diff;
    kernels->gated_norm = samba__avx2_gated_norm;
    kernels->rope = samba__avx2_rope;
    kernels->gla = samba__avx2_gla;
    kernels->gla_decay = samba__avx2_gla_decay;
    kernels->log_probs = samba__avx2_log_probs;
}
