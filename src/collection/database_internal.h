/* database_internal.h: what database.c lends to backup.c and follow.c. Nobody else. */
#ifndef VDB_COLLECTION_DATABASE_INTERNAL_H
#define VDB_COLLECTION_DATABASE_INTERNAL_H

#include "database.h"

#define VDB_COLLECTIONS_DIR "collections"

struct vdb_env *vdb_database_env(const struct vdb_database *database);

/* vdb_dir_fn: refuses any entry but a file system's own: a new data directory is made in an empty one. */
vdb_status vdb_database_refuse_any(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err);

/* Makes the collection `name` (which its manifest must say, too) a follower of the one in the directory `from`: a checked
 * copy, as of that one's checkpoint. VDB_NOT_FOUND or VDB_CORRUPT may mean that a living `from` changed its files
 * meanwhile: try again. */
vdb_status vdb_database_import(struct vdb_database *database, const char *from, const char *name,
                               struct vdb_err *err) VDB_MUST_CHECK;

#endif
