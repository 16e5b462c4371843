/*
 * microsoft/Samba: configs and parameter names of its lit_gpt. The choice of what a block holds
 * follows the official Block class, in its order. Absent keys have the defaults of its Config
 * class.
 */
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not configurable in the official code. */
enum {
    D_STATE = 16,
    D_CONV = 4,
    EXPAND = 2
};

typedef struct lit_config {
    uint32_t n_layer, d_model, n_head, n_groups, head_dim, d_mlp;
    uint32_t full_per_layer, gla_heads;
    int64_t window, mb_per_layer, ret_per_layer, gla_per_layer;
    uint32_t rope_dims;
    double condense;
    bool bias, mlp, nope, mamba, sc_attn, use_mega, abl_mamba, mamba_swa_mlp, tied;
    bool *attention_at; /* [n_layer], from attn_layer_pos; NULL: not given */
    samba_rope_table table;
} lit_config;

static samba_status read_sizes(const samba__config *c, lit_config *l, samba_error **error)
{
    samba__plan *p = c->build->plan;
    uint32_t vocab, multiple;
    SAMBA__TRY(samba__config_size(c, "n_embd", &l->d_model, error));
    SAMBA__TRY(samba__config_size(c, "n_layer", &l->n_layer, error));
    SAMBA__TRY(samba__config_size(c, "n_head", &l->n_head, error));
    SAMBA__TRY(samba__config_size_or(c, "n_query_groups", l->n_head, &l->n_groups, error));
    SAMBA__TRY(samba__config_size_or(c, "intermediate_size", 4 * l->d_model, &l->d_mlp, error));
    SAMBA__TRY(samba__config_size_or(c, "full_per_layer", 1000000, &l->full_per_layer, error));
    SAMBA__TRY(samba__config_size_or(c, "gla_num_heads", l->d_model / 384, &l->gla_heads, error));
    SAMBA__TRY(samba__config_size_or(c, "padding_multiple", 512, &multiple, error));
    SAMBA__TRY(samba__config_size_or(c, "block_size", 0, &p->context_length, error));
    if (samba__config_has(c, "padded_vocab_size"))
        return samba__config_size(c, "padded_vocab_size", &p->n_vocab, error);
    SAMBA__TRY(samba__config_size(c, "vocab_size", &vocab, error));
    p->n_vocab = (vocab + multiple - 1) / multiple * multiple;
    return SAMBA_OK;
}

static samba_status read_switches(const samba__config *c, lit_config *l, samba_error **error)
{
    bool mamba_init;
    SAMBA__TRY(samba__config_int_or(c, "local_window", -1, &l->window, error));
    SAMBA__TRY(samba__config_int_or(c, "mb_per_layer", -1, &l->mb_per_layer, error));
    SAMBA__TRY(samba__config_int_or(c, "ret_per_layer", -1, &l->ret_per_layer, error));
    SAMBA__TRY(samba__config_int_or(c, "gla_per_layer", -1, &l->gla_per_layer, error));
    SAMBA__TRY(samba__config_bool_or(c, "bias", true, &l->bias, error));
    SAMBA__TRY(samba__config_bool_or(c, "mlp", true, &l->mlp, error));
    SAMBA__TRY(samba__config_bool_or(c, "nope", false, &l->nope, error));
    SAMBA__TRY(samba__config_bool_or(c, "mamba", false, &l->mamba, error));
    SAMBA__TRY(samba__config_bool_or(c, "sc_attn", false, &l->sc_attn, error));
    SAMBA__TRY(samba__config_bool_or(c, "use_mega", false, &l->use_mega, error));
    SAMBA__TRY(samba__config_bool_or(c, "abl_mamba", false, &l->abl_mamba, error));
    SAMBA__TRY(samba__config_bool_or(c, "mamba_swa_mlp", false, &l->mamba_swa_mlp, error));
    SAMBA__TRY(samba__config_bool_or(c, "mamba_init", false, &mamba_init, error));
    l->tied = l->mamba || mamba_init;
    if (l->window == 0 || l->window > UINT32_MAX)
        return samba__build_fail(c->build, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: local_window is %lld", (long long)l->window);
    return SAMBA_OK;
}

/* Pure Mamba models ignore what is said of attention and MLP, and so do we. */
static samba_status read_heads(const samba__config *c, lit_config *l, samba_error **error)
{
    static const char *const mlps[] = {"LLaMAMLP", NULL};
    double part;
    SAMBA__TRY(samba__config_float_or(c, "rotary_percentage", 0.25, &part, error));
    SAMBA__TRY(samba__config_float_or(c, "condense_ratio", 1, &l->condense, error));
    if (l->mamba)
        return SAMBA_OK;
    if (!(part >= 0 && part <= 1))
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: rotary_percentage is %g, possible are 0 to 1", part);
    if (l->d_model % l->n_head)
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: n_embd %u is no multiple of n_head %u", l->d_model,
                                 l->n_head);
    if (l->n_head % l->n_groups)
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: n_head %u is no multiple of n_query_groups %u",
                                 l->n_head, l->n_groups);
    l->head_dim = l->d_model / l->n_head;
    l->rope_dims = l->nope ? 0 : (uint32_t)(part * l->head_dim);
    bool parallel;
    SAMBA__TRY(samba__config_bool_or(c, "parallel_residual", true, &parallel, error));
    if (parallel)
        return samba__build_fail(c->build, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: parallel_residual is not supported");
    SAMBA__TRY(samba__config_refuse(c, "shared_attention_norm", error));
    return samba__config_one_of(c, "_mlp_class", mlps, error);
}

