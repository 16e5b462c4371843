/*
 * A naive backend for tests, named "fake": a second, independent implementation of every mixer
 * (double arithmetic, libm) and a policeman of the backend contract. Its memory is unreadable
 * between calls, its work happens in wait, its pages hold 16 positions, fresh state is NaN. What
 * breaks the contract is counted here; a test checks that nothing was.
 */
#ifndef SAMBA_TESTS_FAKE_DEVICE_H
#define SAMBA_TESTS_FAKE_DEVICE_H

#include "samba/backend.h"

extern const samba_backend_vtbl fake_vtbl;

typedef struct fake_counts {
    uint64_t violations;
    char first_violation[256];                      /* "" if none */
    int64_t devices, weights, slabs, pages, passes; /* alive now */
    uint64_t passes_run, rows_run;                  /* waited for */
} fake_counts;

/* Over all fake devices of the process; any thread. */
void fake_get_counts(fake_counts *counts);
void fake_reset_counts(void);

#endif
