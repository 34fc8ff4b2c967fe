/* schema.h: what a collection's points look like; fixed at creation, kept in its manifest.
 *
 * Threads: immutable after creation.
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
    vdb_element element;              /* that segments keep vectors in: f32 (0), f16, u8 or i8 */
    char index[VDB_INDEX_NAME_BYTES]; /* the index kind's name; which kinds exist is the collection's business */
};

/* VDB_INVALID unless name matches [A-Za-z0-9][A-Za-z0-9_.-]{0,63}. */
vdb_status vdb_schema_check_name(const char *name, struct vdb_err *err) VDB_MUST_CHECK;

/* The name and the dimension are within their limits; element and metric are those of collections. */
vdb_status vdb_schema_check(const struct vdb_schema *schema, struct vdb_err *err) VDB_MUST_CHECK;

#endif