static samba_status read_norm(const samba__config *c, const lit_config *l, samba_error **error)
{
    static const char *const classes[] = {"FusedRMSNorm", "RMSNorm", "LayerNorm", NULL};
    samba__plan *p = c->build->plan;
    const char *name;
    double eps;
    bool rms;
    SAMBA__TRY(samba__config_float_or(c, "norm_eps", 1e-5, &eps, error));
    SAMBA__TRY(samba__config_bool_or(c, "rms_norm", true, &rms, error));
    SAMBA__TRY(samba__config_one_of(c, "_norm_class", classes, error));
    SAMBA__TRY(samba__config_string(c, "_norm_class", &name, error));
    if (!l->mamba)
        rms = name && strcmp(name, "LayerNorm") != 0;
    p->final_norm_kind = rms ? SAMBA_NORM_RMS : SAMBA_NORM_LAYER;
    p->final_norm_eps = (float)eps;
    return SAMBA_OK;
}

/* "[1, 3]", as Python writes lists. */
static bool parse_positions(const char *text, bool *at, uint32_t n)
{
    const char *s = text + strspn(text, " ");
    if (*s++ != '[')
        return false;
    for (;;) {
        s += strspn(s, " ");
        if (*s == ']')
            break;
        size_t digits = strspn(s, "0123456789");
        if (digits == 0 || digits > 9)
            return false;
        unsigned long i = strtoul(s, NULL, 10);
        if (i < n)
            at[i] = true;
        s += digits;
        s += strspn(s, " ");
        if (*s == ',')
            s++;
        else if (*s != ']')
            return false;
    }
    s++;
    return s[strspn(s, " ")] == 0;
}

static samba_status read_positions(const samba__config *c, lit_config *l, samba_error **error)
{
    const char *text;
    SAMBA__TRY(samba__config_string(c, "attn_layer_pos", &text, error));
    if (!text)
        return SAMBA_OK;
    l->attention_at =
        samba__arena_alloc(&c->build->plan->arena, l->n_layer, sizeof *l->attention_at);
    if (!l->attention_at)
        return samba__fail_oom(error);
    if (!parse_positions(text, l->attention_at, l->n_layer))
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "config.json: attn_layer_pos \"%.64s\" is not a list of layers",
                                 text);
    return SAMBA_OK;
}

/* ---- sublayers ---- */

static samba_status add_mlp(samba__build *b, const lit_config *l, uint32_t block, const char *norm,
                            const char *part, uint32_t width, samba_error **error)
{
    samba__plan_sublayer *s;
    char name[48];
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_SWIGLU, block, &s, error));
    s->desc.d_inner = width;
    SAMBA__TRY(samba__build_shape(b, s, error));
    SAMBA__TRY(samba__build_take_norm(b, s, norm, error));
    snprintf(name, sizeof name, "%s.swiglu.w1", part);
    SAMBA__TRY(samba__build_take_pair(b, s, SAMBA_W_GATE, name, l->bias, error));
    snprintf(name, sizeof name, "%s.swiglu.w2", part);
    SAMBA__TRY(samba__build_take_pair(b, s, SAMBA_W_UP, name, l->bias, error));
    snprintf(name, sizeof name, "%s.swiglu.w3", part);
    return samba__build_take_pair(b, s, SAMBA_W_OUT, name, l->bias, error);
}

