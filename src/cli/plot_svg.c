/* plot_svg.c: scales, ticks, and the text of the SVG file.
 *
 * The page is 920 x 480: the frame of the curves, the legend at its right. Coordinates are written with one decimal,
 * a tenth of a pixel. Colours come from a style sheet in the file, which has a second set for dark screens; all of
 * both have at least 4.5 : 1 of contrast to their background.
 */
#include "plot_svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum {
    PAGE_WIDTH = 920,
    PAGE_HEIGHT = 480,
    FRAME_LEFT = 78,
    FRAME_TOP = 70,
    FRAME_WIDTH = 590,
    FRAME_HEIGHT = 340,
    LEGEND_LEFT = FRAME_LEFT + FRAME_WIDTH + 24,
    TICKS_MAX = 64,
    TICK_BYTES = 32
};

/* Far past any number one draws, and far from where sums and powers of them overflow. */
static const double VALUE_MAX = 1e100;

static const char style[] =
    "<style>\n"
    "svg { color-scheme: light dark; font: 13px system-ui, 'Segoe UI', Roboto, sans-serif; }\n"
    ".page { fill: #ffffff; } text { fill: #1f2328; } .soft { fill: #59636e; }\n"
    ".title { font-size: 17px; font-weight: 600; }\n"
    ".grid { stroke: #d8dee4; } .minor { stroke: #eef1f4; } .frame { stroke: #818b98; fill: none; }\n"
    ".curve { fill: none; stroke-width: 2; stroke-linejoin: round; }\n"
    ".c0 { stroke: #0550ae; } .c1 { stroke: #bc4c00; } .c2 { stroke: #1a7f37; }\n"
    ".c3 { stroke: #8250df; } .c4 { stroke: #cf222e; } .c5 { stroke: #1b7c83; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    ".page { fill: #0d1117; } text { fill: #e6edf3; } .soft { fill: #9198a1; }\n"
    ".grid { stroke: #30363d; } .minor { stroke: #1c2128; } .frame { stroke: #656c76; }\n"
    ".c0 { stroke: #79c0ff; } .c1 { stroke: #ffa657; } .c2 { stroke: #7ee787; }\n"
    ".c3 { stroke: #d2a8ff; } .c4 { stroke: #ff7b72; } .c5 { stroke: #56d4dd; }\n"
    "}\n"
    "</style>\n";

static const char *const dashes[VDB_PLOT_SVG_CURVES_MAX] = {"none", "9 4", "2 3", "12 3 2 3", "5 5", "16 4"};

/* ---- Scales ---- */

struct tick {
    double at;
    bool labelled;
};

struct scale {
    const struct vdb_plot_svg_axis *axis;
    double low; /* of the axis, its logarithm if it is logarithmic */
    double high;
    struct tick ticks[TICKS_MAX];
    size_t tick_count;
};

static bool fits(const struct vdb_plot_svg_axis *axis, double value)
{
    return fabs(value) <= VALUE_MAX && (!axis->logarithmic || value >= 1 / VALUE_MAX);
}

static double position(const struct scale *scale, double value)
{
    double at = scale->axis->logarithmic ? log10(value) : value;
    double share = (at - scale->low) / (scale->high - scale->low);
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

static void put_tick(struct scale *scale, double at, bool labelled)
{
    if (scale->tick_count < TICKS_MAX) {
        scale->ticks[scale->tick_count++] = (struct tick){at, labelled};
    }
}

/* 1, 2 or 5 times a power of ten: at most (or, `up`, at least) the value. */
static double round_number(double value, bool up)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(value)));
    for (size_t i = 0; up && i < 4; i++) {
        if (steps[i] * power >= value * (1 - 1e-9)) {
            return steps[i] * power;
        }
    }
    for (size_t i = 4; !up && i-- > 0;) {
        if (steps[i] * power <= value * (1 + 1e-9)) {
            return steps[i] * power;
        }
    }
    return up ? 10 * power : power;
}

/* Whole decades are labelled, and 2 and 5 between them where there are few. */
static void make_logarithmic(struct scale *scale, double low, double high)
{
    double first = round_number(low, false);
    double last = round_number(high, true);
    if (last <= first * 1.001) {
        last = round_number(first * 2, true);
    }
    scale->low = log10(first);
    scale->high = log10(last);
    double decades = scale->high - scale->low;
    int stride = decades > 12 ? (int)ceil(decades / 12) : 1; /* so that labels, and ticks, have room */
    for (int decade = (int)floor(scale->low + 1e-9); decade <= scale->high + 1e-9; decade += stride) {
        for (int step = 1; step <= 9; step++) {
            double at = step * pow(10, decade);
            bool between = at >= first * (1 - 1e-9) && at <= last * (1 + 1e-9);
            bool labelled = step == 1 || (decades <= 3 && (step == 2 || step == 5));
            if (between && (step == 1 || decades <= 6)) {
                put_tick(scale, at, labelled);
            }
        }
    }
}

