/* test_log_reader_crash.c: L2 and L3 of log_reader.h: a writer that is killed at every operation, and loses power, while
 * a reader looks after each of its operations, as another process would. Whatever was handed out is in the log that the
 * recovery finds.
 */
#include "support.h"

#include "base/log.h"
#include "log_follower.h"

static const struct vdb_env_ops *plain_ops;
static struct vdb_env_ops watched_ops;
static struct world *watched;
static uint64_t operations_left; /* of the writer; the process is dead at 0 */
static bool is_polling;

static bool dies(void)
{
    if (operations_left == 0) {
        return true;
    }
    operations_left--;
    return operations_left == 0;
}

/* The reader looks, as another process would: not through the writer's table. */
static void look(void)
{
    if (follower.reader != NULL && !is_polling) {
        is_polling = true;
        watched->env->ops = plain_ops;
        poll(watched);
        watched->env->ops = &watched_ops;
        is_polling = false;
    }
}

static vdb_status dead(struct vdb_err *err)
{
    return vdb_err_set(err, VDB_IO, "the process was killed");
}

/* A write arrives in three parts, the middle one last, and the process may die within it. */
static vdb_status watched_write_at(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                                   uint64_t offset, struct vdb_err *err)
{
    const uint8_t *from = data;
    size_t third = bytes / 3;
    const size_t begin[] = {0, 2 * third, third};
    const size_t end[] = {third, bytes, 2 * third};
    for (int part = 0; part < 3; part++) {
        if (dies()) {
            return dead(err);
        }
        if (end[part] > begin[part]) {
            vdb_status status = plain_ops->write_at(env, file, from + begin[part], end[part] - begin[part],
                                                    offset + begin[part], err);
            if (status != VDB_OK) {
                return status;
            }
        }
        look();
    }
    return VDB_OK;
}

static vdb_status watched_sync(struct vdb_env *env, struct vdb_file *file, struct vdb_err *err)
{
    if (dies()) {
        return dead(err);
    }
    vdb_status status = plain_ops->sync(env, file, err);
    look();
    return status;
}

static vdb_status watched_truncate(struct vdb_env *env, struct vdb_file *file, uint64_t bytes,
                                   struct vdb_err *err)
{
    if (dies()) {
        return dead(err);
    }
    vdb_status status = plain_ops->truncate(env, file, bytes, err);
    look();
    return status;
}

static vdb_status watched_sync_dir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    if (dies()) {
        return dead(err);
    }
    vdb_status status = plain_ops->sync_dir(env, path, err);
    look();
    return status;
}

static vdb_status watched_open(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                               struct vdb_err *err)
{
    *out = NULL;
    if (dies()) {
        return dead(err);
    }
    vdb_status status = plain_ops->open(env, path, flags, out, err);
    look();
    return status;
}

/* Opens, writes three groups with a rotation between, closes; dies when the operations are used up. True when it did
 * not. */
static bool watched_life(struct world *w, uint64_t *acknowledged)
{
    struct vdb_wal_options options = {.segment_bytes = 0};
    struct vdb_wal *wal = NULL;
    struct vdb_wal_recovery recovery;
    struct seen seen = {0};
    struct vdb_err err = {0};
    bool alive = false;
    if (vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, &options, note_record, &seen, &wal, &recovery, &err) !=
        VDB_OK) {
        assert_int_equal(operations_left, 0);
        return false;
    }
    uint64_t next = vdb_wal_durable_seq(wal) + 1;
    for (int group = 0; group < 3; group++) {
        append(wal, next);
        uint64_t seq = append(wal, next + 1);
        next += 2;
        if (vdb_wal_wait(wal, seq, &err) != VDB_OK || (group == 1 && vdb_wal_rotate(wal, &err) != VDB_OK)) {
            goto cleanup;
        }
        *acknowledged = seq;
    }
    alive = true;

cleanup:
    vdb_wal_close(wal, false);
    return alive && operations_left > 0;
}

static void watch(struct world *w)
{
    plain_ops = w->env->ops;
    watched_ops = *plain_ops;
    watched_ops.write_at = watched_write_at;
    watched_ops.sync = watched_sync;
    watched_ops.truncate = watched_truncate;
    watched_ops.sync_dir = watched_sync_dir;
    watched_ops.open = watched_open;
    watched = w;
}

/* The log holds all that was handed out, the very records. */
static vdb_status hold_against_follower(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    uint64_t *last = ctx;
    (void)err;
    if (record->seq <= follower.last_seq && follower.crc[record->seq] != 0) {
        assert_int_equal(record->crc, follower.crc[record->seq]);
    }
    *last = record->seq;
    return VDB_OK;
}

static void check_handed_out(struct world *w, uint64_t acknowledged)
{
    uint64_t last = 0;
    struct vdb_wal *wal;
    struct vdb_wal_recovery recovery;
    assert_ok(vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, NULL, hold_against_follower, &last, &wal, &recovery,
                           &w->err),
              &w->err);
    assert_true(last >= follower.last_seq);
    assert_true(last >= acknowledged);
    vdb_wal_close(wal, false);
}

/* Two lives of the writer, the first dead at operation n, the second at m (0: it lives), the power gone in between
 * (or not: UINT64_MAX), the reader looking all the time. False when the first life did not get as far as n. */
static bool two_lives(uint64_t n, uint64_t m, uint64_t seed, bool keep_reader)
{
    void *state;
    setup_wal_memory(&state);
    struct world *w = state;
    uint64_t acknowledged = 0;
    watch(w);
    follow_from(w, 1);
    w->env->ops = &watched_ops;
    operations_left = n;
    bool lived = watched_life(w, &acknowledged);
    w->env->ops = plain_ops;
    poll(w);
    /* A power cut ends the reader, too; a kill of the writer does not. */
    if (!keep_reader) {
        close_reader();
        vdb_env_memory_crash(w->env, seed);
        uint32_t crc = follower.crc[follower.last_seq];
        assert_ok(open_reader(w, follower.last_seq + 1, &crc), &w->err);
    }
    w->env->ops = &watched_ops;
    operations_left = m > 0 ? m : UINT64_MAX;
    watched_life(w, &acknowledged);
    w->env->ops = plain_ops;
    poll(w);
    assert_true(follower.last_seq >= acknowledged);
    close_reader();
    vdb_env_memory_crash(w->env, seed / 2);
    check_handed_out(w, acknowledged);
    teardown(&state);
    return !lived;
}

static void test_killed_at_every_operation(void **state)
{
    (void)state;
    uint64_t states = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
        for (uint64_t n = 1;; n++) {
            bool reached = true;
            for (uint64_t m = 0; m < 24; m++) {
                reached = two_lives(n, m, seed == 5 ? UINT64_MAX : seed, false);
                reached = two_lives(n, m, seed, true) && reached;
                states += 2;
            }
            if (!reached) {
                assert_true(n > 20);
                break;
            }
        }
    }
    print_message("%llu states\n", (unsigned long long)states);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_at_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
