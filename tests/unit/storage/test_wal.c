/* test_wal.c: the log as a whole: append, group commit, rotation, recovery, and what recovery refuses.
 *
 * Most tests run over both worlds, the file system in memory and the operating system's. Damage at every byte is
 * in test_wal_damage.c; crashes at every file operation are in test_store_crash.c.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/log.h"
#include "wal_world.h"

static void test_empty_log(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 3; i++) {
        struct reopened r;
        reopen_ok(w, 0, &r);
        assert_int_equal(r.seen.count, 0);
        assert_int_equal(r.recovery.segments, 1);
        assert_int_equal(r.recovery.bytes, VDB_WAL_HEADER_BYTES);
        assert_int_equal(vdb_wal_durable_seq(r.wal), 0);
        vdb_wal_close(r.wal, true);
        assert_int_equal(size_of(w, 0), VDB_WAL_HEADER_BYTES); /* nothing to mark */
    }
    vdb_wal_close(NULL, true);
}

static void test_replays_in_order(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 100);
    assert_int_equal(vdb_wal_durable_seq(r.wal), 100);
    vdb_wal_close(r.wal, false);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 100);
    assert_int_equal(r.recovery.records, 100);
    assert_int_equal(r.recovery.torn_bytes_cut, 0);
    assert_int_equal(r.recovery.bytes, size_of(w, 0));
    append_and_wait(r.wal, 101, 20); /* and goes on where it stood */
    vdb_wal_close(r.wal, true);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 120);
    /* The mark has a sequence number of its own. */
    assert_int_equal(vdb_wal_durable_seq(r.wal), 121);
    append_and_wait(r.wal, 122, 1);
    vdb_wal_close(r.wal, false);
    reopen_ok(w, 0, &r);
    assert_int_equal(r.seen.count, 121);
    assert_int_equal(r.seen.last_seq, 122);
    vdb_wal_close(r.wal, false);
}

/* Whoever waits takes along all that is queued: one write, one sync. */
static void test_one_sync_for_all_queued(void **state)
{
    struct world *w = *state;
    struct reopened r;
    struct vdb_err err = {0};
    struct vdb_wal_stats stats;
    uint64_t seq = 0;
    reopen_ok(w, 0, &r);
    for (int i = 1; i <= 50; i++) {
        seq = append(r.wal, (uint64_t)i);
        assert_int_equal(seq, i);
    }
    assert_int_equal(vdb_wal_durable_seq(r.wal), 0); /* append alone promises nothing */
    assert_int_equal(size_of(w, 0), VDB_WAL_HEADER_BYTES);
    assert_ok(vdb_wal_wait(r.wal, 10, &err), &err);
    assert_int_equal(vdb_wal_durable_seq(r.wal), 50);
    assert_ok(vdb_wal_wait(r.wal, seq, &err), &err);
    assert_ok(vdb_wal_wait(r.wal, 1, &err), &err);
    vdb_wal_get_stats(r.wal, &stats);
    assert_int_equal(stats.syncs, 1);
    assert_int_equal(stats.bytes_written + VDB_WAL_HEADER_BYTES, size_of(w, 0));
    assert_int_equal(stats.log_bytes, size_of(w, 0));
    vdb_wal_close(r.wal, false);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 50);
    vdb_wal_close(r.wal, false);
}

/* Records that nobody waited for are not there after a close without a mark, and are with one. */
static void test_close_with_queued_records(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 1);
    append(r.wal, 2);
    vdb_wal_close(r.wal, false);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 1);
    append(r.wal, 2);
    append_and_wait(r.wal, 3, 1);
    append(r.wal, 4);
    vdb_wal_close(r.wal, true);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 4);
    vdb_wal_close(r.wal, false);
}

/* ---- Threads. A table around the env's makes each sync take a while and counts who is in it. ---- */

enum { WRITERS = 8, WRITES = 60 };

