/* test_handlers_index.c: indexes through the routes: configurations, changes, builds, and searches in graphs. */
#include "handlers_world.h"

static json_t *index_config(struct fixture *f)
{
    return json_object_get(f->json, "index_config");
}

/* At creation, changed, told by INFO; what a kind does not take is refused by name, value and range. */
static void test_index(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *body;
        unsigned status;
        const char *says;
    } refused[] = {
        {"{\"name\":\"x\",\"dimension\":3,\"index_config\":{\"type\":\"ivf\"}}", 400,
         "index_config.type: \"ivf\" is none of flat, hnsw, qgraph"},
        {"{\"name\":\"x\",\"dimension\":3,\"metric\":\"l1\",\"index_config\":{\"type\":\"qgraph\"}}", 400, "l1"},
        {"{\"name\":\"x\",\"dimension\":3,\"index_config\":{\"type\":\"flat\",\"m\":16}}", 400, "m: 16"},
        {"{\"name\":\"x\",\"dimension\":3,\"index_config\":{\"type\":\"hnsw\",\"code_bits\":64}}", 400,
         "code_bits: 64"},
        {"{\"name\":\"x\",\"dimension\":3,\"index_config\":{\"type\":\"hnsw\",\"m\":64,\"ef_construction\":63}}",
         400, "ef_construction: 63; allowed are 64..65536"},
        {"{\"name\":\"x\",\"dimension\":3,\"index_config\":{\"type\":\"qgraph\",\"code_bits\":100}}", 400,
         "code_bits: 100; allowed are multiples of 64"},
        {"{\"name\":\"x\",\"dimension\":8193,\"index_config\":{\"type\":\"qgraph\"}}", 501, "8193"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ask(f, "POST", "/v1/collections", refused[i].body);
        assert_problem(f, refused[i].status, refused[i].status == 400 ? "invalid" : "unsupported",
                       refused[i].says);
    }
    assert_int_equal(
        ask(f, "POST", "/v1/collections",
            "{\"name\":\"docs\",\"dimension\":2,\"metric\":\"l1\",\"index_config\":{\"type\":\"hnsw\","
            "\"m\":8,\"ef_construction\":50,\"target_recall\":0.9,\"scan_below\":100}}"),
        201);
    assert_int_equal(ask(f, "GET", "/v1/collections/docs", NULL), 200);
    char *text = json_dumps(index_config(f), JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
    assert_string_equal(
        text, "{\"ef_construction\":50,\"m\":8,\"scan_below\":100,\"target_recall\":0.9,\"type\":\"hnsw\"}");
    free(text);
    json_t *index = json_object_get(f->json, "index");
    static const char *const numbers[] = {"rows",       "rows_waiting",   "memory_bytes",
                                          "file_bytes", "ef_default",     "builds",
                                          "loads",      "build_failures", "shadow_queries"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_true(json_is_integer(json_object_get(index, numbers[i])));
    }
    assert_true(json_is_real(json_object_get(index, "building")));
    assert_true(json_is_real(json_object_get(index, "build_seconds")));
    assert_true(json_is_null(json_object_get(index, "shadow_recall")));

    /* A change without a type keeps it; everything else is what came. */
    assert_int_equal(ask(f, "PUT", "/v1/collections/docs/index", "{\"ef_search\":77}"), 200);
    assert_int_equal(json_integer_value(json_object_get(index_config(f), "ef_search")), 77);
    assert_string_equal(json_string_value(json_object_get(index_config(f), "type")), "hnsw");
    assert_int_equal(json_object_size(index_config(f)), 2);
    assert_int_equal(ask(f, "PUT", "/v1/collections/docs/index", "{\"type\":\"flat\"}"), 200);
    assert_string_equal(json_string_value(json_object_get(index_config(f), "type")), "flat");
    ask(f, "PUT", "/v1/collections/docs/index", "{\"type\":\"qgraph\"}");
    assert_problem(f, 400, "invalid", "type: \"qgraph\" does not go with the metric l1; flat and hnsw do");
    ask(f, "PUT", "/v1/collections/docs/index", "{\"m\":0}");
    assert_problem(f, 400, "invalid", "m: 0 is out of range, 4 to 256");
    ask(f, "PUT", "/v1/collections/docs/index", "{\"ef\":10}");
    assert_problem(f, 400, "invalid", "unknown field \"ef\"");
    ask(f, "PUT", "/v1/collections/docs/index", NULL);
    assert_problem(f, 400, "invalid", "body: empty");
    ask(f, "PUT", "/v1/collections/none/index", "{}");
    assert_problem(f, 404, "not_found", "none");

    assert_int_equal(ask(f, "POST", "/v1/collections/docs/index/build", NULL), 200);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(f->json, "index"), "rows_waiting")), 0);
    assert_false(f->spy.build_cancels);
    ask(f, "POST", "/v1/collections/none/index/build", NULL);
    assert_problem(f, 404, "not_found", "none");
    atomic_store(&f->server.closing, true); /* one that runs is told to stop */
    (void)ask(f, "POST", "/v1/collections/docs/index/build", NULL);
    assert_true(f->spy.build_cancels);
}

