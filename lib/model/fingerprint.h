/*
 * The identity of a model: 128 bits over what its numbers depend on, whatever the container. State
 * saved under one fingerprint continues under the same one only.
 *
 * XXH3-128 over, in this order: every canonical tensor by name (name, dtype, shape, XXH3-128 of the
 * bytes as they are in memory), the plan's parameters, and the tokenizer as the checkpoint holds
 * it. A folder and the GGUF file converted from it without changing types give the same bytes.
 */
#ifndef SAMBA_MODEL_FINGERPRINT_H
#define SAMBA_MODEL_FINGERPRINT_H

#include "base/hash.h"
#include "model/plan.h"

/* `all` is over the three; each of them tells what differs when it does. */
typedef struct samba__model_id {
    uint8_t all[SAMBA__HASH_BYTES];
    uint8_t architecture[SAMBA__HASH_BYTES]; /* the plan */
    uint8_t weights[SAMBA__HASH_BYTES];
    uint8_t tokenizer[SAMBA__HASH_BYTES];
} samba__model_id;

typedef struct samba__tensor_hash {
    const samba__weight *weight;
    samba_dtype dtype;
    uint8_t digest[16];
} samba__tensor_hash;

typedef struct samba__fingerprint {
    const samba_allocator *alloc;
    samba__tensor_hash *tensors; /* [n], room for all of the plan's */
    size_t n, capacity;
} samba__fingerprint;

samba_status samba__fingerprint_begin(samba__fingerprint *f, const samba__plan *plan,
                                      samba_error **error);
/* Once per weight of the plan, in any order; `data` is the whole weight as `dtype`. */
void samba__fingerprint_add(samba__fingerprint *f, const samba__weight *weight, samba_dtype dtype,
                            const void *data, size_t size);
/* The same with the bytes hashed piece by piece. */
void samba__fingerprint_add_stream(samba__fingerprint *f, const samba__weight *weight,
                                   samba_dtype dtype, const samba__hash_stream *stream);
/* Sorts what was added. */
samba_status samba__fingerprint_end(samba__fingerprint *f, const samba__plan *plan,
                                    const samba__checkpoint *checkpoint, samba__model_id *id,
                                    samba_error **error);
void samba__fingerprint_free(samba__fingerprint *f);

#endif
