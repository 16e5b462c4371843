/* What AVX-512 (F, BW, VL, DQ) replaces in the kernel table. */
#include "cpu/avx512/avx512.h"

void samba__kernels_avx512(samba__kernels *kernels)
{
    kernels->name = "avx512";
    samba__avx512_linear_float(kernels->linear);
    samba__avx512_linear_q8_0(&kernels->linear[SAMBA_DTYPE_Q8_0]);
    samba__avx512_linear_q4_0(&kernels->linear[SAMBA_DTYPE_Q4_0]);
    samba__avx512_linear_q4_k(&kernels->linear[SAMBA_DTYPE_Q4_K]);
    samba__avx512_linear_q6_k(&kernels->linear[SAMBA_DTYPE_Q6_K]);
    samba__avx512_kv_table(kernels->kv);
    kernels->conv = samba__avx512_conv;
    kernels->scan = samba__avx512_scan;
    kernels->silu_mul = samba__avx512_silu_mul;
    kernels->rms_norm = samba__avx512_rms_norm;
    kernels->layer_norm = samba__avx512_layer_norm;
    kernels->diff = samba__avx512_diff;
    kernels->gated_norm = samba__avx512_gated_norm;
    kernels->rope_table = samba__avx512_rope_table;
    kernels->rope = samba__avx512_rope;
    kernels->gla = samba__avx512_gla;
    kernels->gla_decay = samba__avx512_gla_decay;
    kernels->log_probs = samba__avx512_log_probs;
}
