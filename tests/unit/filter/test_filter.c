/* test_filter.c: the filter language of docs/filters.md: each operator, what missing and null do, paths, limits,
 * error texts; then random expressions over random metadata against naive_filter.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/rng.h"
#include "filter/filter.h"
#include "unit/filter/naive_filter.h"

#include <stdio.h>
#include <stdlib.h>

enum { MODEL_ROUNDS = 3000, MODEL_DOCUMENTS = 12 };

/* The stored form, in exact size on the heap, so that the address sanitizer sees a read past the end. */
static struct vdb_str canonical_of(const char *metadata)
{
    struct vdb_json json;
    struct vdb_buf out = {0};
    vdb_json_init(&json, metadata, strlen(metadata), VDB_LIMIT_JSON_DEPTH_MAX);
    if (vdb_json_compact(&json, &out, NULL) != VDB_OK || vdb_json_end(&json, NULL) != VDB_OK) {
        fail_msg("not JSON: %s", metadata);
    }
    char *exact = malloc(out.bytes);
    assert_non_null(exact);
    memcpy(exact, out.data, out.bytes);
    struct vdb_str canonical = {exact, out.bytes};
    vdb_buf_fini(&out);
    return canonical;
}

static struct vdb_filter *parse(const char *text)
{
    struct vdb_filter *filter;
    struct vdb_err err;
    if (vdb_filter_parse(text, strlen(text), &filter, &err) != VDB_OK) {
        fail_msg("%s: %s", text, err.text);
    }
    return filter;
}

static bool matches(const char *text, const char *metadata)
{
    struct vdb_filter *filter = parse(text);
    struct vdb_str canonical = canonical_of(metadata);
    bool found = vdb_filter_match(filter, canonical);
    free((char *)canonical.data);
    vdb_filter_destroy(filter);
    return found;
}

/* {"field": FIELD, "op": OP, "value": VALUE}; VALUE is JSON, or NULL for none. */
static bool compares(const char *field, const char *op, const char *value, const char *metadata)
{
    char text[512];
    snprintf(text, sizeof text,
             value != NULL ? "{\"field\": \"%s\", \"op\": \"%s\", \"value\": %s}"
                           : "{\"field\": \"%s\", \"op\": \"%s\"}",
             field, op, value);
    return matches(text, metadata);
}

static void assert_refused(const char *text, vdb_status status, const char *error)
{
    struct vdb_filter *filter = (struct vdb_filter *)1;
    struct vdb_err err;
    assert_int_equal(vdb_filter_parse(text, strlen(text), &filter, &err), status);
    assert_null(filter);
    assert_string_equal(err.text, error);
    assert_int_equal(vdb_filter_parse(text, strlen(text), &filter, NULL), status);
}

static void test_equality(void **state)
{
    (void)state;
    const char *metadata =
        "{\"n\": 1, \"s\": \"x\", \"t\": true, \"f\": false, \"e\": \"\", \"a\": [1], \"o\": {}}";
    assert_true(compares("n", "==", "1", metadata));
    assert_true(compares("n", "==", "1.0", metadata));
    assert_true(compares("n", "==", "10e-1", metadata));
    assert_false(compares("n", "==", "2", metadata));
    assert_true(compares("s", "==", "\"x\"", metadata));
    assert_true(compares("s", "==", "\"\\u0078\"", metadata));
    assert_false(compares("s", "==", "\"xx\"", metadata));
    assert_false(compares("s", "==", "\"\"", metadata));
    assert_true(compares("e", "==", "\"\"", metadata));
    assert_true(compares("t", "==", "true", metadata));
    assert_false(compares("t", "==", "false", metadata));
    assert_true(compares("f", "==", "false", metadata));

    assert_false(compares("n", "!=", "1", metadata));
    assert_true(compares("n", "!=", "2", metadata));
    assert_true(compares("s", "!=", "\"y\"", metadata));
    assert_true(compares("a", "!=", "1", metadata));
    assert_true(compares("o", "!=", "1", metadata));
}