static const struct vdb_env_ops *plain_ops;
static struct vdb_env_ops slow_ops;
static _Atomic int in_write;
static _Atomic int overlaps;
static _Atomic uint64_t file_syncs;

static vdb_status slow_sync(struct vdb_env *env, struct vdb_file *file, struct vdb_err *err)
{
    if (atomic_fetch_add(&in_write, 1) != 0) {
        atomic_fetch_add(&overlaps, 1);
    }
    nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
    atomic_fetch_add(&file_syncs, 1);
    vdb_status status = plain_ops->sync(env, file, err);
    atomic_fetch_sub(&in_write, 1);
    return status;
}

static vdb_status watched_write_at(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                                   uint64_t offset, struct vdb_err *err)
{
    if (atomic_fetch_add(&in_write, 1) != 0) {
        atomic_fetch_add(&overlaps, 1);
    }
    vdb_status status = plain_ops->write_at(env, file, data, bytes, offset, err);
    atomic_fetch_sub(&in_write, 1);
    return status;
}

static void slow_down(struct world *w)
{
    plain_ops = w->env->ops;
    slow_ops = *plain_ops;
    slow_ops.sync = slow_sync;
    slow_ops.write_at = watched_write_at;
    atomic_store(&overlaps, 0);
    atomic_store(&file_syncs, 0);
    w->env->ops = &slow_ops;
}

struct writer {
    struct vdb_wal *wal;
    pthread_t thread;
    uint64_t acknowledged[WRITES]; /* sequence numbers, in order */
    size_t count;
    vdb_status status; /* of the first failure */
    bool durable_lagged;
};

static void *write_records(void *arg)
{
    struct writer *writer = arg;
    for (size_t i = 0; i < WRITES; i++) {
        struct vdb_err err = {0};
        uint64_t seq;
        char payload[PAYLOAD_BYTES_MAX];
        /* The payload tells the record's number only once it has one: tell the writer and the turn instead. */
        int bytes = snprintf(payload, sizeof payload, "%p %zu", arg, i);
        writer->status = vdb_wal_append(writer->wal, payload, (size_t)bytes, &seq, &err);
        if (writer->status == VDB_OK) {
            writer->status = vdb_wal_wait(writer->wal, seq, &err);
        }
        if (writer->status != VDB_OK) {
            return NULL;
        }
        writer->durable_lagged = writer->durable_lagged || vdb_wal_durable_seq(writer->wal) < seq;
        writer->acknowledged[writer->count++] = seq;
    }
    return NULL;
}

static void run_writers(struct vdb_wal *wal, struct writer writers[WRITERS])
{
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.wal = wal};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_records, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_false(writers[i].durable_lagged);
    }
}

/* Holds what was replayed against what the writers were told: each acknowledged record is where its sequence
 * number says, and its bytes are its own. */
struct replayed {
    struct writer *writers;
    uint64_t last_seq;
    uint64_t count;
};

static vdb_status check_replayed(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    struct replayed *replayed = ctx;
    char payload[PAYLOAD_BYTES_MAX];
    void *writer_at;
    size_t i;
    (void)err;
    assert_true(record->payload_bytes < sizeof payload);
    memcpy(payload, record->payload, record->payload_bytes);
    payload[record->payload_bytes] = '\0';
    assert_int_equal(sscanf(payload, "%p %zu", &writer_at, &i), 2);
    const struct writer *writer = writer_at;
    assert_true(writer >= replayed->writers && writer < replayed->writers + WRITERS);
    assert_true(i <= writer->count); /* the one that was not acknowledged may be there, no later one */
    if (i < writer->count) {
        assert_int_equal(record->seq, writer->acknowledged[i]);
        replayed->count++;
    }
    assert_int_equal(record->seq, replayed->last_seq + 1);
    replayed->last_seq = record->seq;
    return VDB_OK;
}

