/*
 * SambaY / Phi-4-mini-flash: n layers, the first half Mamba and windowed differential attention;
 * layer n/2 publishes its scan output, layer n/2+1 its keys and values, which the second half's
 * gated memory units and cross attention read. No positional encoding. What a layer is follows from
 * its number.
 */
#include "base/fmath.h"
#include "model/config.h"

#include <string.h>

typedef struct phi_config {
    uint32_t n_layer, n_heads, n_kv_heads, d_inner, d_state, d_conv, dt_rank, d_mlp;
    bool conv_bias, proj_bias, mlp_bias, tied;
    const samba__json *sliding_window;
    int32_t shared_slot; /* page slot of layer n/2+1 */
} phi_config;

static samba_status read_config(const samba__config *c, phi_config *f, samba_error **error)
{
    static const char *const acts[] = {"silu", "swish", NULL};
    samba__plan *p = c->build->plan;
    uint32_t expand, every;
    double eps;
    SAMBA__TRY(samba__config_size(c, "hidden_size", &p->d_model, error));
    SAMBA__TRY(samba__config_size(c, "num_hidden_layers", &f->n_layer, error));
    SAMBA__TRY(samba__config_size(c, "num_attention_heads", &f->n_heads, error));
    SAMBA__TRY(samba__config_size_or(c, "num_key_value_heads", f->n_heads, &f->n_kv_heads, error));
    SAMBA__TRY(samba__config_size(c, "intermediate_size", &f->d_mlp, error));
    SAMBA__TRY(samba__config_size(c, "vocab_size", &p->n_vocab, error));
    SAMBA__TRY(samba__config_size_or(c, "mamba_d_state", 0, &f->d_state, error));
    SAMBA__TRY(samba__config_size_or(c, "mamba_d_conv", 0, &f->d_conv, error));
    SAMBA__TRY(samba__config_size_or(c, "mamba_expand", 2, &expand, error));
    SAMBA__TRY(samba__config_rank(c, "mamba_dt_rank", p->d_model, &f->dt_rank, error));
    SAMBA__TRY(samba__config_size_or(c, "mb_per_layer", 2, &every, error));
    SAMBA__TRY(samba__config_size_or(c, "max_position_embeddings", 0, &p->context_length, error));
    SAMBA__TRY(samba__config_bool_or(c, "mamba_conv_bias", true, &f->conv_bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "mamba_proj_bias", false, &f->proj_bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "mlp_bias", false, &f->mlp_bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "tie_word_embeddings", true, &f->tied, error));
    SAMBA__TRY(samba__config_float_or(c, "layer_norm_eps", 1e-5, &eps, error));
    SAMBA__TRY(samba__config_refuse(c, "lm_head_bias", error));
    SAMBA__TRY(samba__config_one_of(c, "hidden_act", acts, error));
    if (f->n_layer % 4 || every != 2)
        return samba__build_fail(c->build, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: num_hidden_layers %u with mb_per_layer %u, a "
                                 "multiple of 4 with 2 is needed",
                                 f->n_layer, every);
    if (p->d_model % f->n_heads)
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: hidden_size %u is no multiple of "
                                 "num_attention_heads %u",
                                 p->d_model, f->n_heads);
    uint64_t inner = (uint64_t)p->d_model * expand;
    f->d_inner = inner < UINT32_MAX ? (uint32_t)inner : UINT32_MAX;
    f->sliding_window = samba__json_get(c->root, "sliding_window");
    p->final_norm_kind = SAMBA_NORM_LAYER;
    p->final_norm_eps = (float)eps;
    return SAMBA_OK;
}

/* One number for all windowed layers, or a list with one entry per layer; null: no window. */
static samba_status window_of(const samba__build *b, const phi_config *f, uint32_t layer,
                              uint32_t *window, samba_error **error)
{
    const samba__json *v = f->sliding_window;
    int64_t value;
    if (samba__json_is_array(v)) {
        if (samba__json_size(v) != f->n_layer)
            return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                                     "config.json: sliding_window has %zu entries, there are %u "
                                     "layers",
                                     samba__json_size(v), f->n_layer);
        v = samba__json_at(v, layer);
    }
    *window = 0;
    if (samba__json_is_null(v))
        return SAMBA_OK;
    if (!samba__json_int(v, &value) || value < 1 || value > UINT32_MAX)
        return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: sliding_window of layer %u is not a window", layer);
    *window = (uint32_t)value;
    return SAMBA_OK;
}

