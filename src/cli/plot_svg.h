/* plot_svg.h: a chart of curves as one SVG file: axes with units, a legend, light and dark as the reader's screen is.
 *
 * Curves are lists of (x, y). An axis is linear or logarithmic, and begins and ends at round numbers around the data.
 * Colours and dashes both tell curves apart. The text is UTF-8; what XML does not allow in it becomes '?'.
 *
 * Threads: pure.
 */
#ifndef VDB_CLI_PLOT_SVG_H
#define VDB_CLI_PLOT_SVG_H

#include "base/bytes.h"
#include "base/err.h"

enum { VDB_PLOT_SVG_CURVES_MAX = 6 };

/* How the numbers of an axis read. */
typedef enum vdb_plot_svg_unit {
    VDB_PLOT_SVG_NUMBER,  /* 500, 20k, 1.5M */
    VDB_PLOT_SVG_SECONDS, /* 20 us, 1 ms, 5 s */
    VDB_PLOT_SVG_SHARE,   /* 0.25 is 25% */
} vdb_plot_svg_unit;

struct vdb_plot_svg_axis {
    const char *label;
    vdb_plot_svg_unit unit;
    bool logarithmic;
};

struct vdb_plot_svg_curve {
    const char *name;
    const char *note; /* a second, smaller line in the legend; NULL: none */
    const double *x;
    const double *y;
    size_t count;
};

struct vdb_plot_svg {
    const char *title;
    const char *subtitle; /* NULL: none */
    struct vdb_plot_svg_axis x;
    struct vdb_plot_svg_axis y;
    const struct vdb_plot_svg_curve *curves;
    size_t curve_count; /* 1 to VDB_PLOT_SVG_CURVES_MAX */
};

/* Appends the file. Points that are not numbers of up to 1e100, or not positive (from 1e-100) on a logarithmic axis, are
 * left out; VDB_INVALID when none is left. */
vdb_status vdb_plot_svg_write(const struct vdb_plot_svg *plot, struct vdb_buf *out,
                              struct vdb_err *err) VDB_MUST_CHECK;

#endif
