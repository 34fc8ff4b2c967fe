/* progress.c: draws the bar, at most ten times a second, only on a terminal. */
#include "progress.h"

#include "timer.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 24, REDRAW_NS = 100000000, LINE_BYTES = 512 };

/* One less than the terminal has, since a line that fills it wraps on some; LINE_BYTES if it does not say. */
static int columns(void)
{
    struct winsize size;
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col - 1 : LINE_BYTES;
}

void vdb_progress_begin(struct vdb_progress *progress, const char *label, const char *unit, uint64_t total)
{
    *progress = (struct vdb_progress){
        .label = label,
        .unit = unit,
        .total = total,
        .started_ns = vdb_now_ns(),
        .enabled = isatty(STDERR_FILENO) != 0,
    };
}

/* 1234567 as "1.2M"; enough for a rate. */
static void format_short(char *out, size_t bytes, double value)
{
    static const char *const suffixes[] = {"", "k", "M", "G"};
    int step = 0;
    while (value >= 1000 && step < 3) {
        value /= 1000;
        step++;
    }
    snprintf(out, bytes, value < 10 && step > 0 ? "%.1f%s" : "%.0f%s", value, suffixes[step]);
}

void vdb_progress_update(struct vdb_progress *progress, uint64_t done)
{
    if (!progress->enabled) {
        return;
    }
    uint64_t now = vdb_now_ns();
    bool first_at_end = done >= progress->total && !progress->drawn_end;
    if (progress->drawn_ns != 0 && now - progress->drawn_ns < REDRAW_NS && !first_at_end) {
        return;
    }
    progress->drawn_end = done >= progress->total;
    progress->drawn_ns = now;
    double part = progress->total > 0 ? (double)done / (double)progress->total : 1.0;
    part = part > 1.0 ? 1.0 : part;
    char bar[BAR_CELLS + 1];
    for (int i = 0; i < BAR_CELLS; i++) {
        bar[i] = i < (int)(part * BAR_CELLS) ? '#' : '.';
    }
    bar[BAR_CELLS] = '\0';
    double seconds = (double)(now - progress->started_ns) * 1e-9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char rate_text[32];
    char done_text[32];
    char total_text[32];
    format_short(rate_text, sizeof rate_text, rate);
    format_short(done_text, sizeof done_text, (double)done);
    format_short(total_text, sizeof total_text, (double)progress->total);
    double left = rate > 0 && done < progress->total ? (double)(progress->total - done) / rate : 0;
    char line[LINE_BYTES];
    snprintf(line, sizeof line, "%s [%s] %3.0f%%  %s/%s %s  %s/s  eta %d:%02d%s%s", progress->label, bar,
             part * 100, done_text, total_text, progress->unit, rate_text, (int)left / 60, (int)left % 60,
             progress->note != NULL ? "  " : "", progress->note != NULL ? progress->note : "");
    fprintf(stderr, "\r\033[K%.*s", columns(), line); /* a second line could not be drawn over */
    fflush(stderr);
}

void vdb_progress_end(struct vdb_progress *progress)
{
    if (progress->enabled && progress->drawn_ns != 0) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    progress->enabled = false;
}
