/* test_wal_rotate.c: what a checkpoint asks of the log: vdb_wal_rotate, vdb_wal_segment_of, vdb_wal_prune, and opening
 * after a checkpoint; stopped dead at every file operation, with power cuts, and again during the recovery.
 *
 * The checkpoint itself is played by a file "point" beside the log, with the two numbers that a manifest would hold.
 */
#include "support.h"

#include "base/log.h"
#include "wal_world.h"

static vdb_status open_after(struct world *w, uint64_t first, uint64_t after_seq, uint64_t segment_bytes,
                             struct reopened *out)
{
    struct vdb_wal_options options = {.segment_bytes = segment_bytes, .ahead_bytes = VDB_WAL_NOTHING_AHEAD};
    *out = (struct reopened){0};
    return vdb_wal_open(w->env, at(w, "wal"), uuid, first, after_seq, &options, note_record, &out->seen,
                        &out->wal, &out->recovery, &w->err);
}

static void test_rotate_and_prune(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct reopened r;
    struct vdb_wal_stats stats;
    reopen_ok(w, 0, &r);
    assert_ok(vdb_wal_rotate(r.wal, &err), &err); /* nothing in it yet: it serves as the next one */
    assert_int_equal(kind_at(w, segment_name(1)), '-');
    assert_int_equal(vdb_wal_segment_of(r.wal, 1), 0);
    append_and_wait(r.wal, 1, 4);
    append(r.wal, 5); /* not waited for: rotate does */
    assert_ok(vdb_wal_rotate(r.wal, &err), &err);
    assert_int_equal(vdb_wal_durable_seq(r.wal), 5);
    assert_int_equal(size_of(w, 1), VDB_WAL_HEADER_BYTES);
    assert_int_equal(vdb_wal_segment_of(r.wal, 1), 0);
    assert_int_equal(vdb_wal_segment_of(r.wal, 5), 0);
    assert_int_equal(vdb_wal_segment_of(r.wal, 6), 1);
    assert_int_equal(vdb_wal_segment_of(r.wal, UINT64_MAX), 1);
    assert_ok(vdb_wal_rotate(r.wal, &err), &err);
    assert_int_equal(kind_at(w, segment_name(2)), '-');
    append_and_wait(r.wal, 6, 3);
    assert_ok(vdb_wal_rotate(r.wal, &err), &err);
    append_and_wait(r.wal, 9, 2);
    vdb_wal_get_stats(r.wal, &stats);
    assert_int_equal(stats.log_bytes, size_of(w, 0) + size_of(w, 1) + size_of(w, 2));
    assert_int_equal(vdb_wal_segment_of(r.wal, 8), 1);
    assert_int_equal(vdb_wal_segment_of(r.wal, 9), 2);

    assert_ok(vdb_wal_prune(r.wal, 0, &err), &err);
    assert_int_equal(kind_at(w, segment_name(0)), 'f');
    assert_ok(vdb_wal_prune(r.wal, 1, &err), &err);
    assert_int_equal(kind_at(w, segment_name(0)), '-');
    assert_int_equal(kind_at(w, segment_name(1)), 'f');
    assert_int_equal(vdb_wal_segment_of(r.wal, 2), 1); /* what is gone */
    vdb_wal_get_stats(r.wal, &stats);
    assert_int_equal(stats.log_bytes, size_of(w, 1) + size_of(w, 2));
    assert_ok(vdb_wal_prune(r.wal, 9, &err), &err); /* the current one stays */
    assert_int_equal(kind_at(w, segment_name(1)), '-');
    assert_int_equal(kind_at(w, segment_name(2)), 'f');
    append_and_wait(r.wal, 11, 1);
    vdb_wal_close(r.wal, true);

    assert_ok(open_after(w, 2, 8, 0, &r), &w->err);
    assert_seen(&r.seen, 9, 3);
    assert_int_equal(r.recovery.segments, 1);
    assert_int_equal(vdb_wal_segment_of(r.wal, 9), 2);
    assert_ok(vdb_wal_rotate(r.wal, &err), &err); /* a mark is a record: it does not carry it over */
    assert_int_equal(vdb_wal_segment_of(r.wal, 13), 3);
    append_and_wait(r.wal, 13, 1);
    vdb_wal_close(r.wal, false);
    assert_ok(open_after(w, 3, 12, 0, &r), &w->err);
    assert_seen(&r.seen, 13, 1);
    assert_int_equal(kind_at(w, segment_name(2)), '-');
    vdb_wal_close(r.wal, false);
}

