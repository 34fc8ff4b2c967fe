/* log.h: one line per event on stderr: `2026-01-31T12:00:00.123Z INFO  wal: rotated to segment_000007.wal`.
 *
 * Threads: safe from all threads; a line is written by one write(2), so lines never mix.
 */
#ifndef VDB_BASE_LOG_H
#define VDB_BASE_LOG_H

#include <stdbool.h>

typedef enum vdb_log_level {
    VDB_LOG_ERROR,
    VDB_LOG_WARN,
    VDB_LOG_INFO,
    VDB_LOG_DEBUG,
    VDB_LOG_OFF
} vdb_log_level;

void vdb_log_set_level(vdb_log_level level); /* default: WARN, so that an embedded library stays quiet */
bool vdb_log_level_parse(const char *text, vdb_log_level *out); /* "error", "warn", "info", "debug", "off" */
void vdb_log(vdb_log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
