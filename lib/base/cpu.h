/* What the processor can do, and how many cores it has. */
#ifndef SAMBA_BASE_CPU_H
#define SAMBA_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

#define SAMBA__CPU_AVX2 (1u << 0)   /* with FMA and F16C */
#define SAMBA__CPU_AVX512 (1u << 1) /* F, BW, VL, DQ */
#define SAMBA__CPU_AVX512_VNNI (1u << 2)
#define SAMBA__CPU_AVX512_BF16 (1u << 3)
#define SAMBA__CPU_NEON (1u << 4)
#define SAMBA__CPU_DOTPROD (1u << 5)

/* A mask of the above, by cpuid and the OS's saved state (XCR0). */
uint32_t samba__cpu_features(void);
/* Cores this process may run on, at least 1; SMT siblings count as one, and a control group's limit
 * holds, where those are known. */
uint32_t samba__cpu_cores(void);
/* Threads this process can run at the same time, at least 1: as above, but siblings count. */
uint32_t samba__cpu_threads(void);
/* Nanoseconds that this thread has run, and how often it has gone to sleep on its own; false where
 * that is not known. */
bool samba__cpu_thread_usage(uint64_t *ran, uint64_t *slept);
/*
 * This thread's floating point control (rounding, subnormals flushed or not). enter sets the IEEE
 * defaults, whatever the host has set, and returns what was there for leave to put back.
 */
uint64_t samba__float_enter(void);
void samba__float_leave(uint64_t saved);
/* Tells the processor that this thread is spinning. */
void samba__cpu_relax(void);
/* Monotonic seconds. */
double samba__clock_seconds(void);

#endif