static void test_kinds_never_mix(void **state)
{
    (void)state;
    const char *metadata = "{\"n\": 1, \"s\": \"1\", \"t\": true, \"z\": 0, \"f\": false}";
    static const char *const values[] = {"1", "\"1\"", "true"};
    static const char *const fields[] = {"n", "s", "t"};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            char list[64];
            snprintf(list, sizeof list, "[%s]", values[j]);
            assert_int_equal(compares(fields[i], "==", values[j], metadata), i == j);
            assert_int_equal(compares(fields[i], "!=", values[j], metadata), i != j);
            assert_int_equal(compares(fields[i], "in", list, metadata), i == j);
        }
    }
    assert_false(compares("z", "==", "false", metadata));
    assert_false(compares("f", "==", "0", metadata));
    assert_false(compares("s", "<", "2", metadata));
    assert_false(compares("n", "<", "\"2\"", metadata));
    assert_false(compares("t", ">=", "0", metadata));
}

static void test_number_order(void **state)
{
    (void)state;
    const char *metadata = "{\"n\": -2.5, \"big\": 1e300, \"exact\": 9007199254740993, \"zero\": -0}";
    assert_true(compares("n", "<", "-2.4", metadata));
    assert_false(compares("n", "<", "-2.5", metadata));
    assert_true(compares("n", "<=", "-2.5", metadata));
    assert_false(compares("n", "<=", "-2.6", metadata));
    assert_true(compares("n", ">", "-1e9", metadata));
    assert_false(compares("n", ">", "-2.5", metadata));
    assert_true(compares("n", ">=", "-25e-1", metadata));
    assert_false(compares("n", ">=", "0", metadata));
    assert_true(compares("big", ">", "9.99e299", metadata));
    assert_true(compares("zero", "==", "0", metadata));
    assert_false(compares("zero", "<", "0", metadata));
    /* As doubles: 2^53 + 1 is 2^53. */
    assert_true(compares("exact", "==", "9007199254740992", metadata));
}

static void test_string_order_is_by_utf8_bytes(void **state)
{
    (void)state;
    const char *metadata =
        "{\"s\": \"m\", \"e\": \"\\u00e9\", \"q\": \"a\\\"b\", \"c\": \"a\\u0001\", \"nl\": \"a\\nb\"}";
    assert_true(compares("s", "<", "\"n\"", metadata));
    assert_true(compares("s", "<", "\"ma\"", metadata));
    assert_false(compares("s", "<", "\"m\"", metadata));
    assert_true(compares("s", "<=", "\"m\"", metadata));
    assert_true(compares("s", ">", "\"\"", metadata));
    assert_true(compares("s", ">", "\"M\"", metadata));
    assert_true(compares("e", ">", "\"z\"", metadata));
    assert_true(compares("e", "<", "\"\\uffff\"", metadata));
    assert_true(compares("e", "<", "\"\\ud83d\\ude00\"", metadata));
    /* In the stored text these have a backslash, which would sort after letters. */
    assert_true(compares("q", "<", "\"aa\"", metadata));
    assert_true(compares("q", ">", "\"a!\"", metadata));
    assert_true(compares("q", ">=", "\"a\\\"b\"", metadata));
    assert_true(compares("q", ">", "\"a\\\"\"", metadata));
    assert_true(compares("q", "<", "\"a\\\"bc\"", metadata));
    assert_true(compares("c", "<", "\"a\\u0002\"", metadata));
    assert_true(compares("c", ">", "\"a\"", metadata));
    assert_true(compares("c", "<", "\"a\\t\"", metadata));
    assert_true(compares("nl", "<", "\"a b\"", metadata));
    assert_true(compares("nl", ">", "\"a\\tb\"", metadata));
}

static void test_in(void **state)
{
    (void)state;
    const char *metadata = "{\"n\": 3, \"s\": \"graphics\", \"t\": true, \"a\": [3], \"q\": \"x\\\"y\"}";
    assert_true(compares("n", "in", "[5, 3, 1]", metadata));
    assert_true(compares("n", "in", "[\"3\", true, 3.0, false]", metadata));
    assert_false(compares("n", "in", "[2, 4]", metadata));
    assert_false(compares("n", "in", "[]", metadata));
    assert_true(compares("s", "in", "[\"video\", \"graphics\", \"x\", \"graphicsx\"]", metadata));
    assert_false(compares("s", "in", "[\"video\", \"graphic\", \"raphicss\"]", metadata));
    assert_true(compares("t", "in", "[false, true]", metadata));
    assert_false(compares("a", "in", "[3]", metadata));
    assert_true(compares("q", "in", "[\"z\", \"x\\u0022y\"]", metadata));
    assert_false(compares("missing", "in", "[1]", metadata));
}

