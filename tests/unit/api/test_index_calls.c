/* test_index_calls.c: indexes through the public header: configurations in and out, what is refused, searches of each
 * effort, builds with progress and cancellation, counters that outlive their collections. */
#include "support.h"

#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rng.h"
#include "vecdb.h"

#define assert_vecdb_ok(call, err)                                                                               \
    do {                                                                                                         \
        if ((call) != VECDB_OK) {                                                                                \
            fail_msg("%s: %s", #call, (err)->message);                                                           \
        }                                                                                                        \
    } while (0)

enum { DIMENSION = 8, POINTS = 3000, BATCH = 500 };

struct fixture {
    char dir[64];
    vecdb *db;
    vecdb_error err;
};

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* Without maintenance: what is built is built by the test. */
static int setup(void **state)
{
    const vecdb_options options = {.no_maintenance = 1};
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/vecdb-test-XXXXXX");
    *state = f;
    return mkdtemp(f->dir) == NULL || vecdb_open(f->dir, &options, &f->db, &f->err) != VECDB_OK;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    vecdb_close(f->db);
    nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    const vecdb_options options = {.no_maintenance = 1};
    vecdb_close(f->db);
    assert_vecdb_ok(vecdb_open(f->dir, &options, &f->db, &f->err), &f->err);
}

static vecdb_collection_info info_of(struct fixture *f, const char *name)
{
    vecdb_collection_info info;
    assert_vecdb_ok(vecdb_get_collection(f->db, name, &info, &f->err), &f->err);
    return info;
}

static void make_vector(uint64_t id, float *out)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, id % 40); /* 40 middles */
    for (int d = 0; d < DIMENSION; d++) {
        out[d] = (float)vdb_rng_below(&rng, 1000);
    }
    vdb_rng_init(&rng, 1000 + id);
    for (int d = 0; d < DIMENSION; d++) {
        out[d] += (float)vdb_rng_below(&rng, 100);
    }
}

static void fill(struct fixture *f, const char *name)
{
    static float vectors[BATCH][DIMENSION];
    static vecdb_point points[BATCH];
    for (uint64_t at = 0; at < POINTS; at += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++) {
            make_vector(at + i, vectors[i]);
            points[i] = (vecdb_point){vecdb_id_number(at + i), vectors[i], DIMENSION, NULL, 0};
        }
        assert_vecdb_ok(vecdb_upsert(f->db, name, points, BATCH, NULL, &f->err), &f->err);
    }
    assert_vecdb_ok(vecdb_checkpoint(f->db, name, &f->err), &f->err);
}

/* One batch, which stays in memory. */
static void put_more(struct fixture *f, const char *name, uint64_t from, uint64_t count)
{
    static float vectors[BATCH][DIMENSION];
    static vecdb_point points[BATCH];
    for (uint64_t i = 0; i < count; i++) {
        make_vector(from + i, vectors[i]);
        points[i] = (vecdb_point){vecdb_id_number(from + i), vectors[i], DIMENSION, NULL, 0};
    }
    assert_vecdb_ok(vecdb_upsert(f->db, name, points, count, NULL, &f->err), &f->err);
}

static void create(struct fixture *f, const char *name, const vecdb_index_config *index)
{
    const vecdb_collection_config config = {.name = name, .dimension = DIMENSION, .index_config = index};
    assert_vecdb_ok(vecdb_create_collection(f->db, &config, &f->err), &f->err);
}

