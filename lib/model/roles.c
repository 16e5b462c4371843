/* The tables of sublayer kinds; see roles.h. They restate samba/backend.h. */
#include "model/roles.h"

#include <math.h>
#include <string.h>

/* Dimension codes. H, G, c: heads, kv heads, head width; K, V: key and value width per head. */
enum {
    DIM_ONE,
    DIM_MODEL,
    DIM_INNER,
    DIM_INNER2,
    DIM_STATE,
    DIM_CONV,
    DIM_RANK,
    DIM_DBC, /* dt_rank + 2 * d_state */
    DIM_HC,
    DIM_GC,
    DIM_2C,
    DIM_HK,
    DIM_HV,
    DIM_V,
    DIM_GATE
};

#define MAMBA SAMBA_SUBLAYER_MAMBA
#define ATTN SAMBA_SUBLAYER_ATTENTION
#define DIFF SAMBA_SUBLAYER_DIFF_ATTENTION
#define GMU SAMBA_SUBLAYER_GMU
#define GLA SAMBA_SUBLAYER_GLA
#define RET SAMBA_SUBLAYER_RETENTION
#define MLP SAMBA_SUBLAYER_SWIGLU
#define F32 SAMBA__CLASS_F32
#define MAT SAMBA__CLASS_MATRIX
#define FINE SAMBA__CLASS_FINE

