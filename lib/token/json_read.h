/*
 * Reading tokenizer.json: helpers of tokenizer_json.c and json_steps.c. A component, a field or a
 * value that is not known is refused by its name; nothing is skipped in silence.
 */
#ifndef SAMBA_TOKEN_JSON_READ_H
#define SAMBA_TOKEN_JSON_READ_H

#include "format/json.h"
#include "token/impl.h"

typedef struct samba__reading {
    const samba_allocator *alloc;
    samba__tokenizer *t; /* NULL until its size is known */
    samba__decoder *decoder;
    samba_error **error;
} samba__reading;

/* The "type" of a component; "" if it has none. */
samba__text samba__read_type(const samba__json *component);
bool samba__text_is(samba__text text, const char *s);
samba_status samba__read_unsupported(samba__reading *r, const char *what, samba__text name);
samba_status samba__read_malformed(samba__reading *r, const char *what, const char *key);
/* Refuses keys of an object that are not in the list, which is separated and framed by spaces. */
samba_status samba__read_keys(samba__reading *r, const char *what, const samba__json *object,
                              const char *allowed);
/* Absent and null give `otherwise`. */
samba_status samba__read_bool(samba__reading *r, const char *what, const samba__json *object,
                              const char *key, bool otherwise, bool *out);
/* Must be there. */
samba_status samba__read_string(samba__reading *r, const char *what, const samba__json *object,
                                const char *key, samba__text *out);

samba_status samba__read_normalizer(samba__reading *r, const samba__json *v);
samba_status samba__read_pre_tokenizer(samba__reading *r, const samba__json *v);
samba_status samba__read_decoder(samba__reading *r, const samba__json *v);
/* json_model.c: the model with its vocabulary, and how many ids there are. */
samba_status samba__read_model_size(samba__reading *r, const samba__json *model, size_t *n_entries,
                                    int64_t *max_id);
samba_status samba__read_model(samba__reading *r, const samba__json *model,
                               const samba__text **merges, size_t *n_merges);

#endif
