/* routes.h: which route a method and a path name, and the variable parts of the path.
 *
 * Paths arrive raw (percent-encoded, without the query), so that an id may hold any byte, "/" included; the parts
 * are decoded after the split. Threads: all functions are pure.
 */
#ifndef VDB_SERVER_ROUTES_H
#define VDB_SERVER_ROUTES_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"
#include "vecdb.h"

/* name, method, path, whether the route reads a body */
#define VDB_ROUTE_LIST(X)                                                                                        \
    X(LIST_COLLECTIONS, "GET", "/v1/collections", false)                                                         \
    X(CREATE_COLLECTION, "POST", "/v1/collections", true)                                                        \
    X(GET_COLLECTION, "GET", "/v1/collections/{name}", false)                                                    \
    X(DROP_COLLECTION, "DELETE", "/v1/collections/{name}", false)                                                \
    X(UPSERT, "POST", "/v1/collections/{name}/points", true)                                                     \
    X(GET_POINTS, "POST", "/v1/collections/{name}/points/get", true)                                             \
    X(DELETE_POINTS, "POST", "/v1/collections/{name}/points/delete", true)                                       \
    X(GET_POINT, "GET", "/v1/collections/{name}/points/{id}", false)                                             \
    X(DELETE_POINT, "DELETE", "/v1/collections/{name}/points/{id}", false)                                       \
    X(SEARCH, "POST", "/v1/collections/{name}/search", true)                                                     \
    X(COUNT_ALL, "GET", "/v1/collections/{name}/count", false)                                                   \
    X(COUNT, "POST", "/v1/collections/{name}/count", true)                                                       \
    X(SET_INDEX, "PUT", "/v1/collections/{name}/index", true)                                                    \
    X(BUILD_INDEX, "POST", "/v1/collections/{name}/index/build", false)                                          \
    X(LIST_SNAPSHOTS, "GET", "/v1/collections/{name}/snapshots", false)                                          \
    X(CREATE_SNAPSHOT, "POST", "/v1/collections/{name}/snapshots", true)                                         \
    X(DELETE_SNAPSHOT, "DELETE", "/v1/collections/{name}/snapshots/{snapshot}", false)                           \
    X(HEALTHZ, "GET", "/healthz", false)                                                                         \
    X(READYZ, "GET", "/readyz", false)                                                                           \
    X(VERSION, "GET", "/version", false)                                                                         \
    X(METRICS, "GET", "/metrics", false)

typedef enum vdb_route {
#define VDB_ROUTE_ENUM(name, method, path, body) VDB_ROUTE_##name,
    VDB_ROUTE_LIST(VDB_ROUTE_ENUM)
#undef VDB_ROUTE_ENUM
        VDB_ROUTE_NONE, /* no such path, or not with this method */
    VDB_ROUTE_COUNT_ALL_ROUTES
} vdb_route;

enum { VDB_ROUTES_ALLOW_BYTES = 32 };

struct vdb_match {
    vdb_route route;
    char allow[VDB_ROUTES_ALLOW_BYTES]; /* for NONE: the methods that the path has ("GET, HEAD"), or "" */
    struct vdb_str name;                /* {name}, still encoded, borrowed from the path; the others likewise */
    struct vdb_str id;
    struct vdb_str snapshot;
};

/* HEAD finds what GET finds. */
void vdb_routes_find(const char *method, const char *path, struct vdb_match *out);

const char *vdb_routes_method(vdb_route route); /* "" for NONE */
const char *vdb_routes_path(vdb_route route);   /* the pattern; "other" for NONE */
bool vdb_routes_has_body(vdb_route route);
/* Whether its work may take minutes: it gets a thread of its own (http.c). */
bool vdb_routes_is_long(vdb_route route);

/* Decodes a part into out (capacity bytes and a NUL that is not counted); `what` names it in errors. A part that
 * is too long is VDB_INVALID: it cannot be the name of anything. */
vdb_status vdb_routes_decode(struct vdb_str part, const char *what, char *out, size_t capacity, size_t *bytes,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* The id that decoded text names: digits alone are an integer, anything else is the string itself (borrowed). */
vdb_status vdb_routes_id(struct vdb_str text, vecdb_id *out, struct vdb_err *err) VDB_MUST_CHECK;

#endif
