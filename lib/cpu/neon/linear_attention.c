/*
 * Gated linear attention and retention, the elementwise gates, and log-probabilities. Lanes are
 * value channels. Four keys' rows of the state stay in 16 registers while the rows of a block go
 * by; the outputs of the block wait in a small buffer for the next four keys. Every element of S
 * and of o is one chain, in order of time and of keys.
 */
#include "base/fmath.h"
#include "cpu/neon/math.h"
#include "cpu/neon/neon.h"

#include <string.h>

enum {
    KEYS = 4,
    ROWS = 64
};

/* Keys [key, key + n_k) over rows [row, row + n): state [key_dim][16], v and o [n][16]. */
static inline __attribute__((always_inline)) void keys_run(const samba__gla_args *a, size_t row,
                                                           size_t n, size_t key, size_t n_k,
                                                           float *state, float (*v)[16],
                                                           float (*o)[16])
{
    samba__v16 s[KEYS];
    for (size_t i = 0; i < n_k; i++)
        s[i] = samba__v16_load(state + (key + i) * 16);
    for (size_t t = 0; t < n; t++) {
        const float *q = a->q + (row + t) * a->ldqk + key, *k = a->k + (row + t) * a->ldqk + key;
        const float *d = a->decay ? a->decay + (row + t) * a->ldd + key : NULL;
        samba__v16 value = samba__v16_load(v[t]), out = samba__v16_load(o[t]);
        for (size_t i = 0; i < n_k; i++) {
            float decay = d ? d[i] : a->constant;
            for (size_t j = 0; j < 4; j++) {
                s[i].q[j] = vfmaq_n_f32(vmulq_n_f32(s[i].q[j], decay), value.q[j], k[i]);
                out.q[j] = vfmaq_n_f32(out.q[j], s[i].q[j], q[i]);
            }
        }
        samba__v16_store(o[t], out);
    }
    for (size_t i = 0; i < n_k; i++)
        samba__v16_store(state + (key + i) * 16, s[i]);
}

/* Rows [row, row + n) of 16 value channels, or the last few. */
static void rows_run(const samba__gla_args *a, size_t row, size_t n, size_t begin, float *state)
{
    float v[ROWS][16], o[ROWS][16];
    size_t left = a->end - begin, key = 0;
    for (size_t t = 0; t < n; t++) {
        samba__v16_store(v[t], samba__v16_load_left(a->v + (row + t) * a->ldv + begin, left));
        samba__v16_store(o[t], samba__v16_zero());
    }
    for (; key + KEYS <= a->key_dim; key += KEYS)
        keys_run(a, row, n, key, KEYS, state, v, o);
    for (; key < a->key_dim; key++)
        keys_run(a, row, n, key, 1, state, v, o);
    for (size_t t = 0; t < n; t++) {
        samba__v16 out = samba__v16_load(o[t]);
        for (size_t j = 0; j < 4; j++)
            out.q[j] = vmulq_n_f32(out.q[j], a->scale);
        samba__v16_store_left(a->o + (row + t) * a->ldo + begin, out, left);
    }
}

void samba__neon_gla(const samba__gla_args *args)
{
    for (size_t c = args->begin; c < args->end; c += 16) {
        float *state = args->state_out + c * args->key_dim;
        size_t size = args->key_dim * 16 * sizeof *state;
        if (args->state_in)
            memcpy(state, args->state_in + c * args->key_dim, size);
        else
            memset(state, 0, size);
        for (size_t row = 0; row < args->n_rows; row += ROWS)
            rows_run(args, row, args->n_rows - row < ROWS ? args->n_rows - row : ROWS, c, state);
    }
}

void samba__neon_silu_mul(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *a = args->a + r * args->lda, *b = args->b + r * args->ldb;
        float *y = args->y + r * args->ldy;
        for (size_t i = args->begin; i < args->end; i += 16) {
            size_t left = args->end - i;
            samba__v16 x = samba__v16_load_left(a + i, left), w = samba__v16_load_left(b + i, left);
            for (size_t k = 0; k < 4; k++)
                x.q[k] = vmulq_f32(samba__silu_4(x.q[k]), w.q[k]);
            samba__v16_store_left(y + i, x, left);
        }
    }
}

void samba__neon_gla_decay(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *a = args->a + r * args->lda;
        float *y = args->y + r * args->ldy;
        for (size_t i = args->begin; i < args->end; i += 16) {
            size_t left = args->end - i;
            samba__v16 x = samba__v16_load_left(a + i, left);
            for (size_t k = 0; k < 4; k++)
                x.q[k] = samba__exp_4(vmulq_n_f32(samba__softplus_4(vnegq_f32(x.q[k])), -0.0625f));
            samba__v16_store_left(y + i, x, left);
        }
    }
}

/* ---------------------------------------------------------------- log-probability */

/* 4,096 exponentials in 16 f32 lanes, those sums added up in f64. */
static double sum_of_exp(const float *x, size_t n, float max)
{
    double total = 0.0;
    for (size_t begin = 0; begin < n; begin += 4096) {
        size_t end = n - begin < 4096 ? n : begin + 4096;
        samba__v16 lanes = samba__v16_zero();
        for (size_t i = begin; i < end; i += 16) {
            samba__v16 v = samba__v16_load_left(x + i, end - i);
            for (size_t k = 0; k < 4; k++)
                v.q[k] = samba__exp_4(vsubq_f32(v.q[k], vdupq_n_f32(max)));
            if (end - i < 16) { /* the rest of the lanes held 0, not a logit */
                float part[16];
                samba__v16_store(part, v);
                v = samba__v16_load_part(part, end - i);
            }
            for (size_t k = 0; k < 4; k++)
                lanes.q[k] = vaddq_f32(lanes.q[k], v.q[k]);
        }
        total += (double)samba__v16_tree(lanes);
    }
    return total;
}

static float max_of(const float *x, size_t n)
{
    float32x4_t top = vdupq_n_f32(x[0]);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        top = vmaxq_f32(top, vld1q_f32(x + i));
    float max = vmaxvq_f32(top);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

void samba__neon_log_probs(const float *logits, size_t n, const int32_t *targets, size_t n_targets,
                           float *logprobs)
{
    float max = max_of(logits, n);
    double log_sum = samba__log(sum_of_exp(logits, n, max));
    for (size_t i = 0; i < n_targets; i++)
        logprobs[i] = (float)((double)logits[targets[i]] - (double)max - log_sum);
}
