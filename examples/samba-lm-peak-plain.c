/* For processors that nobody has written peak loops for: the bench then prints no arithmetic peaks.
 */
#include "samba-lm-peak.h"

static uint64_t nothing(uint64_t rounds)
{
    return rounds;
}

static int never(void)
{
    return 0;
}

const lm_peak_loop lm_peak_loops[] = {{"none", LM_PEAK_F32, "none", 1, 1, nothing, never}};
const size_t lm_peak_n_loops = 1;

static uint64_t read_words(const void *at, size_t bytes, size_t n_streams, size_t ahead)
{
    const uint64_t *p = at;
    uint64_t sum = 0;
    (void)ahead;
    for (size_t i = 0; i < bytes * n_streams / sizeof *p; i++)
        sum += p[i];
    return sum;
}

lm_peak_read_fn lm_peak_reader(void)
{
    return read_words;
}

void lm_peak_add_chain(uint64_t n)
{
    volatile uint64_t x = 0; /* dependent, but through memory: a lower bound of the clock */
    for (uint64_t i = 0; i < n; i++)
        x = x + n;
}
