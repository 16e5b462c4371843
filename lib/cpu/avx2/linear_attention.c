/* Gated linear attention and retention: lanes are value channels, so every element of S and of o is
 * one chain in time and in order of keys. A panel of S stays in the first cache. */
#include "cpu/avx2/avx2.h"
#include "cpu/avx2/math.h"

#include <string.h>

/* One row: up to 16 value channels from v on, the panel S [key_dim][16]. */
SAMBA__V8_INLINE void gla_row(const samba__gla_args *args, size_t t, size_t v, float *state,
                              bool constant)
{
    size_t n = args->end - v, n1 = samba__v8_left(8, n);
    const float *q = args->q + t * args->ldqk, *k = args->k + t * args->ldqk;
    const float *decay = constant ? &args->constant : args->decay + t * args->ldd;
    const float *value = args->v + t * args->ldv + v;
    __m256 v0 = samba__v8_load(value, n), v1 = samba__v8_load(value + 8, n1);
    __m256 o0 = _mm256_setzero_ps(), o1 = _mm256_setzero_ps();
    for (size_t i = 0; i < args->key_dim; i++, state += 16) {
        __m256 d = _mm256_broadcast_ss(constant ? decay : decay + i);
        __m256 ki = _mm256_broadcast_ss(k + i), qi = _mm256_broadcast_ss(q + i);
        __m256 s0 = _mm256_fmadd_ps(d, _mm256_loadu_ps(state), _mm256_mul_ps(ki, v0));
        __m256 s1 = _mm256_fmadd_ps(d, _mm256_loadu_ps(state + 8), _mm256_mul_ps(ki, v1));
        _mm256_storeu_ps(state, s0);
        _mm256_storeu_ps(state + 8, s1);
        o0 = _mm256_fmadd_ps(qi, s0, o0);
        o1 = _mm256_fmadd_ps(qi, s1, o1);
    }
    __m256 scale = _mm256_set1_ps(args->scale);
    float *o = args->o + t * args->ldo + v;
    samba__v8_store(o, _mm256_mul_ps(o0, scale), n);
    samba__v8_store(o + 8, _mm256_mul_ps(o1, scale), n1);
}

void samba__avx2_gla(const samba__gla_args *args)
{
    for (size_t v = args->begin; v < args->end; v += 16) {
        float *state = args->state_out + v * args->key_dim;
        size_t size = args->key_dim * 16 * sizeof *state;
        if (args->state_in)
            memcpy(state, args->state_in + v * args->key_dim, size);
        else
            memset(state, 0, size);
        for (size_t t = 0; t < args->n_rows; t++) {
            if (args->decay)
                gla_row(args, t, v, state, false);
            else
                gla_row(args, t, v, state, true);
        }
    }
}

/* exp(log_sigmoid(a) / 16) = exp(-softplus(-a) / 16) */
void samba__avx2_gla_decay(const samba__gate_args *args)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), part = _mm256_set1_ps(-0.0625f);
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t i = args->begin; i < args->end; i += 8) {
            size_t n = samba__v8_left(i, args->end);
            __m256 a = samba__v8_load(args->a + r * args->lda + i, n);
            __m256 p = samba__v8_softplus(_mm256_xor_ps(a, sign));
            samba__v8_store(args->y + r * args->ldy + i, samba__v8_exp(_mm256_mul_ps(p, part)), n);
        }
}
