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
    vecdb_collection_config config = {"docs", 2, VECDB_L2, NULL};
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
    vecdb_collection_config config = {"docs", 2, VECDB_L2, NULL};
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
    vecdb_collection_config config = {"docs", 3, VECDB_DOT, "flat"};
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
    vecdb_collection_config config = {NULL, 3, VECDB_L2, NULL};
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
    assert_vecdb_ok(vdb_service_local_open(dir, &service, &err), &err);
    const struct vdb_service_ops *ops = service->ops;
    vecdb_collection_config config = {"docs", 1, VECDB_L1, NULL};
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
    assert_int_equal(vdb_service_local_open("", &service, &err), VECDB_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life_of_a_database, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_result_outlives_the_close, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_reopen_finds_everything, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_errors_at_the_edge, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_unknown_cpu_level_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_local_service, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
