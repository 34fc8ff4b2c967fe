/* routes.c: the table of routes, matched part by part. With so few rows a walk costs less than a hash. */
#include "server/routes.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"

struct route {
    const char *method;
    const char *path;
    bool body;
};

static const struct route routes[] = {
#define ROUTE_ENTRY(name, method, path, body) {method, path, body},
    VDB_ROUTE_LIST(ROUTE_ENTRY)
#undef ROUTE_ENTRY
};

enum { ROUTE_COUNT = sizeof routes / sizeof routes[0] };
_Static_assert((int)ROUTE_COUNT == (int)VDB_ROUTE_NONE, "the table and the enum follow one list");

const char *vdb_routes_method(vdb_route route)
{
    return (int)route < ROUTE_COUNT ? routes[route].method : "";
}

const char *vdb_routes_path(vdb_route route)
{
    return (int)route < ROUTE_COUNT ? routes[route].path : "other";
}

bool vdb_routes_has_body(vdb_route route)
{
    return (int)route < ROUTE_COUNT && routes[route].body;
}

bool vdb_routes_is_long(vdb_route route)
{
    return route == VDB_ROUTE_BUILD_INDEX;
}

/* The next part of a path that stands at a '/'; steps over it. */
static struct vdb_str take_part(const char **path)
{
    const char *start = *path + 1;
    size_t bytes = strcspn(start, "/");
    *path = start + bytes;
    return (struct vdb_str){start, bytes};
}

static bool match_path(const char *pattern, const char *path, struct vdb_match *out)
{
    while (*pattern == '/' && *path == '/') {
        struct vdb_str expected = take_part(&pattern);
        struct vdb_str part = take_part(&path);
        if (vdb_str_is(expected, "{name}") && part.bytes > 0) {
            out->name = part;
        } else if (vdb_str_is(expected, "{id}") && part.bytes > 0) {
            out->id = part;
        } else if (vdb_str_is(expected, "{snapshot}") && part.bytes > 0) {
            out->snapshot = part;
        } else if (!vdb_str_eq(expected, part)) {
            return false;
        }
    }
    return *pattern == '\0' && *path == '\0';
}

void vdb_routes_find(const char *method, const char *path, struct vdb_match *out)
{
    static const char *const listed[] = {"GET", "POST", "PUT", "DELETE"};
    bool has[sizeof listed / sizeof listed[0]] = {false};
    *out = (struct vdb_match){.route = VDB_ROUTE_NONE};
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (int i = 0; i < ROUTE_COUNT; i++) {
        struct vdb_match match = {.route = (vdb_route)i};
        if (!match_path(routes[i].path, path, &match)) {
            continue;
        }
        if (strcmp(routes[i].method, wanted) == 0) {
            *out = match;
            return;
        }
        for (size_t m = 0; m < sizeof listed / sizeof listed[0]; m++) {
            has[m] = has[m] || strcmp(routes[i].method, listed[m]) == 0;
        }
    }
    size_t used = 0;
    for (size_t m = 0; m < sizeof listed / sizeof listed[0]; m++) {
        if (has[m]) {
            used += (size_t)snprintf(out->allow + used, sizeof out->allow - used, "%s%s%s", used > 0 ? ", " : "",
                                     listed[m], m == 0 ? ", HEAD" : "");
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

vdb_status vdb_routes_decode(struct vdb_str part, const char *what, char *out, size_t capacity, size_t *bytes,
                             struct vdb_err *err)
{
    size_t count = 0;
    for (size_t i = 0; i < part.bytes; i++) {
        char c = part.data[i];
        if (c == '%') {
            int high = i + 2 < part.bytes ? hex_digit(part.data[i + 1]) : -1;
            int low = i + 2 < part.bytes ? hex_digit(part.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return vdb_err_set(err, VDB_INVALID,
                                   "%s: byte %zu of the path part: two hexadecimal digits must follow '%%'", what,
                                   i);
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (count == capacity) {
            return vdb_err_set(err, VDB_INVALID, "%s: longer than %zu bytes", what, capacity);
        }
        out[count++] = c;
    }
    out[count] = '\0';
    *bytes = count;
    return VDB_OK;
}

vdb_status vdb_routes_id(struct vdb_str text, vecdb_id *out, struct vdb_err *err)
{
    uint64_t number = 0;
    bool digits = text.bytes > 0;
    bool overflow = false;
    for (size_t i = 0; i < text.bytes && digits; i++) {
        digits = text.data[i] >= '0' && text.data[i] <= '9';
        overflow = overflow || __builtin_mul_overflow(number, UINT64_C(10), &number) ||
                   __builtin_add_overflow(number, (uint64_t)(unsigned char)(text.data[i] - '0'), &number);
    }
    if (!digits) {
        if (text.bytes == 0 || text.bytes > VDB_LIMIT_ID_BYTES_MAX) {
            return vdb_err_set(err, VDB_INVALID, "id: %zu bytes given, a string id has 1 to %u", text.bytes,
                               VDB_LIMIT_ID_BYTES_MAX);
        }
        *out = (vecdb_id){text.data, text.bytes, 0};
        return VDB_OK;
    }
    if (overflow) {
        return vdb_err_set(err, VDB_INVALID,
                           "id: %.*s is over 18446744073709551615; a string id of digits is reached by POST "
                           "points/get and points/delete",
                           (int)(text.bytes < 64 ? text.bytes : 64), text.data);
    }
    *out = vecdb_id_number(number);
    return VDB_OK;
}
