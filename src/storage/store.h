/* store.h: the durable half of a collection: its directory, and the rows in it.
 *
 *     DIR/metadata.json   DIR/wal/   DIR/vectors/   DIR/meta/   DIR/index/   DIR/snapshots/NAME/
 *
 * A write: vdb_store_write stages the batch in the memtable (may fail, shows nothing), logs it (one sync for many
 * writers), publishes it in the order of sequence numbers, and returns. A checkpoint writes the memtable's rows to a
 * segment and drops the log before it; a compaction merges segments; a snapshot keeps a checkpoint's files under a
 * name; an index file may lie beside each segment. The manifest is the sole commit point of all of them: before it is
 * replaced, every file that it names is durable; after, what it no longer names is removed, by this process or by the next
 * open. Opening: manifest, then
 * the log after the checkpoint, through the same stage and publish.
 *
 *   D1 What the manifest names exists, whole and durable, at every moment. (An index file that is lost all the same is
 *      no reason to refuse anything: attach.c.)
 *   D2 The log holds every acknowledged batch after the manifest's checkpoint, whichever of the old and the new
 *      manifest a crash leaves.
 *   D3 A row that has ended stays ended: its end is in the log after the checkpoint, or in the segment's bitmap that
 *      the manifest names; a merge carries over the ends that came after it was planned.
 *   D4 After a manifest save that failed, nothing is removed any more and nothing else is committed: which of the two
 *      a crash would leave is unknown, and both stay good.
 *
 * To the store an index is bytes beside a segment (attach.c) and a counted pointer (companion.h); how rows are found by
 * it, it does not know. Threads: writes, pins and finds from all threads; checkpoint, compact, snapshots and attach from
 * any, one of a kind at a time inside; create, open and close are confined.
 */
#ifndef VDB_STORAGE_STORE_H
#define VDB_STORAGE_STORE_H

#include <stdatomic.h>

#include "env/env.h"
#include "manifest.h"
#include "view.h"
#include "wal.h"

struct vdb_store;

/* Makes directory `dir` (its parent exists, it does not) with an empty collection in it, durable but for dir's
 * own name, which is the caller's to publish. */
vdb_status vdb_store_create(struct vdb_env *env, const char *dir, const struct vdb_schema *schema,
                            const struct vdb_index_config *index_config, struct vdb_err *err) VDB_MUST_CHECK;

