/*
 * Which family a config.json describes, and what all of them share: keys that change the arithmetic
 * in ways this library does not know are refused here by name; the ids of the first and last token.
 */
#include "model/config.h"
#include "model/family.h"

#include <inttypes.h>
#include <string.h>

static samba_status refuse_common(const samba__config *c, samba_error **error)
{
    static const char *const keys[] = {"quantization_config", "rope_scaling",
                                       "logits_soft_cap",     "final_logit_softcapping",
                                       "logit_scale",         "embedding_multiplier",
                                       "attnres_block_size",  "residual_multiplier"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        SAMBA__TRY(samba__config_refuse(c, keys[i], error));
    return SAMBA_OK;
}

typedef struct family_row {
    const char *model_type;
    const char *needs; /* a key that must be there too, or NULL */
    const char *name;
    samba_status (*build)(samba__build *b, const samba__config *c, samba_error **error);
} family_row;

/* The first row that fits. lit_gpt and native Mamba configs have no model_type. */
static const family_row rows[] = {
    {"", "n_embd", "lit_gpt", samba__family_lit_gpt},
    {"", "ssm_cfg", "mamba", samba__family_mamba},
    {"samba", "n_embd", "lit_gpt", samba__family_lit_gpt},
    {"samba", NULL, "fla_samba", samba__family_fla},
    {"mamba", NULL, "mamba", samba__family_mamba},
    {"phi4flash", NULL, "phi4flash", samba__family_phi4flash},
};

static samba_status run_family(samba__build *b, const samba__config *c, samba_error **error)
{
    const char *type;
    if (!samba__json_is_object(c->root))
        return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH, "config.json is not an object");
    SAMBA__TRY(samba__config_string(c, "model_type", &type, error));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].model_type, type ? type : "") != 0 ||
            (rows[i].needs && !samba__json_get(c->root, rows[i].needs)))
            continue;
        b->plan->family = rows[i].name;
        SAMBA__TRY(refuse_common(c, error));
        return rows[i].build(b, c, error);
    }
    if (!type)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "config.json: no model_type, and neither n_embd nor ssm_cfg: not "
                                 "a family this library knows");
    return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                             "config.json: model_type \"%.64s\" is not supported", type);
}

/* An id, or the first of a list of ids. */
static samba_status read_id(const samba__config *c, const char *key, samba_token *id,
                            samba_error **error)
{
    const samba__json *v = samba__json_get(c->root, key);
    int64_t value;
    if (samba__json_is_array(v))
        v = samba__json_at(v, 0);
    if (*id >= 0 || samba__json_is_null(v))
        return SAMBA_OK;
    if (!samba__json_int(v, &value))
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH, "%s: %s is not a token id",
                                 c->what, key);
    if (value >= (int64_t)c->build->plan->n_vocab)
        return samba__build_fail(c->build, error, SAMBA_ERROR_MISMATCH,
                                 "%s: %s is %" PRId64 ", the vocabulary has %u tokens", c->what,
                                 key, value, c->build->plan->n_vocab);
    if (value >= 0)
        *id = (samba_token)value;
    return SAMBA_OK;
}

static samba_status read_ids(const samba__config *c, samba_error **error)
{
    SAMBA__TRY(read_id(c, "bos_token_id", &c->build->plan->bos, error));
    return read_id(c, "eos_token_id", &c->build->plan->eos, error);
}

/* generation_config.json, where it speaks, overrules config.json. */
static samba_status read_generation_config(const samba__build *b, samba_error **error)
{
    const samba__checkpoint *k = b->checkpoint;
    samba__json_doc *doc = NULL;
    if (!k->generation_config_json)
        return SAMBA_OK;
    SAMBA__TRY(samba__json_parse(b->alloc, k->generation_config_json,
                                 k->generation_config_json_size, "generation_config.json", &doc,
                                 error));
    const samba__config c = {b, samba__json_root(doc), "generation_config.json"};
    samba_status status = read_ids(&c, error);
    samba__json_free(doc);
    return status;
}

static samba_status read_name(samba__build *b, const samba__config *c, samba_error **error)
{
    const char *name;
    SAMBA__TRY(samba__config_string(c, "name", &name, error));
    if (!name)
        SAMBA__TRY(samba__config_string(c, "_name_or_path", &name, error));
    if (!name)
        return SAMBA_OK;
    b->plan->name = samba__arena_strndup(&b->plan->arena, name, strlen(name));
    return b->plan->name ? SAMBA_OK : samba__fail_oom(error);
}

samba_status samba__family_folder(samba__build *b, samba_error **error)
{
    const samba__checkpoint *k = b->checkpoint;
    samba__json_doc *doc = NULL;
    samba_status status;
    if (!k->config_json)
        return samba__build_fail(b, error, SAMBA_ERROR_NOT_FOUND,
                                 "there is no config.json beside the tensors");
    b->sizes = "config";
    SAMBA__TRY(samba__json_parse(b->alloc, k->config_json, k->config_json_size, "config.json", &doc,
                                 error));
    const samba__config c = {b, samba__json_root(doc), "config.json"};
    SAMBA__TRY_GOTO(run_family(b, &c, error));
    SAMBA__TRY_GOTO(read_generation_config(b, error));
    SAMBA__TRY_GOTO(read_ids(&c, error));
    SAMBA__TRY_GOTO(read_name(b, &c, error));
fail:
    samba__json_free(doc);
    return status;
}
