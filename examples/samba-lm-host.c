/*
 * Context, model, error messages and Ctrl-C: the first one asks the running call to end, so that
 * what was computed is still printed; the second ends the program.
 */
#include "samba-lm.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static samba_cancel *volatile interrupt_target;
static volatile sig_atomic_t interrupts;

static void on_interrupt(int number)
{
    (void)number;
    if (interrupts++ > 0 || !interrupt_target)
        _exit(LM_INTERRUPTED);
    samba_cancel_request(interrupt_target); /* safe in a signal handler */
}

int lm_interrupted(void)
{
    return interrupts > 0;
}

int lm_complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "samba-lm: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return LM_FAILED;
}

int lm_report(samba_error *error)
{
    const char *file = samba_error_file(error), *tensor = samba_error_tensor(error);
    if (lm_interrupted() && samba_error_status(error) == SAMBA_ERROR_CANCELLED) {
        samba_error_free(error);
        lm_complain("interrupted");
        return LM_INTERRUPTED;
    }
    fprintf(stderr, "samba-lm: %s", samba_error_message(error));
    if (file || tensor)
        fprintf(stderr, " (%s%s%s)", file ? file : "", file && tensor ? ", " : "",
                tensor ? tensor : "");
    fputc('\n', stderr);
    samba_error_free(error);
    return LM_FAILED;
}

int lm_flush_ok(FILE *out, const char *name)
{
    if (fflush(out) == 0 && !ferror(out))
        return 1;
    lm_complain("cannot write to %s", name);
    return 0;
}

static void on_log(void *user_data, samba_log_level level, const char *message)
{
    (void)user_data;
    fprintf(stderr, "samba-lm: %s%s\n", level == SAMBA_LOG_WARNING ? "warning: " : "", message);
}

int lm_host_open(lm_host *host, const lm_common *common)
{
    samba_error *error = NULL;
    struct sigaction action;
    samba_context_options options = {.struct_size = sizeof options,
                                     .log = on_log,
                                     .n_threads = (int32_t)common->threads,
                                     .cpu_tier = common->cpu,
                                     .profile = common->profile ? SAMBA_YES : SAMBA_NO};
    memset(host, 0, sizeof *host);
    if (samba_context_create(&options, &host->context, &error) != SAMBA_OK ||
        samba_cancel_create(host->context, &host->cancel, &error) != SAMBA_OK)
        return lm_report(error);
    interrupt_target = host->cancel;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
    return LM_OK;
}

int lm_host_load(lm_host *host, const char *path)
{
    samba_error *error = NULL;
    lm_bar bar;
    samba_model_options options = {.struct_size = sizeof options,
                                   .progress = lm_bar_progress,
                                   .progress_user_data = &bar,
                                   .cancel = host->cancel};
    lm_bar_start(&bar, "loading", "MB", 0);
    samba_status status = samba_model_load(host->context, path, &options, &host->model, &error);
    lm_bar_end(&bar);
    host->info.struct_size = sizeof host->info;
    if (status != SAMBA_OK || samba_model_get_info(host->model, &host->info, &error) != SAMBA_OK)
        return lm_report(error);
    return LM_OK;
}

void lm_host_close(lm_host *host)
{
    interrupt_target = NULL;
    samba_model_release(host->model);
    samba_cancel_free(host->cancel);
    samba_context_free(host->context);
}
