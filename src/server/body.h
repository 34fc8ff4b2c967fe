/* body.h: request bodies (docs/api.md) read straight from JSON text into the types of vecdb.h, in one pass.
 *
 * Vectors go from the text into float arrays of the caller's arena; ids, metadata and filters are borrowed from
 * the text where they stand in it as they are. So what a parse gives lives as long as the text and the arena both
 * do.
 *
 * Strict: unknown and repeated fields are refused by name, so that a misspelt option is never silently ignored.
 * Errors name the place: `points[3].vector: 255 numbers given, the collection "docs" has dimension 256`.
 * VDB_INVALID, or VDB_LIMIT past a number of base/limits.h. Threads: confined.
 */
#ifndef VDB_SERVER_BODY_H
#define VDB_SERVER_BODY_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "vecdb.h"

struct vdb_body {
    const char *text;
    size_t bytes;
    const char *collection; /* for messages; NULL where the body names it itself */
    uint32_t dimension;     /* of that collection, where the body has vectors */
    struct vdb_arena *arena;
};

/* What comes back, wherever points do. */
struct vdb_body_shape {
    bool with_vector;
    bool with_metadata;
    bool base64; /* vectors as base64 text instead of arrays */
};

struct vdb_body_points {
    vecdb_point *points;
    size_t count;
};

struct vdb_body_ids {
    vecdb_id *ids;
    size_t count;
    struct vdb_body_shape shape;
    const char *snapshot; /* to read at; NULL: none. Checked no further than a collection's name */
};

struct vdb_body_search {
    vecdb_search_request request;
    struct vdb_body_shape shape;
    bool explain;
    const char *snapshot;
};

struct vdb_body_count {
    struct vdb_str filter; /* data NULL: none */
    const char *snapshot;
};

/* The name is NUL-terminated and free of NUL bytes, but checked no further: that is the database's rule. */
vdb_status vdb_body_parse_create(const struct vdb_body *body, vecdb_collection_config *out,
                                 struct vdb_err *err) VDB_MUST_CHECK;
/* An index configuration for a collection of that metric. */
vdb_status vdb_body_parse_index(const struct vdb_body *body, vecdb_metric metric, vecdb_index_config *out,
                                struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_body_parse_snapshot(const struct vdb_body *body, const char **name,
                                   struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_body_parse_upsert(const struct vdb_body *body, struct vdb_body_points *out,
                                 struct vdb_err *err) VDB_MUST_CHECK;
/* to_read: also takes with_vector, with_metadata, vector_encoding and snapshot (points/get). */
vdb_status vdb_body_parse_ids(const struct vdb_body *body, bool to_read, struct vdb_body_ids *out,
                              struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_body_parse_search(const struct vdb_body *body, struct vdb_body_search *out,
                                 struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_body_parse_count(const struct vdb_body *body, struct vdb_body_count *out,
                                struct vdb_err *err) VDB_MUST_CHECK;

#endif
