/* The loops of x86, by instruction set: each in the file built for it. */
#ifndef SAMBA_LM_PEAK_X86_H
#define SAMBA_LM_PEAK_X86_H

#include <stddef.h>
#include <stdint.h>

/* The compiler must take the value as changed, and as used. */
#define lm_peak_hide_ymm(x) __asm__ volatile("" : "+x"(x))
#define lm_peak_hide_zmm(x) __asm__ volatile("" : "+v"(x))

uint64_t lm_peak_fma_ymm(uint64_t rounds);
uint64_t lm_peak_maddubs_ymm(uint64_t rounds);
uint64_t lm_peak_read_ymm(const void *at, size_t bytes, size_t n_streams, size_t ahead);
uint64_t lm_peak_fma_zmm(uint64_t rounds);
uint64_t lm_peak_read_zmm(const void *at, size_t bytes, size_t n_streams, size_t ahead);
uint64_t lm_peak_dpbusd_zmm(uint64_t rounds);
uint64_t lm_peak_dpbf16_zmm(uint64_t rounds);

#endif
