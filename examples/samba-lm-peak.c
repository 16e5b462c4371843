/* Peaks of the machine: clock, threads and memory; see samba-lm-peak.h. The loops themselves are in
 * samba-lm-peak-*.c, each built for its instruction set. */
#include "samba-lm-peak.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
    THREADS_MAX = 1024,
    PIECE = 4096,
    ROUNDS_PER_LOOK = 1 << 20 /* long against the price of a look at the clock */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of this thread: a machine in other use at the same time is no slower by it. */
static double own_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- threads: all start together, each is timed by itself */

typedef struct crew {
    pthread_barrier_t start;
    uint32_t n;
    double seconds;
    const lm_peak_loop *loop;
    const lm_peak_memory *memory;
} crew;

typedef struct member {
    crew *crew;
    uint32_t index;
    pthread_t thread;
    double rate, begin, end;
    uint64_t sink;
} member;

/* The best of many short pieces: whatever else the machine does, some run undisturbed. */
static void compute(member *m)
{
    double begin = own_time(), before = begin, t;
    do {
        uint64_t done = m->crew->loop->run(ROUNDS_PER_LOOK);
        t = own_time();
        double rate = (double)done / (t - before);
        m->rate = rate > m->rate ? rate : m->rate;
        before = t;
    } while (t - begin < m->crew->seconds);
}

/* By the clock on the wall, for threads get in each other's way; one alone by its own time. */
static void read_share(member *m)
{
    double (*clock)(void) = m->crew->n > 1 ? now : own_time;
    const lm_peak_memory *memory = m->crew->memory;
    size_t unit = PIECE * memory->n_streams, units = memory->bytes / unit;
    size_t first = units * m->index / m->crew->n, last = units * (m->index + 1) / m->crew->n;
    size_t share = (last - first) * unit;
    m->begin = clock();
    m->sink = lm_peak_reader()((const char *)memory->data + first * unit, share / memory->n_streams,
                               memory->n_streams, memory->ahead);
    m->end = clock();
}

static void *member_main(void *arg)
{
    member *m = arg;
    pthread_barrier_wait(&m->crew->start);
    if (m->crew->memory)
        read_share(m);
    else
        compute(m);
    return NULL;
}

/* False if the threads can't be had; the caller's is one of them. */
static int run_crew(crew *c, member *members)
{
    if (c->n == 0 || c->n > THREADS_MAX || pthread_barrier_init(&c->start, NULL, c->n) != 0)
        return 0;
    for (uint32_t i = 0; i < c->n; i++)
        members[i] = (member){.crew = c, .index = i};
    for (uint32_t i = 1; i < c->n; i++)
        if (pthread_create(&members[i].thread, NULL, member_main, &members[i]) != 0)
            abort(); /* those that run wait at the barrier for ever */
    member_main(&members[0]);
    for (uint32_t i = 1; i < c->n; i++)
        pthread_join(members[i].thread, NULL);
    pthread_barrier_destroy(&c->start);
    return 1;
}

/* ---- compute */

/* The order of tiers on one architecture; those of the other are never in the same list. */
static int rank_of(const char *tier)
{
    static const char *const x86[] = {"avx2", "avx512", "avx512-vnni", "avx512-bf16"};
    static const char *const arm[] = {"neon", "neon-dotprod"};
    for (int i = 0; i < 4; i++)
        if (strcmp(x86[i], tier) == 0)
            return i;
    for (int i = 0; i < 2; i++)
        if (strcmp(arm[i], tier) == 0)
            return i;
    return 99; /* plain C is measured by the whole machine */
}

int lm_peak_allowed(const lm_peak_loop *loop, const char *tier)
{
    return loop->usable() && rank_of(loop->tier) <= rank_of(tier);
}

const lm_peak_loop *lm_peak_best(lm_peak_type type, const char *tier)
{
    for (size_t i = lm_peak_n_loops; i-- > 0;)
        if (lm_peak_loops[i].type == type && lm_peak_allowed(&lm_peak_loops[i], tier))
            return &lm_peak_loops[i];
    return NULL;
}

double lm_peak_clock(double seconds)
{
    enum {
        ADDS = 1 << 20
    };
    double best = 0, begin = own_time();
    do {
        double t = own_time();
        lm_peak_add_chain(ADDS);
        t = (double)ADDS / (own_time() - t);
        best = t > best ? t : best;
    } while (own_time() - begin < seconds);
    return best;
}

double lm_peak_rounds(const lm_peak_loop *loop, uint32_t n_threads, double seconds)
{
    crew c = {.n = n_threads, .seconds = seconds, .loop = loop};
    member *members = calloc(n_threads, sizeof *members);
    double rate = 0;
    if (members && run_crew(&c, members))
        for (uint32_t i = 0; i < n_threads; i++)
            rate += members[i].rate;
    free(members);
    return rate;
}

double lm_peak_issue_rate(double measured)
{
    static const double rates[] = {0.5, 1, 2, 3, 4};
    double best = rates[0];
    for (size_t i = 1; i < sizeof rates / sizeof *rates; i++)
        if (measured * measured > best * rates[i]) /* nearer by ratio */
            best = rates[i];
    return best;
}

/* ---- memory */

int lm_peak_memory_open(lm_peak_memory *memory, size_t bytes)
{
    enum {
        HUGE = 2 << 20
    };
    *memory = (lm_peak_memory){.n_streams = 1, .ahead = 0};
    memory->bytes = bytes / HUGE * HUGE;
    memory->data = aligned_alloc(HUGE, memory->bytes);
    if (!memory->data)
        return 0;
    madvise(memory->data, memory->bytes, MADV_HUGEPAGE); /* as good as it gets */
    memset(memory->data, 1, memory->bytes);
    return 1;
}

void lm_peak_memory_close(lm_peak_memory *memory)
{
    free(memory->data);
    *memory = (lm_peak_memory){0};
}

double lm_peak_read_rate(const lm_peak_memory *memory, uint32_t n_threads)
{
    crew c = {.n = n_threads, .memory = memory};
    member *members = calloc(n_threads, sizeof *members);
    double rate = 0, begin, end;
    if (members && run_crew(&c, members)) {
        begin = members[0].begin;
        end = members[0].end;
        for (uint32_t i = 1; i < n_threads; i++) {
            begin = members[i].begin < begin ? members[i].begin : begin;
            end = members[i].end > end ? members[i].end : end;
        }
        rate = (double)memory->bytes / (end - begin);
    }
    free(members);
    return rate;
}

void lm_peak_memory_tune(lm_peak_memory *memory, uint32_t n_threads)
{
    static const size_t streams[] = {1, 2, 4}, aheads[] = {0, 1024, 2048, 4096, 8192};
    lm_peak_memory best = *memory;
    double most = 0;
    for (size_t s = 0; s < 3; s++)
        for (size_t a = 0; a < sizeof aheads / sizeof *aheads; a++) {
            memory->n_streams = streams[s];
            memory->ahead = aheads[a];
            double rate = lm_peak_read_rate(memory, n_threads);
            if (rate > most) {
                most = rate;
                best = *memory;
            }
        }
    *memory = best;
}
