/* log.c: one write(2) per line. */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "utf8.h"

enum { LINE_BYTES = 2048 };

static _Atomic int level_now = VDB_LOG_WARN;

static const char *const level_names[] = {"error", "warn", "info", "debug", "off"};

void vdb_log_set_level(vdb_log_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

bool vdb_log_level_parse(const char *text, vdb_log_level *out)
{
    for (int i = VDB_LOG_ERROR; i <= VDB_LOG_OFF; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (vdb_log_level)i;
            return true;
        }
    }
    return false;
}

void vdb_log(vdb_log_level level, const char *room, const char *format, ...)
{
    int now = atomic_load_explicit(&level_now, memory_order_relaxed);
    if (now == VDB_LOG_OFF || (int)level > now) {
        return;
    }
    static const char *const shown[] = {"ERROR", "WARN ", "INFO ", "DEBUG", ""};
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    struct tm tm;
    gmtime_r(&ts.tv_sec, &tm);
    char line[LINE_BYTES];
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s %s: ", ts.tv_nsec / 1000000,
                             shown[level], room);
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    size_t room_left = sizeof line - used - 2; /* for the newline */
    used += text < 0 ? 0 : ((size_t)text < room_left ? (size_t)text : room_left);
    /* Texts of strangers: an event stays one line, and no control character reaches a terminal. */
    line[used] = '\0';
    vdb_utf8_make_printable(line);
    used = strlen(line);
    line[used++] = '\n';
    /* Nothing sensible can be done when stderr itself is broken. */
    (void)!write(STDERR_FILENO, line, used);
}
