/*
 * config.json behind typed getters: each says in its error which key is wrong and what it holds.
 * Only the families that read JSON know this.
 */
#ifndef SAMBA_MODEL_CONFIG_H
#define SAMBA_MODEL_CONFIG_H

#include "format/json.h"
#include "model/build.h"

typedef struct samba__config {
    const samba__build *build;
    const samba__json *root; /* the object that keys are looked up in */
    const char *what;        /* for messages: "config.json", "config.json attn" */
} samba__config;

/* Absent and null are the same. Sizes are 1 .. 2^24. */
bool samba__config_has(const samba__config *c, const char *key);
samba_status samba__config_size(const samba__config *c, const char *key, uint32_t *out,
                                samba_error **error);
samba_status samba__config_size_or(const samba__config *c, const char *key, uint32_t otherwise,
                                   uint32_t *out, samba_error **error);
/* A size, or "auto" = ceil(d_model / 16); absent: 0, to be read off the tensors. */
samba_status samba__config_rank(const samba__config *c, const char *key, uint32_t d_model,
                                uint32_t *out, samba_error **error);
samba_status samba__config_int_or(const samba__config *c, const char *key, int64_t otherwise,
                                  int64_t *out, samba_error **error);
samba_status samba__config_bool_or(const samba__config *c, const char *key, bool otherwise,
                                   bool *out, samba_error **error);
samba_status samba__config_float_or(const samba__config *c, const char *key, double otherwise,
                                    double *out, samba_error **error);
/* NULL if absent; borrowed from the document. */
samba_status samba__config_string(const samba__config *c, const char *key, const char **out,
                                  samba_error **error);

/* UNSUPPORTED unless the key is absent, null, false, 0 or an empty text, list or object. */
samba_status samba__config_refuse(const samba__config *c, const char *key, samba_error **error);
/* UNSUPPORTED unless the key is absent or one of the texts (NULL ends the list). */
samba_status samba__config_one_of(const samba__config *c, const char *key, const char *const *texts,
                                  samba_error **error);

/* The families, called by family_folder.c with the root of config.json. */
samba_status samba__family_lit_gpt(samba__build *b, const samba__config *c, samba_error **error);
samba_status samba__family_fla(samba__build *b, const samba__config *c, samba_error **error);
samba_status samba__family_mamba(samba__build *b, const samba__config *c, samba_error **error);
samba_status samba__family_phi4flash(samba__build *b, const samba__config *c, samba_error **error);

#endif
