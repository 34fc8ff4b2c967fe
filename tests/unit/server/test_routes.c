/* test_routes.c: method and path to route, percent-decoding, and the id rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "server/routes.h"

static void assert_part(struct vdb_str part, const char *expected)
{
    if (!vdb_str_is(part, expected)) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)part.bytes, part.data, expected);
    }
}

/* Every row of the table is found by its own method and path, with its parts. */
static void test_every_route(void **state)
{
    (void)state;
    for (int r = 0; r < VDB_ROUTE_NONE; r++) {
        const char *pattern = vdb_routes_path((vdb_route)r);
        char path[256] = "";
        bool has_name = false;
        bool has_id = false;
        bool has_snapshot = false;
        for (const char *p = pattern; *p != '\0'; p++) {
            if (strncmp(p, "{name}", 6) == 0) {
                strcat(path, "docs");
                p += 5;
                has_name = true;
            } else if (strncmp(p, "{id}", 4) == 0) {
                strcat(path, "a%2Fb");
                p += 3;
                has_id = true;
            } else if (strncmp(p, "{snapshot}", 10) == 0) {
                strcat(path, "be%66ore");
                p += 9;
                has_snapshot = true;
            } else {
                strncat(path, p, 1);
            }
        }
        struct vdb_match match;
        vdb_routes_find(vdb_routes_method((vdb_route)r), path, &match);
        assert_int_equal(match.route, r);
        assert_part(match.name, has_name ? "docs" : "");
        assert_part(match.id, has_id ? "a%2Fb" : "");
        assert_part(match.snapshot, has_snapshot ? "be%66ore" : "");
        assert_string_equal(match.allow, "");
        if (strcmp(vdb_routes_method((vdb_route)r), "GET") == 0) {
            vdb_routes_find("HEAD", path, &match);
            assert_int_equal(match.route, r);
            assert_false(vdb_routes_has_body((vdb_route)r));
        }
        /* One '/' more, or one character less, is another path. */
        size_t bytes = strlen(path);
        path[bytes] = '/';
        path[bytes + 1] = '\0';
        vdb_routes_find(vdb_routes_method((vdb_route)r), path, &match);
        assert_int_not_equal(match.route, r);
    }
    assert_string_equal(vdb_routes_path(VDB_ROUTE_NONE), "other");
    assert_string_equal(vdb_routes_method(VDB_ROUTE_NONE), "");
    assert_false(vdb_routes_has_body(VDB_ROUTE_NONE));
}

static void test_no_route(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        const char *allow;
    } rows[] = {
        {"GET", "", ""},
        {"GET", "/", ""},
        {"GET", "//", ""},
        {"GET", "*", ""},
        {"GET", "v1/collections", ""},
        {"GET", "/v1", ""},
        {"GET", "/v1/collections/", ""},
        {"GET", "/v1/collections//count", ""},
        {"GET", "/v1//collections", ""},
        {"GET", "/V1/collections", ""},
        {"GET", "/v2/collections", ""},
        {"GET", "/v1/collections/docs/points/1/2", ""},
        {"GET", "/v1/collections/docs/points/", ""},
        {"GET", "/v1/collections/docs/nothing", ""},
        {"GET", "/v1/collections/docs/search/", ""},
        {"GET", "/healthz/", ""},
        {"GET", "/health", ""},
        {"PUT", "/v1/collections", "GET, HEAD, POST"},
        {"GET", "/v1/collections/docs/index", "PUT"},
        {"POST", "/v1/collections/docs/index", "PUT"},
        {"PUT", "/v1/collections/docs/index/build", "POST"},
        {"POST", "/v1/collections/docs/index/", ""},
        {"P", "/v1/collections/docs/index", "PUT"},
        {"DELETE", "/v1/collections", "GET, HEAD, POST"},
        {"get", "/v1/collections", "GET, HEAD, POST"},
        {"POST", "/v1/collections/docs", "GET, HEAD, DELETE"},
        {"GET", "/v1/collections/docs/points", "POST"},
        {"HEAD", "/v1/collections/docs/points", "POST"},
        {"POST", "/v1/collections/docs/points/1", "GET, HEAD, DELETE"},
        {"PATCH", "/v1/collections/docs/points/get", "GET, HEAD, POST, DELETE"},
        {"GET", "/v1/collections/docs/search", "POST"},
        {"DELETE", "/v1/collections/docs/count", "GET, HEAD, POST"},
        {"DELETE", "/v1/collections/docs/snapshots", "GET, HEAD, POST"},
        {"GET", "/v1/collections/docs/snapshots/before", "DELETE"},
        {"DELETE", "/v1/collections/docs/snapshots/", ""},
        {"POST", "/metrics", "GET, HEAD"},
        {"OPTIONS", "/healthz", "GET, HEAD"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vdb_match match;
        vdb_routes_find(rows[i].method, rows[i].path, &match);
        assert_int_equal(match.route, VDB_ROUTE_NONE);
        assert_string_equal(match.allow, rows[i].allow);
    }
}

