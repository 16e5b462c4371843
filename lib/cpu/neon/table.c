/* What NEON replaces in the kernel table. */
#include "cpu/neon/neon.h"

void samba__kernels_neon(samba__kernels *kernels)
{
    kernels->name = "neon";
    kernels->rms_norm = samba__neon_rms_norm;
    kernels->layer_norm = samba__neon_layer_norm;
    kernels->diff = samba__neon_diff;
    kernels->gated_norm = samba__neon_gated_norm;
    kernels->conv = samba__neon_conv;
    kernels->scan = samba__neon_scan;
    kernels->rope = samba__neon_rope;
    kernels->gla = samba__neon_gla;
    kernels->silu_mul = samba__neon_silu_mul;
    kernels->gla_decay = samba__neon_gla_decay;
    kernels->log_probs = samba__neon_log_probs;
    samba__neon_kv_pages(kernels->kv);
    samba__neon_attention(kernels->kv);
    samba__neon_linear_float(kernels->linear);
    samba__neon_linear_int8(kernels->linear);
}