static samba_status add_mamba(samba__build *b, uint32_t block, const char *norm, const char *part,
                              samba_error **error)
{
    const samba__mamba_parts parts = {.name = part, .conv_bias = true};
    samba__plan_sublayer *s;
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_MAMBA, block, &s, error));
    s->desc.d_inner = EXPAND * s->desc.d_model;
    s->desc.d_state = D_STATE;
    s->desc.d_conv = D_CONV;
    s->desc.dt_rank = (s->desc.d_model + 15) / 16;
    SAMBA__TRY(samba__build_mamba(b, s, &parts, error));
    return samba__build_take_norm(b, s, norm, error);
}

/* Rows of the packed projection: per group its queries, one key, one value. */
static samba_status take_qkv(samba__build *b, samba__plan_sublayer *s, const lit_config *l,
                             samba_error **error)
{
    uint64_t c = l->head_dim, m = l->n_head / l->n_groups, stride = (m + 2) * c;
    const samba__rows q = {0, m * c, stride, l->n_groups, l->n_groups * stride};
    const samba__rows k = {m * c, c, stride, l->n_groups, l->n_groups * stride};
    const samba__rows v = {(m + 1) * c, c, stride, l->n_groups, l->n_groups * stride};
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_Q, "attn.attn.weight", &q, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_K, "attn.attn.weight", &k, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_V, "attn.attn.weight", &v, error));
    if (!l->bias)
        return SAMBA_OK;
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_Q_BIAS, "attn.attn.bias", &q, error));
    SAMBA__TRY(samba__build_take_rows(b, s, SAMBA_W_K_BIAS, "attn.attn.bias", &k, error));
    return samba__build_take_rows(b, s, SAMBA_W_V_BIAS, "attn.attn.bias", &v, error);
}

static samba_status add_attention(samba__build *b, const lit_config *l, uint32_t block,
                                  const char *norm, samba_error **error)
{
    samba__plan_sublayer *s;
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_ATTENTION, block, &s, error));
    bool local = block % l->full_per_layer < l->full_per_layer - 1;
    s->desc.n_heads = l->n_head;
    s->desc.n_kv_heads = l->n_groups;
    s->desc.head_dim = l->head_dim;
    s->desc.window = l->window > 0 && local ? (uint32_t)l->window : 0;
    if (l->rope_dims) {
        s->desc.rope_dims = l->rope_dims;
        s->desc.rope_table = l->table;
        s->desc.rope_base = 10000.0f;
        s->desc.rope_condense = (float)l->condense;
    }
    s->desc.d_conv = l->sc_attn ? D_CONV : 0;
    SAMBA__TRY(samba__build_shape(b, s, error));
    SAMBA__TRY(samba__build_take_norm(b, s, norm, error));
    SAMBA__TRY(take_qkv(b, s, l, error));
    if (l->sc_attn) {
        SAMBA__TRY(samba__build_take(b, s, SAMBA_W_Q_CONV, "attn.q_conv1d.weight", error));
        SAMBA__TRY(samba__build_take(b, s, SAMBA_W_K_CONV, "attn.k_conv1d.weight", error));
        SAMBA__TRY(samba__build_take(b, s, SAMBA_W_V_CONV, "attn.v_conv1d.weight", error));
    }
    return samba__build_take_pair(b, s, SAMBA_W_OUT, "attn.proj", l->bias, error);
}

static samba_status take_linear_attention(samba__build *b, samba__plan_sublayer *s,
                                          samba_error **error)
{
    SAMBA__TRY(samba__build_shape(b, s, error));
    SAMBA__TRY(samba__build_take_norm(b, s, "norm_1", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_Q, "attn.q_proj.weight", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_K, "attn.k_proj.weight", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_V, "attn.v_proj.weight", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_GATE, "attn.g_proj.weight", error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_SUBNORM, "attn.g_norm_swish_gate.weight", error));
    return samba__build_take(b, s, SAMBA_W_OUT, "attn.o_proj.weight", error);
}