/* Words that are routes of one method are ids for another. */
static void test_words_as_ids(void **state)
{
    (void)state;
    struct vdb_match match;
    vdb_routes_find("GET", "/v1/collections/get/points/get", &match);
    assert_int_equal(match.route, VDB_ROUTE_GET_POINT);
    assert_part(match.name, "get");
    assert_part(match.id, "get");
    vdb_routes_find("DELETE", "/v1/collections/get/points/delete", &match);
    assert_int_equal(match.route, VDB_ROUTE_DELETE_POINT);
    vdb_routes_find("POST", "/v1/collections/get/points/delete", &match);
    assert_int_equal(match.route, VDB_ROUTE_DELETE_POINTS);
}

static vdb_status decode(const char *text, char *out, size_t capacity, size_t *bytes, struct vdb_err *err)
{
    return vdb_routes_decode(vdb_str_of(text), "id", out, capacity, bytes, err);
}

static void test_decode(void **state)
{
    (void)state;
    char out[8];
    size_t bytes;
    struct vdb_err err;
    assert_int_equal(decode("a%2Fb", out, 7, &bytes, &err), VDB_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(decode("%c3%A9+", out, 7, &bytes, &err), VDB_OK);
    assert_string_equal(out, "\xc3\xa9+");
    assert_int_equal(decode("a%00b", out, 7, &bytes, &err), VDB_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(out, "a\0b", 4);
    assert_int_equal(decode("%25", out, 7, &bytes, &err), VDB_OK);
    assert_string_equal(out, "%");
    assert_int_equal(decode("1234567", out, 7, &bytes, &err), VDB_OK);
    assert_int_equal(decode("12345678", out, 7, &bytes, &err), VDB_INVALID);
    assert_string_equal(err.text, "id: longer than 7 bytes");
    assert_int_equal(decode("%31%31%31%31%31%31%31", out, 7, &bytes, &err), VDB_OK);
    static const char *const bad[] = {"%", "a%", "%4", "%4g", "%g4", "%%41", "% 1", "%-1", "%0x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (decode(bad[i], out, 7, &bytes, &err) != VDB_INVALID) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_string_equal(err.text, "id: byte 0 of the path part: two hexadecimal digits must follow '%'");
}

static void test_id(void **state)
{
    (void)state;
    vecdb_id id;
    struct vdb_err err;
    static const struct {
        const char *text;
        uint64_t number;
    } numbers[] = {{"0", 0}, {"42", 42}, {"007", 7}, {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_int_equal(vdb_routes_id(vdb_str_of(numbers[i].text), &id, &err), VDB_OK);
        assert_null(id.text);
        assert_true(id.number == numbers[i].number);
    }
    static const char *const strings[] = {"a", "42a", "-1", "+1", "1.0", " 1", "99999999999999999999999x", "get"};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        assert_int_equal(vdb_routes_id(vdb_str_of(strings[i]), &id, &err), VDB_OK);
        assert_ptr_equal(id.text, strings[i]);
        assert_int_equal(id.text_bytes, strlen(strings[i]));
    }
    assert_int_equal(vdb_routes_id(vdb_str_of("18446744073709551616"), &id, &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "id: 18446744073709551616 is over 18446744073709551615"));
    assert_int_equal(vdb_routes_id(vdb_str_of("99999999999999999999999999"), &id, &err), VDB_INVALID);
    char text[257];
    memset(text, 'x', 256);
    assert_int_equal(vdb_routes_id((struct vdb_str){text, 255}, &id, &err), VDB_OK);
    assert_int_equal(vdb_routes_id((struct vdb_str){text, 256}, &id, &err), VDB_INVALID);
    assert_int_equal(vdb_routes_id((struct vdb_str){text, 0}, &id, &err), VDB_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route), cmocka_unit_test(test_no_route), cmocka_unit_test(test_words_as_ids),
        cmocka_unit_test(test_decode),      cmocka_unit_test(test_id),
    };
    return cmocka_run_group_tests_name("server/routes", tests, NULL, NULL);
}
