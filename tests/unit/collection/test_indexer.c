/* test_indexer.c: notes to the threads that make graphs, before, while and after they start and stop. What a thread
 * sanitizer's build looks for here is that notes may come from anybody at any time. */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/log.h"
#include "collection/database.h"
#include "collection/indexer.h"
#include "env/env_memory.h"

struct noter {
    struct vdb_indexer indexer;
    atomic_size_t notes;
    atomic_bool done;
};

static void *note_on(void *ctx)
{
    struct noter *noter = ctx;
    while (!atomic_load_explicit(&noter->done, memory_order_relaxed)) {
        vdb_indexer_note_segments(&noter->indexer);
        vdb_indexer_note_memory(&noter->indexer);
        atomic_fetch_add_explicit(&noter->notes, 1, memory_order_relaxed);
    }
    return NULL;
}

/* Relaxed, so that nothing but the indexer's own mutex orders the notes and a start or stop. */
static void wait_for_notes(struct noter *noter, size_t count)
{
    const size_t until = atomic_load_explicit(&noter->notes, memory_order_relaxed) + count;
    while (atomic_load_explicit(&noter->notes, memory_order_relaxed) < until) {
        sched_yield();
    }
}

static void test_notes_beside_start_and_stop(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_database *database;
    struct vdb_env *env = vdb_env_memory_create();
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    for (unsigned round = 0; round < 10; round++) {
        struct noter noter = {0};
        pthread_t thread;
        vdb_indexer_init(&noter.indexer);
        assert_int_equal(pthread_create(&thread, NULL, note_on, &noter), 0);
        wait_for_notes(&noter, 2);
        vdb_indexer_start(&noter.indexer, database);
        wait_for_notes(&noter, 2);
        vdb_indexer_stop(&noter.indexer);
        wait_for_notes(&noter, 2);
        atomic_store(&noter.done, true);
        pthread_join(thread, NULL);
        vdb_indexer_fini(&noter.indexer);
    }
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

/* Nobody takes a query over that nobody would ask. */
static void test_no_threads_no_shadows(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_database *database;
    struct vdb_indexer indexer;
    int query; /* never looked into */
    struct vdb_shadow_query *shadow = (void *)&query;
    struct vdb_env *env = vdb_env_memory_create();
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    vdb_indexer_note_segments(NULL);
    vdb_indexer_note_memory(NULL);
    assert_false(vdb_indexer_note_shadow(NULL, shadow));
    vdb_indexer_init(&indexer);
    assert_false(vdb_indexer_note_shadow(&indexer, shadow));
    vdb_indexer_start(&indexer, database);
    vdb_indexer_stop(&indexer);
    assert_false(vdb_indexer_note_shadow(&indexer, shadow));
    vdb_indexer_stop(&indexer); /* not started is fine */
    vdb_indexer_fini(&indexer);
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notes_beside_start_and_stop),
        cmocka_unit_test(test_no_threads_no_shadows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
