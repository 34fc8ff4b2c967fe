/* test_graphs.c: collections whose sources have graphs: what they find, what they must not, filters, queries that the
 * element cannot hold, files that are found again or damaged, and changes of settings. */
#include "graph_world.h"

enum { ROWS = 2000, QUERIES = 40 };

static const struct vdb_search by_default = {0};

static void test_segments(void **state)
{
    static const struct {
        vdb_metric metric;
        vdb_element element;
        const char *type;
    } cases[] = {
        {VDB_METRIC_L2, VDB_ELEMENT_F32, "qgraph"},     {VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph"},
        {VDB_METRIC_COSINE, VDB_ELEMENT_F32, "qgraph"}, {VDB_METRIC_DOT, VDB_ELEMENT_I8, "qgraph"},
        {VDB_METRIC_L2, VDB_ELEMENT_F16, "qgraph"},     {VDB_METRIC_L1, VDB_ELEMENT_F32, "hnsw"},
        {VDB_METRIC_L2, VDB_ELEMENT_U8, "hnsw"},        {VDB_METRIC_COSINE, VDB_ELEMENT_F16, "hnsw"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct vdb_explain explain;
        struct vdb_err err = {0};
        struct vdb_verify_result verified;
        open_world(&w, cases[i].metric, cases[i].element, cases[i].type, false);
        put(&w, 0, ROWS, BATCH);
        checkpoint(&w);
        assert_true(recall_of(&w, &by_default, 2, 0, &explain) == 1);
        assert_string_equal(explain.plan, "flat scan");
        assert_int_equal(explain.rows_indexed, 0);
        assert_int_equal(explain.ef, 0);
        assert_int_equal(status_of(&w).rows_waiting, ROWS);
        build(&w);
        struct vdb_index_status status = status_of(&w);
        assert_int_equal(status.rows_indexed, ROWS);
        assert_int_equal(status.rows_waiting, 0);
        assert_int_equal(status.builds, 1);
        assert_int_equal(status.build_failures, 0);
        assert_true(status.memory_bytes > 0 && status.file_bytes > 0 && status.build_ns > 0);
        assert_true(status.ef_default >= K);
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        assert_string_equal(explain.plan, cases[i].type);
        assert_int_equal(explain.rows_indexed, ROWS);
        assert_true(explain.ef >= K);
        /* As wide as the rows: all is found. */
        assert_true(recall_of(&w, &(struct vdb_search){.ef = ROWS}, QUERIES, 0, &explain) == 1);
        assert_int_equal(explain.ef, ROWS);
        assert_ok(vdb_collection_verify(w.collection, &verified, &err), &err);
        close_world(&w);
    }
}

static void test_deletes_and_updates(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    build(&w);
    for (unsigned id = 0; id < ROWS; id += 2) {
        delete_point(&w, id);
    }
    put(&w, 1, 20, BATCH); /* moves them */
    for (int round = 0; round < 3; round++) {
        for (int q = 0; q < QUERIES; q++) {
            struct vdb_hits hits;
            struct vdb_search search = {.dimension = DIMENSION, .k = 50};
            float vector[DIMENSION];
            double right = 0;
            double all = 0;
            point_of(&w, vector);
            search.vector = vector;
            search_both(&w, &search, &hits, &right, &all);
            assert_true(right / all >= 0.9);
            for (size_t i = 0; i < hits.count; i++) {
                assert_true(hits.hits[i].id.number % 2 == 1 || hits.hits[i].id.number < 20);
                for (size_t j = 0; j < i; j++) {
                    assert_true(hits.hits[i].id.number != hits.hits[j].id.number);
                }
            }
            vdb_hits_fini(&hits);
        }
        if (round == 0) {
            checkpoint(&w); /* the ends are durable; a build leaves those rows out */
            struct vdb_index_config config = config_of("hnsw");
            struct vdb_err err = {0};
            assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
        }
        build(&w);
    }
    close_world(&w);
}

/* Few rows have ended, which costs no bitset, or all those near a query have, which does. */
static void test_few_ended(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct vdb_err err = {0};
        bool gone[ROWS] = {false};
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
        put(&w, 0, ROWS, BATCH);
        if (!memory) {
            checkpoint(&w);
        }
        double right = 0;
        double all = 0;
        build(&w);
        put(&w, 0, 30, 1); /* newer versions, in the memtable's graph */
        for (int round = 0; round < 12; round++) {
            float vector[DIMENSION];
            struct vdb_hits hits;
            point_of(&w, vector);
            struct vdb_search search = {.vector = vector, .dimension = DIMENSION, .k = 40};
            search_both(&w, &search, &hits, &right, &all);
            for (size_t i = 0; i < hits.count; i++) {
                delete_point(&w, (unsigned)hits.hits[i].id.number);
                gone[hits.hits[i].id.number] = true;
            }
            vdb_hits_fini(&hits);
            for (uint32_t k = 1; k <= 81; k += 40) {
                search.k = k;
                search_both(&w, &search, &hits, &right, &all);
                assert_non_null(strstr(hits.explain.plan, memory ? "hnsw" : "qgraph"));
                for (size_t i = 0; i < hits.count; i++) {
                    assert_false(gone[hits.hits[i].id.number]);
                }
                vdb_hits_fini(&hits);
            }
        }
        assert_true(right >= 0.95 * all);
        uint64_t count;
        assert_ok(vdb_collection_count(w.collection, (struct vdb_str){NULL, 0}, &count, &err), &err);
        assert_int_equal(count, ROWS - 12 * 40);
        close_world(&w);
    }
}

static void test_filters(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct vdb_explain explain;
        enum { MANY = 20000 };
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_F32, "qgraph", false);
        put(&w, 0, MANY / (memory ? 2 : 1), BATCH);
        if (!memory) {
            checkpoint(&w);
        }
        build(&w);
        /* Calibrated, a memtable's graph too. */
        assert_in_range(status_of(&w).ef_default, K, 200);
        /* Ever fewer rows: never fewer answers than there are. */
        static const unsigned below[] = {4000, 900, 60, 5, 1, 0};
        for (size_t f = 0; f < sizeof below / sizeof *below; f++) {
            char filter[64];
            (void)snprintf(filter, sizeof filter, "{\"field\": \"n\", \"op\": \"<\", \"value\": %u}", below[f]);
            const struct vdb_search search = {.filter = vdb_str_of(filter)};
            double recall = recall_of(&w, &search, 4, 0, &explain);
            assert_true(recall >= (f < 3 ? 0.95 : 1));
            assert_non_null(strstr(explain.plan, ", filtered"));
            assert_null(f < 5 ? strstr(explain.plan, "flat") : NULL);
        }
        close_world(&w);
    }
}