static void check_all_acknowledged(struct world *w, struct writer writers[WRITERS])
{
    struct replayed replayed = {.writers = writers};
    struct vdb_wal *wal;
    struct vdb_wal_recovery recovery;
    uint64_t acknowledged = 0;
    for (int i = 0; i < WRITERS; i++) {
        acknowledged += writers[i].count;
    }
    assert_ok(
        vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, NULL, check_replayed, &replayed, &wal, &recovery, &w->err),
        &w->err);
    assert_int_equal(replayed.count, acknowledged);
    vdb_wal_close(wal, false);
}

static void test_group_commit(void **state)
{
    struct world *w = *state;
    struct writer writers[WRITERS];
    struct reopened r;
    struct vdb_wal_stats stats;
    reopen_ok(w, 0, &r);
    slow_down(w);
    run_writers(r.wal, writers);
    w->env->ops = plain_ops;
    vdb_wal_get_stats(r.wal, &stats);
    vdb_wal_close(r.wal, false);
    assert_int_equal(atomic_load(&overlaps), 0); /* one leader at a time */
    assert_int_equal(stats.syncs, atomic_load(&file_syncs));
    assert_true(stats.syncs < WRITERS * WRITES); /* the point of it all */
    assert_int_equal(stats.log_bytes, size_of(w, 0));
    print_message("%d writes, %llu syncs\n", WRITERS * WRITES, (unsigned long long)stats.syncs);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(writers[i].count, WRITES);
    }
    check_all_acknowledged(w, writers);
}

static void test_group_commit_with_rotation(void **state)
{
    struct world *w = *state;
    struct writer writers[WRITERS];
    struct reopened r;
    struct vdb_wal_stats stats;
    reopen_ok(w, 1000, &r);
    slow_down(w);
    run_writers(r.wal, writers);
    w->env->ops = plain_ops;
    vdb_wal_get_stats(r.wal, &stats);
    vdb_wal_close(r.wal, false);
    uint32_t segments = 0;
    uint64_t bytes = 0;
    while (kind_at(w, segment_name(segments)) == 'f') {
        bytes += size_of(w, segments++);
    }
    assert_true(segments > 10);
    assert_int_equal(stats.log_bytes, bytes);
    assert_int_equal(atomic_load(&overlaps), 0);
    check_all_acknowledged(w, writers);
}

/* Rotations and prunings beside eight writers: nobody waits for good, and what is left of the log is whole. */
struct rotator {
    struct vdb_wal *wal;
    _Atomic bool stop;
    _Atomic uint64_t rotations;
    uint64_t first; /* the first live segment in the end */
    uint64_t after_seq;
};

static void *rotate_and_prune(void *arg)
{
    struct rotator *rotator = arg;
    while (!atomic_load(&rotator->stop)) {
        struct vdb_err err = {0};
        struct vdb_wal_stats stats;
        assert_ok(vdb_wal_rotate(rotator->wal, &err), &err);
        uint64_t seq = vdb_wal_durable_seq(rotator->wal);
        uint32_t first = vdb_wal_segment_of(rotator->wal, seq + 1);
        assert_true(first >= rotator->first);
        assert_ok(vdb_wal_prune(rotator->wal, first, &err), &err);
        vdb_wal_get_stats(rotator->wal, &stats);
        assert_true(stats.log_bytes >= VDB_WAL_HEADER_BYTES && stats.log_bytes <= stats.bytes_written + 64);
        rotator->first = first;
        rotator->after_seq = seq;
        atomic_fetch_add(&rotator->rotations, 1);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return NULL;
}

static vdb_status count_in_order(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    uint64_t *last = ctx;
    (void)err;
    assert_int_equal(record->seq, *last + 1);
    *last = record->seq;
    return VDB_OK;
}

static void test_group_commit_with_checkpoints(void **state)
{
    struct world *w = *state;
    struct writer writers[WRITERS];
    struct reopened r;
    struct vdb_wal *wal;
    struct vdb_wal_recovery recovery;
    pthread_t thread;
    reopen_ok(w, 2000, &r);
    slow_down(w);
    struct rotator rotator = {.wal = r.wal};
    assert_int_equal(pthread_create(&thread, NULL, rotate_and_prune, &rotator), 0);
    run_writers(r.wal, writers);
    atomic_store(&rotator.stop, true);
    pthread_join(thread, NULL);
    w->env->ops = plain_ops;
    vdb_wal_close(r.wal, false);
    assert_int_equal(atomic_load(&overlaps), 0); /* one leader at a time, the one that rotates with them */
    assert_true(atomic_load(&rotator.rotations) > 0);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(writers[i].count, WRITES);
    }
    uint64_t last = rotator.after_seq;
    assert_ok(vdb_wal_open(w->env, at(w, "wal"), uuid, rotator.first, rotator.after_seq, NULL, count_in_order,
                           &last, &wal, &recovery, &w->err),
              &w->err);
    assert_int_equal(last, WRITERS * WRITES);
    vdb_wal_close(wal, false);
}

