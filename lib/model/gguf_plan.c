/* Plan <-> GGUF metadata; see gguf_plan.h. The parameters are those of roles.h's field table. */
#include "model/gguf_plan.h"
#include "model/roles.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    PLAN_VERSION = 1,
    KEY_MAX_BYTES = 64,
    QUANTIZATION_VERSION = 2
};

#define PLAN_KEY "samba.plan."

/* ---- writing ---- */

/* The largest of a u32 parameter over all sublayers: what other tools show of a model. */
static uint32_t largest(const samba__plan *p, samba_sublayer_kind kind, size_t offset)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        uint32_t v;
        if (kind && p->sublayers[i].desc.kind != kind)
            continue;
        memcpy(&v, (const char *)&p->sublayers[i].desc + offset, sizeof v);
        max = v > max ? v : max;
    }
    return max;
}

static samba_status write_standard(samba__gguf_writer *w, const samba__plan *p, samba_error **error)
{
    const struct {
        const char *key;
        samba_sublayer_kind kind;
        size_t offset;
    } rows[] = {
        {"samba.feed_forward_length", SAMBA_SUBLAYER_SWIGLU,
         offsetof(samba_backend_sublayer, d_inner)},
        {"samba.attention.head_count", 0, offsetof(samba_backend_sublayer, n_heads)},
        {"samba.attention.head_count_kv", 0, offsetof(samba_backend_sublayer, n_kv_heads)},
        {"samba.attention.key_length", 0, offsetof(samba_backend_sublayer, head_dim)},
        {"samba.attention.value_length", 0, offsetof(samba_backend_sublayer, head_dim)},
        {"samba.attention.sliding_window", 0, offsetof(samba_backend_sublayer, window)},
        {"samba.rope.dimension_count", 0, offsetof(samba_backend_sublayer, rope_dims)},
        {"samba.ssm.conv_kernel", SAMBA_SUBLAYER_MAMBA, offsetof(samba_backend_sublayer, d_conv)},
        {"samba.ssm.inner_size", SAMBA_SUBLAYER_MAMBA, offsetof(samba_backend_sublayer, d_inner)},
        {"samba.ssm.state_size", SAMBA_SUBLAYER_MAMBA, offsetof(samba_backend_sublayer, d_state)},
        {"samba.ssm.time_step_rank", SAMBA_SUBLAYER_MAMBA,
         offsetof(samba_backend_sublayer, dt_rank)},
    };
    SAMBA__TRY(samba__gguf_set_u32(w, "samba.block_count", p->n_sublayers, error));
    SAMBA__TRY(samba__gguf_set_u32(w, "samba.embedding_length", p->d_model, error));
    SAMBA__TRY(samba__gguf_set_u32(w, "samba.vocab_size", p->n_vocab, error));
    if (p->context_length)
        SAMBA__TRY(samba__gguf_set_u32(w, "samba.context_length", p->context_length, error));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        SAMBA__TRY(
            samba__gguf_set_u32(w, rows[i].key, largest(p, rows[i].kind, rows[i].offset), error));
    return samba__gguf_set_f32(w,
                               p->final_norm_kind == SAMBA_NORM_RMS
                                   ? "samba.attention.layer_norm_rms_epsilon"
                                   : "samba.attention.layer_norm_epsilon",
                               p->final_norm_eps, error);
}

/* Room for one array of whatever type, reused for each. */
typedef union column {
    uint32_t u;
    int32_t i;
    float f;
    samba__string s;
} column;

static samba_status write_field(samba__gguf_writer *w, const samba__plan *p,
                                const samba__field *field, void *buffer, samba_error **error)
{
    char key[KEY_MAX_BYTES];
    uint32_t *values = buffer;
    snprintf(key, sizeof key, PLAN_KEY "%s", field->name);
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        memcpy(&values[i], (const char *)&p->sublayers[i].desc + field->offset, sizeof *values);
    if (field->is_float)
        return samba__gguf_set_f32_array(w, key, buffer, p->n_sublayers, error);
    return samba__gguf_set_u32_array(w, key, buffer, p->n_sublayers, error);
}