/* Graphs over all rows, however few: how they were asked is told, and each way is taken. */
static void test_search_in_graphs(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        ask(f, "POST", "/v1/collections",
            "{\"name\":\"docs\",\"dimension\":2,\"metric\":\"l2\",\"index_config\":{\"type\":\"hnsw\","
            "\"ef_search\":33,\"scan_below\":1}}"),
        201);
    struct vdb_buf body = {0};
    vdb_buf_put_text(&body, "{\"points\":[");
    for (int i = 0; i < 500; i++) {
        vdb_buf_printf(&body, "%s{\"id\":%d,\"vector\":[%d,%d]}", i > 0 ? "," : "", i, i % 25, i / 25);
    }
    vdb_buf_put_text(&body, "]}");
    vdb_buf_put_u8(&body, 0);
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/points", (const char *)body.data), 200);
    vdb_buf_fini(&body);
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/index/build", NULL), 200);
    json_t *index = json_object_get(f->json, "index");
    assert_int_equal(json_integer_value(json_object_get(index, "rows")), 500);
    assert_int_equal(json_integer_value(json_object_get(index, "rows_waiting")), 0);
    assert_true(json_integer_value(json_object_get(index, "memory_bytes")) > 0);
    static const struct {
        const char *more;
        int ef; /* -1: any but 0 */
        const char *plan;
    } rows[] = {
        {"", 33, "hnsw"},
        {",\"ef\":50", 50, "hnsw"},
        {",\"target_recall\":0.9", -1, "hnsw"},
        {",\"exact\":true", 0, "flat scan"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[160];
        snprintf(text, sizeof text, "{\"vector\":[7,3],\"k\":3,\"explain\":true%s}", rows[i].more);
        assert_int_equal(ask(f, "POST", "/v1/collections/docs/search", text), 200);
        json_t *hit = json_array_get(json_object_get(f->json, "results"), 0);
        assert_int_equal(json_integer_value(json_object_get(hit, "id")), 82);
        json_t *explain = json_object_get(f->json, "explain");
        assert_string_equal(json_string_value(json_object_get(explain, "plan")), rows[i].plan);
        json_int_t ef = json_integer_value(json_object_get(explain, "ef"));
        assert_true(rows[i].ef >= 0 ? ef == rows[i].ef : ef > 0);
        assert_int_equal(json_integer_value(json_object_get(explain, "rows_indexed")), rows[i].ef != 0 ? 500 : 0);
        assert_int_equal(json_integer_value(json_object_get(explain, "rows")), 500);
    }
    ask(f, "POST", "/v1/collections/docs/search", "{\"vector\":[7,3],\"ef\":65537}");
    assert_problem(f, 400, "invalid", "ef: 65537 is out of range, 1 to 65536");
    ask(f, "POST", "/v1/collections/docs/search", "{\"vector\":[7,3],\"ef\":9,\"target_recall\":0.9}");
    assert_problem(f, 400, "invalid", "ef: 9, and target_recall: 0.9; one of the two may be given");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_index, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search_in_graphs, setup, teardown),
    };
    return cmocka_run_group_tests_name("server/handlers_index", tests, NULL, NULL);
}