/* The disk fails under eight writers: each gets an error or an acknowledgement that holds; nobody hangs. */
static void test_failure_under_many_writers(void **state)
{
    struct world *w = *state;
    for (uint64_t n = 1; n < 60; n += 4) {
        struct writer writers[WRITERS];
        struct reopened r;
        reopen_ok(w, 2000, &r);
        vdb_env_memory_fail_at(w->env, n, VDB_IO, true, n);
        run_writers(r.wal, writers);
        vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
        for (int i = 0; i < WRITERS; i++) {
            assert_true(writers[i].status == VDB_IO || writers[i].status == VDB_READ_ONLY);
            assert_true(writers[i].count < WRITES);
        }
        vdb_wal_close(r.wal, true);
        vdb_env_memory_crash(w->env, n % 3 == 0 ? 0 : n);
        check_all_acknowledged(w, writers);
        fresh_log(w);
    }
}

/* ---- Rotation ---- */

static void test_rotation(void **state)
{
    struct world *w = *state;
    enum { RECORDS = 40, SEGMENT_BYTES = 400 };
    struct reopened r;
    struct vdb_wal_stats stats;
    reopen_ok(w, SEGMENT_BYTES, &r);
    append_and_wait(r.wal, 1, RECORDS);
    vdb_wal_get_stats(r.wal, &stats);
    vdb_wal_close(r.wal, false);
    uint32_t segments = 0;
    uint64_t bytes = 0;
    uint64_t next_seq = 1;
    uint32_t chain = 0;
    while (kind_at(w, segment_name(segments)) == 'f') {
        /* Each segment by itself: a header that follows the one before, whole records, no mark. */
        uint8_t *image;
        size_t image_bytes;
        uint32_t crc;
        struct vdb_wal_header header;
        struct vdb_wal_scan scan;
        read_segment(w, segments, &image, &image_bytes);
        assert_ok(vdb_wal_header_decode(image, image_bytes, &header, &crc, &w->err), &w->err);
        assert_memory_equal(header.uuid, uuid, VDB_UUID_BYTES);
        assert_int_equal(header.number, segments);
        assert_int_equal(header.first_seq, next_seq);
        assert_int_equal(header.chain, chain);
        assert_ok(vdb_wal_scan_image(image, image_bytes, &header, crc, NULL, NULL, &scan, &w->err), &w->err);
        assert_int_equal(scan.end, VDB_WAL_END_CLEAN);
        next_seq = scan.next_seq;
        chain = scan.last_crc;
        bytes += image_bytes;
        segments++;
        if (next_seq <=
            RECORDS) { /* not the last: it grew until it was full, and by one record at most past it */
            assert_true(image_bytes >= SEGMENT_BYTES && image_bytes < SEGMENT_BYTES + PAYLOAD_BYTES_MAX + 48);
        }
        free(image);
    }
    assert_int_equal(next_seq, RECORDS + 1);
    assert_true(segments > 5);
    assert_int_equal(stats.log_bytes, bytes);
    reopen_ok(w, SEGMENT_BYTES, &r);
    assert_seen(&r.seen, 1, RECORDS);
    assert_int_equal(r.recovery.segments, segments);
    assert_int_equal(r.recovery.bytes, bytes);
    vdb_wal_get_stats(r.wal, &stats);
    assert_int_equal(stats.log_bytes, bytes);
    append_and_wait(r.wal, RECORDS + 1, RECORDS);
    vdb_wal_close(r.wal, true);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 2 * RECORDS);
    vdb_wal_close(r.wal, false);
}