static void test_queries_that_the_element_cannot_hold(void **state)
{
    static const vdb_element elements[] = {VDB_ELEMENT_U8, VDB_ELEMENT_I8, VDB_ELEMENT_F16};
    (void)state;
    for (size_t e = 0; e < sizeof elements / sizeof *elements; e++) {
        struct world w;
        struct vdb_explain explain;
        open_world(&w, VDB_METRIC_L2, elements[e], "qgraph", false);
        put(&w, 0, ROWS, BATCH);
        checkpoint(&w);
        build(&w);
        assert_true(recall_of(&w, &by_default, QUERIES, 0.37f, &explain) >= 0.95);
        assert_string_equal(explain.plan, "qgraph");
        /* Past the range: whole elements are scanned, and halves reach that far. */
        assert_true(recall_of(&w, &by_default, 4, -300.5f, &explain) >= 0.9);
        assert_string_equal(explain.plan, elements[e] == VDB_ELEMENT_F16 ? "qgraph" : "flat scan");
        assert_true(recall_of(&w, &by_default, 4, 1e30f, &explain) == 1);
        assert_string_equal(explain.plan, "flat scan");
        close_world(&w);
        /* A length that does not matter. */
        open_world(&w, VDB_METRIC_COSINE, elements[e], "qgraph", false);
        put(&w, 0, ROWS, BATCH);
        checkpoint(&w);
        build(&w);
        double right = 0;
        double all = 0;
        for (int q = 0; q < QUERIES; q++) {
            float vector[DIMENSION];
            struct vdb_hits hits;
            struct vdb_search search = {.vector = vector, .dimension = DIMENSION, .k = K};
            point_of(&w, vector);
            for (int i = 0; i < DIMENSION; i++) {
                vector[i] *= 1e-4f;
            }
            search_both(&w, &search, &hits, &right, &all);
            assert_string_equal(hits.explain.plan, "qgraph");
            vdb_hits_fini(&hits);
        }
        assert_true(right / all >= 0.95);
        close_world(&w);
    }
}

