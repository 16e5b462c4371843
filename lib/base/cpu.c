/*
 * Processor features, cores, clock. An instruction set counts only if the operating system saves
 * its registers. What cannot be found out is answered with the safe small value.
 */
#include "base/cpu.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__) || defined(__i386__)

/* Register sets the system saves: bit 1 SSE, 2 AVX, 5-7 AVX-512. */
static uint64_t xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t samba__cpu_features(void)
{
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29; /* 1.ecx */
    const uint32_t base = fma | osxsave | avx | f16c;
    const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31; /* 7.ebx */
    uint32_t eax, ebx, ecx, edx, found = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & base) != base)
        return 0;
    uint64_t saved = xcr0();
    if ((saved & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return 0;
    uint32_t leaves = eax;
    if (!(ebx & 1u << 5))
        return 0;
    found |= SAMBA__CPU_AVX2;
    if ((saved & 0xe6) != 0xe6 || (ebx & (f | dq | bw | vl)) != (f | dq | bw | vl))
        return found;
    found |= SAMBA__CPU_AVX512;
    if (ecx & 1u << 11)
        found |= SAMBA__CPU_AVX512_VNNI;
    if (leaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 5))
        found |= SAMBA__CPU_AVX512_BF16;
    return found;
}

/* SSE's control word; the exception flags in it (low 6 bits) stay as they are. */
uint64_t samba__float_enter(void)
{
    uint32_t saved = _mm_getcsr();
    _mm_setcsr(0x1f80u | (saved & 0x3fu));
    return saved;
}

void samba__float_leave(uint64_t saved)
{
    _mm_setcsr((uint32_t)saved);
}

void samba__cpu_relax(void)
{
    _mm_pause();
}

#elif defined(__aarch64__)

uint64_t samba__float_enter(void)
{
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" ::"r"((uint64_t)0) : "memory");
    return saved;
}

void samba__float_leave(uint64_t saved)
{
    __asm__ volatile("msr fpcr, %0" ::"r"(saved) : "memory");
}

void samba__cpu_relax(void)
{
    __asm__ volatile("yield");
}

uint32_t samba__cpu_features(void)
{
    const unsigned long asimddp = 1ul << 20;
    return SAMBA__CPU_NEON | (getauxval(AT_HWCAP) & asimddp ? SAMBA__CPU_DOTPROD : 0u);
}

#else

uint32_t samba__cpu_features(void)
{
    return 0;
}

uint64_t samba__float_enter(void)
{
    return 0;
}

void samba__float_leave(uint64_t saved)
{
    (void)saved;
}

void samba__cpu_relax(void) {}

#endif

/* The head of a small system file, zero-terminated; false if it cannot be read. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* Kernels of up to 8192 processors. */
enum {
    MASK_SETS = 8,
    MASK_CPUS = MASK_SETS * CPU_SETSIZE
};

static bool in_mask(const cpu_set_t *mask, long cpu)
{
    return cpu >= 0 && cpu < MASK_CPUS &&
           CPU_ISSET_S((size_t)cpu, MASK_SETS * sizeof(cpu_set_t), mask);
}

/* True if no lower-numbered sibling of `cpu` is in the mask. Lists look like "0,4" or "0-1". */
static bool first_of_core(const cpu_set_t *mask, long cpu)
{
    char path[80], text[256];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/topology/thread_siblings_list",
             cpu);
    if (!read_text(path, text, sizeof text))
        return true;
    for (char *at = text; *at >= '0' && *at <= '9';) {
        long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;
        for (long i = first; i <= last && i < cpu; i++)
            if (in_mask(mask, i))
                return false;
        if (*at == ',')
            at++;
    }
    return true;
}

/* Whole processors the control group may use ("max 100000" or "150000 100000"); 0: no limit. */
static long group_limit(void)
{
    char text[64], *at;
    if (!read_text("/sys/fs/cgroup/cpu.max", text, sizeof text))
        return 0;
    long quota = strtol(text, &at, 10), period = strtol(at, NULL, 10);
    return at == text || quota <= 0 || period <= 0 ? 0 : (quota - 1) / period + 1;
}

/* Processors in the mask, siblings of one core counted once or each. */
static uint32_t count_processors(bool siblings)
{
    cpu_set_t mask[MASK_SETS];
    long n = 0, limit = group_limit();
    memset(mask, 0, sizeof mask);
    if (sched_getaffinity(0, sizeof mask, mask) != 0) {
        n = sysconf(_SC_NPROCESSORS_ONLN);
    } else {
        for (long cpu = 0; cpu < MASK_CPUS; cpu++)
            if (in_mask(mask, cpu) && (siblings || first_of_core(mask, cpu)))
                n++;
    }
    if (limit > 0 && limit < n)
        n = limit;
    return n > 0 ? (uint32_t)n : 1;
}

uint32_t samba__cpu_cores(void)
{
    return count_processors(false);
}

uint32_t samba__cpu_threads(void)
{
    return count_processors(true);
}

#if defined(RUSAGE_THREAD)

bool samba__cpu_thread_usage(uint64_t *ran, uint64_t *slept)
{
    struct rusage r;
    struct timespec t; /* the times in rusage may be a tick old */
    if (getrusage(RUSAGE_THREAD, &r) != 0 || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
        return false;
    *ran = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    *slept = (uint64_t)r.ru_nvcsw;
    return true;
}

#else

bool samba__cpu_thread_usage(uint64_t *ran, uint64_t *slept)
{
    *ran = *slept = 0;
    return false;
}

#endif

double samba__clock_seconds(void)
{
    return (double)uv_hrtime() * 1e-9;
}