static void test_contains(void **state)
{
    (void)state;
    const char *metadata = "{\"tags\": [\"a,b\", \"c\\\"]\", 7, true, null, [8], {\"x\": 9}, \"last\"], "
                           "\"none\": [], \"s\": \"abc\"}";
    assert_true(compares("tags", "contains", "\"a,b\"", metadata));
    assert_true(compares("tags", "contains", "\"c\\\"]\"", metadata));
    assert_true(compares("tags", "contains", "7", metadata));
    assert_true(compares("tags", "contains", "true", metadata));
    assert_true(compares("tags", "contains", "\"last\"", metadata));
    assert_false(compares("tags", "contains", "\"a\"", metadata));
    assert_false(compares("tags", "contains", "8", metadata));
    assert_false(compares("tags", "contains", "9", metadata));
    assert_false(compares("tags", "contains", "\"7\"", metadata));
    assert_false(compares("none", "contains", "7", metadata));
    assert_false(compares("s", "contains", "\"a\"", metadata));
}

static void test_missing_and_null_match_no_comparison(void **state)
{
    (void)state;
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">=", "contains"};
    static const char *const documents[] = {"{}", "{\"year\": null}", "{\"yea\": 1, \"years\": 2}"};
    for (size_t d = 0; d < 3; d++) {
        for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
            char text[128];
            assert_false(compares("year", ops[i], "2000", documents[d]));
            snprintf(text, sizeof text, "{\"not\": {\"field\": \"year\", \"op\": \"%s\", \"value\": 2000}}",
                     ops[i]);
            assert_true(matches(text, documents[d]));
        }
        assert_false(compares("year", "exists", NULL, documents[d]));
    }
    assert_true(compares("year", "exists", NULL, "{\"year\": 0}"));
    assert_true(compares("year", "exists", NULL, "{\"year\": false}"));
    assert_true(compares("year", "exists", NULL, "{\"year\": []}"));
    assert_true(compares("year", "exists", "null", "{\"year\": \"\"}"));
    assert_true(compares("", "==", "1", "{\"\": 1}"));
}

static void test_combiners(void **state)
{
    (void)state;
    const char *metadata = "{\"a\": 1, \"b\": 2}";
    const char *yes = "{\"field\": \"a\", \"op\": \"==\", \"value\": 1}";
    const char *no = "{\"field\": \"b\", \"op\": \"==\", \"value\": 1}";
    char text[512];
    assert_true(matches("{\"and\": []}", metadata));
    assert_false(matches("{\"or\": []}", metadata));
    assert_false(matches("{\"not\": {\"and\": []}}", metadata));
    for (int i = 0; i < 8; i++) {
        const char *parts[3] = {i & 1 ? yes : no, i & 2 ? yes : no, i & 4 ? yes : no};
        snprintf(text, sizeof text, "{\"and\": [%s, %s, %s]}", parts[0], parts[1], parts[2]);
        assert_int_equal(matches(text, metadata), i == 7);
        snprintf(text, sizeof text, "{\"or\": [%s, %s, %s]}", parts[0], parts[1], parts[2]);
        assert_int_equal(matches(text, metadata), i != 0);
        snprintf(text, sizeof text, "{\"or\": [{\"and\": [%s, %s]}, {\"not\": %s}]}", parts[0], parts[1],
                 parts[2]);
        assert_int_equal(matches(text, metadata), (i & 3) == 3 || (i & 4) == 0);
    }
    /* Keys in any order, and escaped. */
    assert_true(matches("{\"value\": 1, \"\\u006fp\": \"=\\u003d\", \"field\": \"\\u0061\"}", metadata));
}

static void test_dotted_paths(void **state)
{
    (void)state;
    const char *nested = "{\"author\": {\"name\": \"Henry\", \"born\": {\"year\": 1862}}, \"name\": \"x\"}";
    assert_true(compares("author.name", "==", "\"Henry\"", nested));
    assert_true(compares("author.born.year", "<", "1900", nested));
    assert_true(compares("author", "exists", NULL, nested));
    assert_false(compares("author.year", "exists", NULL, nested));
    assert_false(compares("author.name.first", "exists", NULL, nested));
    assert_false(compares("author.", "exists", NULL, nested));
    assert_false(compares(".name", "exists", NULL, nested));
    assert_false(compares("author..name", "exists", NULL, nested));
    assert_true(compares("a..b", "==", "1", "{\"a\": {\"\": {\"b\": 1}}}"));
    assert_true(compares("a.", "==", "1", "{\"a\": {\"\": 1}}"));
    assert_true(compares("q\\\"q.n\\nn", "==", "1", "{\"q\\\"q\": {\"n\\nn\": 1}}"));
    /* Into objects only. */
    assert_false(compares("a.b", "exists", NULL, "{\"a\": [{\"b\": 1}]}"));
}

