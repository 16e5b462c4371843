/* Rotary embedding, 4 pairs at a time. The table of angles stays ref/'s: it is computed in double,
 * for the rows in flight only. */
#include "cpu/neon/math.h"
#include "cpu/neon/neon.h"

static void rotate(float *a, float *b, const float *c, const float *s, size_t half)
{
    size_t t = 0;
    for (; t + 4 <= half; t += 4) {
        float32x4_t at = vld1q_f32(a + t), bt = vld1q_f32(b + t);
        float32x4_t ct = vld1q_f32(c + t), st = vld1q_f32(s + t);
        vst1q_f32(a + t, vfmsq_f32(vmulq_f32(at, ct), bt, st));
        vst1q_f32(b + t, vfmaq_f32(vmulq_f32(bt, ct), at, st));
    }
    for (; t < half; t++) {
        float at = a[t], bt = b[t];
        a[t] = __builtin_fmaf(-bt, s[t], at * c[t]);
        b[t] = __builtin_fmaf(at, s[t], bt * c[t]);
    }
}

void samba__neon_rope(const samba__rope_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t h = 0; h < args->n_heads; h++) {
            float *a = args->x + r * args->ldx + h * args->head_dim;
            rotate(a, a + args->half, args->cos + r * args->ld, args->sin + r * args->ld,
                   args->half);
        }
}