static void make_linear(struct scale *scale, double low, double high)
{
    double span = high - low;
    if (span < 1 / VALUE_MAX || span <= fabs(high) * 1e-9) { /* one value: ticks between would not differ */
        span = fabs(high) >= 1 / VALUE_MAX ? fabs(high) : 1;
        high = low + span;
    }
    double step = round_number(span / 6, true);
    double first = floor(low / step + 1e-9);
    double last = ceil(high / step - 1e-9);
    scale->low = first * step;
    scale->high = last * step;
    size_t steps = (size_t)(last - first); /* at most 8 */
    for (size_t i = 0; i <= steps; i++) {
        put_tick(scale, (first + (double)i) * step, true);
    }
}

/* Around all the points that fit both axes. False: there are none. */
static bool make_scales(const struct vdb_plot_svg *plot, struct scale *x, struct scale *y)
{
    double low[2] = {0, 0};
    double high[2] = {0, 0};
    bool any = false;
    *x = (struct scale){.axis = &plot->x};
    *y = (struct scale){.axis = &plot->y};
    for (size_t c = 0; c < plot->curve_count; c++) {
        const struct vdb_plot_svg_curve *curve = &plot->curves[c];
        for (size_t i = 0; i < curve->count; i++) {
            if (!fits(&plot->x, curve->x[i]) || !fits(&plot->y, curve->y[i])) {
                continue;
            }
            low[0] = any ? fmin(low[0], curve->x[i]) : curve->x[i];
            high[0] = any ? fmax(high[0], curve->x[i]) : curve->x[i];
            low[1] = any ? fmin(low[1], curve->y[i]) : curve->y[i];
            high[1] = any ? fmax(high[1], curve->y[i]) : curve->y[i];
            any = true;
        }
    }
    struct scale *scales[2] = {x, y};
    for (int i = 0; any && i < 2; i++) {
        (scales[i]->axis->logarithmic ? make_logarithmic : make_linear)(scales[i], low[i], high[i]);
    }
    return any;
}

static const char *tick_text(char text[TICK_BYTES], vdb_plot_svg_unit unit, double value)
{
    double size = fabs(value);
    if (unit == VDB_PLOT_SVG_SHARE) {
        snprintf(text, TICK_BYTES, "%.6g%%", value * 100);
    } else if (unit == VDB_PLOT_SVG_SECONDS && size > 0) {
        double factor = size < 0.9999e-6 ? 1e9 : size < 0.9999e-3 ? 1e6 : size < 0.9999 ? 1e3 : 1;
        const char *name = factor == 1e9 ? "ns" : factor == 1e6 ? "us" : factor == 1e3 ? "ms" : "s";
        snprintf(text, TICK_BYTES, "%.6g %s", value * factor, name);
    } else if (unit == VDB_PLOT_SVG_NUMBER && size >= 1e3) {
        double factor = size < 1e6 ? 1e-3 : size < 1e9 ? 1e-6 : 1e-9;
        snprintf(text, TICK_BYTES, "%.6g%s", value * factor, size < 1e6 ? "k" : size < 1e9 ? "M" : "G");
    } else {
        snprintf(text, TICK_BYTES, "%.6g", value);
    }
    return text;
}

/* ---- Text ---- */

static void put_escaped(struct vdb_buf *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    const unsigned char *end = at + strlen(text);
    while (at < end) {
        unsigned step = vdb_utf8_sequence(at, end);
        bool noncharacter = step == 3 && at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe; /* U+FFFE, U+FFFF */
        if (step == 0 || *at < 0x20 || noncharacter) {
            vdb_buf_put_u8(out, '?');
        } else if (*at == '&') {
            vdb_buf_put_text(out, "&amp;");
        } else if (*at == '<') {
            vdb_buf_put_text(out, "&lt;");
        } else if (*at == '>') {
            vdb_buf_put_text(out, "&gt;");
        } else if (*at == '"') {
            vdb_buf_put_text(out, "&quot;");
        } else {
            vdb_buf_put(out, at, step);
        }
        at += step > 0 ? step : 1;
    }
}

static void put_text(struct vdb_buf *out, double x, double y, const char *attributes, const char *text)
{
    vdb_buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\"%s%s>", x, y, attributes[0] != '\0' ? " " : "", attributes);
    put_escaped(out, text);
    vdb_buf_put_text(out, "</text>\n");
}

static void put_line(struct vdb_buf *out, const char *class, double x1, double y1, double x2, double y2)
{
    vdb_buf_printf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1,
                   x2, y2);
}

/* ---- Parts ---- */

static double page_x(const struct scale *x, double value)
{
    return FRAME_LEFT + position(x, value) * FRAME_WIDTH;
}

static double page_y(const struct scale *y, double value)
{
    return FRAME_TOP + (1 - position(y, value)) * FRAME_HEIGHT;
}

