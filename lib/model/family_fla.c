/*
 * flash-linear-attention's Samba (model_type "samba"): Mamba or attention, then a SwiGLU, in every
 * block. `attn` says which layers attend: one specification, a list of them, or null.
 */
#include "model/config.h"

#include <inttypes.h>
#include <string.h>

typedef struct fla_config {
    uint32_t n_layer, d_model, d_state, d_conv, dt_rank, d_inner, d_mlp;
    bool bias, tied;
    const samba__json *attn;
} fla_config;

typedef struct fla_attn {
    uint32_t n_heads, n_kv_heads, window;
    double rope_theta;
    bool bias;
} fla_attn;

/* 256 * ceil(int(d * ratio * 2 / 3) / 256); the config's intermediate_size is not used. */
static samba_status mlp_width(const samba__config *c, fla_config *f, samba_error **error)
{
    double ratio;
    SAMBA__TRY(samba__config_float_or(c, "hidden_ratio", 4, &ratio, error));
    double width = (double)f->d_model * ratio * 2 / 3;
    if (!(width >= 1 && width < 1 << 24))
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: hidden_ratio %g gives an MLP of width %g", ratio,
                                 width);
    f->d_mlp = ((uint32_t)width + 255) / 256 * 256;
    return SAMBA_OK;
}

static samba_status read_config(const samba__config *c, fla_config *f, samba_error **error)
{
    static const char *const acts[] = {"swish", "silu", NULL};
    samba__plan *p = c->build->plan;
    uint32_t expand;
    double eps;
    SAMBA__TRY(samba__config_size(c, "hidden_size", &f->d_model, error));
    SAMBA__TRY(samba__config_size(c, "num_hidden_layers", &f->n_layer, error));
    SAMBA__TRY(samba__config_size(c, "vocab_size", &p->n_vocab, error));
    SAMBA__TRY(samba__config_size_or(c, "state_size", 0, &f->d_state, error));
    SAMBA__TRY(samba__config_size_or(c, "conv_kernel", 0, &f->d_conv, error));
    SAMBA__TRY(samba__config_size_or(c, "expand", 2, &expand, error));
    SAMBA__TRY(samba__config_size_or(c, "max_position_embeddings", 0, &p->context_length, error));
    SAMBA__TRY(samba__config_rank(c, "time_step_rank", f->d_model, &f->dt_rank, error));
    SAMBA__TRY(samba__config_bool_or(c, "use_bias", false, &f->bias, error));
    SAMBA__TRY(samba__config_bool_or(
        c, "tie_word_embeddings", !samba__build_has(c->build, "lm_head.weight"), &f->tied, error));
    SAMBA__TRY(samba__config_float_or(c, "norm_eps", 1e-5, &eps, error));
    SAMBA__TRY(samba__config_one_of(c, "hidden_act", acts, error));
    SAMBA__TRY(mlp_width(c, f, error));
    uint64_t inner = (uint64_t)f->d_model * expand;
    f->d_inner = inner < UINT32_MAX ? (uint32_t)inner : UINT32_MAX;
    f->attn = samba__json_get(c->root, "attn");
    p->d_model = f->d_model;
    p->final_norm_kind = SAMBA_NORM_RMS;
    p->final_norm_eps = (float)eps;
    return SAMBA_OK;
}

static bool lists_layer(const samba__json *spec, uint32_t layer)
{
    const samba__json *layers = samba__json_get(spec, "layers");
    for (size_t i = 0; i < samba__json_size(layers); i++) {
        int64_t value;
        if (samba__json_int(samba__json_at(layers, i), &value) && value == (int64_t)layer)
            return true;
    }
    return false;
}

/* The first specification that names the layer, or NULL. */
static const samba__json *spec_of(const samba__json *attn, uint32_t layer)
{
    if (samba__json_is_object(attn))
        return lists_layer(attn, layer) ? attn : NULL;
    for (size_t i = 0; samba__json_is_array(attn) && i < samba__json_size(attn); i++)
        if (lists_layer(samba__json_at(attn, i), layer))
            return samba__json_at(attn, i);
    return NULL;
}

static samba_status check_spec(const samba__config *c, const samba__json *spec, samba_error **error)
{
    const samba__json *layers = samba__json_get(spec, "layers");
    int64_t value;
    if (!samba__json_is_object(spec) || !samba__json_is_array(layers))
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: attn has no list of layers");
    for (size_t i = 0; i < samba__json_size(layers); i++)
        if (!samba__json_int(samba__json_at(layers, i), &value) || value < 0)
            return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                     "config.json: attn.layers[%zu] is not a layer", i);
    return SAMBA_OK;
}

static samba_status check_attn(const samba__config *c, const samba__json *attn, samba_error **error)
{
    if (samba__json_is_null(attn))
        return SAMBA_OK;
    if (!samba__json_is_array(attn))
        return check_spec(c, attn, error);
    for (size_t i = 0; i < samba__json_size(attn); i++)
        SAMBA__TRY(check_spec(c, samba__json_at(attn, i), error));
    return SAMBA_OK;
}