static void test_memtables(void **state)
{
    static const char *const types[] = {"qgraph", "hnsw"};
    (void)state;
    for (size_t t = 0; t < 2; t++) {
        struct world w;
        struct vdb_explain explain;
        open_world(&w, VDB_METRIC_COSINE, VDB_ELEMENT_F32, types[t], false);
        put(&w, 0, SCAN_BELOW - 1, BATCH);
        build(&w);
        assert_true(recall_of(&w, &by_default, 2, 0, &explain) == 1);
        assert_string_equal(explain.plan, "flat scan");
        assert_int_equal(status_of(&w).rows_waiting, 0);
        put(&w, SCAN_BELOW - 1, 600, BATCH); /* large batches are left to the background, which is not there */
        assert_int_equal(status_of(&w).rows_waiting, 600);
        (void)recall_of(&w, &by_default, 1, 0, &explain);
        assert_string_equal(explain.plan, "flat scan");
        build(&w);
        assert_int_equal(status_of(&w).rows_waiting, 0);
        assert_true(status_of(&w).memory_bytes > 0);
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        assert_string_equal(explain.plan, "hnsw");
        put(&w, 600, 630, 1); /* small ones go in at once */
        assert_int_equal(status_of(&w).rows_waiting, 0);
        put(&w, 630, 730, BATCH); /* a tail that is scanned */
        assert_int_equal(status_of(&w).rows_waiting, 100);
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        assert_string_equal(explain.plan, "hnsw + flat scan");
        assert_int_equal(explain.rows_indexed, 630);
        for (unsigned id = 0; id < 730; id += 3) {
            delete_point(&w, id);
        }
        for (int q = 0; q < QUERIES; q++) {
            float vector[DIMENSION];
            struct vdb_hits hits;
            double right = 0;
            double all = 0;
            point_of(&w, vector);
            search_both(&w, &(struct vdb_search){.vector = vector, .dimension = DIMENSION, .k = 60}, &hits,
                        &right, &all);
            for (size_t i = 0; i < hits.count; i++) {
                assert_true(hits.hits[i].id.number % 3 != 0);
            }
            assert_true(right / all >= 0.9);
            vdb_hits_fini(&hits);
        }
        checkpoint(&w);
        build(&w);
        (void)recall_of(&w, &by_default, 1, 0, &explain);
        assert_string_equal(explain.plan, types[t]);
        put(&w, 1000, 1300, BATCH);
        build(&w);
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        assert_string_equal(explain.plan, t == 0 ? "qgraph + hnsw" : "hnsw");
        close_world(&w);
    }
}

static void test_files_are_found_again(void **state)
{
    static const char *const types[] = {"qgraph", "hnsw"};
    (void)state;
    for (size_t t = 0; t < 2; t++) {
        struct world w;
        struct vdb_explain explain;
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, types[t], false);
        put(&w, 0, ROWS, BATCH);
        checkpoint(&w);
        build(&w);
        uint32_t ef = status_of(&w).ef_default;
        reopen_world(&w);
        assert_int_equal(status_of(&w).rows_waiting, ROWS); /* files are not read by open */
        build(&w);
        struct vdb_index_status status = status_of(&w);
        assert_int_equal(status.builds, 0);
        assert_int_equal(status.loads, 1);
        assert_int_equal(status.ef_default, ef); /* the calibration, too */
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        assert_string_equal(explain.plan, types[t]);
        close_world(&w);
    }
}

static void test_a_damaged_file_is_built_anew(void **state)
{
    struct world w;
    struct vdb_explain explain;
    (void)state;
    vdb_log_set_level(VDB_LOG_OFF);
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    build(&w);
    assert_true(
        vdb_env_memory_flip(w.env, "data/collections/docs/index/index_000000_000001.bin", 4096 + 77, 0x10));
    reopen_world(&w);
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_string_equal(explain.plan, "flat scan");
    build(&w);
    assert_int_equal(status_of(&w).builds, 1);
    assert_int_equal(status_of(&w).loads, 0);
    assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
    assert_string_equal(explain.plan, "qgraph");
    reopen_world(&w);
    build(&w);
    assert_int_equal(status_of(&w).loads, 1);
    close_world(&w);
    vdb_log_set_level(VDB_LOG_WARN);
}

