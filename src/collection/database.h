/* database.h: a data directory: its lock, its manifest, and its collections by name.
 *
 *     <data>/LOCK  <data>/metadata.json  <data>/collections/<name>/
 *
 * A collection exists exactly when collections/<name> does. It is made as collections/.new-<uuid> and renamed
 * when complete; dropped by renaming it to collections/.trash-<uuid>, then removed. Names never begin with a dot,
 * so both kinds of leftover are told apart and removed at the next open. Threads: locked inside; all calls from
 * all threads.
 */
#ifndef VDB_COLLECTION_DATABASE_H
#define VDB_COLLECTION_DATABASE_H

#include "collection.h"

struct vdb_database;

/* VDB_NOT_FOUND with must_exist when there is no database at path. A path that holds something else is refused.
 */
vdb_status vdb_database_open(struct vdb_env *env, const char *path, bool must_exist, struct vdb_database **out,
                             struct vdb_err *err) VDB_MUST_CHECK;
void vdb_database_close(struct vdb_database *database); /* NULL allowed */

/* Starts the thread that checkpoints and compacts (maintain.h); closing stops it. Once. */
struct vdb_maintain_options;
vdb_status vdb_database_maintain(struct vdb_database *database, const struct vdb_maintain_options *options,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* ---- backup.c ---- */

/* Told after each collection; false cancels (VDB_CANCELLED). */
typedef bool vdb_backup_progress_fn(void *ctx, const char *collection, uint64_t done, uint64_t total);

/* Makes `to`, which is not there or empty, a data directory with the state of all collections, each as of its own
 * moment during the call; writes go on. Every block is checked on the way. `to` becomes a database by the last step:
 * what a crash leaves before is none. */
vdb_status vdb_database_backup(struct vdb_database *database, const char *to, vdb_backup_progress_fn *progress,
                               void *ctx, struct vdb_err *err) VDB_MUST_CHECK;

/* The same with one collection, as of one of its snapshots. */
vdb_status vdb_database_restore_snapshot(struct vdb_database *database, const char *collection,
                                         const char *snapshot, const char *to,
                                         struct vdb_err *err) VDB_MUST_CHECK;

/* config: NULL for the default (index_config.h). */
vdb_status vdb_database_create(struct vdb_database *database, const struct vdb_schema *schema,
                               const struct vdb_index_config *config, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_database_drop(struct vdb_database *database, const char *name, struct vdb_err *err) VDB_MUST_CHECK;

/* A reference to the collection of that name, for the caller to unref; VDB_NOT_FOUND names it. */
vdb_status vdb_database_get(struct vdb_database *database, const char *name, struct vdb_collection **out,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* References to all collections in name order: an array for the caller to free, each entry to unref. */
vdb_status vdb_database_list(struct vdb_database *database, struct vdb_collection ***out, size_t *count,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* What all collections hold, and what was done since open, dropped collections included. */
struct vdb_database_stats {
    uint64_t collections;
    uint64_t points;
    uint64_t memory_bytes;
    uint64_t log_bytes;
    uint64_t writes;
    uint64_t syncs;
    uint64_t log_bytes_written;
    uint64_t searches;
    uint64_t distances_computed;
    uint64_t recovered_batches;
    uint64_t recovery_ns;
    uint64_t torn_bytes_cut;
    uint64_t segments;
    uint64_t segment_bytes;
    uint64_t segment_rows; /* live and dead */
    uint64_t segment_dead;
    uint64_t checkpoints;
    uint64_t compactions;
    uint64_t bytes_compacted;
};

void vdb_database_get_stats(struct vdb_database *database, struct vdb_database_stats *out);

#endif
