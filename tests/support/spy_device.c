/* The spy backend: see spy_device.h. */
#include "spy_device.h"

#include <stdlib.h>
#include <string.h>

typedef struct spy_weights {
    const samba_backend_weights *weights;
    samba_backend_sublayer desc;
} spy_weights;

static const samba_backend_vtbl *real;
static samba_backend_vtbl spy_table;
static spy_seen seen;
static spy_weights known[SPY_MAX_SUBLAYERS];
static uint32_t n_known;
static samba_backend_batch batch; /* of the running pass */
static samba_backend_device *device;
static const samba_backend_host *spy_host;
static int32_t slots[SPY_MAX_SUBLAYERS]; /* slab slot of the sublayers run so far */
static const samba_backend_sublayer *descs[SPY_MAX_SUBLAYERS];
static spy_step_fn step_fn;
static void *step_user_data;

static samba_status step(samba_error **error)
{
    seen.n_steps++;
    if (step_fn && step_fn(step_user_data, seen.n_steps))
        return spy_host->fail(spy_host->host_data, error, SAMBA_ERROR_BACKEND,
                              "the spy refused this step");
    return SAMBA_OK;
}

static void forget(void)
{
    for (uint32_t i = 0; i < SPY_MAX_SUBLAYERS; i++)
        free(seen.sublayers[i].slab);
    free(seen.memory);
    memset(&seen, 0, sizeof seen);
}

/* Floats of the canonical slab, by backend.h. */
static size_t slab_floats(const samba_backend_sublayer *s, uint32_t *n_conv)
{
    uint32_t taps = s->d_conv ? s->d_conv - 1 : 0;
    *n_conv = 0;
    if (s->kind == SAMBA_SUBLAYER_MAMBA) {
        *n_conv = s->d_inner * taps;
        return *n_conv + (size_t)s->d_inner * s->d_state;
    }
    if (s->kind == SAMBA_SUBLAYER_ATTENTION)
        return (size_t)(s->n_heads + 2 * s->n_kv_heads) * s->head_dim * taps;
    return (size_t)s->n_heads * s->key_dim * s->value_dim;
}

static samba_status spy_open(const samba_backend_open_params *params, samba_backend_device **opened,
                             samba_error **error)
{
    spy_host = params->host;
    samba_status status = real->open(params, opened, error);
    device = status == SAMBA_OK ? *opened : NULL;
    return status;
}

static samba_status spy_prepare_sublayer(samba_backend_device *d, const samba_backend_sublayer *s,
                                         samba_backend_weights **weights, samba_error **error)
{
    samba_status status = real->prepare_sublayer(d, s, weights, error);
    if (status == SAMBA_OK && n_known < SPY_MAX_SUBLAYERS)
        known[n_known++] = (spy_weights){*weights, *s};
    return status;
}

static samba_status spy_begin(samba_backend_device *d, const samba_backend_batch *b,
                              samba_backend_pass **pass, samba_error **error)
{
    samba_status status = step(error);
    if (status != SAMBA_OK)
        return status;
    batch = *b;
    seen.n_sublayers = 0;
    return real->begin(d, b, pass, error);
}

static samba_status spy_embed(samba_backend_pass *pass, const samba_backend_weights *weights,
                              samba_error **error)
{
    samba_status status = step(error);
    return status == SAMBA_OK ? real->embed(pass, weights, error) : status;
}

static samba_status spy_sublayer(samba_backend_pass *pass, const samba_backend_weights *weights,
                                 const samba_backend_run *run, samba_error **error)
{
    samba_status status = step(error);
    for (uint32_t i = 0; i < n_known && seen.n_sublayers < SPY_MAX_SUBLAYERS; i++) {
        if (known[i].weights == weights) {
            descs[seen.n_sublayers] = &known[i].desc;
            slots[seen.n_sublayers++] = run->slab_slot;
            break;
        }
    }
    return status == SAMBA_OK ? real->sublayer(pass, weights, run, error) : status;
}

static samba_status spy_tap(samba_backend_pass *pass, samba_error **error)
{
    samba_status status = step(error);
    return status == SAMBA_OK ? real->tap(pass, error) : status;
}

static samba_status spy_head(samba_backend_pass *pass, const samba_backend_weights *weights,
                             const samba_backend_head_run *run, samba_error **error)
{
    samba_status status = step(error);
    return status == SAMBA_OK ? real->head(pass, weights, run, error) : status;
}

static samba_status spy_submit(samba_backend_pass *pass, samba_error **error)
{
    samba_status status = step(error);
    return status == SAMBA_OK ? real->submit(pass, error) : status;
}

static void look_at_memory(samba_backend_pass *pass, const samba_backend_sublayer *s)
{
    uint64_t rows = batch.n_out == batch.n_rows ? batch.n_rows : 0;
    free(seen.memory);
    seen.memory = malloc((rows * s->d_inner + 1) * sizeof(float));
    seen.memory_rows = rows;
    seen.memory_width = s->d_inner;
    if (rows &&
        real->read(pass, SAMBA_OUT_MEMORY, 0, (uint32_t)rows, seen.memory, NULL) != SAMBA_OK)
        seen.memory_rows = 0;
}

static samba_status spy_wait(samba_backend_pass *pass, samba_error **error)
{
    samba_status status = step(error);
    if (status != SAMBA_OK)
        return status;
    status = real->wait(pass, error);
    if (status != SAMBA_OK)
        return status;
    seen.n_passes++;
    const samba_backend_seq *s = &batch.seqs[0];
    for (uint32_t i = 0; i < seen.n_sublayers; i++) {
        spy_state *state = &seen.sublayers[i];
        state->kind = descs[i]->kind;
        if (descs[i]->flags & SAMBA_SUBLAYER_PUBLISH_MEMORY)
            look_at_memory(pass, descs[i]);
        free(state->slab);
        state->slab = NULL;
        if (slots[i] < 0)
            continue;
        state->n = slab_floats(descs[i], &state->n_conv);
        state->slab = malloc(state->n * sizeof(float));
        uint32_t slab = s->slab_out[(s->n_slab_sets - 1) * batch.n_slab_slots + (uint32_t)slots[i]];
        if (real->slab_pack(device, slab, state->slab, state->n * sizeof(float), NULL) !=
            SAMBA_OK) {
            free(state->slab);
            state->slab = NULL;
        }
    }
    return SAMBA_OK;
}

static samba_status spy_read(samba_backend_pass *pass, samba_pass_output output, uint32_t first_row,
                             uint32_t n_rows, float *to, samba_error **error)
{
    samba_status status = step(error);
    return status == SAMBA_OK ? real->read(pass, output, first_row, n_rows, to, error) : status;
}

const samba_backend_vtbl *spy_watch(const samba_backend_vtbl *behind)
{
    forget();
    n_known = 0;
    step_fn = NULL;
    real = behind;
    if (!real)
        return NULL;
    spy_table = *real;
    spy_table.name = "spy";
    spy_table.open = spy_open;
    spy_table.prepare_sublayer = spy_prepare_sublayer;
    spy_table.begin = spy_begin;
    spy_table.embed = spy_embed;
    spy_table.sublayer = spy_sublayer;
    spy_table.tap = spy_tap;
    spy_table.head = spy_head;
    spy_table.submit = spy_submit;
    spy_table.wait = spy_wait;
    spy_table.read = spy_read;
    return &spy_table;
}

const spy_seen *spy_look(void)
{
    return &seen;
}

void spy_on_step(spy_step_fn fn, void *user_data)
{
    step_fn = fn;
    step_user_data = user_data;
}
