/*
 * A backend named "spy" that hands every call to another one and looks on: it keeps the recurrent
 * state that the last pass left and the published GMU memory, and can call a test back at every
 * step of a pass. One at a time, one thread.
 */
#ifndef SAMBA_TESTS_SPY_DEVICE_H
#define SAMBA_TESTS_SPY_DEVICE_H

#include "samba/backend.h"

enum {
    SPY_MAX_SUBLAYERS = 128
};

typedef struct spy_state {
    samba_sublayer_kind kind;
    float *slab; /* canonical, after the last row of the first sequence; NULL: none */
    size_t n;
    uint32_t n_conv; /* Mamba: floats of conv [E][d_conv-1] before ssm */
} spy_state;

typedef struct spy_seen {
    spy_state sublayers[SPY_MAX_SUBLAYERS]; /* in the order run */
    uint32_t n_sublayers;
    float *memory; /* [memory_rows][memory_width] of the last pass */
    uint64_t memory_rows, memory_width;
    uint64_t n_passes, n_steps; /* steps: begin, embed, sublayer, tap, head, submit, wait, read */
} spy_seen;

/* What stands behind the spy from now on; forgets what was seen. Free with spy_watch(NULL). */
const samba_backend_vtbl *spy_watch(const samba_backend_vtbl *real);
const spy_seen *spy_look(void);
/* Called before every step; a result other than 0 makes that step fail with BACKEND. */
typedef int (*spy_step_fn)(void *user_data, uint64_t step);
void spy_on_step(spy_step_fn fn, void *user_data);

#endif
