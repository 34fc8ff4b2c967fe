/* progress.h: a progress bar for long work, on stderr and only when stderr is a terminal.
 *
 *     recover  [##########..........]  50%  512k/1.0M rows  128k/s  eta 0:04
 *
 * Redraws at most ten times a second, and no more of it than the terminal is wide. Threads: confined.
 */
#ifndef VDB_BASE_PROGRESS_H
#define VDB_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct vdb_progress {
    const char *label; /* borrowed, static text */
    const char *unit;
    const char *note; /* more to say, behind it all; NULL: nothing. Set it, and its text, as the work goes on */
    uint64_t total;
    uint64_t started_ns;
    uint64_t drawn_ns;
    bool enabled;
    bool drawn_end; /* the full bar was shown */
};

void vdb_progress_begin(struct vdb_progress *progress, const char *label, const char *unit, uint64_t total);
void vdb_progress_update(struct vdb_progress *progress, uint64_t done);
void vdb_progress_end(struct vdb_progress *progress); /* clears the line */

#endif
