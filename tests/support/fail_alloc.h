/*
 * Makes allocations fail. In plain builds every malloc, calloc, realloc, aligned_alloc ... of the
 * process is interposed, so those of libuv and PCRE2 count too. Under a sanitizer, which
 * interposes them itself, the same counters work on fail_alloc_allocator() alone: tests pass that
 * allocator to the library and run unchanged in both builds.
 *
 * Between fail_alloc_begin and fail_alloc_end only the code under test may run: assertions and
 * printf allocate too. All threads count. Not for use by two tests at once in one process.
 */
#ifndef TESTS_SUPPORT_FAIL_ALLOC_H
#define TESTS_SUPPORT_FAIL_ALLOC_H

#include "samba.h"
#include <stdbool.h>

/* Counts from 0; the n-th allocation from here fails (n = 0: none does), and with `lasting` all
 * that follow it. */
void fail_alloc_begin(size_t n, bool lasting);
/* Back to normal; returns the number of allocations asked for since begin, failed ones included. */
size_t fail_alloc_end(void);
/* Since begin: has one been refused? */
bool fail_alloc_hit(void);
/* Blocks alive now, up to a constant: compare two values. */
long fail_alloc_live(void);
/* True where all of malloc is seen, false where only the allocator is. */
bool fail_alloc_sees_all(void);
/* The C library's memory as a samba_allocator, counted in both builds. Static storage. */
const samba_allocator *fail_alloc_allocator(void);

/*
 * One scenario: does its work through fail_alloc_allocator() and frees everything that it made,
 * whatever happens; returns the first status that was not SAMBA_OK, and checks nothing with ck_*.
 */
typedef samba_status (*fail_alloc_scenario)(void *arg);
/*
 * Runs the scenario without failure twice (it must succeed, and leave no block behind), then with
 * its 1st, 2nd, 3rd ... allocation failing, once alone and once with all that follow, until it gets
 * to its end without meeting the failure. Each time: SAMBA_OK (an allocation it can do without),
 * SAMBA_ERROR_OUT_OF_MEMORY or SAMBA_ERROR_BACKEND (a thread that cannot start), no block left
 * behind, and in between it succeeds again. Fails the test otherwise, saying at which n. Returns
 * the number of allocations. `step` > 1 tries every step-th n only.
 */
size_t fail_alloc_every(fail_alloc_scenario scenario, void *arg, size_t step);

#endif
