/*
 * Every mixer of the family for one row, written down from the formulas. What other rows may see
 * later (conv inputs, scan state, keys and values) is rounded to its stored type before it is used,
 * so that the split of rows over passes cannot matter.
 */
#include "fake_internal.h"

#include <math.h>
#include <string.h>

/* W x + b for two roles of the sublayer's weights. */
static void project(const fake_mix *m, int weight, int bias, uint64_t rows, uint64_t cols,
                    const double *x, double *y)
{
    fake_linear(m->w->tensors[weight], bias < 0 ? NULL : m->w->tensors[bias], rows, cols, x, y);
}

/* Depthwise conv of one new input per channel, then silu; taps [n][k-1], oldest first. */
static void short_conv(uint64_t n, uint32_t k, const float *w, const float *b, float *taps,
                       const double *x, double *y)
{
    for (uint64_t e = 0; e < n; e++) {
        float *t = taps + e * (k - 1), newest = (float)x[e];
        double sum = b ? (double)b[e] : 0.0;
        for (uint32_t j = 0; j + 1 < k; j++)
            sum += (double)w[e * k + j] * (double)t[j];
        sum += (double)w[e * k + k - 1] * (double)newest;
        y[e] = fake_silu(sum);
        for (uint32_t j = 0; j + 2 < k; j++)
            t[j] = t[j + 1];
        if (k > 1)
            t[k - 2] = newest;
    }
}

static void mamba(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint64_t e_n = s->d_inner, n = s->d_state, r = s->dt_rank;
    double *xz = m->scratch, *u = xz + 2 * e_n, *dbc = u + e_n, *dt = dbc + r + 2 * n,
           *y = dt + e_n;
    float *ssm = m->state + e_n * (s->d_conv - 1);
    const float *a = m->w->tensors[SAMBA_W_A], *d = m->w->tensors[SAMBA_W_D];

    project(m, SAMBA_W_IN, SAMBA_W_IN_BIAS, 2 * e_n, s->d_model, m->in, xz);
    short_conv(e_n, s->d_conv, m->w->tensors[SAMBA_W_CONV], m->w->tensors[SAMBA_W_CONV_BIAS],
               m->state, xz, u);
    project(m, SAMBA_W_X_PROJ, -1, r + 2 * n, e_n, u, dbc);
    project(m, SAMBA_W_DT_PROJ, SAMBA_W_DT_BIAS, e_n, r, dbc, dt);
    for (uint64_t e = 0; e < e_n; e++) {
        double step = fake_softplus(dt[e]), sum = 0;
        for (uint64_t i = 0; i < n; i++) {
            float *h = &ssm[e * n + i];
            *h = (float)(exp(step * (double)a[e * n + i]) * (double)*h + step * dbc[r + i] * u[e]);
            sum += (double)*h * dbc[r + n + i];
        }
        y[e] = sum + (d ? (double)d[e] * u[e] : 0.0);
        if (m->memory)
            m->memory[e] = y[e];
        y[e] *= fake_silu(xz[e_n + e]);
    }
    project(m, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, s->d_model, e_n, y, m->out);
}

static void gmu(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    double *g = m->scratch;
    project(m, SAMBA_W_IN, -1, s->d_inner, s->d_model, m->in, g);
    for (uint64_t e = 0; e < s->d_inner; e++)
        g[e] = fake_silu(g[e]) * m->memory[e];
    project(m, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, s->d_model, s->d_inner, g, m->out);
}

static void swiglu(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    double *g = m->scratch, *u = g + s->d_inner;
    project(m, SAMBA_W_GATE, SAMBA_W_GATE_BIAS, s->d_inner, s->d_model, m->in, g);
    project(m, SAMBA_W_UP, SAMBA_W_UP_BIAS, s->d_inner, s->d_model, m->in, u);
    for (uint64_t i = 0; i < s->d_inner; i++)
        g[i] = fake_silu(g[i]) * u[i];
    project(m, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, s->d_model, s->d_inner, g, m->out);
}

/* ---------------------------------------------------------------- attention */

/* The stored row of a position: k [G][c], then v [G][c]. Its page is open. */
static uint8_t *kv_row(const fake_mix *m, uint64_t position)
{
    uint64_t number = position / FAKE_PAGE_POSITIONS;
    if (!m->pages || number < m->pages->first || number - m->pages->first >= m->pages->n_pages) {
        fake_violation("kind %d: position %llu is on none of the %u pages from %llu", m->w->kind,
                       (unsigned long long)position, m->pages ? m->pages->n_pages : 0,
                       m->pages ? (unsigned long long)m->pages->first : 0);
        return NULL;
    }
    fake_page *page = fake_find_page(m->pass->device, m->pages->pages[number - m->pages->first]);
    uint64_t row_bytes =
        2 * m->w->desc.n_kv_heads * fake_dtype_bytes(m->seq->kv_dtype, m->w->desc.head_dim);
    if (!page || page->dtype != m->seq->kv_dtype || page->row_bytes != row_bytes) {
        fake_violation("kind %d: a page of another dtype or shape", m->w->kind);
        return NULL;
    }
    return (uint8_t *)page->region.base + position % FAKE_PAGE_POSITIONS * page->row_bytes;
}

