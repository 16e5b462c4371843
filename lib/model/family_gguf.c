/*
 * GGUF files: our own ("samba": the metadata is the plan, tensors have canonical names), and
 * "mamba" files made by other tools, whose tensors are called the same.
 */
#include "model/family.h"
#include "model/gguf_plan.h"
#include "model/roles.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Every weight that the sublayer's parameters ask for, and the optional ones that are there. */
static samba_status take_all(samba__build *b, uint32_t index, samba_error **error)
{
    samba__plan_sublayer *s = &b->plan->sublayers[index];
    samba__build_prefix(b, "blk.%u.", index);
    for (size_t i = 0; i < samba__n_roles; i++) {
        const samba__role *r = &samba__roles[i];
        if (r->kind != s->desc.kind)
            continue;
        samba__need need = samba__role_need(r, &s->desc);
        if (need == SAMBA__NEED_ALWAYS ||
            (need == SAMBA__NEED_MAYBE && samba__build_has(b, r->name)))
            SAMBA__TRY(samba__build_take(b, s, r->role, r->name, error));
    }
    return SAMBA_OK;
}

static samba_status take_everything(samba__build *b, samba_error **error)
{
    for (uint32_t i = 0; i < b->plan->n_sublayers; i++)
        SAMBA__TRY(take_all(b, i, error));
    b->prefix[0] = 0;
    const samba__build_ends ends = {.embed = "token_embd.weight",
                                    .norm = "output_norm",
                                    .head = "output.weight",
                                    .tied = !samba__build_has(b, "output.weight")};
    return samba__build_take_ends(b, &ends, error);
}

/* ---- mamba ---- */

static samba_status read_size(const samba__build *b, const char *key, uint32_t *out,
                              samba_error **error)
{
    uint64_t v;
    if (!samba__gguf_get_u64(samba__gguf_find(b->checkpoint->gguf, key), &v) || v < 1 ||
        v > 1 << 24)
        return samba__build_fail(b, error, SAMBA_ERROR_FORMAT,
                                 "metadata: %s is missing or out of range", key);
    *out = (uint32_t)v;
    return SAMBA_OK;
}

/* The vocabulary is what the embedding has rows for, confirmed by the metadata where it speaks. */
static samba_status read_vocab_size(samba__build *b, samba_error **error)
{
    const samba__gguf_value *v = samba__gguf_find(b->checkpoint->gguf, "mamba.vocab_size");
    SAMBA__TRY(samba__build_dim(b, "token_embd.weight", 0, &b->plan->n_vocab, error));
    if (b->plan->n_vocab < 1 || b->plan->n_vocab > 1 << 24)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "tensor token_embd.weight has %u rows", b->plan->n_vocab);
    return v ? read_size(b, "mamba.vocab_size", &b->plan->n_vocab, error) : SAMBA_OK;
}

static samba_status read_mamba(samba__build *b, samba_error **error)
{
    const samba__gguf *g = b->checkpoint->gguf;
    samba__plan *p = b->plan;
    samba_backend_sublayer d = {0};
    uint32_t n = 0;
    uint64_t context;
    double eps;
    bool rms = false;
    SAMBA__TRY(read_size(b, "mamba.block_count", &n, error));
    SAMBA__TRY(read_size(b, "mamba.embedding_length", &p->d_model, error));
    SAMBA__TRY(read_size(b, "mamba.ssm.conv_kernel", &d.d_conv, error));
    SAMBA__TRY(read_size(b, "mamba.ssm.inner_size", &d.d_inner, error));
    SAMBA__TRY(read_size(b, "mamba.ssm.state_size", &d.d_state, error));
    SAMBA__TRY(read_size(b, "mamba.ssm.time_step_rank", &d.dt_rank, error));
    if (samba__gguf_get_bool(samba__gguf_find(g, "mamba.ssm.dt_b_c_rms"), &rms) && rms)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "metadata: mamba.ssm.dt_b_c_rms is set, which this library does "
                                 "not support");
    if (!samba__gguf_get_f64(samba__gguf_find(g, "mamba.attention.layer_norm_rms_epsilon"), &eps))
        eps = 1e-5;
    p->final_norm_kind = SAMBA_NORM_RMS;
    p->final_norm_eps = (float)eps;
    if (samba__gguf_get_u64(samba__gguf_find(g, "mamba.context_length"), &context) &&
        context <= UINT32_MAX)
        p->context_length = (uint32_t)context;
    SAMBA__TRY(read_vocab_size(b, error));
    SAMBA__TRY(samba__build_begin(b, n, 1, error));
    for (uint32_t i = 0; i < n; i++) {
        samba__plan_sublayer *s;
        SAMBA__TRY(samba__build_sublayer(b, SAMBA_SUBLAYER_MAMBA, i, &s, error));
        s->desc.d_conv = d.d_conv;
        s->desc.d_inner = d.d_inner;
        s->desc.d_state = d.d_state;
        s->desc.dt_rank = d.dt_rank;
        SAMBA__TRY(samba__build_shape(b, s, error));
    }
    return SAMBA_OK;
}

