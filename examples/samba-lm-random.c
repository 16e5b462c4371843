/*
 * The GGUF stream of a random model. The header is built once; tensor data is a function of
 * (seed, tensor, chunk of 256 elements), so that any part can be read in any order by any thread.
 * Quantised blocks are filled with random numbers and sane scales directly: sizes are such that a
 * projection keeps the size of what goes through it, as in a fresh model; nothing overflows, and
 * nothing is so small that the processor would slow down.
 */
#include "samba-lm-shapes.h"
#include "samba-lm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 32,
    CHUNK = 256,           /* elements: a multiple of every block */
    CHUNK_BYTES_MAX = 1024 /* f32 */
};

/* What a tensor is filled with. */
typedef enum fill_kind {
    FILL_MATRIX,  /* standard deviation about 1/sqrt(columns) */
    FILL_NORM,    /* near 1 */
    FILL_BIAS,    /* near 0 */
    FILL_CONV,    /* +- 1/2 */
    FILL_A,       /* -1, -2, ... along the states */
    FILL_DT_BIAS, /* steps of the scan between 0.007 and 0.13 */
    FILL_EMBED    /* +- 1 */
} fill_kind;

typedef struct tensor {
    char name[40];
    uint64_t rows, cols; /* a vector has rows 0 */
    samba_dtype dtype;
    fill_kind fill;
    uint64_t offset, bytes; /* in the data */
    float size;             /* of a value */
} tensor;

struct lm_random_model {
    uint64_t seed;
    samba_dtype dtype;
    lm_buffer header; /* up to the data */
    tensor *tensors;
    size_t n, capacity;
    uint64_t data_bytes;
};

/* ---- types */

typedef struct type_info {
    samba_dtype dtype;
    uint32_t gguf, block, bytes; /* a block's elements and bytes */
} type_info;

static const type_info types[] = {
    {SAMBA_DTYPE_F32, 0, 1, 4},       {SAMBA_DTYPE_F16, 1, 1, 2},
    {SAMBA_DTYPE_BF16, 30, 1, 2},     {SAMBA_DTYPE_Q8_0, 8, 32, 34},
    {SAMBA_DTYPE_Q4_0, 2, 32, 18},    {SAMBA_DTYPE_Q4_K, 12, 256, 144},
    {SAMBA_DTYPE_Q6_K, 14, 256, 210},
};

static const type_info *type_of(samba_dtype dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype)
            return &types[i];
    return &types[0];
}

/* ---- random bytes */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fill_random(uint64_t *state, void *to, size_t n)
{
    unsigned char *p = to;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t z = mix(*state += 0x9e3779b97f4a7c15u);
        memcpy(p + i, &z, n - i < 8 ? n - i : 8);
    }
}

/* [-1, 1) */
static float uniform(uint64_t *state)
{
    return (float)(mix(*state += 0x9e3779b97f4a7c15u) >> 40) * 0x1p-23f - 1;
}

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Truncates; for sizes of weights, which are far from the ends of the type. */
static uint16_t to_half(float f)
{
    uint32_t u = bits_of(f), mantissa = u & 0x7fffff;
    int exponent = (int)(u >> 23 & 0xff) - 127 + 15;
    if (exponent > 0)
        return (uint16_t)((uint32_t)exponent << 10 | mantissa >> 13);
    return exponent < -9 ? 0 : (uint16_t)((mantissa | 0x800000) >> (14 - exponent));
}

/* ---- a chunk of each type */

static void put_half(unsigned char *to, float f)
{
    uint16_t h = to_half(f);
    to[0] = (unsigned char)(h & 0xff);
    to[1] = (unsigned char)(h >> 8);
}

/* Sign and mantissa random, exponent that of `size`: |x| in [size/1.5, size*1.33) or so. */
static void chunk_16_bit(uint64_t *state, unsigned char *to, samba_dtype dtype, float size)
{
    uint16_t base = dtype == SAMBA_DTYPE_BF16 ? (uint16_t)(bits_of(size) >> 16) : to_half(size);
    uint16_t free_bits = dtype == SAMBA_DTYPE_BF16 ? 0x807f : 0x83ff;
    uint16_t values[CHUNK];
    fill_random(state, values, sizeof values);
    for (int i = 0; i < CHUNK; i++) {
        uint16_t v = (uint16_t)((base & ~free_bits) | (values[i] & free_bits));
        to[2 * i] = (unsigned char)(v & 0xff);
        to[2 * i + 1] = (unsigned char)(v >> 8);
    }
}

