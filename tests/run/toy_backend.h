/*
 * A backend for testing everything above the backends: exact, fast, and unforgiving. Its "model" is
 * a chain of hashes: recurrent sublayers hash into a slab, page sublayers store a hash per position
 * and fold over those their window shows, cross sublayers read another one's pages. So each logit
 * depends on every token and on every rule about state, and equality is equality of all of them.
 *
 * It defers all work to `wait`, holds 4 positions a page, poisons what it allocates, what lies past
 * the position, what an aborted pass may have written, and checks the contract at every call:
 * breaches are counted in `violations`, with the last one's text. Calls can be made to fail.
 *
 * toy_shadow is the same model in plain form, one token at a time, with no slabs, pages or passes.
 */
#ifndef TOY_BACKEND_H
#define TOY_BACKEND_H

#include "run/batch.h"
#include "run/generate.h"
#include "run/scheduler.h"
#include "run/session.h"

enum {
    TOY_PAGE = 4,
    TOY_VOCAB = 61,
    TOY_D_MODEL = 3,
    TOY_SUBLAYERS = 7,
    TOY_BLOCKS = 4,
    TOY_SLAB_BYTES = 48,
    TOY_PAGE_BYTES = 160,
    TOY_WINDOW_A = 7,
    TOY_WINDOW_B = 13,
    TOY_EOS = 5
};

/* Memory that counts, and fails on demand. */
typedef struct toy_memory {
    samba_allocator hooks;
    int64_t live; /* blocks */
    uint64_t n_allocs;
    int64_t fail_in; /* calls until the one that fails; < 0: none */
    bool lasting;    /* and all after it */
} toy_memory;

typedef struct toy {
    toy_memory memory;
    samba_context *context;
    samba_model model;
    samba__model_sublayer sublayers[TOY_SUBLAYERS];
    samba__page_slot page_slots[3];
    uint32_t slab_slots[2];
} toy;

/* What tests may look at and set: toy_device_of(toy). */
typedef struct toy_device {
    int64_t n_slabs, n_pages; /* alive */
    int64_t n_passes, n_rows; /* begun */
    int64_t max_rows;         /* of a pass */
    int64_t violations;
    char violation[160]; /* the last one */
    int64_t fail_in;     /* fallible calls until one fails; < 0: none */
    int64_t n_calls;     /* fallible calls so far */
    samba_cancel *cancel;
    int64_t cancel_in; /* sublayer calls until `cancel` is requested; < 0: never */
} toy_device;

extern const samba_backend_vtbl toy_vtbl;
/* What stands for the weights of a sublayer. */
samba_backend_weights *toy_weights(samba_backend_device *d, uint32_t index, uint32_t window);

/* With `full`, one page slot has no window and a cross sublayer reads it. */
toy *toy_create(bool full);
/* Checks that nothing is left: sessions freed, no slab, page or block alive. */
void toy_free(toy *t);
toy_device *toy_device_of(const toy *t);
/* Fails the test if the contract was broken. */
void toy_check(const toy *t);
samba_session *toy_session(toy *t, const samba_session_options *options);

/* One sequence in plain form. */
typedef struct toy_shadow {
    bool full;
    size_t n, capacity;
    samba_token *tokens;
    uint64_t slabs[2];
    uint64_t *values[3]; /* [n] per page slot */
    uint64_t last;       /* what the head sees of the last token; 0 at the start */
    uint64_t taps[TOY_BLOCKS];
} toy_shadow;

void toy_shadow_init(toy_shadow *s, bool full);
void toy_shadow_copy(toy_shadow *to, const toy_shadow *from); /* over an initialised one */
void toy_shadow_free(toy_shadow *s);
void toy_shadow_feed(toy_shadow *s, samba_token token);
/* Back to its first n tokens. */
void toy_shadow_cut(toy_shadow *s, size_t n);
void toy_shadow_feed_all(toy_shadow *s, const samba_token *tokens, size_t n);
/* Logits and hidden states that follow from what the head (or a tap) sees. */
void toy_logits(uint64_t h, float logits[TOY_VOCAB]);
void toy_hidden(uint64_t h, float hidden[TOY_D_MODEL]);
/* Position, tokens kept, and the last row's logits are those of the shadow, bit for bit. */
void toy_check_session(const samba_session *session, const toy_shadow *s, bool has_logits);

/* Small deterministic numbers for tests. */
uint64_t toy_random(uint64_t *state);
samba_token toy_token(uint64_t *state);

#endif
