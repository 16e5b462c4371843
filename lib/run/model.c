/* A loaded model's life and what it tells of itself; loading is load.c. */
#include "run/model.h"
#include "model/roles.h"
#include "run/scheduler.h"
#include "tensor/dtype.h"

samba_model *samba__model_retain(samba_model *model)
{
    samba__refs_take(&model->refs);
    return model;
}

static void release_weights(const samba_model *m, samba_backend_weights *weights)
{
    if (weights)
        m->device->vtbl->release(m->device->handle, weights);
}

void samba__model_release(samba_model *model)
{
    if (!model || !samba__refs_drop(&model->refs))
        return;
    const samba_allocator *a = model->alloc;
    samba_context *context = model->context;
    samba__scheduler_free(samba__model_scheduler(model));
    release_weights(model, model->head); /* before the embedding, which it may share */
    for (uint32_t i = 0; model->sublayers && i < model->n_sublayers; i++)
        release_weights(model, model->sublayers[i].weights);
    release_weights(model, model->embed);
    samba__tokenizer_free(model->tokenizer);
    samba__arena_free(&model->arena);
    samba__free(a, model);
    samba__context_release(context);
}

uint64_t samba__model_state_bytes(const samba_model *m, const samba__full_state *state)
{
    uint64_t bytes = (uint64_t)m->n_vocab * sizeof(float);
    for (uint32_t i = 0; i < m->n_slab_slots; i++)
        bytes += m->sublayers[m->slab_slots[i]].footprint.slab_bytes;
    for (uint32_t i = 0; i < m->n_page_slots; i++) {
        const samba__page_slot *p = &m->page_slots[i];
        const uint64_t seen = p->window ? p->window - 1 : state->full_tokens;
        bytes += samba__pages_spanned(seen + state->rows_per_pass, m->device->info.page_positions) *
                 m->sublayers[p->sublayer].footprint.page_bytes[state->kv_dtype];
    }
    return bytes;
}

void samba__model_info(const samba_model *model, samba_model_info *info)
{
    const samba__device *d = model->device;
    *info = (samba_model_info){.struct_size = sizeof *info,
                               .family = model->family,
                               .name = model->name,
                               .backend = d->vtbl->name,
                               .tier = d->info.device_name,
                               .weight_types = model->weight_types,
                               .chat_template = model->chat_template,
                               .n_parameters = model->n_parameters,
                               .weight_bytes = model->weight_bytes,
                               .n_vocab = model->n_vocab,
                               .d_model = model->d_model,
                               .n_blocks = model->n_blocks,
                               .n_sublayers = model->n_sublayers,
                               .has_tokenizer = model->tokenizer != NULL,
                               .bos_token = model->bos,
                               .eos_token = model->eos,
                               .invariant = (d->info.flags & SAMBA_BACKEND_INVARIANT) != 0,
                               .load_seconds = model->load_seconds,
                               .n_threads = samba__context_threads(model->context),
                               .head_dtype = model->head_dtype};
    for (int i = 0; i < 16; i++)
        info->fingerprint[i] = model->id.all[i];
}

/* What a pass multiplies with, and what a file holds: the small tables of f32 are read, but not all
 * of them are matrices. */
static void count_weights(const samba__plan_sublayer *s, samba_sublayer_info *info)
{
    enum {
        DTYPES = sizeof info->matrix_elements / sizeof *info->matrix_elements
    };
    for (uint32_t r = 0; r < SAMBA_W_COUNT; r++) {
        const samba_backend_tensor *t = &s->desc.tensors[r];
        bool matrix = r == SAMBA_W_DT_PROJ || r == SAMBA_W_GK_B;
        uint64_t bytes = 0;
        if (!s->weights[r])
            continue;
        samba__dtype_bytes(t->dtype, t->rows * t->cols,
                           &bytes); /* checked when the plan was made */
        info->file_bytes += bytes;
        if ((matrix || s->weights[r]->wclass != SAMBA__CLASS_F32) && t->dtype < DTYPES)
            info->matrix_elements[t->dtype] += t->rows * t->cols;
    }
}

samba_sublayer_info samba__sublayer_info(const samba__plan_sublayer *s,
                                         const samba_backend_footprint *footprint)
{
    const samba_backend_sublayer *d = &s->desc;
    samba_sublayer_info info = {.struct_size = sizeof(samba_sublayer_info),
                                .kind = samba__kind_name(d->kind),
                                .norm = samba__norm_name(d->norm),
                                .block = s->block,
                                .n_heads = d->n_heads,
                                .n_kv_heads = d->n_kv_heads,
                                .head_dim = d->head_dim,
                                .window = d->window,
                                .d_inner = d->d_inner,
                                .d_state = d->d_state,
                                .d_conv = d->d_conv,
                                .weight_bytes = footprint->weight_bytes,
                                .slab_bytes = footprint->slab_bytes,
                                .dt_rank = d->dt_rank,
                                .key_dim = d->key_dim,
                                .value_dim = d->value_dim,
                                .cross = (d->flags & SAMBA_SUBLAYER_CROSS) != 0 &&
                                         d->kind == SAMBA_SUBLAYER_DIFF_ATTENTION};
    count_weights(s, &info);
    return info;
}
