/* Reference rotary embedding. The table follows the official code step by step in f32, so that its
 * entries are the same bits; only rows in flight are ever computed. */
#include "base/fmath.h"
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

void samba__ref_rope_table(const samba__rope_table_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        float at = (float)(args->position + r) / args->condense;
        float *c = args->cos + r * args->ld, *s = args->sin + r * args->ld;
        for (size_t t = 0; t < args->half; t++) {
            float angle = at * args->theta[t];
            double sine, cosine;
            samba__sincos((double)angle, &sine, &cosine);
            c[t] = (float)cosine;
            s[t] = (float)sine;
            if (args->bf16) {
                c[t] = samba__bf16_to_f32(samba__f32_to_bf16(c[t]));
                s[t] = samba__bf16_to_f32(samba__f32_to_bf16(s[t]));
            }
        }
    }
}

void samba__ref_rope(const samba__rope_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *c = args->cos + r * args->ld, *s = args->sin + r * args->ld;
        for (size_t h = 0; h < args->n_heads; h++) {
            float *a = args->x + r * args->ldx + h * args->head_dim, *b = a + args->half;
            for (size_t t = 0; t < args->half; t++) {
                float at = a[t], bt = b[t];
                a[t] = at * c[t] - bt * s[t];
                b[t] = bt * c[t] + at * s[t];
            }
        }
    }
}
