/*
 * What has to be done, counted from the model's own description. Operations: 2 per weight that a
 * token is multiplied with (the head only where logits are asked for), and attention over the keys
 * that are visible. Bytes: tensors as a file holds them, slabs read and written, keys and values of
 * the window; sublayers that read another's keys read them again.
 */
#include "samba-lm-bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is(const samba_sublayer_info *s, const char *kind)
{
    return strcmp(s->kind, kind) == 0;
}

static int is_attention(const samba_sublayer_info *s)
{
    return is(s, "attention") || is(s, "diff_attention");
}

/* Figures are printed when the model may be gone. */
static const char *keep(char to[LM_BENCH_TEXT], const char *text)
{
    snprintf(to, LM_BENCH_TEXT, "%s", text ? text : "");
    return to;
}

int lm_bench_model_read(lm_bench_model *m, const samba_model *model, samba_dtype kv)
{
    samba_error *error = NULL;
    *m = (lm_bench_model){.info = {.struct_size = sizeof m->info}, .kv = kv};
    if (samba_model_get_info(model, &m->info, &error) != SAMBA_OK)
        return lm_report(error), 0;
    m->info.name = keep(m->texts[0], m->info.name);
    m->info.weight_types = keep(m->texts[1], m->info.weight_types);
    m->info.tier = keep(m->texts[2], m->info.tier);
    m->info.family = keep(m->texts[3], m->info.family);
    m->sublayers = lm_alloc(NULL, m->info.n_sublayers, sizeof *m->sublayers);
    for (uint32_t i = 0; i < m->info.n_sublayers; i++) {
        samba_sublayer_info *s = &m->sublayers[i];
        *s = (samba_sublayer_info){.struct_size = sizeof *s};
        if (samba_model_get_sublayer(model, i, s, &error) != SAMBA_OK)
            return lm_report(error), 0;
        if (s->slab_bytes || (is_attention(s) && !s->cross))
            m->narrow_at = i;
        if (is_attention(s) && !s->window)
            m->full_attention = 1;
        m->window = s->window > m->window ? s->window : m->window;
    }
    return 1;
}

/* Bytes of `n` elements of a type. */
static double bytes_of(samba_dtype dtype, double n)
{
    switch (dtype) {
    case SAMBA_DTYPE_F32:
        return 4 * n;
    case SAMBA_DTYPE_Q8_0:
        return n * 34 / 32;
    case SAMBA_DTYPE_Q4_0:
        return n * 18 / 32;
    case SAMBA_DTYPE_Q4_K:
        return n * 144 / 256;
    case SAMBA_DTYPE_Q6_K:
        return n * 210 / 256;
    default:
        return 2 * n;
    }
}

/* ---- operations */

/* Keys that tokens [before, before + n) see together. */
static double keys_seen(uint32_t window, uint64_t before, uint64_t n)
{
    double sum = 0, first = (double)before + 1, last = (double)(before + n);
    if (window && last > window) { /* those at and past the full window */
        double full = first > window ? (double)n : last - window;
        sum += full * window;
        last -= full;
    }
    return last >= first ? sum + (first + last) / 2 * (last - first + 1) : sum;
}

static double attention_ops(const samba_sublayer_info *s, double keys)
{
    double per_key = 4.0 * s->n_heads * s->head_dim; /* q.k, and p*v */
    if (is(s, "diff_attention"))
        per_key = 6.0 * s->n_heads * s->head_dim; /* values are two heads wide */
    return per_key * keys;
}

/* Of the narrowing sublayer's weights, the share that every token needs: what makes its state. */
static double state_share(const samba_sublayer_info *s, double d_model)
{
    double q = (double)s->n_heads * s->head_dim, kv = (double)s->n_kv_heads * s->head_dim;
    double e = s->d_inner, rest;
    if (is_attention(s))
        return 2 * kv / (2 * kv + 2 * q);
    if (!is(s, "mamba"))
        return 1;
    rest = 2 * d_model + s->dt_rank + 2.0 * s->d_state + s->dt_rank;
    return e * rest / (e * rest + d_model * e);
}

lm_bench_cost lm_bench_cost_prefill(const lm_bench_model *m, uint64_t before, uint64_t n)
{
    lm_bench_cost c = {{0}, 0, 0};
    double d = m->info.d_model;
    for (uint32_t i = 0; i < m->info.n_sublayers; i++) {
        const samba_sublayer_info *s = &m->sublayers[i];
        double tokens = i < m->narrow_at ? (double)n : 1;
        uint64_t queries = i < m->narrow_at ? n : 1;
        if (i == m->narrow_at)
            tokens = 1 + ((double)n - 1) * state_share(s, d);
        for (int t = 0; t < 8; t++)
            c.weights[t] += 2 * tokens * (double)s->matrix_elements[t];
        if (is_attention(s))
            c.attention += attention_ops(s, keys_seen(s->window, before + n - queries, queries));
        c.bytes += (double)s->file_bytes;
    }
    c.weights[m->info.head_dtype & 7] += 2 * d * m->info.n_vocab;
    return c;
}

/* ---- bytes */

static double slab_bytes(const samba_sublayer_info *s)
{
    if (is(s, "mamba")) /* without padding */
        return 4.0 * s->d_inner * ((double)s->d_state + s->d_conv - 1);
    return (double)s->slab_bytes;
}

lm_bench_cost lm_bench_cost_decode(const lm_bench_model *m, uint64_t before, uint64_t n)
{
    lm_bench_cost c = {{0}, 0, 0};
    double d = m->info.d_model, sessions = (double)n, state = 0;
    for (uint32_t i = 0; i < m->info.n_sublayers; i++) {
        const samba_sublayer_info *s = &m->sublayers[i];
        double keys = keys_seen(s->window, before, 1);
        double row = 2 * bytes_of(m->kv, (double)s->n_kv_heads * s->head_dim);
        for (int t = 0; t < 8; t++)
            c.weights[t] += 2 * sessions * (double)s->matrix_elements[t];
        c.bytes += (double)s->file_bytes;
        state += 2 * slab_bytes(s);
        if (is_attention(s)) {
            c.attention += sessions * attention_ops(s, keys);
            state += keys * row + (s->cross ? 0 : row);
        }
    }
    c.weights[m->info.head_dtype & 7] += 2 * sessions * d * m->info.n_vocab;
    c.bytes += sessions * state + bytes_of(m->info.head_dtype, d * m->info.n_vocab);
    return c;
}