static void test_literal_dotted_key_comes_first(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{\"a.b\": 1, \"a\": {\"b\": 2}}",
        "{\"a\": {\"b\": 2}, \"a.b\": 1}",
        "{\"a\": {\"b\": 2}, \"a.b\": 1, \"a\": {\"b\": 3}}",
    };
    for (size_t i = 0; i < 3; i++) {
        assert_true(compares("a.b", "==", "1", documents[i]));
    }
    assert_false(compares("a.b", "exists", NULL, "{\"a.b\": null, \"a\": {\"b\": 2}}"));
    /* At an inner object the rest of the name is tried first, too. */
    assert_true(compares("a.b.c", "==", "1", "{\"a\": {\"b\": {\"c\": 2}, \"b.c\": 1}}"));
    assert_true(compares("a.b.c", "==", "0", "{\"a\": {\"b\": {\"c\": 2}, \"b.c\": 1}, \"a.b.c\": 0}"));
}

static void test_last_of_equal_keys_counts(void **state)
{
    (void)state;
    assert_true(compares("a", "==", "2", "{\"a\": 1, \"a\": 2}"));
    assert_false(compares("a", "exists", NULL, "{\"a\": 1, \"a\": null}"));
    assert_true(compares("a", "==", "2", "{\"a\": 1, \"\\u0061\": 2}"));
    assert_false(compares("a.b", "exists", NULL, "{\"a\": {\"b\": 1}, \"a\": 5}"));
    assert_false(compares("a.b", "exists", NULL, "{\"a\": {\"b\": 1}, \"a\": {\"c\": 1}}"));
    assert_true(compares("a.b", "==", "3", "{\"a\": {\"b\": 1, \"b\": 2}, \"a\": {\"b\": 4, \"b\": 3}}"));
    assert_false(
        compares("a.b.c", "exists", NULL, "{\"a\": {\"b.c\": 1, \"b\": {\"c\": 1}}, \"a\": {\"b\": {}}}"));
}

/* Fields that are parts of each other in one filter share the walk. */
static void test_overlapping_fields(void **state)
{
    (void)state;
    const char *text =
        "{\"and\": [{\"field\": \"a\", \"op\": \"exists\"}, {\"field\": \"a.b\", \"op\": \"exists\"},"
        "{\"field\": \"a.b.c\", \"op\": \"==\", \"value\": 1}, {\"field\": \"a.d\", \"op\": \"==\", \"value\": "
        "2},"
        "{\"field\": \"a!\", \"op\": \"==\", \"value\": 3}, {\"field\": \"a.b.c\", \"op\": \"<\", \"value\": "
        "2}]}";
    assert_true(matches(text, "{\"a\": {\"b\": {\"c\": 1}, \"d\": 2}, \"a!\": 3}"));
    assert_true(matches(text, "{\"a!\": 3, \"a.b\": 0, \"a\": {\"d\": 2, \"b\": {\"c\": 1}}}"));
    assert_true(matches(text, "{\"a!\": 3, \"a.b\": 0, \"a\": {\"d\": 2, \"b.c\": 1}}"));
    assert_false(matches(text, "{\"a\": {\"b\": {\"c\": 1}, \"d\": 2}}"));
}

