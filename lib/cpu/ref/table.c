/* Collects the reference kernels into one table, and holds the one that fits nowhere else: the
 * log-probability of a token. */
#include "base/fmath.h"
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

/* Sums of 4,096 exponentials in 16 f32 lanes, those added up in f64: exact enough for any
 * vocabulary, and one fixed order. */
static double sum_of_exp(const float *x, size_t n, float max)
{
    double total = 0.0;
    for (size_t begin = 0; begin < n; begin += 4096) {
        size_t end = n - begin < 4096 ? n : begin + 4096, i = begin;
        float lanes[16] = {0};
        for (; i + 16 <= end; i += 16)
            for (size_t l = 0; l < 16; l++)
                lanes[l] += samba__ref_exp(x[i + l] - max);
        for (size_t l = 0; i + l < end; l++)
            lanes[l] += samba__ref_exp(x[i + l] - max);
        total += (double)samba__ref_tree(lanes);
    }
    return total;
}

void samba__ref_log_probs(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                          float *logprobs)
{
    float max = logits[0];
    for (size_t i = 1; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    double log_sum = samba__log(sum_of_exp(logits, n, max));
    for (size_t i = 0; i < n_targets; i++)
        logprobs[i] = (float)((double)logits[targets[i]] - (double)max - log_sum);
}

void samba__kernels_reference(samba__kernels *kernels)
{
    *kernels = (samba__kernels){
        .name = "reference",
        .rms_norm = samba__ref_rms_norm,
        .layer_norm = samba__ref_layer_norm,
        .conv = samba__ref_conv,
        .scan = samba__ref_scan,
        .rope_table = samba__ref_rope_table,
        .rope = samba__ref_rope,
        .diff = samba__ref_diff,
        .gla = samba__ref_gla,
        .gated_norm = samba__ref_gated_norm,
        .silu_mul = samba__ref_silu_mul,
        .gla_decay = samba__ref_gla_decay,
        .log_probs = samba__ref_log_probs,
    };
    samba__ref_linear_table(kernels->linear);
    samba__ref_kv_table(kernels->kv);
}
