/* test_table.c: tables and numbers, compared letter by letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/table.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void expect_print(const struct vdb_table *table, size_t indent, const char *wanted)
{
    struct vdb_buf out = {0};
    vdb_table_print(table, indent, &out);
    assert_false(out.failed);
    vdb_buf_put_u8(&out, '\0');
    assert_string_equal((const char *)out.data, wanted);
    vdb_buf_fini(&out);
}

static void test_numbers_right_words_left(void **state)
{
    (void)state;
    static const struct vdb_table_column columns[] = {{"rank", true}, {"name", false}, {"distance", true}};
    struct vdb_table table;
    vdb_table_init(&table, columns, 3);
    expect_print(&table, 2,
                 "  rank  name  distance\n"
                 "  ----  ----  --------\n");
    static const char *const cells[] = {"1", "apple", "0.5", "10", "fig", "1,234.25"};
    for (size_t i = 0; i < 6; i++) {
        vdb_table_put(&table, cells[i]);
    }
    expect_print(&table, 0,
                 "rank  name   distance\n"
                 "----  -----  --------\n"
                 "   1  apple       0.5\n"
                 "  10  fig    1,234.25\n");
    vdb_table_fini(&table);
}

static void test_no_head(void **state)
{
    (void)state;
    static const struct vdb_table_column columns[] = {{NULL, false}, {NULL, true}, {NULL, false}};
    struct vdb_table table;
    vdb_table_init(&table, columns, 3);
    static const char *const cells[] = {"Time", "1.50 ms", "median", "Queries", "2", "all", "Speed", "7", ""};
    for (size_t i = 0; i < 9; i++) {
        vdb_table_put(&table, cells[i]);
    }
    expect_print(&table, 1,
                 " Time     1.50 ms  median\n"
                 " Queries        2  all\n"
                 " Speed          7\n");
    vdb_table_fini(&table);
}

static void test_long_cell_is_cut(void **state)
{
    (void)state;
    static const struct vdb_table_column columns[] = {{NULL, false}};
    char text[VDB_TABLE_CELL_BYTES + 1];
    memset(text, 'a', VDB_TABLE_CELL_BYTES);
    text[VDB_TABLE_CELL_BYTES] = '\0';
    struct vdb_table table;
    vdb_table_init(&table, columns, 1);
    vdb_table_put(&table, text);
    struct vdb_buf out = {0};
    vdb_table_print(&table, 0, &out);
    assert_int_equal(out.bytes, VDB_TABLE_CELL_BYTES); /* 63 letters and the end of the line */
    vdb_buf_fini(&out);
    vdb_table_fini(&table);
}

static void test_count(void **state)
{
    (void)state;
    char text[VDB_TABLE_TEXT_BYTES];
    assert_string_equal(vdb_table_count(text, 0), "0");
    assert_string_equal(vdb_table_count(text, 999), "999");
    assert_string_equal(vdb_table_count(text, 1000), "1,000");
    assert_string_equal(vdb_table_count(text, 123456), "123,456");
    assert_string_equal(vdb_table_count(text, 1234567), "1,234,567");
    assert_string_equal(vdb_table_count(text, UINT64_MAX), "18,446,744,073,709,551,615");
}

static void test_decimal(void **state)
{
    (void)state;
    char text[VDB_TABLE_TEXT_BYTES];
    assert_string_equal(vdb_table_decimal(text, 0, 0), "0");
    assert_string_equal(vdb_table_decimal(text, 0, 3), "0.000");
    assert_string_equal(vdb_table_decimal(text, 1234.5678, 2), "1,234.57");
    assert_string_equal(vdb_table_decimal(text, -1234567, 0), "-1,234,567");
    assert_string_equal(vdb_table_decimal(text, -0.5, 1), "-0.5");
    assert_string_equal(vdb_table_decimal(text, -0.0001, 2), "0.00");
    assert_string_equal(vdb_table_decimal(text, 999.9999, 2), "1,000.00");
    assert_string_equal(vdb_table_decimal(text, 999999999999999.0, 9), "999,999,999,999,999.000000000");
    assert_string_equal(vdb_table_decimal(text, -1e300, 4), "-1e+300");
    assert_string_equal(vdb_table_decimal(text, DBL_MAX, 9), "1.79769313e+308");
    assert_string_equal(vdb_table_decimal(text, (double)INFINITY, 2), "inf");
}

static void test_duration(void **state)
{
    (void)state;
    char text[VDB_TABLE_TEXT_BYTES];
    assert_string_equal(vdb_table_duration(text, 0), "0.00 ns");
    assert_string_equal(vdb_table_duration(text, 123e-9), "123 ns");
    assert_string_equal(vdb_table_duration(text, 4.5e-6), "4.50 us");
    assert_string_equal(vdb_table_duration(text, 0.0123), "12.3 ms");
    assert_string_equal(vdb_table_duration(text, 1), "1.00 s");
    assert_string_equal(vdb_table_duration(text, 12345), "12,345 s");
}

static void test_rate(void **state)
{
    (void)state;
    char text[VDB_TABLE_TEXT_BYTES];
    assert_string_equal(vdb_table_rate(text, 0, "rows/s"), "0.00 rows/s");
    assert_string_equal(vdb_table_rate(text, 243.4, "rows/s"), "243 rows/s");
    assert_string_equal(vdb_table_rate(text, 9999, "rows/s"), "9,999 rows/s");
    assert_string_equal(vdb_table_rate(text, 10000, "rows/s"), "10.0 k rows/s");
    assert_string_equal(vdb_table_rate(text, 14.6e6, "rows/s"), "14.6 M rows/s");
    assert_string_equal(vdb_table_rate(text, 5e9, "rows/s"), "5,000 M rows/s");
    assert_string_equal(vdb_table_rate(text, 1e18, "rows/s"), "1,000,000 T rows/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_right_words_left),
        cmocka_unit_test(test_no_head),
        cmocka_unit_test(test_long_cell_is_cut),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_decimal),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