static samba_status add_gla(samba__build *b, const lit_config *l, uint32_t block,
                            samba_error **error)
{
    samba__plan_sublayer *s;
    if (l->gla_heads == 0)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: n_embd %u gives no GLA head (one per 384)",
                                 l->d_model);
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_GLA, block, &s, error));
    s->desc.n_heads = l->gla_heads;
    s->desc.key_dim = l->d_model / 2 / l->gla_heads;
    s->desc.value_dim = l->d_model / l->gla_heads;
    s->desc.subnorm_eps = 1e-5f;
    SAMBA__TRY(samba__build_dim(b, "attn.gk_proj.0.weight", 0, &s->desc.gate_rank, error));
    SAMBA__TRY(take_linear_attention(b, s, error));
    SAMBA__TRY(samba__build_take(b, s, SAMBA_W_GK_A, "attn.gk_proj.0.weight", error));
    return samba__build_take_pair(b, s, SAMBA_W_GK_B, "attn.gk_proj.1", true, error);
}

static samba_status add_retention(samba__build *b, const lit_config *l, uint32_t block,
                                  samba_error **error)
{
    samba__plan_sublayer *s;
    uint32_t heads = l->n_head / 2;
    if (heads == 0)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: n_head %u gives no retention head (half of it)",
                                 l->n_head);
    SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_RETENTION, block, &s, error));
    s->desc.n_heads = heads;
    s->desc.key_dim = l->d_model / heads;
    s->desc.value_dim = 2 * l->d_model / heads;
    s->desc.subnorm_eps = 1e-5f;
    s->desc.rope_dims = s->desc.key_dim;
    s->desc.rope_table = SAMBA_ROPE_TABLE_F32; /* unlike the attention of this family */
    s->desc.rope_base = 10000.0f;
    s->desc.rope_condense = 1.0f;
    return take_linear_attention(b, s, error);
}

static bool every(int64_t per_layer, uint32_t block)
{
    return per_layer > 0 && block % per_layer == 0;
}

static samba_status add_mixer(samba__build *b, const lit_config *l, uint32_t i, samba_error **error)
{
    bool mamba = l->attention_at ? !l->attention_at[i] : every(l->mb_per_layer, i);
    if (mamba && l->abl_mamba)
        return add_mlp(b, l, i, "norm_1", "attn", 2 * l->d_model, error);
    if (mamba)
        return add_mamba(b, i, "norm_1", "attn.", error);
    if (!l->attention_at && every(l->ret_per_layer, i))
        return add_retention(b, l, i, error);
    if (!l->attention_at && every(l->gla_per_layer, i))
        return add_gla(b, l, i, error);
    return add_attention(b, l, i, "norm_1", error);
}

static samba_status add_block(samba__build *b, const lit_config *l, uint32_t i, samba_error **error)
{
    samba__build_prefix(b, "transformer.h.%u.", i);
    if (l->mamba)
        return add_mamba(b, i, "norm", "mixer.", error);
    if (l->mamba_swa_mlp) {
        SAMBA__TRY(add_mamba(b, i, "norm_m", "mb.", error));
        SAMBA__TRY(add_attention(b, l, i, "norm_attn", error));
    } else if (l->use_mega) {
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: use_mega (S6-Mega) is not supported");
    } else {
        SAMBA__TRY(add_mixer(b, l, i, error));
    }
    return l->mlp ? add_mlp(b, l, i, "norm_2", "mlp", l->d_mlp, error) : SAMBA_OK;
}

samba_status samba__family_lit_gpt(samba__build *b, const samba__config *c, samba_error **error)
{
    lit_config l = {.table =
                        b->options->rope_table ? b->options->rope_table : SAMBA_ROPE_TABLE_BF16};
    SAMBA__TRY(read_sizes(c, &l, error));
    SAMBA__TRY(read_switches(c, &l, error));
    SAMBA__TRY(read_heads(c, &l, error));
    SAMBA__TRY(read_norm(c, &l, error));
    b->plan->d_model = l.d_model;
    SAMBA__TRY(samba__build_begin(b, l.n_layer, 3, error));
    SAMBA__TRY(read_positions(c, &l, error));
    for (uint32_t i = 0; i < l.n_layer; i++)
        SAMBA__TRY(add_block(b, &l, i, error));
    const samba__build_ends ends = {.embed = "transformer.wte.weight",
                                    .norm = "transformer.ln_f",
                                    .head = "lm_head.weight",
                                    .tied = l.tied};
    return samba__build_take_ends(b, &ends, error);
}