static void put_axes(const struct vdb_plot_svg *plot, const struct scale *x, const struct scale *y,
                     struct vdb_buf *out)
{
    const double bottom = FRAME_TOP + FRAME_HEIGHT;
    char text[TICK_BYTES];
    char attributes[100];
    for (size_t i = 0; i < x->tick_count; i++) {
        double at = page_x(x, x->ticks[i].at);
        put_line(out, x->ticks[i].labelled ? "grid" : "minor", at, FRAME_TOP, at, bottom);
        if (x->ticks[i].labelled) {
            put_text(out, at, bottom + 19, "class=\"soft\" text-anchor=\"middle\"",
                     tick_text(text, plot->x.unit, x->ticks[i].at));
        }
    }
    for (size_t i = 0; i < y->tick_count; i++) {
        double at = page_y(y, y->ticks[i].at);
        put_line(out, y->ticks[i].labelled ? "grid" : "minor", FRAME_LEFT, at, FRAME_LEFT + FRAME_WIDTH, at);
        if (y->ticks[i].labelled) {
            put_text(out, FRAME_LEFT - 9, at + 4.5, "class=\"soft\" text-anchor=\"end\"",
                     tick_text(text, plot->y.unit, y->ticks[i].at));
        }
    }
    vdb_buf_printf(out, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", FRAME_LEFT,
                   FRAME_TOP, FRAME_WIDTH, FRAME_HEIGHT);
    put_text(out, FRAME_LEFT + FRAME_WIDTH / 2.0, bottom + 46, "text-anchor=\"middle\"", plot->x.label);
    double middle = FRAME_TOP + FRAME_HEIGHT / 2.0;
    snprintf(attributes, sizeof attributes, "text-anchor=\"middle\" transform=\"rotate(-90 20 %.1f)\"", middle);
    put_text(out, 20, middle, attributes, plot->y.label);
}

/* A single point gets a dot, which a line would not show. */
static void put_curve(const struct vdb_plot_svg *plot, size_t c, const struct scale *x, const struct scale *y,
                      struct vdb_buf *out)
{
    const struct vdb_plot_svg_curve *curve = &plot->curves[c];
    size_t drawn = 0;
    vdb_buf_printf(out,
                   "<polyline class=\"curve c%zu\" stroke-dasharray=\"%s\" stroke-linecap=\"round\" points=\"", c,
                   dashes[c]);
    for (size_t i = 0; i < curve->count; i++) {
        if (fits(&plot->x, curve->x[i]) && fits(&plot->y, curve->y[i])) {
            vdb_buf_printf(out, "%s%.1f,%.1f", drawn++ > 0 ? " " : "", page_x(x, curve->x[i]),
                           page_y(y, curve->y[i]));
            if (curve->count == 1) {
                vdb_buf_printf(out, " %.1f,%.1f", page_x(x, curve->x[i]) + 0.1, page_y(y, curve->y[i]));
            }
        }
    }
    vdb_buf_put_text(out, "\"><title>");
    put_escaped(out, curve->name);
    vdb_buf_put_text(out, "</title></polyline>\n");
}

static void put_legend(const struct vdb_plot_svg *plot, struct vdb_buf *out)
{
    double at = FRAME_TOP + 12;
    for (size_t c = 0; c < plot->curve_count; c++) {
        const struct vdb_plot_svg_curve *curve = &plot->curves[c];
        vdb_buf_printf(out,
                       "<line class=\"curve c%zu\" stroke-dasharray=\"%s\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" "
                       "y2=\"%.1f\"/>\n",
                       c, dashes[c], LEGEND_LEFT, at - 4.5, LEGEND_LEFT + 30, at - 4.5);
        put_text(out, LEGEND_LEFT + 40, at, "", curve->name);
        if (curve->note != NULL) {
            at += 18;
            put_text(out, LEGEND_LEFT + 40, at, "class=\"soft\" font-size=\"12\"", curve->note);
        }
        at += 27;
    }
}

vdb_status vdb_plot_svg_write(const struct vdb_plot_svg *plot, struct vdb_buf *out, struct vdb_err *err)
{
    struct scale x;
    struct scale y;
    if (plot->curve_count > VDB_PLOT_SVG_CURVES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "plot: %zu curves, at most %d can be told apart", plot->curve_count,
                           VDB_PLOT_SVG_CURVES_MAX);
    }
    if (!make_scales(plot, &x, &y)) {
        return vdb_err_set(err, VDB_INVALID, "plot: no point to draw");
    }
    vdb_buf_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                   "role=\"img\">\n<title>",
                   PAGE_WIDTH, PAGE_HEIGHT, PAGE_WIDTH, PAGE_HEIGHT);
    put_escaped(out, plot->title);
    vdb_buf_put_text(out, "</title>\n");
    vdb_buf_put_text(out, style);
    vdb_buf_printf(out, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", PAGE_WIDTH, PAGE_HEIGHT);
    put_text(out, FRAME_LEFT, 30, "class=\"title\"", plot->title);
    if (plot->subtitle != NULL) {
        put_text(out, FRAME_LEFT, 51, "class=\"soft\"", plot->subtitle);
    }
    put_axes(plot, &x, &y, out);
    for (size_t c = 0; c < plot->curve_count; c++) {
        put_curve(plot, c, &x, &y, out);
    }
    put_legend(plot, out);
    vdb_buf_put_text(out, "</svg>\n");
    return out->failed ? vdb_err_no_memory(err, "a plot") : VDB_OK;
}