static void chunk_f32(uint64_t *state, unsigned char *to, const tensor *t, uint64_t first)
{
    for (unsigned i = 0; i < CHUNK; i++) {
        float x = uniform(state);
        uint64_t column = t->cols ? (first + i) % t->cols : 0;
        if (t->fill == FILL_NORM)
            x = 1 + 0.1f * x;
        else if (t->fill == FILL_A)
            x = -(1 + (float)column) * (1 + 0.1f * x);
        else if (t->fill == FILL_DT_BIAS)
            x = -3.5f + 1.5f * x;
        else
            x *= 1.7f * t->size;
        uint32_t u = bits_of(x);
        for (int k = 0; k < 4; k++)
            to[4 * i + (unsigned)k] = (unsigned char)(u >> 8 * k & 0xff);
    }
}

/* One scale and n bytes, eight (32-element) blocks a chunk. Numbers of 4 bits are not centred; the
 * scales' signs take turns, so that no row has a sum that matters. */
static void chunk_simple(uint64_t *state, unsigned char *to, size_t n, float scale)
{
    for (int b = 0; b < CHUNK / 32; b++, to += n + 2) {
        put_half(to, scale);
        to[1] ^= (unsigned char)(b % 2 << 7);
        fill_random(state, to + 2, n);
    }
}

/* Value = d*sc*q - dmin*m with q 4 bits, sc and m 6 bits: mean 0 where dmin is 7.5 d. */
static void chunk_q4_k(uint64_t *state, unsigned char *to, float size)
{
    put_half(to, size / 256);
    put_half(to + 2, 7.5f * size / 256);
    fill_random(state, to + 4, 140);
}

/* Value = d*sc*(q - 32) with q 6 bits and sc here from -16 to 15. */
static void chunk_q6_k(uint64_t *state, unsigned char *to, float size)
{
    fill_random(state, to, 208);
    for (int i = 192; i < 208; i++)
        to[i] = (unsigned char)((to[i] & 31) - 16);
    put_half(to + 208, size / 170);
}

static void make_chunk(const lm_random_model *m, const tensor *t, uint64_t chunk, unsigned char *to)
{
    uint64_t state = mix(m->seed ^ mix((uint64_t)(t - m->tensors) << 40 ^ chunk));
    switch (t->dtype) {
    case SAMBA_DTYPE_F32:
        chunk_f32(&state, to, t, chunk * CHUNK);
        break;
    case SAMBA_DTYPE_Q8_0:
        chunk_simple(&state, to, 32, t->size / 74);
        break;
    case SAMBA_DTYPE_Q4_0:
        chunk_simple(&state, to, 16, t->size / 4.6f);
        break;
    case SAMBA_DTYPE_Q4_K:
        chunk_q4_k(&state, to, t->size);
        break;
    case SAMBA_DTYPE_Q6_K:
        chunk_q6_k(&state, to, t->size);
        break;
    default:
        chunk_16_bit(&state, to, t->dtype, t->size);
    }
}

/* Bytes [from, from + n) of a tensor. */
static void read_tensor(const lm_random_model *m, const tensor *t, uint64_t from, unsigned char *to,
                        size_t n)
{
    const type_info *type = type_of(t->dtype);
    uint64_t size = (uint64_t)CHUNK / type->block * type->bytes;
    while (n) {
        unsigned char chunk[CHUNK_BYTES_MAX];
        uint64_t at = from % size;
        size_t part = size - at < n ? (size_t)(size - at) : n;
        if (part == size) {
            make_chunk(m, t, from / size, to);
        } else {
            make_chunk(m, t, from / size, chunk);
            memcpy(to, chunk + at, part);
        }
        from += part;
        to += part;
        n -= part;
    }
}

/* ---- tensors */