/* A disk that fails while the file is written: the graph serves from memory, and the collection goes on. */
static void test_a_file_that_cannot_be_written(void **state)
{
    struct world w;
    struct vdb_explain explain;
    (void)state;
    vdb_log_set_level(VDB_LOG_OFF);
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    vdb_env_memory_fail_kinds_at(w.env, VDB_MEMORY_WRITES, 2, VDB_NO_SPACE, false, 1);
    build(&w);
    vdb_env_memory_fail_at(w.env, 0, VDB_OK, false, 1);
    assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
    assert_string_equal(explain.plan, "qgraph");
    assert_int_equal(status_of(&w).file_bytes, 0);
    put(&w, ROWS, ROWS + 10, BATCH);
    reopen_world(&w);
    build(&w);
    assert_int_equal(status_of(&w).builds, 1);
    close_world(&w);
    vdb_log_set_level(VDB_LOG_WARN);
}

static void test_settings_change_online(void **state)
{
    struct world w;
    struct vdb_explain explain;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_F32, "hnsw", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    build(&w);
    struct vdb_index_config config = config_of("qgraph");
    assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_string_equal(explain.plan, "hnsw"); /* until the other is there */
    assert_int_equal(status_of(&w).rows_waiting, ROWS);
    reopen_world(&w);
    build(&w);
    assert_int_equal(status_of(&w).loads, 1); /* what was there served meanwhile */
    assert_int_equal(status_of(&w).builds, 1);
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_string_equal(explain.plan, "qgraph");
    /* What is not built into graphs builds nothing. */
    config.ef_search = 99;
    assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
    build(&w);
    assert_int_equal(status_of(&w).builds, 1);
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_int_equal(explain.ef, 99);
    assert_int_equal(status_of(&w).ef_default, 99);
    (void)recall_of(&w, &(struct vdb_search){.ef = 33}, 1, 0, &explain);
    assert_int_equal(explain.ef, 33);
    (void)recall_of(&w, &(struct vdb_search){.target_recall = 0.5}, 1, 0, &explain);
    assert_true(explain.ef < 99);
    /* More rows than there are: not worth a graph any more. */
    config.scan_below = ROWS + 1;
    assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
    build(&w);
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_string_equal(explain.plan, "flat scan");
    assert_int_equal(status_of(&w).file_bytes, 0);
    config.scan_below = SCAN_BELOW;
    assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
    build(&w);
    assert_int_equal(status_of(&w).rows_indexed, ROWS);
    config = config_of("flat");
    assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
    assert_true(recall_of(&w, &by_default, 2, 0, &explain) == 1);
    assert_string_equal(explain.plan, "flat scan");
    assert_int_equal(status_of(&w).file_bytes, 0);
    assert_int_equal(status_of(&w).memory_bytes, 0);
    assert_int_equal(status_of(&w).rows_waiting, 0);
    reopen_world(&w);
    assert_string_equal(status_of(&w).config.type, "flat");
    build(&w);
    assert_int_equal(status_of(&w).builds, 0);
    config = config_of("magic");
    assert_fails(vdb_collection_set_index(w.collection, &config, &err), VDB_UNSUPPORTED, &err, "magic");
    config = config_of("hnsw");
    config.m = 3;
    assert_fails(vdb_collection_set_index(w.collection, &config, &err), VDB_INVALID, &err,
                 "index_config.m: 3; allowed are 4..256");
    close_world(&w);
}

