/* test_graphs_beside.c: graphs that are made beside writers, readers, checkpoints, compactions, changes of settings and a
 * drop: no deleted point is found, none twice, and in the end everything is indexed and sound. Made for tsan. */
#include "graph_world.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WRITERS = 2, READERS = 2, ROUNDS = 60, IDS = 900, WAIT_MS_MAX = 120000 };

struct beside {
    struct world w;
    atomic_bool stop;
    _Atomic uint64_t searches;
};

static void pause_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

struct writer {
    struct beside *beside;
    unsigned number;
};

/* Ids below IDS are written again and again; those from IDS to 2 IDS are written once and deleted at once, for good. */
static void *write_on(void *arg)
{
    struct writer *writer = arg;
    struct world own = writer->beside->w; /* its own random numbers */
    vdb_rng_init(&own.rng, 100 + writer->number);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned from = (unsigned)vdb_rng_below(&own.rng, IDS - 20);
        put(&own, from, from + 1 + (unsigned)vdb_rng_below(&own.rng, 20),
            1 + (unsigned)vdb_rng_below(&own.rng, 20));
        unsigned doomed = IDS + (writer->number * ROUNDS + round);
        put(&own, doomed, doomed + 1, 1);
        delete_point(&own, doomed);
        if (round % 16 == 0) {
            put(&own, 0, 300, BATCH);
        }
    }
    return NULL;
}

static void *read_on(void *arg)
{
    struct writer *reader = arg;
    struct world own = reader->beside->w;
    struct vdb_err err = {0};
    vdb_rng_init(&own.rng, 200 + reader->number);
    while (!atomic_load(&reader->beside->stop)) {
        float vector[DIMENSION];
        struct vdb_hits hits;
        struct vdb_search search = {.vector = vector, .dimension = DIMENSION, .k = 20};
        point_of(&own, vector);
        vector[0] += vdb_rng_below(&own.rng, 2) == 0 ? 0.5f : 0;
        assert_ok(vdb_collection_search(own.collection, &search, &hits, &err), &err);
        for (size_t i = 0; i < hits.count; i++) {
            for (size_t j = 0; j < i; j++) {
                assert_true(hits.hits[i].id.number != hits.hits[j].id.number);
            }
        }
        vdb_hits_fini(&hits);
        atomic_fetch_add(&reader->beside->searches, 1);
    }
    return NULL;
}

static void *maintain_on(void *arg)
{
    struct beside *beside = arg;
    struct vdb_err err = {0};
    for (unsigned round = 0; !atomic_load(&beside->stop); round++) {
        struct vdb_compact_result result;
        struct vdb_compact_options all = {.full = true};
        struct vdb_index_config config = config_of(round % 6 < 3 ? "qgraph" : "hnsw");
        assert_ok(vdb_collection_checkpoint(beside->w.collection, &err), &err);
        if (round % 2 == 1) {
            assert_ok(vdb_collection_compact(beside->w.collection, &all, &result, &err), &err);
        }
        if (round % 3 == 2) {
            assert_ok(vdb_collection_set_index(beside->w.collection, &config, &err), &err);
        }
        if (round % 4 == 1) {
            struct vdb_verify_result verified;
            assert_ok(vdb_collection_verify(beside->w.collection, &verified, &err), &err);
        }
        (void)status_of(&beside->w);
        pause_ms(20);
    }
    return NULL;
}

/* Until the background has made all graphs. */
static void wait_for_graphs(struct world *w)
{
    for (int waited = 0; status_of(w).rows_waiting > 0; waited += 5) {
        assert_true(waited < WAIT_MS_MAX);
        pause_ms(5);
    }
}

static void check_end(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_verify_result verified;
    struct vdb_explain explain;
    assert_ok(vdb_collection_verify(w->collection, &verified, &err), &err);
    assert_true(recall_of(w, &(struct vdb_search){0}, 20, 0, &explain) >= 0.95);
    for (int q = 0; q < 20; q++) {
        float vector[DIMENSION];
        struct vdb_hits hits;
        point_of(w, vector);
        struct vdb_search search = {.vector = vector, .dimension = DIMENSION, .k = 100};
        assert_ok(vdb_collection_search(w->collection, &search, &hits, &err), &err);
        for (size_t i = 0; i < hits.count; i++) {
            assert_true(hits.hits[i].id.number < IDS);
        }
        vdb_hits_fini(&hits);
    }
}

