/* Named shapes, and where their numbers come from. */
#include "samba-lm-shapes.h"

#include <math.h>
#include <string.h>

enum {
    D_STATE = 16, /* Mamba's own defaults, which all of these have */
    D_CONV = 4
};

const lm_shape lm_shapes[] = {
    /* name, layout, d_model, blocks, vocabulary, heads, kv heads, head width, window, MLP, tied */

    /* microsoft/Samba, lit_gpt/config.py: Samba_421M and Samba_1.3B. */
    {"samba-421m", LM_LAYOUT_SAMBA, 1536, 12, 32000, 12, 12, 128, 2048, 4096, 1},
    {"samba-1.3b", LM_LAYOUT_SAMBA, 2304, 18, 32000, 18, 18, 128, 2048, 6144, 1},
    /* arXiv 2406.07522, table 12 (the paper counts sublayers: 48 and 64 of them are 24 and 32
     * blocks here). Its MLP width of 8196 is no multiple of a quantised block, so that matrix is
     * bf16. */
    {"samba-1.7b", LM_LAYOUT_SAMBA, 2048, 24, 50304, 32, 4, 64, 2048, 8196, 1},
    {"samba-3.8b", LM_LAYOUT_SAMBA, 2816, 32, 32064, 11, 1, 256, 2048, 9984, 1},
    /* state-spaces/mamba-1.4b, config.json: d_model 2048, n_layer 48, vocabulary padded to 50280.
     */
    {"mamba-1.3b", LM_LAYOUT_MAMBA, 2048, 48, 50280, 0, 0, 0, 0, 0, 1},
    /* microsoft/Samba, lit_gpt/config.py: LLaMA_438M (full attention, head of its own). */
    {"llama-438m", LM_LAYOUT_LLAMA, 1536, 12, 32000, 12, 12, 128, 0, 4096, 0},
    /* Llama 3.2 1B with 24 blocks instead of 16, and the vocabulary of Llama 2. */
    {"llama-1.6b-gqa", LM_LAYOUT_LLAMA, 2048, 24, 32000, 32, 8, 64, 0, 8192, 0},
    /* microsoft/Phi-4-mini-flash-reasoning, config.json. */
    {"phi4-mini-flash", LM_LAYOUT_SAMBAY, 2560, 32, 200064, 40, 20, 64, 512, 10240, 1},
};
const size_t lm_n_shapes = sizeof lm_shapes / sizeof *lm_shapes;

const lm_shape *lm_shape_find(const char *name)
{
    for (size_t i = 0; i < lm_n_shapes; i++)
        if (strcmp(lm_shapes[i].name, name) == 0)
            return &lm_shapes[i];
    return NULL;
}

/* ---- sublayers */

typedef struct maker {
    const lm_shape *shape;
    lm_sublayer *to; /* [most] */
    size_t n, most;
    uint32_t block;
    int32_t n_slabs, n_pages;
} maker;

static void add(maker *m, const lm_sublayer *s)
{
    if (m->n < m->most) {
        m->to[m->n] = *s;
        m->to[m->n].block = m->block;
    }
    m->n++;
}

static lm_sublayer stateless(const char *kind)
{
    return (lm_sublayer){.kind = kind, .slab_slot = -1, .page_slot = -1, .rope_table = 2};
}

static void add_mlp(maker *m)
{
    lm_sublayer s = stateless("swiglu");
    s.d_inner = m->shape->d_mlp;
    add(m, &s);
}

static void add_mamba(maker *m, uint32_t flags)
{
    lm_sublayer s = stateless("mamba");
    s.flags = flags;
    s.d_inner = 2 * m->shape->d_model;
    s.d_state = D_STATE;
    s.d_conv = D_CONV;
    s.dt_rank = (m->shape->d_model + 15) / 16;
    s.slab_slot = m->n_slabs++;
    add(m, &s);
}

static lm_sublayer heads_of(const maker *m, const char *kind)
{
    lm_sublayer s = stateless(kind);
    s.heads = m->shape->n_heads;
    s.kv_heads = m->shape->n_kv_heads;
    s.head_dim = m->shape->head_dim;
    s.window = m->shape->window;
    return s;
}

static void add_attention(maker *m)
{
    lm_sublayer s = heads_of(m, "attention");
    s.rope_dims = s.head_dim;
    s.rope_table = 1;
    s.page_slot = m->n_pages++;
    add(m, &s);
}

/* Phi-4-mini-flash: the first half reads the past, the second reads the memory and the keys that
 * the two layers in the middle publish. */
static void add_sambay(maker *m, uint32_t i)
{
    uint32_t half = m->shape->n_blocks / 2;
    lm_sublayer s = heads_of(m, "diff_attention");
    s.lambda_init = 0.8f - 0.6f * (float)exp(-0.3 * (double)i);
    s.lambda = s.lambda_init;
    if (i % 2 == 0 && i <= half) {
        add_mamba(m, i == half ? 2 : 0); /* publishes its memory */
    } else if (i % 2 == 0) {
        s = stateless("gmu");
        s.d_inner = 2 * m->shape->d_model;
        add(m, &s);
    } else if (i <= half + 1) {
        s.window = i < half ? s.window : 0;
        s.page_slot = m->n_pages++;
        add(m, &s);
    } else {
        s.flags = 1; /* cross: queries only */
        s.window = 0;
        s.page_slot = m->n_pages - 1;
        add(m, &s);
    }
}

size_t lm_shape_sublayers(const lm_shape *shape, lm_sublayer *sublayers, size_t most)
{
    maker m = {.shape = shape, .to = sublayers, .most = most};
    for (uint32_t i = 0; i < shape->n_blocks; i++) {
        m.block = i;
        if (shape->layout == LM_LAYOUT_SAMBAY)
            add_sambay(&m, i);
        else if (shape->layout == LM_LAYOUT_MAMBA || (shape->layout == LM_LAYOUT_SAMBA && !(i % 2)))
            add_mamba(&m, 0);
        else
            add_attention(&m);
        if (shape->layout != LM_LAYOUT_MAMBA)
            add_mlp(&m);
    }
    return m.n;
}