/* Recovery from a later segment on (what checkpoints leave), and from one that is not there. */
static void test_first_live_segment(void **state)
{
    struct world *w = *state;
    struct vdb_wal *wal;
    struct vdb_wal_recovery recovery;
    struct vdb_wal_stats stats;
    fill_segments(w, 4, false);
    uint8_t *image;
    size_t image_bytes;
    uint32_t crc;
    struct vdb_wal_header header;
    read_segment(w, 2, &image, &image_bytes);
    assert_ok(vdb_wal_header_decode(image, image_bytes, &header, &crc, &w->err), &w->err);
    free(image);
    for (int gone = 0; gone < 2; gone++) { /* the segments before it may be there or not: they go */
        struct seen seen = {.expected_seq = header.first_seq};
        assert_int_equal(kind_at(w, segment_name(0)), gone == 0 ? 'f' : '-');
        assert_ok(vdb_wal_open(w->env, at(w, "wal"), uuid, 2, header.first_seq - 1, NULL, note_record, &seen,
                               &wal, &recovery, &w->err),
                  &w->err);
        assert_int_equal(recovery.segments, 2);
        assert_true(seen.count > 0);
        vdb_wal_get_stats(wal, &stats);
        assert_int_equal(stats.log_bytes, size_of(w, 2) + size_of(w, 3));
        assert_int_equal(kind_at(w, segment_name(0)), '-');
        assert_int_equal(kind_at(w, segment_name(1)), '-');
        vdb_wal_close(wal, false);
    }
    struct seen seen = {0};
    assert_fails(
        vdb_wal_open(w->env, at(w, "wal"), uuid, 4, 0, NULL, note_record, &seen, &wal, &recovery, &w->err),
        VDB_CORRUPT, &w->err, "segment_000004.wal is missing");
    /* A number that no segment can have is not taken for another one. */
    assert_fails(vdb_wal_open(w->env, at(w, "wal"), uuid, (UINT64_C(1) << 32) + 2, 0, NULL, note_record, &seen,
                              &wal, &recovery, &w->err),
                 VDB_CORRUPT, &w->err, "missing");
}

/* ---- A cleanly closed log stays as it is ---- */

static void test_reopening_does_not_grow_it(void **state)
{
    struct world *w = *state;
    struct reopened r;
    struct vdb_wal_stats stats;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 10);
    vdb_wal_close(r.wal, true);
    struct snapshot before = take_snapshot(w);
    for (int i = 0; i < 5; i++) {
        reopen_ok(w, 0, &r);
        assert_seen(&r.seen, 1, 10);
        vdb_wal_get_stats(r.wal, &stats);
        assert_int_equal(stats.bytes_written, 0);
        assert_int_equal(stats.syncs, 0);
        vdb_wal_close(r.wal, i % 2 == 0);
        assert_unchanged(w, &before);
    }
    free_snapshot(&before);
}

/* ---- Failures ---- */