vdb_status vdb_store_open(struct vdb_env *env, const char *dir, const struct vdb_wal_options *options,
                          struct vdb_store **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Closes the log and its file, sealing its end (vdb_wal_close). From then on only views and the schema may be
 * used, until vdb_store_close. */
void vdb_store_seal(struct vdb_store *store);

/* With `mark`, seals the log's end (vdb_wal_close), unless that is done. Views that are still held stay good. NULL
 * allowed. */
void vdb_store_close(struct vdb_store *store, bool mark);

/* Writes one encoded batch (batch.h): durable and visible when it returns VDB_OK. *changed may be NULL. */
vdb_status vdb_store_write(struct vdb_store *store, const void *payload, size_t bytes, uint64_t *seq,
                           uint64_t *changed, struct vdb_err *err) VDB_MUST_CHECK;

/* Writes records of another store's log to its follower (VDB_UNSUPPORTED in any other store): each keeps the sequence number and the time that it has there,
 * so they must come in order, without a gap, the first after what this store has (VDB_INVALID). Durable and visible
 * when it returns VDB_OK; after an error a prefix of them may be. */
vdb_status vdb_store_apply(struct vdb_store *store, const struct vdb_wal_record *records, size_t count,
                           struct vdb_err *err) VDB_MUST_CHECK;

/* Makes a follower a collection of its own, which takes writes and follows nobody any more. Durable; does nothing to
 * one that is. */
vdb_status vdb_store_promote(struct vdb_store *store, struct vdb_err *err) VDB_MUST_CHECK;
bool vdb_store_is_follower(struct vdb_store *store);

/* The state after the last published batch; vdb_view_release ends it. */
void vdb_store_pin(struct vdb_store *store, struct vdb_view *view);

/* Pins a view and finds, as of it, where the ids lie. The caller releases the view, also after an error. */
vdb_status vdb_store_find(struct vdb_store *store, const struct vdb_id *ids, size_t count, struct vdb_view *view,
                          struct vdb_place *places, struct vdb_err *err) VDB_MUST_CHECK;

const struct vdb_schema *vdb_store_schema(const struct vdb_store *store);
const uint8_t *vdb_store_uuid(const struct vdb_store *store); /* VDB_UUID_BYTES */

/* The configuration that the manifest has; from any thread, waits for no disk. Setting it is durable when it returns
 * VDB_OK and changes nothing else: index files that are there stay. VDB_INVALID as vdb_schema_check_index; VDB_READ_ONLY
 * in a snapshot. Waits for a checkpoint or snapshot that runs. */
void vdb_store_get_index_config(struct vdb_store *store, struct vdb_index_config *out);
vdb_status vdb_store_set_index_config(struct vdb_store *store, const struct vdb_index_config *config,
                                      struct vdb_err *err) VDB_MUST_CHECK;

/* The sequence number of the last record of the log, marks included; a snapshot's is its checkpoint. */
uint64_t vdb_store_durable_seq(struct vdb_store *store);

struct vdb_store_stats {
    struct vdb_wal_stats wal;
    struct vdb_wal_recovery recovery;
    uint64_t recovery_ns;
    uint64_t writes; /* acknowledged since open */
    uint64_t seq;    /* of the last published batch */
    uint64_t checkpoint_seq;
    uint64_t points;       /* live */
    uint64_t dead;         /* versions that no new view sees, in memory and in segments */
    uint64_t memory_bytes; /* of memtables */
    uint64_t segments;
    uint64_t segment_rows; /* live and dead */
    uint64_t segment_dead;
    uint64_t segment_bytes;   /* of all segment files, bitmaps included */
    uint64_t checkpoints;     /* since open */
    uint64_t compactions;     /* since open */
    uint64_t bytes_compacted; /* written by compactions since open */
    uint64_t index_files;
    uint64_t index_bytes; /* of them; not in segment_bytes */
};

void vdb_store_get_stats(struct vdb_store *store, struct vdb_store_stats *out);

/* ---- checkpoint.c ---- */

/* Writes what the memtable holds to a segment and shortens the log to what came after. Writers wait only while the
 * memtable is exchanged. Does nothing when nothing was written since the last one. */
vdb_status vdb_store_checkpoint(struct vdb_store *store, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- compact.c ---- */

struct vdb_compact_options {
    bool full;                 /* all segments into one; else those that the tiers ask for */
    uint64_t bytes_per_second; /* of writing; 0: no limit */
    const atomic_bool *cancel; /* NULL: never; looked at every few rows: VDB_CANCELLED */
    /* Called at the same places; false cancels, too. NULL allowed. */
    bool (*progress)(void *ctx, uint64_t rows_done, uint64_t rows_total);
    /* Called when the output has taken the inputs' place, unless no row was left. Row i of `output` with
     * first[s] <= i < first[s + 1] was row rows[i] of before->version->segments[s], with all that this view has beside it
     * (vdb_view_companion); segments that were not merged, and those of which no row was left, have first[s] ==
     * first[s + 1]. All of it is borrowed for the call, which may attach a file or a companion to the output. NULL
     * allowed. */
    void (*merged)(void *ctx, const struct vdb_view *before, const uint32_t *first, const uint32_t *rows,
                   struct vdb_segment *output);
    void *ctx; /* of both */
};

struct vdb_compact_result {
    uint32_t merged;      /* segments that went in; 0: there was nothing to do */
    uint64_t rows_before; /* of them, dead ones included */
    uint64_t rows_after;
    uint64_t bytes_before;
    uint64_t bytes_after;
};

/* Merges segments. Reclaims rows that had ended when it was planned. */
vdb_status vdb_store_compact(struct vdb_store *store, const struct vdb_compact_options *options,
                             struct vdb_compact_result *result, struct vdb_err *err) VDB_MUST_CHECK;

/* Memory that writes to come will need can be made ready beside them: wants says when there is some to make. */
bool vdb_store_wants_memory(const struct vdb_store *store);
void vdb_store_make_memory(struct vdb_store *store);

/* Whether vdb_store_compact without `full` would find something to do. */
bool vdb_store_wants_compaction(struct vdb_store *store);

/* The bytes that it would read if it were called again and again until it finds nothing to do, 0 when that is now. What
 * the first call reads is exact; segments that are still to be made count by the share of the live rows that go into
 * them. 0, too, when memory is short. */
uint64_t vdb_store_compaction_debt(struct vdb_store *store);

/* ---- attach.c ---- what lies beside a segment: a file in index/, named by the manifest, and a companion in memory.
 * `segment` is one of a view that the caller holds, or compaction's output. VDB_NOT_FOUND when it is no longer of the
 * collection (it was merged meanwhile). As for checkpoints and compactions, the directory must stay where it is during a
 * call. Opening a collection does not read index files; a missing or damaged one never stops opening, reading or writing:
 * it shows in vdb_store_attached_open and vdb_store_verify. */

/* Adds bytes to the file; fails as the disk does. */
typedef vdb_status vdb_attach_put_fn(void *put_ctx, const void *data, size_t bytes, struct vdb_err *err);
/* Puts all of the file's bytes. Its failure is attach's. */
typedef vdb_status vdb_attach_fill_fn(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err);

/* Writes what `fill` puts as the segment's next index file, index/index_NNNNNN_EEEEEE.bin, names it in the manifest, puts
 * the companion (its own reference; NULL: none) in the place of the one before, so that views pinned from then on see it,
 * and unlinks the edition before. The file is written and synced beside checkpoints, writes and pins; only naming it waits
 * for a checkpoint or snapshot that runs. VDB_BUSY when another attach or a detach of this segment began after this one:
 * the newest call wins. After an error nothing has changed and nothing is left. */
vdb_status vdb_store_attach(struct vdb_store *store, struct vdb_segment *segment, vdb_attach_fill_fn *fill,
                            void *ctx, struct vdb_companion *companion, struct vdb_err *err) VDB_MUST_CHECK;
/* Takes the file and the companion away; a segment that has neither is fine. */
vdb_status vdb_store_detach(struct vdb_store *store, struct vdb_segment *segment,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* Opens the file that the manifest names and checks all of its blocks: VDB_CORRUPT names path and byte, VDB_NOT_FOUND: the
 * segment has none. Works in snapshots (in one that was deleted since it was opened the file is missing). data[0..bytes)
 * is in the map, aligned to 4,096, until vdb_block_file_close. */
vdb_status vdb_store_attached_open(struct vdb_store *store, struct vdb_segment *segment,
                                   struct vdb_block_file **file, const uint8_t **data, uint64_t *bytes,
                                   struct vdb_err *err) VDB_MUST_CHECK;

/* In memory only, with its own reference; NULL takes the present one away. Works in snapshots. */
vdb_status vdb_store_set_companion(struct vdb_store *store, struct vdb_segment *segment,
                                   struct vdb_companion *companion, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- snapshot.c ---- */

struct vdb_snapshot_info {
    char name[VDB_LIMIT_NAME_BYTES_MAX + 1];
    uint64_t seq;
    uint64_t created_us;
    uint64_t points;
    uint64_t bytes;
};

/* Checkpoints, then keeps the files under DIR/snapshots/NAME (hard links: they cost no space until compactions drop
 * theirs). VDB_EXISTS when the name is taken. */
vdb_status vdb_store_snapshot_create(struct vdb_store *store, const char *name, struct vdb_snapshot_info *info,
                                     struct vdb_err *err) VDB_MUST_CHECK;

/* In name order; *out is the caller's to free. */
vdb_status vdb_store_snapshot_list(struct vdb_store *store, struct vdb_snapshot_info **out, size_t *count,
                                   struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_store_snapshot_delete(struct vdb_store *store, const char *name,
                                     struct vdb_err *err) VDB_MUST_CHECK;

/* Opens a snapshot of the collection in `dir` for reading: a store without a log; writes get VDB_READ_ONLY. The
 * collection itself may be open elsewhere. */
vdb_status vdb_store_snapshot_open(struct vdb_env *env, const char *dir, const char *name, struct vdb_store **out,
                                   struct vdb_err *err) VDB_MUST_CHECK;

/* The same beside the open collection: VDB_NOT_FOUND when it has none of that name, VDB_CORRUPT when it lacks a file.
 * Neither a checkpoint nor a deletion that runs is waited for, and a deletion takes nothing from who has it open. */
vdb_status vdb_store_snapshot_read(struct vdb_store *store, const char *name, struct vdb_store **out,
                                   struct vdb_err *err) VDB_MUST_CHECK;

/* Makes `to` (its parent exists, it does not) a collection with the content of the one in `from`, a snapshot's
 * directory (DIR/snapshots/NAME) or a collection's own, as of its checkpoint: every block is checked when it has been
 * copied. An index file that cannot be had whole is left out, with a warning in the log. Durable but for `to`'s own name.
 * With `follower`, one that can follow `from`'s log. */
vdb_status vdb_store_restore(struct vdb_env *env, const char *from, const char *to, bool follower,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* The same with the present state; writes, checkpoints and compactions go on while it is copied. */
vdb_status vdb_store_backup(struct vdb_store *store, const char *to, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- verify.c ---- */

struct vdb_verify_result {
    uint64_t files;
    uint64_t bytes;
    uint64_t points;
};

/* Reads and checks every byte of the segments and their index files, and that the ends fit together (V1). The log was checked whole at
 * open; what was appended since is read again. VDB_CORRUPT names file and byte. */
vdb_status vdb_store_verify(struct vdb_store *store, struct vdb_verify_result *result,
                            struct vdb_err *err) VDB_MUST_CHECK;

#endif
