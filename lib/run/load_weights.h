/* Loading, the part that moves weights: from the checkpoint to the device, hashed on the way. */
#ifndef SAMBA_RUN_LOAD_WEIGHTS_H
#define SAMBA_RUN_LOAD_WEIGHTS_H

#include "run/model.h"

enum {
    SAMBA__LOAD_DTYPES = 8
};

typedef struct samba__weights_load {
    const samba_allocator *alloc;
    const samba_model_options *options;
    const samba__checkpoint *checkpoint;
    const samba__plan *plan;
    samba_model *model;                  /* gets embed, sublayers, head, fingerprint, sizes */
    uint32_t counts[SAMBA__LOAD_DTYPES]; /* weights by type */
} samba__weights_load;

samba_status samba__load_weights(samba__weights_load *load, samba_error **error);

/* Most bytes that loading a group of weights of `staging` bytes holds beside the device's own. */
uint64_t samba__load_staging(const samba__device *device, uint64_t staging);

#endif