static samba_status read_attn(samba__build *b, const samba__json *spec, fla_attn *a,
                              samba_error **error)
{
    const samba__config c = {b, spec, "config.json attn"};
    SAMBA__TRY(samba__config_size(&c, "num_heads", &a->n_heads, error));
    SAMBA__TRY(samba__config_size_or(&c, "num_kv_heads", a->n_heads, &a->n_kv_heads, error));
    SAMBA__TRY(samba__config_size_or(&c, "window_size", 0, &a->window, error));
    SAMBA__TRY(samba__config_float_or(&c, "rope_theta", 10000, &a->rope_theta, error));
    SAMBA__TRY(samba__config_bool_or(&c, "qkv_bias", false, &a->bias, error));
    SAMBA__TRY(samba__config_refuse(&c, "qk_norm", error));
    if (b->plan->d_model % a->n_heads)
        return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: hidden_size %u is no multiple of num_heads %u",
                                 b->plan->d_model, a->n_heads);
    return SAMBA_OK;
}

static samba_status add_attention(samba__build *b, const samba__json *spec, uint32_t block,
                                  samba_error **error)
{
    samba__plan_sublayer *s;
    fla_attn a;
    SAMBA__TRY(read_attn(b, spec, &a, error));
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_ATTENTION, block, &s, error));
    s->desc.n_heads = a.n_heads;
    s->desc.n_kv_heads = a.n_kv_heads;
    s->desc.head_dim = b->plan->d_model / a.n_heads;
    s->desc.window = a.window;
    s->desc.rope_dims = s->desc.head_dim;
    s->desc.rope_table = b->options->rope_table ? b->options->rope_table : SAMBA_ROPE_TABLE_F32;
    s->desc.rope_base = (float)a.rope_theta;
    s->desc.rope_condense = 1.0f;
    SAMBA__TRY(samba__build_shape(b, s, error));
    SAMBA__TRY(samba__build_take_norm(b, s, "mixer_norm", error));
    SAMBA__TRY(samba__build_take_pair(b, s, SAMBA_W_Q, "mixer.q_proj", a.bias, error));
    SAMBA__TRY(samba__build_take_pair(b, s, SAMBA_W_K, "mixer.k_proj", a.bias, error));
    SAMBA__TRY(samba__build_take_pair(b, s, SAMBA_W_V, "mixer.v_proj", a.bias, error));
    return samba__build_take_pair(b, s, SAMBA_W_OUT, "mixer.o_proj", false, error);
}

static samba_status add_mamba(samba__build *b, const fla_config *f, uint32_t block,
                              samba_error **error)
{
    const samba__mamba_parts parts = {
        .name = "mixer.", .in_bias = f->bias, .conv_bias = true, .out_bias = f->bias};
    samba__plan_sublayer *s;
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_MAMBA, block, &s, error));
    s->desc.d_inner = f->d_inner;
    s->desc.d_state = f->d_state;
    s->desc.d_conv = f->d_conv;
    s->desc.dt_rank = f->dt_rank;
    SAMBA__TRY(samba__build_mamba(b, s, &parts, error));
    return samba__build_take_norm(b, s, "mixer_norm", error);
}

static samba_status add_mlp(samba__build *b, const fla_config *f, uint32_t block,
                            samba_error **error)
{
    samba__plan_sublayer *s;
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_SWIGLU, block, &s, error));
    s->desc.d_inner = f->d_mlp;
    SAMBA__TRY(samba__build_shape(b, s, error));
    SAMBA__TRY(samba__build_take_norm(b, s, "mlp_norm", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_GATE, "mlp.gate_proj.weight", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_UP, "mlp.up_proj.weight", error));
    return samba__build_take(b, s, SAMBA_W_OUT, "mlp.down_proj.weight", error);
}

samba_status samba__family_fla(samba__build *b, const samba__config *c, samba_error **error)
{
    fla_config f = {0};
    SAMBA__TRY(read_config(c, &f, error));
    SAMBA__TRY(check_attn(c, f.attn, error));
    SAMBA__TRY(samba__build_begin(b, f.n_layer, 2, error));
    for (uint32_t i = 0; i < f.n_layer; i++) {
        const samba__json *spec = spec_of(f.attn, i);
        samba__build_prefix(b, "backbone.layers.%u.", i);
        if (spec)
            SAMBA__TRY(add_attention(b, spec, i, error));
        else
            SAMBA__TRY(add_mamba(b, &f, i, error));
        SAMBA__TRY(add_mlp(b, &f, i, error));
    }
    const samba__build_ends ends = {.embed = "backbone.embeddings.weight",
                                    .norm = "backbone.norm_f",
                                    .head = "lm_head.weight",
                                    .tied = f.tied};
    return samba__build_take_ends(b, &ends, error);
}