/* A log that begins later than at 1 (what a restored snapshot gets). */
static void test_created_after_a_checkpoint(void **state)
{
    struct world *w = *state;
    struct reopened r;
    assert_ok(vdb_env_remove_tree(w->env, at(w, "wal"), &w->err), &w->err);
    assert_ok(vdb_wal_create(w->env, at(w, "wal"), uuid, 101, &w->err), &w->err);
    assert_fails(
        open_after(w, 0, 0, 0, &r), VDB_CORRUPT, &w->err,
        "segment_000000.wal: header at byte 0: the log begins at sequence number 101, but the checkpoint "
        "ends at 0");
    assert_fails(open_after(w, 0, 99, 0, &r), VDB_CORRUPT, &w->err, "the checkpoint ends at 99");
    assert_ok(open_after(w, 0, 100, 0, &r), &w->err);
    assert_int_equal(vdb_wal_durable_seq(r.wal), 100);
    append_and_wait(r.wal, 101, 2);
    vdb_wal_close(r.wal, true);
    assert_ok(open_after(w, 0, 101, 0, &r), &w->err); /* the checkpoint may lie within the log */
    assert_seen(&r.seen, 102, 1);
    vdb_wal_close(r.wal, false);
}

/* Records up to the checkpoint are left out, over segments and in the middle of one; the log must reach it. */
static void test_after_seq(void **state)
{
    struct world *w = *state;
    struct reopened r;
    uint64_t count = fill_segments(w, 4, false);
    for (uint64_t after = 0; after <= count; after++) {
        assert_ok(open_after(w, 0, after, 0, &r), &w->err);
        assert_seen(&r.seen, after + 1, count - after);
        if (count == after) {
            assert_int_equal(r.seen.count, 0);
        }
        assert_int_equal(r.recovery.records, count - after);
        assert_int_equal(vdb_wal_durable_seq(r.wal), count);
        vdb_wal_close(r.wal, false);
    }
    struct snapshot before = take_snapshot(w);
    char part[160];
    snprintf(part, sizeof part,
             "the log ends at sequence number %llu, but a checkpoint proves that %llu was durable",
             (unsigned long long)count, (unsigned long long)count + 1);
    assert_fails(open_after(w, 0, count + 1, 0, &r), VDB_CORRUPT, &w->err, part);
    assert_fails(open_after(w, 0, UINT64_MAX, 0, &r), VDB_CORRUPT, &w->err, "the log ends at");
    assert_unchanged(w, &before);
    free_snapshot(&before);
}

/* A tail that looks torn is none when the checkpoint vouches for it. */
static void test_torn_below_the_checkpoint(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 3);
    vdb_wal_close(r.wal, false);
    uint8_t *image;
    size_t bytes;
    read_segment(w, 0, &image, &bytes);
    write_whole(w, segment_name(0), image, bytes - 1);
    struct snapshot before = take_snapshot(w);
    assert_fails(open_after(w, 0, 3, 0, &r), VDB_CORRUPT, &w->err, "the log ends at sequence number 2");
    assert_unchanged(w, &before);
    free_snapshot(&before);
    assert_ok(open_after(w, 0, 2, 0, &r), &w->err);
    assert_int_equal(r.seen.count, 0);
    assert_true(r.recovery.torn_bytes_cut > 0);
    vdb_wal_close(r.wal, false);
    free(image);
}

/* The first live segment is named by a checkpoint: its header was durable, so a bad one is damage. */
static void test_first_segment_without_a_header(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 3);
    assert_ok(vdb_wal_rotate(r.wal, &w->err), &w->err);
    vdb_wal_close(r.wal, false);
    write_whole(w, segment_name(1), "", 0);
    assert_fails(open_after(w, 1, 3, 0, &r), VDB_CORRUPT, &w->err, "segment_000001.wal: header at byte 0");
    assert_int_equal(kind_at(w, segment_name(0)), 'f'); /* nothing was changed */
    assert_ok(open_after(w, 0, 0, 0, &r), &w->err);     /* while for a log without the checkpoint it is a start */
    assert_seen(&r.seen, 1, 3);
    append_and_wait(r.wal, 4, 1);
    assert_int_equal(vdb_wal_segment_of(r.wal, 4), 1);
    vdb_wal_close(r.wal, false);
}

