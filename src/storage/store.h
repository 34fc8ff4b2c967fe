/* store.h: the durable half of a collection: a directory with its manifest and its log, and the memtable they
 * make.
 *
 * A write: vdb_store_write stages the batch (may fail, shows nothing), logs it (one sync for many writers),
 * publishes it in the order of sequence numbers, and returns. Opening: manifest, then every batch of the log
 * through the same stage and publish. To the store an index does not exist. Threads: locked inside; create and
 * open are confined.
 */
#ifndef VDB_STORAGE_STORE_H
#define VDB_STORAGE_STORE_H

#include "env/env.h"
#include "manifest.h"
#include "memtable.h"
#include "wal.h"

struct vdb_store;

/* Makes directory `dir` (its parent exists, it does not) with an empty collection in it, durable but for dir's
 * own name, which is the caller's to publish. */
vdb_status vdb_store_create(struct vdb_env *env, const char *dir, const struct vdb_schema *schema,
                            struct vdb_err *err) VDB_MUST_CHECK;

vdb_status vdb_store_open(struct vdb_env *env, const char *dir, const struct vdb_wal_options *options,
                          struct vdb_store **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Closes the log and its file, sealing its end (vdb_wal_close). From then on only the rows and the schema may be
 * used, until vdb_store_close. */
void vdb_store_seal(struct vdb_store *store);

/* With `mark`, seals the log's end (vdb_wal_close), unless that is done. NULL allowed. */
void vdb_store_close(struct vdb_store *store, bool mark);

/* Writes one encoded batch (batch.h): durable and visible when it returns VDB_OK. *changed may be NULL. */
vdb_status vdb_store_write(struct vdb_store *store, const void *payload, size_t bytes, uint64_t *seq,
                           uint64_t *changed, struct vdb_err *err) VDB_MUST_CHECK;

const struct vdb_schema *vdb_store_schema(const struct vdb_store *store);
struct vdb_memtable *vdb_store_memtable(struct vdb_store *store);

struct vdb_store_stats {
    struct vdb_wal_stats wal;
    struct vdb_wal_recovery recovery;
    uint64_t recovery_ns;
    uint64_t writes; /* acknowledged since open */
};

void vdb_store_get_stats(struct vdb_store *store, struct vdb_store_stats *out);

#endif