static void test_error_texts(void **state)
{
    (void)state;
    assert_refused("", VDB_INVALID, "filter: byte 0: expected an object, found the end of the text");
    assert_refused("[]", VDB_INVALID, "filter: byte 0: expected an object, found an array");
    assert_refused("{\"and\": [1]}", VDB_INVALID, "filter.and[0]: byte 9: expected an object, found a number");
    assert_refused("{\"and\": {}}", VDB_INVALID, "filter.and: byte 8: expected an array, found an object");
    assert_refused("{\"not\": []}", VDB_INVALID, "filter.not: byte 8: expected an object, found an array");
    assert_refused("{} x", VDB_INVALID, "filter: the key \"field\" is missing (byte 0)");
    assert_refused("{\"and\": []} x", VDB_INVALID, "filter: byte 12: expected the end of the text, found 'x'");
    assert_refused("{\"field\": \"a\"}", VDB_INVALID, "filter: the key \"op\" is missing (byte 0)");
    assert_refused("{\"or\": [{\"op\": \"==\"}]}", VDB_INVALID,
                   "filter.or[0]: the key \"field\" is missing (byte 8)");
    assert_refused("{\"field\": \"a\", \"op\": \"==\"}", VDB_INVALID,
                   "filter: the key \"value\" is missing: == needs one (byte 0)");
    assert_refused("{\"and\": [{\"and\": []}, {\"field\": \"a\", \"op\": \"=>\", \"value\": 1}]}", VDB_INVALID,
                   "filter.and[1].op: \"=>\" is none of == != < <= > >= in contains exists (byte 44)");
    assert_refused("{\"field\": \"a\", \"op\": \"\", \"value\": 1}", VDB_INVALID,
                   "filter.op: \"\" is none of == != < <= > >= in contains exists (byte 22)");
    assert_refused("{\"field\": \"a\", \"op\": \"and\", \"value\": 1}", VDB_INVALID,
                   "filter.op: \"and\" is none of == != < <= > >= in contains exists (byte 22)");
    assert_refused("{\"field\": 5, \"op\": \"==\", \"value\": 1}", VDB_INVALID,
                   "filter.field: byte 10: expected a string, found a number");
    assert_refused("{\"field\": \"a\", \"op\": \"==\", \"value\": null}", VDB_INVALID,
                   "filter.value: == takes booleans, numbers and strings, found null (byte 36)");
    assert_refused("{\"field\": \"a\", \"op\": \"==\", \"value\": [1]}", VDB_INVALID,
                   "filter.value: == takes booleans, numbers and strings, found array (byte 36)");
    assert_refused("{\"field\": \"a\", \"op\": \">=\", \"value\": true}", VDB_INVALID,
                   "filter.value: >= takes a number or a string, found boolean (byte 36)");
    assert_refused("{\"field\": \"a\", \"op\": \"in\", \"value\": 1}", VDB_INVALID,
                   "filter.value: in takes an array of values, found number (byte 36)");
    assert_refused("{\"value\": [1, {}], \"field\": \"a\", \"op\": \"in\"}", VDB_INVALID,
                   "filter.value[1]: in takes booleans, numbers and strings, found object (byte 14)");
    assert_refused("{\"field\": \"a\", \"op\": \"exists\", \"value\": true}", VDB_INVALID,
                   "filter.value: exists takes no value (byte 40)");
    assert_refused("{\"field\": \"a\", \"op\": \"==\", \"value\": 1e999}", VDB_INVALID,
                   "filter.value: byte 36: 1e999 is out of the range of a double");
    assert_refused(
        "{\"fields\": \"a\"}", VDB_INVALID,
        "filter: unknown key \"fields\": an expression has field, op and value, or one of and, or, not (byte 2)");
    assert_refused("{\"op\": \"==\", \"op\": \"==\"}", VDB_INVALID, "filter.op: given twice (byte 14)");
    assert_refused("{\"field\": \"a\", \"not\": {\"and\": []}}", VDB_INVALID,
                   "filter: \"not\" must stand alone (byte 16)");
    assert_refused("{\"and\": [], \"field\": \"a\"}", VDB_INVALID,
                   "filter: \"and\" must stand alone, found \"field\" beside it (byte 13)");
    assert_refused("{\"or\": [], \"or\": []}", VDB_INVALID,
                   "filter: \"or\" must stand alone, found \"or\" beside it (byte 12)");
    assert_refused("{\"and\": [{\"and\": []}", VDB_INVALID,
                   "filter.and: byte 20: expected ',' or ']', found the end of the text");
    assert_refused(
        "{\"x\\u00e9012345678901234567890123456789012345678901234567890\": 1}", VDB_INVALID,
        "filter: unknown key \"x\\u00e9012345678901234567890123456789012...\": an expression has field, op and "
        "value, or one of and, or, not (byte 2)");
}

/* count times open, then middle, then count times close. */
static char *nested(size_t count, const char *open, const char *middle, const char *close)
{
    char *text = malloc(count * (strlen(open) + strlen(close)) + strlen(middle) + 1);
    assert_non_null(text);
    char *p = text;
    for (size_t i = 0; i < count; i++) {
        p = stpcpy(p, open);
    }
    p = stpcpy(p, middle);
    for (size_t i = 0; i < count; i++) {
        p = stpcpy(p, close);
    }
    return text;
}

