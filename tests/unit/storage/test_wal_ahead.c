/* test_wal_ahead.c: zeros written ahead of the log's end (wal.h): they serve later syncs, cost nothing when they cannot be
 * written, and recovery and readers take them for what they are; and how the lead passes on among writers. Kills and
 * power cuts over zeros are in the store's sweeps, whose logs have them, too.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "log_follower.h"
#include "storage/wal_internal.h"

enum { AHEAD_BYTES = 512 };

static void open_ahead(struct world *w, uint64_t segment_bytes, uint64_t ahead_bytes, struct reopened *r)
{
    struct vdb_wal_options options = {.segment_bytes = segment_bytes, .ahead_bytes = ahead_bytes};
    *r = (struct reopened){0};
    assert_ok(vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, &options, note_record, &r->seen, &r->wal,
                           &r->recovery, &w->err),
              &w->err);
}

static uint64_t log_bytes(struct vdb_wal *wal)
{
    struct vdb_wal_stats stats;
    vdb_wal_get_stats(wal, &stats);
    return stats.log_bytes;
}

/* The file is longer than the log by what was asked for, does not grow with each record, and ends with the last record
 * after a clean close. */
static void test_zeros_come_and_go(void **state)
{
    struct world *w = *state;
    struct reopened r;
    open_ahead(w, 0, AHEAD_BYTES, &r);
    append_and_wait(r.wal, 1, 1);
    uint64_t first = size_of(w, 0);
    assert_int_equal(first, log_bytes(r.wal) + AHEAD_BYTES);
    uint64_t grown = 0;
    for (uint64_t i = 2; i <= 40; i++) {
        uint64_t before = size_of(w, 0);
        append_and_wait(r.wal, i, 1);
        grown += size_of(w, 0) > before;
        assert_true(size_of(w, 0) >= log_bytes(r.wal));
        assert_true(size_of(w, 0) <= log_bytes(r.wal) + AHEAD_BYTES);
    }
    assert_in_range(grown, 3, 10); /* 40 records of some 80 bytes */
    vdb_wal_close(r.wal, true);
    open_ahead(w, 0, AHEAD_BYTES, &r);
    assert_seen(&r.seen, 1, 40);
    assert_int_equal(r.recovery.bytes, size_of(w, 0));
    assert_int_equal(size_of(w, 0), log_bytes(r.wal));
    uint64_t before = size_of(w, 0);
    vdb_wal_close(r.wal, true); /* nothing was written: no zeros either */
    assert_int_equal(size_of(w, 0), before);
}

/* A killed writer leaves zeros: no torn tail, cut at the next open, and the log goes on. */
static void test_zeros_of_a_killed_writer(void **state)
{
    struct world *w = *state;
    struct reopened r;
    uint64_t count = 0;
    for (int life = 0; life < 4; life++) {
        open_ahead(w, 0, AHEAD_BYTES, &r);
        assert_seen(&r.seen, 1, count);
        assert_int_equal(r.recovery.torn_bytes_cut, 0);
        assert_int_equal(size_of(w, 0), log_bytes(r.wal));
        append_and_wait(r.wal, count + 1, 3);
        count += 3;
        assert_true(size_of(w, 0) > log_bytes(r.wal));
        vdb_wal_close(r.wal, false);
    }
}

/* One byte that is not zero among the zeros: a torn tail, which nobody was told of. All of it goes. */
static void test_every_flip_among_zeros(void **state)
{
    struct world *w = *state;
    struct reopened r;
    uint8_t *good;
    size_t bytes;
    open_ahead(w, 0, AHEAD_BYTES, &r);
    append_and_wait(r.wal, 1, 4);
    uint64_t end = log_bytes(r.wal);
    vdb_wal_close(r.wal, false);
    read_segment(w, 0, &good, &bytes);
    assert_int_equal(bytes, size_of(w, 0));
    assert_true(bytes > end + 100);
    for (size_t at_byte = end; at_byte < bytes; at_byte++) {
        good[at_byte] = 0x40;
        write_whole(w, segment_name(0), good, bytes);
        good[at_byte] = 0;
        open_ahead(w, 0, AHEAD_BYTES, &r);
        assert_seen(&r.seen, 1, 4);
        assert_in_range(r.recovery.torn_bytes_cut, at_byte - end + 1, at_byte - end + VDB_WAL_ALIGN);
        assert_int_equal(size_of(w, 0), end);
        append_and_wait(r.wal, 5, 2);
        vdb_wal_close(r.wal, false);
        open_ahead(w, 0, AHEAD_BYTES, &r);
        assert_seen(&r.seen, 1, 6);
        assert_int_equal(r.recovery.torn_bytes_cut, 0);
        vdb_wal_close(r.wal, false);
    }
    free(good);
}

