/* test_env_count.c: what an env counts of its operations, the same in the posix env and the in-memory one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "unit/env/env_world.h"

/* What came since the reading before; the posix env counts for the whole process. */
static struct vdb_env_io_stats since(struct world *w, const struct vdb_env_io_stats *before)
{
    struct vdb_env_io_stats now;
    vdb_env_get_io(w->env, &now);
    now.reads -= before->reads;
    now.read_bytes -= before->read_bytes;
    now.writes -= before->writes;
    now.write_bytes -= before->write_bytes;
    now.touches -= before->touches;
    now.touched_bytes -= before->touched_bytes;
    now.synced_bytes -= before->synced_bytes;
    now.failures -= before->failures;
    vdb_histogram_subtract(&now.syncs, &before->syncs);
    vdb_histogram_subtract(&now.dir_syncs, &before->dir_syncs);
    return now;
}

static void test_transfers(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_env_io_stats before;
    uint8_t data[5000] = {1};
    size_t got;
    vdb_env_get_io(w->env, &before);
    struct vdb_file *file = open_ok(w, "f", CREATE);
    assert_int_equal(ops->write_at(w->env, file, data, 5000, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, file, data, 0, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, file, data, 100, 4950, &w->err), VDB_OK);
    assert_int_equal(ops->read_at(w->env, file, data, 5000, 4000, &got, &w->err), VDB_OK);
    assert_int_equal(got, 1050); /* and no more is counted */
    assert_int_equal(ops->read_at(w->env, file, data, 10, 9000, &got, &w->err), VDB_OK);
    struct vdb_env_io_stats io = since(w, &before);
    assert_int_equal(io.writes, 3);
    assert_int_equal(io.write_bytes, 5100);
    assert_int_equal(io.reads, 2);
    assert_int_equal(io.read_bytes, 1050);
    assert_int_equal(io.synced_bytes, 0);
    assert_int_equal(io.syncs.count, 0);
    assert_int_equal(io.touches, 0);
    assert_int_equal(io.failures, 0);
    ops->close(w->env, file);

    struct vdb_map map;
    assert_int_equal(ops->map(w->env, at(w, "f"), &map, &w->err), VDB_OK);
    assert_int_equal(ops->touch(w->env, &map, 4096, 100, &w->err), VDB_OK);
    assert_int_equal(ops->touch(w->env, &map, 0, 0, &w->err), VDB_OK);
    ops->unmap(w->env, &map);
    io = since(w, &before);
    assert_int_equal(io.touches, 2);
    assert_int_equal(io.touched_bytes, 100);
    assert_int_equal(io.reads, 2);
}

/* Bytes become durable once: by the sync of the handle that wrote them. */
static void test_syncs(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_env_io_stats before;
    vdb_env_get_io(w->env, &before);
    struct vdb_file *one = open_ok(w, "one", CREATE);
    struct vdb_file *two = open_ok(w, "two", CREATE);
    assert_int_equal(ops->write_at(w->env, one, "abcd", 4, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, two, "xyz", 3, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, one, "e", 1, 4, &w->err), VDB_OK);
    assert_int_equal(ops->sync(w->env, one, &w->err), VDB_OK);
    struct vdb_env_io_stats io = since(w, &before);
    assert_int_equal(io.syncs.count, 1);
    assert_int_equal(io.synced_bytes, 5);
    assert_int_equal(ops->sync(w->env, one, &w->err), VDB_OK); /* nothing new */
    assert_int_equal(ops->sync(w->env, two, &w->err), VDB_OK);
    assert_int_equal(ops->sync_dir(w->env, w->root, &w->err), VDB_OK);
    io = since(w, &before);
    assert_int_equal(io.syncs.count, 3);
    assert_int_equal(io.synced_bytes, 8);
    assert_int_equal(io.dir_syncs.count, 1);
    assert_true(io.syncs.sum_ns > 0 && io.syncs.max_ns > 0);
    assert_true(vdb_histogram_quantile(&io.syncs, 0.5) > 0);
    assert_int_equal(io.failures, 0);
    ops->close(w->env, one);
    ops->close(w->env, two);
}

static void test_failures(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_env_io_stats before;
    size_t got;
    char byte;
    struct vdb_file *file = open_ok(w, "f", CREATE);
    vdb_env_get_io(w->env, &before);
    assert_int_equal(ops->write_at(w->env, file, "x", 1, UINT64_MAX, &w->err), VDB_IO); /* EFBIG */
    assert_int_equal(ops->sync_dir(w->env, at(w, "none"), &w->err), VDB_NOT_FOUND);
    struct vdb_env_io_stats io = since(w, &before);
    assert_int_equal(io.failures, 2);
    assert_int_equal(io.writes + io.write_bytes + io.dir_syncs.count, 0);
    if (!w->is_posix) {
        assert_int_equal(ops->write_at(w->env, file, "x", 1, 0, &w->err), VDB_OK);
        vdb_env_memory_fail_at(w->env, 1, VDB_IO, true, 1);
        assert_int_equal(ops->sync(w->env, file, &w->err), VDB_IO);
        assert_int_equal(ops->read_at(w->env, file, &byte, 1, 0, &got, &w->err), VDB_IO);
        assert_int_equal(ops->write_at(w->env, file, "x", 1, 0, &w->err), VDB_IO);
        vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
        assert_int_equal(ops->sync(w->env, file, &w->err), VDB_OK);
        io = since(w, &before);
        assert_int_equal(io.failures, 5);
        assert_int_equal(io.syncs.count, 1);
        assert_int_equal(io.synced_bytes, 0); /* what a failed sync left is not made good (E3) */
        struct vdb_env *copy = vdb_env_memory_clone(w->env);
        assert_non_null(copy);
        vdb_env_get_io(copy, &io);
        assert_int_equal(io.writes + io.failures + io.syncs.count, 0);
        vdb_env_memory_destroy(copy);
    }
    ops->close(w->env, file);
}

enum { THREADS = 4, ROUNDS = 200 };

static void *write_and_sync(void *arg)
{
    static _Atomic unsigned next;
    struct world *w = arg;
    struct vdb_err err;
    char path[300];
    struct vdb_file *file;
    snprintf(path, sizeof path, "%s/f%u", w->root, atomic_fetch_add(&next, 1));
    assert_int_equal(w->env->ops->open(w->env, path, CREATE, &file, &err), VDB_OK);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(w->env->ops->write_at(w->env, file, "0123456", 7, 0, &err), VDB_OK);
        if (i % 20 == 19) {
            assert_int_equal(w->env->ops->sync(w->env, file, &err), VDB_OK);
        }
    }
    w->env->ops->close(w->env, file);
    return NULL;
}

static void test_threads(void **state)
{
    struct world *w = *state;
    struct vdb_env_io_stats before;
    pthread_t threads[THREADS];
    vdb_env_get_io(w->env, &before);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_sync, w), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    struct vdb_env_io_stats io = since(w, &before);
    assert_int_equal(io.writes, THREADS * ROUNDS);
    assert_int_equal(io.write_bytes, THREADS * ROUNDS * 7);
    assert_int_equal(io.synced_bytes, THREADS * ROUNDS * 7);
    assert_int_equal(io.syncs.count, THREADS * ROUNDS / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_transfers),
        ON_BOTH(test_syncs),
        ON_BOTH(test_failures),
        ON_BOTH(test_threads),
    };
    return cmocka_run_group_tests_name("env/count", tests, NULL, NULL);
}
