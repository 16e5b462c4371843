/*
 * Gated linear attention and retention. Lanes are 16 value channels. A tile of S, some keys by one
 * or two groups of channels, stays in registers while the rows of a chunk pass; the sums over keys
 * wait in o between one tile and the next, so that every element of S and of o is one chain, in
 * order of time and of key, whatever the tile. Two groups share the broadcasts and have two chains
 * of o, which hides their latency. Chunks keep the q, k and decay of their rows in the second cache
 * for all channels of the head.
 */
#include "cpu/avx512/avx512.h"
#include "cpu/avx512/math.h"
#include "cpu/avx512/sums.h"

enum {
    TILE = 16, /* registers of S */
    GROUPS = 2,
    CHUNK = 64 /* rows */
};

/* The rows and value channels at hand. */
typedef struct part {
    const samba__gla_args *args;
    size_t row, end;
    size_t value; /* first channel */
    __mmask16 mask[GROUPS];
    const float *state_in; /* [groups][key_dim][16], or NULL */
    float *state_out;
} part;

SAMBA__INLINE void load_tile(const part *p, size_t key, size_t n, size_t groups,
                             __m512 s[GROUPS][TILE])
{
    for (size_t g = 0; g < groups; g++)
        for (size_t i = 0; i < n; i++) {
            size_t at = 16 * (g * p->args->key_dim + key + i);
            s[g][i] = p->state_in ? _mm512_loadu_ps(p->state_in + at) : _mm512_setzero_ps();
        }
}

SAMBA__INLINE void store_tile(const part *p, size_t key, size_t n, size_t groups,
                              __m512 s[GROUPS][TILE])
{
    for (size_t g = 0; g < groups; g++)
        for (size_t i = 0; i < n; i++)
            _mm512_storeu_ps(p->state_out + 16 * (g * p->args->key_dim + key + i), s[g][i]);
}

/* One row over keys [key, key + n). The first keys begin o at 0, the last scale it. */
SAMBA__INLINE void pass_row(const part *p, size_t t, size_t key, size_t n, size_t groups,
                            bool gated, __m512 s[GROUPS][TILE])
{
    const samba__gla_args *a = p->args;
    const float *q = a->q + t * a->ldqk + key, *k = a->k + t * a->ldqk + key;
    const float *decay = gated ? a->decay + t * a->ldd + key : NULL;
    const float *value = a->v + t * a->ldv + p->value;
    float *to = a->o + t * a->ldo + p->value;
    __m512 v[GROUPS], o[GROUPS];
    for (size_t g = 0; g < groups; g++) {
        v[g] = _mm512_maskz_loadu_ps(p->mask[g], value + 16 * g);
        o[g] = _mm512_setzero_ps();
        if (key > 0)
            o[g] = _mm512_maskz_loadu_ps(p->mask[g], to + 16 * g);
    }
    for (size_t i = 0; i < n; i++) {
        __m512 d = _mm512_set1_ps(gated ? decay[i] : a->constant);
        __m512 ki = _mm512_set1_ps(k[i]), qi = _mm512_set1_ps(q[i]);
        for (size_t g = 0; g < groups; g++) {
            s[g][i] = _mm512_fmadd_ps(d, s[g][i], _mm512_mul_ps(ki, v[g]));
            o[g] = _mm512_fmadd_ps(qi, s[g][i], o[g]);
        }
    }
    for (size_t g = 0; g < groups; g++) {
        if (key + n == a->key_dim)
            o[g] = _mm512_mul_ps(o[g], _mm512_set1_ps(a->scale));
        _mm512_mask_storeu_ps(to + 16 * g, p->mask[g], o[g]);
    }
}

SAMBA__INLINE void pass_keys(const part *p, size_t key, size_t n, size_t groups, bool gated)
{
    __m512 s[GROUPS][TILE];
    load_tile(p, key, n, groups, s);
    for (size_t t = p->row; t < p->end; t++)
        pass_row(p, t, key, n, groups, gated, s);
    store_tile(p, key, n, groups, s);
}

/* All keys of `groups` groups of channels. */
SAMBA__INLINE void pass_groups(const part *p, size_t groups, bool gated)
{
    size_t key = 0, n = p->args->key_dim;
    for (; key + TILE / groups <= n; key += TILE / groups)
        pass_keys(p, key, TILE / groups, groups, gated);
    for (; key + 4 <= n; key += 4)
        pass_keys(p, key, 4, groups, gated);
    for (; key < n; key++)
        pass_keys(p, key, 1, groups, gated);
}

/* All channels over the rows of one chunk. */
SAMBA__INLINE void pass_chunk(part *p, bool gated)
{
    const samba__gla_args *a = p->args;
    const float *in = p->row > 0 ? a->state_out : a->state_in;
    for (size_t groups, value = a->begin; value < a->end; value += 16 * groups) {
        groups = a->end - value > 16 ? 2 : 1;
        p->value = value;
        for (size_t g = 0; g < groups; g++)
            p->mask[g] = samba__mask_of(value + 16 * g, a->end);
        p->state_in = in ? in + value * a->key_dim : NULL;
        p->state_out = a->state_out + value * a->key_dim;
        if (groups == 2)
            pass_groups(p, 2, gated);
        else
            pass_groups(p, 1, gated);
    }
}

void samba__avx512_gla(const samba__gla_args *args)
{
    part p = {.args = args};
    for (; p.row < args->n_rows; p.row = p.end) {
        p.end = args->n_rows - p.row < CHUNK ? args->n_rows : p.row + CHUNK;
        if (args->decay)
            pass_chunk(&p, true);
        else
            pass_chunk(&p, false);
    }
}

void samba__avx512_gla_decay(const samba__gate_args *args)
{
    const __m512 minus_16th = _mm512_set1_ps(-0.0625f), zero = _mm512_setzero_ps();
    for (size_t r = 0; r < args->n_rows; r++)
        for (size_t i = args->begin; i < args->end; i += 16) {
            __mmask16 m = samba__mask_of(i, args->end);
            __m512 a = _mm512_maskz_loadu_ps(m, args->a + r * args->lda + i);
            __m512 s = samba__softplus_512(_mm512_sub_ps(zero, a));
            _mm512_mask_storeu_ps(args->y + r * args->ldy + i, m,
                                  samba__exp_512(_mm512_mul_ps(s, minus_16th)));
        }
}