static void test_configurations(void **state)
{
    struct fixture *f = *state;
    static const struct {
        vecdb_metric metric;
        uint32_t dimension;
        const char *type;
    } defaults[] = {{VECDB_L2, 4, "qgraph"}, {VECDB_COSINE, 4, "qgraph"}, {VECDB_DOT, 4, "qgraph"},
                    {VECDB_L1, 4, "hnsw"},   {VECDB_L2, 8192, "qgraph"},  {VECDB_L2, 8193, "hnsw"}};
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        char name[16];
        snprintf(name, sizeof name, "default%zu", i);
        const vecdb_collection_config config = {
            .name = name, .dimension = defaults[i].dimension, .metric = defaults[i].metric};
        assert_vecdb_ok(vecdb_create_collection(f->db, &config, &f->err), &f->err);
        assert_string_equal(info_of(f, name).index, defaults[i].type);
    }
    const vecdb_index_config given = {
        .type = "hnsw", .m = 8, .ef_construction = 50, .ef_search = 70, .scan_below = 1000, .target_recall = 0.9};
    create(f, "given", &given);
    for (int i = 0; i < 2; i++) {
        vecdb_collection_info info = info_of(f, "given");
        assert_string_equal(info.index, "hnsw");
        assert_true(info.index_m == 8 && info.index_ef_construction == 50 && info.index_ef_search == 70 &&
                    info.index_code_bits == 0 && info.index_compact == 0 && info.index_scan_below == 1000 &&
                    info.index_target_recall == 0.9);
        reopen(f);
    }
    /* A change keeps the type when it has none, and is all that counts of the rest. */
    const vecdb_index_config change = {.m = 12};
    assert_vecdb_ok(vecdb_set_index(f->db, "given", &change, &f->err), &f->err);
    reopen(f);
    vecdb_collection_info info = info_of(f, "given");
    assert_string_equal(info.index, "hnsw");
    assert_true(info.index_m == 12 && info.index_ef_search == 0 && info.index_target_recall == 0);
    /* The short form and the long one. */
    const vecdb_index_config rest = {.m = 9};
    vecdb_collection_config both = {
        .name = "both", .dimension = 2, .metric = VECDB_L1, .index = "hnsw", .index_config = &rest};
    assert_vecdb_ok(vecdb_create_collection(f->db, &both, &f->err), &f->err);
    assert_int_equal(info_of(f, "both").index_m, 9);
    both.name = "other";
    both.index = "flat";
    both.index_config = &given;
    assert_int_equal(vecdb_create_collection(f->db, &both, &f->err), VECDB_INVALID);
    assert_string_equal(f->err.message, "index: \"flat\", and index_config.type: \"hnsw\"; name one of them");
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        vecdb_index_config config;
        vecdb_metric metric;
        vecdb_status status;
        const char *says;
    } rows[] = {
        {{.type = "ivf"},
         VECDB_L2,
         VECDB_UNSUPPORTED,
         "\"ivf\" is not in this version; it has flat, hnsw and qgraph"},
        {{.type = ""}, VECDB_L2, VECDB_UNSUPPORTED, "\"\" is not in this version"},
        {{.type = "qgraphqgraphqgraphqgraph"}, VECDB_L2, VECDB_UNSUPPORTED, "is not in this version"},
        {{.type = "qgraph"}, VECDB_L1, VECDB_UNSUPPORTED, "l1"},
        {{.m = 3}, VECDB_L2, VECDB_INVALID, "m: 3; allowed are 4..256"},
        {{.type = "hnsw", .m = 257}, VECDB_L2, VECDB_INVALID, "m: 257; allowed are 4..256"},
        {{.type = "flat", .ef_construction = 9}, VECDB_L2, VECDB_INVALID, "ef_construction: 9"},
        {{.type = "hnsw", .ef_construction = 15},
         VECDB_L2,
         VECDB_INVALID,
         "ef_construction: 15; allowed are 16..65536"},
        {{.type = "qgraph", .ef_construction = 4097}, VECDB_L2, VECDB_INVALID, "allowed are 16..4096"},
        {{.ef_search = 65537}, VECDB_L2, VECDB_INVALID, "ef_search: 65537; allowed are 1..65536"},
        {{.scan_below = (1u << 30) + 1}, VECDB_L2, VECDB_INVALID, "scan_below: 1073741825"},
        {{.code_bits = 96}, VECDB_L2, VECDB_INVALID, "code_bits: 96"},
        {{.compact = 2}, VECDB_L2, VECDB_INVALID, "compact: 2"},
        {{.target_recall = 1}, VECDB_L2, VECDB_INVALID, "target_recall: 1"},
        {{.target_recall = -0.5}, VECDB_L2, VECDB_INVALID, "target_recall: -0.5"},
        {{.target_recall = (double)NAN}, VECDB_L2, VECDB_INVALID, "target_recall: "},
    };
    const vecdb_collection_config l2 = {.name = "l2", .dimension = 2, .metric = VECDB_L2};
    const vecdb_collection_config l1 = {.name = "l1", .dimension = 2, .metric = VECDB_L1};
    assert_vecdb_ok(vecdb_create_collection(f->db, &l2, &f->err), &f->err);
    assert_vecdb_ok(vecdb_create_collection(f->db, &l1, &f->err), &f->err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const vecdb_collection_config config = {
            .name = "docs", .dimension = 2, .metric = rows[i].metric, .index_config = &rows[i].config};
        assert_int_equal(vecdb_create_collection(f->db, &config, &f->err), rows[i].status);
        if (strstr(f->err.message, rows[i].says) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", f->err.message, rows[i].says);
        }
        const char *name = rows[i].metric == VECDB_L1 ? "l1" : "l2";
        assert_int_equal(vecdb_set_index(f->db, name, &rows[i].config, &f->err), rows[i].status);
        assert_non_null(strstr(f->err.message, rows[i].says));
    }
    vecdb_collection_info info;
    const vecdb_index_config none = {0};
    assert_int_equal(vecdb_get_collection(f->db, "docs", &info, &f->err), VECDB_NOT_FOUND);
    assert_string_equal(info_of(f, "l2").index, "qgraph");
    assert_int_equal(vecdb_set_index(f->db, "docs", &none, &f->err), VECDB_NOT_FOUND);
    assert_int_equal(vecdb_set_index(f->db, "l2@snap", &none, &f->err), VECDB_INVALID);
    assert_int_equal(vecdb_set_index(f->db, NULL, &none, NULL), VECDB_INVALID);
    assert_int_equal(vecdb_build_index(f->db, "docs", NULL, &f->err), VECDB_NOT_FOUND);
    assert_int_equal(vecdb_build_index(f->db, "l2@snap", NULL, &f->err), VECDB_INVALID);
}

