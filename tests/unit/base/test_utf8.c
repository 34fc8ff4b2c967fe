/* test_utf8.c: well-formed sequences, and texts of strangers made fit for a terminal. */
#include "support.h"

#include "base/utf8.h"

static void assert_printable(const char *text, const char *expected)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%s", text);
    vdb_utf8_make_printable(copy);
    assert_string_equal(copy, expected);
}

static void test_printable(void **state)
{
    (void)state;
    assert_printable("", "");
    assert_printable("plain text, \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
                     "plain text, \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_printable("a\nb\tc\x1b[31md\x7f", "a?b?c?[31md?");
    assert_printable("\xc2\x9b"
                     "31m",
                     "?31m");                   /* the one-character control sequence introducer */
    assert_printable("\xc2\xa0x", "\xc2\xa0x"); /* the first that is no control */
    assert_printable("\x9b"
                     "31m\xff\xc3",
                     "?31m??");                   /* bytes that are not UTF-8 */
    assert_printable("\xed\xa0\x80", "???");      /* a surrogate */
    assert_printable("\xf4\x90\x80\x80", "????"); /* past U+10FFFF */
    assert_printable("\xc0\xaf", "??");           /* overlong */
}

static void test_sequences(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        unsigned length;
    } cases[] = {
        {"a", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xef\xbf\xbf", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\x80", 0},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xf5\x80\x80\x80", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const unsigned char *p = (const unsigned char *)cases[i].bytes;
        size_t bytes = strlen(cases[i].bytes);
        assert_int_equal(vdb_utf8_sequence(p, p + bytes), cases[i].length);
        if (cases[i].length > 1) { /* cut short */
            assert_int_equal(vdb_utf8_sequence(p, p + bytes - 1), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_printable), cmocka_unit_test(test_sequences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
