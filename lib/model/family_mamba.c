/*
 * Mamba: Hugging Face's MambaForCausalLM, and the native naming of state-spaces/mamba, told apart
 * by the key hidden_size. One Mamba sublayer per block.
 */
#include "model/config.h"

#include <inttypes.h>
#include <string.h>

typedef struct mamba_config {
    uint32_t n_layer, d_model, d_state, d_conv, dt_rank, expand;
    bool conv_bias, bias, tied, rms;
    double eps;
} mamba_config;

static samba_status read_hf(const samba__config *c, mamba_config *m, samba_error **error)
{
    static const char *const acts[] = {"silu", "swish", NULL};
    samba__plan *p = c->build->plan;
    const char *layers =
        samba__config_has(c, "num_hidden_layers") ? "num_hidden_layers" : "n_layer";
    SAMBA__TRY(samba__config_size(c, "hidden_size", &m->d_model, error));
    SAMBA__TRY(samba__config_size(c, layers, &m->n_layer, error));
    SAMBA__TRY(samba__config_size(c, "vocab_size", &p->n_vocab, error));
    SAMBA__TRY(samba__config_size_or(c, "state_size", 0, &m->d_state, error));
    SAMBA__TRY(samba__config_size_or(c, "conv_kernel", 0, &m->d_conv, error));
    SAMBA__TRY(samba__config_size_or(c, "expand", 2, &m->expand, error));
    SAMBA__TRY(samba__config_rank(c, "time_step_rank", m->d_model, &m->dt_rank, error));
    SAMBA__TRY(samba__config_bool_or(c, "use_bias", false, &m->bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "use_conv_bias", true, &m->conv_bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "tie_word_embeddings", true, &m->tied, error));
    SAMBA__TRY(samba__config_float_or(c, "layer_norm_epsilon", 1e-5, &m->eps, error));
    return samba__config_one_of(c, "hidden_act", acts, error);
}

/* Keys of ssm_cfg that only matter for training are let pass; others are refused by name. */
static samba_status check_ssm_keys(const samba__config *c, samba_error **error)
{
    static const char *const known[] = {
        "d_state",  "d_conv", "expand",    "dt_rank",       "dt_min",        "dt_max", "dt_init",
        "dt_scale", "bias",   "conv_bias", "dt_init_floor", "use_fast_path", "layer"};
    static const char *const layers[] = {"Mamba1", NULL};
    const size_t n = sizeof known / sizeof *known;
    const samba__json *value;
    const char *key;
    for (const void *it = samba__json_next(c->root, NULL, &key, &value); it;
         it = samba__json_next(c->root, it, &key, &value)) {
        size_t i = 0;
        while (i < n && strcmp(known[i], key) != 0)
            i++;
        if (i == n)
            return samba__build_fail(c->build, error, SAMBA_ERROR_UNSUPPORTED,
                                     "%s: %.64s is not supported", c->what, key);
    }
    return samba__config_one_of(c, "layer", layers, error);
}

static samba_status read_native(const samba__config *c, mamba_config *m, samba_error **error)
{
    const samba__config ssm = {c->build, samba__json_get(c->root, "ssm_cfg"),
                               "config.json ssm_cfg"};
    uint32_t vocab, multiple;
    SAMBA__TRY(samba__config_refuse(c, "attn_layer_idx", error));
    SAMBA__TRY(samba__config_refuse(c, "d_intermediate", error));
    SAMBA__TRY(check_ssm_keys(&ssm, error));
    SAMBA__TRY(samba__config_size(c, "d_model", &m->d_model, error));
    SAMBA__TRY(samba__config_size(c, "n_layer", &m->n_layer, error));
    SAMBA__TRY(samba__config_size(c, "vocab_size", &vocab, error));
    SAMBA__TRY(samba__config_size_or(c, "pad_vocab_size_multiple", 8, &multiple, error));
    SAMBA__TRY(samba__config_size_or(&ssm, "d_state", 16, &m->d_state, error));
    SAMBA__TRY(samba__config_size_or(&ssm, "d_conv", 4, &m->d_conv, error));
    SAMBA__TRY(samba__config_size_or(&ssm, "expand", 2, &m->expand, error));
    SAMBA__TRY(samba__config_rank(&ssm, "dt_rank", m->d_model, &m->dt_rank, error));
    SAMBA__TRY(samba__config_bool_or(&ssm, "bias", false, &m->bias, error));
    SAMBA__TRY(samba__config_bool_or(&ssm, "conv_bias", true, &m->conv_bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "tie_embeddings", true, &m->tied, error));
    SAMBA__TRY(samba__config_float_or(c, "norm_epsilon", 1e-5, &m->eps, error));
    c->build->plan->n_vocab = (vocab + multiple - 1) / multiple * multiple;
    return SAMBA_OK;
}

static samba_status add_block(samba__build *b, const mamba_config *m, uint32_t block,
                              samba_error **error)
{
    const samba__mamba_parts parts = {
        .name = "mixer.", .in_bias = m->bias, .conv_bias = m->conv_bias, .out_bias = m->bias};
    uint64_t inner = (uint64_t)m->d_model * m->expand;
    samba__plan_sublayer *s;
    samba__build_prefix(b, "backbone.layers.%u.", block);
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_MAMBA, block, &s, error));
    s->desc.d_inner = inner < UINT32_MAX ? (uint32_t)inner : UINT32_MAX;
    s->desc.d_state = m->d_state;
    s->desc.d_conv = m->d_conv;
    s->desc.dt_rank = m->dt_rank;
    SAMBA__TRY(samba__build_mamba(b, s, &parts, error));
    return samba__build_take_norm(b, s, "norm", error);
}

samba_status samba__family_mamba(samba__build *b, const samba__config *c, samba_error **error)
{
    mamba_config m = {0};
    samba__plan *p = b->plan;
    if (samba__config_has(c, "hidden_size"))
        SAMBA__TRY(read_hf(c, &m, error));
    else
        SAMBA__TRY(read_native(c, &m, error));
    SAMBA__TRY(samba__config_bool_or(c, "rms_norm", true, &m.rms, error));
    p->d_model = m.d_model;
    p->final_norm_kind = m.rms ? SAMBA_NORM_RMS : SAMBA_NORM_LAYER;
    p->final_norm_eps = (float)m.eps;
    SAMBA__TRY(samba__build_begin(b, m.n_layer, 1, error));
    for (uint32_t i = 0; i < m.n_layer; i++)
        SAMBA__TRY(add_block(b, &m, i, error));
    b->prefix[0] = 0;
    const samba__build_ends ends = {.embed = samba__build_has(b, "backbone.embeddings.weight")
                                                 ? "backbone.embeddings.weight"
                                                 : "backbone.embedding.weight",
                                    .norm = "backbone.norm_f",
                                    .head = "lm_head.weight",
                                    .tied = m.tied};
    return samba__build_take_ends(b, &ends, error);
}
