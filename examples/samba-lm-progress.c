/* A progress bar on one line of the terminal, redrawn at most ten times a second. */
#include "samba-lm.h"

#include <time.h>
#include <unistd.h>

enum {
    WIDTH = 24,
    PIECE = 2048 /* tokens fed between two looks at the clock */
};

double lm_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void lm_bar_start(lm_bar *bar, const char *what, const char *unit, uint64_t total)
{
    *bar = (lm_bar){.what = what, .unit = unit, .total = total};
    bar->start = bar->drawn = lm_seconds();
    bar->on = isatty(STDERR_FILENO);
}

void lm_bar_update(lm_bar *bar, uint64_t done)
{
    double now = lm_seconds(), spent = now - bar->start;
    if (!bar->on || !bar->total || now - bar->drawn < 0.1)
        return;
    bar->drawn = now;
    double share = (double)done / (double)bar->total, rate = spent > 0 ? (double)done / spent : 0;
    double left = done ? spent / share - spent : 0;
    double unit = bar->unit[0] == 'M' ? 1e6 : 1; /* bytes are shown as MB */
    char cells[WIDTH + 1];
    for (int i = 0; i < WIDTH; i++)
        cells[i] = i < (int)(share * WIDTH) ? '#' : '.';
    cells[WIDTH] = 0;
    fprintf(stderr, "\r%s [%s] %3.0f %%  %.0f / %.0f %s  %.0f %s/s  %.0f s left\033[K", bar->what,
            cells, 100 * share, (double)done / unit, (double)bar->total / unit, bar->unit,
            rate / unit, bar->unit, left);
    fflush(stderr);
}

void lm_bar_end(lm_bar *bar)
{
    if (bar->on && bar->drawn > bar->start)
        fputs("\r\033[K", stderr);
    bar->on = 0;
}

int32_t lm_bar_progress(void *user_data, uint64_t done, uint64_t total)
{
    lm_bar *bar = user_data;
    bar->total = total;
    lm_bar_update(bar, done);
    return SAMBA_CONTINUE;
}

samba_status lm_feed(samba_session *session, const lm_ids *ids, const samba_cancel *cancel,
                     lm_bar *bar, uint64_t done, samba_error **error)
{
    for (size_t at = 0; at < ids->n;) {
        size_t n = ids->n - at < PIECE ? ids->n - at : PIECE;
        samba_eval_options options = {.struct_size = sizeof options, .cancel = cancel};
        options.outputs = at + n < ids->n ? SAMBA_OUTPUT_NONE : SAMBA_OUTPUT_LAST;
        samba_status status = samba_session_eval(session, ids->ids + at, n, &options, error);
        if (status != SAMBA_OK)
            return status;
        at += n;
        if (bar)
            lm_bar_update(bar, done + at);
    }
    return SAMBA_OK;
}