static void test_merges_and_snapshots(void **state)
{
    struct world w;
    struct vdb_explain explain;
    struct vdb_err err = {0};
    struct vdb_compact_result merged;
    struct vdb_snapshot_info info;
    const struct vdb_compact_options all = {.full = true};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    for (unsigned part = 0; part < 3; part++) {
        put(&w, part * 600, part * 600 + 600, BATCH);
        checkpoint(&w);
    }
    build(&w);
    assert_int_equal(status_of(&w).builds, 3);
    assert_ok(vdb_collection_snapshot_create(w.collection, "before", &info, &err), &err);
    for (unsigned id = 0; id < 1800; id += 5) {
        delete_point(&w, id);
    }
    assert_ok(vdb_collection_compact(w.collection, &all, &merged, &err), &err);
    assert_int_equal(merged.merged, 3);
    assert_true(recall_of(&w, &by_default, 2, 0, &explain) == 1);
    assert_string_equal(explain.plan, "flat scan");
    build(&w);
    assert_int_equal(status_of(&w).builds, 4);
    assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
    assert_string_equal(explain.plan, "qgraph");
    assert_int_equal(explain.rows_indexed, explain.rows);
    struct vdb_collection *snapshot;
    assert_ok(vdb_collection_get_snapshot(w.collection, "before", &snapshot, &err), &err);
    struct vdb_collection *now = w.collection;
    w.collection = snapshot;
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_string_equal(explain.plan, "flat scan");
    build(&w); /* loads the files that it has */
    assert_int_equal(status_of(&w).loads, 3);
    assert_int_equal(status_of(&w).builds, 0);
    (void)recall_of(&w, &by_default, 1, 0, &explain);
    assert_string_equal(explain.plan, "qgraph");
    assert_true(recall_of(&w, &by_default, 2, 0, &explain) >= 0.9);
    assert_int_equal(explain.rows, 1800);
    struct vdb_index_config config = config_of("flat");
    assert_fails(vdb_collection_set_index(snapshot, &config, &err), VDB_READ_ONLY, &err, "");
    w.collection = now;
    vdb_collection_unref(snapshot);
    close_world(&w);
}

/* Compact graphs answer as well in less memory, for every metric and element; they are found again, and neighbours pass from
 * plain to compact and back. */
static void test_compact(void **state)
{
    static const struct {
        vdb_metric metric;
        vdb_element element;
    } cases[] = {{VDB_METRIC_L2, VDB_ELEMENT_U8},
                 {VDB_METRIC_L2, VDB_ELEMENT_F32},
                 {VDB_METRIC_COSINE, VDB_ELEMENT_F16},
                 {VDB_METRIC_DOT, VDB_ELEMENT_I8}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct vdb_explain explain;
        struct vdb_err err = {0};
        struct vdb_compact_result merged;
        struct vdb_verify_result verified;
        const struct vdb_compact_options all = {.full = true};
        struct vdb_index_config config = config_of("qgraph");
        open_world(&w, cases[i].metric, cases[i].element, "qgraph", false);
        put(&w, 0, ROWS / 2, BATCH);
        checkpoint(&w);
        put(&w, ROWS / 2, ROWS, BATCH);
        checkpoint(&w);
        build(&w);
        const uint64_t plain = status_of(&w).memory_bytes;
        for (unsigned id = 0; id < ROWS; id += 7) {
            delete_point(&w, id);
        }
        checkpoint(&w);
        assert_ok(vdb_collection_compact(w.collection, &all, &merged, &err), &err);
        config.compact = 1;
        assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
        build(&w);
        assert_true(status_of(&w).memory_bytes < plain / 2);
        assert_true(status_of(&w).file_bytes < plain / 2);
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        assert_string_equal(explain.plan, "qgraph");
        assert_int_equal(explain.rows_indexed, ROWS - (ROWS + 6) / 7);
        assert_ok(vdb_collection_verify(w.collection, &verified, &err), &err);
        reopen_world(&w);
        build(&w);
        assert_true(status_of(&w).loads == 1 && status_of(&w).builds == 0);
        assert_int_equal(status_of(&w).config.compact, 1);
        assert_true(recall_of(&w, &by_default, QUERIES, 0.25f, &explain) >= 0.9);
        /* A merge begins from compact inputs, into a plain one. */
        put(&w, ROWS, ROWS + 500, BATCH);
        checkpoint(&w);
        build(&w);
        config.compact = 0;
        assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
        assert_ok(vdb_collection_compact(w.collection, &all, &merged, &err), &err);
        assert_int_equal(merged.merged, 2);
        build(&w);
        assert_int_equal(status_of(&w).rows_waiting, 0);
        assert_true(recall_of(&w, &by_default, QUERIES, 0, &explain) >= 0.95);
        close_world(&w);
    }
}