static void add_tensor(lm_random_model *m, const char *prefix, const char *name, uint64_t rows,
                       uint64_t cols, fill_kind fill)
{
    samba_dtype dtype = fill == FILL_MATRIX || fill == FILL_EMBED ? m->dtype : SAMBA_DTYPE_F32;
    if (strcmp(name, "ssm_dt.weight") == 0)
        dtype = SAMBA_DTYPE_F32;
    else if (strcmp(name, "ssm_x.weight") == 0 && type_of(dtype)->block > 1)
        dtype = SAMBA_DTYPE_Q8_0;
    if (cols % type_of(dtype)->block)
        dtype = SAMBA_DTYPE_BF16; /* as the converter does */
    if (m->n == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 256;
        m->tensors = lm_alloc(m->tensors, m->capacity, sizeof *m->tensors);
    }
    tensor *t = &m->tensors[m->n++];
    *t = (tensor){.rows = rows, .cols = cols, .dtype = dtype, .fill = fill};
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    t->offset = m->data_bytes;
    t->bytes = (rows ? rows : 1) * cols / type_of(dtype)->block * type_of(dtype)->bytes;
    m->data_bytes = (t->offset + t->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    t->size = fill == FILL_MATRIX  ? 1 / sqrtf((float)cols)
              : fill == FILL_EMBED ? 1.0f
              : fill == FILL_CONV  ? 0.5f
                                   : 0.1f;
}

static void add_norm(lm_random_model *m, const char *prefix, const char *name, uint64_t n,
                     int layer)
{
    char full[48];
    snprintf(full, sizeof full, "%s.weight", name);
    add_tensor(m, prefix, full, 0, n, FILL_NORM);
    snprintf(full, sizeof full, "%s.bias", name);
    if (layer)
        add_tensor(m, prefix, full, 0, n, FILL_BIAS);
}

static void add_mamba(lm_random_model *m, const char *prefix, const lm_sublayer *s, uint64_t d)
{
    uint64_t e = s->d_inner, n = s->d_state;
    add_tensor(m, prefix, "ssm_in.weight", 2 * e, d, FILL_MATRIX);
    add_tensor(m, prefix, "ssm_conv1d.weight", e, s->d_conv, FILL_CONV);
    add_tensor(m, prefix, "ssm_conv1d.bias", 0, e, FILL_BIAS);
    add_tensor(m, prefix, "ssm_x.weight", s->dt_rank + 2 * n, e, FILL_MATRIX);
    add_tensor(m, prefix, "ssm_dt.weight", e, s->dt_rank, FILL_MATRIX);
    add_tensor(m, prefix, "ssm_dt.bias", 0, e, FILL_DT_BIAS);
    add_tensor(m, prefix, "ssm_a", e, n, FILL_A);
    add_tensor(m, prefix, "ssm_d", 0, e, FILL_NORM);
    add_tensor(m, prefix, "ssm_out.weight", d, e, FILL_MATRIX);
}

static void add_attention(lm_random_model *m, const char *prefix, const lm_sublayer *s, uint64_t d)
{
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    add_tensor(m, prefix, "attn_q.weight", q, d, FILL_MATRIX);
    if (!s->flags) {
        add_tensor(m, prefix, "attn_k.weight", kv, d, FILL_MATRIX);
        add_tensor(m, prefix, "attn_v.weight", kv, d, FILL_MATRIX);
    }
    if (strcmp(s->kind, "diff_attention") == 0)
        add_tensor(m, prefix, "attn_sub_norm.weight", 0, 2 * s->head_dim, FILL_NORM);
    add_tensor(m, prefix, "attn_output.weight", d, q, FILL_MATRIX);
}

static void add_sublayer(lm_random_model *m, const lm_sublayer *s, size_t index, uint64_t d,
                         int layer_norm)
{
    char prefix[24];
    int mlp = strcmp(s->kind, "swiglu") == 0;
    snprintf(prefix, sizeof prefix, "blk.%zu.", index);
    add_norm(m, prefix, mlp ? "ffn_norm" : "attn_norm", d, layer_norm);
    if (mlp) {
        add_tensor(m, prefix, "ffn_gate.weight", s->d_inner, d, FILL_MATRIX);
        add_tensor(m, prefix, "ffn_up.weight", s->d_inner, d, FILL_MATRIX);
        add_tensor(m, prefix, "ffn_down.weight", d, s->d_inner, FILL_MATRIX);
    } else if (strcmp(s->kind, "mamba") == 0) {
        add_mamba(m, prefix, s, d);
    } else if (strcmp(s->kind, "gmu") == 0) {
        add_tensor(m, prefix, "gmu_in.weight", s->d_inner, d, FILL_MATRIX);
        add_tensor(m, prefix, "gmu_out.weight", d, s->d_inner, FILL_MATRIX);
    } else {
        add_attention(m, prefix, s, d);
    }
}

/* ---- header */

enum {
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9
};

static void put(lm_buffer *b, uint64_t value, int n)
{
    char bytes[8];
    for (int i = 0; i < n; i++)
        bytes[i] = (char)(value >> 8 * i & 0xff);
    lm_append(b, bytes, (size_t)n);
}

static void put_text(lm_buffer *b, const char *text)
{
    put(b, strlen(text), 8);
    lm_append(b, text, strlen(text));
}

static void put_key(lm_buffer *b, const char *key, uint32_t type, uint64_t *n_keys)
{
    put_text(b, key);
    put(b, type, 4);
    ++*n_keys;
}

/* A column of the plan: a member of every sublayer. */
typedef struct column {
    const char *name;
    uint32_t type;
    size_t offset;     /* of the member; SIZE_MAX: the same for all */
    uint32_t constant; /* bits */
} column;

#define MEMBER(name, type, member)                                                                 \
    {                                                                                              \
        name, type, offsetof(lm_sublayer, member), 0                                               \
    }
#define CONSTANT(name, type, bits)                                                                 \
    {                                                                                              \
        name, type, SIZE_MAX, bits                                                                 \
    }
enum {
    BITS_1E_5 = 0x3727c5ac, /* 1e-5f, the eps of all of these */
    BITS_1 = 0x3f800000,
    BITS_10000 = 0x461c4000
};
static const column columns[] = {
    MEMBER("block", GGUF_U32, block),
    MEMBER("slab_slot", GGUF_I32, slab_slot),
    MEMBER("page_slot", GGUF_I32, page_slot),
    MEMBER("flags", GGUF_U32, flags),
    CONSTANT("norm_eps", GGUF_F32, BITS_1E_5),
    MEMBER("d_inner", GGUF_U32, d_inner),
    MEMBER("d_state", GGUF_U32, d_state),
    MEMBER("d_conv", GGUF_U32, d_conv),
    MEMBER("dt_rank", GGUF_U32, dt_rank),
    MEMBER("heads", GGUF_U32, heads),
    MEMBER("kv_heads", GGUF_U32, kv_heads),
    MEMBER("head_dim", GGUF_U32, head_dim),
    MEMBER("window", GGUF_U32, window),
    CONSTANT("key_dim", GGUF_U32, 0),
    CONSTANT("value_dim", GGUF_U32, 0),
    CONSTANT("gate_rank", GGUF_U32, 0),
    MEMBER("rope_dims", GGUF_U32, rope_dims),
    MEMBER("rope_table", GGUF_U32, rope_table),
    CONSTANT("rope_base", GGUF_F32, BITS_10000),
    CONSTANT("rope_condense", GGUF_F32, BITS_1),
    MEMBER("lambda", GGUF_F32, lambda),
    MEMBER("lambda_init", GGUF_F32, lambda_init),
    CONSTANT("subnorm_eps", GGUF_F32, BITS_1E_5),
};

static void put_column(lm_buffer *b, const column *c, const lm_sublayer *subs, size_t n,
                       uint64_t *n_keys)
{
    char key[48];
    snprintf(key, sizeof key, "samba.plan.%s", c->name);
    put_key(b, key, GGUF_ARRAY, n_keys);
    put(b, c->type, 4);
    put(b, n, 8);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = c->constant;
        if (c->offset != SIZE_MAX)
            memcpy(&bits, (const char *)&subs[i] + c->offset, sizeof bits);
        put(b, bits, 4);
    }
}

