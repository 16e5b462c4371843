/*
 * Probability mass along an order without sorting: one pass sums the weights of candidates by how
 * far along the order they stand, so that only the step in which the wanted mass is reached has to
 * be put in order. Weights are whole numbers, so every sum is exact and the outcome is that of
 * sorting everything.
 */
#include "base/fmath.h"
#include "run/sampler_chain.h"

#include <string.h>

uint64_t samba__draw_weight(const samba__draw *d, double below)
{
    /* scale is at most 2^62 < exp(43): beyond, nothing is left of it. */
    return below > 43 ? 0 : (uint64_t)(samba__exp(-below) * d->scale);
}

static size_t step_of(const samba__order *order, samba_candidate c)
{
    double position = samba__order_position(order, c) * 8;
    return position < SAMBA__MASS_STEPS - 1 ? (size_t)position : SAMBA__MASS_STEPS - 1;
}

static uint64_t weight_of(const samba__draw *d, samba_candidate c)
{
    return samba__draw_weight(d, samba__below(d->best, c.logit));
}

void samba__draw_masses(const samba__draw *d, const samba__order *order, samba__masses *masses)
{
    memset(masses, 0, sizeof *masses);
    for (size_t i = 0; i < d->n; i++) {
        uint64_t weight = weight_of(d, d->candidates[i]);
        masses->step[step_of(order, d->candidates[i])] += weight;
        masses->total += weight;
    }
}

/* Moves candidates of the steps before `end` to the front of c[0..n); how many they are. */
static size_t gather(const samba__order *order, samba_candidate *c, size_t n, size_t end)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (step_of(order, c[i]) >= end)
            continue;
        samba_candidate other = c[kept];
        c[kept++] = c[i];
        c[i] = other;
    }
    return kept;
}

samba_candidate samba__draw_take(const samba__draw *d, const samba__order *order,
                                 const samba__masses *masses, uint64_t wanted, size_t *n_taken)
{
    size_t step = 0, n = 0;
    uint64_t sum = 0;
    while (step < SAMBA__MASS_STEPS - 1 && sum + masses->step[step] < wanted)
        sum += masses->step[step++];
    size_t before = gather(order, d->candidates, d->n, step);
    samba_candidate last, *c = d->candidates + before;
    size_t here = gather(order, c, d->n - before, step + 1);
    samba__order_heap(order, c, here);
    do {
        last = samba__order_pop(order, c, here - n++);
        sum += weight_of(d, last);
    } while (sum < wanted && n < here);
    memmove(c, c + here - n, n * sizeof *c);
    *n_taken = before + n;
    return last;
}
