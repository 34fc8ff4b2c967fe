/* test_err.c: error chains, and the status list's pinned numbers, names and texts (they are the library's ABI).
 */
#include "support.h"

#include "base/err.h"

static const struct {
    vdb_status status;
    int number;
    const char *name;
    const char *text;
} pinned[] = {
    {VDB_OK, 0, "ok", "ok"},
    {VDB_INVALID, 1, "invalid", "invalid argument"},
    {VDB_NOT_FOUND, 2, "not_found", "not found"},
    {VDB_EXISTS, 3, "exists", "already exists"},
    {VDB_LIMIT, 4, "limit", "limit exceeded"},
    {VDB_BUSY, 5, "busy", "in use"},
    {VDB_IO, 6, "io", "input/output error"},
    {VDB_CORRUPT, 7, "corrupt", "data is damaged"},
    {VDB_NO_SPACE, 8, "no_space", "no space left"},
    {VDB_NO_MEMORY, 9, "no_memory", "out of memory"},
    {VDB_UNSUPPORTED, 10, "unsupported", "not supported"},
    {VDB_READ_ONLY, 11, "read_only", "read-only"},
    {VDB_VERSION, 12, "version", "unknown format version"},
    {VDB_CANCELLED, 13, "cancelled", "cancelled"},
};

static void test_statuses_are_pinned(void **state)
{
    (void)state;
    size_t listed = 0;
#define COUNT(name, number, text) listed++;
    VDB_STATUS_LIST(COUNT)
#undef COUNT
    assert_int_equal(listed, sizeof pinned / sizeof *pinned); /* a new status is pinned here too */
    for (size_t i = 0; i < listed; i++) {
        assert_int_equal((int)pinned[i].status, pinned[i].number);
        assert_string_equal(vdb_status_name(pinned[i].status), pinned[i].name);
        assert_string_equal(vdb_status_text(pinned[i].status), pinned[i].text);
    }
}

static void test_foreign_numbers_have_a_text(void **state)
{
    (void)state;
    /* From a volatile: a number that came from elsewhere, not a constant of the enum. */
    static const int foreign[] = {-1, 14, 15, 1000, -1000};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        volatile int number = foreign[i];
        assert_string_equal(vdb_status_text((vdb_status)number), "unknown status");
        assert_string_equal(vdb_status_name((vdb_status)number), "unknown");
    }
}

static void test_set_and_wrap(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    assert_int_equal(vdb_err_set(&err, VDB_CORRUPT, "record at byte %d: checksum mismatch", 8192), VDB_CORRUPT);
    assert_int_equal(err.status, VDB_CORRUPT);
    assert_int_equal(vdb_err_wrap(&err, VDB_CORRUPT, "replay %s", "segment_000007.wal"), VDB_CORRUPT);
    assert_int_equal(vdb_err_wrap(&err, VDB_IO, "open \"%s\"", "docs"), VDB_IO);
    assert_int_equal(err.status, VDB_IO); /* the caller may judge anew */
    assert_string_equal(err.text,
                        "open \"docs\": replay segment_000007.wal: record at byte 8192: checksum mismatch");
    assert_int_equal(vdb_err_no_memory(&err, "a batch"), VDB_NO_MEMORY);
    assert_string_equal(err.text, "out of memory for a batch"); /* set replaces the chain */
    /* What looks like a conversion in the inner text is text. */
    vdb_err_set(&err, VDB_INVALID, "%s", "100%s %n");
    vdb_err_wrap(&err, VDB_INVALID, "outer");
    assert_string_equal(err.text, "outer: 100%s %n");
}

static void test_null_err(void **state)
{
    (void)state;
    assert_int_equal(vdb_err_set(NULL, VDB_BUSY, "%s", "x"), VDB_BUSY);
    assert_int_equal(vdb_err_wrap(NULL, VDB_LIMIT, "%s", "x"), VDB_LIMIT);
    assert_int_equal(vdb_err_no_memory(NULL, "x"), VDB_NO_MEMORY);
}

/* Texts of every length around the limit, alone and wrapped: cut at 511 characters. The wrapped fact stays whole: its
 * context gives way, ending in dots, or goes where not even those fit. */
static void test_cut_at_512(void **state)
{
    (void)state;
    char text[600];
    char prefix[600];
    struct {
        struct vdb_err err;
        char guard[8];
    } box;
    memset(text, 't', sizeof text);
    memset(prefix, 'p', sizeof prefix);
    for (int length = 0; length < 600; length++) {
        memset(&box, 'G', sizeof box);
        vdb_err_set(&box.err, VDB_IO, "%.*s", length, text);
        size_t expected = length < VDB_ERR_TEXT_BYTES ? (size_t)length : VDB_ERR_TEXT_BYTES - 1;
        assert_int_equal(strlen(box.err.text), expected);
        for (int outer = 0; outer < 600; outer += length % 50 == 0 ? 1 : 97) {
            vdb_err_set(&box.err, VDB_IO, "%.*s", length, text);
            vdb_err_wrap(&box.err, VDB_IO, "%.*s", outer, prefix);
            size_t whole = (size_t)outer + 2 + expected;
            size_t bytes = strlen(box.err.text);
            assert_true(bytes == (whole < VDB_ERR_TEXT_BYTES ? whole : VDB_ERR_TEXT_BYTES - 1) ||
                        (bytes == expected && whole >= VDB_ERR_TEXT_BYTES));
            size_t room = VDB_ERR_TEXT_BYTES - 1 - expected; /* for context and ": " */
            if ((size_t)outer + 2 > room && room < 5) {
                assert_int_equal(bytes, expected);
            } else {
                size_t context = bytes - expected - 2;
                assert_int_equal(context, (size_t)outer + 2 <= room ? (size_t)outer : room - 2);
                assert_memory_equal(box.err.text + context, ": ", 2);
                size_t plain = context == (size_t)outer ? context : context - 3;
                assert_memory_equal(box.err.text, prefix, plain);
                assert_memory_equal(box.err.text + plain, "...", context - plain);
            }
            assert_memory_equal(box.err.text + bytes - expected, text, expected);
        }
        assert_memory_equal(box.guard, "GGGGGGGG", 8);
    }
}

static int try_calls;

static vdb_status give(vdb_status status)
{
    try_calls++;
    return status;
}

static vdb_status uses_try(vdb_status first)
{
    VDB_TRY(give(first));
    VDB_TRY(give(VDB_LIMIT));
    return VDB_OK;
}

static vdb_status uses_check(vdb_status first, int *cleaned)
{
    vdb_status status;
    VDB_CHECK(give(first));
    VDB_CHECK(give(VDB_OK));

cleanup:
    ++*cleaned;
    return status;
}

static void test_try_and_check(void **state)
{
    (void)state;
    int cleaned = 0;
    try_calls = 0;
    assert_int_equal(uses_try(VDB_IO), VDB_IO);
    assert_int_equal(try_calls, 1);
    assert_int_equal(uses_try(VDB_OK), VDB_LIMIT);
    assert_int_equal(try_calls, 3); /* each expression is evaluated once */
    assert_int_equal(uses_check(VDB_BUSY, &cleaned), VDB_BUSY);
    assert_int_equal(try_calls, 4);
    assert_int_equal(uses_check(VDB_OK, &cleaned), VDB_OK);
    assert_int_equal(try_calls, 6);
    assert_int_equal(cleaned, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses_are_pinned), cmocka_unit_test(test_foreign_numbers_have_a_text),
        cmocka_unit_test(test_set_and_wrap),        cmocka_unit_test(test_null_err),
        cmocka_unit_test(test_cut_at_512),          cmocka_unit_test(test_try_and_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
