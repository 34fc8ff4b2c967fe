/* test_progress.c: no byte when stderr is no terminal; on a pseudo-terminal a bar that is redrawn at most ten
 * times a second, is no wider than it, shows the end, and is cleared. */
#include "support.h"

#include "capture.h"

#include <sys/ioctl.h>
#include <time.h>

#include "base/progress.h"
#include "base/timer.h"

static void test_silent_without_a_terminal(void **state)
{
    (void)state;
    struct vdb_progress progress;
    struct capture capture;
    capture_begin(&capture, false);
    vdb_progress_begin(&progress, "recover", "rows", 1000);
    for (uint64_t i = 0; i <= 1000; i++) {
        vdb_progress_update(&progress, i);
    }
    bool enabled = progress.enabled;
    vdb_progress_end(&progress);
    capture_end(&capture);
    assert_false(enabled);
    assert_int_equal(capture.bytes, 0);
    free(capture.text);
}

/* Draws one bar of done out of total and leaves it in text. */
static void draw_once(uint64_t done, uint64_t total, char *text, size_t text_bytes)
{
    struct vdb_progress progress;
    struct capture capture;
    capture_begin(&capture, true);
    vdb_progress_begin(&progress, "recover", "rows", total);
    vdb_progress_update(&progress, done);
    capture_end(&capture);
    snprintf(text, text_bytes, "%s", capture.text);
    free(capture.text);
}

static int cells_of(const char *bar)
{
    int cells = 0;
    for (; *bar != '\0'; bar++) {
        cells += *bar == '#' ? 1 : 0;
    }
    return cells;
}

static void test_bar_on_a_terminal(void **state)
{
    (void)state;
    char text[1000];
    draw_once(0, 1000, text, sizeof text);
    assert_memory_equal(text, "\r\033[K", 4); /* back to the line's start and clear it */
    assert_non_null(strstr(text, "recover [........................]   0%  0/1.0k rows"));
    draw_once(512000, 1024000, text, sizeof text);
    assert_non_null(strstr(text, "[############............]  50%  512k/1.0M rows"));
    assert_non_null(strstr(text, "/s  eta "));
    draw_once(1000, 1000, text, sizeof text);
    assert_non_null(strstr(text, "[########################] 100%  1.0k/1.0k rows"));
    assert_non_null(strstr(text, "eta 0:00"));
    assert_null(strchr(text, '\n'));
}

/* The bar never runs over, not with more done than was promised, not with a total of 0 or the largest numbers. */
static void test_odd_totals(void **state)
{
    (void)state;
    char text[1000];
    draw_once(5000, 1000, text, sizeof text);
    assert_int_equal(cells_of(text), 24);
    assert_non_null(strstr(text, "100%"));
    draw_once(0, 0, text, sizeof text);
    assert_non_null(strstr(text, "100%  0/0 rows"));
    draw_once(7, 0, text, sizeof text);
    assert_int_equal(cells_of(text), 24);
    draw_once(UINT64_MAX, UINT64_MAX, text, sizeof text);
    assert_int_equal(cells_of(text), 24);
    for (uint64_t done = 0; done < 240; done++) {
        draw_once(done, 240, text, sizeof text);
        assert_int_equal(cells_of(text), done / 10);
    }
}

/* A line longer than the terminal would be drawn below itself each time: its end is left out, the note first. */
static void test_no_wider_than_the_terminal(void **state)
{
    (void)state;
    static const unsigned short widths[] = {1, 20, 60, 80, 200};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        struct vdb_progress progress;
        struct capture capture;
        const struct winsize size = {.ws_row = 10, .ws_col = widths[i]};
        capture_begin(&capture, true);
        assert_int_equal(ioctl(STDERR_FILENO, TIOCSWINSZ, &size), 0);
        vdb_progress_begin(&progress, "recover", "rows", 1000);
        progress.note = "and layers 108,000 / 13,417 / 1,633";
        vdb_progress_update(&progress, 1000);
        capture_end(&capture);
        assert_memory_equal(capture.text, "\r\033[K", 4);
        const size_t drawn = strlen(capture.text + 4);
        const bool whole = strstr(capture.text, "eta 0:00  and layers 108,000 / 13,417 / 1,633") != NULL;
        free(capture.text);
        assert_int_equal(whole, widths[i] == 200);
        assert_true(whole || drawn + 1 == widths[i]);
    }
}

static size_t draws_in(const char *text)
{
    size_t draws = 0;
    for (; (text = strstr(text, "recover [")) != NULL; text++) {
        draws++;
    }
    return draws;
}

/* A third of a second of busy updates: about four draws, the last one at the end, then the line is cleared. */
static void test_redraw_rate_and_end(void **state)
{
    (void)state;
    struct vdb_progress progress;
    struct capture capture;
    capture_begin(&capture, true);
    uint64_t started = vdb_now_ns();
    uint64_t updates = 0;
    vdb_progress_begin(&progress, "recover", "rows", 1000000000);
    while (vdb_now_ns() - started < 330000000) {
        vdb_progress_update(&progress, ++updates);
        capture_drain(&capture);
    }
    uint64_t spent_ns = vdb_now_ns() - started;
    size_t draws = draws_in(capture.text);
    vdb_progress_update(&progress, 1000000000);
    capture_drain(&capture);
    bool showed_the_end = strstr(capture.text, "100%") != NULL;
    vdb_progress_end(&progress);
    capture_drain(&capture);
    size_t bytes = capture.bytes;
    vdb_progress_update(&progress, 1); /* after the end nothing is drawn */
    vdb_progress_end(&progress);
    capture_end(&capture);
    assert_true(updates > 100);
    assert_true(draws >= 1 && draws <= 1 + spent_ns / 100000000);
    assert_true(showed_the_end);
    assert_int_equal(capture.bytes, bytes);
    assert_string_equal(capture.text + bytes - 4, "\r\033[K");
    free(capture.text);
}

/* Work that was over before anything was drawn leaves no trace. */
static void test_end_without_update(void **state)
{
    (void)state;
    struct vdb_progress progress;
    struct capture capture;
    capture_begin(&capture, true);
    vdb_progress_begin(&progress, "recover", "rows", 10);
    bool enabled = progress.enabled;
    vdb_progress_end(&progress);
    capture_end(&capture);
    assert_true(enabled);
    assert_int_equal(capture.bytes, 0);
    free(capture.text);
}

static void test_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t before = vdb_now_ns();
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    uint64_t passed = vdb_now_ns() - before;
    assert_true(passed >= 2000000 && passed < UINT64_C(60000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent_without_a_terminal),
        cmocka_unit_test(test_bar_on_a_terminal),
        cmocka_unit_test(test_odd_totals),
        cmocka_unit_test(test_no_wider_than_the_terminal),
        cmocka_unit_test(test_redraw_rate_and_end),
        cmocka_unit_test(test_end_without_update),
        cmocka_unit_test(test_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
