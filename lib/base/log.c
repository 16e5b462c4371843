/*
 * Delivers messages to the host. A message that the host does not want costs one comparison.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    LINE_MAX_BYTES = 1024
};

void samba__log_write(const samba__log_sink *log, samba_log_level level, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    if (!log || !log->fn || level > log->level)
        return;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0)
        line[0] = 0;
    samba__clean_line(line);
    log->fn(log->user_data, level, line);
}
