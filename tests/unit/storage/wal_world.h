/* wal_world.h: what the log's tests share: a fresh log in a fresh directory (ROOT/wal, in either env), numbered
 * records, reopening, and snapshots of the whole directory.
 *
 * Record i has the payload make_payload(i), so that order and content show at replay. Include after "support.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_WAL_WORLD_H
#define VDB_TESTS_UNIT_STORAGE_WAL_WORLD_H

#include <stdlib.h>

#include "base/bytes.h"
#include "storage/wal.h"
#include "unit/env/env_world.h"

enum { PAYLOAD_BYTES_MAX = 96, FILE_BYTES_MAX = 1 << 24 };

static const uint8_t uuid[VDB_UUID_BYTES] = "fedcba987654321";

static inline size_t make_payload(uint64_t i, char out[PAYLOAD_BYTES_MAX])
{
    int bytes = snprintf(out, PAYLOAD_BYTES_MAX, "record %llu %.*s", (unsigned long long)i, (int)(i % 30),
                         "..............................");
    return (size_t)bytes;
}

static inline void fresh_log(struct world *w)
{
    if (kind_at(w, "wal") != '-') {
        assert_ok(vdb_env_remove_tree(w->env, at(w, "wal"), &w->err), &w->err);
    }
    assert_ok(vdb_wal_create(w->env, at(w, "wal"), uuid, 1, &w->err), &w->err);
    assert_ok(w->env->ops->sync_dir(w->env, w->root, &w->err), &w->err);
    assert_ok(w->env->ops->sync_dir(w->env, ".", &w->err), &w->err); /* the root's own name */
}

static inline int setup_wal_memory(void **state)
{
    setup_memory(state);
    fresh_log(*state);
    return 0;
}

static inline int setup_wal_posix(void **state)
{
    setup_posix(state);
    fresh_log(*state);
    return 0;
}

/* What a replay showed. */
struct seen {
    uint64_t count;
    uint64_t last_seq;
    uint64_t last_us;
    uint64_t expected_seq; /* of the first record; 0: any */
};

static inline vdb_status note_record(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    struct seen *seen = ctx;
    char payload[PAYLOAD_BYTES_MAX];
    (void)err;
    size_t bytes = make_payload(record->seq, payload);
    assert_int_equal(record->payload_bytes, bytes);
    assert_memory_equal(record->payload, payload, bytes);
    assert_true(record->seq > seen->last_seq);
    assert_true(record->timestamp_us >= seen->last_us);
    if (seen->expected_seq != 0) {
        assert_int_equal(record->seq, seen->expected_seq);
        seen->expected_seq = 0;
    }
    seen->last_seq = record->seq;
    seen->last_us = record->timestamp_us;
    seen->count++;
    return VDB_OK;
}

/* Exactly the records first..first+count-1 were seen (they come in rising order: see note_record). */
static inline void assert_seen(const struct seen *seen, uint64_t first, uint64_t count)
{
    assert_int_equal(seen->count, count);
    assert_int_equal(seen->last_seq, count > 0 ? first + count - 1 : 0);
}

struct reopened {
    struct vdb_wal *wal;
    struct vdb_wal_recovery recovery;
    struct seen seen;
};

static inline vdb_status reopen(struct world *w, uint64_t segment_bytes, struct reopened *out)
{
    /* Without zeros ahead, so that a file ends where its last record does. */
    struct vdb_wal_options options = {.segment_bytes = segment_bytes, .ahead_bytes = VDB_WAL_NOTHING_AHEAD};
    *out = (struct reopened){0};
    return vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, &options, note_record, &out->seen, &out->wal,
                        &out->recovery, &w->err);
}

static inline void reopen_ok(struct world *w, uint64_t segment_bytes, struct reopened *out)
{
    assert_ok(reopen(w, segment_bytes, out), &w->err);
}

/* Appends record i, which must get the sequence number i. */
static inline uint64_t append(struct vdb_wal *wal, uint64_t i)
{
    char payload[PAYLOAD_BYTES_MAX];
    struct vdb_err err = {0};
    uint64_t seq = 0;
    size_t bytes = make_payload(i, payload);
    assert_ok(vdb_wal_append(wal, payload, bytes, &seq, &err), &err);
    assert_int_equal(seq, i);
    return seq;
}

static inline void append_and_wait(struct vdb_wal *wal, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        struct vdb_err err = {0};
        assert_ok(vdb_wal_wait(wal, append(wal, i), &err), &err);
    }
}