/* exp(q . k) of two short vectors, in double. */
static samba_status exp_dot(samba__build *b, const char *q_name, const char *k_name, uint32_t n,
                            double *out, samba_error **error)
{
    samba__scratch scratch = {.alloc = b->alloc};
    samba__weight q, k;
    samba_status status;
    double sum = 0;
    SAMBA__TRY(samba__build_vector(b, q_name, n, &q, error));
    SAMBA__TRY(samba__build_vector(b, k_name, n, &k, error));
    float *v = samba__alloc_array(b->alloc, 2 * (size_t)n, sizeof *v);
    if (!v)
        return samba__fail_oom(error);
    SAMBA__TRY_GOTO(samba__weight_read(b->checkpoint, &q, SAMBA_DTYPE_F32, v, &scratch, error));
    SAMBA__TRY_GOTO(samba__weight_read(b->checkpoint, &k, SAMBA_DTYPE_F32, v + n, &scratch, error));
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[n + i];
    *out = samba__exp(sum);
fail:
    samba__scratch_free(&scratch);
    samba__free(b->alloc, v);
    return status;
}

/* lambda = exp(q1.k1) - exp(q2.k2) + lambda_init, lambda_init = 0.8 - 0.6 exp(-0.3 layer). */
static samba_status read_lambda(samba__build *b, samba_backend_sublayer *d, uint32_t layer,
                                samba_error **error)
{
    double first, second, init = 0.8 - 0.6 * samba__exp(-0.3 * (double)layer);
    SAMBA__TRY(exp_dot(b, "attn.inner_cross_attn.lambda_q1", "attn.inner_cross_attn.lambda_k1",
                       d->head_dim, &first, error));
    SAMBA__TRY(exp_dot(b, "attn.inner_cross_attn.lambda_q2", "attn.inner_cross_attn.lambda_k2",
                       d->head_dim, &second, error));
    d->lambda = (float)(first - second + init);
    d->lambda_init = (float)init;
    d->subnorm_eps = 1e-5f;
    return SAMBA_OK;
}

/* Rows of Wqkv: all queries, all keys, all values; queries only in cross layers. */
static samba_status take_qkv(samba__build *b, samba__plan_sublayer *s, bool cross,
                             samba_error **error)
{
    uint64_t nq = (uint64_t)s->desc.n_heads * s->desc.head_dim;
    uint64_t nk = (uint64_t)s->desc.n_kv_heads * s->desc.head_dim;
    uint64_t total = cross ? nq : nq + 2 * nk;
    const samba__rows q = {0, nq, nq, 1, total};
    const samba__rows k = {nq, nk, nk, 1, total};
    const samba__rows v = {nq + nk, nk, nk, 1, total};
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_Q, "attn.Wqkv.weight", &q, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_Q_BIAS, "attn.Wqkv.bias", &q, error));
    if (cross)
        return SAMBA_OK;
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_K, "attn.Wqkv.weight", &k, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_K_BIAS, "attn.Wqkv.bias", &k, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_V, "attn.Wqkv.weight", &v, error));
    return samba__build_take_rows(b, s, SAMBA_W_V_BIAS, "attn.Wqkv.bias", &v, error);
}

static samba_status add_attention(samba__build *b, phi_config *f, uint32_t i, samba_error **error)
{
    uint32_t half = f->n_layer / 2;
    bool cross = i >= half + 2;
    samba__plan_sublayer *s;
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_DIFF_ATTENTION, i, &s, error));
    s->desc.n_heads = f->n_heads;
    s->desc.n_kv_heads = f->n_kv_heads;
    s->desc.head_dim = b->plan->d_model / f->n_heads;
    if (i < half)
        SAMBA__TRY(window_of(b, f, i, &s->desc.window, error));
    if (cross) {
        s->desc.flags = SAMBA_SUBLAYER_CROSS;
        s->page_slot = f->shared_slot;
    }
    SAMBA__TRY(read_lambda(b, &s->desc, i, error));
    SAMBA__TRY(samba__build_shape(b, s, error));
    if (i == half + 1)
        f->shared_slot = s->page_slot;
    SAMBA__TRY(take_qkv(b, s, cross, error));
    SAMBA__TRY(
        samba__build_take(b, s, SAMBA_W_SUBNORM, "attn.inner_cross_attn.subln.weight", error));
    SAMBA__TRY(samba__build_take_pair(b, s, SAMBA_W_OUT, "attn.out_proj", true, error));
    return samba__build_take_norm(b, s, "input_layernorm", error);
}

