/* test_plot_svg.c: the plot file is well-formed whatever its texts and numbers, and draws points where they belong. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "cli/plot_svg.h"

/* ---- A small reader of XML, as strict as what we write ---- */

/* Checks that tags nest and close, attributes are quoted, and text has no bare '<' or '&'. */
static void check_xml(const struct vdb_buf *buf)
{
    const char *at = (const char *)buf->data;
    const char *end = at + buf->bytes;
    char open[16][16];
    size_t depth = 0;
    bool any = false;
    while (at < end) {
        assert_true((unsigned char)*at >= 0x20 || *at == '\n');
        if (*at == '&') {
            assert_true(strncmp(at, "&amp;", 5) == 0 || strncmp(at, "&lt;", 4) == 0 ||
                        strncmp(at, "&gt;", 4) == 0 || strncmp(at, "&quot;", 6) == 0);
        }
        assert_true(*at != '>');
        if (*at++ != '<') {
            continue;
        }
        bool closes = *at == '/';
        at += closes;
        char name[16] = "";
        size_t bytes = 0;
        while (at < end && ((*at >= 'a' && *at <= 'z'))) {
            assert_true(bytes < sizeof name - 1);
            name[bytes++] = *at++;
        }
        assert_true(bytes > 0);
        unsigned quotes = 0;
        while (at < end && (*at != '>' || quotes % 2 == 1)) {
            assert_true(*at != '<');
            quotes += *at++ == '"';
        }
        assert_true(at < end && quotes % 2 == 0);
        bool empty = at[-1] == '/';
        at++;
        if (closes) {
            assert_true(depth > 0);
            assert_string_equal(open[--depth], name);
        } else if (!empty) {
            assert_true(depth < 16 && (depth > 0 || !any));
            any = true;
            snprintf(open[depth++], 16, "%s", name);
        }
    }
    assert_true(any && depth == 0);
}

static size_t count_of(const struct vdb_buf *buf, const char *text)
{
    size_t count = 0;
    for (const char *at = (const char *)buf->data; (at = strstr(at, text)) != NULL; at++) {
        count++;
    }
    return count;
}

/* The points of curve c, in pixels. */
static size_t points_of(const struct vdb_buf *buf, size_t c, double (*out)[2], size_t max)
{
    char mark[40];
    size_t count = 0;
    snprintf(mark, sizeof mark, "<polyline class=\"curve c%zu\"", c);
    const char *at = strstr((const char *)buf->data, mark);
    assert_non_null(at);
    at = strstr(at, "points=\"");
    assert_non_null(at);
    at += 8;
    while (*at != '"') {
        char *next;
        assert_true(count < max);
        out[count][0] = strtod(at, &next);
        assert_true(*next == ',');
        out[count++][1] = strtod(next + 1, &next);
        assert_true(*next == ' ' || *next == '"');
        at = next + (*next == ' ');
    }
    return count;
}

static struct vdb_plot_svg plot_of(const struct vdb_plot_svg_curve *curves, size_t count)
{
    return (struct vdb_plot_svg){
        .title = "Latency",
        .x = {"time", VDB_PLOT_SVG_SECONDS, true},
        .y = {"share", VDB_PLOT_SVG_SHARE, false},
        .curves = curves,
        .curve_count = count,
    };
}

static void draw(const struct vdb_plot_svg *plot, struct vdb_buf *out)
{
    struct vdb_err err = {0};
    vdb_buf_clear(out);
    assert_ok(vdb_plot_svg_write(plot, out, &err), &err);
    vdb_buf_put_u8(out, '\0');
    out->bytes--;
    check_xml(out);
}

static void test_two_curves(void **state)
{
    (void)state;
    const double x[3] = {1e-6, 1e-5, 1e-4};
    const double up[3] = {0, 0.5, 1};
    const double slow[2] = {1e-3, 1e-2};
    const double ends[2] = {0, 1};
    const struct vdb_plot_svg_curve curves[2] = {{"fast", "p50 10 us", x, up, 3}, {"slow", NULL, slow, ends, 2}};
    struct vdb_plot_svg plot = plot_of(curves, 2);
    struct vdb_buf out = {0};
    double points[8][2];
    plot.subtitle = "of two kinds";
    draw(&plot, &out);
    assert_int_equal(points_of(&out, 0, points, 8), 3);
    assert_int_equal(count_of(&out, "<polyline"), 2);
    assert_int_equal(count_of(&out, ">of two kinds</text>"), 1);
    assert_int_equal(count_of(&out, ">p50 10 us</text>"), 1);
    assert_int_equal(count_of(&out, "prefers-color-scheme: dark"), 1);
    /* 1 us at the left edge, each decade a quarter of the width; 0 at the bottom, 1 at the top. */
    double left = points[0][0];
    double bottom = points[0][1];
    double middle_x = points[1][0];
    assert_true(fabs((points[1][1] + points[2][1] * -1) - (bottom - points[1][1])) < 0.11);
    assert_true(fabs((points[2][0] - middle_x) - (middle_x - left)) < 0.11);
    assert_int_equal(points_of(&out, 1, points, 8), 2);
    assert_true(fabs(points[1][0] - (left + 4 * (middle_x - left))) < 0.3);
    assert_true(points[0][1] == bottom);
    for (const char *const *tick =
             (const char *const[]){"1 us", "10 us", "1 ms", "10 ms", "0%", "100%", "time", "share", NULL};
         *tick != NULL; tick++) {
        char text[40];
        snprintf(text, sizeof text, ">%s</text>", *tick);
        assert_int_equal(count_of(&out, text), 1);
    }
    vdb_buf_fini(&out);
}

