/* The host's log callback, with its level. Messages are built only when they will be delivered. */
#ifndef SAMBA_BASE_LOG_H
#define SAMBA_BASE_LOG_H

#include "base/error.h"

typedef struct samba__log_sink {
    samba_log_fn fn;
    void *user_data;
    samba_log_level level;
} samba__log_sink;

void samba__log_write(const samba__log_sink *log, samba_log_level level, const char *format, ...)
    SAMBA__PRINTF(3, 4);

#endif