/* ---- what both have ---- */

static samba_status read_text(samba__build *b, const char *key, const char **out,
                              samba_error **error)
{
    samba__string s;
    if (!samba__gguf_get_string(samba__gguf_find(b->checkpoint->gguf, key), &s))
        return SAMBA_OK;
    *out = samba__arena_strndup(&b->plan->arena, s.data, s.size);
    return *out ? SAMBA_OK : samba__fail_oom(error);
}

static samba_status read_id(const samba__build *b, const char *key, samba_token *id,
                            samba_error **error)
{
    const samba__gguf_value *v = samba__gguf_find(b->checkpoint->gguf, key);
    int64_t value;
    if (!v)
        return SAMBA_OK;
    if (!samba__gguf_get_i64(v, &value) || value >= (int64_t)b->plan->n_vocab)
        return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                                 "metadata: %s is no token of a vocabulary of %u", key,
                                 b->plan->n_vocab);
    if (value >= 0)
        *id = (samba_token)value;
    return SAMBA_OK;
}

/* The option to use another RoPE table than the file says is for attention alone, as in families.
 */
static void override_table(samba__build *b)
{
    for (uint32_t i = 0; b->options->rope_table && i < b->plan->n_sublayers; i++) {
        samba_backend_sublayer *d = &b->plan->sublayers[i].desc;
        if (d->kind == SAMBA_SUBLAYER_ATTENTION && d->rope_dims)
            d->rope_table = b->options->rope_table;
    }
}

samba_status samba__family_gguf(samba__build *b, samba_error **error)
{
    samba__string arch;
    if (!samba__gguf_get_string(samba__gguf_find(b->checkpoint->gguf, "general.architecture"),
                                &arch))
        return samba__build_fail(b, error, SAMBA_ERROR_FORMAT,
                                 "metadata: general.architecture is missing");
    if (arch.size == 5 && memcmp(arch.data, "samba", 5) == 0) {
        b->plan->family = "samba";
        SAMBA__TRY(samba__gguf_plan_read(b, error));
        override_table(b);
    } else if (arch.size == 5 && memcmp(arch.data, "mamba", 5) == 0) {
        b->plan->family = "mamba";
        SAMBA__TRY(read_mamba(b, error));
    } else {
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "metadata: architecture \"%.*s\" is not supported",
                                 (int)(arch.size < 32 ? arch.size : 32), arch.data);
    }
    SAMBA__TRY(take_everything(b, error));
    SAMBA__TRY(read_text(b, "general.name", &b->plan->name, error));
    SAMBA__TRY(read_text(b, "tokenizer.chat_template", &b->plan->chat_template, error));
    SAMBA__TRY(read_id(b, "tokenizer.ggml.bos_token_id", &b->plan->bos, error));
    return read_id(b, "tokenizer.ggml.eos_token_id", &b->plan->eos, error);
}
