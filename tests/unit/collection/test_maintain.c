/* test_maintain.c: checkpoints and compactions that come by themselves, those on demand, and their end with a drop or
 * a close. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "collection/database.h"
#include "collection/maintain.h"
#include "env/env_memory.h"

enum { IDS = 200, DIMENSION = 4, WAIT_MS_MAX = 60000 };

static void pause_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

static struct vdb_database *open_database(struct vdb_env *env)
{
    struct vdb_err err = {0};
    struct vdb_database *database;
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    return database;
}

static void create(struct vdb_database *database, const char *name)
{
    struct vdb_err err = {0};
    struct vdb_schema schema = {.dimension = DIMENSION, .metric = VDB_METRIC_L2};
    snprintf(schema.name, sizeof schema.name, "%s", name);
    assert_ok(vdb_database_create(database, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
}

static struct vdb_collection *get(struct vdb_database *database, const char *name)
{
    struct vdb_err err = {0};
    struct vdb_collection *collection;
    assert_ok(vdb_database_get(database, name, &collection, &err), &err);
    return collection;
}

/* All ids in one batch, with that stamp. */
static vdb_status put_all(struct vdb_collection *collection, unsigned stamp, struct vdb_err *err)
{
    struct vdb_point points[IDS];
    float vectors[IDS][DIMENSION] = {{0}};
    struct vdb_write_result result;
    for (unsigned n = 0; n < IDS; n++) {
        vectors[n][0] = (float)stamp;
        vectors[n][1] = (float)n;
        points[n] = (struct vdb_point){{.number = n}, vectors[n], DIMENSION, {NULL, 0}};
    }
    return vdb_collection_upsert(collection, points, IDS, &result, err);
}

static void expect_stamp(struct vdb_collection *collection, unsigned stamp)
{
    struct vdb_err err = {0};
    struct vdb_hits hits = {0};
    struct vdb_id ids[IDS];
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = (struct vdb_id){.number = n};
    }
    assert_ok(vdb_collection_get(collection, ids, IDS, &hits, &err), &err);
    assert_int_equal(hits.count, IDS);
    for (size_t i = 0; i < hits.count; i++) {
        assert_true(hits.hits[i].vector[0] == (float)stamp);
    }
    vdb_hits_fini(&hits);
}

static struct vdb_database_stats stats_of(struct vdb_database *database)
{
    struct vdb_database_stats stats;
    vdb_database_get_stats(database, &stats);
    return stats;
}

static bool wait_for_checkpoints(struct vdb_database *database, uint64_t count)
{
    for (long ms = 0; ms < WAIT_MS_MAX; ms += 2) {
        if (stats_of(database).checkpoints >= count) {
            return true;
        }
        pause_ms(2);
    }
    return false;
}

