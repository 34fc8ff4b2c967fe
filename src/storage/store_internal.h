/* store_internal.h: a store's state, shared by store.c, store_write.c, checkpoint.c, compact.c, attach.c, snapshot.c and
 * verify.c. Nobody else.
 *
 * Locks, in the order in which they are taken:
 *   compacting   one compaction at a time; held for its whole length
 *   maintain     the manifest and the files it names, and the segments' companions; held by a checkpoint and a snapshot
 *                for their whole length, by a compaction and an attach only for their commit
 *   gate         read: a write is between staging and publication; write: the memtable is being exchanged
 *   publishing   one thread publishes what is durable
 *   order        the list of batches that are logged and not yet published; held while one gets its number
 *   lock         the version, its ends and the visible sequence number as one step; write: a publication or an
 *                exchange of versions; read: a pin. Never held over a disk operation, but for pages of the id tables
 *                of segments that a publication probes.
 *   naming       a snapshot gets or loses its name; held while one is opened, which so finds all of its files or none
 */
#ifndef VDB_STORAGE_STORE_INTERNAL_H
#define VDB_STORAGE_STORE_INTERNAL_H

#include <pthread.h>

#include "base/limits.h"
#include "store.h"

#define VDB_STORE_WAL_DIR       "wal"
#define VDB_STORE_VECTORS_DIR   "vectors"
#define VDB_STORE_META_DIR      "meta"
#define VDB_STORE_INDEX_DIR     "index"
#define VDB_STORE_SNAPSHOTS_DIR "snapshots"

struct vdb_store {
    struct vdb_env *env;
    char *dir;
    struct vdb_wal *wal; /* NULL: a snapshot, or sealed */

    pthread_mutex_t compacting;
    pthread_mutex_t maintain;
    struct vdb_manifest manifest;    /* of maintain, but for uuid and schema, which never change */
    atomic_bool follower;            /* as the manifest says it: takes only vdb_store_apply, writes no marks */
    bool commit_failed;              /* of maintain: D4 */
    uint64_t frozen_seq;             /* of maintain: version->memtables[1], if any, holds the batches up to it */
    uint32_t frozen_wal_first;       /* of maintain: the log segment that the next one begins */
    _Atomic uint64_t checkpoint_seq; /* as the manifest says it; for statistics */
    _Atomic uint64_t checkpoints;
    _Atomic uint64_t compactions;
    _Atomic uint64_t bytes_compacted;
    _Atomic uint64_t index_files; /* as the manifest says it; for statistics */
    _Atomic uint64_t index_bytes;

    pthread_rwlock_t gate;
    pthread_rwlock_t lock;
    struct vdb_version *version;          /* of lock; segments[i] is manifest.segments[i] */
    struct vdb_index_config index_config; /* of lock: the manifest's, for who does not have maintain */
    uint64_t seq;                         /* of lock: of the last published batch */
    uint64_t unsaved;                     /* of lock: batches published since the memtable was exchanged */

    pthread_mutex_t order;        /* a record's number and its batch's place in the list are given in one step */
    struct vdb_publication *list; /* of order: logged, not yet published batches, in the log's order */
    struct vdb_publication **list_end;
    pthread_mutex_t publishing; /* one publisher at a time */
    pthread_mutex_t naming;
    _Atomic uint64_t writes;
    atomic_bool wants_memory; /* the memtable does */
    atomic_bool damaged;      /* a publication met a damaged segment: no more writes; set once, after `damage` */
    struct vdb_err damage;

    struct vdb_wal_recovery recovery;
    uint64_t recovery_ns;
};

/* The calling thread holds maintain. */

/* Refuses while D4 forbids a commit, or when the store cannot write at all. */
vdb_status vdb_store_may_commit(const struct vdb_store *store, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_store_checkpoint_locked(struct vdb_store *store, struct vdb_err *err) VDB_MUST_CHECK;

/* Makes a staged batch visible as of seq (store_write.c). One at a time. Returns how many points it changed. */
uint64_t vdb_store_publish(struct vdb_store *store, struct vdb_memtable *memtable, struct vdb_staged *staged,
                           uint64_t seq);
/* VDB_CORRUPT once a publication has met a damaged segment. */
vdb_status vdb_store_check_damage(struct vdb_store *store, struct vdb_err *err) VDB_MUST_CHECK;

/* Saves the manifest and takes it over (frees the old one's segments); D4 on failure. */
vdb_status vdb_store_commit(struct vdb_store *store, struct vdb_manifest *manifest,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* Puts another version in place, with `before` run under the lock first (NULL: nothing). Takes over the reference. */
void vdb_store_install(struct vdb_store *store, struct vdb_version *version, void (*before)(void *ctx),
                       void *ctx);

/* Makes known what others than maintenance read of a manifest that is in place now. */
void vdb_store_publish_manifest(struct vdb_store *store);

/* A copy of the manifest with room for one segment more. */
vdb_status vdb_store_manifest_copy(const struct vdb_manifest *from, struct vdb_manifest *to,
                                   struct vdb_err *err) VDB_MUST_CHECK;

/* Makes vectors/ and meta/ where a format-1 directory lacks them; with `index` index/, too, which a collection has from its
 * first index file on. */
vdb_status vdb_store_make_dirs(struct vdb_env *env, const char *dir, bool index,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* Unlinks a segment's file; one that is not there is fine, other failures are logged: the next open removes it. */
void vdb_store_unlink(struct vdb_env *env, const char *dir, vdb_block_file_kind kind, uint32_t number,
                      uint32_t edition);

/* Opens the index file that *info names (with an edition); attach.c. No block is checked yet. */
vdb_status vdb_store_open_index(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                                const struct vdb_segment_info *info, struct vdb_block_file **file,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* Removes from vectors/, meta/ and index/ what the manifest does not name: work that a crash cut short. Names that are no
 * segment's are VDB_CORRUPT. */
vdb_status vdb_store_sweep(struct vdb_env *env, const char *dir, const struct vdb_manifest *manifest,
                           struct vdb_err *err) VDB_MUST_CHECK;

/* Removes snapshots half made or half deleted. */
vdb_status vdb_store_sweep_snapshots(struct vdb_env *env, const char *dir, struct vdb_err *err) VDB_MUST_CHECK;

#endif
