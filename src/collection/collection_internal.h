/* collection_internal.h: a collection's state, shared by collection.c, write.c and search.c. Nobody else. */
#ifndef VDB_COLLECTION_COLLECTION_INTERNAL_H
#define VDB_COLLECTION_COLLECTION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "collection.h"
#include "index/index.h"
#include "snapshots.h"

struct vdb_collection {
    struct vdb_env *env;
    char *dir; /* of the drop lock: changes when dropped */
    struct vdb_store *store;
    const struct vdb_index_ops *index;
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

/* maintain.c: counts what was written, and wakes the maintainer when it is much. */
void vdb_collection_note_unsaved(struct vdb_collection *collection, uint64_t bytes);

#endif
