/* test_vecdb.c: the public header on a real directory: the whole life of a database as an embedding program sees
 * it. */
#include "support.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/service.h"
#include "vecdb.h"

#define assert_vecdb_ok(call, err)                                                                               \
    do {                                                                                                         \
        if ((call) != VECDB_OK) {                                                                                \
            fail_msg("%s: %s", #call, (err)->message);                                                           \
        }                                                                                                        \
    } while (0)

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int make_dir(void **state)
{
    char *path = strdup("/tmp/vecdb-test-XXXXXX");
    *state = mkdtemp(path);
    return *state == NULL;
}

static int remove_dir(void **state)
{
    nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static void test_life_of_a_database(void **state)
{
    const char *dir = *state;
    vecdb_error err;
    vecdb *db;
    vecdb_collection_info info;
    vecdb_write_result written;
    vecdb_result *result;
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    vecdb_collection_config config = {.name = "docs", .dimension = 2, .metric = VECDB_L2};
    assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    assert_int_equal(vecdb_create_collection(db, &config, &err), VECDB_EXISTS);
    float a[2] = {1, 0};
    float b[2] = {0, 2};
    vecdb_point points[2] = {{vecdb_id_number(1), a, 2, "{\"lang\": \"en\"}", 14},
                             {{"two", 3, 0}, b, 2, NULL, 0}};
    assert_vecdb_ok(vecdb_upsert(db, "docs", points, 2, &written, &err), &err);
    assert_int_equal(written.seq, 1);
    assert_int_equal(written.changed, 2);

    float query[2] = {0, 0};
    vecdb_search_request request = {.vector = query, .dimension = 2, .k = 5, .with_vector = 1};
    assert_vecdb_ok(vecdb_search(db, "docs", &request, &result, &err), &err);
    assert_int_equal(vecdb_result_count(result), 2);
    const vecdb_hit *hits = vecdb_result_hits(result);
    assert_null(hits[0].id.text);
    assert_int_equal(hits[0].id.number, 1);
    assert_true(hits[0].score == 1.0 && hits[1].score == 2.0);
    assert_true(hits[0].dimension == 2 && hits[0].vector[0] == 1.0f);
    assert_memory_equal(hits[0].metadata, "{\"lang\":\"en\"}", hits[0].metadata_bytes);
    assert_memory_equal(hits[1].id.text, "two", 3);
    assert_string_equal(vecdb_result_explain(result)->plan, "flat scan");
    assert_int_equal(vecdb_result_explain(result)->distances_computed, 2);

    /* A result outlives the drop of its collection. */
    assert_vecdb_ok(vecdb_drop_collection(db, "docs", &err), &err);
    assert_memory_equal(hits[1].id.text, "two", 3);
    vecdb_result_free(result);
    assert_int_equal(vecdb_get_collection(db, "docs", &info, &err), VECDB_NOT_FOUND);
    assert_non_null(strstr(err.message, "\"docs\""));
    vecdb_close(db);
}

/* A result outlives its handle, and freeing it does nothing to what a later handle wrote. */
static void test_result_outlives_the_close(void **state)
{
    const char *dir = *state;
    vecdb_error err;
    vecdb *db;
    uint64_t count;
    vecdb_result *result;
    float vector[2] = {3, 4};
    vecdb_point point = {vecdb_id_number(1), vector, 2, NULL, 0};
    vecdb_collection_config config = {.name = "docs", .dimension = 2, .metric = VECDB_L2};
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    assert_vecdb_ok(vecdb_upsert(db, "docs", &point, 1, NULL, &err), &err);
    assert_vecdb_ok(vecdb_get(db, "docs", &point.id, 1, &result, &err), &err);
    vecdb_close(db);

    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    for (uint64_t i = 2; i <= 4; i++) {
        point.id.number = i;
        assert_vecdb_ok(vecdb_upsert(db, "docs", &point, 1, NULL, &err), &err);
    }
    assert_true(vecdb_result_hits(result)[0].vector[1] == 4.0f);
    vecdb_result_free(result);
    vecdb_close(db);
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    assert_vecdb_ok(vecdb_count(db, "docs", NULL, 0, &count, &err), &err);
    assert_int_equal(count, 4);
    vecdb_close(db);
}

static void test_reopen_finds_everything(void **state)
{
    const char *dir = *state;
    vecdb_error err;
    vecdb *db;
    uint64_t count;
    vecdb_result *result;
    vecdb_stats stats;
    vecdb_collection_info *infos;
    size_t info_count;
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    vecdb_collection_config config = {.name = "docs", .dimension = 3, .metric = VECDB_DOT, .index = "flat"};
    assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    for (uint64_t i = 0; i < 50; i++) {
        float vector[3] = {(float)i, 1, -1};
        vecdb_point point = {vecdb_id_number(i), vector, 3, NULL, 0};
        assert_vecdb_ok(vecdb_upsert(db, "docs", &point, 1, NULL, &err), &err);
    }
    vecdb_id gone = vecdb_id_number(7);
    assert_vecdb_ok(vecdb_delete(db, "docs", &gone, 1, NULL, &err), &err);
    vecdb_close(db);

    vecdb_options options = {.must_exist = 1};
    assert_vecdb_ok(vecdb_open(dir, &options, &db, &err), &err);
    assert_vecdb_ok(vecdb_count(db, "docs", NULL, 0, &count, &err), &err);
    assert_int_equal(count, 49);
    vecdb_id ids[2] = {vecdb_id_number(7), vecdb_id_number(49)};
    assert_vecdb_ok(vecdb_get(db, "docs", ids, 2, &result, &err), &err);
    assert_int_equal(vecdb_result_count(result), 1);
    assert_true(vecdb_result_hits(result)[0].vector[0] == 49.0f);
    vecdb_result_free(result);
    float query[3] = {1, 0, 0};
    vecdb_search_request request = {.vector = query, .dimension = 3, .k = 1};
    assert_vecdb_ok(vecdb_search(db, "docs", &request, &result, &err), &err);
    assert_int_equal(vecdb_result_hits(result)[0].id.number, 49);
    assert_true(vecdb_result_hits(result)[0].score == 49.0); /* dot: the product itself */
    assert_null(vecdb_result_hits(result)[0].vector);
    vecdb_result_free(result);
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.points, 49);
    assert_int_equal(stats.recovered_batches, 51);
    assert_int_equal(stats.torn_bytes_cut, 0);
    assert_int_equal(stats.searches, 1);
    assert_vecdb_ok(vecdb_list_collections(db, &infos, &info_count, &err), &err);
    assert_int_equal(info_count, 1);
    assert_string_equal(infos[0].name, "docs");
    assert_int_equal(infos[0].count, 49);
    vecdb_free(infos);
    vecdb_close(db);
}

static int keep_sum(void *ctx, const vecdb_hit *point)
{
    *(double *)ctx += (double)point->vector[0] * 1000 + (double)point->vector[1];
    return 0;
}

/* Each element: what was kept comes back through get, search and scan, from memory and from a segment. */
static void test_elements(void **state)
{
    const char *dir = *state;
    static const struct {
        vecdb_element element;
        const char *name;
        float given[2];
        float kept[2];
    } rows[] = {
        {VECDB_F32, "f32", {0.1f, -3}, {0.1f, -3}},
        {VECDB_U8, "u8", {255, 0}, {255, 0}},
        {VECDB_I8, "i8", {-128, 127}, {-128, 127}},
        {VECDB_F16, "f16", {2049, 0.5f}, {2048, 0.5f}},
    };
    vecdb *db;
    vecdb_error err;
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vecdb_collection_config config = {.name = rows[i].name, .dimension = 2, .element = rows[i].element};
        vecdb_point point = {vecdb_id_number(5), rows[i].given, 2, NULL, 0};
        vecdb_collection_info info;
        assert_string_equal(vecdb_element_name(rows[i].element), rows[i].name);
        assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
        assert_vecdb_ok(vecdb_get_collection(db, rows[i].name, &info, &err), &err);
        assert_int_equal(info.element, rows[i].element);
        assert_vecdb_ok(vecdb_upsert(db, rows[i].name, &point, 1, NULL, &err), &err);
        for (int segments = 0; segments < 2; segments++) {
            vecdb_result *result;
            double sum = 0;
            const vecdb_scan_options scan = {.visit = keep_sum, .ctx = &sum};
            const vecdb_search_request request = {
                .vector = rows[i].kept, .dimension = 2, .k = 1, .with_vector = 1};
            assert_vecdb_ok(vecdb_get(db, rows[i].name, &point.id, 1, &result, &err), &err);
            assert_memory_equal(vecdb_result_hits(result)[0].vector, rows[i].kept, sizeof rows[i].kept);
            vecdb_result_free(result);
            assert_vecdb_ok(vecdb_search(db, rows[i].name, &request, &result, &err), &err);
            assert_memory_equal(vecdb_result_hits(result)[0].vector, rows[i].kept, sizeof rows[i].kept);
            assert_true(vecdb_result_hits(result)[0].score == 0);
            vecdb_result_free(result);
            assert_vecdb_ok(vecdb_scan(db, rows[i].name, &scan, &err), &err);
            assert_true(sum == (double)rows[i].kept[0] * 1000 + (double)rows[i].kept[1]);
            assert_vecdb_ok(vecdb_checkpoint(db, rows[i].name, &err), &err);
        }
    }
    vecdb_collection_config config = {.name = "more", .dimension = 2, .element = (vecdb_element)4};
    assert_int_equal(vecdb_create_collection(db, &config, &err), VECDB_INVALID);
    assert_non_null(strstr(err.message, "element: \"bf16\" (4) is none of f32, f16, u8, i8"));
    vecdb_close(db);
}