/* Each write and truncation fails in turn, and goes on failing: what was acknowledged is there afterwards, and a disk
 * that is full for zeros only is no failure. */
static void test_no_room_for_zeros(void **state)
{
    struct world *w = *state;
    unsigned went_on = 0;
    for (uint64_t n = 1; n <= 24; n++) {
        for (int forever = 0; forever <= 1; forever++) {
            struct reopened r;
            struct vdb_err err = {0};
            fresh_log(w);
            open_ahead(w, 600, 100, &r);
            vdb_env_memory_fail_kinds_at(w->env, VDB_MEMORY_WRITES, n, VDB_NO_SPACE, forever != 0, n);
            uint64_t acknowledged = 0;
            for (uint64_t i = 1; i <= 20; i++) {
                char payload[PAYLOAD_BYTES_MAX];
                uint64_t seq;
                size_t bytes = make_payload(i, payload);
                if (vdb_wal_append(r.wal, payload, bytes, &seq, &err) != VDB_OK ||
                    vdb_wal_wait(r.wal, seq, &err) != VDB_OK) {
                    break;
                }
                acknowledged = i;
            }
            vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
            went_on += acknowledged == 20;
            vdb_wal_close(r.wal, false);
            open_ahead(w, 600, 100, &r);
            assert_true(r.seen.count >= acknowledged);
            assert_seen(&r.seen, 1, r.seen.count);
            vdb_wal_close(r.wal, false);
        }
    }
    assert_true(went_on >= 6); /* the writes of zeros and the truncations at a rotation */
}

/* ---- Readers ---- */

/* A reader at the end of a log with zeros ahead: nothing yet, and no damage; then each record as it comes; over
 * rotations, also one that could not cut its zeros off. */
static void test_reader_among_zeros(void **state)
{
    struct world *w = *state;
    struct reopened r;
    uint64_t count = 0;
    open_ahead(w, 1000, AHEAD_BYTES, &r);
    follow_from(w, 1);
    for (int i = 0; i < 60; i++) {
        append_and_wait(r.wal, ++count, 1);
        assert_int_equal(poll(w), 1);
        assert_int_equal(poll(w), 0);
    }
    assert_true(kind_at(w, segment_name(3)) == 'f');
    close_reader();
    vdb_wal_close(r.wal, true);
    follow_from(w, 1);
    assert_int_equal(poll(w), count + 1);
    close_reader();

    /* Zeros that stayed in an earlier segment; then something that is not zero. */
    uint8_t *good;
    size_t bytes;
    read_segment(w, 1, &good, &bytes);
    struct vdb_buf longer = {0};
    vdb_buf_put(&longer, good, bytes);
    vdb_buf_put_zeros(&longer, 700);
    write_whole(w, segment_name(1), longer.data, longer.bytes);
    follow_from(w, 1);
    assert_int_equal(poll(w), count + 1);
    close_reader();
    longer.data[bytes + 650] = 9;
    write_whole(w, segment_name(1), longer.data, longer.bytes);
    follow_from(w, 1);
    uint64_t got;
    assert_fails(poll_status(&w->err, &got), VDB_CORRUPT, &w->err, "the log goes on in segment_000002.wal");
    close_reader();
    vdb_buf_fini(&longer);
    free(good);
}

/* A record that was damaged while the reader waited before it is found once a later one vouches for it, although the
 * file's length stays. */