const samba__role samba__roles[] = {
    {MAMBA, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.weight"},
    {MAMBA, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.bias"},
    {MAMBA, SAMBA_W_IN, MAT, DIM_INNER2, DIM_MODEL, true, "ssm_in.weight"},
    {MAMBA, SAMBA_W_IN_BIAS, F32, DIM_ONE, DIM_INNER2, false, "ssm_in.bias"},
    {MAMBA, SAMBA_W_CONV, F32, DIM_INNER, DIM_CONV, true, "ssm_conv1d.weight"},
    {MAMBA, SAMBA_W_CONV_BIAS, F32, DIM_ONE, DIM_INNER, false, "ssm_conv1d.bias"},
    {MAMBA, SAMBA_W_X_PROJ, FINE, DIM_DBC, DIM_INNER, true, "ssm_x.weight"},
    {MAMBA, SAMBA_W_DT_PROJ, F32, DIM_INNER, DIM_RANK, true, "ssm_dt.weight"},
    {MAMBA, SAMBA_W_DT_BIAS, F32, DIM_ONE, DIM_INNER, true, "ssm_dt.bias"},
    {MAMBA, SAMBA_W_A, F32, DIM_INNER, DIM_STATE, true, "ssm_a"},
    {MAMBA, SAMBA_W_D, F32, DIM_ONE, DIM_INNER, true, "ssm_d"},
    {MAMBA, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_INNER, true, "ssm_out.weight"},
    {MAMBA, SAMBA_W_OUT_BIAS, F32, DIM_ONE, DIM_MODEL, false, "ssm_out.bias"},

    {ATTN, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.weight"},
    {ATTN, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.bias"},
    {ATTN, SAMBA_W_Q, MAT, DIM_HC, DIM_MODEL, true, "attn_q.weight"},
    {ATTN, SAMBA_W_Q_BIAS, F32, DIM_ONE, DIM_HC, false, "attn_q.bias"},
    {ATTN, SAMBA_W_K, MAT, DIM_GC, DIM_MODEL, true, "attn_k.weight"},
    {ATTN, SAMBA_W_K_BIAS, F32, DIM_ONE, DIM_GC, false, "attn_k.bias"},
    {ATTN, SAMBA_W_V, MAT, DIM_GC, DIM_MODEL, true, "attn_v.weight"},
    {ATTN, SAMBA_W_V_BIAS, F32, DIM_ONE, DIM_GC, false, "attn_v.bias"},
    {ATTN, SAMBA_W_Q_CONV, F32, DIM_HC, DIM_CONV, true, "attn_q_conv.weight"},
    {ATTN, SAMBA_W_K_CONV, F32, DIM_GC, DIM_CONV, true, "attn_k_conv.weight"},
    {ATTN, SAMBA_W_V_CONV, F32, DIM_GC, DIM_CONV, true, "attn_v_conv.weight"},
    {ATTN, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_HC, true, "attn_output.weight"},
    {ATTN, SAMBA_W_OUT_BIAS, F32, DIM_ONE, DIM_MODEL, false, "attn_output.bias"},

    {DIFF, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.weight"},
    {DIFF, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.bias"},
    {DIFF, SAMBA_W_Q, MAT, DIM_HC, DIM_MODEL, true, "attn_q.weight"},
    {DIFF, SAMBA_W_Q_BIAS, F32, DIM_ONE, DIM_HC, false, "attn_q.bias"},
    {DIFF, SAMBA_W_K, MAT, DIM_GC, DIM_MODEL, true, "attn_k.weight"},
    {DIFF, SAMBA_W_K_BIAS, F32, DIM_ONE, DIM_GC, false, "attn_k.bias"},
    {DIFF, SAMBA_W_V, MAT, DIM_GC, DIM_MODEL, true, "attn_v.weight"},
    {DIFF, SAMBA_W_V_BIAS, F32, DIM_ONE, DIM_GC, false, "attn_v.bias"},
    {DIFF, SAMBA_W_SUBNORM, F32, DIM_ONE, DIM_2C, true, "attn_sub_norm.weight"},
    {DIFF, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_HC, true, "attn_output.weight"},
    {DIFF, SAMBA_W_OUT_BIAS, F32, DIM_ONE, DIM_MODEL, false, "attn_output.bias"},

    {GMU, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.weight"},
    {GMU, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.bias"},
    {GMU, SAMBA_W_IN, MAT, DIM_INNER, DIM_MODEL, true, "gmu_in.weight"},
    {GMU, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_INNER, true, "gmu_out.weight"},

    {GLA, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.weight"},
    {GLA, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.bias"},
    {GLA, SAMBA_W_Q, MAT, DIM_HK, DIM_MODEL, true, "attn_q.weight"},
    {GLA, SAMBA_W_K, MAT, DIM_HK, DIM_MODEL, true, "attn_k.weight"},
    {GLA, SAMBA_W_V, MAT, DIM_HV, DIM_MODEL, true, "attn_v.weight"},
    {GLA, SAMBA_W_GATE, MAT, DIM_HV, DIM_MODEL, true, "attn_gate.weight"},
    {GLA, SAMBA_W_GK_A, MAT, DIM_GATE, DIM_MODEL, true, "attn_gk_a.weight"},
    {GLA, SAMBA_W_GK_B, F32, DIM_HK, DIM_GATE, true, "attn_gk_b.weight"},
    {GLA, SAMBA_W_GK_BIAS, F32, DIM_ONE, DIM_HK, true, "attn_gk_b.bias"},
    {GLA, SAMBA_W_SUBNORM, F32, DIM_ONE, DIM_V, true, "attn_sub_norm.weight"},
    {GLA, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_HV, true, "attn_output.weight"},

    {RET, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.weight"},
    {RET, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "attn_norm.bias"},
    {RET, SAMBA_W_Q, MAT, DIM_HK, DIM_MODEL, true, "attn_q.weight"},
    {RET, SAMBA_W_K, MAT, DIM_HK, DIM_MODEL, true, "attn_k.weight"},
    {RET, SAMBA_W_V, MAT, DIM_HV, DIM_MODEL, true, "attn_v.weight"},
    {RET, SAMBA_W_GATE, MAT, DIM_HV, DIM_MODEL, true, "attn_gate.weight"},
    {RET, SAMBA_W_SUBNORM, F32, DIM_ONE, DIM_V, true, "attn_sub_norm.weight"},
    {RET, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_HV, true, "attn_output.weight"},

    {MLP, SAMBA_W_NORM, F32, DIM_ONE, DIM_MODEL, true, "ffn_norm.weight"},
    {MLP, SAMBA_W_NORM_BIAS, F32, DIM_ONE, DIM_MODEL, true, "ffn_norm.bias"},
    {MLP, SAMBA_W_GATE, MAT, DIM_INNER, DIM_MODEL, true, "ffn_gate.weight"},
    {MLP, SAMBA_W_GATE_BIAS, F32, DIM_ONE, DIM_INNER, false, "ffn_gate.bias"},
    {MLP, SAMBA_W_UP, MAT, DIM_INNER, DIM_MODEL, true, "ffn_up.weight"},
    {MLP, SAMBA_W_UP_BIAS, F32, DIM_ONE, DIM_INNER, false, "ffn_up.bias"},
    {MLP, SAMBA_W_OUT, MAT, DIM_MODEL, DIM_INNER, true, "ffn_down.weight"},
    {MLP, SAMBA_W_OUT_BIAS, F32, DIM_ONE, DIM_MODEL, false, "ffn_down.bias"},
};
const size_t samba__n_roles = sizeof samba__roles / sizeof *samba__roles;

#define U(name, member)                                                                            \
    {                                                                                              \
        name, offsetof(samba_backend_sublayer, member), false                                      \
    }
#define F(name, member)                                                                            \
    {                                                                                              \
        name, offsetof(samba_backend_sublayer, member), true                                       \
    }
const samba__field samba__fields[] = {
    U("flags", flags),
    F("norm_eps", norm_eps),
    U("d_inner", d_inner),
    U("d_state", d_state),
    U("d_conv", d_conv),
    U("dt_rank", dt_rank),
    U("heads", n_heads),
    U("kv_heads", n_kv_heads),
    U("head_dim", head_dim),
    U("window", window),
    U("key_dim", key_dim),
    U("value_dim", value_dim),
    U("gate_rank", gate_rank),
    U("rope_dims", rope_dims),
    U("rope_table", rope_table),
    F("rope_base", rope_base),
    F("rope_condense", rope_condense),
    F("lambda", lambda),
    F("lambda_init", lambda_init),
    F("subnorm_eps", subnorm_eps),
};
const size_t samba__n_fields = sizeof samba__fields / sizeof *samba__fields;

static const char *const kind_names[] = {
    NULL, "mamba", "attention", "diff_attention", "gmu", "gla", "retention", "swiglu",
};
static const char *const norm_names[] = {NULL, "rms", "layer"};

static const char *name_of(const char *const *names, size_t n, int32_t i)
{
    return i > 0 && (size_t)i < n ? names[i] : NULL;
}

static int32_t number_of(const char *const *names, size_t n, const char *name, size_t size)
{
    for (size_t i = 1; i < n; i++)
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
            return (int32_t)i;
    return 0;
}

const char *samba__kind_name(samba_sublayer_kind kind)
{
    return name_of(kind_names, sizeof kind_names / sizeof *kind_names, kind);
}

samba_sublayer_kind samba__kind_from_name(const char *name, size_t size)
{
    return number_of(kind_names, sizeof kind_names / sizeof *kind_names, name, size);
}

const char *samba__norm_name(samba_norm_kind norm)
{
    return name_of(norm_names, sizeof norm_names / sizeof *norm_names, norm);
}

samba_norm_kind samba__norm_from_name(const char *name, size_t size)
{
    return number_of(norm_names, sizeof norm_names / sizeof *norm_names, name, size);
}

const samba__role *samba__role_find(samba_sublayer_kind kind, uint32_t role)
{
    for (size_t i = 0; i < samba__n_roles; i++)
        if (samba__roles[i].kind == kind && samba__roles[i].role == role)
            return &samba__roles[i];
    return NULL;
}

static uint64_t dimension(uint8_t code, const samba_backend_sublayer *d)
{
    switch (code) {
    case DIM_MODEL:
        return d->d_model;
    case DIM_INNER:
        return d->d_inner;
    case DIM_INNER2:
        return 2 * (uint64_t)d->d_inner;
    case DIM_STATE:
        return d->d_state;
    case DIM_CONV:
        return d->d_conv;
    case DIM_RANK:
        return d->dt_rank;
    case DIM_DBC:
        return d->dt_rank + 2 * (uint64_t)d->d_state;
    case DIM_HC:
        return (uint64_t)d->n_heads * d->head_dim;
    case DIM_GC:
        return (uint64_t)d->n_kv_heads * d->head_dim;
    case DIM_2C:
        return 2 * (uint64_t)d->head_dim;
    case DIM_HK:
        return (uint64_t)d->n_heads * d->key_dim;
    case DIM_HV:
        return (uint64_t)d->n_heads * d->value_dim;
    case DIM_V:
        return d->value_dim;
    case DIM_GATE:
        return d->gate_rank;
    default:
        return 1;
    }
}

void samba__role_shape(const samba__role *role, const samba_backend_sublayer *desc, uint64_t *rows,
                       uint64_t *cols)
{
    *rows = dimension(role->rows, desc);
    *cols = dimension(role->cols, desc);
}

bool samba__role_is_vector(const samba__role *role)
{
    return role->rows == DIM_ONE;
}

bool samba__role_is_conv(const samba__role *role)
{
    return role->cols == DIM_CONV;
}

samba__need samba__role_need(const samba__role *role, const samba_backend_sublayer *desc)
{
    uint32_t r = role->role;
    if (r == SAMBA_W_NORM_BIAS && desc->norm != SAMBA_NORM_LAYER)
        return SAMBA__NEED_NEVER;
    if ((desc->flags & SAMBA_SUBLAYER_CROSS) &&
        (r == SAMBA_W_K || r == SAMBA_W_K_BIAS || r == SAMBA_W_V || r == SAMBA_W_V_BIAS))
        return SAMBA__NEED_NEVER;
    if (samba__role_is_conv(role) && desc->d_conv == 0)
        return SAMBA__NEED_NEVER;
    return role->required ? SAMBA__NEED_ALWAYS : SAMBA__NEED_MAYBE;
}

bool samba__desc_has_slab(const samba_backend_sublayer *desc)
{
    return desc->kind == MAMBA || desc->kind == GLA || desc->kind == RET ||
           (desc->kind == ATTN && desc->d_conv > 0);
}

bool samba__desc_owns_pages(const samba_backend_sublayer *desc)
{
    return desc->kind == ATTN || (desc->kind == DIFF && !(desc->flags & SAMBA_SUBLAYER_CROSS));
}

/* ---- parameters ---- */

enum {
    SIZE_LIMIT = 1 << 24,
    TAPS_LIMIT = 64
};

typedef struct number {
    const char *name;
    uint32_t value, max; /* 1 .. max */
} number;

/* The first number out of range, or NULL. */
static const number *out_of_range(const number *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (numbers[i].value < 1 || numbers[i].value > numbers[i].max)
            return &numbers[i];
    return NULL;
}

static const number *bad_number(const samba_backend_sublayer *d, number *list)
{
    size_t n = 0;
    list[n++] = (number){"d_model", d->d_model, SIZE_LIMIT};
    if (d->kind == MAMBA || d->kind == GMU || d->kind == MLP)
        list[n++] = (number){"d_inner", d->d_inner, SIZE_LIMIT};
    if (d->kind == MAMBA) {
        list[n++] = (number){"d_state", d->d_state, SIZE_LIMIT};
        list[n++] = (number){"d_conv", d->d_conv, TAPS_LIMIT};
        list[n++] = (number){"dt_rank", d->dt_rank, SIZE_LIMIT};
    }
    if (d->kind == ATTN || d->kind == DIFF) {
        list[n++] = (number){"heads", d->n_heads, SIZE_LIMIT};
        list[n++] = (number){"kv_heads", d->n_kv_heads, SIZE_LIMIT};
        list[n++] = (number){"head_dim", d->head_dim, SIZE_LIMIT};
    }
    if (d->kind == GLA || d->kind == RET) {
        list[n++] = (number){"heads", d->n_heads, SIZE_LIMIT};
        list[n++] = (number){"key_dim", d->key_dim, SIZE_LIMIT};
        list[n++] = (number){"value_dim", d->value_dim, SIZE_LIMIT};
    }
    if (d->kind == GLA)
        list[n++] = (number){"gate_rank", d->gate_rank, SIZE_LIMIT};
    return out_of_range(list, n);
}

/* A floating point parameter that makes no sense, by name, or NULL. */
static const char *bad_float(const samba_backend_sublayer *d)
{
    if (!(d->norm_eps >= 0.0f && d->norm_eps < 1.0f))
        return "norm_eps";
    if (!(d->subnorm_eps >= 0.0f && d->subnorm_eps < 1.0f))
        return "subnorm_eps";
    if (d->rope_dims && !(d->rope_base > 0.0f && d->rope_base < INFINITY))
        return "rope_base";
    if (d->rope_dims && !(d->rope_condense > 0.0f && d->rope_condense < INFINITY))
        return "rope_condense";
    if (!isfinite(d->lambda))
        return "lambda";
    return isfinite(d->lambda_init) ? NULL : "lambda_init";
}

static bool heads_fit(const samba_backend_sublayer *d)
{
    if (d->kind == ATTN)
        return d->n_heads % d->n_kv_heads == 0;
    if (d->kind == DIFF)
        return d->n_heads % d->n_kv_heads == 0 && d->n_heads % 2 == 0 && d->n_kv_heads % 2 == 0;
    return true;
}

static bool rope_fits(const samba_backend_sublayer *d)
{
    uint32_t width = d->kind == ATTN ? d->head_dim : d->kind == RET ? d->key_dim : 0;
    if (d->rope_dims == 0)
        return true;
    return d->rope_dims <= width && d->rope_dims % 2 == 0 &&
           (d->rope_table == SAMBA_ROPE_TABLE_BF16 || d->rope_table == SAMBA_ROPE_TABLE_F32);
}

static bool flags_fit(const samba_backend_sublayer *d)
{
    uint32_t known = d->kind == DIFF    ? SAMBA_SUBLAYER_CROSS
                     : d->kind == MAMBA ? SAMBA_SUBLAYER_PUBLISH_MEMORY
                                        : 0;
    return (d->flags & ~known) == 0;
}

static bool taps_fit(const samba_backend_sublayer *d)
{
    return d->kind == MAMBA || d->d_conv == 0 ||
           (d->kind == ATTN && d->d_conv > 1 && d->d_conv <= TAPS_LIMIT);
}

samba_status samba__desc_check(const samba_allocator *a, const samba_backend_sublayer *desc,
                               uint32_t index, const char *file, samba_error **error)
{
    const samba__where where = {.file = file, .offset = SAMBA_NO_OFFSET};
    const char *kind = samba__kind_name(desc->kind), *name;
    const number *bad;
    number list[8] = {{0}};
    if (!kind || !samba__norm_name(desc->norm))
        return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "sublayer %u: kind %d with norm %d is not known", index, desc->kind,
                              desc->norm);
    bad = bad_number(desc, list);
    if (bad)
        return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "sublayer %u (%s): %s is %u, possible are 1 to %u", index, kind,
                              bad->name, bad->value, bad->max);
    name = bad_float(desc);
    if (name)
        return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "sublayer %u (%s): %s is out of range", index, kind, name);
    if (!heads_fit(desc))
        return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "sublayer %u (%s): %u heads do not divide over %u key/value heads",
                              index, kind, desc->n_heads, desc->n_kv_heads);
    if (!rope_fits(desc))
        return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "sublayer %u (%s): %u rotary dimensions (table %d) do not fit heads "
                              "of width %u",
                              index, kind, desc->rope_dims, desc->rope_table,
                              desc->kind == RET ? desc->key_dim : desc->head_dim);
    if (!flags_fit(desc) || !taps_fit(desc))
        return samba__fail_at(a, error, SAMBA_ERROR_UNSUPPORTED, &where,
                              "sublayer %u (%s): flags %#x with d_conv %u are not known", index,
                              kind, desc->flags, desc->d_conv);
    return SAMBA_OK;
}
