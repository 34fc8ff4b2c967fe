/* log_reader.h: follows a log that another process (or thread) is appending to, from a sequence number on.
 *
 *     open(from seq) -> next: a record -> next: a record -> next: nothing yet -> (wait a little) -> next ...
 *
 * It takes no lock and changes nothing; the writer does not know of it. What it hands out:
 *
 *   L1  The records from the sequence number asked for, each once, in order, without a gap, marks too (they have
 *       numbers). Each is intact and chains to the one before (W1 to W4 of wal_format.h), across segments.
 *   L2  No record that is not durable. One is when a later intact record of the segment vouches for its bytes, or when
 *       the next segment has a good header (it is made only when this one is durable to its end). Else the reader syncs
 *       the segment through a handle of its own, after it has read the bytes and before it hands them out: sync makes
 *       durable what any process wrote to the file (E1).
 *   L3  A record that was handed out stays in the log, whatever becomes of the writer. Its bytes were durable, and so
 *       were those of all before it, so recovery finds them intact; and recovery cuts only from the first record that
 *       is not intact. It never writes other bytes in their place: what it writes again is what it read.
 *   L4  Zeros to the end of the file are the log's end so far. Other bytes that are not a record yet are no error: they
 *       are read anew at each call. They may be a write that is half there, or a torn tail, which the writer's recovery
 *       cuts and writes over. They are damage when an intact record further on vouches for them, or the next segment is
 *       there, and they are still bad when read once more after that was seen.
 *
 * When the writer's own sync failed (E3): nothing is known of the bytes of that group, and on Linux a later sync may
 * pass over them. A sync tells the failure to every handle that was open when the write-back failed, so a reader that
 * had the segment open hears of it: VDB_IO, for good. One that opened it after the failure may hand out records of
 * that last group which no disk has. They are still there after the writer's next recovery (which writes again what
 * nobody vouches for) unless the machine lost power before it. Then the reader finds out: the record that now has the
 * next place does not chain to what it handed out, or the log ends before it. That is VDB_CORRUPT, "was cut below what
 * was read"; a reader that was closed meanwhile finds out by `crc` (struct vdb_log_from). So the two sides never go on
 * from different pasts.
 *
 * Threads: confined.
 */
#ifndef VDB_STORAGE_LOG_READER_H
#define VDB_STORAGE_LOG_READER_H

#include "env/env.h"
#include "wal_format.h"

struct vdb_log_reader;

/* Where to begin. */
struct vdb_log_from {
    uint64_t seq; /* of the first record to hand out, at least 1; all before it must be in the log, or pruned */
    const uint8_t *uuid; /* the collection's; NULL: any */
    bool check_crc;      /* the record before seq must be the one with this checksum (vdb_wal_record.crc) */
    uint32_t crc;
};

/* DIR is the wal/ directory. VDB_NOT_FOUND: the record `seq` was pruned (the text names the first that is there), or
 * there is no log. VDB_CORRUPT: damage, another collection's log, or a log that ends before seq - 1 or has another
 * record there. VDB_VERSION: written by a newer version. */
vdb_status vdb_log_reader_open(struct vdb_env *env, const char *dir, const struct vdb_log_from *from,
                               struct vdb_log_reader **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_log_reader_close(struct vdb_log_reader *reader); /* NULL allowed */

/* The next record; *more is false when there is none yet. record->payload is valid until the next call.
 * VDB_NOT_FOUND: what comes next was pruned; the text names the first record that is there. VDB_CORRUPT names file and
 * byte. After VDB_CORRUPT or a failed sync the reader stays at the error; other failures may be tried again. */
vdb_status vdb_log_reader_next(struct vdb_log_reader *reader, struct vdb_wal_record *record, bool *more,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* The sequence number of the record that comes next, and the checksum of the one before (for vdb_log_from). */
uint64_t vdb_log_reader_seq(const struct vdb_log_reader *reader);
uint32_t vdb_log_reader_crc(const struct vdb_log_reader *reader);

const uint8_t *vdb_log_reader_uuid(const struct vdb_log_reader *reader); /* VDB_UUID_BYTES */

struct vdb_log_reader_stats {
    uint64_t records; /* handed out */
    uint64_t bytes;   /* of them, heads and padding with them */
    uint64_t syncs;
    uint64_t segments; /* begun */
};

void vdb_log_reader_get_stats(const struct vdb_log_reader *reader, struct vdb_log_reader_stats *out);

#endif