static samba_status write_names(samba__gguf_writer *w, const samba__plan *p, void *buffer,
                                samba_error **error)
{
    samba__string *names = buffer;
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        const char *name = samba__kind_name(p->sublayers[i].desc.kind);
        names[i] = (samba__string){name, strlen(name)};
    }
    SAMBA__TRY(samba__gguf_set_string_array(w, PLAN_KEY "kind", names, p->n_sublayers, error));
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        const char *name = samba__norm_name(p->sublayers[i].desc.norm);
        names[i] = (samba__string){name, strlen(name)};
    }
    return samba__gguf_set_string_array(w, PLAN_KEY "norm", names, p->n_sublayers, error);
}

static samba_status write_slots(samba__gguf_writer *w, const samba__plan *p, void *buffer,
                                samba_error **error)
{
    uint32_t *blocks = buffer;
    int32_t *slots = buffer;
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        blocks[i] = p->sublayers[i].block;
    SAMBA__TRY(samba__gguf_set_u32_array(w, PLAN_KEY "block", blocks, p->n_sublayers, error));
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        slots[i] = p->sublayers[i].slab_slot;
    SAMBA__TRY(samba__gguf_set_i32_array(w, PLAN_KEY "slab_slot", slots, p->n_sublayers, error));
    for (uint32_t i = 0; i < p->n_sublayers; i++)
        slots[i] = p->sublayers[i].page_slot;
    return samba__gguf_set_i32_array(w, PLAN_KEY "page_slot", slots, p->n_sublayers, error);
}

static samba_status write_plan(samba__gguf_writer *w, const samba__plan *p, void *buffer,
                               samba_error **error)
{
    const char *norm = samba__norm_name(p->final_norm_kind);
    SAMBA__TRY(samba__gguf_set_u32(w, PLAN_KEY "version", PLAN_VERSION, error));
    SAMBA__TRY(samba__gguf_set_string(w, PLAN_KEY "final_norm", norm, strlen(norm), error));
    SAMBA__TRY(samba__gguf_set_f32(w, PLAN_KEY "final_norm_eps", p->final_norm_eps, error));
    SAMBA__TRY(write_names(w, p, buffer, error));
    SAMBA__TRY(write_slots(w, p, buffer, error));
    for (size_t i = 0; i < samba__n_fields; i++)
        SAMBA__TRY(write_field(w, p, &samba__fields[i], buffer, error));
    return SAMBA_OK;
}

samba_status samba__gguf_plan_write(samba__gguf_writer *w, const samba__plan *plan,
                                    const char *name, uint32_t file_type, samba_error **error)
{
    column *buffer = samba__alloc_array(plan->alloc, plan->n_sublayers, sizeof *buffer);
    samba_status status;
    if (!buffer)
        return samba__fail_oom(error);
    SAMBA__TRY_GOTO(samba__gguf_set_string(w, "general.architecture", "samba", 5, error));
    SAMBA__TRY_GOTO(samba__gguf_set_string(w, "general.name", name, strlen(name), error));
    SAMBA__TRY_GOTO(samba__gguf_set_u32(w, "general.file_type", file_type, error));
    SAMBA__TRY_GOTO(
        samba__gguf_set_u32(w, "general.quantization_version", QUANTIZATION_VERSION, error));
    SAMBA__TRY_GOTO(write_standard(w, plan, error));
    SAMBA__TRY_GOTO(write_plan(w, plan, buffer, error));
fail:
    samba__free(plan->alloc, buffer);
    return status;
}

/* ---- reading ---- */

static samba_status fail_key(const samba__build *b, const char *key, const char *what,
                             samba_error **error)
{
    return samba__build_fail(b, error, SAMBA_ERROR_FORMAT, "metadata: %.96s %s", key, what);
}

static bool is_known(const char *name)
{
    static const char *const others[] = {"version", "final_norm", "final_norm_eps", "kind",
                                         "norm",    "block",      "slab_slot",      "page_slot"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i], name) == 0)
            return true;
    for (size_t i = 0; i < samba__n_fields; i++)
        if (strcmp(samba__fields[i].name, name) == 0)
            return true;
    return false;
}

