/* The log-probability of a token: sums of 4,096 exponentials in 32 f32 lanes, those added up in
 * f64. One fixed order, whatever the vocabulary. */
#include "base/fmath.h"
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/math.h"

enum {
    PIECE = 4096
};

static float max_of(const float *x, size_t n)
{
    __m256 top[4];
    size_t i = 0;
    for (size_t j = 0; j < 4; j++)
        top[j] = _mm256_set1_ps(x[0]);
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++)
            top[j] = _mm256_max_ps(top[j], _mm256_loadu_ps(x + i + 8 * j));
    float max =
        samba__v8_top(_mm256_max_ps(_mm256_max_ps(top[0], top[2]), _mm256_max_ps(top[1], top[3])));
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static float sum_of_exp(const float *x, size_t n, __m256 max)
{
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                   _mm256_setzero_ps()};
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 4; j++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * j);
            s[j] = _mm256_add_ps(s[j], samba__v8_exp(_mm256_sub_ps(v, max)));
        }
    for (size_t j = 0; j < 4 && i < n; j++, i += 8) {
        __m256 v = samba__v8_exp(_mm256_sub_ps(samba__v8_load(x + i, n - i), max));
        __m256 mask = _mm256_castsi256_ps(samba__v8_mask(n - i));
        s[j] = _mm256_add_ps(s[j], _mm256_and_ps(v, mask));
    }
    return samba__v8_sum(_mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3])));
}

void samba__avx2_log_probs(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                           float *logprobs)
{
    float max = max_of(logits, n);
    double total = 0.0;
    for (size_t i = 0; i < n; i += PIECE) {
        size_t left = n - i < PIECE ? n - i : PIECE;
        total += (double)sum_of_exp(logits + i, left, _mm256_set1_ps(max));
    }
    const double log_sum = samba__log(total);
    for (size_t i = 0; i < n_targets; i++)
        logprobs[i] = (float)((double)logits[targets[i]] - (double)max - log_sum);
}