/* "wal/segment_000003.wal" */
static inline const char *segment_name(uint32_t number)
{
    static char names[4][64];
    static unsigned turn;
    char *out = names[turn++ % 4];
    snprintf(out, sizeof names[0], "wal/segment_%06u.wal", number);
    return out;
}

static inline void read_segment(struct world *w, uint32_t number, uint8_t **image, size_t *bytes)
{
    assert_ok(vdb_env_read_file(w->env, at(w, segment_name(number)), FILE_BYTES_MAX, image, bytes, &w->err),
              &w->err);
}

static inline uint64_t size_of(struct world *w, uint32_t number)
{
    vdb_file_kind kind;
    uint64_t bytes;
    assert_ok(w->env->ops->stat(w->env, at(w, segment_name(number)), &kind, &bytes, &w->err), &w->err);
    return bytes;
}

/* Replaces a file of the root directory, durably. */
static inline void write_whole(struct world *w, const char *name, const void *data, size_t bytes)
{
    struct vdb_file *file = open_ok(w, name, CREATE | VDB_OPEN_TRUNCATE);
    assert_ok(w->env->ops->write_at(w->env, file, data, bytes, 0, &w->err), &w->err);
    assert_ok(w->env->ops->sync(w->env, file, &w->err), &w->err);
    w->env->ops->close(w->env, file);
    assert_ok(w->env->ops->sync_dir(w->env, at(w, "wal"), &w->err), &w->err);
}

static inline void remove_segment(struct world *w, uint32_t number)
{
    assert_ok(w->env->ops->unlink(w->env, at(w, segment_name(number)), &w->err), &w->err);
}

/* Fills a fresh log until it has that many segments (of about four records each) with two records in the last,
 * and closes it; returns how many records it has. */
static inline uint64_t fill_segments(struct world *w, uint32_t segments, bool mark)
{
    struct reopened r;
    uint64_t count = 0;
    reopen_ok(w, 300, &r);
    while (kind_at(w, segment_name(segments - 1)) == '-') {
        append_and_wait(r.wal, ++count, 1);
    }
    append_and_wait(r.wal, ++count, 1);
    vdb_wal_close(r.wal, mark);
    assert_int_equal(kind_at(w, segment_name(segments)), '-');
    return count;
}

/* Names and contents of all files in ROOT/wal. */
struct snapshot {
    struct vdb_buf text;
};

enum { SNAPSHOT_FILES_MAX = 64 };

struct listing {
    char names[SNAPSHOT_FILES_MAX][80];
    size_t count;
};

static inline vdb_status note_name(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct listing *listing = ctx;
    (void)err;
    assert_true(listing->count < SNAPSHOT_FILES_MAX);
    snprintf(listing->names[listing->count++], sizeof listing->names[0], "%c%.70s",
             kind == VDB_KIND_FILE ? 'f' : 'd', name);
    return VDB_OK;
}

static inline int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline struct snapshot take_snapshot(struct world *w)
{
    struct snapshot snapshot = {0};
    struct listing listing = {0};
    assert_ok(w->env->ops->list(w->env, at(w, "wal"), note_name, &listing, &w->err), &w->err);
    qsort(listing.names, listing.count, sizeof listing.names[0], compare_names);
    for (size_t i = 0; i < listing.count; i++) {
        vdb_buf_put_text(&snapshot.text, listing.names[i]);
        vdb_buf_put_u8(&snapshot.text, 0);
        if (listing.names[i][0] == 'f') {
            uint8_t *data;
            size_t bytes;
            char name[128];
            snprintf(name, sizeof name, "wal/%s", listing.names[i] + 1);
            assert_ok(vdb_env_read_file(w->env, at(w, name), FILE_BYTES_MAX, &data, &bytes, &w->err), &w->err);
            vdb_buf_put_u64(&snapshot.text, bytes);
            vdb_buf_put(&snapshot.text, data, bytes);
            free(data);
        }
    }
    assert_false(snapshot.text.failed);
    return snapshot;
}

static inline void free_snapshot(struct snapshot *snapshot)
{
    vdb_buf_fini(&snapshot->text);
}

static inline void assert_unchanged(struct world *w, const struct snapshot *before)
{
    struct vdb_err kept = w->err; /* the refusal's text stays readable */
    struct snapshot now = take_snapshot(w);
    assert_int_equal(now.text.bytes, before->text.bytes);
    assert_memory_equal(now.text.data, before->text.data, now.text.bytes);
    free_snapshot(&now);
    w->err = kept;
}

#endif