/* A parameter that this version does not know may change the arithmetic. */
static samba_status refuse_unknown(const samba__build *b, samba_error **error)
{
    const size_t n = strlen(PLAN_KEY);
    for (size_t i = 0; i < samba__gguf_n_values(b->checkpoint->gguf); i++) {
        const char *key;
        samba__gguf_value_at(b->checkpoint->gguf, i, &key);
        if (strncmp(key, PLAN_KEY, n) == 0 && !is_known(key + n))
            return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                     "metadata: %.96s is not known to this version", key);
    }
    return SAMBA_OK;
}

static samba_status read_u32(const samba__build *b, const char *key, uint32_t *out,
                             samba_error **error)
{
    uint64_t v;
    if (!samba__gguf_get_u64(samba__gguf_find(b->checkpoint->gguf, key), &v) || v > UINT32_MAX)
        return fail_key(b, key, "is missing or no 32-bit number", error);
    *out = (uint32_t)v;
    return SAMBA_OK;
}

static samba_status read_header(samba__build *b, uint32_t *n_sublayers, samba_error **error)
{
    const samba__gguf *g = b->checkpoint->gguf;
    samba__plan *p = b->plan;
    samba__string norm;
    uint64_t context;
    uint32_t version = 0;
    double eps;
    SAMBA__TRY(read_u32(b, PLAN_KEY "version", &version, error));
    if (version != PLAN_VERSION)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "metadata: plan version is %u, this library reads %d", version,
                                 PLAN_VERSION);
    SAMBA__TRY(refuse_unknown(b, error));
    SAMBA__TRY(read_u32(b, "samba.block_count", n_sublayers, error));
    SAMBA__TRY(read_u32(b, "samba.embedding_length", &p->d_model, error));
    SAMBA__TRY(read_u32(b, "samba.vocab_size", &p->n_vocab, error));
    if (p->n_vocab < 1 || p->n_vocab > 1 << 24)
        return fail_key(b, "samba.vocab_size", "is out of range", error);
    if (!samba__gguf_get_string(samba__gguf_find(g, PLAN_KEY "final_norm"), &norm) ||
        !samba__gguf_get_f64(samba__gguf_find(g, PLAN_KEY "final_norm_eps"), &eps))
        return fail_key(b, PLAN_KEY "final_norm", "or its eps is missing", error);
    p->final_norm_kind = samba__norm_from_name(norm.data, norm.size);
    if (!p->final_norm_kind || !(eps >= 0 && eps < 1))
        return fail_key(b, PLAN_KEY "final_norm", "is not known, or its eps out of range", error);
    p->final_norm_eps = (float)eps;
    if (samba__gguf_get_u64(samba__gguf_find(g, "samba.context_length"), &context) &&
        context <= UINT32_MAX)
        p->context_length = (uint32_t)context;
    return SAMBA_OK;
}

/* An array with one entry per sublayer. */
static samba_status find_array(const samba__build *b, const char *name, uint32_t n,
                               const samba__gguf_value **v, samba_error **error)
{
    char key[KEY_MAX_BYTES];
    snprintf(key, sizeof key, PLAN_KEY "%s", name);
    *v = samba__gguf_find(b->checkpoint->gguf, key);
    if (*v && samba__gguf_array_size(*v) == n)
        return SAMBA_OK;
    return samba__build_fail(b, error, SAMBA_ERROR_FORMAT,
                             "metadata: %s has %zu entries, there are %u sublayers", key,
                             samba__gguf_array_size(*v), n);
}

typedef struct arrays {
    uint32_t n;
    const samba__gguf_value *kind, *norm, *block, *slab_slot, *page_slot;
    const samba__gguf_value *fields[32]; /* as samba__fields */
} arrays;

static samba_status find_arrays(const samba__build *b, arrays *a, samba_error **error)
{
    SAMBA__INVARIANT(samba__n_fields <= sizeof a->fields / sizeof *a->fields);
    SAMBA__TRY(find_array(b, "kind", a->n, &a->kind, error));
    SAMBA__TRY(find_array(b, "norm", a->n, &a->norm, error));
    SAMBA__TRY(find_array(b, "block", a->n, &a->block, error));
    SAMBA__TRY(find_array(b, "slab_slot", a->n, &a->slab_slot, error));
    SAMBA__TRY(find_array(b, "page_slot", a->n, &a->page_slot, error));
    for (size_t i = 0; i < samba__n_fields; i++)
        SAMBA__TRY(find_array(b, samba__fields[i].name, a->n, &a->fields[i], error));
    return SAMBA_OK;
}

