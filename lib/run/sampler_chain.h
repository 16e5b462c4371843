/*
 * What the sampler's own files share: the object, a draw under way, and ordered selection.
 * Invariants of a draw between stages: at least one candidate; no logit is NaN or -inf; `best` is
 * the largest logit.
 */
#ifndef SAMBA_RUN_SAMPLER_CHAIN_H
#define SAMBA_RUN_SAMPLER_CHAIN_H

#include "base/sync.h"
#include "run/sampler.h"

struct samba_sampler {
    samba__refs refs;       /* the host's, and one per stream */
    samba_context *context; /* retained */
    const samba_allocator *alloc;
    samba__stage *stages; /* [n_stages] */
    size_t n_stages, capacity;
    uint64_t seed;
    bool uses_mask, uses_marks;
    atomic_bool frozen;
    _Atomic(samba__sampler_scratch *) spare; /* for draws that bring no scratch */
};

typedef struct samba__draw {
    const samba_allocator *alloc; /* of error objects */
    const samba_sampler_state *state;
    samba__sampler_scratch *scratch;
    samba_candidate *candidates; /* [n], the scratch's */
    size_t n, n_vocab;
    size_t stage; /* index of the one at work, for messages */
    float best;
    double scale; /* weight of the best candidate */
} samba__draw;

/* Runs one stage. */
samba_status samba__stage_apply(const samba__stage *stage, samba__draw *d, samba_error **error);

/*
 * How candidates are ordered: by their distance below the best logit, or (typical) by how far that
 * distance is from `centre`. Ties: better logit, then lower id.
 */
typedef struct samba__order {
    float best;
    bool typical;
    double centre;
} samba__order;

/* Distance below the best logit; equal infinities are 0 apart. May be +inf, never NaN. */
static inline double samba__below(float best, float logit)
{
    return logit >= best ? 0.0 : (double)best - (double)logit;
}

/* What the order goes by; never falls along the order. */
static inline double samba__order_position(const samba__order *order, samba_candidate c)
{
    double below = samba__below(order->best, c.logit);
    if (!order->typical)
        return below;
    return below < order->centre ? order->centre - below : below - order->centre;
}

/* Arranges c[0..n) so that samba__order_pop can run. */
void samba__order_heap(const samba__order *order, samba_candidate *c, size_t n);
/* Moves the first in order to c[n-1]; c[0..n-1) stays a heap. Returns it. */
samba_candidate samba__order_pop(const samba__order *order, samba_candidate *c, size_t n);
/* Brings the m first in order to c[0..m), in no particular order. m <= n. */
void samba__order_select(const samba__order *order, samba_candidate *c, size_t n, size_t m);

/* floor(exp(-below) * scale) for a distance below the best logit. */
uint64_t samba__draw_weight(const samba__draw *d, double below);

/* Weight by position in the order, in steps of 1/8; the last entry is everything beyond. */
enum {
    SAMBA__MASS_STEPS = 256
};
typedef struct samba__masses {
    uint64_t step[SAMBA__MASS_STEPS];
    uint64_t total;
} samba__masses;
void samba__draw_masses(const samba__draw *d, const samba__order *order, samba__masses *masses);
/* Brings the shortest run of candidates, first in order first, that weighs at least `wanted`
 * (1..total) to the front; *n_taken is its length. Returns the last of them. Others may be lost. */
samba_candidate samba__draw_take(const samba__draw *d, const samba__order *order,
                                 const samba__masses *masses, uint64_t wanted, size_t *n_taken);

#endif