static void put_u32(lm_buffer *b, const char *key, uint32_t value, uint64_t *n_keys)
{
    put_key(b, key, GGUF_U32, n_keys);
    put(b, value, 4);
}

static void put_string(lm_buffer *b, const char *key, const char *text, uint64_t *n_keys)
{
    put_key(b, key, GGUF_STRING, n_keys);
    put_text(b, text);
}

static uint64_t put_metadata(lm_buffer *b, const lm_shape *shape, const lm_sublayer *subs, size_t n)
{
    const char *norm = shape->layout == LM_LAYOUT_SAMBAY ? "layer" : "rms";
    uint64_t n_keys = 0;
    put_string(b, "general.architecture", "samba", &n_keys);
    put_string(b, "general.name", shape->name, &n_keys);
    put_u32(b, "samba.block_count", (uint32_t)n, &n_keys);
    put_u32(b, "samba.embedding_length", shape->d_model, &n_keys);
    put_u32(b, "samba.vocab_size", shape->n_vocab, &n_keys);
    put_u32(b, "samba.plan.version", 1, &n_keys);
    put_string(b, "samba.plan.final_norm", norm, &n_keys);
    put_key(b, "samba.plan.final_norm_eps", GGUF_F32, &n_keys);
    put(b, BITS_1E_5, 4);
    for (int names = 0; names < 2; names++) {
        put_key(b, names ? "samba.plan.norm" : "samba.plan.kind", GGUF_ARRAY, &n_keys);
        put(b, GGUF_STRING, 4);
        put(b, n, 8);
        for (size_t i = 0; i < n; i++)
            put_text(b, names ? norm : subs[i].kind);
    }
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        put_column(b, &columns[i], subs, n, &n_keys);
    return n_keys;
}

