/* Reference kernels of gated linear attention and retention, and the elementwise gates. Lanes are
 * value channels: every element of S and of o is one chain in time and key order. */
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

/* One row, n value channels (16, or the last few) of the panel S [key_dim][16]. */
static void gla_row(const samba__gla_args *args, size_t t, size_t begin, size_t n, float *state)
{
    float o[16] = {0}, v[16] = {0};
    const float *q = args->q + t * args->ldqk, *k = args->k + t * args->ldqk;
    const float *decay = args->decay ? args->decay + t * args->ldd : NULL;
    memcpy(v, args->v + t * args->ldv + begin, n * sizeof *v);
    for (size_t i = 0; i < args->key_dim; i++, state += 16) {
        float d = decay ? decay[i] : args->constant;
        for (size_t l = 0; l < 16; l++) {
            state[l] = d * state[l] + k[i] * v[l];
            o[l] += q[i] * state[l];
        }
    }
    for (size_t l = 0; l < n; l++)
        args->o[t * args->ldo + begin + l] = o[l] * args->scale;
}

void samba__ref_gla(const samba__gla_args *args)
{
    for (size_t c = args->begin; c < args->end; c += 16) {
        size_t n = args->end - c < 16 ? args->end - c : 16;
        float *state = args->state_out + c * args->key_dim;
        size_t size = args->key_dim * 16 * sizeof *state;
        if (args->state_in)
            memcpy(state, args->state_in + c * args->key_dim, size);
        else
            memset(state, 0, size);
        for (size_t t = 0; t < args->n_rows; t++)
            gla_row(args, t, c, n, state);
    }
}

void samba__ref_silu_mul(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *a = args->a + r * args->lda, *b = args->b + r * args->ldb;
        float *y = args->y + r * args->ldy;
        for (size_t i = args->begin; i < args->end; i++)
            y[i] = samba__ref_silu(a[i]) * b[i];
    }
}

void samba__ref_gla_decay(const samba__gate_args *args)
{
    for (size_t r = 0; r < args->n_rows; r++) {
        const float *a = args->a + r * args->lda;
        float *y = args->y + r * args->ldy;
        for (size_t i = args->begin; i < args->end; i++)
            y[i] = samba__ref_exp(samba__ref_softplus(-a[i]) * -0.0625f);
    }
}