static void test_failed_sync_stops_writes(void **state)
{
    struct world *w = *state;
    struct reopened r;
    struct vdb_err err = {0};
    uint64_t seq;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 3);
    seq = append(r.wal, 4);
    vdb_env_memory_fail_at(w->env, 2, VDB_IO, false, 0); /* the write passes, the sync fails */
    assert_fails(vdb_wal_wait(r.wal, seq, &err), VDB_IO, &err, "sync");
    assert_fails(vdb_wal_wait(r.wal, seq, &err), VDB_IO, &err, "sync"); /* not tried again */
    assert_ok(vdb_wal_wait(r.wal, 3, &err), &err);                      /* what was durable is */
    assert_fails(vdb_wal_append(r.wal, "x", 1, &seq, &err), VDB_READ_ONLY, &err,
                 "writes stopped after an earlier");
    assert_non_null(strstr(err.text, "sync"));
    assert_int_equal(vdb_wal_durable_seq(r.wal), 3);
    uint64_t size = size_of(w, 0);
    vdb_wal_close(r.wal, true); /* no mark after a failure */
    assert_int_equal(size_of(w, 0), size);

    /* Record 4 is in sight but not durable (E3): recovery shows it and must then have made it durable. */
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 4);
    vdb_wal_close(r.wal, false);
    vdb_env_memory_crash(w->env, 0);
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, 4);
    vdb_wal_close(r.wal, false);
}

static void test_no_space(void **state)
{
    struct world *w = *state;
    struct reopened r;
    struct vdb_err err = {0};
    reopen_ok(w, 0, &r);
    uint64_t seq = append(r.wal, 1);
    vdb_env_memory_fail_at(w->env, 1, VDB_NO_SPACE, false, 0);
    assert_fails(vdb_wal_wait(r.wal, seq, &err), VDB_NO_SPACE, &err, "segment_000000.wal");
    assert_fails(vdb_wal_append(r.wal, "x", 1, &seq, &err), VDB_READ_ONLY, &err, "segment_000000.wal");
    vdb_wal_close(r.wal, true);
}

static void test_create_where_something_is(void **state)
{
    struct world *w = *state;
    assert_fails(vdb_wal_create(w->env, at(w, "wal"), uuid, 1, &w->err), VDB_EXISTS, &w->err, "wal");
}

static vdb_status refuse_third(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    (void)ctx;
    return record->seq < 3 ? VDB_OK : vdb_err_set(err, VDB_LIMIT, "no room for it");
}

/* The callback's refusal comes back, with the place. */
static void test_callback_fails(void **state)
{
    struct world *w = *state;
    struct reopened r;
    struct vdb_wal *wal = NULL;
    struct vdb_wal_recovery recovery;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 5);
    vdb_wal_close(r.wal, false);
    struct snapshot before = take_snapshot(w);
    assert_fails(
        vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, NULL, refuse_third, NULL, &wal, &recovery, &w->err),
        VDB_LIMIT, &w->err, "replay segment_000000.wal: record at byte ");
    assert_non_null(strstr(w->err.text, "no room for it"));
    assert_null(wal);
    assert_unchanged(w, &before);
    free_snapshot(&before);
}

#define WAL_MEMORY(test)                                                                                         \
    {                                                                                                            \
#test "/memory", test, setup_wal_memory, teardown, NULL                                                  \
    }
#define WAL_BOTH(test) {#test "/posix", test, setup_wal_posix, teardown, NULL}, WAL_MEMORY(test)

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* many cases fail on purpose */
    const struct CMUnitTest tests[] = {
        WAL_BOTH(test_empty_log),
        WAL_BOTH(test_replays_in_order),
        WAL_BOTH(test_one_sync_for_all_queued),
        WAL_BOTH(test_close_with_queued_records),
        WAL_BOTH(test_group_commit),
        WAL_BOTH(test_group_commit_with_rotation),
        WAL_BOTH(test_group_commit_with_checkpoints),
        WAL_MEMORY(test_failure_under_many_writers),
        WAL_BOTH(test_rotation),
        WAL_BOTH(test_first_live_segment),
        WAL_BOTH(test_reopening_does_not_grow_it),
        WAL_MEMORY(test_failed_sync_stops_writes),
        WAL_MEMORY(test_no_space),
        WAL_BOTH(test_create_where_something_is),
        WAL_BOTH(test_callback_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
