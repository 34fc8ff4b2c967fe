/* test_log.c: one line per event in its form, levels, the cut of long lines, and whole lines from many threads.
 */
#include "support.h"

#include "capture.h"

#include <pthread.h>

#include "base/log.h"

/* Whether line starts with a UTC time stamp in its form, as 2026-01-31T12:00:00.123Z and a blank. */
static bool starts_with_time(const char *line)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] == 'd' ? line[i] < '0' || line[i] > '9' : line[i] != form[i]) {
            return false;
        }
    }
    return true;
}

static size_t lines_in(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n' ? 1 : 0;
    }
    return lines;
}

static const vdb_log_level levels[] = {VDB_LOG_ERROR, VDB_LOG_WARN, VDB_LOG_INFO, VDB_LOG_DEBUG};
static const char *const shown[] = {"ERROR", "WARN ", "INFO ", "DEBUG"};

static void test_form_of_a_line(void **state)
{
    (void)state;
    struct capture capture;
    capture_begin(&capture, false);
    vdb_log_set_level(VDB_LOG_DEBUG);
    vdb_log(VDB_LOG_INFO, "wal", "rotated to segment_%06d.wal", 7);
    vdb_log(VDB_LOG_ERROR, "env", "%s", "");
    capture_end(&capture);
    assert_int_equal(lines_in(capture.text), 2);
    assert_true(starts_with_time(capture.text));
    const char *end = strchr(capture.text, '\n');
    assert_memory_equal(capture.text + 25, "INFO  wal: rotated to segment_000007.wal\n",
                        (size_t)(end - capture.text) + 1 - 25);
    assert_true(starts_with_time(end + 1));
    assert_string_equal(end + 1 + 25, "ERROR env: \n");
    free(capture.text);
}

/* Each level lets through itself and what is worse. */
static void test_levels(void **state)
{
    (void)state;
    for (int now = VDB_LOG_ERROR; now <= VDB_LOG_OFF; now++) {
        struct capture capture;
        capture_begin(&capture, false);
        vdb_log_set_level((vdb_log_level)now);
        for (size_t i = 0; i < 4; i++) {
            vdb_log(levels[i], "room", "event");
        }
        vdb_log(VDB_LOG_OFF, "room", "never");
        capture_end(&capture);
        size_t expected = now == VDB_LOG_OFF ? 0 : (size_t)now + 1;
        assert_int_equal(lines_in(capture.text), expected);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(strstr(capture.text, shown[i]) != NULL, i < expected);
        }
        assert_null(strstr(capture.text, "never"));
        free(capture.text);
    }
}

static void test_level_parse(void **state)
{
    (void)state;
    static const char *const names[] = {"error", "warn", "info", "debug", "off"};
    for (int i = 0; i < 5; i++) {
        vdb_log_level level = VDB_LOG_OFF;
        assert_true(vdb_log_level_parse(names[i], &level));
        assert_int_equal(level, i);
    }
    static const char *const foreign[] = {"", "ERROR", "warning", "inf", "info ", "2"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        vdb_log_level level = VDB_LOG_INFO;
        assert_false(vdb_log_level_parse(foreign[i], &level));
        assert_int_equal(level, VDB_LOG_INFO);
    }
}

/* Texts of every length around the line's limit: one line each, cut but ended. */
static void test_long_lines_are_cut(void **state)
{
    (void)state;
    static char text[4001];
    memset(text, 'x', sizeof text - 1);
    vdb_log_set_level(VDB_LOG_WARN);
    for (int length = 1900; length<4000; length += length> 1990 && length < 2060 ? 1 : 43) {
        struct capture capture;
        capture_begin(&capture, false);
        vdb_log(VDB_LOG_WARN, "wal", "%.*s", length, text);
        capture_end(&capture);
        size_t whole = 25 + strlen("WARN  wal: ") + (size_t)length + 1;
        assert_int_equal(lines_in(capture.text), 1);
        assert_int_equal(capture.text[capture.bytes - 1], '\n');
        assert_int_equal(capture.text[capture.bytes - 2], 'x');
        assert_true(capture.bytes == whole || (capture.bytes < whole && capture.bytes >= 2047));
        free(capture.text);
    }
}

enum { WRITERS = 4, EVENTS = 300 };

static void *write_events(void *arg)
{
    int writer = *(int *)arg;
    for (int i = 0; i < EVENTS; i++) {
        vdb_log(VDB_LOG_WARN, "room", "writer %d event %d %.*s.", writer, i, i % 100,
                "------------------------------------------------------------------------------------------------"
                "----");
    }
    return NULL;
}

/* Lines of many threads never mix, and each thread's come in order. */
static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[WRITERS];
    int numbers[WRITERS];
    int next[WRITERS] = {0};
    struct capture capture;
    vdb_log_set_level(VDB_LOG_WARN);
    capture_begin(&capture, false);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, write_events, &numbers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    capture_end(&capture);
    assert_int_equal(lines_in(capture.text), WRITERS * EVENTS);
    for (char *line = capture.text; *line != '\0';) {
        char *end = strchr(line, '\n');
        *end = '\0';
        int writer;
        int event;
        assert_true(starts_with_time(line));
        assert_int_equal(sscanf(line + 25, "WARN  room: writer %d event %d ", &writer, &event), 2);
        assert_true(writer >= 0 && writer < WRITERS);
        assert_int_equal(event, next[writer]++);
        assert_int_equal(end[-1], '.');
        line = end + 1;
    }
    free(capture.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form_of_a_line), cmocka_unit_test(test_levels),
        cmocka_unit_test(test_level_parse),    cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