static samba_status add_memory(samba__build *b, const phi_config *f, uint32_t i,
                               samba_error **error)
{
    const samba__mamba_parts parts = {.name = "attn.",
                                      .in_bias = f->proj_bias,
                                      .conv_bias = f->conv_bias,
                                      .out_bias = f->proj_bias};
    bool gmu = i >= f->n_layer / 2 + 2;
    samba__plan_sublayer *s;
    SAMBA__TRY(
        samba__build_sublayer(b, gmu ? SAMBA_SUBLAYER_GMU : SAMBA_SUBLAYER_MAMBA, i, &s, error));
    s->desc.d_inner = f->d_inner;
    if (gmu) {
        SAMBA__TRY(samba__build_shape(b, s, error));
        SAMBA__TRY(samba__build_take(b, s, SAMBA_W_IN, "attn.in_proj.weight", error));
        SAMBA__TRY(samba__build_take(b, s, SAMBA_W_OUT, "attn.out_proj.weight", error));
    } else {
        s->desc.d_state = f->d_state;
        s->desc.d_conv = f->d_conv;
        s->desc.dt_rank = f->dt_rank;
        s->desc.flags = i == f->n_layer / 2 ? SAMBA_SUBLAYER_PUBLISH_MEMORY : 0;
        SAMBA__TRY(samba__build_mamba(b, s, &parts, error));
    }
    return samba__build_take_norm(b, s, "input_layernorm", error);
}

/* fc1 holds the gate's rows, then the up projection's. */
static samba_status add_mlp(samba__build *b, const phi_config *f, uint32_t i, samba_error **error)
{
    const samba__rows gate = {0, f->d_mlp, f->d_mlp, 1, 2 * (uint64_t)f->d_mlp};
    const samba__rows up = {f->d_mlp, f->d_mlp, f->d_mlp, 1, 2 * (uint64_t)f->d_mlp};
    samba__plan_sublayer *s;
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_SWIGLU, i, &s, error));
    s->desc.d_inner = f->d_mlp;
    SAMBA__TRY(samba__build_shape(b, s, error));
    SAMBA__TRY(samba__build_take_norm(b, s, "post_attention_layernorm", error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_GATE, "mlp.fc1.weight", &gate, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_UP, "mlp.fc1.weight", &up, error));
    if (f->mlp_bias) {
        SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_GATE_BIAS, "mlp.fc1.bias", &gate, error));
        SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_UP_BIAS, "mlp.fc1.bias", &up, error));
    }
    return samba__build_take_pair(b, s, SAMBA_W_OUT, "mlp.fc2", f->mlp_bias, error);
}

samba_status samba__family_phi4flash(samba__build *b, const samba__config *c, samba_error **error)
{
    phi_config f = {.shared_slot = -1};
    SAMBA__TRY(read_config(c, &f, error));
    SAMBA__TRY(samba__build_begin(b, f.n_layer, 2, error));
    for (uint32_t i = 0; i < f.n_layer; i++) {
        samba__build_prefix(b, "model.layers.%u.", i);
        if (i % 2)
            SAMBA__TRY(add_attention(b, &f, i, error));
        else
            SAMBA__TRY(add_memory(b, &f, i, error));
        SAMBA__TRY(add_mlp(b, &f, i, error));
    }
    const samba__build_ends ends = {.embed = "model.embed_tokens.weight",
                                    .norm = "model.final_layernorm",
                                    .head = "lm_head.weight",
                                    .tied = f.tied};
    return samba__build_take_ends(b, &ends, error);
}
