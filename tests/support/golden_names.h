/* All cases, the two that are refused (s6mega) last; golden_n_runnable are the others. */
#ifndef SAMBA_TESTS_GOLDEN_NAMES_H
#define SAMBA_TESTS_GOLDEN_NAMES_H

#include <stddef.h>

extern const char *const golden_names[];
extern const size_t golden_n, golden_n_runnable;

#endif