static void test_depth_limit(void **state)
{
    (void)state;
    static const char *const opens[] = {"{\"not\":", "{\"and\":[", "{\"or\":["};
    static const char *const closes[] = {"}", "]}", "]}"};
    for (int i = 0; i < 3; i++) {
        char *text = nested(VDB_LIMIT_FILTER_DEPTH_MAX, opens[i], "{\"field\":\"a\",\"op\":\"in\",\"value\":[1]}",
                            closes[i]);
        assert_true(matches(text, "{\"a\": 1}"));
        free(text);
        struct vdb_filter *filter;
        struct vdb_err err;
        text = nested(VDB_LIMIT_FILTER_DEPTH_MAX + 1, opens[i], "{\"field\":\"a\",\"op\":\"exists\"}", closes[i]);
        assert_int_equal(vdb_filter_parse(text, strlen(text), &filter, &err), VDB_LIMIT);
        assert_non_null(strstr(err.text, ": and, or and not are nested deeper than 32 (byte "));
        free(text);
    }
}

/* A filter of `count` parts under one combiner. */
static char *listed(size_t count, const char *open, const char *part, const char *close)
{
    char *text = malloc(strlen(open) + count * (strlen(part) + 1) + strlen(close) + 1);
    assert_non_null(text);
    char *p = stpcpy(text, open);
    for (size_t i = 0; i < count; i++) {
        p = stpcpy(p, part);
        *p++ = ',';
    }
    p -= count > 0;
    strcpy(p, close);
    return text;
}

static void test_terms_limit(void **state)
{
    (void)state;
    const char *const shapes[][3] = {
        {"{\"or\":[", "{\"field\":\"a\",\"op\":\"==\",\"value\":2}", "]}"},
        {"{\"or\":[", "{\"field\":\"a\",\"op\":\"exists\"}", "]}"},
        {"{\"or\":[", "{\"field\":\"a\",\"op\":\"in\",\"value\":[]}", "]}"},
        {"{\"field\":\"a\",\"op\":\"in\",\"value\":[", "\"x\"", "]}"},
    };
    for (size_t i = 0; i < 4; i++) {
        struct vdb_filter *filter;
        struct vdb_err err;
        char *text = listed(VDB_LIMIT_FILTER_TERMS_MAX, shapes[i][0], shapes[i][1], shapes[i][2]);
        assert_int_equal(matches(text, "{\"a\": 2}"), i < 2);
        free(text);
        text = listed(VDB_LIMIT_FILTER_TERMS_MAX + 1, shapes[i][0], shapes[i][1], shapes[i][2]);
        assert_int_equal(vdb_filter_parse(text, strlen(text), &filter, &err), VDB_LIMIT);
        assert_non_null(strstr(err.text, "1024]"));
        assert_non_null(strstr(err.text, "more than 1024 comparisons in one filter"));
        free(text);
    }
    struct vdb_filter *filter;
    struct vdb_err err;
    char *text = listed(VDB_LIMIT_FILTER_TERMS_MAX - 1, "{\"and\":[", "{\"and\":[]}", "]}");
    assert_true(matches(text, "{}"));
    free(text);
    text = listed(VDB_LIMIT_FILTER_TERMS_MAX, "{\"and\":[", "{\"and\":[]}", "]}");
    assert_int_equal(vdb_filter_parse(text, strlen(text), &filter, &err), VDB_LIMIT);
    assert_non_null(strstr(err.text, "filter.and[1023].and: more than 1024 and, or and not in one filter"));
    free(text);
}

/* 1,024 different fields, all of them present. */
static void test_many_fields(void **state)
{
    (void)state;
    struct vdb_buf text = {0};
    struct vdb_buf metadata = {0};
    vdb_buf_put_text(&text, "{\"and\":[");
    vdb_buf_put_text(&metadata, "{");
    for (unsigned i = 0; i < VDB_LIMIT_FILTER_TERMS_MAX; i++) {
        unsigned key = i * 7919 % VDB_LIMIT_FILTER_TERMS_MAX;
        vdb_buf_printf(&text, "%s{\"field\":\"f%u\",\"op\":\"==\",\"value\":%u}", i > 0 ? "," : "", i, i);
        vdb_buf_printf(&metadata, "%s\"f%u\":%u", i > 0 ? "," : "", key, key);
    }
    vdb_buf_put_text(&text, "]}");
    vdb_buf_put_text(&metadata, "}");
    vdb_buf_put_u8(&text, 0);
    struct vdb_filter *filter = parse((char *)text.data);
    assert_true(vdb_filter_match(filter, (struct vdb_str){(char *)metadata.data, metadata.bytes}));
    metadata.data[metadata.bytes - 2] ^= 1; /* one value differs */
    assert_false(vdb_filter_match(filter, (struct vdb_str){(char *)metadata.data, metadata.bytes}));
    vdb_filter_destroy(filter);
    vdb_buf_fini(&text);
    vdb_buf_fini(&metadata);
}