static void test_errors_at_the_edge(void **state)
{
    const char *dir = *state;
    vecdb_error err;
    vecdb *db;
    vecdb *second;
    vecdb_options options = {.must_exist = 1};
    uint64_t count;
    vecdb_result *result;
    assert_int_equal(vecdb_open("", NULL, &db, &err), VECDB_INVALID);
    assert_int_equal(vecdb_open(dir, &options, &db, &err), VECDB_NOT_FOUND);
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    assert_int_equal(vecdb_open(dir, NULL, &second, &err), VECDB_BUSY);
    assert_int_equal(vecdb_open(dir, NULL, &second, NULL), VECDB_BUSY); /* err may be NULL */
    vecdb_collection_config config = {.dimension = 3, .metric = VECDB_L2};
    assert_int_equal(vecdb_create_collection(db, &config, &err), VECDB_INVALID);
    config.name = "docs";
    config.index = "an index kind with a very long name";
    assert_int_equal(vecdb_create_collection(db, &config, &err), VECDB_UNSUPPORTED);
    config.index = "flat";
    config.metric = (vecdb_metric)17;
    assert_int_equal(vecdb_create_collection(db, &config, &err), VECDB_INVALID);
    config.metric = VECDB_L2;
    assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    assert_int_equal(vecdb_count(db, NULL, NULL, 0, &count, &err), VECDB_INVALID);
    assert_int_equal(vecdb_upsert(db, "docs", NULL, 3, NULL, &err), VECDB_INVALID);
    float four[4] = {1, 2, 3, 4};
    vecdb_point wrong = {vecdb_id_number(1), four, 4, NULL, 0};
    assert_int_equal(vecdb_upsert(db, "docs", &wrong, 1, NULL, &err), VECDB_INVALID);
    assert_string_equal(err.message,
                        "points[0].vector: 4 numbers given, the collection \"docs\" has dimension 3");
    assert_int_equal(vecdb_delete(db, "docs", NULL, 3, NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_get(db, "docs", NULL, 1, &result, &err), VECDB_INVALID);
    vecdb_id huge = {"x", (size_t)1 << 32, 0}; /* a length that 32 bits would wrap to 0 */
    huge.text_bytes += 1;
    assert_int_equal(vecdb_delete(db, "docs", &huge, 1, NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_drop_collection(db, NULL, &err), VECDB_INVALID);
    assert_string_equal(vecdb_status_text(VECDB_BUSY), "in use");
    assert_string_equal(vecdb_metric_name(VECDB_DOT), "dot");
    vecdb_close(db);
    vecdb_close(NULL);
    vecdb_result_free(NULL);
}

static void test_unknown_cpu_level_is_refused(void **state)
{
    const char *dir = *state;
    vecdb_error err;
    vecdb *db;
    const char *before = getenv("VECDB_CPU");
    char *kept = before != NULL ? strdup(before) : NULL;
    setenv("VECDB_CPU", "quantum", 1);
    assert_int_equal(vecdb_open(dir, NULL, &db, &err), VECDB_INVALID);
    assert_non_null(strstr(err.message, "quantum"));
    unsetenv("VECDB_CPU");
    if (kept != NULL) {
        setenv("VECDB_CPU", kept, 1);
        free(kept);
    }
}

/* The service table answers as the calls do. */
static void test_local_service(void **state)
{
    const char *dir = *state;
    vecdb_error err;
    struct vdb_service *service;
    vecdb_collection_info info;
    vecdb_collection_info *infos;
    size_t info_count;
    uint64_t count;
    vecdb_write_result written;
    vecdb_result *result;
    vecdb_stats stats;
    assert_vecdb_ok(vdb_service_local_open(dir, NULL, &service, &err), &err);
    const struct vdb_service_ops *ops = service->ops;
    vecdb_collection_config config = {.name = "docs", .dimension = 1, .metric = VECDB_L1};
    float one = 1;
    vecdb_point point = {vecdb_id_number(5), &one, 1, NULL, 0};
    vecdb_search_request request = {.vector = &one, .dimension = 1, .k = 1};
    assert_vecdb_ok(ops->create_collection(service, &config, &err), &err);
    assert_vecdb_ok(ops->upsert(service, "docs", &point, 1, &written, &err), &err);
    assert_vecdb_ok(ops->get_collection(service, "docs", &info, &err), &err);
    assert_int_equal(info.count, 1);
    assert_vecdb_ok(ops->list_collections(service, &infos, &info_count, &err), &err);
    assert_int_equal(info_count, 1);
    vecdb_free(infos);
    assert_vecdb_ok(ops->search(service, "docs", &request, &result, &err), &err);
    assert_int_equal(vecdb_result_hits(result)[0].id.number, 5);
    vecdb_result_free(result);
    assert_vecdb_ok(ops->get(service, "docs", &point.id, 1, &result, &err), &err);
    assert_int_equal(vecdb_result_count(result), 1);
    vecdb_result_free(result);
    const vecdb_index_config index = {.type = "flat"};
    const vecdb_build_options build = {.threads = 1};
    assert_vecdb_ok(ops->set_index(service, "docs", &index, &err), &err);
    assert_vecdb_ok(ops->build_index(service, "docs", &build, &err), &err);
    assert_vecdb_ok(ops->get_collection(service, "docs", &info, &err), &err);
    assert_string_equal(info.index, "flat");
    assert_vecdb_ok(ops->remove(service, "docs", &point.id, 1, &written, &err), &err);
    assert_vecdb_ok(ops->count(service, "docs", NULL, 0, &count, &err), &err);
    assert_int_equal(count, 0);
    ops->get_stats(service, &stats);
    assert_int_equal(stats.writes, 2);
    assert_vecdb_ok(ops->drop_collection(service, "docs", &err), &err);
    ops->get_stats(service, &stats);
    assert_int_equal(stats.collections, 0);
    assert_int_equal(stats.writes, 2); /* since open: a drop takes nothing back */
    assert_int_equal(stats.searches, 1);
    ops->destroy(service);
    assert_int_equal(vdb_service_local_open("", NULL, &service, &err), VECDB_INVALID);
}

/* ---- Storage ---- */

enum { STORED = 90 };

/* Writes points 0 .. STORED, three to a batch, the vector {id, 1}. */
static void fill_docs(vecdb *db)
{
    vecdb_error err;
    const vecdb_collection_config config = {.name = "docs", .dimension = 2, .metric = VECDB_L2};
    assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    for (uint64_t id = 0; id < STORED; id += 3) {
        float vectors[3][2];
        vecdb_point points[3];
        for (uint64_t i = 0; i < 3; i++) {
            vectors[i][0] = (float)(id + i);
            vectors[i][1] = 1;
            points[i] = (vecdb_point){vecdb_id_number(id + i), vectors[i], 2, "{\"a\":1}", 7};
        }
        assert_vecdb_ok(vecdb_upsert(db, "docs", points, 3, NULL, &err), &err);
    }
}

static void delete_every(vecdb *db, uint64_t step)
{
    vecdb_error err;
    for (uint64_t id = 0; id < STORED; id += step) {
        const vecdb_id wanted = vecdb_id_number(id);
        assert_vecdb_ok(vecdb_delete(db, "docs", &wanted, 1, NULL, &err), &err);
    }
}

struct tally {
    uint64_t count;
    uint64_t sum; /* of ids */
    uint64_t stop_at;
};

static int count_point(void *ctx, const vecdb_hit *point)
{
    struct tally *tally = ctx;
    assert_true(point->vector[0] == (float)point->id.number && point->vector[1] == 1);
    assert_memory_equal(point->metadata, "{\"a\":1}", 7);
    tally->sum += point->id.number;
    return ++tally->count == tally->stop_at;
}

static struct tally tally_of(vecdb *db)
{
    vecdb_error err;
    struct tally tally = {0};
    const vecdb_scan_options scan = {.visit = count_point, .ctx = &tally};
    assert_vecdb_ok(vecdb_scan(db, "docs", &scan, &err), &err);
    return tally;
}

static int note_rows(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    uint64_t *calls = ctx;
    assert_string_equal(collection, "docs");
    assert_true(done <= total);
    return ++*calls > 1000;
}

static int cancel(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    (void)ctx;
    (void)collection;
    (void)done;
    (void)total;
    return 1;
}

static void test_checkpoint_and_compact(void **state)
{
    const char *dir = *state;
    const vecdb_options manual = {.no_maintenance = 1};
    vecdb_error err;
    vecdb *db;
    vecdb_collection_info info;
    vecdb_segment_info *segments;
    size_t count;
    vecdb_compact_result result;
    vecdb_stats stats;
    uint64_t calls = 0;
    assert_vecdb_ok(vecdb_open(dir, &manual, &db, &err), &err);
    fill_docs(db);
    assert_vecdb_ok(vecdb_list_segments(db, "docs", &segments, &count, &err), &err);
    assert_int_equal(count, 0);
    vecdb_free(segments);
    assert_vecdb_ok(vecdb_checkpoint(db, "docs", &err), &err);
    delete_every(db, 2);
    assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
    assert_int_equal(info.count, STORED / 2);
    assert_int_equal(info.segments, 1);
    assert_int_equal(info.segment_rows, STORED);
    assert_int_equal(info.segment_dead, STORED / 2);
    assert_int_equal(info.checkpoint_seq, STORED / 3);
    assert_int_equal(info.checkpoints, 1);
    assert_int_equal(info.compaction_due, 1);
    assert_in_range(info.segment_live_bytes, info.segment_bytes / 2 - 1, info.segment_bytes / 2 + 1);

    const vecdb_compact_options cancelled = {.full = 1, .progress = cancel};
    assert_int_equal(vecdb_compact(db, "docs", &cancelled, &result, &err), VECDB_CANCELLED);
    assert_int_equal(tally_of(db).count, STORED / 2);
    const vecdb_compact_options full = {.full = 1, .progress = note_rows, .ctx = &calls};
    assert_vecdb_ok(vecdb_compact(db, "docs", &full, &result, &err), &err);
    assert_int_equal(result.segments, 1);
    assert_int_equal(result.rows_before, STORED);
    assert_int_equal(result.rows_after, STORED / 2);
    assert_true(result.bytes_after > 0 && result.bytes_after <= result.bytes_before);
    assert_true(calls > 0);
    assert_vecdb_ok(vecdb_compact(db, "docs", NULL, &result, &err), &err);
    assert_int_equal(result.segments, 0); /* nothing to do */
    assert_vecdb_ok(vecdb_list_segments(db, "docs", &segments, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(segments[0].rows, STORED / 2);
    assert_int_equal(segments[0].dead, 0);
    vecdb_free(segments);
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.checkpoints, 1);
    assert_int_equal(stats.compactions, 1);
    assert_int_equal(stats.segment_rows, STORED / 2);
    assert_int_equal(stats.segment_live_bytes, stats.segment_bytes);
    assert_int_equal(stats.compaction_debt_bytes, 0);

    assert_int_equal(vecdb_checkpoint(db, "none", &err), VECDB_NOT_FOUND);
    assert_int_equal(vecdb_checkpoint(db, NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_compact(db, "none", NULL, NULL, &err), VECDB_NOT_FOUND);
    assert_int_equal(vecdb_list_segments(db, NULL, &segments, &count, &err), VECDB_INVALID);
    vecdb_close(db);
}

static void test_scan(void **state)
{
    const char *dir = *state;
    const vecdb_options manual = {.no_maintenance = 1};
    vecdb_error err;
    vecdb *db;
    assert_vecdb_ok(vecdb_open(dir, &manual, &db, &err), &err);
    fill_docs(db);
    assert_int_equal(tally_of(db).count, STORED);
    assert_vecdb_ok(vecdb_checkpoint(db, "docs", &err), &err);
    float vector[2] = {7, 1};
    const vecdb_point again = {vecdb_id_number(7), vector, 2, "{\"a\":1}",
                               7}; /* memory hides the segment's row */
    assert_vecdb_ok(vecdb_upsert(db, "docs", &again, 1, NULL, &err), &err);
    struct tally tally = tally_of(db);
    assert_int_equal(tally.count, STORED);
    assert_int_equal(tally.sum, STORED * (STORED - 1) / 2);
    tally = (struct tally){.stop_at = 5};
    const vecdb_scan_options scan = {.visit = count_point, .ctx = &tally};
    assert_int_equal(vecdb_scan(db, "docs", &scan, &err), VECDB_CANCELLED);
    assert_int_equal(tally.count, 5);
    assert_int_equal(vecdb_scan(db, "none", &scan, &err), VECDB_NOT_FOUND);
    vecdb_close(db);
}

static void test_snapshots_and_backup(void **state)
{
    char dir[512];
    char to[512];
    snprintf(dir, sizeof dir, "%s/data", (const char *)*state);
    vecdb_error err;
    vecdb *db;
    vecdb *copy;
    vecdb_snapshot_info info;
    vecdb_snapshot_info *list;
    size_t count;
    vecdb_verify_result verified;
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    fill_docs(db);
    assert_vecdb_ok(vecdb_snapshot_create(db, "docs", "all", &info, &err), &err);
    assert_string_equal(info.name, "all");
    assert_int_equal(info.points, STORED);
    assert_int_equal(info.seq, STORED / 3);
    assert_int_equal(vecdb_snapshot_create(db, "docs", "all", NULL, &err), VECDB_EXISTS);
    assert_int_equal(vecdb_snapshot_create(db, "docs", "../x", NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_snapshot_create(db, "docs", NULL, NULL, &err), VECDB_INVALID);
    delete_every(db, 3);
    assert_vecdb_ok(vecdb_snapshot_create(db, "docs", "less", NULL, &err), &err);
    assert_vecdb_ok(vecdb_snapshot_list(db, "docs", &list, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "all");
    assert_int_equal(list[1].points, STORED - STORED / 3);
    vecdb_free(list);
    assert_vecdb_ok(vecdb_verify(db, NULL, &verified, &err), &err);
    assert_int_equal(verified.collections, 1);
    assert_int_equal(verified.snapshots, 2);
    assert_int_equal(verified.points, STORED - STORED / 3);
    assert_true(verified.files >= 6 && verified.bytes > 0);
    assert_vecdb_ok(vecdb_verify(db, "docs", NULL, &err), &err);
    assert_int_equal(vecdb_verify(db, "none", NULL, &err), VECDB_NOT_FOUND);

    snprintf(to, sizeof to, "%s/old", (const char *)*state);
    assert_vecdb_ok(vecdb_restore_snapshot(db, "docs", "all", to, &err), &err);
    assert_vecdb_ok(vecdb_open(to, NULL, &copy, &err), &err);
    assert_int_equal(tally_of(copy).count, STORED);
    vecdb_close(copy);
    assert_int_not_equal(vecdb_restore_snapshot(db, "docs", "all", to, &err), VECDB_OK); /* not empty */
    assert_int_equal(vecdb_restore_snapshot(db, "docs", "all", "", &err), VECDB_INVALID);
    assert_int_equal(vecdb_restore_snapshot(db, NULL, "all", to, &err), VECDB_INVALID);

    snprintf(to, sizeof to, "%s/copy", (const char *)*state);
    assert_vecdb_ok(vecdb_backup(db, to, NULL, NULL, &err), &err);
    assert_vecdb_ok(vecdb_open(to, NULL, &copy, &err), &err);
    assert_int_equal(tally_of(copy).count, STORED - STORED / 3);
    vecdb_close(copy);
    snprintf(to, sizeof to, "%s/cancelled", (const char *)*state);
    assert_int_equal(vecdb_backup(db, to, cancel, NULL, &err), VECDB_CANCELLED);
    assert_int_equal(vecdb_backup(db, NULL, NULL, NULL, &err), VECDB_INVALID);

    assert_vecdb_ok(vecdb_snapshot_delete(db, "docs", "all", &err), &err);
    assert_int_equal(vecdb_snapshot_delete(db, "docs", "all", &err), VECDB_NOT_FOUND);
    vecdb_close(db);
}

/* Small checkpoints, many writes: the library's own thread checkpoints and compacts. */
static void test_maintenance_runs_by_itself(void **state)
{
    const char *dir = *state;
    const vecdb_options often = {.checkpoint_bytes = 200};
    vecdb_error err;
    vecdb *db;
    vecdb_collection_info info;
    assert_vecdb_ok(vecdb_open(dir, &often, &db, &err), &err);
    fill_docs(db);
    for (int i = 0; i < 1000; i++) { /* ten seconds at most */
        assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
        if (info.checkpoints > 0) {
            break;
        }
        usleep(10000);
    }
    assert_true(info.checkpoints > 0);
    assert_int_equal(tally_of(db).count, STORED);
    vecdb_close(db);
    const vecdb_options never = {.checkpoint_bytes = 1, .no_maintenance = 1};
    assert_vecdb_ok(vecdb_open(dir, &never, &db, &err), &err);
    delete_every(db, 2);
    assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
    assert_int_equal(info.checkpoints, 0);
    assert_int_equal(tally_of(db).count, STORED / 2);
    vecdb_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checkpoint_and_compact, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_scan, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_snapshots_and_backup, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_maintenance_runs_by_itself, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_life_of_a_database, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_result_outlives_the_close, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_reopen_finds_everything, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_elements, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_errors_at_the_edge, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_unknown_cpu_level_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_local_service, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
