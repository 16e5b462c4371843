/* The SwiGLU MLP: down(silu(gate x) * up x); it runs in gated.c. */
#include "cpu/cpu.h"

static void build(samba__cpu_builder *b, samba_backend_weights *base)
{
    samba__cpu_gated *w = (samba__cpu_gated *)base;
    const samba_backend_sublayer *d = b->desc;
    *w = (samba__cpu_gated){.base = *base, .width = d->d_inner};
    samba__cpu_build_norm(b, &w->base);
    samba__cpu_build_linear(&w->in, d->d_model);
    samba__cpu_build_part(b, &w->in, SAMBA_W_GATE, SAMBA_W_GATE_BIAS, w->width);
    samba__cpu_build_part(b, &w->in, SAMBA_W_UP, SAMBA_W_UP_BIAS, w->width);
    samba__cpu_build_gated(b, w);
}

const samba__cpu_kind samba__cpu_swiglu = {SAMBA_SUBLAYER_SWIGLU, "SwiGLU",
                                           sizeof(samba__cpu_gated), build, samba__cpu_run_gated};
