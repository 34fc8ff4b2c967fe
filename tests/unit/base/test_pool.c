/* test_pool.c: every index once, whatever the threads; memory written in the loop is there after it; limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"

enum { COUNT_MAX = 5000 };

struct world {
    unsigned threads;
    size_t times[COUNT_MAX]; /* plain memory: the pool orders it, as the thread sanitizer sees */
    size_t sum_of_worker[8];
    atomic_uint entered;
};

static void count_index(void *ctx, unsigned worker, size_t index)
{
    struct world *world = ctx;
    assert_true(worker < world->threads);
    world->times[index]++;
    world->sum_of_worker[worker] += index;
}

static void check_loop(struct vdb_pool *pool, struct world *world, size_t count)
{
    memset(world->times, 0, sizeof world->times);
    memset(world->sum_of_worker, 0, sizeof world->sum_of_worker);
    vdb_pool_run(pool, count, count_index, world);
    size_t sum = 0;
    for (size_t i = 0; i < COUNT_MAX; i++) {
        assert_int_equal(world->times[i], i < count);
    }
    for (size_t i = 0; i < 8; i++) {
        sum += world->sum_of_worker[i];
    }
    assert_int_equal(sum, count == 0 ? 0 : count * (count - 1) / 2);
}

static void test_every_index_runs_once(void **state)
{
    (void)state;
    static struct world world;
    const size_t counts[] = {0, 1, 2, 3, 7, 8, 9, 1000, COUNT_MAX};
    for (unsigned threads = 1; threads <= 8; threads++) {
        struct vdb_pool *pool;
        struct vdb_err err = {0};
        assert_int_equal(vdb_pool_create(threads, &pool, &err), VDB_OK);
        assert_int_equal(vdb_pool_threads(pool), threads);
        world.threads = threads;
        for (size_t i = 0; i < 30 * sizeof counts / sizeof counts[0]; i++) {
            check_loop(pool, &world, counts[i % (sizeof counts / sizeof counts[0])]);
        }
        vdb_pool_destroy(pool);
    }
}

/* Each call waits for the other two: it ends only if three threads are inside the loop at once. */
static void meet(void *ctx, unsigned worker, size_t index)
{
    struct world *world = ctx;
    (void)worker;
    (void)index;
    atomic_fetch_add(&world->entered, 1);
    while (atomic_load(&world->entered) < 3) {
        sched_yield();
    }
}

static void test_threads_work_at_the_same_time(void **state)
{
    (void)state;
    static struct world world;
    struct vdb_pool *pool;
    assert_int_equal(vdb_pool_create(3, &pool, NULL), VDB_OK);
    atomic_store(&world.entered, 0);
    vdb_pool_run(pool, 3, meet, &world);
    assert_int_equal(atomic_load(&world.entered), 3);
    vdb_pool_destroy(pool);
}

static void test_zero_means_one_per_core(void **state)
{
    (void)state;
    struct vdb_pool *pool;
    assert_true(vdb_pool_cores() >= 1);
    assert_int_equal(vdb_pool_create(0, &pool, NULL), VDB_OK);
    assert_int_equal(vdb_pool_threads(pool), vdb_pool_cores());
    vdb_pool_destroy(pool);
    vdb_pool_destroy(NULL);
}

static void test_a_pool_that_never_ran_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct vdb_pool *pool;
        assert_int_equal(vdb_pool_create(4, &pool, NULL), VDB_OK);
        vdb_pool_destroy(pool);
    }
}

static void test_too_many_threads_are_refused(void **state)
{
    (void)state;
    struct vdb_pool *pool;
    struct vdb_err err = {0};
    assert_int_equal(vdb_pool_create(VDB_POOL_THREADS_MAX + 1, &pool, &err), VDB_LIMIT);
    assert_null(pool);
    assert_non_null(strstr(err.text, "1025"));
    assert_non_null(strstr(err.text, "1024"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_index_runs_once),        cmocka_unit_test(test_threads_work_at_the_same_time),
        cmocka_unit_test(test_zero_means_one_per_core),      cmocka_unit_test(test_a_pool_that_never_ran_ends),
        cmocka_unit_test(test_too_many_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