static void test_failures_of_rotate_and_prune(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct reopened r;
    uint64_t seq;
    /* A prune that fails leaves the log as it is, and can be tried again. */
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 2);
    assert_ok(vdb_wal_rotate(r.wal, &err), &err);
    append_and_wait(r.wal, 3, 2);
    assert_ok(vdb_wal_rotate(r.wal, &err), &err);
    for (uint64_t n = 1; n <= 3; n++) { /* unlink, unlink, sync_dir: one more success each time */
        vdb_env_memory_fail_at(w->env, n == 1 ? 1 : 2, VDB_IO, false, 0);
        assert_fails(vdb_wal_prune(r.wal, 2, &err), VDB_IO, &err, "wal");
        vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
        append_and_wait(r.wal, 4 + n, 1);
    }
    assert_ok(vdb_wal_prune(r.wal, 2, &err), &err);
    assert_int_equal(kind_at(w, segment_name(0)), '-');
    assert_int_equal(kind_at(w, segment_name(1)), '-');

    /* A rotation that fails stops writes, as any failed write does; nothing acknowledged is lost. */
    vdb_env_memory_fail_at(w->env, 3, VDB_IO, false, 0); /* the sync of the new header */
    assert_fails(vdb_wal_rotate(r.wal, &err), VDB_IO, &err, "sync");
    assert_fails(vdb_wal_append(r.wal, "x", 1, &seq, &err), VDB_READ_ONLY, &err, "writes stopped");
    assert_fails(vdb_wal_rotate(r.wal, &err), VDB_READ_ONLY, &err, "writes stopped");
    vdb_wal_close(r.wal, true);
    vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
    assert_ok(open_after(w, 2, 4, 0, &r), &w->err);
    assert_seen(&r.seen, 5, 3);
    append_and_wait(r.wal, 8, 1);
    vdb_wal_close(r.wal, false);
}

/* Old segments that cannot be removed do not keep a log from opening. */
static void test_old_segments_stay(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 2);
    assert_ok(vdb_wal_rotate(r.wal, &w->err), &w->err);
    vdb_wal_close(r.wal, false);
    vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
    assert_ok(open_after(w, 1, 2, 0, &r), &w->err);
    uint64_t operations = vdb_env_memory_operations(w->env); /* the last two: unlink, sync_dir */
    vdb_wal_close(r.wal, false);
    for (uint64_t n = operations - 1; n <= operations; n++) {
        fresh_log(w);
        reopen_ok(w, 0, &r);
        append_and_wait(r.wal, 1, 2);
        assert_ok(vdb_wal_rotate(r.wal, &w->err), &w->err);
        vdb_wal_close(r.wal, false);
        vdb_env_memory_fail_at(w->env, n, VDB_IO, true, 0);
        assert_ok(open_after(w, 1, 2, 0, &r), &w->err);
        vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
        assert_int_equal(kind_at(w, segment_name(0)), n == operations ? '-' : 'f');
        append_and_wait(r.wal, 3, 1);
        vdb_wal_close(r.wal, false);
        assert_ok(open_after(w, 1, 2, 0, &r), &w->err);
        assert_seen(&r.seen, 3, 1);
        assert_int_equal(kind_at(w, segment_name(0)), '-');
        vdb_wal_close(r.wal, false);
    }
}

/* ---- Stopped at every operation ---- */

struct point {
    uint64_t first;
    uint64_t after_seq;
};

static struct point load_point(struct world *w)
{
    uint8_t *data;
    size_t bytes;
    struct point point = {0};
    if (vdb_env_read_file(w->env, at(w, "point"), sizeof point, &data, &bytes, &w->err) == VDB_OK) {
        assert_int_equal(bytes, sizeof point);
        memcpy(&point, data, sizeof point);
        free(data);
    }
    return point;
}

enum { ROUNDS = 5 };

/* Appends, and every other time checkpoints: rotate, save the point, prune. Returns what was acknowledged. */
static uint64_t run_rounds(struct world *w, struct vdb_wal *wal, uint64_t next)
{
    struct vdb_err err = {0};
    uint64_t acknowledged = next - 1;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t seq = 0;
        for (uint64_t i = 0; i <= (uint64_t)round % 3; i++) {
            char payload[PAYLOAD_BYTES_MAX];
            size_t bytes = make_payload(next, payload);
            if (vdb_wal_append(wal, payload, bytes, &seq, &err) != VDB_OK) {
                return acknowledged;
            }
            assert_int_equal(seq, next++);
        }
        if (vdb_wal_wait(wal, seq, &err) != VDB_OK) {
            return acknowledged;
        }
        acknowledged = seq;
        if (round % 2 == 1) {
            if (vdb_wal_rotate(wal, &err) != VDB_OK) {
                continue; /* a store would stay readable: the rest fails by itself */
            }
            struct point point = {vdb_wal_segment_of(wal, seq + 1), seq};
            if (vdb_env_replace_file(w->env, at(w, "point"), &point, sizeof point, &err) == VDB_OK) {
                (void)!vdb_wal_prune(wal, (uint32_t)point.first, &err);
            }
        }
    }
    return acknowledged;
}

