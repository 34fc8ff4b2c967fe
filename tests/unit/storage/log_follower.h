/* log_follower.h: what the tests of the log's reader share: one reader over the log of wal_world.h, and what it has
 * handed out, each record held against what was written. Include after "wal_world.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_LOG_FOLLOWER_H
#define VDB_TESTS_UNIT_STORAGE_LOG_FOLLOWER_H

#include "storage/log_reader.h"
#include "wal_world.h"

enum { RECORDS_MAX = 4000 };

/* A reader, and what it has handed out. */
struct follower {
    struct vdb_log_reader *reader;
    uint64_t last_seq;
    uint64_t batches;
    uint64_t marks;
    uint32_t crc[RECORDS_MAX]; /* by sequence number */
};

static struct follower follower; /* too large for a stack */

static inline vdb_status open_reader(struct world *w, uint64_t seq, const uint32_t *crc)
{
    struct vdb_log_from from = {
        .seq = seq, .uuid = uuid, .check_crc = crc != NULL, .crc = crc != NULL ? *crc : 0};
    return vdb_log_reader_open(w->env, at(w, "wal"), &from, &follower.reader, &w->err);
}

static inline void follow_from(struct world *w, uint64_t seq)
{
    memset(&follower, 0, sizeof follower);
    assert_ok(open_reader(w, seq, NULL), &w->err);
    follower.last_seq = seq - 1;
    assert_int_equal(vdb_log_reader_seq(follower.reader), seq);
    assert_memory_equal(vdb_log_reader_uuid(follower.reader), uuid, VDB_UUID_BYTES);
}

/* Takes all there is; returns how many records came. */
static inline vdb_status poll_status(struct vdb_err *err, uint64_t *count)
{
    *count = 0;
    for (;;) {
        struct vdb_wal_record record;
        bool more = true;
        vdb_status status = vdb_log_reader_next(follower.reader, &record, &more, err);
        if (status != VDB_OK || !more) {
            assert_false(more);
            return status;
        }
        assert_int_equal(record.seq, follower.last_seq + 1);
        assert_int_equal(vdb_log_reader_seq(follower.reader), record.seq + 1);
        assert_int_equal(vdb_log_reader_crc(follower.reader), record.crc);
        if (record.type == VDB_WAL_BATCH) {
            char payload[PAYLOAD_BYTES_MAX];
            size_t bytes = make_payload(record.seq, payload);
            assert_int_equal(record.payload_bytes, bytes);
            assert_memory_equal(record.payload, payload, bytes);
            follower.batches++;
        } else {
            follower.marks++;
        }
        assert_true(record.seq < RECORDS_MAX);
        follower.crc[record.seq] = record.crc;
        follower.last_seq = record.seq;
        (*count)++;
    }
}

static inline uint64_t poll(struct world *w)
{
    uint64_t count;
    assert_ok(poll_status(&w->err, &count), &w->err);
    return count;
}

static inline void close_reader(void)
{
    vdb_log_reader_close(follower.reader);
    follower.reader = NULL;
}

#endif