static void test_checkpoints_and_compactions_come(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database = open_database(env);
    struct vdb_maintain_options options = {.checkpoint_bytes = 20000, .compact_bytes_per_second = UINT64_MAX};
    create(database, "docs");
    struct vdb_collection *collection = get(database, "docs");
    assert_ok(vdb_database_maintain(database, &options, &err), &err);
    unsigned stamp = 0;
    for (uint64_t round = 1; round <= 8; round++) {
        uint64_t done = stats_of(database).checkpoints;
        for (uint64_t bytes = 0; bytes < 3 * options.checkpoint_bytes; bytes += IDS * 30) {
            assert_ok(put_all(collection, ++stamp, &err), &err);
        }
        assert_true(wait_for_checkpoints(database, done + 1));
        expect_stamp(collection, stamp);
    }
    for (long ms = 0; ms < WAIT_MS_MAX && stats_of(database).compactions == 0; ms += 2) {
        pause_ms(2);
    }
    struct vdb_database_stats stats = stats_of(database);
    assert_true(stats.compactions > 0);
    assert_true(stats.segments < stats.checkpoints);
    assert_int_equal(stats.points, IDS);
    expect_stamp(collection, stamp);
    vdb_collection_unref(collection);
    vdb_database_close(database);

    database = open_database(env);
    collection = get(database, "docs");
    expect_stamp(collection, stamp);
    assert_true(stats_of(database).recovered_batches < stamp);
    vdb_collection_unref(collection);
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

/* Once there are chunks of vectors the next one is wanted, and is made beside the writers. */
static void test_memory_is_made_ahead(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database = open_database(env);
    create(database, "c");
    struct vdb_collection *collection = get(database, "c");
    struct vdb_store *store = vdb_collection_store(collection);
    assert_false(vdb_store_wants_memory(store));
    for (unsigned stamp = 1; stamp <= 20000 / IDS; stamp++) { /* 16,384 rows of 64 bytes are a chunk */
        assert_ok(put_all(collection, stamp, &err), &err);
    }
    assert_true(vdb_store_wants_memory(store)); /* nobody makes it yet */
    assert_ok(vdb_database_maintain(database, NULL, &err), &err);
    for (long waited = 0; vdb_store_wants_memory(store); waited++) {
        assert_true(waited < WAIT_MS_MAX);
        assert_ok(put_all(collection, 7, &err), &err);
        pause_ms(1);
    }
    expect_stamp(collection, 7);
    vdb_collection_unref(collection);
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

static void test_not_before_its_time(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database = open_database(env);
    create(database, "docs");
    struct vdb_collection *collection = get(database, "docs");
    assert_ok(vdb_database_maintain(database, NULL, &err), &err); /* the default is 64 MiB */
    for (unsigned stamp = 1; stamp <= 50; stamp++) {
        assert_ok(put_all(collection, stamp, &err), &err);
    }
    pause_ms(50);
    assert_int_equal(stats_of(database).checkpoints, 0);
    vdb_collection_unref(collection);
    vdb_database_close(database);

    /* What an open finds counts, too, without a single write. */
    struct vdb_maintain_options options = {.checkpoint_bytes = 1000};
    database = open_database(env);
    assert_int_equal(stats_of(database).recovered_batches, 50);
    assert_ok(vdb_database_maintain(database, &options, &err), &err);
    assert_true(wait_for_checkpoints(database, 1));
    vdb_database_close(database);
    database = open_database(env);
    assert_int_equal(stats_of(database).recovered_batches, 0);
    assert_int_equal(stats_of(database).points, IDS);
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

/* ---- Ends ---- */

static void expect_refusals(struct vdb_collection *collection, const char *why)
{
    struct vdb_err err = {0};
    struct vdb_compact_options options = {.full = true};
    struct vdb_compact_result compacted;
    struct vdb_verify_result verified;
    struct vdb_snapshot_info info;
    struct vdb_snapshot_info *list;
    size_t count;
    assert_fails(vdb_collection_checkpoint(collection, &err), VDB_NOT_FOUND, &err, why);
    assert_fails(vdb_collection_compact(collection, &options, &compacted, &err), VDB_NOT_FOUND, &err, why);
    assert_fails(vdb_collection_snapshot_create(collection, "s", &info, &err), VDB_NOT_FOUND, &err, why);
    assert_fails(vdb_collection_snapshot_list(collection, &list, &count, &err), VDB_NOT_FOUND, &err, why);
    assert_fails(vdb_collection_snapshot_delete(collection, "s", &err), VDB_NOT_FOUND, &err, why);
    assert_fails(vdb_collection_verify(collection, &verified, &err), VDB_NOT_FOUND, &err, why);
}

static void test_after_a_drop_and_a_close(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database = open_database(env);
    create(database, "docs");
    create(database, "more");
    struct vdb_collection *docs = get(database, "docs");
    struct vdb_collection *more = get(database, "more");
    assert_ok(put_all(docs, 1, &err), &err);
    assert_ok(put_all(more, 1, &err), &err);
    assert_ok(vdb_database_drop(database, "docs", &err), &err);
    expect_refusals(docs, "collection \"docs\" was dropped");
    vdb_collection_unref(docs);
    vdb_database_close(database);
    expect_refusals(more, "collection \"more\" was closed");
    expect_stamp(more, 1); /* reads of who holds on to it go on */
    vdb_collection_unref(more);
    vdb_env_memory_destroy(env);
}

/* A compaction that holds still until it is told to go on. */
struct held {
    struct vdb_collection *collection;
    atomic_bool begun;
    atomic_bool go_on;
    vdb_status status;
    struct vdb_err err;
};

static bool hold(void *ctx, uint64_t rows_done, uint64_t rows_total)
{
    struct held *held = ctx;
    (void)rows_done, (void)rows_total;
    atomic_store(&held->begun, true);
    while (!atomic_load(&held->go_on)) {
        pause_ms(1);
    }
    return true;
}

static void *compact_held(void *arg)
{
    struct held *held = arg;
    struct vdb_compact_options options = {.full = true, .progress = hold, .ctx = held};
    struct vdb_compact_result result;
    held->status = vdb_collection_compact(held->collection, &options, &result, &held->err);
    return NULL;
}

static void *let_go(void *arg)
{
    struct held *held = arg;
    pause_ms(100); /* the drop, or close, waits by now */
    atomic_store(&held->go_on, true);
    return NULL;
}

static void end_cancels(bool drop)
{
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database = open_database(env);
    pthread_t compacter;
    pthread_t releaser;
    create(database, "docs");
    struct held held = {.collection = get(database, "docs")};
    for (unsigned stamp = 1; stamp <= 3; stamp++) {
        assert_ok(put_all(held.collection, stamp, &err), &err);
        assert_ok(vdb_collection_checkpoint(held.collection, &err), &err);
    }
    assert_int_equal(pthread_create(&compacter, NULL, compact_held, &held), 0);
    while (!atomic_load(&held.begun)) {
        pause_ms(1);
    }
    assert_int_equal(pthread_create(&releaser, NULL, let_go, &held), 0);
    if (drop) {
        assert_ok(vdb_database_drop(database, "docs", &err), &err);
    }
    vdb_database_close(database);
    pthread_join(compacter, NULL);
    pthread_join(releaser, NULL);
    assert_int_equal(held.status, VDB_CANCELLED);
    assert_non_null(strstr(held.err.text, "cancelled"));
    vdb_collection_unref(held.collection);
    if (!drop) {
        database = open_database(env);
        held.collection = get(database, "docs");
        expect_stamp(held.collection, 3);
        assert_int_equal(stats_of(database).segments, 3);
        vdb_collection_unref(held.collection);
        vdb_database_close(database);
    }
    vdb_env_memory_destroy(env);
}

static void test_a_drop_cancels(void **state)
{
    (void)state;
    end_cancels(true);
}

static void test_a_close_cancels(void **state)
{
    (void)state;
    end_cancels(false);
}

/* ---- All at once ---- */

struct race {
    struct vdb_database *database;
    const char *name;
    unsigned rounds;
    _Atomic unsigned last; /* stamp acknowledged */
};

static void *write_rounds(void *arg)
{
    struct race *race = arg;
    struct vdb_err err = {0};
    struct vdb_collection *collection = get(race->database, race->name);
    for (unsigned stamp = 1; stamp <= race->rounds; stamp++) {
        vdb_status status = put_all(collection, stamp, &err);
        if (status != VDB_OK) {
            assert_int_equal(status, VDB_NOT_FOUND); /* dropped */
            break;
        }
        atomic_store(&race->last, stamp);
    }
    vdb_collection_unref(collection);
    return NULL;
}

static void test_writers_maintenance_drops_and_closes(void **state)
{
    (void)state;
    struct vdb_maintain_options options = {.checkpoint_bytes = 12000, .compact_bytes_per_second = UINT64_MAX};
    struct vdb_env *env = vdb_env_memory_create();
    for (unsigned round = 0; round < 12; round++) {
        struct vdb_err err = {0};
        struct vdb_database *database = open_database(env);
        pthread_t threads[2];
        if (round == 0) {
            create(database, "stays");
        }
        create(database, "goes");
        struct race races[2] = {{database, "stays", 30, 0}, {database, "goes", 1000000, 0}};
        assert_ok(vdb_database_maintain(database, &options, &err), &err);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, write_rounds, &races[i]), 0);
        }
        while (atomic_load(&races[1].last) < 10) {
            pause_ms(1);
        }
        assert_ok(vdb_database_drop(database, "goes", &err), &err);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        vdb_database_close(database); /* at whatever the thread is doing */
        database = open_database(env);
        struct vdb_collection *collection = get(database, "stays");
        expect_stamp(collection, 30);
        vdb_collection_unref(collection);
        vdb_database_close(database);
    }
    vdb_env_memory_destroy(env);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoints_and_compactions_come),
        cmocka_unit_test(test_memory_is_made_ahead),
        cmocka_unit_test(test_not_before_its_time),
        cmocka_unit_test(test_after_a_drop_and_a_close),
        cmocka_unit_test(test_a_drop_cancels),
        cmocka_unit_test(test_a_close_cancels),
        cmocka_unit_test(test_writers_maintenance_drops_and_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