/* Everything acknowledged that the point does not have is in the log, in order, nothing else. */
static struct vdb_wal *check_log(struct world *w, uint64_t acknowledged, struct reopened *r)
{
    struct point point = load_point(w);
    assert_ok(open_after(w, point.first, point.after_seq, 200, r), &w->err);
    uint64_t last = vdb_wal_durable_seq(r->wal);
    assert_true(last >= acknowledged && last <= acknowledged + 3); /* a group that was never answered, at most */
    assert_seen(&r->seen, point.after_seq + 1, last - point.after_seq);
    assert_int_equal(vdb_wal_segment_of(r->wal, 0), point.first);
    for (uint32_t i = 0; i < point.first; i++) {
        assert_int_equal(kind_at(w, segment_name(i)), '-');
    }
    return r->wal;
}

/* One run that dies at operation n of its rounds, and at operation m of the recovery; both with a power cut by the
 * seed. False when the run did not get as far as n, or the recovery not as far as m. */
static bool die_at(uint64_t n, uint64_t m, uint64_t seed, uint64_t *states)
{
    void *state;
    setup_wal_memory(&state);
    struct world *w = state;
    struct reopened r;
    bool reached = true;
    reopen_ok(w, 200, &r);
    vdb_env_memory_fail_at(w->env, n, VDB_IO, true, seed);
    uint64_t acknowledged = run_rounds(w, r.wal, 1);
    reached = vdb_env_memory_operations(w->env) >= n;
    vdb_wal_close(r.wal, false);
    vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
    vdb_env_memory_crash(w->env, seed);
    if (reached && m > 0) {
        struct point point = load_point(w);
        vdb_env_memory_fail_at(w->env, m, VDB_IO, true, seed + 1);
        if (open_after(w, point.first, point.after_seq, 200, &r) == VDB_OK) {
            vdb_wal_close(r.wal, false);
        }
        reached = vdb_env_memory_operations(w->env) >= m;
        vdb_env_memory_fail_at(w->env, 0, VDB_OK, false, 0);
        vdb_env_memory_crash(w->env, seed == UINT64_MAX ? seed : seed / 2);
    }
    struct vdb_wal *wal = check_log(w, acknowledged, &r);
    acknowledged = vdb_wal_durable_seq(wal);
    acknowledged = run_rounds(w, wal, acknowledged + 1); /* and it goes on */
    assert_true(acknowledged >= ROUNDS);
    vdb_wal_close(wal, false);
    vdb_env_memory_crash(w->env, 0);
    vdb_wal_close(check_log(w, acknowledged, &r), false);
    *states += 1;
    teardown(&state);
    return reached;
}

static void test_stopped_at_every_operation(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, UINT64_MAX, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    uint64_t states = 0;
    for (size_t s = 0; s < sizeof seeds / sizeof *seeds; s++) {
        uint64_t n = 1;
        while (die_at(n, 0, seeds[s], &states)) {
            n++;
        }
        assert_true(n > 30);
    }
    for (size_t s = 0; s < 5; s++) {
        for (uint64_t n = 1; die_at(n, 0, seeds[s], &states); n += 2) {
            uint64_t m = 1;
            while (die_at(n, m, seeds[s], &states)) {
                m++;
            }
            assert_true(m > 5);
        }
    }
    print_message("%llu states\n", (unsigned long long)states);
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
        WAL_BOTH(test_rotate_and_prune),
        WAL_BOTH(test_created_after_a_checkpoint),
        WAL_BOTH(test_after_seq),
        WAL_MEMORY(test_torn_below_the_checkpoint),
        WAL_MEMORY(test_first_segment_without_a_header),
        WAL_MEMORY(test_failures_of_rotate_and_prune),
        WAL_MEMORY(test_old_segments_stay),
        cmocka_unit_test(test_stopped_at_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