static void test_path_at_the_nesting_limit(void **state)
{
    (void)state;
    /* 63 objects inside the metadata object: 64 in all, as deep as JSON may be. */
    char *metadata = nested(VDB_LIMIT_JSON_DEPTH_MAX, "{\"a\":", "1", "}");
    char *field = nested(VDB_LIMIT_JSON_DEPTH_MAX - 1, "a.", "a", "");
    assert_true(compares(field, "==", "1", metadata));
    free(field);
    field = nested(5 * VDB_LIMIT_JSON_DEPTH_MAX, ".", "a", "");
    assert_false(compares(field, "exists", NULL, metadata));
    free(field);
    free(metadata);
}

/* Stored text is trusted, but damage must not become a read past the end (the address sanitizer watches). */
static void test_cut_metadata(void **state)
{
    (void)state;
    struct vdb_filter *filter = parse(
        "{\"or\": [{\"field\": \"z\", \"op\": \"exists\"}, {\"field\": \"a.b\", \"op\": "
        "\">\", \"value\": \"zzz\"}, {\"field\": \"c\", \"op\": \"contains\", \"value\": 3}]}");
    struct vdb_str whole = canonical_of(
        "{\"x\": [1, {\"y\": \"\\\"\"}], \"a\": {\"b\": \"q\\u0001\\\"\"}, \"c\": [1, 2.5, true], \"d\": null}");
    for (size_t bytes = 0; bytes <= whole.bytes; bytes++) {
        char *cut = malloc(bytes > 0 ? bytes : 1);
        assert_non_null(cut);
        memcpy(cut, whole.data, bytes);
        assert_false(vdb_filter_match(filter, (struct vdb_str){cut, bytes}));
        free(cut);
    }
    free((char *)whole.data);
    vdb_filter_destroy(filter);
}

/* ---- Model ---- */

static const char *const keys[] = {"a", "b", "a.b", "b.a", "a.b.a", "", "k\\n", "b.b.b"};
static const char *const scalars[] = {"0",       "1",     "-1.5",        "2",           "1e3",    "true",
                                      "false",   "\"\"",  "\"a\"",       "\"b\"",       "\"ab\"", "\"a\\\"\"",
                                      "\"\\n\"", "\"1\"", "\"\\u0001\"", "\"\\u00e9\"", "1.0",    "\"a\\u0000\""};

static const char *pick(struct vdb_rng *rng, const char *const *from, size_t count)
{
    return from[vdb_rng_below(rng, count)];
}

#define PICK(rng, array) pick(rng, array, sizeof(array) / sizeof((array)[0]))

static void put_random_value(struct vdb_rng *rng, struct vdb_buf *out, unsigned depth);

static void put_random_object(struct vdb_rng *rng, struct vdb_buf *out, unsigned depth)
{
    uint64_t count = vdb_rng_below(rng, 6);
    vdb_buf_put_text(out, "{");
    for (uint64_t i = 0; i < count; i++) {
        vdb_buf_printf(out, "%s\"%s\": ", i > 0 ? ", " : "", PICK(rng, keys));
        put_random_value(rng, out, depth);
    }
    vdb_buf_put_text(out, "}");
}

static void put_random_value(struct vdb_rng *rng, struct vdb_buf *out, unsigned depth)
{
    uint64_t kind = vdb_rng_below(rng, 10);
    if (kind < 3 && depth > 0) {
        put_random_object(rng, out, depth - 1);
    } else if (kind < 5 && depth > 0) {
        uint64_t count = vdb_rng_below(rng, 4);
        vdb_buf_put_text(out, "[");
        for (uint64_t i = 0; i < count; i++) {
            vdb_buf_put_text(out, i > 0 ? ", " : "");
            put_random_value(rng, out, depth - 1);
        }
        vdb_buf_put_text(out, "]");
    } else if (kind == 5) {
        vdb_buf_put_text(out, "null");
    } else {
        vdb_buf_put_text(out, PICK(rng, scalars));
    }
}

