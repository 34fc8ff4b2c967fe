/* collection_internal.h: a collection's state, shared by the files of this folder that are about one. Nobody else.
 *
 * Locks of graphs: `pass` and `change` come before everything else here; `lock` is taken last and held for a few lines. */
#ifndef VDB_COLLECTION_COLLECTION_INTERNAL_H
#define VDB_COLLECTION_COLLECTION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "collection.h"
#include "graphs.h"
#include "snapshots.h"

struct vdb_collection {
    struct vdb_env *env;
    char *dir; /* of the drop lock: changes when dropped */
    struct vdb_store *store;
    struct vdb_graphs graphs;
    _Atomic uint64_t refs;
    pthread_rwlock_t life; /* read: a write is running; write: the collection is being dropped or closed */
    bool dropped;          /* of the life lock */
    bool closed;           /* of the life lock: the database was closed, references are left */
    atomic_bool closing;   /* set before the life lock is taken for writing: long work stops */
    struct vdb_maintainer
        *maintainer;                /* told of what was written; outlives the collection's writes; may be NULL */
    _Atomic uint64_t unsaved_bytes; /* of batches since the last checkpoint began */
    bool removable;                 /* the drop is durable; set before the last reference goes */
    struct vdb_snapshots snapshots; /* of it that are open; none has any */
    atomic_bool spare_taken;        /* whoever sets it has the spare until clearing it */
    struct vdb_buf spare;           /* memory kept for the next batch's payload */
    _Atomic uint64_t searches;
    _Atomic uint64_t distances_computed;
};

/* collection.c: a collection over the snapshot's files, to read only. */
vdb_status vdb_collection_open_snapshot(struct vdb_collection *of, const char *name, struct vdb_collection **out,
                                        struct vdb_err *err) VDB_MUST_CHECK;

/* maintain.c: enters the collection's life, so that its files stay where they are; with VDB_OK the caller leaves it, which
 * returns the status it is given. */
vdb_status vdb_collection_enter(struct vdb_collection *collection, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_collection_leave(struct vdb_collection *collection, vdb_status status);

/* Who makes its graphs; NULL: nobody by itself. */
struct vdb_indexer;
struct vdb_indexer *vdb_collection_indexer(const struct vdb_collection *collection);

/* maintain.c: counts what was written, and wakes the maintainer when it is much. */
void vdb_collection_note_unsaved(struct vdb_collection *collection, uint64_t bytes);

#endif