static void test_everything_at_once(void **state)
{
    static struct beside beside;
    pthread_t threads[WRITERS + READERS + 1];
    struct writer arguments[WRITERS + READERS];
    (void)state;
    open_world(&beside.w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", true);
    put(&beside.w, 0, IDS, BATCH);
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        arguments[i] = (struct writer){&beside, i};
        assert_int_equal(pthread_create(&threads[i], NULL, i < WRITERS ? write_on : read_on, &arguments[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[WRITERS + READERS], NULL, maintain_on, &beside), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&beside.stop, true);
    for (unsigned i = WRITERS; i < WRITERS + READERS + 1; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(atomic_load(&beside.searches) > 0);
    wait_for_graphs(&beside.w);
    check_end(&beside.w);
    reopen_world(&beside.w);
    build(&beside.w);
    check_end(&beside.w);
    close_world(&beside.w);
}

static void test_the_background_makes_them(void **state)
{
    struct world w;
    struct vdb_explain explain;
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_F32, "qgraph", true);
    put(&w, 0, 1500, BATCH);
    wait_for_graphs(&w);
    assert_true(recall_of(&w, &(struct vdb_search){0}, 20, 0, &explain) >= 0.95);
    assert_string_equal(explain.plan, "hnsw");
    checkpoint(&w);
    wait_for_graphs(&w);
    assert_true(recall_of(&w, &(struct vdb_search){0}, 20, 0, &explain) >= 0.95);
    assert_string_equal(explain.plan, "qgraph");
    assert_int_equal(status_of(&w).builds, 1);
    /* A snapshot's graphs are found, too. */
    struct vdb_err err = {0};
    struct vdb_snapshot_info info;
    struct world then = w;
    assert_ok(vdb_collection_snapshot_create(w.collection, "s", &info, &err), &err);
    assert_ok(vdb_collection_get_snapshot(w.collection, "s", &then.collection, &err), &err);
    wait_for_graphs(&then);
    assert_int_equal(status_of(&then).loads, 1);
    assert_true(recall_of(&then, &(struct vdb_search){0}, 20, 0, &explain) >= 0.95);
    assert_string_equal(explain.plan, "qgraph");
    vdb_collection_unref(then.collection);
    /* Opened again, its file is found. */
    reopen_world(&w);
    assert_ok(vdb_database_maintain(w.database, NULL, &err), &err);
    wait_for_graphs(&w);
    assert_int_equal(status_of(&w).builds, 0);
    assert_int_equal(status_of(&w).loads, 1);
    /* What users get is looked at. */
    for (int waited = 0; status_of(&w).shadow_queries == 0; waited += 5) {
        assert_true(waited < WAIT_MS_MAX);
        (void)recall_of(&w, &(struct vdb_search){0}, 1, 0, &explain);
        pause_ms(5);
    }
    assert_true(status_of(&w).shadow_recall > 0.5);
    close_world(&w);
}

static void test_drops_and_closes_beside_builds(void **state)
{
    (void)state;
    for (int round = 0; round < 8; round++) {
        struct world w;
        struct vdb_err err = {0};
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_F32, round % 2 == 0 ? "qgraph" : "hnsw", true);
        put(&w, 0, 1500, BATCH);
        checkpoint(&w);
        put(&w, 1500, 2000, BATCH);
        pause_ms(round * 7);
        if (round < 4) {
            assert_ok(vdb_database_drop(w.database, "docs", &err), &err);
            struct vdb_index_config config = config_of("flat");
            assert_fails(vdb_collection_set_index(w.collection, &config, &err), VDB_NOT_FOUND, &err, "dropped");
            assert_fails(vdb_collection_build_index(w.collection, NULL, &err), VDB_NOT_FOUND, &err, "dropped");
        }
        if (round % 4 == 3) {
            vdb_database_close(w.database);
            struct vdb_explain explain; /* a reference outlives it */
            (void)recall_of(&w, &(struct vdb_search){0}, 3, 0, &explain);
            vdb_collection_unref(w.collection);
            vdb_env_memory_destroy(w.env);
        } else {
            close_world(&w);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_background_makes_them),
        cmocka_unit_test(test_drops_and_closes_beside_builds),
        cmocka_unit_test(test_everything_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
