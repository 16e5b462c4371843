/*
 * What the contract says of each sublayer kind, as tables: which weights it has, how they are
 * called in GGUF, what shape they have, and which parameters describe it. Families, the GGUF reader
 * and writer and the fingerprint all walk these tables, so a new kind or parameter is a row here.
 */
#ifndef SAMBA_MODEL_ROLES_H
#define SAMBA_MODEL_ROLES_H

#include "model/plan.h"

/* "mamba", "attention", ...; NULL for an unknown kind. Static. */
const char *samba__kind_name(samba_sublayer_kind kind);
samba_sublayer_kind samba__kind_from_name(const char *name, size_t size); /* 0: unknown */
const char *samba__norm_name(samba_norm_kind norm);
samba_norm_kind samba__norm_from_name(const char *name, size_t size);

typedef struct samba__role {
    samba_sublayer_kind kind;
    uint8_t role; /* SAMBA_W_* */
    uint8_t wclass;
    uint8_t rows, cols; /* dimension codes, see roles.c */
    bool required;
    const char *name; /* canonical, after "blk.N." */
} samba__role;

extern const samba__role samba__roles[];
extern const size_t samba__n_roles;

/* NULL if the kind has no such weight. */
const samba__role *samba__role_find(samba_sublayer_kind kind, uint32_t role);
/* Expected shape; a vector has rows 1. */
void samba__role_shape(const samba__role *role, const samba_backend_sublayer *desc, uint64_t *rows,
                       uint64_t *cols);
bool samba__role_is_vector(const samba__role *role);
bool samba__role_is_conv(const samba__role *role);

typedef int32_t samba__need;
enum {
    SAMBA__NEED_NEVER = 0,
    SAMBA__NEED_MAYBE = 1,
    SAMBA__NEED_ALWAYS = 2
};
/* Whether a sublayer of these parameters has the weight. */
samba__need samba__role_need(const samba__role *role, const samba_backend_sublayer *desc);

/* A numeric parameter of a sublayer: u32 or f32 at `offset` of samba_backend_sublayer. */
typedef struct samba__field {
    const char *name; /* after "samba.plan." */
    size_t offset;
    bool is_float;
} samba__field;
extern const samba__field samba__fields[];
extern const size_t samba__n_fields;

/* Which sublayers carry state. */
bool samba__desc_has_slab(const samba_backend_sublayer *desc);
bool samba__desc_owns_pages(const samba_backend_sublayer *desc);

/* Checks the parameters of one sublayer for themselves. `where` names the file; `index` is the
 * sublayer's number. */
samba_status samba__desc_check(const samba_allocator *a, const samba_backend_sublayer *desc,
                               uint32_t index, const char *file, samba_error **error);

#endif
