/* Loading: checkpoint -> plan -> model object -> its weights (load_weights.c). */
#include "base/cpu.h"
#include "model/roles.h"
#include "model/vocab.h"
#include "run/load_weights.h"

#include <stdio.h>
#include <string.h>

enum {
    TYPES_TEXT = 160
};

typedef struct loader {
    const samba_allocator *alloc;
    const samba_model_options *options;
    samba__checkpoint *checkpoint;
    samba__plan *plan;
    samba_model *model;
    uint32_t counts[SAMBA__LOAD_DTYPES]; /* weights by type */
} loader;

/* "q8_0 42, f32 97": the block formats first. */
static const char *types_text(loader *l)
{
    char text[TYPES_TEXT] = "";
    size_t at = 0;
    for (int32_t d = SAMBA__LOAD_DTYPES - 1; d > 0; d--) {
        const char *name = samba_dtype_name(d);
        if (l->counts[d] && name)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %u", at ? ", " : "", name,
                                   l->counts[d]);
    }
    return samba__arena_strndup(&l->model->arena, text, at);
}

static const char *copy_text(samba_model *m, const char *text)
{
    return samba__arena_strndup(&m->arena, text, strlen(text));
}

static samba_status copy_texts(loader *l, samba_error **error)
{
    bool kept;
    samba_model *m = l->model;
    const samba__plan *p = l->plan;
    m->family = copy_text(m, p->family);
    m->name = copy_text(m, p->name);
    m->weight_types = types_text(l);
    if (p->chat_template)
        m->chat_template = copy_text(m, p->chat_template);
    if (!m->family || !m->name || !m->weight_types || (p->chat_template && !m->chat_template))
        return samba__fail_oom(error);
    m->head_dtype =
        samba__weight_dtype(p->head ? p->head : p->embed, l->options->weight_dtype, &kept);
    m->bos = p->bos;
    m->eos = p->eos;
    return SAMBA_OK;
}

static samba_status make_arrays(loader *l, samba_error **error)
{
    samba_model *m = l->model;
    const samba__plan *p = l->plan;
    m->sublayers = samba__arena_alloc(&m->arena, p->n_sublayers, sizeof *m->sublayers);
    m->infos = samba__arena_alloc(&m->arena, p->n_sublayers, sizeof *m->infos);
    m->slab_slots = samba__arena_alloc(&m->arena, p->n_slab_slots, sizeof *m->slab_slots);
    m->page_slots = samba__arena_alloc(&m->arena, p->n_page_slots, sizeof *m->page_slots);
    if (!m->sublayers || !m->infos || !m->slab_slots || !m->page_slots)
        return samba__fail_oom(error);
    m->n_vocab = p->n_vocab;
    m->d_model = p->d_model;
    m->n_blocks = p->n_blocks;
    m->n_sublayers = p->n_sublayers;
    m->n_slab_slots = p->n_slab_slots;
    m->n_page_slots = p->n_page_slots;
    m->narrow_at = p->narrow_at;
    return SAMBA_OK;
}

static void fill_sublayers(samba_model *m, const samba__plan *p)
{
    for (uint32_t i = 0; i < p->n_sublayers; i++) {
        const samba__plan_sublayer *s = &p->sublayers[i];
        samba__model_sublayer *to = &m->sublayers[i];
        to->kind = s->desc.kind;
        to->block = s->block;
        to->ends_block = i + 1 == p->n_sublayers || p->sublayers[i + 1].block != s->block;
        to->owns_pages = samba__desc_owns_pages(&s->desc);
        to->slab_slot = s->slab_slot;
        to->page_slot = s->page_slot;
        to->n_kv_heads = s->desc.n_kv_heads;
        to->head_dim = s->desc.head_dim;
        to->slab_shape = samba__slab_shape_of(&s->desc, i);
        if (to->slab_slot >= 0)
            m->slab_slots[to->slab_slot] = i;
        if (to->owns_pages)
            m->page_slots[to->page_slot] = (samba__page_slot){i, s->desc.window};
        to->window = to->page_slot >= 0 ? m->page_slots[to->page_slot].window : 0;
    }
}

static samba_status make_model(loader *l, samba_context *context, samba_error **error)
{
    const samba_model_options *o = l->options;
    samba__device *device;
    SAMBA__TRY(samba__context_device(context, o->backend ? o->backend : "cpu", o->device_index,
                                     &device, error));
    samba_model *m = samba__calloc(l->alloc, 1, sizeof *m);
    if (!m)
        return samba__fail_oom(error);
    samba__refs_init(&m->refs);
    samba__arena_init(&m->arena, l->alloc);
    m->context = samba__context_retain(context);
    m->alloc = l->alloc;
    m->device = device;
    l->model = m;
    SAMBA__TRY(make_arrays(l, error));
    fill_sublayers(m, l->plan);
    return samba__vocab_load(l->checkpoint, l->plan, &m->tokenizer, error);
}

static samba_status load_weights(loader *l, samba_error **error)
{
    samba__weights_load load = {.alloc = l->alloc,
                                .options = l->options,
                                .checkpoint = l->checkpoint,
                                .plan = l->plan,
                                .model = l->model};
    SAMBA__TRY(samba__load_weights(&load, error));
    memcpy(l->counts, load.counts, sizeof l->counts);
    return SAMBA_OK;
}

static samba_status open_input(loader *l, const samba__load_input *input, samba_error **error)
{
    const samba_model_options *o = l->options;
    const samba__checkpoint_texts texts = {.config_json = o->config_json,
                                           .config_json_size = o->config_json_size,
                                           .tokenizer_json = o->tokenizer_json,
                                           .tokenizer_json_size = o->tokenizer_json_size};
    if (input->source)
        return samba__checkpoint_open_source(l->alloc, input->source, &texts, &l->checkpoint,
                                             error);
    return samba__checkpoint_open_path(l->alloc, input->path, &texts, &l->checkpoint, error);
}

samba_status samba__model_load(samba_context *context, const samba__load_input *input,
                               const samba_model_options *options, samba_model **model,
                               samba_error **error)
{
    const double start = samba__clock_seconds();
    const samba__plan_options plan = {.rope_table = options->rope_table,
                                      .weight_dtype = options->weight_dtype};
    samba_status status;
    loader l = {.alloc = samba__context_alloc(context), .options = options};
    SAMBA__TRY_GOTO(open_input(&l, input, error));
    if (options->mmap == SAMBA_YES)
        SAMBA__TRY_GOTO(samba__checkpoint_map(l.checkpoint, error));
    SAMBA__TRY_GOTO(samba__plan_create(l.checkpoint, &plan, &l.plan, error));
    SAMBA__TRY_GOTO(make_model(&l, context, error));
    SAMBA__TRY_GOTO(load_weights(&l, error));
    SAMBA__TRY_GOTO(copy_texts(&l, error));
    l.model->load_seconds = samba__clock_seconds() - start;
    *model = l.model;
    l.model = NULL;
fail:
    samba__model_release(l.model);
    samba__plan_free(l.plan);
    samba__checkpoint_close(l.checkpoint);
    return status;
}