static void test_reader_finds_damage_among_zeros(void **state)
{
    struct world *w = *state;
    struct reopened r;
    uint64_t got;
    open_ahead(w, 0, 8192, &r);
    follow_from(w, 1);
    append_and_wait(r.wal, 1, 2);
    assert_int_equal(poll(w), 2);
    uint64_t place = log_bytes(r.wal);
    append_and_wait(r.wal, 3, 1);
    uint64_t file_bytes = size_of(w, 0);
    assert_true(vdb_env_memory_flip(w->env, at(w, segment_name(0)), place + 50, 1));
    assert_int_equal(poll(w), 0); /* a write half seen, for all it knows */
    append_and_wait(r.wal, 4, 1);
    assert_int_equal(size_of(w, 0), file_bytes);
    assert_fails(poll_status(&w->err, &got), VDB_CORRUPT, &w->err, "proves that it was durable");
    close_reader();
    vdb_wal_close(r.wal, false);
}

/* ---- The lead ---- */

enum { WRITERS = 6, WRITES = 60 };

struct side {
    struct vdb_wal *wal;
    _Atomic uint64_t *acknowledged;
    bool rotates;
    vdb_status status;
};

static void *run_side(void *arg)
{
    struct side *side = arg;
    struct vdb_err err = {0};
    for (int i = 0; i < WRITES && side->status == VDB_OK; i++) {
        uint64_t seq;
        if (side->rotates) {
            side->status = vdb_wal_rotate(side->wal, &err);
            continue;
        }
        side->status = vdb_wal_append(side->wal, "x", 1, &seq, &err);
        if (side->status == VDB_OK) {
            side->status = vdb_wal_wait(side->wal, seq, &err);
        }
        if (side->status == VDB_OK) {
            atomic_fetch_add(side->acknowledged, 1);
        }
    }
    return NULL;
}

static vdb_status count_record(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    (void)err;
    *(uint64_t *)ctx += record->type == VDB_WAL_BATCH;
    return VDB_OK;
}

/* Writers and rotators pass the lead on until all are done; and when a sync fails in the middle, everyone hears of it. */
static void test_the_lead_reaches_everyone(void **state)
{
    struct world *w = *state;
    for (uint64_t fail_at = 0; fail_at < 40; fail_at++) {
        struct reopened r;
        struct side sides[WRITERS + 2];
        pthread_t threads[WRITERS + 2];
        _Atomic uint64_t acknowledged = 0;
        fresh_log(w);
        open_ahead(w, 0, AHEAD_BYTES, &r);
        if (fail_at > 0) {
            vdb_env_memory_fail_kinds_at(w->env, VDB_MEMORY_SYNCS, fail_at, VDB_IO, true, fail_at);
        }
        for (int i = 0; i < WRITERS + 2; i++) {
            sides[i] = (struct side){.wal = r.wal, .acknowledged = &acknowledged, .rotates = i >= WRITERS};
            assert_int_equal(pthread_create(&threads[i], NULL, run_side, &sides[i]), 0);
        }
        for (int i = 0; i < WRITERS + 2; i++) {
            pthread_join(threads[i], NULL);
            assert_true(fail_at > 0 || sides[i].status == VDB_OK);
            /* A writer needs more syncs than that; a rotator none while the segment is empty. */
            assert_true(fail_at == 0 || sides[i].status == VDB_IO || sides[i].status == VDB_READ_ONLY ||
                        (sides[i].rotates && sides[i].status == VDB_OK));
        }
        assert_null(r.wal->waiters);
        assert_false(r.wal->leading);
        vdb_wal_close(r.wal, false);
        vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
        struct vdb_wal_recovery recovery;
        struct vdb_wal *wal;
        uint64_t found = 0;
        assert_ok(
            vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, NULL, count_record, &found, &wal, &recovery, &w->err),
            &w->err);
        assert_true(found >= atomic_load(&acknowledged));
        assert_true(fail_at > 0 || found == WRITERS * WRITES);
        vdb_wal_close(wal, false);
    }
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
        WAL_BOTH(test_zeros_come_and_go),           WAL_BOTH(test_zeros_of_a_killed_writer),
        WAL_MEMORY(test_every_flip_among_zeros),    WAL_MEMORY(test_no_room_for_zeros),
        WAL_BOTH(test_reader_among_zeros),          WAL_MEMORY(test_reader_finds_damage_among_zeros),
        WAL_MEMORY(test_the_lead_reaches_everyone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