/* Head g of k (part 0) or v (part 1) of a stored row. */
static void kv_head(const fake_mix *m, const uint8_t *row, uint32_t part, uint32_t g, float *to)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint64_t head_bytes = fake_dtype_bytes(m->seq->kv_dtype, s->head_dim);
    fake_decode(m->seq->kv_dtype, row + (part * s->n_kv_heads + g) * head_bytes, s->head_dim, to);
}

static double score(const fake_mix *m, uint64_t j, uint32_t g, const double *q, float *head)
{
    const uint8_t *row = kv_row(m, j);
    if (!row)
        return 0;
    kv_head(m, row, 0, g, head);
    double sum = 0;
    for (uint32_t i = 0; i < m->w->desc.head_dim; i++)
        sum += q[i] * (double)head[i];
    return sum / sqrt((double)m->w->desc.head_dim);
}

/* softmax(q K[g]^T) over the visible positions, times the v heads v0 .. v0+n_v-1 side by side. */
typedef struct attend_args {
    const double *q;
    uint32_t g, v0, n_v;
    double *out; /* [n_v][c] */
} attend_args;

static void attend(const fake_mix *m, const attend_args *a)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint32_t c = s->head_dim;
    uint64_t first = s->window && m->position + 1 > s->window ? m->position + 1 - s->window : 0;
    uint64_t oldest = m->pages ? m->pages->first * FAKE_PAGE_POSITIONS + m->pages->n_before : 0;
    first = first > oldest ? first : oldest;
    float *head = (float *)(m->scratch + fake_mixer_scratch(s) - c);
    double top = -INFINITY, total = 0;
    for (uint64_t j = first; j <= m->position; j++)
        top = fmax(top, score(m, j, a->g, a->q, head));
    memset(a->out, 0, sizeof(double) * a->n_v * c);
    for (uint64_t j = first; j <= m->position; j++) {
        double p = exp(score(m, j, a->g, a->q, head) - top);
        const uint8_t *row = kv_row(m, j);
        total += p;
        for (uint32_t v = 0; row && v < a->n_v; v++) {
            kv_head(m, row, 1, a->v0 + v, head);
            for (uint32_t i = 0; i < c; i++)
                a->out[v * c + i] += p * (double)head[i];
        }
    }
    for (uint32_t i = 0; i < a->n_v * c; i++)
        a->out[i] /= total;
}

/* q into m->scratch; k and v, rounded, into the page. */
static void attention_inputs(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint64_t h = (uint64_t)s->n_heads * s->head_dim, g = (uint64_t)s->n_kv_heads * s->head_dim;
    double *q = m->scratch, *k = q + h, *v = k + g;
    const int weights[3] = {SAMBA_W_Q, SAMBA_W_K, SAMBA_W_V};
    const int biases[3] = {SAMBA_W_Q_BIAS, SAMBA_W_K_BIAS, SAMBA_W_V_BIAS};
    const int convs[3] = {SAMBA_W_Q_CONV, SAMBA_W_K_CONV, SAMBA_W_V_CONV};
    double *to[3] = {q, k, v};
    bool own = !(s->flags & SAMBA_SUBLAYER_CROSS);
    float *taps = m->state;
    for (int i = 0; i < (own ? 3 : 1); i++) {
        uint64_t n = i == 0 ? h : g;
        project(m, weights[i], biases[i], n, s->d_model, m->in, to[i]);
        if (s->d_conv) {
            short_conv(n, s->d_conv, m->w->tensors[convs[i]], NULL, taps, to[i], to[i]);
            taps += n * (s->d_conv - 1);
        }
    }
    fake_rope(s, m->position, s->n_heads, s->head_dim, q);
    if (!own)
        return;
    fake_rope(s, m->position, s->n_kv_heads, s->head_dim, k);
    uint8_t *row = kv_row(m, m->position);
    if (!row)
        return;
    uint64_t bytes = fake_dtype_bytes(m->seq->kv_dtype, s->head_dim) * s->n_kv_heads;
    fake_encode(m->seq->kv_dtype, k, g, row);
    fake_encode(m->seq->kv_dtype, v, g, row + bytes);
}

static void attention(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint64_t h_n = (uint64_t)s->n_heads * s->head_dim;
    double *q = m->scratch, *o = q + h_n + 2 * (uint64_t)s->n_kv_heads * s->head_dim;
    attention_inputs(m);
    for (uint32_t h = 0; h < s->n_heads; h++) {
        uint32_t g = h / (s->n_heads / s->n_kv_heads);
        attend(m, &(attend_args){q + (uint64_t)h * s->head_dim, g, g, 1,
                                 o + (uint64_t)h * s->head_dim});
    }
    project(m, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, s->d_model, h_n, o, m->out);
}