static void put_random_expression(struct vdb_rng *rng, struct vdb_buf *out, unsigned depth)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">=", "in", "contains", "exists"};
    uint64_t kind = vdb_rng_below(rng, 8);
    if (depth > 0 && kind < 2) {
        uint64_t count = vdb_rng_below(rng, 4);
        vdb_buf_put_text(out, kind == 0 ? "{\"and\": [" : "{\"or\": [");
        for (uint64_t i = 0; i < count; i++) {
            vdb_buf_put_text(out, i > 0 ? ", " : "");
            put_random_expression(rng, out, depth - 1);
        }
        vdb_buf_put_text(out, "]}");
        return;
    }
    if (depth > 0 && kind == 2) {
        vdb_buf_put_text(out, "{\"not\": ");
        put_random_expression(rng, out, depth - 1);
        vdb_buf_put_text(out, "}");
        return;
    }
    const char *op = PICK(rng, ops);
    vdb_buf_printf(out, "{\"field\": \"%s\", \"op\": \"%s\"", PICK(rng, keys), op);
    if (strcmp(op, "in") == 0) {
        uint64_t count = vdb_rng_below(rng, 6);
        vdb_buf_put_text(out, ", \"value\": [");
        for (uint64_t i = 0; i < count; i++) {
            vdb_buf_printf(out, "%s%s", i > 0 ? ", " : "", PICK(rng, scalars));
        }
        vdb_buf_put_text(out, "]");
    } else if (strcmp(op, "exists") != 0) {
        vdb_buf_printf(out, ", \"value\": %s", PICK(rng, scalars));
    }
    vdb_buf_put_text(out, "}");
}

static void test_model(void **state)
{
    (void)state;
    uint64_t seed = 1001;
    struct vdb_rng rng;
    unsigned matched = 0;
    unsigned refused = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    vdb_rng_init(&rng, seed);
    for (int round = 0; round < MODEL_ROUNDS; round++) {
        struct vdb_buf text = {0};
        struct vdb_filter *filter;
        put_random_expression(&rng, &text, 3);
        vdb_buf_put_u8(&text, 0);
        json_t *expression = json_loads((char *)text.data, JSON_ALLOW_NUL, NULL);
        assert_non_null(expression);
        vdb_status status = vdb_filter_parse((char *)text.data, text.bytes - 1, &filter, NULL);
        if ((status == VDB_OK) != naive_valid(expression)) {
            fail_msg("round %d: %s", round, text.data);
        }
        refused += status != VDB_OK;
        for (int i = 0; i < MODEL_DOCUMENTS && status == VDB_OK; i++) {
            struct vdb_buf metadata = {0};
            put_random_object(&rng, &metadata, 3);
            vdb_buf_put_u8(&metadata, 0);
            json_t *tree = json_loads((char *)metadata.data, JSON_ALLOW_NUL, NULL);
            assert_non_null(tree);
            struct vdb_str canonical = canonical_of((char *)metadata.data);
            bool found = vdb_filter_match(filter, canonical);
            if (found != naive_match(expression, tree)) {
                fail_msg("round %d: %s over %s is %d", round, text.data, metadata.data, found);
            }
            matched += found;
            free((char *)canonical.data);
            json_decref(tree);
            vdb_buf_fini(&metadata);
        }
        vdb_filter_destroy(filter);
        json_decref(expression);
        vdb_buf_fini(&text);
    }
    /* Both answers must occur often, or the test compares little. */
    assert_in_range(matched, MODEL_ROUNDS, MODEL_ROUNDS * (MODEL_DOCUMENTS - 2));
    assert_in_range(refused, 1, MODEL_ROUNDS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equality),
        cmocka_unit_test(test_kinds_never_mix),
        cmocka_unit_test(test_number_order),
        cmocka_unit_test(test_string_order_is_by_utf8_bytes),
        cmocka_unit_test(test_in),
        cmocka_unit_test(test_contains),
        cmocka_unit_test(test_missing_and_null_match_no_comparison),
        cmocka_unit_test(test_combiners),
        cmocka_unit_test(test_dotted_paths),
        cmocka_unit_test(test_literal_dotted_key_comes_first),
        cmocka_unit_test(test_last_of_equal_keys_counts),
        cmocka_unit_test(test_overlapping_fields),
        cmocka_unit_test(test_error_texts),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_terms_limit),
        cmocka_unit_test(test_many_fields),
        cmocka_unit_test(test_path_at_the_nesting_limit),
        cmocka_unit_test(test_cut_metadata),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