static void put_header(lm_random_model *m, const lm_shape *shape, const lm_sublayer *subs, size_t n)
{
    lm_buffer keys = {0}, *b = &m->header;
    uint64_t n_keys = put_metadata(&keys, shape, subs, n);
    lm_append(b, "GGUF", 4);
    put(b, 3, 4);
    put(b, m->n, 8);
    put(b, n_keys, 8);
    lm_append(b, keys.data, keys.size);
    free(keys.data);
    for (size_t i = 0; i < m->n; i++) {
        const tensor *t = &m->tensors[i];
        put_text(b, t->name);
        put(b, t->rows ? 2 : 1, 4);
        put(b, t->cols, 8);
        if (t->rows)
            put(b, t->rows, 8);
        put(b, type_of(t->dtype)->gguf, 4);
        put(b, t->offset, 8);
    }
    while (b->size % ALIGNMENT)
        put(b, 0, 1);
}

lm_random_model *lm_random_model_create(const lm_shape *shape, samba_dtype dtype, uint64_t seed)
{
    lm_random_model *m = lm_alloc(NULL, 1, sizeof *m);
    size_t n = lm_shape_sublayers(shape, NULL, 0);
    lm_sublayer *subs = lm_alloc(NULL, n, sizeof *subs);
    int layer_norm = shape->layout == LM_LAYOUT_SAMBAY;
    *m = (lm_random_model){.seed = seed, .dtype = dtype};
    lm_shape_sublayers(shape, subs, n);
    add_tensor(m, "", "token_embd.weight", shape->n_vocab, shape->d_model,
               shape->tied ? FILL_MATRIX : FILL_EMBED);
    for (size_t i = 0; i < n; i++)
        add_sublayer(m, &subs[i], i, shape->d_model, layer_norm);
    add_norm(m, "", "output_norm", shape->d_model, layer_norm);
    if (!shape->tied)
        add_tensor(m, "", "output.weight", shape->n_vocab, shape->d_model, FILL_MATRIX);
    put_header(m, shape, subs, n);
    free(subs);
    return m;
}

void lm_random_model_free(lm_random_model *model)
{
    if (!model)
        return;
    free(model->header.data);
    free(model->tensors);
    free(model);
}

/* ---- reading */

/* The last tensor that begins at or before `offset`. */
static const tensor *tensor_at(const lm_random_model *m, uint64_t offset)
{
    size_t low = 0, high = m->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (m->tensors[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return &m->tensors[low];
}

static int32_t read_at(void *user_data, uint64_t offset, void *buffer, size_t size)
{
    const lm_random_model *m = user_data;
    unsigned char *to = buffer;
    while (size) {
        size_t n = size;
        if (offset < m->header.size) {
            n = n < m->header.size - offset ? n : (size_t)(m->header.size - offset);
            memcpy(to, m->header.data + offset, n);
        } else {
            uint64_t at = offset - m->header.size;
            const tensor *t = tensor_at(m, at);
            uint64_t end = t + 1 < m->tensors + m->n ? t[1].offset : m->data_bytes;
            if (at >= end)
                return 1;
            at -= t->offset;
            if (at < t->bytes) {
                n = n < t->bytes - at ? n : (size_t)(t->bytes - at);
                read_tensor(m, t, at, to, n);
            } else { /* padding */
                n = n < end - t->offset - at ? n : (size_t)(end - t->offset - at);
                memset(to, 0, n);
            }
        }
        offset += n;
        to += n;
        size -= n;
    }
    return 0;
}

samba_reader lm_random_model_reader(const lm_random_model *model)
{
    return (samba_reader){.struct_size = sizeof(samba_reader),
                          .size = model->header.size + model->data_bytes,
                          .read_at = read_at,
                          .user_data = (void *)(uintptr_t)model,
                          .name = "random model",
                          .parallel = SAMBA_YES};
}

int lm_random_model_write(const lm_random_model *model, const char *path)
{
    enum {
        PIECE = 1 << 20
    };
    const samba_reader r = lm_random_model_reader(model);
    FILE *f = fopen(path, "wb");
    if (!f)
        return 0;
    char *piece = lm_alloc(NULL, PIECE, 1);
    int good = 1;
    for (uint64_t at = 0; good && at < r.size; at += PIECE) {
        size_t n = r.size - at < PIECE ? (size_t)(r.size - at) : PIECE;
        good = read_at(r.user_data, at, piece, n) == 0 && fwrite(piece, 1, n, f) == n;
    }
    free(piece);
    int cause = errno;
    good = fclose(f) == 0 && good;
    errno = cause;
    return good;
}