static void diff_attention(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint64_t c = s->head_dim, h_n = s->n_heads * c;
    double *q = m->scratch, *o = q + h_n + 2 * s->n_kv_heads * c, *second = o + h_n;
    attention_inputs(m);
    for (uint32_t p = 0; p < s->n_heads / 2; p++) {
        uint32_t g = 2 * (p / (s->n_heads / s->n_kv_heads)); /* even kv head of the pair */
        double *first = o + 2 * p * c;
        attend(m, &(attend_args){q + 2 * p * c, g, g, 2, first});
        attend(m, &(attend_args){q + (2 * p + 1) * c, g + 1, g, 2, second});
        for (uint64_t i = 0; i < 2 * c; i++)
            first[i] -= (double)s->lambda * second[i];
        fake_norm(SAMBA_NORM_RMS, s->subnorm_eps, m->w->tensors[SAMBA_W_SUBNORM], NULL, 2 * c,
                  first, second);
        for (uint64_t i = 0; i < 2 * c; i++)
            first[i] = second[i] * (1.0 - (double)s->lambda_init);
    }
    project(m, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, s->d_model, h_n, o, m->out);
}

/* ---------------------------------------------------------------- GLA and retention */

static double decay(const fake_mix *m, uint32_t head, double gate)
{
    if (m->w->kind == SAMBA_SUBLAYER_GLA)
        return exp(-fake_softplus(-gate) / 16.0);
    return 1.0 - exp2(-5.0 - (double)head);
}

static void linear_attention(const fake_mix *m)
{
    const samba_backend_sublayer *s = &m->w->desc;
    uint64_t k_n = s->key_dim, v_n = s->value_dim, hk = s->n_heads * k_n, hv = s->n_heads * v_n;
    double *q = m->scratch, *k = q + hk, *v = k + hk, *z = v + hv, *o = z + hv, *low = o + hv;
    double *gate = low + s->gate_rank, *normed = gate + hk;
    project(m, SAMBA_W_Q, -1, hk, s->d_model, m->in, q);
    project(m, SAMBA_W_K, -1, hk, s->d_model, m->in, k);
    project(m, SAMBA_W_V, -1, hv, s->d_model, m->in, v);
    project(m, SAMBA_W_GATE, -1, hv, s->d_model, m->in, z);
    memset(gate, 0, sizeof(double) * hk);
    if (s->kind == SAMBA_SUBLAYER_GLA) {
        project(m, SAMBA_W_GK_A, -1, s->gate_rank, s->d_model, m->in, low);
        project(m, SAMBA_W_GK_B, SAMBA_W_GK_BIAS, hk, s->gate_rank, low, gate);
    }
    fake_rope(s, m->position, s->n_heads, k_n, q);
    fake_rope(s, m->position, s->n_heads, k_n, k);
    memset(o, 0, sizeof(double) * hv);
    for (uint32_t h = 0; h < s->n_heads; h++) {
        for (uint64_t i = 0; i < k_n; i++) {
            double alpha = decay(m, h, gate[h * k_n + i]);
            float *row = m->state + (h * k_n + i) * v_n;
            for (uint64_t j = 0; j < v_n; j++) {
                row[j] = (float)(alpha * (double)row[j] + k[h * k_n + i] * v[h * v_n + j]);
                o[h * v_n + j] += q[h * k_n + i] / sqrt((double)k_n) * (double)row[j];
            }
        }
        fake_norm(SAMBA_NORM_RMS, s->subnorm_eps, m->w->tensors[SAMBA_W_SUBNORM], NULL, v_n,
                  o + h * v_n, normed);
        for (uint64_t j = 0; j < v_n; j++)
            o[h * v_n + j] = normed[j] * fake_silu(z[h * v_n + j]);
    }
    project(m, SAMBA_W_OUT, SAMBA_W_OUT_BIAS, s->d_model, hv, o, m->out);
}

void fake_mixer(const fake_mix *m)
{
    switch (m->w->kind) {
    case SAMBA_SUBLAYER_MAMBA:
        mamba(m);
        break;
    case SAMBA_SUBLAYER_ATTENTION:
        attention(m);
        break;
    case SAMBA_SUBLAYER_DIFF_ATTENTION:
        diff_attention(m);
        break;
    case SAMBA_SUBLAYER_GMU:
        gmu(m);
        break;
    case SAMBA_SUBLAYER_SWIGLU:
        swiglu(m);
        break;
    default:
        linear_attention(m);
        break;
    }
}

/* One bound for all kinds: every width a mixer above uses, generously. */
uint64_t fake_mixer_scratch(const samba_backend_sublayer *s)
{
    uint64_t heads = (uint64_t)s->n_heads + s->n_kv_heads;
    return 6 * (uint64_t)s->d_inner + s->dt_rank + 2 * (uint64_t)s->d_state +
           5 * heads * s->head_dim + 4 * (uint64_t)s->head_dim +
           5 * (uint64_t)s->n_heads * ((uint64_t)s->key_dim + s->value_dim) + s->gate_rank + 64;
}