static void test_texts_are_escaped(void **state)
{
    (void)state;
    static const char nasty[] = "a<b>&\"c\"\x01\x1f\xff\xc3\xa9\xef\xbf\xbf\xed\xa0\x80]]>";
    const double one[1] = {1};
    const struct vdb_plot_svg_curve curve = {nasty, nasty, one, one, 1};
    struct vdb_plot_svg plot = plot_of(&curve, 1);
    struct vdb_buf out = {0};
    plot.title = nasty;
    plot.subtitle = nasty;
    plot.x.label = nasty;
    plot.y.label = nasty;
    draw(&plot, &out);
    /* title twice, subtitle, two labels, name twice, note */
    assert_int_equal(count_of(&out, "a&lt;b&gt;&amp;&quot;c&quot;???\xc3\xa9????]]&gt;"), 8);
    vdb_buf_fini(&out);
}

/* What cannot be drawn is left out; what is left lies within the page. */
static void test_any_numbers(void **state)
{
    (void)state;
    static const double nan = (double)NAN;
    static const double inf = (double)INFINITY;
    const double odd[] = {0,     -0.0,   -1,   1,        nan, inf,  -inf,    1e308, -1e308, 5e-324,
                          1e100, 1e-100, 1e15, 1e15 + 1, 3,   1e-9, 123.456, 0.25,  7e6,    -1e100};
    enum { ODD = sizeof odd / sizeof odd[0], CURVES = 3, POINTS = 6 };
    struct vdb_buf out = {0};
    struct vdb_err err = {0};
    unsigned drawn = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct vdb_rng rng;
        double x[CURVES][POINTS];
        double y[CURVES][POINTS];
        double points[POINTS + 1][2];
        struct vdb_plot_svg_curve curves[CURVES];
        vdb_rng_init(&rng, seed);
        size_t count = 1 + vdb_rng_below(&rng, CURVES);
        for (size_t c = 0; c < count; c++) {
            curves[c] = (struct vdb_plot_svg_curve){"curve", NULL, x[c], y[c],
                                                    (size_t)vdb_rng_below(&rng, POINTS + 1)};
            for (size_t i = 0; i < POINTS; i++) {
                x[c][i] = odd[vdb_rng_below(&rng, ODD)];
                y[c][i] = odd[vdb_rng_below(&rng, ODD)];
            }
        }
        struct vdb_plot_svg plot = plot_of(curves, count);
        plot.x.logarithmic = vdb_rng_below(&rng, 2) == 0;
        plot.y.logarithmic = vdb_rng_below(&rng, 2) == 0;
        plot.x.unit = (vdb_plot_svg_unit)vdb_rng_below(&rng, 3);
        plot.y.unit = (vdb_plot_svg_unit)vdb_rng_below(&rng, 3);
        vdb_buf_clear(&out);
        vdb_status status = vdb_plot_svg_write(&plot, &out, &err);
        if (status == VDB_INVALID) {
            assert_non_null(strstr(err.text, "no point"));
            continue;
        }
        drawn++;
        draw(&plot, &out);
        assert_int_equal(count_of(&out, "nan") + count_of(&out, "inf"), 0);
        for (size_t c = 0; c < count; c++) {
            size_t found = points_of(&out, c, points, POINTS + 1);
            for (size_t i = 0; i < found; i++) {
                assert_true(points[i][0] >= 70 && points[i][0] <= 700);
                assert_true(points[i][1] >= 60 && points[i][1] <= 420);
            }
        }
        assert_true(count_of(&out, "class=\"soft\" text-anchor=\"middle\"") >= 1); /* labels on both axes */
        assert_true(count_of(&out, "class=\"soft\" text-anchor=\"end\"") >= 1);
    }
    assert_true(drawn > 1000);
    vdb_buf_fini(&out);
}

static void test_refused(void **state)
{
    (void)state;
    const double one[1] = {1};
    const double zero[1] = {0};
    struct vdb_plot_svg_curve curves[VDB_PLOT_SVG_CURVES_MAX + 1];
    struct vdb_buf out = {0};
    struct vdb_err err = {0};
    for (size_t i = 0; i <= VDB_PLOT_SVG_CURVES_MAX; i++) {
        curves[i] = (struct vdb_plot_svg_curve){"c", NULL, one, one, 1};
    }
    struct vdb_plot_svg plot = plot_of(curves, VDB_PLOT_SVG_CURVES_MAX);
    draw(&plot, &out);
    plot.curve_count = VDB_PLOT_SVG_CURVES_MAX + 1;
    assert_fails(vdb_plot_svg_write(&plot, &out, &err), VDB_INVALID, &err, "7 curves, at most 6");
    plot.curve_count = 0;
    assert_fails(vdb_plot_svg_write(&plot, &out, &err), VDB_INVALID, &err, "no point");
    curves[0].x = zero;
    plot.curve_count = 1;
    assert_fails(vdb_plot_svg_write(&plot, &out, &err), VDB_INVALID, &err, "no point");
    plot.x.logarithmic = false;
    draw(&plot, &out);
    vdb_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_curves),
        cmocka_unit_test(test_texts_are_escaped),
        cmocka_unit_test(test_any_numbers),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