/* A segment of which no row is left, not compacted yet: its graph is empty, and what comes later is found. */
static void test_nothing_is_left(void **state)
{
    static const struct {
        const char *type;
        uint32_t compact;
    } cases[] = {{"hnsw", 0}, {"qgraph", 0}, {"qgraph", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        struct vdb_explain explain;
        struct vdb_err err = {0};
        struct vdb_verify_result verified;
        struct vdb_index_config config = config_of(cases[i].type);
        config.compact = cases[i].compact;
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_F32, "flat", false);
        put(&w, 0, 400, BATCH);
        checkpoint(&w);
        for (unsigned id = 0; id < 400; id++) {
            delete_point(&w, id);
        }
        checkpoint(&w);
        assert_ok(vdb_collection_set_index(w.collection, &config, &err), &err);
        build(&w);
        assert_true(status_of(&w).builds == 1 && status_of(&w).build_failures == 0);
        assert_true(recall_of(&w, &by_default, 3, 0, &explain) == 1);
        put(&w, 1000, 1020, BATCH);
        assert_true(recall_of(&w, &by_default, 3, 0, &explain) == 1);
        assert_int_equal(explain.rows_allowed, 20);
        reopen_world(&w);
        build(&w);
        assert_true(status_of(&w).loads == 1 && status_of(&w).builds == 0);
        assert_true(recall_of(&w, &by_default, 3, 0, &explain) == 1);
        assert_ok(vdb_collection_verify(w.collection, &verified, &err), &err);
        close_world(&w);
    }
}

static bool stop_at_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return --*(int *)ctx > 0;
}

static void test_builds_are_cancelled(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    for (int looks = 1; looks < 6; looks++) {
        int left = looks;
        const struct vdb_index_build_options options = {.threads = 1, .progress = stop_at_once, .ctx = &left};
        assert_fails(vdb_collection_build_index(w.collection, &options, &err), VDB_CANCELLED, &err, "cancelled");
        assert_int_equal(status_of(&w).builds, 0);
    }
    build(&w);
    assert_int_equal(status_of(&w).builds, 1);
    assert_int_equal(status_of(&w).build_failures, 0);
    close_world(&w);
}

static void test_bad_searches(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    struct vdb_hits hits;
    float vector[DIMENSION] = {1};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_F32, "qgraph", false);
    put(&w, 0, 300, BATCH);
    struct vdb_search search = {.vector = vector, .dimension = DIMENSION, .k = 1, .ef = 65537};
    assert_fails(vdb_collection_search(w.collection, &search, &hits, &err), VDB_INVALID, &err,
                 "ef: 65537; allowed are 1..65536");
    search.ef = 10;
    search.target_recall = 0.5;
    assert_fails(vdb_collection_search(w.collection, &search, &hits, &err), VDB_INVALID, &err, "target_recall");
    search.ef = 0;
    static const double wrong[] = {1, -0.1, 7, (double)NAN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        search.target_recall = wrong[i];
        assert_fails(vdb_collection_search(w.collection, &search, &hits, &err), VDB_INVALID, &err,
                     "target_recall: ");
    }
    search.target_recall = 0;
    search.ef = 65536;
    build(&w);
    assert_ok(vdb_collection_search(w.collection, &search, &hits, &err), &err);
    vdb_hits_fini(&hits);
    close_world(&w);
}

/* Equal vectors by the hundred: all in id order, whatever answers. */
static void test_ties(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct vdb_err err = {0};
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
        float vector[DIMENSION] = {5, 4, 3};
        for (unsigned id = 400; id-- > 0;) {
            struct vdb_write_result result;
            struct vdb_point point = {{.number = id}, vector, DIMENSION, {NULL, 0}};
            assert_ok(vdb_collection_upsert(w.collection, &point, 1, &result, &err), &err);
        }
        put(&w, 400, 900, BATCH);
        if (!memory) {
            checkpoint(&w);
        }
        build(&w);
        struct vdb_search search = {.vector = vector, .dimension = DIMENSION, .k = 20, .ef = 400};
        struct vdb_hits hits;
        assert_ok(vdb_collection_search(w.collection, &search, &hits, &err), &err);
        assert_int_equal(hits.count, 20);
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(hits.hits[i].id.number, i);
            assert_true(hits.hits[i].score == 0);
        }
        vdb_hits_fini(&hits);
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_deletes_and_updates),
        cmocka_unit_test(test_few_ended),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_queries_that_the_element_cannot_hold),
        cmocka_unit_test(test_memtables),
        cmocka_unit_test(test_files_are_found_again),
        cmocka_unit_test(test_a_damaged_file_is_built_anew),
        cmocka_unit_test(test_a_file_that_cannot_be_written),
        cmocka_unit_test(test_settings_change_online),
        cmocka_unit_test(test_merges_and_snapshots),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_builds_are_cancelled),
        cmocka_unit_test(test_bad_searches),
        cmocka_unit_test(test_ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