static samba_status read_field(const samba__build *b, const arrays *a, size_t f, uint32_t i,
                               samba_backend_sublayer *desc, samba_error **error)
{
    const samba__field *field = &samba__fields[f];
    char *to = (char *)desc + field->offset;
    uint64_t number;
    double real;
    if (field->is_float && samba__gguf_array_f64(a->fields[f], i, &real)) {
        float value = (float)real;
        memcpy(to, &value, sizeof value);
        return SAMBA_OK;
    }
    if (!field->is_float && samba__gguf_array_u64(a->fields[f], i, &number) &&
        number <= UINT32_MAX) {
        uint32_t value = (uint32_t)number;
        memcpy(to, &value, sizeof value);
        return SAMBA_OK;
    }
    return samba__build_fail(b, error, SAMBA_ERROR_FORMAT,
                             "metadata: " PLAN_KEY "%s[%u] is not a 32-bit number", field->name, i);
}

static samba_status check_slots(const samba__build *b, const samba__plan_sublayer *s,
                                const arrays *a, uint32_t i, samba_error **error)
{
    int64_t slab, page;
    if (!samba__gguf_array_i64(a->slab_slot, i, &slab) ||
        !samba__gguf_array_i64(a->page_slot, i, &page) || slab != s->slab_slot ||
        page != s->page_slot)
        return samba__build_fail(b, error, SAMBA_ERROR_MISMATCH,
                                 "metadata: state slots of sublayer %u are not %d and %d", i,
                                 s->slab_slot, s->page_slot);
    return SAMBA_OK;
}

static samba_status read_block(samba__build *b, const arrays *a, uint32_t i, uint32_t *block,
                               samba_error **error)
{
    uint32_t least = i ? b->plan->sublayers[i - 1].block : 0, most = i ? least + 1 : 0;
    uint64_t v;
    if (!samba__gguf_array_u64(a->block, i, &v) || v < least || v > most)
        return samba__build_fail(b, error, SAMBA_ERROR_FORMAT,
                                 "metadata: block of sublayer %u is not %u or %u", i, least, most);
    *block = (uint32_t)v;
    return SAMBA_OK;
}

static samba_status read_sublayer(samba__build *b, const arrays *a, uint32_t i, samba_error **error)
{
    samba__string kind = {"", 0}, norm = {"", 0};
    samba__plan_sublayer *s;
    uint32_t block = 0;
    int64_t slot;
    SAMBA__TRY(read_block(b, a, i, &block, error));
    samba__gguf_array_string(a->kind, i, &kind);
    samba__gguf_array_string(a->norm, i, &norm);
    samba_sublayer_kind k = samba__kind_from_name(kind.data, kind.size);
    if (!k)
        return samba__build_fail(b, error, SAMBA_ERROR_UNSUPPORTED,
                                 "metadata: sublayer %u has kind \"%.*s\", which is not known", i,
                                 (int)(kind.size < 32 ? kind.size : 32), kind.data);
    SAMBA__TRY(samba__build_sublayer(b, k, block, &s, error));
    s->desc.norm = samba__norm_from_name(norm.data, norm.size);
    for (size_t f = 0; f < samba__n_fields; f++)
        SAMBA__TRY(read_field(b, a, f, i, &s->desc, error));
    if (s->desc.flags & SAMBA_SUBLAYER_CROSS && samba__gguf_array_i64(a->page_slot, i, &slot) &&
        slot >= 0 && slot < (int64_t)b->plan->n_page_slots)
        s->page_slot = (int32_t)slot;
    SAMBA__TRY(samba__build_shape(b, s, error));
    return check_slots(b, s, a, i, error);
}

samba_status samba__gguf_plan_read(samba__build *b, samba_error **error)
{
    arrays a = {0};
    SAMBA__TRY(read_header(b, &a.n, error));
    SAMBA__TRY(samba__build_begin(b, a.n, 1, error));
    SAMBA__TRY(find_arrays(b, &a, error));
    for (uint32_t i = 0; i < a.n; i++)
        SAMBA__TRY(read_sublayer(b, &a, i, error));
    b->plan->n_blocks = b->plan->sublayers[a.n - 1].block + 1;
    return SAMBA_OK;
}
