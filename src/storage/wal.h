/* wal.h: the write-ahead log of one collection: appended by many threads, synced in groups, replayed at open.
 *
 *     writer:  vdb_wal_append (gets its sequence number) -> vdb_wal_wait (returns when the record is on the disk)
 *
 * Group commit: whoever waits first while no sync is running becomes the leader. It takes all records queued so
 * far, seals them (offsets, chain, checksums), writes them with one write, calls sync once, makes the first of those
 * whose records came meanwhile the next leader, and then wakes those who are done: they run while the disk works on
 * the next group.
 *
 *     idle --append--> queued --leader takes--> writing --write_at ok--> syncing --sync ok--> durable
 *                                                  |                        |
 *                                                  +------- fails ----------+--> failed (for good: E3)
 *
 * The file is written ahead with zeros: a sync of bytes that were there before costs the disk half of one that makes the
 * file longer (the file system's journal stays out of it). Zeros to the end of a segment are a clean end of it; a
 * rotation and a clean close cut them off.
 *
 * After a failed write or sync nothing more is ever acknowledged by this handle: the log's end is unknown until
 * the next open scans it. Threads: locked (one mutex).
 */
#ifndef VDB_STORAGE_WAL_H
#define VDB_STORAGE_WAL_H

#include "env/env.h"
#include "wal_format.h"

struct vdb_wal;

#define VDB_WAL_NOTHING_AHEAD UINT64_MAX

struct vdb_wal_options {
    uint64_t segment_bytes; /* a new segment begins once one is this large; 0: the default, 64 MiB */
    uint64_t ahead_bytes;   /* zeros written ahead, at most; 0: the default, 1 MiB or an eighth of a segment */
};

/* What recovery found. */
struct vdb_wal_recovery {
    uint64_t segments;
    uint64_t records; /* batches handed to the callback */
    uint64_t bytes;   /* read */
    uint64_t torn_bytes_cut;
};

struct vdb_wal_stats {
    uint64_t syncs;
    uint64_t bytes_written;
    uint64_t log_bytes; /* of all live segments */
};

/* Creates DIR with segment 0 in it, whose first record will have the sequence number first_seq (1, or what follows a
 * restored checkpoint); durable when this returns (DIR's own name is the caller's to sync). */
vdb_status vdb_wal_create(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                          uint64_t first_seq, struct vdb_err *err) VDB_MUST_CHECK;

/* Replays all batches of the segments from number `first` on through fn, those with a sequence number up to
 * `after_seq` left out (a checkpoint has them; 0: none), cuts a torn tail, makes what it replayed durable, removes
 * segments before `first` (a pruning cut short), and is ready to append. The log must begin at after_seq + 1 or before,
 * and reach after_seq. VDB_CORRUPT names file and byte; nothing has been changed then. */
vdb_status vdb_wal_open(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES], uint64_t first,
                        uint64_t after_seq, const struct vdb_wal_options *options, vdb_wal_record_fn *fn,
                        void *ctx, struct vdb_wal **out, struct vdb_wal_recovery *recovery,
                        struct vdb_err *err) VDB_MUST_CHECK;

/* Queues a batch and gives it the next sequence number. VDB_READ_ONLY after a failure; VDB_NO_MEMORY leaves the
 * log as it was. */
vdb_status vdb_wal_append(struct vdb_wal *wal, const void *payload, size_t bytes, uint64_t *seq,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* Queues a record of another log, batch or mark, with the sequence number and time it has there: VDB_INVALID unless it
 * is the one that comes next here. */
vdb_status vdb_wal_append_record(struct vdb_wal *wal, const struct vdb_wal_record *record,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* Ends the current segment once everything appended so far is durable: the next record begins a new one, which is
 * there, durable, when this returns. So a checkpoint at the last sequence number can drop whole segments. Waits for the
 * disk. After a failure the log is stopped as after any failed write; VDB_NO_MEMORY leaves it as it was. */
vdb_status vdb_wal_rotate(struct vdb_wal *wal, struct vdb_err *err) VDB_MUST_CHECK;

/* The number of the segment in which the record `seq` is or will be (the last one, for what is yet to come; the first
 * live one, for what was pruned): what a manifest with checkpoint seq - 1 gives as wal_first. */
uint32_t vdb_wal_segment_of(struct vdb_wal *wal, uint64_t seq);

/* Unlinks the segments before number `first`, lowest number first, and syncs the directory; the manifest that no
 * longer names them is durable. The current segment always stays. A failure leaves files that the next prune or open
 * removes; the log goes on. One thread at a time, beside any number of writers. */
vdb_status vdb_wal_prune(struct vdb_wal *wal, uint32_t first, struct vdb_err *err) VDB_MUST_CHECK;

/* Returns once the record of that sequence number is durable, or with why it will not be. */
vdb_status vdb_wal_wait(struct vdb_wal *wal, uint64_t seq, struct vdb_err *err) VDB_MUST_CHECK;

/* The sequence number of the last record that is durable. */
uint64_t vdb_wal_durable_seq(struct vdb_wal *wal);

void vdb_wal_get_stats(struct vdb_wal *wal, struct vdb_wal_stats *out);

/* Frees the handle. With `mark`, first seals the end with a mark record (W4), so that damage to the last batch
 * can be told from a torn tail; failing to write it loses nothing. No other thread may use the log any more. NULL
 * allowed. */
void vdb_wal_close(struct vdb_wal *wal, bool mark);

#endif