static vecdb_explain search(struct fixture *f, const char *name, uint64_t id, vecdb_search_request request)
{
    float vector[DIMENSION];
    vecdb_result *result;
    make_vector(id, vector);
    request.vector = vector;
    request.dimension = DIMENSION;
    request.k = 10;
    assert_vecdb_ok(vecdb_search(f->db, name, &request, &result, &f->err), &f->err);
    assert_int_equal(vecdb_result_count(result), 10);
    assert_int_equal(vecdb_result_hits(result)[0].id.number, id);
    vecdb_explain explain = *vecdb_result_explain(result);
    vecdb_result_free(result);
    return explain;
}

static int count_progress(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    unsigned *calls = ctx;
    assert_string_equal(collection, "docs");
    assert_true(done <= total);
    ++*calls;
    return 0;
}

static int cancel(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    (void)ctx;
    (void)collection;
    (void)done;
    (void)total;
    return 1;
}

static void test_builds_and_searches(void **state)
{
    struct fixture *f = *state;
    static const char *const kinds[] = {"hnsw", "qgraph"};
    const vecdb_index_config flat = {.type = "flat", .scan_below = 100};
    create(f, "docs", &flat);
    fill(f, "docs");
    vecdb_explain explain = search(f, "docs", 5, (vecdb_search_request){.ef = 20});
    assert_string_equal(explain.plan, "flat scan");
    assert_true(explain.rows_indexed == 0 && explain.ef == 0 && explain.rows == POINTS);
    for (size_t i = 0; i < 2; i++) {
        const vecdb_index_config config = {.type = kinds[i], .ef_construction = 60, .scan_below = 100};
        unsigned calls = 0;
        vecdb_build_options options = {.threads = 1, .progress = cancel};
        assert_vecdb_ok(vecdb_set_index(f->db, "docs", &config, &f->err), &f->err);
        assert_int_equal(vecdb_build_index(f->db, "docs", &options, &f->err), VECDB_CANCELLED);
        assert_int_equal(info_of(f, "docs").index_rows_waiting, POINTS);
        options = (vecdb_build_options){.threads = 2, .progress = count_progress, .ctx = &calls};
        assert_vecdb_ok(vecdb_build_index(f->db, "docs", &options, &f->err), &f->err);
        assert_true(calls > 0);
        vecdb_collection_info info = info_of(f, "docs");
        assert_true(info.index_rows == POINTS && info.index_rows_waiting == 0 && info.index_building == 0);
        assert_true(info.index_memory_bytes > 0 && info.index_file_bytes > 0 && info.index_build_ns > 0);
        assert_true(info.index_builds == i + 1 && info.index_build_failures == 0 && info.index_loads == 0);
        assert_true(info.index_ef_default >= 10);
        explain = search(f, "docs", 5, (vecdb_search_request){0});
        assert_string_equal(explain.plan, kinds[i]);
        assert_true(explain.rows_indexed == POINTS && explain.ef == info.index_ef_default);
        assert_int_equal(search(f, "docs", 6, (vecdb_search_request){.ef = 33}).ef, 33);
        assert_int_equal(search(f, "docs", 6, (vecdb_search_request){.ef = 1}).ef, 10); /* never under k */
        assert_true(search(f, "docs", 7, (vecdb_search_request){.target_recall = 0.999}).ef >=
                    search(f, "docs", 7, (vecdb_search_request){.target_recall = 0.5}).ef);
        explain = search(f, "docs", 8, (vecdb_search_request){.exact = 1});
        assert_string_equal(explain.plan, "flat scan");
        assert_true(explain.ef == 0 && explain.rows_indexed == 0 && explain.rows == POINTS);
    }
    vecdb_stats stats;
    vecdb_get_stats(f->db, &stats);
    assert_true(stats.index_rows == POINTS && stats.index_rows_waiting == 0 && stats.index_builds == 2);
    assert_true(stats.index_memory_bytes == info_of(f, "docs").index_memory_bytes);

    /* Read from disk, not built, after a reopening. */
    reopen(f);
    (void)search(f, "docs", 5, (vecdb_search_request){0});
    assert_vecdb_ok(vecdb_build_index(f->db, "docs", NULL, &f->err), &f->err);
    vecdb_collection_info info = info_of(f, "docs");
    assert_true(info.index_builds == 0 && info.index_loads == 1 && info.index_rows == POINTS);
    assert_string_equal(search(f, "docs", 5, (vecdb_search_request){0}).plan, "qgraph");

    /* The longest plan there is fits: rows in a segment's graph, in memory's, and new ones. */
    put_more(f, "docs", POINTS, 1);
    explain = search(f, "docs", POINTS, (vecdb_search_request){0});
    assert_string_equal(explain.plan, "qgraph + flat scan");
    assert_true(explain.rows == POINTS + 1 && explain.rows_indexed == POINTS);
    put_more(f, "docs", POINTS + 1, 200);
    assert_vecdb_ok(vecdb_build_index(f->db, "docs", NULL, &f->err), &f->err);
    assert_string_equal(search(f, "docs", POINTS, (vecdb_search_request){0}).plan, "qgraph + hnsw");
    put_more(f, "docs", POINTS + 201, 100); /* more than their writer inserts */
    static const char filter[] = "{\"not\":{\"field\":\"none\",\"op\":\"exists\"}}";
    explain = search(f, "docs", POINTS, (vecdb_search_request){.filter = filter, .filter_bytes = strlen(filter)});
    assert_string_equal(explain.plan, "qgraph + hnsw + flat scan, filtered");
    assert_true(explain.rows == POINTS + 301 && explain.rows_indexed == POINTS + 201);
}

