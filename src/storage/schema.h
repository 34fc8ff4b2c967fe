/* schema.h: what a collection's points look like, fixed at creation, and how it is searched, changed when its user likes;
 * both are kept in its manifest.
 *
 * Threads: a schema is immutable after creation; an index_config is plain data.
 */
#ifndef VDB_STORAGE_SCHEMA_H
#define VDB_STORAGE_SCHEMA_H

#include "base/element.h"
#include "base/err.h"
#include "base/limits.h"

enum { VDB_INDEX_NAME_BYTES = 16 };

struct vdb_schema {
    char name[VDB_LIMIT_NAME_BYTES_MAX + 1];
    uint32_t dimension;
    vdb_metric metric;
    vdb_element element; /* that segments keep vectors in: f32 (0), f16, u8 or i8 */
};

/* How the points are found. Storage keeps it and knows that the type is a name and numbers are numbers; what they mean,
 * and which kinds exist, is the collection's business. 0: the kind's default. */
struct vdb_index_config {
    char type[VDB_INDEX_NAME_BYTES]; /* "flat", "hnsw", "qgraph" */
    uint32_t m;                      /* of building */
    uint32_t ef_construction;
    uint32_t ef_search;   /* the width of a search that names neither width nor recall */
    uint32_t code_bits;   /* qgraph */
    uint32_t compact;     /* qgraph: 1: without inlined codes */
    uint32_t scan_below;  /* sources of fewer rows are scanned, not indexed */
    double target_recall; /* below 1 */
};

/* VDB_INVALID unless name matches [A-Za-z0-9][A-Za-z0-9_.-]{0,63}. */
vdb_status vdb_schema_check_name(const char *name, struct vdb_err *err) VDB_MUST_CHECK;

/* The name and the dimension are within their limits; element and metric are those of collections. */
vdb_status vdb_schema_check(const struct vdb_schema *schema, struct vdb_err *err) VDB_MUST_CHECK;

/* VDB_INVALID unless the type matches [A-Za-z0-9][A-Za-z0-9_.-]{0,14} and target_recall is 0 or between 0 and 1. */
vdb_status vdb_schema_check_index(const struct vdb_index_config *config, struct vdb_err *err) VDB_MUST_CHECK;

#endif
