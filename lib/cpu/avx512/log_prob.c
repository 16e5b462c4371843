/*
 * The log-probability of one token: largest logit, sum of exponentials, one logarithm. Sums of
 * 4,096 exponentials are floats in a fixed tree, those are added up in double: exact enough for any
 * vocabulary.
 */
#include "base/fmath.h"
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/math.h"
#include "cpu/avx512/sums.h"

enum {
    BLOCK = 4096
};

static float largest(const float *x, size_t n)
{
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    __m512 m[4] = {lowest, lowest, lowest, lowest};
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 4; j++)
            m[j] = _mm512_max_ps(m[j], _mm512_loadu_ps(x + i + 16 * j));
    for (; i < n; i += 16)
        m[0] = _mm512_max_ps(m[0], _mm512_mask_loadu_ps(lowest, samba__mask_of(i, n), x + i));
    return _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_max_ps(m[0], m[1]), _mm512_max_ps(m[2], m[3])));
}

static float sum_of_exp(const float *x, size_t n, float max)
{
    const __m512 top = _mm512_set1_ps(max);
    __m512 s[SAMBA__SUM_CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++)
        s[j] = _mm512_setzero_ps();
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++) {
            __m512 v = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16 * j), top);
            s[j] = _mm512_add_ps(s[j], samba__exp_512(v));
        }
    for (size_t j = 0; j < SAMBA__SUM_CHAINS; j++) {
        __mmask16 m = samba__mask_of(i + 16 * j, n);
        __m512 v = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i + 16 * j), top);
        s[j] = _mm512_mask_add_ps(s[j], m, s[j], samba__exp_512(v));
    }
    return samba__chains_512(s);
}

void samba__avx512_log_probs(const float *logits, size_t n, const int32_t *targets,
                             size_t n_targets, float *logprobs)
{
    float max = largest(logits, n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i += BLOCK)
        sum += (double)sum_of_exp(logits + i, n - i < BLOCK ? n - i : BLOCK, max);
    const double log_sum = samba__log(sum);
    for (size_t i = 0; i < n_targets; i++)
        logprobs[i] = (float)((double)logits[targets[i]] - (double)max - log_sum);
}