static void test_bad_searches(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint32_t ef;
        double target_recall;
        const char *says;
    } rows[] = {{65537, 0, "ef: 65537"},      {10, 0.9, "ef: 10, and target_recall: 0.9"},
                {0, 1, "target_recall: 1"},   {0, 1.5, "target_recall: 1.5"},
                {0, -1, "target_recall: -1"}, {0, (double)NAN, "target_recall: "}};
    const float vector[DIMENSION] = {1};
    vecdb_result *result;
    create(f, "docs", NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const vecdb_search_request request = {.vector = vector,
                                              .dimension = DIMENSION,
                                              .k = 1,
                                              .ef = rows[i].ef,
                                              .target_recall = rows[i].target_recall};
        vecdb_status status = vecdb_search(f->db, "docs", &request, &result, &f->err);
        assert_true(status == VECDB_INVALID || status == VECDB_LIMIT);
        if (strstr(f->err.message, rows[i].says) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", f->err.message, rows[i].says);
        }
    }
}

/* A sum that a scraper has seen never falls, whatever is dropped; what is there does. */
static void test_counters_outlive_collections(void **state)
{
    struct fixture *f = *state;
    vecdb_stats before;
    vecdb_stats after;
    const vecdb_index_config config = {.type = "hnsw", .m = 8, .ef_construction = 20, .scan_below = 100};
    create(f, "docs", &config);
    fill(f, "docs");
    assert_vecdb_ok(vecdb_build_index(f->db, "docs", NULL, &f->err), &f->err);
    vecdb_get_stats(f->db, &before);
    assert_true(before.index_builds == 1 && before.index_build_ns > 0 && before.index_rows == POINTS);
    assert_vecdb_ok(vecdb_drop_collection(f->db, "docs", &f->err), &f->err);
    vecdb_get_stats(f->db, &after);
    assert_true(after.index_builds == 1 && after.index_build_ns == before.index_build_ns);
    assert_true(after.index_rows == 0 && after.index_memory_bytes == 0 && after.index_file_bytes == 0);
    create(f, "docs", &config);
    fill(f, "docs");
    assert_vecdb_ok(vecdb_build_index(f->db, "docs", NULL, &f->err), &f->err);
    vecdb_get_stats(f->db, &after);
    assert_int_equal(after.index_builds, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_configurations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_builds_and_searches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_searches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counters_outlive_collections, setup, teardown),
    };
    return cmocka_run_group_tests_name("api/index_calls", tests, NULL, NULL);
}
