/* Reference kernels of the Mamba mixer: depthwise causal convolution with silu, and the selective
 * scan. Lanes are channels; time runs in order, so the cut into calls cannot be seen. */
#include "cpu/ref/lanes.h"
#include "cpu/ref/ref.h"

/* Raw input at row t (before the call: from state_in), or NULL for zeros. */
static const float *conv_input(const samba__conv_args *args, size_t row, size_t tap)
{
    size_t at = row + tap, before = args->taps - 1; /* rows counted from state_in[0] */
    if (at >= before)
        return args->x + (at - before) * args->ldx;
    return args->state_in ? args->state_in + at * args->channels : NULL;
}

static void conv_row(const samba__conv_args *args, size_t row, size_t c)
{
    float acc[16];
    for (size_t l = 0; l < 16; l++)
        acc[l] = args->bias ? args->bias[c + l] : 0.0f;
    for (size_t j = 0; j < args->taps; j++) {
        const float *x = conv_input(args, row, j), *w = args->weight + j * args->channels + c;
        for (size_t l = 0; l < 16; l++)
            acc[l] += w[l] * (x ? x[c + l] : 0.0f);
    }
    float *y = args->y + row * args->ldy + c;
    for (size_t l = 0; l < 16; l++)
        y[l] = samba__ref_silu(acc[l]);
}

void samba__ref_conv(const samba__conv_args *args)
{
    for (size_t row = 0; row < args->n_rows; row++)
        for (size_t c = args->begin; c < args->end; c += 16)
            conv_row(args, row, c);
    for (size_t j = 0; j + 1 < args->taps; j++) {
        const float *x = conv_input(args, args->n_rows, j);
        float *to = args->state_out + j * args->channels;
        for (size_t c = args->begin; c < args->end; c++)
            to[c] = x ? x[c] : 0.0f;
    }
}

/* One row of 16 channels; h [n_state][16] is updated in place. */
static void scan_row(const samba__scan_args *args, size_t t, size_t e, float *h)
{
    float dt[16], dx[16], y[16] = {0};
    const float *x = args->x + t * args->ldx + e, *raw = args->dt + t * args->lddt + e;
    const float *z = args->z + t * args->ldz + e, *a = args->a + e * args->n_state;
    const float *b = args->b + t * args->ldbc, *c = args->c + t * args->ldbc;
    for (size_t l = 0; l < 16; l++) {
        dt[l] = samba__ref_softplus(raw[l] + args->dt_bias[e + l]);
        dx[l] = dt[l] * x[l];
    }
    for (size_t n = 0; n < args->n_state; n++, h += 16, a += 16)
        for (size_t l = 0; l < 16; l++) {
            h[l] = samba__ref_exp(dt[l] * a[l]) * h[l] + dx[l] * b[n];
            y[l] += h[l] * c[n];
        }
    for (size_t l = 0; l < 16; l++)
        y[l] += args->d[e + l] * x[l];
    if (args->memory)
        memcpy(args->memory + t * args->ldm + e, y, sizeof y);
    for (size_t l = 0; l < 16; l++)
        y[l] *= samba__ref_silu(z[l]);
    memcpy(args->y + t * args->ldy + e, y, sizeof y);
}

void samba__ref_scan(const samba__scan_args *args)
{
    for (size_t e = args->begin; e < args->end; e += 16) {
        float *h = args->state_out + e * args->n_state;
        size_t size = args->n_state * 16 * sizeof *h;
        if (args->state_in)
            memcpy(h, args->state_in + e * args->n_state, size);
        else
            memset(h, 0, size);
        for (size_t t = 0; t < args->n_rows; t++)
            scan_row(args, t, e, h);
    }
}
